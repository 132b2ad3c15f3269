//! `GET /__control/journal`: what the calling key's organisation did; [`crate::journal::entry`] has the entries' shape.
//!
//! * Filters, all of which must fit, values separated by commas: `operation` (`create*` too), `status` (`404`, `4xx`, `500-599`, `failed`,
//!   `none`), `method`, `plane`, `sandbox`, `key` (a key's name), `sdk` (a part of `client.source`), `path` (a beginning),
//!   `violations=true`, `faults=true`, `open=true`, `since` (a revision).
//! * `limit`: at most so many (default 1000, at most 20000), the oldest changes first: `next` is the `since` that goes on.
//! * `until=COUNT` or `until=OPERATION`: waits until that many entries match, or one of that operation, for `timeout`
//!   seconds (default 30, at most 300); 408 when they don't come.
//! * `format=json` (default), `har` or `jsonl`.
//! * `all=true`: everybody's, and what belongs to nobody; for the server's own key.
//!
//! The answer is `{entries, next, evicted, lost}`: entries in the order in which the exchanges began; `evicted` counts those
//! that memory no longer has (`<data>/journal` may), `lost` those that were never recorded. `DELETE` forgets all.

use std::{sync::Arc, time::Duration};

use axum::{
    Extension,
    extract::State,
    response::{IntoResponse, Response},
};
use http::{HeaderValue, StatusCode, Uri, header};

use crate::{
    api::{ApiError, ApiResult, Caller, ok},
    journal::{Filter, Journal, Kept, Scope, View, har},
    model::ControlPlane,
};

const LIMIT: usize = 1000;
const MAX_LIMIT: usize = 20_000;
const TIMEOUT: f64 = 30.0;
const MAX_TIMEOUT: f64 = 300.0;

/// What is asked for.
#[derive(Default)]
struct Ask {
    filter: Filter,
    limit: Option<usize>,
    until: Option<usize>,
    timeout: Option<f64>,
    format: Format,
    all: bool,
}

#[derive(Clone, Copy, Default, PartialEq)]
enum Format {
    #[default]
    Json,
    Lines,
    Har,
}

pub async fn get(
    State(cp): State<Arc<ControlPlane>>,
    Extension(journal): Extension<Journal>,
    caller: Caller,
    uri: Uri,
) -> ApiResult {
    let ask = parse(uri.query().unwrap_or_default()).map_err(ApiError::bad_request)?;
    let scope = scope(&cp, &caller, ask.all)?;
    let gone = || ApiError::new(StatusCode::SERVICE_UNAVAILABLE, "the server is stopping");
    let view = match ask.until {
        None => {
            let mut view = journal.read(&scope).await.ok_or_else(gone)?;
            view.entries.retain(|entry| ask.filter.matches(entry));
            view
        }
        Some(count) => {
            let seconds = ask.timeout.unwrap_or(TIMEOUT);
            let waited = journal.until(&scope, &ask.filter, count, Duration::from_secs_f64(seconds)).await;
            waited.map_err(|late| late.map_or_else(gone, |view| too_late(&view, count, seconds)))?
        }
    };
    Ok(answer(view, &ask))
}

pub async fn clear(
    State(cp): State<Arc<ControlPlane>>,
    Extension(journal): Extension<Journal>,
    caller: Caller,
    uri: Uri,
) -> ApiResult<StatusCode> {
    let ask = parse(uri.query().unwrap_or_default()).map_err(ApiError::bad_request)?;
    journal.clear(&scope(&cp, &caller, ask.all)?).await;
    Ok(StatusCode::NO_CONTENT)
}

fn scope(cp: &ControlPlane, caller: &Caller, all: bool) -> ApiResult<Scope> {
    match all {
        false => Ok(Scope::World(caller.organization().to_owned())),
        true if cp.is_own(&caller.0) => Ok(Scope::All),
        true => Err(ApiError::new(StatusCode::FORBIDDEN, "all=true is for the server's own key")),
    }
}

fn too_late(view: &View, count: usize, seconds: f64) -> ApiError {
    let text = format!("within {seconds} s there were {} of {count} entries that match", view.entries.len());
    ApiError::new(StatusCode::REQUEST_TIMEOUT, text)
}

fn parse(query: &str) -> Result<Ask, String> {
    let mut ask = Ask::default();
    for (name, value) in form_urlencoded::parse(query.as_bytes()) {
        let number = |what: &str| format!("{name} must be {what}, not {value}");
        match &*name {
            "limit" => {
                let limit = value.parse().ok().filter(|n| (1..=MAX_LIMIT).contains(n));
                ask.limit = Some(limit.ok_or_else(|| number("a number from 1 to 20000"))?);
            }
            "timeout" => {
                let seconds = value.parse().ok().filter(|s| (0.0..=MAX_TIMEOUT).contains(s));
                ask.timeout = Some(seconds.ok_or_else(|| number("a number of seconds from 0 to 300"))?);
            }
            "until" => match value.parse() {
                Ok(count) => ask.until = Some(count),
                Err(_) => {
                    ask.filter.set("operation", &value)?;
                    ask.until = Some(1);
                }
            },
            "format" => {
                ask.format = match &*value {
                    "json" => Format::Json,
                    "jsonl" => Format::Lines,
                    "har" => Format::Har,
                    _ => return Err(number("json, jsonl or har")),
                }
            }
            "all" => ask.all = value == "true",
            _ => ask.filter.set(&name, &value)?,
        }
    }
    Ok(ask)
}

fn answer(mut view: View, ask: &Ask) -> Response {
    let limit = ask.limit.unwrap_or(LIMIT);
    let next = if view.entries.len() > limit {
        view.entries.sort_by_key(|entry| entry.revision);
        view.entries.truncate(limit);
        let last = view.entries.last().map_or(view.revision, |entry| entry.revision);
        view.entries.sort_by_key(|entry| entry.id);
        last
    } else {
        view.revision
    };
    match ask.format {
        Format::Har => ok(&har::archive(&view.entries)),
        Format::Lines => {
            let lines: String = view.entries.iter().flat_map(|entry| [&*entry.json, "\n"]).collect();
            typed("application/x-ndjson", lines)
        }
        Format::Json => typed("application/json; charset=utf-8", object(&view, next)),
    }
}

/// Entries are JSON already.
fn object(view: &View, next: u64) -> String {
    let size: usize = view.entries.iter().map(|entry: &Arc<Kept>| entry.json.len() + 1).sum();
    let mut text = String::with_capacity(size + 64);
    text.push_str("{\"entries\":[");
    for (i, entry) in view.entries.iter().enumerate() {
        if i > 0 {
            text.push(',');
        }
        text.push_str(&entry.json);
    }
    text.push_str(&format!("],\"next\":{next},\"evicted\":{},\"lost\":{}}}", view.evicted, view.lost));
    text
}

fn typed(kind: &'static str, body: String) -> Response {
    ([(header::CONTENT_TYPE, HeaderValue::from_static(kind))], body).into_response()
}
