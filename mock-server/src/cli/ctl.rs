//! `daytona-mock ctl …`: the test controls of a running server from a shell. Prints the server's JSON.

use std::path::PathBuf;

use clap::{Args, Subcommand};
use serde_json::{Value, json};

use super::{Locate, client};

#[derive(Args)]
pub struct CtlArgs {
    #[command(flatten)]
    locate: Locate,
    /// Whose world [default: the server's own key].
    #[arg(long, global = true, env = "DAYTONA_API_KEY", hide_env = true, hide_env_values = true, value_name = "KEY")]
    key: Option<String>,
    #[command(subcommand)]
    what: Ctl,
}

#[derive(Subcommand)]
enum Ctl {
    /// What clients did: ctl journal status=failed operation=createSandbox until=1.
    Journal {
        /// Filters and options as NAME=VALUE: operation, status, method, plane, sandbox, key, sdk, path, violations,
        /// faults, open, since, limit, until, timeout, format (json, jsonl, har), all.
        filters: Vec<String>,
        /// Forget it instead.
        #[arg(long)]
        clear: bool,
    },
    /// Failures on demand; without more, those that there are.
    Faults {
        #[command(subcommand)]
        what: Option<Faults>,
    },
    /// Show the clock, or turn it.
    Clock {
        #[command(subcommand)]
        what: Option<ClockArg>,
    },
    /// Mint a key with a world of its own.
    Keys {
        /// The key's name.
        #[arg(long)]
        name: Option<String>,
        /// All of it is swept after so many seconds.
        #[arg(long, value_name = "SECONDS")]
        ttl: Option<f64>,
        /// journal or reject what breaks the contract's rules, or off.
        #[arg(long, value_name = "MODE", value_parser = ["journal", "reject", "off"])]
        strict: Option<String>,
    },
    /// Make what a JSON or YAML file describes.
    Seed { file: PathBuf },
    /// Write all that is in the world to a new file: sandboxes with their files, snapshots, volumes, settings.
    Save {
        file: PathBuf,
        /// Values of secrets, passwords of registries and signing keys, too.
        #[arg(long)]
        secrets: bool,
    },
    /// Make what is in such a file the world's, which must be empty. What ran runs again.
    Restore { file: PathBuf },
    /// Destroy everything in the world, and forget its journal and faults.
    Reset,
}

#[derive(Subcommand)]
enum Faults {
    /// Add one: ctl faults add '{"match": {"operation": "createSandbox"}, "effect": {"type": "commitThenFail"}}'.
    Add { rule: String },
    /// Let go what one holds.
    Release { id: String },
    /// Take one away.
    Remove { id: String },
    /// Take all away.
    Clear,
}

#[derive(Subcommand)]
enum ClockArg {
    /// Stop time.
    Freeze,
    /// Let time run again.
    Run,
    /// Move time forward.
    Advance { seconds: f64 },
}

/// One request of the controls.
struct Call {
    method: &'static str,
    path: String,
    body: Option<Value>,
}

impl Call {
    fn new(method: &'static str, path: impl Into<String>) -> Call {
        Call { method, path: path.into(), body: None }
    }

    fn with(self, body: Value) -> Call {
        Call { body: Some(body), ..self }
    }
}

pub fn run(args: &CtlArgs) -> Result<(), String> {
    let ready = client::find(&args.locate)?;
    let key = args.key.as_deref().unwrap_or(&ready.api_key);
    let said = match &args.what {
        Ctl::Save { file, secrets } => client::save(&ready, key, file, *secrets),
        Ctl::Restore { file } => client::restore(&ready, key, file),
        what => {
            let Call { method, path, body } = call(what)?;
            client::ask(&ready, method, &format!("/__control{path}"), Some(key), body.as_ref())
        }
    };
    let (status, text) = said.map_err(|error| format!("{}: {error}", ready.listen))?;
    if !(200..300).contains(&status) {
        let message =
            serde_json::from_str::<Value>(&text).ok().and_then(|body| body["message"].as_str().map(str::to_owned));
        return Err(format!("{status} {}", message.unwrap_or(text)));
    }
    if !text.is_empty() {
        println!("{}", text.trim_end());
    }
    Ok(())
}

fn call(what: &Ctl) -> Result<Call, String> {
    Ok(match what {
        Ctl::Journal { clear: true, .. } => Call::new("DELETE", "/journal"),
        Ctl::Journal { filters, .. } => Call::new("GET", format!("/journal?{}", query(filters)?)),
        Ctl::Faults { what: None } => Call::new("GET", "/faults"),
        Ctl::Faults { what: Some(Faults::Add { rule }) } => {
            let rule = serde_json::from_str(rule).map_err(|error| format!("the rule is no JSON: {error}"))?;
            Call::new("POST", "/faults").with(rule)
        }
        Ctl::Faults { what: Some(Faults::Release { id }) } => Call::new("POST", format!("/faults/{id}/release")),
        Ctl::Faults { what: Some(Faults::Remove { id }) } => Call::new("DELETE", format!("/faults/{id}")),
        Ctl::Faults { what: Some(Faults::Clear) } => Call::new("DELETE", "/faults"),
        Ctl::Clock { what: None } => Call::new("GET", "/clock"),
        Ctl::Clock { what: Some(turn) } => Call::new("POST", "/clock").with(match turn {
            ClockArg::Freeze => json!({"freeze": true}),
            ClockArg::Run => json!({"run": true}),
            ClockArg::Advance { seconds } => json!({"advance": seconds}),
        }),
        Ctl::Keys { name, ttl, strict } => {
            let strict = strict.as_ref().map(|mode| if mode == "off" { json!(false) } else { json!(mode) });
            Call::new("POST", "/keys").with(json!({"name": name, "ttlSeconds": ttl, "strict": strict}))
        }
        Ctl::Seed { file } => {
            let text = std::fs::read_to_string(file).map_err(|error| format!("{}: {error}", file.display()))?;
            let seed: Value = crate::yaml::read(&text).map_err(|error| format!("{}: {error}", file.display()))?;
            Call::new("POST", "/seed").with(seed)
        }
        Ctl::Save { .. } | Ctl::Restore { .. } => return Err("this is a stream, not a call".into()),
        Ctl::Reset => Call::new("POST", "/reset"),
    })
}

fn query(filters: &[String]) -> Result<String, String> {
    let mut query = form_urlencoded::Serializer::new(String::new());
    for filter in filters {
        let (name, value) = filter.split_once('=').ok_or_else(|| format!("{filter}: expected NAME=VALUE"))?;
        query.append_pair(name, value);
    }
    Ok(query.finish())
}
