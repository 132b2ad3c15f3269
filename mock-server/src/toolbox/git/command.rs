//! One run of the `git` program.

use std::{
    collections::BTreeMap,
    ffi::{OsStr, OsString},
    io,
    os::{
        fd::{AsFd, OwnedFd},
        unix::process::{CommandExt, ExitStatusExt},
    },
    path::{Path, PathBuf},
    process::Stdio,
    time::Duration,
};

use futures_util::future::join_all;
use nix::{
    sys::signal::{Signal, killpg},
    unistd::Pid,
};
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWriteExt},
    process::{Child, ChildStdin, ChildStdout},
    task::spawn_blocking,
    time::{Instant, sleep, sleep_until, timeout},
};
use tokio_util::sync::CancellationToken;

use super::{errors, repository::Repository, secrets::Secrets, watch::Watch};
use crate::{
    limits,
    runtime::sys::{
        process::{pidfd_open, signal_pidfd},
        rlimits::{Bounds, bound},
    },
    toolbox::{
        Ctx, ToolboxError, go_errors,
        process::{shell, table, tail::tail},
    },
};

/// For what happens on the sandbox's own disk.
const LOCAL_LIMIT: Duration = Duration::from_secs(300);
/// For what talks to a remote. One that says nothing is given up after a minute by [`SETTINGS`].
const NETWORK_LIMIT: Duration = Duration::from_secs(1800);
/// Between being asked to end, which removes lock files, and being killed.
const GRACE: Duration = Duration::from_secs(2);
/// Of what git says about a failure, this much is kept.
const MAX_ERROR: usize = 64 << 10;

/// What a repository's, user's or system's configuration may say otherwise, but not here.
const SETTINGS: &[&str] = &[
    "core.hooksPath=/dev/null",
    "core.fsmonitor=false",
    "core.quotePath=false",
    "core.pager=cat",
    "commit.gpgSign=false",
    "push.gpgSign=false",
    "tag.gpgSign=false",
    "log.showSignature=false",
    "gc.auto=0",
    "maintenance.auto=false",
    "submodule.recurse=false",
    "fetch.recurseSubmodules=false",
    "push.recurseSubmodules=no",
    "http.lowSpeedLimit=1",
    "http.lowSpeedTime=60",
    // Repositories of other users of the sandbox are readable as files, too.
    "safe.directory=*",
];

/// Variables that would make git look elsewhere or wait for somebody.
const REMOVED: &[&str] = &["GIT_", "SSH_ASKPASS", "LANGUAGE", "EDITOR", "VISUAL", "PAGER"];
/// Of those, what tells it how to reach remotes.
const KEPT: &[&str] = &["GIT_SSL_", "GIT_PROXY_", "GIT_HTTP_", "GIT_SSH", "GIT_CONFIG_GLOBAL", "GIT_CONFIG_SYSTEM"];

const VARIABLES: &[(&str, &str)] = &[
    ("LC_ALL", "C"),
    ("GIT_TERMINAL_PROMPT", "0"),
    // Empty, not absent: absent would let `core.askPass` and SSH_ASKPASS ask.
    ("GIT_ASKPASS", ""),
    ("GIT_EDITOR", "true"),
    ("GIT_ALLOW_PROTOCOL", "http:https:git:ssh:file"),
    ("GIT_LITERAL_PATHSPECS", "1"),
];

/// One request: its agent, and whether its client is still there.
#[derive(Clone)]
pub struct Call {
    pub ctx: Ctx,
    gone: CancellationToken,
    watch: Watch,
}

impl Call {
    pub fn new(ctx: Ctx) -> Call {
        Call { ctx, gone: CancellationToken::new(), watch: Watch::default() }
    }

    /// Works on a request in a task of its own, so that it can tidy up when the client has gone.
    pub async fn run<T: Send + 'static, W>(ctx: Ctx, work: impl FnOnce(Call) -> W) -> Result<T, ToolboxError>
    where
        W: Future<Output = Result<T, ToolboxError>> + Send + 'static,
    {
        let call = Call::new(ctx);
        let _when_dropped = call.gone.clone().drop_guard();
        tokio::spawn(work(call)).await.map_err(ToolboxError::internal)?
    }

    /// `git` with these arguments, in no repository.
    pub fn git<A: AsRef<OsStr>>(&self, args: impl IntoIterator<Item = A>) -> Git<'_> {
        Git {
            call: self,
            args: args.into_iter().map(|arg| arg.as_ref().to_owned()).collect(),
            cwd: None,
            before: Vec::new(),
            env: Vec::new(),
            stdin: Vec::new(),
            secrets: None,
            limit: LOCAL_LIMIT,
        }
    }
}

