use super::{PATIENCE, Session, TODAY, VERSION};
use crate::prelude::*;

scenarios! { "sessions";
    /// A session is made under the id that the client chose, is listed and told without commands, and is gone when it is
    /// deleted. (CreateSession, ListSessions, GetSession, DeleteSession)
    sessions_come_and_go: Must, covers ["CreateSession", "ListSessions", "GetSession", "DeleteSession"];

    /// A session tells its commands, in a list too: each with its text, and with an exit code once it has ended.
    /// (GetSession, ListSessions; observed)
    sessions_tell_their_commands: Must, covers ["GetSession", "ListSessions"];

    /// Two sessions of one id can't be: 409; after a deletion the id is free. (CreateSession; observed)
    ids_are_unique: Must, covers ["CreateSession"];

    /// A session without an id, with an empty one, or with no JSON is 400; `entrypoint` is reserved. (CreateSession; observed)
    bad_sessions: Must, covers ["CreateSession"];

    /// What isn't there is 404, whatever is asked of it. (GetSession, DeleteSession, SessionExecuteCommand)
    unknown_sessions: Must, covers ["GetSession", "DeleteSession", "GetSessionCommand", "GetSessionCommandLogs", "SendInput"];

    /// A command in a session that isn't there is 404. (SessionExecuteCommand: declared; older servers answered 500)
    exec_in_unknown_session: Must, covers ["SessionExecuteCommand"], since "0.200";

    /// What isn't a command of the session is 404 with `command not found`. (GetSessionCommand; observed)
    unknown_commands: Must, covers ["GetSessionCommand", "GetSessionCommandLogs", "SendInput"];

    /// A command that is waited for answers 200 with id, output, both streams and exit code. (SessionExecuteCommand)
    exec_waits_for_the_end: Must, covers ["SessionExecuteCommand"], since "0.167";

    /// A command that isn't waited for answers 202 with its id and nothing else, at once; `async` is the same as
    /// `runAsync`. (SessionExecuteCommand; observed)
    exec_async_answers_at_once: Must, covers ["SessionExecuteCommand", "GetSessionCommand"];

    /// A running command is told without an exit code, one that has ended with it. (GetSessionCommand; observed)
    commands_are_told: Must, covers ["GetSessionCommand", "GetSession"];

    /// Directory, variables, functions and options stay from command to command. (observed)
    state_stays: Must, covers ["SessionExecuteCommand"];

    /// The session of one sandbox knows nothing of another's: each has its own directory and variables. (observed)
    sessions_are_apart: Must, covers ["SessionExecuteCommand"];

    /// Commands of a session run one after the other; those of different sessions at the same time. (observed)
    commands_wait_for_each_other: Must, covers ["SessionExecuteCommand"];

    /// The exit code is that of the last command; what is no shell harms nothing. (observed)
    exit_codes: Must, covers ["SessionExecuteCommand"];

    /// A command that exits ends with that code, and the session with it: later commands are refused, not left hanging.
    exit_ends_the_session: Should, covers ["SessionExecuteCommand"], since "0.200";

    /// An empty or blank command, and one that isn't text, are 400. (SessionExecuteCommand; observed)
    bad_commands: Must, covers ["SessionExecuteCommand"];

    /// A child in the background that holds the output is waited for; one that doesn't isn't. (observed)
    background_children: Must, covers ["SessionExecuteCommand"];

    /// A command that is waited for reads nothing from its input. (observed)
    waited_for_reads_nothing: Must, covers ["SessionExecuteCommand"];

    /// A deletion ends every process of the session, also those that ignore to be asked. (DeleteSession; observed)
    delete_kills: Must, covers ["DeleteSession"];

    /// The main program has a session with one command, or there is none; nothing can be run in it or sent to it.
    /// (GetEntrypointSession; observed)
    entrypoint_is_not_for_commands: Must, covers ["GetEntrypointSession", "GetEntrypointLogs", "DeleteSession"];

    /// What a snapshot's entrypoint writes is kept in the session `entrypoint`, from its first line on, by stream.
    /// (GetEntrypointSession, GetEntrypointLogs; SDKs: getEntrypointLogs)
    entrypoint_is_a_session: Must, covers ["createSnapshot", "GetEntrypointSession", "GetEntrypointLogs"], since "0.200",
        classes [Racing];

    /// Ids may have blanks and any letters. (observed)
    ids_of_any_kind: Should, covers ["CreateSession", "GetSession", "SessionExecuteCommand", "DeleteSession"];
}

