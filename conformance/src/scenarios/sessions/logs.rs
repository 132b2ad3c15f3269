use proptest::prelude::{Strategy, any};

use super::{Session, TODAY, VERSION, streams};
use crate::prelude::*;

scenarios! { "sessions";
    /// Clients since 0.167 get both streams apart, in the answer to a command and in its log as JSON.
    /// (SessionExecuteCommand, GetSessionCommandLogs; observed)
    split_for_todays_clients: Must, covers ["SessionExecuteCommand", "GetSessionCommandLogs"], since "0.167", clients ">=0.167";

    /// Clients from 0.27 to 0.166, and those whose version can't be read, get one text with a marker before each line.
    /// (observed; SDKs demultiplex by themselves)
    marked_for_clients_of_last_year: Must, covers ["SessionExecuteCommand", "GetSessionCommandLogs"], clients "<0.167";

    /// Clients before 0.27, and those that say no version, get plain text without markers. (observed)
    plain_for_others: Must, covers ["SessionExecuteCommand", "GetSessionCommandLogs"], classes [Racing];

    /// `X-Daytona-Split-Output: true` asks for markers without a version. (observed)
    split_output_header: Should, covers ["GetSessionCommandLogs"];

    /// A running command has a log already; `follow` without a WebSocket is nothing. (GetSessionCommandLogs; observed)
    log_of_a_running_command: Must, covers ["GetSessionCommandLogs"], since "0.167";

    /// A command that printed nothing has an empty log. (observed)
    log_of_nothing: Must, covers ["GetSessionCommandLogs"], since "0.167";

    /// Megabytes of both streams are whole. (GetSessionCommandLogs)
    long_logs_are_whole: Must, covers ["SessionExecuteCommand", "GetSessionCommandLogs"], since "0.167";

    /// Characters of several bytes stay whole; a last line without its end gets one. (observed)
    text_stays_whole: Must, covers ["SessionExecuteCommand"], since "0.167";

    /// Lines that look like markers, are empty or very long, are lines. (observed)
    odd_lines: Should, covers ["SessionExecuteCommand"], since "0.167";

    /// A log is there until its session is deleted. (observed)
    logs_end_with_the_session: Must, covers ["GetSessionCommandLogs"];

    /// What each stream wrote is what a client gets when it takes the marked log apart; and the same that the server takes
    /// apart. (SDKs)
    output_demultiplexes: Must, covers ["SessionExecuteCommand", "GetSessionCommandLogs"], since "0.167", classes [Generated];
}

const BOTH: &str = "echo out; echo err >&2; echo end";

/// Is it what [`BOTH`] writes, with markers? The order isn't promised between streams.
fn marked(text: &str) -> bool {
    streams(text.as_bytes()) == (b"out\nend\n".to_vec(), b"err\n".to_vec())
}

/// The same without markers.
fn plain(text: &str) -> bool {
    ["out\nerr\nend\n", "err\nout\nend\n", "out\nend\nerr\n"].contains(&text)
}

fn output(answer: &crate::client::Answer) -> &str {
    answer["output"].as_str().unwrap_or_default()
}

async fn split_for_todays_clients(cx: Cx) -> Result {
    let session = Session::new(&cx).await?;
    for version in ["0.167.0", TODAY, "0.125.0-dev"] {
        let client = session.by(Some(version));
        let run = client.exec(BOTH).await?;
        cx.check(format!("stdout {version}")).json(&run, "/stdout", "out\nend\n");
        cx.check(format!("stderr {version}")).json(&run, "/stderr", "err\n");
        cx.check(format!("output {version}")).on(&run).that(marked(output(&run)), "lines with markers", output(&run));
        let logs = client.logs(&run.string("/cmdId")?).await?;
        let kind = logs.header("content-type");
        cx.check(format!("json {version}")).on(&logs).that(kind.starts_with("application/json"), "JSON", kind);
        cx.check(format!("logs {version}")).on(&logs).that(marked(output(&logs)), "lines with markers", output(&logs));
        cx.check(format!("logs-stdout {version}")).json(&logs, "/stdout", "out\nend\n");
        cx.check(format!("logs-stderr {version}")).json(&logs, "/stderr", "err\n");
    }
    Ok(())
}

async fn marked_for_clients_of_last_year(cx: Cx) -> Result {
    let session = Session::new(&cx).await?;
    for version in ["0.27.0", "0.111.1", "0.166.9", "unknown"] {
        let client = session.by(Some(version));
        let run = client.exec(BOTH).await?;
        cx.check(format!("output {version}")).on(&run).that(marked(output(&run)), "lines with markers", output(&run));
        cx.check(format!("stdout {version}")).json(&run, "/stdout", Value::Null);
        cx.check(format!("stderr {version}")).json(&run, "/stderr", Value::Null);
        cx.check(format!("exit-code {version}")).json(&run, "/exitCode", 0);
        let logs = client.logs(&run.string("/cmdId")?).await?;
        let kind = logs.header("content-type");
        cx.check(format!("text {version}")).on(&logs).that(kind.starts_with("text/plain"), "text/plain", kind);
        cx.check(format!("logs {version}")).on(&logs).that(marked(&logs.text()), "lines with markers", logs.text());
    }
    Ok(())
}

async fn plain_for_others(cx: Cx) -> Result {
    let session = Session::new(&cx).await?;
    for version in [None, Some("0.26.0")] {
        let (client, name) = (session.by(version), version.unwrap_or("none"));
        let run = client.exec(BOTH).await?;
        cx.check(format!("output {name}")).on(&run).that(plain(output(&run)), "lines without markers", output(&run));
        cx.check(format!("stdout {name}")).json(&run, "/stdout", Value::Null);
        let logs = client.logs(&run.string("/cmdId")?).await?;
        let kind = logs.header("content-type");
        cx.check(format!("text {name}")).on(&logs).that(kind.starts_with("text/plain"), "text/plain", kind);
        cx.check(format!("logs {name}")).on(&logs).that(plain(&logs.text()), "lines without markers", logs.text());
    }
    Ok(())
}

