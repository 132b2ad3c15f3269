use super::{PATIENCE, Terminal, create, info, resize};
use crate::prelude::*;

scenarios! { "pty";
    /// A terminal is made under the id that the client chose and answered with it; it is listed, told, and gone when it is
    /// deleted. (CreatePtySession, ListPtySessions, GetPtySession, DeletePtySession)
    terminals_come_and_go: Must, covers ["CreatePtySession", "ListPtySessions", "GetPtySession", "DeletePtySession"],
        classes [Racing];

    /// What isn't given is 80 by 24 in the work directory, with `TERM=xterm-256color`. (CreatePtySession; observed)
    defaults: Must, covers ["CreatePtySession", "GetPtySession"];

    /// Directory, size and variables are the shell's. (CreatePtySession)
    shell_is_as_asked: Must, covers ["CreatePtySession"];

    /// The shell is interactive, a login shell, and on a terminal. (observed)
    shell_is_interactive: Must, covers ["CreatePtySession"];

    /// Without an id, with one that is taken, with sizes beyond 1000: refused. (CreatePtySession; observed)
    bad_terminals: Must, covers ["CreatePtySession"];

    /// A directory that isn't there is 500, and nothing is made. (CreatePtySession; observed)
    bad_directory: Must, covers ["CreatePtySession"];

    /// A lazy terminal starts with its first client. (CreatePtySession: lazyStart; SDKs before create-connect)
    lazy_start: Must, covers ["CreatePtySession", "GetPtySession", "ConnectPtySession"];

    /// A new size is told, and the program in the terminal learns it. (ResizePtySession)
    resize_reaches_the_program: Must, covers ["ResizePtySession"];

    /// Sizes beyond 1000 are 400; a terminal that isn't there is 410. (ResizePtySession; observed)
    bad_sizes: Must, covers ["ResizePtySession"];

    /// A lazy terminal that hasn't started can't be resized. (observed)
    resize_needs_a_shell: Should, covers ["ResizePtySession"];

    /// What isn't there is 404. (GetPtySession, DeletePtySession)
    unknown_terminals: Must, covers ["GetPtySession", "DeletePtySession"];

    /// A deletion ends every process of the terminal, also those that ignore to be asked. (DeletePtySession)
    delete_kills: Must, covers ["DeletePtySession"];

    /// An id is free as soon as its shell has ended. (observed)
    ids_are_free_after_the_end: Must, covers ["CreatePtySession"];
}

async fn terminals_come_and_go(cx: Cx) -> Result {
    let (sandbox, id) = (cx.shared().await?, cx.name("pty"));
    let made = create(&sandbox, json!({"id": id, "cols": 100, "rows": 30})).send().await?;
    cx.check("created").status(&made, 201);
    cx.check("answer").json(&made, "", json!({ "sessionId": id }));
    let told = info(&sandbox, &id).await?;
    cx.check("told").status(&told, 200);
    for (name, value) in [
        ("id", json!(id)),
        ("cols", json!(100)),
        ("rows", json!(30)),
        ("active", json!(true)),
        ("lazyStart", json!(false)),
    ] {
        cx.check(format!("told-{name}")).json(&told, &format!("/{name}"), value);
    }
    let list = sandbox.get("/process/pty").send().await?;
    let listed: Vec<_> = list.array("/sessions")?.iter().filter(|session| session["id"] == id.as_str()).collect();
    cx.check("listed").on(&list).eq(listed.len(), 1);
    for item in listed {
        cx.check_same(
            "item",
            &list,
            item,
            &told.json,
            &["id", "cols", "rows", "cwd", "active", "lazyStart", "createdAt"],
        );
    }
    cx.check_recent("created-at", &told, "/createdAt").await;
    let deleted = sandbox.delete(&format!("/process/pty/{id}")).send().await?;
    cx.check("deleted").status(&deleted, 200);
    cx.check("deleted-answer").json(&deleted, "/message", "PTY session deleted");
    cx.check("gone").status(&info(&sandbox, &id).await?, 404);
    let list = sandbox.get("/process/pty").send().await?;
    cx.check("not-listed").on(&list).that(
        !list.text().contains(&format!("\"{id}\"")),
        "a list without it",
        list.summary(),
    );
    Ok(())
}

