//! What is not for the keys of users: what the parts of the product ask each other, and what its operators do.

use crate::{client::Answer, contract, prelude::*};

scenarios! { "closed";
    /// What runners, the proxy and the gateways ask the API is 403 `Invalid authentication context` for the key of a
    /// user. (observed)
    parts_among_themselves: Must, covers [];

    /// What operators do is 403 `Access denied` for an ordinary key. (observed)
    operators: Must, covers [];

    /// What a server says that it doesn't emulate is answered 501 with the operationId, or refused; never as if it were
    /// there. (the mock's own rule: nobody is to take it for the real thing)
    what_is_not_emulated: Must, covers [];
}

type Row = (&'static str, &'static str, &'static str);

#[rustfmt::skip]
const INTERNAL: &[Row] = &[
    ("getSandboxesForRunner", "GET", "/sandbox/for-runner"),
    ("updateSandboxState", "PUT", "/sandbox/nobody/state"),
    ("getOrganizationBySandboxId", "GET", "/sandbox/nobody/organization"),
    ("getRegionQuotaBySandboxId", "GET", "/sandbox/nobody/region-quota"),
    ("resolveSandboxSecrets", "GET", "/sandbox/nobody/secrets"),
    ("getInfoForAuthenticatedRunner", "GET", "/runners/me"),
    ("getSnapshotRefsForAuthenticatedRunner", "GET", "/runners/me/snapshots"),
    ("getRunnerBySandboxId", "GET", "/runners/by-sandbox/nobody"),
    ("getRunnersBySnapshotRef", "GET", "/runners/by-snapshot-ref?ref=nothing"),
    ("getRunnerFullById", "GET", "/runners/00000000-0000-4000-8000-000000000000/full"),
    ("runnerHealthcheck", "POST", "/runners/healthcheck"),
    ("listJobs", "GET", "/jobs"),
    ("pollJobs", "GET", "/jobs/poll?timeout=1"),
    ("getJob", "GET", "/jobs/00000000-0000-4000-8000-000000000000"),
    ("updateJobStatus", "POST", "/jobs/00000000-0000-4000-8000-000000000000/status"),
    ("isSandboxPublic", "GET", "/preview/nobody/public"),
    ("isValidAuthToken", "GET", "/preview/nobody/validate/x"),
    ("isPreviewWarningEnabled", "GET", "/preview/nobody/preview-warning"),
    ("getSigningKey", "GET", "/preview/nobody/signing-key"),
];

/// Ids that nothing has: whoever answers them does no harm.
#[rustfmt::skip]
const OPERATORS: &[Row] = &[
    ("adminListRunners", "GET", "/admin/runners"),
    ("adminCreateRunner", "POST", "/admin/runners"),
    ("adminGetRunnerById", "GET", "/admin/runners/00000000-0000-4000-8000-000000000000"),
    ("adminDeleteRunner", "DELETE", "/admin/runners/00000000-0000-4000-8000-000000000000"),
    ("adminUpdateRunnerScheduling", "PATCH", "/admin/runners/00000000-0000-4000-8000-000000000000/scheduling"),
    ("adminRecoverSandbox", "POST", "/admin/sandbox/nobody/recover"),
    ("adminCreateUser", "POST", "/admin/users"),
    ("adminListUsers", "GET", "/admin/users"),
    ("adminGetUser", "GET", "/admin/users/nobody"),
    ("adminRegenerateKeyPair", "POST", "/admin/users/nobody/regenerate-key-pair"),
    ("adminSendWebhook", "POST", "/admin/webhooks/organizations/00000000-0000-4000-8000-000000000000/send"),
    ("adminGetMessageAttempts", "GET", "/admin/webhooks/organizations/00000000-0000-4000-8000-000000000000/messages/x/attempts"),
    ("adminGetWebhookStatus", "GET", "/admin/webhooks/status"),
    ("adminInitializeWebhooks", "POST", "/admin/webhooks/organizations/00000000-0000-4000-8000-000000000000/initialize"),
    ("adminSetDefaultRegistry", "POST", "/admin/docker-registry/00000000-0000-4000-8000-000000000000/set-default"),
    ("adminCanCleanupImage", "GET", "/admin/snapshots/can-cleanup-image?imageName=x"),
    ("adminSetSnapshotGeneralStatus", "PATCH", "/admin/snapshots/00000000-0000-4000-8000-000000000000/general"),
    ("adminGetAllAuditLogs", "GET", "/admin/audit"),
    ("adminCreateOrganization", "POST", "/admin/organizations"),
    ("adminCreateOrganizationRegionQuota", "POST", "/admin/organizations/00000000-0000-4000-8000-000000000000/quota/nowhere"),
    ("adminUpdateOrganizationRegionQuota", "PATCH", "/admin/organizations/00000000-0000-4000-8000-000000000000/quota/nowhere"),
    ("adminGetOrganizationRegionQuota", "GET", "/admin/organizations/00000000-0000-4000-8000-000000000000/quota/nowhere/container"),
    ("adminDeleteOrganizationRegionQuota", "DELETE", "/admin/organizations/00000000-0000-4000-8000-000000000000/quota/nowhere/container"),
    ("adminUpdateOrganizationPreviewWarning", "POST", "/admin/organizations/00000000-0000-4000-8000-000000000000/preview-warning"),
    ("updateOrganizationQuota", "PATCH", "/organizations/00000000-0000-4000-8000-000000000000/quota"),
    ("updateOrganizationRegionQuota", "PATCH", "/organizations/00000000-0000-4000-8000-000000000000/quota/nowhere"),
    ("suspendOrganization", "POST", "/organizations/00000000-0000-4000-8000-000000000000/suspend"),
    ("unsuspendOrganization", "POST", "/organizations/00000000-0000-4000-8000-000000000000/unsuspend"),
    ("updateSandboxDefaultLimitedNetworkEgress", "POST", "/organizations/00000000-0000-4000-8000-000000000000/sandbox-default-limited-network-egress"),
    ("updateOrganizationSsoEnabled", "POST", "/organizations/00000000-0000-4000-8000-000000000000/sso-enabled"),
    ("getOrganizationOtelConfig", "GET", "/organizations/00000000-0000-4000-8000-000000000000/otel-config"),
    ("getOrganizationOtelConfigBySandboxAuthToken", "GET", "/organizations/otel-config/by-sandbox-auth-token/x"),
];

/// Whether the operation isn't there at all: older servers lack some.
fn is_absent(answer: &Answer) -> bool {
    let unknown = answer["message"].as_str().is_some_and(|message| message.starts_with("Cannot "));
    answer.status == 501 || answer.status == 404 && unknown
}

/// Each row is refused; in these words, where somebody saw them.
async fn refused(cx: &Cx, rows: &[Row], words: impl Fn(&str) -> Option<&'static str>) -> Result {
    for (operation, method, path) in rows {
        let request = cx.api().request(method.parse().expect("a method"), path);
        let request = if *method == "GET" { request } else { request.json(json!({})) };
        let answer = request.send().await?;
        let check = cx.check(*operation);
        match words(path) {
            _ if is_absent(&answer) => _ = check.on(&answer).that(true, "a refusal", answer.status),
            Some(words) => _ = check.error(&answer, 403, words),
            None => _ = check.status_in(&answer, &[401, 403]),
        }
    }
    Ok(())
}

async fn parts_among_themselves(cx: Cx) -> Result {
    refused(&cx, INTERNAL, |_| Some("Invalid authentication context")).await
}

async fn operators(cx: Cx) -> Result {
    // Who set the server up may have a key that may all that.
    if cx.world.server.mock.is_none() && cx.get("/admin/runners").unjudged().send().await?.is_ok() {
        return Err(Stop::not_applicable("an ordinary key: this one is an operator's"));
    }
    refused(&cx, OPERATORS, |path| path.starts_with("/admin/").then_some("Access denied")).await
}

async fn what_is_not_emulated(cx: Cx) -> Result {
    let published = &cx.world.server.operations;
    let all = contract::Plane::Api.contract().operations.iter();
    let absent: Vec<_> = all.filter(|one| published.get(one.id) == Some(&false)).collect();
    if absent.is_empty() {
        return Err(Stop::not_applicable("a list of what the server doesn't emulate"));
    }
    for one in absent {
        let filled = |part: &'static str| if part.starts_with('{') { "0" } else { part };
        let path = one.path.split('/').map(filled).collect::<Vec<_>>().join("/");
        let answer = cx.api().request(one.method.parse().expect("a method"), &path).json(json!({})).send().await?;
        let names_itself = answer.status != 501 || answer.text().contains(one.id);
        let is_refused = matches!(answer.status, 401 | 403 | 404 | 501);
        cx.check(one.id).on(&answer).that(
            is_refused && names_itself,
            "501 with the operationId, or a refusal",
            answer.summary(),
        );
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::contract::Plane;

    #[test]
    fn rows_are_of_the_contract_and_once() {
        let mut seen = std::collections::HashSet::new();
        for (operation, method, path) in INTERNAL.iter().chain(OPERATORS) {
            let found = contract::resolve(Plane::Api, method, path).map(|operation| operation.id);
            assert_eq!(found, Some(*operation), "{method} {path}");
            assert!(seen.insert(*operation), "{operation} twice");
        }
    }
}
