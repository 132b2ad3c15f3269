//! Terminals.

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::scenarios;
use crate::{
    sdk::{
        Cx,
        context::{Output, PATIENCE, Shown, until},
        driver::{Told, Under},
    },
    stop::Result,
};

scenarios! { "pty";
    /// The exit code of a terminal's shell is told, from the control message `exited`. (X-Daytona-Pty-Exit-Control)
    exit_code: Must;
    /// The exit code of a terminal's shell is told, from the reason of the close frame. (`{"exitCode": 7}`)
    exit_code_of_close_frame: Must;
    /// A killed terminal ends the wait, with the code of the signal. (137)
    kill: Must;
    /// A terminal has the size that was asked for, and gets the one that is asked for later. (cols, rows)
    size: Must;
    /// A terminal that breaks off (close code 1011) ends the wait, and isn't told as exit code 0. (ConnectPtySession)
    breaking_off_ends_the_wait: Must;
    /// Waiting for a terminal whose connection is lost already ends, too. (PtyHandle.wait)
    wait_after_the_break: Must;
    /// Who waits for a terminal that broke off learns that there is no exit code because of an error. (PtyHandle.error)
    breaking_off_is_told: Should;
    /// A terminal whose shell takes a moment to come is waited for. (control message `connected`)
    slow_shell: Must;
    /// An id that is in use is told as a conflict. (409)
    id_in_use: Should;
    /// Input after the end is told; it doesn't get lost. (PtyHandle.sendInput)
    input_after_the_end: Must;
    /// Several waits for one terminal end all. (PtyHandle.wait)
    two_waits: Should;
    /// Environment and directory are those that were asked for. (envs, cwd)
    environment: Must;
}

const SOON: Duration = Duration::from_secs(10);

/// Opens terminal `p`.
async fn open(cx: &Cx, more: Value) -> Result<(String, Under)> {
    cx.connect().await?;
    let sandbox = cx.sandbox().await?;
    let mut args = json!({"sandbox": sandbox, "pty": "p", "cols": 100, "rows": 30});
    if let (Value::Object(args), Value::Object(more)) = (&mut args, more) {
        args.extend(more);
    }
    let mut under = cx.begin("pty.open", args).await?;
    cx.end(&mut under, PATIENCE).await?.ok()?;
    Ok((sandbox, under))
}

async fn type_in(cx: &Cx, text: &str) -> Result {
    cx.call("pty.input", json!({"pty": "p", "text": text})).await?.ok().map(drop)
}

async fn wait(cx: &Cx) -> Result<Told> {
    cx.call_within("pty.wait", json!({"pty": "p"}), SOON).await
}

async fn exit_code(cx: Cx) -> Result {
    open(&cx, json!({})).await?;
    type_in(&cx, "exit 7\n").await?;
    let told = wait(&cx).await?;
    cx.check("exit-code").that(told.field("exitCode") == 7, "exit code 7", Shown(&told));
    Ok(())
}

async fn exit_code_of_close_frame(cx: Cx) -> Result {
    let reason = r#"{"exitCode":7,"exitReason":"non-zero exit"}"#;
    let close = json!({"type": "websocketClose", "code": 1000, "reason": reason, "afterFrames": 2});
    cx.world.fault(json!({"match": {"path": "/*", "plane": "toolbox"}, "effect": close})).await?;
    let (_, mut under) = open(&cx, json!({})).await?;
    let mut output = Output::default();
    // The second frame is the prompt, or the echo of this.
    _ = cx.call("pty.input", json!({"pty": "p", "text": "\n"})).await?;
    let told = wait(&cx).await?;
    until(&mut under, &mut output, Duration::ZERO, |_| false).await;
    cx.check("exit-code").that(told.field("exitCode") == 7, "exit code 7", Shown(&told));
    Ok(())
}

async fn kill(cx: Cx) -> Result {
    open(&cx, json!({})).await?;
    cx.call("pty.kill", json!({"pty": "p"})).await?.ok()?;
    let told = wait(&cx).await?;
    cx.check("exit-code").that(told.field("exitCode") == 137, "exit code 137", Shown(&told));
    Ok(())
}

async fn size(cx: Cx) -> Result {
    let (_, mut under) = open(&cx, json!({})).await?;
    let mut output = Output::default();
    type_in(&cx, "stty size\n").await?;
    let came = until(&mut under, &mut output, SOON, |output| output.screen().contains("30 100")).await;
    cx.check("opened").that(came, "30 100", output.screen());
    cx.call("pty.resize", json!({"pty": "p", "cols": 132, "rows": 43})).await?.ok()?;
    type_in(&cx, "stty size\n").await?;
    let came = until(&mut under, &mut output, SOON, |output| output.screen().contains("43 132")).await;
    cx.check("resized").that(came, "43 132", output.screen());
    Ok(())
}

