//! Sandboxes on the wire: the fields in their observed order, with those that newer models require (`kvm`,
//! `networkBlockAll` in lists) or older ones (`class`).

use serde::{Serialize, Serializer, ser::SerializeMap};

use super::error::time;
use crate::{
    gateway::origin::Origin,
    model::{Sandbox, StringMap, snapshots::BuildInfo},
};

/// Which of the observed variants of the full object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shape {
    /// Reads: columns that are unset are null.
    Full,
    /// The answer to a creation leaves unset columns out.
    Created,
    /// The answers to stop and delete lack `lastActivityAt`.
    Ended,
}

/// `Sandbox` of the contract.
pub struct Full<'a> {
    pub sandbox: &'a Sandbox,
    pub origin: &'a Origin,
    pub shape: Shape,
}

impl Serialize for Full<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let s = self.sandbox;
        let created = self.shape == Shape::Created;
        let mut map = serializer.serialize_map(None)?;
        map.serialize_entry("id", &s.id)?;
        map.serialize_entry("organizationId", &s.organization_id)?;
        map.serialize_entry("name", &s.name)?;
        map.serialize_entry("target", &s.target)?;
        // The answer to a creation that is to be built lacks them both (observed).
        let is_known = !created || s.build.is_none();
        if is_known {
            map.serialize_entry("snapshot", &s.snapshot)?;
        }
        map.serialize_entry("user", s.told_user())?;
        map.serialize_entry("env", &Strings(&s.env))?;
        map.serialize_entry("cpu", &s.cpu)?;
        map.serialize_entry("gpu", &s.gpu)?;
        map.serialize_entry("memory", &s.memory)?;
        map.serialize_entry("disk", &s.disk)?;
        map.serialize_entry("public", &s.public)?;
        map.serialize_entry("networkBlockAll", &s.network_block_all)?;
        map.serialize_entry("kvm", &false)?;
        if !created || s.network_allow_list.is_some() {
            map.serialize_entry("networkAllowList", &s.network_allow_list)?;
        }
        if !created || s.domain_allow_list.is_some() {
            map.serialize_entry("domainAllowList", &s.domain_allow_list)?;
        }
        given(&mut map, "outboundProxyUrl", s.outward.outbound_proxy_url.as_ref())?;
        given(&mut map, "otelEndpointOverride", s.outward.otel_endpoint_override.as_ref())?;
        map.serialize_entry("labels", &Strings(&s.labels))?;
        map.serialize_entry("volumes", &s.volumes)?;
        state(&mut map, s, created)?;
        intervals(&mut map, s)?;
        warm_pool(&mut map, s)?;
        map.serialize_entry("sandboxClass", &s.class)?;
        map.serialize_entry("class", size_class(s))?;
        times(&mut map, s, self.shape != Shape::Ended)?;
        if let Some(build) = &s.build {
            map.serialize_entry("buildInfo", &build_info(build))?;
        }
        if !created || s.daemon_version.is_some() {
            map.serialize_entry("daemonVersion", &s.daemon_version)?;
        }
        if is_known {
            map.serialize_entry("runnerId", &s.runner_id)?;
        }
        given(&mut map, "linkedSandboxId", s.linked_to.as_ref())?;
        map.serialize_entry("toolboxProxyUrl", &toolbox_proxy_url(s, self.origin))?;
        map.end()
    }
}

/// `class` of clients from 2025: the crate `daytona-client` requires it, SDKs of that time know these three values.
fn size_class(s: &Sandbox) -> &'static str {
    match s.cpu {
        0 | 1 => "small",
        2 | 3 => "medium",
        _ => "large",
    }
}

fn state<M: SerializeMap>(map: &mut M, s: &Sandbox, created: bool) -> Result<(), M::Error> {
    map.serialize_entry("state", &s.state())?;
    map.serialize_entry("desiredState", &s.desired_state)?;
    if !created || s.error_reason.is_some() {
        map.serialize_entry("errorReason", &s.error_reason)?;
    }
    map.serialize_entry("recoverable", &s.recoverable)?;
    map.serialize_entry("backupState", &s.backup_state)?;
    given(map, "backupCreatedAt", s.backup_created_at.map(time))
}

