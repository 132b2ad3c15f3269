//! What the gateway costs: figures for people, not checks.

use std::{
    io::{Read, Write},
    net::{Ipv4Addr, SocketAddr, TcpStream},
    thread,
    time::{Duration, Instant},
};

use daytona_mock::runtime::{
    NetworkPolicy,
    net::{NetConfig, inside},
};

use super::{LONG, Namespace, echo_server, host, says};

/// `cargo test --release --test wire -- network::figures --ignored --nocapture`
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "a measurement: run it alone, in release"]
async fn figures() {
    let echo = echo_server();
    eprintln!("the host's own loopback");
    time((Ipv4Addr::LOCALHOST, echo).into());
    let (tun, veth): (Wire, Wire) = (inside::open_tun, inside::open_veth);
    for (name, wire) in [("a TUN device", tun), ("a veth pair", veth)] {
        eprintln!("over {name}");
        let Some(ns) = Namespace::over(wire, NetworkPolicy::default(), &NetConfig::default()) else { return };
        ns.run(move || time(host(echo).into())).await;
        transfer(&ns).await;
    }
}

type Wire = fn() -> std::io::Result<std::os::fd::OwnedFd>;

fn time(to: SocketAddr) {
    let dial = || TcpStream::connect_timeout(&to, LONG).inspect(|s| s.set_nodelay(true).expect("nodelay"));
    let connects = (0..500).map(|_| {
        let start = Instant::now();
        says(&dial().expect("connected"), "x").expect("echoed");
        start.elapsed()
    });
    eprintln!("connect and one round trip, p50 and p95: {:?}", median(connects.collect()));
    let stream = dial().expect("connected");
    let trips = (0..5000).map(|_| {
        let start = Instant::now();
        says(&stream, "x").expect("echoed");
        start.elapsed()
    });
    eprintln!("round trip, p50 and p95: {:?}", median(trips.collect()));
}

fn median(mut all: Vec<Duration>) -> (Duration, Duration) {
    all.sort();
    (all[all.len() / 2], all[all.len() * 95 / 100])
}

async fn transfer(ns: &Namespace) {
    const TOTAL: usize = 2 << 30;
    let (ours, theirs) = ns.pair().await;
    for (name, mut from, mut to) in [("in", &theirs, &ours), ("out", &ours, &theirs)] {
        let start = Instant::now();
        thread::scope(|scope| {
            scope.spawn(move || {
                let block = vec![7; 256 << 10];
                (0..TOTAL / block.len()).for_each(|_| from.write_all(&block).expect("sent"));
            });
            let (mut left, mut block) = (TOTAL, vec![0; 256 << 10]);
            while left > 0 {
                left -= to.read(&mut block).expect("received");
            }
        });
        eprintln!("{name}: {:.2} GB/s", TOTAL as f64 / start.elapsed().as_secs_f64() / 1e9);
    }
}