/// A terminal whose connection breaks once its shell has spoken.
async fn broken(cx: &Cx) -> Result {
    let close = json!({"type": "websocketClose", "code": 1011, "reason": "rehearsed", "afterFrames": 2});
    cx.world.fault(json!({"match": {"path": "/*", "plane": "toolbox"}, "effect": close})).await?;
    open(cx, json!({})).await?;
    // It may be broken by now.
    _ = cx.call("pty.input", json!({"pty": "p", "text": "\n"})).await?;
    Ok(())
}

async fn breaking_off_ends_the_wait(cx: Cx) -> Result {
    broken(&cx).await?;
    let told = wait(&cx).await?;
    cx.check("ends").that(!matches!(told, Told::Nothing(_)), "an end", Shown(&told));
    cx.check("not-zero").that(told.field("exitCode") != 0, "no exit code 0", Shown(&told));
    Ok(())
}

async fn wait_after_the_break(cx: Cx) -> Result {
    broken(&cx).await?;
    let closed = |call: &crate::judge::Call| call.websocket.as_ref().is_some_and(|socket| !socket.open);
    cx.world.until("plane=toolbox", 1, SOON, closed).await?;
    tokio::time::sleep(Duration::from_millis(300)).await;
    let told = wait(&cx).await?;
    cx.check("ends").that(!matches!(told, Told::Nothing(_)), "an end", Shown(&told));
    Ok(())
}

async fn breaking_off_is_told(cx: Cx) -> Result {
    // The wait has begun when it breaks.
    let close = json!({"type": "websocketClose", "code": 1011, "reason": "rehearsed", "afterFrames": 4});
    cx.world.fault(json!({"match": {"path": "/*", "plane": "toolbox"}, "effect": close})).await?;
    open(&cx, json!({})).await?;
    let mut waiting = cx.begin("pty.wait", json!({"pty": "p"})).await?;
    for _ in 0..8 {
        if cx.call("pty.input", json!({"pty": "p", "text": "echo more\n"})).await?.thrown().is_some() {
            break;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let told = cx.end(&mut waiting, SOON).await?;
    let error = told.field("error").as_str().is_some_and(|error| !error.is_empty());
    cx.check("error").that(told.thrown().is_some() || error, "an error", Shown(&told));
    Ok(())
}

async fn slow_shell(cx: Cx) -> Result {
    let late = json!({"type": "delay", "seconds": 1.5, "at": "body"});
    cx.world.fault(json!({"match": {"path": "/*", "plane": "toolbox"}, "effect": late})).await?;
    cx.connect().await?;
    let sandbox = cx.sandbox().await?;
    let began = Instant::now();
    let args = json!({"sandbox": sandbox, "pty": "p", "cols": 80, "rows": 24});
    let told = cx.call("pty.open", args).await?;
    cx.check("opens").that(told.returned(), "a terminal", (Shown(&told), began.elapsed()));
    Ok(())
}

async fn id_in_use(cx: Cx) -> Result {
    let (sandbox, _under) = open(&cx, json!({})).await?;
    let args = json!({"sandbox": sandbox, "pty": "p", "cols": 80, "rows": 24});
    let told = cx.call("pty.open", args).await?;
    cx.check("throws").that(told.thrown().is_some(), "an error", Shown(&told));
    let status = told.thrown().and_then(|thrown| thrown.status);
    cx.check("status").that(status == Some(409), "an error with status 409", Shown(&told));
    Ok(())
}

async fn input_after_the_end(cx: Cx) -> Result {
    open(&cx, json!({})).await?;
    type_in(&cx, "exit 0\n").await?;
    wait(&cx).await?;
    let told = cx.call("pty.input", json!({"pty": "p", "text": "echo lost\n"})).await?;
    cx.check("throws").that(told.thrown().is_some(), "an error", Shown(&told));
    Ok(())
}

async fn two_waits(cx: Cx) -> Result {
    open(&cx, json!({})).await?;
    let mut first = cx.begin("pty.wait", json!({"pty": "p"})).await?;
    let mut second = cx.begin("pty.wait", json!({"pty": "p"})).await?;
    type_in(&cx, "exit 3\n").await?;
    for (check, waiting) in [("first", &mut first), ("second", &mut second)] {
        let told = cx.end(waiting, SOON).await?;
        cx.check(check).that(told.field("exitCode") == 3, "exit code 3", Shown(&told));
    }
    Ok(())
}

async fn environment(cx: Cx) -> Result {
    let (_, mut under) = open(&cx, json!({"env": {"COLOUR": "grün"}, "cwd": "/tmp"})).await?;
    let mut output = Output::default();
    type_in(&cx, "echo \"is $COLOUR in $(pwd)\"\n").await?;
    let came = until(&mut under, &mut output, SOON, |output| output.screen().contains("is grün in /tmp")).await;
    cx.check("is").that(came, "is grün in /tmp", output.screen());
    Ok(())
}
