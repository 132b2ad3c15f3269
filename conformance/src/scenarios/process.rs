//! Commands that run to their end.

use crate::{client::Answer, prelude::*};

scenarios! { "process";
    /// A command's output and its exit code are answered with status 200, whatever the exit code is. (ExecuteCommand)
    exit_code_is_not_an_error: Must, covers ["ExecuteCommand"];

    /// Exit codes are those of the shell: of the last command, modulo 256, 127 for an unknown one, 2 for what is no
    /// shell; -1 for a shell that a signal killed. (observed)
    exit_codes_of_the_shell: Must, covers ["ExecuteCommand"];

    /// Both streams come in one text, in the order in which they were written, to the last byte. (ExecuteCommand; observed)
    output_is_in_order: Must, covers ["ExecuteCommand"];

    /// Any bytes may be written: what is not UTF-8 is replaced, what is, is kept. (observed)
    output_of_any_bytes: Must, covers ["ExecuteCommand"];

    /// Output has no limit that ten megabytes would reach. (observed)
    output_is_not_cut: Must, covers ["ExecuteCommand"];

    /// The shell reads the command from its standard input: what a command reads is the rest of it. (observed)
    command_is_standard_input: Should, covers ["ExecuteCommand"], since "0.156";

    /// A command of megabytes runs. (observed)
    command_of_any_length: Must, covers ["ExecuteCommand"], since "0.156";

    /// Commands are shell: variables, quotes, pipes, loops, several lines, any letters. (ExecuteCommand)
    command_is_shell: Must, covers ["ExecuteCommand"];

    /// A command starts in the work directory, or in `cwd`; one that isn't there is an exit code of -1. (ExecuteCommand; observed)
    starts_where_it_is_told: Must, covers ["ExecuteCommand"];

    /// `envs` are variables of this command only, as they are, over those that are there. (ExecuteCommand; observed)
    variables_are_passed: Must, covers ["ExecuteCommand"];

    /// Variables with impossible names are 400. (observed)
    variables_are_checked: Must, covers ["ExecuteCommand"];

    /// No command, a blank one, and a time limit that is no whole number are 400. (ExecuteCommand; observed)
    bad_requests: Must, covers ["ExecuteCommand"];

    /// When its time is over, a command and what it started are killed: 408 with the code `PROCESS_EXECUTION_TIMEOUT`.
    /// (ExecuteCommand; SDKs: ProcessExecutionTimeout)
    time_limit_kills: Must, covers ["ExecuteCommand"], since "0.200";

    /// A time limit of 0 is none. (observed)
    no_time_limit: Should, covers ["ExecuteCommand"];

    /// A child in the background that holds the output is waited for; one that doesn't isn't. (observed)
    background_children: Must, covers ["ExecuteCommand"];

    /// A child that outlives its command goes on. (observed)
    background_children_go_on: Must, covers ["ExecuteCommand"];

    /// Commands of one sandbox run at the same time. (observed)
    commands_run_at_the_same_time: Must, covers ["ExecuteCommand"];

    /// What a command writes to the disk is there for files, and what files upload is there for commands.
    /// (ExecuteCommand, DownloadFile)
    shares_the_disk: Must, covers ["ExecuteCommand", "DownloadFile"];

    /// Commands run as a user with a home, a name of the machine, and what programs look for in `PATH`. (observed)
    environment_is_a_users: Must, covers ["ExecuteCommand"];

    /// The user may become root by `sudo`. (observed; the official image)
    sudo_works: Should, covers ["ExecuteCommand"];

    /// Processes that end in the background are reaped. (observed)
    no_zombies: Should, covers ["ExecuteCommand"];
}

async fn run(sandbox: &Sandbox, body: Value) -> Result<Answer> {
    sandbox.post("/process/execute").json(body).send().await
}

async fn exit_code_is_not_an_error(cx: Cx) -> Result {
    let plain = cx.shared().await?.exec("true").await?;
    cx.check("no-artifacts").should().on(&plain).that(plain.json.get("artifacts").is_none(), "none", plain.summary());
    let answer = cx.shared().await?.exec("echo out; exit 3").await?;
    cx.check("status").status(&answer, 200);
    cx.check("exit-code").json(&answer, "/exitCode", 3);
    cx.check("output").json(&answer, "/result", "out\n");
    Ok(())
}

