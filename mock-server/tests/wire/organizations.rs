//! Organisations: who is in them, what they may, and invitations between users.

use serde_json::{Value, json};

use crate::api::{Api, answer};

/// A user of its own with an address, and what was minted.
async fn user(email: &str) -> (Api, Value) {
    let api = Api::new().await;
    let email = format!("{}-{email}", uuid::Uuid::new_v4());
    let (status, minted) = api.control("POST", "/keys", json!({"email": email, "name": "Somebody"})).await;
    assert_eq!((status, &minted["email"]), (201, &json!(email)), "{minted}");
    (api.with_key(minted["apiKey"].as_str().expect("a key")), minted)
}

async fn patch(api: &Api, path: &str, body: Value) -> (u16, Value) {
    api.call("PATCH", path, body).await
}

/// An organisation that its maker owns: its path.
async fn organization(api: &Api) -> String {
    let (status, made) = api.post("/organizations", json!({"name": "Acme", "defaultRegionId": "us"})).await;
    assert_eq!((status, &made["personal"], &made["suspended"]), (201, &json!(false), &json!(false)), "{made}");
    format!("/organizations/{}", made["id"].as_str().expect("an id"))
}

/// `guest` becomes a member of `host`'s organisation, with these roles.
async fn join(host: &Api, path: &str, guest: &Api, email: &Value, roles: Value) {
    let invitation = json!({"email": email, "role": "member", "assignedRoleIds": roles});
    let (status, invited) = host.post(&format!("{path}/invitations"), invitation).await;
    assert_eq!((status, &invited["status"]), (201, &json!("pending")), "{invited}");
    let accept = format!("/organizations/invitations/{}/accept", invited["id"].as_str().expect("an id"));
    let (status, accepted) = guest.post(&accept, Value::Null).await;
    assert_eq!((status, &accepted["status"]), (201, &json!("accepted")), "{accepted}");
}

const DEVELOPER: &str = "00000000-0000-0000-0000-000000000001";

#[tokio::test]
async fn a_user_has_a_personal_organisation_that_stays() {
    let (api, minted) = user("a@example.com").await;
    let (status, me) = api.get("/users/me").await;
    assert_eq!((status, &me["email"], &me["id"]), (200, &minted["email"], &minted["userId"]));
    assert_eq!(me["emailVerified"], true);
    let (_, all) = api.get("/organizations").await;
    assert_eq!((&all[0]["id"], &all[0]["personal"]), (&minted["organizationId"], &json!(true)));
    let path = format!("/organizations/{}", minted["organizationId"].as_str().expect("an id"));
    api.refused("DELETE", &path, Value::Null, 403, "Cannot delete personal organization").await;
    let last =
        format!("Organization with ID {} must have at least one owner", minted["organizationId"].as_str().unwrap());
    api.refused("POST", &format!("{path}/leave"), Value::Null, 403, &last).await;
    let invitation = json!({"email": "x@example.com", "role": "member", "assignedRoleIds": []});
    let text = "Cannot invite users to personal organization";
    api.refused("POST", &format!("{path}/invitations"), invitation, 403, text).await;
    let again = json!({"email": minted["email"]});
    assert_eq!(api.control("POST", "/keys", again).await.0, 409);
    assert_eq!(api.get("/users/account-providers").await.0, 404);
}

