//! TCP and UDP: what arrives, what is refused, what is dropped, what is cut.

use std::{
    io::{ErrorKind, Read, Write},
    net::{Ipv4Addr, Shutdown, SocketAddrV4, TcpListener, TcpStream, UdpSocket},
    thread,
};

use daytona_mock::runtime::{
    NetworkPolicy,
    net::{HOST, NetConfig, RESOLVER, inside},
};

use super::{LONG, Namespace, SILENCE, ask, block_all, echo_server, host, is_gone, port_of, says};

fn allow(networks: &[(Ipv4Addr, u8)]) -> NetworkPolicy {
    NetworkPolicy { allow: Some(networks.to_vec()), ..Default::default() }
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
    call_hundreds_of_times(&ns).await;
}

async fn call_hundreds_of_times(ns: &Namespace) {
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
    transfer_both_ways(&ns).await;
}

async fn transfer_both_ways(ns: &Namespace) {
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
    send_datagrams(&ns, &[0, 1, 1400, 60_000]).await;
}

async fn send_datagrams(ns: &Namespace, sizes: &[usize]) {
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
    for &size in sizes {
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
async fn without_the_tun_device_a_veth_pair_does_the_same() {
    let everywhere = NetConfig::default();
    let Some(ns) = Namespace::over(inside::open_veth, NetworkPolicy::default(), &everywhere) else { return };
    call_hundreds_of_times(&ns).await;
    transfer_both_ways(&ns).await;
    send_datagrams(&ns, &[0, 1, 1400, 8000]).await;
    let port = port_of(&TcpListener::bind("127.0.0.1:0").expect("bind"));
    let error = ns.connect(host(port), LONG).await.expect_err("refused");
    assert_eq!(error.kind(), ErrorKind::ConnectionRefused);

    let (_ours, mut theirs) = ns.pair().await;
    ns.gateway.set_policy(block_all());
    assert!(is_gone(theirs.read(&mut [0])), "the outer end is closed");
    let error = ns.connect(host(port), SILENCE).await.expect_err("no answer");
    assert_eq!(error.kind(), ErrorKind::TimedOut);
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
