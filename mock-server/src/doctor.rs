//! `daytona-mock doctor`: what this machine allows and what its sandboxes have, found out by making one.

mod programs;

use std::{collections::BTreeMap, fmt::Write, io, path::Path, process::Stdio, time::Duration};

use http_body_util::{BodyExt, Full, Limited};
use hyper::{body::Bytes, client::conn::http1};
use hyper_util::rt::TokioIo;
use serde::Serialize;

use self::programs::PROGRAMS;
use crate::{
    config::Config,
    packages::Manager,
    runtime::{BaseChoice, Capability, Runtime, RuntimeInfo, Sandbox, SandboxSpec, base},
};

/// How long the look around inside may take; Python starts once per module.
const PATIENCE: Duration = Duration::from_secs(60);

/// The whole answer, as `--json` prints it.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Report {
    /// The tier that a server would use; absent when it would not start.
    pub isolation: Option<crate::runtime::Isolation>,
    /// Why not a better tier, or why none.
    pub why_not_better: Vec<String>,
    pub base: Option<String>,
    pub capabilities: BTreeMap<String, Capability>,
    /// True when the programs were looked for in a sandbox, false when on the host.
    pub looked_inside: bool,
    pub programs: Vec<Found>,
}

/// One program.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Found {
    pub name: &'static str,
    pub needed_for: &'static str,
    /// Where it is inside; absent when it is missing.
    pub path: Option<String>,
    /// The command that brings it, when it is missing.
    pub mend: Option<String>,
    /// Where it is on the host, though sandboxes don't see it.
    pub hidden_at: Option<String>,
}

/// Examines the machine with the options that a server would be started with, and prints what it found.
///
/// # Errors
/// When a server with these options would not start; the report is printed all the same.
pub async fn run(config: &Config, json: bool) -> Result<(), String> {
    let report = examine(config).await?;
    let text = if json {
        serde_json::to_string_pretty(&report).map_err(|error| error.to_string())? + "\n"
    } else {
        table(&report)
    };
    io::Write::write_all(&mut io::stdout(), text.as_bytes()).map_err(|error| error.to_string())?;
    match report.isolation {
        Some(_) => Ok(()),
        None => Err("sandboxes can't be started here".into()),
    }
}

/// Makes a throw-away sandbox and looks around in it.
pub async fn examine(config: &Config) -> Result<Report, String> {
    let scratch = scratch_dir(config).map_err(|error| format!("a temporary directory: {error}"))?;
    let runtime_config = crate::server::runtime_config(config, scratch.path()).map_err(|error| error.to_string())?;
    let runtime = match Runtime::start(runtime_config).await {
        Ok(runtime) => runtime,
        Err(error) => return Ok(without_sandbox(config, error.to_string()).await),
    };
    let looked = look_inside(&runtime).await;
    let report = match looked {
        Ok(paths) => with_sandbox(config, runtime.info(), &paths),
        Err(error) => without_sandbox(config, error).await,
    };
    runtime.shutdown().await;
    // Overlayfs leaves directories that a plain removal can't enter.
    base::remove_tree(scratch.path()).map_err(|error| format!("{}: {error}", scratch.path().display()))?;
    Ok(report)
}

/// On the file system of the data directory, because not every one can hold sandboxes.
fn scratch_dir(config: &Config) -> io::Result<tempfile::TempDir> {
    let wanted = config.data_dir.iter().flat_map(|dir| dir.ancestors()).find(|dir| dir.is_dir());
    let builder = || tempfile::Builder::new().prefix("daytona-doctor-").to_owned();
    match wanted.map(|dir| builder().tempdir_in(dir)) {
        Some(Ok(scratch)) => Ok(scratch),
        _ => builder().tempdir(),
    }
}

fn with_sandbox(config: &Config, info: &RuntimeInfo, paths: &[String]) -> Report {
    Report {
        isolation: Some(info.isolation),
        why_not_better: info.why_not_better.clone(),
        base: Some(info.base.clone()),
        capabilities: info.capabilities.clone(),
        looked_inside: true,
        programs: judge(config, paths),
    }
}

async fn without_sandbox(config: &Config, why: String) -> Report {
    let paths = look_at_host().await.unwrap_or_default();
    Report {
        isolation: None,
        why_not_better: vec![why],
        base: None,
        capabilities: BTreeMap::new(),
        looked_inside: false,
        programs: judge(config, &paths),
    }
}

fn judge(config: &Config, paths: &[String]) -> Vec<Found> {
    let manager = Manager::of_host();
    let place = match &config.base {
        BaseChoice::Host => String::new(),
        BaseChoice::Directory(dir) => format!("in {}: ", dir.display()),
        BaseChoice::Tarball(file) => format!("before making {}: ", file.display()),
        BaseChoice::Image(name) => format!("in an image made FROM {name}: "),
    };
    let judge = |(n, program): (usize, &'static programs::Program)| {
        let path = paths.get(n).filter(|path| !path.is_empty()).cloned();
        let missing = path.is_none();
        Found {
            name: program.name,
            needed_for: program.needed_for,
            mend: missing.then(|| format!("{place}{}", program.mend(manager))),
            hidden_at: missing.then(|| hidden_on_host(program.name)).flatten(),
            path,
        }
    };
    PROGRAMS.iter().enumerate().map(judge).collect()
}

/// Where this user's PATH finds it: below a home (pyenv, nvm), as a rule, which the host base leaves out.
fn hidden_on_host(name: &str) -> Option<String> {
    let path = std::env::var_os("PATH")?;
    let found = std::env::split_paths(&path).map(|dir| dir.join(name)).find(|file| file.is_file())?;
    Some(found.display().to_string())
}