#[tokio::test]
async fn organisations_are_made_and_deleted() {
    let (api, _) = user("b@example.com").await;
    let both = "name should not be empty, name must be a string, defaultRegionId should not be empty, \
                defaultRegionId must be a string";
    api.refused("POST", "/organizations", json!({}), 400, both).await;
    let text = "name must not contain HTML tags, URLs, or control characters, name must be a string, \
                defaultRegionId should not be empty, defaultRegionId must be a string";
    api.refused("POST", "/organizations", json!({"name": 5}), 400, text).await;
    let mars = json!({"name": "X", "defaultRegionId": "mars"});
    api.refused("POST", "/organizations", mars, 404, "Region not found").await;
    let path = organization(&api).await;
    organization(&api).await;
    assert_eq!(api.get("/organizations").await.1.as_array().map(Vec::len), Some(3));
    let set = json!({"defaultRegionId": "us"});
    let (status, body) = patch(&api, &format!("{path}/default-region"), set).await;
    assert_eq!((status, &body["message"]), (409, &json!("Organization already has a default region set")));
    let (other, _) = user("c@example.com").await;
    for (method, path) in [("GET", path.clone()), ("DELETE", path.clone()), ("GET", format!("{path}/users"))] {
        other.refused(method, &path, Value::Null, 403, "Invalid authentication context").await;
    }
    let (status, key) = api.control("POST", "/keys", json!({"organizationId": path.rsplit('/').next()})).await;
    assert_eq!(status, 201, "{key}");
    let inside = api.with_key(key["apiKey"].as_str().expect("a key"));
    inside.named("mine").await;
    assert_eq!(api.delete(&path).await, (200, Value::Null));
    let gone = format!("Organization with ID {} not found", path.rsplit('/').next().expect("an id"));
    api.refused("GET", &path, Value::Null, 404, &gone).await;
    inside.refused("GET", "/sandbox", Value::Null, 401, "Invalid credentials").await;
    assert_eq!(api.get("/organizations").await.1.as_array().map(Vec::len), Some(2));
}

#[tokio::test]
async fn users_invite_each_other_and_work_there() {
    let ((host, _), (guest, minted)) = (user("host@example.com").await, user("guest@example.com").await);
    let path = organization(&host).await;
    let id = path.rsplit('/').next().expect("an id").to_owned();
    let invitations = format!("{path}/invitations");
    let all = "email must be an email, email must be a string, role must be one of the following values: owner, member, \
               each value in assignedRoleIds must be a string, assignedRoleIds must be an array";
    host.refused("POST", &invitations, json!({}), 400, all).await;
    let body = json!({"email": minted["email"], "role": "member", "assignedRoleIds": [DEVELOPER]});
    let (status, invited) = host.post(&invitations, body.clone()).await;
    assert_eq!((status, &invited["organizationName"]), (201, &json!("Acme")));
    assert_eq!(invited["assignedRoles"][0]["name"], "Developer");
    let text = format!("User with email {} already invited to this organization", minted["email"]);
    host.refused("POST", &invitations, body, 409, &text).await;
    assert_eq!(guest.get("/organizations/invitations/count").await, (200, json!(1)));
    assert_eq!(guest.get("/organizations/invitations").await.1[0]["id"], invited["id"]);
    assert_eq!(host.get("/organizations/invitations").await, (200, json!([])));
    let answer_path = format!("/organizations/invitations/{}", invited["id"].as_str().expect("an id"));
    let missing = format!("Organization invitation with ID {} not found", invited["id"].as_str().unwrap());
    host.refused("POST", &format!("{answer_path}/accept"), Value::Null, 404, &missing).await;
    assert_eq!(guest.post(&format!("{answer_path}/accept"), Value::Null).await.0, 201);
    let twice = format!("Invitation with ID {} is already accepted", invited["id"].as_str().unwrap());
    guest.refused("POST", &format!("{answer_path}/accept"), Value::Null, 403, &twice).await;
    assert_eq!(guest.get("/organizations/invitations/count").await, (200, json!(0)));
    assert_eq!(host.get(&invitations).await, (200, json!([])), "only open ones are listed");
    let (_, members) = host.get(&format!("{path}/users")).await;
    assert_eq!((&members[1]["userId"], &members[1]["role"]), (&minted["userId"], &json!("member")));
    // Now the guest works there: the header chooses the organisation where keys are managed.
    let key = |permissions: Value| {
        let request = guest.request("POST", "/api-keys").header("x-daytona-organization-id", &id);
        request.json(&json!({"name": "there", "permissions": permissions}))
    };
    let (status, refused) = answer(key(json!(["delete:sandboxes"])).send().await.expect("answer")).await;
    let text = "Insufficient permissions for assigning: delete:sandboxes";
    assert_eq!((status, &refused["message"]), (403, &json!(text)));
    let (status, made) = answer(key(json!(["write:sandboxes"])).send().await.expect("answer")).await;
    assert_eq!(status, 201, "{made}");
    let there = guest.with_key(made["value"].as_str().expect("a key"));
    let sandbox = there.sandbox(json!({})).await;
    assert_eq!(sandbox["organizationId"], json!(id));
    there.refused("DELETE", "/sandbox/x", Value::Null, 403, "Access denied").await;
    let (_, keys) =
        answer(host.request("GET", "/api-keys").header("x-daytona-organization-id", &id).send().await.expect("answer"))
            .await;
    assert_eq!(keys[0]["userId"], minted["userId"], "owners see everybody's keys");
    // Less access takes from the keys what they may no longer; none ends them.
    let access = format!("{path}/users/{}/access", minted["userId"].as_str().expect("an id"));
    guest.refused("POST", &access, json!({}), 403, "Access denied").await;
    let (status, member) = host.post(&access, json!({"role": "member", "assignedRoleIds": []})).await;
    assert_eq!((status, &member["assignedRoles"]), (201, &json!([])), "{member}");
    there.refused("POST", "/sandbox", json!({}), 403, "Access denied").await;
    assert_eq!(there.get("/sandbox").await.0, 200);
    let member = format!("{path}/users/{}", minted["userId"].as_str().expect("an id"));
    assert_eq!(host.delete(&member).await, (200, Value::Null));
    there.refused("GET", "/sandbox", Value::Null, 401, "Invalid credentials").await;
    guest.refused("GET", &path, Value::Null, 403, "Invalid authentication context").await;
}

