//! `ExecuteInterpreterCode`: one execution on a WebSocket of its own. The client sends one frame with the code; chunks of
//! output come back, and a close frame whose code tells how it ended.

use std::{collections::BTreeMap, pin::pin, time::Duration};

use axum::{
    extract::{
        State,
        ws::{Message, WebSocket, close_code},
    },
    http::HeaderMap,
    response::Response,
};
use bytes::Bytes;
use futures_util::{StreamExt, stream::SplitStream};
use serde::Deserialize;
use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;

use super::{
    Context, Worker,
    output::{Output, Sink},
    packets::Order,
};
use crate::toolbox::{
    Ctx,
    body::{self, Field, JsonBody, Kind},
    go_errors,
    websocket::{self, Upgrade},
};

/// The largest request.
const MAX_REQUEST: usize = 8 << 20;

/// What is read of one that is too large, so that it can be refused in good order.
const MAX_FRAME: usize = 16 << 20;

/// For a client to send its request.
const FIRST_FRAME: Duration = Duration::from_secs(60);

/// Seconds, unless the request says otherwise (observed).
const DEFAULT_TIMEOUT: i64 = 600;

/// Longer limits are none.
const MAX_TIMEOUT: i64 = 365 * 24 * 3600;

/// Between SIGINT and SIGKILL (observed).
const GRACE: Duration = Duration::from_secs(2);

/// What SDKs know as a time-out.
const TIMED_OUT: u16 = 4008;

/// Code and reason of a close frame.
type Closing = (u16, String);

/// What the client asks for. Field names in any case, nulls as absent, as elsewhere.
#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct ExecuteRequest {
    code: String,
    context_id: Option<String>,
    envs: BTreeMap<String, String>,
    timeout: Option<i64>,
}

impl JsonBody for ExecuteRequest {
    const NAME: &'static str = "ExecuteRequest";
    const FIELDS: &'static [Field] = &[
        Field::optional("code", "Code", Kind::Str),
        Field::optional("contextId", "ContextID", Kind::StrPtr),
        Field::optional("envs", "Envs", Kind::StrMap),
        Field::optional("timeout", "Timeout", Kind::Int),
    ];
}

/// `ExecuteInterpreterCode`. What is wrong with the request is told by the close frame (observed).
pub async fn execute(State(ctx): State<Ctx>, headers: HeaderMap, upgrade: Upgrade) -> Response {
    let Ok(upgrade) = upgrade else { return websocket::not_one() };
    let upgrade = websocket::select_first(upgrade, &headers).max_message_size(MAX_FRAME).max_frame_size(MAX_FRAME);
    upgrade.on_upgrade(async move |socket| {
        let (mut sink, mut stream) = socket.split();
        let closing = serve(&ctx, &mut sink, &mut stream).await.map_or_else(|refused| refused, Some);
        if let Some((code, reason)) = closing {
            websocket::close(sink, stream, code, &reason, websocket::CLOSING).await;
        }
    })
}

/// How it ended. An error is a refusal; `Err(None)` means that the client is gone.
async fn serve(ctx: &Ctx, sink: &mut Sink, stream: &mut SplitStream<WebSocket>) -> Result<Closing, Option<Closing>> {
    let request = parse(&first_frame(stream).await?)?;
    let id = request.context_id.as_deref();
    let context = ctx.interpreter().get(ctx, id);
    let context = context.ok_or_else(|| policy(format!("context not found: {}", id.unwrap_or_default())))?;
    let busy = |_| Some((close_code::AGAIN, "too many executions are waiting".to_owned()));
    let _place = context.queue.try_acquire().map_err(busy)?;
    let mut turn = tokio::select! {
        turn = context.worker.lock() => turn,
        () = context.deleted.cancelled() => return Err(policy("context is not active")),
        () = gone(stream) => return Err(None),
    };
    if context.deleted.is_cancelled() {
        return Err(policy("context is not active"));
    }
    let worker = match turn.take().filter(|worker| !worker.has_ended()) {
        Some(worker) => worker,
        None => start(ctx, &context)?,
    };
    let (worker, closing) = run(worker, &request, &context.deleted, sink, stream).await;
    *turn = worker;
    closing.ok_or(None)
}

fn start(ctx: &Ctx, context: &Context) -> Result<Worker, Option<Closing>> {
    let failed = |error| (close_code::ERROR, format!("failed to start worker: {}", go_errors::text(&error)));
    Worker::start(&context.dir, &ctx.env()).map_err(failed).map_err(Some)
}

fn policy(reason: impl Into<String>) -> Option<Closing> {
    Some((close_code::POLICY, reason.into()))
}

async fn first_frame(stream: &mut SplitStream<WebSocket>) -> Result<Bytes, Option<Closing>> {
    let unreadable = || Err(Some((close_code::PROTOCOL, "failed to read first message".to_owned())));
    let too_large = || Err(Some((close_code::SIZE, "request too large".to_owned())));
    let frame = async {
        loop {
            let bytes = match stream.next().await {
                Some(Ok(Message::Text(text))) => text.into(),
                Some(Ok(Message::Binary(bytes))) => bytes,
                Some(Ok(Message::Ping(_) | Message::Pong(_) | Message::Close(_))) => continue,
                None => return Err(None),
                Some(Err(error)) if websocket::is_too_large(&error) => return too_large(),
                Some(Err(_)) => return unreadable(),
            };
            return if bytes.len() > MAX_REQUEST { too_large() } else { Ok(bytes) };
        }
    };
    tokio::time::timeout(FIRST_FRAME, frame).await.unwrap_or_else(|_| unreadable())
}

