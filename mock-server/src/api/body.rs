//! Request bodies as the original reads them: JSON or form fields become an object, everything else an empty one.

use axum::extract::{FromRequestParts, Request};
use bytes::Bytes;
use http::{HeaderMap, StatusCode, header, request::Parts};
use http_body_util::{BodyExt, Limited};
use serde_json::{Map, Value};

use super::error::{ApiError, json_response};
use crate::{surrogates, yaml};
use axum::response::{IntoResponse, Response};

/// The object in a request's body. Every handler that wants one takes it as an argument.
#[derive(Clone, Default)]
pub struct Body(pub Map<String, Value>);

impl<S: Send + Sync> FromRequestParts<S> for Body {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, ApiError> {
        Ok(parts.extensions.remove::<Body>().unwrap_or_default())
    }
}

/// Reads the body before anything else looks at the request: bad JSON is refused even without a key (observed). It may
/// have `most` bytes. (The original's limit of 100 kB is too small for Dockerfiles.)
pub async fn read(request: Request, most: usize) -> Result<Request, Response> {
    let (mut parts, bytes) = collect(request, most).await?;
    parts.extensions.insert(parse(&parts.headers, &bytes).ok_or_else(bad_json)?);
    Ok(Request::from_parts(parts, axum::body::Body::empty()))
}

/// The same for our own test controls, whatever the type is said to be: an object in JSON or YAML. (`curl -d` says that it
/// is a form.)
pub async fn read_document(request: Request, most: usize) -> Result<Request, Response> {
    let (mut parts, bytes) = collect(request, most).await?;
    parts.extensions.insert(document(&bytes).map_err(|error| ApiError::bad_request(error).into_response())?);
    Ok(Request::from_parts(parts, axum::body::Body::empty()))
}

async fn collect(request: Request, most: usize) -> Result<(Parts, Bytes), Response> {
    let (parts, body) = request.into_parts();
    match Limited::new(body, most).collect().await {
        Ok(collected) => Ok((parts, collected.to_bytes())),
        Err(error) if error.is::<http_body_util::LengthLimitError>() => Err(too_large()),
        // The client went away; nobody reads this.
        Err(_) => Err(bad_json()),
    }
}

fn document(bytes: &Bytes) -> Result<Body, String> {
    if bytes.trim_ascii().is_empty() {
        return Ok(Body::default());
    }
    let text = text(bytes);
    let value = serde_json::from_str(&text).or_else(|bad| {
        let is_json = text.trim_start().starts_with(['{', '[']);
        yaml::read(&text).map_err(|worse| if is_json { bad.to_string() } else { worse })
    });
    match value {
        Ok(Value::Object(map)) => Ok(Body(map)),
        Ok(_) => Err("the body must be an object, in JSON or YAML".into()),
        Err(error) => Err(format!("the body must be an object, in JSON or YAML: {error}")),
    }
}

fn parse(headers: &HeaderMap, bytes: &Bytes) -> Option<Body> {
    let kind = headers.get(header::CONTENT_TYPE).and_then(|kind| kind.to_str().ok()).unwrap_or_default();
    let kind = kind.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    if bytes.is_empty() {
        return Some(Body::default());
    }
    match kind.as_str() {
        "application/x-www-form-urlencoded" => Some(Body(form(bytes))),
        "application/json" => match serde_json::from_str(&text(bytes)).ok()? {
            Value::Object(map) => Some(Body(map)),
            Value::Array(_) => Some(Body::default()),
            _ => None,
        },
        _ => Some(Body::default()),
    }
}

/// As JavaScript reads it: bytes of no character, and halves of characters, are replaced.
fn text(bytes: &[u8]) -> String {
    let text = String::from_utf8_lossy(bytes);
    surrogates::paired(text.trim_start_matches('\u{feff}')).into_owned()
}

fn form(bytes: &Bytes) -> Map<String, Value> {
    form_urlencoded::parse(bytes).map(|(name, value)| (name.into_owned(), Value::String(value.into_owned()))).collect()
}

/// Shorter than the other errors (observed).
fn bad_json() -> Response {
    let body = serde_json::json!({
        "message": "Invalid JSON in request body", "error": "Bad Request", "statusCode": 400,
    });
    json_response(StatusCode::BAD_REQUEST, &body)
}

fn too_large() -> Response {
    use axum::response::IntoResponse;
    ApiError::new(StatusCode::PAYLOAD_TOO_LARGE, "request entity too large").into_response()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn parsed(kind: &str, body: &str) -> Option<Map<String, Value>> {
        let mut headers = HeaderMap::new();
        headers.insert(header::CONTENT_TYPE, kind.parse().expect("a header"));
        parse(&headers, &Bytes::copy_from_slice(body.as_bytes())).map(|body| body.0)
    }

    #[test]
    fn kinds() {
        assert_eq!(parsed("application/json", r#"{"a":1}"#).expect("object").len(), 1);
        assert!(parsed("application/json; charset=utf-8", "[1]").expect("empty").is_empty());
        assert!(parsed("application/json", "").expect("empty").is_empty());
        assert!(parsed("text/plain", "{").expect("empty").is_empty());
        assert_eq!(parsed("application/x-www-form-urlencoded", "a=b+c").expect("object")["a"], "b c");
        assert_eq!(parsed("application/json", "\u{feff}{\"a\":\"\\ud83d\"}").expect("object")["a"], "\u{fffd}");
        for bad in ["{", "\"x\"", "1", "null", "{\"a\":}"] {
            assert!(parsed("application/json", bad).is_none(), "{bad}");
        }
    }

    proptest! {
        #[test]
        fn any_body_is_read_or_refused(body in ".{0,300}") {
            parsed("application/json", &body);
            parsed("application/x-www-form-urlencoded", &body);
        }
    }
}