async fn split_output_header(cx: Cx) -> Result {
    let session = Session::new(&cx).await?;
    let id = session.exec(BOTH).await?.ok()?.string("/cmdId")?;
    let request = session.by(None).get(&format!("/command/{id}/logs")).header("X-Daytona-Split-Output", "true");
    let logs = request.send().await?;
    cx.check("marked").on(&logs).that(marked(&logs.text()), "lines with markers", logs.text());
    Ok(())
}

async fn log_of_a_running_command(cx: Cx) -> Result {
    let session = Session::new(&cx).await?;
    let id = session.start("echo begun; read x").await?;
    let logs = session.logged(&cx, &id, "begun").await?;
    cx.check("stdout").json(&logs, "/stdout", "begun\n");
    let followed = session.get(&format!("/command/{id}/logs")).query("follow", "true").send().await?;
    cx.check("at-once").json(&followed, "/stdout", "begun\n");
    Ok(())
}

async fn log_of_nothing(cx: Cx) -> Result {
    let session = Session::new(&cx).await?;
    let id = session.exec("true").await?.ok()?.string("/cmdId")?;
    cx.check("json").json(&session.logs(&id).await?, "", json!({"output": "", "stdout": "", "stderr": ""}));
    let plain = session.by(None).logs(&id).await?;
    cx.check("text").on(&plain).eq(plain.text(), "");
    Ok(())
}

async fn long_logs_are_whole(cx: Cx) -> Result {
    let session = Session::new(&cx).await?;
    let run = session.exec("seq 200000; seq 100000 >&2").await?;
    let numbers = |to: u32| (1..=to).map(|number| format!("{number}\n")).collect::<String>();
    let whole = |answer: &crate::client::Answer| {
        answer["stdout"].as_str() == Some(&numbers(200_000)) && answer["stderr"].as_str() == Some(&numbers(100_000))
    };
    cx.check("exec").that(whole(&run), "300000 lines", run.body.len());
    let logs = session.logs(&run.string("/cmdId")?).await?;
    cx.check("logs").that(whole(&logs), "300000 lines", logs.body.len());
    Ok(())
}

async fn text_stays_whole(cx: Cx) -> Result {
    let session = Session::new(&cx).await?;
    // Each byte of a character has a write of its own.
    let run = session.exec("printf '\\342'; sleep 0.1; printf '\\202'; sleep 0.1; printf '\\254 漢🙂'").await?;
    cx.check("pieces").json(&run, "/stdout", "€ 漢🙂\n");
    let invalid = session.exec("printf 'a\\377b\\n'").await?;
    cx.check("replaced").json(&invalid, "/stdout", "a\u{fffd}b\n");
    Ok(())
}

async fn odd_lines(cx: Cx) -> Result {
    let session = Session::new(&cx).await?;
    let run = session.exec("printf '\\n\\n  a \\t\\r\\n\\\\n\\n'; head -c 200000 /dev/zero | tr '\\0' x").await?;
    let expected = format!("\n\n  a \t\r\n\\n\n{}\n", "x".repeat(200_000));
    cx.check("lines").on(&run).that(run["stdout"] == expected, "the lines", run["stdout"].as_str().map(str::len));
    Ok(())
}

async fn logs_end_with_the_session(cx: Cx) -> Result {
    let session = Session::new(&cx).await?;
    let id = session.exec("echo kept").await?.ok()?.string("/cmdId")?;
    for _ in 0..3 {
        cx.check("again").json(&session.logs(&id).await?, "/stdout", "kept\n");
    }
    session.delete().await?.ok()?;
    cx.check("gone").status(&session.logs(&id).await?, 404);
    Ok(())
}

/// Lines, each for one of the streams.
fn lines() -> impl Strategy<Value = Vec<(bool, String)>> {
    proptest::collection::vec((any::<bool>(), "[^\0-\u{8}\u{b}-\u{1f}\n']{0,60}"), 0..30)
}

async fn output_demultiplexes(cx: Cx) -> Result {
    let session = std::sync::Arc::new(Session::new(&cx).await?);
    let old = std::sync::Arc::new(session.by(Some("0.111.1")));
    let holds = move |_: Cx, lines: Vec<(bool, String)>| {
        let (session, old) = (session.clone(), old.clone());
        async move {
            let mut command = String::from(":");
            let (mut out, mut err) = (String::new(), String::new());
            for (to_err, line) in &lines {
                command.push_str(&format!("; printf '%s\\n' '{line}'{}", if *to_err { " >&2" } else { "" }));
                if *to_err { &mut err } else { &mut out }.push_str(&format!("{line}\n"));
            }
            let run = session.exec(&command).await?;
            if run["stdout"] != out || run["stderr"] != err {
                return Ok(Some(format!("by the server: {}", run.summary())));
            }
            let log = old.logs(&run.string("/cmdId")?).await?;
            let parts = streams(&log.body);
            Ok((parts != (out.into_bytes(), err.into_bytes())).then(|| format!("by the client: {}", log.summary())))
        }
    };
    cx.law("streams", "what each stream wrote", lines(), holds).await?;
    // The header alone decides, also where a sub-protocol isn't possible.
    let plain = cx.shared().await?.get("/process/session").header(VERSION, TODAY).send().await?;
    cx.check("list").status(&plain, 200);
    Ok(())
}
