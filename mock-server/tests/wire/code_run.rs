//! `POST /process/code-run`.

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::support::{Toolbox, local_toolbox, toolbox};

async fn code_run(tb: &Toolbox, body: Value) -> (u16, Value) {
    let res = tb.post("/process/code-run", body).await;
    (res.status().as_u16(), res.json().await.expect("JSON"))
}

/// Runs code that must end with 0; its output.
async fn output(tb: &Toolbox, language: &str, code: &str) -> String {
    let (status, body) = code_run(tb, json!({"code": code, "language": language})).await;
    assert_eq!((status, &body["exitCode"]), (200, &json!(0)), "{body}");
    assert!(body.get("artifacts").is_none());
    body["result"].as_str().expect("text").to_owned()
}

#[tokio::test]
async fn python() {
    let tb = toolbox().await;
    assert_eq!(output(&tb, "python", "import sys\nprint('hi', sys.argv)").await, "hi ['-']\n");
    let (status, body) = code_run(&tb, json!({"code": "def f():\n  1/0\nf()", "language": "python"})).await;
    assert_eq!((status, &body["exitCode"]), (200, &json!(1)));
    let traceback = body["result"].as_str().expect("text");
    assert!(
        traceback.contains("File \"<stdin>\", line 2, in f") && traceback.contains("ZeroDivisionError"),
        "{traceback}"
    );
}

#[tokio::test]
async fn javascript() {
    let tb = local_toolbox().await;
    let code = "const os = require('os'); console.log(typeof os.cpus); console.error('e')";
    assert_eq!(output(&tb, "javascript", code).await, "function\ne\n");
    std::fs::write(tb.dir.join("child.js"), "console.log(process.argv.slice(2), process.execArgv)").expect("write");
    let code = "require('child_process').fork('./child.js', ['a'])";
    assert_eq!(output(&tb, "javascript", code).await, "[ 'a' ] []\n");
    assert_eq!(output(&tb, "typescript", code).await, "[ 'a' ] []\n");
    let (_, body) = code_run(&tb, json!({"code": "throw new Error('x')", "language": "javascript"})).await;
    assert_eq!(body["exitCode"], 1);
    assert!(body["result"].as_str().expect("text").contains("Error: x"));
}

