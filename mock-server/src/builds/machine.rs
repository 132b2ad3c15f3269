//! The sandbox that a step runs in, and what its toolbox does for builds (`toolbox::build`).

use std::{collections::BTreeMap, io, path::PathBuf, sync::Arc, time::Duration};

use bytes::Bytes;
use http::{Request, StatusCode};
use http_body_util::{BodyExt, Full, StreamBody, combinators::BoxBody};
use hyper::{body::Incoming, client::conn::http1};
use hyper_util::rt::TokioIo;
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use tokio::sync::mpsc;
use tokio_util::io::{StreamReader, SyncIoBridge};

use super::BuildLog;
use crate::{
    runtime::{NetworkPolicy, Root, Runtime, Sandbox, SandboxSpec, base::Bind},
    toolbox::build::{IS_DIRECTORY, RunStep, TAIL},
};

/// Pieces of an archive on their way.
const QUEUE: usize = 16;
const PIECE: usize = 64 << 10;

/// A running sandbox of a build. It ends with [`Machine::end`], or when the server does.
pub struct Machine {
    runtime: Arc<Runtime>,
    sandbox: Arc<Sandbox>,
}

/// What a `COPY` does with an archive.
#[derive(Clone, Copy)]
pub struct Target<'a> {
    /// Absolute.
    pub path: &'a str,
    /// The archive's entries go into it; else its one entry becomes it, unless a directory is there.
    pub is_dir: bool,
    /// `user[:group]`; the owners in the archive if there is none.
    pub owner: Option<&'a str>,
    /// Octal or symbolic.
    pub mode: Option<&'a str>,
}

impl Machine {
    pub async fn start(runtime: &Arc<Runtime>, root: &Root, binds: Vec<Bind>) -> Result<Machine, String> {
        Machine::start_with(runtime, root, binds, NetworkPolicy::default()).await
    }

    pub async fn start_with(
        runtime: &Arc<Runtime>,
        root: &Root,
        binds: Vec<Bind>,
        network: NetworkPolicy,
    ) -> Result<Machine, String> {
        let spec = SandboxSpec {
            id: format!("build-{}", uuid::Uuid::new_v4()),
            env: BTreeMap::new(),
            user: "root".into(),
            network,
            secrets: Vec::new(),
            root: Arc::new(root.clone()),
            binds,
            volumes: Vec::new(),
            build: true,
            resources: None,
        };
        let sandbox = runtime.launch(&spec).await.map_err(|error| error.to_string())?;
        Ok(Machine { runtime: runtime.clone(), sandbox })
    }

    /// Runs a command to its end; its exit code.
    pub async fn run(&self, step: &RunStep, log: &BuildLog) -> Result<i32, String> {
        let body = serde_json::to_vec(step).expect("plain data");
        let request = self.request("POST", "/build/run").body(full(body)).expect("a request");
        let mut answer = self.send(request).await?;
        // The exit code comes last, so the last bytes are never output.
        let mut held: Vec<u8> = Vec::new();
        while let Some(frame) = answer.frame().await {
            let frame = frame.map_err(|error| format!("the step's sandbox ended: {error}"))?;
            held.extend_from_slice(&frame.into_data().unwrap_or_default());
            let ready = held.len().saturating_sub(TAIL);
            log.write(&held[..ready]);
            held.drain(..ready);
        }
        let tail: [u8; TAIL] = held.try_into().map_err(|_| "the step's sandbox ended")?;
        Ok(i32::from_be_bytes(tail))
    }

    /// Unpacks an archive inside, as it is written by `pack` on a thread of its own.
    pub async fn put(
        &self,
        target: &Target<'_>,
        pack: impl FnOnce(Pipe) -> io::Result<()> + Send + 'static,
    ) -> Result<(), String> {
        let (sender, receiver) = mpsc::channel(QUEUE);
        let packing = tokio::task::spawn_blocking(move || pack(Pipe(sender)));
        let answer = self.put_stream(target, receiver).await;
        packing.await.map_err(|error| error.to_string())?.map_err(|error| error.to_string())?;
        answer
    }

    /// Copies a path of another machine here: of a directory what is in it, into the target, which becomes one.
    pub async fn put_from(&self, target: &Target<'_>, other: &Machine, path: &str) -> Result<(), String> {
        let (mut archive, is_dir) = other.get(path).await?;
        let target = Target { is_dir: target.is_dir || is_dir, ..*target };
        let (sender, receiver) = mpsc::channel(QUEUE);
        let reading = async {
            while let Some(frame) = archive.frame().await {
                let data = frame.map_err(|error| error.to_string())?.into_data().unwrap_or_default();
                if sender.send(data).await.is_err() {
                    break;
                }
            }
            drop(sender);
            Ok(())
        };
        let (read, put): (Result<(), String>, _) = tokio::join!(reading, self.put_stream(&target, receiver));
        put.and(read)
    }

    /// What fits a pattern inside, in order; never nothing.
    pub async fn glob(&self, pattern: &str) -> Result<Vec<String>, String> {
        let request = self.request("GET", &format!("/build/glob?pattern={}", encode(pattern)));
        let answer = self.send(request.body(full(Vec::new())).expect("a request")).await?;
        let body = answer.collect().await.map_err(|error| error.to_string())?.to_bytes();
        serde_json::from_slice(&body).map_err(|error| error.to_string())
    }

