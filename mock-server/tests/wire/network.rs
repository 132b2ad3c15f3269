//! The NAT gateway, from inside a network namespace: what a sandbox's programs see of the world.
//!
//! Each test has a thread in a namespace of its own, set up by the code that a sandbox's first process runs, and
//! servers on the host's loopback, which that namespace knows as 10.0.2.2. Nothing ever leaves this machine.
//! Needs root (or CAP_SYS_ADMIN and `/dev/net/tun`); without it, each test says so and ends.

use std::{
    io::{self, ErrorKind, Read, Write},
    net::{Ipv4Addr, Shutdown, SocketAddr, SocketAddrV4, TcpListener, TcpStream, UdpSocket},
    os::fd::OwnedFd,
    sync::mpsc,
    thread,
    time::{Duration, Instant},
};

use daytona_mock::runtime::{
    NetworkPolicy,
    net::{self, HOST, NetConfig, NetHandle, RESOLVER, Resolvers, inside},
};

/// More than any step takes on a busy machine.
const LONG: Duration = Duration::from_secs(20);
/// How long a test looks at silence before it believes it.
const SILENCE: Duration = Duration::from_millis(700);

type Job = Box<dyn FnOnce() + Send>;

/// A network namespace with its gateway.
struct Namespace {
    jobs: mpsc::Sender<Job>,
    gateway: NetHandle,
}

impl Namespace {
    fn new(policy: NetworkPolicy, config: &NetConfig) -> Option<Namespace> {
        let (jobs, queue) = mpsc::channel::<Job>();
        let (ready, descriptors) = mpsc::channel();
        thread::spawn(move || {
            let _ = ready.send(enter());
            queue.into_iter().for_each(|job| job());
        });
        match descriptors.recv().expect("the thread answers") {
            Ok((tun, listener)) => {
                let gateway = net::attach(tun, listener, policy, config).expect("gateway");
                Some(Namespace { jobs, gateway })
            }
            Err(error) if error.kind() == ErrorKind::PermissionDenied => {
                eprintln!("skipped: a network namespace needs root here ({error})");
                None
            }
            Err(error) => panic!("no network namespace: {error}"),
        }
    }

    fn open() -> Option<Namespace> {
        Namespace::new(NetworkPolicy::default(), &NetConfig::default())
    }

    /// Runs code inside. Sockets made there stay there, wherever they are used.
    async fn run<T: Send + 'static>(&self, work: impl FnOnce() -> T + Send + 'static) -> T {
        let (sender, result) = tokio::sync::oneshot::channel();
        self.jobs.send(Box::new(move || drop(sender.send(work())))).expect("the thread lives");
        result.await.expect("the work ends")
    }

    async fn connect(&self, to: impl Into<SocketAddr>, patience: Duration) -> io::Result<TcpStream> {
        let to = to.into();
        self.run(move || {
            let stream = TcpStream::connect_timeout(&to, patience)?;
            stream.set_read_timeout(Some(LONG))?;
            Ok(stream)
        })
        .await
    }

    /// A connection through the gateway to a server on the host's loopback, and that server's end of it.
    async fn pair(&self) -> (TcpStream, TcpStream) {
        let server = TcpListener::bind("127.0.0.1:0").expect("bind");
        let ours = self.connect(host(port_of(&server)), LONG).await.expect("connected");
        let (theirs, _) = server.accept().expect("accepted");
        theirs.set_read_timeout(Some(LONG)).expect("time-out");
        (ours, theirs)
    }
}

/// What a sandbox's first process does. Only this thread changes its namespace.
fn enter() -> io::Result<(OwnedFd, OwnedFd)> {
    nix::sched::unshare(nix::sched::CloneFlags::CLONE_NEWNET)?;
    let tun = inside::open_tun()?;
    let listener = inside::configure(&tun)?;
    Ok((tun, listener))
}

/// The host's loopback as the sandbox sees it.
fn host(port: u16) -> SocketAddrV4 {
    SocketAddrV4::new(HOST, port)
}

