//! What an organisation uses, and what it may. Nothing is enforced unless quotas are switched on (`--quota`, or for one
//! organisation at `/__control/organization`); then every change that costs more is checked as it is committed.

use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::{
    ControlPlane,
    error::ModelError,
    organization::Organization,
    sandbox::{DesiredState, Sandbox, State},
    snapshots::SnapshotState,
    world::World,
};

/// Totals of an organisation, and what one sandbox may have. Whole vCPUs and GiB; the defaults are documented.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Quota {
    pub cpu: u32,
    pub memory: u32,
    pub disk: u32,
    pub gpu: u32,
    pub max_cpu_per_sandbox: u32,
    pub max_memory_per_sandbox: u32,
    pub max_disk_per_sandbox: u32,
    /// Snapshots, of which the general default one is always one (observed).
    pub snapshots: u32,
    pub volumes: u32,
}

impl Default for Quota {
    fn default() -> Quota {
        Quota {
            cpu: 10,
            memory: 10,
            disk: 30,
            gpu: 0,
            max_cpu_per_sandbox: 4,
            max_memory_per_sandbox: 8,
            max_disk_per_sandbox: 10,
            snapshots: 30,
            volumes: 100,
        }
    }
}

impl Quota {
    /// Sets one by its name, as in [`FromStr`].
    pub fn set(&mut self, name: &str, value: u32) -> bool {
        let field = match name {
            "cpu" => &mut self.cpu,
            "memory" => &mut self.memory,
            "disk" => &mut self.disk,
            "gpu" => &mut self.gpu,
            "max-cpu-per-sandbox" => &mut self.max_cpu_per_sandbox,
            "max-memory-per-sandbox" => &mut self.max_memory_per_sandbox,
            "max-disk-per-sandbox" => &mut self.max_disk_per_sandbox,
            "snapshots" => &mut self.snapshots,
            "volumes" => &mut self.volumes,
            _ => return false,
        };
        *field = value;
        true
    }
}

/// `default`, or `NAME=NUMBER,…` over the defaults.
impl FromStr for Quota {
    type Err = String;

    fn from_str(text: &str) -> Result<Quota, String> {
        let mut quota = Quota::default();
        for part in text.split(',').map(str::trim).filter(|part| *part != "default") {
            let (name, value) = part.split_once('=').ok_or("expected default, or NAME=NUMBER,…")?;
            let value = value.trim().parse().map_err(|_| format!("{name} must be a whole number"))?;
            if !quota.set(name.trim(), value) {
                return Err(format!(
                    "no quota is called {name}: there are cpu, memory, disk, gpu, max-cpu-per-sandbox, \
                     max-memory-per-sandbox, max-disk-per-sandbox, snapshots and volumes"
                ));
            }
        }
        Ok(quota)
    }
}

/// What sandboxes cost.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Charge {
    pub cpu: u32,
    pub memory: u32,
    pub disk: u32,
    pub gpu: u32,
}

impl Charge {
    /// What a sandbox costs in its state (`control-plane.md` 3.5): what runs everything, what rests its disk.
    pub fn of(sandbox: &Sandbox) -> Charge {
        use State as S;
        let runs = match sandbox.state() {
            S::Creating
            | S::Restoring
            | S::Started
            | S::Starting
            | S::Stopping
            | S::PendingBuild
            | S::BuildingSnapshot
            | S::Unknown
            | S::PullingSnapshot
            | S::Forking
            | S::Pausing
            | S::Resuming => true,
            S::Resizing | S::Snapshotting => sandbox.desired_state == DesiredState::Started,
            _ => false,
        };
        let rests = matches!(sandbox.state(), S::Stopped | S::Paused | S::Archiving | S::Resizing | S::Snapshotting);
        match (runs, rests) {
            (true, _) => Charge { cpu: sandbox.cpu, memory: sandbox.memory, disk: sandbox.disk, gpu: sandbox.gpu },
            (false, true) => Charge { disk: sandbox.disk, ..Charge::default() },
            (false, false) => Charge::default(),
        }
    }

