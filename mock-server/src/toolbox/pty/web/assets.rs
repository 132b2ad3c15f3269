//! What the page is made of. Compressed in the program: an agent that serves none has none of it in memory.

use std::io::Read;

use axum::{
    extract::Path,
    http::{HeaderMap, HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};
use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD};
use flate2::read::GzDecoder;

use super::text;

const PAGE: &str = include_str!("../../../../assets/terminal/page.html");

const SCRIPT: &str = "text/javascript; charset=utf-8";
const STYLE: &str = "text/css; charset=utf-8";

/// Name, type and compressed content.
const FILES: [(&str, &str, &[u8]); 6] = [
    ("terminal.css", STYLE, include_bytes!(concat!(env!("OUT_DIR"), "/terminal.css.gz"))),
    ("terminal.js", SCRIPT, include_bytes!(concat!(env!("OUT_DIR"), "/terminal.js.gz"))),
    ("xterm.css", STYLE, include_bytes!(concat!(env!("OUT_DIR"), "/xterm.css.gz"))),
    ("xterm.js", SCRIPT, include_bytes!(concat!(env!("OUT_DIR"), "/xterm.mjs.gz"))),
    ("xterm-addon-fit.js", SCRIPT, include_bytes!(concat!(env!("OUT_DIR"), "/addon-fit.mjs.gz"))),
    ("xterm-addon-unicode11.js", SCRIPT, include_bytes!(concat!(env!("OUT_DIR"), "/addon-unicode11.mjs.gz"))),
];

/// The page, which nothing but its own files can be part of; xterm.js sets colours by style attributes. It may be framed,
/// as dashboards do.
pub async fn page() -> Response {
    let nonce = BASE64_URL_SAFE_NO_PAD.encode(rand::random::<[u8; 16]>());
    let policy = format!(
        "default-src 'none'; script-src 'self'; style-src 'self' 'nonce-{nonce}'; \
         style-src-attr 'unsafe-inline'; connect-src 'self'; img-src data:; base-uri 'none'; form-action 'none'"
    );
    let headers = [
        (header::CONTENT_SECURITY_POLICY, policy),
        (header::REFERRER_POLICY, "no-referrer".to_owned()),
        (header::CACHE_CONTROL, "no-store".to_owned()),
    ];
    (text("text/html; charset=utf-8"), headers, PAGE.replace("@NONCE@", &nonce)).into_response()
}

/// A file of the page; 404 for any other.
pub async fn file(Path(name): Path<String>, headers: HeaderMap) -> Response {
    let Some((_, kind, content)) = FILES.iter().find(|(own, ..)| *own == name) else {
        return (StatusCode::NOT_FOUND, text("text/plain; charset=utf-8"), "404 page not found\n").into_response();
    };
    let headers_of_all = (
        text(kind),
        [(header::CACHE_CONTROL, HeaderValue::from_static("private, max-age=3600"))],
        [(header::VARY, HeaderValue::from_static("Accept-Encoding"))],
    );
    if takes_gzip(&headers) {
        return (headers_of_all, [(header::CONTENT_ENCODING, "gzip")], *content).into_response();
    }
    let mut plain = Vec::new();
    match GzDecoder::new(*content).read_to_end(&mut plain) {
        Ok(_) => (headers_of_all, plain).into_response(),
        Err(error) => (StatusCode::INTERNAL_SERVER_ERROR, error.to_string()).into_response(),
    }
}

/// Whether gzip is named, and not to be avoided.
fn takes_gzip(headers: &HeaderMap) -> bool {
    let values = headers.get_all(header::ACCEPT_ENCODING).iter().filter_map(|value| value.to_str().ok());
    values.flat_map(|value| value.split(',')).any(|coding| {
        let mut parts = coding.split(';').map(str::trim);
        parts.next().is_some_and(|name| name.eq_ignore_ascii_case("gzip"))
            && !parts.any(|part| part.strip_prefix("q=").is_some_and(|q| q.parse() == Ok(0.0)))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gzip_only_for_those_who_take_it() {
        for (value, takes) in
            [("gzip, deflate, br", true), ("br;q=1, GZIP;q=0.5", true), ("gzip;q=0", false), ("identity", false)]
        {
            let headers = [(header::ACCEPT_ENCODING, HeaderValue::from_static(value))].into_iter().collect();
            assert_eq!(takes_gzip(&headers), takes, "{value}");
        }
        assert!(!takes_gzip(&HeaderMap::new()));
    }
}
