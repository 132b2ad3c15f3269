//! `/process/interpreter`: code that keeps its state, over WebSockets.

use futures_util::{SinkExt, StreamExt, future::join_all};
use serde_json::{Value, json};
use tokio_tungstenite::tungstenite::{self, Message, client::IntoClientRequest, handshake::client::Response};

use crate::support::{PATIENCE, Toolbox, eventually, local_toolbox, toolbox};

type Stream = tokio_tungstenite::WebSocketStream<tokio_tungstenite::MaybeTlsStream<tokio::net::TcpStream>>;

const CONTEXTS: &str = "/process/interpreter/context";

async fn upgrade(tb: &Toolbox, protocols: &str) -> tungstenite::Result<(Stream, Response)> {
    let url = format!("{}/process/interpreter/execute", tb.url.replacen("http", "ws", 1));
    let mut request = url.into_client_request().expect("request");
    if !protocols.is_empty() {
        request.headers_mut().insert("sec-websocket-protocol", protocols.parse().expect("value"));
    }
    if let Some(key) = &tb.key {
        request.headers_mut().insert("authorization", format!("Bearer {key}").parse().expect("value"));
    }
    tokio_tungstenite::connect_async(request).await
}

/// What one execution said.
#[derive(Debug, Default)]
struct Run {
    chunks: Vec<Value>,
    close: Option<(u16, String)>,
}

/// Sends the first frame.
async fn begin(tb: &Toolbox, request: impl ToString) -> Stream {
    let (mut stream, _) = upgrade(tb, "").await.expect("upgrade");
    stream.send(Message::Text(request.to_string().into())).await.expect("sent");
    stream
}

/// Takes a frame; false after the last.
async fn next(stream: &mut Stream, run: &mut Run) -> bool {
    let message = tokio::time::timeout(PATIENCE, stream.next()).await;
    match message.unwrap_or_else(|_| panic!("silent after {run:?}")) {
        Some(Ok(Message::Text(text))) => run.chunks.push(serde_json::from_str(&text).expect("JSON")),
        Some(Ok(Message::Close(frame))) => {
            run.close = frame.map(|frame| (frame.code.into(), frame.reason.as_str().to_owned()));
        }
        Some(Ok(_)) => {}
        Some(Err(_)) | None => return false,
    }
    true
}

async fn finish(mut stream: Stream) -> Run {
    let mut run = Run::default();
    while next(&mut stream, &mut run).await {}
    run
}

async fn run(tb: &Toolbox, request: impl ToString) -> Run {
    finish(begin(tb, request).await).await
}

/// Runs code in the default context.
async fn code(tb: &Toolbox, code: &str) -> Run {
    run(tb, json!({"code": code})).await
}

impl Run {
    fn text(&self, kind: &str) -> String {
        let chunks = self.chunks.iter().filter(|chunk| chunk["type"] == kind);
        chunks.map(|chunk| chunk["text"].as_str().expect("text")).collect()
    }

    fn closed(&self) -> (u16, &str) {
        let (code, reason) = self.close.as_ref().unwrap_or_else(|| panic!("no close frame: {self:?}"));
        (*code, reason)
    }

    /// It ended as usual; its standard output.
    fn stdout(&self) -> String {
        assert_eq!((self.closed(), self.control()), ((1000, ""), "completed".to_owned()), "{self:?}");
        self.text("stdout")
    }

    fn control(&self) -> String {
        self.text("control")
    }

    /// Name, value and traceback of the exception.
    fn error(&self) -> [&str; 3] {
        let error = self.chunks.iter().find(|chunk| chunk["type"] == "error");
        let error = error.unwrap_or_else(|| panic!("no error: {self:?}"));
        ["name", "value", "traceback"].map(|key| error[key].as_str().expect("text"))
    }
}

async fn create(tb: &Toolbox, request: Value) -> String {
    let res = tb.post(CONTEXTS, request).await;
    assert_eq!(res.status(), 200);
    let context: Value = res.json().await.expect("JSON");
    context["id"].as_str().expect("id").to_owned()
}

async fn refusal(res: reqwest::Response) -> (u16, Value, Value) {
    let status = res.status().as_u16();
    let body: Value = res.json().await.expect("JSON");
    assert_eq!((&body["statusCode"], &body["source"]), (&json!(status), &json!("DAYTONA_DAEMON")), "{body}");
    (status, body["code"].clone(), body["message"].clone())
}

