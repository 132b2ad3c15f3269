//! Terminals under clients that vanish, never read, or send what they may not.

use std::time::Duration;

use daytona_mock::toolbox::pty::Limits;
use futures_util::{SinkExt, StreamExt, future::join_all};
use serde_json::json;
use tokio::io::AsyncWriteExt;
use tokio_tungstenite::tungstenite::{Message, protocol::frame::coding::CloseCode};

use crate::{
    pty::{EXIT_CONTROL, Terminal, answer, closing, connected, gone, upgrade},
    support::{eventually, limited_toolbox, toolbox},
};

/// A masked frame of a client: first byte, length byte without the mask bit, content; the mask is zero.
fn raw_frame(first: u8, length: u8, content: &[u8]) -> Vec<u8> {
    [&[first, 0x80 | length, 0, 0, 0, 0], content].concat()
}

impl Terminal {
    async fn send_raw(&mut self, bytes: &[u8]) {
        let stream = self.stream.get_mut();
        stream.write_all(bytes).await.expect("sent");
        stream.flush().await.expect("sent");
    }
}

#[tokio::test]
async fn broken_frames_close_the_socket_and_leave_the_shell() {
    let tb = toolbox().await;
    assert_eq!(tb.post("/process/pty", json!({"id": "p"})).await.status(), 201);
    for (frame, code) in [
        (raw_frame(0x81, 2, b"\xff\xfe"), CloseCode::Invalid),
        (raw_frame(0xf2, 1, b"x"), CloseCode::Protocol), // reserved bits
        (raw_frame(0x83, 1, b"x"), CloseCode::Protocol), // reserved opcode
        (raw_frame(0x80, 1, b"x"), CloseCode::Protocol), // continues nothing
        (raw_frame(0x09, 0, b""), CloseCode::Protocol),  // a ping in pieces
        (b"\x82\x01x".to_vec(), CloseCode::Protocol),    // not masked
    ] {
        let mut pty = connected(&tb, "p/connect", "").await;
        pty.send_raw(&frame).await;
        assert_eq!(pty.closed().await.0, code, "{frame:?}");
    }
    let mut pty = connected(&tb, "p/connect", "").await;
    pty.type_in(&"x".repeat((64 << 10) + 1)).await;
    assert_eq!(pty.closed().await, closing(CloseCode::Size, "frame too large"));
    let mut pty = connected(&tb, "p/connect", "").await;
    // A frame that promises 2^62 bytes.
    pty.send_raw(&[&[0x82, 0xff, 0x40][..], &[0; 11]].concat()).await;
    assert_eq!(pty.closed().await.0, CloseCode::Size);
    let mut pty = connected(&tb, "p/connect", "").await;
    // In pieces, with a ping between them, it is one frame of input.
    pty.send_raw(&[raw_frame(0x02, 5, b"echo "), raw_frame(0x89, 0, b""), raw_frame(0x80, 6, b"ok''a\n")].concat())
        .await;
    pty.until("oka\r\n").await;
}

#[tokio::test]
async fn half_a_frame_and_gone() {
    let tb = toolbox().await;
    let mut pty = connected(&tb, "create-connect?id=p", "").await;
    pty.send_raw(&raw_frame(0x82, 100, b"exit 1\n")).await;
    drop(pty);
    let mut pty = connected(&tb, "p/connect", "").await;
    pty.type_in("echo st''ill; exit\n").await;
    assert_eq!(pty.closed().await.0, CloseCode::Normal);
    assert!(pty.output.contains("still"));
}