async fn exit_codes_of_the_shell(cx: Cx) -> Result {
    let sandbox = cx.shared().await?;
    for (id, command, code) in [
        ("success", "true", 0),
        ("last", "false; true", 0),
        ("failure", "true; false", 1),
        ("modulo", "exit 300", 44),
        ("unknown", "no-such-command-here", 127),
        ("not-executable", "/etc/passwd", 126),
        ("syntax", "if", 2),
    ] {
        let answer = sandbox.exec(command).await?;
        cx.check(format!("{id}-status")).status(&answer, 200);
        cx.check(id).json(&answer, "/exitCode", code);
    }
    cx.check("signal").should().json(&sandbox.exec("kill -9 $$").await?, "/exitCode", -1);
    Ok(())
}

async fn output_is_in_order(cx: Cx) -> Result {
    let sandbox = cx.shared().await?;
    let answer = sandbox.exec("echo 1; echo 2 >&2; echo 3; printf '4 <&> \\n\\n' >&2; printf 5").await?;
    cx.check("order").json(&answer, "/result", "1\n2\n3\n4 <&> \n\n5");
    cx.check("nothing").json(&sandbox.exec("true").await?, "/result", "");
    cx.check("space-kept").json(&sandbox.exec("printf '  a \\t\\n '").await?, "/result", "  a \t\n ");
    Ok(())
}

async fn output_of_any_bytes(cx: Cx) -> Result {
    let answer = cx.shared().await?.exec(r"printf 'a\0b\377\342\202\254\033[1m漢\342\202'").await?;
    cx.check("nul").on(&answer).contains(answer["result"].as_str().unwrap_or_default(), "a\0b");
    cx.check("text").on(&answer).contains(answer["result"].as_str().unwrap_or_default(), "€\u{1b}[1m漢");
    cx.check("replaced").should().json(&answer, "/result", "a\0b\u{fffd}€\u{1b}[1m漢\u{fffd}\u{fffd}");
    Ok(())
}

async fn output_is_not_cut(cx: Cx) -> Result {
    let answer = cx.shared().await?.exec("head -c 10000000 /dev/zero | tr '\\0' x; printf €").await?;
    let result = answer["result"].as_str().unwrap_or_default();
    cx.check("length").eq(result.len(), 10_000_003);
    cx.check("end").that(result.ends_with("x€"), "the end of it", "another end");
    Ok(())
}

async fn command_is_standard_input(cx: Cx) -> Result {
    let sandbox = cx.shared().await?;
    let rest = sandbox.exec("cat\nrest of the command").await?;
    cx.check("cat").json(&rest, "/result", "rest of the command");
    let line = sandbox.exec("read x\nnext line\necho \"[$x]\"").await?;
    cx.check("read").json(&line, "/result", "[next line]\n");
    Ok(())
}

async fn command_of_any_length(cx: Cx) -> Result {
    let answer = cx.shared().await?.exec(&format!("true '{}'\necho done", "x".repeat(3 << 20))).await?;
    cx.check("status").status(&answer, 200);
    cx.check("result").json(&answer, "/result", "done\n");
    Ok(())
}

async fn command_is_shell(cx: Cx) -> Result {
    let sandbox = cx.shared().await?;
    for (id, command, output) in [
        ("variables", "a='b  c'; echo \"$a\" $a", "b  c b c\n"),
        ("pipes", "printf 'b\\na\\n' | sort | tr '\\n' ' '", "a b "),
        ("loops", "for i in 1 2 3; do\n  printf \"$i,\"\ndone", "1,2,3,"),
        ("substitution", "echo $(echo $((6 * 7)))", "42\n"),
        ("and-or", "false && echo a || echo b", "b\n"),
        ("quotes", "echo 'it'\"'\"'s' \"\\\"q\\\"\"", "it's \"q\"\n"),
        ("here-document", "cat <<'END'\n$HOME `x`\nEND\necho after", "$HOME `x`\nafter\n"),
        ("unicode", "echo ünï 漢 🙂", "ünï 漢 🙂\n"),
        ("functions", "f() { echo \"<$1>\"; }; f 'a b'", "<a b>\n"),
    ] {
        cx.check(id).json(&sandbox.exec(command).await?, "/result", output);
    }
    Ok(())
}

async fn starts_where_it_is_told(cx: Cx) -> Result {
    let sandbox = cx.shared().await?;
    let work = sandbox.get("/work-dir").send().await?.ok()?.string("/dir")?;
    let name = cx.name("cwd");
    sandbox.output(&format!("mkdir '{work}/{name}' && touch '{work}/{name}/file'")).await?;
    for (id, cwd, dir) in [
        ("default", json!(null), work.clone()),
        ("empty", json!(""), work.clone()),
        ("absolute", json!("/"), "/".to_owned()),
        ("relative", json!(name), format!("{work}/{name}")),
    ] {
        let answer = run(&sandbox, json!({"command": "pwd", "cwd": cwd})).await?;
        cx.check(id).json(&answer, "/result", format!("{dir}\n"));
    }
    for (id, cwd, why) in [
        ("missing", format!("{work}/{name}/no"), ": no such file or directory"),
        ("file", format!("{work}/{name}/file"), ": not a directory"),
        ("tilde", "~".to_owned(), ": no such file or directory"),
    ] {
        let answer = run(&sandbox, json!({"command": "pwd", "cwd": cwd})).await?;
        cx.check(format!("{id}-status")).status(&answer, 200);
        cx.check(format!("{id}-code")).json(&answer, "/exitCode", -1);
        cx.check(format!("{id}-why")).should().on(&answer).contains(answer["result"].as_str().unwrap_or_default(), why);
    }
    Ok(())
}

