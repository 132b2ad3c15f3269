//! The command line: `serve` (default), `env`, `health`, `ctl`, `doctor`. Each flag has a `DAYTONA_MOCK_*` twin.

mod client;
mod ctl;
mod serve;
mod trusted;

use std::{path::PathBuf, process::ExitCode};

use clap::{Args, Parser, Subcommand, ValueEnum};

use crate::{
    api::RateLimit,
    builds::Engine,
    config::{Config, SshListen, Tls},
    data_dir,
    limits::{self, Limits},
    model::{OfflineBase, quota::Quota, webhooks::NewEndpoint},
    runtime::{BaseChoice, Isolation, IsolationChoice},
    strict::Strictness,
};

const TWINS: &str = "Each option can be given as a variable, too: DAYTONA_MOCK_LISTEN, DAYTONA_MOCK_DATA_DIR, …";

fn long_help() -> String {
    format!("{TWINS}\n\n{}", limits::help())
}

/// Daytona on your own machine: its API, real sandboxes, offline.
#[derive(Parser)]
#[command(name = "daytona-mock", version, args_conflicts_with_subcommands = true, max_term_width = 120)]
#[command(after_help = TWINS, after_long_help = long_help())]
struct Cli {
    #[command(subcommand)]
    command: Option<Command>,
    #[command(flatten)]
    serve: ServeArgs,
}

#[derive(Subcommand)]
enum Command {
    /// Run the server (the default).
    #[command(after_help = TWINS, after_long_help = long_help())]
    Serve(Box<ServeArgs>),
    /// Print `export` lines that point SDKs at the running server: eval "$(daytona-mock env)".
    Env(Locate),
    /// Ask the running server whether it is well; exit code 0 or 1.
    Health(Locate),
    /// Run a program that trusts the server's certificate authority (that of DAYTONA_API_URL), as the
    /// Python SDKs must to upload local files for builds, over https only: daytona-mock trusted python build.py
    Trusted {
        /// The program and its arguments.
        #[arg(required = true, trailing_var_arg = true, allow_hyphen_values = true, value_name = "PROGRAM")]
        command: Vec<std::ffi::OsString>,
    },
    /// The test controls of the running server: journal, faults, clock, keys, reset.
    Ctl(ctl::CtlArgs),
    /// Say which isolation this machine allows and which programs sandboxes have, with the command that mends each gap.
    Doctor(Box<ServeArgs>),
}

