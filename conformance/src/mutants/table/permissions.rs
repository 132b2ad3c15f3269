//! What keys may, what is no key's, and what limiters tell.

use super::prelude::*;

const SANDBOXES: Names = &["permissions/of_sandboxes"];
const PARTS: Names = &["permissions/of_what_sandboxes_have"];
const SNAPSHOTS: Names = &["permissions/of_snapshots"];
const VOLUMES: Names = &["permissions/of_volumes"];
const REGISTRIES: Names = &["permissions/of_registries_and_regions"];
const KEYS: Names = &["permissions/of_keys_and_secrets"];
const ORGANIZATIONS: Names = &["permissions/of_organizations"];
const PEOPLE: Names = &["permissions/of_people"];
const LOOKING: Names = &["permissions/none_are_needed_to_look"];
const INTERNAL: Names = &["closed/parts_among_themselves"];
const OPERATORS: Names = &["closed/operators"];
const ABSENT: Names = &["closed/what_is_not_emulated"];
const LEFT: Names = &["rate_limits/answers_say_what_is_left"];
const APART: Names = &["rate_limits/changes_count_apart"];

/// Whoever lacks a permission is told something of the sandbox that there isn't.
fn unasked(_: &Asked, a: &mut Answered) {
    if String::from_utf8_lossy(&a.body).contains("Access denied") {
        a.restatus(403, 404);
    }
}

fn opened(_: &Asked, a: &mut Answered) {
    a.restatus(403, 200);
}

