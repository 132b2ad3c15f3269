//! `POST /process/execute`.

use std::{collections::BTreeMap, path::PathBuf, time::Duration};

use axum::{
    extract::{Request, State},
    http::{HeaderMap, StatusCode},
    response::Response,
};
use serde::Deserialize;

use super::{
    argv, output,
    run::{Finished, Run, RunError, run},
    shell,
};
use crate::toolbox::{
    Ctx, ToolboxError,
    body::{self, Field, JsonBody, Kind},
    code_run::npx,
    go_errors,
    sdk_version::{LEGACY_PATH_HEADER, Release, SdkVersion},
};

/// The first daemon that gave commands to a shell; SDKs before it quote for [`argv::split`].
const SHELL_SINCE: Release = Release::new(0, 156, 0);
/// The first whose SDKs have code run by `/process/code-run`.
const CODE_RUN_SINCE: Release = Release::new(0, 167, 0);
/// The first without a default time limit, and the limit before it.
const UNLIMITED_SINCE: Release = Release::new(0, 155, 0);
const OLD_TIME_LIMIT: Duration = Duration::from_secs(360);

/// `ExecuteRequest` of the contract.
#[derive(Default, Deserialize)]
#[serde(default)]
struct ExecuteRequest {
    command: String,
    cwd: String,
    envs: BTreeMap<String, String>,
    /// Seconds; 0 is none.
    timeout: u32,
}

impl JsonBody for ExecuteRequest {
    const NAME: &'static str = "ExecuteRequest";
    const FIELDS: &'static [Field] = &[
        Field::required("command", "Command", Kind::Str),
        Field::optional("cwd", "Cwd", Kind::Str),
        Field::optional("envs", "Envs", Kind::StrMap),
        Field::optional("timeout", "Timeout", Kind::Uint32),
    ];
}

/// `ExecuteCommand`: 200 `{"exitCode", "result"}` however the command ends; 400 for a bad request, 408 when its time is over.
/// A client that goes away takes its command along.
pub async fn execute(State(ctx): State<Ctx>, headers: HeaderMap, body: Request) -> Result<Response, ToolboxError> {
    let request = parse(body).await?;
    let mut env = ctx.env();
    add_envs(&mut env, request.envs)?;
    let cwd = ctx.resolve(&request.cwd);
    let sdk = SdkVersion::of(&headers);
    let legacy = headers.contains_key(LEGACY_PATH_HEADER);
    let timeout =
        time_limit(request.timeout).or_else(|| (legacy || sdk.is_before(UNLIMITED_SINCE)).then_some(OLD_TIME_LIMIT));
    let finished = if legacy || sdk.is_before(SHELL_SINCE) {
        run_words(&request.command, &env, cwd, timeout).await?
    } else {
        let lowered = if sdk.is_before(CODE_RUN_SINCE) { lower(&request.command, &env).await } else { None };
        run_in_shell(lowered.as_deref().unwrap_or(&request.command), &env, cwd, timeout).await?
    };
    Ok(respond(finished))
}

/// TypeScript code of an old SDK, where the base can't run it by itself.
async fn lower(command: &str, env: &BTreeMap<String, String>) -> Option<String> {
    if shell::find_program("ts-node", env).is_some() { None } else { npx::lower(command).await }
}

fn respond(finished: Finished) -> Response {
    let head = format!("{{\"exitCode\":{},\"result\":\"", finished.exit_code);
    output::respond(vec![head.as_str().into(), finished.output.into(), "\"}".into()])
}

async fn parse(request: Request) -> Result<ExecuteRequest, ToolboxError> {
    let invalid = |e: String| ToolboxError::bad_request(format!("invalid request body: {e}"));
    let request: ExecuteRequest = body::parse(&body::read(request).await.map_err(invalid)?).map_err(invalid)?;
    if request.command.trim().is_empty() {
        return Err(ToolboxError::bad_request("command cannot be empty or whitespace-only"));
    }
    Ok(request)
}