/// Prints one line for each program, whatever it writes besides.
fn script() -> String {
    PROGRAMS.iter().fold(String::new(), |mut script, program| {
        let _ = writeln!(script, "echo \"$({{ {}; }} 2>/dev/null | head -n 1)\"", program.probe());
        script
    })
}

fn lines(output: &str) -> Vec<String> {
    output.lines().map(|line| line.trim().to_owned()).collect()
}

async fn look_at_host() -> io::Result<Vec<String>> {
    let mut command = tokio::process::Command::new("/bin/sh");
    command.arg("-c").arg(script()).env_clear().env("PATH", base::DEFAULT_PATH);
    let output = command.stdin(Stdio::null()).kill_on_drop(true).output();
    let output = tokio::time::timeout(PATIENCE, output).await??;
    Ok(lines(&String::from_utf8_lossy(&output.stdout)))
}

async fn look_inside(runtime: &Runtime) -> Result<Vec<String>, String> {
    let spec = SandboxSpec { id: uuid::Uuid::new_v4().to_string(), user: "daytona".into(), ..SandboxSpec::default() };
    let sandbox = runtime.launch(&spec).await.map_err(|error| error.to_string())?;
    let output = tokio::time::timeout(PATIENCE, execute(&sandbox, &script())).await;
    sandbox.stop(Duration::ZERO).await;
    let removed = runtime.remove(&spec.id).await;
    let output = output.map_err(|_| "a sandbox started, but did not answer".to_owned())?;
    removed.map_err(|error| error.to_string())?;
    Ok(lines(&output.map_err(|error| format!("a sandbox started, but could not be asked: {error}"))?))
}

/// Output of a shell command inside, through the toolbox.
async fn execute(sandbox: &Sandbox, command: &str) -> Result<String, Box<dyn std::error::Error + Send + Sync>> {
    const MAX_ANSWER: usize = 1 << 20;
    let (mut sender, connection) = http1::handshake(TokioIo::new(sandbox.connect().await?)).await?;
    let connection = tokio::spawn(connection);
    let body = serde_json::json!({"command": command, "timeout": PATIENCE.as_secs()}).to_string();
    let request = hyper::Request::post("/process/execute")
        .header("host", "sandbox")
        .header("content-type", "application/json")
        .body(Full::new(Bytes::from(body)))?;
    let answer = sender.send_request(request).await?;
    let body = Limited::new(answer.into_body(), MAX_ANSWER).collect().await?.to_bytes();
    connection.abort();
    let body: serde_json::Value = serde_json::from_slice(&body)?;
    Ok(body["result"].as_str().ok_or("no result")?.to_owned())
}

/// For people.
fn table(report: &Report) -> String {
    let mut text = String::new();
    let tier = report.isolation.map_or("none: sandboxes can't be started here".to_owned(), |tier| tier.to_string());
    let _ = writeln!(text, "isolation  {tier}");
    for why in &report.why_not_better {
        let _ = writeln!(text, "           {why}");
    }
    if let Some(base) = &report.base {
        let _ = writeln!(text, "base       {base}");
    }
    if !report.capabilities.is_empty() {
        let _ = writeln!(text, "\ncapabilities");
    }
    for (name, capability) in &report.capabilities {
        let _ = writeln!(text, "  {} {name:<28} {}", mark(capability.available), capability.detail);
    }
    let place = if report.looked_inside { "in a sandbox" } else { "on this machine" };
    let _ = writeln!(text, "\nprograms {place}");
    for found in &report.programs {
        write_program(&mut text, found);
    }
    if report.looked_inside && report.programs.iter().any(|found| found.mend.is_some()) {
        let _ = writeln!(text, "\nA server that runs shows what is installed after its next start.");
    }
    text
}

fn write_program(text: &mut String, found: &Found) {
    let _ = match (&found.path, &found.mend) {
        (Some(path), _) => writeln!(text, "  {} {:<28} {path}", mark(true), found.name),
        (None, mend) => writeln!(
            text,
            "  {} {:<28} for {}: {}",
            mark(false),
            found.name,
            found.needed_for,
            mend.as_deref().unwrap_or_default()
        ),
    };
    if let Some(hidden) = found.hidden_at.as_deref().map(Path::new) {
        let home = hidden.parent().unwrap_or(hidden).display();
        let _ = writeln!(
            text,
            "    {:<28} it is in {home}, which sandboxes don't see unless a --base-include shows it",
            ""
        );
    }
}

fn mark(good: bool) -> &'static str {
    if good { "✓" } else { "✗" }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn each_program_has_one_line_even_on_a_bare_host() {
        let paths = look_at_host().await.expect("a shell");
        assert_eq!(paths.len(), PROGRAMS.len());
        assert!(paths[0].ends_with("bash"), "{paths:?}");
    }

    #[test]
    fn what_is_missing_comes_with_its_command() {
        let found = judge(&Config::default(), &vec![String::new(); PROGRAMS.len()]);
        assert!(found.iter().all(|program| program.mend.is_some() && program.path.is_none()));
        let report = Report {
            isolation: None,
            why_not_better: vec!["because".into()],
            base: None,
            capabilities: BTreeMap::new(),
            looked_inside: false,
            programs: found,
        };
        let text = table(&report);
        assert!(text.contains("because") && text.contains("--prefix /usr/local typescript-language-server"), "{text}");
    }
}
