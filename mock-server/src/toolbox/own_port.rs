//! What the agent serves on ports of the sandbox's own: the toolbox for programs inside, the web terminal and the dashboard of
//! recordings (toolbox.md 1.1).

use std::{
    io,
    net::{Ipv4Addr, SocketAddr},
    sync::Arc,
};

use axum::{
    Router,
    http::{HeaderMap, Uri, header, uri::Authority},
};
use hyper::server::conn::http1;
use hyper_util::{rt::TokioIo, service::TowerToHyperService};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::TcpListener,
    sync::Semaphore,
};

use super::{Ctx, computer_use::recordings::dashboard, pty::web};

/// Connections to one port at once; the next one waits.
const MAX_CONNECTIONS: usize = 256;

/// What a port serves.
pub type Routes = fn(Ctx) -> Router;

/// The toolbox. Who runs programs inside needs no credentials, as in the original: they may do all that it does.
const TOOLBOX: u16 = 2280;

/// Each port with what it serves.
pub const ALL: [(u16, Routes); 3] =
    [(TOOLBOX, super::routes), (web::PORT, web::routes), (dashboard::PORT, dashboard::routes)];

/// What a port of ours serves; `None` for another port.
pub fn routes(port: u16) -> Option<Routes> {
    ALL.iter().find(|(own, _)| *own == port).map(|(_, routes)| *routes)
}

/// Listens on the loopback until the sandbox ends. An IPv6 socket with an IPv4 address where that can be: so it isn't
/// among the ports that `GetPorts` lists, as in the original.
pub async fn listen(port: u16, routes: Routes, ctx: Ctx) -> io::Result<()> {
    let mapped = SocketAddr::from((Ipv4Addr::LOCALHOST.to_ipv6_mapped(), port));
    let listener = match TcpListener::bind(mapped).await {
        Ok(listener) => listener,
        Err(_) => TcpListener::bind((Ipv4Addr::LOCALHOST, port)).await?,
    };
    let places = Arc::new(Semaphore::new(MAX_CONNECTIONS));
    loop {
        let place = places.clone().acquire_owned().await;
        let (stream, _) = listener.accept().await?;
        let ctx = ctx.clone();
        tokio::spawn(async move {
            serve(stream, routes, ctx).await;
            drop(place);
        });
    }
}

/// Serves one connection, to the end of the WebSocket that it may become.
pub async fn serve(stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static, routes: Routes, ctx: Ctx) {
    let service = TowerToHyperService::new(routes(ctx));
    // A client that breaks off is no event here.
    let _ = http1::Builder::new().serve_connection(TokioIo::new(stream), service).with_upgrades().await;
}

/// Whether the page that asks, if one does, comes from here. Browsers send cookies with the requests of any page, so
/// whoever is signed in could otherwise be made to type, or to delete.
pub fn is_own_page(headers: &HeaderMap) -> bool {
    let Some(origin) = headers.get(header::ORIGIN) else { return true };
    // The gateway says which name the client used.
    let host = headers.get("x-forwarded-host").or_else(|| headers.get(header::HOST));
    let origin = origin.to_str().ok().and_then(|origin| origin.parse::<Uri>().ok());
    let host = host.and_then(|host| host.to_str().ok()).and_then(|host| host.parse::<Authority>().ok());
    origin.as_ref().and_then(Uri::authority).is_some_and(|origin| host.is_some_and(|host| *origin == host))
}

#[cfg(test)]
mod tests {
    use axum::http::HeaderValue;

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
