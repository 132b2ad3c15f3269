//! Text arrives whole, however the network cuts it.

use std::time::Duration;

use serde_json::json;

use super::scenarios;
use crate::{
    sdk::{
        Cx,
        context::{Output, PATIENCE, Shown, until},
    },
    stop::Result,
};

scenarios! { "text";
    /// Characters that are cut in two by the network arrive whole in a command's result. (ExecuteCommand)
    command: Must;
    /// Characters that are cut in two between messages arrive whole in followed logs. (GetSessionCommandLogs, follow)
    followed_logs: Must;
    /// Bytes of a terminal arrive as they are, however messages cut them. (ConnectPtySession)
    terminal: Must;
    /// Characters arrive whole from the interpreter, whose text messages come in fragments. (ExecuteInterpreterCode)
    interpreter: Must;
    /// Bytes that are no UTF-8 don't end what follows logs; the rest arrives. (GetSessionCommandLogs, follow)
    invalid_bytes: Must;
    /// Input of any language reaches a command as it is. (SendInput)
    input: Must;
}

const WORDS: &str = "grüße €5 🦀 日本";

async fn split(cx: &Cx) -> Result<String> {
    cx.connect().await?;
    let sandbox = cx.sandbox().await?;
    cx.world.fault(json!({"match": {"plane": "toolbox"}, "effect": {"type": "splitFrames", "at": "utf8"}})).await?;
    Ok(sandbox)
}

async fn command(cx: Cx) -> Result {
    let sandbox = split(&cx).await?;
    let told = cx.call("execute", json!({"sandbox": sandbox, "command": format!("echo '{WORDS}'")})).await?;
    cx.check("output").eq(told.field("output"), json!(format!("{WORDS}\n")));
    Ok(())
}

async fn followed_logs(cx: Cx) -> Result {
    let sandbox = split(&cx).await?;
    let command = format!("for i in 1 2 3; do echo '{WORDS}'; echo '{WORDS}' >&2; sleep 0.1; done");
    let (told, output) = super::logs::follow(&cx, &sandbox, &command).await?;
    cx.check("ends").that(told.returned(), "no error", Shown(&told));
    let wanted = format!("{WORDS}\n").repeat(3);
    cx.check("stdout").eq(&output.stdout, &wanted);
    cx.check("stderr").eq(&output.stderr, &wanted);
    Ok(())
}

async fn terminal(cx: Cx) -> Result {
    let sandbox = split(&cx).await?;
    let args = json!({"sandbox": sandbox, "pty": "p", "cols": 80, "rows": 24});
    let (mut under, mut output) = (cx.begin("pty.open", args).await?, Output::default());
    cx.end(&mut under, PATIENCE).await?.ok()?;
    let typed = format!("printf 'got-%s.\\n' '{WORDS}'\n");
    cx.call("pty.input", json!({"pty": "p", "text": typed})).await?.ok()?;
    let wanted = format!("got-{WORDS}.");
    let came = until(&mut under, &mut output, PATIENCE, |output| output.screen().contains(&wanted)).await;
    cx.check("bytes").that(came, &wanted, output.screen());
    Ok(())
}

async fn interpreter(cx: Cx) -> Result {
    let sandbox = split(&cx).await?;
    let told = cx.call("interpreter.run", json!({"sandbox": sandbox, "code": format!("print('{WORDS}')")})).await?;
    cx.check("stdout").eq(told.field("stdout"), json!(format!("{WORDS}\n")));
    Ok(())
}

async fn invalid_bytes(cx: Cx) -> Result {
    cx.connect().await?;
    let sandbox = cx.sandbox().await?;
    let command = "printf 'before\\n\\377\\376\\n'; sleep 0.2; echo after";
    let (told, output) = super::logs::follow(&cx, &sandbox, command).await?;
    cx.check("ends").that(told.returned(), "no error", Shown(&told));
    let both = output.stdout.starts_with("before\n") && output.stdout.ends_with("after\n");
    cx.check("rest").that(both, "what comes before and after", &output.stdout);
    Ok(())
}

async fn input(cx: Cx) -> Result {
    cx.connect().await?;
    let sandbox = cx.sandbox().await?;
    let command = super::logs::background(&cx, &sandbox, "read -r line; printf '%s' \"$line\" > said.txt").await?;
    let args = json!({"sandbox": sandbox, "session": "s", "command": command, "text": format!("{WORDS}\n")});
    cx.call("session.input", args).await?.ok()?;
    let mut said = String::new();
    for _ in 0..200 {
        said = cx.inside(&sandbox, "cat said.txt 2>/dev/null").await?;
        if !said.is_empty() {
            break;
        }
        tokio::time::sleep(Duration::from_millis(25)).await;
    }
    cx.check("inside").eq(said.as_str(), WORDS);
    Ok(())
}