#[tokio::test]
async fn typescript_syntax_of_all_kinds() {
    let tb = toolbox().await;
    let code = r#"
import { readFileSync } from "fs";
import type { Stats } from "fs";
import os = require("os");
interface P { x: number; y?: string }
enum Color { Red = 1, Green }
const enum K { A = 5 }
namespace N { export const v = 3; export function f(): number { return v } }
abstract class Base<T> { constructor(protected readonly name: string, public n = 2) {} abstract go(): T }
class D extends Base<number> { #p = 1; x?: number; go() { return this.n + this.#p } }
function dec(t: any, k: string, d: PropertyDescriptor) { const o = d.value; d.value = function (...a: any[]) { return "dec:" + o.apply(this, a) } }
function cls(c: any) { c.tag = "tagged" }
@cls class E { @dec m(a: string): string { return a } }
const g = <T,>(a: T): T => a;
const p: P = { x: 1 } satisfies P;
console.log(Color.Green, Color[1], K.A, N.f(), new D("nm").go(), new E().m("z"), (E as any).tag, p.x, g<string>("q")!, typeof os.cpus, typeof readFileSync);
"#;
    assert_eq!(output(&tb, "typescript", code).await, "2 Red 5 3 3 dec:z tagged 1 q function function\n");
}

#[tokio::test]
async fn typescript_modules_await_require_and_using() {
    let tb = local_toolbox().await;
    let code =
        "import path from 'path';\nconst v: number = await Promise.resolve(42);\nconsole.log(v, path.sep);\nexport {};";
    assert_eq!(output(&tb, "typescript", code).await, "42 /\n");
    let code = "const fs = require('fs'); if (require.main === module) console.log(typeof fs.readFileSync, __dirname);";
    let dir = tb.dir.canonicalize().expect("path");
    assert_eq!(output(&tb, "typescript", code).await, format!("function {}\n", dir.display()));
    let code = "{ using r = { [Symbol.dispose]() { console.log('gone') } }; console.log('in') }\n\
        { await using r = { async [Symbol.asyncDispose]() { console.log('gone too') } } }";
    assert_eq!(output(&tb, "typescript", code).await, "in\ngone\ngone too\n");
}

#[tokio::test]
async fn typescript_errors_name_their_place() {
    let tb = toolbox().await;
    let (status, body) =
        code_run(&tb, json!({"code": "let a: number = 1;\nlet b: = 2;", "language": "typescript"})).await;
    assert_eq!((status, &body["exitCode"]), (200, &json!(1)));
    let text = body["result"].as_str().expect("text");
    assert!(text.starts_with("TSError: ⨯ Unable to compile TypeScript:\ncode.ts:2:8 - error: "), "{text}");
    let code = "interface A {}\n\n\nfunction boom(): never {\n  throw new Error('b');\n}\nboom();";
    let (_, body) = code_run(&tb, json!({"code": code, "language": "typescript"})).await;
    assert_eq!(body["exitCode"], 1);
    assert!(body["result"].as_str().expect("text").contains("code.ts:5:9"), "{body}");
}

#[tokio::test]
async fn typescript_that_no_compiler_survives() {
    let tb = toolbox().await;
    for code in ["(".repeat(1 << 20), "a.b<".repeat(100_000)] {
        let (status, body) = code_run(&tb, json!({"code": code, "language": "typescript"})).await;
        assert_eq!((status, &body["exitCode"]), (200, &json!(1)), "{body}");
        assert!(body["result"].as_str().expect("text").starts_with("TSError: "));
    }
    assert_eq!(output(&tb, "typescript", "console.log(1 as number)").await, "1\n");
}

#[tokio::test]
async fn arguments_are_joined_for_a_shell() {
    let tb = toolbox().await;
    let (py, js, ts) = (
        "import sys; print(sys.argv)",
        "console.log(process.argv.slice(1))",
        "console.log(process.argv.slice(2) as string[])",
    );
    for (language, code, expected) in [
        ("python", py, "['-', 'a', 'b', 'c', 'd e']\n"),
        ("javascript", js, "[ 'a', 'b', 'c', 'd e' ]\n"),
        ("typescript", ts, "[ 'a', 'b', 'c', 'd e' ]\n"),
    ] {
        let body = json!({"code": code, "language": language, "argv": ["a", "b c", "'d e'"]});
        assert_eq!(code_run(&tb, body).await.1["result"], expected);
    }
    let body = json!({"code": py, "language": "python", "argv": ["x", "--y=1"]});
    assert_eq!(code_run(&tb, body).await.1["result"], "['-', 'x', '--y=1']\n");
}

#[tokio::test]
async fn environment_and_time_limit() {
    let tb = toolbox().await;
    let body = json!({"code": "import os; print(os.environ['A'])", "language": "python", "envs": {"A": "b c"}});
    assert_eq!(code_run(&tb, body).await.1["result"], "b c\n");
    let start = Instant::now();
    for (language, code) in
        [("python", "import time; time.sleep(60)"), ("typescript", "await new Promise(r => setTimeout(r, 60000))")]
    {
        let (status, error) = code_run(&tb, json!({"code": code, "language": language, "timeout": 1})).await;
        assert_eq!((status, &error["code"]), (408, &json!("PROCESS_EXECUTION_TIMEOUT")));
    }
    assert!(start.elapsed() < Duration::from_secs(20));
}

#[tokio::test]
async fn bad_requests() {
    let tb = toolbox().await;
    let (status, error) = code_run(&tb, json!({"code": "x", "language": "ruby"})).await;
    assert_eq!((status, &error["code"]), (400, &json!("BAD_REQUEST")));
    assert_eq!(error["message"], "bad request: unsupported language: ruby");
    for body in
        [json!({}), json!({"code": "x"}), json!({"language": "python"}), json!({"code": "", "language": "python"})]
    {
        let (status, error) = code_run(&tb, body).await;
        assert_eq!((status, &error["code"]), (400, &json!("INVALID_REQUEST_BODY")));
    }
    let bad_name = json!({"code": "1", "language": "python", "envs": {"A-B": "1"}});
    assert_eq!(code_run(&tb, bad_name).await.0, 400);
    let missing = json!({"code": "1", "language": "javascript", "envs": {"PATH": "/nope"}});
    assert_eq!(code_run(&tb, missing).await.1, json!({"exitCode": 127, "result": "node: command not found\n"}));
}

#[tokio::test]
async fn artifact_lines_become_charts() {
    let tb = toolbox().await;
    let code = r#"print("a")
print('dtn_artifact_k39fd2:{"type":"chart","value":{"type":"pie","elements":[{"label":"x","angle":90,"radius":1}]}}')
print("b")"#;
    let (_, body) = code_run(&tb, json!({"code": code, "language": "python"})).await;
    let chart = json!({"type": "pie", "elements": [{"label": "x", "angle": 90.0, "radius": 1.0}]});
    assert_eq!(body, json!({"exitCode": 0, "result": "a\nb\n", "artifacts": {"charts": [chart]}}));
}

#[tokio::test]
async fn code_that_imports_matplotlib_is_wrapped_unseen() {
    let tb = toolbox().await;
    let code = "from __future__ import annotations\n'''doc'''\ntry:\n  import matplotlib.pyplot as plt\nexcept ImportError: pass\n\
        print(__name__, [n for n in globals() if 'dtn' in n])\ndef f():\n  1/0\nf()";
    let (_, body) = code_run(&tb, json!({"code": code, "language": "python"})).await;
    let text = body["result"].as_str().expect("text");
    let expected = "__main__ []\nTraceback (most recent call last):\n  File \"<stdin>\", line 9, in <module>\n  \
        File \"<stdin>\", line 8, in f\nZeroDivisionError: division by zero\n";
    assert_eq!((text, &body["exitCode"]), (expected, &json!(1)));
    let (_, body) = code_run(&tb, json!({"code": "import matplotlib\nx = = 1", "language": "python"})).await;
    assert!(body["result"].as_str().expect("text").contains("File \"<stdin>\", line 2"), "{body}");
    assert!(!body["result"].as_str().expect("text").contains("dtn"), "{body}");
}

#[tokio::test]
async fn shown_figures_become_charts() {
    let tb = toolbox().await;
    let has = json!({"command": "python3 -c 'import matplotlib'"});
    if tb.post("/process/execute", has).await.json::<Value>().await.expect("JSON")["exitCode"] != 0 {
        println!("skipped: python3 has no matplotlib (apt-get install python3-matplotlib)");
        return;
    }
    let code = r#"
import matplotlib.pyplot as plt
plt.plot([1, 2, 3], [1, 4, 9], label="sq"); plt.plot([1, 2], [float("nan"), 2]); plt.title("L"); plt.xlabel("X"); plt.ylabel("Y"); plt.show()
plt.scatter([1, 2], [3, 4]); plt.yscale("log"); plt.show()
plt.bar(["a", "b"], [3, 4.5], label="g"); plt.show()
plt.barh(["c"], [7]); plt.show()
plt.pie([1, 3], labels=["p", "q"]); plt.show()
plt.boxplot([[1, 2, 3, 4, 50]]); plt.show()
fig, axes = plt.subplots(2); axes[0].plot([1], [1]); axes[1].bar(["z"], [1]); axes[1].set_title("second"); fig.suptitle("S"); plt.show()
print("done")
plt.show()
"#;
    let (_, body) = code_run(&tb, json!({"code": code, "language": "python"})).await;
    assert_eq!((&body["exitCode"], &body["result"]), (&json!(0), &json!("done\n")), "{body}");
    let charts = body["artifacts"]["charts"].as_array().expect("charts");
    let types: Vec<_> = charts.iter().map(|chart| chart["type"].as_str().expect("type")).collect();
    assert_eq!(types, ["line", "scatter", "bar", "bar", "pie", "box_and_whisker", "composite_chart"]);
    assert!(charts.iter().all(|chart| chart["png"].as_str().is_some_and(|png| png.starts_with("iVBORw0KGgo"))));
    let line = &charts[0];
    assert_eq!([&line["title"], &line["x_label"], &line["y_label"], &line["x_scale"]], ["L", "X", "Y", "linear"]);
    assert_eq!(line["elements"][0], json!({"label": "sq", "points": [[1.0, 1.0], [2.0, 4.0], [3.0, 9.0]]}));
    assert_eq!(line["elements"][1], json!({"label": "Line 1", "points": [[2.0, 2.0]]}));
    assert!(line["x_ticks"].as_array().is_some_and(|ticks| ticks.len() > 2));
    assert_eq!(charts[1]["y_scale"], "log");
    assert_eq!(charts[1]["elements"][0]["points"], json!([[1.0, 3.0], [2.0, 4.0]]));
    assert_eq!(
        charts[2]["elements"],
        json!([{"label": "a", "value": "3", "group": "g"}, {"label": "b", "value": "4.5", "group": "g"}])
    );
    assert_eq!([&charts[3]["elements"][0]["label"], &charts[3]["elements"][0]["value"]], ["c", "7"]);
    assert_eq!([&charts[4]["elements"][1]["label"], &charts[4]["elements"][1]["angle"]], [&json!("q"), &json!(270.0)]);
    let expected = json!({"label": "1", "min": 1.0, "first_quartile": 2.0, "median": 3.0, "third_quartile": 4.0, "max": 4.0, "outliers": [50.0]});
    assert_eq!(charts[5]["elements"][0], expected);
    assert_eq!(charts[6]["title"], "S");
    assert_eq!(charts[6]["elements"][1], json!({"type": "bar", "title": "second"}));
}
