//! Two upgraded connections as one: bytes pass unread, so frames, close codes and reasons do too.

use std::time::Duration;

use hyper::upgrade::Upgraded;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt, BufReader, copy, copy_buf, sink, split};

/// Per direction; the buffer is the only thing between a writer and a slow reader.
const BUFFER: usize = 64 * 1024;
/// How long a client may take to close after the sandbox did. Closing at once, with something of the client's unread,
/// would reset the connection and could take the last frame from it.
const LINGER: Duration = Duration::from_secs(5);

/// Carries bytes both ways until the sandbox's side ends, or the client's fails.
pub async fn join(client: Upgraded, agent: Upgraded) {
    let (mut from_client, mut to_client) = split(TokioIo::new(client));
    let (mut from_agent, mut to_agent) = split(TokioIo::new(agent));
    let agent_ended = {
        let up = async { carry(&mut from_client, &mut to_agent).await.is_err() };
        let down = carry(&mut from_agent, &mut to_client);
        tokio::pin!(up, down);
        tokio::select! {
            ended = &mut down => ended.is_ok(),
            // The client may have said all it has and still listen.
            failed = &mut up => !failed && down.await.is_ok(),
        }
    };
    if agent_ended {
        _ = tokio::time::timeout(LINGER, copy(&mut from_client, &mut sink())).await;
    }
}

async fn carry(from: &mut (impl AsyncRead + Unpin), to: &mut (impl AsyncWrite + Unpin)) -> std::io::Result<()> {
    copy_buf(&mut BufReader::with_capacity(BUFFER, from), to).await?;
    to.shutdown().await
}
