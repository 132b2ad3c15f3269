//! Regions, the audit log, webhooks and warm pools of an organisation.

use super::prelude::*;

const REGION: Names = &["regions/regions_come_and_go"];
const REGION_NAMES: Names = &["regions/input_is_validated"];
const PARTS: Names = &["regions/parts_have_credentials"];
const UNKNOWN_REGION: Names = &["regions/unknown_region_is_not_found"];
const LOG: Names = &["getOrganizationAuditLogs"];
const LOGGED: Names = &["audit/changes_are_logged"];
const REFUSED: Names = &["audit/refusals_are_logged"];
const QUERIES: Names = &["audit/queries_are_validated"];
const PORTAL: Names = &["webhooks/portal_is_opened"];
const CLOSED: Names = &["webhooks/others_are_closed"];
const POOL: Names = &["warm_pools/pools_come_and_go"];
const TAKEN: Names = &["warm_pools/creations_take_waiting_ones"];
const POOL_INPUT: Names = &["warm_pools/input_is_validated"];

pub(super) const MUTANTS: &[Mutant] = &[
    answer_in("regions/created-with-200", "a new region is answered 200", &["createRegion"], REGION, |_, a| {
        a.restatus(201, 200);
    }),
    answer_in(
        "regions/shared-ones-first",
        "the shared regions come before the own ones",
        &["listAvailableRegions"],
        REGION,
        |_, a| a.edit(|v| list(v, "", |regions| regions.reverse())),
    ),
    answer_in("regions/own-ones-are-shared", "an own region is told as shared", &["getRegionById"], REGION, |_, a| {
        a.edit(|v| set(v, "/regionType", "shared"));
    }),
    ignored_in("regions/deletion-does-nothing", "a deleted region is still there", &["deleteRegion"], REGION, 204, ""),
    answer_in("regions/names-twice", "two regions have one name", &["createRegion"], REGION_NAMES, |_, a| {
        a.restatus(409, 201);
    }),
    answer_in("regions/any-name", "any name of a region is taken", &["createRegion"], REGION_NAMES, |_, a| {
        a.restatus(400, 201);
    }),
    request_in("regions/url-not-kept", "a region's proxy is dropped", &["updateRegion"], PARTS, |q| {
        q.edit(|v| drop(remove(v, "/proxyUrl")));
    }),
    answer_in(
        "regions/credentials-for-nothing",
        "a part that there isn't gets credentials",
        &["regenerateSnapshotManagerCredentials"],
        PARTS,
        |_, a| a.restatus(400, 200),
    ),
    answer_in(
        "regions/credentials-without-password",
        "new credentials have no password",
        &["regenerateSnapshotManagerCredentials"],
        PARTS,
        |_, a| a.edit(|v| drop(remove(v, "/password"))),
    ),
    answer_in(
        "regions/key-renamed",
        "a new key is called `key`",
        &["regenerateProxyApiKey", "regenerateSshGatewayApiKey"],
        PARTS,
        |_, a| a.edit(|v| rename(v, "/apiKey", "key")),
    ),
    answer_in(
        "regions/shared-ones-are-changed",
        "a shared region can be changed",
        &["updateRegion"],
        UNKNOWN_REGION,
        |_, a| a.restatus(404, 200),
    ),
    answer_in(
        "regions/unknown-is-403",
        "an unknown region is 403",
        &["deleteRegion", "regenerateSshGatewayApiKey"],
        UNKNOWN_REGION,
        |_, a| a.restatus(404, 403),
    ),
    request_in(
        "regions/snapshots-are-everywhere",
        "a sandbox is made in another region than was asked for",
        &["createSandbox"],
        &["regions/snapshots_belong_to_a_region"],
        |q| q.edit(|v| drop(remove(v, "/target"))),
    ),
    answer_in("audit/oldest-first", "the log begins with the oldest entry", LOG, LOGGED, |_, a| {
        a.edit(|v| list(v, "/items", |items| items.reverse()));
    }),
    answer_in("audit/secrets-logged", "an entry has the password of the request", LOG, LOGGED, |_, a| {
        a.edit(|v| each(v, "/items", |entry| put(entry, "metadata", json!({"password": "conformance-secret"}))));
    }),
    answer_in("audit/everything-succeeded", "every entry has status 200", LOG, REFUSED, |_, a| {
        a.edit(|v| each(v, "/items", |entry| set(entry, "/statusCode", 200)));
    }),
    answer_in("audit/no-message", "a refusal is logged without its message", LOG, REFUSED, |_, a| {
        a.edit(|v| each(v, "/items", |entry| drop(remove(entry, "/errorMessage"))));
    }),
    request_in(
        "audit/source-lost",
        "the log doesn't say where a request came from",
        &["createRegistry"],
        LOGGED,
        |q| drop(q.headers.remove("x-daytona-source")),
    ),
    answer_in("audit/targets-swapped", "an entry says another kind of target", LOG, LOGGED, |_, a| {
        a.edit(|v| each(v, "/items", |entry| set(entry, "/targetType", "sandbox")));
    }),
    answer_in("audit/open-to-others", "anyone reads the log", LOG, &["audit/others_logs_are_closed"], |_, a| {
        a.restatus(403, 200);
    }),
    answer_in("audit/limit-not-checked", "any limit is taken", LOG, QUERIES, |_, a| a.restatus(400, 200)),
    request_in("audit/window-ignored", "`from` and `to` are ignored", LOG, QUERIES, |q| {
        if q.query("from").is_some_and(|from| from.starts_with("2000")) {
            q.set_query("from", None);
            q.set_query("to", None);
        }
    }),
    request_in("audit/limit-ignored", "a page has more than was asked for", LOG, QUERIES, |q| {
        if q.query("limit").as_deref() == Some("1") {
            q.set_query("limit", Some("50"));
        }
    }),
    answer("audit/scenarios-unsorted", "kinds of targets are told in reverse order", &["getAuditScenarios"], |_, a| {
        a.edit(|v| list(v, "/targets", |targets| targets.reverse()));
    }),
    answer("audit/scenarios-need-a-key", "what is logged is told to keys only", &["getAuditScenarios"], |q, a| {
        if q.header("authorization").is_empty() {
            a.restatus(200, 401);
        }
    }),
    answer("audit/deletions-not-logged", "deletions aren't among what is logged", &["getAuditScenarios"], |_, a| {
        a.edit(|v| each(v, "/targets", |one| list(one, "/actions", |all| all.retain(|action| action != "delete"))));
    }),
    answer_in(
        "webhooks/access-with-200",
        "the portal's access is answered 200",
        &["WebhookController_getAppPortalAccess"],
        PORTAL,
        |_, a| a.restatus(201, 200),
    ),
    answer_in(
        "webhooks/access-without-token",
        "the portal's access has no token",
        &["WebhookController_getAppPortalAccess"],
        PORTAL,
        |_, a| a.edit(|v| drop(remove(v, "/token"))),
    ),
    answer_in(
        "webhooks/relative-portal",
        "the portal's address is relative",
        &["WebhookController_getAppPortalAccess"],
        PORTAL,
        |_, a| {
            a.edit(|v| string(v, "/url", |url| format!("/{}", url.splitn(4, '/').nth(3).unwrap_or_default())));
        },
    ),
    answer_in(
        "webhooks/status-of-another",
        "the status is another organisation's",
        &["WebhookController_getInitializationStatus"],
        PORTAL,
        |_, a| a.edit(|v| set(v, "/organizationId", "00000000-0000-4000-8000-000000000000")),
    ),
    answer_in(
        "webhooks/failed-at-first",
        "the status tells an error",
        &["WebhookController_getInitializationStatus"],
        PORTAL,
        |_, a| a.edit(|v| put(v, "lastError", "no connection")),
    ),
    answer_in(
        "webhooks/refreshed-with-200",
        "refreshing is answered 200",
        &["WebhookController_refreshEndpoints"],
        PORTAL,
        |_, a| a.restatus(204, 200),
    ),
    answer_in(
        "webhooks/strangers-get-access",
        "another organisation's portal is open",
        &["WebhookController_getAppPortalAccess"],
        CLOSED,
        |_, a| a.restatus(403, 201),
    ),
    answer_in(
        "webhooks/strangers-initialise",
        "another organisation's webhooks can be initialised",
        &["WebhookController_initializeWebhooks"],
        CLOSED,
        |_, a| a.restatus(403, 201),
    ),
    answer_in("warm_pools/created-with-200", "a new pool is answered 200", &["createWarmPool"], POOL, |_, a| {
        a.restatus(201, 200);
    })
    .alone(),
    answer_in("warm_pools/two-for-one", "a snapshot has two pools", &["createWarmPool"], POOL, |_, a| {
        a.restatus(409, 201);
    })
    .alone(),
    request_in("warm_pools/size-not-changed", "a pool's new size is dropped", &["updateWarmPool"], POOL, |q| {
        q.edit(|v| set(v, "/pool", 1));
    })
    .alone(),
    stale_in("warm_pools/list-is-stale", "the list of pools never changes", &["listWarmPools"], POOL).alone(),
    request_in("warm_pools/waiting-ones-listed", "lists show what waits", &["listSandboxes"], TAKEN, |q| {
        q.set_query("includeWarm", Some("true"));
    })
    .alone(),
    request_in("warm_pools/nothing-is-taken", "a creation takes no waiting sandbox", &["createSandbox"], TAKEN, |q| {
        q.edit(|v| put(v, "cpu", 2));
    })
    .alone(),
    request_in(
        "warm_pools/labels-lost",
        "who takes a waiting sandbox gets it without labels",
        &["createSandbox"],
        TAKEN,
        |q| q.edit(|v| drop(remove(v, "/labels/a"))),
    )
    .alone(),
    answer_in("warm_pools/pool-told", "a taken sandbox says its pool", &["createSandbox"], TAKEN, |_, a| {
        a.edit(|v| put(v, "warmPoolId", "00000000-0000-4000-8000-000000000000"));
    })
    .alone(),
    answer_in("warm_pools/empty-ones", "a pool of nothing is made", &["createWarmPool"], POOL_INPUT, |_, a| {
        a.restatus(400, 201);
    }),
    answer_in(
        "warm_pools/unknown-is-400",
        "an unknown pool is 400",
        &["updateWarmPool", "deleteWarmPool"],
        POOL_INPUT,
        |_, a| a.restatus(404, 400),
    ),
];