#[tokio::test]
async fn invitations_are_changed_cancelled_and_declined() {
    let ((host, _), (guest, minted)) = (user("host2@example.com").await, user("guest2@example.com").await);
    let path = organization(&host).await;
    let body = json!({"email": minted["email"], "role": "member", "assignedRoleIds": []});
    let (_, first) = host.post(&format!("{path}/invitations"), body.clone()).await;
    let own = format!("{path}/invitations/{}", first["id"].as_str().expect("an id"));
    let change = json!({"role": "owner", "assignedRoleIds": [DEVELOPER]});
    let (status, changed) = host.put(&own, change).await;
    assert_eq!(
        (status, &changed["role"], &changed["assignedRoles"][0]["id"]),
        (200, &json!("owner"), &json!(DEVELOPER))
    );
    let unknown = json!({"role": "member", "assignedRoleIds": ["nope"]});
    assert_eq!(host.put(&own, unknown).await.0, 400);
    assert_eq!(host.post(&format!("{own}/cancel"), Value::Null).await.0, 201);
    let text = format!("Invitation with ID {} is already cancelled", first["id"].as_str().unwrap());
    host.refused("POST", &format!("{own}/cancel"), Value::Null, 403, &text).await;
    assert_eq!(guest.get("/organizations/invitations").await.1, json!([]));
    let (status, second) = host.post(&format!("{path}/invitations"), body).await;
    assert_eq!(status, 201, "a cancelled one makes room");
    let decline = format!("/organizations/invitations/{}/decline", second["id"].as_str().expect("an id"));
    assert_eq!(guest.post(&decline, Value::Null).await.0, 201);
    assert_eq!(host.get(&format!("{path}/users")).await.1.as_array().map(Vec::len), Some(1));
}

