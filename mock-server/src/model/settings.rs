//! What can be changed in any live state: labels, visibility, intervals, network.

use std::sync::Arc;

use chrono::Duration;

use super::{
    ControlPlane,
    error::{ErrorKind, ModelError},
    network,
    sandbox::{Sandbox, StringMap},
};

/// `/config.maxAutoArchiveInterval`, in minutes; 0 means this too.
pub const MAX_AUTO_ARCHIVE: i32 = 43_200;

/// Containers can't be paused (observed for the pause operation).
const NO_PAUSE: &str = "Pausing is not supported for this sandbox";
/// The contract's and the SDKs' rules; the texts are ours.
const ONE_OF_TWO: &str = "At most one of autoStopInterval and autoPauseInterval may be non-zero";
const EPHEMERAL: &str = "Ephemeral sandboxes cannot have auto-pause enabled. Set autoPauseInterval to 0";

/// Whether a sandbox may pause by itself: machines may that last, and don't stop by themselves.
pub fn check_pause(machine: bool, ephemeral: bool, auto_stop: i32) -> Result<(), ModelError> {
    match (machine, ephemeral) {
        (false, _) => Err(ModelError::new(ErrorKind::Unprocessable, NO_PAUSE)),
        (true, true) => Err(ModelError::bad_request(EPHEMERAL)),
        _ if auto_stop > 0 => Err(ModelError::bad_request(ONE_OF_TWO)),
        _ => Ok(()),
    }
}

/// Minutes until a new sandbox stops and pauses by itself, from what was asked for: a machine that lasts pauses after an
/// hour if nobody says otherwise, everything else stops after a quarter (contract).
pub fn idle_intervals(machine: bool, ephemeral: bool, stop: Option<i32>, pause: Option<i32>) -> (i32, i32) {
    match (stop, pause) {
        (None, None) if machine && !ephemeral => (0, AUTO_PAUSE),
        (None, Some(pause)) if pause > 0 => (0, pause),
        (stop, pause) => (stop.unwrap_or(AUTO_STOP), pause.unwrap_or(0)),
    }
}

const AUTO_STOP: i32 = 15;
const AUTO_PAUSE: i32 = 60;

/// 0 and everything above the maximum mean the maximum (observed).
pub fn clamp_archive(minutes: i32) -> i32 {
    if (1..=MAX_AUTO_ARCHIVE).contains(&minutes) { minutes } else { MAX_AUTO_ARCHIVE }
}

/// One of the settings that are a number of minutes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Interval {
    Stop,
    Pause,
    Archive,
    Delete,
    /// `ttlMinutes`, counted anew from now; 0 takes the limit away.
    Ttl,
}

/// `UpdateSandboxNetworkSettings`; `None` is what the client left out, an empty list clears.
#[derive(Clone, Debug, Default)]
pub struct NetworkSettings {
    pub block_all: Option<bool>,
    pub allow_list: Option<String>,
    pub domains: Option<String>,
}

/// What organisations with limited egress are told (observed).
const LIMITED: &str = "Network access is restricted and cannot be overridden at the sandbox level. See \
                       https://www.daytona.io/docs/en/network-limits/#tier-based-network-restrictions";

impl ControlPlane {
    /// Replaces all labels.
    pub async fn set_labels(&self, sandbox: &Sandbox, labels: StringMap) -> Result<Arc<Sandbox>, ModelError> {
        self.set(sandbox, |sandbox| {
            sandbox.labels = labels;
            Ok(())
        })
        .await
    }

    pub async fn set_public(&self, sandbox: &Sandbox, public: bool) -> Result<Arc<Sandbox>, ModelError> {
        self.set(sandbox, |sandbox| {
            sandbox.public = public;
            Ok(())
        })
        .await
    }