async fn defaults(cx: Cx) -> Result {
    let (sandbox, id) = (cx.shared().await?, cx.name("pty"));
    let work = sandbox.get("/work-dir").send().await?.ok()?.string("/dir")?;
    cx.check("created").status(&create(&sandbox, json!({ "id": id })).send().await?, 201);
    let told = info(&sandbox, &id).await?;
    for (name, value) in [("cols", json!(80)), ("rows", json!(24)), ("cwd", json!(work))] {
        cx.check(name).json(&told, &format!("/{name}"), value);
    }
    cx.check("term").json(&told, "/envs/TERM", "xterm-256color");
    Ok(())
}

async fn shell_is_as_asked(cx: Cx) -> Result {
    let (sandbox, id) = (cx.shared().await?, cx.name("pty"));
    let body = json!({"id": id, "cols": 101, "rows": 31, "cwd": "/tmp", "envs": {"MINE": "a b", "TERM": "vt100"}});
    create(&sandbox, body).send().await?.ok()?;
    let mut terminal = Terminal::connect(&sandbox, &id).await?;
    terminal.types("echo \"[$(pwd)] [$MINE] [$TERM] [$(stty size)]\"\n").await?;
    terminal.until("[31 101]").await?;
    cx.check("shown").contains(&terminal.text(), "[/tmp] [a b] [vt100] [31 101]");
    Ok(())
}

async fn shell_is_interactive(cx: Cx) -> Result {
    let (mut terminal, ..) = Terminal::new(&cx).await?;
    terminal
        .types("case $- in *i*) echo inter''active;; esac; test -t 0 -a -t 1 -a -t 2 && echo t''ty; echo o''ver\n")
        .await?;
    terminal.until("over\r\n").await?;
    for part in ["interactive\r\n", "tty\r\n"] {
        cx.check(part.trim()).contains(&terminal.text(), part);
    }
    terminal.types("echo \"<$(tty)>\" d''one\n").await?;
    terminal.until("> done\r\n").await?;
    cx.check("device").contains(&terminal.text(), "</dev/pts/");
    Ok(())
}

async fn bad_terminals(cx: Cx) -> Result {
    let (sandbox, id, new) = (cx.shared().await?, cx.name("pty"), cx.name("new"));
    create(&sandbox, json!({ "id": id })).send().await?.ok()?;
    for (name, body, status, message) in [
        ("no-id", json!({}), 400, Some("session ID is required".to_owned())),
        ("empty-id", json!({"id": ""}), 400, None),
        ("number", json!({"id": 1}), 400, None),
        ("taken", json!({ "id": id }), 409, Some(format!("PTY session with ID '{id}' already exists"))),
        ("cols", json!({"id": new, "cols": 1001}), 400, Some("invalid value for cols - must be less than 1000".into())),
        ("rows", json!({"id": new, "rows": 1001}), 400, Some("invalid value for rows - must be less than 1000".into())),
        ("negative", json!({"id": new, "cols": -1}), 400, None),
        ("beyond-16-bits", json!({"id": new, "cols": 65_536}), 400, None),
        ("text", json!({"id": new, "cols": "80"}), 400, None),
    ] {
        let answer = create(&sandbox, body).send().await?;
        cx.check(name).status(&answer, status);
        if let Some(message) = message {
            cx.check(format!("{name}-message")).should().json(&answer, "/message", message);
        }
    }
    let garbage = sandbox.post("/process/pty").body("application/json", "{").send().await?;
    cx.check("garbage").status(&garbage, 400);
    cx.check("nothing-made").status(&info(&sandbox, &new).await?, 404);
    Ok(())
}

async fn bad_directory(cx: Cx) -> Result {
    let (sandbox, id) = (cx.shared().await?, cx.name("pty"));
    cx.check("status").status(&create(&sandbox, json!({"id": id, "cwd": "/no/such"})).send().await?, 500);
    cx.check("nothing-made").status(&info(&sandbox, &id).await?, 404);
    Ok(())
}