fn parse(frame: &[u8]) -> Result<ExecuteRequest, Option<Closing>> {
    let invalid = |_| Some((close_code::PROTOCOL, "invalid JSON payload".to_owned()));
    let request: ExecuteRequest = body::parse(frame).map_err(invalid)?;
    if request.code.is_empty() {
        return Err(policy("code is required"));
    }
    if request.timeout.is_some_and(|seconds| seconds < 0) {
        return Err(policy("timeout must be greater than or equal to 0"));
    }
    // What no process could be given; Python would raise.
    let mut envs = request.envs.iter();
    match envs.find(|(name, value)| name.is_empty() || name.contains(['=', '\0']) || value.contains('\0')) {
        Some((name, _)) => Err(policy(format!("invalid environment variable: '{name}'"))),
        None => Ok(request),
    }
}

/// Returns when the client is gone. Cancel safe.
async fn gone(stream: &mut SplitStream<WebSocket>) {
    // Reading goes on behind a close frame: that sends ours.
    while let Some(Ok(_)) = stream.next().await {}
}

/// Why an execution needs no more waiting.
enum End {
    Over,
    /// The process ended, or doesn't speak any more.
    Died,
    /// It ignores the interrupt.
    Stuck,
    Deleted,
}

/// Runs the code to its end; the worker unless it is no more, and the close frame unless the client is gone.
async fn run(
    mut worker: Worker,
    request: &ExecuteRequest,
    deleted: &CancellationToken,
    sink: &mut Sink,
    stream: &mut SplitStream<WebSocket>,
) -> (Option<Worker>, Option<Closing>) {
    let order = Order { number: worker.next_number(), code: &request.code, envs: &request.envs };
    let hurry = CancellationToken::new();
    let mut output = Output::new(order.number, sink, hurry.clone());
    let (mut timed_out, mut vanished) = (false, false);
    let end = {
        let mut work = pin!(async {
            worker.submit(&order).await?;
            output.pass_on(&worker.channel).await
        });
        let mut limit = pin!(sleep(time_limit(request.timeout)));
        loop {
            let interrupted = timed_out || vanished;
            tokio::select! {
                biased;
                done = &mut work => break if done.is_ok() { End::Over } else { End::Died },
                () = worker.ended() => break End::Died,
                () = deleted.cancelled() => break End::Deleted,
                () = &mut limit => if interrupted { break End::Stuck } else { timed_out = true },
                () = gone(stream), if !vanished => vanished = true,
            }
            if !interrupted {
                worker.interrupt();
                hurry.cancel();
                limit.as_mut().reset(Instant::now() + GRACE);
            }
        }
    };
    hurry.cancel();
    let (worker, mut closing) = match end {
        End::Over => (Some(worker), (close_code::NORMAL, String::new())),
        End::Died | End::Stuck | End::Deleted => {
            output.rest(worker.finish().await).await;
            (None, (close_code::AWAY, "worker process ended".to_owned()))
        }
    };
    if timed_out {
        closing = (TIMED_OUT, String::new());
    }
    (worker, (!vanished).then_some(closing))
}

fn time_limit(seconds: Option<i64>) -> Duration {
    let seconds = match seconds.unwrap_or(DEFAULT_TIMEOUT) {
        0 => MAX_TIMEOUT,
        seconds => seconds.min(MAX_TIMEOUT),
    };
    Duration::from_secs(seconds.unsigned_abs())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn what_an_sdk_sends_arrives(code in ".+", id in prop::option::of(".*"), timeout in prop::option::of(0i64..)) {
            // Python leaves out what is None, others write null.
            let frame = serde_json::json!({"code": code, "contextId": id, "timeout": timeout}).to_string();
            let request = parse(frame.as_bytes()).expect("fine");
            prop_assert_eq!((request.code, request.context_id, request.timeout), (code, id, timeout));
        }

        #[test]
        fn no_frame_is_too_odd(bytes in any::<Vec<u8>>(), text in "[{}\\[\\]\":,a-z0-9 -]{0,40}") {
            for frame in [bytes.as_slice(), text.as_bytes()] {
                let refused = parse(frame).map(|_| ()).expect_err("no code").expect("a close frame");
                prop_assert!(refused.0 == close_code::PROTOCOL || refused.0 == close_code::POLICY);
            }
        }
    }

    fn refused(frame: &str) -> Closing {
        parse(frame.as_bytes()).map(|request| request.code).expect_err(frame).expect(frame)
    }

    #[test]
    fn requests() {
        let request = parse(br#"{"code":"x","contextId":null,"timeout":0,"more":1}"#).expect("fine");
        assert_eq!((request.context_id, time_limit(request.timeout)), (None, time_limit(Some(i64::MAX))));
        assert_eq!(parse(br#"{"code":"x","contextId":""}"#).expect("fine").context_id.as_deref(), Some(""));
        assert_eq!(time_limit(None), Duration::from_secs(600));
        for bad in ["", "nope", "[]", r#"{"code":1}"#, r#"{"code":"x","timeout":"1"}"#, r#"{"code":"x","envs":[]}"#] {
            assert_eq!(refused(bad), (1002, "invalid JSON payload".to_owned()), "{bad}");
        }
        let policy = |reason: &str| (1008, reason.to_owned());
        assert_eq!(refused("{}"), policy("code is required"));
        let negative = r#"{"code":"x","timeout":-1}"#;
        assert_eq!(refused(negative), policy("timeout must be greater than or equal to 0"));
        assert_eq!(refused(r#"{"code":"x","envs":{"A=":"1"}}"#), policy("invalid environment variable: 'A='"));
    }
}