#[derive(Args)]
struct ServeArgs {
    /// Address to listen on; port 0 picks a free one.
    #[arg(long, env = "DAYTONA_MOCK_LISTEN", hide_env = true, default_value = "127.0.0.1:3986", value_name = "ADDR")]
    listen: std::net::SocketAddr,
    /// Address to serve SSH on, or off; port 0 picks a free one [default: port 2222 of the same address, or a free one if
    /// it is taken].
    #[arg(long, env = "DAYTONA_MOCK_SSH_LISTEN", hide_env = true, value_name = "ADDR|off")]
    ssh_listen: Option<SshListen>,
    /// Where sandboxes and state live [default: $XDG_STATE_HOME/daytona-mock].
    #[arg(long, env = "DAYTONA_MOCK_DATA_DIR", hide_env = true, value_name = "DIR", conflicts_with = "ephemeral")]
    data_dir: Option<PathBuf>,
    /// Keep data in a temporary directory that is removed at exit.
    #[arg(long, env = "DAYTONA_MOCK_EPHEMERAL", hide_env = true)]
    ephemeral: bool,
    /// API key to accept (repeatable; each has an organisation of its own) [default: one made at first start and kept].
    #[arg(
        long = "api-key",
        env = "DAYTONA_MOCK_API_KEY",
        hide_env = true,
        value_name = "KEY",
        value_delimiter = ',',
        hide_env_values = true
    )]
    api_keys: Vec<String>,
    /// URL by which clients reach this server, when that differs from what they ask for.
    #[arg(long, env = "DAYTONA_MOCK_PUBLIC_URL", hide_env = true, value_name = "URL")]
    public_url: Option<String>,
    /// Serve HTTPS, previews too, with certificates of an authority that is made at the first start and kept.
    #[arg(
        long,
        env = "DAYTONA_MOCK_TLS",
        hide_env = true,
        value_enum,
        conflicts_with = "tls_cert",
        value_name = "self-signed"
    )]
    tls: Option<TlsArg>,
    /// Serve HTTPS with this certificate: a PEM file, with what leads to its authority.
    #[arg(long, env = "DAYTONA_MOCK_TLS_CERT", hide_env = true, requires = "tls_key", value_name = "FILE")]
    tls_cert: Option<PathBuf>,
    /// Key of that certificate: a PEM file.
    #[arg(long, env = "DAYTONA_MOCK_TLS_KEY", hide_env = true, requires = "tls_cert", value_name = "FILE")]
    tls_key: Option<PathBuf>,
    /// Host name to answer to, besides loopback names and own addresses (repeatable).
    #[arg(
        long = "allow-host",
        env = "DAYTONA_MOCK_ALLOW_HOST",
        hide_env = true,
        value_name = "NAME",
        value_delimiter = ','
    )]
    allow_hosts: Vec<String>,
    /// Domain that previews live below, {port}-{id}.DOMAIN; none: each has a port of its own [default: localhost where
    /// *.localhost resolves, else none].
    #[arg(long, env = "DAYTONA_MOCK_PREVIEW_DOMAIN", hide_env = true, value_name = "DOMAIN|none")]
    preview_domain: Option<String>,
    /// Version that answers report (X-Daytona-Api-Version) [default: 0.205.1].
    #[arg(long, env = "DAYTONA_MOCK_API_VERSION", hide_env = true, value_name = "VERSION")]
    api_version: Option<String>,
    /// How sandboxes are isolated; auto takes the best that this machine allows.
    #[arg(long, env = "DAYTONA_MOCK_ISOLATION", hide_env = true, value_enum, default_value_t = IsolationArg::Auto)]
    isolation: IsolationArg,
    /// What sandboxes are made of: this host, a directory, a tarball, or an OCI image pulled at first need.
    #[arg(long, env = "DAYTONA_MOCK_BASE", hide_env = true, default_value = "host", value_parser = parse_base, value_name = "host|DIR|TAR|IMAGE")]
    base: BaseChoice,
    /// What well-known images (python, debian, ubuntu, node, daytonaio/sandbox) resolve to when their registry can't be
    /// reached: this server's base, a root file system (a directory, or a tarball of one), or an error.
    #[arg(long, env = "DAYTONA_MOCK_OFFLINE_BASE", hide_env = true, default_value = "host", value_parser = parse_offline, value_name = "host|error|PATH")]
    offline_base: OfflineBase,
    /// Build Dockerfiles with a container engine of this machine instead.
    #[arg(long, env = "DAYTONA_MOCK_BUILDER", hide_env = true, value_name = "docker|podman|buildah")]
    builder: Option<Engine>,
    /// Host directory to bind read-only into every sandbox at the same path (repeatable).
    #[arg(long, env = "DAYTONA_MOCK_BASE_INCLUDE", hide_env = true, value_name = "DIR", value_delimiter = ',')]
    base_include: Vec<PathBuf>,
    /// Bare repositories <host>/<owner>/<repo>.git that https:// remotes resolve to.
    #[arg(long, env = "DAYTONA_MOCK_GIT_MIRRORS", hide_env = true, value_name = "DIR")]
    git_mirrors: Option<PathBuf>,
    /// Certificate authority to trust besides the system's, when secrets of sandboxes go to HTTPS servers: a PEM file
    /// (repeatable).
    #[arg(
        long = "upstream-ca",
        env = "DAYTONA_MOCK_UPSTREAM_CA",
        hide_env = true,
        value_name = "FILE",
        value_delimiter = ','
    )]
    upstream_ca: Vec<PathBuf>,
    /// Variable given to every sandbox and build (repeatable; in the environment a line each).
    #[arg(long = "env", env = "DAYTONA_MOCK_ENV", hide_env = true, value_name = "NAME[=VALUE]")]
    env: Vec<String>,
    /// Bound a size or a count (repeatable; `--help` lists names and defaults).
    #[arg(
        long = "limit",
        env = "DAYTONA_MOCK_LIMIT",
        hide_env = true,
        value_name = "NAME=VALUE",
        value_delimiter = ',',
        value_parser = parse_limit
    )]
    limits: Vec<String>,
    /// Enforce quotas of sandboxes, snapshots and volumes on each organisation, with the real API's messages: default, or
    /// some of cpu, memory, disk, gpu, max-cpu-per-sandbox, max-memory-per-sandbox, max-disk-per-sandbox, snapshots,
    /// volumes [default: no quotas].
    #[arg(long, env = "DAYTONA_MOCK_QUOTA", hide_env = true, value_name = "default|NAME=NUMBER,…")]
    quota: Option<Quota>,
    /// Tell this URL what happens in every organisation, all or some of the events (repeatable; in the environment a line
    /// each). More endpoints: `webhooks app-portal-access`, or /__control/webhooks.
    #[arg(long = "webhook", env = "DAYTONA_MOCK_WEBHOOK", hide_env = true, value_name = "URL[,EVENT…]", value_parser = parse_webhook)]
    webhooks: Vec<Told>,
    /// Signs what --webhook sends, whsec_… [default: one made at first start and kept].
    #[arg(long, env = "DAYTONA_MOCK_WEBHOOK_SECRET", hide_env = true, hide_env_values = true, value_name = "SECRET")]
    webhook_secret: Option<String>,
    /// Refuse with 429 what comes more often, as the real API does: one of anonymous, failed-auth, authenticated,
    /// sandbox-create, sandbox-lifecycle, sandbox-list (repeatable) [default: no rate limits].
    #[arg(
        long = "rate-limit",
        env = "DAYTONA_MOCK_RATE_LIMIT",
        hide_env = true,
        value_name = "NAME=COUNT/SECONDS",
        value_delimiter = ','
    )]
    rate_limits: Vec<RateLimit>,
    /// Hold every request against the contract: violations go to the journal, or are refused with what would be right.
    #[arg(
        long,
        env = "DAYTONA_MOCK_STRICT",
        hide_env = true,
        value_enum,
        value_name = "journal|reject",
        num_args = 0..=1,
        require_equals = true,
        default_missing_value = "journal"
    )]
    strict: Option<StrictArg>,
    /// Fill the first key's world from a JSON or YAML file, if it is empty.
    #[arg(long, env = "DAYTONA_MOCK_SEED", hide_env = true, value_name = "FILE")]
    seed: Option<PathBuf>,
    /// Write {apiUrl, apiKey, toolboxUrl, pid, isolation, version, listen, sshListen,
    /// caCertificate} there once requests are served.
    #[arg(long, env = "DAYTONA_MOCK_READY_FILE", hide_env = true, value_name = "PATH")]
    ready_file: Option<PathBuf>,
    /// What to log to stderr: a level, or a filter such as daytona_mock=debug.
    #[arg(
        long,
        env = "DAYTONA_MOCK_LOG",
        hide_env = true,
        default_value = "warn,daytona_mock::pull=info",
        value_name = "FILTER"
    )]
    log: String,
    /// Print the start-up information as one JSON line, and log as JSON.
    #[arg(long, env = "DAYTONA_MOCK_JSON", hide_env = true)]
    json: bool,
}

