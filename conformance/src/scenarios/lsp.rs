use crate::prelude::*;

scenarios! { "lsp";
    /// A server is started for a project, answers about a file that was opened, and is stopped. (Start, DidOpen,
    /// Completions, DocumentSymbols, WorkspaceSymbols, DidClose, Stop)
    answers_about_a_project: Must,
        covers ["Start", "DidOpen", "Completions", "DocumentSymbols", "WorkspaceSymbols", "DidClose", "Stop"], since "0.200";

    /// Nothing is answered for a project whose server isn't started: 400. (observed)
    needs_a_start: Must, covers ["Completions", "DocumentSymbols", "WorkspaceSymbols", "DidOpen", "DidClose"];

    /// An unknown language and a body without its fields are 400. (observed)
    input_is_validated: Must, covers ["Start", "Stop"];
}

async fn answers_about_a_project(cx: Cx) -> Result {
    let sandbox = cx.sandbox().await?;
    let project = "/home/daytona/project";
    let file = format!("{project}/shapes.py");
    sandbox.upload(&file, b"class Circle:\n    def area(self):\n        return 1\n\nc = Circle()\nc.\n").await?.ok()?;
    let of_project = json!({"languageId": "python", "pathToProject": project});
    let of_file = json!({"languageId": "python", "pathToProject": project, "uri": format!("file://{file}")});
    let post = |path: &str, body: &Value| {
        sandbox.post(&format!("/lsp/{path}")).json(body.clone()).timeout(Duration::from_secs(60)).send()
    };
    let started = post("start", &of_project).await?;
    let message = started["message"].as_str().unwrap_or_default().to_owned();
    if !started.is_ok() && (message.contains("pylsp") || message.contains("python-lsp-server")) {
        return Err(Stop::not_applicable(format!("a language server for Python: {message}")));
    }
    cx.check("start").status(&started, 200);
    cx.check("start-again").status(&post("start", &of_project).await?, 200);
    cx.check("open").status(&post("did-open", &of_file).await?, 200);
    let symbols = sandbox.get("/lsp/document-symbols").query("languageId", "python").query("pathToProject", project);
    let symbols = symbols.query("uri", format!("file://{file}")).timeout(Duration::from_secs(60)).send().await?;
    cx.check("symbols").status(&symbols, 200);
    let found = symbols.json.as_array().into_iter().flatten().any(|symbol| symbol["name"] == "Circle");
    cx.check("circle").on(&symbols).that(found, "a symbol Circle", &symbols.json);
    let mut at = of_file.clone();
    at["position"] = json!({"line": 5, "character": 2});
    let completions = post("completions", &at).await?;
    cx.check("completions").status(&completions, 200);
    let labels = completions["items"].to_string();
    cx.check("area").on(&completions).contains(&labels, "area");
    let workspace = sandbox.get("/lsp/workspacesymbols").query("languageId", "python").query("pathToProject", project);
    let workspace = workspace.query("query", "Circle").timeout(Duration::from_secs(60)).send().await?;
    // Not every language server knows this request.
    cx.check("workspace").status_in(&workspace, &[200, 400]);
    cx.check("close").status(&post("did-close", &of_file).await?, 200);
    cx.check("stop").status(&post("stop", &of_project).await?, 200);
    cx.check("stopped").status(&post("completions", &at).await?, 400);
    Ok(())
}

async fn needs_a_start(cx: Cx) -> Result {
    let sandbox = cx.shared().await?;
    let dir = cx.dir();
    let mut body = json!({"languageId": "python", "pathToProject": dir, "uri": format!("file://{dir}/a.py")});
    body["position"] = json!({"line": 0, "character": 0});
    for path in ["completions", "did-open", "did-close"] {
        cx.check(path).status(&sandbox.post(&format!("/lsp/{path}")).json(body.clone()).send().await?, 400);
    }
    for path in ["document-symbols", "workspacesymbols"] {
        let request = sandbox.get(&format!("/lsp/{path}")).query("languageId", "python").query("pathToProject", &dir);
        let request = request.query("uri", format!("file://{dir}/a.py")).query("query", "x");
        cx.check(path).status(&request.send().await?, 400);
    }
    Ok(())
}

async fn input_is_validated(cx: Cx) -> Result {
    let sandbox = cx.shared().await?;
    for (id, body) in [
        ("no-project", json!({"languageId": "python"})),
        ("no-language", json!({"pathToProject": "/tmp"})),
        ("language", json!({"languageId": "cobol", "pathToProject": "/tmp"})),
    ] {
        cx.check(format!("start-{id}")).status(&sandbox.post("/lsp/start").json(body).send().await?, 400);
    }
    let never = json!({"languageId": "python", "pathToProject": cx.dir()});
    cx.check("stop-unknown").status_in(&sandbox.post("/lsp/stop").json(never).send().await?, &[400, 500]);
    Ok(())
}
