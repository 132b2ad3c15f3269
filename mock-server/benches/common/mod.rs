//! A toolbox on a unix socket, one thread as in a sandbox, and a client that does as little as it can.

use std::{
    io::{Read, Write},
    os::unix::net::UnixStream,
    path::Path,
    time::{Duration, Instant},
};

use daytona_mock::toolbox::{AgentConfig, Ctx, routes};

/// A toolbox whose home is `dir`, and a client of it.
pub fn toolbox(dir: &Path) -> Client {
    let socket = dir.join("socket");
    serve(dir, &socket);
    Client(UnixStream::connect(&socket).expect("connect"))
}

fn serve(dir: &Path, socket: &Path) {
    let config = AgentConfig {
        sandbox_id: "bench".into(),
        env: Default::default(),
        home: dir.to_owned(),
        work_dir: dir.to_owned(),
        entrypoint: Vec::new(),
        fake_root: None,
        version: "bench".into(),
        limits: Default::default(),
        pty: Default::default(),
    };
    let listener = std::os::unix::net::UnixListener::bind(socket).expect("bind");
    listener.set_nonblocking(true).expect("non-blocking");
    std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("runtime");
        runtime.block_on(async {
            let listener = tokio::net::UnixListener::from_std(listener).expect("listener");
            axum::serve(listener, routes(Ctx::new(config))).await.expect("served");
        });
    });
}

/// Prints how long `run` takes.
pub fn median(what: &str, times: usize, mut run: impl FnMut()) {
    run();
    let mut took: Vec<Duration> = (0..times)
        .map(|_| {
            let start = Instant::now();
            run();
            start.elapsed()
        })
        .collect();
    took.sort_unstable();
    println!("{what:<26} p50 {:>9.3?}  p99 {:>9.3?}", took[times / 2], took[times * 99 / 100]);
}

pub struct Client(UnixStream);

impl Client {
    pub fn get(&mut self, path: &str) {
        self.ask(format!("GET {path} HTTP/1.1\r\nHost: x\r\n\r\n").as_bytes(), b"");
    }

    /// A form in parts, with boundary `b`.
    pub fn post(&mut self, path: &str, body: &[u8]) {
        let head = format!(
            "POST {path} HTTP/1.1\r\nHost: x\r\nContent-Type: multipart/form-data; boundary=b\r\nContent-Length: {}\r\n\r\n",
            body.len()
        );
        match body.len() < 65_536 {
            true => self.ask(&[head.as_bytes(), body].concat(), b""),
            false => self.ask(head.as_bytes(), body),
        }
    }

    /// Reads one answer with a `Content-Length`.
    fn ask(&mut self, head: &[u8], body: &[u8]) {
        self.0.write_all(head).expect("sent");
        self.0.write_all(body).expect("sent");
        let mut buffer = vec![0; 1 << 20];
        let mut filled = 0;
        let end = loop {
            filled += self.0.read(&mut buffer[filled..]).expect("answer");
            if let Some(end) = memchr::memmem::find(&buffer[..filled], b"\r\n\r\n") {
                break end;
            }
        };
        let text = String::from_utf8_lossy(&buffer[..end]).to_lowercase();
        assert!(text.starts_with("http/1.1 2"), "{text}");
        let length = text.split("content-length: ").nth(1).expect("length").lines().next().expect("line");
        let mut left = length.parse::<usize>().expect("number") + end + 4 - filled;
        while left > 0 {
            left -= self.0.read(&mut buffer).expect("body");
        }
    }
}
