//! What every test needs: a toolbox of its own to talk to.

use std::{
    path::{Path, PathBuf},
    process::Command,
    sync::OnceLock,
    time::Duration,
};

use daytona_mock::{
    MockServer,
    config::Config,
    runtime::{Isolation, IsolationChoice},
    toolbox::{AgentConfig, Ctx, pty::Limits, routes},
};
use reqwest::Method;
use serde_json::{Value, json};

/// The server that all tests of this process share.
pub struct Shared {
    /// Ends in `/api`.
    pub api_url: String,
    pub api_key: String,
    /// `http://127.0.0.1:port`, without a trailing slash.
    pub base_url: String,
}

/// How long a condition may take to come true on a busy machine.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// The tier that the tests run in: told, or the best of this machine.
pub fn isolation() -> IsolationChoice {
    match std::env::var("DAYTONA_MOCK_TEST_ISOLATION").as_deref() {
        Ok("root") => IsolationChoice::Exactly(Isolation::Root),
        Ok("subuid") => IsolationChoice::Exactly(Isolation::Subuid),
        Ok("single") => IsolationChoice::Exactly(Isolation::Single),
        Ok("process") => IsolationChoice::Exactly(Isolation::Process),
        _ => IsolationChoice::Auto,
    }
}

/// The program under test.
pub fn binary() -> PathBuf {
    std::env::var_os("DAYTONA_MOCK_TEST_BINARY")
        .map_or_else(|| env!("CARGO_BIN_EXE_daytona-mock").into(), PathBuf::from)
}

/// A copy of the program, to be started. Made by another process: a program that this one had open for writing can't run
/// while a child that another test just forked still has it open, too.
pub fn copy_binary(to: &Path) {
    let copied = Command::new("cp").arg(binary()).arg(to).status().expect("cp runs");
    assert!(copied.success(), "{copied}");
}

/// Where bases are kept between runs.
pub fn cache_dir() -> PathBuf {
    let default = || concat!(env!("CARGO_TARGET_TMPDIR"), "/bases").into();
    std::env::var_os("DAYTONA_MOCK_TEST_CACHE").map_or_else(default, PathBuf::from)
}

/// What a test's server is told, unless the test says otherwise.
pub fn config() -> Config {
    Config { isolation: isolation(), binary: Some(binary()), cache_dir: Some(cache_dir()), ..Config::default() }
}

/// Where the shared server of this run keeps its data. It lives as long as the process and can't tidy up after itself,
/// so each run removes what earlier ones left.
pub fn run_dir() -> PathBuf {
    const PREFIX: &str = "daytona-mock-wire-";
    let temp = std::env::temp_dir();
    for entry in std::fs::read_dir(&temp).into_iter().flatten().flatten() {
        let name = entry.file_name();
        let pid = name.to_str().and_then(|name| name.strip_prefix(PREFIX));
        if pid.is_some_and(|pid| !Path::new("/proc").join(pid).exists()) {
            // Another user's, or with other users' files in it: that user's next run removes it.
            _ = std::fs::remove_dir_all(entry.path());
        }
    }
    temp.join(format!("{PREFIX}{}", std::process::id()))
}

/// The shared server; the first test that asks starts it.
pub fn server() -> &'static Shared {
    static SHARED: OnceLock<Shared> = OnceLock::new();
    SHARED.get_or_init(|| {
        let (ready, started) = std::sync::mpsc::channel();
        // Its own thread: a test's runtime ends with the test.
        std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
            runtime.expect("runtime").block_on(async {
                let upstream_ca = vec![crate::upstream::trusted()];
                let config = Config { data_dir: Some(run_dir()), upstream_ca, ..config() };
                let server = MockServer::start(config).await.expect("the server starts");
                let shared = Shared {
                    base_url: server.api_url.trim_end_matches("/api").to_owned(),
                    api_url: server.api_url.clone(),
                    api_key: server.api_key.clone(),
                };
                ready.send(shared).expect("someone waits");
                std::future::pending::<()>().await;
            });
        });
        started.recv().expect("the server starts")
    })
}

/// Waits until `condition` gives something.
pub async fn eventually<T, F: Future<Output = Option<T>>>(what: &str, condition: impl FnMut() -> F) -> T {
    within(|| what.to_owned(), condition).await
}