async fn sessions_come_and_go(cx: Cx) -> Result {
    let sandbox = cx.shared().await?;
    let id = cx.name("session");
    let created = sandbox.post("/process/session").json(json!({ "sessionId": id })).send().await?;
    cx.check("created").status(&created, 201);
    let told = sandbox.get(&format!("/process/session/{id}")).send().await?;
    cx.check("told").status(&told, 200);
    cx.check("told-as").json(&told, "", json!({"sessionId": id, "commands": []}));
    let list = sandbox.get("/process/session").send().await?;
    let listed = list.array("")?.iter().filter(|session| session["sessionId"] == id.as_str()).count();
    cx.check("listed").on(&list).eq(listed, 1);
    cx.check("deleted").status(&sandbox.delete(&format!("/process/session/{id}")).send().await?, 204);
    cx.check("gone").error(
        &sandbox.get(&format!("/process/session/{id}")).send().await?,
        404,
        "not found: session not found",
    );
    let list = sandbox.get("/process/session").send().await?;
    cx.check("not-listed").on(&list).that(!list.text().contains(&id), "a list without it", list.summary());
    Ok(())
}

async fn sessions_tell_their_commands(cx: Cx) -> Result {
    let session = Session::new(&cx).await?;
    let id = session.start("read x").await?;
    for (check, exit) in [("running", Value::Null), ("ended", json!(0))] {
        let read = session.get("").send().await?;
        let list = session.client.get("/process/session").send().await?;
        let own = list.array("")?.iter().find(|one| one["sessionId"] == *session.id).cloned().unwrap_or_default();
        for (where_, answer, told) in [("read", &read, &read.json), ("list", &list, &own)] {
            let commands = told["commands"].as_array().into_iter().flatten();
            let command = commands.into_iter().find(|one| one["id"] == *id).cloned().unwrap_or_default();
            cx.check(format!("{check}-{where_}")).on(answer).eq(&command["command"], &json!("read x"));
            cx.check(format!("{check}-{where_}-exit-code")).on(answer).eq(&command["exitCode"], &exit);
        }
        if exit.is_null() {
            session.input(&id, "x").await?.ok()?;
            session.exit_code(&cx, &id).await?;
        }
    }
    Ok(())
}

async fn ids_are_unique(cx: Cx) -> Result {
    let session = Session::new(&cx).await?;
    let again = || session.client.post("/process/session").json(json!({ "sessionId": session.id })).send();
    let conflict = again().await?;
    cx.check("conflict").error(&conflict, 409, "conflict: session already exists");
    cx.check("conflict-code").json(&conflict, "/code", "CONFLICT");
    cx.check("first-works").json(&session.exec("echo ok").await?, "/stdout", "ok\n");
    session.delete().await?.ok()?;
    cx.check("free-again").status(&again().await?, 201);
    cx.check("new-works").json(&session.exec("echo ok").await?, "/stdout", "ok\n");
    Ok(())
}

async fn bad_sessions(cx: Cx) -> Result {
    let sandbox = cx.shared().await?;
    for (id, body) in [
        ("none", json!({})),
        ("empty", json!({"sessionId": ""})),
        ("number", json!({"sessionId": 1})),
        ("null", json!({"sessionId": null})),
        ("list", json!([])),
    ] {
        let answer = sandbox.post("/process/session").json(body).send().await?;
        cx.check(id).status(&answer, 400);
        cx.check(format!("{id}-code")).should().json(&answer, "/code", "INVALID_REQUEST_BODY");
    }
    let garbage = sandbox.post("/process/session").body("application/json", "{").send().await?;
    cx.check("garbage").status(&garbage, 400);
    let reserved = sandbox.post("/process/session").json(json!({"sessionId": "entrypoint"})).send().await?;
    cx.check("reserved").status(&reserved, 400);
    Ok(())
}

async fn unknown_sessions(cx: Cx) -> Result {
    let sandbox = cx.shared().await?;
    for (id, request) in [
        ("get", sandbox.get("/process/session/nope")),
        ("delete", sandbox.delete("/process/session/nope")),
        ("command", sandbox.get("/process/session/nope/command/x")),
        ("logs", sandbox.get("/process/session/nope/command/x/logs")),
        ("input", sandbox.post("/process/session/nope/command/x/input").json(json!({"data": "x"}))),
    ] {
        cx.check(id).error(&request.send().await?, 404, "not found: session not found");
    }
    Ok(())
}

