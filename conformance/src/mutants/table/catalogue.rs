//! Snapshots, regions, organisations and registries.

use super::prelude::*;

pub(super) const MUTANTS: &[Mutant] = &[
    answer(
        "catalogue/snapshots-without-total",
        "the list of snapshots has no `total`",
        &["getAllSnapshots"],
        |_, a| {
            a.edit(|v| drop(remove(v, "/total")));
        },
    ),
    request(
        "catalogue/snapshot-limit-ignored",
        "`limit` of the list of snapshots is ignored",
        &["getAllSnapshots"],
        |q| {
            q.set_query("limit", None);
        },
    ),
    request(
        "catalogue/snapshot-filter-ignored",
        "`name` of the list of snapshots is ignored",
        &["getAllSnapshots"],
        |q| {
            q.set_query("name", None);
        },
    ),
    answer("catalogue/unknown-snapshot-is-400", "an unknown snapshot is 400", &["getSnapshot"], |_, a| {
        a.restatus(404, 400)
    }),
    answer("catalogue/snapshot-of-another-id", "a snapshot is answered with another id", &["getSnapshot"], |_, a| {
        a.edit(|v| set(v, "/id", "00000000-0000-4000-8000-000000000000"));
    }),
    answer(
        "catalogue/region-renamed",
        "regions have other ids than sandboxes say",
        &["listAvailableRegions"],
        |_, a| {
            a.edit(|v| each(v, "", |region| set(region, "/id", "mars")));
        },
    ),
    answer(
        "catalogue/unknown-region-in-other-words",
        "an unknown region has another message",
        &["getRegionById"],
        |_, a| {
            a.edit_error(|v| set(v, "/message", "No such region"));
        },
    ),
    answer(
        "catalogue/organisation-of-another-id",
        "the organisation is answered with another id",
        &["getOrganization"],
        |_, a| {
            a.edit(|v| set(v, "/id", "00000000-0000-4000-8000-000000000000"));
        },
    ),
    answer("catalogue/access-always", "everybody has access to every sandbox", &["hasSandboxAccess"], |_, a| {
        a.restatus(404, 200);
    }),
    answer(
        "catalogue/config-without-toolbox",
        "the configuration doesn't say where toolboxes are",
        &["ConfigController_getConfig"],
        |_, a| {
            a.edit(|v| drop(remove(v, "/proxyToolboxUrl")));
        },
    ),
    answer("catalogue/health-in-other-words", "health is `up` instead of `ok`", &["HealthController_live"], |_, a| {
        a.edit(|v| set(v, "/status", "up"));
    }),
    answer("snapshots/names-are-not-checked", "any name of a snapshot is taken", &["createSnapshot"], |_, a| {
        a.restatus(400, 200);
    }),
    request_in(
        "snapshots/empty-ones",
        "a snapshot of a sandbox has none of its files",
        &["createSandbox"],
        &["snapshots/a_sandbox_is_kept"],
        |q| q.edit(|v| drop(remove(v, "/snapshot"))),
    ),
    ignored_in(
        "snapshots/inactive-is-active",
        "deactivating does nothing",
        &["deactivateSnapshot"],
        &["snapshots/deactivated_is_out_of_use"],
        204,
        "",
    ),
    ignored_in(
        "snapshots/deletion-does-nothing",
        "a deleted snapshot is still there",
        &["removeSnapshot"],
        &["snapshots/deleted_is_gone"],
        200,
        "",
    ),
    ignored_in(
        "snapshots/general-ones-go",
        "a snapshot that everybody has is said to be deleted",
        &["removeSnapshot"],
        &["snapshots/general_ones_stay"],
        200,
        "",
    ),
    answer_in(
        "snapshots/failing-build-without-reason",
        "a build that fails says no reason",
        &["getSnapshot"],
        &["snapshots/a_failing_build_says_why"],
        |_, a| a.edit(|v| set(v, "/errorReason", "")),
    ),
    Mutant::new(
        "snapshots/build-without-output",
        "build logs have none of the build's output",
        On::Path("build-logs", &["snapshots/a_dockerfile_is_built"]),
        Change::Answer(|_, a| a.text(|text| text.replace("conformance-says-hello", ""))),
    ),
    Mutant::new(
        "snapshots/build-logs-open",
        "build logs are shown without a key",
        On::Path("build-logs", &["snapshots/a_dockerfile_is_built"]),
        Change::Answer(|_, a| {
            a.restatus(401, 200);
        }),
    ),
    answer(
        "snapshots/no-build-logs-anyway",
        "what wasn't built has a URL of build logs",
        &["getSnapshotBuildLogsUrl"],
        |_, a| {
            a.restatus(404, 200);
        },
    ),
    answer("registries/password-shown", "a registry is answered with its password", &["getRegistry"], |_, a| {
        a.edit(|v| put(v, "password", "conformance-password"));
    }),
    ignored_in(
        "registries/deletion-does-nothing",
        "a deleted registry is still there",
        &["deleteRegistry"],
        &["registries/registries_come_and_go"],
        200,
        "",
    ),
    request("registries/name-is-not-changed", "a change of a name is dropped", &["updateRegistry"], |q| {
        q.edit(|v| set(v, "/name", "unchanged"));
    }),
    answer("registries/created-with-200", "a new registry is answered 200", &["createRegistry"], |_, a| {
        a.restatus(201, 200)
    }),
    stale("registries/list-is-stale", "the list of registries never changes", &["listRegistries"]),
    request_in(
        "registries/others-see-them",
        "other organisations can read a registry",
        &["getRegistry"],
        &["registries/others_see_nothing"],
        Asked::allow,
    ),
    answer(
        "catalogue/internal-routes-are-open",
        "what is for the service's own parts is open",
        &["isSandboxPublic", "isValidAuthToken", "getSigningKey", "isPreviewWarningEnabled"],
        |_, a| {
            for status in [401, 403, 404] {
                a.restatus(status, 200);
            }
        },
    ),
    answer("catalogue/readiness-is-404", "there is no readiness", &["HealthController_check"], |_, a| {
        for status in [200, 401, 403, 503] {
            a.restatus(status, 404);
        }
    }),
];