async fn variables_are_passed(cx: Cx) -> Result {
    let sandbox = cx.shared().await?;
    let envs = json!({"A": "a b; c $(d) 'e'", "HOME": "/x", "EMPTY": "", "漢": "ignored?"});
    let mut envs = envs;
    envs.as_object_mut().map(|envs| envs.remove("漢"));
    let answer = run(&sandbox, json!({"command": "echo \"[$A] [$HOME] [${EMPTY-unset}]\"", "envs": envs})).await?;
    cx.check("values").json(&answer, "/result", "[a b; c $(d) 'e'] [/x] []\n");
    let after = sandbox.exec("echo \"[$A] ${EMPTY-unset}\"").await?;
    cx.check("gone-after").json(&after, "/result", "[] unset\n");
    let lines = run(&sandbox, json!({"command": "printf %s \"$L\"", "envs": {"L": "one\ntwo ünï"}})).await?;
    cx.check("lines").json(&lines, "/result", "one\ntwo ünï");
    Ok(())
}

async fn variables_are_checked(cx: Cx) -> Result {
    let sandbox = cx.shared().await?;
    for name in ["1X", "A B", "A=B", "", "A-B"] {
        let answer = run(&sandbox, json!({"command": "true", "envs": {name: "x"}})).await?;
        cx.check(format!("name {name:?}")).status(&answer, 400);
        let message = format!("bad request: invalid environment variable name: '{name}'");
        cx.check(format!("message {name:?}")).should().json(&answer, "/message", message);
    }
    Ok(())
}

