//! A hand on the wire between an SDK and the mock, for what no fault of the mock can do: clients say whose their connection for
//! events is only when it stands, so a rule of one world can't refuse it.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    sync::watch,
    task::JoinHandle,
};

use crate::stop::{Result, Stop};

const REFUSAL: &[u8] = b"HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\nConnection: close\r\n\r\n";
/// The head of a request that is looked at.
const HEAD: usize = 16 << 10;

/// Passes everything on; connections for events are counted, refused or cut. It ends when it is dropped.
pub struct Middle {
    /// What the SDK is given instead of the mock's URL.
    pub api_url: String,
    shared: Arc<Shared>,
    task: JoinHandle<()>,
}

struct Shared {
    to: String,
    refuse: bool,
    events: AtomicUsize,
    /// Counts up with each cut.
    cut: watch::Sender<u64>,
}

impl Middle {
    /// Stands before a mock. `refuse`: connections for events are answered 503.
    pub async fn start(api_url: &str, refuse: bool) -> Result<Self> {
        let url = reqwest::Url::parse(api_url)?;
        let (Some(host), Some(port)) = (url.host_str(), url.port()) else {
            return Err(Stop::harness(format!("{api_url} has no host and port")));
        };
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let own = format!("http://{}{}", listener.local_addr()?, url.path());
        let cut = watch::Sender::new(0);
        let shared = Arc::new(Shared { to: format!("{host}:{port}"), refuse, events: AtomicUsize::new(0), cut });
        let serving = shared.clone();
        let task = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let shared = serving.clone();
                tokio::spawn(async move { shared.serve(stream).await });
            }
        });
        Ok(Self { api_url: own, shared, task })
    }

    /// How many connections for events were tried.
    pub fn events(&self) -> usize {
        self.shared.events.load(Ordering::Relaxed)
    }

    /// Ends those that are there.
    pub fn cut(&self) {
        self.shared.cut.send_modify(|cut| *cut += 1);
    }
}

impl Drop for Middle {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Shared {
    async fn serve(&self, mut stream: TcpStream) {
        let Some(head) = head(&mut stream).await else { return };
        let line = String::from_utf8_lossy(&head);
        let events = line.lines().next().is_some_and(|line| line.contains("/socket.io/"));
        // Before the connection is counted, so that no cut is missed.
        let mut cut = self.cut.subscribe();
        if events {
            self.events.fetch_add(1, Ordering::Relaxed);
            if self.refuse {
                _ = stream.write_all(REFUSAL).await;
                return;
            }
        }
        let Ok(mut server) = TcpStream::connect(&self.to).await else { return };
        if server.write_all(&head).await.is_err() {
            return;
        }
        let pass = tokio::io::copy_bidirectional(&mut stream, &mut server);
        tokio::select! {
            _ = pass => {}
            _ = cut.changed(), if events => {}
        }
    }
}

/// What came until the end of the first request's head.
async fn head(stream: &mut TcpStream) -> Option<Vec<u8>> {
    let mut head = Vec::new();
    while !head.windows(4).any(|four| four == b"\r\n\r\n") && head.len() < HEAD {
        if stream.read_buf(&mut head).await.ok()? == 0 {
            return None;
        }
    }
    Some(head)
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn upstream() -> String {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let url = format!("http://{}/api", listener.local_addr().expect("an address"));
        tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                tokio::spawn(async move {
                    let head = head(&mut stream).await.expect("a head");
                    stream.write_all(&head).await.expect("sent");
                    tokio::time::sleep(std::time::Duration::from_secs(60)).await;
                });
            }
        });
        url
    }

    async fn ask(middle: &Middle, path: &str) -> TcpStream {
        let address = middle.api_url.trim_start_matches("http://").split('/').next().expect("an address");
        let mut stream = TcpStream::connect(address).await.expect("connected");
        stream.write_all(format!("GET /api/{path} HTTP/1.1\r\n\r\n").as_bytes()).await.expect("sent");
        stream
    }

    async fn answer(stream: &mut TcpStream) -> String {
        let mut buffer = [0; 256];
        let count = stream.read(&mut buffer).await.unwrap_or_default();
        String::from_utf8_lossy(&buffer[..count]).into_owned()
    }

    #[tokio::test]
    async fn connections_for_events_are_refused_and_others_pass() {
        let middle = Middle::start(&upstream().await, true).await.expect("a middle");
        assert!(answer(&mut ask(&middle, "socket.io/?EIO=4").await).await.starts_with("HTTP/1.1 503"));
        assert!(answer(&mut ask(&middle, "sandbox").await).await.starts_with("GET /api/sandbox"));
        assert_eq!(middle.events(), 1);
    }

    #[tokio::test]
    async fn connections_for_events_are_cut_and_others_stay() {
        let middle = Middle::start(&upstream().await, false).await.expect("a middle");
        let (mut events, mut other) = (ask(&middle, "socket.io/").await, ask(&middle, "sandbox").await);
        assert!(answer(&mut events).await.contains("socket.io") && answer(&mut other).await.contains("sandbox"));
        middle.cut();
        assert_eq!(answer(&mut events).await, "");
        let open = tokio::time::timeout(std::time::Duration::from_millis(200), other.read_u8()).await;
        assert!(open.is_err(), "the other one has ended, too");
    }
}