/// How `env` and `health` find the server.
#[derive(Args)]
struct Locate {
    /// The server's data directory [default: $XDG_STATE_HOME/daytona-mock].
    #[arg(long, env = "DAYTONA_MOCK_DATA_DIR", hide_env = true, value_name = "DIR")]
    data_dir: Option<PathBuf>,
    /// The server's ready file, instead of its data directory.
    #[arg(long, env = "DAYTONA_MOCK_READY_FILE", hide_env = true, value_name = "PATH")]
    ready_file: Option<PathBuf>,
}

#[derive(Clone, Copy, ValueEnum)]
enum StrictArg {
    Journal,
    Reject,
}

impl From<StrictArg> for Strictness {
    fn from(arg: StrictArg) -> Self {
        match arg {
            StrictArg::Journal => Strictness::Journal,
            StrictArg::Reject => Strictness::Reject,
        }
    }
}

#[derive(Clone, Copy, ValueEnum)]
enum TlsArg {
    SelfSigned,
}

#[derive(Clone, Copy, ValueEnum)]
enum IsolationArg {
    Auto,
    Root,
    Subuid,
    Single,
    Process,
}

impl From<IsolationArg> for IsolationChoice {
    fn from(arg: IsolationArg) -> Self {
        match arg {
            IsolationArg::Auto => IsolationChoice::Auto,
            IsolationArg::Root => IsolationChoice::Exactly(Isolation::Root),
            IsolationArg::Subuid => IsolationChoice::Exactly(Isolation::Subuid),
            IsolationArg::Single => IsolationChoice::Exactly(Isolation::Single),
            IsolationArg::Process => IsolationChoice::Exactly(Isolation::Process),
        }
    }
}

