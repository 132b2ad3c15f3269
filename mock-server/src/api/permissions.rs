//! Which permission a key needs for which operation: one table, looked at before anything else of a request. What
//! depends on who the key's user is (owners, members) is asked by the handlers on top ([`super::auth::Caller`]).

use super::{
    error::{ApiError, ApiResult},
    operations::{Operation, Support},
};
use crate::model::Identity;

/// What an operation asks of a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Needs {
    /// Open to all, without a key.
    Nothing,
    /// Any good key.
    Key,
    /// A key with one of these permissions.
    OneOf(&'static [&'static str]),
    /// A key that stands for its user: it may all that its user may in its organisation.
    Person,
    /// The same, of an owner of the organisation in the path.
    Owner,
    /// Nobody's: 403 `Invalid authentication context` for the keys of users (observed).
    Service,
    /// Nobody's here: 403 `Access denied` for all but the real product's operators (observed).
    Operator,
}

use Needs::{Key, Nothing, OneOf, Operator, Owner, Person, Service};

const WRITE_SANDBOXES: Needs = OneOf(&["write:sandboxes"]);
const WRITE_SNAPSHOTS: Needs = OneOf(&["write:snapshots"]);
const PUSH: Needs = OneOf(&["write:snapshots", "write:sandboxes"]);
const READ_VOLUMES: Needs = OneOf(&["read:volumes"]);
const WRITE_REGIONS: Needs = OneOf(&["write:regions"]);
const READ_RUNNERS: Needs = OneOf(&["read:runners"]);
const WRITE_RUNNERS: Needs = OneOf(&["write:runners"]);
const WRITE_REGISTRIES: Needs = OneOf(&["write:registries"]);
const API_KEYS: Needs = OneOf(&["manage:api_keys"]);
const SECRETS: Needs = OneOf(&["manage:secrets"]);
const SSO: Needs = OneOf(&["manage:sso"]);
const AUDIT: Needs = OneOf(&["read:audit_logs"]);

