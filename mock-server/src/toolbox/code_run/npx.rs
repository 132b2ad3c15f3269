//! TypeScript as SDKs before 0.167 run it: an ordinary command with `npx ts-node` in it, which offline can't work
//! unless the base has `ts-node`. Where it hasn't, the same program runs with plain Node.

use base64::{Engine, prelude::BASE64_STANDARD};

use super::{quoted, typescript};

/// What the SDKs put around the code and its arguments (0.108 to 0.166; `SandboxTsCodeToolbox`).
const BEFORE_CODE: &str = "sh -c 'echo ";
const AFTER_CODE: &str = " | base64 --decode | npx ts-node -O ";
const BEFORE_ARGV: &str = " -e \"$(cat)\" x ";

/// What they put around every command before 0.156.
const WRAPPED: &str = "echo '";
const UNWRAP: &str = "' | base64 -d | sh";

/// The shell script that does what `command` would do with `ts-node`; `None` for every other command.
pub async fn lower(command: &str) -> Option<String> {
    let (_, rest) = command.split_once(BEFORE_CODE)?;
    let (code, rest) = rest.split_once(AFTER_CODE)?;
    let (_, rest) = rest.split_once(BEFORE_ARGV)?;
    let argv = rest.trim_end().strip_suffix('\'')?;
    let program = match typescript::program(decode(code)?).await {
        Ok(program) => program,
        Err(complaint) => typescript::complaining(&complaint),
    };
    let (flags, code) = (quoted(program.flags), BASE64_STANDARD.encode(program.stdin));
    Some(format!("base64 --decode <<'DAYTONA' | {} {flags} {argv}\n{code}\nDAYTONA\n", program.names[0]))
}

/// The same for the words of a command of an SDK before 0.156: where it is such a program, the words that run a shell with
/// the client's environment, and the script for its stdin.
pub async fn lower_words(words: &[String]) -> Option<(Vec<String>, String)> {
    let [shell, flag, script] = words else { return None };
    let (exports, command) = script.strip_suffix(UNWRAP)?.rsplit_once(WRAPPED)?;
    let lowered = lower(&decode(command)?).await?;
    Some((vec![shell.clone(), flag.clone(), format!("{exports}sh")], lowered))
}

fn decode(text: &str) -> Option<String> {
    String::from_utf8(BASE64_STANDARD.decode(text.trim()).ok()?).ok()
}