#[tokio::test]
async fn roles_are_made_changed_and_taken_away() {
    let ((host, _), (guest, minted)) = (user("host3@example.com").await, user("guest3@example.com").await);
    let path = organization(&host).await;
    let roles = format!("{path}/roles");
    let (_, all) = host.get(&roles).await;
    let names: Vec<&str> = all.as_array().expect("roles").iter().filter_map(|role| role["name"].as_str()).collect();
    assert_eq!((names.len(), names[0], names[7]), (8, "Developer", "Infrastructure Admin"));
    let empty = json!({"name": "r", "description": "d", "permissions": []});
    host.refused("POST", &roles, empty, 400, "permissions should not be empty").await;
    let new = json!({"name": "dev", "description": "devs", "permissions": ["write:sandboxes"]});
    let (status, role) = host.post(&roles, new).await;
    assert_eq!((status, &role["isGlobal"]), (201, &json!(false)));
    join(&host, &path, &guest, &minted["email"], json!([role["id"]])).await;
    let (_, key) = guest.control("POST", "/keys", json!({"organizationId": path.rsplit('/').next()})).await;
    let there = guest.with_key(key["apiKey"].as_str().expect("a key"));
    assert_eq!(there.get("/api-keys/current").await.1["permissions"], json!(["write:sandboxes"]));
    there.refused("POST", &roles, json!({}), 403, "Access denied").await;
    let own = format!("{roles}/{}", role["id"].as_str().expect("an id"));
    let less = json!({"name": "dev2", "description": "d", "permissions": ["read:volumes"]});
    assert_eq!(host.put(&own, less).await.1["name"], "dev2");
    assert_eq!(there.get("/api-keys/current").await.1["permissions"], json!([]));
    assert_eq!(host.delete(&own).await, (200, Value::Null));
    let missing = format!("Organization role with ID {} not found", role["id"].as_str().unwrap());
    host.refused("DELETE", &own, Value::Null, 404, &missing).await;
    assert_eq!(host.get(&format!("{path}/users")).await.1[1]["assignedRoles"], json!([]));
    // The guest leaves; the last owner can't.
    assert_eq!(guest.post(&format!("{path}/leave"), Value::Null).await.0, 201);
    let me = host.get("/users/me").await.1["id"].as_str().expect("an id").to_owned();
    let access = json!({"role": "member", "assignedRoleIds": []});
    let text = "You cannot update your own access";
    host.refused("POST", &format!("{path}/users/{me}/access"), access, 403, text).await;
}

#[tokio::test]
async fn settings_are_kept() {
    let (api, _) = user("d@example.com").await;
    let path = organization(&api).await;
    let put = async |what: &str, body: Value| api.put(&format!("{path}/{what}"), body).await.0;
    assert_eq!(put("otel-config", json!({"endpoint": "http://otel:4318", "headers": {"a": "b"}})).await, 204);
    assert_eq!(put("otel-config", json!({"endpoint": 5})).await, 400);
    assert_eq!(put("experimental-config", json!({"otel": {"x": 1}})).await, 200);
    assert_eq!(api.post(&format!("{path}/preview-warning"), json!({"previewWarningEnabled": true})).await.0, 204);
    assert_eq!(api.post(&format!("{path}/preview-warning"), json!({})).await.0, 400);
    let (_, now) = api.get(&path).await;
    assert_eq!(now["otelConfig"], json!({"endpoint": "http://otel:4318", "headers": {"a": "b"}}));
    assert_eq!((&now["experimentalConfig"], &now["previewWarningEnabled"]), (&json!({"otel": {"x": 1}}), &json!(true)));
    assert_eq!(api.delete(&format!("{path}/otel-config")).await.0, 204);
    assert_eq!(api.get(&path).await.1["otelConfig"], Value::Null);
    let context = "Invalid authentication context";
    api.refused("GET", &format!("{path}/otel-config"), Value::Null, 403, context).await;
    let denied = ["suspend", "unsuspend", "sandbox-default-limited-network-egress", "sso-enabled"];
    for what in denied {
        api.refused("POST", &format!("{path}/{what}"), json!({}), 403, "Access denied").await;
    }
    api.refused("GET", "/admin/users", Value::Null, 403, "Access denied").await;
}

#[tokio::test]
async fn usage_is_what_runs() {
    let (api, minted) = user("e@example.com").await;
    let path = format!("/organizations/{}", minted["organizationId"].as_str().expect("an id"));
    let usage = async || {
        let (status, usage) = api.get(&format!("{path}/usage")).await;
        assert_eq!(status, 200, "{usage}");
        let region = &usage["regionUsage"][0];
        let number = |name: &str| region[format!("current{name}Usage")].as_u64().expect("a number");
        (number("Cpu"), number("Memory"), number("Disk"), usage["currentSnapshotUsage"].clone())
    };
    assert_eq!(usage().await, (0, 0, 0, json!(1)));
    let id = api.named("used").await;
    assert_eq!(usage().await, (1, 1, 3, json!(1)));
    api.post("/sandbox/used/stop", Value::Null).await;
    api.until(&id, "stopped").await;
    assert_eq!(usage().await, (0, 0, 3, json!(1)));
    let (_, classes) = api.get(&format!("{path}/available-sandbox-classes")).await;
    assert_eq!((&classes[0]["regionId"], &classes[0]["sandboxClass"]), (&json!("us"), &json!("container")));
}