async fn exec_in_unknown_session(cx: Cx) -> Result {
    let sandbox = cx.shared().await?;
    let answer = sandbox.post("/process/session/nope/exec").json(json!({"command": "true"})).send().await?;
    cx.check("status").status(&answer, 404);
    Ok(())
}

async fn unknown_commands(cx: Cx) -> Result {
    let session = Session::new(&cx).await?;
    for (id, request) in [
        ("command", session.get("/command/nope")),
        ("logs", session.get("/command/nope/logs")),
        ("input", session.post("/command/nope/input", json!({"data": "x"}))),
    ] {
        cx.check(id).error(&request.send().await?, 404, "not found: command not found");
    }
    Ok(())
}

async fn exec_waits_for_the_end(cx: Cx) -> Result {
    let session = Session::new(&cx).await?;
    let answer = session.exec("echo out; echo err >&2; (exit 3)").await?;
    cx.check("status").status(&answer, 200);
    cx.check("exit-code").json(&answer, "/exitCode", 3);
    cx.check("stdout").json(&answer, "/stdout", "out\n");
    cx.check("stderr").json(&answer, "/stderr", "err\n");
    let log = super::streams(answer["output"].as_str().unwrap_or_default().as_bytes());
    cx.check("output").on(&answer).that(
        log == (b"out\n".to_vec(), b"err\n".to_vec()),
        "both with markers",
        &answer["output"],
    );
    cx.check("id").on(&answer).that(
        answer["cmdId"].as_str().is_some_and(|id| !id.is_empty()),
        "an id",
        &answer["cmdId"],
    );
    let nothing = session.exec("true").await?;
    for name in ["output", "stdout", "stderr"] {
        cx.check(format!("no-{name}")).json(&nothing, &format!("/{name}"), "");
    }
    Ok(())
}

async fn exec_async_answers_at_once(cx: Cx) -> Result {
    let session = Session::new(&cx).await?;
    for name in ["runAsync", "async"] {
        let body = json!({"command": "sleep 0.5; (exit 3)", name: true});
        let answer = session.post("/exec", body).send().await?;
        cx.check(format!("{name}-status")).status(&answer, 202);
        for field in ["output", "stdout", "stderr", "exitCode"] {
            cx.check(format!("{name}-{field}")).json(&answer, &format!("/{field}"), Value::Null);
        }
        let id = answer.string("/cmdId")?;
        cx.check(format!("{name}-exit-code")).eq(session.exit_code(&cx, &id).await?, 3);
    }
    Ok(())
}

async fn commands_are_told(cx: Cx) -> Result {
    let session = Session::new(&cx).await?;
    let command = "read x; (exit 4)";
    let id = session.start(command).await?;
    let running = session.get(&format!("/command/{id}")).send().await?;
    cx.check("running").json(&running, "", json!({"id": id, "command": command}));
    session.input(&id, "go").await?.ok()?;
    session.exit_code(&cx, &id).await?;
    let ended = session.get(&format!("/command/{id}")).send().await?;
    let expected = json!({"id": id, "command": command, "exitCode": 4});
    cx.check("ended").json(&ended, "", expected.clone());
    cx.check("of-the-session").json(&session.get("").send().await?, "/commands", json!([expected]));
    let second = session.exec("true").await?.ok()?.string("/cmdId")?;
    let told = session.get("").send().await?;
    let ids: Vec<_> = told.array("/commands")?.iter().filter_map(|command| command["id"].as_str()).collect();
    cx.check("both").on(&told).that(
        ids.len() == 2 && ids.contains(&&*second) && ids.contains(&&*id),
        "both commands",
        ids,
    );
    Ok(())
}

async fn state_stays(cx: Cx) -> Result {
    let session = Session::new(&cx).await?;
    session.exec("cd /tmp; export A=1; B='x y'; f() { echo \"f:$A:$B\"; }").await?.ok()?;
    let answer = session.exec("pwd; f; sh -c 'echo $A$B'").await?;
    cx.check("stdout").json(&answer, "/stdout", "/tmp\nf:1:x y\n1\n");
    Ok(())
}

