//! Contexts that keep the state of Python code, run over WebSockets.

use std::time::Duration;

use crate::{
    client::{Answer, Message},
    prelude::*,
    sandbox::Sandbox,
};

const CONTEXTS: &str = "/process/interpreter/context";
const PATIENCE: Duration = Duration::from_secs(20);

scenarios! { "interpreter";
    /// A context is answered with its id, directory, language and time, is listed, and is gone when it is deleted.
    /// (CreateInterpreterContext, ListInterpreterContexts, DeleteInterpreterContext)
    contexts_come_and_go: Must, covers ["CreateInterpreterContext", "ListInterpreterContexts", "DeleteInterpreterContext"];

    /// The list names the contexts that were made; the default one, for code that names none, is not among them.
    /// (ListInterpreterContexts; observed)
    default_is_not_listed: Must, covers ["ListInterpreterContexts", "ExecuteInterpreterCode"];

    /// A language other than Python, or a body that is no JSON, is 400; nothing is made. (CreateInterpreterContext)
    bad_contexts: Must, covers ["CreateInterpreterContext"];

    /// The default context can't be deleted (400), and one that isn't there is 404. (DeleteInterpreterContext; observed)
    bad_deletions: Must, covers ["DeleteInterpreterContext"];

    /// What is printed comes as chunks of the stream that it was written to, in order; then a control chunk
    /// `completed`, then a close frame with code 1000. An expression's value is not shown. (observed; SDKs)
    output_by_stream: Must, covers ["ExecuteInterpreterCode"];

    /// Every chunk has the fields that the SDKs read: type, text, name, value and traceback. (SDKs: CodeInterpreter)
    chunks_have_all_fields: Must, covers ["ExecuteInterpreterCode"];

    /// Variables, imports and functions stay from one execution of a context to its next. (SDKs: CodeInterpreter)
    state_stays: Must, covers ["ExecuteInterpreterCode"];

    /// Contexts know nothing of each other's variables; each runs in its own directory. (SDKs: CodeInterpreter)
    contexts_are_apart: Must, covers ["CreateInterpreterContext", "ExecuteInterpreterCode"];

    /// An exception is an error chunk with its name, its text and a traceback; what was printed before it is there,
    /// and the context goes on. (SDKs: ExecutionError)
    exceptions_are_told: Must, covers ["ExecuteInterpreterCode"];

    /// Code that can't be parsed is an error chunk `SyntaxError`. (SDKs: ExecutionError)
    syntax_errors_are_told: Must, covers ["ExecuteInterpreterCode"];

    /// Code that takes longer than `timeout` is interrupted; the close code is 4008. (SDKs: TimeoutError)
    timeout_interrupts: Must, covers ["ExecuteInterpreterCode"];

    /// `envs` are the variables of this execution only. (SDKs: RunCodeOptions; observed)
    variables_of_one_execution: Must, covers ["ExecuteInterpreterCode"];

    /// No code (1008), a context that isn't there (1008), or no JSON (1002) is told by the close frame alone.
    /// (ExecuteInterpreterCode; observed)
    bad_executions: Must, covers ["ExecuteInterpreterCode"];

    /// Characters of several bytes come whole, wherever the output is cut into chunks. (SDKs decode chunk by chunk)
    text_is_never_split: Must, covers ["ExecuteInterpreterCode"];

    /// Executions of one context run one after the other; of two, at the same time. (observed)
    executions_wait_for_each_other: Must, covers ["ExecuteInterpreterCode"];

    /// Without an upgrade to a WebSocket there is nothing to execute: 400. (ExecuteInterpreterCode; observed)
    execute_needs_a_websocket: Must, covers ["ExecuteInterpreterCode"];
}

/// What an execution said, to its close frame.
#[derive(Default)]
struct Told {
    chunks: Vec<Value>,
    /// How many of them came as anything but text.
    binary: usize,
    code: u16,
    reason: String,
}

impl Told {
    fn text(&self, kind: &str) -> String {
        self.chunks.iter().filter(|chunk| chunk["type"] == kind).filter_map(|chunk| chunk["text"].as_str()).collect()
    }

    fn error(&self) -> Value {
        self.chunks.iter().find(|chunk| chunk["type"] == "error").cloned().unwrap_or_default()
    }
}

