//! Carries a request to a sandbox's agent and the answer back: heads are rewritten, bodies and upgraded
//! connections pass through unread. The client going away cancels what the agent does for it.

use std::{
    io,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use axum::{body::Body, response::IntoResponse};
use bytes::Bytes;
use http::{
    HeaderMap, HeaderName, HeaderValue, Request, Response, StatusCode, Uri, Version, header, uri::PathAndQuery,
};
use http_body::{Body as HttpBody, Frame, SizeHint};
use hyper::body::Incoming;

use super::{
    activity::Active,
    credentials::with_path,
    error::ProxyError,
    lent,
    pool::{Connection, Pool, TOOLBOX_PORT},
    tunnel,
};
use crate::runtime::Sandbox;

const HOP_BY_HOP: [HeaderName; 8] = [
    header::CONNECTION,
    HeaderName::from_static("keep-alive"),
    HeaderName::from_static("proxy-connection"),
    header::PROXY_AUTHORIZATION,
    header::TE,
    header::TRAILER,
    header::TRANSFER_ENCODING,
    header::UPGRADE,
];

/// Marks a 502 of the gateway's own making, in the answer's extensions.
#[derive(Clone, Copy)]
pub struct NobodyAnswers;

/// Sends `request`, whose URI is what shall be seen inside, to a port of `sandbox` ([`TOOLBOX_PORT`]: its agent).
/// `active` lives as long as the exchange. 502 without a body when nothing listens (observed).
pub async fn forward(
    pool: &Pool,
    sandbox: &Arc<Sandbox>,
    port: u16,
    mut request: Request<Body>,
    active: Active,
) -> Result<Response<Body>, ProxyError> {
    let upgrade = upgrade_protocol(request.headers());
    let client = upgrade.is_some().then(|| hyper::upgrade::on(&mut request));
    rewrite_head(&mut request, port, upgrade.as_ref());
    let offer = lent::offer(sandbox, port, &mut request);
    let (mut response, connection) = match send(pool, sandbox, port, request).await {
        Ok(answered) => answered,
        Err(error) if port != TOOLBOX_PORT => {
            tracing::debug!(%error, port, "preview");
            let mut response = StatusCode::BAD_GATEWAY.into_response();
            response.extensions_mut().insert(NobodyAnswers);
            return Ok(response);
        }
        Err(error) => return Err(ProxyError::bad_gateway(format_args!("the sandbox's toolbox: {error}"))),
    };
    if let (StatusCode::SWITCHING_PROTOCOLS, Some(client)) = (response.status(), client) {
        let agent = hyper::upgrade::on(&mut response);
        tokio::spawn(async move {
            if let (Ok(client), Ok(agent)) = (client.await, agent.await) {
                tunnel::join(client, agent).await;
            }
            drop((connection, active));
        });
        return Ok(response.map(|_| Body::empty()));
    }
    // An intermediary answers in its own version, whatever the program's (RFC 9110, 2.5); hyper sees to the client's.
    *response.version_mut() = Version::HTTP_11;
    strip_hop_by_hop(response.headers_mut());
    let lent = offer.and_then(|offer| Some((offer, lent::taken(&mut response)?)));
    let (mut head, inner) = response.into_parts();
    let body = match lent {
        None => {
            let lease = Some((pool.clone(), connection));
            Body::new(Forwarded { inner, ended: false, lease, _active: active })
        }
        Some((offer, range)) => {
            pool.put(connection);
            let lent = lent::body(offer, range, &mut head.headers, active).await;
            lent.map_err(|error| ProxyError::bad_gateway(format_args!("the sandbox's file: {error}")))?
        }
    };
    Ok(Response::from_parts(head, body))
}

/// Sends the request, once more over a fresh connection if a kept one turned out to be closed before anything was sent.
async fn send(
    pool: &Pool,
    sandbox: &Arc<Sandbox>,
    port: u16,
    request: Request<Body>,
) -> io::Result<(Response<Incoming>, Connection)> {
    let mut connection = pool.get(sandbox, port).await?;
    let mut failed = match connection.sender.try_send_request(request).await {
        Ok(response) => return Ok((response, connection)),
        Err(failed) => failed,
    };
    let Some(request) = failed.take_message().filter(|_| connection.reused) else {
        return Err(io::Error::other(failed.into_error()));
    };
    let mut connection = pool.fresh(sandbox, port).await?;
    let response = connection.sender.send_request(request).await.map_err(io::Error::other)?;
    Ok((response, connection))
}

/// The protocol that the client wants to switch to.
pub fn upgrade_protocol(headers: &HeaderMap) -> Option<HeaderValue> {
    let wants = headers.get_all(header::CONNECTION).iter().any(|value| {
        value.to_str().is_ok_and(|text| text.split(',').any(|token| token.trim().eq_ignore_ascii_case("upgrade")))
    });
    headers.get(header::UPGRADE).filter(|_| wants).cloned()
}

fn rewrite_head(request: &mut Request<Body>, port: u16, upgrade: Option<&HeaderValue>) {
    *request.version_mut() = Version::HTTP_11;
    // A target in absolute form says nothing more than the Host.
    let target = request.uri().path_and_query().map_or("/", PathAndQuery::as_str);
    *request.uri_mut() = with_path(&Uri::default(), target);
    let headers = request.headers_mut();
    strip_hop_by_hop(headers);
    // This server has answered it already.
    headers.remove(header::EXPECT);
    if let Some(protocol) = upgrade {
        headers.insert(header::CONNECTION, HeaderValue::from_static("upgrade"));
        headers.insert(header::UPGRADE, protocol.clone());
    }
    let host = match port {
        TOOLBOX_PORT => Ok(HeaderValue::from_static("localhost:2280")),
        _ => HeaderValue::from_str(&format!("localhost:{port}")),
    };
    if let Some(host) = host.ok().and_then(|host| headers.insert(header::HOST, host)) {
        headers.insert("x-forwarded-host", host);
    }
}

/// Removes what concerns one hop only, the headers that `Connection` names included.
fn strip_hop_by_hop(headers: &mut HeaderMap) {
    let named: Vec<HeaderName> = headers
        .get_all(header::CONNECTION)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|text| text.split(','))
        .filter_map(|name| name.trim().parse().ok())
        .collect();
    for name in named.iter().chain(&HOP_BY_HOP) {
        headers.remove(name);
    }
}

