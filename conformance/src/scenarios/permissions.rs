//! Which permission a key needs for which operation: one table, gone through with keys that lack it and keys that have it.

use std::collections::HashMap;

use crate::{client::Client, prelude::*};

scenarios! { "permissions";
    /// Whatever changes a sandbox needs `write:sandboxes`, deleting one `delete:sandboxes`: without it 403 `Access denied`,
    /// before anything else of the request is looked at, and with it alone no refusal. (observed)
    of_sandboxes: Must,
        covers ["createSandbox", "deleteSandbox", "startSandbox", "stopSandbox", "archiveSandbox", "resizeSandbox",
            "replaceLabels", "updatePublicStatus", "updateNetworkSettings", "recoverSandbox"],
        needs [ApiKeys];

    /// So do its timers, copies, accesses and keys. (observed; the rule of all changes of a sandbox)
    of_what_sandboxes_have: Must,
        covers ["setAutostopInterval", "setAutoArchiveInterval", "setAutoDeleteInterval", "createBackup",
            "createSandboxSnapshot", "forkSandbox", "createSshAccess", "revokeSshAccess"],
        needs [ApiKeys];

    /// Snapshots are made and switched with `write:snapshots`, and deleted with `delete:snapshots`; what is pushed or
    /// uploaded for them needs that or `write:sandboxes`. (observed)
    of_snapshots: Must,
        covers ["createSnapshot", "activateSnapshot", "deactivateSnapshot", "removeSnapshot", "getPushAccess",
            "getTransientPushAccess"],
        needs [ApiKeys];

    /// Volumes are read with `read:volumes`, made with `write:volumes` and deleted with `delete:volumes`. (observed)
    of_volumes: Must, covers ["listVolumes", "getVolume", "getVolumeByName", "createVolume", "deleteVolume"],
        needs [ApiKeys];

    /// Registries, regions and runners have permissions of their own to write and to delete. (observed; the contract's
    /// permissions)
    of_registries_and_regions: Must,
        covers ["createRegistry", "updateRegistry", "deleteRegistry", "createRegion", "updateRegion", "deleteRegion"],
        needs [ApiKeys];

    /// Keys need `manage:api_keys`, secrets `manage:secrets`, identity providers `manage:sso`. (the contract's permissions)
    of_keys_and_secrets: Must,
        covers ["listApiKeys", "createApiKey", "getApiKey", "deleteApiKey", "listSecrets", "createSecret", "getSecret",
            "updateSecret", "deleteSecret"],
        needs [ApiKeys], since "0.200";

    /// The audit log needs `read:audit_logs`, the usage `read:limits`; warm pools are changed with `write:sandboxes`.
    /// (observed; the contract's permissions)
    of_organizations: Must, covers ["getOrganizationAuditLogs", "getOrganizationUsageOverview"], needs [ApiKeys];

    /// What people do in their organisations, and owners with them, is no matter of a key that may less than its user: 403
    /// `Access denied`. One that may everything stands for its user. (observed of people; keys are for servers that take them
    /// there)
    of_people: Must,
        covers ["createOrganization", "deleteOrganization", "leaveOrganization", "createOrganizationRole",
            "updateOrganizationRole", "deleteOrganizationRole", "createOrganizationInvitation",
            "listOrganizationInvitations", "updateOrganizationInvitation", "cancelOrganizationInvitation",
            "updateAccessForOrganizationMember", "deleteOrganizationMember", "setOrganizationDefaultRegion",
            "updateOrganizationOtelConfig", "deleteOrganizationOtelConfig", "updateOrganizationPreviewWarning",
            "updateExperimentalConfig"],
        needs [ApiKeys, Operators];

    /// A key without any permission may look at sandboxes, snapshots, registries, regions and itself. (observed)
    none_are_needed_to_look: Must,
        covers ["getSandbox", "updateLastActivity", "getPortPreviewUrl", "getSignedPortPreviewUrl", "getBuildLogs",
            "getToolboxProxyUrl", "getAllSnapshots", "getSnapshot", "listRegistries", "listAvailableRegions"],
        needs [ApiKeys];
}