    /// An archive of what is at a path inside, and whether that is a directory.
    async fn get(&self, path: &str) -> Result<(Incoming, bool), String> {
        let request = self.request("GET", &format!("/build/get?path={}", encode(path)));
        let (head, body) = self.exchange(request.body(full(Vec::new())).expect("a request")).await?;
        Ok((body, head.headers.contains_key(IS_DIRECTORY)))
    }

    /// Unpacks what is at a path inside into a directory of the host, for everybody to read; whether it is a directory.
    pub async fn take(&self, path: &str, to: PathBuf) -> Result<bool, String> {
        let (answer, is_dir) = self.get(path).await?;
        let pieces = answer.into_data_stream();
        let pieces = futures_util::TryStreamExt::map_err(pieces, io::Error::other);
        let reader = SyncIoBridge::new(StreamReader::new(pieces));
        let unpack = move || {
            let mut archive = tar::Archive::new(reader);
            archive.set_preserve_ownerships(false);
            for entry in archive.entries()? {
                // Never leads out of its directory.
                entry?.unpack_in(&to)?;
            }
            Ok(())
        };
        let unpacked: io::Result<()> = tokio::task::spawn_blocking(unpack).await.map_err(|e| e.to_string())?;
        unpacked.map(|()| is_dir).map_err(|error| format!("{path}: {error}"))
    }

    async fn put_stream(&self, target: &Target<'_>, mut pieces: mpsc::Receiver<Bytes>) -> Result<(), String> {
        let mut url = format!("/build/put?path={}&dir={}", encode(target.path), target.is_dir);
        for (name, value) in [("owner", target.owner), ("mode", target.mode)] {
            if let Some(value) = value {
                url += &format!("&{name}={}", encode(value));
            }
        }
        let frames = futures_util::stream::poll_fn(move |context| pieces.poll_recv(context));
        let frames = futures_util::StreamExt::map(frames, |piece| Ok(hyper::body::Frame::data(piece)));
        let request = self.request("PUT", &url).body(BodyExt::boxed(StreamBody::new(frames))).expect("a request");
        self.send(request).await.map(drop)
    }

    fn request(&self, method: &str, url: &str) -> http::request::Builder {
        let kind = if method == "POST" { "application/json" } else { "application/octet-stream" };
        Request::builder().method(method).uri(url).header("host", "build").header("content-type", kind)
    }

    async fn send(&self, request: Request<BoxBody<Bytes, io::Error>>) -> Result<Incoming, String> {
        self.exchange(request).await.map(|(_, body)| body)
    }

    async fn exchange(
        &self,
        request: Request<BoxBody<Bytes, io::Error>>,
    ) -> Result<(http::response::Parts, Incoming), String> {
        let failed = |error: &dyn std::fmt::Display| format!("the step's sandbox: {error}");
        let stream = self.sandbox.connect().await.map_err(|e| failed(&e))?;
        let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await.map_err(|e| failed(&e))?;
        tokio::spawn(connection);
        let answer = sender.send_request(request).await.map_err(|e| failed(&e))?;
        let (parts, body) = answer.into_parts();
        if parts.status == StatusCode::OK {
            return Ok((parts, body));
        }
        let text = body.collect().await.map(|body| body.to_bytes()).unwrap_or_default();
        Err(String::from_utf8_lossy(&text).into_owned())
    }

    /// Ends it, and makes what it wrote a layer, or forgets it.
    pub async fn end(self, layer: Option<&str>) -> Result<(), String> {
        let id = self.sandbox.id().to_owned();
        self.sandbox.stop(Duration::ZERO).await;
        let kept = match layer {
            Some(layer) => self.runtime.commit(&id, layer).await.map_err(|error| error.to_string()),
            None => Ok(()),
        };
        self.runtime.remove(&id).await.map_err(|error| error.to_string())?;
        match (kept, layer) {
            // Another build was faster with the same step.
            (Err(_), Some(layer)) if self.runtime.has_own_layer(layer) => Ok(()),
            (kept, _) => kept,
        }
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        // A build that was given up; its files are removed at the next start.
        let sandbox = self.sandbox.clone();
        tokio::spawn(async move { sandbox.stop(Duration::ZERO).await });
    }
}

fn full(bytes: Vec<u8>) -> BoxBody<Bytes, io::Error> {
    Full::new(Bytes::from(bytes)).map_err(|never| match never {}).boxed()
}

fn encode(text: &str) -> String {
    utf8_percent_encode(text, NON_ALPHANUMERIC).to_string()
}

/// Where an archive is written to; its other end is a request's body.
pub struct Pipe(mpsc::Sender<Bytes>);

impl io::Write for Pipe {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let length = bytes.len().min(PIECE);
        let piece = Bytes::copy_from_slice(&bytes[..length]);
        self.0.blocking_send(piece).map_err(|_| io::ErrorKind::BrokenPipe)?;
        Ok(length)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// A cache or an empty directory of a `RUN`, made for the sandbox to write to.
pub fn writable(source: PathBuf, target: &str) -> Result<Bind, String> {
    std::fs::create_dir_all(&source).map_err(|error| format!("{}: {error}", source.display()))?;
    Ok(Bind { source, target: target.into(), read_only: false })
}
