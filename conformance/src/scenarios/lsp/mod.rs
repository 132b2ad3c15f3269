//! Language servers. Sandboxes without one for Python get a small one from here.

use crate::{client::Answer, prelude::*};

scenarios! { "lsp";
    /// A server is started for a project, answers about a file that was opened, and is stopped. (Start, DidOpen,
    /// Completions, DocumentSymbols, WorkspaceSymbols, DidClose, Stop)
    answers_about_a_project: Must,
        covers ["Start", "DidOpen", "Completions", "DocumentSymbols", "WorkspaceSymbols", "DidClose", "Stop"], since "0.200";

    /// A document is as it was opened, whatever becomes of its file, until it is closed. (DidOpen, DidClose; the language
    /// server protocol)
    documents_are_as_they_were_opened: Must, covers ["DidOpen", "DidClose", "DocumentSymbols"], since "0.200";

    /// Two projects have a server each; stopping one leaves the other. (Start, Stop)
    projects_have_their_own_servers: Must, covers ["Start", "Stop", "DocumentSymbols"], since "0.200";

    /// A server that dies comes back, or the answer says that it must be started; nothing waits for it for ever.
    /// (DocumentSymbols)
    dead_server_is_told_of: Must, covers ["Start", "DocumentSymbols"], since "0.200";

    /// Nothing is answered for a project whose server isn't started: 400. (observed)
    needs_a_start: Must, covers ["Completions", "DocumentSymbols", "WorkspaceSymbols", "DidOpen", "DidClose"];

    /// An unknown language and a body without its fields are 400. (observed)
    input_is_validated: Must, covers ["Start", "Stop", "DidOpen", "DidClose", "Completions"];
}

/// For a server that starts on a busy machine.
const LONG: Duration = Duration::from_secs(60);

const STAND_IN: &[u8] = include_bytes!("pylsp.py");

const CIRCLE: &[u8] = b"class Circle:\n    def area(self):\n        return 1\n\nc = Circle()\nc.\n";

/// A project with one file, and a server for it that runs.
struct Project<'a> {
    sandbox: &'a Sandbox,
    path: String,
}

impl Project<'_> {
    async fn start<'a>(sandbox: &'a Sandbox, name: &str) -> Result<Project<'a>> {
        let find = "command -v pylsp || ls ~/.local/bin/pylsp 2>/dev/null || true";
        if sandbox.output(find).await?.is_empty() {
            let program = format!("{}/.local/bin/pylsp", sandbox.output("echo ~").await?.trim());
            sandbox.upload(&program, STAND_IN).await?.ok()?;
            sandbox.output(&format!("chmod +x {program}")).await?;
        }
        let path = format!("{}/{name}", sandbox.output("echo ~").await?.trim());
        let project = Project { sandbox, path };
        sandbox.upload(&project.file(), CIRCLE).await?.ok()?;
        let started = project.post("start", project.body()).await?;
        let message = started["message"].as_str().unwrap_or_default();
        if !started.is_ok() && (message.contains("pylsp") || message.contains("python-lsp-server")) {
            return Err(Stop::not_applicable(format!("a language server for Python: {message}")));
        }
        started.ok()?;
        Ok(project)
    }

    fn file(&self) -> String {
        format!("{}/shapes.py", self.path)
    }

    fn body(&self) -> Value {
        json!({"languageId": "python", "pathToProject": self.path})
    }

    fn document(&self) -> Value {
        json!({"languageId": "python", "pathToProject": self.path, "uri": format!("file://{}", self.file())})
    }

    async fn post(&self, operation: &str, body: Value) -> Result<Answer> {
        self.sandbox.post(&format!("/lsp/{operation}")).json(body).timeout(LONG).send().await
    }

    async fn get(&self, operation: &str, name: &str, value: &str) -> Result<Answer> {
        let request = self.sandbox.get(&format!("/lsp/{operation}")).query("languageId", "python");
        request.query("pathToProject", &self.path).query(name, value).timeout(LONG).send().await
    }

    async fn symbols(&self) -> Result<Answer> {
        self.get("document-symbols", "uri", &format!("file://{}", self.file())).await
    }
}

/// Whether there is a symbol of this name.
fn names(symbols: &Answer, name: &str) -> bool {
    symbols.json.as_array().into_iter().flatten().any(|symbol| symbol["name"] == name)
}

