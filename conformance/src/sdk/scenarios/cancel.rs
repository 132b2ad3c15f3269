//! Cancelling a call closes its connection.

use std::time::Duration;

use serde_json::{Value, json};

use super::scenarios;
use crate::{
    sdk::{
        Cx,
        context::{Output, Shown, until},
    },
    stop::Result,
};

scenarios! { "cancel";
    /// A cancelled upload closes its connection: the server doesn't wait for the rest. (AbortSignal; cancel_event; task.cancel())
    upload: Must;
    /// A cancelled download closes its connection. (AbortSignal; task.cancel())
    download: Must;
    /// A cancelled command closes its connection. (task.cancel(); dropping the future)
    command: Must;
    /// Logs that nobody follows any more are not sent on: cancelling closes the WebSocket. (task.cancel())
    followed_logs: Must;
    /// After a cancelled call the client goes on to work. (execute)
    client_survives: Must;
}

/// How long a connection may stay open after its call was cancelled.
const SOON: Duration = Duration::from_secs(5);
/// More than sockets buffer.
const LARGE: u64 = 48 << 20;

/// Cancels a call that a fault keeps waiting; its error comes, and its connection ends.
async fn judge(cx: &Cx, op: &str, args: Value, operations: &[&str]) -> Result {
    let fault = cx.world.fault(json!({"match": {"operation": operations}, "effect": {"type": "hang"}})).await?;
    let mut under = cx.begin(op, args).await?;
    cx.until_hit(&fault).await?;
    cx.call("cancel", json!({"request": under.id})).await?.ok()?;
    let told = cx.end(&mut under, SOON).await?;
    cx.check("ends").that(told.thrown().is_some(), "an error", Shown(&told));
    // A server that still reads sees that nothing more comes; whoever just doesn't listen any more gets an answer now.
    cx.world.mend().await?;
    let query = format!("open=false&operation={}", operations.join(","));
    let closed = cx.world.until(&query, 1, SOON, |call| call.aborted || !call.succeeded()).await?;
    cx.check("closes").that(closed, "the connection is closed", closed);
    Ok(())
}

async fn upload(cx: Cx) -> Result {
    cx.connect().await?;
    let sandbox = cx.sandbox().await?;
    let file = tempfile::NamedTempFile::new()?;
    file.as_file().set_len(LARGE)?;
    let args = json!({"sandbox": sandbox, "path": "large.bin", "file": file.path(), "stream": true});
    judge(&cx, "upload", args, &["UploadFile", "UploadFiles"]).await
}

async fn download(cx: Cx) -> Result {
    cx.connect().await?;
    let sandbox = cx.sandbox().await?;
    cx.inside(&sandbox, "echo text > a.txt").await?;
    let args = json!({"sandbox": sandbox, "path": "a.txt", "stream": true});
    judge(&cx, "download", args, &["DownloadFile", "DownloadFiles"]).await
}

async fn command(cx: Cx) -> Result {
    cx.connect().await?;
    let sandbox = cx.sandbox().await?;
    judge(&cx, "execute", json!({"sandbox": sandbox, "command": "true"}), &["ExecuteCommand"]).await
}

async fn followed_logs(cx: Cx) -> Result {
    cx.connect().await?;
    let sandbox = cx.sandbox().await?;
    let command = super::logs::background(&cx, &sandbox, "echo on; sleep 600").await?;
    let args = json!({"sandbox": sandbox, "session": "s", "command": command});
    let (mut under, mut output) = (cx.begin("session.logs.follow", args).await?, Output::default());
    let came = until(&mut under, &mut output, SOON, |output| output.stdout.contains("on")).await;
    cx.check("follows").that(came, "what the command writes", &output);
    cx.call("cancel", json!({"request": under.id})).await?.ok()?;
    let told = cx.end(&mut under, SOON).await?;
    cx.check("ends").that(!matches!(told, crate::sdk::driver::Told::Nothing(_)), "an end", Shown(&told));
    let closed = |call: &crate::judge::Call| call.websocket.as_ref().is_some_and(|socket| !socket.open);
    let closed = cx.world.until("operation=GetSessionCommandLogs", 1, SOON, closed).await?;
    cx.check("closes").that(closed, "the WebSocket is closed", closed);
    Ok(())
}

async fn client_survives(cx: Cx) -> Result {
    cx.connect().await?;
    let sandbox = cx.sandbox().await?;
    cx.inside(&sandbox, "echo text > a.txt").await?;
    let operations = ["DownloadFile", "DownloadFiles"];
    let fault = cx.world.fault(json!({"match": {"operation": operations}, "effect": {"type": "hang"}})).await?;
    let args = json!({"sandbox": sandbox, "path": "a.txt", "stream": true});
    let mut under = cx.begin("download", args.clone()).await?;
    cx.until_hit(&fault).await?;
    cx.call("cancel", json!({"request": under.id})).await?.ok()?;
    cx.end(&mut under, SOON).await?;
    cx.world.mend().await?;
    let told = cx.call("download", args).await?;
    cx.check("again").eq(told.field("base64"), json!("dGV4dAo="));
    let told = cx.call("execute", json!({"sandbox": sandbox, "command": "echo fine"})).await?;
    cx.check("execute").eq(told.field("output"), json!("fine\n"));
    Ok(())
}