async fn run_in_shell(
    command: &str,
    env: &BTreeMap<String, String>,
    cwd: PathBuf,
    timeout: Option<Duration>,
) -> Result<Finished, ToolboxError> {
    let shell = shell::user_shell(env);
    start(&shell, &[], command.as_bytes(), env, cwd, timeout).await
}

async fn run_words(
    command: &str,
    env: &BTreeMap<String, String>,
    cwd: PathBuf,
    timeout: Option<Duration>,
) -> Result<Finished, ToolboxError> {
    let mut words = argv::split(command);
    let mut stdin = String::new();
    if shell::find_program("ts-node", env).is_none()
        && let Some(lowered) = npx::lower_words(&words).await
    {
        (words, stdin) = lowered;
    }
    let Some((program, args)) = words.split_first() else {
        return Err(ToolboxError::bad_request("empty command"));
    };
    start(program, args, stdin.as_bytes(), env, cwd, timeout).await
}

/// Runs a program by name or path. That it can't be started is an answer too, as the original gives it.
pub async fn start(
    program: &str,
    args: &[String],
    stdin: &[u8],
    env: &BTreeMap<String, String>,
    cwd: PathBuf,
    timeout: Option<Duration>,
) -> Result<Finished, ToolboxError> {
    let Some(path) = shell::find_program(program, env) else {
        return Ok(failed(format!("exec: {program:?}: executable file not found in $PATH")));
    };
    match run(Run { program: &path, args, env, cwd, stdin, timeout }).await {
        Ok(finished) => Ok(finished),
        Err(RunError::Spawn(e)) => Ok(failed(format!("fork/exec {}: {}", path.display(), go_errors::text(&e)))),
        Err(RunError::Timeout) => Err(timed_out()),
        Err(e @ RunError::TooMuchOutput) => Err(ToolboxError::bad_request(format!("{e}; write it to a file"))),
        Err(RunError::Pipe(e)) => Err(ToolboxError::internal(go_errors::text(&e))),
    }
}

fn failed(message: String) -> Finished {
    Finished { exit_code: -1, output: message.into_bytes() }
}

/// 408, as SDKs know it.
pub fn timed_out() -> ToolboxError {
    let message = format!("request timeout: {}", RunError::Timeout);
    ToolboxError::new(StatusCode::REQUEST_TIMEOUT, "PROCESS_EXECUTION_TIMEOUT", message)
}

/// `timeout` of a request: seconds, 0 is none.
pub fn time_limit(seconds: u32) -> Option<Duration> {
    (seconds > 0).then(|| Duration::from_secs(seconds.into()))
}

/// Adds a request's variables to the agent's, after checking their names.
pub fn add_envs(env: &mut BTreeMap<String, String>, envs: BTreeMap<String, String>) -> Result<(), ToolboxError> {
    if let Some(name) = envs.keys().find(|name| !is_env_name(name)) {
        return Err(ToolboxError::bad_request(format!("invalid environment variable name: '{name}'")));
    }
    if let Some(name) = envs.iter().find(|(_, value)| value.contains('\0')).map(|(name, _)| name) {
        return Err(ToolboxError::bad_request(format!("environment variable '{name}' contains NUL")));
    }
    env.extend(envs);
    Ok(())
}

/// `^[A-Za-z_][A-Za-z0-9_]*$`
pub fn is_env_name(name: &str) -> bool {
    let mut bytes = name.bytes();
    bytes.next().is_some_and(|b| b == b'_' || b.is_ascii_alphabetic())
        && bytes.all(|b| b == b'_' || b.is_ascii_alphanumeric())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn environment_names() {
        assert!(["A", "_", "a1_B"].into_iter().all(is_env_name));
        assert!(!["", "1X", "A-B", "A=B", "é", "A B"].into_iter().any(is_env_name));
    }
}