/// Sends the first frame and takes all that comes.
async fn tell(sandbox: &Sandbox, first: &str) -> Result<Told> {
    let mut socket = sandbox.ws("/process/interpreter/execute").connect().await?;
    socket.send_text(first).await?;
    let mut told = Told { code: 1006, ..Told::default() };
    while let Some(message) = socket.next(PATIENCE).await? {
        match message {
            Message::Close(frame) => {
                (told.code, told.reason) =
                    frame.map_or((1005, String::new()), |frame| (frame.code.into(), frame.reason.to_string()));
                break;
            }
            message => {
                told.binary += usize::from(!message.is_text());
                told.chunks.push(serde_json::from_slice(&message.into_data()).unwrap_or_default());
            }
        }
    }
    Ok(told)
}

async fn execute(sandbox: &Sandbox, request: Value) -> Result<Told> {
    tell(sandbox, &request.to_string()).await
}

async fn create(sandbox: &Sandbox, body: Value) -> Result<Answer> {
    sandbox.post(CONTEXTS).json(body).send().await
}

/// A context of this scenario's own.
async fn context(sandbox: &Sandbox) -> Result<String> {
    let made = create(sandbox, json!({})).await?.ok()?;
    Ok(made["id"].as_str().unwrap_or_default().to_owned())
}

async fn listed(sandbox: &Sandbox, id: &str) -> Result<bool> {
    let list = sandbox.get(CONTEXTS).send().await?.ok()?;
    Ok(list.array("/contexts")?.iter().any(|context| context["id"] == id))
}

async fn contexts_come_and_go(cx: Cx) -> Result {
    let sandbox = cx.shared().await?;
    let made = create(&sandbox, json!({"cwd": "/tmp", "language": "python"})).await?;
    cx.check("created").status(&made, 200);
    cx.check("cwd").json(&made, "/cwd", "/tmp");
    cx.check("language").json(&made, "/language", "python");
    cx.check("active").json(&made, "/active", true);
    let id = made["id"].as_str().unwrap_or_default().to_owned();
    cx.check("id").ne(&*id, "");
    cx.check_recent("created-at", &made, "/createdAt").await;
    let list = sandbox.get(CONTEXTS).send().await?.ok()?;
    let item = list.array("/contexts")?.iter().find(|context| context["id"] == *id).cloned().unwrap_or_default();
    cx.check_same("item", &list, &item, &made.json, &["id", "cwd", "language", "active", "createdAt"]);
    let deleted = sandbox.delete(&format!("{CONTEXTS}/{id}")).send().await?;
    cx.check("deleted").status(&deleted, 200);
    cx.check("not-listed").eq(listed(&sandbox, &id).await?, false);
    let late = execute(&sandbox, json!({"code": "1", "contextId": id})).await?;
    cx.check("not-to-be-used").eq(late.code, 1008);
    Ok(())
}

async fn default_is_not_listed(cx: Cx) -> Result {
    let sandbox = cx.sandbox().await?;
    cx.check("completed").eq(execute(&sandbox, json!({"code": "pass"})).await?.code, 1000);
    cx.check("not-listed").eq(listed(&sandbox, "default").await?, false);
    Ok(())
}

async fn bad_contexts(cx: Cx) -> Result {
    let sandbox = cx.shared().await?;
    let ruby = create(&sandbox, json!({"language": "ruby"})).await?;
    cx.check("language").error(&ruby, 400, "bad request: unsupported language: ruby");
    let number = create(&sandbox, json!({"cwd": 1})).await?;
    cx.check("number").status(&number, 400);
    let garbage = sandbox.post(CONTEXTS).body("application/json", "{").send().await?;
    cx.check("garbage").status(&garbage, 400);
    let nowhere = create(&sandbox, json!({"cwd": "/no/such/directory"})).await?;
    cx.check("directory").that(nowhere.status >= 400, "a refusal", nowhere.summary());
    Ok(())
}

async fn bad_deletions(cx: Cx) -> Result {
    let sandbox = cx.shared().await?;
    let default = sandbox.delete(&format!("{CONTEXTS}/default")).send().await?;
    cx.check("default").error(&default, 400, "bad request: default context cannot be deleted");
    let unknown = sandbox.delete(&format!("{CONTEXTS}/nope")).send().await?;
    cx.check("unknown").error(&unknown, 404, "not found: context nope not found");
    Ok(())
}