    fn plus(self, other: Charge) -> Charge {
        let sum = u32::saturating_add;
        Charge {
            cpu: sum(self.cpu, other.cpu),
            memory: sum(self.memory, other.memory),
            disk: sum(self.disk, other.disk),
            gpu: sum(self.gpu, other.gpu),
        }
    }
}

/// What is used in one region.
#[derive(Clone, Debug)]
pub struct RegionUsage {
    pub region: String,
    pub charge: Charge,
    pub quota: Quota,
}

/// What an organisation uses.
#[derive(Clone, Debug)]
pub struct Usage {
    pub regions: Vec<RegionUsage>,
    pub snapshots: usize,
    pub volumes: usize,
}

const HIGHER: &str =
    "Need higher resource limits per-sandbox? Contact us at support@daytona.io and let us know about your use case.";
const UPGRADE: &str = "To increase concurrency limits, upgrade your organization's Tier by visiting";
const ARCHIVE: &str = "Consider archiving your unused Sandboxes to free up available storage.";
/// Where the messages send people. This server has no dashboard.
const DASHBOARD: &str = "https://app.daytona.io/dashboard/limits";

impl Quota {
    /// What one sandbox may have (observed texts).
    pub fn check_one(&self, cpu: u32, memory: u32, disk: u32) -> Result<(), ModelError> {
        let over = |what: &str, unit: &str, asked: u32, most: u32| {
            let text = format!("{what} request {asked}{unit} exceeds maximum allowed per sandbox ({most}{unit}).");
            Err(ModelError::bad_request(format!("{text}\n{HIGHER}")))
        };
        if cpu > self.max_cpu_per_sandbox {
            return over("CPU", "", cpu, self.max_cpu_per_sandbox);
        }
        if memory > self.max_memory_per_sandbox {
            return over("Memory", "GB", memory, self.max_memory_per_sandbox);
        }
        if disk > self.max_disk_per_sandbox {
            return over("Disk", "GB", disk, self.max_disk_per_sandbox);
        }
        Ok(())
    }

    /// What all may have together, where `more` is what a change adds to (observed texts).
    fn check_total(&self, total: Charge, more: Charge) -> Result<(), ModelError> {
        let rows = [
            ("CPU", "", total.cpu, self.cpu, more.cpu, ""),
            ("memory", "GiB", total.memory, self.memory, more.memory, ""),
            ("disk", "GiB", total.disk, self.disk, more.disk, ARCHIVE),
            ("GPU", "", total.gpu, self.gpu, more.gpu, ""),
        ];
        let over = rows.into_iter().find(|(_, _, total, most, more, _)| *more > 0 && total > most);
        let Some((what, unit, _, most, _, hint)) = over else { return Ok(()) };
        let mut text = format!("Total {what} limit exceeded. Maximum allowed: {most}{unit}.");
        if !hint.is_empty() {
            text = format!("{text}\n{hint}");
        }
        if what != "GPU" {
            text = format!("{text}\n{UPGRADE} {DASHBOARD}.");
        }
        Err(ModelError::bad_request(text))
    }
}

impl World {
    /// What an organisation's sandboxes cost, but for one.
    fn charge(&self, organization_id: &str, besides: &str, region: Option<&str>) -> Charge {
        let ids = self.tenants.get(organization_id).map(|tenant| tenant.ids.iter());
        let records = ids.into_iter().flatten().filter(|id| *id != besides).filter_map(|id| self.sandboxes.get(id));
        let there = records.filter(|entry| region.is_none_or(|region| entry.record.target == region));
        there.map(|entry| Charge::of(&entry.record)).fold(Charge::default(), Charge::plus)
    }
}

impl ControlPlane {
    /// The quota in force for an organisation, if it is enforced.
    pub(super) fn enforced(&self, organization_id: &str) -> Option<Quota> {
        let own = self.organization(organization_id).and_then(|organization| organization.quota);
        own.or(self.config().quota)
    }

    /// What an organisation is told it may have.
    pub fn quota(&self, organization: &Organization) -> Quota {
        organization.quota.or(self.config().quota).unwrap_or_default()
    }