fn port_of(listener: &TcpListener) -> u16 {
    listener.local_addr().expect("address").port()
}

fn allow(networks: &[(Ipv4Addr, u8)]) -> NetworkPolicy {
    NetworkPolicy { allow: Some(networks.to_vec()), ..Default::default() }
}

fn domains(names: &[&str]) -> NetworkPolicy {
    NetworkPolicy { domains: Some(names.iter().map(|&name| name.into()).collect()), ..Default::default() }
}

fn block_all() -> NetworkPolicy {
    NetworkPolicy { block_all: true, ..Default::default() }
}

/// Answers every connection with what it sent, one after the other.
fn echo_server() -> u16 {
    let server = TcpListener::bind("127.0.0.1:0").expect("bind");
    let port = port_of(&server);
    thread::spawn(move || {
        for stream in server.incoming().flatten() {
            thread::spawn(move || io::copy(&mut &stream, &mut &stream));
        }
    });
    port
}

fn says(mut stream: &TcpStream, text: &str) -> io::Result<String> {
    stream.write_all(text.as_bytes())?;
    let mut answer = vec![0; text.len()];
    stream.read_exact(&mut answer)?;
    Ok(String::from_utf8(answer).expect("text"))
}

/// A kind of error for "the connection is gone", however the kernel says it.
fn is_gone(result: io::Result<usize>) -> bool {
    matches!(result, Ok(0))
        || matches!(result, Err(e) if [ErrorKind::ConnectionReset, ErrorKind::BrokenPipe].contains(&e.kind()))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn tcp_reaches_the_hosts_loopback_by_its_address() {
    let Some(ns) = Namespace::open() else { return };
    let (mut ours, mut theirs) = ns.pair().await;
    ours.write_all(b"hello").expect("sent");
    let mut text = [0; 5];
    theirs.read_exact(&mut text).expect("received");
    assert_eq!(&text, b"hello");
    theirs.write_all(b"there").expect("sent");
    ours.read_exact(&mut text).expect("received");
    assert_eq!(&text, b"there");
    assert_eq!(theirs.peer_addr().expect("peer").ip(), Ipv4Addr::LOCALHOST);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_closed_port_refuses_at_once() {
    let Some(ns) = Namespace::open() else { return };
    let port = port_of(&TcpListener::bind("127.0.0.1:0").expect("bind"));
    let error = ns.connect(host(port), LONG).await.expect_err("refused");
    assert_eq!(error.kind(), ErrorKind::ConnectionRefused);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn metadata_and_reserved_addresses_are_refused() {
    let Some(ns) = Namespace::open() else { return };
    for never in [Ipv4Addr::new(169, 254, 169, 254), Ipv4Addr::new(10, 0, 2, 77), Ipv4Addr::new(10, 0, 2, 4)] {
        let error = ns.connect(SocketAddrV4::new(never, 80), LONG).await.expect_err("refused");
        assert_eq!(error.kind(), ErrorKind::ConnectionRefused, "{never}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_servers_own_ports_are_refused() {
    let config = NetConfig::default();
    let Some(ns) = Namespace::new(NetworkPolicy::default(), &config) else { return };
    let own = TcpListener::bind("127.0.0.1:0").expect("bind");
    config.own_ports.add(port_of(&own));
    let error = ns.connect(host(port_of(&own)), LONG).await.expect_err("refused");
    assert_eq!(error.kind(), ErrorKind::ConnectionRefused);
    config.own_ports.remove(port_of(&own));
    ns.connect(host(port_of(&own)), LONG).await.expect("somebody else's port now");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_sandboxs_own_loopback_is_its_own() {
    let Some(ns) = Namespace::open() else { return };
    let hosts = TcpListener::bind("127.0.0.1:0").expect("bind");
    let to = SocketAddrV4::new(Ipv4Addr::LOCALHOST, port_of(&hosts));
    let error = ns.connect(to, LONG).await.expect_err("nothing listens inside");
    assert_eq!(error.kind(), ErrorKind::ConnectionRefused);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn half_closes_pass_both_ways() {
    let Some(ns) = Namespace::open() else { return };
    let (mut ours, mut theirs) = ns.pair().await;
    ours.write_all(b"question").expect("sent");
    ours.shutdown(Shutdown::Write).expect("half-closed");
    let mut question = String::new();
    theirs.read_to_string(&mut question).expect("ends");
    assert_eq!(question, "question");
    theirs.write_all(b"answer").expect("the other direction is open");
    drop(theirs);
    let mut answer = String::new();
    ours.read_to_string(&mut answer).expect("ends");
    assert_eq!(answer, "answer");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_reset_arrives_as_a_reset() {
    let Some(ns) = Namespace::open() else { return };
    let (mut ours, theirs) = ns.pair().await;
    let theirs = tokio_stream(theirs);
    theirs.set_zero_linger().expect("linger");
    drop(theirs);
    let error = ours.read(&mut [0]).expect_err("reset");
    assert_eq!(error.kind(), ErrorKind::ConnectionReset);

    let (ours, mut theirs) = ns.pair().await;
    let ours = tokio_stream(ours);
    ours.set_zero_linger().expect("linger");
    drop(ours);
    assert_eq!(theirs.read(&mut [0]).expect_err("reset").kind(), ErrorKind::ConnectionReset);
}

fn tokio_stream(stream: TcpStream) -> tokio::net::TcpStream {
    stream.set_nonblocking(true).expect("nonblocking");
    tokio::net::TcpStream::from_std(stream).expect("stream")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn hundreds_of_short_connections_in_a_row() {
    let Some(ns) = Namespace::open() else { return };
    let to = host(echo_server());
    ns.run(move || {
        for n in 0..300 {
            let stream = TcpStream::connect_timeout(&to.into(), LONG).expect("connected");
            stream.set_read_timeout(Some(LONG)).expect("time-out");
            assert_eq!(says(&stream, &format!("call {n}")).expect("echoed"), format!("call {n}"));
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hundred_connections_at_once() {
    let Some(ns) = Namespace::open() else { return };
    let to = host(echo_server());
    ns.run(move || {
        let all: Vec<_> = (0..100).map(|_| TcpStream::connect_timeout(&to.into(), LONG).expect("connected")).collect();
        for (n, stream) in all.iter().enumerate() {
            stream.set_read_timeout(Some(LONG)).expect("time-out");
            assert_eq!(says(stream, &format!("call {n}")).expect("echoed"), format!("call {n}"));
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_large_transfer_is_exact_both_ways() {
    let Some(ns) = Namespace::open() else { return };
    let stream = ns.connect(host(echo_server()), LONG).await.expect("connected");
    let sent: Vec<u8> = (0..24u32 << 20).map(|n| (n.wrapping_mul(2_654_435_761) >> 13) as u8).collect();
    let writer = thread::spawn({
        let (mut stream, sent) = (stream.try_clone().expect("clone"), sent.clone());
        move || stream.write_all(&sent).and_then(|()| stream.shutdown(Shutdown::Write))
    });
    let mut received = Vec::new();
    (&stream).read_to_end(&mut received).expect("received");
    writer.join().expect("joined").expect("sent");
    assert!(received == sent, "{} bytes of {}", received.len(), sent.len());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn udp_goes_out_and_comes_back() {
    let Some(ns) = Namespace::open() else { return };
    let server = UdpSocket::bind("127.0.0.1:0").expect("bind");
    let to = host(server.local_addr().expect("address").port());
    thread::spawn(move || {
        let mut buffer = vec![0; 65_536];
        while let Ok((length, from)) = server.recv_from(&mut buffer) {
            let _ = server.send_to(&buffer[..length], from);
        }
    });
    let socket = ns.run(|| UdpSocket::bind("0.0.0.0:0").expect("bind")).await;
    socket.set_read_timeout(Some(LONG)).expect("time-out");
    for size in [0, 1, 1400, 60_000] {
        let sent = vec![7; size];
        socket.send_to(&sent, to).expect("sent");
        let mut buffer = vec![0; 65_536];
        let (length, from) = socket.recv_from(&mut buffer).expect("received");
        assert_eq!((&buffer[..length], from), (&sent[..], to.into()));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn udp_to_a_closed_port_is_refused() {
    let Some(ns) = Namespace::open() else { return };
    let port = UdpSocket::bind("127.0.0.1:0").and_then(|s| s.local_addr()).expect("address").port();
    let error = ns
        .run(move || {
            let socket = UdpSocket::bind("0.0.0.0:0")?;
            socket.set_read_timeout(Some(LONG))?;
            socket.connect(host(port))?;
            socket.send(b"anyone?")?;
            socket.recv(&mut [0; 16])
        })
        .await
        .expect_err("refused");
    assert_eq!(error.kind(), ErrorKind::ConnectionRefused);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_full_block_is_silence() {
    let Some(ns) = Namespace::new(block_all(), &NetConfig::default()) else { return };
    let port = echo_server();
    for to in [host(port), SocketAddrV4::new(RESOLVER, 53), SocketAddrV4::new(Ipv4Addr::new(169, 254, 169, 254), 80)] {
        let error = ns.connect(to, SILENCE).await.expect_err("no answer");
        assert_eq!(error.kind(), ErrorKind::TimedOut, "{to}");
    }
    let error = ns.run(|| ask(RESOLVER, "api.example", SILENCE)).await.expect_err("no answer");
    assert_eq!(error.kind(), ErrorKind::WouldBlock);

    ns.gateway.set_policy(NetworkPolicy::default());
    let stream = ns.connect(host(port), LONG).await.expect("open again");
    assert_eq!(says(&stream, "hello").expect("echoed"), "hello");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_allow_list_opens_what_it_names() {
    let Some(ns) = Namespace::new(allow(&[(HOST, 32)]), &NetConfig::default()) else { return };
    let port = echo_server();
    let stream = ns.connect(host(port), LONG).await.expect("allowed");
    assert_eq!(says(&stream, "hello").expect("echoed"), "hello");
    ns.gateway.set_policy(allow(&[(Ipv4Addr::new(203, 0, 113, 0), 24)]));
    let error = ns.connect(host(port), SILENCE).await.expect_err("no answer");
    assert_eq!(error.kind(), ErrorKind::TimedOut);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_change_of_policy_cuts_established_flows() {
    let Some(ns) = Namespace::open() else { return };
    let (mut ours, mut theirs) = ns.pair().await;
    ours.write_all(b"x").expect("sent");
    theirs.read_exact(&mut [0]).expect("received");

    ns.gateway.set_policy(allow(&[(HOST, 32)]));
    ours.write_all(b"y").expect("sent");
    theirs.read_exact(&mut [0]).expect("a flow that both policies allow stays");

    ns.gateway.set_policy(block_all());
    assert!(is_gone(theirs.read(&mut [0])), "the outer end is closed");
    ours.set_read_timeout(Some(SILENCE)).expect("time-out");
    ours.write_all(b"z").expect("taken by the kernel");
    let error = ours.read(&mut [0]).expect_err("inside there is silence, not a reset");
    assert_eq!(error.kind(), ErrorKind::WouldBlock);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_end_of_the_gateway_ends_its_flows() {
    let Some(ns) = Namespace::open() else { return };
    let (_ours, mut theirs) = ns.pair().await;
    drop(ns);
    assert!(is_gone(theirs.read(&mut [0])));
}

// --- DNS ---

const TYPE_A: u16 = 1;

fn query(name: &str, kind: u16) -> Vec<u8> {
    let mut message = vec![0xab, 0xcd, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0];
    for label in name.split('.') {
        message.push(label.len() as u8);
        message.extend_from_slice(label.as_bytes());
    }
    message.push(0);
    message.extend_from_slice(&kind.to_be_bytes());
    message.extend_from_slice(&[0, 1]);
    message
}

/// The answer code, and the last four bytes as an address if there is an answer.
fn outcome(answer: &[u8]) -> (u8, Option<Ipv4Addr>) {
    assert_eq!(answer[..2], [0xab, 0xcd], "the query's number");
    let records = u16::from_be_bytes([answer[6], answer[7]]);
    let octets: [u8; 4] = answer[answer.len() - 4..].try_into().expect("four bytes");
    (answer[3] & 15, (records > 0).then(|| octets.into()))
}

/// Asks over UDP for a name's address.
fn ask(server: Ipv4Addr, name: &str, patience: Duration) -> io::Result<(u8, Option<Ipv4Addr>)> {
    let socket = UdpSocket::bind("0.0.0.0:0")?;
    socket.set_read_timeout(Some(patience))?;
    socket.send_to(&query(name, TYPE_A), (server, 53))?;
    let mut buffer = [0; 4096];
    let (length, from) = socket.recv_from(&mut buffer)?;
    assert_eq!(from, SocketAddr::from((server, 53)));
    Ok(outcome(&buffer[..length]))
}

/// The answer of the fake resolver: 10.0.2.2 for everything below `example`, so that tests can connect to it.
fn resolve(query: &[u8]) -> Vec<u8> {
    let known = query.windows(9).any(|w| w == b"\x07example\x00");
    let mut answer = query.to_vec();
    answer[2] |= 0x80;
    if known {
        answer[7] = 1;
        answer.extend_from_slice(&[0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 9, 0, 4]);
        answer.extend_from_slice(&HOST.octets());
    } else {
        answer[3] |= 3;
    }
    answer
}

/// A resolver on the host's loopback, over UDP and TCP.
fn fake_resolver() -> NetConfig {
    // Both transports must have the same number; whoever took it for TCP meanwhile makes us choose again.
    let (udp, tcp) = std::iter::repeat_with(|| {
        let udp = UdpSocket::bind("127.0.0.1:0").expect("bind");
        TcpListener::bind(udp.local_addr().expect("address")).ok().map(|tcp| (udp, tcp))
    })
    .take(50)
    .flatten()
    .next()
    .expect("a port free for both");
    let address = udp.local_addr().expect("address");
    thread::spawn(move || {
        let mut buffer = [0; 4096];
        while let Ok((length, from)) = udp.recv_from(&mut buffer) {
            let _ = udp.send_to(&resolve(&buffer[..length]), from);
        }
    });
    thread::spawn(move || {
        for mut stream in tcp.incoming().flatten() {
            let mut length = [0; 2];
            stream.read_exact(&mut length).expect("length");
            let mut query = vec![0; u16::from_be_bytes(length).into()];
            stream.read_exact(&mut query).expect("query");
            let answer = resolve(&query);
            stream
                .write_all(&(answer.len() as u16).to_be_bytes())
                .and_then(|()| stream.write_all(&answer))
                .expect("answered");
        }
    });
    NetConfig { resolvers: Resolvers::Fixed(vec![address]), ..Default::default() }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn dns_is_forwarded_over_udp_and_tcp() {
    let Some(ns) = Namespace::new(NetworkPolicy::default(), &fake_resolver()) else { return };
    let answer = ns.run(|| ask(RESOLVER, "api.example", LONG)).await.expect("answered");
    assert_eq!(answer, (0, Some(HOST)));
    let answer = ns.run(|| ask(RESOLVER, "nobody.invalid", LONG)).await.expect("answered");
    assert_eq!(answer, (3, None));

    let mut stream = ns.connect(SocketAddrV4::new(RESOLVER, 53), LONG).await.expect("connected");
    for _ in 0..2 {
        let query = query("api.example", TYPE_A);
        stream.write_all(&[&(query.len() as u16).to_be_bytes(), &query[..]].concat()).expect("sent");
        let mut length = [0; 2];
        stream.read_exact(&mut length).expect("length");
        let mut answer = vec![0; u16::from_be_bytes(length).into()];
        stream.read_exact(&mut answer).expect("answer");
        assert_eq!(outcome(&answer), (0, Some(HOST)));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_dead_resolver_is_a_server_failure_and_the_next_is_asked() {
    let dead = UdpSocket::bind("127.0.0.1:0").and_then(|s| s.local_addr()).expect("address");
    let config = NetConfig { resolvers: Resolvers::Fixed(vec![dead]), ..Default::default() };
    let Some(ns) = Namespace::new(NetworkPolicy::default(), &config) else { return };
    let answer = ns.run(|| ask(RESOLVER, "api.example", LONG)).await.expect("answered");
    assert_eq!(answer, (2, None));

    let Resolvers::Fixed(alive) = fake_resolver().resolvers else { unreachable!("a fixed list") };
    let config = NetConfig { resolvers: Resolvers::Fixed([vec![dead], alive].concat()), ..Default::default() };
    let Some(ns) = Namespace::new(NetworkPolicy::default(), &config) else { return };
    let answer = ns.run(|| ask(RESOLVER, "api.example", LONG)).await.expect("answered");
    assert_eq!(answer, (0, Some(HOST)));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_resolvers_the_hosts_libc_answers() {
    let config = NetConfig { resolvers: Resolvers::Fixed(vec![]), ..Default::default() };
    let Some(ns) = Namespace::new(NetworkPolicy::default(), &config) else { return };
    let answer = ns.run(|| ask(RESOLVER, "localhost", LONG)).await.expect("answered");
    assert_eq!(answer, (0, Some(Ipv4Addr::LOCALHOST)));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_host_has_a_name() {
    let Some(ns) = Namespace::new(NetworkPolicy::default(), &fake_resolver()) else { return };
    for name in ["host.docker.internal", "HOST.internal"] {
        let answer = ns.run(move || ask(RESOLVER, name, LONG)).await.expect("answered");
        assert_eq!(answer, (0, Some(HOST)), "{name}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_list_of_domains_opens_what_they_resolve_to() {
    let Some(ns) = Namespace::new(domains(&["api.example"]), &fake_resolver()) else { return };
    let port = echo_server();
    let error = ns.connect(host(port), SILENCE).await.expect_err("nothing resolved to it yet");
    assert_eq!(error.kind(), ErrorKind::TimedOut);

    let answer = ns.run(|| ask(RESOLVER, "other.example", LONG)).await.expect("answered");
    assert_eq!(answer, (3, None), "a name off the list doesn't exist");
    let error = ns.connect(host(port), SILENCE).await.expect_err("still nothing");
    assert_eq!(error.kind(), ErrorKind::TimedOut);

    let answer = ns.run(|| ask(RESOLVER, "api.example", LONG)).await.expect("answered");
    assert_eq!(answer, (0, Some(HOST)));
    let stream = ns.connect(host(port), LONG).await.expect("open by its name");
    assert_eq!(says(&stream, "hello").expect("echoed"), "hello");

    ns.gateway.set_policy(domains(&["other.example"]));
    let error = ns.connect(host(port), SILENCE).await.expect_err("its name left the list");
    assert_eq!(error.kind(), ErrorKind::TimedOut);
}

/// Time from the first packet to the answer, in a process that does nothing else: a figure for people, not a check.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "a measurement: run it alone, in release"]
async fn figures() {
    let Some(ns) = Namespace::open() else { return };
    let echo = host(echo_server());
    ns.run(move || {
        let median = |mut all: Vec<Duration>| {
            all.sort();
            (all[all.len() / 2], all[all.len() * 95 / 100])
        };
        let dial = || TcpStream::connect_timeout(&echo.into(), LONG).inspect(|s| s.set_nodelay(true).expect("nodelay"));
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
    })
    .await;
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
