//! Cross-origin answers: the proxy's (any origin, with credentials) and the API's (any origin, without), as observed.

use axum::{body::Body, response::Response};
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, header, request::Parts};

const DISABLE: HeaderName = HeaderName::from_static("x-daytona-disable-cors");
const METHODS: HeaderValue = HeaderValue::from_static("GET,HEAD,PUT,PATCH,POST,DELETE,OPTIONS");

/// What a cross-origin request needs in its answer.
pub struct Cors(HeaderMap);

impl Cors {
    /// For a request to a sandbox. Empty for requests without `Origin` and where the client switched it off.
    pub fn proxy(parts: &Parts) -> Cors {
        let disabled = parts.headers.get(DISABLE).is_some_and(|value| value == "true");
        let Some(origin) = parts.headers.get(header::ORIGIN).filter(|_| !disabled) else {
            return Cors(HeaderMap::new());
        };
        let mut own: Vec<&str> = parts.headers.keys().map(HeaderName::as_str).collect();
        own.extend(requested_headers(parts));
        let allowed = HeaderValue::from_str(&own.join(", "));
        let mut headers = HeaderMap::new();
        headers.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, origin.clone());
        headers.insert(header::ACCESS_CONTROL_ALLOW_CREDENTIALS, HeaderValue::from_static("true"));
        headers.insert(header::ACCESS_CONTROL_ALLOW_METHODS, METHODS);
        headers.extend(allowed.ok().map(|names| (header::ACCESS_CONTROL_ALLOW_HEADERS, names)));
        headers.insert(header::ACCESS_CONTROL_MAX_AGE, HeaderValue::from_static("43200"));
        Cors(headers)
    }

    /// For a request to the API.
    pub fn api(parts: &Parts) -> Cors {
        let mut headers = HeaderMap::new();
        headers.insert(header::VARY, HeaderValue::from_static("Origin"));
        let Some(origin) = parts.headers.get(header::ORIGIN) else { return Cors(headers) };
        headers.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, origin.clone());
        if is_preflight(parts) {
            headers.insert(header::ACCESS_CONTROL_ALLOW_METHODS, METHODS);
            let names = parts.headers.get(header::ACCESS_CONTROL_REQUEST_HEADERS);
            headers.extend(names.map(|names| (header::ACCESS_CONTROL_ALLOW_HEADERS, names.clone())));
        }
        Cors(headers)
    }

    /// The whole answer to a preflight request.
    pub fn preflight(self, parts: &Parts) -> Result<Response, Cors> {
        if !is_preflight(parts) || !self.0.contains_key(header::ACCESS_CONTROL_ALLOW_ORIGIN) {
            return Err(self);
        }
        let mut response = Response::new(Body::empty());
        *response.status_mut() = StatusCode::NO_CONTENT;
        Ok(self.apply(response))
    }

    /// Adds the headers; they replace what a program in the sandbox may have set.
    pub fn apply(self, mut response: Response) -> Response {
        for (name, value) in &self.0 {
            response.headers_mut().insert(name, value.clone());
        }
        response
    }
}

fn is_preflight(parts: &Parts) -> bool {
    parts.method == Method::OPTIONS && parts.headers.contains_key(header::ACCESS_CONTROL_REQUEST_METHOD)
}

fn requested_headers(parts: &Parts) -> impl Iterator<Item = &str> {
    parts.headers.get_all(header::ACCESS_CONTROL_REQUEST_HEADERS).iter().filter_map(|value| value.to_str().ok())
}
