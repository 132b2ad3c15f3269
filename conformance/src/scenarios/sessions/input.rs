use super::{Session, TODAY};
use crate::prelude::*;

scenarios! { "sessions";
    /// What is sent is a line that the running command reads; an end of line is added where there is none. (SendInput; observed)
    input_is_read: Must, covers ["SendInput"];

    /// What is sent is in the log too, unless the command was started with `suppressInputEcho`. (SendInput; observed)
    input_is_logged: Must, covers ["SendInput"];

    /// No data, an empty one and one that isn't text are 400. (SendInput; observed)
    bad_input: Must, covers ["SendInput"];

    /// A command that has ended takes none: 410 with the code `COMMAND_ALREADY_COMPLETED`. (SendInput; SDKs)
    input_after_the_end: Must, covers ["SendInput"], since "0.200";

    /// A program that talks is talked to, line by line, in order. (SendInput; SDKs: sendSessionCommandInput)
    conversation: Must, covers ["SendInput", "GetSessionCommandLogs"];
}

async fn input_is_read(cx: Cx) -> Result {
    let session = Session::new(&cx).await?;
    let id = session.start("read -r a; read -r b; read -r c; echo \"got [$a] [$b]\"; echo \"then [$c]\"").await?;
    cx.check("one").status(&session.input(&id, "one $HOME \\ 'q' ü").await?, 204);
    cx.check("two").status(&session.input(&id, "two\n").await?, 204);
    cx.check("three").status(&session.input(&id, "three").await?, 204);
    cx.check("exit-code").eq(session.exit_code(&cx, &id).await?, 0);
    let logs = session.logs(&id).await?;
    let stdout = logs["stdout"].as_str().unwrap_or_default();
    cx.check("read").on(&logs).contains(stdout, "got [one $HOME \\ 'q' ü] [two]\n");
    cx.check("no-line-between").on(&logs).contains(stdout, "then [three]\n");
    Ok(())
}

async fn input_is_logged(cx: Cx) -> Result {
    let session = Session::new(&cx).await?;
    for (suppress, expected) in [(false, vec!["got [word]", "word"]), (true, vec!["got [word]"])] {
        let body = json!({"command": "read a; echo \"got [$a]\"", "runAsync": true, "suppressInputEcho": suppress});
        let id = session.post("/exec", body).send().await?.ok()?.string("/cmdId")?;
        session.input(&id, "word").await?.ok()?;
        session.exit_code(&cx, &id).await?;
        let logs = session.logs(&id).await?;
        let mut lines: Vec<_> = logs["stdout"].as_str().unwrap_or_default().lines().collect();
        lines.sort_unstable();
        cx.check(format!("suppress-{suppress}")).on(&logs).eq(lines, expected);
    }
    Ok(())
}

async fn bad_input(cx: Cx) -> Result {
    let session = Session::new(&cx).await?;
    let id = session.start("read a").await?;
    for (name, body) in [("none", json!({})), ("empty", json!({"data": ""})), ("number", json!({"data": 1}))] {
        let answer = session.post(&format!("/command/{id}/input"), body).send().await?;
        cx.check(name).status(&answer, 400);
        cx.check(format!("{name}-code")).should().json(&answer, "/code", "INVALID_REQUEST_BODY");
    }
    let running = session.get(&format!("/command/{id}")).send().await?;
    cx.check("still-reads").json(&running, "/exitCode", Value::Null);
    Ok(())
}

async fn input_after_the_end(cx: Cx) -> Result {
    let session = Session::new(&cx).await?;
    let id = session.start("read a").await?;
    session.input(&id, "x").await?.ok()?;
    session.exit_code(&cx, &id).await?;
    let refused = session.input(&id, "x").await?;
    cx.check("refused").error(&refused, 410, "gone: command has already completed with exit code 0");
    cx.check("code").json(&refused, "/code", "COMMAND_ALREADY_COMPLETED");
    let waited = session.exec("true").await?.ok()?.string("/cmdId")?;
    cx.check("waited-for").status(&session.by(Some(TODAY)).input(&waited, "x").await?, 410);
    Ok(())
}

async fn conversation(cx: Cx) -> Result {
    let session = Session::new(&cx).await?;
    let id = session.start("while read -r a; do test \"$a\" = end && break; echo \"<$a>\"; done; echo over").await?;
    for number in 0..20 {
        session.input(&id, &format!("line {number}")).await?.ok()?;
        session.logged(&cx, &id, &format!("<line {number}>")).await?;
    }
    session.input(&id, "end").await?.ok()?;
    cx.check("exit-code").eq(session.exit_code(&cx, &id).await?, 0);
    let logs = session.logs(&id).await?;
    let answers: Vec<_> = logs["stdout"].as_str().unwrap_or_default().lines().filter(|l| l.starts_with('<')).collect();
    let expected: Vec<_> = (0..20).map(|number| format!("<line {number}>")).collect();
    cx.check("in-order").on(&logs).eq(answers, expected);
    Ok(())
}
