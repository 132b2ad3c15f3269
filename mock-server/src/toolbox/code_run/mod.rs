//! `POST /process/code-run`.

mod artifacts;
pub mod npx;
mod python;
mod typescript;

use std::{collections::BTreeMap, time::Duration};

use axum::{extract::State, response::Response};
use serde::Deserialize;
use serde_json::json;

use super::{
    Ctx, ToolboxError,
    body::{Body, Field, JsonBody, Kind},
    json,
    process::{
        execute::{add_envs, start, time_limit, timed_out},
        output,
        run::Finished,
        shell,
    },
};

/// Code on stdin, and user arguments from `process.argv[1]` on (observed). Child processes inherit none of it.
const JAVASCRIPT: [&str; 3] = [
    "--import",
    "data:text/javascript,if(process.argv[1]===\"-\"){process.argv.splice(1,1);process.execArgv.length=0}",
    "-",
];

/// `CodeRunRequest` of the contract.
#[derive(Default, Deserialize)]
#[serde(default)]
pub struct CodeRunRequest {
    code: String,
    language: String,
    argv: Vec<String>,
    envs: BTreeMap<String, String>,
    /// Seconds; 0 is none.
    timeout: u32,
}

impl JsonBody for CodeRunRequest {
    const NAME: &'static str = "CodeRunRequest";
    const FIELDS: &'static [Field] = &[
        Field::required("code", "Code", Kind::Str),
        Field::required("language", "Language", Kind::Str),
        Field::optional("argv", "Argv", Kind::StrList),
        Field::optional("envs", "Envs", Kind::StrMap),
        Field::optional("timeout", "Timeout", Kind::Uint32),
    ];
}

/// An interpreter's command line and what it reads on stdin.
struct Program {
    /// Tried in this order.
    names: &'static [&'static str],
    flags: &'static [&'static str],
    stdin: String,
}

/// `CodeRun`: 200 `{"exitCode", "result"[, "artifacts": {"charts"}]}` however the code ends; 400 for a bad request or
/// another language, 408 when its time is over.
pub async fn code_run(State(ctx): State<Ctx>, Body(request): Body<CodeRunRequest>) -> Result<Response, ToolboxError> {
    let mut env = ctx.env();
    add_envs(&mut env, request.envs)?;
    let program = match request.language.as_str() {
        "python" => Ok(python::program(request.code)),
        "javascript" => Ok(Program { names: &["node"], flags: &JAVASCRIPT, stdin: request.code }),
        "typescript" => within(time_limit(request.timeout), typescript::program(request.code)).await?,
        other => return Err(ToolboxError::bad_request(format!("unsupported language: {other}"))),
    };
    let finished = match program {
        Ok(program) => run(&ctx, program, &request.argv, &env, time_limit(request.timeout)).await?,
        Err(complaint) => Finished { exit_code: 1, output: complaint.into_bytes() },
    };
    Ok(respond(finished))
}

async fn within<T>(limit: Option<Duration>, work: impl Future<Output = T>) -> Result<T, ToolboxError> {
    match limit {
        Some(limit) => tokio::time::timeout(limit, work).await.map_err(|_| timed_out()),
        None => Ok(work.await),
    }
}

async fn run(
    ctx: &Ctx,
    program: Program,
    argv: &[String],
    env: &BTreeMap<String, String>,
    timeout: Option<Duration>,
) -> Result<Finished, ToolboxError> {
    let found = program.names.iter().find_map(|name| shell::find_program(name, env));
    let Some(path) = found.as_ref().and_then(|path| path.to_str()) else {
        let output = format!("{}: command not found\n", program.names[0]).into_bytes();
        return Ok(Finished { exit_code: 127, output });
    };
    let (program_name, args) = command_line(path, program.flags, argv, env);
    let cwd = ctx.config().work_dir.clone();
    start(&program_name, &args, program.stdin.as_bytes(), env, cwd, timeout).await
}

/// The words of `argv` are joined by spaces for a shell, as the original does it (observed: `"b c"` arrives as two):
/// clients quote for that. The shell is left out where it would change nothing.
fn command_line(path: &str, flags: &[&str], argv: &[String], env: &BTreeMap<String, String>) -> (String, Vec<String>) {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"_-./:=@%+,".contains(&byte);
    if argv.iter().all(|word| !word.is_empty() && word.bytes().all(plain)) {
        let flags = flags.iter().map(|flag| (*flag).to_owned());
        return (path.to_owned(), flags.chain(argv.iter().cloned()).collect());
    }
    let line = format!("exec '{path}' {} {}", quoted(flags), argv.join(" "));
    (shell::user_shell(env), vec!["-c".to_owned(), line])
}

/// For a shell; none of our flags has a single quote in it.
fn quoted(flags: &[&str]) -> String {
    flags.iter().map(|flag| format!("'{flag}'")).collect::<Vec<_>>().join(" ")
}

fn respond(finished: Finished) -> Response {
    let (text, charts) = artifacts::extract(finished.output);
    let head = format!("{{\"exitCode\":{},\"result\":\"", finished.exit_code);
    let mut parts = vec![head.as_str().into(), text.into(), "\"".into()];
    if !charts.is_empty() {
        parts.push(",\"artifacts\":".into());
        parts.push(output::Part::Json(json::to_vec(&json!({"charts": charts}))));
    }
    parts.push("}".into());
    output::respond(parts)
}
