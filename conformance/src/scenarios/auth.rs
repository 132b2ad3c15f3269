use reqwest::Method;

use crate::{client::Dial, contract::Plane, prelude::*};

scenarios! { "auth";
    /// The server's configuration is readable without a key, and says which version it is and where toolboxes are.
    /// SDKs ask for it before anything else. (ConfigController_getConfig)
    config_needs_no_key: Must, covers ["ConfigController_getConfig"];

    /// Health and the shared regions are readable without a key. (HealthController_live, listSharedRegions)
    open_routes_need_no_key: Must, covers ["HealthController_live", "listSharedRegions"];

    /// A request without a key, or with an unknown one, is answered 401 `Invalid credentials` in the API's envelope,
    /// before anything is said about what it asked for. (observed)
    unknown_key_is_refused: Must, covers ["listSandboxes", "getSandbox", "createSandbox", "deleteSandbox"];

    /// A key counts only in `Authorization` with the scheme Bearer: not without a scheme, not as Basic, not in
    /// `X-Api-Key`. (observed)
    key_belongs_in_authorization: Must, covers ["listSandboxes"];

    /// The scheme may be written in any case, and the key may be the query's `access_token`. (observed)
    lenient_credentials: Should, covers ["listSandboxes"];

    /// An API key decides the organisation by itself: `X-Daytona-Organization-ID` beside it is ignored. (observed)
    organization_header_is_ignored_for_keys: Must, covers ["listSandboxes"];

    /// What belongs to another organisation doesn't exist: 404 for every operation on it, the same as for an unknown
    /// id, and nothing of it in lists. (observed)
    other_organization_sees_nothing: Must,
        covers ["getSandbox", "deleteSandbox", "startSandbox", "stopSandbox", "replaceLabels", "listSandboxes"],
        needs [SecondAccount];

    /// The toolbox of another organisation's sandbox is closed: 401, whether the key is good elsewhere, unknown or
    /// missing. (observed)
    toolbox_of_others_is_closed: Must, covers ["ExecuteCommand"], needs [SecondAccount];

    /// The toolbox asks for a key like the API does: 401 in the proxy's envelope without one. (observed)
    toolbox_needs_a_key: Must, covers ["GetVersion", "ListFiles"];

    /// Nothing but what is meant for everybody is answered without a key: every other operation is 401, whatever its
    /// parameters, before anything is said about them. (observed; the contract's security requirements)
    everything_needs_a_key: Must, covers ["listApiKeys", "getCurrentApiKey", "listOrganizations", "listRegistries"];

    /// The same for every operation of a toolbox. (observed)
    every_toolbox_operation_needs_a_key: Must, covers ["GetSystemMetrics", "ListSessions", "ListPtySessions"];

    /// The preview token opens the toolbox, as a header or in the query. (observed; SDKs in browsers)
    preview_token_opens_the_toolbox: Must, covers ["GetVersion", "getPortPreviewUrl"];
}

async fn config_needs_no_key(cx: Cx) -> Result {
    let config = cx.get("/config").no_key().send().await?;
    cx.check("status").status(&config, 200);
    for field in ["version", "proxyTemplateUrl", "proxyToolboxUrl", "defaultSnapshot"] {
        cx.check(field).on(&config).that(config[field].is_string(), "a string", &config[field]);
    }
    for pointer in ["/oidc/issuer", "/oidc/clientId", "/oidc/audience"] {
        cx.check(pointer).on(&config).that(config.at(pointer).is_string(), "a string", config.at(pointer));
    }
    let version = config.header("x-daytona-api-version");
    cx.check("same-version").on(&config).that(
        version.is_empty() || config["version"] == version,
        "the version of the header",
        &config["version"],
    );
    cx.check("port-template").on(&config).contains(config["proxyTemplateUrl"].as_str().unwrap_or_default(), "{{PORT}}");
    // SDKs would ask the analytics service for metrics instead of the API.
    cx.check("unknown-key").status(&cx.get("/config").key("nonsense").send().await?, 200);
    Ok(())
}