async fn answers_about_a_project(cx: Cx) -> Result {
    let sandbox = cx.sandbox().await?;
    let project = Project::start(&sandbox, "project").await?;
    cx.check("start-again").status(&project.post("start", project.body()).await?, 200);
    cx.check("open").status(&project.post("did-open", project.document()).await?, 200);
    let symbols = project.symbols().await?;
    cx.check("symbols").status(&symbols, 200);
    cx.check("circle").on(&symbols).that(names(&symbols, "Circle"), "a symbol Circle", &symbols.json);
    let circle = symbols.json.as_array().into_iter().flatten().find(|symbol| symbol["name"] == "Circle");
    let line = circle.map(|symbol| symbol.pointer("/location/range/start/line").cloned().unwrap_or_default());
    cx.check("where").on(&symbols).eq(line, Some(json!(0)));
    let uri = circle.and_then(|symbol| symbol.pointer("/location/uri").cloned());
    cx.check("uri").on(&symbols).eq(uri, Some(json!(format!("file://{}", project.file()))));
    // The protocol's number of classes.
    cx.check("kind").on(&symbols).eq(circle.map(|symbol| symbol["kind"].clone()), Some(json!(5)));
    let mut at = project.document();
    at["position"] = json!({"line": 5, "character": 2});
    let completions = project.post("completions", at.clone()).await?;
    cx.check("completions").status(&completions, 200);
    cx.check("area").on(&completions).contains(&completions["items"].to_string(), "area");
    let mut items = completions["items"].as_array().into_iter().flatten();
    let kind = items.find(|item| item["label"].as_str().is_some_and(|label| label.starts_with("area")));
    cx.check("area-kind").should().on(&completions).that(
        kind.is_some_and(|item| item["kind"].is_u64()),
        "a number",
        kind,
    );
    let workspace = project.get("workspacesymbols", "query", "Circle").await?;
    // Not every language server knows this request.
    cx.check("workspace").status_in(&workspace, &[200, 400]);
    cx.check("close").status(&project.post("did-close", project.document()).await?, 200);
    cx.check("stop").status(&project.post("stop", project.body()).await?, 200);
    cx.check("stopped").status(&project.post("completions", at).await?, 400);
    Ok(())
}

async fn documents_are_as_they_were_opened(cx: Cx) -> Result {
    let sandbox = cx.sandbox().await?;
    let project = Project::start(&sandbox, "project").await?;
    project.post("did-open", project.document()).await?.ok()?;
    sandbox.upload(&project.file(), b"class Square:\n    pass\n").await?.ok()?;
    let opened = project.symbols().await?;
    cx.check("as-opened").on(&opened).that(names(&opened, "Circle"), "a symbol Circle", &opened.json);
    project.post("did-close", project.document()).await?.ok()?;
    let closed = project.symbols().await?;
    cx.check("closed").on(&closed).that(!names(&closed, "Circle"), "no symbol Circle", &closed.json);
    project.post("did-open", project.document()).await?.ok()?;
    let again = project.symbols().await?;
    cx.check("opened-again").on(&again).that(names(&again, "Square"), "a symbol Square", &again.json);
    Ok(())
}

async fn projects_have_their_own_servers(cx: Cx) -> Result {
    let sandbox = cx.sandbox().await?;
    let (one, two) = (Project::start(&sandbox, "one").await?, Project::start(&sandbox, "two").await?);
    cx.check("one").status(&one.symbols().await?, 200);
    cx.check("stop").status(&one.post("stop", one.body()).await?, 200);
    cx.check("stopped").status(&one.symbols().await?, 400);
    let other = two.symbols().await?;
    cx.check("other").on(&other).that(names(&other, "Circle"), "a symbol Circle", &other.json);
    Ok(())
}

async fn dead_server_is_told_of(cx: Cx) -> Result {
    let sandbox = cx.sandbox().await?;
    let project = Project::start(&sandbox, "project").await?;
    project.post("did-open", project.document()).await?.ok()?;
    // By its directory, too: others of this name may be somebody else's. The search itself must not match.
    let find = "for p in /proc/[0-9]*; do [ \"$(readlink $p/cwd)\" = \"$(readlink -f DIR)\" ] && grep -q '[p]ylsp' $p/cmdline \
        && kill -9 ${p#/proc/} && echo killed; done; true";
    if sandbox.output(&find.replace("DIR", &project.path)).await?.is_empty() {
        return Err(Stop::not_applicable("a language server that runs in its project"));
    }
    let told = project.symbols().await?;
    cx.check("an-answer").status_in(&told, &[200, 400, 500, 503]);
    cx.check("start").status(&project.post("start", project.body()).await?, 200);
    let again = cx.eventually("symbols", LONG, || async {
        let symbols = project.symbols().await?;
        Ok(names(&symbols, "Circle").then_some(symbols))
    });
    cx.check("again").status(&again.await?, 200);
    Ok(())
}

async fn needs_a_start(cx: Cx) -> Result {
    let sandbox = cx.shared().await?;
    let project = Project { sandbox: &sandbox, path: cx.dir() };
    let mut body = project.document();
    body["position"] = json!({"line": 0, "character": 0});
    for path in ["completions", "did-open", "did-close"] {
        cx.check(path).status(&project.post(path, body.clone()).await?, 400);
    }
    let refused = project.symbols().await?;
    cx.check("document-symbols").status(&refused, 400);
    if cx.is_since("0.200") {
        cx.check("code").should().json(&refused, "/code", "LSP_SERVER_NOT_INITIALIZED");
    }
    cx.check("workspacesymbols").status(&project.get("workspacesymbols", "query", "x").await?, 400);
    Ok(())
}

async fn input_is_validated(cx: Cx) -> Result {
    let sandbox = cx.shared().await?;
    let project = Project { sandbox: &sandbox, path: cx.dir() };
    for (id, body) in [
        ("no-project", json!({"languageId": "python"})),
        ("no-language", json!({"pathToProject": "/tmp"})),
        ("language", json!({"languageId": "cobol", "pathToProject": "/tmp"})),
    ] {
        cx.check(format!("start-{id}")).status(&project.post("start", body).await?, 400);
    }
    for operation in ["did-open", "did-close", "completions"] {
        cx.check(format!("{operation}-no-uri")).status(&project.post(operation, project.body()).await?, 400);
    }
    cx.check("stop-unknown").status_in(&project.post("stop", project.body()).await?, &[400, 500]);
    Ok(())
}
