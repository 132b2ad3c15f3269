//! `DownloadFiles`: many files as one multipart answer, a part each, in the order asked for.

use std::{io, path::Path};

use axum::{
    body::Body,
    extract::{Request, State},
    http::{StatusCode, header},
    response::{IntoResponse, Response},
};
use futures_util::{StreamExt, stream};
use serde::Deserialize;

use super::{
    Named, blocking, disposition,
    segments::{self, Content, Segment},
};
use crate::limits;
use crate::toolbox::{
    Ctx, ToolboxError,
    body::{self, Field, JsonBody, Kind},
    go_errors, json,
};

const BOUNDARY: &str = "DAYTONA-FILE-BOUNDARY";
/// Files opened (and small ones read) while an earlier one is being sent, and that one.
const OPEN_AHEAD: usize = 4;

#[derive(Default, Deserialize)]
#[serde(default)]
struct FilesDownloadRequest {
    paths: Vec<Option<String>>,
}

impl JsonBody for FilesDownloadRequest {
    const NAME: &'static str = "FilesDownloadRequest";
    const FIELDS: &'static [Field] = &[Field::required("paths", "Paths", Kind::StrList)];
}

/// `DownloadFiles`: parts named `file` with contents, or `error` with an envelope about that file.
pub async fn bulk_download(State(ctx): State<Ctx>, request: Request) -> Result<Response, ToolboxError> {
    let bytes = body::read(request).await.map_err(ToolboxError::bad_request)?;
    let asked = body::parse::<FilesDownloadRequest>(&bytes).unwrap_or_default().paths;
    if asked.is_empty() {
        let wanted = r#"request body must be {"paths": [ ... ]} and non-empty"#;
        return Err(ToolboxError::bad_request(wanted));
    }
    if asked.len() > limits::inside().bulk_paths {
        return Err(ToolboxError::bad_request(format!("more than {} paths", limits::inside().bulk_paths)));
    }
    let last = asked.len() - 1;
    let parts = asked.into_iter().map(Option::unwrap_or_default).enumerate();
    let opened = stream::iter(parts.map(move |(index, path)| part(ctx.clone(), path, index == 0, index == last)));
    let bytes = opened.buffered(OPEN_AHEAD).flat_map(segments::stream);
    let content_type = (header::CONTENT_TYPE, format!("multipart/form-data; boundary={BOUNDARY}"));
    Ok(([content_type], Body::from_stream(bytes)).into_response())
}

/// One part, with the boundary before it and, for the last, the one that ends the answer.
async fn part(ctx: Ctx, path: String, first: bool, last: bool) -> Vec<Segment> {
    let file = Named::new(&ctx, Path::new(&path));
    let real = file.real.clone();
    let opened = match path.is_empty() {
        true => Err(invalid_path("path is empty")),
        false => match blocking(move || segments::open(&real)).await {
            Ok(opened) => opened.map(|(_, content)| content).map_err(|error| refusal(&path, &error)),
            Err(error) => Err(error),
        },
    };
    let mut head = Vec::with_capacity(256);
    head.extend_from_slice(if first { b"--" } else { b"\r\n--" });
    head.extend_from_slice(BOUNDARY.as_bytes());
    head.extend_from_slice(b"\r\nContent-Disposition: ");
    let content = match opened {
        Ok(content) => {
            head.extend(disposition::with_filename("form-data; name=\"file\"", &path));
            let size = content.size();
            let content_type = content_type(&path);
            head.extend(format!("\r\nContent-Length: {size}\r\nContent-Type: {content_type}\r\n\r\n").bytes());
            content
        }
        Err(error) => {
            head.extend(disposition::with_filename("form-data; name=\"error\"", &path));
            head.extend_from_slice(b"\r\nContent-Type: application/json; charset=utf-8\r\n\r\n");
            Content::Memory(json::to_vec(&error.body(&path, "POST")).into())
        }
    };
    assemble(head, &content, last)
}

/// In one piece when the content is in memory.
fn assemble(mut head: Vec<u8>, content: &Content, last: bool) -> Vec<Segment> {
    let end = if last { format!("\r\n--{BOUNDARY}--\r\n") } else { String::new() };
    match content {
        Content::Memory(bytes) => {
            head.extend_from_slice(bytes);
            head.extend_from_slice(end.as_bytes());
            vec![Segment::Bytes(head.into())]
        }
        Content::OnDisk(..) => vec![Segment::Bytes(head.into()), content.whole(), Segment::Bytes(end.into())],
    }
}

fn invalid_path(message: impl std::fmt::Display) -> ToolboxError {
    ToolboxError::new(StatusCode::BAD_REQUEST, "INVALID_FILE_PATH", format!("invalid file path: {message}"))
}

fn refusal(path: &str, error: &io::Error) -> ToolboxError {
    match error.kind() {
        io::ErrorKind::NotFound => {
            ToolboxError::new(StatusCode::NOT_FOUND, "FILE_NOT_FOUND", format!("file not found: {path}"))
        }
        io::ErrorKind::PermissionDenied => {
            ToolboxError::new(StatusCode::FORBIDDEN, "FILE_ACCESS_DENIED", format!("permission denied: {path}"))
        }
        io::ErrorKind::IsADirectory => invalid_path(format!("path points to a directory: {path}")),
        _ => {
            let message = format!("failed to open file: {}", go_errors::path_error("open", path, error));
            ToolboxError::new(StatusCode::INTERNAL_SERVER_ERROR, "FILE_READ_FAILED", message)
        }
    }
}

/// By extension; text with its charset.
fn content_type(path: &str) -> String {
    let guess = mime_guess::from_path(path).first_or_octet_stream();
    match guess.type_() == "text" && guess.get_param("charset").is_none() {
        true => format!("{guess}; charset=utf-8"),
        false => guess.to_string(),
    }
}
