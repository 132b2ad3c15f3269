//! `DownloadFile`: one file, whole or in ranges.

use std::{io, ops::Range, time::SystemTime};

use axum::{
    body::Body,
    extract::{Extension, State},
    http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};
use bytes::Bytes;

use super::{
    Named, blocking, disposition,
    info::base_name,
    ranges::{self, Wanted},
    segments::{self, Content, Segment},
};
use crate::{
    runtime::lending::{self, Lender},
    toolbox::{Ctx, ToolboxError, params::Params},
};

const LENT: HeaderName = HeaderName::from_static(lending::HEADER);
const BINARY: HeaderValue = HeaderValue::from_static("application/octet-stream");

/// `DownloadFile`: 200 or 206 with the bytes, 304, 412 or 416.
pub async fn download(
    State(ctx): State<Ctx>,
    params: Params,
    lender: Option<Extension<Lender>>,
    headers: HeaderMap,
) -> Result<Response, ToolboxError> {
    send(params.path(&ctx, "path")?, &headers, lender.as_deref()).await
}

/// The answer to a download of a file, as the request's headers want it. Who passes a `lender` may get a large file itself.
pub async fn send(file: Named, headers: &HeaderMap, lender: Option<&Lender>) -> Result<Response, ToolboxError> {
    let (metadata, content) = match segments::open_cached(&file.real) {
        Some(opened) => opened,
        None => {
            let path = file.real.clone();
            blocking(move || segments::open(&path)).await?.map_err(|error| refusal(&file, &error))?
        }
    };
    let modified = metadata.modified().unwrap_or(SystemTime::UNIX_EPOCH).max(SystemTime::UNIX_EPOCH);
    let mut response = match ranges::wanted(headers, modified, content.size()) {
        Wanted::Whole => one_stretch(StatusCode::OK, content.whole(), lender).await,
        Wanted::Ranges(ranges) if ranges.len() == 1 => one_range(&content, ranges[0].clone(), lender).await,
        Wanted::Ranges(ranges) => several_ranges(&content, &ranges),
        Wanted::NotModified => StatusCode::NOT_MODIFIED.into_response(),
        Wanted::PreconditionFailed => StatusCode::PRECONDITION_FAILED.into_response(),
        Wanted::Unsatisfiable(reason) => return Ok(unsatisfiable(reason, content.size())),
    };
    let name = base_name(&file.given);
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_DISPOSITION, disposition::attachment(&name.to_string_lossy()));
    let modified = HeaderValue::from_str(&httpdate::fmt_http_date(modified));
    headers.insert(header::LAST_MODIFIED, modified.expect("a date is a header value"));
    for (name, value) in [
        ("accept-ranges", "bytes"),
        ("content-description", "File Transfer"),
        ("content-transfer-encoding", "binary"),
        ("expires", "0"),
        ("cache-control", "must-revalidate"),
        ("pragma", "public"),
    ] {
        headers.insert(name, HeaderValue::from_static(value));
    }
    Ok(response)
}

fn refusal(file: &Named, error: &io::Error) -> ToolboxError {
    match (error.kind(), error.raw_os_error()) {
        (io::ErrorKind::IsADirectory, _) => {
            ToolboxError::bad_request(format!("path is a directory: {}", file.given.display()))
        }
        (io::ErrorKind::InvalidInput, None) if !file.given.to_string_lossy().contains('\0') => {
            ToolboxError::bad_request(format!("not a regular file: {}", file.given.display()))
        }
        // The original looks before it opens; what can't be opened is 403 either way.
        (io::ErrorKind::NotFound, _) => file.error("stat", error),
        _ => file.error("open", error),
    }
}

fn answer(status: StatusCode, content_type: HeaderValue, length: u64, mut segments: Vec<Segment>) -> Response {
    let body = match segments.as_mut_slice() {
        [Segment::Bytes(bytes)] => Body::from(std::mem::take(bytes)),
        _ => Body::from_stream(segments::stream(segments)),
    };
    let headers = [(header::CONTENT_TYPE, content_type), (header::CONTENT_LENGTH, HeaderValue::from(length))];
    (status, headers, body).into_response()
}

async fn one_stretch(status: StatusCode, segment: Segment, lender: Option<&Lender>) -> Response {
    if let (Some(lender), Segment::File(file, range)) = (lender, &segment)
        && lender.lend(file).await.is_ok()
    {
        let lent = HeaderValue::from_str(&lending::stretch(range)).expect("numbers are a header value");
        let headers = [(header::CONTENT_TYPE, BINARY), (LENT, lent)];
        return (status, headers, Body::empty()).into_response();
    }
    answer(status, BINARY, segment.length(), vec![segment])
}

async fn one_range(content: &Content, range: Range<u64>, lender: Option<&Lender>) -> Response {
    let shown = content_range(&range, content.size());
    let mut response = one_stretch(StatusCode::PARTIAL_CONTENT, content.slice(range), lender).await;
    response.headers_mut().insert(header::CONTENT_RANGE, shown);
    response
}

fn several_ranges(content: &Content, ranges: &[Range<u64>]) -> Response {
    let boundary = uuid::Uuid::new_v4().simple().to_string();
    let mut segments = Vec::with_capacity(ranges.len() * 2 + 1);
    let mut length = 0;
    for (index, range) in ranges.iter().enumerate() {
        let shown = format!("bytes {}-{}/{}", range.start, range.end.saturating_sub(1), content.size());
        let start = if index == 0 { "" } else { "\r\n" };
        let head =
            format!("{start}--{boundary}\r\nContent-Range: {shown}\r\nContent-Type: application/octet-stream\r\n\r\n");
        length += head.len() as u64 + (range.end - range.start);
        segments.push(Segment::Bytes(head.into()));
        segments.push(content.slice(range.clone()));
    }
    let tail = format!("\r\n--{boundary}--\r\n");
    length += tail.len() as u64;
    segments.push(Segment::Bytes(tail.into()));
    let content_type = HeaderValue::from_str(&format!("multipart/byteranges; boundary={boundary}"));
    answer(StatusCode::PARTIAL_CONTENT, content_type.expect("hexadecimal"), length, segments)
}

fn content_range(range: &Range<u64>, size: u64) -> HeaderValue {
    let text = format!("bytes {}-{}/{size}", range.start, range.end.saturating_sub(1));
    HeaderValue::from_str(&text).expect("numbers are a header value")
}

/// Plain text, as Go's file server writes it: the envelope has no place for `Content-Range`.
fn unsatisfiable(reason: &'static str, size: u64) -> Response {
    let range = HeaderValue::from_str(&format!("bytes */{size}")).expect("numbers are a header value");
    let content_type = HeaderValue::from_static("text/plain; charset=utf-8");
    let headers = [(header::CONTENT_RANGE, range), (header::CONTENT_TYPE, content_type)];
    (StatusCode::RANGE_NOT_SATISFIABLE, headers, Bytes::from(format!("{reason}\n"))).into_response()
}