/// An operation, a request that reaches its end in no case, and the permissions of which one is needed.
struct Row {
    operation: &'static str,
    method: &'static str,
    /// `{organization}` is the key's own.
    path: &'static str,
    one_of: &'static [&'static str],
    /// Which permission it is follows from names only: that one is needed is judged, which one warns.
    presumed: bool,
}

const fn row(
    operation: &'static str,
    method: &'static str,
    path: &'static str,
    one_of: &'static [&'static str],
) -> Row {
    Row { operation, method, path, one_of, presumed: false }
}

const fn presumed(
    operation: &'static str,
    method: &'static str,
    path: &'static str,
    one_of: &'static [&'static str],
) -> Row {
    Row { operation, method, path, one_of, presumed: true }
}

type Permissions = &'static [&'static str];

const SANDBOXES: Permissions = &["write:sandboxes"];
const SNAPSHOTS: Permissions = &["write:snapshots"];
const PUSH: Permissions = &["write:snapshots", "write:sandboxes"];
const VOLUMES: Permissions = &["read:volumes"];
const REGIONS: Permissions = &["write:regions"];
const RUNNERS: Permissions = &["write:runners"];
const KEYS: Permissions = &["manage:api_keys"];
const SECRETS: Permissions = &["manage:secrets"];
const SSO: Permissions = &["manage:sso"];

#[rustfmt::skip]
const OF_SANDBOXES: &[Row] = &[
    row("createSandbox", "POST", "/sandbox", SANDBOXES),
    row("deleteSandbox", "DELETE", "/sandbox/nobody", &["delete:sandboxes"]),
    row("startSandbox", "POST", "/sandbox/nobody/start", SANDBOXES),
    row("stopSandbox", "POST", "/sandbox/nobody/stop", SANDBOXES),
    row("pauseSandbox", "POST", "/sandbox/nobody/pause", SANDBOXES),
    row("archiveSandbox", "POST", "/sandbox/nobody/archive", SANDBOXES),
    row("resizeSandbox", "POST", "/sandbox/nobody/resize", SANDBOXES),
    row("recoverSandbox", "POST", "/sandbox/nobody/recover", SANDBOXES),
    row("replaceLabels", "PUT", "/sandbox/nobody/labels", SANDBOXES),
    row("updatePublicStatus", "POST", "/sandbox/nobody/public/true", SANDBOXES),
    row("updateNetworkSettings", "POST", "/sandbox/nobody/network-settings", SANDBOXES),
    row("updateSandboxSecrets", "PUT", "/sandbox/nobody/secrets", SANDBOXES),
];

#[rustfmt::skip]
const OF_WHAT_THEY_HAVE: &[Row] = &[
    row("setAutostopInterval", "POST", "/sandbox/nobody/autostop/5", SANDBOXES),
    row("setAutoArchiveInterval", "POST", "/sandbox/nobody/autoarchive/5", SANDBOXES),
    row("setAutoDeleteInterval", "POST", "/sandbox/nobody/autodelete/5", SANDBOXES),
    row("setAutoPauseInterval", "POST", "/sandbox/nobody/autopause/5", SANDBOXES),
    row("setTtl", "POST", "/sandbox/nobody/ttl/5", SANDBOXES),
    row("createBackup", "POST", "/sandbox/nobody/backup", SANDBOXES),
    row("createSandboxSnapshot", "POST", "/sandbox/nobody/snapshot", SANDBOXES),
    row("forkSandbox", "POST", "/sandbox/nobody/fork", SANDBOXES),
    row("createSshAccess", "POST", "/sandbox/nobody/ssh-access", SANDBOXES),
    row("revokeSshAccess", "DELETE", "/sandbox/nobody/ssh-access", SANDBOXES),
    presumed("rotateSigningKey", "POST", "/sandbox/nobody/signing-key/rotate", SANDBOXES),
    presumed("expireSignedPortPreviewUrl", "POST", "/sandbox/nobody/ports/80/signed-preview-url/x/expire", SANDBOXES),
];