async fn output_by_stream(cx: Cx) -> Result {
    let sandbox = cx.shared().await?;
    let code = "import sys\nprint('out-1')\nprint('err-1', file=sys.stderr)\nprint('out-2')\n41 + 1";
    let told = execute(&sandbox, json!({"code": code, "contextId": context(&sandbox).await?})).await?;
    cx.check("stdout").eq(&*told.text("stdout"), "out-1\nout-2\n");
    cx.check("stderr").eq(&*told.text("stderr"), "err-1\n");
    cx.check("control").eq(&*told.text("control"), "completed");
    cx.check("text-frames").that(told.binary == 0, "chunks in text frames", told.binary);
    let last = told.chunks.last().map(|chunk| chunk["type"].clone()).unwrap_or_default();
    cx.check("control-is-last").eq(last, json!("control"));
    cx.check("close-code").eq(told.code, 1000);
    Ok(())
}

async fn chunks_have_all_fields(cx: Cx) -> Result {
    let sandbox = cx.shared().await?;
    let told = execute(&sandbox, json!({"code": "print('x')\n1/0"})).await?;
    cx.check("some").that(told.chunks.len() >= 2, "at least two chunks", &told.chunks);
    for chunk in &told.chunks {
        let all = ["type", "text", "name", "value", "traceback"].iter().all(|field| chunk[field].is_string());
        cx.check("fields").that(all, "five texts", chunk);
    }
    Ok(())
}

async fn state_stays(cx: Cx) -> Result {
    let sandbox = cx.shared().await?;
    let id = context(&sandbox).await?;
    let first = "import math\nx = 40\ndef plus(n): return x + n";
    cx.check("first").eq(execute(&sandbox, json!({"code": first, "contextId": id})).await?.code, 1000);
    let told = execute(&sandbox, json!({"code": "print(plus(2), math.floor(2.5))", "contextId": id})).await?;
    cx.check("second").eq(&*told.text("stdout"), "42 2\n");
    Ok(())
}

async fn contexts_are_apart(cx: Cx) -> Result {
    let sandbox = cx.shared().await?;
    let (one, other) = (context(&sandbox).await?, create(&sandbox, json!({"cwd": "/tmp"})).await?.ok()?);
    execute(&sandbox, json!({"code": "mine = 1", "contextId": one})).await?;
    let code = "import os\nprint(os.getcwd())\nmine";
    let told = execute(&sandbox, json!({"code": code, "contextId": other["id"]})).await?;
    cx.check("directory").eq(&*told.text("stdout"), "/tmp\n");
    cx.check("unknown-there").eq(&told.error()["name"], &json!("NameError"));
    let told = execute(&sandbox, json!({"code": "print(mine)", "contextId": one})).await?;
    cx.check("known-here").eq(&*told.text("stdout"), "1\n");
    Ok(())
}

async fn exceptions_are_told(cx: Cx) -> Result {
    let sandbox = cx.shared().await?;
    let id = context(&sandbox).await?;
    let code = "kept = 1\nprint('before')\ndef f():\n    raise ValueError('bröken')\nf()\nprint('after')";
    let told = execute(&sandbox, json!({"code": code, "contextId": id})).await?;
    cx.check("name").eq(&told.error()["name"], &json!("ValueError"));
    cx.check("value").eq(&told.error()["value"], &json!("bröken"));
    let traceback = told.error()["traceback"].as_str().unwrap_or_default().to_owned();
    cx.check("traceback").contains(&traceback, "Traceback (most recent call last)");
    cx.check("traceback-function").contains(&traceback, "in f");
    cx.check("stdout").eq(&*told.text("stdout"), "before\n");
    cx.check("close-code").eq(told.code, 1000);
    let next = execute(&sandbox, json!({"code": "print(kept)", "contextId": id})).await?;
    cx.check("goes-on").eq(&*next.text("stdout"), "1\n");
    Ok(())
}

async fn syntax_errors_are_told(cx: Cx) -> Result {
    let sandbox = cx.shared().await?;
    let told = execute(&sandbox, json!({"code": "print('never')\nx = ("})).await?;
    cx.check("name").eq(&told.error()["name"], &json!("SyntaxError"));
    cx.check("nothing-ran").eq(&*told.text("stdout"), "");
    Ok(())
}

