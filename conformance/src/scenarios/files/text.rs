use super::write;
use crate::{client::Answer, prelude::*};

scenarios! { "files";
    /// A search matches base names with `*`, `?`, `[a-c]`, folders too, in order of their paths; its paths begin as
    /// the root was given. (SearchFiles; observed)
    search_matches_names: Must, covers ["SearchFiles"];

    /// A pattern that matches nothing, is malformed, or has a slash in it, and a root that isn't there, find nothing: 200.
    /// (SearchFiles; observed)
    search_of_nothing_is_empty: Must, covers ["SearchFiles"];

    /// Links are found, and not descended. (observed)
    search_does_not_follow_links: Must, covers ["SearchFiles"];

    /// Both searches need a path and a pattern. (SearchFiles, FindInFiles)
    search_needs_path_and_pattern: Must, covers ["SearchFiles", "FindInFiles"];

    /// Lines with a text are found in all files below, with their number from 1, once each, without their end. (FindInFiles; observed)
    find_gives_lines: Must, covers ["FindInFiles"];

    /// The text is found as it is: letters in their case, no pattern. (FindInFiles; observed)
    find_is_literal: Must, covers ["FindInFiles"];

    /// Binary files, empty ones and links are passed over. (observed)
    find_skips_what_is_no_text: Must, covers ["FindInFiles"];

    /// A line longer than 64 KiB ends its file; what was found before it stays. (observed)
    find_stops_at_long_lines: Should, covers ["FindInFiles"];

    /// The path may be a single file; one that isn't there finds nothing. (observed)
    find_in_one_file: Must, covers ["FindInFiles"];

    /// A text is replaced everywhere in each file listed; the mode stays. (ReplaceInFiles; observed)
    replace_changes_files: Must, covers ["ReplaceInFiles"];

    /// A file that fails says why, with status 200, and the others are changed. (ReplaceInFiles; observed)
    replace_tells_of_each_file: Must, covers ["ReplaceInFiles"];

    /// An empty new value deletes the text; a missing one, an empty pattern, no list are 400. (ReplaceInFiles; observed)
    replace_refusals: Must, covers ["ReplaceInFiles"];
}

async fn search(sandbox: &Sandbox, path: &str, pattern: &str) -> Result<Answer> {
    sandbox.get("/files/search").query("path", path).query("pattern", pattern).send().await
}

async fn find(sandbox: &Sandbox, path: &str, pattern: &str) -> Result<Answer> {
    sandbox.get("/files/find").query("path", path).query("pattern", pattern).send().await
}

async fn tree(cx: &Cx) -> Result<(Sandbox, String)> {
    let (sandbox, dir) = (cx.shared().await?, cx.dir());
    for name in ["a.txt", "b/c.txt", "b/d.py", ".hidden.txt", "z[.txt"] {
        write(&sandbox, &format!("{dir}/{name}"), "").await?;
    }
    sandbox.output(&format!("cd '{dir}' && ln -s b link.txt")).await?;
    Ok((sandbox, dir))
}

async fn search_matches_names(cx: Cx) -> Result {
    let (sandbox, dir) = tree(&cx).await?;
    for (id, pattern, expected) in [
        ("star", "*.txt", &[".hidden.txt", "a.txt", "b/c.txt", "link.txt", "z[.txt"][..]),
        ("range", "[a-c].*", &["a.txt", "b/c.txt"]),
        ("negated", "[^a].py", &["b/d.py"]),
        ("one", "?", &["b"]),
        ("escaped", "z\\[*", &["z[.txt"]),
        ("exact", "c.txt", &["b/c.txt"]),
        ("case", "*.TXT", &[]),
    ] {
        let answer = search(&sandbox, &dir, pattern).await?;
        let expected: Vec<String> = expected.iter().map(|name| format!("{dir}/{name}")).collect();
        cx.check(id).json(&answer, "/files", expected);
    }
    let all = search(&sandbox, &format!("{dir}/b"), "*").await?;
    cx.check("root-too").json(
        &all,
        "/files",
        json!([format!("{dir}/b"), format!("{dir}/b/c.txt"), format!("{dir}/b/d.py")]),
    );
    Ok(())
}

