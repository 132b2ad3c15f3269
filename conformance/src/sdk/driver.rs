//! A driver that runs: requests go in, answers and events come out.

use std::{
    collections::HashMap,
    process::Stdio,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use nix::{
    sys::signal::{Signal, killpg},
    unistd::Pid,
};
use parking_lot::Mutex;
use serde_json::{Map, Value, json};
use tokio::{
    io::{AsyncBufRead, AsyncBufReadExt, AsyncRead, AsyncReadExt, AsyncWriteExt, BufReader},
    process::{Child, ChildStdin, Command},
    sync::{mpsc, oneshot},
};

use super::protocol::{Event, Hello, Line, Request, Thrown, VERSION};
use crate::stop::{Result, Stop};

/// Loading an SDK takes a while on a busy machine.
const STARTING: Duration = Duration::from_secs(60);
/// A longer line is no answer. No more of it is read.
const LONGEST: usize = 64 << 20;
/// Of standard error, at most this much is kept: its end.
const ERRORS: usize = 16 << 10;
/// Lines kept for reports.
const KEPT: usize = 400;
/// Of each line.
const SHOWN: usize = 600;

/// What an SDK did with a call.
#[derive(Debug)]
pub enum Told {
    Returned(Map<String, Value>),
    Threw(Box<Thrown>),
    /// Nothing, for so long.
    Nothing(Duration),
}

/// A call under way.
pub struct Under {
    pub id: u64,
    pub op: String,
    answer: oneshot::Receiver<Answer>,
    /// What comes meanwhile, and for terminals afterwards.
    pub events: mpsc::UnboundedReceiver<Event>,
}

enum Answer {
    Returned(Map<String, Value>),
    Threw(Box<Thrown>),
    Unsupported(String),
}

struct Slot {
    answer: Option<oneshot::Sender<Answer>>,
    events: mpsc::UnboundedSender<Event>,
}

#[derive(Default)]
struct Shared {
    slots: Mutex<HashMap<u64, Slot>>,
    /// What was said, for reports: `> {…}` and `< {…}`.
    said: Mutex<Vec<String>>,
    errors: Mutex<Vec<u8>>,
    /// Why nothing more comes.
    broken: Mutex<Option<String>>,
}

/// A running driver. Dropping it kills it.
pub struct Driver {
    child: Child,
    pid: Option<Pid>,
    stdin: tokio::sync::Mutex<Option<ChildStdin>>,
    shared: Arc<Shared>,
    next: AtomicU64,
    pub hello: Hello,
}

impl Driver {
    /// Runs a command of the shell, and asks it who it is.
    pub async fn start(command: &str) -> Result<Self> {
        let mut shell = Command::new("/bin/sh");
        shell.arg("-c").arg(format!("exec {command}")).stdin(Stdio::piped()).stdout(Stdio::piped());
        shell.stderr(Stdio::piped()).kill_on_drop(true).process_group(0);
        // Nothing of another account or of a proxy may come between.
        for name in ["DAYTONA_API_KEY", "DAYTONA_API_URL", "DAYTONA_SERVER_URL", "DAYTONA_JWT_TOKEN"] {
            shell.env_remove(name);
        }
        for name in ["DAYTONA_ORGANIZATION_ID", "DAYTONA_TARGET", "HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"]
        {
            shell.env_remove(name);
        }
        let mut child = shell.spawn().map_err(|error| Stop::harness(format!("{command}: {error}")))?;
        let pid = child.id().map(|pid| Pid::from_raw(pid.cast_signed()));
        let shared = Arc::new(Shared::default());
        let pipe = || Stop::harness("no pipe to the driver");
        let (stdin, stdout) = (child.stdin.take().ok_or_else(pipe)?, child.stdout.take().ok_or_else(pipe)?);
        tokio::spawn(errors(child.stderr.take().ok_or_else(pipe)?, shared.clone()));
        tokio::spawn(read(stdout, shared.clone()));
        let stdin = tokio::sync::Mutex::new(Some(stdin));
        let mut driver = Self { child, pid, stdin, shared, next: AtomicU64::new(1), hello: Hello::default() };
        driver.hello = driver.introduce(command).await?;
        Ok(driver)
    }

    async fn introduce(&self, command: &str) -> Result<Hello> {
        let told = self.call("hello", json!({"protocol": VERSION}), STARTING).await?;
        let Told::Returned(hello) = told else {
            return Err(Stop::harness(format!("{command} doesn't say hello: {told}{}", self.last_words())));
        };
        let hello: Hello = serde_json::from_value(Value::Object(hello))
            .map_err(|error| Stop::harness(format!("{command} says hello wrongly: {error}")))?;
        match hello.protocol {
            VERSION => Ok(hello),
            other => Err(Stop::harness(format!("{command} speaks protocol {other}, this suite {VERSION}"))),
        }
    }

    /// Sends a request.
    pub async fn begin(&self, op: &str, args: Value) -> Result<Under> {
        if !self.hello.ops.is_empty() && !self.hello.ops.iter().any(|own| own == op) {
            return Err(Stop::not_applicable(format!("the driver has no {op}")));
        }
        let id = self.next.fetch_add(1, Ordering::Relaxed);
        let (answer, answered) = oneshot::channel();
        let (events, coming) = mpsc::unbounded_channel();
        self.shared.slots.lock().insert(id, Slot { answer: Some(answer), events });
        // Whoever reads has said so before it let go of the slots: either of both is seen.
        if let Some(why) = self.shared.broken.lock().clone() {
            return Err(Stop::untestable(format!("the driver was lost before {op}: {why}{}", self.last_words())));
        }
        let line = serde_json::to_string(&Request { id, op, args: &args })?;
        self.shared.note('>', &line);
        let mut stdin = self.stdin.lock().await;
        let written = match &mut *stdin {
            Some(stdin) => stdin.write_all(format!("{line}\n").as_bytes()).await.is_ok(),
            None => false,
        };
        if !written {
            return Err(Stop::untestable(format!("the driver has ended{}", self.last_words())));
        }
        Ok(Under { id, op: op.to_owned(), answer: answered, events: coming })
    }

    /// Waits for the answer of a request.
    pub async fn end(&self, under: &mut Under, limit: Duration) -> Result<Told> {
        match tokio::time::timeout(limit, &mut under.answer).await {
            Err(_) => Ok(Told::Nothing(limit)),
            Ok(Ok(Answer::Returned(value))) => Ok(Told::Returned(value)),
            Ok(Ok(Answer::Threw(thrown))) => Ok(Told::Threw(thrown)),
            Ok(Ok(Answer::Unsupported(why))) => Err(Stop::not_applicable(format!("{}: {why}", under.op))),
            Ok(Err(_)) => {
                let why = self.shared.broken.lock().clone().unwrap_or_else(|| "it ended".to_owned());
                Err(Stop::untestable(format!("the driver was lost during {}: {why}{}", under.op, self.last_words())))
            }
        }
    }

    pub async fn call(&self, op: &str, args: Value, limit: Duration) -> Result<Told> {
        let mut under = self.begin(op, args).await?;
        self.end(&mut under, limit).await
    }

    /// Whether a next scenario can use it: it lives, and nothing is under way.
    pub fn is_idle(&self) -> bool {
        let waiting = self.shared.slots.lock().values().any(|slot| slot.answer.is_some());
        self.shared.broken.lock().is_none() && !waiting
    }

    /// What was said since the last time, for reports.
    pub fn take_said(&self) -> Vec<String> {
        std::mem::take(&mut *self.shared.said.lock())
    }

    /// Forgets the requests that are over. Their terminals have nobody to talk to any more.
    pub fn forget(&self) {
        self.shared.slots.lock().retain(|_, slot| slot.answer.is_some());
    }

    /// Bytes that the process had in memory at most (`VmHWM`); `None` where the kernel doesn't say.
    pub fn peak(&self) -> Option<u64> {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.pid?)).ok()?;
        let line = status.lines().find(|line| line.starts_with("VmHWM:"))?;
        line.split_whitespace().nth(1)?.parse::<u64>().ok().map(|kib| kib << 10)
    }

    /// From now on [`Driver::peak`] counts anew; whether the kernel does that.
    pub fn reset_peak(&self) -> bool {
        self.pid.is_some_and(|pid| std::fs::write(format!("/proc/{pid}/clear_refs"), "5").is_ok())
    }

    /// Says that no more requests come, and waits until it ends by itself.
    pub async fn finish(&mut self, limit: Duration) -> bool {
        drop(self.stdin.lock().await.take());
        tokio::time::timeout(limit, self.child.wait()).await.is_ok()
    }

    /// The end of what it wrote to standard error.
    fn last_words(&self) -> String {
        let errors = String::from_utf8_lossy(&self.shared.errors.lock()).into_owned();
        match errors.trim() {
            "" => String::new(),
            text => format!("; it wrote: {}", tail(text, 800)),
        }
    }
}