    /// What an organisation uses now.
    pub fn usage(&self, organization: &Organization) -> Usage {
        let quota = self.quota(organization);
        let regions = self.regions(&organization.id);
        let world = self.world.read();
        let charge = |region: &str| world.charge(&organization.id, "", Some(region));
        let regions =
            regions.iter().map(|region| RegionUsage { region: region.id.clone(), charge: charge(&region.id), quota });
        Usage {
            regions: regions.collect(),
            snapshots: snapshots(&world, &organization.id),
            volumes: world.volumes_of(&organization.id),
        }
    }

    /// Whether a new or changed sandbox fits: 400 where it costs more than `old` and that is too much. The caller has its
    /// turn, so that of two that fit only one at a time both don't get in.
    pub(super) fn check_quota(&self, old: Option<&Sandbox>, next: &Sandbox) -> Result<(), ModelError> {
        let Some(quota) = self.enforced(&next.organization_id) else { return Ok(()) };
        let size = |sandbox: &Sandbox| (sandbox.cpu, sandbox.memory, sandbox.disk);
        if old.is_none_or(|old| size(old) != size(next)) {
            quota.check_one(next.cpu, next.memory, next.disk)?;
        }
        let (before, after) = (old.map(Charge::of).unwrap_or_default(), Charge::of(next));
        let more = Charge {
            cpu: after.cpu.saturating_sub(before.cpu),
            memory: after.memory.saturating_sub(before.memory),
            disk: after.disk.saturating_sub(before.disk),
            gpu: after.gpu.saturating_sub(before.gpu),
        };
        if more == Charge::default() {
            return Ok(());
        }
        let others = self.world.read().charge(&next.organization_id, &next.id, None);
        quota.check_total(others.plus(after), more)
    }

    /// Whether an organisation that has nothing yet may have all of these.
    pub(super) fn check_quota_of_all<'a>(
        &self,
        organization_id: &str,
        all: impl Iterator<Item = &'a Sandbox>,
    ) -> Result<(), ModelError> {
        let Some(quota) = self.enforced(organization_id) else { return Ok(()) };
        let mut total = Charge::default();
        for one in all {
            quota.check_one(one.cpu, one.memory, one.disk)?;
            total = total.plus(Charge::of(one));
        }
        quota.check_total(total, total)
    }

    /// How many volumes an organisation may have.
    pub(super) fn volume_quota(&self, organization_id: &str) -> usize {
        self.enforced(organization_id).map_or(usize::MAX, |quota| quota.volumes as usize)
    }

    /// Whether one more snapshot fits.
    pub(super) fn check_snapshot_quota(&self, organization_id: &str) -> Result<(), ModelError> {
        let Some(quota) = self.enforced(organization_id) else { return Ok(()) };
        if snapshots(&self.world.read(), organization_id) < quota.snapshots as usize {
            return Ok(());
        }
        Err(ModelError::bad_request(format!("Snapshot quota exceeded. Maximum allowed: {}", quota.snapshots)))
    }
}

/// Those that count; the general default one does (observed).
fn snapshots(world: &World, organization_id: &str) -> usize {
    use SnapshotState::{Active, Building, Pending, Pulling};
    let own = world.snapshots.values().filter(|snapshot| snapshot.organization_id == organization_id);
    own.filter(|snapshot| matches!(snapshot.state, Building | Pending | Pulling | Active)).count() + 1
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quotas_are_parsed() {
        assert_eq!("default".parse(), Ok(Quota::default()));
        let given = "cpu=2, snapshots=3".parse();
        assert_eq!(given, Ok(Quota { cpu: 2, snapshots: 3, ..Quota::default() }));
        for bad in ["", "cpu", "cpu=x", "cpu=-1", "nope=1"] {
            assert!(bad.parse::<Quota>().is_err(), "{bad}");
        }
    }

    #[test]
    fn what_adds_nothing_is_never_too_much() {
        let (quota, total) = (Quota { cpu: 1, ..Quota::default() }, Charge { cpu: 5, ..Charge::default() });
        assert_eq!(quota.check_total(total, Charge { memory: 1, ..Charge::default() }), Ok(()));
        let error = quota.check_total(total, Charge { cpu: 1, ..Charge::default() }).expect_err("too much");
        assert!(error.message.starts_with("Total CPU limit exceeded. Maximum allowed: 1.\nTo increase"), "{error}");
    }
}
