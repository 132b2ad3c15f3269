//! A server that is as good as scenarios about one sandbox need, and as bad as a test wants it. It keeps what it was
//! asked.

use std::{
    io::{Read, Write},
    net::{TcpListener, TcpStream},
    sync::{Arc, Condvar, Mutex},
    thread,
    time::{Duration, Instant},
};

use serde_json::{Value, json};

/// For whatever the program under test should do by itself.
const WITHIN: Duration = Duration::from_secs(30);

pub const KEY: &str = "dtn_this-is-the-key-of-the-program-tests";

/// A request.
#[derive(Clone, Debug)]
pub struct Asked {
    pub method: String,
    /// Below `/api`, with its query.
    pub path: String,
    pub body: Value,
}

/// What it does with a request instead of what a good server does.
pub enum Instead {
    /// Status, more headers, body.
    Answer(u16, &'static str, Value),
    /// No answer, until the other side goes away.
    Silence,
}

type Script = dyn Fn(&Asked, usize) -> Option<Instead> + Send + Sync;

pub struct Fake {
    /// The URL of its API.
    pub url: String,
    shared: Arc<Shared>,
}

struct Shared {
    url: String,
    script: Box<Script>,
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    asked: Vec<Asked>,
    sandboxes: Vec<Value>,
    made: usize,
}

impl Fake {
    /// Good, but for what the script says of a request; it gets how many there were before.
    pub fn start(script: impl Fn(&Asked, usize) -> Option<Instead> + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let url = format!("http://{}/api", listener.local_addr().expect("an address"));
        let (script, state, changed) = (Box::new(script), Mutex::default(), Condvar::new());
        let shared = Arc::new(Shared { url: url.clone(), script, state, changed });
        let all = shared.clone();
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let shared = all.clone();
                thread::spawn(move || shared.serve(stream));
            }
        });
        Self { url, shared }
    }

    /// What was asked so far.
    pub fn asked(&self) -> Vec<Asked> {
        self.shared.state.lock().unwrap().asked.clone()
    }

    /// The sandboxes that are there.
    pub fn sandboxes(&self) -> Vec<Value> {
        self.shared.state.lock().unwrap().sandboxes.clone()
    }

    /// Puts a sandbox there that nobody asked for.
    pub fn put(&self, id: &str, labels: Value) {
        let sandbox = self.shared.sandbox(id, &json!({"labels": labels}));
        self.shared.state.lock().unwrap().sandboxes.push(sandbox);
    }

    /// Waits until a request fits.
    pub fn wait_for(&self, fits: impl Fn(&Asked) -> bool) -> Asked {
        let deadline = Instant::now() + WITHIN;
        let mut state = self.shared.state.lock().unwrap();
        loop {
            if let Some(asked) = state.asked.iter().find(|asked| fits(asked)) {
                return asked.clone();
            }
            let left = deadline.checked_duration_since(Instant::now()).expect("it is asked in time");
            state = self.shared.changed.wait_timeout(state, left).unwrap().0;
        }
    }
}

impl Shared {
    fn serve(&self, mut stream: TcpStream) {
        while let Some(asked) = read(&mut stream) {
            let number = {
                let mut state = self.state.lock().unwrap();
                state.asked.push(asked.clone());
                self.changed.notify_all();
                state.asked.len() - 1
            };
            let (status, headers, body) = match (self.script)(&asked, number) {
                Some(Instead::Answer(status, headers, body)) => (status, headers, body),
                Some(Instead::Silence) => {
                    _ = stream.read(&mut [0]);
                    return;
                }
                None => self.good(&asked),
            };
            let body = body.to_string();
            let answer = format!(
                "HTTP/1.1 {status} X\r\nContent-Type: application/json\r\nContent-Length: {}\r\n{headers}\r\n{body}",
                body.len()
            );
            if stream.write_all(answer.as_bytes()).is_err() {
                return;
            }
        }
    }

    fn good(&self, asked: &Asked) -> (u16, &'static str, Value) {
        let mut state = self.state.lock().unwrap();
        let path = asked.path.split('?').next().unwrap_or_default();
        let id = path.strip_prefix("/sandbox/").unwrap_or_default();
        let at = state.sandboxes.iter().position(|sandbox| sandbox["id"] == id);
        match (asked.method.as_str(), path, at) {
            ("GET", "/config", _) => (200, "", config()),
            // As if it knew no filter.
            ("GET", "/sandbox", _) => (200, "", json!({"items": state.sandboxes, "nextCursor": null})),
            ("POST", "/sandbox", _) => {
                state.made += 1;
                let sandbox = self.sandbox(&format!("sandbox-{}", state.made), &asked.body);
                state.sandboxes.push(sandbox.clone());
                (200, "", sandbox)
            }
            ("GET", _, Some(at)) => (200, "", state.sandboxes[at].clone()),
            ("DELETE", _, Some(at)) => (200, "", state.sandboxes.remove(at)),
            _ => (404, "", json!({"statusCode": 404, "message": "not there", "error": "Not Found"})),
        }
    }

    fn sandbox(&self, id: &str, body: &Value) -> Value {
        let mut sandbox = body.clone();
        let root = self.url.trim_end_matches("/api");
        for (name, value) in [
            ("id", id),
            ("name", id),
            ("state", "started"),
            ("createdAt", "2026-01-01T00:00:00.000Z"),
            ("toolboxProxyUrl", &format!("{root}/toolbox")),
        ] {
            sandbox[name] = value.into();
        }
        sandbox
    }
}

/// What the first request of every run asks for.
pub fn config() -> Value {
    json!({
        "version": "0.205.1", "oidc": {"issuer": "i", "clientId": "c", "audience": "a"}, "linkedAccountsEnabled": false,
        "announcements": {}, "proxyTemplateUrl": "http://{{PORT}}.x", "proxyToolboxUrl": "http://x", "defaultSnapshot": "s",
        "dashboardUrl": "http://x", "maxAutoArchiveInterval": 1, "maintananceMode": false, "environment": "test",
    })
}

fn read(stream: &mut TcpStream) -> Option<Asked> {
    let (mut read, mut buffer) = (Vec::new(), [0; 4096]);
    loop {
        let count = stream.read(&mut buffer).ok().filter(|count| *count > 0)?;
        read.extend_from_slice(&buffer[..count]);
        let text = String::from_utf8_lossy(&read);
        let Some((head, body)) = text.split_once("\r\n\r\n") else { continue };
        let lower = head.to_lowercase();
        let length = lower.split("content-length: ").nth(1).and_then(|rest| rest.lines().next()?.parse().ok());
        if body.len() < length.unwrap_or(0) {
            continue;
        }
        let mut words = head.split(' ');
        let (method, target) = (words.next()?.to_owned(), words.next()?);
        let path = target.strip_prefix("/api").unwrap_or(target).to_owned();
        return Some(Asked { method, path, body: serde_json::from_str(body).unwrap_or_default() });
    }
}
