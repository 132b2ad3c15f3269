//! What the agent itself needs for file operations: `cargo bench -p daytona-mock --bench files`.
//!
//! A toolbox on a unix socket, one thread as in a sandbox, and a client that does as little as it can. Figures are
//! printed, not judged; `scripts/bench` measures the same through the whole gateway.

use std::{
    io::{Read, Write},
    os::unix::net::UnixStream,
    path::Path,
    time::{Duration, Instant},
};

use daytona_mock::toolbox::{AgentConfig, Ctx, routes};

fn main() {
    let temp = tempfile::tempdir().expect("directory");
    let dir = temp.path().to_path_buf();
    let socket = dir.join("socket");
    serve(&dir, &socket);
    let mut client = Client(UnixStream::connect(&socket).expect("connect"));

    let small = form(&[b'x'; 1024]);
    median("upload 1 KiB", 2000, || client.post("/files/upload?path=small", &small));
    median("download 1 KiB", 2000, || client.get("/files/download?path=small"));
    let large = form(&b"0123456789abcdef".repeat(4 << 20));
    throughput("upload 64 MiB", 64.0, 10, || client.post("/files/upload?path=large", &large));
    throughput("download 64 MiB", 64.0, 10, || client.get("/files/download?path=large"));
    for d in 1..=100 {
        std::fs::create_dir_all(dir.join(format!("tree/d{d}"))).expect("directory");
        for f in 1..=50 {
            std::fs::write(dir.join(format!("tree/d{d}/f{f}.txt")), format!("needle {d} {f}\n")).expect("file");
        }
    }
    median("find text in 5,000 files", 20, || client.get("/files/find?path=tree&pattern=needle+50+"));
    median("search 5,000 names", 20, || client.get("/files/search?path=tree&pattern=f7*.txt"));
    median("list 50", 1000, || client.get("/files?path=tree/d1"));
    median("info", 2000, || client.get("/files/info?path=small"));
}

fn serve(dir: &Path, socket: &Path) {
    let config = AgentConfig {
        sandbox_id: "bench".into(),
        env: Default::default(),
        home: dir.to_owned(),
        work_dir: dir.to_owned(),
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

fn median(what: &str, times: usize, mut run: impl FnMut()) {
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

fn throughput(what: &str, mib: f64, times: u32, mut run: impl FnMut()) {
    run();
    let start = Instant::now();
    (0..times).for_each(|_| run());
    println!("{what:<26} {:.0} MiB/s", mib * f64::from(times) / start.elapsed().as_secs_f64());
}

fn form(contents: &[u8]) -> Vec<u8> {
    let head = b"--b\r\nContent-Disposition: form-data; name=\"file\"; filename=\"f\"\r\n\r\n";
    [&head[..], contents, b"\r\n--b--\r\n"].concat()
}

struct Client(UnixStream);

impl Client {
    fn get(&mut self, path: &str) {
        self.ask(format!("GET {path} HTTP/1.1\r\nHost: x\r\n\r\n").as_bytes(), b"");
    }

    fn post(&mut self, path: &str, body: &[u8]) {
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