#[rustfmt::skip]
const OF_SNAPSHOTS: &[Row] = &[
    row("createSnapshot", "POST", "/snapshots", SNAPSHOTS),
    row("activateSnapshot", "POST", "/snapshots/00000000-0000-4000-8000-000000000000/activate", SNAPSHOTS),
    row("deactivateSnapshot", "POST", "/snapshots/00000000-0000-4000-8000-000000000000/deactivate", SNAPSHOTS),
    row("removeSnapshot", "DELETE", "/snapshots/00000000-0000-4000-8000-000000000000", &["delete:snapshots"]),
    row("getPushAccess", "GET", "/object-storage/push-access", PUSH),
    row("getTransientPushAccess", "GET", "/docker-registry/registry-push-access", PUSH),
];

#[rustfmt::skip]
const OF_VOLUMES: &[Row] = &[
    row("listVolumes", "GET", "/volumes", VOLUMES),
    row("getVolume", "GET", "/volumes/00000000-0000-4000-8000-000000000000", VOLUMES),
    row("getVolumeByName", "GET", "/volumes/by-name/nobody", VOLUMES),
    row("createVolume", "POST", "/volumes", &["write:volumes"]),
    row("deleteVolume", "DELETE", "/volumes/00000000-0000-4000-8000-000000000000", &["delete:volumes"]),
];

#[rustfmt::skip]
const OF_REGISTRIES_AND_REGIONS: &[Row] = &[
    row("createRegistry", "POST", "/docker-registry", &["write:registries"]),
    row("updateRegistry", "PATCH", "/docker-registry/00000000-0000-4000-8000-000000000000", &["write:registries"]),
    row("deleteRegistry", "DELETE", "/docker-registry/00000000-0000-4000-8000-000000000000", &["delete:registries"]),
    row("createRegion", "POST", "/regions", REGIONS),
    row("updateRegion", "PATCH", "/regions/nowhere", REGIONS),
    row("deleteRegion", "DELETE", "/regions/nowhere", &["delete:regions"]),
    row("regenerateProxyApiKey", "POST", "/regions/nowhere/regenerate-proxy-api-key", REGIONS),
    row("regenerateSshGatewayApiKey", "POST", "/regions/nowhere/regenerate-ssh-gateway-api-key", REGIONS),
    row("regenerateSnapshotManagerCredentials", "POST", "/regions/nowhere/regenerate-snapshot-manager-credentials", REGIONS),
    row("listRunners", "GET", "/runners", &["read:runners"]),
    row("getRunnerById", "GET", "/runners/00000000-0000-4000-8000-000000000000", &["read:runners"]),
    row("createRunner", "POST", "/runners", RUNNERS),
    row("updateRunnerScheduling", "PATCH", "/runners/00000000-0000-4000-8000-000000000000/scheduling", RUNNERS),
    row("updateRunnerDraining", "PATCH", "/runners/00000000-0000-4000-8000-000000000000/draining", RUNNERS),
    row("deleteRunner", "DELETE", "/runners/00000000-0000-4000-8000-000000000000", &["delete:runners"]),
];

#[rustfmt::skip]
const OF_KEYS_AND_SECRETS: &[Row] = &[
    row("listApiKeys", "GET", "/api-keys", KEYS),
    row("createApiKey", "POST", "/api-keys", KEYS),
    row("getApiKey", "GET", "/api-keys/nobody", KEYS),
    row("deleteApiKey", "DELETE", "/api-keys/nobody", KEYS),
    row("deleteApiKeyForUser", "DELETE", "/api-keys/nobody/nobody", KEYS),
    row("listSecrets", "GET", "/secret", SECRETS),
    row("listSecretsPaginated", "GET", "/secret/paginated", SECRETS),
    row("createSecret", "POST", "/secret", SECRETS),
    row("getSecret", "GET", "/secret/00000000-0000-4000-8000-000000000000", SECRETS),
    row("updateSecret", "PATCH", "/secret/00000000-0000-4000-8000-000000000000", SECRETS),
    row("deleteSecret", "DELETE", "/secret/00000000-0000-4000-8000-000000000000", SECRETS),
    row("listOrganizationIdentityProviders", "GET", "/organizations/{organization}/identity-providers", SSO),
    row("createOrganizationIdentityProvider", "POST", "/organizations/{organization}/identity-providers", SSO),
    row("getOrganizationIdentityProvider", "GET", "/organizations/{organization}/identity-providers/x", SSO),
    row("updateOrganizationIdentityProvider", "PATCH", "/organizations/{organization}/identity-providers/x", SSO),
    row("deleteOrganizationIdentityProvider", "DELETE", "/organizations/{organization}/identity-providers/x", SSO),
];