/// In the order of the contract (`control-plane.md` 1.2, `control-plane-live.md` 2).
#[rustfmt::skip]
const TABLE: &[(&str, Needs)] = &[
    ("ConfigController_getConfig", Nothing),
    ("createApiKey", API_KEYS),
    ("listApiKeys", API_KEYS),
    ("getCurrentApiKey", Key),
    ("getApiKey", API_KEYS),
    ("deleteApiKey", API_KEYS),
    ("deleteApiKeyForUser", API_KEYS),
    ("listOrganizationInvitationsForAuthenticatedUser", Person),
    ("getOrganizationInvitationsCountForAuthenticatedUser", Person),
    ("acceptOrganizationInvitation", Person),
    ("declineOrganizationInvitation", Person),
    ("createOrganization", Person),
    ("listOrganizations", Key),
    ("setOrganizationDefaultRegion", Owner),
    ("getOrganization", Key),
    ("deleteOrganization", Owner),
    ("getOrganizationUsageOverview", OneOf(&["read:limits"])),
    ("listAvailableSandboxClasses", Key),
    ("updateOrganizationQuota", Operator),
    ("updateOrganizationRegionQuota", Operator),
    ("leaveOrganization", Person),
    ("suspendOrganization", Operator),
    ("unsuspendOrganization", Operator),
    ("getOrganizationOtelConfigBySandboxAuthToken", Service),
    ("getOrganizationOtelConfig", Service),
    ("updateOrganizationOtelConfig", Owner),
    ("deleteOrganizationOtelConfig", Owner),
    ("updateSandboxDefaultLimitedNetworkEgress", Operator),
    ("updateOrganizationPreviewWarning", Owner),
    ("updateOrganizationSsoEnabled", Operator),
    ("updateExperimentalConfig", Owner),
    ("createOrganizationRole", Owner),
    ("listOrganizationRoles", Key),
    ("updateOrganizationRole", Owner),
    ("deleteOrganizationRole", Owner),
    ("listOrganizationMembers", Key),
    ("updateAccessForOrganizationMember", Owner),
    ("deleteOrganizationMember", Owner),
    ("createOrganizationInvitation", Owner),
    ("listOrganizationInvitations", Owner),
    ("updateOrganizationInvitation", Owner),
    ("cancelOrganizationInvitation", Owner),
    ("listAvailableRegions", Key),
    ("createRegion", WRITE_REGIONS),
    ("getRegionById", Key),
    ("deleteRegion", OneOf(&["delete:regions"])),
    ("updateRegion", WRITE_REGIONS),
    ("regenerateProxyApiKey", WRITE_REGIONS),
    ("regenerateSshGatewayApiKey", WRITE_REGIONS),
    ("regenerateSnapshotManagerCredentials", WRITE_REGIONS),
    ("createOrganizationIdentityProvider", SSO),
    ("listOrganizationIdentityProviders", SSO),
    ("getOrganizationIdentityProvider", SSO),
    ("updateOrganizationIdentityProvider", SSO),
    ("deleteOrganizationIdentityProvider", SSO),
    ("testOrganizationIdentityProviderConnection", SSO),
    ("getAuthenticatedUser", Key),
    ("getAvailableAccountProviders", Key),
    ("linkAccount", Person),
    ("unlinkAccount", Person),
    ("enrollInSmsMfa", Person),
    ("listSharedRegions", Nothing),
    ("listSandboxes", Key),
    ("createSandbox", WRITE_SANDBOXES),
    ("listSandboxesPaginated_deprecated", Key),
    ("getSandbox", Key),
    ("deleteSandbox", OneOf(&["delete:sandboxes"])),
    ("recoverSandbox", WRITE_SANDBOXES),
    ("startSandbox", WRITE_SANDBOXES),
    ("stopSandbox", WRITE_SANDBOXES),
    ("pauseSandbox", WRITE_SANDBOXES),
    ("resizeSandbox", WRITE_SANDBOXES),
    ("replaceLabels", WRITE_SANDBOXES),
    ("createBackup", WRITE_SANDBOXES),
    ("createSandboxSnapshot", WRITE_SANDBOXES),
    ("forkSandbox", WRITE_SANDBOXES),
    ("getSandboxForks", Key),
    ("getSandboxParent", Key),
    ("getSandboxAncestors", Key),
    ("updatePublicStatus", WRITE_SANDBOXES),
    ("getSandboxSigningKey", Key),
    ("rotateSigningKey", WRITE_SANDBOXES),
    ("updateLastActivity", Key),
    ("setAutostopInterval", WRITE_SANDBOXES),
    ("setAutoPauseInterval", WRITE_SANDBOXES),
    ("setTtl", WRITE_SANDBOXES),
    ("setAutoArchiveInterval", WRITE_SANDBOXES),
    ("setAutoDeleteInterval", WRITE_SANDBOXES),
    ("updateNetworkSettings", WRITE_SANDBOXES),
    ("updateSandboxSecrets", WRITE_SANDBOXES),
    ("archiveSandbox", WRITE_SANDBOXES),
    ("getPortPreviewUrl", Key),
    ("getSignedPortPreviewUrl", Key),
    ("expireSignedPortPreviewUrl", WRITE_SANDBOXES),
    ("getBuildLogs", Key),
    ("getBuildLogsUrl", Key),
    ("createSshAccess", WRITE_SANDBOXES),
    ("revokeSshAccess", WRITE_SANDBOXES),
    ("validateSshAccess", Key),
    ("getToolboxProxyUrl", Key),
    ("createRunner", WRITE_RUNNERS),
    ("listRunners", READ_RUNNERS),
    ("getRunnerById", READ_RUNNERS),
    ("deleteRunner", OneOf(&["delete:runners"])),
    ("updateRunnerScheduling", WRITE_RUNNERS),
    ("updateRunnerDraining", WRITE_RUNNERS),
    ("createSnapshot", WRITE_SNAPSHOTS),
    ("getAllSnapshots", Key),
    ("getSnapshot", Key),
    ("removeSnapshot", OneOf(&["delete:snapshots"])),
    ("getSnapshotBuildLogs", Key),
    ("getSnapshotBuildLogsUrl", Key),
    ("activateSnapshot", WRITE_SNAPSHOTS),
    ("deactivateSnapshot", WRITE_SNAPSHOTS),
    ("isSandboxPublic", Service),
    ("isPreviewWarningEnabled", Service),
    ("isValidAuthToken", Service),
    ("getSigningKey", Service),
    ("hasSandboxAccess", Key),
    ("getSandboxIdFromSignedPreviewUrlToken", Nothing),
    ("listVolumes", READ_VOLUMES),
    ("createVolume", OneOf(&["write:volumes"])),
    ("getVolume", READ_VOLUMES),
    ("deleteVolume", OneOf(&["delete:volumes"])),
    ("getVolumeByName", READ_VOLUMES),
    ("listWarmPools", Key),
    ("createWarmPool", WRITE_SANDBOXES),
    ("updateWarmPool", WRITE_SANDBOXES),
    ("deleteWarmPool", WRITE_SANDBOXES),
    ("createRegistry", WRITE_REGISTRIES),
    ("listRegistries", Key),
    ("getTransientPushAccess", PUSH),
    ("getRegistry", Key),
    ("updateRegistry", WRITE_REGISTRIES),
    ("deleteRegistry", OneOf(&["delete:registries"])),
    ("createSecret", SECRETS),
    ("listSecrets", SECRETS),
    ("listSecretsPaginated", SECRETS),
    ("getSecret", SECRETS),
    ("updateSecret", SECRETS),
    ("deleteSecret", SECRETS),
    ("listPendingSsoLinks", Person),
    ("confirmPendingSsoLink", Person),
    ("dismissPendingSsoLink", Person),
    ("adminCreateRunner", Operator),
    ("adminListRunners", Operator),
    ("adminGetRunnerById", Operator),
    ("adminDeleteRunner", Operator),
    ("adminUpdateRunnerScheduling", Operator),
    ("adminRecoverSandbox", Operator),
    ("adminCreateUser", Operator),
    ("adminListUsers", Operator),
    ("adminRegenerateKeyPair", Operator),
    ("adminGetUser", Operator),
    ("adminSendWebhook", Operator),
    ("adminGetMessageAttempts", Operator),
    ("adminGetWebhookStatus", Operator),
    ("adminInitializeWebhooks", Operator),
    ("adminSetDefaultRegistry", Operator),
    ("adminCanCleanupImage", Operator),
    ("adminSetSnapshotGeneralStatus", Operator),
    ("adminGetAllAuditLogs", Operator),
    ("adminCreateOrganization", Operator),
    ("adminCreateOrganizationRegionQuota", Operator),
    ("adminUpdateOrganizationRegionQuota", Operator),
    ("adminGetOrganizationRegionQuota", Operator),
    ("adminDeleteOrganizationRegionQuota", Operator),
    ("adminUpdateOrganizationPreviewWarning", Operator),
    ("WebhookController_getAppPortalAccess", Owner),
    ("WebhookController_getInitializationStatus", Key),
    ("WebhookController_initializeWebhooks", Owner),
    ("WebhookController_refreshEndpoints", Owner),
    ("getOrganizationAuditLogs", AUDIT),
    ("getAuditScenarios", Nothing),
    ("getPushAccess", PUSH),
    ("HealthController_live", Nothing),
    ("HealthController_check", Service),
    ("getSandboxLogs", Key),
    ("getSandboxTraces", Key),
    ("getSandboxTraceSpans", Key),
    ("getSandboxMetrics", Key),
];

