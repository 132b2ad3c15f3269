//! Organisations: members, roles, invitations, settings. The routes are kept for people who are signed in, or for keys
//! that stand for one.

use crate::{
    client::{Answer, Client},
    prelude::*,
};

const PATH: &str = "/organizations";

scenarios! { "organizations";
    /// The key's user has a personal organisation, which cannot be deleted, left or invited to. (observed)
    personal_organization_stays: Must,
        covers ["listOrganizations", "getOrganization", "deleteOrganization", "leaveOrganization",
            "createOrganizationInvitation", "getAuthenticatedUser"],
        needs [ApiKeys], classes [Racing];

    /// An organisation is made with a name and a region, listed, and gone for good when it is deleted: 404 for who was in
    /// it. Its default region is set once: 409. (createOrganization, deleteOrganization, setOrganizationDefaultRegion)
    organizations_come_and_go: Must,
        covers ["createOrganization", "listOrganizations", "deleteOrganization", "setOrganizationDefaultRegion"],
        needs [ApiKeys], classes [Racing];

    /// A name and an existing region are needed. (createOrganization, observed)
    input_is_validated: Must, covers ["createOrganization"], needs [ApiKeys];

    /// Who is in no organisation of that id is told `Invalid authentication context`, whether there is one or not.
    /// (observed)
    strangers_are_turned_away: Must,
        covers ["getOrganization", "deleteOrganization", "leaveOrganization", "listOrganizationMembers",
            "listOrganizationRoles", "getOrganizationUsageOverview", "listAvailableSandboxClasses",
            "setOrganizationDefaultRegion", "updateOrganizationOtelConfig", "deleteOrganizationOtelConfig",
            "updateOrganizationPreviewWarning", "updateExperimentalConfig", "createOrganizationRole",
            "createOrganizationInvitation", "listOrganizationInvitations"],
        needs [ApiKeys];

    /// There are eight global roles; own ones are made, changed and deleted. (listOrganizationRoles,
    /// createOrganizationRole, updateOrganizationRole, deleteOrganizationRole)
    roles_come_and_go: Must,
        covers ["listOrganizationRoles", "createOrganizationRole", "updateOrganizationRole", "deleteOrganizationRole"],
        needs [ApiKeys], classes [Racing];

    /// An invitation waits for the user with its address, who accepts it and is a member then; a second one to the same
    /// address is 409, accepting twice 403. (createOrganizationInvitation, acceptOrganizationInvitation, observed)
    invitations_are_accepted: Must,
        covers ["createOrganizationInvitation", "listOrganizationInvitations",
            "listOrganizationInvitationsForAuthenticatedUser", "getOrganizationInvitationsCountForAuthenticatedUser",
            "acceptOrganizationInvitation", "listOrganizationMembers"],
        needs [ApiKeys, SecondAccount], classes [Racing];

    /// An invitation is changed, cancelled, declined; what is settled cannot be cancelled again, and an unknown one is
    /// 404. (updateOrganizationInvitation, cancelOrganizationInvitation, declineOrganizationInvitation)
    invitations_are_settled: Must,
        covers ["updateOrganizationInvitation", "cancelOrganizationInvitation", "declineOrganizationInvitation",
            "acceptOrganizationInvitation"],
        needs [ApiKeys, SecondAccount], classes [Racing];

    /// Members get other access and are removed; nobody changes their own; members leave.
    /// (updateAccessForOrganizationMember, deleteOrganizationMember, leaveOrganization)
    members_come_and_go: Must,
        covers ["updateAccessForOrganizationMember", "deleteOrganizationMember", "leaveOrganization",
            "listOrganizationMembers"],
        needs [ApiKeys, SecondAccount], classes [Racing];

    /// What owners set is kept and read. (updateOrganizationOtelConfig, deleteOrganizationOtelConfig,
    /// updateOrganizationPreviewWarning, updateExperimentalConfig)
    settings_are_kept: Must,
        covers ["updateOrganizationOtelConfig", "deleteOrganizationOtelConfig", "updateOrganizationPreviewWarning",
            "updateExperimentalConfig"],
        needs [ApiKeys];

    /// The usage overview counts what runs and what only lies on disk. (getOrganizationUsageOverview, observed)
    usage_counts_what_runs: Must, covers ["getOrganizationUsageOverview", "listAvailableSandboxClasses"],
        needs [ApiKeys], classes [Alone];
}