/// A run to be.
pub struct Git<'a> {
    call: &'a Call,
    before: Vec<OsString>,
    args: Vec<OsString>,
    cwd: Option<PathBuf>,
    env: Vec<(&'static str, String)>,
    stdin: Vec<u8>,
    secrets: Option<&'a Secrets>,
    limit: Duration,
}

/// How a run ended.
pub struct Output {
    pub ok: bool,
    /// -1 when a signal ended it.
    pub code: i32,
    pub stdout: Vec<u8>,
    pub stderr: String,
}

impl<'a> Git<'a> {
    /// In this repository and no other: nothing is looked for further up, and links below it lead where they lead.
    pub fn at(mut self, repository: &Repository) -> Self {
        self.before.push(option("--git-dir=", &repository.git_dir));
        if !repository.bare {
            self.before.push(option("--work-tree=", &repository.path));
        }
        self.cwd = Some(repository.path.clone());
        self
    }

    pub fn arg(mut self, arg: impl AsRef<OsStr>) -> Self {
        self.args.push(arg.as_ref().to_owned());
        self
    }

    pub fn args<A: AsRef<OsStr>>(mut self, args: impl IntoIterator<Item = A>) -> Self {
        self.args.extend(args.into_iter().map(|arg| arg.as_ref().to_owned()));
        self
    }

    /// In this directory.
    pub fn cwd(mut self, directory: &Path) -> Self {
        self.cwd = Some(directory.to_owned());
        self
    }

    /// `name=value` of the configuration, for this run. Others in the sandbox can see it.
    pub fn set(mut self, setting: &str) -> Self {
        self.before.extend(["-c".into(), setting.into()]);
        self
    }

    pub fn env(mut self, name: &'static str, value: &str) -> Self {
        self.env.push((name, value.to_owned()));
        self
    }

    pub fn stdin(mut self, input: impl Into<Vec<u8>>) -> Self {
        self.stdin = input.into();
        self
    }

    /// It will talk to a remote, perhaps with these credentials.
    pub fn network(mut self, secrets: Option<&'a Secrets>) -> Self {
        self.limit = NETWORK_LIMIT;
        self.secrets = secrets;
        self
    }

    /// Its standard output; a failure as the toolbox says it.
    pub async fn text(self) -> Result<Vec<u8>, ToolboxError> {
        let output = self.run().await?;
        if output.ok { Ok(output.stdout) } else { Err(errors::of(&output.stderr)) }
    }

    /// Runs it to its end.
    pub async fn run(mut self) -> Result<Output, ToolboxError> {
        let (gone, watch, limit) = (self.call.gone.clone(), self.call.watch.clone(), self.limit);
        let input = std::mem::take(&mut self.stdin);
        let mut child = self.spawn()?;
        let group = child.id().and_then(|id| i32::try_from(id).ok()).unwrap_or_default();
        let why = tokio::select! {
            output = finish(&mut child, input) => return output,
            why = watch.over(group) => why,
            () = gone.cancelled() => ToolboxError::internal("the client has gone"),
            () = sleep(limit) => errors::too_slow(limit),
        };
        end(&mut child).await;
        Err(why)
    }

    /// Starts it for output that is worked on while it comes.
    pub fn start(self) -> Result<Running, ToolboxError> {
        let (gone, deadline) = (self.call.gone.clone(), Instant::now() + self.limit);
        Ok(Running { child: self.spawn()?, gone, deadline })
    }

    fn spawn(self) -> Result<Child, ToolboxError> {
        let ctx = &self.call.ctx;
        let env = environment(ctx.env());
        let Some(program) = shell::find_program("git", &env) else {
            return Err(ToolboxError::internal("git is not installed in this sandbox: sudo apt-get install git"));
        };
        let failed = |e: io::Error| ToolboxError::internal(go_errors::text(&e));
        let mut command = std::process::Command::new(program);
        command.args(SETTINGS.iter().flat_map(|setting| ["-c", setting])).env_clear().envs(env).envs(self.env);
        if let Some(secrets) = self.secrets {
            secrets.lend(&mut command).map_err(failed)?;
        }
        command.args(&self.before).args(&self.args).process_group(0);
        command.current_dir(self.cwd.as_deref().unwrap_or(&ctx.config().work_dir));
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let limits = limits::inside();
        bound(&mut command, Bounds { memory: limits.git_memory as u64, file: limits.git_file as u64 });
        tokio::process::Command::from(command).spawn().map_err(failed)
    }
}

/// A run whose output is worked on while it comes: [`Running::succeeded`] or [`Running::end`] must be called at last.
pub struct Running {
    child: Child,
    gone: CancellationToken,
    deadline: Instant,
}

impl Running {
    pub fn stdout(&mut self) -> Option<ChildStdout> {
        self.child.stdout.take()
    }

