//! The session `entrypoint`: the main program of an image or a snapshot, as the one command of its shell.

use std::{io, path::Path, sync::Arc};

use super::{ENTRYPOINT, Session, command::Command, shell::Order, start as start_session};
use crate::toolbox::Ctx;

/// The id of its one command (observed).
pub const COMMAND: &str = "entrypoint_command";

/// The main program of images that have none, as of the default image (observed). It does nothing, so it is run only when
/// somebody asks for its session: two processes less in every other sandbox.
pub const IDLE: [&str; 2] = ["sleep", "infinity"];

/// Runs the main program, if there is one that does something. One that can't be run keeps nobody from the sandbox: then
/// there is no such session.
pub async fn start(ctx: &Ctx) {
    let words = &ctx.config().entrypoint;
    if !words.is_empty() && *words != IDLE {
        start_now(ctx).await;
    }
}

/// Sees to it that a main program which does nothing runs, if it is that session that is asked for.
pub(super) async fn awaken(ctx: &Ctx, id: &str) {
    if id != ENTRYPOINT || ctx.config().entrypoint != IDLE {
        return;
    }
    let _turn = ctx.sessions().waking.lock().await;
    if ctx.sessions().get(ENTRYPOINT).is_err() {
        start_now(ctx).await;
    }
}

async fn start_now(ctx: &Ctx) {
    let words = &ctx.config().entrypoint;
    if let Ok(session) = run(ctx, text(words)).await {
        ctx.sessions().by_id.lock().insert(ENTRYPOINT.to_owned(), Arc::new(session));
    }
}

async fn run(ctx: &Ctx, text: String) -> io::Result<Session> {
    // Images may name a directory that they don't have.
    let cwd = if ctx.config().work_dir.is_dir() { &ctx.config().work_dir } else { Path::new("/") };
    let session = start_session(ctx, cwd, ENTRYPOINT)?;
    let dir = session.dir.join(COMMAND);
    // The log of an earlier start.
    _ = tokio::fs::remove_dir_all(&dir).await;
    let (command, pipes) = Command::prepare(dir, COMMAND.to_owned(), text, false, false).await?;
    let command = Arc::new(command);
    if !session.shell.submit(Order { command: command.clone(), pipes, interactive: false }) {
        return Err(io::ErrorKind::BrokenPipe.into());
    }
    session.commands.lock().push(command);
    Ok(session)
}

/// Each word in single quotes, with spaces between (observed).
fn text(words: &[String]) -> String {
    let quoted: Vec<String> = words.iter().map(|word| format!("'{}'", word.replace('\'', r"'\''"))).collect();
    quoted.join(" ")
}

#[cfg(test)]
mod tests {
    use super::text;

    #[test]
    fn words_are_quoted() {
        let words = ["sh", "-c", "echo it's $HOME"].map(str::to_owned);
        assert_eq!(text(&words), r"'sh' '-c' 'echo it'\''s $HOME'");
    }
}