#[tokio::test]
async fn state_is_kept_and_nothing_is_echoed() {
    let tb = toolbox().await;
    let first = code(&tb, "import sys\nx = 40\nx\nprint('a')\nprint('b', file=sys.stderr)").await;
    let chunk = |kind: &str, text: &str| json!({"type": kind, "text": text, "name": "", "value": "", "traceback": ""});
    assert_eq!(first.chunks, [chunk("stdout", "a\n"), chunk("stderr", "b\n"), chunk("control", "completed")]);
    assert_eq!(first.closed(), (1000, ""));
    let keys: Vec<_> = first.chunks[0].as_object().expect("object").keys().collect();
    assert_eq!(keys, ["type", "text", "name", "value", "traceback"]);
    let second = code(&tb, "import os\nprint(x + 2, os.getcwd(), __name__)").await;
    assert_eq!(second.stdout(), format!("42 {} __main__\n", tb.run("pwd").await.trim()));
}

#[tokio::test]
async fn exceptions_are_told_in_full() {
    let tb = toolbox().await;
    let raised = code(&tb, "def f():\n    raise ValueError('bröken')\nprint('before')\nf()").await;
    let trace = "Traceback (most recent call last):\n  File \"<stdin>\", line 4, in <module>\n  \
                 File \"<stdin>\", line 2, in f\nValueError: bröken\n";
    assert_eq!((raised.stdout().as_str(), raised.error()), ("before\n", ["ValueError", "bröken", trace]));
    let syntax = code(&tb, "x = (").await;
    let [name, value, trace] = syntax.error();
    assert_eq!((name, value), ("SyntaxError", "'(' was never closed (<stdin>, line 1)"));
    assert!(trace.starts_with("  File \"<stdin>\", line 1\n"), "{trace}");
    assert_eq!(code(&tb, "class E(Exception):\n  def __str__(self): 1/0\nraise E").await.error()[0], "E");
    let chained = code(&tb, "try:\n  1/0\nexcept Exception as e:\n  raise KeyError('k') from e").await;
    assert!(chained.error()[2].contains("direct cause") && chained.error()[1] == "'k'", "{chained:?}");
    assert_eq!(code(&tb, "def f(): f()\nf()").await.error()[0], "RecursionError");
    assert_eq!(code(&tb, "raise ValueError('x' * 3_000_000)").await.error()[1].len(), 1 << 20);
}

#[tokio::test]
async fn exits_end_the_execution_only() {
    let tb = toolbox().await;
    assert_eq!(code(&tb, "x = 1\nexit()").await.stdout(), "");
    let failed = code(&tb, "exit(3)").await;
    assert_eq!((failed.stdout().as_str(), &failed.error()[..2]), ("", &["SystemExit", "3"][..]));
    assert_eq!(code(&tb, "raise KeyboardInterrupt").await.control(), "interrupted");
    // `exit()` closes sys.stdin; there is nothing to read from it either way.
    assert_eq!(code(&tb, "print(x)\ninput()").await.error()[0], "EOFError");
    let died = code(&tb, "import os\nprint('last', flush=True)\nos._exit(1)").await;
    assert_eq!((died.text("stdout").as_str(), died.closed()), ("last\n", (1001, "worker process ended")));
    assert_eq!(died.control(), "");
    // Another process, without the state.
    assert_eq!(code(&tb, "print(x)").await.error()[0], "NameError");
}