impl ServeArgs {
    fn limits(&self) -> Limits {
        let mut limits = Limits::default();
        // Each was checked when it was parsed.
        self.limits.iter().for_each(|limit| _ = limits.set(limit));
        limits
    }

    fn tls(&self) -> Option<Tls> {
        match (&self.tls_cert, &self.tls_key) {
            (Some(certificate), Some(key)) => Some(Tls::Given { certificate: certificate.clone(), key: key.clone() }),
            _ => self.tls.map(|TlsArg::SelfSigned| Tls::SelfSigned),
        }
    }

    fn config(&self) -> Config {
        let data_dir = self.data_dir.clone().unwrap_or_else(data_dir::default_data_dir);
        Config {
            offline_base: self.offline_base.clone(),
            builder: self.builder.clone(),
            listen: Some(self.listen),
            ssh_listen: self.ssh_listen,
            data_dir: (!self.ephemeral).then_some(data_dir),
            cache_dir: None,
            api_keys: self.api_keys.clone(),
            public_url: self.public_url.clone(),
            tls: self.tls(),
            preview_domain: self.preview_domain.clone(),
            allow_hosts: self.allow_hosts.clone(),
            api_version: self.api_version.clone(),
            isolation: self.isolation.into(),
            base: self.base.clone(),
            base_include: self.base_include.clone(),
            git_mirrors: self.git_mirrors.clone(),
            upstream_ca: self.upstream_ca.clone(),
            env: self.env.iter().flat_map(|text| text.lines()).filter_map(parse_env).collect(),
            quota: self.quota,
            webhooks: self.webhooks.iter().flat_map(|Told(lines)| lines.clone()).collect(),
            webhook_secret: self.webhook_secret.clone(),
            limits: self.limits(),
            rate_limits: self.rate_limits.clone(),
            strict: self.strict.map(Into::into),
            seed: self.seed.clone(),
            // Whatever it was renamed to, this is the program.
            binary: std::env::current_exe().ok(),
        }
    }
}

/// Endpoints, a line each.
#[derive(Clone)]
struct Told(Vec<NewEndpoint>);

fn parse_webhook(text: &str) -> Result<Told, String> {
    text.lines().map(str::parse).collect::<Result<_, _>>().map(Told)
}