#[tokio::test]
async fn a_suspended_organisation_makes_and_starts_nothing() {
    let api = Api::new().await;
    let id = api.named("old").await;
    api.post("/sandbox/old/stop", Value::Null).await;
    api.until(&id, "stopped").await;
    let suspend = json!({"suspended": {"reason": "unpaid"}});
    let (status, told) = api.control("PATCH", "/organization", suspend).await;
    assert_eq!((status, &told["suspended"], &told["suspensionReason"]), (200, &json!(true), &json!("unpaid")));
    let text = "Organization is suspended: unpaid";
    api.refused("POST", "/sandbox", json!({}), 403, text).await;
    api.refused("POST", "/sandbox/old/start", Value::Null, 403, text).await;
    api.refused("POST", "/snapshots", json!({"name": "s", "imageName": "debian:12.5"}), 403, text).await;
    assert_eq!(api.get("/sandbox/old").await.0, 200);
    api.control("PATCH", "/organization", json!({"suspended": true})).await;
    api.refused("POST", "/sandbox", json!({}), 403, "Organization is suspended").await;
    let past = json!({"suspended": {"until": "2020-01-01T00:00:00Z"}});
    assert_eq!(api.control("PATCH", "/organization", past).await.1["suspended"], false);
    api.control("PATCH", "/organization", json!({"suspended": false})).await;
    assert_eq!(api.post("/sandbox/old/start", Value::Null).await.0, 200);
    for bad in
        [json!({"nope": 1}), json!({"suspended": 5}), json!({"quota": {"nope": 1}}), json!({"quota": {"cpu": -1}})]
    {
        assert_eq!(api.control("PATCH", "/organization", bad.clone()).await.0, 400, "{bad}");
    }
    assert_eq!(api.delete("/sandbox/old").await.0, 200);
}

#[tokio::test]
async fn limited_egress_cannot_be_overridden() {
    let api = Api::new().await;
    api.named("before").await;
    assert_eq!(api.control("PATCH", "/organization", json!({"limitedNetworkEgress": true})).await.0, 200);
    let text = "Network access is restricted and cannot be overridden at the sandbox level. See \
                https://www.daytona.io/docs/en/network-limits/#tier-based-network-restrictions";
    let block = json!({"networkBlockAll": false});
    api.refused("POST", "/sandbox/before/network-settings", block.clone(), 400, text).await;
    let (status, made) = api.post("/sandbox", json!({"name": "after", "networkAllowList": "10.0.0.0/8"})).await;
    assert_eq!((status, &made["networkAllowList"]), (200, &json!("10.0.0.0/8")));
    api.control("PATCH", "/organization", json!({"limitedNetworkEgress": false})).await;
    assert_eq!(api.post("/sandbox/before/network-settings", block).await.0, 200);
}