#[rustfmt::skip]
const OF_ORGANIZATIONS: &[Row] = &[
    row("getOrganizationAuditLogs", "GET", "/audit/organizations/{organization}", &["read:audit_logs"]),
    row("getOrganizationUsageOverview", "GET", "/organizations/{organization}/usage", &["read:limits"]),
    presumed("createWarmPool", "POST", "/warm-pools", SANDBOXES),
    presumed("updateWarmPool", "PATCH", "/warm-pools/00000000-0000-4000-8000-000000000000", SANDBOXES),
    presumed("deleteWarmPool", "DELETE", "/warm-pools/00000000-0000-4000-8000-000000000000", SANDBOXES),
];

#[rustfmt::skip]
const OF_PEOPLE: &[Row] = &[
    row("listOrganizationInvitationsForAuthenticatedUser", "GET", "/organizations/invitations", &[]),
    row("getOrganizationInvitationsCountForAuthenticatedUser", "GET", "/organizations/invitations/count", &[]),
    row("acceptOrganizationInvitation", "POST", "/organizations/invitations/nobody/accept", &[]),
    row("declineOrganizationInvitation", "POST", "/organizations/invitations/nobody/decline", &[]),
    row("createOrganization", "POST", "/organizations", &[]),
    row("setOrganizationDefaultRegion", "PATCH", "/organizations/{organization}/default-region", &[]),
    row("updateOrganizationOtelConfig", "PUT", "/organizations/{organization}/otel-config", &[]),
    row("deleteOrganizationOtelConfig", "DELETE", "/organizations/{organization}/otel-config", &[]),
    row("updateOrganizationPreviewWarning", "POST", "/organizations/{organization}/preview-warning", &[]),
    row("updateExperimentalConfig", "PUT", "/organizations/{organization}/experimental-config", &[]),
    row("createOrganizationRole", "POST", "/organizations/{organization}/roles", &[]),
    row("updateOrganizationRole", "PUT", "/organizations/{organization}/roles/nobody", &[]),
    row("deleteOrganizationRole", "DELETE", "/organizations/{organization}/roles/nobody", &[]),
    row("updateAccessForOrganizationMember", "POST", "/organizations/{organization}/users/nobody/access", &[]),
    row("deleteOrganizationMember", "DELETE", "/organizations/{organization}/users/nobody", &[]),
    row("createOrganizationInvitation", "POST", "/organizations/{organization}/invitations", &[]),
    row("listOrganizationInvitations", "GET", "/organizations/{organization}/invitations", &[]),
    row("updateOrganizationInvitation", "PUT", "/organizations/{organization}/invitations/nobody", &[]),
    row("cancelOrganizationInvitation", "POST", "/organizations/{organization}/invitations/nobody/cancel", &[]),
    row("WebhookController_getAppPortalAccess", "POST", "/webhooks/organizations/{organization}/app-portal-access", &[]),
    row("WebhookController_initializeWebhooks", "POST", "/webhooks/organizations/{organization}/initialize", &[]),
    row("WebhookController_refreshEndpoints", "POST", "/webhooks/organizations/{organization}/refresh-endpoints", &[]),
    row("leaveOrganization", "POST", "/organizations/{organization}/leave", &[]),
    row("deleteOrganization", "DELETE", "/organizations/{organization}", &[]),
];

#[rustfmt::skip]
const OF_NOBODY: &[Row] = &[
    row("listSandboxes", "GET", "/sandbox?limit=1&name=nobody", &[]),
    row("listSandboxesPaginated_deprecated", "GET", "/sandbox/paginated?limit=1&name=nobody", &[]),
    row("getSandbox", "GET", "/sandbox/nobody", &[]),
    row("updateLastActivity", "POST", "/sandbox/nobody/last-activity", &[]),
    row("getPortPreviewUrl", "GET", "/sandbox/nobody/ports/80/preview-url", &[]),
    row("getSignedPortPreviewUrl", "GET", "/sandbox/nobody/ports/80/signed-preview-url", &[]),
    row("getBuildLogs", "GET", "/sandbox/nobody/build-logs", &[]),
    row("getToolboxProxyUrl", "GET", "/sandbox/nobody/toolbox-proxy-url", &[]),
    row("getAllSnapshots", "GET", "/snapshots?limit=1", &[]),
    row("getSnapshot", "GET", "/snapshots/nobody", &[]),
    row("listRegistries", "GET", "/docker-registry", &[]),
    row("listAvailableRegions", "GET", "/regions", &[]),
    row("getCurrentApiKey", "GET", "/api-keys/current", &[]),
];

