//! The real servers, installed once from their registries where those are reached, and put into sandboxes.

use std::{path::PathBuf, process::Command, sync::OnceLock};

use serde_json::{Value, json};

use super::{at, document};
use crate::support::{Toolbox, cache_dir, toolbox};

/// An archive with `py` (pylsp) and `node` (typescript-language-server) as far as they could be installed.
fn installed() -> Option<&'static PathBuf> {
    static ARCHIVE: OnceLock<Option<PathBuf>> = OnceLock::new();
    let install = || {
        let dir = cache_dir().join("language-servers");
        let archive = dir.join("all.tar");
        let script = "mkdir -p . && rm -rf new && mkdir new && cd new && mkdir py node &&
            { python3 -m pip install --quiet --target py python-lsp-server==1.15.0 || rm -rf py/*; } >&2 &&
            { npm install --silent --no-audit --no-fund --prefix node typescript@5.9.3 typescript-language-server@5.3.0 || rm -rf node/*; } >&2 &&
            tar cf ../new.tar py node && cd .. && rm -rf new && mv new.tar all.tar";
        if !archive.exists() {
            std::fs::create_dir_all(&dir).ok()?;
            let status = Command::new("timeout").args(["300", "sh", "-ec", script]).current_dir(&dir).status();
            status.ok().filter(|status| status.success())?;
        }
        archive.exists().then_some(archive)
    };
    ARCHIVE.get_or_init(install).as_ref()
}

/// A sandbox with `program`, or a loud word that there is none.
async fn with(test: &str, program: &str) -> Option<Toolbox> {
    let skipped = |why: &str| {
        println!("SKIPPED {test}: {why}");
        None
    };
    let Some(archive) = installed() else { return skipped("the language servers can't be installed here") };
    let tb = toolbox().await;
    let form = reqwest::multipart::Form::new().file("file", archive).await.expect("the archive");
    let upload = tb.client.post(format!("{}/files/upload?path=all.tar", tb.url)).multipart(form).send().await;
    assert_eq!(upload.expect("answer").status(), 200);
    tb.run(
        "tar xf all.tar && rm all.tar && mkdir -p .local/bin &&
         printf '#!/bin/sh\\nPYTHONPATH=/home/daytona/py exec python3 -m pylsp \"$@\"\\n' >.local/bin/pylsp && chmod +x .local/bin/pylsp &&
         ln -s ../../node/node_modules/.bin/typescript-language-server .local/bin/",
    )
    .await;
    let works = tb.post("/process/execute", json!({"command": format!(".local/bin/{program} --version")})).await;
    let works: Value = works.json().await.expect("JSON");
    if works["exitCode"] == 0 { Some(tb) } else { skipped(&format!("{program} doesn't work in a sandbox: {works}")) }
}

fn names(symbols: &Value) -> Vec<&str> {
    symbols.as_array().expect("a list").iter().filter_map(|symbol| symbol["name"].as_str()).collect()
}

async fn completions(tb: &Toolbox, mut at: Value, line: u32, character: u32) -> Vec<String> {
    at["position"] = json!({"line": line, "character": character});
    let answer: Value = tb.lsp("completions", at).await.json().await.expect("JSON");
    let items = answer["items"].as_array().unwrap_or_else(|| panic!("{answer}"));
    items.iter().map(|item| item["label"].as_str().expect("a label").to_owned()).collect()
}

#[tokio::test]
async fn pylsp() {
    let Some(tb) = with("lsp::real::pylsp", "pylsp").await else { return };
    tb.run("mkdir 'p 1' p2 && printf 'import os\\n\\nclass Greeter:\\n    def hello(self):\\n        return os.pat\\n' >'p 1/a b.py' && echo 'def other(): pass' >p2/m.py").await;
    let (one, two) = ("/home/daytona/p%201", "/home/daytona/p2");
    tokio::join!(tb.lsp_ok("start", at("python", "/home/daytona/p 1")), tb.lsp_ok("start", at("python", two)));
    let file = document("python", "/home/daytona/p 1", "file:///home/daytona/p 1/a b.py");
    tb.lsp_ok("did-open", file.clone()).await;
    let symbols: Value =
        tb.symbols("python", one, "file:///home/daytona/p%201/a%20b.py").await.json().await.expect("JSON");
    assert!(names(&symbols).contains(&"Greeter") && names(&symbols).contains(&"hello"), "{symbols}");
    assert_eq!(symbols[0]["location"]["uri"], "file:///home/daytona/p%201/a%20b.py");
    assert!(completions(&tb, file.clone(), 4, 21).await.iter().any(|label| label.starts_with("path")));
    tb.lsp_ok("did-open", document("python", two, "file://m.py")).await;
    let symbols: Value = tb.symbols("python", two, "file://m.py").await.json().await.expect("JSON");
    assert_eq!(names(&symbols), ["other"]);
    // pylsp has no such thing.
    assert_eq!(tb.workspace("python", two, "other").await.status(), 400);
    tb.lsp_ok("did-close", file).await;
    tb.lsp_ok("stop", at("python", "/home/daytona/p 1")).await;
    tb.lsp_ok("stop", at("python", two)).await;
    assert_eq!(tb.run("pgrep -c -f pylsp || true").await.trim(), "0");
}

#[tokio::test]
async fn typescript_language_server() {
    let Some(tb) = with("lsp::real::typescript_language_server", "typescript-language-server").await else { return };
    tb.run(
        "mkdir p && echo '{}' >p/tsconfig.json && printf 'export class Greeter {\\n  hello(): string { return \"hi\" }\\n}\\nexport const greeter = new Greeter()\\ngreeter.\\n' >p/a.ts &&
         mkdir q && printf 'function add(first, second) { return first + second }\\nmodule.exports = { add }\\n' >q/b.js",
    )
    .await;
    let (p, q) = ("/home/daytona/p", "/home/daytona/q");
    tokio::join!(tb.lsp_ok("start", at("typescript", p)), tb.lsp_ok("start", at("javascript", q)));
    let file = document("typescript", p, "file:///home/daytona/p/a.ts");
    tb.lsp_ok("did-open", file.clone()).await;
    let symbols: Value = tb.symbols("typescript", p, "file:///home/daytona/p/a.ts").await.json().await.expect("JSON");
    assert!(names(&symbols).contains(&"Greeter") && names(&symbols).contains(&"hello"), "{symbols}");
    let found: Value = tb.workspace("typescript", p, "Greet").await.json().await.expect("JSON");
    assert!(names(&found).contains(&"Greeter"), "{found}");
    assert_eq!(found[0]["location"]["uri"], "file:///home/daytona/p/a.ts");
    assert!(completions(&tb, file, 4, 8).await.contains(&"hello".to_owned()));
    tb.lsp_ok("did-open", document("javascript", q, "file://b.js")).await;
    let symbols: Value = tb.symbols("javascript", q, "file://b.js").await.json().await.expect("JSON");
    assert!(names(&symbols).contains(&"add"), "{symbols}");
    tb.lsp_ok("stop", at("typescript", p)).await;
    tb.lsp_ok("stop", at("javascript", q)).await;
    crate::support::eventually("they leave with what they started", async || {
        (tb.run("pgrep -c node || true").await.trim() == "0").then_some(())
    })
    .await;
}
