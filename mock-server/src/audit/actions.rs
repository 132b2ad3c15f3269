//! Which operations are in the audit log, as which action on what. The contract's scenarios are made from this table.

use std::collections::{BTreeMap, BTreeSet};

/// operationId, action and target type; those that read nothing but secrets are in it, as in the original.
#[rustfmt::skip]
const TABLE: &[(&str, &str, &str)] = &[
    ("createApiKey", "create", "api_key"),
    ("deleteApiKey", "delete", "api_key"),
    ("deleteApiKeyForUser", "delete", "api_key"),
    ("createOrganization", "create", "organization"),
    ("deleteOrganization", "delete", "organization"),
    ("setOrganizationDefaultRegion", "update", "organization"),
    ("updateExperimentalConfig", "update", "organization"),
    ("updateOrganizationQuota", "update_quota", "organization"),
    ("updateOrganizationRegionQuota", "update_region_quota", "organization"),
    ("suspendOrganization", "suspend", "organization"),
    ("unsuspendOrganization", "unsuspend", "organization"),
    ("updateOrganizationOtelConfig", "update_otel_config", "organization"),
    ("deleteOrganizationOtelConfig", "delete_otel_config", "organization"),
    ("updateSandboxDefaultLimitedNetworkEgress", "update_sandbox_default_limited_network_egress", "organization"),
    ("updateOrganizationPreviewWarning", "update_preview_warning", "organization"),
    ("updateOrganizationSsoEnabled", "update_sso_enabled", "organization"),
    ("WebhookController_initializeWebhooks", "initialize_webhooks", "organization"),
    ("leaveOrganization", "leave_organization", "other"),
    ("createOrganizationRole", "create", "organization_role"),
    ("updateOrganizationRole", "update", "organization_role"),
    ("deleteOrganizationRole", "delete", "organization_role"),
    ("updateAccessForOrganizationMember", "update_access", "organization_user"),
    ("deleteOrganizationMember", "delete", "organization_user"),
    ("createOrganizationInvitation", "create", "organization_invitation"),
    ("updateOrganizationInvitation", "update", "organization_invitation"),
    ("cancelOrganizationInvitation", "delete", "organization_invitation"),
    ("acceptOrganizationInvitation", "accept", "organization_invitation"),
    ("declineOrganizationInvitation", "decline", "organization_invitation"),
    ("createOrganizationIdentityProvider", "create", "identity_provider"),
    ("updateOrganizationIdentityProvider", "update", "identity_provider"),
    ("deleteOrganizationIdentityProvider", "delete", "identity_provider"),
    ("linkAccount", "link_account", "user"),
    ("unlinkAccount", "unlink_account", "user"),
    ("createRegion", "create", "region"),
    ("updateRegion", "update", "region"),
    ("deleteRegion", "delete", "region"),
    ("regenerateProxyApiKey", "regenerate_proxy_api_key", "region"),
    ("regenerateSshGatewayApiKey", "regenerate_ssh_gateway_api_key", "region"),
    ("regenerateSnapshotManagerCredentials", "regenerate_snapshot_manager_credentials", "region"),
    ("createSandbox", "create", "sandbox"),
    ("deleteSandbox", "delete", "sandbox"),
    ("recoverSandbox", "recover", "sandbox"),
    ("startSandbox", "start", "sandbox"),
    ("stopSandbox", "stop", "sandbox"),
    ("pauseSandbox", "pause", "sandbox"),
    ("resizeSandbox", "resize", "sandbox"),
    ("replaceLabels", "replace_labels", "sandbox"),
    ("createBackup", "create_backup", "sandbox"),
    ("createSandboxSnapshot", "snapshot", "sandbox"),
    ("forkSandbox", "fork", "sandbox"),
    ("updatePublicStatus", "update_public_status", "sandbox"),
    ("rotateSigningKey", "rotate_signing_key", "sandbox"),
    ("setAutostopInterval", "set_auto_stop_interval", "sandbox"),
    ("setAutoPauseInterval", "set_auto_pause_interval", "sandbox"),
    ("setTtl", "set_ttl", "sandbox"),
    ("setAutoArchiveInterval", "set_auto_archive_interval", "sandbox"),
    ("setAutoDeleteInterval", "set_auto_delete_interval", "sandbox"),
    ("updateNetworkSettings", "update_network_settings", "sandbox"),
    ("updateSandboxSecrets", "update_secrets", "sandbox"),
    ("archiveSandbox", "archive", "sandbox"),
    ("getPortPreviewUrl", "get_port_preview_url", "sandbox"),
    ("getSignedPortPreviewUrl", "get_port_preview_url", "sandbox"),
    ("createSshAccess", "create_ssh_access", "sandbox"),
    ("revokeSshAccess", "revoke_ssh_access", "sandbox"),
    ("createRunner", "create", "runner"),
    ("deleteRunner", "delete", "runner"),
    ("updateRunnerScheduling", "update_scheduling", "runner"),
    ("updateRunnerDraining", "update_draining", "runner"),
    ("createSnapshot", "create", "snapshot"),
    ("removeSnapshot", "delete", "snapshot"),
    ("activateSnapshot", "activate", "snapshot"),
    ("deactivateSnapshot", "deactivate", "snapshot"),
    ("createVolume", "create", "volume"),
    ("deleteVolume", "delete", "volume"),
    ("createWarmPool", "create", "warm_pool"),
    ("updateWarmPool", "update", "warm_pool"),
    ("deleteWarmPool", "delete", "warm_pool"),
    ("createRegistry", "create", "docker_registry"),
    ("updateRegistry", "update", "docker_registry"),
    ("deleteRegistry", "delete", "docker_registry"),
    ("createSecret", "create", "secret"),
    ("updateSecret", "update", "secret"),
    ("deleteSecret", "delete", "secret"),
];

