//! Logs of commands: two streams in one, and an end.

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::scenarios;
use crate::{
    sdk::{
        Cx,
        context::{Output, PATIENCE, Shown, drain, until},
        driver::Told,
    },
    stop::Result,
};

scenarios! { "logs";
    /// Standard output and standard error come apart, each in its order. (markers `01 01 01` and `02 02 02`)
    streams_apart: Must;
    /// A marker that is cut in two between messages is a marker all the same. (GetSessionCommandLogs, follow)
    marker_cut: Must;
    /// A message that ends with a marker: what comes next belongs to that stream. (GetSessionCommandLogs, follow)
    marker_ends_message: Must;
    /// Single bytes of a marker's kind are output like any other. (`\x01`, `\x02\x02`)
    bytes_like_markers: Must;
    /// Following ends when the command ends. (close frame 1000)
    end_with_the_command: Must;
    /// A stream that breaks off (close code 1011) isn't told as an end: the caller would take half a log for a whole one.
    /// (GetSessionCommandLogs, follow)
    breaking_off_is_told: Must;
    /// A connection that is lost without a close frame isn't told as an end. (RFC 6455: 1006)
    lost_connection_is_told: Must;
    /// A long log comes whole, and within a minute: 60,000 lines. (GetSessionCommandLogs, follow)
    large: Must;
    /// Logs of a command that is over come as two streams, too. (GetSessionCommandLogs)
    afterwards: Must;
    /// Output comes while the command runs, not at its end. (GetSessionCommandLogs, follow)
    come_at_once: Must;
}

/// Runs a command in the background of session `s`; its id.
pub async fn background(cx: &Cx, sandbox: &str, command: &str) -> Result<Value> {
    cx.call("session.create", json!({"sandbox": sandbox, "session": "s"})).await?.ok()?;
    let args = json!({"sandbox": sandbox, "session": "s", "command": command, "background": true});
    Ok(cx.call("session.exec", args).await?.ok()?.get("command").cloned().unwrap_or_default())
}

/// Runs a command in the background, and follows its logs to the end.
pub async fn follow(cx: &Cx, sandbox: &str, command: &str) -> Result<(Told, Output)> {
    let command = background(cx, sandbox, command).await?;
    let args = json!({"sandbox": sandbox, "session": "s", "command": command});
    let (mut under, mut output) = (cx.begin("session.logs.follow", args).await?, Output::default());
    let told = cx.end(&mut under, PATIENCE).await?;
    drain(&mut under, &mut output);
    Ok((told, output))
}

const BOTH: &str = "for i in 1 2 3; do echo out$i; sleep 0.1; echo err$i >&2; sleep 0.1; done";

async fn judge_both(cx: &Cx, at: Option<&str>) -> Result {
    cx.connect().await?;
    let sandbox = cx.sandbox().await?;
    if let Some(at) = at {
        let rule = json!({"match": {"plane": "toolbox"}, "effect": {"type": "splitFrames", "at": at}});
        cx.world.fault(rule).await?;
    }
    let (told, output) = follow(cx, &sandbox, BOTH).await?;
    cx.check("ends").that(told.returned(), "no error", Shown(&told));
    cx.check("stdout").eq(output.stdout.as_str(), "out1\nout2\nout3\n");
    cx.check("stderr").eq(output.stderr.as_str(), "err1\nerr2\nerr3\n");
    Ok(())
}

async fn streams_apart(cx: Cx) -> Result {
    judge_both(&cx, None).await
}

async fn marker_cut(cx: Cx) -> Result {
    judge_both(&cx, Some("marker")).await
}

async fn marker_ends_message(cx: Cx) -> Result {
    judge_both(&cx, Some("afterMarker")).await
}

async fn bytes_like_markers(cx: Cx) -> Result {
    cx.connect().await?;
    let sandbox = cx.sandbox().await?;
    let command = "printf 'a\\001b\\002\\002c'; sleep 0.2; printf 'd\\001'; sleep 0.2; printf 'e'";
    let (told, output) = follow(&cx, &sandbox, command).await?;
    cx.check("ends").that(told.returned(), "no error", Shown(&told));
    // Sessions end the last line of a command.
    cx.check("stdout").eq(output.stdout.trim_end_matches('\n'), "a\u{1}b\u{2}\u{2}cd\u{1}e");
    Ok(())
}