#[tokio::test]
async fn contexts_are_separate_and_can_be_listed_and_deleted() {
    let tb = toolbox().await;
    let res = tb.post(CONTEXTS, json!({"cwd": "/tmp", "language": "python"})).await;
    assert_eq!(res.status(), 200);
    let made: Value = res.json().await.expect("JSON");
    let created_at = made["createdAt"].as_str().expect("text");
    assert!(chrono::DateTime::parse_from_rfc3339(created_at).is_ok());
    let id = made["id"].as_str().expect("id");
    let expected = json!({"id": id, "cwd": "/tmp", "createdAt": created_at, "active": true, "language": "python"});
    assert_eq!(made, expected);
    let other = create(&tb, json!({})).await;
    assert_eq!(code(&tb, "x = 'default'").await.stdout(), "");
    let [first, second] =
        [id, &other].map(|id| run(&tb, json!({"contextId": id, "code": "import os\ny = 1\nprint(os.getcwd())\nx"})));
    let (first, second) = tokio::join!(first, second);
    assert_eq!(first.stdout() + &second.stdout(), format!("/tmp\n{}", tb.run("pwd").await));
    assert_eq!([first.error()[0], second.error()[0]], ["NameError"; 2]);
    let by_name = run(&tb, json!({"contextId": "default", "code": "print(x)"})).await;
    assert_eq!(by_name.stdout(), "default\n");
    let list: Value = tb.get(CONTEXTS).await.json().await.expect("JSON");
    let ids: Vec<_> = list["contexts"].as_array().expect("array").iter().map(|context| &context["id"]).collect();
    assert!(ids.len() == 2 && ids.contains(&&json!(id)) && ids.contains(&&json!(other)), "{list}");
    let deleted = tb.delete(&format!("{CONTEXTS}/{id}")).await;
    assert_eq!(deleted.status(), 200);
    assert_eq!(deleted.json::<Value>().await.expect("JSON"), json!({"message": "Context deleted successfully"}));
    let late = run(&tb, json!({"contextId": id, "code": "1"})).await;
    assert_eq!(late.closed(), (1008, format!("context not found: {id}").as_str()));
    assert_eq!(run(&tb, json!({"contextId": other, "code": "print(y)"})).await.stdout(), "1\n");
}

#[tokio::test]
async fn refused_contexts() {
    let tb = local_toolbox().await;
    let message = |text: &str| json!(text);
    let refused = refusal(tb.post(CONTEXTS, json!({"language": "ruby"})).await).await;
    assert_eq!(refused, (400, json!("BAD_REQUEST"), message("bad request: unsupported language: ruby")));
    let refused = refusal(tb.post(CONTEXTS, json!({"cwd": "/nope"})).await).await;
    let text = "internal server error: failed to start worker: chdir /nope: no such file or directory";
    assert_eq!(refused, (500, json!("INTERNAL_SERVER_ERROR"), message(text)));
    assert_eq!(refusal(tb.post(CONTEXTS, json!({"cwd": "/etc/passwd"})).await).await.0, 500);
    assert_eq!(refusal(tb.post(CONTEXTS, json!({"cwd": 1})).await).await.1, "INVALID_REQUEST_BODY");
    let broken = tb.client.post(format!("{}{CONTEXTS}", tb.url)).body("{").send().await.expect("answer");
    assert_eq!(refusal(broken).await.0, 400);
    let refused = refusal(tb.delete(&format!("{CONTEXTS}/default")).await).await;
    assert_eq!(refused, (400, json!("BAD_REQUEST"), message("bad request: default context cannot be deleted")));
    let refused = refusal(tb.delete(&format!("{CONTEXTS}/nope")).await).await;
    assert_eq!(refused, (404, json!("NOT_FOUND"), message("not found: context nope not found")));
    assert_eq!(tb.get(CONTEXTS).await.json::<Value>().await.expect("JSON"), json!({"contexts": []}));
    for _ in 0..256 {
        create(&tb, json!({})).await;
    }
    assert_eq!(refusal(tb.post(CONTEXTS, json!({})).await).await.0, 400);
}

#[tokio::test]
async fn refused_executions() {
    let tb = local_toolbox().await;
    for (request, close) in [
        ("nope".to_owned(), (1002, "invalid JSON payload")),
        (json!({"code": 1}).to_string(), (1002, "invalid JSON payload")),
        (json!({"code": "1", "timeout": 0.5}).to_string(), (1002, "invalid JSON payload")),
        (json!({}).to_string(), (1008, "code is required")),
        (json!({"code": "1", "contextId": "nope"}).to_string(), (1008, "context not found: nope")),
        (json!({"code": "1", "contextId": ""}).to_string(), (1008, "context not found: ")),
        (json!({"code": "1", "timeout": -1}).to_string(), (1008, "timeout must be greater than or equal to 0")),
        (json!({"code": "1", "envs": {"A=B": ""}}).to_string(), (1008, "invalid environment variable: 'A=B'")),
        (json!({"code": "#".repeat(9 << 20)}).to_string(), (1009, "request too large")),
    ] {
        let refused = run(&tb, request).await;
        assert_eq!((refused.closed(), refused.chunks.len()), (close, 0));
    }
    let plain = tb.get("/process/interpreter/execute").await;
    assert_eq!((plain.status().as_u16(), plain.text().await.expect("text").as_str()), (400, "Bad Request\n"));
    // Binary frames are taken, too, and browsers insist on one of their sub-protocols.
    let (mut stream, response) = upgrade(&tb, "X-Daytona-SDK-Version~0.216.0, another").await.expect("upgrade");
    assert_eq!(response.headers()["sec-websocket-protocol"], "X-Daytona-SDK-Version~0.216.0");
    stream.send(Message::Binary(json!({"code": "print(1)"}).to_string().into())).await.expect("sent");
    assert_eq!(finish(stream).await.stdout(), "1\n");
}

