//! Code that is run as a program of its language.

use crate::{client::Answer, prelude::*};

scenarios! { "code_run";
    /// Python runs, and what it prints and its exit code are answered. (CodeRun)
    python_runs: Must, covers ["CodeRun"], since "0.167";

    /// JavaScript runs with Node, with CommonJS modules. (CodeRun)
    javascript_runs: Must, covers ["CodeRun"], since "0.167";

    /// TypeScript runs: types, enums, imports. (CodeRun)
    typescript_runs: Must, covers ["CodeRun"], since "0.167";

    /// An exception is an exit code of 1 with the trace in the output, and status 200. (CodeRun; observed)
    exceptions_are_output: Must, covers ["CodeRun"], since "0.167";

    /// `argv` is where programs of the language look for it. (CodeRun; observed)
    arguments_are_passed: Must, covers ["CodeRun"], since "0.167";

    /// `envs` are variables of this run. (CodeRun)
    variables_are_passed: Must, covers ["CodeRun"], since "0.167";

    /// A run that takes too long is 408, and nothing of it is left. (CodeRun)
    time_limit_kills: Must, covers ["CodeRun"], since "0.167";

    /// Missing code or language, a language that nobody knows: 400. (CodeRun; observed)
    bad_requests: Must, covers ["CodeRun"], since "0.167";

    /// Charts that the code reports are artifacts, and not part of the output. (CodeRun: artifacts; SDKs)
    artifacts_are_taken_out: Must, covers ["CodeRun"], since "0.167";

    /// A chart that matplotlib shows is told with type, title, axes and elements. (CodeRun: Chart; SDKs)
    matplotlib_charts: Should, covers ["CodeRun"], since "0.167";

    /// Code of any length, with any letters and quotes, runs. (CodeRun)
    code_of_any_kind: Must, covers ["CodeRun"], since "0.167";

    /// Each run is new: nothing of an earlier one is known. (CodeRun)
    runs_share_nothing: Must, covers ["CodeRun"], since "0.167";
}

async fn run(sandbox: &Sandbox, body: Value) -> Result<Answer> {
    sandbox.post("/process/code-run").json(body).send().await
}

async fn with(cx: &Cx, program: &str) -> Result<Sandbox> {
    let sandbox = cx.shared().await?;
    sandbox.needs_program(program).await?;
    Ok(sandbox)
}

async fn python_runs(cx: Cx) -> Result {
    let sandbox = with(&cx, "python3").await?;
    let code = "import sys\nprint('hi', sys.argv[0])\nprint('err', file=sys.stderr)\nsys.exit(3)";
    let answer = run(&sandbox, json!({"code": code, "language": "python"})).await?;
    cx.check("status").status(&answer, 200);
    cx.check("exit-code").json(&answer, "/exitCode", 3);
    cx.check("output").json(&answer, "/result", "hi -\nerr\n");
    cx.check("no-artifacts").on(&answer).that(answer.json.get("artifacts").is_none(), "no artifacts", answer.summary());
    Ok(())
}

async fn javascript_runs(cx: Cx) -> Result {
    let sandbox = with(&cx, "node").await?;
    let code = "const os = require('os'); console.log(typeof os.cpus, [1, 2].map(x => x * 2)); console.error('err'); process.exit(3)";
    let answer = run(&sandbox, json!({"code": code, "language": "javascript"})).await?;
    cx.check("status").status(&answer, 200);
    cx.check("exit-code").json(&answer, "/exitCode", 3);
    cx.check("output").json(&answer, "/result", "function [ 2, 4 ]\nerr\n");
    Ok(())
}

async fn typescript_runs(cx: Cx) -> Result {
    let sandbox = with(&cx, "node").await?;
    let code = r#"
import { existsSync } from "fs";
interface Point { x: number; y?: string }
enum Color { Red = 1, Green }
class Box<T> { constructor(private readonly held: T) {} get(): T { return this.held } }
const p: Point = { x: Color.Green };
console.log(new Box<Point>(p).get(), existsSync("/") as boolean);
"#;
    let answer = run(&sandbox, json!({"code": code, "language": "typescript"})).await?;
    cx.check("exit-code").json(&answer, "/exitCode", 0);
    cx.check("output").json(&answer, "/result", "{ x: 2 } true\n");
    Ok(())
}