async fn sessions_are_apart(cx: Cx) -> Result {
    let (one, two) = (Session::new(&cx).await?, Session::new(&cx).await?);
    let work = one.exec("pwd").await?.ok()?.string("/stdout")?;
    one.exec("cd /tmp; A=1; export A").await?.ok()?;
    cx.check("other").json(&two.exec("pwd; echo ${A-unset}").await?, "/stdout", format!("{work}unset\n"));
    cx.check("commands").eq(one.get("").send().await?.array("/commands")?.len(), 2);
    Ok(())
}

async fn commands_wait_for_each_other(cx: Cx) -> Result {
    let (session, other) = (Session::new(&cx).await?, Session::new(&cx).await?);
    let order = format!("{}.order", cx.dir());
    let first = session.start(&format!("read x; echo first >>{order}")).await?;
    let second = session.start(&format!("echo second >>{order}")).await?;
    // Another session isn't held up.
    cx.check("others-go-on").json(&other.exec("echo free").await?, "/stdout", "free\n");
    session.input(&first, "go").await?.ok()?;
    session.exit_code(&cx, &second).await?;
    cx.check("order").json(&other.exec(&format!("cat {order}")).await?, "/stdout", "first\nsecond\n");
    Ok(())
}

async fn exit_codes(cx: Cx) -> Result {
    let session = Session::new(&cx).await?;
    for (id, command, code) in [
        ("subshell", "(exit 7)", 7),
        ("unknown", "no-such-command", 127),
        ("last", "false; true", 0),
        ("false", "false", 1),
    ] {
        cx.check(id).json(&session.exec(command).await?, "/exitCode", code);
    }
    let broken = session.exec("if then").await?;
    cx.check("syntax").on(&broken).ne(&broken["exitCode"], &json!(0));
    cx.check("said-so").on(&broken).that(
        broken["stderr"].as_str().is_some_and(|e| !e.is_empty()),
        "why",
        &broken["stderr"],
    );
    cx.check("goes-on").json(&session.exec("echo still here").await?, "/stdout", "still here\n");
    Ok(())
}

async fn exit_ends_the_session(cx: Cx) -> Result {
    let session = Session::new(&cx).await?;
    let answer = session.exec("echo bye; exit 4").await?;
    cx.check("exit-code").json(&answer, "/exitCode", 4);
    cx.check("stdout").json(&answer, "/stdout", "bye\n");
    let refused = session.exec("true").await?;
    cx.check("refused").status(&refused, 410);
    cx.check("code").json(&refused, "/code", "SESSION_ENDED");
    cx.check("still-told").json(&session.get("").send().await?, "/commands/0/exitCode", 4);
    cx.check("deleted").status(&session.delete().await?, 204);
    Ok(())
}

async fn bad_commands(cx: Cx) -> Result {
    let session = Session::new(&cx).await?;
    for (id, body) in [
        ("none", json!({})),
        ("empty", json!({"command": ""})),
        ("blank", json!({"command": " \n"})),
        ("number", json!({"command": 1})),
        ("flag-a-text", json!({"command": "true", "runAsync": "yes"})),
    ] {
        cx.check(id).status(&session.post("/exec", body).send().await?, 400);
    }
    let path = format!("/process/session/{}/exec", session.id);
    cx.check("garbage").status(&session.client.post(&path).body("application/json", "{").send().await?, 400);
    cx.check("nothing-ran").json(&session.get("").send().await?, "/commands", json!([]));
    Ok(())
}

async fn background_children(cx: Cx) -> Result {
    let session = Session::new(&cx).await?;
    let held = session.exec("(sleep 0.6; echo late) & echo now").await?;
    cx.check("waited-for").json(&held, "/stdout", "now\nlate\n");
    let free = session.exec("sleep 30 >/dev/null 2>&1 & echo now").await?;
    cx.check("not-waited-for").json(&free, "/stdout", "now\n");
    cx.check("at-once").on(&free).that(free.took < Duration::from_secs(10), "at once", free.took);
    Ok(())
}

async fn waited_for_reads_nothing(cx: Cx) -> Result {
    let session = Session::new(&cx).await?;
    cx.check("end-of-file").json(&session.exec("cat; echo end").await?, "/stdout", "end\n");
    Ok(())
}

