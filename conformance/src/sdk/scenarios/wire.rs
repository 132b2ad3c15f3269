//! What every request carries, and whether it is what the documents say.

use serde_json::{Value, json};

use super::scenarios;
use crate::{
    judge::Call,
    sdk::{Cx, context::PATIENCE},
    stop::{Result, Stop},
};

scenarios! { "wire";
    /// Every request to the API and to the toolbox carries the key as a bearer token, WebSockets too. (Authorization)
    authorization: Must;
    /// Every request says which SDK it is from: `X-Daytona-Source`. Servers log and support by it. (X-Daytona-Source)
    source: Should;
    /// Every request says the SDK's version: servers answer in the shape of that generation. (X-Daytona-SDK-Version)
    version: Should;
    /// Requests are as the documents say: no unknown operations, fields or parameters, no wrong types. (strict mode of the mock)
    contract: Must;
    /// No request takes a route that the documents call deprecated. (strict mode of the mock)
    nothing_deprecated: Should;
    /// Names with spaces, percent signs, umlauts, plus signs and question marks reach the server as they are. (UploadFile, DownloadFile)
    names_are_encoded: Must;
}

/// What an ordinary program does with most of an SDK.
pub async fn walk(cx: &Cx) -> Result {
    cx.connect().await?;
    let made = cx.call("create", json!({"name": "walk", "labels": {"suite": "sdk"}})).await?.ok()?;
    let sandbox = made["sandbox"].as_str().ok_or_else(|| Stop::harness("create answers no sandbox"))?.to_owned();
    let steps: [(&str, Value); 16] = [
        ("get", json!({})),
        ("list", json!({})),
        ("execute", json!({"command": "true"})),
        ("codeRun", json!({"code": "print(1)"})),
        ("upload", json!({"path": "a.txt", "base64": "YQ=="})),
        ("download", json!({"path": "a.txt"})),
        ("session.create", json!({"session": "s"})),
        ("session.exec", json!({"session": "s", "command": "echo one", "background": false})),
        ("session.logs", json!({"session": "s"})),
        ("session.logs.follow", json!({"session": "s"})),
        ("session.delete", json!({"session": "s"})),
        ("pty.open", json!({"pty": "p", "cols": 80, "rows": 24})),
        ("pty.resize", json!({"pty": "p", "cols": 100, "rows": 30})),
        ("pty.kill", json!({"pty": "p"})),
        ("stop", json!({})),
        ("delete", json!({})),
    ];
    let mut command = Value::Null;
    for (op, mut args) in steps {
        if op != "list" && (op == "pty.open" || !op.starts_with("pty.")) {
            args["sandbox"] = json!(sandbox);
        }
        if op.starts_with("session.logs") {
            args["command"] = command.clone();
        }
        match cx.call_within(op, args, PATIENCE).await {
            Err(Stop::NotApplicable(_)) => {}
            told => {
                let value = told?.ok()?;
                if op == "session.exec" {
                    command = value.get("command").cloned().unwrap_or_default();
                }
            }
        }
    }
    Ok(())
}

fn asks(calls: &[Call]) -> impl Iterator<Item = &Call> {
    calls.iter().filter(|call| matches!(&*call.plane, "api" | "toolbox"))
}

/// Requests without a header that they must have.
async fn without(cx: &Cx, header: &str) -> Result<Vec<String>> {
    let since = cx.world.strays(0).await?.1;
    walk(cx).await?;
    let mut calls = cx.world.journal("").await?;
    calls.extend(cx.world.strays(since).await?.0);
    if asks(&calls).count() < 5 {
        return Err(Stop::untestable("the SDK asked for too little"));
    }
    // Browsers can't set headers of WebSockets; there the version is a sub-protocol.
    let has = |call: &Call| {
        let offered = call.request.headers.get("sec-websocket-protocol").map(|text| text.to_lowercase());
        call.request.headers.contains_key(header) || offered.is_some_and(|offered| offered.contains(header))
    };
    Ok(asks(&calls).filter(|call| !has(call)).map(Call::line).collect())
}

async fn authorization(cx: Cx) -> Result {
    let without = without(&cx, "authorization").await?;
    cx.check("on-every-request").that(without.is_empty(), "authorization on every request", without);
    Ok(())
}

async fn source(cx: Cx) -> Result {
    let without = without(&cx, "x-daytona-source").await?;
    cx.check("on-every-request").that(without.is_empty(), "x-daytona-source on every request", without);
    Ok(())
}

async fn version(cx: Cx) -> Result {
    let without = without(&cx, "x-daytona-sdk-version").await?;
    cx.check("on-every-request").that(without.is_empty(), "x-daytona-sdk-version on every request", without);
    Ok(())
}

async fn contract(cx: Cx) -> Result {
    let found = violations(&cx, |rule| rule != "deprecated-route").await?;
    cx.check("no-violations").that(found.is_empty(), "no violations", found);
    Ok(())
}

async fn nothing_deprecated(cx: Cx) -> Result {
    let found = violations(&cx, |rule| rule == "deprecated-route").await?;
    cx.check("no-violations").that(found.is_empty(), "no deprecated routes", found);
    Ok(())
}

async fn violations(cx: &Cx, counts: impl Fn(&str) -> bool) -> Result<Vec<String>> {
    walk(cx).await?;
    let calls = cx.world.journal("violations=true").await?;
    let mut found: Vec<String> = calls
        .iter()
        .flat_map(|call| call.violations.iter().map(move |violation| (call, violation)))
        .filter(|(_, violation)| counts(&violation.rule))
        .map(|(call, violation)| format!("{} {}: {} ({})", call.method, call.op(), violation.message, violation.rule))
        .collect();
    found.dedup();
    Ok(found)
}

async fn names_are_encoded(cx: Cx) -> Result {
    cx.connect().await?;
    let sandbox = cx.sandbox().await?;
    for (at, name) in ["with space", "100%25 & more", "grüße+plus", "what?#", "quote\"d'"].into_iter().enumerate() {
        let path = format!("names/{name}");
        let told = cx.call("upload", json!({"sandbox": sandbox, "path": path, "base64": "YQ=="})).await?;
        cx.check(format!("upload-{at}")).that(told.returned(), "no error", crate::sdk::context::Shown(&told));
        let told = cx.call("download", json!({"sandbox": sandbox, "path": path})).await?;
        cx.check(format!("download-{at}")).eq(told.field("base64"), json!("YQ=="));
    }
    let inside = cx.inside(&sandbox, "ls names | wc -l").await?;
    cx.check("inside").eq(inside.trim(), "5");
    Ok(())
}
