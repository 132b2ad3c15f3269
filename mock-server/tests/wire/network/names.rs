//! DNS, and policies by name.

use std::{
    io::{ErrorKind, Read, Write},
    net::{Ipv4Addr, SocketAddrV4, TcpListener, UdpSocket},
    thread,
};

use daytona_mock::runtime::{
    NetworkPolicy,
    net::{HOST, NetConfig, RESOLVER, Resolvers, inside},
};

use super::{LONG, Namespace, SILENCE, TYPE_A, ask, echo_server, host, is_gone, outcome, query, says, skip};

pub fn domains(names: &[&str]) -> NetworkPolicy {
    NetworkPolicy { domains: Some(names.iter().map(|&name| name.into()).collect()), ..Default::default() }
}

/// Runs a test whose gateway and servers are in a namespace too, where ports 80 and 443 are free.
pub fn on_a_host_of_its_own<F: Future<Output = ()>>(test: impl FnOnce() -> F + Send + 'static) {
    let test_thread = thread::Builder::new().name(thread::current().name().unwrap_or("network").to_owned());
    let thread = test_thread.spawn(|| {
        if let Err(error) = nix::sched::unshare(nix::sched::CloneFlags::CLONE_NEWNET) {
            return skip(&error.into());
        }
        inside::configure_loopback().expect("loopback");
        tokio::runtime::Builder::new_current_thread().enable_all().build().expect("runtime").block_on(test())
    });
    thread.expect("a thread").join().expect("the test passes");
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
pub fn fake_resolver() -> NetConfig {
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

/// A TLS ClientHello that names a server.
fn client_hello(name: &str) -> Vec<u8> {
    let length = name.len() as u8;
    let extension = [&[0, 0, 0, length + 5, 0, length + 3, 0, 0, length], name.as_bytes()].concat();
    let fixed = [&[3, 3][..], &[7; 32], &[0, 0, 2, 0x13, 1, 1, 0, 0, extension.len() as u8]].concat();
    let body = [fixed, extension].concat();
    let message = [&[1, 0, 0, body.len() as u8][..], &body].concat();
    [&[22, 3, 1, 0, message.len() as u8][..], &message].concat()
}

#[test]
fn a_list_of_domains_checks_the_name_that_clients_ask_for() {
    on_a_host_of_its_own(|| async {
        let Some(ns) = Namespace::new(domains(&["api.example"]), &fake_resolver()) else { return };
        ns.run(|| ask(RESOLVER, "api.example", LONG)).await.expect("answered");
        let request = |name: &str| format!("GET / HTTP/1.1\r\nHost: {name}\r\n\r\n").into_bytes();
        for (port, right, wrong, nameless) in [
            (443, client_hello("api.example"), client_hello("other.example"), b"SSH-2.0-x\r\n".to_vec()),
            (80, request("api.example"), request("other.example"), b"GET / HTTP/1.0\r\n\r\n".to_vec()),
        ] {
            let server = TcpListener::bind(("127.0.0.1", port)).expect("bind");
            for bad in [wrong, nameless] {
                let mut ours = ns.connect(host(port), LONG).await.expect("connected");
                let (mut theirs, _) = server.accept().expect("accepted");
                ours.write_all(&bad).expect("sent");
                // Another thread reads, as this one runs the gateway.
                let (ours, theirs) = blocking(move || (ours.read(&mut [0]), theirs.read(&mut [0]))).await;
                assert!(is_gone(ours) && is_gone(theirs), "port {port}: not a byte arrives");
            }
            let mut ours = ns.connect(host(port), LONG).await.expect("connected");
            let (mut theirs, _) = server.accept().expect("accepted");
            let half = right.len() / 2;
            let expected = right.clone();
            let received = blocking(move || {
                ours.write_all(&right[..half]).and_then(|()| ours.write_all(&right[half..])).expect("sent");
                let mut received = vec![0; right.len()];
                theirs.read_exact(&mut received).map(|()| (received, ours, theirs))
            })
            .await;
            let (received, mut ours, mut theirs) = received.expect("received");
            assert_eq!(received, expected, "port {port}: every byte arrives");

            ns.gateway.set_policy(domains(&["api.example", "more.example"]));
            blocking(move || {
                theirs.write_all(b"ok").expect("sent");
                ours.read_exact(&mut [0; 2]).expect("its name is still on the list");
                (ours, theirs)
            })
            .await;
        }
    });
}

#[test]
fn later_requests_of_a_connection_are_checked_too() {
    on_a_host_of_its_own(|| async {
        let Some(ns) = Namespace::new(domains(&["*.example"]), &fake_resolver()) else { return };
        ns.run(|| ask(RESOLVER, "api.example", LONG)).await.expect("answered");
        let server = TcpListener::bind("127.0.0.1:80").expect("bind");
        let request = |head: &str, name: &str| format!("{head}\r\nHost: {name}\r\n\r\n");
        let connect = async || {
            let ours = ns.connect(host(80), LONG).await.expect("connected");
            let (theirs, _) = server.accept().expect("accepted");
            theirs.set_read_timeout(Some(LONG)).expect("set");
            (ours, theirs)
        };
        let (mut ours, mut theirs) = connect().await;
        let fine = request("GET /1 HTTP/1.1", "api.example") + &request("GET /2 HTTP/1.1", "other.example");
        let bad = request("GET /3 HTTP/1.1", "elsewhere.test");
        blocking(move || {
            ours.write_all((fine.clone() + &bad).as_bytes()).expect("sent");
            let mut received = vec![0; fine.len()];
            theirs.read_exact(&mut received).expect("what is allowed arrives");
            assert_eq!(received, fine.as_bytes());
            assert!(is_gone(theirs.read(&mut [0])) && is_gone(ours.read(&mut [0])), "not a byte of the third");
        })
        .await;
        for (answer, goes_on) in [("HTTP/1.1 101 Switching\r\n\r\n", true), ("HTTP/1.1 200 OK\r\n\r\n", false)] {
            let (mut ours, mut theirs) = connect().await;
            let upgrade = request("GET / HTTP/1.1\r\nConnection: upgrade\r\nUpgrade: websocket", "api.example");
            blocking(move || {
                ours.write_all((upgrade.clone() + "\u{1}frames").as_bytes()).expect("sent");
                theirs.read_exact(&mut vec![0; upgrade.len()]).expect("the head arrives");
                theirs.write_all(answer.as_bytes()).expect("answered");
                ours.read_exact(&mut vec![0; answer.len()]).expect("the answer arrives");
                let frames = theirs.read(&mut [0; 7]);
                assert!(if goes_on { matches!(frames, Ok(7)) } else { is_gone(frames) }, "{answer}");
            })
            .await;
        }
    });
}

pub async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    tokio::task::spawn_blocking(work).await.expect("the work ends")
}