/// An answer's body on its way out. Gives the connection back when it was read to its end; dropped before that
/// (the client went away), the connection closes and the agent notices.
struct Forwarded {
    inner: Incoming,
    ended: bool,
    lease: Option<(Pool, Connection)>,
    _active: Active,
}

impl HttpBody for Forwarded {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        let polled = Pin::new(&mut self.inner).poll_frame(cx);
        self.ended |= matches!(polled, Poll::Ready(None));
        polled
    }

    fn is_end_stream(&self) -> bool {
        self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}

impl Drop for Forwarded {
    fn drop(&mut self) {
        if let Some((pool, connection)) = self.lease.take().filter(|_| self.ended || self.inner.is_end_stream()) {
            pool.put(connection);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(pairs: &[(&'static str, &'static str)]) -> HeaderMap {
        pairs.iter().map(|(name, value)| (HeaderName::from_static(name), HeaderValue::from_static(value))).collect()
    }

    #[test]
    fn an_upgrade_needs_both_headers() {
        assert!(
            upgrade_protocol(&headers(&[("connection", "keep-alive, Upgrade"), ("upgrade", "websocket")])).is_some()
        );
        assert!(upgrade_protocol(&headers(&[("upgrade", "websocket")])).is_none());
        assert!(upgrade_protocol(&headers(&[("connection", "upgrade")])).is_none());
    }

    #[test]
    fn headers_of_one_hop_stay_on_it() {
        let mut headers =
            headers(&[("connection", "x-mine, close"), ("x-mine", "1"), ("x-theirs", "2"), ("te", "trailers")]);
        strip_hop_by_hop(&mut headers);
        assert_eq!(headers.len(), 1);
        assert!(headers.contains_key("x-theirs"));
    }
}
