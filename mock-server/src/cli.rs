//! The command line: `serve` (default), `env`, `health`, `ctl`, `doctor`. Each flag has a `DAYTONA_MOCK_*` twin.

mod client;
mod ctl;
mod serve;
mod trusted;
mod twins;
mod values;

use std::{path::PathBuf, process::ExitCode};

use clap::{Args, CommandFactory, FromArgMatches, Parser, Subcommand, ValueEnum, builder::BoolishValueParser};

use self::values::{
    Told, parse_api_key, parse_base, parse_host, parse_limit, parse_offline, parse_strict, parse_version,
};
use crate::{
    api::RateLimit,
    builds::Engine,
    config::{Config, SshListen, Tls, parse_address},
    data_dir,
    limits::{self, Limits},
    model::{OfflineBase, quota::Quota},
    runtime::{BaseChoice, Isolation, IsolationChoice},
    strict::Strictness,
};

const TWINS: &str = "Each option can be given as a variable, too: DAYTONA_MOCK_LISTEN, DAYTONA_MOCK_DATA_DIR, … An empty one is \
                     as if it weren't there; a switch is turned on by 1, yes, true or on, and left off by 0, no, false or off.";

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
    /// Run a program that trusts the server's certificate authority (that of DAYTONA_API_URL if it is http, else of
    /// the server with this data directory or ready file), as the Python SDKs must to upload local files for builds,
    /// over https only: daytona-mock trusted python build.py
    Trusted {
        #[command(flatten)]
        locate: Locate,
        /// The program and its arguments.
        #[arg(required = true, trailing_var_arg = true, allow_hyphen_values = true, value_name = "PROGRAM")]
        command: Vec<std::ffi::OsString>,
    },
    /// The test controls of the running server: journal, faults, clock, keys, organization, webhooks, seed, save, reset.
    Ctl(ctl::CtlArgs),
    /// Say which isolation this machine allows and which programs sandboxes have, with the command that mends each gap.
    Doctor(Box<ServeArgs>),
}

#[derive(Args)]
struct ServeArgs {
    /// Address or name, and port, to listen on; port 0 picks a free one.
    #[arg(long, env = "DAYTONA_MOCK_LISTEN", hide_env = true, default_value = "127.0.0.1:3986", value_name = "ADDR", value_parser = parse_address)]
    listen: std::net::SocketAddr,
    /// Address to serve SSH on, or off; port 0 picks a free one [default: port 2222 of the same address, or a free one if
    /// it is taken].
    #[arg(long, env = "DAYTONA_MOCK_SSH_LISTEN", hide_env = true, value_name = "ADDR|off")]
    ssh_listen: Option<SshListen>,
    /// Where sandboxes and state live [default: $XDG_STATE_HOME/daytona-mock].
    #[arg(long, env = "DAYTONA_MOCK_DATA_DIR", hide_env = true, value_name = "DIR", conflicts_with = "ephemeral")]
    data_dir: Option<PathBuf>,
    /// Keep data in a temporary directory that is removed at exit.
    #[arg(long, env = "DAYTONA_MOCK_EPHEMERAL", hide_env = true, value_parser = BoolishValueParser::new())]
    ephemeral: bool,
    /// API key to accept (repeatable; each has an organisation of its own) [default: one made at first start and kept].
    #[arg(
        long = "api-key",
        env = "DAYTONA_MOCK_API_KEY",
        hide_env = true,
        value_name = "KEY",
        value_delimiter = ',',
        value_parser = parse_api_key,
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
        value_delimiter = ',',
        value_parser = parse_host
    )]
    allow_hosts: Vec<String>,
    /// Domain that previews live below, {port}-{id}.DOMAIN; none: each has a port of its own [default: localhost where
    /// *.localhost resolves, else none].
    #[arg(long, env = "DAYTONA_MOCK_PREVIEW_DOMAIN", hide_env = true, value_name = "DOMAIN|none")]
    preview_domain: Option<String>,
    /// Version that answers report (X-Daytona-Api-Version) [default: 0.205.1].
    #[arg(long, env = "DAYTONA_MOCK_API_VERSION", hide_env = true, value_name = "VERSION", value_parser = parse_version)]
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
    /// Bare repositories <host>/<owner>/<repo>.git that https:// remotes resolve to. In shells of sandboxes not those whose
    /// URL has credentials in it (https://user:token@host/…), which only the API's own git operations resolve.
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
    /// Variable given to every sandbox and build (repeatable; in DAYTONA_MOCK_ENV a line each). NAME alone has the value that
    /// the server has.
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
    #[arg(long = "webhook", env = "DAYTONA_MOCK_WEBHOOK", hide_env = true, value_name = "URL[,EVENT…]", value_parser = values::parse_webhook)]
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
        value_name = "journal|reject|off",
        value_parser = parse_strict,
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
    #[arg(long, env = "DAYTONA_MOCK_JSON", hide_env = true, value_parser = BoolishValueParser::new())]
    json: bool,
}