async fn open_routes_need_no_key(cx: Cx) -> Result {
    let health = cx.get("/health").no_key().send().await?;
    cx.check("health").json(&health, "/status", "ok");
    let regions = cx.get("/shared-regions").no_key().send().await?;
    cx.check("regions").status(&regions, 200);
    cx.check("a-region").on(&regions).that(regions.at("/0/id").is_string(), "at least one region", &regions.json);
    Ok(())
}

async fn unknown_key_is_refused(cx: Cx) -> Result {
    let create = || cx.post("/sandbox").json(cx.sandbox_body(json!({})));
    let requests = [
        ("list", cx.get("/sandbox"), cx.get("/sandbox")),
        ("get", cx.get("/sandbox/no-such-sandbox"), cx.get("/sandbox/no-such-sandbox")),
        ("delete", cx.delete("/sandbox/no-such-sandbox"), cx.delete("/sandbox/no-such-sandbox")),
        ("create", create(), create()),
    ];
    for (id, without, unknown) in requests {
        let answer = without.no_key().send().await?;
        cx.check(format!("{id}-without")).error(&answer, 401, "Invalid credentials");
        let answer = unknown.key("dtn_0000000000000000").send().await?;
        cx.check(format!("{id}-unknown")).error(&answer, 401, "Invalid credentials");
    }
    Ok(())
}

async fn key_belongs_in_authorization(cx: Cx) -> Result {
    let key = cx.key();
    for (id, header, value) in [
        ("no-scheme", "Authorization", key.to_owned()),
        ("basic", "Authorization", format!("Basic {key}")),
        ("x-api-key", "X-Api-Key", key.to_owned()),
        ("empty", "Authorization", "Bearer ".to_owned()),
        ("looks-like-jwt", "Authorization", "Bearer eyJhbGciOiJub25lIn0.eyJzdWIiOiJ4In0.".to_owned()),
    ] {
        let answer = cx.get("/sandbox").no_key().header(header, value).send().await?;
        cx.check(id).error(&answer, 401, "Invalid credentials");
    }
    Ok(())
}

async fn lenient_credentials(cx: Cx) -> Result {
    let key = cx.key();
    let answer =
        cx.get("/sandbox?limit=1&name=nobody").no_key().header("Authorization", format!("bearer {key}")).send().await?;
    cx.check("lower-case").status(&answer, 200);
    let answer = cx.get("/sandbox").no_key().query("name", "nobody").query("access_token", key).send().await?;
    cx.check("access-token").status(&answer, 200);
    Ok(())
}

async fn organization_header_is_ignored_for_keys(cx: Cx) -> Result {
    for (id, organization) in [("unknown", "00000000-0000-4000-8000-000000000000"), ("junk", "x")] {
        let request = cx.get("/sandbox").query("name", "nobody").header("X-Daytona-Organization-ID", organization);
        cx.check(id).status(&request.send().await?, 200);
    }
    Ok(())
}

async fn other_organization_sees_nothing(cx: Cx) -> Result {
    let sandbox = cx.shared().await?;
    let other = cx.second_account().await?;
    let path = format!("/sandbox/{}", sandbox.id);
    let missing = format!("Sandbox with ID or name {} not found", sandbox.id);
    let requests = [
        ("get", other.get(&path)),
        ("delete", other.delete(&path)),
        ("start", other.post(&format!("{path}/start"))),
        ("stop", other.post(&format!("{path}/stop"))),
        ("labels", other.put(&format!("{path}/labels")).json(json!({"labels": {"stolen": "yes"}}))),
        ("public", other.post(&format!("{path}/public/true"))),
        ("preview", other.get(&format!("{path}/ports/3000/preview-url"))),
    ];
    for (id, request) in requests {
        cx.check(id).error(&request.send().await?, 404, &missing);
    }
    let list = other.get("/sandbox").query("id", &sandbox.id).send().await?;
    cx.check("list").json(&list, "/items", json!([]));
    let mine = sandbox.read().await?;
    cx.check("untouched").that(
        mine["state"] == "started" && mine["labels"].get("stolen").is_none(),
        "as before",
        &mine.json,
    );
    Ok(())
}