async fn timeout_interrupts(cx: Cx) -> Result {
    let sandbox = cx.shared().await?;
    let id = context(&sandbox).await?;
    let code = "import time\nkept = 1\nprint('on', flush=True)\ntime.sleep(60)\nprint('never')";
    // The context's own start is not what is timed.
    cx.check("started").eq(execute(&sandbox, json!({"code": "pass", "contextId": id})).await?.code, 1000);
    let told = execute(&sandbox, json!({"code": code, "contextId": id, "timeout": 2})).await?;
    cx.check("close-code").eq(told.code, 4008);
    cx.check("control").eq(&*told.text("control"), "interrupted");
    cx.check("stdout").eq(&*told.text("stdout"), "on\n");
    let next = execute(&sandbox, json!({"code": "print(kept)", "contextId": id})).await?;
    cx.check("state-stays").eq(&*next.text("stdout"), "1\n");
    Ok(())
}

async fn variables_of_one_execution(cx: Cx) -> Result {
    let sandbox = cx.shared().await?;
    let id = context(&sandbox).await?;
    let code = "import os\nprint(os.environ.get('GREETING'))";
    let told = execute(&sandbox, json!({"code": code, "contextId": id, "envs": {"GREETING": "hällo"}})).await?;
    cx.check("given").eq(&*told.text("stdout"), "hällo\n");
    let told = execute(&sandbox, json!({"code": code, "contextId": id})).await?;
    cx.check("gone").eq(&*told.text("stdout"), "None\n");
    Ok(())
}

async fn bad_executions(cx: Cx) -> Result {
    let sandbox = cx.shared().await?;
    for (name, first, code, reason) in [
        ("no-json", "nope".to_owned(), 1002, "invalid JSON payload"),
        ("no-code", json!({}).to_string(), 1008, "code is required"),
        ("unknown", json!({"code": "1", "contextId": "nope"}).to_string(), 1008, "context not found: nope"),
        (
            "timeout",
            json!({"code": "1", "timeout": -1}).to_string(),
            1008,
            "timeout must be greater than or equal to 0",
        ),
    ] {
        let told = tell(&sandbox, &first).await?;
        cx.check(format!("{name}-code")).eq(told.code, code);
        cx.check(format!("{name}-reason")).should().eq(&*told.reason, reason);
        cx.check(format!("{name}-chunks")).eq(told.chunks.len(), 0);
    }
    Ok(())
}

async fn text_is_never_split(cx: Cx) -> Result {
    let sandbox = cx.shared().await?;
    let code = "import sys\nprint('a' + '日本語🎉' * 20_000)";
    let told = execute(&sandbox, json!({"code": code, "contextId": context(&sandbox).await?})).await?;
    let (got, expected) = (told.text("stdout"), format!("a{}\n", "日本語🎉".repeat(20_000)));
    cx.check("whole").that(got == expected, "260,002 bytes as printed", format!("{} bytes", got.len()));
    Ok(())
}

async fn executions_wait_for_each_other(cx: Cx) -> Result {
    let sandbox = cx.shared().await?;
    let (one, other) = (context(&sandbox).await?, context(&sandbox).await?);
    execute(&sandbox, json!({"code": "seen = []", "contextId": one})).await?;
    let append = |number: u8| {
        let code = format!("import time\nseen.append('b{number}')\ntime.sleep(.2)\nseen.append('e{number}')");
        execute(&sandbox, json!({"code": code, "contextId": one}))
    };
    let elsewhere = execute(&sandbox, json!({"code": "print('here')", "contextId": other}));
    let (first, second, elsewhere) = tokio::join!(append(1), append(2), elsewhere);
    cx.check("both").eq((first?.code, second?.code), (1000, 1000));
    cx.check("elsewhere").eq(&*elsewhere?.text("stdout"), "here\n");
    let told = execute(&sandbox, json!({"code": "print(*seen)", "contextId": one})).await?;
    let seen = told.text("stdout");
    cx.check("in-turn").that(["b1 e1 b2 e2\n", "b2 e2 b1 e1\n"].contains(&&*seen), "one after the other", seen);
    Ok(())
}

async fn execute_needs_a_websocket(cx: Cx) -> Result {
    let sandbox = cx.shared().await?;
    cx.check("status").status(&sandbox.get("/process/interpreter/execute").send().await?, 400);
    Ok(())
}
