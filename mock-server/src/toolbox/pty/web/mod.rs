//! The web terminal: a page with a shell, on a port of its own as in the original, so that it is reached by that port's
//! preview link. Who may use it is the gateway's business; inside, anybody may.
//!
//! Different from the original: the socket closes with the exit of its shell and not by falling silent, pages of other
//! origins can't open it, and `null` is typed.

mod assets;
mod socket;

use std::{
    io,
    net::{Ipv4Addr, SocketAddr},
    sync::Arc,
};

use axum::{
    Router,
    extract::State,
    http::{HeaderMap, HeaderValue, StatusCode, Uri, header, uri::Authority},
    response::{IntoResponse, Response},
    routing::get,
};
use hyper::server::conn::http1;
use hyper_util::{rt::TokioIo, service::TowerToHyperService};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::TcpListener,
    sync::Semaphore,
};

use crate::toolbox::{
    Ctx,
    websocket::{self, Upgrade},
};

/// Where the web terminal listens in a sandbox (observed).
pub const PORT: u16 = 22222;

/// Connections at once; the next one waits.
const MAX_CONNECTIONS: usize = 256;

/// The largest frame that is read.
const MAX_FRAME: usize = 64 << 10;

/// Listens on the loopback until the sandbox ends. An IPv6 socket with an IPv4 address where that can be: so it isn't
/// among the ports that `GetPorts` lists, as in the original.
pub async fn listen(ctx: Ctx) -> io::Result<()> {
    let mapped = SocketAddr::from((Ipv4Addr::LOCALHOST.to_ipv6_mapped(), PORT));
    let listener = match TcpListener::bind(mapped).await {
        Ok(listener) => listener,
        Err(_) => TcpListener::bind((Ipv4Addr::LOCALHOST, PORT)).await?,
    };
    let places = Arc::new(Semaphore::new(MAX_CONNECTIONS));
    loop {
        let place = places.clone().acquire_owned().await;
        let (stream, _) = listener.accept().await?;
        let ctx = ctx.clone();
        tokio::spawn(async move {
            serve(stream, ctx).await;
            drop(place);
        });
    }
}

/// Serves one connection, to the end of the WebSocket that it may become.
pub async fn serve(stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static, ctx: Ctx) {
    let service = TowerToHyperService::new(routes(ctx));
    // A client that breaks off is no event here.
    let _ = http1::Builder::new().serve_connection(TokioIo::new(stream), service).with_upgrades().await;
}

fn routes(ctx: Ctx) -> Router {
    let socket = Router::new().route("/ws", get(web_socket)).with_state(ctx);
    Router::new().route("/", get(assets::page)).route("/{file}", get(assets::file)).merge(socket)
}

async fn web_socket(State(ctx): State<Ctx>, headers: HeaderMap, upgrade: Upgrade) -> Response {
    let Ok(upgrade) = upgrade else { return websocket::not_one() };
    if !is_own_page(&headers) {
        return (StatusCode::FORBIDDEN, "Forbidden: a page of another origin\n").into_response();
    }
    let upgrade = upgrade.max_message_size(MAX_FRAME).max_frame_size(MAX_FRAME);
    upgrade.on_upgrade(move |socket| socket::serve(socket, ctx))
}

/// Whether the page that asks, if one does, comes from here. Browsers send cookies with the WebSockets of any page, so
/// whoever is signed in could otherwise be made to type.
fn is_own_page(headers: &HeaderMap) -> bool {
    let Some(origin) = headers.get(header::ORIGIN) else { return true };
    // The gateway says which name the client used.
    let host = headers.get("x-forwarded-host").or_else(|| headers.get(header::HOST));
    let origin = origin.to_str().ok().and_then(|origin| origin.parse::<Uri>().ok());
    let host = host.and_then(|host| host.to_str().ok()).and_then(|host| host.parse::<Authority>().ok());
    origin.as_ref().and_then(Uri::authority).is_some_and(|origin| host.is_some_and(|host| *origin == host))
}

fn text(content_type: &'static str) -> [(header::HeaderName, HeaderValue); 2] {
    [
        (header::CONTENT_TYPE, HeaderValue::from_static(content_type)),
        (header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff")),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_its_own_page_opens_the_socket() {
        for (origin, host, own) in [
            (None, "localhost:22222", true),
            (Some("http://22222-x.localhost:3986"), "22222-x.localhost:3986", true),
            (Some("http://22222-X.localhost:3986"), "22222-x.LOCALHOST:3986", true),
            (Some("http://3000-x.localhost:3986"), "22222-x.localhost:3986", false),
            (Some("http://22222-x.localhost"), "22222-x.localhost:3986", false),
            (Some("null"), "22222-x.localhost:3986", false),
            (Some(""), "22222-x.localhost:3986", false),
            (Some("http://a@b@c"), "22222-x.localhost:3986", false),
        ] {
            let mut headers = HeaderMap::new();
            headers.insert(header::HOST, HeaderValue::from_static("localhost:22222"));
            headers.insert("x-forwarded-host", HeaderValue::from_static(host));
            if let Some(origin) = origin {
                headers.insert(header::ORIGIN, HeaderValue::from_static(origin));
            }
            assert_eq!(is_own_page(&headers), own, "{origin:?}");
        }
    }
}