async fn delete_kills(cx: Cx) -> Result {
    let session = Session::new(&cx).await?;
    let mark = 4_000_000 + std::process::id();
    let id =
        session.start(&format!("trap '' TERM; sleep {mark} & setsid sleep {mark} & echo begun; sleep {mark}")).await?;
    session.logged(&cx, &id, "begun").await?;
    let started = async || Ok((session.sandbox.marked(mark).await? >= 3).then_some(()));
    cx.eventually("three sleep", Duration::from_secs(20), started).await?;
    cx.check("deleted").status(&session.delete().await?, 204);
    cx.check("none-left").eq(session.sandbox.marked(mark).await?, 0);
    Ok(())
}

async fn entrypoint_is_not_for_commands(cx: Cx) -> Result {
    let sandbox = cx.shared().await?;
    let told = sandbox.get("/process/session/entrypoint").send().await?;
    cx.check("told").status_in(&told, &[200, 404]);
    if told.status == 404 {
        cx.check("not-there").json(&told, "/message", "not found: session not found");
        cx.check("no-logs").status(&sandbox.get("/process/session/entrypoint/logs").send().await?, 404);
    } else {
        cx.check("its-id").json(&told, "/sessionId", "entrypoint");
        cx.check("its-command").json(&told, "/commands/0/id", "entrypoint_command");
        cx.check("logs").status(&sandbox.get("/process/session/entrypoint/logs").send().await?, 200);
    }
    for (id, path) in [("session-keyless", ""), ("logs-keyless", "/logs")] {
        let answer = sandbox.get(&format!("/process/session/entrypoint{path}")).no_key().send().await?;
        cx.check(id).status(&answer, 401);
    }
    let body = json!({"command": "true"});
    for (id, request) in [
        ("delete", sandbox.delete("/process/session/entrypoint")),
        ("exec", sandbox.post("/process/session/entrypoint/exec").json(body)),
        ("input", sandbox.post("/process/session/entrypoint/command/x/input").json(json!({"data": "x"}))),
    ] {
        cx.check(id).status(&request.header(VERSION, TODAY).send().await?, 400);
    }
    Ok(())
}

async fn entrypoint_is_a_session(cx: Cx) -> Result {
    let name = cx.name("entrypoint");
    let dockerfile =
        "FROM debian:12-slim\nENTRYPOINT [\"sh\", \"-c\", \"echo said; echo warned >&2; exec sleep infinity\"]\n";
    let body = json!({"name": name, "buildInfo": {"dockerfileContent": dockerfile}});
    let made = cx.built_snapshot(body, Duration::from_secs(60)).await?;
    cx.check("active").json(&made, "/state", "active");
    let sandbox = cx.sandbox_with(json!({"snapshot": name})).await?;
    let told = sandbox.get("/process/session/entrypoint").header(VERSION, TODAY).send().await?;
    cx.check("told").status(&told, 200);
    cx.check("command").json(&told, "/commands/0/id", "entrypoint_command");
    let logs = cx.eventually("its output", PATIENCE, async || {
        let logs = sandbox.get("/process/session/entrypoint/logs").header(VERSION, TODAY).send().await?.ok()?;
        let whole =
            ["stdout", "stderr"].iter().all(|stream| logs[*stream].as_str().is_some_and(|text| !text.is_empty()));
        Ok(whole.then_some(logs))
    });
    let logs = logs.await?;
    cx.check("stdout").json(&logs, "/stdout", "said\n");
    cx.check("stderr").json(&logs, "/stderr", "warned\n");
    Ok(())
}

async fn ids_of_any_kind(cx: Cx) -> Result {
    let sandbox = cx.shared().await?;
    for (index, (id, encoded)) in
        [("a b", "a%20b"), ("ünï 漢", "%C3%BCn%C3%AF%20%E6%BC%A2"), ("'; exit 1 #", "'%3B%20exit%201%20%23")]
            .into_iter()
            .enumerate()
    {
        let created = sandbox.post("/process/session").json(json!({ "sessionId": id })).send().await?;
        cx.check(format!("created-{index}")).status(&created, 201);
        let path = format!("/process/session/{encoded}");
        cx.check(format!("told-{index}")).json(&sandbox.get(&path).send().await?, "/sessionId", id);
        let run = sandbox.post(&format!("{path}/exec")).json(json!({"command": "echo ok"})).send().await?;
        cx.check(format!("runs-{index}")).json(&run, "/output", "ok\n");
        cx.check(format!("deleted-{index}")).status(&sandbox.delete(&path).send().await?, 204);
    }
    Ok(())
}