async fn end_with_the_command(cx: Cx) -> Result {
    cx.connect().await?;
    let sandbox = cx.sandbox().await?;
    let began = Instant::now();
    let (told, output) = follow(&cx, &sandbox, "echo one; sleep 1; echo two").await?;
    cx.check("ends").that(told.returned(), "no error", Shown(&told));
    cx.check("whole").eq(output.stdout.as_str(), "one\ntwo\n");
    cx.check("soon").that(began.elapsed() < Duration::from_secs(8), "an end within 8 s", began.elapsed());
    Ok(())
}

/// Breaks the stream after its first output.
async fn broken(cx: &Cx, code: u16) -> Result {
    cx.connect().await?;
    let sandbox = cx.sandbox().await?;
    let command = background(cx, &sandbox, "echo first; sleep 600").await?;
    let close = json!({"type": "websocketClose", "code": code, "reason": "rehearsed", "afterFrames": 1});
    cx.world.fault(json!({"match": {"operation": "GetSessionCommandLogs"}, "effect": close})).await?;
    let args = json!({"sandbox": sandbox, "session": "s", "command": command});
    let told = cx.call_within("session.logs.follow", args, Duration::from_secs(10)).await?;
    cx.check("throws").that(told.thrown().is_some(), "an error", Shown(&told));
    Ok(())
}

async fn breaking_off_is_told(cx: Cx) -> Result {
    broken(&cx, 1011).await
}

async fn lost_connection_is_told(cx: Cx) -> Result {
    broken(&cx, 1006).await
}

async fn large(cx: Cx) -> Result {
    cx.connect().await?;
    let sandbox = cx.sandbox().await?;
    // It is all there when following begins, so it comes in large messages.
    let command = background(&cx, &sandbox, "seq 1 60000; touch over").await?;
    for _ in 0..400 {
        if !cx.inside(&sandbox, "ls over 2>/dev/null").await?.is_empty() {
            break;
        }
        tokio::time::sleep(Duration::from_millis(25)).await;
    }
    let args = json!({"sandbox": sandbox, "session": "s", "command": command});
    let (mut under, mut output) = (cx.begin("session.logs.follow", args).await?, Output::default());
    let told = cx.end(&mut under, PATIENCE * 3).await?;
    drain(&mut under, &mut output);
    cx.check("ends").that(told.returned(), "no error", Shown(&told));
    let (lines, last) = (output.stdout.lines().count(), output.stdout.lines().last().unwrap_or_default());
    cx.check("whole").eq((lines, last), (60_000, "60000"));
    Ok(())
}

async fn afterwards(cx: Cx) -> Result {
    cx.connect().await?;
    let sandbox = cx.sandbox().await?;
    cx.call("session.create", json!({"sandbox": sandbox, "session": "s"})).await?.ok()?;
    let args = json!({"sandbox": sandbox, "session": "s", "command": "echo out; echo err >&2", "background": false});
    let ran = cx.call("session.exec", args).await?.ok()?;
    let args = json!({"sandbox": sandbox, "session": "s", "command": ran.get("command")});
    let told = cx.call("session.logs", args).await?;
    cx.check("stdout").eq(told.field("stdout"), json!("out\n"));
    cx.check("stderr").eq(told.field("stderr"), json!("err\n"));
    Ok(())
}

async fn come_at_once(cx: Cx) -> Result {
    cx.connect().await?;
    let sandbox = cx.sandbox().await?;
    let command = background(&cx, &sandbox, "echo early; sleep 600").await?;
    let args = json!({"sandbox": sandbox, "session": "s", "command": command});
    let (mut under, mut output) = (cx.begin("session.logs.follow", args).await?, Output::default());
    let came = until(&mut under, &mut output, Duration::from_secs(5), |output| output.stdout == "early\n").await;
    cx.check("early").that(came, "early, while the command runs", &output);
    // So that the call isn't left open.
    cx.call("session.delete", json!({"sandbox": sandbox, "session": "s"})).await?.ok()?;
    cx.end(&mut under, PATIENCE).await?;
    Ok(())
}