/// An organisation of this scenario's own: its path.
async fn make(cx: &Cx) -> Result<String> {
    let region = cx.get("/shared-regions").send().await?.ok()?.string("/0/id")?;
    let body = json!({"name": cx.name("organization"), "defaultRegionId": region});
    let id = cx.post(PATH).json(body).send().await?.ok()?.string("/id")?;
    cx.removes("deleteOrganization", &format!("{PATH}/{id}"));
    Ok(format!("{PATH}/{id}"))
}

async fn remove(cx: &Cx, path: &str) -> Result {
    cx.delete(path).send().await?.ok().map(drop)
}

async fn email(client: &Client) -> Result<String> {
    client.get("/users/me").send().await?.ok()?.string("/email")
}

async fn invite(cx: &Cx, path: &str, email: &str) -> Result<Answer> {
    let body = json!({"email": email, "role": "member", "assignedRoleIds": []});
    cx.post(&format!("{path}/invitations")).json(body).send().await
}

/// The other account is a member: its user id.
async fn join(cx: &Cx, path: &str, other: &Client) -> Result<String> {
    let id = invite(cx, path, &email(other).await?).await?.ok()?.string("/id")?;
    other.post(&format!("{PATH}/invitations/{id}/accept")).send().await?.ok()?;
    other.get("/users/me").send().await?.ok()?.string("/id")
}

async fn personal_organization_stays(cx: Cx) -> Result {
    let me = cx.get("/users/me").send().await?;
    cx.check("me").status(&me, 200);
    let all = cx.get(PATH).send().await?.ok()?;
    let personal = all.array("")?.iter().find(|one| one["personal"] == true).cloned().unwrap_or_default();
    let id = personal["id"].as_str().unwrap_or_default().to_owned();
    let read = cx.get(&format!("{PATH}/{id}")).send().await?;
    cx.check("read").json(&read, "/id", id.clone());
    cx.check("made-by").json(&read, "/createdBy", me.string("/id")?);
    let deleted = cx.delete(&format!("{PATH}/{id}")).send().await?;
    cx.check("delete").error(&deleted, 403, "Cannot delete personal organization");
    let left = cx.post(&format!("{PATH}/{id}/leave")).send().await?;
    cx.check("leave").error(&left, 403, &format!("Organization with ID {id} must have at least one owner"));
    let invited = invite(&cx, &format!("{PATH}/{id}"), "somebody@example.com").await?;
    cx.check("invite").error(&invited, 403, "Cannot invite users to personal organization");
    Ok(())
}