async fn search_of_nothing_is_empty(cx: Cx) -> Result {
    let (sandbox, dir) = tree(&cx).await?;
    for (id, path, pattern) in [
        ("no-match", dir.clone(), "nope*"),
        ("malformed", dir.clone(), "["),
        ("slash", dir.clone(), "b/*"),
        ("no-braces", dir.clone(), "*.{txt,py}"),
        ("no-root", format!("{dir}/nope"), "*"),
    ] {
        let answer = search(&sandbox, &path, pattern).await?;
        cx.check(id).status(&answer, 200);
        cx.check(format!("{id}-empty")).json(&answer, "/files", json!([]));
    }
    Ok(())
}

async fn search_does_not_follow_links(cx: Cx) -> Result {
    let (sandbox, dir) = tree(&cx).await?;
    sandbox.output(&format!("cd '{dir}' && ln -s . loop")).await?;
    let answer = search(&sandbox, &dir, "[dl]*").await?;
    cx.check("found").json(
        &answer,
        "/files",
        json!([format!("{dir}/b/d.py"), format!("{dir}/link.txt"), format!("{dir}/loop")]),
    );
    Ok(())
}

async fn search_needs_path_and_pattern(cx: Cx) -> Result {
    let sandbox = cx.shared().await?;
    for operation in ["search", "find"] {
        let request = || sandbox.get(&format!("/files/{operation}"));
        cx.check(format!("{operation}-none")).status(&request().send().await?, 400);
        cx.check(format!("{operation}-no-pattern")).status(&request().query("path", ".").send().await?, 400);
        cx.check(format!("{operation}-no-path")).status(&request().query("pattern", "x").send().await?, 400);
    }
    Ok(())
}

fn hit(file: String, line: u32, content: &str) -> Value {
    json!({"file": file, "line": line, "content": content})
}

async fn find_gives_lines(cx: Cx) -> Result {
    let (sandbox, dir) = (cx.shared().await?, cx.dir());
    write(&sandbox, &format!("{dir}/a.txt"), "one\n\tneedle <&> two \nthree needle needle\n").await?;
    write(&sandbox, &format!("{dir}/b/c.txt"), "no\n\nünï needle 漢").await?;
    let answer = find(&sandbox, &dir, "needle").await?;
    cx.check("status").status(&answer, 200);
    let (a, c) = (format!("{dir}/a.txt"), format!("{dir}/b/c.txt"));
    let expected =
        [hit(a.clone(), 2, "\tneedle <&> two "), hit(a, 3, "three needle needle"), hit(c, 3, "ünï needle 漢")];
    cx.check("lines").json(&answer, "", json!(expected));
    Ok(())
}

async fn find_is_literal(cx: Cx) -> Result {
    let (sandbox, dir) = (cx.shared().await?, cx.dir());
    let path = format!("{dir}/a.txt");
    write(&sandbox, &path, "needle\nn.*e\n").await?;
    cx.check("dots").json(&find(&sandbox, &dir, "n.*e").await?, "", json!([hit(path, 2, "n.*e")]));
    for (id, pattern) in [("case", "Needle"), ("lines", "needle\nn")] {
        cx.check(id).json(&find(&sandbox, &dir, pattern).await?, "", json!([]));
    }
    Ok(())
}

async fn find_skips_what_is_no_text(cx: Cx) -> Result {
    let (sandbox, dir) = (cx.shared().await?, cx.dir());
    write(&sandbox, &format!("{dir}/a.txt"), "needle").await?;
    write(&sandbox, &format!("{dir}/empty"), "").await?;
    sandbox.upload(&format!("{dir}/binary"), b"needle\0needle").await?.ok()?;
    sandbox.output(&format!("cd '{dir}' && ln -s a.txt link && ln -s . loop")).await?;
    let answer = find(&sandbox, &dir, "needle").await?;
    cx.check("found").json(&answer, "", json!([hit(format!("{dir}/a.txt"), 1, "needle")]));
    Ok(())
}

async fn find_stops_at_long_lines(cx: Cx) -> Result {
    let (sandbox, dir) = (cx.shared().await?, cx.dir());
    let path = format!("{dir}/long");
    write(&sandbox, &path, &format!("needle\n{}\nneedle\n", "x".repeat(70_000))).await?;
    cx.check("found").json(&find(&sandbox, &dir, "needle").await?, "", json!([hit(path, 1, "needle")]));
    Ok(())
}

