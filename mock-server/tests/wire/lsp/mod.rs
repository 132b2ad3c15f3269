//! Language servers, in real sandboxes: one that does what a test tells it, and the real ones where they can be installed.

mod failures;
mod real;

use base64::{Engine, prelude::BASE64_STANDARD};
use reqwest::Response;
use serde_json::{Value, json};

use crate::support::{Toolbox, toolbox};

const SERVER: &str = include_str!("server.py");

/// A sandbox whose programs for both kinds of languages are [`SERVER`], and two projects `p` and `q`.
async fn with_fakes() -> Toolbox {
    let tb = toolbox().await;
    let script = BASE64_STANDARD.encode(SERVER);
    tb.run(&format!(
        "mkdir -p fake p q && echo {script} | base64 -d >fake/pylsp && chmod +x fake/pylsp &&
         cp fake/pylsp fake/typescript-language-server && printf 'one' >p/a.py && printf 'two' >'p/b c.ts'"
    ))
    .await;
    let path = "/home/daytona/fake:/usr/local/bin:/usr/bin:/bin";
    assert_eq!(tb.post("/env", json!({"set": {"PATH": path}})).await.status(), 200);
    tb
}

fn at(language: &str, project: &str) -> Value {
    json!({"languageId": language, "pathToProject": project})
}

fn document(language: &str, project: &str, uri: &str) -> Value {
    json!({"languageId": language, "pathToProject": project, "uri": uri})
}

impl Toolbox {
    async fn lsp(&self, operation: &str, body: Value) -> Response {
        self.post(&format!("/lsp/{operation}"), body).await
    }

    /// Does something whose answer is empty.
    async fn lsp_ok(&self, operation: &str, body: Value) {
        let answer = self.lsp(operation, body.clone()).await;
        let (status, length) = (answer.status(), answer.content_length());
        assert_eq!(
            (status.as_u16(), length),
            (200, Some(0)),
            "{operation} {body}: {}",
            answer.text().await.expect("text")
        );
    }

    async fn workspace(&self, language: &str, project: &str, query: &str) -> Response {
        self.get(&format!("/lsp/workspacesymbols?languageId={language}&pathToProject={project}&query={query}")).await
    }

    /// The JSON in the name of the only symbol of an answer to a query.
    async fn told(&self, language: &str, project: &str, query: &str) -> Value {
        let answer = self.workspace(language, project, query).await;
        let (status, body) = (answer.status(), answer.text().await.expect("text"));
        assert_eq!(status, 200, "{body}");
        let symbols: Value = serde_json::from_str(&body).expect("JSON");
        serde_json::from_str(symbols[0]["name"].as_str().expect("a name")).expect("JSON")
    }

    async fn symbols(&self, language: &str, project: &str, uri: &str) -> Response {
        self.get(&format!("/lsp/document-symbols?languageId={language}&pathToProject={project}&uri={uri}")).await
    }
}

async fn refused(answer: Response, status: u16, code: &str) -> String {
    let got = answer.status().as_u16();
    let body: Value = answer.json().await.expect("an envelope");
    assert_eq!((got, body["code"].as_str()), (status, Some(code)), "{body}");
    body["message"].as_str().expect("a message").to_owned()
}

#[tokio::test]
async fn servers_are_initialised_for_the_language_asked_for() {
    let tb = with_fakes().await;
    tb.lsp_ok("start", at("python", "p")).await;
    tb.lsp_ok("start", at("typescript", "/home/daytona/p/")).await;
    tb.lsp_ok("start", at("javascript", "p")).await;
    tb.lsp_ok("start", at("python", "q")).await;
    let (python, typescript) = (tb.told("python", "p", "argv").await, tb.told("typescript", "p", "argv").await);
    assert_eq!((&python[0], &python[1]), (&json!("pylsp"), &json!("/home/daytona/p")));
    assert_eq!((&typescript[0], &typescript[1]), (&json!("typescript-language-server"), &json!("--stdio")));
    assert_eq!(tb.told("python", "q", "argv").await[1], "/home/daytona/q");
    assert_eq!(tb.run("pgrep -c -f fake/").await.trim(), "4");
    // Once more is nothing.
    tb.lsp_ok("start", at("python", "/home/daytona/./p")).await;
    assert_eq!(tb.told("python", "p", "argv").await, python);

    let log = tb.told("python", "p", "log").await;
    assert_eq!((&log[0]["method"], &log[1]["method"]), (&json!("initialize"), &json!("initialized")));
    let params = &log[0]["params"];
    assert_eq!(params["rootUri"], "file:///home/daytona/p");
    assert_eq!(params["workspaceFolders"], json!([{"uri": "file:///home/daytona/p", "name": "p"}]));
    assert!(params["capabilities"]["textDocument"]["completion"].is_object(), "{params}");
}

