//! What a new sandbox may be: the checks of `createSandbox` that need more than the body, in the observed order.

use std::sync::Arc;

use chrono::Duration;

use super::{
    ControlPlane, Identity, Outward,
    error::ModelError,
    linking, network,
    rules::Phase,
    sandbox::{BackupState, Sandbox, StringMap},
    settings,
    snapshots::{self, BuildInfo, Source},
    tokens,
    volumes::Mount,
};
use crate::variables;

/// The one region, shared by all.
pub const REGION: &str = "us";

/// A well-formed `CreateSandbox`; `None` is what the client left out.
#[derive(Clone, Debug, Default)]
pub struct NewSandbox {
    pub name: Option<String>,
    /// Name or id; blank is the default one.
    pub snapshot: Option<String>,
    pub user: Option<String>,
    pub env: StringMap,
    pub labels: StringMap,
    pub public: bool,
    pub network_block_all: bool,
    pub network_allow_list: Option<String>,
    pub domain_allow_list: Option<String>,
    pub outward: Outward,
    pub target: Option<String>,
    /// Any of cpu, gpu, memory, disk was given and isn't 0.
    pub has_resources: bool,
    pub cpu: Option<u32>,
    /// GiB.
    pub memory: Option<u32>,
    /// GiB.
    pub disk: Option<u32>,
    pub has_gpu: bool,
    pub has_gpu_type: bool,
    pub spot: bool,
    pub kvm: bool,
    pub auto_stop_interval: Option<i32>,
    pub auto_pause_interval: Option<i32>,
    pub auto_archive_interval: Option<i32>,
    pub auto_delete_interval: Option<i32>,
    pub ttl_minutes: Option<i32>,
    /// With names in the place of ids, as clients may give them.
    pub volumes: Vec<Mount>,
    /// Dockerfile and context hashes.
    pub build: Option<(String, Vec<String>)>,
    pub linked_sandbox: Option<String>,
    /// Variable and name of the secret.
    pub secrets: Vec<(String, String)>,
}

const MINUTES: &str = "must be non-negative";

impl ControlPlane {
    /// The record of a new sandbox, or why there can't be one.
    pub fn draft(&self, caller: &Identity, mut new: NewSandbox) -> Result<Sandbox, ModelError> {
        let region = self.target(caller, &new)?;
        let (source, owner) = match new.build {
            Some(_) => check_build(&new).map(|()| (None, None))?,
            None => {
                let owner = self.check_linked(caller, &new)?;
                (Some(self.choose_snapshot(caller, &new, &region)?), owner)
            }
        };
        if new.has_gpu && new.auto_delete_interval != Some(0) {
            return Err(ModelError::bad_request("GPU sandboxes must be ephemeral - set autoDeleteInterval to 0"));
        }
        // The newest SDK's documentation says that both are refused (`daytona` 0.226); the words are ours.
        if new.spot && !new.has_gpu {
            return Err(ModelError::bad_request("Spot sandboxes must have a GPU"));
        }
        if new.kvm {
            return Err(ModelError::bad_request("KVM is not available for this organization"));
        }
        self.check_active(&caller.organization_id)?;
        check_lists(new.network_allow_list.as_deref(), new.domain_allow_list.as_deref())?;
        new.outward.check()?;
        self.check_inside(&new.env, new.user.as_deref())?;
        new.volumes = self.mounts(&caller.organization_id, std::mem::take(&mut new.volumes))?;
        if new.has_gpu {
            return Err(ModelError::bad_request("No available runners"));
        }
        let secrets = self.attachments(&caller.organization_id, &new.secrets)?;
        check_intervals(&new, source.as_ref().is_some_and(|source| source.class().is_machine()))?;
        let record = Sandbox { linked_to: owner, secrets, ..self.record(caller, new, source.as_ref(), region) };
        // One that waits has its place already.
        if !self.is_warm(&record) {
            self.check_quota(None, &record)?;
        }
        Ok(record)
    }