async fn bad_requests(cx: Cx) -> Result {
    let sandbox = cx.shared().await?;
    for (id, body) in [
        ("no-command", json!({})),
        ("empty", json!({"command": ""})),
        ("blank", json!({"command": " \n\t"})),
        ("number", json!({"command": 1})),
        ("negative-timeout", json!({"command": "true", "timeout": -1})),
        ("fractional-timeout", json!({"command": "true", "timeout": 1.5})),
        ("text-timeout", json!({"command": "true", "timeout": "1"})),
        ("list", json!([])),
    ] {
        let answer = run(&sandbox, body).await?;
        cx.check(id).status(&answer, 400);
        cx.check(format!("{id}-code")).should().json(&answer, "/code", "BAD_REQUEST");
    }
    for (id, body) in [("nothing", ""), ("garbage", "not json"), ("half", "{\"command\": \"tr")] {
        let answer = sandbox.post("/process/execute").body("application/json", body).send().await?;
        cx.check(id).status(&answer, 400);
    }
    // The content type doesn't matter, and neither does what isn't known.
    let text =
        sandbox.post("/process/execute").body("text/plain", r#"{"command": "echo a", "other": 1}"#).send().await?;
    cx.check("as-text").json(&text, "/result", "a\n");
    Ok(())
}

async fn time_limit_kills(cx: Cx) -> Result {
    let sandbox = cx.shared().await?;
    let mark = format!("31{:05}.5", std::process::id() % 100_000);
    let body = json!({"command": format!("sleep {mark} & sleep {mark}; echo never"), "timeout": 1});
    let answer = run(&sandbox, body).await?;
    cx.check("status").error(&answer, 408, "request timeout: command execution timeout");
    cx.check("code").json(&answer, "/code", "PROCESS_EXECUTION_TIMEOUT");
    cx.check("source").json(&answer, "/source", "DAYTONA_DAEMON");
    cx.check("in-time").on(&answer).that(answer.took < Duration::from_secs(6), "within 6 s", answer.took);
    // The SDKs' own timeout is five seconds later.
    let gone = async || {
        let left =
            sandbox.output(&format!("grep -l '[s]leep.{mark}' /proc/[0-9]*/cmdline 2>/dev/null | wc -l")).await?;
        Ok((left.trim() == "0").then_some(()))
    };
    let gone = cx.eventually("killed", Duration::from_secs(10), gone).await;
    cx.check("killed").that(gone.is_ok(), "no process of it", "some left");
    Ok(())
}

async fn no_time_limit(cx: Cx) -> Result {
    let answer = run(&cx.shared().await?, json!({"command": "sleep 1.2; echo done", "timeout": 0})).await?;
    cx.check("result").json(&answer, "/result", "done\n");
    Ok(())
}

async fn background_children(cx: Cx) -> Result {
    let sandbox = cx.shared().await?;
    let held = sandbox.exec("(sleep 0.7; echo late) & echo now").await?;
    cx.check("waited-for").json(&held, "/result", "now\nlate\n");
    let free = sandbox.exec("sleep 30 >/dev/null 2>&1 & echo now").await?;
    cx.check("not-waited-for").json(&free, "/result", "now\n");
    cx.check("at-once").on(&free).that(free.took < Duration::from_secs(10), "at once", free.took);
    Ok(())
}

async fn background_children_go_on(cx: Cx) -> Result {
    let (sandbox, path) = (cx.shared().await?, format!("{}.txt", cx.dir()));
    sandbox.output(&format!("nohup sh -c 'sleep 0.5; echo there >{path}' >/dev/null 2>&1 &")).await?;
    let written = async || Ok((sandbox.download(&path).await?.text() == "there\n").then_some(()));
    let written = cx.eventually("written", Duration::from_secs(15), written).await;
    cx.check("written").that(written.is_ok(), "what the child wrote", "nothing");
    Ok(())
}

async fn commands_run_at_the_same_time(cx: Cx) -> Result {
    let (sandbox, path) = (cx.shared().await?, format!("{}.pipe", cx.dir()));
    sandbox.output(&format!("mkfifo '{path}'")).await?;
    // The first ends only when the second runs.
    let (read, wrote) = (format!("cat '{path}'"), format!("echo met >'{path}'"));
    let (read, wrote) = tokio::join!(sandbox.exec(&read), sandbox.exec(&wrote));
    cx.check("reader").json(&read?, "/result", "met\n");
    cx.check("writer").json(&wrote?, "/exitCode", 0);
    Ok(())
}

async fn shares_the_disk(cx: Cx) -> Result {
    let (sandbox, dir) = (cx.shared().await?, cx.dir());
    sandbox.upload(&format!("{dir}/in.txt"), b"from outside").await?.ok()?;
    let answer = run(&sandbox, json!({"command": "cat in.txt; printf 'from inside' >out.txt", "cwd": dir})).await?;
    cx.check("inside").json(&answer, "/result", "from outside");
    cx.check("outside").eq(sandbox.download(&format!("{dir}/out.txt")).await?.text(), "from inside");
    Ok(())
}

async fn environment_is_a_users(cx: Cx) -> Result {
    let sandbox = cx.shared().await?;
    let home = sandbox.get("/user-home-dir").send().await?.ok()?.string("/dir")?;
    cx.check("home").json(&sandbox.exec("echo $HOME").await?, "/result", format!("{home}\n"));
    cx.check("home-is-own").json(
        &sandbox.exec("touch $HOME/.own && test -O $HOME/.own && echo own").await?,
        "/result",
        "own\n",
    );
    cx.check("id").json(&sandbox.exec("echo $DAYTONA_SANDBOX_ID").await?, "/result", format!("{}\n", sandbox.id));
    cx.check("programs").json(&sandbox.exec("command -v sh ls cat env | wc -l").await?, "/result", "4\n");
    let tmp = sandbox.exec("f=$(mktemp) && echo ok >$f && cat $f").await?;
    cx.check("tmp").json(&tmp, "/result", "ok\n");
    let secret = sandbox.exec("env").await?;
    let text = secret["result"].as_str().unwrap_or_default();
    cx.check("no-key").that(!text.contains(cx.key()), "an environment without the key", "the key");
    Ok(())
}

async fn sudo_works(cx: Cx) -> Result {
    let sandbox = cx.shared().await?;
    sandbox.needs_program("sudo").await?;
    cx.check("root").json(&sandbox.exec("sudo -n id -u").await?, "/result", "0\n");
    Ok(())
}

async fn no_zombies(cx: Cx) -> Result {
    let sandbox = cx.shared().await?;
    sandbox.output("for i in 1 2 3 4 5 6 7 8; do setsid sh -c 'sleep 0.1' >/dev/null 2>&1 & done").await?;
    let none = async || {
        let count = sandbox.output("cat /proc/[0-9]*/stat 2>/dev/null | grep -c '(sleep) Z\\|(sh) Z'; true").await?;
        Ok((count.trim() == "0").then_some(()))
    };
    let none = cx.eventually("reaped", Duration::from_secs(10), none).await;
    cx.check("reaped").that(none.is_ok(), "no zombies", "some");
    Ok(())
}
