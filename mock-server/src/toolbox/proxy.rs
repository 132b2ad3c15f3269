//! `/proxy/{port}/…`: any request, passed on to a server inside the sandbox.

use std::net::Ipv6Addr;

use axum::{
    Router,
    body::Body,
    extract::Request,
    http::{HeaderMap, HeaderName, HeaderValue, StatusCode, Uri, Version, header, uri::PathAndQuery},
    response::{IntoResponse, Response},
    routing::any,
};
use hyper::{client::conn::http1, upgrade::OnUpgrade};
use hyper_util::rt::TokioIo;
use percent_encoding::percent_decode_str;
use tokio::{io::copy_bidirectional, net::TcpStream};

use super::{Ctx, ToolboxError};
use crate::early::Patient;

/// Headers that concern one connection only.
const HOP_BY_HOP: [HeaderName; 7] = [
    header::CONNECTION,
    HeaderName::from_static("keep-alive"),
    HeaderName::from_static("proxy-connection"),
    header::TE,
    header::TRAILER,
    header::TRANSFER_ENCODING,
    header::UPGRADE,
];

const FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");

/// Where every request to the toolbox comes from, gateway's and programs' inside alike.
const PEER: &str = "127.0.0.1";

pub fn routes() -> Router<Ctx> {
    Router::new().route("/proxy/{port}/", any(proxy)).route("/proxy/{port}/{*path}", any(proxy))
}

/// Answers as the server on that port does, upgrades included; 502 without a body when there is none; 400 for
/// something that is no port.
async fn proxy(request: Request) -> Result<Response, ToolboxError> {
    // Not by axum's extractor: the rest of the path may be anything.
    let port = request.uri().path().split('/').nth(2).unwrap_or_default();
    let port = percent_decode_str(port).decode_utf8_lossy().into_owned();
    let (target, port) = (target(request.uri(), &port)?, port.as_str());
    let Ok(number) = port.parse() else { return Ok(StatusCode::BAD_GATEWAY.into_response()) };
    let Ok(stream) = connect(number).await else { return Ok(StatusCode::BAD_GATEWAY.into_response()) };
    Ok(forward(stream, request, target, port).await.unwrap_or_else(|_| StatusCode::BAD_GATEWAY.into_response()))
}

/// What follows the port, as it was sent: percent-encoding is the server's business.
fn target(uri: &Uri, port: &str) -> Result<Uri, ToolboxError> {
    if port.is_empty() || !port.bytes().all(|byte| byte.is_ascii_digit()) {
        let message = format!("parse \"http://localhost:{port}\": invalid port \":{port}\" after host");
        return Err(ToolboxError::bad_request(format!("failed to parse target URL: {message}")));
    }
    let rest = uri.path().strip_prefix("/proxy/").and_then(|path| path.find('/').map(|at| &path[at..])).unwrap_or("/");
    let text = uri.query().map_or_else(|| rest.to_owned(), |query| format!("{rest}?{query}"));
    let path = PathAndQuery::try_from(text).map_err(ToolboxError::bad_request)?;
    Ok(Uri::from(path))
}

/// `localhost`: IPv4 first, as most servers listen there.
async fn connect(port: u16) -> std::io::Result<TcpStream> {
    match TcpStream::connect(("127.0.0.1", port)).await {
        Ok(stream) => Ok(stream),
        Err(error) => TcpStream::connect((Ipv6Addr::LOCALHOST, port)).await.map_err(|_| error),
    }
}

async fn forward(stream: TcpStream, mut request: Request, target: Uri, port: &str) -> hyper::Result<Response> {
    let _ = stream.set_nodelay(true);
    let (mut sender, connection) = http1::handshake(TokioIo::new(Patient::new(stream))).await?;
    tokio::spawn(connection.with_upgrades());
    let upgrade = upgrade(request.headers());
    let client = upgrade.is_some().then(|| hyper::upgrade::on(&mut request));
    *request.uri_mut() = target;
    *request.version_mut() = Version::HTTP_11;
    prepare(request.headers_mut(), port, upgrade);
    let mut response = sender.send_request(request).await?;
    if let Some(client) = client.filter(|_| response.status() == StatusCode::SWITCHING_PROTOCOLS) {
        let server = hyper::upgrade::on(&mut response);
        tokio::spawn(splice(client, server));
        return Ok(response.map(Body::new));
    }
    HOP_BY_HOP.iter().for_each(|name| drop(response.headers_mut().remove(name)));
    Ok(response.map(Body::new))
}

fn upgrade(headers: &HeaderMap) -> Option<HeaderValue> {
    let wanted = headers.get_all(header::CONNECTION).iter().filter_map(|value| value.to_str().ok());
    let wanted = wanted.flat_map(|value| value.split(',')).any(|word| word.trim().eq_ignore_ascii_case("upgrade"));
    headers.get(header::UPGRADE).filter(|_| wanted).cloned()
}

fn prepare(headers: &mut HeaderMap, port: &str, upgrade: Option<HeaderValue>) {
    HOP_BY_HOP.iter().for_each(|name| drop(headers.remove(name)));
    if let Some(upgrade) = upgrade {
        headers.insert(header::CONNECTION, HeaderValue::from_static("Upgrade"));
        headers.insert(header::UPGRADE, upgrade);
    }
    let host = HeaderValue::from_str(&format!("localhost:{port}")).expect("digits are a header value");
    headers.insert(header::HOST, host);
    // As Go's `ReverseProxy` does: who asks the toolbox comes last, behind what the request says already.
    let before = headers.get_all(FORWARDED_FOR).iter().map(HeaderValue::as_bytes);
    let all = before.chain([PEER.as_bytes()]).collect::<Vec<_>>().join(&b", "[..]);
    headers.insert(FORWARDED_FOR, HeaderValue::from_bytes(&all).unwrap_or(HeaderValue::from_static(PEER)));
}

/// Until both sides are done, or one breaks.
async fn splice(client: OnUpgrade, server: OnUpgrade) {
    if let (Ok(client), Ok(server)) = tokio::join!(client, server) {
        let _ = copy_bidirectional(&mut TokioIo::new(client), &mut TokioIo::new(server)).await;
    }
}