async fn lazy_start(cx: Cx) -> Result {
    let (sandbox, id) = (cx.shared().await?, cx.name("pty"));
    let body = json!({"id": id, "lazyStart": true, "envs": {"MINE": "1"}, "cols": 90, "rows": 20});
    cx.check("created").status(&create(&sandbox, body).send().await?, 201);
    let told = info(&sandbox, &id).await?;
    cx.check("not-active").json(&told, "/active", false);
    cx.check("lazy").json(&told, "/lazyStart", true);
    let mut terminal = Terminal::connect(&sandbox, &id).await?;
    terminal.types("echo \"<$MINE $(stty size)>\"\n").await?;
    terminal.until("<1 20 90>").await?;
    cx.check("active").json(&info(&sandbox, &id).await?, "/active", true);
    Ok(())
}

async fn resize_reaches_the_program(cx: Cx) -> Result {
    let (mut terminal, sandbox, id) = Terminal::new(&cx).await?;
    terminal.types("trap 'echo ch''anged' WINCH; echo re''ady\n").await?;
    terminal.until("ready").await?;
    let answer = resize(&sandbox, &id, 123, 45).send().await?;
    cx.check("status").status(&answer, 200);
    cx.check("cols").json(&answer, "/cols", 123);
    cx.check("rows").json(&answer, "/rows", 45);
    terminal.types("stty size\n").await?;
    terminal.until("45 123\r\n").await?;
    cx.check("signal").contains(&terminal.text(), "changed");
    cx.check("told").json(&info(&sandbox, &id).await?, "/cols", 123);
    Ok(())
}

async fn bad_sizes(cx: Cx) -> Result {
    let (mut terminal, sandbox, id) = Terminal::new(&cx).await?;
    for (cols, rows, status) in [(1001, 10, 400), (10, 1001, 400), (-1, 10, 400), (65_536, 10, 400), (1000, 1000, 200)]
    {
        cx.check(format!("{cols}x{rows}")).status(&resize(&sandbox, &id, cols, rows).send().await?, status);
    }
    let message = resize(&sandbox, &id, 1001, 10).send().await?;
    cx.check("message").should().json(&message, "/message", "cols must be less than 1000");
    cx.check("unknown").status(&resize(&sandbox, "nope", 10, 10).send().await?, 410);
    terminal.types("echo al''ive\n").await?;
    terminal.until("alive").await?;
    Ok(())
}

async fn resize_needs_a_shell(cx: Cx) -> Result {
    let (sandbox, id) = (cx.shared().await?, cx.name("pty"));
    create(&sandbox, json!({"id": id, "lazyStart": true})).send().await?.ok()?;
    let answer = resize(&sandbox, &id, 10, 10).send().await?;
    cx.check("refused").error(&answer, 500, "cannot resize inactive PTY session");
    Ok(())
}

async fn unknown_terminals(cx: Cx) -> Result {
    let sandbox = cx.shared().await?;
    cx.check("get").error(&info(&sandbox, "nope").await?, 404, "PTY session not found");
    let deleted = sandbox.delete("/process/pty/nope").send().await?;
    cx.check("delete").error(&deleted, 404, "PTY session not found");
    Ok(())
}

async fn delete_kills(cx: Cx) -> Result {
    let (mut terminal, sandbox, id) = Terminal::new(&cx).await?;
    let mark = 5_000_000 + std::process::id();
    terminal.types(&format!("trap '' HUP TERM INT; echo beg''un; sleep {mark}\n")).await?;
    terminal.until("begun").await?;
    let started = async || Ok((sandbox.marked(mark).await? == 1).then_some(()));
    cx.eventually("it sleeps", PATIENCE, started).await?;
    cx.check("deleted").status(&sandbox.delete(&format!("/process/pty/{id}")).send().await?, 200);
    let gone = async || Ok((sandbox.marked(mark).await? == 0).then_some(()));
    cx.check("none-left").that(cx.eventually("gone", PATIENCE, gone).await.is_ok(), "no process of it", "one");
    Ok(())
}

async fn ids_are_free_after_the_end(cx: Cx) -> Result {
    let (mut terminal, sandbox, id) = Terminal::new(&cx).await?;
    terminal.types("exit\n").await?;
    terminal.closed().await?;
    let gone = async || Ok((info(&sandbox, &id).await?.status == 404).then_some(()));
    let gone = cx.eventually("gone", PATIENCE, gone).await;
    cx.check("gone").that(gone.is_ok(), "404 after the end", "still there");
    cx.check("again").status(&create(&sandbox, json!({ "id": id })).send().await?, 201);
    Ok(())
}