async fn organizations_come_and_go(cx: Cx) -> Result {
    let region = cx.get("/shared-regions").send().await?.ok()?.string("/0/id")?;
    let name = cx.name("organization");
    let made = cx.post(PATH).json(json!({"name": name, "defaultRegionId": region})).send().await?;
    cx.check("created").status(&made, 201);
    let path = format!("{PATH}/{}", made.string("/id")?);
    cx.removes("deleteOrganization", &path);
    for (field, value) in [("name", json!(name)), ("personal", json!(false)), ("defaultRegionId", json!(region))] {
        cx.check(format!("created-{field}")).json(&made, &format!("/{field}"), value);
    }
    let all = cx.get(PATH).send().await?.ok()?;
    let listed = all.array("")?.iter().filter(|one| one["id"] == *made.at("/id")).count();
    cx.check("listed").on(&all).eq(listed, 1);
    let read = cx.get(&path).send().await?;
    let fields = &["id", "name", "personal", "defaultRegionId", "createdBy", "suspended", "createdAt"];
    cx.check_same("read", &read, &read.json, &made.json, fields);
    cx.check("not-suspended").json(&read, "/suspended", false);
    cx.check_recent("created-at", &read, "/createdAt").await;
    let set = cx.api().patch(&format!("{path}/default-region")).json(json!({"defaultRegionId": region})).send().await?;
    cx.check("region-once").error(&set, 409, "Organization already has a default region set");
    let deleted = cx.delete(&path).send().await?;
    cx.check("deleted").status_in(&deleted, &[200, 204]);
    let gone = format!("Organization with ID {} not found", made.string("/id")?);
    cx.check("gone").error(&cx.get(&path).send().await?, 404, &gone);
    let all = cx.get(PATH).send().await?.ok()?;
    cx.check("not-listed").on(&all).that(
        !all.text().contains(&made.string("/id")?),
        "a list without it",
        all.summary(),
    );
    Ok(())
}

async fn input_is_validated(cx: Cx) -> Result {
    let refused = async |body: Value| cx.post(PATH).json(body).send().await;
    let both = "name should not be empty, name must be a string, defaultRegionId should not be empty, \
                defaultRegionId must be a string";
    cx.check("empty").error(&refused(json!({})).await?, 400, both);
    let number = "name must not contain HTML tags, URLs, or control characters, name must be a string, \
                  defaultRegionId should not be empty, defaultRegionId must be a string";
    cx.check("number").error(&refused(json!({"name": 5})).await?, 400, number);
    let nowhere = json!({"name": "x", "defaultRegionId": "no-such-region"});
    cx.check("region").error(&refused(nowhere).await?, 404, "Region not found");
    Ok(())
}

async fn strangers_are_turned_away(cx: Cx) -> Result {
    let path = format!("{PATH}/00000000-0000-4000-8000-000000000000");
    let context = "Invalid authentication context";
    for (id, request) in [
        ("get", cx.get(&path)),
        ("delete", cx.delete(&path)),
        ("leave", cx.post(&format!("{path}/leave"))),
        ("members", cx.get(&format!("{path}/users"))),
        ("roles", cx.get(&format!("{path}/roles"))),
        ("usage", cx.get(&format!("{path}/usage"))),
        ("classes", cx.get(&format!("{path}/available-sandbox-classes"))),
        ("region", cx.api().patch(&format!("{path}/default-region"))),
        ("otel", cx.put(&format!("{path}/otel-config"))),
        ("no-otel", cx.delete(&format!("{path}/otel-config"))),
        ("warning", cx.post(&format!("{path}/preview-warning"))),
        ("experimental", cx.put(&format!("{path}/experimental-config"))),
        ("role", cx.post(&format!("{path}/roles"))),
        ("invite", cx.post(&format!("{path}/invitations"))),
        ("invitations", cx.get(&format!("{path}/invitations"))),
    ] {
        cx.check(id).error(&request.json(json!({})).send().await?, 403, context);
    }
    Ok(())
}

