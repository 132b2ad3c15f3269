//! What OpenSSH's programs don't try: a client of our own.

use std::{sync::Arc, time::Duration};

use russh::{
    Channel, ChannelMsg, MethodKind, Sig,
    client::{self, AuthResult, Handle, Msg},
    keys::{PublicKeyOrCertificate, ssh_key},
};

use super::{Access, access};
use crate::support::{PATIENCE, eventually};

pub struct Client;

impl client::Handler for Client {
    type Error = russh::Error;

    async fn check_server_key(&mut self, _: &PublicKeyOrCertificate) -> Result<bool, russh::Error> {
        Ok(true)
    }
}

pub async fn connect(port: u16) -> Handle<Client> {
    connect_with(port, client::Config::default()).await
}

async fn connect_with(port: u16, config: client::Config) -> Handle<Client> {
    client::connect(Arc::new(config), ("127.0.0.1", port), Client).await.expect("connected")
}

pub async fn log_in(access: &Access) -> Handle<Client> {
    let mut client = connect(access.port).await;
    assert!(client.authenticate_none(&access.token).await.expect("answered").success());
    client
}

pub async fn exec(client: &Handle<Client>, command: &str) -> Channel<Msg> {
    let channel = client.channel_open_session().await.expect("a channel");
    channel.exec(true, command).await.expect("asked");
    channel
}

/// Output, errors and exit code, when the channel is closed.
pub async fn finish(channel: &mut Channel<Msg>) -> (String, String, Option<u32>) {
    let (mut out, mut err, mut code) = (Vec::new(), Vec::new(), None);
    let all = async {
        while let Some(message) = channel.wait().await {
            match message {
                ChannelMsg::Data { data } => out.extend_from_slice(&data),
                ChannelMsg::ExtendedData { data, ext: 1 } => err.extend_from_slice(&data),
                ChannelMsg::ExitStatus { exit_status } => code = Some(exit_status),
                _ => {}
            }
        }
    };
    tokio::time::timeout(PATIENCE, all).await.expect("in time");
    let text = |bytes| String::from_utf8(bytes).expect("UTF-8");
    (text(out), text(err), code)
}

#[tokio::test]
async fn any_way_to_authenticate_is_good_with_a_token_and_none_without() {
    let access = access().await;
    let mut client = connect(access.port).await;
    assert!(client.authenticate_password(&access.token, "anything").await.expect("answered").success());
    let mut client = connect(access.port).await;
    let key = ssh_key::PrivateKey::random(&mut rand::rng(), ssh_key::Algorithm::Ed25519).expect("a key");
    let key = russh::keys::PrivateKeyWithHashAlg::new(Arc::new(key), None);
    assert!(client.authenticate_publickey(&access.token, key).await.expect("answered").success());
    let mut client = connect(access.port).await;
    for token in ["nope", "", &access.token[1..]] {
        match client.authenticate_none(token).await.expect("answered") {
            AuthResult::Failure { remaining_methods, .. } => assert_eq!(*remaining_methods, [MethodKind::HostBased]),
            AuthResult::Success => panic!("{token:?} was taken"),
        }
    }
    assert!(!client.authenticate_password("nope", &access.token).await.is_ok_and(|result| result.success()));
}

#[tokio::test]
async fn many_channels_run_at_once_on_one_connection() {
    let access = access().await;
    let client = log_in(&access).await;
    let mut channels = Vec::new();
    for n in 0..30 {
        channels.push(exec(&client, &format!("read line; echo $line {n}; exit {n}")).await);
    }
    for (n, channel) in channels.iter_mut().enumerate().rev() {
        channel.data_bytes(&b"got\n"[..]).await.expect("sent");
        assert_eq!(finish(channel).await, (format!("got {n}\n"), String::new(), Some(n as u32)));
    }
}

#[tokio::test]
async fn a_program_that_reads_nothing_holds_up_nobody() {
    let access = access().await;
    let client = log_in(&access).await;
    let stuck = exec(&client, "exec sleep 1000").await;
    // Far more than memory, windows and pipes hold.
    let sent = bytes::Bytes::from(vec![b'x'; 24 << 20]);
    tokio::time::timeout(PATIENCE, stuck.data_bytes(sent)).await.expect("in time").expect("sent");
    let mut other = exec(&client, "cat").await;
    other.data_bytes(&b"alive\n"[..]).await.expect("sent");
    other.eof().await.expect("ended");
    assert_eq!(finish(&mut other).await, ("alive\n".into(), String::new(), Some(0)));
    // An order passes all that waits.
    stuck.signal(Sig::TERM).await.expect("sent");
    let mut stuck = stuck;
    assert_eq!(finish(&mut stuck).await.2, Some(1));
}

