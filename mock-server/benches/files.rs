//! What the agent itself needs for file operations: `cargo bench -p daytona-mock --bench files`.
//!
//! Figures are printed, not judged; `scripts/bench` measures the same through the whole gateway.

mod common;

use std::time::Instant;

use common::{median, toolbox};

fn main() {
    let temp = tempfile::tempdir().expect("directory");
    let dir = temp.path().to_path_buf();
    let mut client = toolbox(&dir);

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
