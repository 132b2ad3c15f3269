//! HTTP/1.1 from a program to its server through us: heads are read and may be changed, bodies stream, upgrades become
//! tunnels. One connection of the program's is one to the server.

use std::{
    io,
    pin::pin,
    sync::atomic::{AtomicBool, Ordering},
    time::Duration,
};

use http::{HeaderMap, Method, Request, Response, StatusCode, header, uri::Authority};
use hyper::{
    body::Incoming,
    client::conn::http1::{self as client, SendRequest},
    server::conn::http1 as server,
    service::service_fn,
    upgrade::OnUpgrade,
};
use hyper_util::rt::TokioIo;
use parking_lot::Mutex;
use tokio::io::{AsyncRead, AsyncWrite, copy_bidirectional};

use super::policy::normal;

/// How long the connection to the server may take to end once the program's has.
const FAREWELL: Duration = Duration::from_secs(1);

/// What one connection's requests share.
struct Exchange<P> {
    server: tokio::sync::Mutex<SendRequest<Incoming>>,
    /// May change a request's headers or refuse it.
    prepare: P,
    /// Some request asked for another protocol: the end of HTTP with the server may not be the end.
    asked: AtomicBool,
    /// Both ends, once another protocol is spoken: the program's and the server's.
    switched: Mutex<Option<(OnUpgrade, OnUpgrade)>>,
}

/// Carries requests until either end closes. `prepare` is given each head.
pub async fn carry<L, R, P>(program: L, server: R, prepare: P) -> io::Result<()>
where
    L: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    R: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    P: Fn(&mut Request<Incoming>) -> io::Result<()>,
{
    let handshake = client::Builder::new().preserve_header_case(true).handshake(TokioIo::new(server)).await;
    let (sender, outside) = handshake.map_err(io::Error::other)?;
    let exchange =
        Exchange { server: sender.into(), prepare, asked: AtomicBool::new(false), switched: Mutex::new(None) };
    let inside = server::Builder::new()
        .preserve_header_case(true)
        .half_close(true)
        .auto_date_header(false)
        .header_read_timeout(None)
        .serve_connection(TokioIo::new(program), service_fn(|request| exchange.answer(request)));
    let (mut inside, mut outside) = (Box::pin(inside.with_upgrades()), pin!(outside.with_upgrades()));
    let mut outside_ended = false;
    loop {
        tokio::select! {
            ended = &mut inside => {
                ended.map_err(io::Error::other)?;
                break;
            }
            // What is under way fails by itself, or has its answer.
            _ = &mut outside, if !outside_ended => {
                outside_ended = true;
                if !exchange.asked.load(Ordering::Relaxed) {
                    inside.as_mut().graceful_shutdown();
                }
            }
        }
    }
    drop(inside);
    let Exchange { server: sender, switched, .. } = exchange;
    drop(sender);
    let rest = async {
        if !outside_ended {
            _ = outside.await;
        }
    };
    match switched.into_inner() {
        Some(ends) => tunnel(ends, rest).await,
        None => {
            _ = tokio::time::timeout(FAREWELL, rest).await;
            Ok(())
        }
    }
}

/// `rest` ends the HTTP part of the server's connection.
async fn tunnel((program, server): (OnUpgrade, OnUpgrade), rest: impl Future<Output = ()>) -> io::Result<()> {
    let (program, server, ()) = tokio::join!(program, server, rest);
    let mut program = TokioIo::new(program.map_err(io::Error::other)?);
    let mut server = TokioIo::new(server.map_err(io::Error::other)?);
    copy_bidirectional(&mut program, &mut server).await.map(drop)
}

impl<P: Fn(&mut Request<Incoming>) -> io::Result<()>> Exchange<P> {
    async fn answer(&self, mut request: Request<Incoming>) -> io::Result<Response<Incoming>> {
        if request.method() == Method::CONNECT {
            return Err(io::ErrorKind::Unsupported.into());
        }
        (self.prepare)(&mut request)?;
        let program = request.headers().contains_key(header::UPGRADE).then(|| hyper::upgrade::on(&mut request));
        self.asked.store(program.is_some(), Ordering::Relaxed);
        let answer = {
            let mut server = self.server.lock().await;
            server.ready().await.map_err(io::Error::other)?;
            server.send_request(request)
        };
        let mut response = answer.await.map_err(io::Error::other)?;
        if response.status() == StatusCode::SWITCHING_PROTOCOLS {
            let program = program.ok_or(io::ErrorKind::InvalidData)?;
            *self.switched.lock() = Some((program, hyper::upgrade::on(&mut response)));
        } else {
            self.asked.store(false, Ordering::Relaxed);
        }
        Ok(response)
    }
}

/// The one server that a request is for, as names are compared; `None` if it names none, or two.
pub fn host(request: &Request<Incoming>) -> Option<String> {
    let named = host_header(request.headers())?;
    match request.uri().authority().map(|authority| normal(authority.host())) {
        Some(other) if other != named => None,
        _ => Some(named),
    }
}

fn host_header(headers: &HeaderMap) -> Option<String> {
    let mut all = headers.get_all(header::HOST).iter();
    let (one, more) = (all.next()?, all.next());
    let authority = Authority::try_from(one.as_bytes()).ok().filter(|_| more.is_none())?;
    Some(normal(authority.host()))
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    #[test]
    fn a_request_has_one_host() {
        let host = |values: &[&'static str]| {
            let mut headers = HeaderMap::new();
            values.iter().for_each(|value| _ = headers.append(header::HOST, HeaderValue::from_static(value)));
            host_header(&headers)
        };
        assert_eq!(host(&["A.Example:8080"]).as_deref(), Some("a.example"));
        assert_eq!(host(&["a.example."]).as_deref(), Some("a.example"));
        for none in [&[][..], &["a.example", "a.example"], &["a b"], &[""]] {
            assert_eq!(host(none), None, "{none:?}");
        }
    }
}