    /// The future's result, unless the time is over or the client has gone before.
    pub async fn unless_over<T>(&self, work: impl Future<Output = T>) -> Option<T> {
        tokio::select! {
            result = work => Some(result),
            () = self.gone.cancelled() => None,
            () = sleep_until(self.deadline) => None,
        }
    }

    /// Waits for it after its output has ended; a failure as the toolbox says it.
    pub async fn succeeded(mut self) -> Result<(), ToolboxError> {
        let output = finish(&mut self.child, Vec::new()).await?;
        if output.ok { Ok(()) } else { Err(errors::of(&output.stderr)) }
    }

    /// Ends it.
    pub async fn end(mut self) {
        end(&mut self.child).await;
    }
}

fn option(name: &str, value: &Path) -> OsString {
    let mut option = OsString::from(name);
    option.push(value);
    option
}

/// The agent's variables, and what git needs to work alone.
fn environment(mut env: BTreeMap<String, String>) -> BTreeMap<String, String> {
    let begins = |name: &str, with: &[&str]| with.iter().any(|start| name.starts_with(start));
    env.retain(|name, _| !begins(name, REMOVED) || begins(name, KEPT));
    env.entry("GIT_SSH_COMMAND".into()).or_insert_with(|| "ssh -o BatchMode=yes -o ConnectTimeout=30".into());
    env.extend(VARIABLES.iter().map(|&(name, value)| (name.to_owned(), value.to_owned())));
    env
}

/// Feeds it, reads all it says, and waits for it.
async fn finish(child: &mut Child, input: Vec<u8>) -> Result<Output, ToolboxError> {
    let (stdin, stdout, stderr) = (child.stdin.take(), child.stdout.take(), child.stderr.take());
    let (mut said, mut complaint) = (Vec::new(), Vec::new());
    let pipes =
        async { tokio::join!(feed(stdin, input), collect(stdout, &mut said), tail(stderr, MAX_ERROR, &mut complaint)) };
    let in_bounds = {
        tokio::pin!(pipes);
        tokio::select! {
            ((), in_bounds, ()) = &mut pipes => in_bounds,
            // Somebody may have inherited the pipes and stay: a credential cache for example.
            _ = child.wait() => timeout(GRACE, pipes).await.is_ok_and(|((), in_bounds, ())| in_bounds),
        }
    };
    if !in_bounds {
        end(child).await;
        return Err(ToolboxError::internal(format!("git said more than {} MiB", limits::inside().output >> 20)));
    }
    let status = child.wait().await.map_err(|e| ToolboxError::internal(go_errors::text(&e)))?;
    let mut stderr = String::from_utf8_lossy(&complaint).into_owned();
    if let Some(signal) = status.signal() {
        // In the words that git has for programs of its own.
        stderr.push_str(&format!("\nerror: git died of signal {signal}\n"));
    }
    Ok(Output { ok: status.success(), code: status.code().unwrap_or(-1), stdout: said, stderr })
}

async fn feed(stdin: Option<ChildStdin>, input: Vec<u8>) {
    if let Some(mut stdin) = stdin {
        // Input that it doesn't want is no error.
        _ = stdin.write_all(&input).await;
    }
}

/// Everything up to the end; false when that is more than the limit.
async fn collect(from: Option<impl AsyncRead + Unpin>, into: &mut Vec<u8>) -> bool {
    let Some(mut from) = from else { return true };
    while matches!(from.read_buf(into).await, Ok(read) if read > 0) {
        if into.len() > limits::inside().output {
            return false;
        }
    }
    true
}

/// Ends it and the programs that it started, and waits until they write nothing any more.
async fn end(child: &mut Child) {
    let Some(group) = child.id().and_then(|id| i32::try_from(id).ok()) else { return };
    let programs = spawn_blocking(move || members(group)).await.unwrap_or_default();
    _ = killpg(Pid::from_raw(group), Signal::SIGTERM);
    let others = join_all(programs.iter().filter_map(|program| program.try_clone().ok()).map(table::ended));
    let mut gone = std::pin::pin!(async { tokio::join!(child.wait(), others) });
    if timeout(GRACE, &mut gone).await.is_err() {
        // One that was started since then is in the group; one that left the group was seen.
        _ = killpg(Pid::from_raw(group), Signal::SIGKILL);
        for program in &programs {
            _ = signal_pidfd(program.as_fd(), Signal::SIGKILL);
        }
        _ = timeout(GRACE, gone).await;
    }
}

/// The group's programs, the leader first.
fn members(group: i32) -> Vec<OwnedFd> {
    let mut members = vec![group];
    table::each(|process, _| {
        if process.group == group && process.pid != group {
            members.push(process.pid);
        }
    });
    members.into_iter().filter_map(|pid| pidfd_open(Pid::from_raw(pid)).ok()).collect()
}