/// Keys by what they may, made when they are needed.
struct Keys<'a> {
    cx: &'a Cx,
    /// What the run's key may.
    own: Vec<String>,
    made: HashMap<Vec<String>, Option<Client>>,
}

impl<'a> Keys<'a> {
    async fn new(cx: &'a Cx) -> Result<Self> {
        let current = cx.get("/api-keys/current").send().await?.ok()?;
        let own = current.array("/permissions")?.iter().filter_map(|one| one.as_str().map(str::to_owned)).collect();
        Ok(Self { cx, own, made: HashMap::new() })
    }

    /// A key with just these; `None` where the server doesn't know one of them.
    async fn with(&mut self, permissions: Vec<String>) -> Result<Option<Client>> {
        if let Some(known) = self.made.get(&permissions) {
            return Ok(known.clone());
        }
        let body = json!({"name": self.cx.name("key"), "permissions": permissions});
        let answer = self.cx.post("/api-keys").json(body).send().await?;
        let made = match answer.status {
            400 => None,
            _ => Some(self.cx.api().with_key(&answer.ok()?.string("/value")?)),
        };
        self.made.insert(permissions, made.clone());
        Ok(made)
    }

    /// A key with all that the run's key may, but for these.
    async fn without(&mut self, lacking: &[&str]) -> Result<Option<Client>> {
        let rest = self.own.iter().filter(|own| !lacking.contains(&own.as_str())).cloned().collect();
        self.with(rest).await
    }
}

/// A request that is refused for what it asks, if not for who asks.
fn ask(client: &Client, row: &Row, organization: &str) -> crate::client::Request {
    let path = row.path.replace("{organization}", organization);
    let request = client.request(row.method.parse().expect("a method"), &path);
    match row.method {
        "GET" => request,
        _ => request.json(json!({"name": 5})),
    }
}

/// Goes through rows; not applicable if the run's key has none of their permissions itself.
async fn judge(cx: &Cx, rows: &[Row], organization: &str) -> Result {
    let mut keys = Keys::new(cx).await?;
    let Some(nobody) = keys.with(Vec::new()).await? else { return Err(Stop::untestable("no key without permissions")) };
    let mut judged = 0;
    for row in rows {
        let owned = row.one_of.iter().all(|one| keys.own.iter().any(|own| own == one));
        let Some(lacking) = keys.without(row.one_of).await?.filter(|_| owned) else { continue };
        let refused = if row.presumed { &nobody } else { &lacking };
        if !is_refused(cx, row, refused, organization).await? {
            continue;
        }
        judged += 1;
        if row.presumed {
            let answer = ask(&lacking, row, organization).send().await?;
            cx.check(format!("{}-lacking", row.operation)).should().error(&answer, 403, "Access denied");
        }
        for one in row.one_of {
            if let Some(holding) = keys.with(vec![(*one).to_owned()]).await? {
                may(cx, row, &holding, organization, one).await?;
            }
        }
    }
    if judged == 0 {
        Err(Stop::not_applicable("none of these operations is for keys, or for the run's"))
    } else {
        Ok(())
    }
}

/// The verdict on who lacks a permission; false if there is none, because even the run's key is told that there is no such
/// operation, or that it isn't for keys.
async fn is_refused(cx: &Cx, row: &Row, client: &Client, organization: &str) -> Result<bool> {
    let answer = ask(client, row, organization).send().await?;
    let is_absent = |answer: &crate::client::Answer| match answer.status {
        401 | 501 => true,
        404 => answer["message"].as_str().is_some_and(|message| message.starts_with("Cannot ")),
        _ => false,
    };
    if is_absent(&answer) && is_absent(&ask(cx.api(), row, organization).send().await?) {
        return Ok(false);
    }
    cx.check(format!("{}-without", row.operation)).error(&answer, 403, "Access denied");
    Ok(true)
}