#[tokio::test]
async fn quotas_are_enforced_where_they_are_switched_on() {
    let api = Api::new().await;
    let quota = json!({"quota": {"cpu": 2, "memory": 2, "snapshots": 1}});
    let (_, told) = api.control("PATCH", "/organization", quota).await;
    assert_eq!((&told["quota"]["cpu"], &told["quota"]["disk"]), (&json!(2), &json!(30)));
    let build = |what: &str, size: u32| json!({"buildInfo": {"dockerfileContent": "FROM debian:12.5\n"}, what: size});
    let higher = "\nNeed higher resource limits per-sandbox? Contact us at support@daytona.io and let us know about your \
                  use case.";
    for (what, size, text) in [
        ("cpu", 5, "CPU request 5 exceeds maximum allowed per sandbox (4)."),
        ("memory", 9, "Memory request 9GB exceeds maximum allowed per sandbox (8GB)."),
        ("disk", 11, "Disk request 11GB exceeds maximum allowed per sandbox (10GB)."),
    ] {
        api.refused("POST", "/sandbox", build(what, size), 400, &format!("{text}{higher}")).await;
    }
    let total = |what: &str| {
        format!(
            "Total {what}.\nTo increase concurrency limits, upgrade your organization's Tier by visiting \
             https://app.daytona.io/dashboard/limits."
        )
    };
    let cpu = total("CPU limit exceeded. Maximum allowed: 2");
    api.refused("POST", "/sandbox", build("cpu", 3), 400, &cpu).await;
    let memory = total("memory limit exceeded. Maximum allowed: 2GiB");
    api.refused("POST", "/sandbox", build("memory", 3), 400, &memory).await;
    let first = api.named("one").await;
    api.named("two").await;
    api.refused("POST", "/sandbox", json!({}), 400, &cpu).await;
    api.post("/sandbox/one/stop", Value::Null).await;
    api.until(&first, "stopped").await;
    api.named("three").await;
    api.refused("POST", "/sandbox/one/start", Value::Null, 400, &cpu).await;
    let snapshot = json!({"name": "s", "imageName": "debian:12.5"});
    api.refused("POST", "/snapshots", snapshot, 400, "Snapshot quota exceeded. Maximum allowed: 1").await;
    // Of many at once only what fits gets in.
    api.control("PATCH", "/organization", json!({"quota": {"cpu": 3, "memory": 10}})).await;
    let both =
        tokio::join!(api.post("/sandbox", json!({})), api.post("/sandbox", json!({})), api.post("/sandbox", json!({})));
    let fine = [both.0.0, both.1.0, both.2.0].iter().filter(|status| **status == 200).count();
    assert_eq!(fine, 1, "{both:?}");
}

#[tokio::test]
async fn browsers_are_warned_before_a_preview() {
    let (api, minted) = user("f@example.com").await;
    let path = format!("/organizations/{}/preview-warning", minted["organizationId"].as_str().expect("an id"));
    assert_eq!(api.post(&path, json!({"previewWarningEnabled": true})).await.0, 204);
    api.named("p").await;
    let (_, link) = api.get("/sandbox/p/ports/3000/preview-url").await;
    let client = reqwest::Client::builder().redirect(reqwest::redirect::Policy::none()).build().expect("a client");
    // By the host's name, wherever that resolves to.
    let base = api.url.trim_end_matches("/api");
    let port = base.rsplit(':').next().expect("a port");
    let host = format!("3000-{}.localhost:{port}", api.get("/sandbox/p").await.1["id"].as_str().expect("an id"));
    let ask = |method: reqwest::Method, path: &str| {
        let request = client.request(method, format!("{base}{path}")).header("host", &host);
        request.header("x-daytona-preview-token", link["token"].as_str().expect("a token"))
    };
    let browser = "Mozilla/5.0";
    let page = ask(reqwest::Method::GET, "/x?y=1").header("user-agent", browser).send().await.expect("answer");
    assert_eq!(page.status(), 200);
    let text = page.text().await.expect("text");
    assert!(text.contains("/accept-daytona-preview-warning?redirect=%2Fx%3Fy%3D1"), "{text}");
    let accept =
        ask(reqwest::Method::POST, "/accept-daytona-preview-warning?redirect=/x").send().await.expect("answer");
    assert_eq!((accept.status().as_u16(), accept.headers()["location"].to_str().expect("text")), (302, "/x"));
    let cookie = accept.headers()["set-cookie"].to_str().expect("text").split(';').next().expect("a pair").to_owned();
    // Nothing listens there: what passes gets 502.
    let passes = [
        ask(reqwest::Method::GET, "/").header("user-agent", "curl/8"),
        ask(reqwest::Method::GET, "/").header("user-agent", browser).header("cookie", cookie),
        ask(reqwest::Method::GET, "/").header("user-agent", browser).header("x-daytona-skip-preview-warning", "true"),
    ];
    for request in passes {
        assert_eq!(request.send().await.expect("answer").status(), 502);
    }
}
