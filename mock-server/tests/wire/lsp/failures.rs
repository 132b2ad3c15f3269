use serde_json::{Value, json};

use super::{at, document, refused, with_fakes};
use crate::support::{eventually, toolbox};

#[tokio::test]
async fn requests_are_checked() {
    let tb = with_fakes().await;
    for operation in ["start", "stop", "did-open", "did-close", "completions"] {
        refused(tb.lsp(operation, json!({})).await, 400, "INVALID_REQUEST_BODY").await;
        refused(tb.lsp(operation, json!({"languageId": 1})).await, 400, "INVALID_REQUEST_BODY").await;
    }
    for query in [
        "document-symbols",
        "document-symbols?languageId=python",
        "workspacesymbols?languageId=python&pathToProject=p",
        "workspacesymbols?query=x",
    ] {
        refused(tb.get(&format!("/lsp/{query}")).await, 400, "BAD_REQUEST").await;
    }
    for language in ["go", "Python", "../x"] {
        let message = refused(tb.lsp("start", at(language, "p")).await, 400, "BAD_REQUEST").await;
        assert_eq!(message, format!("bad request: unsupported language: {language}"));
    }
    refused(tb.lsp("start", at("python", "nope")).await, 400, "BAD_REQUEST").await;
    refused(tb.lsp("start", at("python", "p/a.py")).await, 400, "BAD_REQUEST").await;
    // Before a start.
    let mut completions = document("python", "p", "file://a.py");
    completions["position"] = json!({"line": 0, "character": 0});
    for answer in [
        tb.lsp("did-open", document("python", "p", "file://a.py")).await,
        tb.lsp("did-close", document("python", "p", "file://a.py")).await,
        tb.lsp("completions", completions.clone()).await,
        tb.symbols("python", "p", "file://a.py").await,
        tb.workspace("python", "p", "x").await,
    ] {
        let message = refused(answer, 400, "LSP_SERVER_NOT_INITIALIZED").await;
        assert_eq!(message, "bad request: server not initialized");
    }
    tb.lsp_ok("start", at("python", "p")).await;
    for position in [json!({}), json!({"line": -1, "character": 0}), json!([]), json!({"line": 1.5, "character": 0})] {
        completions["position"] = position;
        refused(tb.lsp("completions", completions.clone()).await, 400, "INVALID_REQUEST_BODY").await;
    }
    tb.run("mkfifo p/fifo && truncate -s 1G p/large").await;
    for uri in
        ["file://nope.py", "file:///home/daytona/p", "file://fifo", "file://large", "file:///etc/shadow", "file://"]
    {
        refused(tb.lsp("did-open", document("python", "p", uri)).await, 400, "BAD_REQUEST").await;
    }
}

#[tokio::test]
async fn a_missing_program_is_named_with_its_cure() {
    let tb = toolbox().await;
    tb.post("/env", json!({"set": {"PATH": "/nowhere"}})).await;
    for (language, cure) in [
        ("python", "pylsp is not installed in this sandbox: pip install python-lsp-server"),
        (
            "typescript",
            "typescript-language-server is not installed in this sandbox: npm install -g typescript@5 typescript-language-server",
        ),
    ] {
        let message = refused(tb.lsp("start", at(language, "/home/daytona")).await, 500, "INTERNAL_SERVER_ERROR").await;
        assert_eq!(message, format!("internal server error: {cure}"));
        refused(tb.workspace(language, "/home/daytona", "x").await, 400, "LSP_SERVER_NOT_INITIALIZED").await;
    }
}

#[tokio::test]
async fn a_project_that_cannot_be_loaded_says_why() {
    let tb = with_fakes().await;
    tb.run("touch p/broken").await;
    let message = refused(tb.lsp("start", at("python", "p")).await, 500, "INTERNAL_SERVER_ERROR").await;
    assert!(message.contains("pylsp ended (exit status: 1)\nthis project can't be loaded"), "{message}");
    tb.run("rm p/broken").await;
    tb.lsp_ok("start", at("python", "p")).await;
}

