//! The desktop. Where sandboxes have none, nothing of this is applicable.

pub mod accessibility;
pub mod input;
pub mod processes;
pub mod recordings;
pub mod screen;

use crate::{client::Answer, prelude::*};

/// A window with an entry, for what has to be seen, clicked and typed into.
const WINDOW: &str = include_str!("window.py");

/// For programs that start on a busy machine.
const LONG: Duration = Duration::from_secs(60);

/// Starts the desktop, unless it runs; a server without one says so by 503.
async fn start(sandbox: &Sandbox) -> Result<Answer> {
    let started = sandbox.post("/computeruse/start").json(json!({})).timeout(LONG).send().await?;
    if started.status == 503 {
        return Err(Stop::not_applicable(format!("computer use: {}", started["message"])));
    }
    started.ok()
}

async fn post(sandbox: &Sandbox, operation: &str, body: Value) -> Result<Answer> {
    sandbox.post(&format!("/computeruse/{operation}")).json(body).timeout(LONG).send().await
}

async fn get(sandbox: &Sandbox, operation: &str) -> Result<Answer> {
    sandbox.get(&format!("/computeruse/{operation}")).timeout(LONG).send().await
}

/// Opens the window; what happens to it is written to `events`.
async fn open_window(cx: &Cx, sandbox: &Sandbox) -> Result {
    let can = "/usr/bin/python3 -c 'import tkinter'";
    if sandbox.exec(can).await?.ok()?["exitCode"] != 0 {
        return Err(Stop::not_applicable("Tk for Python in sandboxes, to open a window"));
    }
    sandbox.upload("window.py", WINDOW.as_bytes()).await?.ok()?;
    sandbox
        .exec("DISPLAY=${DISPLAY:-:0} setsid /usr/bin/python3 window.py events >window.log 2>&1 </dev/null &")
        .await?
        .ok()?;
    happened(cx, sandbox, "ready").await
}

/// Waits until the entry was clicked and has the keyboard: window managers take a moment to give it.
async fn has_focus(cx: &Cx, sandbox: &Sandbox) -> Result {
    cx.eventually("the entry has the keyboard", LONG, || async {
        let events = sandbox.output("cat events").await?;
        let last = events.lines().rfind(|line| line.starts_with("focus"));
        Ok((events.contains("entry\n") && last == Some("focus in")).then_some(()))
    })
    .await
}

/// Waits until the window tells of something.
async fn happened(cx: &Cx, sandbox: &Sandbox, event: &str) -> Result {
    cx.eventually(event, LONG, || async {
        Ok(sandbox.output("cat events 2>/dev/null || true").await?.contains(event).then_some(()))
    })
    .await
}
