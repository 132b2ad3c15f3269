//! What must not be in messages and logs.

use serde_json::{Value, json};

use super::scenarios;
use crate::{
    sdk::{
        Cx, Thrown,
        context::{PATIENCE, Shown},
    },
    stop::{Result, Stop},
};

scenarios! { "secrets";
    /// The API key is in no error of a refused request, whatever the status; nor in what a log has of it. (Authorization)
    key_not_in_refusals: Must;
    /// The API key is in no error of a connection that breaks or never comes about. (Authorization)
    key_not_in_broken_connections: Must;
    /// The API key is in no error of a WebSocket that isn't opened. (the upgrade's headers)
    key_not_in_socket_errors: Must;
    /// The API key is in no path and no query: those end in the logs of every proxy. (Authorization)
    key_not_in_urls: Must;
}

fn judge(cx: &Cx, check: String, thrown: &Thrown) {
    let headers: String = thrown.headers.iter().map(|(name, value)| format!("{name}: {value}\n")).collect();
    let all = format!("{}\n{}\n{headers}", thrown.message, thrown.text);
    let key = &cx.world.key;
    let at = all.find(key.as_str());
    let around = at.map(|at| {
        let from = (at.saturating_sub(60)..=at).find(|from| all.is_char_boundary(*from)).unwrap_or(at);
        format!("…{}<the key>", &all[from..at])
    });
    cx.check(check).that(around.is_none(), "an error without the key", around);
}

async fn key_not_in_refusals(cx: Cx) -> Result {
    cx.connect().await?;
    let sandbox = cx.sandbox().await?;
    let ops: [(&str, &str, Value); 3] = [
        ("getSandbox", "get", json!({"sandbox": sandbox})),
        ("ExecuteCommand", "execute", json!({"sandbox": sandbox, "command": "true"})),
        ("DownloadFile*", "download", json!({"sandbox": sandbox, "path": "a"})),
    ];
    for status in [401, 403, 500] {
        for (operation, op, args) in &ops {
            let effect = json!({"type": "status", "status": status});
            cx.world.fault(json!({"match": {"operation": operation}, "effect": effect})).await?;
            let told = cx.call(op, args.clone()).await?;
            cx.world.mend().await?;
            cx.check(format!("{op}-{status}-throws")).that(told.thrown().is_some(), "an error", Shown(&told));
            if let Some(thrown) = told.thrown() {
                judge(&cx, format!("{op}-{status}"), thrown);
            }
        }
    }
    Ok(())
}

async fn key_not_in_broken_connections(cx: Cx) -> Result {
    cx.connect().await?;
    let sandbox = cx.sandbox().await?;
    for (name, effect) in [("reset", json!({"type": "reset"})), ("truncated", json!({"type": "truncate", "bytes": 1}))]
    {
        cx.world.fault(json!({"match": {"operation": "ExecuteCommand"}, "effect": effect})).await?;
        let told = cx.call("execute", json!({"sandbox": sandbox, "command": "true"})).await?;
        cx.world.mend().await?;
        cx.check(format!("{name}-throws")).that(told.thrown().is_some(), "an error", Shown(&told));
        if let Some(thrown) = told.thrown() {
            judge(&cx, name.to_owned(), thrown);
        }
    }
    let listener = std::net::TcpListener::bind("127.0.0.1:0")?;
    let url = format!("http://{}/api", listener.local_addr()?);
    drop(listener);
    cx.connect_with(json!({"apiUrl": url, "polling": true})).await?;
    let told = cx.call_within("get", json!({"sandbox": "any"}), PATIENCE).await?;
    if let Some(thrown) = told.thrown() {
        judge(&cx, "refused".to_owned(), thrown);
    }
    Ok(())
}

async fn key_not_in_socket_errors(cx: Cx) -> Result {
    cx.connect().await?;
    let sandbox = cx.sandbox().await?;
    let effect = json!({"type": "status", "status": 500});
    let operations = ["GetSessionCommandLogs", "GetPtySession", "ConnectPtySession", "CreatePtySession"];
    cx.world.fault(json!({"match": {"operation": operations}, "effect": effect.clone()})).await?;
    cx.world.fault(json!({"match": {"path": "/api/toolbox/*", "method": "GET"}, "effect": effect})).await?;
    let mut judged = false;
    for (op, args) in [
        ("session.logs.follow", json!({"sandbox": sandbox, "session": "s", "command": "c"})),
        ("pty.open", json!({"sandbox": sandbox, "pty": "p", "cols": 80, "rows": 24})),
    ] {
        let told = match cx.call(op, args).await {
            Err(Stop::NotApplicable(_)) => continue,
            told => told?,
        };
        judged = true;
        cx.check(format!("{op}-throws")).that(told.thrown().is_some(), "an error", Shown(&told));
        if let Some(thrown) = told.thrown() {
            judge(&cx, op.to_owned(), thrown);
        }
    }
    if judged { Ok(()) } else { Err(Stop::not_applicable("the SDK opens no WebSockets")) }
}

async fn key_not_in_urls(cx: Cx) -> Result {
    super::wire::walk(&cx).await?;
    let calls = cx.world.journal("").await?;
    // What is secret reads so in the journal.
    let leaks = |text: &str| text.contains("<redacted>") || text.contains(&cx.world.key);
    let found: Vec<String> = calls
        .iter()
        .filter(|call| leaks(&call.path) || call.query.as_deref().is_some_and(leaks))
        .map(|call| call.line().replace(&cx.world.key, "<the key>"))
        .collect();
    cx.check("urls").that(found.is_empty(), "no secret in a URL", found);
    Ok(())
}