    pub async fn set_interval(
        &self,
        sandbox: &Sandbox,
        which: Interval,
        minutes: i32,
    ) -> Result<Arc<Sandbox>, ModelError> {
        let now = self.clock().now();
        let refuse = |text: &str| Err(ModelError::bad_request(text));
        self.set(sandbox, |sandbox| {
            match which {
                Interval::Stop if minutes < 0 => return refuse("Auto-stop interval must be non-negative"),
                Interval::Archive if minutes < 0 => return refuse("Auto-archive interval must be non-negative"),
                Interval::Pause if minutes < 0 => return refuse("Auto-pause interval must be non-negative"),
                Interval::Ttl if minutes < 0 => return refuse("TTL must be non-negative"),
                Interval::Stop if minutes > 0 && sandbox.auto_pause_interval > 0 => return refuse(ONE_OF_TWO),
                Interval::Stop => sandbox.auto_stop_interval = minutes,
                Interval::Archive => sandbox.auto_archive_interval = clamp_archive(minutes),
                Interval::Delete if minutes == 0 && sandbox.auto_pause_interval > 0 => return refuse(EPHEMERAL),
                Interval::Delete => sandbox.auto_delete_interval = minutes,
                Interval::Pause if minutes > 0 => {
                    let [class, ephemeral] = [sandbox.class.is_machine(), sandbox.is_ephemeral()];
                    check_pause(class, ephemeral, sandbox.auto_stop_interval)?;
                    sandbox.auto_pause_interval = minutes;
                }
                Interval::Pause => sandbox.auto_pause_interval = 0,
                Interval::Ttl if minutes == 0 => sandbox.auto_destroy_at = None,
                Interval::Ttl => sandbox.auto_destroy_at = now.checked_add_signed(Duration::minutes(minutes.into())),
            }
            Ok(())
        })
        .await
    }

    /// Changes what the sandbox may reach, at once if it runs. The rules are observed: an allow list unblocks, blocking
    /// or unblocking clears the allow list unless one is given.
    pub async fn set_network(&self, sandbox: &Sandbox, new: NetworkSettings) -> Result<Arc<Sandbox>, ModelError> {
        if new.block_all.is_none() && new.allow_list.is_none() && new.domains.is_none() {
            let text = "At least one of networkBlockAll, networkAllowList or domainAllowList must be provided";
            return Err(ModelError::bad_request(text));
        }
        if sandbox.inherited.limited_egress {
            return Err(ModelError::bad_request(LIMITED));
        }
        let filled = |list: &Option<String>| list.clone().filter(|list| !list.is_empty());
        let (allow, domains) = (filled(&new.allow_list), filled(&new.domains));
        allow.as_deref().map(network::parse_networks).transpose()?;
        domains.as_deref().map(network::parse_domains).transpose()?;
        self.set(sandbox, |sandbox| {
            if let Some(block) = new.block_all {
                sandbox.network_block_all = block;
                sandbox.network_allow_list = None;
            }
            if new.allow_list.is_some() {
                sandbox.network_block_all &= allow.is_none();
                sandbox.network_allow_list = allow;
            }
            if new.domains.is_some() {
                // "Implies not blocking all" (Python's `update_network_settings`, 0.226).
                sandbox.network_block_all &= new.block_all == Some(true) || domains.is_none();
                sandbox.domain_allow_list = domains;
            }
            Ok(())
        })
        .await
    }

    /// A new key for file URLs; the old one's signatures are void from now on.
    pub async fn rotate_signing_key(&self, sandbox: &Sandbox) -> Result<String, ModelError> {
        let key = super::tokens::signing_key();
        let record = self.set(sandbox, |sandbox| {
            sandbox.signing_key = key;
            Ok(())
        });
        Ok(record.await?.signing_key.clone())
    }

    async fn set(
        &self,
        sandbox: &Sandbox,
        edit: impl FnOnce(&mut Sandbox) -> Result<(), ModelError>,
    ) -> Result<Arc<Sandbox>, ModelError> {
        self.change(&sandbox.id, edit).await
    }
}