    /// The region that a sandbox is for: named, or the organisation's own choice, without which there is none (observed).
    fn target(&self, caller: &Identity, new: &NewSandbox) -> Result<String, ModelError> {
        let default = self.default_region(&caller.organization_id)?;
        match new.target.as_deref().filter(|target| !target.is_empty()) {
            Some(target) => self.region(&caller.organization_id, target),
            None => Ok(default),
        }
    }

    /// An organisation's own choice of a region; 400 if it has made none (observed).
    pub fn default_region(&self, organization_id: &str) -> Result<String, ModelError> {
        let organization = self.organization(organization_id);
        organization.and_then(|organization| organization.default_region.clone()).ok_or_else(|| {
            let text = "This organization does not have a default region. Please open the Daytona Dashboard to set a \
                        default region.";
            ModelError::bad_request(text)
        })
    }

    /// 400 for what no process inside could be given: nothing would run. The words are those of the toolbox's `UpdateEnv`;
    /// what the original answers isn't known (its check looks at the container's type only, as observed).
    pub(super) fn check_inside(&self, env: &StringMap, user: Option<&str>) -> Result<(), ModelError> {
        variables::check_all(env.iter(), self.config().limits.environment).map_err(ModelError::bad_request)?;
        match user {
            Some(user) if user.contains('\0') => Err(ModelError::bad_request("user must not contain NUL characters")),
            _ => Ok(()),
        }
    }

    /// 403 while the organisation is suspended.
    pub(super) fn check_active(&self, organization_id: &str) -> Result<(), ModelError> {
        let organization = self.organization(organization_id);
        organization.map_or(Ok(()), |organization| organization.check_active(self.clock().now()))
    }

    fn choose_snapshot(&self, caller: &Identity, new: &NewSandbox, region: &str) -> Result<Source, ModelError> {
        let name = new.snapshot.as_deref().filter(|name| !name.trim().is_empty()).unwrap_or(snapshots::DEFAULT);
        let snapshot = self.snapshot_for(&caller.organization_id, name)?;
        if snapshot.region() != region {
            return Err(ModelError::bad_request(format!("Snapshot {name} is not available in region {region}")));
        }
        if new.has_resources {
            return Err(ModelError::bad_request("Cannot specify Sandbox resources when using a snapshot"));
        }
        if new.has_gpu_type {
            let text =
                "Cannot specify GPU type when creating sandbox from snapshot. GPU type is inherited from snapshot.";
            return Err(ModelError::bad_request(text));
        }
        Ok(snapshot)
    }

    /// The id of the sandbox that a new one is to be linked to.
    fn check_linked(&self, caller: &Identity, new: &NewSandbox) -> Result<Option<String>, ModelError> {
        let Some(owner) = new.linked_sandbox.as_deref().filter(|owner| !owner.is_empty()) else { return Ok(None) };
        if new.auto_delete_interval != Some(0) {
            let text = "Linked sandboxes must be ephemeral (set autoDeleteInterval to 0)";
            return Err(ModelError::bad_request(text));
        }
        let owner = self.find(&caller.organization_id, owner)?;
        linking::check_owner(&owner)?;
        Ok(Some(owner.id.clone()))
    }

