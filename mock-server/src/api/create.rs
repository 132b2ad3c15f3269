//! `createSandbox`.

use std::sync::Arc;

use axum::extract::State;
use serde_json::Value;

use super::{
    auth::{Caller, Client},
    body::Body,
    dto::{Full, Shape},
    error::{ApiResult, ok},
    secrets,
    validate::Checks,
};
use crate::model::{ControlPlane, Mount, NewSandbox, Outward};

pub(super) const GPU_TYPES: [&str; 8] =
    ["H100", "RTX-PRO-6000", "H200", "RTX-4090", "RTX-5090", "B200", "B300", "MI355X"];

/// Waits until the sandbox is started, but answers what it was before: `creating` (observed).
pub async fn create(
    State(cp): State<Arc<ControlPlane>>,
    caller: Caller,
    client: Client,
    Body(body): Body,
) -> ApiResult {
    let mut checks = Checks::new(&body);
    let new = read(&mut checks);
    checks.finish()?;
    let record = cp.draft(&caller.0, new)?;
    let sandbox = cp.create(record).await?;
    Ok(ok(&Full { sandbox: &sandbox, origin: &client.origin, shape: Shape::Created }))
}

/// In the order in which problems are told.
fn read(checks: &mut Checks) -> NewSandbox {
    let name = checks.name("name");
    let snapshot = checks.string("snapshot");
    let user = checks.string("user");
    let env = checks.strings("env");
    let labels = checks.strings("labels");
    let public = checks.boolean("public").unwrap_or(false);
    let network_block_all = checks.boolean("networkBlockAll").unwrap_or(false);
    let network_allow_list = checks.string("networkAllowList");
    let domain_allow_list = checks.string("domainAllowList");
    let outbound_proxy_url = checks.string("outboundProxyUrl");
    let otel_endpoint_override = checks.string("otelEndpointOverride");
    let target = checks.string("target");
    let amount = |name| checks_amount(checks, name);
    let (cpus, memories, disks) = (amount("cpu"), amount("memory"), amount("disk"));
    let cpu = checks.resource("cpu", None);
    let gpu = checks.resource("gpu", Some(1.0));
    let has_gpu_type = checks.words("gpuType", &GPU_TYPES);
    let spot = checks.boolean("spot").unwrap_or(false);
    let kvm = checks.boolean("kvm").unwrap_or(false);
    let memory = checks.resource("memory", None);
    let disk = checks.resource("disk", None);
    let auto_stop_interval = checks.minutes("autoStopInterval");
    let auto_pause_interval = checks.minutes("autoPauseInterval");
    let auto_archive_interval = checks.minutes("autoArchiveInterval");
    let auto_delete_interval = checks.minutes("autoDeleteInterval");
    let ttl_minutes = checks.minutes("ttlMinutes");
    let queue_timeout = checks.minutes("queueTimeout");
    let volumes = volumes(checks);
    let build = checks.object("buildInfo").map(build_info);
    let linked_sandbox = checks.string("linkedSandbox");
    let secrets = secrets::pairs(checks);
    NewSandbox {
        name,
        snapshot,
        user,
        env,
        labels,
        public,
        network_block_all,
        network_allow_list,
        domain_allow_list,
        outward: Outward { outbound_proxy_url, otel_endpoint_override, queue_timeout },
        target,
        cpu: cpus,
        memory: memories,
        disk: disks,
        has_resources: cpu || gpu || memory || disk,
        has_gpu: gpu,
        has_gpu_type,
        spot,
        kvm,
        auto_stop_interval,
        auto_pause_interval,
        auto_archive_interval,
        auto_delete_interval,
        ttl_minutes,
        volumes,
        build,
        linked_sandbox,
        secrets,
    }
}

/// A resource, rounded up; nonsense is told by the checks.
fn checks_amount(checks: &Checks, name: &str) -> Option<u32> {
    let number = checks.given(name)?.as_f64()?.ceil();
    (0.0..=65_536.0).contains(&number).then_some(number as u32)
}

/// Dockerfile and context hashes. What is neither is none (observed: nothing in it is checked).
pub(super) fn build_info(info: &serde_json::Map<String, Value>) -> (String, Vec<String>) {
    let hashes = info.get("contextHashes").and_then(Value::as_array);
    let hashes = hashes.into_iter().flatten().filter_map(Value::as_str).map(str::to_owned).collect();
    (info.get("dockerfileContent").and_then(Value::as_str).unwrap_or_default().to_owned(), hashes)
}

/// The volumes, by id or name; messages name the element by its place (observed).
fn volumes(checks: &mut Checks) -> Vec<Mount> {
    let Some(value) = checks.given("volumes") else { return Vec::new() };
    let Some(items) = value.as_array() else {
        checks.problem("volumes must be an array");
        checks.problem("each value in nested property volumes must be either object or array");
        return Vec::new();
    };
    let mut mounts = Vec::new();
    for (i, item) in items.iter().enumerate() {
        let id = item.get("volumeId").filter(|id| !id.is_null());
        if id.is_none_or(|id| id == "") {
            checks.problem(format!("volumes.{i}.volumeId should not be empty"));
        }
        let mut text = |name: &str, needed: bool| {
            let value = item.get(name).filter(|value| needed || !value.is_null());
            if value.map_or(needed, |value| !value.is_string()) {
                checks.problem(format!("volumes.{i}.{name} must be a string"));
            }
            value.and_then(Value::as_str).map(str::to_owned)
        };
        let (volume_id, mount_path) = (text("volumeId", true), text("mountPath", true));
        let subpath = text("subpath", false);
        mounts.push(Mount {
            volume_id: volume_id.unwrap_or_default(),
            mount_path: mount_path.unwrap_or_default(),
            subpath,
        });
    }
    mounts
}