async fn exceptions_are_output(cx: Cx) -> Result {
    let sandbox = with(&cx, "python3").await?;
    let answer = run(&sandbox, json!({"code": "def f():\n  1/0\nf()", "language": "python"})).await?;
    cx.check("python-status").status(&answer, 200);
    cx.check("python-code").json(&answer, "/exitCode", 1);
    let text = answer["result"].as_str().unwrap_or_default();
    for part in ["Traceback", "ZeroDivisionError", "File \"<stdin>\", line 2, in f"] {
        cx.check(format!("python {part}")).on(&answer).contains(text, part);
    }
    sandbox.needs_program("node").await?;
    for language in ["javascript", "typescript"] {
        let answer = run(&sandbox, json!({"code": "throw new Error('mine')", "language": language})).await?;
        cx.check(format!("{language}-code")).json(&answer, "/exitCode", 1);
        cx.check(format!("{language}-trace"))
            .on(&answer)
            .contains(answer["result"].as_str().unwrap_or_default(), "Error: mine");
    }
    Ok(())
}

async fn arguments_are_passed(cx: Cx) -> Result {
    let sandbox = with(&cx, "python3").await?;
    let code = "import sys; print(sys.argv[1:])";
    let answer = run(&sandbox, json!({"code": code, "language": "python", "argv": ["a", "--b=c", "3"]})).await?;
    cx.check("python").json(&answer, "/result", "['a', '--b=c', '3']\n");
    sandbox.needs_program("node").await?;
    for language in ["javascript", "typescript"] {
        let code = "console.log(process.argv.includes('a'), process.argv.includes('--b=c'))";
        let answer = run(&sandbox, json!({"code": code, "language": language, "argv": ["a", "--b=c"]})).await?;
        cx.check(language).json(&answer, "/result", "true true\n");
    }
    Ok(())
}

async fn variables_are_passed(cx: Cx) -> Result {
    let sandbox = with(&cx, "python3").await?;
    let code = "import os; print(os.environ.get('MINE'))";
    let answer = run(&sandbox, json!({"code": code, "language": "python", "envs": {"MINE": "a b; $(c) ü"}})).await?;
    cx.check("value").json(&answer, "/result", "a b; $(c) ü\n");
    let after = run(&sandbox, json!({"code": code, "language": "python"})).await?;
    cx.check("gone-after").json(&after, "/result", "None\n");
    let bad = run(&sandbox, json!({"code": code, "language": "python", "envs": {"1X": ""}})).await?;
    cx.check("bad-name").status(&bad, 400);
    Ok(())
}

async fn time_limit_kills(cx: Cx) -> Result {
    let sandbox = with(&cx, "python3").await?;
    let code = "import time\nwhile True: time.sleep(1)";
    let answer = run(&sandbox, json!({"code": code, "language": "python", "timeout": 1})).await?;
    cx.check("status").status(&answer, 408);
    cx.check("code").should().json(&answer, "/code", "PROCESS_EXECUTION_TIMEOUT");
    cx.check("in-time").on(&answer).that(answer.took < Duration::from_secs(6), "within 6 s", answer.took);
    Ok(())
}

async fn bad_requests(cx: Cx) -> Result {
    let sandbox = cx.shared().await?;
    for (id, body) in [
        ("nothing", json!({})),
        ("no-code", json!({"language": "python"})),
        ("no-language", json!({"code": "1"})),
        ("empty-code", json!({"code": "", "language": "python"})),
        ("code-a-number", json!({"code": 1, "language": "python"})),
    ] {
        let answer = run(&sandbox, body).await?;
        cx.check(id).status(&answer, 400);
        cx.check(format!("{id}-code")).should().json(&answer, "/code", "INVALID_REQUEST_BODY");
    }
    let ruby = run(&sandbox, json!({"code": "1", "language": "ruby"})).await?;
    cx.check("ruby").error(&ruby, 400, "bad request: unsupported language: ruby");
    Ok(())
}