#[tokio::test]
async fn without_python_it_says_so() {
    let tb = local_toolbox().await;
    tb.post("/env", json!({"set": {"PATH": "/nowhere"}})).await;
    let refused = code(&tb, "1").await;
    let reason = "failed to start worker: exec: \"python3\": executable file not found in $PATH";
    assert_eq!(refused.closed(), (1011, reason));
}

#[tokio::test]
async fn time_limits() {
    let tb = toolbox().await;
    let context = create(&tb, json!({})).await;
    let limited = |code: &str| run(&tb, json!({"contextId": context, "code": code, "timeout": 1}));
    let slept = limited("import time\nx = 1\nprint('on')\ntime.sleep(60)").await;
    assert_eq!((slept.closed(), slept.control().as_str()), ((4008, ""), "interrupted"));
    assert_eq!(slept.text("stdout"), "on\n");
    let caught = limited("try:\n  time.sleep(60)\nexcept KeyboardInterrupt:\n  print('caught', x)").await;
    assert_eq!((caught.closed(), caught.control().as_str()), ((4008, ""), "completed"));
    assert_eq!(caught.text("stdout"), "caught 1\n");
    let endless = limited("while True: print('y' * 1000)").await;
    assert_eq!((endless.closed(), endless.control().as_str()), ((4008, ""), "interrupted"));
    // The state is still there.
    assert_eq!(run(&tb, json!({"contextId": context, "code": "print(x)", "timeout": 0})).await.stdout(), "1\n");
    let stubborn = "while True:\n  try:\n    while True: time.sleep(0.01)\n  except KeyboardInterrupt: print('no')";
    let killed = limited(stubborn).await;
    assert_eq!((killed.closed(), killed.control().as_str()), ((4008, ""), ""));
    assert_eq!(killed.text("stdout"), "no\n");
    assert_eq!(limited("print(x)").await.error()[0], "NameError");
}

#[tokio::test]
async fn environment_and_directory() {
    let tb = toolbox().await;
    tb.run("mkdir sub; echo 'name = \"own\"' > sub/mine.py; echo 'raise 1' > sub/json.py").await;
    tb.post("/env", json!({"set": {"BASE": "base"}})).await;
    let context = create(&tb, json!({"cwd": "sub"})).await;
    let show = "import os, mine\nprint(os.environ.get('A'), os.environ['BASE'], mine.name, os.getcwd())";
    let run = |envs: Value| run(&tb, json!({"contextId": context, "code": show, "envs": envs}));
    let dir = tb.run("printf %s/sub \"$PWD\"").await;
    let envs = json!({"A": "ä ", "BASE": "changed"});
    assert_eq!(run(envs).await.stdout(), format!("ä  changed own {dir}\n"));
    assert_eq!(run(Value::Null).await.stdout(), format!("None base own {dir}\n"));
}

#[tokio::test]
async fn odd_output() {
    let tb = toolbox().await;
    let split = "import sys, time\nb = '🦀é'.encode()\nfor i in range(len(b)):\n  sys.stdout.buffer.write(b[i:i+1])\n\
                 sys.stdout.buffer.write(b'\\xe2')";
    let split = code(&tb, split).await;
    assert_eq!(split.stdout(), "🦀é\u{fffd}");
    assert_eq!(split.chunks.len(), 4, "{split:?}");
    let odd = code(&tb, "print('\\ud800<\\0>\\u2028', end='')").await;
    assert_eq!(odd.stdout(), "\u{fffd}<\0>\u{2028}");
    assert_eq!(code(&tb, "sys.stdout.close()").await.stdout(), "");
    assert_eq!(code(&tb, "print('open')\ndel sys.stdout, sys.stderr, sys.stdin").await.stdout(), "open\n");
    assert_eq!(code(&tb, "print('again')").await.stdout(), "again\n");
    let replaced = "import io\nsys.stdout = io.StringIO()\nprint('kept', end='')";
    assert_eq!(code(&tb, replaced).await.stdout(), "");
    assert_eq!(code(&tb, "sys.__stdout__.write(sys.stdout.getvalue())").await.stdout(), "kept");
    assert_eq!(code(&tb, "sys.stdout = sys.__stdout__").await.stdout(), "");
    // Only what Python itself prints reaches the client (observed).
    assert_eq!(code(&tb, "import os\nos.system('echo lost')\nos.write(1, b'lost')").await.stdout(), "");
}

