//! The NAT gateway, from inside a network namespace: what a sandbox's programs see of the world.
//!
//! Each test has a thread in a namespace of its own, set up by the code that a sandbox's first process runs, and
//! servers on the host's loopback, which that namespace knows as 10.0.2.2. Nothing ever leaves this machine.
//! Needs root (or CAP_SYS_ADMIN and `/dev/net/tun`); without it, each test says so and ends.

use std::{
    io::{self, ErrorKind, Read, Write},
    net::{Ipv4Addr, SocketAddr, SocketAddrV4, TcpListener, TcpStream, UdpSocket},
    os::fd::OwnedFd,
    sync::mpsc,
    thread,
    time::Duration,
};

use daytona_mock::runtime::{
    NetworkPolicy,
    net::{self, HOST, NetConfig, NetHandle, inside},
};

/// More than any step takes on a busy machine.
const LONG: Duration = Duration::from_secs(20);
/// How long a test looks at silence before it believes it.
const SILENCE: Duration = Duration::from_millis(700);

mod figures;
mod flows;
mod names;
mod secrets;

type Job = Box<dyn FnOnce() + Send>;

/// A network namespace with its gateway.
struct Namespace {
    jobs: mpsc::Sender<Job>,
    gateway: NetHandle,
}

impl Namespace {
    fn new(policy: NetworkPolicy, config: &NetConfig) -> Option<Namespace> {
        Namespace::over(inside::open_tun, policy, config)
    }

    fn over(
        wire: impl FnOnce() -> io::Result<OwnedFd> + Send + 'static,
        policy: NetworkPolicy,
        config: &NetConfig,
    ) -> Option<Namespace> {
        let (jobs, queue) = mpsc::channel::<Job>();
        let (ready, descriptors) = mpsc::channel();
        thread::spawn(move || {
            let _ = ready.send(enter(wire));
            queue.into_iter().for_each(|job| job());
        });
        match descriptors.recv().expect("the thread answers") {
            Ok((tun, listener)) => {
                let gateway = net::attach(tun, listener, policy, config).expect("gateway");
                Some(Namespace { jobs, gateway })
            }
            Err(error) if error.kind() == ErrorKind::PermissionDenied => {
                skip(&error);
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
fn enter(wire: impl FnOnce() -> io::Result<OwnedFd>) -> io::Result<(OwnedFd, OwnedFd)> {
    nix::sched::unshare(nix::sched::CloneFlags::CLONE_NEWNET)?;
    let wire = wire()?;
    let listener = inside::configure(&wire)?;
    Ok((wire, listener))
}

/// The test's name is its thread's.
fn skip(why: &io::Error) {
    let test = thread::current();
    println!("SKIPPED: {}: a network namespace needs root here ({why})", test.name().unwrap_or("network"));
}

/// The host's loopback as the sandbox sees it.
fn host(port: u16) -> SocketAddrV4 {
    SocketAddrV4::new(HOST, port)
}

fn port_of(listener: &TcpListener) -> u16 {
    listener.local_addr().expect("address").port()
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
