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
pub const NO_PAUSE: &str = "Pausing is not supported for this sandbox";

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
                Interval::Stop => sandbox.auto_stop_interval = minutes,
                Interval::Archive => sandbox.auto_archive_interval = clamp_archive(minutes),
                Interval::Delete => sandbox.auto_delete_interval = minutes,
                Interval::Pause if minutes > 0 => return Err(ModelError::new(ErrorKind::Unprocessable, NO_PAUSE)),
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
