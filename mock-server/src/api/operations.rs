//! Every operation of the contract, and what of it this server emulates. What isn't answers 501 and names itself.

/// An operation of the control plane.
#[derive(Debug)]
pub struct Operation {
    /// Its `operationId` in `openapi/api.json`.
    pub id: &'static str,
    pub method: &'static str,
    /// Below `/api`, parameters in braces.
    pub path: &'static str,
    pub support: Support,
}

/// What this server does with an operation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Support {
    Emulated,
    /// Answers 501.
    Later,
    /// For the parts of the real product among themselves: keys of users get 403.
    Internal,
    /// Out of this server's reach: answers as the original does to keys of users (what its operators do; what of it tests
    /// need is below `/__control`), or where it is switched off (runners of users, accounts of identity providers).
    Refused,
}

impl Operation {
    /// Whether a path below `/api` is this operation's. Literal parts match in any case (observed).
    pub fn matches(&self, path: &str) -> bool {
        let mut parts = path.split('/');
        let fits = self.path.split('/').all(|own| {
            parts.next().is_some_and(|part| is_parameter(own) && !part.is_empty() || own.eq_ignore_ascii_case(part))
        });
        fits && parts.next().is_none()
    }

    /// The parameters of a path that matches, by their names.
    pub fn arguments<'a>(&self, path: &'a str) -> Vec<(&'static str, &'a str)> {
        let all = self.path.split('/').zip(path.split('/')).filter(|(own, _)| is_parameter(own));
        all.map(|(own, part)| (own.trim_matches(['{', '}']), part)).collect()
    }

    fn parameters(&self) -> usize {
        self.path.split('/').filter(|own| is_parameter(own)).count()
    }

    /// `path` with this operation's literal parts in their own case.
    pub fn canonical(&self, path: &str) -> String {
        let own = self.path.split('/').zip(path.split('/'));
        own.map(|(own, part)| if is_parameter(own) { part } else { own }).collect::<Vec<_>>().join("/")
    }
}

fn is_parameter(part: &str) -> bool {
    part.starts_with('{')
}

/// The operation that a request is for: literal paths before those with parameters.
pub fn find(method: &str, path: &str) -> Option<&'static Operation> {
    let fitting = OPERATIONS.iter().filter(|op| op.method == method && op.matches(path));
    fitting.min_by_key(|op| op.parameters())
}

const fn op(id: &'static str, method: &'static str, path: &'static str, support: Support) -> Operation {
    Operation { id, method, path, support }
}

use Support::{Emulated, Internal, Later, Refused};