impl Drop for Driver {
    fn drop(&mut self) {
        if let (Some(pid), Ok(None)) = (self.pid, self.child.try_wait()) {
            _ = killpg(pid, Signal::SIGKILL);
        }
    }
}

impl Shared {
    fn note(&self, direction: char, line: &str) {
        let mut said = self.said.lock();
        if said.len() < KEPT {
            let cut = line.char_indices().nth(SHOWN).map_or(line.len(), |(at, _)| at);
            let more = if cut < line.len() { "…" } else { "" };
            said.push(format!("{direction} {}{more}", &line[..cut]));
        }
    }

    fn take(&self, text: &str) -> Result<(), String> {
        self.note('<', text);
        let line = Line::parse(text)?;
        let event = line.as_event()?;
        let mut slots = self.slots.lock();
        // It was forgotten with its scenario.
        let Some(slot) = slots.get_mut(&line.id) else { return Ok(()) };
        let answer = match (event, line.ok, line.error, line.unsupported) {
            (Some(event), ..) => {
                _ = slot.events.send(event);
                return Ok(());
            }
            (_, Some(value), ..) => Answer::Returned(value),
            (_, _, Some(thrown), _) => Answer::Threw(Box::new(thrown)),
            (_, _, _, why) => Answer::Unsupported(why.unwrap_or_default()),
        };
        let sender = slot.answer.take().ok_or(format!("request {} is answered twice", line.id))?;
        // Whoever gave up waiting has no use for it.
        _ = sender.send(answer);
        Ok(())
    }
}

