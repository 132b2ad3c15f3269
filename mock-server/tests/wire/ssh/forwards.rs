//! Forwarding: local, dynamic, remote, of Unix sockets and of authentication agents.

use std::process::Stdio;

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream, UnixStream},
    process::Child,
};

use super::{Access, access, good, program, run};
use crate::support::eventually;

/// A Python server inside that sends back what it reads, at a port or a path.
const ECHO: &str = "python3 -c '
import socket,sys,threading
where = sys.argv[1]
if where.isdigit():
    s = socket.create_server((\"127.0.0.1\", int(where)))
else:
    s = socket.socket(socket.AF_UNIX); s.bind(where); s.listen()
def serve(c):
    while (data := c.recv(65536)): c.sendall(data)
    c.close()
while True: threading.Thread(target=serve, args=(s.accept()[0],)).start()
'";

async fn echo(access: &Access, at: &str) {
    access.sandbox.run(&format!("{ECHO} {at} >/tmp/echo.log 2>&1 </dev/null & echo started")).await;
    let ready = match at.parse::<u16>() {
        Ok(port) => format!("python3 -c 'import socket; socket.create_connection((\"127.0.0.1\", {port}))'"),
        Err(_) => format!("test -S {at}"),
    };
    eventually("the echo listens", async || access.run(&[], &ready, b"").await.status.success().then_some(())).await;
}

/// `ssh -N` with a forward, until it is dropped.
fn forward(access: &Access, options: &[&str]) -> Child {
    let mut ssh = access.ssh();
    ssh.args(["-N", "-oExitOnForwardFailure=yes"]).args(options).arg(access.host());
    ssh.stdin(Stdio::null()).spawn().expect("ssh")
}

/// A port that nobody has now.
fn free_port() -> u16 {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("bind");
    listener.local_addr().expect("address").port()
}

async fn connected(port: u16) -> TcpStream {
    eventually("the forward listens", async || TcpStream::connect(("127.0.0.1", port)).await.ok()).await
}

/// Sends a lot, says that this was all, and gets it back.
async fn echoes(mut stream: impl tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin) {
    let sent: Vec<u8> = (0..600_000u32).map(|n| (n % 253) as u8).collect();
    let (mut read, mut write) = tokio::io::split(&mut stream);
    let mut received = Vec::new();
    let send = async {
        write.write_all(&sent).await.expect("written");
        write.shutdown().await.expect("ended");
    };
    let (_, all) = tokio::join!(send, read.read_to_end(&mut received));
    all.expect("read");
    assert!(received == sent, "{} of {}", received.len(), sent.len());
}

#[tokio::test]
async fn local_forwards_reach_ports_and_sockets_inside() {
    let access = access().await;
    echo(&access, "7007").await;
    echo(&access, "/tmp/echo.sock").await;
    let (by_port, by_socket, dynamic) = (free_port(), free_port(), free_port());
    let _ssh = forward(
        &access,
        &[
            &format!("-L{by_port}:localhost:7007"),
            &format!("-L{by_socket}:/tmp/echo.sock"),
            &format!("-D{dynamic}"),
            "-oGatewayPorts=no",
        ],
    );
    let one = connected(by_port).await;
    tokio::join!(echoes(one), async { echoes(connected(by_port).await).await });
    echoes(connected(by_socket).await).await;
    // SOCKS5, as VS Code's forwards are.
    let mut socks = connected(dynamic).await;
    socks
        .write_all(&[5, 1, 0, 5, 1, 0, 1, 127, 0, 0, 1, 7007u16.to_be_bytes()[0], 7007u16.to_be_bytes()[1]])
        .await
        .expect("asked");
    let mut answer = [0; 12];
    socks.read_exact(&mut answer).await.expect("answered");
    assert_eq!(answer[..4], [5, 0, 5, 0]);
    echoes(socks).await;
    // Nobody listens there.
    let mut refused = connected(dynamic).await;
    refused.write_all(&[5, 1, 0, 5, 1, 0, 1, 127, 0, 0, 1, 0, 1]).await.expect("asked");
    let mut rest = Vec::new();
    _ = refused.read_to_end(&mut rest).await;
    assert!(rest.get(3) != Some(&0), "{rest:?}");
}

/// What a VS Code does: a script over the input of a shell starts a server and stays, its port is reached by SOCKS on the
/// same connection; others share that connection, or take its place (`-W`).
#[tokio::test]
async fn an_editor_finds_its_way_in() {
    let access = access().await;
    let (dynamic, control) = (free_port(), format!("/tmp/mux-{}", access.sandbox.id));
    let mut ssh = access.ssh();
    ssh.args(["-T", "-M", &format!("-S{control}"), &format!("-D{dynamic}"), &access.host(), "sh"]);
    let mut ssh = ssh.spawn().expect("ssh");
    let mut script = "# a long preamble\n".repeat(5_000);
    script += &format!("{ECHO} 7009 >/dev/null 2>&1 &\necho \"listening: $!\"\nwait\n");
    let mut input = ssh.stdin.take().expect("stdin");
    input.write_all(script.as_bytes()).await.expect("written");
    let mut said = [0; 10];
    ssh.stdout.as_mut().expect("stdout").read_exact(&mut said).await.expect("read");
    assert_eq!(&said, b"listening:");
    let stream = eventually("the server is reached by SOCKS", async || {
        let mut socks = TcpStream::connect(("127.0.0.1", dynamic)).await.ok()?;
        socks.write_all(&[5, 1, 0, 5, 1, 0, 1, 127, 0, 0, 1]).await.ok()?;
        socks.write_all(&7009u16.to_be_bytes()).await.ok()?;
        let mut answer = [0; 12];
        socks.read_exact(&mut answer).await.ok().filter(|_| answer[3] == 0)?;
        Some(socks)
    })
    .await;
    echoes(stream).await;
    let shared = access.run(&[&format!("-S{control}")], "echo shared", b"").await;
    assert_eq!(good(&shared), "shared\n");
    let mut through = access.ssh();
    through.args(["-W", "127.0.0.1:7009", &access.host()]);
    assert_eq!(good(&super::run(through, b"through").await), "through");
}

#[tokio::test]
async fn remote_forwards_bring_connections_out() {
    let access = access().await;
    let outside = TcpListener::bind("127.0.0.1:0").await.expect("bind");
    let port = outside.local_addr().expect("address").port();
    let _ssh = forward(&access, &[&format!("-R7008:127.0.0.1:{port}"), &format!("-R/tmp/out.sock:127.0.0.1:{port}")]);
    let served = tokio::spawn(async move {
        loop {
            let (mut stream, _) = outside.accept().await.expect("accepted");
            tokio::spawn(async move {
                let mut text = String::new();
                stream.read_to_string(&mut text).await.expect("read");
                stream.write_all(format!("got {text}").as_bytes()).await.expect("answered");
            });
        }
    });
    let ask = |address: &str, family: &str| {
        format!(
            "python3 -c 'import socket; s = socket.socket(socket.{family}); s.connect({address}); s.sendall(b\"it\"); \
             s.shutdown(1); print(s.recv(100).decode())'"
        )
    };
    for (address, family) in [("(\"127.0.0.1\", 7008)", "AF_INET"), ("\"/tmp/out.sock\"", "AF_UNIX")] {
        let command = ask(address, family);
        let answer = eventually("the forward listens", async || {
            let output = access.run(&[], &command, b"").await;
            output.status.success().then(|| good(&output))
        })
        .await;
        assert_eq!(answer.trim(), "got it", "{address}");
    }
    drop(_ssh);
    eventually("it listens no more", async || {
        (!access.run(&[], &ask("(\"127.0.0.1\", 7008)", "AF_INET"), b"").await.status.success()).then_some(())
    })
    .await;
    eventually("its socket is gone", async || {
        (!access.run(&[], "test -e /tmp/out.sock", b"").await.status.success()).then_some(())
    })
    .await;
    served.abort();
}

#[tokio::test]
async fn the_clients_agent_is_reached_from_inside() {
    let access = access().await;
    let dir = tempfile::tempdir().expect("temp dir");
    let socket = dir.path().join("agent");
    let mut agent = program("ssh-agent");
    agent.args(["-D", "-a"]).arg(&socket);
    let _agent = agent.spawn().expect("ssh-agent");
    eventually("the agent listens", async || UnixStream::connect(&socket).await.ok()).await;
    let key = dir.path().join("key");
    let mut keygen = program("ssh-keygen");
    keygen.args(["-q", "-t", "ed25519", "-N", "", "-C", "a key of the test", "-f"]).arg(&key);
    good(&run(keygen, b"").await);
    let mut add = program("ssh-add");
    add.arg("-q").arg(&key).env("SSH_AUTH_SOCK", &socket);
    good(&run(add, b"").await);
    // What `ssh-add -l` asks and is answered: a list with one key, and its comment.
    let ask = "python3 -c 'import os, socket; s = socket.socket(socket.AF_UNIX); s.connect(os.environ[\"SSH_AUTH_SOCK\"]); \
               s.sendall(bytes([0,0,0,1,11])); a = s.recv(4096); print(a[4], a[8], a[-17:].decode())'";
    let mut ssh = program("ssh");
    let options = super::OPTIONS.iter().filter(|option| !option.starts_with("-oIdentityAgent"));
    ssh.args(options).arg("-A").arg(format!("-p{}", access.port)).arg(access.host()).arg(ask);
    ssh.env("SSH_AUTH_SOCK", &socket);
    assert_eq!(good(&run(ssh, b"").await), "12 1 a key of the test\n");
    let without = access.run(&[], "echo ${SSH_AUTH_SOCK-none}; ls -d /tmp/ssh-* 2>/dev/null", b"").await;
    assert!(String::from_utf8_lossy(&without.stdout).starts_with("none"), "{without:?}");
}