/// The verdict on who has it, and nothing else.
async fn may(cx: &Cx, row: &Row, client: &Client, organization: &str, permission: &str) -> Result {
    let answer = ask(client, row, organization).send().await?;
    let check = cx.check(format!("{}-with-{permission}", row.operation)).on(&answer);
    let check = if row.presumed { check.should() } else { check };
    check.that(!matches!(answer.status, 401 | 403), "no refusal of this key", answer.summary());
    Ok(())
}

async fn of_sandboxes(cx: Cx) -> Result {
    judge(&cx, OF_SANDBOXES, "").await
}

async fn of_what_sandboxes_have(cx: Cx) -> Result {
    judge(&cx, OF_WHAT_THEY_HAVE, "").await
}

async fn of_snapshots(cx: Cx) -> Result {
    judge(&cx, OF_SNAPSHOTS, "").await
}

async fn of_volumes(cx: Cx) -> Result {
    judge(&cx, OF_VOLUMES, "").await
}

async fn of_registries_and_regions(cx: Cx) -> Result {
    judge(&cx, OF_REGISTRIES_AND_REGIONS, "").await
}

async fn of_keys_and_secrets(cx: Cx) -> Result {
    let organization = cx.shared().await?.read().await?.ok()?.string("/organizationId")?;
    judge(&cx, OF_KEYS_AND_SECRETS, &organization).await
}

async fn of_organizations(cx: Cx) -> Result {
    let organization = cx.shared().await?.read().await?.ok()?.string("/organizationId")?;
    judge(&cx, OF_ORGANIZATIONS, &organization).await
}

/// In an organisation that is nobody's loss: who isn't stopped there may leave or delete it.
async fn of_people(cx: Cx) -> Result {
    let full = cx.own_account().await?;
    let own = full.get("/organizations").send().await?;
    if own.status == 401 {
        return Err(Stop::not_applicable("organizations are for people here, not for keys"));
    }
    let organization = own.ok()?.string("/0/id")?;
    let body = json!({"name": cx.name("key"), "permissions": ["write:sandboxes", "manage:api_keys"]});
    let little = full.with_key(&full.post("/api-keys").json(body).send().await?.ok()?.string("/value")?);
    for row in OF_PEOPLE {
        let answer = ask(&little, row, &organization).send().await?;
        cx.check(format!("{}-without", row.operation)).error(&answer, 403, "Access denied");
        let answer = ask(&full, row, &organization).send().await?;
        let is_refused = answer.status == 401 || answer["message"] == "Access denied";
        let check = cx.check(format!("{}-with-all", row.operation)).on(&answer);
        check.that(!is_refused, "no refusal of this key", answer.summary());
    }
    Ok(())
}

async fn none_are_needed_to_look(cx: Cx) -> Result {
    let mut keys = Keys::new(&cx).await?;
    let Some(nobody) = keys.with(Vec::new()).await? else { return Err(Stop::untestable("no key without permissions")) };
    for row in OF_NOBODY {
        may(&cx, row, &nobody, "", "nothing").await?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::contract::{self, Plane};

    #[test]
    fn rows_are_of_the_contract_and_once() {
        let tables = [
            OF_SANDBOXES,
            OF_WHAT_THEY_HAVE,
            OF_SNAPSHOTS,
            OF_VOLUMES,
            OF_REGISTRIES_AND_REGIONS,
            OF_KEYS_AND_SECRETS,
            OF_ORGANIZATIONS,
            OF_PEOPLE,
            OF_NOBODY,
        ];
        let mut seen = std::collections::HashSet::new();
        for row in tables.into_iter().flatten() {
            let path = row.path.replace("{organization}", "o");
            let found = contract::resolve(Plane::Api, row.method, &path).map(|operation| operation.id);
            assert_eq!(found, Some(row.operation), "{} {path}", row.method);
            assert!(seen.insert(row.operation), "{} twice", row.operation);
        }
    }
}