async fn artifacts_are_taken_out(cx: Cx) -> Result {
    let sandbox = with(&cx, "python3").await?;
    let code = r#"
print('before')
print('dtn_artifact_k39fd2:{"type":"chart","value":{"type":"bar","title":"T","x_label":"X","png":"aGk=","elements":[{"label":"a","value":"1","group":"g"}]}}')
print('after')
"#;
    let answer = run(&sandbox, json!({"code": code, "language": "python"})).await?;
    cx.check("output").json(&answer, "/result", "before\nafter\n");
    cx.check("count").on(&answer).eq(answer.at("/artifacts/charts").as_array().map(Vec::len), Some(1));
    cx.check("type").json(&answer, "/artifacts/charts/0/type", "bar");
    cx.check("title").json(&answer, "/artifacts/charts/0/title", "T");
    cx.check("label").json(&answer, "/artifacts/charts/0/x_label", "X");
    cx.check("element").json(&answer, "/artifacts/charts/0/elements/0/label", "a");
    cx.check("png").json(&answer, "/artifacts/charts/0/png", "aGk=");
    Ok(())
}

async fn matplotlib_charts(cx: Cx) -> Result {
    let sandbox = with(&cx, "python3").await?;
    if sandbox.exec("python3 -c 'import matplotlib'").await?["exitCode"] != 0 {
        return Err(Stop::not_applicable("matplotlib in sandboxes"));
    }
    let code = "import matplotlib.pyplot as plt\nplt.plot([1, 2], [3, 4], label='l')\nplt.title('T')\nplt.xlabel('X')\nplt.show()\nprint('end')";
    let answer = run(&sandbox, json!({"code": code, "language": "python"})).await?;
    cx.check("output").json(&answer, "/result", "end\n");
    cx.check("type").json(&answer, "/artifacts/charts/0/type", "line");
    cx.check("title").json(&answer, "/artifacts/charts/0/title", "T");
    cx.check("label").json(&answer, "/artifacts/charts/0/x_label", "X");
    cx.check("points").json(&answer, "/artifacts/charts/0/elements/0/points", json!([[1.0, 3.0], [2.0, 4.0]]));
    let png = answer.at("/artifacts/charts/0/png").as_str().unwrap_or_default();
    cx.check("png").that(png.starts_with("iVBOR"), "a PNG in base64", png.len());
    Ok(())
}

async fn code_of_any_kind(cx: Cx) -> Result {
    let sandbox = with(&cx, "python3").await?;
    let code = "print('''it's \"q\" $HOME `x` \\\\ ünï 漢 🙂''')";
    let answer = run(&sandbox, json!({"code": code, "language": "python"})).await?;
    cx.check("letters").json(&answer, "/result", "it's \"q\" $HOME `x` \\ ünï 漢 🙂\n");
    let long = format!("x = '{}'\nprint(len(x))", "y".repeat(1 << 20));
    let answer = run(&sandbox, json!({"code": long, "language": "python"})).await?;
    cx.check("long").json(&answer, "/result", "1048576\n");
    let much = run(&sandbox, json!({"code": "print('x' * 3000000, end='')", "language": "python"})).await?;
    cx.check("much-output").eq(much["result"].as_str().map(str::len), Some(3_000_000));
    Ok(())
}

async fn runs_share_nothing(cx: Cx) -> Result {
    let sandbox = with(&cx, "python3").await?;
    run(&sandbox, json!({"code": "mine = 1", "language": "python"})).await?.ok()?;
    let answer = run(&sandbox, json!({"code": "print('mine' in globals())", "language": "python"})).await?;
    cx.check("forgotten").json(&answer, "/result", "False\n");
    Ok(())
}