async fn roles_come_and_go(cx: Cx) -> Result {
    let path = make(&cx).await?;
    let roles = format!("{path}/roles");
    let all = cx.get(&roles).send().await?.ok()?;
    let global = all.array("")?.iter().filter(|role| role["isGlobal"] == true).count();
    cx.check("global").on(&all).that(global >= 8, "eight global roles", global);
    cx.check("first").json(&all, "/0/name", "Developer");
    let empty = cx.post(&roles).json(json!({"name": "r", "description": "d", "permissions": []})).send().await?;
    cx.check("empty").error(&empty, 400, "permissions should not be empty");
    let body = json!({"name": "dev", "description": "devs", "permissions": ["write:sandboxes"]});
    let made = cx.post(&roles).json(body).send().await?;
    cx.check("created").status(&made, 201);
    cx.check("own").json(&made, "/isGlobal", false);
    cx.check("description").json(&made, "/description", "devs");
    let own = format!("{roles}/{}", made.string("/id")?);
    let change = json!({"name": "dev2", "description": "d", "permissions": ["write:sandboxes", "read:volumes"]});
    let changed = cx.put(&own).json(change).send().await?;
    cx.check("changed").json(&changed, "/permissions", json!(["write:sandboxes", "read:volumes"]));
    let all = cx.get(&roles).send().await?.ok()?;
    let listed = all.array("")?.iter().find(|role| role["id"] == *made.at("/id")).cloned().unwrap_or_default();
    for (field, value) in [("name", "dev2"), ("description", "d")] {
        cx.check(format!("listed-{field}")).on(&all).eq(&listed[field], &json!(value));
    }
    cx.check("deleted").status_in(&cx.delete(&own).send().await?, &[200, 204]);
    let missing = format!("Organization role with ID {} not found", made.string("/id")?);
    let change = json!({"name": "x", "description": "d", "permissions": ["write:sandboxes"]});
    cx.check("unknown-update").error(&cx.put(&own).json(change).send().await?, 404, &missing);
    cx.check("unknown-delete").error(&cx.delete(&own).send().await?, 404, &missing);
    remove(&cx, &path).await
}

async fn invitations_are_accepted(cx: Cx) -> Result {
    let (path, other) = (make(&cx).await?, cx.second_account().await?);
    let address = email(&other).await?;
    let bad = cx.post(&format!("{path}/invitations")).json(json!({"email": "x"})).send().await?;
    cx.check("validated").status(&bad, 400);
    let invited = invite(&cx, &path, &address).await?;
    cx.check("created").status(&invited, 201);
    cx.check("pending").json(&invited, "/status", "pending");
    let twice = invite(&cx, &path, &address).await?;
    let text = format!("User with email \"{address}\" already invited to this organization");
    cx.check("twice").error(&twice, 409, &text);
    let own = cx.get(&format!("{path}/invitations")).send().await?;
    cx.check("listed").json(&own, "/0/id", invited.string("/id")?);
    let fields = &["email", "invitedBy", "organizationId", "organizationName", "expiresAt", "status", "role"];
    cx.check_same("item", &own, own.at("/0"), &invited.json, fields);
    let organization = cx.get(&path).send().await?.ok()?;
    cx.check("organization-name").on(&invited).eq(&invited["organizationName"], &organization["name"]);
    cx.check("email").json(&invited, "/email", address.as_str());
    let (end, now) = (time(&invited["expiresAt"]), cx.now().await);
    cx.check("expires-later").on(&invited).that(end > Some(now), "a time to come", &invited["expiresAt"]);
    let mine = other.get(&format!("{PATH}/invitations")).send().await?.ok()?;
    let there = mine.array("")?.iter().find(|one| one["id"] == *invited.at("/id")).cloned();
    cx.check("waiting").on(&mine).that(there.is_some(), "a list with it", mine.summary());
    cx.check_same("waiting", &mine, &there.unwrap_or_default(), &invited.json, fields);
    let count = other.get(&format!("{PATH}/invitations/count")).send().await?;
    cx.check("counted").on(&count).that(count.text().parse().is_ok_and(|n: usize| n > 0), "a number", count.text());
    let accept = format!("{PATH}/invitations/{}/accept", invited.string("/id")?);
    // Who invited isn't who is invited.
    cx.check("only-the-invited").status_in(&cx.post(&accept).send().await?, &[403, 404]);
    let accepted = other.post(&accept).send().await?;
    cx.check("accepted").json(&accepted, "/status", "accepted");
    let again = other.post(&accept).send().await?;
    let text = format!("Invitation with ID {} is already accepted", invited.string("/id")?);
    cx.check("again").error(&again, 403, &text);
    let members = cx.get(&format!("{path}/users")).send().await?.ok()?;
    cx.check("members").on(&members).eq(members.array("")?.len(), 2);
    let mut roles: Vec<_> = members.array("")?.iter().filter_map(|member| member["role"].as_str()).collect();
    roles.sort_unstable();
    cx.check("roles").on(&members).eq(roles, vec!["member", "owner"]);
    let theirs = members.array("")?.iter().find(|member| member["role"] == "member").cloned().unwrap_or_default();
    cx.check("member-email").on(&members).eq(&theirs["email"], &json!(address));
    let theirs = other.get(PATH).send().await?.ok()?;
    let joined = theirs.array("")?.iter().any(|one| path.ends_with(one["id"].as_str().unwrap_or("?")));
    cx.check("joined").on(&theirs).that(joined, "a list with it", theirs.summary());
    remove(&cx, &path).await
}