#[tokio::test]
async fn a_program_that_is_not_listened_to_holds_up_nobody() {
    let access = access().await;
    let client = log_in(&access).await;
    // Its window is never opened again, as nobody takes what it says.
    let unread = exec(&client, "yes & wait").await;
    let mut other = exec(&client, "echo alive").await;
    assert_eq!(finish(&mut other).await.0, "alive\n");
    drop(unread);
}

#[tokio::test]
async fn terminals_are_resized_and_signals_reach_the_foreground() {
    let access = access().await;
    let client = log_in(&access).await;
    let mut channel = client.channel_open_session().await.expect("a channel");
    channel.request_pty(true, "vt100", 91, 33, 910, 660, &[(russh::Pty::ECHO, 0)]).await.expect("asked");
    channel.exec(true, "stty size; stty -a | grep -o -e '-echo '; echo $TERM; trap 'stty size; exit 5' WINCH; echo ready; while :; do sleep 0.1; done").await.expect("asked");
    let mut shown = String::new();
    let until_ready = async {
        while !shown.contains("ready") {
            if let Some(ChannelMsg::Data { data }) = channel.wait().await {
                shown.push_str(&String::from_utf8_lossy(&data));
            }
        }
    };
    tokio::time::timeout(PATIENCE, until_ready).await.expect("in time");
    assert_eq!(shown.replace("\r\n", "\n"), "33 91\n-echo \nvt100\nready\n");
    channel.window_change(120, 40, 0, 0).await.expect("asked");
    let (out, _, code) = finish(&mut channel).await;
    assert_eq!((out.as_str(), code), ("40 120\r\n", Some(5)));
}

#[tokio::test]
async fn what_cannot_be_is_refused() {
    let access = access().await;
    let client = log_in(&access).await;
    let mut channel = client.channel_open_session().await.expect("a channel");
    channel.request_subsystem(true, "netconf").await.expect("asked");
    assert!(matches!(channel.wait().await, Some(ChannelMsg::Failure)));
    channel.request_x11(true, false, "MIT-MAGIC-COOKIE-1", "00", 0).await.expect("asked");
    assert!(matches!(channel.wait().await, Some(ChannelMsg::Failure)));
    channel.set_env(true, "A=B", "c").await.expect("asked");
    assert!(matches!(channel.wait().await, Some(ChannelMsg::Failure)));
    channel.exec(true, &b"echo \0"[..]).await.expect("asked");
    assert!(matches!(channel.wait().await, Some(ChannelMsg::Failure)));
    channel.exec(true, "echo first").await.expect("asked");
    channel.exec(true, "echo second").await.expect("asked");
    let mut answers = Vec::new();
    while let Some(message) = channel.wait().await {
        match message {
            ChannelMsg::Success => answers.push("yes".to_owned()),
            ChannelMsg::Failure => answers.push("no".to_owned()),
            ChannelMsg::Data { data } => answers.push(String::from_utf8_lossy(&data).into_owned()),
            _ => {}
        }
    }
    answers.sort();
    assert_eq!(answers, ["first\n", "no", "yes"]);
    client.channel_open_direct_tcpip("localhost", 70_000, "", 0).await.expect_err("no such port");
    client.channel_open_direct_tcpip("no-such-host.invalid", 80, "", 0).await.expect_err("no such host");
    client.channel_open_direct_streamlocal("/tmp/no-such").await.expect_err("no such socket");
}

#[tokio::test]
async fn listeners_come_and_go_within_their_bound() {
    let access = access().await;
    let client = log_in(&access).await;
    let port = client.tcpip_forward("localhost", 0).await.expect("any port");
    assert!(port > 0);
    client.tcpip_forward("localhost", port).await.expect_err("it is taken");
    client.cancel_tcpip_forward("localhost", port).await.expect("it was there");
    client.cancel_tcpip_forward("localhost", port).await.expect_err("it is gone");
    eventually("it is free again", async || client.tcpip_forward("localhost", port).await.ok()).await;
    for _ in 1..64 {
        client.tcpip_forward("localhost", 0).await.expect("room");
    }
    client.tcpip_forward("localhost", 0).await.expect_err("too many");
}

#[tokio::test]
async fn keys_are_exchanged_again_while_data_flows() {
    let access = access().await;
    let limits = russh::Limits::new(1 << 20, 1 << 20, Duration::from_secs(3600));
    let mut client = connect_with(access.port, client::Config { limits, ..Default::default() }).await;
    assert!(client.authenticate_none(&access.token).await.expect("answered").success());
    let mut channel = exec(&client, "head -c 6000000 /dev/zero | tr '\\0' a; wc -c >&2").await;
    let write = channel.make_writer();
    tokio::spawn(async move {
        let mut write = write;
        let _ = tokio::io::AsyncWriteExt::write_all(&mut write, &vec![b'b'; 6_000_000]).await;
        let _ = tokio::io::AsyncWriteExt::shutdown(&mut write).await;
    });
    let (out, err, code) = finish(&mut channel).await;
    assert_eq!((out.len(), err.trim(), code), (6_000_000, "6000000", Some(0)));
}