#[tokio::test]
async fn forks_and_threads() {
    let tb = toolbox().await;
    let fork = "import os, sys\nx = 1\npid = os.fork()\nif pid == 0:\n  print('child')\n  x = 2\nelse:\n  \
                print('exit', os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))";
    assert_eq!(code(&tb, fork).await.stdout(), "child\nexit 0\n");
    assert_eq!(code(&tb, &fork.replace("x = 2", "1/0")).await.stdout(), "child\nexit 1\n");
    assert_eq!(code(&tb, &fork.replace("x = 2", "exit(7)")).await.stdout(), "child\nexit 7\n");
    assert_eq!(code(&tb, "print(x)").await.stdout(), "1\n");
    let thread = "import threading\nt = threading.Thread(target=lambda: (print('thread'), 1/0))\nt.start()\nt.join()";
    let thread = code(&tb, thread).await;
    assert_eq!(thread.stdout(), "thread\n");
    assert!(thread.text("stderr").contains("ZeroDivisionError"), "{thread:?}");
    // What a thread prints later is nobody's.
    let late =
        "go = threading.Event()\nthreading.Thread(target=lambda: (go.wait(), print('late')), daemon=True).start()";
    assert_eq!(code(&tb, late).await.stdout(), "");
    assert_eq!(code(&tb, "import time\nprint('now')").await.stdout(), "now\n");
    let pool = "from concurrent.futures import ProcessPoolExecutor as P\nimport multiprocessing as m\n\
                with P(2, m.get_context('fork')) as p: print(sum(p.map(abs, [-1, -2])))";
    assert_eq!(code(&tb, pool).await.stdout(), "3\n");
}

async fn exists(tb: &Toolbox, file: &str) {
    let command = format!("test -e {file} && echo yes; true");
    eventually(file, async || (tb.run(&command).await == "yes\n").then_some(())).await;
}

#[tokio::test]
async fn huge_output_arrives_whole() {
    let tb = toolbox().await;
    let many = code(&tb, "for i in range(20000): print(i)").await;
    let expected: String = (0..20_000).map(|i| format!("{i}\n")).collect();
    assert_eq!(many.stdout(), expected);
    // The client doesn't read for a while: the code waits, the server doesn't buffer.
    let large = "import sys\nfor i in range(320):\n  sys.stdout.write('é' * 65536)\n  if i == 8: open('eight', 'w')\n\
                 print(file=sys.stderr)";
    let stream = begin(&tb, json!({"code": large})).await;
    exists(&tb, "eight").await;
    let large = finish(stream).await;
    assert_eq!(large.stdout().chars().filter(|c| *c == 'é').count(), 320 * 65536);
    assert!(large.chunks.iter().all(|chunk| chunk["text"].as_str().expect("text").len() <= 1 << 16));
}

#[tokio::test]
async fn a_client_that_goes_away_takes_its_execution_along() {
    let tb = toolbox().await;
    assert_eq!(code(&tb, "x = 1").await.stdout(), "");
    let mut stream =
        begin(&tb, json!({"code": "import time\nprint('on')\nwhile True: time.sleep(1)", "timeout": 0})).await;
    let mut seen = Run::default();
    assert!(next(&mut stream, &mut seen).await && seen.text("stdout") == "on\n");
    drop(stream);
    assert_eq!(code(&tb, "print(x)").await.stdout(), "1\n");
    // One that never reads, and goes.
    let deaf = "open('started', 'w')\nwhile True: print('y' * 1000)";
    let stream = begin(&tb, json!({"code": deaf, "timeout": 0})).await;
    exists(&tb, "started").await;
    drop(stream);
    assert_eq!(code(&tb, "print(x)").await.stdout(), "1\n");
}

#[tokio::test]
async fn a_client_that_never_reads_holds_nobody_up() {
    let tb = toolbox().await;
    let deaf = begin(&tb, json!({"code": "x = 1\nwhile True: print('y' * 1000)", "timeout": 1})).await;
    // Its connection stays open, and its turn is over all the same.
    assert_eq!(code(&tb, "print(x)").await.stdout(), "1\n");
    drop(deaf);
}

