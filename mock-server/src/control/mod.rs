//! `/__control`: what a test needs and a cloud doesn't have. The key in `Authorization` says whose world it is about.
//!
//! * `POST /keys`: mints a key with a user and an organisation of its own: `{apiKey, organizationId, userId, name, email}`;
//!   `{name, email}` say who it is. With `ttlSeconds` all of it is swept after that time of the server's clock (`endsAt`); with
//!   `strict: "journal"` (or true) its requests are held against the contract ([`crate::strict`]), with `"reject"` refused, with
//!   false not. With `{organizationId}`: a key of the caller's user for an organisation that it is in.
//! * `GET /organization`: the calling key's organisation and its quota; `PATCH` with some of `suspended: {reason, until} | false`,
//!   `limitedNetworkEgress`, `quota: {cpu, memory, …} | null`: what the real product's operators do.
//! * `POST /reset`: destroys everything that the calling key's organisation owns, and waits until it is gone; its journal
//!   goes, too.
//! * `POST /seed`: makes what a seed describes ([`seed`]).
//! * `GET /save`, `POST /restore`: all of it as one archive, and back ([`moving`]).
//! * `/faults`: failures on demand ([`faults`]).
//! * `GET /journal`, `DELETE /journal`: what its clients did ([`journal`]).
//! * `/webhooks`: where an organisation is told what happens, and what it was told ([`webhooks`]).
//! * `GET /operations`: every operation of both planes: `[{operationId, plane, emulated}]`.
//! * `GET /paths`: method and path of every operation of the control plane.
//! * `GET /clock`: `{now, frozen}`; `POST /clock` with `{freeze: true}`, `{advance: seconds}` or `{run: true}` turns it; what is
//!   due then has begun when the answer comes.

mod faults;
mod journal;
mod moving;
pub(crate) mod organization;
mod seed;
pub(crate) mod webhooks;

use std::{sync::Arc, time::Duration};

use axum::{
    Extension, Router,
    extract::{OriginalUri, Request, State},
    response::{IntoResponse, Response},
    routing::{get, post},
};
use http::StatusCode;
use serde_json::{Map, Value, json};
use tower::ServiceExt;

use crate::{
    api::{self, ApiError, ApiResult, Body, Caller, created, ok, operations},
    gateway::seal::Seal,
    journal::{Journal, Scope},
    model::{ControlPlane, MAX_LIFE, Strict},
    toolbox,
    webhooks::Webhooks,
};

/// Time can be advanced by at most this much at once: a hundred years.
const MAX_ADVANCE: f64 = 100.0 * 365.0 * 86400.0;

/// Paths relative to `/__control`.
pub fn router(cp: Arc<ControlPlane>, journal: Journal, seal: Arc<Seal>, told: Arc<Webhooks>) -> Router {
    let table = Router::new()
        .route("/keys", post(mint))
        .route("/reset", post(reset))
        .route("/organization", get(organization::get).patch(organization::update))
        .route("/operations", get(operations))
        .route("/faults", get(faults::list).post(faults::add).delete(faults::clear))
        .route("/faults/{id}", get(faults::get).delete(faults::remove))
        .route("/faults/{id}/release", post(faults::release))
        .route("/seed", post(seed::sow))
        .route("/save", get(moving::save))
        .route("/restore", post(moving::restore))
        .route("/journal", get(journal::get).delete(journal::clear))
        .route("/paths", get(paths))
        .route("/clock", get(clock).post(turn))
        .merge(webhooks::routes())
        .method_not_allowed_fallback(unknown)
        .fallback(unknown)
        .layer(Extension(journal))
        .layer(Extension(seal))
        .layer(Extension(told))
        .with_state(cp.clone());
    let most = cp.config().limits.api_body;
    Router::new().fallback(move |OriginalUri(uri): OriginalUri, request: Request| async move {
        let method = request.method().clone();
        let read = match moving::streams(request.uri().path()) {
            true => Ok(request),
            false => api::read_document(request, most).await,
        };
        let response = match read {
            Ok(request) => table.oneshot(request).await.unwrap_or_else(|never| match never {}),
            Err(response) => response,
        };
        api::render_error(response, method.as_str(), &uri)
    })
}