async fn invitations_are_settled(cx: Cx) -> Result {
    let (path, other) = (make(&cx).await?, cx.second_account().await?);
    let address = email(&other).await?;
    let id = invite(&cx, &path, &address).await?.ok()?.string("/id")?;
    let own = format!("{path}/invitations/{id}");
    let changed = cx.put(&own).json(json!({"role": "owner", "assignedRoleIds": []})).send().await?;
    cx.check("changed").json(&changed, "/role", "owner");
    cx.check("cancelled").status_in(&cx.post(&format!("{own}/cancel")).send().await?, &[200, 201, 204]);
    let text = format!("Invitation with ID {id} is already cancelled");
    cx.check("cancelled-twice").error(&cx.post(&format!("{own}/cancel")).send().await?, 403, &text);
    let second = invite(&cx, &path, &address).await?.ok()?.string("/id")?;
    let declined = other.post(&format!("{PATH}/invitations/{second}/decline")).send().await?;
    cx.check("declined").status_in(&declined, &[200, 201, 204]);
    let members = cx.get(&format!("{path}/users")).send().await?.ok()?;
    cx.check("not-a-member").on(&members).eq(members.array("")?.len(), 1);
    let nobody = "00000000-0000-4000-8000-000000000000";
    let missing = format!("Organization invitation with ID {nobody} not found");
    for what in ["accept", "decline"] {
        let answer = other.post(&format!("{PATH}/invitations/{nobody}/{what}")).send().await?;
        cx.check(format!("unknown-{what}")).error(&answer, 404, &missing);
    }
    let answer = cx.post(&format!("{path}/invitations/{nobody}/cancel")).send().await?;
    cx.check("unknown-cancel").error(&answer, 404, &missing);
    remove(&cx, &path).await
}

async fn members_come_and_go(cx: Cx) -> Result {
    let (path, other) = (make(&cx).await?, cx.second_account().await?);
    let user = join(&cx, &path, &other).await?;
    let access = |user: &str| format!("{path}/users/{user}/access");
    let body = json!({"role": "owner", "assignedRoleIds": []});
    let denied = other.post(&access(&user)).json(body.clone()).send().await?;
    cx.check("members-may-not").error(&denied, 403, "Access denied");
    let changed = cx.post(&access(&user)).json(body.clone()).send().await?;
    cx.check("changed").json(&changed, "/role", "owner");
    let me = cx.get("/users/me").send().await?.ok()?.string("/id")?;
    let own = cx.post(&access(&me)).json(body).send().await?;
    cx.check("own-access").error(&own, 403, "You cannot update your own access");
    cx.check("removed").status_in(&cx.delete(&format!("{path}/users/{user}")).send().await?, &[200, 204]);
    cx.check("out").status_in(&other.get(&path).send().await?, &[403, 404]);
    cx.check("unknown").status(&cx.delete(&format!("{path}/users/{user}")).send().await?, 404);
    join(&cx, &path, &other).await?;
    cx.check("left").status_in(&other.post(&format!("{path}/leave")).send().await?, &[200, 201, 204]);
    let members = cx.get(&format!("{path}/users")).send().await?.ok()?;
    cx.check("one-is-left").on(&members).eq(members.array("")?.len(), 1);
    remove(&cx, &path).await
}