/// How commands find the server.
#[derive(Args)]
struct Locate {
    /// The server's data directory [default: $XDG_STATE_HOME/daytona-mock].
    #[arg(long, env = "DAYTONA_MOCK_DATA_DIR", hide_env = true, value_name = "DIR")]
    data_dir: Option<PathBuf>,
    /// The server's ready file, instead of its data directory.
    #[arg(long, env = "DAYTONA_MOCK_READY_FILE", hide_env = true, value_name = "PATH")]
    ready_file: Option<PathBuf>,
}

/// `None` is off.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct StrictArg(Option<Strictness>);

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
            env: self.env.iter().filter_map(|text| values::parse_env(text)).collect(),
            quota: self.quota,
            webhooks: self.webhooks.iter().flat_map(|Told(lines)| lines.clone()).collect(),
            webhook_secret: self.webhook_secret.clone(),
            limits: self.limits(),
            rate_limits: self.rate_limits.clone(),
            strict: self.strict.and_then(|StrictArg(strictness)| strictness),
            seed: self.seed.clone(),
            // Whatever it was renamed to, this is the program.
            binary: std::env::current_exe().ok(),
        }
    }
}

/// Parses the arguments and runs the command they name. Exit code 0, 1 (failed), 2 (usage).
pub fn run() -> ExitCode {
    let cli = parse().unwrap_or_else(|error| error.exit());
    if matches!(cli.command, None | Some(Command::Serve(_))) {
        for (name, meant) in twins::misspelt(&Cli::command()) {
            eprintln!("daytona-mock: {name} is no option; did you mean {meant}?");
        }
    }
    let done = match cli.command {
        None => serve::run(&cli.serve),
        Some(Command::Serve(args)) => serve::run(&args),
        Some(Command::Env(locate)) => client::env(&locate),
        Some(Command::Health(locate)) => client::health(&locate),
        Some(Command::Trusted { locate, command }) => trusted::run(&command, &locate),
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

/// With the variables that stand for flags.
fn parse() -> Result<Cli, clap::Error> {
    let matches = twins::without_unset(Cli::command()).get_matches();
    let mut cli = Cli::from_arg_matches(&matches)?;
    let of_command = matches.subcommand().map_or(&matches, |(_, of_command)| of_command);
    if twins::gave(of_command, "env")
        && let Some(args) = cli.serve_args()
    {
        args.env = args.env.iter().flat_map(|text| text.lines()).map(str::to_owned).collect();
        args.env.retain(|line| !line.trim().is_empty());
    }
    Ok(cli)
}

impl Cli {
    /// The options of a server, where the command has any.
    fn serve_args(&mut self) -> Option<&mut ServeArgs> {
        match &mut self.command {
            None => Some(&mut self.serve),
            Some(Command::Serve(args) | Command::Doctor(args)) => Some(args),
            Some(_) => None,
        }
    }
}

#[cfg(test)]
mod tests {
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
}