/// The same, with something to say about what was seen last.
pub async fn within<T, F: Future<Output = Option<T>>>(
    what: impl Fn() -> String,
    mut condition: impl FnMut() -> F,
) -> T {
    let deadline = tokio::time::Instant::now() + PATIENCE;
    loop {
        if let Some(found) = condition().await {
            return found;
        }
        assert!(tokio::time::Instant::now() < deadline, "not in time: {}", what());
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// The same for tests that aren't async.
pub fn eventually_blocking<T>(what: &str, patience: Duration, mut condition: impl FnMut() -> Option<T>) -> T {
    let deadline = std::time::Instant::now() + patience;
    loop {
        if let Some(found) = condition() {
            return found;
        }
        assert!(std::time::Instant::now() < deadline, "not in time: {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// A fresh key with an organisation of its own.
pub async fn new_key() -> String {
    let url = format!("{}/__control/keys", server().base_url);
    let answer = reqwest::Client::new().post(url).bearer_auth(&server().api_key).send().await.expect("answer");
    let body: Value = answer.json().await.expect("JSON");
    body["apiKey"].as_str().unwrap_or_else(|| panic!("{body}")).to_owned()
}

/// A client that sends this key.
pub fn client(key: &str) -> reqwest::Client {
    let authorization = format!("Bearer {key}").parse().expect("header");
    let headers = [(reqwest::header::AUTHORIZATION, authorization)].into_iter().collect();
    reqwest::Client::builder().default_headers(headers).build().expect("client")
}

/// A started sandbox in an organisation of its own.
pub struct Sandbox {
    pub id: String,
    pub key: String,
    /// Sends the key.
    pub client: reqwest::Client,
}

pub async fn sandbox() -> Sandbox {
    let key = new_key().await;
    let client = client(&key);
    let answer = client.post(format!("{}/sandbox", server().api_url)).json(&json!({})).send().await.expect("answer");
    let body: Value = answer.json().await.expect("JSON");
    let id = body["id"].as_str().unwrap_or_else(|| panic!("{body}")).to_owned();
    let sandbox = Sandbox { id, key, client };
    sandbox.until("started").await;
    sandbox
}

impl Sandbox {
    /// Calls the control plane below `/sandbox/{id}`; its status and answer.
    pub async fn api(&self, method: Method, path: &str) -> (u16, Value) {
        let url = format!("{}/sandbox/{}{path}", server().api_url, self.id);
        let answer = self.client.request(method, url).send().await.expect("answer");
        let status = answer.status().as_u16();
        let text = answer.text().await.expect("text");
        (status, serde_json::from_str(&text).unwrap_or(Value::String(text)))
    }

    pub async fn until(&self, state: &str) {
        eventually(state, async || (self.api(Method::GET, "").await.1["state"] == state).then_some(())).await;
    }

    /// An URL of its toolbox.
    pub fn url(&self, path: &str) -> String {
        format!("{}/toolbox/{}{path}", server().base_url, self.id)
    }

    /// Runs a command, which must exit with 0; its output.
    pub async fn run(&self, command: &str) -> String {
        let request = self.client.post(self.url("/process/execute")).json(&json!({"command": command}));
        let body: Value = request.send().await.expect("answer").json().await.expect("JSON");
        assert_eq!(body["exitCode"], 0, "{body}");
        body["result"].as_str().expect("text").to_owned()
    }

    pub async fn preview_token(&self) -> String {
        let (_, link) = self.api(Method::GET, "/ports/3000/preview-url").await;
        link["token"].as_str().expect("token").to_owned()
    }
}

/// A toolbox, reached over HTTP.
pub struct Toolbox {
    /// Base URL without a trailing slash.
    pub url: String,
    /// Sends the key.
    pub client: reqwest::Client,
    /// What WebSockets need as `Authorization: Bearer`; `None` in a local toolbox, which asks for nothing.
    pub key: Option<String>,
    /// Its work directory and home, which this test may fill: an absolute path inside, or for tests that look at its files
    /// from outside the way there.
    pub dir: PathBuf,
    /// How the same directory is called inside.
    pub home: PathBuf,
    _temp: Option<tempfile::TempDir>,
    _as_its_user: Option<AsItsUser>,
}

/// The toolbox of a fresh sandbox, through the whole server.
pub async fn toolbox() -> Toolbox {
    let sandbox = sandbox().await;
    let (url, key) = (sandbox.url(""), Some(sandbox.key));
    Toolbox { url, client: sandbox.client, key, ..nowhere() }
}

/// What toolboxes of sandboxes have in common.
fn nowhere() -> Toolbox {
    let home = PathBuf::from("/home/daytona");
    Toolbox {
        url: String::new(),
        client: reqwest::Client::new(),
        key: None,
        dir: home.clone(),
        home,
        _temp: None,
        _as_its_user: None,
    }
}

/// The toolbox of a fresh sandbox, through the whole server; its home is empty and seen from outside as `dir`. As long
/// as it lives, what this thread makes there belongs to the sandbox's user.
pub async fn open_toolbox() -> Toolbox {
    let tb = toolbox().await;
    let marker = format!("{}", 100_000_000 + uuid::Uuid::new_v4().as_u128() % 100_000_000);
    let prepare =
        format!("cd && find . -mindepth 1 -delete; (setsid sleep {marker} >/dev/null 2>&1 </dev/null &); pwd");
    let home = tb.run(&prepare).await;
    let process = eventually("a process inside is seen", async || process_with(&marker)).await;
    if server_isolation().await == "process" {
        return Toolbox { dir: home.trim_end().into(), ..tb };
    }
    let guard = AsItsUser::of(&process);
    Toolbox { dir: process.join("root/home/daytona"), _as_its_user: Some(guard), ..tb }
}

async fn server_isolation() -> String {
    let health = reqwest::get(format!("{}/health", server().base_url)).await.expect("answer");
    let body: Value = health.json().await.expect("JSON");
    body["isolation"].as_str().unwrap_or_else(|| panic!("{body}")).to_owned()
}

/// The directory in `/proc` of the process with this argument.
fn process_with(argument: &str) -> Option<PathBuf> {
    let processes = std::fs::read_dir("/proc").expect("/proc").flatten().map(|entry| entry.path());
    processes.into_iter().find(|path| {
        let line = std::fs::read(path.join("cmdline")).unwrap_or_default();
        line.strip_prefix(b"sleep\0").is_some_and(|rest| rest.strip_suffix(b"\0") == Some(argument.as_bytes()))
    })
}

/// This thread's file system ids are those of a sandbox's user. Root's would not do: the sandbox has no id for them.
struct AsItsUser;

impl AsItsUser {
    fn of(process: &Path) -> AsItsUser {
        use std::os::unix::fs::MetadataExt;
        let owner = std::fs::metadata(process).expect("the process");
        nix::unistd::setfsgid(owner.gid().into());
        nix::unistd::setfsuid(owner.uid().into());
        AsItsUser
    }
}

impl Drop for AsItsUser {
    fn drop(&mut self) {
        nix::unistd::setfsuid(nix::unistd::geteuid());
        nix::unistd::setfsgid(nix::unistd::getegid());
    }
}

/// A toolbox in this very process, for tests that look at its files from outside.
pub async fn local_toolbox() -> Toolbox {
    limited_toolbox(Limits::default()).await
}

/// The same, with other bounds for terminals.
pub async fn limited_toolbox(pty: Limits) -> Toolbox {
    let temp = tempfile::tempdir().expect("temp dir");
    let dir = temp.path().to_path_buf();
    let env = [("PATH", "/usr/local/bin:/usr/bin:/bin"), ("HOME", dir.to_str().expect("utf-8"))];
    let config = AgentConfig {
        sandbox_id: uuid::Uuid::new_v4().to_string(),
        env: env.into_iter().map(|(k, v)| (k.to_owned(), v.to_owned())).collect(),
        home: dir.clone(),
        work_dir: dir.clone(),
        entrypoint: Vec::new(),
        fake_root: None,
        version: "0.205.1".into(),
        limits: Default::default(),
        pty,
    };
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("bind");
    let url = format!("http://{}", listener.local_addr().expect("address"));
    tokio::spawn(async move { axum::serve(listener, routes(Ctx::new(config))).await });
    Toolbox { url, home: dir.clone(), dir, _temp: Some(temp), ..nowhere() }
}

impl Toolbox {
    /// The toolbox of a sandbox of a server that the test started.
    pub fn new(url: String, client: reqwest::Client) -> Toolbox {
        Toolbox { url, client, ..nowhere() }
    }

    pub async fn get(&self, path: &str) -> reqwest::Response {
        self.client.get(format!("{}{path}", self.url)).send().await.expect("answer")
    }

    pub async fn post(&self, path: &str, body: serde_json::Value) -> reqwest::Response {
        self.client.post(format!("{}{path}", self.url)).json(&body).send().await.expect("answer")
    }

    pub async fn delete(&self, path: &str) -> reqwest::Response {
        self.client.delete(format!("{}{path}", self.url)).send().await.expect("answer")
    }
}

impl Toolbox {
    /// Runs a command, which must exit with 0; its output.
    pub async fn run(&self, command: &str) -> String {
        let res = self.post("/process/execute", serde_json::json!({"command": command})).await;
        assert_eq!(res.status(), 200);
        let body: serde_json::Value = res.json().await.expect("JSON");
        assert_eq!(body["exitCode"], 0, "{body}");
        body["result"].as_str().expect("text").to_owned()
    }
}
