use crate::prelude::*;

scenarios! { "old_path";
    /// SDKs before 0.113 ask by another path, and get the same answers. (SDKs 0.108 to 0.112)
    answers_the_same: Must, covers ["GetWorkDir", "GetUserHomeDir", "ExecuteCommand", "ListFiles"],
        needs [OldToolbox], clients "<0.113";

    /// Commands of old clients are split into arguments, not given to a shell: quotes count, `;` and `$` don't.
    /// (SDKs before 0.156; observed)
    commands_are_split: Must, covers ["ExecuteCommand"], needs [OldToolbox], clients "<0.156";
}

async fn answers_the_same(cx: Cx) -> Result {
    let sandbox = cx.shared().await?;
    let old = sandbox.old_toolbox();
    for path in ["/work-dir", "/user-home-dir"] {
        let new = sandbox.get(path).send().await?.ok()?;
        cx.check(path).json(&old.get(path).send().await?, "/dir", new["dir"].clone());
    }
    cx.check("project-dir").status(&old.get("/project-dir").send().await?, 200);
    let ran = old.post("/process/execute").json(json!({"command": "echo old"})).send().await?;
    cx.check("execute").json(&ran, "/result", "old\n");
    let dir = cx.dir();
    sandbox.upload(&format!("{dir}/f.txt"), b"x").await?.ok()?;
    let list = old.get("/files").query("path", &dir).send().await?;
    cx.check("listed").json(&list, "/0/name", "f.txt");
    cx.check("files").status(&list, 200);
    let unknown = cx.get("/toolbox/no-such-sandbox/toolbox/work-dir").unjudged().send().await?;
    cx.check("unknown-sandbox").error(&unknown, 404, "Sandbox with ID or name no-such-sandbox not found");
    let no_key = old.get("/work-dir").no_key().send().await?;
    cx.check("needs-a-key").status(&no_key, 401);
    Ok(())
}

async fn commands_are_split(cx: Cx) -> Result {
    let old = cx.shared().await?.old_toolbox();
    for (id, command, expected) in [
        ("words", "echo one  two", "one two\n"),
        ("quotes", "echo 'one  two' \"three  four\"", "one  two three  four\n"),
        ("no-shell", "echo a;b $HOME", "a;b $HOME\n"),
        ("shell-by-hand", "sh -c 'echo a; echo b'", "a\nb\n"),
    ] {
        let ran = old.post("/process/execute").json(json!({"command": command})).send().await?;
        cx.check(id).json(&ran, "/result", expected);
    }
    Ok(())
}