/// Refuses what [`Limits::set`] refuses.
fn parse_limit(text: &str) -> Result<String, String> {
    Limits::default().set(text).map(|()| text.to_owned())
}

/// `NAME=VALUE`, or `NAME` for the value that the server itself has (nothing if it has none).
fn parse_env(text: &str) -> Option<(String, String)> {
    match text.split_once('=') {
        Some((name, value)) => Some((name.to_owned(), value.to_owned())),
        None => std::env::var(text).ok().map(|value| (text.to_owned(), value)),
    }
    .filter(|(name, _)| !name.is_empty())
}

/// Whatever is no word is a path, which must be there.
fn parse_offline(text: &str) -> Result<OfflineBase, String> {
    match text {
        "host" => Ok(OfflineBase::Host),
        "error" => Ok(OfflineBase::Error),
        path if std::path::Path::new(path).exists() => Ok(OfflineBase::Path(path.into())),
        _ => Err("expected host, error, or the path of a directory or tarball".into()),
    }
}

/// Files and directories are told apart by looking; whatever isn't one is an image reference.
fn parse_base(text: &str) -> Result<BaseChoice, String> {
    let path = PathBuf::from(text);
    match text {
        "" => Err("expected host, a directory, a tarball or an image reference".into()),
        "host" => Ok(BaseChoice::Host),
        _ if path.is_dir() => Ok(BaseChoice::Directory(path)),
        _ if path.is_file() => Ok(BaseChoice::Tarball(path)),
        _ if text.starts_with(['/', '.', '~']) => Err("no such file or directory".into()),
        _ => Ok(BaseChoice::Image(text.into())),
    }
}

/// Parses the arguments and runs the command they name. Exit code 0, 1 (failed), 2 (usage).
pub fn run() -> ExitCode {
    let cli = Cli::parse();
    let done = match cli.command {
        None => serve::run(&cli.serve),
        Some(Command::Serve(args)) => serve::run(&args),
        Some(Command::Env(locate)) => client::env(&locate),
        Some(Command::Health(locate)) => client::health(&locate),
        Some(Command::Trusted { command }) => trusted::run(&command),
        Some(Command::Ctl(args)) => ctl::run(&args),
        Some(Command::Doctor(args)) => serve::doctor(&args),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(message) => {
            eprintln!("daytona-mock: {message}");
            ExitCode::FAILURE
        }
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn each_flag_of_serve_has_its_twin() {
        for arg in Cli::command().get_arguments().filter(|arg| !matches!(arg.get_id().as_str(), "help" | "version")) {
            let flag = arg.get_long().expect("a long flag");
            let twin = format!("DAYTONA_MOCK_{}", flag.replace('-', "_").to_uppercase());
            assert_eq!(arg.get_env().and_then(|env| env.to_str()), Some(twin.as_str()), "--{flag}");
            assert!(arg.get_help().is_some(), "--{flag}");
        }
    }

    #[test]
    fn variables_are_named_or_given() {
        assert_eq!(parse_env("A=b=c,d"), Some(("A".into(), "b=c,d".into())));
        assert_eq!(parse_env("PATH").map(|(name, _)| name), Some("PATH".into()));
        assert_eq!(parse_env("NO_SUCH_VARIABLE_HERE"), None);
        assert_eq!(parse_env("=x"), None);
    }

    #[test]
    fn bases_are_told_apart() {
        assert_eq!(parse_base("host"), Ok(BaseChoice::Host));
        assert_eq!(parse_base("/usr"), Ok(BaseChoice::Directory("/usr".into())));
        assert_eq!(parse_base("/etc/passwd"), Ok(BaseChoice::Tarball("/etc/passwd".into())));
        assert_eq!(parse_base("debian:12"), Ok(BaseChoice::Image("debian:12".into())));
        assert!(parse_base("./no-such-thing").is_err());
    }
}