#[tokio::test]
async fn input_after_the_end_is_no_harm() {
    let tb = toolbox().await;
    let mut pty = connected(&tb, "create-connect?id=p", EXIT_CONTROL).await;
    pty.type_in("exit 3\n").await;
    gone(&tb, "p").await;
    pty.type_in("echo more\n").await;
    assert_eq!(pty.closed().await, closing(CloseCode::Error, r#"{"exitCode":3,"exitReason":"non-zero exit"}"#));
    assert_eq!(pty.controls[1]["exitCode"], 3);
}

#[tokio::test]
async fn a_shell_that_gives_its_terminal_away_takes_no_input() {
    let tb = toolbox().await;
    let mut pty = connected(&tb, "create-connect?id=p", "").await;
    pty.type_in("exec setsid -w sleep 55.505 </dev/null >/dev/null 2>&1\n").await;
    eventually("it sleeps", async || {
        tb.run("pgrep -f '^sleep 55.505' || true").await.contains(char::is_numeric).then_some(())
    })
    .await;
    pty.type_in("x").await;
    assert_eq!(pty.closed().await, closing(CloseCode::Error, "PTY session unavailable"));
    assert_eq!(tb.get("/process/pty/p").await.status(), 200);
    assert_eq!(tb.delete("/process/pty/p").await.status(), 200);
}

#[tokio::test]
async fn who_never_reads_is_dropped_and_hurts_nobody() {
    let tb = toolbox().await;
    let mut quick = connected(&tb, "create-connect?id=p", "").await;
    let mut slow = connected(&tb, "p/connect", "").await;
    let idle = connected(&tb, "create-connect?id=q", "").await;
    quick.type_in("head -c 40000000 /dev/zero | tr '\\0' x; echo; echo e''nd\n").await;
    let mut read = 0;
    let mut tail = String::new();
    while !tail.contains("\nend\r\n") {
        match tokio::time::timeout(Duration::from_secs(60), quick.stream.next()).await.expect("in time") {
            Some(Ok(Message::Binary(bytes))) => {
                read += bytes.len();
                tail = tail.chars().rev().take(20).collect::<Vec<_>>().into_iter().rev().collect();
                tail.push_str(&String::from_utf8_lossy(&bytes));
            }
            other => panic!("{other:?} after {read}"),
        }
    }
    assert!(read >= 40_000_000, "{read}");
    assert_eq!(slow.closed().await, closing(CloseCode::Policy, "slow consumer"));
    assert!(slow.output.len() < 40_000_000);
    drop(idle);
    let mut again = connected(&tb, "p/connect", "").await;
    again.type_in("echo ba''ck\n").await;
    again.until("back").await;
}

#[tokio::test]
async fn patience_with_the_only_client_ends() {
    let limits = Limits { patience: Duration::from_millis(50), queue: 4, ..Limits::default() };
    let tb = limited_toolbox(limits).await;
    let mut pty = connected(&tb, "create-connect?id=p", "").await;
    pty.type_in("head -c 20000000 /dev/zero | tr '\\0' x; touch finished\n").await;
    eventually("the program isn't held up", async || tb.dir.join("finished").exists().then_some(())).await;
    assert_eq!(pty.closed().await, closing(CloseCode::Policy, "slow consumer"));
}

#[tokio::test]
async fn last_words_are_not_kept_for_ever() {
    let limits = Limits { last_words: Duration::ZERO, queue: 100_000, ..Limits::default() };
    let tb = limited_toolbox(limits).await;
    let mut pty = connected(&tb, "create-connect?id=p", "").await;
    pty.type_in("head -c 30000000 /dev/zero | tr '\\0' x; exit\n").await;
    gone(&tb, "p").await;
    while pty.next().await {}
    assert!(pty.close.is_none() && pty.output.len() < 30_000_000, "{}", pty.output.len());
}

#[tokio::test]
async fn a_client_that_leaves_while_its_input_waits_is_noticed() {
    let limits = Limits { clients: 1, ping: Duration::from_millis(20), ..Limits::default() };
    let tb = limited_toolbox(limits).await;
    for much in [200_000, 4_000_000] {
        let mut pty = connected(&tb, "create-connect?id=p", "").await;
        pty.type_in("stty raw -echo; echo re''ady; sleep 88.808\n").await;
        pty.until("ready").await;
        // Nobody reads this in there.
        let line = Message::Binary(vec![b'x'; 50_000].into());
        for _ in 0..much / 50_000 {
            let sent = pty.stream.send(line.clone());
            if tokio::time::timeout(Duration::from_millis(300), sent).await.is_err() {
                break;
            }
        }
        drop(pty);
        // The only place is free again.
        eventually("it is noticed", async || {
            let (stream, _) = upgrade(&tb, "p/connect", "").await.expect("upgrade");
            let mut pty = Terminal { stream, output: String::new(), controls: Vec::new(), close: None };
            pty.next().await;
            (pty.controls.first()?["status"] == "connected").then_some(())
        })
        .await;
        assert_eq!(tb.delete("/process/pty/p").await.status(), 200);
    }
}

#[tokio::test]
async fn an_abandoned_upgrade_keeps_no_id() {
    let tb = toolbox().await;
    let authority = tb.url.trim_start_matches("http://").split('/').next().expect("host").to_owned();
    let path = tb.url.trim_start_matches("http://").trim_start_matches(&authority);
    let key = tb.key.as_deref().expect("key");
    let head = format!(
        "GET {path}/process/pty/create-connect?id=p HTTP/1.1\r\nHost: {authority}\r\nAuthorization: Bearer {key}\r\n\
         Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n\
         Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
    );
    for _ in 0..20 {
        let mut stream = tokio::net::TcpStream::connect(&authority).await.expect("connect");
        stream.write_all(head.as_bytes()).await.expect("sent");
        drop(stream);
        // Either nobody was there any more, or a shell runs for whoever comes back.
        eventually("free or running", async || {
            let (status, info) = answer(tb.get("/process/pty/p").await).await;
            (status == 404 || info["active"] == true).then_some(())
        })
        .await;
        // The request may be on its way still, and the shell begin only now.
        eventually("the id is free", async || {
            let _ = tb.delete("/process/pty/p").await;
            (tb.get("/process/pty/p").await.status() == 404).then_some(())
        })
        .await;
    }
}

#[tokio::test]
async fn there_is_room_for_so_many() {
    let tb = toolbox().await;
    let create = async |n: usize| tb.post("/process/pty", json!({"id": n.to_string(), "lazyStart": true})).await;
    for start in (0..1024).step_by(64) {
        let made = join_all((start..start + 64).map(create)).await;
        assert!(made.iter().all(|answer| answer.status() == 201));
    }
    let (status, error) = answer(create(1024).await).await;
    assert_eq!((status, &error["message"]), (400, &json!("no more than 1024 PTY sessions")));
    assert_eq!(tb.delete("/process/pty/7").await.status(), 200);
    assert_eq!(create(1024).await.status(), 201);
}

#[tokio::test]
async fn odd_sizes() {
    let tb = toolbox().await;
    let mut pty = connected(&tb, "create-connect?id=p&cols=0&rows=0", "").await;
    pty.type_in("stty size\n").await;
    pty.until("0 0\r\n").await;
    for (size, status) in [(1000, 200), (0, 200), (1001, 400), (65_535, 400), (65_536, 400), (-1, 400)] {
        let answer = tb.post("/process/pty/p/resize", json!({"cols": size, "rows": size})).await;
        assert_eq!(answer.status(), status, "{size}");
    }
    let (_, info) = answer(tb.get("/process/pty/p").await).await;
    assert_eq!((&info["cols"], &info["rows"]), (&json!(0), &json!(0)));
    pty.type_in("echo al''ive\n").await;
    pty.until("alive").await;
}
