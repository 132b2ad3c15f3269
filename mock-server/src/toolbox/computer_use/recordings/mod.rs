//! Recordings of the screen: mp4 files that ffmpeg makes ([`recorder`]), kept in a directory ([`library`]), and a page
//! that shows them ([`dashboard`]).
//!
//! Different from the original: times and lengths of recordings are kept, as long as the sandbox runs; a recording that
//! ended by itself is `failed` unless it can be played.

pub mod dashboard;
mod library;
mod recorder;

use axum::{
    Router,
    extract::{Path, Request, State},
    http::{HeaderMap, HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
    routing::{get, post},
};
use serde::{Deserialize, Serialize};
use serde_json::json;

pub use library::Recordings;

use crate::toolbox::{
    Ctx, ToolboxError,
    body::{self, Body, Field, JsonBody, Kind},
    files::{Named, download::send},
    json::GoJson,
    process::shell::find_program,
};

const MAX_LABEL: usize = 100;

pub fn routes() -> Router<Ctx> {
    Router::new()
        .route("/computeruse/recordings", get(list))
        .route("/computeruse/recordings/start", post(start))
        .route("/computeruse/recordings/stop", post(stop))
        .route("/computeruse/recordings/{id}", get(get_one).delete(delete))
        .route("/computeruse/recordings/{id}/download", get(download))
}

/// `Recording` of the contract.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Recording {
    pub id: String,
    pub file_name: String,
    pub file_path: String,
    pub start_time: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub end_time: Option<String>,
    /// `recording`, `completed` or `failed`.
    pub status: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub duration_seconds: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub size_bytes: Option<u64>,
}

/// `StartRecordingRequest` of the contract.
#[derive(Default, Deserialize)]
#[serde(default)]
struct StartRecordingRequest {
    label: String,
}

impl JsonBody for StartRecordingRequest {
    const NAME: &'static str = "StartRecordingRequest";
    const FIELDS: &'static [Field] = &[Field::optional("label", "Label", Kind::Str)];
}

/// `StopRecordingRequest` of the contract.
#[derive(Default, Deserialize)]
#[serde(default)]
struct StopRecordingRequest {
    id: String,
}

impl JsonBody for StopRecordingRequest {
    const NAME: &'static str = "StopRecordingRequest";
    const FIELDS: &'static [Field] = &[Field::required("id", "ID", Kind::Str)];
}

/// `StartRecording`: 201 once the first picture is taken. A body that can't be read is none (observed). 503
/// `RECORDING_FFMPEG_NOT_FOUND` comes first, 400 for a bad label.
async fn start(State(ctx): State<Ctx>, request: Request) -> Result<impl IntoResponse, ToolboxError> {
    let ffmpeg = find_program("ffmpeg", &ctx.env()).ok_or_else(|| {
        let message =
            "FFmpeg must be installed and available in PATH to use screen recording: apt-get install -y ffmpeg";
        ToolboxError::new(StatusCode::SERVICE_UNAVAILABLE, "RECORDING_FFMPEG_NOT_FOUND", message)
    })?;
    let read = body::read(request).await.map_err(ToolboxError::bad_request)?;
    let StartRecordingRequest { label } = body::parse(&read).unwrap_or_default();
    let label = checked(&label)?;
    let starting = ctx.clone();
    // A task of its own: a client that goes away leaves no recording that nobody knows.
    let started = tokio::spawn(async move { starting.recordings().start(&starting, ffmpeg, &label).await }).await;
    let recording = started.map_err(|_| ToolboxError::internal("the recording failed to start"))??;
    Ok((StatusCode::CREATED, GoJson(recording)))
}

fn checked(label: &str) -> Result<String, ToolboxError> {
    let fine = |c: char| c.is_ascii_alphanumeric() || " ._-".contains(c);
    if label.is_empty() {
        return Ok("session".into());
    }
    if label.len() > MAX_LABEL || label.starts_with('.') || !label.chars().all(fine) {
        let rule =
            "invalid label: 1 to 100 letters, digits, spaces, dots, underscores and hyphens, no dot at the start";
        return Err(ToolboxError::bad_request(rule));
    }
    Ok(label.to_owned())
}

/// `StopRecording`: 200 when the file is complete.
async fn stop(
    State(ctx): State<Ctx>,
    Body(StopRecordingRequest { id }): Body<StopRecordingRequest>,
) -> Result<impl IntoResponse, ToolboxError> {
    ctx.recordings().stop(&id).await.map(GoJson)
}

/// `ListRecordings`: the youngest first. 500 where the directory can't be read.
async fn list(State(ctx): State<Ctx>) -> Result<impl IntoResponse, ToolboxError> {
    Ok(GoJson(json!({"recordings": ctx.recordings().list(&ctx).await?})))
}

/// `GetRecording`.
async fn get_one(State(ctx): State<Ctx>, Path(id): Path<String>) -> Result<impl IntoResponse, ToolboxError> {
    ctx.recordings().get(&ctx, &id).await.map(GoJson)
}

/// `DeleteRecording`: 204; 409 `RECORDING_STILL_ACTIVE` for one that goes on.
async fn delete(State(ctx): State<Ctx>, Path(id): Path<String>) -> Result<StatusCode, ToolboxError> {
    ctx.recordings().delete(&ctx, &id).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// `DownloadRecording`: the file, whole or in ranges.
async fn download(
    State(ctx): State<Ctx>,
    Path(id): Path<String>,
    headers: HeaderMap,
) -> Result<Response, ToolboxError> {
    let recording = ctx.recordings().get(&ctx, &id).await?;
    video(&ctx, &recording.file_path, &headers).await
}

async fn video(ctx: &Ctx, path: &str, headers: &HeaderMap) -> Result<Response, ToolboxError> {
    let mut response = send(Named::new(ctx, path.as_ref()), headers, None).await?;
    let kind = response.headers_mut().get_mut(header::CONTENT_TYPE);
    if let Some(kind) = kind.filter(|kind| *kind == "application/octet-stream") {
        *kind = HeaderValue::from_static("video/mp4");
    }
    Ok(response)
}

#[cfg(test)]
mod tests {
    use super::checked;

    #[test]
    fn labels() {
        assert_eq!(checked("").expect("none"), "session");
        assert_eq!(checked("my run_1.2-b").expect("fine"), "my run_1.2-b");
        for bad in [".hidden", "a/b", "..", "é", "a\n", &"x".repeat(101)] {
            assert!(checked(bad).is_err(), "{bad}");
        }
    }
}