#[tokio::test]
async fn documents_are_opened_asked_about_and_closed() {
    let tb = with_fakes().await;
    tb.lsp_ok("start", at("python", "p")).await;
    tb.lsp_ok("start", at("javascript", "p")).await;
    tb.lsp_ok("did-open", document("python", "p", "file:///home/daytona/p/a.py")).await;
    // Relative to the project, with a space.
    tb.lsp_ok("did-open", document("javascript", "p", "file://b c.ts")).await;
    let opened = tb.told("javascript", "p", "log").await[2]["params"]["textDocument"].clone();
    let expected =
        json!({"uri": "file:///home/daytona/p/b%20c.ts", "languageId": "typescript", "version": 1, "text": "two"});
    assert_eq!(opened, expected);

    let symbols: Value = tb.symbols("python", "p", "file:///home/daytona/p/a.py").await.json().await.expect("JSON");
    let range = json!({"end": {"character": 1, "line": 0}, "start": {"character": 0, "line": 0}});
    let location = json!({"range": range, "uri": "file:///home/daytona/p/a.py"});
    assert_eq!(
        symbols,
        json!([{"kind": 5, "location": location, "name": "one"}, {"kind": 6, "location": location, "name": "child"}])
    );
    let encoded: Value =
        tb.symbols("javascript", "p", "file:///home/daytona/p/b%2520c.ts").await.json().await.expect("JSON");
    assert_eq!(encoded[0]["name"], "two");

    // Opened again, it is brought up to date.
    tb.run("printf changed >p/a.py").await;
    tb.lsp_ok("did-open", document("python", "p", "file:///home/daytona/p/a.py")).await;
    let symbols: Value = tb.symbols("python", "p", "file:///home/daytona/p/a.py").await.json().await.expect("JSON");
    assert_eq!(symbols[0]["name"], "changed");
    assert_eq!(tb.told("python", "p", "log").await[4]["params"]["textDocument"]["version"], 2);

    let mut position = document("python", "p", "file://a.py");
    position["position"] = json!({"line": 3, "character": 4});
    let plain: Value = tb.lsp("completions", position.clone()).await.json().await.expect("JSON");
    assert_eq!(plain["isIncomplete"], true);
    let asked: Value = serde_json::from_str(plain["items"][0]["label"].as_str().expect("text")).expect("JSON");
    assert_eq!(
        asked,
        json!({"textDocument": {"uri": "file:///home/daytona/p/a.py"}, "position": {"line": 3, "character": 4}})
    );
    position["context"] = json!({"triggerKind": 2, "triggerCharacter": "."});
    let triggered: Value = tb.lsp("completions", position).await.json().await.expect("JSON");
    assert!(triggered["items"][0]["label"].as_str().expect("text").contains("triggerCharacter"));

    for _ in 0..2 {
        tb.lsp_ok("did-close", document("python", "p", "file:///home/daytona/p/a.py")).await;
    }
    let closed = tb.symbols("python", "p", "file:///home/daytona/p/a.py").await;
    assert_eq!(closed.text().await.expect("text"), "[]");
    assert_eq!(tb.workspace("python", "p", "nothing").await.text().await.expect("text"), "[]");
    let found: Value = tb.workspace("python", "p", "%3Cname%26").await.json().await.expect("JSON");
    assert_eq!(found[0]["name"], "<name&");
    // Relative to the work directory.
    tb.lsp_ok("did-open", document("python", "p", "file://p/a.py")).await;
    let symbols: Value = tb.symbols("python", "p", "file://p/a.py").await.json().await.expect("JSON");
    assert_eq!(symbols[0]["name"], "changed");
    // The name that the old API had.
    let old = tb.get("/lsp/workspace-symbols?languageId=python&pathToProject=p&query=x").await;
    assert_eq!(old.status(), 200);
}

#[tokio::test]
async fn stopped_servers_are_asked_to_leave() {
    let tb = with_fakes().await;
    tb.lsp_ok("start", at("python", "p")).await;
    tb.lsp_ok("start", at("python", "q")).await;
    tb.lsp_ok("stop", at("python", "p")).await;
    assert_eq!(tb.run("ls p/exited; pgrep -c -f fake/").await, "p/exited\n1\n");
    refused(tb.workspace("python", "p", "x").await, 400, "LSP_SERVER_NOT_INITIALIZED").await;
    refused(tb.lsp("stop", at("python", "p")).await, 500, "INTERNAL_SERVER_ERROR").await;
    assert_eq!(tb.workspace("python", "q", "x").await.status(), 200);
    tb.lsp_ok("start", at("python", "p")).await;
    assert_eq!(tb.workspace("python", "p", "x").await.status(), 200);
    // One that doesn't leave is killed.
    assert_eq!(tb.workspace("python", "p", "deaf").await.status(), 200);
    tb.lsp_ok("stop", at("python", "p")).await;
    crate::support::eventually("it ends", async || {
        (tb.run("pgrep -c -f fake/ || true").await.trim() == "1").then_some(())
    })
    .await;
}
