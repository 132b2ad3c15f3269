//! Previews as their users see them: the URL that the API gives, opened by real clients, of real servers inside.

use std::{
    cell::Cell,
    time::{Duration, Instant},
};

use daytona_mock::{MockServer, config::Config};
use futures_util::{SinkExt, StreamExt, future::join_all};
use reqwest::{Client, Method, Response, StatusCode, redirect::Policy};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio_tungstenite::tungstenite::{
    self, Message,
    client::IntoClientRequest,
    protocol::{CloseFrame, frame::coding::CloseCode},
};

use crate::{
    api::Api,
    pty::Stream,
    support::{PATIENCE, Sandbox, config, eventually, sandbox},
};

const PORT: u16 = 4200;

/// The program `ws.py` on [`PORT`] of a sandbox.
async fn start_app(run: impl AsyncFn(&str) -> String) {
    let program = include_str!("ws.py");
    let wait = format!(
        "until python3 -c 'import socket; socket.create_connection((\"127.0.0.1\", {PORT}))' 2>/dev/null; do sleep 0.05; done"
    );
    run(&format!("cat > /tmp/ws.py <<'EOF'\n{program}\nEOF\nsetsid python3 /tmp/ws.py {PORT} >/tmp/ws.log 2>&1 </dev/null & {wait}")).await;
}

/// A sandbox with that program, and the link to it.
async fn app() -> (Sandbox, Link) {
    let sandbox = sandbox().await;
    start_app(async |command: &str| sandbox.run(command).await).await;
    let link = link(&sandbox, PORT).await;
    (sandbox, link)
}

struct Link {
    url: String,
    token: String,
}

async fn link(sandbox: &Sandbox, port: u16) -> Link {
    to_link(&sandbox.api(Method::GET, &format!("/ports/{port}/preview-url")).await.1)
}

async fn signed(sandbox: &Sandbox, port: u16) -> Link {
    to_link(&sandbox.api(Method::GET, &format!("/ports/{port}/signed-preview-url?expiresInSeconds=600")).await.1)
}

fn to_link(answer: &Value) -> Link {
    let text = |name: &str| answer[name].as_str().unwrap_or_else(|| panic!("{answer}")).to_owned();
    Link { url: text("url"), token: text("token") }
}

/// Follows nothing.
fn plain() -> Client {
    Client::builder().redirect(Policy::none()).build().expect("client")
}

async fn get(url: &str, headers: &[(&str, &str)]) -> Response {
    let mut request = plain().get(url);
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    request.send().await.expect("answer")
}