fn intervals<M: SerializeMap>(map: &mut M, s: &Sandbox) -> Result<(), M::Error> {
    map.serialize_entry("autoStopInterval", &s.auto_stop_interval)?;
    map.serialize_entry("autoPauseInterval", &s.auto_pause_interval)?;
    map.serialize_entry("autoArchiveInterval", &s.auto_archive_interval)?;
    map.serialize_entry("autoDeleteInterval", &s.auto_delete_interval)?;
    given(map, "autoDestroyAt", s.auto_destroy_at.map(time))?;
    given(map, "queueTimeout", s.outward.queue_timeout)
}

/// Only while it waits there (contract).
fn warm_pool<M: SerializeMap>(map: &mut M, s: &Sandbox) -> Result<(), M::Error> {
    given(map, "warmPoolId", s.warm_pool_id.as_ref())
}

/// An entry that is absent where there is nothing.
fn given<M: SerializeMap>(map: &mut M, name: &str, value: Option<impl Serialize>) -> Result<(), M::Error> {
    value.map_or(Ok(()), |value| map.serialize_entry(name, &value))
}

fn times<M: SerializeMap>(map: &mut M, s: &Sandbox, activity: bool) -> Result<(), M::Error> {
    map.serialize_entry("createdAt", &time(s.created_at))?;
    map.serialize_entry("updatedAt", &time(s.updated_at))?;
    if activity {
        map.serialize_entry("lastActivityAt", &time(s.last_activity_at))?;
    }
    Ok(())
}

/// Where its toolbox is: at its region's proxy, or here.
pub fn toolbox_proxy_url(s: &Sandbox, origin: &Origin) -> String {
    format!("{}/toolbox", origin.proxy(s.inherited.proxy.as_deref()))
}

/// `SandboxListItem` of the contract.
pub struct Item<'a> {
    pub sandbox: &'a Sandbox,
    pub origin: &'a Origin,
}

impl Serialize for Item<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let s = self.sandbox;
        let mut map = serializer.serialize_map(None)?;
        map.serialize_entry("id", &s.id)?;
        map.serialize_entry("organizationId", &s.organization_id)?;
        map.serialize_entry("name", &s.name)?;
        map.serialize_entry("target", &s.target)?;
        map.serialize_entry("runnerId", &s.runner_id)?;
        map.serialize_entry("sandboxClass", &s.class)?;
        map.serialize_entry("state", &s.phase().listed())?;
        map.serialize_entry("desiredState", &s.desired_state)?;
        map.serialize_entry("snapshot", &s.snapshot)?;
        map.serialize_entry("user", s.told_user())?;
        map.serialize_entry("errorReason", &s.error_reason)?;
        map.serialize_entry("recoverable", &s.recoverable)?;
        map.serialize_entry("public", &s.public)?;
        map.serialize_entry("networkBlockAll", &s.network_block_all)?;
        map.serialize_entry("kvm", &false)?;
        map.serialize_entry("networkAllowList", &s.network_allow_list)?;
        map.serialize_entry("domainAllowList", &s.domain_allow_list)?;
        map.serialize_entry("cpu", &s.cpu)?;
        map.serialize_entry("gpu", &s.gpu)?;
        map.serialize_entry("memory", &s.memory)?;
        map.serialize_entry("disk", &s.disk)?;
        map.serialize_entry("labels", &Strings(&s.labels))?;
        map.serialize_entry("backupState", &s.backup_state)?;
        intervals(&mut map, s)?;
        warm_pool(&mut map, s)?;
        times(&mut map, s, true)?;
        map.serialize_entry("daemonVersion", &s.daemon_version)?;
        map.serialize_entry("toolboxProxyUrl", &toolbox_proxy_url(s, self.origin))?;
        map.end()
    }
}

/// `BuildInfo` of the contract.
pub fn build_info(build: &BuildInfo) -> serde_json::Value {
    serde_json::json!({
        "dockerfileContent": build.dockerfile,
        "contextHashes": build.context_hashes,
        "createdAt": time(build.created_at),
        "updatedAt": time(build.updated_at),
        "snapshotRef": build.snapshot_ref,
    })
}

/// A map without copies.
struct Strings<'a>(&'a StringMap);

impl Serialize for Strings<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self.0.iter())
    }
}