async fn toolbox_of_others_is_closed(cx: Cx) -> Result {
    let sandbox = cx.shared().await?;
    let other = cx.second_account().await?.at(sandbox.toolbox().base(), Some(Plane::Toolbox));
    let answer = other.post("/process/execute").json(json!({"command": "true"})).send().await?;
    cx.check("other-key").status(&answer, 401);
    let command = json!({"command": "true"});
    let answer = sandbox.post("/process/execute").key("dtn_unknown-unknown").json(command).send().await?;
    cx.check("unknown-key").status(&answer, 401);
    Ok(())
}

async fn toolbox_needs_a_key(cx: Cx) -> Result {
    let sandbox = cx.shared().await?;
    for path in ["/version", "/files"] {
        let answer = sandbox.get(path).no_key().send().await?;
        cx.check(format!("status {path}")).status(&answer, 401);
        cx.check(format!("code {path}")).json(&answer, "/code", "UNAUTHORIZED");
    }
    let unknown = sandbox.get("/version").no_key().header("X-Daytona-Preview-Token", "0123456789abcdef").send().await?;
    cx.check("wrong-token").status(&unknown, 401);
    Ok(())
}

/// Meant for everybody, or answered by whoever guards them in words of their own.
const OPEN: &[&str] = &[
    "ConfigController_getConfig",
    "HealthController_live",
    "HealthController_check",
    "listSharedRegions",
    "getAuditScenarios",
    "getSandboxIdFromSignedPreviewUrlToken",
];

/// Every operation of the plane that some scenario judges and this server has, with all parameters filled in.
fn requests(cx: &Cx, plane: Plane) -> Vec<(&'static str, Method, String)> {
    let judged = |id: &str| crate::scenarios::all().any(|scenario| scenario.covers.contains(&id));
    let offered = |id: &str| cx.world.server.operations.get(id).copied().unwrap_or(true);
    let known = plane.contract().operations.iter().filter(|operation| judged(operation.id) && offered(operation.id));
    let closed = known.filter(|operation| !OPEN.contains(&operation.id));
    let filled = |part: &'static str| if part.starts_with('{') { "0" } else { part };
    closed
        .map(|operation| {
            let path = operation.path.split('/').map(filled).collect::<Vec<_>>().join("/");
            (operation.id, operation.method.parse().expect("a method of the contract"), path)
        })
        .collect()
}

async fn everything_needs_a_key(cx: Cx) -> Result {
    for (id, method, path) in requests(&cx, Plane::Api) {
        let answer = cx.api().request(method, &path).no_key().json(json!({})).send().await?;
        cx.check(id).status(&answer, 401);
    }
    Ok(())
}

async fn every_toolbox_operation_needs_a_key(cx: Cx) -> Result {
    let sandbox = cx.shared().await?;
    for (id, method, path) in requests(&cx, Plane::Toolbox) {
        let answer = sandbox.toolbox().request(method, &path).no_key().json(json!({})).send().await?;
        cx.check(id).status(&answer, 401);
    }
    for path in UPGRADES {
        match sandbox.ws(path).no_key().dial().await? {
            Dial::Refused(answer) => _ = cx.check(format!("upgrade {path}")).status(&answer, 401),
            Dial::Open(_) => _ = cx.check(format!("upgrade {path}")).that(false, "status 401", "an open WebSocket"),
        }
    }
    Ok(())
}

/// What becomes a WebSocket.
const UPGRADES: &[&str] = &[
    "/process/session/0/command/0/logs?follow=true",
    "/process/session/entrypoint/logs?follow=true",
    "/process/pty/0/connect",
    "/process/pty/create-connect?id=0",
    "/process/interpreter/execute",
];

async fn preview_token_opens_the_toolbox(cx: Cx) -> Result {
    let sandbox = cx.shared().await?;
    let link = sandbox.op(Method::GET, "/ports/2280/preview-url").send().await?.ok()?;
    let token = link.string("/token")?;
    let answer = sandbox.get("/version").no_key().header("X-Daytona-Preview-Token", &token).send().await?;
    cx.check("header").status(&answer, 200);
    let answer = sandbox.get("/version").no_key().query("DAYTONA_SANDBOX_AUTH_KEY", &token).send().await?;
    cx.check("query").status(&answer, 200);
    Ok(())
}