async fn open(
    url: &str,
    headers: &[(&'static str, &str)],
) -> tungstenite::Result<(Stream, tungstenite::handshake::client::Response)> {
    let mut request = url.replacen("http", "ws", 1).into_client_request().expect("request");
    for (name, value) in headers {
        request.headers_mut().insert(*name, value.parse().expect("value"));
    }
    tokio::time::timeout(PATIENCE, tokio_tungstenite::connect_async(request)).await.expect("in time")
}

async fn opened(url: &str, headers: &[(&'static str, &str)]) -> Stream {
    open(url, headers).await.expect("upgrade").0
}

async fn next(stream: &mut Stream) -> Message {
    tokio::time::timeout(PATIENCE, stream.next()).await.expect("in time").expect("a frame").expect("a frame")
}

fn refusal(result: tungstenite::Result<(Stream, tungstenite::handshake::client::Response)>) -> StatusCode {
    match result {
        Err(tungstenite::Error::Http(response)) => response.status(),
        other => panic!("{other:?}"),
    }
}

fn header<'a>(response: &'a Response, name: &str) -> &'a str {
    response.headers().get(name).map_or("", |value| value.to_str().expect("text"))
}

/// An intermediary answers in its own version (RFC 9110, 2.5): a client's connection lives on, though the program's ends.
#[tokio::test]
async fn programs_of_http_1_0_are_behind_http_1_1() {
    let sandbox = sandbox().await;
    let wait = format!(
        "until python3 -c 'import socket; socket.create_connection((\"127.0.0.1\", {PORT}))' 2>/dev/null; do sleep 0.05; done"
    );
    let serve = format!("setsid python3 -m http.server {PORT} >/tmp/log 2>&1 </dev/null & {wait}");
    sandbox.run(&format!("mkdir -p /tmp/site && cd /tmp/site && echo page > x && ({serve})")).await;
    let look = format!(
        "python3 -c 'import http.client; c = http.client.HTTPConnection(\"127.0.0.1\", {PORT}); c.request(\"GET\", \"/x\"); print(c.getresponse().version)'"
    );
    assert_eq!(sandbox.run(&look).await, "10\n");
    let link = link(&sandbox, PORT).await;
    let client = plain();
    for path in ["/x", "/x", "/none", "/"] {
        let request = client.get(format!("{}{path}", link.url)).header("x-daytona-preview-token", &link.token);
        let answer = request.send().await.expect("answer");
        assert_eq!((answer.version(), header(&answer, "connection")), (reqwest::Version::HTTP_11, ""), "{path}");
        let fine = answer.status() != 404;
        let text = answer.text().await.expect("text");
        assert!(path != "/x" || (fine && text == "page\n"), "{text}");
    }
}

#[tokio::test]
async fn an_url_opens_in_every_program_of_this_machine() {
    let (sandbox, link) = app().await;
    let signed = signed(&sandbox, PORT).await;
    let fetch = "fetch(process.argv[1]).then(async r => { console.log(await r.text()); process.exit(r.ok ? 0 : 1) })";
    let urllib = "import sys, urllib.request; print(urllib.request.urlopen(sys.argv[1]).read().decode())";
    let commands: [&[&str]; 3] = [&["curl", "-sSf"], &["node", "-e", fetch], &["python3", "-c", urllib]];
    for command in commands {
        for url in
            [format!("{}/from?DAYTONA_SANDBOX_AUTH_KEY={}", link.url, link.token), format!("{}/from", signed.url)]
        {
            let output = tokio::process::Command::new(command[0]).args(&command[1..]).arg(&url).output().await;
            let output = match output {
                Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                    println!("skipped: no {} here", command[0]);
                    continue;
                }
                output => output.expect("runs"),
            };
            let seen: Value =
                serde_json::from_slice(&output.stdout).unwrap_or_else(|_| panic!("{command:?} {url}: {output:?}"));
            assert_eq!(seen["path"], "/from");
        }
    }
}

#[tokio::test]
async fn every_way_to_authenticate_and_nothing_of_it_inside() {
    let (sandbox, link) = app().await;
    let signed = signed(&sandbox, PORT).await;
    let by_query = format!("{}/seen?a=1&DAYTONA_SANDBOX_AUTH_KEY={}", link.url, link.token);
    let set = get(&by_query, &[]).await;
    assert!(header(&set, "set-cookie").starts_with(&format!("daytona-sandbox-auth-{}=", sandbox.id)));
    let cookie = format!("own=1; {}", header(&set, "set-cookie").split(';').next().expect("cookie"));
    let (bearer, url) = (format!("Bearer {}", sandbox.key), format!("{}/seen?a=1", link.url));
    let by_host = format!("{}/seen?a=1", signed.url);
    let ways: [(&str, &[(&'static str, &str)]); 5] = [
        (&url, &[("authorization", &bearer)]),
        (&url, &[("x-daytona-preview-token", &link.token)]),
        (&by_query, &[]),
        (&url, &[("cookie", &cookie)]),
        (&by_host, &[]),
    ];
    for (url, headers) in ways {
        let answer = get(url, headers).await;
        assert_eq!(answer.status(), 200, "{url} {headers:?}");
        let over_http: Value = answer.json().await.expect("JSON");
        let mut stream = opened(url, headers).await;
        let over_ws: Value = serde_json::from_str(next(&mut stream).await.to_text().expect("text")).expect("JSON");
        for seen in [over_http, over_ws] {
            assert_eq!(seen["path"], "/seen?a=1");
            let text = seen.to_string();
            assert!(!text.contains(&sandbox.key) && !text.contains(&link.token), "{text}");
            assert!(!text.contains("daytona-sandbox-auth") && !text.to_lowercase().contains("authorization"), "{text}");
            assert_eq!(text.contains("own=1"), headers.iter().any(|(name, _)| *name == "cookie"));
        }
    }
    // A browser that has the cookie of a signed link isn't given another one.
    let first = get(&by_host, &[]).await;
    let set = header(&first, "set-cookie").to_owned();
    assert!(
        set.starts_with(&format!("daytona-sandbox-auth-{}=", signed.token)) && set.contains("Max-Age=3600; HttpOnly"),
        "{set}"
    );
    assert_eq!(header(&get(&by_host, &[("cookie", set.split(';').next().expect("cookie"))]).await, "set-cookie"), "");
}

#[tokio::test]
async fn upgrades_without_a_key_or_with_a_foreign_host_are_refused() {
    let (sandbox, link) = app().await;
    let bearer = format!("Bearer {}", sandbox.key);
    assert_eq!(refusal(open(&format!("{}/echo", link.url), &[]).await), 307);
    assert_eq!(refusal(open(&format!("{}/echo", link.url), &[("authorization", "Bearer wrong")]).await), 307);
    let toolbox = sandbox.url("/process/interpreter/execute");
    assert_eq!(refusal(open(&toolbox, &[]).await), 401);
    assert_eq!(refusal(open(&toolbox, &[("authorization", &bearer), ("host", "evil.example")]).await), 421);
    let foreign = open(&format!("{}/echo", link.url), &[("authorization", &bearer), ("host", "evil.example")]).await;
    assert_eq!(refusal(foreign), 421);
    assert_eq!(get(&link.url, &[("authorization", &bearer), ("host", "evil.example")]).await.status(), 421);
}

#[tokio::test]
async fn a_public_sandbox_is_open_but_its_reserved_ports_are_not() {
    let (sandbox, private) = app().await;
    assert_eq!(sandbox.api(Method::POST, "/public/true").await.0, 201);
    let seen: Value = get(&private.url, &[("authorization", "Bearer the app's own")]).await.json().await.expect("JSON");
    assert!(seen.to_string().contains("Bearer the app's own"), "{seen}");
    let seen: Value =
        get(&private.url, &[("authorization", &format!("Bearer {}", sandbox.key))]).await.json().await.expect("JSON");
    assert!(!seen.to_string().contains(&sandbox.key), "a key of this server is no program's own: {seen}");
    opened(&format!("{}/echo", private.url), &[]).await;
    for port in [2280, 22222, 33333] {
        assert_eq!(get(&link(&sandbox, port).await.url, &[]).await.status(), 307, "{port}");
    }
    assert_eq!(sandbox.api(Method::POST, "/public/false").await.0, 201);
    assert_eq!(get(&private.url, &[]).await.status(), 307);
}

#[tokio::test]
async fn a_signed_link_opens_its_port_until_it_is_ended() {
    let (sandbox, _) = app().await;
    let signed = signed(&sandbox, PORT).await;
    assert_eq!(get(&signed.url, &[]).await.status(), 200);
    let expire = format!("/ports/{PORT}/signed-preview-url/{}/expire", signed.token);
    assert_eq!(sandbox.api(Method::POST, &expire).await.0, 201);
    assert_eq!(get(&signed.url, &[]).await.status(), 307);
    assert_eq!(refusal(open(&signed.url, &[]).await), 307);
}

/// A server of its own, each preview at a port of its own.
async fn own_server(config: Config) -> (MockServer, Api) {
    let server = MockServer::start(config).await.expect("the server starts");
    let api = Api { url: server.api_url.clone(), key: server.api_key.clone(), client: plain() };
    (server, api)
}

fn at_ports() -> Config {
    Config { preview_domain: Some("none".into()), ..config() }
}

async fn run(api: &Api, server: &MockServer, id: &str, command: &str) -> String {
    let url = format!("{}/{id}/process/execute", server.toolbox_url);
    let answer = api.client.post(url).bearer_auth(&api.key).json(&json!({"command": command})).send().await;
    let body: Value = answer.expect("answer").json().await.expect("JSON");
    body["result"].as_str().unwrap_or_else(|| panic!("{body}")).to_owned()
}

#[tokio::test]
async fn a_signed_link_ends_by_the_servers_clock() {
    let (server, api) = own_server(at_ports()).await;
    let id = api.named("p").await;
    start_app(async |command: &str| run(&api, &server, &id, command).await).await;
    let path = format!("/sandbox/{id}/ports/{PORT}/signed-preview-url?expiresInSeconds=60");
    let signed = to_link(&api.get(&path).await.1);
    let cookie = header(&get(&signed.url, &[]).await, "set-cookie").to_owned();
    let clock = server.api_url.replace("/api", "/__control/clock");
    let turn = async |seconds: u32| {
        let turned = api.client.post(&clock).bearer_auth(&api.key).json(&json!({"advance": {"seconds": seconds}}));
        assert_eq!(turned.send().await.expect("answer").status(), 200);
    };
    turn(50).await;
    assert_eq!(get(&signed.url, &[]).await.status(), 200);
    turn(11).await;
    assert_eq!(get(&signed.url, &[]).await.status(), 307);
    let cookie = cookie.split(';').next().expect("cookie");
    assert_eq!(get(&signed.url, &[("cookie", cookie)]).await.status(), 307, "its cookie is no longer good either");
    // So does the cookie that a preview token was taken for.
    let link = to_link(&api.get(&format!("/sandbox/{id}/ports/{PORT}/preview-url")).await.1);
    let set = get(&format!("{}?DAYTONA_SANDBOX_AUTH_KEY={}", link.url, link.token), &[]).await;
    let cookie = header(&set, "set-cookie").split(';').next().expect("cookie").to_owned();
    assert_eq!(get(&link.url, &[("cookie", &cookie)]).await.status(), 200);
    turn(3601).await;
    assert_eq!(get(&link.url, &[("cookie", &cookie)]).await.status(), 307);
    server.shutdown().await;
}

#[tokio::test]
async fn ports_of_previews_stay_through_a_restart_and_go_with_the_sandbox() {
    let dir = tempfile::tempdir().expect("temp dir");
    let config = Config { data_dir: Some(dir.path().to_owned()), ..at_ports() };
    let (server, api) = own_server(config.clone()).await;
    let id = api.named("p").await;
    let ask = async |api: &Api, path: &str| to_link(&api.get(&format!("/sandbox/p/ports/{PORT}/{path}")).await.1);
    let (link, signed) = (ask(&api, "preview-url").await, ask(&api, "signed-preview-url?expiresInSeconds=600").await);
    assert!(link.url.starts_with("http://127.0.0.1:") && link.url != signed.url, "{}", link.url);
    assert_eq!(ask(&api, "preview-url").await.url, link.url, "the same as long as it lives");
    // What is inside can't reach what leads inside.
    let port = link.url.rsplit(':').next().expect("port");
    let inside =
        format!("python3 -c 'import socket; socket.create_connection((\"10.0.2.2\", {port}), 5)' 2>&1 | tail -1");
    if server.ready().isolation != daytona_mock::runtime::Isolation::Process {
        assert!(run(&api, &server, &id, &inside).await.contains("Error"));
    }
    server.shutdown().await;

    let (server, api) = own_server(config).await;
    api.until("p", "started").await;
    start_app(async |command: &str| run(&api, &server, &id, command).await).await;
    assert_eq!(ask(&api, "preview-url").await.url, link.url);
    assert_eq!(get(&signed.url, &[]).await.status(), 200);
    assert_eq!(get(&link.url, &[]).await.status(), 307);
    // Stopped, it says so.
    assert_eq!(api.post("/sandbox/p/stop", Value::Null).await.0, 200);
    api.until("p", "stopped").await;
    let stopped = get(&signed.url, &[]).await;
    assert_eq!(stopped.status(), 400);
    let stopped: Value = stopped.json().await.expect("JSON");
    assert_eq!(stopped["message"], "bad request: no IP address found. Is the Sandbox started?");
    assert_eq!(api.delete("/sandbox/p").await.0, 200);
    for url in [&link.url, &signed.url] {
        let address = url.trim_start_matches("http://").to_owned();
        eventually("the port is closed", async || {
            tokio::net::TcpStream::connect(&address).await.is_err().then_some(())
        })
        .await;
    }
    server.shutdown().await;
}

#[tokio::test]
async fn the_ports_of_a_sandbox_are_bounded() {
    let (server, api) = own_server(at_ports()).await;
    api.named("p").await;
    let mut urls = Vec::new();
    for port in 1..=260 {
        urls.push(to_link(&api.get(&format!("/sandbox/p/ports/{port}/preview-url")).await.1).url);
    }
    let connects = async |url: &str| tokio::net::TcpStream::connect(url.trim_start_matches("http://")).await.is_ok();
    eventually("the oldest are closed", async || {
        (!connects(&urls[0]).await && !connects(&urls[3]).await).then_some(())
    })
    .await;
    assert!(connects(&urls[4]).await && connects(&urls[259]).await);
    server.shutdown().await;
}

#[tokio::test]
async fn nothing_listens() {
    let sandbox = sandbox().await;
    let dead = signed(&sandbox, 4999).await;
    let answer = get(&dead.url, &[]).await;
    assert_eq!((answer.status().as_u16(), answer.bytes().await.expect("body").len()), (502, 0));
    let page = get(&dead.url, &[("accept", "text/html,*/*;q=0.8")]).await;
    assert_eq!(page.status(), 502);
    assert!(page.text().await.expect("text").contains("Nothing answers on port 4999"));
    assert_eq!(refusal(open(&dead.url, &[]).await), 502);
}

#[tokio::test]
async fn a_file_server_inside_redirects_as_it_likes() {
    let sandbox = sandbox().await;
    let wait = "until python3 -c 'import socket; socket.create_connection((\"127.0.0.1\", 8000))' 2>/dev/null; do sleep 0.05; done";
    let start = format!(
        "mkdir -p /tmp/www/sub && echo hi > /tmp/www/sub/index.html; setsid python3 -m http.server 8000 -d /tmp/www >/dev/null 2>&1 </dev/null & {wait}"
    );
    sandbox.run(&start).await;
    let signed = signed(&sandbox, 8000).await;
    let answer = get(&format!("{}/sub", signed.url), &[]).await;
    assert_eq!((answer.status().as_u16(), header(&answer, "location")), (301, "/sub/"));
    let followed = Client::new().get(format!("{}/sub", signed.url)).send().await.expect("answer");
    assert_eq!(followed.text().await.expect("text"), "hi\n");
}

#[tokio::test]
async fn sub_protocols_and_close_frames_pass_both_ways() {
    let (sandbox, _) = app().await;
    let url = signed(&sandbox, PORT).await.url;
    let (_, response) = open(&format!("{url}/echo"), &[("sec-websocket-protocol", "one, two")]).await.expect("upgrade");
    assert_eq!(response.headers()["sec-websocket-protocol"], "two");
    let (mut stream, response) = open(&format!("{url}/echo"), &[]).await.expect("upgrade");
    assert!(!response.headers().contains_key("sec-websocket-protocol"));
    for message in [Message::text("héllo"), Message::binary(vec![7; 200_000]), Message::binary(Vec::new())] {
        stream.send(message.clone()).await.expect("sends");
        assert_eq!(next(&mut stream).await, message);
    }
    stream.close(Some(CloseFrame { code: CloseCode::Library(4123), reason: "enough".into() })).await.expect("closes");
    eventually("the app is told", async || {
        (sandbox.run("cat /tmp/closed 2>/dev/null || true").await == "4123 enough").then_some(())
    })
    .await;
    let mut stream = opened(&format!("{url}/close"), &[]).await;
    stream.send(Message::text("go")).await.expect("sends");
    let Message::Close(Some(frame)) = next(&mut stream).await else { panic!("no close") };
    assert_eq!((u16::from(frame.code), frame.reason.as_str()), (4001, "bye for now"));
}

#[tokio::test]
async fn a_reader_that_never_reads_stops_the_writer_and_nobody_else() {
    let (sandbox, _) = app().await;
    let url = signed(&sandbox, PORT).await.url;
    let mut stuck = opened(&format!("{url}/flood"), &[]).await;
    let taken = async || sandbox.run("cat /tmp/flooded 2>/dev/null || echo 0").await.trim().parse().unwrap_or(0_u64);
    // Sooner or later nothing more is taken: twice the same, some time apart.
    let before = Cell::new((0, Instant::now()));
    let same_for_a_while = async || {
        let now = taken().await;
        if now == 0 || now != before.get().0 {
            before.set((now, Instant::now()));
        }
        (before.get().1.elapsed() > Duration::from_millis(500)).then_some(now)
    };
    let stalled = eventually("the writer stops", same_for_a_while).await;
    // Only socket buffers lie between.
    println!("taken of a flood that nobody reads: {} KiB", stalled / 1024);
    assert!(stalled < 64 << 20, "{stalled}");
    let mut other = opened(&format!("{url}/echo"), &[]).await;
    other.send(Message::text("still here")).await.expect("sends");
    assert_eq!(next(&mut other).await, Message::text("still here"));
    // Once it reads, the rest comes.
    while taken().await < stalled + (1 << 20) {
        assert!(next(&mut stuck).await.is_binary());
    }
}

#[tokio::test]
async fn a_client_that_vanishes_is_gone_inside_too() {
    let (sandbox, _) = app().await;
    let url = signed(&sandbox, PORT).await.url;
    let echo = format!("{url}/echo");
    let open_inside = async || sandbox.run("cat /tmp/open 2>/dev/null || true").await;
    let streams: Vec<Stream> = join_all((0..20).map(|_| opened(&echo, &[]))).await;
    eventually("all are there", async || (open_inside().await == "20").then_some(())).await;
    // Without a close frame.
    drop(streams);
    eventually("all are gone", async || (open_inside().await == "0").then_some(())).await;
}

#[tokio::test]
async fn a_thousand_idle_web_sockets_and_a_thousand_connections() {
    const MANY: usize = 1000;
    let (sandbox, _) = app().await;
    let url = signed(&sandbox, PORT).await.url;
    let echo = format!("{url}/echo");
    let started = Instant::now();
    let mut sockets = Vec::new();
    while sockets.len() < MANY {
        sockets.extend(join_all((0..50).map(|_| opened(&echo, &[]))).await);
    }
    println!("{MANY} WebSockets opened in {:?}", started.elapsed());
    // Connections that have said half of a request, beside them.
    let address = url.trim_start_matches("http://");
    let host = format!("Host: {address}");
    let target = address.rsplit(':').next().map(|port| format!("127.0.0.1:{port}")).expect("port");
    let started = Instant::now();
    let mut half = Vec::new();
    for _ in 0..MANY {
        let mut stream = tokio::net::TcpStream::connect(&target).await.expect("connects");
        stream.write_all(format!("GET /x HTTP/1.1\r\n{host}\r\n").as_bytes()).await.expect("writes");
        half.push(stream);
    }
    println!("{MANY} connections opened in {:?}", started.elapsed());
    for (i, socket) in sockets.iter_mut().enumerate() {
        socket.send(Message::text(i.to_string())).await.expect("sends");
    }
    for (i, socket) in sockets.iter_mut().enumerate() {
        assert_eq!(next(socket).await, Message::text(i.to_string()));
    }
    for stream in &mut half {
        stream.write_all(b"Connection: close\r\n\r\n").await.expect("writes");
    }
    for mut stream in half {
        let mut answer = Vec::new();
        tokio::time::timeout(PATIENCE, stream.read_to_end(&mut answer)).await.expect("in time").expect("reads");
        assert!(answer.starts_with(b"HTTP/1.1 200 "), "{}", String::from_utf8_lossy(&answer));
    }
}

#[tokio::test]
async fn the_link_of_port_2280_carries_the_toolboxs_web_sockets() {
    let sandbox = sandbox().await;
    let link = link(&sandbox, 2280).await;
    let made = sandbox.client.post(sandbox.url("/process/pty")).json(&json!({"id": "t", "cols": 80, "rows": 24}));
    assert_eq!(made.send().await.expect("answer").status(), 201);
    // October 2025 and Ruby: the path is put behind the link's host, the token is in a header.
    let at = |query: &str| format!("{}/process/pty/t/connect{query}", link.url);
    let by_header = open(&at(""), &[("x-daytona-preview-token", &link.token)]).await;
    // A browser: the token in the query, the version as the one sub-protocol.
    let query = format!("?DAYTONA_SANDBOX_AUTH_KEY={}", link.token);
    let by_query = open(&at(&query), &[("sec-websocket-protocol", "X-Daytona-SDK-Version~0.111.1")]).await;
    let (_, response) = by_query.as_ref().expect("upgrade");
    assert_eq!(response.headers()["sec-websocket-protocol"], "X-Daytona-SDK-Version~0.111.1");
    for opened in [by_header, by_query] {
        let (mut stream, _) = opened.expect("upgrade");
        let first = next(&mut stream).await;
        assert!(first.to_text().expect("text").contains("connected"), "{first}");
        stream.send(Message::binary("echo $((40+2))\n".as_bytes().to_vec())).await.expect("sends");
        let mut output = String::new();
        while !output.contains("42") {
            output.push_str(&String::from_utf8_lossy(&next(&mut stream).await.into_data()));
        }
    }
    // So do logs.
    let post = async |path: &str, body: Value| {
        let answer = sandbox.client.post(sandbox.url(path)).json(&body).send().await.expect("answer");
        answer.json::<Value>().await.unwrap_or_default()
    };
    post("/process/session", json!({"sessionId": "s"})).await;
    let command = post("/process/session/s/exec", json!({"command": "echo out", "runAsync": true})).await;
    let logs = format!("/process/session/s/command/{}/logs?follow=true", command["cmdId"].as_str().expect("id"));
    let mut stream = opened(&format!("{}{logs}", link.url), &[("x-daytona-preview-token", &link.token)]).await;
    let mut output = String::new();
    while !output.contains("out") {
        output.push_str(&String::from_utf8_lossy(&next(&mut stream).await.into_data()));
    }
}
