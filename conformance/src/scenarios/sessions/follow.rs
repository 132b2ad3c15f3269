use super::{PATIENCE, Session, TODAY, streams};
use crate::{
    client::{Dial, Message, Socket},
    prelude::*,
};

scenarios! { "sessions";
    /// A follower gets what was written and what is written from then on, and after the command's end a close with
    /// code 1000. (GetSessionCommandLogs; SDKs: getSessionCommandLogs with callbacks)
    follow_to_the_end: Must, covers ["GetSessionCommandLogs"];

    /// Lines come when they are written, not when the command ends. (SDKs)
    follow_is_live: Must, covers ["GetSessionCommandLogs"];

    /// Without `follow=true` there is what was written so far, and a close with 1000. (observed)
    snapshot_by_websocket: Must, covers ["GetSessionCommandLogs"];

    /// A log that is over is sent whole. (observed)
    follow_of_what_is_over: Must, covers ["GetSessionCommandLogs"];

    /// Frames are binary, markers are for clients that know them: since 0.27, by header or sub-protocol. (observed; SDKs)
    follow_by_version: Must, covers ["GetSessionCommandLogs"], classes [Racing];

    /// Of the offered sub-protocols the one with the version is selected. (observed; browsers need it)
    follow_selects_the_protocol: Must, covers ["GetSessionCommandLogs"];

    /// What isn't there is 404, not an upgrade. (observed)
    follow_of_nothing: Must, covers ["GetSessionCommandLogs"];

    /// Deleting the session ends its followers with code 1000. (observed)
    follow_ends_with_the_session: Must, covers ["GetSessionCommandLogs", "DeleteSession"];

    /// Several followers each get everything, in order. (observed)
    follow_by_several: Must, covers ["GetSessionCommandLogs"];

    /// A follower that leaves, or reads slowly, holds up neither the command nor others. (observed)
    follow_slowly: Must, covers ["GetSessionCommandLogs"];

    /// Bytes of a character that come in different frames are whole when they are put together. (SDKs decode in pieces)
    follow_keeps_bytes: Must, covers ["GetSessionCommandLogs"];
}

/// Everything, and the code of the close frame.
async fn read(socket: Socket) -> Result<(Vec<u8>, u16)> {
    read_all(socket).await.map(|(seen, (code, _))| (seen, code))
}

/// Everything, and code and reason of the close frame.
async fn read_all(mut socket: Socket) -> Result<(Vec<u8>, (u16, String))> {
    let mut seen = Vec::new();
    loop {
        let (code, reason) = match socket.next(PATIENCE).await? {
            Some(Message::Close(Some(frame))) => (frame.code.into(), frame.reason.to_string()),
            Some(Message::Close(None)) => (1005, String::new()),
            None => (1006, String::new()),
            Some(message) => {
                seen.extend_from_slice(&message.into_data());
                continue;
            }
        };
        return Ok((seen, (code, reason)));
    }
}

fn follow(id: &str) -> String {
    format!("/command/{id}/logs?follow=true")
}

async fn follow_to_the_end(cx: Cx) -> Result {
    let session = Session::new(&cx).await?;
    let id = session.start("echo out; read x; echo err >&2").await?;
    session.logged(&cx, &id, "out").await?;
    let socket = session.ws(&follow(&id)).connect().await?;
    session.input(&id, "go").await?.ok()?;
    let (log, (code, reason)) = read_all(socket).await?;
    cx.check("close-reason").eq(reason, "");
    let (out, err) = streams(&log);
    cx.check("stdout").contains(&String::from_utf8_lossy(&out), "out\n");
    cx.check("stderr").eq(String::from_utf8_lossy(&err).into_owned(), "err\n");
    cx.check("close-code").eq(code, 1000);
    Ok(())
}

async fn follow_is_live(cx: Cx) -> Result {
    let session = Session::new(&cx).await?;
    let id = session.start("while read -r x; do echo \"<$x>\"; done").await?;
    let mut socket = session.ws(&follow(&id)).connect().await?;
    for number in 0..5 {
        session.input(&id, &format!("n{number}")).await?.ok()?;
        let wanted = format!("<n{number}>\n");
        let seen = socket
            .bytes_until(PATIENCE, |seen| seen.windows(wanted.len()).any(|part| part == wanted.as_bytes()))
            .await?;
        cx.check("each-line").contains(&String::from_utf8_lossy(&seen), &wanted);
    }
    Ok(())
}

async fn snapshot_by_websocket(cx: Cx) -> Result {
    let session = Session::new(&cx).await?;
    let id = session.start("echo out; read x; echo later").await?;
    session.logged(&cx, &id, "out").await?;
    for query in ["", "?follow=false"] {
        let (log, code) = read(session.ws(&format!("/command/{id}/logs{query}")).connect().await?).await?;
        cx.check(format!("log {query}")).eq(String::from_utf8_lossy(&log).into_owned(), "\u{1}\u{1}\u{1}out\n");
        cx.check(format!("close-code {query}")).eq(code, 1000);
    }
    Ok(())
}

async fn follow_of_what_is_over(cx: Cx) -> Result {
    let session = Session::new(&cx).await?;
    let run = session.exec("seq 50000").await?.ok()?;
    let (log, code) = read(session.ws(&follow(&run.string("/cmdId")?)).connect().await?).await?;
    let expected: String = (1..=50_000).map(|number| format!("{number}\n")).collect();
    cx.check("whole").that(streams(&log).0 == expected.as_bytes(), "50000 lines", log.len());
    cx.check("close-code").eq(code, 1000);
    Ok(())
}