/// What the server does by itself.
const SYSTEM: [(&str, &str); 4] =
    [("auto_stop", "sandbox"), ("auto_archive", "sandbox"), ("auto_delete", "sandbox"), ("ttl_expire", "sandbox")];

/// Action and target type of an operation, if it is in the log.
pub fn of(operation_id: &str) -> Option<(&'static str, &'static str)> {
    TABLE.iter().find(|(id, ..)| *id == operation_id).map(|(_, action, target)| (*action, *target))
}

/// Target types with their actions, both sorted.
pub fn scenarios() -> BTreeMap<&'static str, BTreeSet<&'static str>> {
    let mut all: BTreeMap<_, BTreeSet<_>> = BTreeMap::new();
    let asked = TABLE.iter().map(|(_, action, target)| (*action, *target));
    for (action, target) in asked.chain(SYSTEM) {
        all.entry(target).or_default().insert(action);
    }
    all
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::operations::OPERATIONS;

    /// Changes that the contract has no action for.
    const UNNAMED: [&str; 11] = [
        "updateLastActivity",
        "expireSignedPortPreviewUrl",
        "enrollInSmsMfa",
        "testOrganizationIdentityProviderConnection",
        "confirmPendingSsoLink",
        "dismissPendingSsoLink",
        "WebhookController_getAppPortalAccess",
        "WebhookController_refreshEndpoints",
        "updateSandboxState",
        "runnerHealthcheck",
        "updateJobStatus",
    ];

    #[test]
    fn every_change_is_in_the_log() {
        for operation in OPERATIONS.iter().filter(|op| op.method != "GET" && !op.id.starts_with("admin")) {
            let known = of(operation.id).is_some();
            assert_ne!(known, UNNAMED.contains(&operation.id), "{}", operation.id);
        }
        for (id, ..) in TABLE {
            assert!(OPERATIONS.iter().any(|operation| operation.id == *id), "{id}");
        }
    }
}