async fn settings_are_kept(cx: Cx) -> Result {
    let path = make(&cx).await?;
    let otel = json!({"endpoint": "http://otel.example:4318", "headers": {"a": "b"}});
    let set = cx.put(&format!("{path}/otel-config")).json(otel.clone()).send().await?;
    cx.check("otel").status(&set, 204);
    let bad = cx.put(&format!("{path}/otel-config")).json(json!({"endpoint": 5})).send().await?;
    cx.check("otel-validated").status(&bad, 400);
    let experimental = cx.put(&format!("{path}/experimental-config")).json(json!({"x": {"y": 1}})).send().await?;
    cx.check("experimental").status_in(&experimental, &[200, 204]);
    let warning = format!("{path}/preview-warning");
    let set = cx.post(&warning).json(json!({"previewWarningEnabled": true})).send().await?;
    cx.check("warning").status_in(&set, &[200, 201, 204]);
    cx.check("warning-validated").status(&cx.post(&warning).json(json!({})).send().await?, 400);
    let read = cx.get(&path).send().await?;
    cx.check("otel-kept").json(&read, "/otelConfig/endpoint", "http://otel.example:4318");
    cx.check("experimental-kept").json(&read, "/experimentalConfig", json!({"x": {"y": 1}}));
    cx.check("warning-kept").json(&read, "/previewWarningEnabled", true);
    cx.check("otel-deleted").status(&cx.delete(&format!("{path}/otel-config")).send().await?, 204);
    cx.check("otel-gone").json(&cx.get(&path).send().await?, "/otelConfig", Value::Null);
    remove(&cx, &path).await
}

async fn usage_counts_what_runs(cx: Cx) -> Result {
    let sandbox = cx.sandbox().await?;
    let id = sandbox.read().await?.ok()?.string("/organizationId")?;
    let before = cx.get(&format!("{PATH}/{id}/usage")).send().await?["currentVolumeUsage"].as_f64();
    let volume = cx.post("/volumes").json(json!({"name": cx.name("counted")})).send().await?;
    if volume.is_ok() {
        let overview = cx.get(&format!("{PATH}/{id}/usage")).send().await?;
        let count = overview["currentVolumeUsage"].as_f64().unwrap_or_default();
        cx.check("volumes").on(&overview).that(count >= 1.0, "at least one volume", count);
        // Others may delete theirs meanwhile.
        cx.check("one-more").on(&overview).should().that(Some(count) > before, "more than before", (before, count));
        let memory = overview["regionUsage"].as_array().into_iter().flatten();
        let memory: f64 = memory.filter_map(|region| region["currentMemoryUsage"].as_f64()).sum();
        cx.check("memory").on(&overview).that(memory >= 1.0, "at least one GiB", memory);
    }
    let usage = async || -> Result<(f64, f64)> {
        let overview = cx.get(&format!("{PATH}/{id}/usage")).send().await?.ok()?;
        let number = |name: &str| {
            let regions = overview.at("/regionUsage").as_array().cloned().unwrap_or_default();
            regions.iter().filter_map(|region| region[name].as_f64()).sum::<f64>()
        };
        Ok((number("currentCpuUsage"), number("currentDiskUsage")))
    };
    let running = usage().await?;
    cx.check("runs").that(running.0 >= 1.0 && running.1 >= 1.0, "at least one vCPU and one GiB", running);
    sandbox.stop().await?;
    sandbox.wait_for("stopped").await?;
    let stopped = usage().await?;
    cx.check("stopped-cpu").that(stopped.0 < running.0, "less than before", stopped);
    cx.check("stopped-disk").eq(stopped.1, running.1);
    let classes = cx.get(&format!("{PATH}/{id}/available-sandbox-classes")).send().await?.ok()?;
    let container = classes.array("")?.iter().any(|class| class["sandboxClass"] == "container");
    cx.check("classes").on(&classes).that(container, "a region with containers", classes.summary());
    Ok(())
}