/// With `organizationId`: a key of the caller's user for another organisation that the user is in.
async fn mint(State(cp): State<Arc<ControlPlane>>, caller: Caller, Body(body): Body) -> ApiResult {
    let text = |name: &str| match body.get(name) {
        None | Some(Value::Null) => Ok(None),
        Some(Value::String(text)) if !text.is_empty() && text.len() <= 256 => Ok(Some(text.clone())),
        Some(_) => Err(ApiError::bad_request(format!("{name} must be a string of at most 256 characters"))),
    };
    let known = ["name", "email", "organizationId", "ttlSeconds", "strict"];
    if let Some(unknown) = body.keys().find(|name| !known.contains(&name.as_str())) {
        return Err(ApiError::bad_request(format!("{unknown} is unknown: there are {}", known.join(", "))));
    }
    let (name, email, organization) = (text("name")?, text("email")?, text("organizationId")?);
    let (life, strict) = (life(&body)?, strict(&body)?);
    let minted = match organization {
        Some(_) if life.is_some() || strict != Strict::Default => {
            return Err(ApiError::bad_request("ttlSeconds and strict are for new organizations"));
        }
        Some(id) => cp.mint_there(caller.person(&cp)?, &*caller.member_of(&cp, &id)?).await?,
        None => cp.mint(name, email).await?,
    };
    let ends_at = cp.set_terms(&minted.organization_id, life, strict).await?;
    let (key, user) = (minted.value, minted.user);
    let mut answer = json!({
        "apiKey": key,
        "organizationId": minted.organization_id,
        "userId": user.id,
        "name": user.name,
        "email": user.email,
    });
    if let Some(at) = ends_at {
        answer["endsAt"] = json!(at.to_rfc3339_opts(chrono::SecondsFormat::Millis, true));
    }
    Ok(created(&answer))
}

fn life(body: &Map<String, Value>) -> ApiResult<Option<Duration>> {
    let Some(ttl) = body.get("ttlSeconds").filter(|ttl| !ttl.is_null()) else { return Ok(None) };
    let seconds = ttl.as_f64().filter(|seconds| *seconds > 0.0 && *seconds <= MAX_LIFE as f64);
    let refused = "ttlSeconds must be a number of seconds above 0 and up to a hundred years";
    Ok(Some(Duration::from_secs_f64(seconds.ok_or_else(|| ApiError::bad_request(refused))?)))
}

fn strict(body: &Map<String, Value>) -> ApiResult<Strict> {
    match body.get("strict") {
        None | Some(Value::Null) => Ok(Strict::Default),
        Some(Value::Bool(false)) => Ok(Strict::Off),
        Some(Value::Bool(true)) => Ok(Strict::Journal),
        Some(Value::String(text)) if text == "journal" => Ok(Strict::Journal),
        Some(Value::String(text)) if text == "reject" => Ok(Strict::Reject),
        Some(_) => Err(ApiError::bad_request("strict must be true, false, journal or reject")),
    }
}

async fn reset(
    State(cp): State<Arc<ControlPlane>>,
    Extension(journal): Extension<Journal>,
    caller: Caller,
) -> ApiResult<StatusCode> {
    cp.reset(caller.organization()).await?;
    journal.clear(&Scope::World(caller.organization().to_owned())).await;
    Ok(StatusCode::NO_CONTENT)
}

async fn operations(_: Caller) -> Response {
    let api = operations::OPERATIONS.iter().map(|op| (op.id, "api", op.support == operations::Support::Emulated));
    let toolbox = toolbox::operations::emulated().await;
    let toolbox = toolbox.into_iter().map(|(id, emulated)| (id, "toolbox", emulated));
    let all = api
        .chain(toolbox)
        .map(|(id, plane, emulated)| json!({"operationId": id, "plane": plane, "emulated": emulated}));
    ok(&all.collect::<Vec<Value>>())
}

/// Of the control plane, with braces.
async fn paths(_: Caller) -> Response {
    let all = operations::OPERATIONS.iter();
    ok(&all.map(|op| json!({"operationId": op.id, "method": op.method, "path": op.path})).collect::<Vec<Value>>())
}

async fn clock(State(cp): State<Arc<ControlPlane>>, _: Caller) -> Response {
    now(&cp)
}

fn now(cp: &ControlPlane) -> Response {
    let now = cp.clock().now().to_rfc3339_opts(chrono::SecondsFormat::Millis, true);
    ok(&json!({"now": now, "frozen": cp.clock().is_frozen()}))
}

async fn turn(State(cp): State<Arc<ControlPlane>>, _: Caller, Body(body): Body) -> ApiResult {
    let is_true = |name: &str| body.get(name) == Some(&Value::Bool(true));
    let advance = match body.get("advance").map(|by| by.get("seconds").unwrap_or(by)) {
        Some(seconds) => Some(seconds.as_f64().filter(|s| (0.0..=MAX_ADVANCE).contains(s)).ok_or_else(bad_advance)?),
        None => None,
    };
    if is_true("freeze") == is_true("run") && advance.is_none() {
        return Err(ApiError::bad_request("one of freeze: true, run: true, advance: seconds is needed"));
    }
    if is_true("freeze") {
        cp.clock().freeze();
    }
    if let Some(seconds) = advance {
        cp.clock().advance(Duration::from_secs_f64(seconds));
    }
    if is_true("run") {
        cp.clock().run();
    }
    // A test looks at once.
    cp.do_what_is_due().await;
    Ok(now(&cp))
}

fn bad_advance() -> ApiError {
    ApiError::bad_request("advance must be a number of seconds from 0 to a hundred years")
}

async fn unknown(OriginalUri(uri): OriginalUri, request: Request) -> Response {
    ApiError::not_found(format!("Cannot {} {}", request.method(), uri.path())).into_response()
}
