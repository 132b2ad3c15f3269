//! What an organisation uses of what, and which classes of sandboxes it may have.

use std::sync::Arc;

use axum::extract::{Path, State};
use serde_json::{Value, json};

use super::super::{
    auth::Caller,
    error::{ApiResult, ok},
};
use crate::model::{Class, ControlPlane, quota::RegionUsage};

/// `getOrganizationUsageOverview`: what is charged now, by region.
pub async fn overview(State(cp): State<Arc<ControlPlane>>, caller: Caller, Path(id): Path<String>) -> ApiResult {
    let organization = caller.member_of(&cp, &id)?;
    let (usage, quota) = (cp.usage(&organization), cp.quota(&organization));
    Ok(ok(&json!({
        "regionUsage": usage.regions.iter().map(region).collect::<Vec<Value>>(),
        "totalSnapshotQuota": quota.snapshots,
        "totalVolumeQuota": quota.volumes,
        "currentSnapshotUsage": usage.snapshots,
        "currentVolumeUsage": usage.volumes,
    })))
}

/// With the names of the contract and those that v0.190 had (observed).
fn region(usage: &RegionUsage) -> Value {
    json!({
        "regionId": usage.region,
        "sandboxClass": "container",
        "totalCpuQuota": usage.quota.cpu,
        "totalMemoryQuota": usage.quota.memory,
        "totalDiskQuota": usage.quota.disk,
        "totalGpuQuota": usage.quota.gpu,
        "currentCpuUsage": usage.charge.cpu,
        "currentMemoryUsage": usage.charge.memory,
        "currentDiskUsage": usage.charge.disk,
        "currentGpuUsage": usage.charge.gpu,
        "maxCpuPerSandbox": null,
        "maxMemoryPerSandbox": null,
        "maxDiskPerSandbox": null,
        "maxDiskPerNonEphemeralSandbox": null,
        "maxCpuPerGpu": null,
        "maxMemoryPerGpu": null,
        "maxDiskPerGpu": null,
        "maxCpuPerGpuSandbox": 16,
        "maxMemoryPerGpuSandbox": 192,
        "maxDiskPerGpuSandbox": 512,
    })
}

/// `listAvailableSandboxClasses`: in each region that the organisation sees, what this server makes.
pub async fn classes(State(cp): State<Arc<ControlPlane>>, caller: Caller, Path(id): Path<String>) -> ApiResult {
    let organization = caller.member_of(&cp, &id)?;
    let regions = cp.regions(&organization.id);
    let all = regions.iter().flat_map(|region| {
        [Class::Container, Class::LinuxVm].map(
            |class| json!({"regionId": region.id, "sandboxClass": class, "gpuAvailable": false, "allowedGpuTypes": []}),
        )
    });
    Ok(ok(&all.collect::<Vec<_>>()))
}