async fn read(stdout: impl AsyncRead + Unpin, shared: Arc<Shared>) {
    let mut stdout = BufReader::new(stdout);
    let why = loop {
        match line(&mut stdout, LONGEST).await {
            Ok(Some(line)) if line.trim().is_empty() => {}
            Ok(Some(line)) => {
                if let Err(why) = shared.take(&line) {
                    break format!("{why}: {}", tail(&line, 200));
                }
            }
            Ok(None) => break "it ended".to_owned(),
            Err(why) => break why,
        }
    };
    *shared.broken.lock() = Some(why);
    // Who waits for an answer learns that none comes.
    shared.slots.lock().clear();
}

/// The next line without its end; an error if it is longer than that.
async fn line(from: &mut (impl AsyncBufRead + Unpin), longest: usize) -> Result<Option<String>, String> {
    let mut bytes = Vec::new();
    let read = from.take(longest as u64 + 1).read_until(b'\n', &mut bytes).await;
    match read.map_err(|error| error.to_string())? {
        0 => Ok(None),
        count if count > longest => Err("a line is too long".to_owned()),
        _ => String::from_utf8(bytes)
            .map(|line| Some(line.trim_end_matches(['\r', '\n']).to_owned()))
            .map_err(|error| error.to_string()),
    }
}