#[tokio::test]
async fn one_that_dies_is_told_of_and_started_again() {
    let tb = with_fakes().await;
    tb.lsp_ok("start", at("python", "p")).await;
    tb.lsp_ok("did-open", document("python", "p", "file://a.py")).await;
    for (query, words) in [
        ("die", "pylsp ended (exit status: 3)\ngoodbye cruel world"),
        ("garbage", "it broke the protocol: \"hello\" in its header"),
        ("huge", "it broke the protocol: a message of 999999999999 bytes"),
        ("cut", "it broke the protocol"),
    ] {
        let hangs = tb.workspace("python", "p", "hang");
        let dies = async {
            eventually("it hangs", async || (tb.run("pgrep -c -f fake/").await.trim() == "1").then_some(())).await;
            tb.workspace("python", "p", query).await
        };
        let (first, second) = tokio::join!(hangs, dies);
        for answer in [first, second] {
            let message = refused(answer, 500, "INTERNAL_SERVER_ERROR").await;
            assert!(message.contains(words), "{message}");
        }
        // The next one is answered, by a server that knows the document.
        let symbols: Value = tb.symbols("python", "p", "file://a.py").await.json().await.expect("JSON");
        assert_eq!(symbols[0]["name"], "one");
    }
    // Killed while nobody asks: whoever asks before that is noticed may be told.
    tb.run("pkill -9 -f fake/pylsp").await;
    let answered = async || (tb.workspace("python", "p", "x").await.status() == 200).then_some(());
    eventually("it runs again", answered).await;
}

#[tokio::test]
async fn one_that_keeps_dying_is_left_alone_until_it_is_started() {
    let tb = with_fakes().await;
    tb.lsp_ok("start", at("python", "p")).await;
    for _ in 0..5 {
        let message = refused(tb.workspace("python", "p", "die").await, 500, "INTERNAL_SERVER_ERROR").await;
        assert!(message.contains("goodbye"), "{message}");
    }
    for _ in 0..2 {
        let message = refused(tb.workspace("python", "p", "x").await, 500, "INTERNAL_SERVER_ERROR").await;
        assert!(message.ends_with("pylsp ended 5 times in a row: start it again"), "{message}");
    }
    tb.lsp_ok("start", at("python", "p")).await;
    assert_eq!(tb.workspace("python", "p", "x").await.status(), 200);
}

#[tokio::test]
async fn servers_ask_refuse_and_are_let_go() {
    let tb = with_fakes().await;
    tb.lsp_ok("start", at("python", "p")).await;
    let answers = tb.told("python", "p", "ask").await;
    assert_eq!((&answers[0]["id"], &answers[0]["result"]), (&json!(77), &json!([null, null, null])));
    assert_eq!((&answers[1]["id"], &answers[1]["error"]["code"]), (&json!("s"), &json!(-32601)));
    assert_eq!(refused(tb.workspace("python", "p", "refuse").await, 400, "BAD_REQUEST").await, "bad request: no way");
    // A client that leaves cancels what it asked.
    let hang = tokio::time::timeout(std::time::Duration::from_millis(300), tb.workspace("python", "p", "hang")).await;
    assert!(hang.is_err());
    eventually("the server is told", async || {
        let log = tb.told("python", "p", "log").await;
        let log = log.as_array().expect("a list").clone();
        log.iter().any(|message| message["method"] == "$/cancelRequest").then_some(())
    })
    .await;
    let questions = (0..20).map(|i| {
        let tb = &tb;
        async move { tb.workspace("python", "p", &format!("q{i}")).await.json::<Value>().await.expect("JSON") }
    });
    let answers = futures_util::future::join_all(questions).await;
    assert!(answers.iter().enumerate().all(|(i, answer)| answer[0]["name"] == format!("q{i}")));
}

#[tokio::test]
async fn servers_are_counted() {
    let tb = with_fakes().await;
    tb.run("mkdir -p $(seq -f m%g 40) && for d in m*; do ln -s ../fake $d/; done").await;
    let mut refused_at = None;
    for i in 1..=40 {
        let answer = tb.lsp("start", at("python", &format!("m{i}"))).await;
        if answer.status() != 200 {
            refused(answer, 400, "BAD_REQUEST").await;
            refused_at = Some(i);
            break;
        }
    }
    assert_eq!(refused_at, Some(33));
}
