//! What organisations see of each other.

use super::prelude::*;

const SANDBOXES: Names = &["strangers/see_no_sandboxes"];
const SNAPSHOTS: Names = &["strangers/see_no_snapshots"];
const VOLUMES: Names = &["strangers/see_no_volumes"];
const REGISTRIES: Names = &["strangers/see_no_registries"];
const REGIONS: Names = &["strangers/see_no_regions"];
const SECRETS: Names = &["strangers/see_no_secrets"];
const KEYS: Names = &["strangers/see_no_keys"];
const POOLS: Names = &["strangers/see_no_pools"];
const ORGANIZATIONS: Names = &["strangers/see_no_organizations"];

/// Everything is done as whoever owns it.
const fn open(id: &'static str, what: &'static str, operations: Names, scenarios: Names) -> Mutant {
    request_in(id, what, operations, scenarios, Asked::allow)
}

pub(super) const MUTANTS: &[Mutant] = &[
    open("strangers/resize", "others resize a sandbox", &["resizeSandbox"], SANDBOXES),
    open("strangers/archive", "others archive a sandbox", &["archiveSandbox"], SANDBOXES),
    open("strangers/fork", "others fork a sandbox", &["forkSandbox"], SANDBOXES),
    open("strangers/keep", "others make snapshots of a sandbox", &["createSandboxSnapshot"], SANDBOXES),
    open("strangers/back-up", "others back a sandbox up", &["createBackup"], SANDBOXES),
    open("strangers/recover", "others recover and pause a sandbox", &["recoverSandbox", "pauseSandbox"], SANDBOXES),
    open("strangers/read-signing-key", "others read a signing key", &["getSandboxSigningKey"], SANDBOXES),
    open("strangers/rotate-signing-key", "others rotate a signing key", &["rotateSigningKey"], SANDBOXES),
    open("strangers/read-metrics", "others read telemetry", &["getSandboxMetrics", "getSandboxLogs"], SANDBOXES),
    open("strangers/read-traces", "others read traces", &["getSandboxTraces", "getSandboxTraceSpans"], SANDBOXES),
    open("strangers/attach-secrets", "others attach secrets", &["updateSandboxSecrets"], SANDBOXES),
    open("strangers/read-build-logs", "others read build logs", &["getBuildLogs", "getBuildLogsUrl"], SANDBOXES),
    open("strangers/find-the-toolbox", "others are told where the toolbox is", &["getToolboxProxyUrl"], SANDBOXES),
    open("strangers/sign-previews", "others sign preview URLs", &["getSignedPortPreviewUrl"], SANDBOXES),
    open(
        "strangers/set-timers",
        "others set a sandbox's timers",
        &["setTtl", "setAutostopInterval", "setAutoDeleteInterval", "setAutoArchiveInterval", "setAutoPauseInterval"],
        SANDBOXES,
    ),
    open("strangers/set-networks", "others change a sandbox's network", &["updateNetworkSettings"], SANDBOXES),
    open("strangers/enter", "others get access over SSH", &["createSshAccess", "revokeSshAccess"], SANDBOXES),
    open("strangers/have-access", "others have access to previews", &["hasSandboxAccess"], SANDBOXES),
    open(
        "strangers/see-forks",
        "others see what a sandbox was forked from and into",
        &["getSandboxForks", "getSandboxParent", "getSandboxAncestors"],
        SANDBOXES,
    ),
    open(
        "strangers/list-pages",
        "pages of sandboxes have those of others",
        &["listSandboxesPaginated_deprecated"],
        SANDBOXES,
    ),
    answer_in("strangers/forbidden", "what is others' is 403 instead of 404", &["setTtl"], SANDBOXES, |q, a| {
        // What there isn't stays 404: its id is all zeros.
        if !q.target.contains("00000000-") {
            a.restatus(404, 403);
        }
    }),
    open("strangers/read-snapshots", "others read a snapshot", &["getSnapshot"], SNAPSHOTS),
    open("strangers/list-snapshots", "others list a snapshot", &["getAllSnapshots"], SNAPSHOTS),
    open("strangers/remove-snapshots", "others remove a snapshot", &["removeSnapshot"], SNAPSHOTS),
    open(
        "strangers/switch-snapshots",
        "others switch a snapshot",
        &["activateSnapshot", "deactivateSnapshot"],
        SNAPSHOTS,
    ),
    open(
        "strangers/read-snapshot-logs",
        "others read a snapshot's build logs",
        &["getSnapshotBuildLogs", "getSnapshotBuildLogsUrl"],
        SNAPSHOTS,
    ),
    open("strangers/read-volumes", "others read a volume", &["getVolume"], VOLUMES),
    open("strangers/find-volumes", "others find a volume by its name", &["getVolumeByName"], VOLUMES),
    open("strangers/list-volumes", "others list a volume", &["listVolumes"], VOLUMES),
    open("strangers/delete-volumes", "others delete a volume", &["deleteVolume"], VOLUMES),
    open("strangers/change-registries", "others change a registry", &["updateRegistry"], REGISTRIES),
    open("strangers/read-registries", "others read a registry", &["getRegistry", "listRegistries"], REGISTRIES),
    open("strangers/read-regions", "others read a region", &["getRegionById"], REGIONS),
    open("strangers/list-regions", "others list a region", &["listAvailableRegions"], REGIONS),
    open("strangers/change-regions", "others change a region", &["updateRegion", "deleteRegion"], REGIONS),
    open("strangers/change-secrets", "others change a secret", &["updateSecret"], SECRETS),
    open("strangers/read-secrets", "others read a secret", &["getSecret", "listSecretsPaginated"], SECRETS),
    open("strangers/list-keys", "others list a key", &["listApiKeys"], KEYS),
    open("strangers/read-keys", "others read a key", &["getApiKey"], KEYS),
    open("strangers/delete-keys", "others delete a key", &["deleteApiKey"], KEYS),
    open("strangers/delete-keys-of-users", "others delete a user's key", &["deleteApiKeyForUser"], KEYS),
    open("strangers/list-pools", "others list a warm pool", &["listWarmPools"], POOLS).alone(),
    open("strangers/change-pools", "others change a warm pool", &["updateWarmPool"], POOLS).alone(),
    open("strangers/delete-pools", "others delete a warm pool", &["deleteWarmPool"], POOLS).alone(),
    open("strangers/read-the-log", "others read the audit log", &["getOrganizationAuditLogs"], ORGANIZATIONS),
    open(
        "strangers/see-the-usage",
        "others see the usage, the members and the roles",
        &["getOrganizationUsageOverview", "listOrganizationMembers", "listOrganizationRoles"],
        ORGANIZATIONS,
    ),
];
