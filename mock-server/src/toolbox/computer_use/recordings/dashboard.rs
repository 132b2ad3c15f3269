//! The dashboard of recordings, on a port of its own as in the original. Who may see it is the gateway's business.

use axum::{
    Router,
    extract::{Path, State},
    http::{HeaderMap, StatusCode, header},
    response::{IntoResponse, Response},
    routing::get,
};
use serde::Deserialize;
use serde_json::json;

use super::{Recordings, library::id_of, video};
use crate::toolbox::{
    Ctx, ToolboxError,
    body::{self, Field, JsonBody, Kind},
    json::GoJson,
    own_port::is_own_page,
};

/// Where it listens in a sandbox (observed).
pub const PORT: u16 = 33333;

const PAGE: &str = include_str!("../../../../assets/recordings.html");

pub fn routes(ctx: Ctx) -> Router {
    Router::new()
        .route("/", get(page))
        .route("/api/recordings", get(list).delete(delete))
        .route("/videos/{file}", get(play))
        .with_state(ctx)
}

/// Nothing but itself can be part of it.
async fn page() -> Response {
    let nonce = uuid::Uuid::new_v4().simple().to_string();
    let policy = format!(
        "default-src 'none'; script-src 'nonce-{nonce}'; style-src 'nonce-{nonce}'; connect-src 'self'; \
         media-src 'self'; base-uri 'none'; form-action 'none'"
    );
    let headers = [
        (header::CONTENT_TYPE, "text/html; charset=utf-8".to_owned()),
        (header::CONTENT_SECURITY_POLICY, policy),
        (header::REFERRER_POLICY, "no-referrer".to_owned()),
        (header::CACHE_CONTROL, "no-store".to_owned()),
    ];
    (headers, PAGE.replace("@NONCE@", &nonce)).into_response()
}

async fn list(State(ctx): State<Ctx>) -> Response {
    match ctx.recordings().list(&ctx).await {
        Ok(recordings) => GoJson(json!({"recordings": recordings})).into_response(),
        Err(error) => failure(error),
    }
}

/// What to delete.
#[derive(Default, Deserialize)]
#[serde(default)]
struct DeleteRequest {
    ids: Vec<String>,
}

impl JsonBody for DeleteRequest {
    const NAME: &'static str = "DeleteRequest";
    const FIELDS: &'static [Field] = &[Field::required("ids", "IDs", Kind::StrList)];
}

/// 200 with what was deleted and what not.
async fn delete(State(ctx): State<Ctx>, headers: HeaderMap, request: axum::extract::Request) -> Response {
    if !is_own_page(&headers) {
        return refusal(StatusCode::FORBIDDEN, "a page of another origin");
    }
    let read = body::read(request).await.and_then(|bytes| body::parse(&bytes));
    let DeleteRequest { ids } = match read {
        Ok(request) => request,
        Err(why) => return refusal(StatusCode::BAD_REQUEST, &why),
    };
    let (mut deleted, mut failed) = (Vec::new(), Vec::new());
    for id in ids {
        match ctx.recordings().delete(&ctx, &id).await {
            Ok(()) => deleted.push(id),
            Err(_) => failed.push(id),
        }
    }
    GoJson(json!({"deleted": deleted, "failed": failed})).into_response()
}

/// A film, whole or in ranges. 403 for what can't be one of ours.
async fn play(State(ctx): State<Ctx>, Path(file): Path<String>, headers: HeaderMap) -> Response {
    if file.contains('/') || file.starts_with('.') {
        return refusal(StatusCode::FORBIDDEN, "access denied");
    }
    if id_of(&file).is_none() {
        return refusal(StatusCode::NOT_FOUND, "file not found");
    }
    let path = Recordings::directory(&ctx).join(file);
    match video(&ctx, &path.to_string_lossy(), &headers).await {
        Ok(mut response) => {
            // To be looked at, not saved.
            response.headers_mut().remove(header::CONTENT_DISPOSITION);
            response
        }
        Err(_) => refusal(StatusCode::NOT_FOUND, "file not found"),
    }
}

fn failure(error: ToolboxError) -> Response {
    refusal(error.status, &error.message)
}

fn refusal(status: StatusCode, message: &str) -> Response {
    (status, GoJson(json!({"error": message}))).into_response()
}