/// In the order of the contract.
#[rustfmt::skip]
pub const OPERATIONS: &[Operation] = &[
    op("ConfigController_getConfig", "GET", "/config", Emulated),
    op("createApiKey", "POST", "/api-keys", Emulated),
    op("listApiKeys", "GET", "/api-keys", Emulated),
    op("getCurrentApiKey", "GET", "/api-keys/current", Emulated),
    op("getApiKey", "GET", "/api-keys/{name}", Emulated),
    op("deleteApiKey", "DELETE", "/api-keys/{name}", Emulated),
    op("deleteApiKeyForUser", "DELETE", "/api-keys/{userId}/{name}", Emulated),
    op("listOrganizationInvitationsForAuthenticatedUser", "GET", "/organizations/invitations", Emulated),
    op("getOrganizationInvitationsCountForAuthenticatedUser", "GET", "/organizations/invitations/count", Emulated),
    op("acceptOrganizationInvitation", "POST", "/organizations/invitations/{invitationId}/accept", Emulated),
    op("declineOrganizationInvitation", "POST", "/organizations/invitations/{invitationId}/decline", Emulated),
    op("createOrganization", "POST", "/organizations", Emulated),
    op("listOrganizations", "GET", "/organizations", Emulated),
    op("setOrganizationDefaultRegion", "PATCH", "/organizations/{organizationId}/default-region", Emulated),
    op("getOrganization", "GET", "/organizations/{organizationId}", Emulated),
    op("deleteOrganization", "DELETE", "/organizations/{organizationId}", Emulated),
    op("getOrganizationUsageOverview", "GET", "/organizations/{organizationId}/usage", Emulated),
    op("listAvailableSandboxClasses", "GET", "/organizations/{organizationId}/available-sandbox-classes", Emulated),
    op("updateOrganizationQuota", "PATCH", "/organizations/{organizationId}/quota", Refused),
    op("updateOrganizationRegionQuota", "PATCH", "/organizations/{organizationId}/quota/{regionId}", Refused),
    op("leaveOrganization", "POST", "/organizations/{organizationId}/leave", Emulated),
    op("suspendOrganization", "POST", "/organizations/{organizationId}/suspend", Refused),
    op("unsuspendOrganization", "POST", "/organizations/{organizationId}/unsuspend", Refused),
    op("getOrganizationOtelConfigBySandboxAuthToken", "GET", "/organizations/otel-config/by-sandbox-auth-token/{authToken}", Refused),
    op("getOrganizationOtelConfig", "GET", "/organizations/{organizationId}/otel-config", Refused),
    op("updateOrganizationOtelConfig", "PUT", "/organizations/{organizationId}/otel-config", Emulated),
    op("deleteOrganizationOtelConfig", "DELETE", "/organizations/{organizationId}/otel-config", Emulated),
    op("updateSandboxDefaultLimitedNetworkEgress", "POST", "/organizations/{organizationId}/sandbox-default-limited-network-egress", Refused),
    op("updateOrganizationPreviewWarning", "POST", "/organizations/{organizationId}/preview-warning", Emulated),
    op("updateOrganizationSsoEnabled", "POST", "/organizations/{organizationId}/sso-enabled", Refused),
    op("updateExperimentalConfig", "PUT", "/organizations/{organizationId}/experimental-config", Emulated),
    op("createOrganizationRole", "POST", "/organizations/{organizationId}/roles", Emulated),
    op("listOrganizationRoles", "GET", "/organizations/{organizationId}/roles", Emulated),
    op("updateOrganizationRole", "PUT", "/organizations/{organizationId}/roles/{roleId}", Emulated),
    op("deleteOrganizationRole", "DELETE", "/organizations/{organizationId}/roles/{roleId}", Emulated),
    op("listOrganizationMembers", "GET", "/organizations/{organizationId}/users", Emulated),
    op("updateAccessForOrganizationMember", "POST", "/organizations/{organizationId}/users/{userId}/access", Emulated),
    op("deleteOrganizationMember", "DELETE", "/organizations/{organizationId}/users/{userId}", Emulated),
    op("createOrganizationInvitation", "POST", "/organizations/{organizationId}/invitations", Emulated),
    op("listOrganizationInvitations", "GET", "/organizations/{organizationId}/invitations", Emulated),
    op("updateOrganizationInvitation", "PUT", "/organizations/{organizationId}/invitations/{invitationId}", Emulated),
    op("cancelOrganizationInvitation", "POST", "/organizations/{organizationId}/invitations/{invitationId}/cancel", Emulated),
    op("listAvailableRegions", "GET", "/regions", Emulated),
    op("createRegion", "POST", "/regions", Emulated),
    op("getRegionById", "GET", "/regions/{id}", Emulated),
    op("deleteRegion", "DELETE", "/regions/{id}", Emulated),
    op("updateRegion", "PATCH", "/regions/{id}", Emulated),
    op("regenerateProxyApiKey", "POST", "/regions/{id}/regenerate-proxy-api-key", Emulated),
    op("regenerateSshGatewayApiKey", "POST", "/regions/{id}/regenerate-ssh-gateway-api-key", Emulated),
    op("regenerateSnapshotManagerCredentials", "POST", "/regions/{id}/regenerate-snapshot-manager-credentials", Emulated),
    op("createOrganizationIdentityProvider", "POST", "/organizations/{organizationId}/identity-providers", Later),
    op("listOrganizationIdentityProviders", "GET", "/organizations/{organizationId}/identity-providers", Later),
    op("getOrganizationIdentityProvider", "GET", "/organizations/{organizationId}/identity-providers/{id}", Later),
    op("updateOrganizationIdentityProvider", "PATCH", "/organizations/{organizationId}/identity-providers/{id}", Later),
    op("deleteOrganizationIdentityProvider", "DELETE", "/organizations/{organizationId}/identity-providers/{id}", Later),
    op("testOrganizationIdentityProviderConnection", "POST", "/organizations/{organizationId}/identity-providers/test-connection", Later),
    op("getAuthenticatedUser", "GET", "/users/me", Emulated),
    op("getAvailableAccountProviders", "GET", "/users/account-providers", Refused),
    op("linkAccount", "POST", "/users/linked-accounts", Refused),
    op("unlinkAccount", "DELETE", "/users/linked-accounts/{provider}/{providerUserId}", Refused),
    op("enrollInSmsMfa", "POST", "/users/mfa/sms/enroll", Refused),
    op("listSharedRegions", "GET", "/shared-regions", Emulated),
    op("listSandboxes", "GET", "/sandbox", Emulated),
    op("createSandbox", "POST", "/sandbox", Emulated),
    op("listSandboxesPaginated_deprecated", "GET", "/sandbox/paginated", Emulated),
    op("getSandboxesForRunner", "GET", "/sandbox/for-runner", Internal),
    op("getSandbox", "GET", "/sandbox/{sandboxIdOrName}", Emulated),
    op("deleteSandbox", "DELETE", "/sandbox/{sandboxIdOrName}", Emulated),
    op("recoverSandbox", "POST", "/sandbox/{sandboxIdOrName}/recover", Emulated),
    op("startSandbox", "POST", "/sandbox/{sandboxIdOrName}/start", Emulated),
    op("stopSandbox", "POST", "/sandbox/{sandboxIdOrName}/stop", Emulated),
    op("pauseSandbox", "POST", "/sandbox/{sandboxIdOrName}/pause", Emulated),
    op("resizeSandbox", "POST", "/sandbox/{sandboxIdOrName}/resize", Emulated),
    op("replaceLabels", "PUT", "/sandbox/{sandboxIdOrName}/labels", Emulated),
    op("updateSandboxState", "PUT", "/sandbox/{sandboxId}/state", Internal),
    op("createBackup", "POST", "/sandbox/{sandboxIdOrName}/backup", Emulated),
    op("createSandboxSnapshot", "POST", "/sandbox/{sandboxIdOrName}/snapshot", Emulated),
    op("forkSandbox", "POST", "/sandbox/{sandboxIdOrName}/fork", Emulated),
    op("getSandboxForks", "GET", "/sandbox/{sandboxIdOrName}/forks", Emulated),
    op("getSandboxParent", "GET", "/sandbox/{sandboxIdOrName}/parent", Emulated),
    op("getSandboxAncestors", "GET", "/sandbox/{sandboxIdOrName}/ancestors", Emulated),
    op("updatePublicStatus", "POST", "/sandbox/{sandboxIdOrName}/public/{isPublic}", Emulated),
    op("getSandboxSigningKey", "GET", "/sandbox/{sandboxId}/signing-key", Emulated),
    op("rotateSigningKey", "POST", "/sandbox/{sandboxId}/signing-key/rotate", Emulated),
    op("updateLastActivity", "POST", "/sandbox/{sandboxId}/last-activity", Emulated),
    op("setAutostopInterval", "POST", "/sandbox/{sandboxIdOrName}/autostop/{interval}", Emulated),
    op("setAutoPauseInterval", "POST", "/sandbox/{sandboxIdOrName}/autopause/{interval}", Emulated),
    op("setTtl", "POST", "/sandbox/{sandboxIdOrName}/ttl/{ttlMinutes}", Emulated),
    op("setAutoArchiveInterval", "POST", "/sandbox/{sandboxIdOrName}/autoarchive/{interval}", Emulated),
    op("setAutoDeleteInterval", "POST", "/sandbox/{sandboxIdOrName}/autodelete/{interval}", Emulated),
    op("updateNetworkSettings", "POST", "/sandbox/{sandboxIdOrName}/network-settings", Emulated),
    op("updateSandboxSecrets", "PUT", "/sandbox/{sandboxIdOrName}/secrets", Emulated),
    op("archiveSandbox", "POST", "/sandbox/{sandboxIdOrName}/archive", Emulated),
    op("getPortPreviewUrl", "GET", "/sandbox/{sandboxIdOrName}/ports/{port}/preview-url", Emulated),
    op("getSignedPortPreviewUrl", "GET", "/sandbox/{sandboxIdOrName}/ports/{port}/signed-preview-url", Emulated),
    op("expireSignedPortPreviewUrl", "POST", "/sandbox/{sandboxIdOrName}/ports/{port}/signed-preview-url/{token}/expire", Emulated),
    op("getBuildLogs", "GET", "/sandbox/{sandboxIdOrName}/build-logs", Emulated),
    op("getBuildLogsUrl", "GET", "/sandbox/{sandboxIdOrName}/build-logs-url", Emulated),
    op("createSshAccess", "POST", "/sandbox/{sandboxIdOrName}/ssh-access", Emulated),
    op("revokeSshAccess", "DELETE", "/sandbox/{sandboxIdOrName}/ssh-access", Emulated),
    op("validateSshAccess", "GET", "/sandbox/ssh-access/validate", Emulated),
    op("getToolboxProxyUrl", "GET", "/sandbox/{sandboxId}/toolbox-proxy-url", Emulated),
    op("getOrganizationBySandboxId", "GET", "/sandbox/{sandboxId}/organization", Internal),
    op("getRegionQuotaBySandboxId", "GET", "/sandbox/{sandboxId}/region-quota", Internal),
    op("resolveSandboxSecrets", "GET", "/sandbox/{sandboxId}/secrets", Internal),
    op("createRunner", "POST", "/runners", Refused),
    op("listRunners", "GET", "/runners", Refused),
    op("getInfoForAuthenticatedRunner", "GET", "/runners/me", Internal),
    op("getSnapshotRefsForAuthenticatedRunner", "GET", "/runners/me/snapshots", Internal),
    op("getRunnerBySandboxId", "GET", "/runners/by-sandbox/{sandboxId}", Internal),
    op("getRunnersBySnapshotRef", "GET", "/runners/by-snapshot-ref", Internal),
    op("getRunnerById", "GET", "/runners/{id}", Refused),
    op("deleteRunner", "DELETE", "/runners/{id}", Refused),
    op("getRunnerFullById", "GET", "/runners/{id}/full", Internal),
    op("updateRunnerScheduling", "PATCH", "/runners/{id}/scheduling", Refused),
    op("updateRunnerDraining", "PATCH", "/runners/{id}/draining", Refused),
    op("runnerHealthcheck", "POST", "/runners/healthcheck", Internal),
    op("createSnapshot", "POST", "/snapshots", Emulated),
    op("getAllSnapshots", "GET", "/snapshots", Emulated),
    op("getSnapshot", "GET", "/snapshots/{id}", Emulated),
    op("removeSnapshot", "DELETE", "/snapshots/{id}", Emulated),
    op("getSnapshotBuildLogs", "GET", "/snapshots/{id}/build-logs", Emulated),
    op("getSnapshotBuildLogsUrl", "GET", "/snapshots/{id}/build-logs-url", Emulated),
    op("activateSnapshot", "POST", "/snapshots/{id}/activate", Emulated),
    op("deactivateSnapshot", "POST", "/snapshots/{id}/deactivate", Emulated),
    op("isSandboxPublic", "GET", "/preview/{sandboxId}/public", Emulated),
    op("isPreviewWarningEnabled", "GET", "/preview/{sandboxId}/preview-warning", Emulated),
    op("isValidAuthToken", "GET", "/preview/{sandboxId}/validate/{authToken}", Emulated),
    op("getSigningKey", "GET", "/preview/{sandboxId}/signing-key", Emulated),
    op("hasSandboxAccess", "GET", "/preview/{sandboxId}/access", Emulated),
    op("getSandboxIdFromSignedPreviewUrlToken", "GET", "/preview/{signedPreviewToken}/{port}/sandbox-id", Emulated),
    op("listVolumes", "GET", "/volumes", Emulated),
    op("createVolume", "POST", "/volumes", Emulated),
    op("getVolume", "GET", "/volumes/{volumeId}", Emulated),
    op("deleteVolume", "DELETE", "/volumes/{volumeId}", Emulated),
    op("getVolumeByName", "GET", "/volumes/by-name/{name}", Emulated),
    op("listJobs", "GET", "/jobs", Internal),
    op("pollJobs", "GET", "/jobs/poll", Internal),
    op("getJob", "GET", "/jobs/{jobId}", Internal),
    op("updateJobStatus", "POST", "/jobs/{jobId}/status", Internal),
    op("listWarmPools", "GET", "/warm-pools", Emulated),
    op("createWarmPool", "POST", "/warm-pools", Emulated),
    op("updateWarmPool", "PATCH", "/warm-pools/{id}", Emulated),
    op("deleteWarmPool", "DELETE", "/warm-pools/{id}", Emulated),
    op("createRegistry", "POST", "/docker-registry", Emulated),
    op("listRegistries", "GET", "/docker-registry", Emulated),
    op("getTransientPushAccess", "GET", "/docker-registry/registry-push-access", Emulated),
    op("getRegistry", "GET", "/docker-registry/{id}", Emulated),
    op("updateRegistry", "PATCH", "/docker-registry/{id}", Emulated),
    op("deleteRegistry", "DELETE", "/docker-registry/{id}", Emulated),
    op("createSecret", "POST", "/secret", Emulated),
    op("listSecrets", "GET", "/secret", Emulated),
    op("listSecretsPaginated", "GET", "/secret/paginated", Emulated),
    op("getSecret", "GET", "/secret/{secretId}", Emulated),
    op("updateSecret", "PATCH", "/secret/{secretId}", Emulated),
    op("deleteSecret", "DELETE", "/secret/{secretId}", Emulated),
    op("listPendingSsoLinks", "GET", "/users/me/pending-sso-links", Later),
    op("confirmPendingSsoLink", "POST", "/users/me/pending-sso-links/{id}/confirm", Later),
    op("dismissPendingSsoLink", "DELETE", "/users/me/pending-sso-links/{id}", Later),
    op("adminCreateRunner", "POST", "/admin/runners", Refused),
    op("adminListRunners", "GET", "/admin/runners", Refused),
    op("adminGetRunnerById", "GET", "/admin/runners/{id}", Refused),
    op("adminDeleteRunner", "DELETE", "/admin/runners/{id}", Refused),
    op("adminUpdateRunnerScheduling", "PATCH", "/admin/runners/{id}/scheduling", Refused),
    op("adminRecoverSandbox", "POST", "/admin/sandbox/{sandboxId}/recover", Refused),
    op("adminCreateUser", "POST", "/admin/users", Refused),
    op("adminListUsers", "GET", "/admin/users", Refused),
    op("adminRegenerateKeyPair", "POST", "/admin/users/{id}/regenerate-key-pair", Refused),
    op("adminGetUser", "GET", "/admin/users/{id}", Refused),
    op("adminSendWebhook", "POST", "/admin/webhooks/organizations/{organizationId}/send", Refused),
    op("adminGetMessageAttempts", "GET", "/admin/webhooks/organizations/{organizationId}/messages/{messageId}/attempts", Refused),
    op("adminGetWebhookStatus", "GET", "/admin/webhooks/status", Refused),
    op("adminInitializeWebhooks", "POST", "/admin/webhooks/organizations/{organizationId}/initialize", Refused),
    op("adminSetDefaultRegistry", "POST", "/admin/docker-registry/{id}/set-default", Refused),
    op("adminCanCleanupImage", "GET", "/admin/snapshots/can-cleanup-image", Refused),
    op("adminSetSnapshotGeneralStatus", "PATCH", "/admin/snapshots/{id}/general", Refused),
    op("adminGetAllAuditLogs", "GET", "/admin/audit", Refused),
    op("adminCreateOrganization", "POST", "/admin/organizations", Refused),
    op("adminCreateOrganizationRegionQuota", "POST", "/admin/organizations/{organizationId}/quota/{regionId}", Refused),
    op("adminUpdateOrganizationRegionQuota", "PATCH", "/admin/organizations/{organizationId}/quota/{regionId}", Refused),
    op("adminGetOrganizationRegionQuota", "GET", "/admin/organizations/{organizationId}/quota/{regionId}/{sandboxClass}", Refused),
    op("adminDeleteOrganizationRegionQuota", "DELETE", "/admin/organizations/{organizationId}/quota/{regionId}/{sandboxClass}", Refused),
    op("adminUpdateOrganizationPreviewWarning", "POST", "/admin/organizations/{organizationId}/preview-warning", Refused),
    op("WebhookController_getAppPortalAccess", "POST", "/webhooks/organizations/{organizationId}/app-portal-access", Emulated),
    op("WebhookController_getInitializationStatus", "GET", "/webhooks/organizations/{organizationId}/initialization-status", Emulated),
    op("WebhookController_initializeWebhooks", "POST", "/webhooks/organizations/{organizationId}/initialize", Emulated),
    op("WebhookController_refreshEndpoints", "POST", "/webhooks/organizations/{organizationId}/refresh-endpoints", Emulated),
    op("getOrganizationAuditLogs", "GET", "/audit/organizations/{organizationId}", Emulated),
    op("getAuditScenarios", "GET", "/audit/scenarios", Emulated),
    op("getPushAccess", "GET", "/object-storage/push-access", Emulated),
    op("HealthController_live", "GET", "/health", Emulated),
    op("HealthController_check", "GET", "/health/ready", Emulated),
    op("getSandboxLogs", "GET", "/sandbox/{sandboxId}/telemetry/logs", Emulated),
    op("getSandboxTraces", "GET", "/sandbox/{sandboxId}/telemetry/traces", Emulated),
    op("getSandboxTraceSpans", "GET", "/sandbox/{sandboxId}/telemetry/traces/{traceId}", Emulated),
    op("getSandboxMetrics", "GET", "/sandbox/{sandboxId}/telemetry/metrics", Emulated),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn literal_paths_win_and_case_matters_only_in_parameters() {
        let id = |method, path| find(method, path).map(|op| op.id);
        assert_eq!(OPERATIONS.len(), 196);
        assert_eq!(id("GET", "/sandbox/paginated"), Some("listSandboxesPaginated_deprecated"));
        assert_eq!(id("GET", "/sandbox/x"), Some("getSandbox"));
        assert_eq!(id("GET", "/SANDBOX/X/Ports/80/preview-URL"), Some("getPortPreviewUrl"));
        assert_eq!(id("GET", "/sandbox/"), None);
        assert_eq!(id("PATCH", "/sandbox"), None);
        let op = find("POST", "/Sandbox/My-Name/START").expect("known");
        assert_eq!(op.canonical("/Sandbox/My-Name/START"), "/sandbox/My-Name/start");
    }
}