    fn record(&self, caller: &Identity, new: NewSandbox, source: Option<&Source>, region: String) -> Sandbox {
        let now = self.clock().now();
        let id = tokens::uuid();
        let ttl = new.ttl_minutes.filter(|minutes| *minutes > 0);
        let phase = if source.is_some() { Phase::NEW } else { Phase::UNBUILT };
        let (cpu, memory, disk, root, user) = match source {
            Some(Source::General(general, _)) => (general.cpu, general.memory, general.disk, Arc::default(), "daytona"),
            Some(Source::Own(own)) => (own.cpu, own.memory, own.disk, own.root.clone(), own.user.as_str()),
            None => {
                let asked = |given: Option<u32>, default| given.filter(|n| *n > 0).unwrap_or(default);
                // The image decides, once there is one.
                (asked(new.cpu, 1), asked(new.memory, 1), asked(new.disk, 3), Arc::default(), "")
            }
        };
        let class = source.map(Source::class).unwrap_or_default();
        let ephemeral = new.auto_delete_interval == Some(0);
        let (auto_stop_interval, auto_pause_interval) =
            settings::idle_intervals(class.is_machine(), ephemeral, new.auto_stop_interval, new.auto_pause_interval);
        let build = new.build.map(|(dockerfile, hashes)| BuildInfo::new(dockerfile, hashes, now));
        let same = build.as_ref().and_then(|build| self.built_before(&caller.organization_id, &build.snapshot_ref));
        let (phase, root) = same.map_or((phase, root), |root| (Phase::NEW, root));
        Sandbox {
            name: new.name.filter(|name| !name.is_empty()).unwrap_or_else(|| id.clone()),
            id,
            organization_id: caller.organization_id.clone(),
            snapshot: source.map(|source| source.name().to_owned()),
            user: new.user.filter(|user| !user.is_empty()).unwrap_or_else(|| user.into()),
            env: new.env,
            labels: new.labels,
            public: new.public,
            network_block_all: new.network_block_all,
            network_allow_list: new.network_allow_list.filter(|list| !list.is_empty()),
            domain_allow_list: new.domain_allow_list.filter(|list| !list.is_empty()),
            target: region,
            cpu,
            gpu: 0,
            memory,
            disk,
            actual_state: phase.actual,
            desired_state: phase.desired,
            error_reason: None,
            recoverable: false,
            auto_stop_interval,
            auto_pause_interval,
            auto_archive_interval: settings::clamp_archive(new.auto_archive_interval.unwrap_or(7 * 24 * 60)),
            auto_delete_interval: new.auto_delete_interval.unwrap_or(-1),
            auto_destroy_at: ttl.and_then(|minutes| now.checked_add_signed(Duration::minutes(minutes.into()))),
            created_at: now,
            updated_at: now,
            last_activity_at: now,
            daemon_version: None,
            runner_id: Some(self.runner_id().into()),
            preview_token: tokens::preview_token(),
            signing_key: tokens::signing_key(),
            root,
            build,
            volumes: new.volumes,
            warm_pool_id: None,
            inherited: Default::default(),
            class,
            backup_state: BackupState::None,
            backup_created_at: None,
            resizing_to: None,
            snapshotting_as: None,
            forked_from: None,
            linked_to: None,
            secrets: Vec::new(),
            outward: new.outward,
        }
    }
}

fn check_build(new: &NewSandbox) -> Result<(), ModelError> {
    if new.snapshot.as_deref().is_some_and(|name| !name.is_empty()) {
        return Err(ModelError::bad_request("Cannot specify a snapshot when using a build info entry"));
    }
    if new.linked_sandbox.is_some() {
        let text = "linkedSandbox is not supported with declarative builds. Create a sandbox from a snapshot";
        return Err(ModelError::bad_request(text));
    }
    Ok(())
}

pub(super) fn check_lists(networks: Option<&str>, domains: Option<&str>) -> Result<(), ModelError> {
    if let Some(list) = networks.filter(|list| !list.is_empty()) {
        network::parse_networks(list)?;
    }
    if let Some(list) = domains.filter(|list| !list.is_empty()) {
        network::parse_domains(list)?;
    }
    Ok(())
}

fn check_intervals(new: &NewSandbox, machine: bool) -> Result<(), ModelError> {
    let negative = |minutes: Option<i32>| minutes.is_some_and(|minutes| minutes < 0);
    let checks = [
        (new.auto_stop_interval, "Auto-stop interval"),
        (new.auto_archive_interval, "Auto-archive interval"),
        (new.auto_pause_interval, "Auto-pause interval"),
        (new.ttl_minutes, "TTL"),
    ];
    if let Some((_, what)) = checks.into_iter().find(|(minutes, _)| negative(*minutes)) {
        return Err(ModelError::bad_request(format!("{what} {MINUTES}")));
    }
    if new.auto_pause_interval.is_some_and(|minutes| minutes > 0) {
        return settings::check_pause(
            machine,
            new.auto_delete_interval == Some(0),
            new.auto_stop_interval.unwrap_or(0),
        );
    }
    Ok(())
}