async fn follow_by_version(cx: Cx) -> Result {
    let session = Session::new(&cx).await?;
    let id = session.exec("echo out; echo err >&2").await?.ok()?.string("/cmdId")?;
    // The order isn't promised between streams.
    let marked = |log: &[u8]| streams(log) == (b"out\n".to_vec(), b"err\n".to_vec());
    let plain = |log: &[u8]| [&b"out\nerr\n"[..], b"err\nout\n"].contains(&log);
    for (name, version) in [("today", TODAY), ("last-year", "0.111.1")] {
        let (log, _) = read(session.by(Some(version)).ws(&follow(&id)).connect().await?).await?;
        cx.check(name).that(marked(&log), "lines with markers", String::from_utf8_lossy(&log));
    }
    for (name, version) in [("very-old", Some("0.26.0")), ("none", None)] {
        let (log, _) = read(session.by(version).ws(&follow(&id)).connect().await?).await?;
        cx.check(name).that(plain(&log), "lines without markers", String::from_utf8_lossy(&log));
    }
    let protocol = format!("X-Daytona-SDK-Version~{TODAY}");
    let (log, _) = read(session.by(None).ws(&follow(&id)).protocols(&[&protocol]).connect().await?).await?;
    cx.check("by-protocol").that(marked(&log), "lines with markers", String::from_utf8_lossy(&log));
    let mut socket = session.ws(&follow(&id)).connect().await?;
    let first = socket.next(PATIENCE).await?;
    cx.check("binary").that(matches!(first, Some(Message::Binary(_))), "a binary frame", first);
    Ok(())
}

async fn follow_selects_the_protocol(cx: Cx) -> Result {
    let session = Session::new(&cx).await?;
    let id = session.exec("true").await?.ok()?.string("/cmdId")?;
    let protocol = format!("X-Daytona-SDK-Version~{TODAY}");
    let socket = session.ws(&follow(&id)).protocols(&[&protocol]).connect().await?;
    cx.check("selected").eq(socket.protocol.as_deref(), Some(&*protocol));
    let none = session.ws(&follow(&id)).connect().await?;
    cx.check("none-offered").eq(none.protocol.as_deref(), None);
    Ok(())
}

async fn follow_of_nothing(cx: Cx) -> Result {
    let session = Session::new(&cx).await?;
    for (id, request) in [
        ("session", session.client.ws("/process/session/nope/command/x/logs?follow=true")),
        ("command", session.ws(&follow("nope"))),
    ] {
        match request.dial().await? {
            Dial::Refused(answer) => _ = cx.check(id).status(&answer, 404),
            Dial::Open(_) => _ = cx.check(id).that(false, "status 404", "an open WebSocket"),
        }
    }
    Ok(())
}

async fn follow_ends_with_the_session(cx: Cx) -> Result {
    let session = Session::new(&cx).await?;
    let id = session.start("echo out; read x").await?;
    let mut socket = session.ws(&follow(&id)).connect().await?;
    socket.bytes_until(PATIENCE, |seen| seen.ends_with(b"out\n")).await?;
    session.delete().await?.ok()?;
    cx.check("close-code").eq(socket.closed(PATIENCE).await?.0, 1000);
    Ok(())
}

async fn follow_by_several(cx: Cx) -> Result {
    let session = Session::new(&cx).await?;
    let id = session.start("seq 20000; read x; seq 20001 40000").await?;
    let mut sockets = Vec::new();
    for _ in 0..4 {
        sockets.push(session.by(None).ws(&follow(&id)).connect().await?);
    }
    let reading = futures_util::future::join_all(sockets.into_iter().map(read));
    let (logs, sent) = tokio::join!(reading, session.input(&id, "go"));
    sent?.ok()?;
    let expected: Vec<String> = (1..=40_000).map(|number| number.to_string()).collect();
    for (index, log) in logs.into_iter().enumerate() {
        let (log, code) = log?;
        let text = String::from_utf8_lossy(&log).into_owned();
        // The echo of the input may be anywhere.
        let lines: Vec<&str> = text.lines().filter(|line| *line != "go").collect();
        cx.check(format!("whole-{index}")).that(lines == expected, "40000 lines in order", lines.len());
        cx.check(format!("close-code-{index}")).eq(code, 1000);
    }
    Ok(())
}

async fn follow_slowly(cx: Cx) -> Result {
    let session = Session::new(&cx).await?;
    let id = session.start("seq 1000000; echo done").await?;
    let mut slow = session.by(None).ws(&follow(&id)).connect().await?;
    let leaver = session.by(None).ws(&follow(&id)).connect().await?;
    drop(leaver);
    // Nobody reads, and yet it ends.
    cx.check("command-ends").eq(session.exit_code(&cx, &id).await?, 0);
    let seen = slow.bytes_until(Duration::from_secs(40), |seen| seen.ends_with(b"done\n")).await?;
    cx.check("every-line").eq(seen.iter().filter(|byte| **byte == b'\n').count(), 1_000_001);
    Ok(())
}

async fn follow_keeps_bytes(cx: Cx) -> Result {
    let session = Session::new(&cx).await?;
    let id = session
        .start("printf '\\342'; sleep 0.2; printf '\\202'; sleep 0.2; printf '\\254\\n'; printf '%0.s漢' $(seq 3000)")
        .await?;
    let (log, _) = read(session.ws(&follow(&id)).connect().await?).await?;
    let expected = format!("€\n{}\n", "漢".repeat(3000));
    cx.check("bytes").that(streams(&log).0 == expected.as_bytes(), "the characters", String::from_utf8_lossy(&log));
    Ok(())
}