async fn find_in_one_file(cx: Cx) -> Result {
    let (sandbox, path) = (cx.shared().await?, format!("{}/a.txt", cx.dir()));
    write(&sandbox, &path, "one\ntwo\n").await?;
    cx.check("found").json(&find(&sandbox, &path, "two").await?, "", json!([hit(path.clone(), 2, "two")]));
    let missing = find(&sandbox, &format!("{path}.no"), "two").await?;
    cx.check("missing").status(&missing, 200);
    cx.check("missing-empty").json(&missing, "", json!([]));
    Ok(())
}

async fn replace(sandbox: &Sandbox, body: Value) -> Result<Answer> {
    sandbox.post("/files/replace").json(body).send().await
}

async fn replace_changes_files(cx: Cx) -> Result {
    let (sandbox, dir) = (cx.shared().await?, cx.dir());
    let (a, b) = (format!("{dir}/a"), format!("{dir}/b"));
    write(&sandbox, &a, "x.x ünï x.x\n").await?;
    write(&sandbox, &b, "nothing here").await?;
    sandbox.output(&format!("chmod 751 '{a}'")).await?;
    let answer = replace(&sandbox, json!({"files": [a, b], "pattern": "x.x", "newValue": "<$1 & 漢>"})).await?;
    cx.check("status").status(&answer, 200);
    cx.check("result").json(&answer, "", json!([{"file": a, "success": true}, {"file": b, "success": true}]));
    cx.check("changed").eq(sandbox.download(&a).await?.text(), "<$1 & 漢> ünï <$1 & 漢>\n");
    cx.check("unchanged").eq(sandbox.download(&b).await?.text(), "nothing here");
    cx.check("mode").eq(sandbox.output(&format!("stat -c %a '{a}'")).await?.trim(), "751");
    Ok(())
}

async fn replace_tells_of_each_file(cx: Cx) -> Result {
    let (sandbox, dir) = (cx.shared().await?, cx.dir());
    let (good, missing) = (format!("{dir}/good"), format!("{dir}/nope"));
    write(&sandbox, &good, "old").await?;
    let answer = replace(&sandbox, json!({"files": [missing, dir, good], "pattern": "old", "newValue": "new"})).await?;
    cx.check("status").status(&answer, 200);
    for (index, success) in [false, false, true].into_iter().enumerate() {
        cx.check(format!("success-{index}")).json(&answer, &format!("/{index}/success"), success);
    }
    cx.check("missing").should().json(&answer, "/0/error", format!("open {missing}: no such file or directory"));
    cx.check("folder").should().json(&answer, "/1/error", format!("read {dir}: is a directory"));
    cx.check("changed").eq(sandbox.download(&good).await?.text(), "new");
    Ok(())
}

async fn replace_refusals(cx: Cx) -> Result {
    let (sandbox, path) = (cx.shared().await?, format!("{}/a", cx.dir()));
    write(&sandbox, &path, "aXbX").await?;
    for (id, body) in [
        ("no-value", json!({"files": [path], "pattern": "X"})),
        ("null-value", json!({"files": [path], "pattern": "X", "newValue": null})),
        ("empty-pattern", json!({"files": [path], "pattern": "", "newValue": "y"})),
        ("no-files", json!({"pattern": "X", "newValue": "y"})),
        ("files-a-string", json!({"files": path, "pattern": "X", "newValue": "y"})),
    ] {
        cx.check(id).status(&replace(&sandbox, body).await?, 400);
    }
    let garbage = sandbox.post("/files/replace").body("application/json", "not json").send().await?;
    cx.check("garbage").status(&garbage, 400);
    cx.check("untouched").eq(sandbox.download(&path).await?.text(), "aXbX");
    cx.check("nothing").json(
        &replace(&sandbox, json!({"files": [], "pattern": "X", "newValue": "y"})).await?,
        "",
        json!([]),
    );
    cx.check("empty-value")
        .status(&replace(&sandbox, json!({"files": [path], "pattern": "X", "newValue": ""})).await?, 200);
    cx.check("deleted").eq(sandbox.download(&path).await?.text(), "ab");
    Ok(())
}
