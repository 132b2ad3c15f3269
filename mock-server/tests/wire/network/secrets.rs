//! What the gateway of a sandbox with secrets lets pass, and how that goes together with policies.

use std::{
    io::{Read, Write},
    net::{TcpListener, TcpStream},
    sync::Arc,
    thread,
};

use daytona_mock::runtime::{
    NetworkPolicy,
    net::{NetConfig, OutboundSecret, RESOLVER, Secrets, Trust},
};

use super::{
    LONG, Namespace, ask, host, is_gone,
    names::{blocking, domains, fake_resolver, on_a_host_of_its_own},
    port_of, says,
};

const PLACEHOLDER: &str = "dtn_secret_0123456789abcdef0123456789abcdef";

fn secret(hosts: &[&str]) -> NetConfig {
    let hosts = hosts.iter().map(|&host| host.to_owned()).collect();
    let secret = OutboundSecret { placeholder: PLACEHOLDER.into(), value: "the-value".into(), hosts };
    let (secrets, _) = Secrets::new(vec![secret], Arc::new(Trust::default())).expect("an authority");
    NetConfig { secrets: Some(Arc::new(secrets)), ..fake_resolver() }
}

fn request(path: &str, host: &str) -> String {
    format!("GET {path} HTTP/1.1\r\nhost: {host}\r\nx-key: {PLACEHOLDER}\r\n\r\n")
}

fn head(stream: &mut TcpStream) -> String {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        stream.read_exact(&mut byte).expect("a head");
        head.push(byte[0]);
    }
    String::from_utf8(head).expect("text")
}

fn with_value(request: &str) -> String {
    request.replace(PLACEHOLDER, "the-value")
}

#[test]
fn a_list_of_domains_holds_for_requests_with_secrets() {
    on_a_host_of_its_own(|| async {
        let (policy, config) = (domains(&["api.example", "other.example"]), secret(&["api.example"]));
        let Some(ns) = Namespace::new(policy, &config) else { return };
        ns.run(|| ask(RESOLVER, "api.example", LONG)).await.expect("answered");
        let server = TcpListener::bind("127.0.0.1:80").expect("bind");
        let mut ours = ns.connect(host(80), LONG).await.expect("connected");
        let (mut theirs, _) = server.accept().expect("accepted");
        theirs.set_read_timeout(Some(LONG)).expect("set");
        blocking(move || {
            let all = ["api.example", "other.example", "elsewhere.test"].map(|name| request("/", name));
            ours.write_all(all.concat().as_bytes()).expect("sent");
            for expected in [with_value(&all[0]), all[1].clone()] {
                assert_eq!(head(&mut theirs), expected);
                theirs.write_all(b"HTTP/1.1 204 No Content\r\n\r\n").expect("answered");
                assert!(head(&mut ours).starts_with("HTTP/1.1 204"));
            }
            assert!(is_gone(theirs.read(&mut [0])) && is_gone(ours.read(&mut [0])), "not a byte of the third");
        })
        .await;
    });
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn other_protocols_pass_as_they_are() {
    // For any server, so that everything is looked at.
    let Some(ns) = Namespace::new(NetworkPolicy::default(), &secret(&[])) else { return };
    for first in ["PING\r\n", "*1\r\n", "EHLO me\r\n", "\u{16}no hello", "CONNECT\naccept-version:1.2\n\n\0", "x"] {
        let port = super::echo_server();
        let stream = ns.connect(host(port), LONG).await.expect("connected");
        assert_eq!(blocking(move || says(&stream, first)).await.expect("echoed"), first);
    }
    // The server speaks first, and what comes later passes unread.
    let (mut ours, mut theirs) = ns.pair().await;
    blocking(move || {
        theirs.write_all(b"SSH-2.0-x\r\n").expect("sent");
        ours.read_exact(&mut [0; 11]).expect("the banner arrives");
        let text = request("/", "api.example");
        ours.write_all(text.as_bytes()).expect("sent");
        assert_eq!(head(&mut theirs), text);
    })
    .await;
    // One that never says anything.
    let (ours, mut theirs) = ns.pair().await;
    blocking(move || {
        ours.shutdown(std::net::Shutdown::Write).expect("shut");
        assert!(is_gone(theirs.read(&mut [0])), "the end arrives");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn either_end_may_close_between_requests() {
    let Some(ns) = Namespace::new(NetworkPolicy::default(), &secret(&[])) else { return };
    let server = TcpListener::bind("127.0.0.1:0").expect("bind");
    let port = port_of(&server);
    thread::spawn(move || {
        for stream in server.incoming().flatten() {
            let mut stream = stream;
            stream.set_read_timeout(Some(LONG)).expect("set");
            assert_eq!(head(&mut stream), with_value(&request("/", "api.example")));
            stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok").expect("answered");
            let mut byte = [0];
            // The first connection ends here, the second by its client.
            if !matches!(stream.peek(&mut byte), Ok(0)) {
                stream.read_exact(&mut byte).expect("a byte");
            }
        }
    });
    let mut ours = ns.connect(host(port), LONG).await.expect("connected");
    blocking(move || {
        ours.write_all(request("/", "api.example").as_bytes()).expect("sent");
        assert_eq!(head(&mut ours), "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n");
        ours.read_exact(&mut [0; 2]).expect("the body");
        // The server is told to close by the first byte of another request.
        ours.write_all(request("/", "api.example").as_bytes()).expect("sent");
        assert!(is_gone(ours.read(&mut [0])), "the server's end arrives");
    })
    .await;
    let mut ours = ns.connect(host(port), LONG).await.expect("connected");
    blocking(move || {
        ours.write_all(request("/", "api.example").as_bytes()).expect("sent");
        ours.shutdown(std::net::Shutdown::Write).expect("shut");
        let mut answer = String::new();
        ours.read_to_string(&mut answer).expect("an answer and the end");
        assert!(answer.ends_with("\r\n\r\nok"), "{answer}");
    })
    .await;
}