#[tokio::test]
async fn pings_are_answered_while_code_runs() {
    let tb = toolbox().await;
    let mut stream = begin(&tb, json!({"code": "import time\nwhile True: time.sleep(1)", "timeout": 2})).await;
    stream.send(Message::Ping("there?".into())).await.expect("sent");
    let answer = tokio::time::timeout(PATIENCE, stream.next()).await.expect("in time").expect("frame").expect("fine");
    assert_eq!(answer, Message::Pong("there?".into()));
    assert_eq!(finish(stream).await.closed(), (4008, ""));
    // A client that says good-bye gets an answer, too.
    let mut leaving = begin(&tb, json!({"code": "while True: time.sleep(1)"})).await;
    leaving.close(None).await.expect("sent");
    assert!(finish(leaving).await.chunks.is_empty());
}

#[tokio::test]
async fn executions_of_a_context_run_one_after_the_other() {
    let tb = toolbox().await;
    assert_eq!(code(&tb, "import time\nseen = []").await.stdout(), "");
    let add = "seen.append('in'); time.sleep(0.02); seen.append('out')";
    let all = join_all((0..8).map(|_| code(&tb, add))).await;
    assert!(all.iter().all(|run| run.stdout().is_empty()));
    assert_eq!(code(&tb, "print(''.join(seen))").await.stdout(), "inout".repeat(8) + "\n");
}

#[tokio::test]
async fn a_deleted_context_takes_its_processes_along() {
    let tb = toolbox().await;
    let context = create(&tb, json!({})).await;
    let hang = "import os, subprocess\nc = subprocess.Popen(['sleep', '1000'])\nprint(os.getpid(), c.pid)\nc.wait()";
    let mut running = begin(&tb, json!({"contextId": context, "code": hang})).await;
    let mut seen = Run::default();
    assert!(next(&mut running, &mut seen).await);
    let pids = seen.text("stdout").trim().to_owned();
    let waiting = begin(&tb, json!({"contextId": context, "code": "1"})).await;
    assert_eq!(tb.delete(&format!("{CONTEXTS}/{context}")).await.status(), 200);
    assert_eq!(finish(running).await.closed(), (1001, "worker process ended"));
    let (code, reason) = finish(waiting).await.close.expect("close frame");
    // Either it waited already or it came too late.
    assert!(code == 1008 && ["context is not active", &format!("context not found: {context}")].contains(&&*reason));
    let gone = format!("for p in {pids}; do kill -0 $p 2>/dev/null && echo alive; done; true");
    eventually("the processes end", async || tb.run(&gone).await.is_empty().then_some(())).await;
}

#[tokio::test]
async fn a_worker_that_was_killed_is_started_again() {
    let tb = toolbox().await;
    let pid = code(&tb, "import os\nprint(os.getpid())").await.stdout();
    tb.run(&format!("kill -9 {pid}")).await;
    let again = eventually("another worker", async || {
        let run = code(&tb, "import os\nprint(os.getpid())").await;
        (run.closed().0 == 1000).then(|| run.stdout())
    });
    assert_ne!(again.await, pid);
    // While it runs, and stopped on top of that.
    let stopped = run(&tb, json!({"code": "os.kill(os.getpid(), 19)", "timeout": 1})).await;
    assert_eq!((stopped.closed(), stopped.control().as_str()), ((4008, ""), ""));
}

#[tokio::test]
async fn forged_packets_hurt_nobody() {
    let tb = toolbox().await;
    // The descriptor of its channel, found by a curious program.
    let find = "import os, stat, socket\nfds = [int(f) for f in os.listdir('/proc/self/fd')]\n\
                def is_socket(fd):\n  try: return stat.S_ISSOCK(os.fstat(fd).st_mode)\n  except OSError: return False\n\
                fd = [f for f in fds if is_socket(f)][0]";
    assert_eq!(code(&tb, find).await.stdout(), "");
    let forge = "for p in (b'x', b'\\0\\0\\0\\2', b'\\0\\0\\0\\2Zx', b'\\0\\0\\0\\1Oold', b'\\0' * 60000): os.write(fd, p)\n\
                 print('fine')";
    assert_eq!(code(&tb, forge).await.stdout(), "fine\n");
    assert_eq!(code(&tb, "os.close(fd)\nprint('?')").await.closed(), (1001, "worker process ended"));
    assert_eq!(code(&tb, "print('back')").await.stdout(), "back\n");
}