pub(super) const MUTANTS: &[Mutant] = &[
    request_in(
        "permissions/any-key-makes",
        "a key without permissions makes sandboxes",
        &["createSandbox"],
        SANDBOXES,
        Asked::allow,
    ),
    request_in(
        "permissions/any-key-resizes",
        "a key without permissions resizes, archives and recovers",
        &["resizeSandbox", "archiveSandbox", "recoverSandbox", "pauseSandbox"],
        SANDBOXES,
        Asked::allow,
    ),
    request_in(
        "permissions/any-key-attaches-secrets",
        "a key without permissions attaches secrets",
        &["updateSandboxSecrets"],
        SANDBOXES,
        Asked::allow,
    ),
    answer_in(
        "permissions/found-first",
        "the sandbox is looked for before the permission",
        &["startSandbox"],
        SANDBOXES,
        unasked,
    ),
    answer_in(
        "permissions/writers-are-refused",
        "who may write sandboxes can't set their labels",
        &["replaceLabels"],
        SANDBOXES,
        |_, a| a.restatus(404, 403),
    ),
    request_in(
        "permissions/any-key-sets-timers",
        "a key without permissions sets intervals",
        &["setAutostopInterval", "setAutoArchiveInterval", "setAutoDeleteInterval", "setAutoPauseInterval", "setTtl"],
        PARTS,
        Asked::allow,
    ),
    request_in("permissions/any-key-copies", "a key without permissions forks", &["forkSandbox"], PARTS, Asked::allow),
    request_in(
        "permissions/any-key-keeps",
        "a key without permissions makes backups and snapshots",
        &["createBackup", "createSandboxSnapshot"],
        PARTS,
        Asked::allow,
    ),
    request_in(
        "permissions/any-key-enters",
        "a key without permissions gives access over SSH",
        &["createSshAccess", "revokeSshAccess"],
        PARTS,
        Asked::allow,
    ),
    request_in(
        "permissions/any-key-rotates",
        "a key without permissions rotates signing keys and ends signed URLs",
        &["rotateSigningKey", "expireSignedPortPreviewUrl"],
        PARTS,
        Asked::allow,
    ),
    request_in(
        "permissions/any-key-switches",
        "a key without permissions switches snapshots",
        &["activateSnapshot", "deactivateSnapshot"],
        SNAPSHOTS,
        Asked::allow,
    ),
    request_in(
        "permissions/any-key-removes",
        "a key without permissions removes snapshots",
        &["removeSnapshot"],
        SNAPSHOTS,
        Asked::allow,
    ),
    request_in(
        "permissions/any-key-uploads",
        "a key without permissions uploads",
        &["getPushAccess"],
        SNAPSHOTS,
        Asked::allow,
    ),
    answer_in(
        "permissions/snapshots-alone-do-not-push",
        "pushing needs write:sandboxes, too",
        &["getTransientPushAccess"],
        SNAPSHOTS,
        |_, a| a.restatus(200, 403),
    ),
    request_in(
        "permissions/any-key-reads-volumes",
        "a key without permissions reads volumes",
        &["listVolumes", "getVolume", "getVolumeByName"],
        VOLUMES,
        Asked::allow,
    ),
    request_in(
        "permissions/any-key-changes-volumes",
        "a key without permissions makes and deletes volumes",
        &["createVolume", "deleteVolume"],
        VOLUMES,
        Asked::allow,
    ),
    request_in(
        "permissions/any-key-changes-registries",
        "a key without permissions changes registries",
        &["createRegistry", "updateRegistry", "deleteRegistry"],
        REGISTRIES,
        Asked::allow,
    ),
    request_in(
        "permissions/any-key-changes-regions",
        "a key without permissions changes regions",
        &["createRegion", "updateRegion", "deleteRegion"],
        REGISTRIES,
        Asked::allow,
    ),
    request_in(
        "permissions/any-key-gets-credentials",
        "a key without permissions gets a region's credentials",
        &["regenerateProxyApiKey", "regenerateSshGatewayApiKey", "regenerateSnapshotManagerCredentials"],
        REGISTRIES,
        Asked::allow,
    ),
    answer_in(
        "permissions/any-key-sees-runners",
        "a key without permissions lists runners",
        &["listRunners"],
        REGISTRIES,
        opened,
    ),
    request_in(
        "permissions/any-key-manages-keys",
        "a key without permissions manages keys",
        &["listApiKeys", "getApiKey", "deleteApiKey", "deleteApiKeyForUser"],
        KEYS,
        Asked::allow,
    ),
    request_in(
        "permissions/any-key-reads-secrets",
        "a key without permissions reads secrets",
        &["listSecrets", "listSecretsPaginated", "getSecret"],
        KEYS,
        Asked::allow,
    ),
    request_in(
        "permissions/any-key-changes-secrets",
        "a key without permissions changes secrets",
        &["createSecret", "updateSecret", "deleteSecret"],
        KEYS,
        Asked::allow,
    ),
    answer_in("permissions/secrets-for-nobody", "manage:secrets opens no secret", &["getSecret"], KEYS, |_, a| {
        a.restatus(404, 403)
    }),
    answer_in("permissions/other-words", "a missing permission is `Forbidden`", &["listSecrets"], KEYS, |_, a| {
        a.edit_error(|v| set(v, "/message", "Forbidden"))
    }),
    request_in(
        "permissions/any-key-reads-the-log",
        "a key without permissions reads the audit log",
        &["getOrganizationAuditLogs"],
        ORGANIZATIONS,
        Asked::allow,
    ),
    request_in(
        "permissions/any-key-sees-the-usage",
        "a key without permissions sees the usage",
        &["getOrganizationUsageOverview"],
        ORGANIZATIONS,
        Asked::allow,
    ),
    request_in(
        "permissions/any-key-changes-pools",
        "a key without permissions changes warm pools",
        &["createWarmPool", "updateWarmPool", "deleteWarmPool"],
        ORGANIZATIONS,
        Asked::allow,
    ),
    answer_in(
        "permissions/any-key-makes-organizations",
        "a key that may little makes organisations",
        &["createOrganization"],
        PEOPLE,
        |_, a| a.restatus(403, 201),
    ),
    answer_in(
        "permissions/any-key-invites",
        "a key that may little invites, and changes members and roles",
        &["createOrganizationInvitation", "updateAccessForOrganizationMember", "createOrganizationRole"],
        PEOPLE,
        |_, a| a.restatus(403, 201),
    ),
    answer_in(
        "permissions/any-key-deletes-organizations",
        "a key that may little deletes its organisation",
        &["deleteOrganization"],
        PEOPLE,
        |_, a| {
            if String::from_utf8_lossy(&a.body).contains("Access denied") {
                a.restatus(403, 204);
            }
        },
    ),
    answer_in(
        "permissions/any-key-opens-the-portal",
        "a key that may little opens the portal of webhooks",
        &["WebhookController_getAppPortalAccess"],
        PEOPLE,
        |_, a| a.restatus(403, 201),
    ),
    answer_in(
        "permissions/people-are-refused",
        "a key that may everything can't change settings",
        &["updateExperimentalConfig"],
        PEOPLE,
        |_, a| {
            if a.is_ok() {
                a.restatus(204, 403);
                a.restatus(200, 403);
                a.body =
                    br#"{"path":"/","timestamp":"","statusCode":403,"error":"Forbidden","message":"Access denied"}"#
                        .to_vec();
            }
        },
    ),
    answer_in(
        "permissions/looking-needs-one",
        "reading a snapshot needs a permission",
        &["getSnapshot"],
        LOOKING,
        |_, a| a.restatus(404, 403),
    ),
    answer_in(
        "permissions/lists-need-one",
        "lists of registries and regions need a permission",
        &["listRegistries", "listAvailableRegions"],
        LOOKING,
        |_, a| a.restatus(200, 403),
    ),
    answer_in(
        "closed/runners-are-open",
        "what runners ask is answered to everybody",
        &["listJobs", "pollJobs", "getJob", "updateJobStatus", "getSandboxesForRunner", "runnerHealthcheck"],
        INTERNAL,
        opened,
    ),
    answer_in(
        "closed/the-proxy-is-open",
        "what the proxy asks is answered to everybody",
        &["isSandboxPublic", "isValidAuthToken", "getSigningKey", "isPreviewWarningEnabled"],
        INTERNAL,
        opened,
    ),
    answer_in(
        "closed/secrets-are-resolved",
        "the values of secrets are told to everybody",
        &["resolveSandboxSecrets"],
        INTERNAL,
        opened,
    ),
    answer_in(
        "closed/internal-is-404",
        "what is internal is 404",
        &["getInfoForAuthenticatedRunner", "getOrganizationBySandboxId", "getRegionQuotaBySandboxId"],
        INTERNAL,
        |_, a| a.restatus(403, 404),
    ),
    answer_in(
        "closed/internal-is-denied",
        "what is internal is `Access denied`",
        &["updateSandboxState"],
        INTERNAL,
        |_, a| a.edit_error(|v| set(v, "/message", "Access denied")),
    ),
    answer_in(
        "closed/users-are-listed",
        "everybody may list users and runners",
        &["adminListUsers", "adminListRunners", "adminGetAllAuditLogs"],
        OPERATORS,
        opened,
    ),
    answer_in(
        "closed/users-are-made",
        "everybody may make users, organisations and runners",
        &["adminCreateUser", "adminCreateOrganization", "adminCreateRunner"],
        OPERATORS,
        |_, a| a.restatus(403, 201),
    ),
    answer_in(
        "closed/quotas-are-raised",
        "everybody may raise quotas",
        &["updateOrganizationQuota", "updateOrganizationRegionQuota", "adminUpdateOrganizationRegionQuota"],
        OPERATORS,
        |_, a| a.restatus(403, 204),
    ),
    answer_in(
        "closed/anybody-suspends",
        "everybody may suspend organisations",
        &["suspendOrganization", "unsuspendOrganization"],
        OPERATORS,
        |_, a| a.restatus(403, 201),
    ),
    answer_in(
        "closed/operators-are-404",
        "what operators do is 404",
        &["adminGetUser", "adminGetWebhookStatus"],
        OPERATORS,
        |_, a| a.restatus(403, 404),
    ),
    answer_in(
        "closed/unemulated-is-fine",
        "what isn't emulated is answered 200",
        &["listOrganizationIdentityProviders", "listPendingSsoLinks"],
        ABSENT,
        |_, a| a.restatus(501, 200),
    ),
    answer_in(
        "closed/unemulated-is-nameless",
        "what isn't emulated doesn't say its name",
        &["createOrganizationIdentityProvider"],
        ABSENT,
        |_, a| a.edit_error(|v| set(v, "/message", "Not Implemented")),
    ),
    answer_in("rate_limits/no-headers", "answers don't say what is left", &["getSandbox"], LEFT, |_, a| {
        a.drop_header("x-ratelimit-remaining-authenticated");
    }),
    answer_in("rate_limits/never-less", "what is left never gets less", &["getSandbox"], LEFT, |_, a| {
        a.set_header("x-ratelimit-remaining-authenticated", "999999");
    }),
    answer_in("rate_limits/reset-in-milliseconds", "a window ends in milliseconds", &["getSandbox"], LEFT, |_, a| {
        a.set_header("x-ratelimit-reset-authenticated", "59000");
    }),
    answer_in(
        "rate_limits/configuration-counts",
        "the configuration counts as a request",
        &["ConfigController_getConfig"],
        LEFT,
        |_, a| a.set_header("x-ratelimit-limit-authenticated", "1000000"),
    ),
    answer_in(
        "rate_limits/making-counts-twice",
        "making counts as any request, too",
        &["createSandbox"],
        APART,
        |_, a| {
            a.set_header("x-ratelimit-limit-authenticated", "1000000");
        },
    ),
    answer_in("rate_limits/stopping-is-uncounted", "stopping counts as nothing", &["stopSandbox"], APART, |_, a| {
        a.drop_header("x-ratelimit-remaining-sandbox-lifecycle");
    }),
];