/// What an operation asks for.
pub fn needs(operation: &Operation) -> Needs {
    match operation.support {
        Support::Internal => Service,
        // A test sees to it that each operation has its row; one without would be nobody's.
        _ => TABLE.iter().find(|(id, _)| *id == operation.id).map_or(Operator, |(_, needs)| *needs),
    }
}

/// 401 without a key where one is needed, 403 for one that may not.
pub fn check(operation: &Operation, caller: Option<&Identity>) -> ApiResult<()> {
    let needs = needs(operation);
    if needs == Nothing {
        return Ok(());
    }
    let caller = caller.ok_or_else(ApiError::unauthorized)?;
    match needs {
        OneOf(all) if !all.iter().any(|one| caller.permissions.iter().any(|own| own == one)) => Err(ApiError::denied()),
        Service => Err(ApiError::wrong_context()),
        Operator => Err(ApiError::denied()),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::{super::operations::OPERATIONS, *};
    use crate::model::keys::PERMISSIONS;

    #[test]
    fn each_operation_has_one_row_and_each_row_an_operation() {
        for operation in OPERATIONS.iter().filter(|operation| operation.support != Support::Internal) {
            let rows = TABLE.iter().filter(|(id, _)| *id == operation.id).count();
            assert_eq!(rows, 1, "{}: which permission does it need?", operation.id);
        }
        for (id, needs) in TABLE {
            assert!(OPERATIONS.iter().any(|operation| operation.id == *id), "{id} is no operation");
            if let OneOf(all) = needs {
                assert!(all.iter().all(|one| PERMISSIONS.contains(one)), "{id}");
            }
        }
    }
}