async fn errors(mut stderr: impl AsyncRead + Unpin, shared: Arc<Shared>) {
    let mut chunk = vec![0; 4096];
    while let Ok(count @ 1..) = stderr.read(&mut chunk).await {
        let mut errors = shared.errors.lock();
        errors.extend_from_slice(&chunk[..count]);
        let surplus = errors.len().saturating_sub(ERRORS);
        errors.drain(..surplus);
    }
}

fn tail(text: &str, most: usize) -> &str {
    let at = (text.len().saturating_sub(most)..text.len()).find(|at| text.is_char_boundary(*at));
    &text[at.unwrap_or(0)..]
}

impl Told {
    /// What the SDK returned, where the scenario can't go on without.
    pub fn ok(self) -> Result<Map<String, Value>> {
        match self {
            Self::Returned(value) => Ok(value),
            other => Err(Stop::untestable(format!("the SDK should have returned, but {other}"))),
        }
    }

    /// What it threw, if it did.
    pub fn thrown(&self) -> Option<&Thrown> {
        match self {
            Self::Threw(thrown) => Some(thrown),
            _ => None,
        }
    }

    pub fn returned(&self) -> bool {
        matches!(self, Self::Returned(_))
    }

    /// A field of what was returned; null where there is none.
    pub fn field(&self, name: &str) -> Value {
        match self {
            Self::Returned(value) => value.get(name).cloned().unwrap_or_default(),
            _ => Value::Null,
        }
    }
}

/// For people.
impl std::fmt::Display for Told {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Returned(value) => write!(f, "it returned {}", Value::Object(value.clone())),
            Self::Threw(thrown) => write!(f, "it threw {thrown}"),
            Self::Nothing(limit) => write!(f, "it did nothing for {:.1} s", limit.as_secs_f64()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HELLO: &str = r#"{"id": 1, "ok": {"protocol": 1, "sdk": "s", "version": "1", "language": "l", "ops": []}}"#;

    /// A driver that says hello, answers `connect` with these lines, and then nothing more; it has read them when this returns.
    async fn after(lines: &str) -> Driver {
        let script = format!("sh -c 'read a; echo '\\''{HELLO}'\\''; read b; {lines}; sleep 60'");
        let driver = Driver::start(&script).await.expect("it says hello");
        _ = driver.call("connect", json!({}), Duration::from_secs(30)).await;
        driver
    }

    #[tokio::test]
    async fn what_is_broken_is_told_at_once() {
        let ok = r#"echo '\''{"id": 2, "ok": {}}'\''"#;
        for (lines, why) in
            [(format!("{ok}; echo DEBUG connected"), "DEBUG connected"), (format!("{ok}; {ok}"), "answered twice")]
        {
            let driver = after(&lines).await;
            let began = std::time::Instant::now();
            let told = driver.call("get", json!({}), Duration::from_secs(30)).await;
            let told = told.map(|told| told.to_string()).expect_err("it is broken");
            assert!(told.to_string().contains(why), "{told}");
            // Also where it is broken before it is asked.
            let Err(again) = driver.call("get", json!({}), Duration::from_secs(30)).await else {
                panic!("it is broken")
            };
            assert!(again.to_string().contains(why), "{again}");
            assert!(began.elapsed() < Duration::from_secs(20), "{:?}", began.elapsed());
        }
    }

    #[tokio::test]
    async fn lines_have_an_end() {
        let mut text: &[u8] = b"one\r\ntwo three four\nfive";
        assert_eq!(line(&mut text, 8).await.unwrap().as_deref(), Some("one"));
        assert!(line(&mut text, 8).await.is_err());
        let mut text: &[u8] = b"five";
        assert_eq!(line(&mut text, 8).await.unwrap().as_deref(), Some("five"));
        assert_eq!(line(&mut text, 8).await.unwrap(), None);
        // No end at all: no more than that is read of it.
        let mut endless = BufReader::new(tokio::io::repeat(b'x'));
        assert!(line(&mut endless, 1 << 16).await.is_err());
    }
}
