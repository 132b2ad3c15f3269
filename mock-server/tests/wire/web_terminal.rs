//! The web terminal, through its preview links.

use std::io::Read;

use futures_util::{SinkExt, StreamExt};
use reqwest::{Method, Response, StatusCode};
use serde_json::Value;
use tokio_tungstenite::tungstenite::{
    self, Message,
    client::IntoClientRequest,
    protocol::{CloseFrame, frame::coding::CloseCode},
};

use crate::support::{PATIENCE, Sandbox, client, eventually, new_key, sandbox, server};

type Stream = tokio_tungstenite::WebSocketStream<tokio_tungstenite::MaybeTlsStream<tokio::net::TcpStream>>;

/// Where a browser would go; it needs no credentials.
async fn signed_url(sandbox: &Sandbox) -> String {
    let (status, link) = sandbox.api(Method::GET, "/ports/22222/signed-preview-url").await;
    assert_eq!(status, 200, "{link}");
    link["url"].as_str().expect("URL").to_owned()
}

async fn get(url: &str, path: &str, encoding: &str) -> Response {
    let request = reqwest::Client::new().get(format!("{url}{path}"));
    request.header("accept-encoding", encoding).send().await.expect("answer")
}

async fn open(url: &str, headers: &[(&'static str, &str)]) -> tungstenite::Result<Stream> {
    let url = format!("{}/ws", url.replacen("http", "ws", 1));
    let mut request = url.into_client_request().expect("request");
    for (name, value) in headers {
        request.headers_mut().insert(*name, value.parse().expect("value"));
    }
    Ok(tokio_tungstenite::connect_async(request).await?.0)
}

/// How much a page may have to read yet.
const WINDOW: usize = 1 << 20;

struct Page {
    stream: Stream,
    text: String,
    close: Option<CloseFrame>,
}

impl Page {
    async fn open(url: &str) -> Page {
        Page { stream: open(url, &[]).await.expect("upgrade"), text: String::new(), close: None }
    }

    async fn send(&mut self, message: impl Into<Message>) {
        self.stream.send(message.into()).await.expect("sent");
    }

    async fn type_in(&mut self, keys: &str) {
        self.send(keys.as_bytes().to_vec()).await;
    }

    /// Takes a frame; false after the last.
    async fn next(&mut self) -> bool {
        let message = tokio::time::timeout(PATIENCE, self.stream.next()).await;
        match message.unwrap_or_else(|_| panic!("silent after {:?}", self.tail())) {
            Some(Ok(Message::Text(text))) => self.text.push_str(&text),
            Some(Ok(Message::Close(frame))) => self.close = frame,
            Some(Ok(Message::Ping(_))) => {}
            Some(Ok(other)) => panic!("{other:?}"),
            Some(Err(_)) | None => return false,
        }
        true
    }

    /// The last of what it showed.
    fn tail(&self) -> String {
        self.text.chars().rev().take(500).collect::<Vec<_>>().into_iter().rev().collect()
    }

    async fn until(&mut self, text: &str) {
        while !self.text.contains(text) {
            assert!(self.next().await, "ended without {text:?}: {:?}", self.tail());
        }
    }

    async fn closed(&mut self) -> (CloseCode, String) {
        while self.next().await {}
        let close = self.close.take().unwrap_or_else(|| panic!("no close frame: {:?}", self.tail()));
        (close.code, close.reason.as_str().to_owned())
    }
}

#[tokio::test]
async fn the_page_and_its_files() {
    let sandbox = sandbox().await;
    let url = signed_url(&sandbox).await;
    let page = get(&url, "/", "gzip").await;
    assert_eq!(page.status(), 200);
    let policy = page.headers()["content-security-policy"].to_str().expect("text").to_owned();
    assert!(policy.starts_with("default-src 'none'; script-src 'self'; style-src 'self' 'nonce-"), "{policy}");
    let nonce = policy.split("'nonce-").nth(1).and_then(|rest| rest.split('\'').next()).expect("a nonce").to_owned();
    let html = page.text().await.expect("text");
    assert!(html.contains("<title>Web Terminal</title>") && html.contains(&format!("nonce=\"{nonce}\"")), "{html}");
    assert!(!get(&url, "/", "").await.text().await.expect("text").contains(&nonce), "a nonce is used once");
    for (path, kind, part) in [
        ("/xterm.js", "text/javascript; charset=utf-8", "The xterm.js authors"),
        ("/xterm-addon-fit.js", "text/javascript; charset=utf-8", "FitAddon"),
        ("/xterm-addon-unicode11.js", "text/javascript; charset=utf-8", "Unicode11Addon"),
        ("/terminal.js", "text/javascript; charset=utf-8", "new Terminal("),
        ("/terminal.css", "text/css; charset=utf-8", "#terminal"),
        ("/xterm.css", "text/css; charset=utf-8", ".xterm-viewport"),
    ] {
        let plain = get(&url, path, "identity").await;
        assert_eq!(plain.headers()["content-type"], kind);
        let plain = plain.text().await.expect("text");
        assert!(plain.contains(part), "{path}");
        let packed = get(&url, path, "gzip, br").await;
        assert_eq!(packed.headers()["content-encoding"], "gzip");
        let (packed, mut text) = (packed.bytes().await.expect("bytes"), String::new());
        flate2::read::GzDecoder::new(&packed[..]).read_to_string(&mut text).expect("gzip");
        assert!(text == plain, "{path}");
    }
    assert_eq!(get(&url, "/no-such-file", "").await.status(), 404);
    assert_eq!(get(&url, "/ws", "").await.status(), 400);
}

#[tokio::test]
async fn a_shell_in_the_page() {
    let sandbox = sandbox().await;
    let mut page = Page::open(&signed_url(&sandbox).await).await;
    page.send(r#"{"rows":30,"cols":100}"#).await;
    page.type_in("stty size; pwd; whoami; echo $TERM; shopt -q login_shell; echo login=$?\n").await;
    page.until("login=1\r\n").await;
    let user = sandbox.run("whoami").await;
    let expected = format!("30 100\r\n/\r\n{}\r\nxterm-256color\r\n", user.trim());
    assert!(page.text.contains(&expected), "{:?}", page.text);
    // Keystrokes may come as text; a number and a word are keystrokes, too.
    for keys in ["printf '<%s>\\n' ", "4", "null", "\n"] {
        page.send(keys).await;
    }
    page.until("<4null>\r\n").await;
    page.send(r#"{"cols":70000,"rows":-1}"#).await;
    page.type_in("stty size\n").await;
    page.until("0 1000\r\n").await;
    page.type_in("exit 5\n").await;
    assert_eq!(page.closed().await, (CloseCode::Error, r#"{"exitCode":5,"exitReason":"non-zero exit"}"#.to_owned()));
    let mut page = Page::open(&signed_url(&sandbox).await).await;
    page.type_in("exit\n").await;
    assert_eq!(page.closed().await, (CloseCode::Normal, r#"{"exitCode":0}"#.to_owned()));
    let list: Value =
        sandbox.client.get(sandbox.url("/process/pty")).send().await.expect("answer").json().await.expect("JSON");
    assert_eq!(list["sessions"], Value::Array(vec![]), "it is none of the API's sessions");
}

#[tokio::test]
async fn text_is_never_cut_inside_a_character() {
    let sandbox = sandbox().await;
    let mut page = Page::open(&signed_url(&sandbox).await).await;
    page.type_in("printf '\\342'; sleep 0.1; printf '\\202'; sleep 0.1; printf '\\254\\377|\\n'\n").await;
    page.until("€\u{fffd}|\r\n").await;
    page.type_in("for i in $(seq 20000); do printf '漢字'; done; echo; echo e''nd\n").await;
    page.until("\nend\r\n").await;
    assert!(page.text.matches("漢字").count() >= 20_000);
    assert_eq!(page.text.matches('\u{fffd}').count(), 1);
}

#[tokio::test]
async fn a_page_that_says_what_it_read_is_not_flooded() {
    let sandbox = sandbox().await;
    let mut page = Page::open(&signed_url(&sandbox).await).await;
    page.send(r#"{"read":0}"#).await;
    page.type_in("head -c 3000000 /dev/zero | tr '\\0' x; echo e''nd\n").await;
    let mut read = 0;
    while !page.text.contains("end\r\n") {
        assert!(page.next().await);
        let unread = page.text.len() - read;
        assert!(unread <= WINDOW + (32 << 10), "{unread}");
        if unread >= WINDOW {
            page.send(format!("{{\"read\":{WINDOW}}}")).await;
            read += WINDOW;
        }
    }
    assert!(read >= 2 * WINDOW);
}

#[tokio::test]
async fn the_shell_goes_with_the_page() {
    let sandbox = sandbox().await;
    let mut page = Page::open(&signed_url(&sandbox).await).await;
    page.type_in("sleep 99.909\n").await;
    let sleeps = async || sandbox.run("pgrep -f '[s]leep 99.909' || true").await;
    eventually("it sleeps", async || (!sleeps().await.is_empty()).then_some(())).await;
    drop(page);
    eventually("it is gone", async || sleeps().await.is_empty().then_some(())).await;
}

#[tokio::test]
async fn only_for_those_who_may() {
    let sandbox = sandbox().await;
    let port = server().base_url.rsplit(':').next().expect("port");
    let private = format!("22222-{}.localhost:{port}", sandbox.id);
    // Even where the sandbox is public.
    assert_eq!(sandbox.api(Method::POST, "/public/true").await.0, 201);
    let open_private = async |headers: &[(&'static str, &str)]| {
        open(&server().base_url, &[headers, &[("host", &private)]].concat()).await
    };
    assert!(matches!(open_private(&[]).await, Err(tungstenite::Error::Http(_))));
    let bearer = |key: &str| format!("Bearer {key}");
    assert!(open_private(&[("authorization", &bearer(&new_key().await))]).await.is_err());
    assert!(open_private(&[("authorization", &bearer(&sandbox.key))]).await.is_ok());
    let main = format!("{}/", server().base_url);
    let page = client(&sandbox.key).get(main).header("host", &private).send().await.expect("answer");
    assert_eq!(page.status(), 200);
    // Pages of other origins can't use what the browser knows.
    let url = signed_url(&sandbox).await;
    assert!(open(&url, &[("origin", &url)]).await.is_ok());
    for origin in ["http://evil.example", "null", &format!("http://3000-{}.localhost:{port}", sandbox.id)] {
        let Err(tungstenite::Error::Http(answer)) = open(&url, &[("origin", origin)]).await else { panic!("{origin}") };
        assert_eq!(answer.status(), StatusCode::FORBIDDEN);
    }
}

#[tokio::test]
async fn it_listens_inside_and_is_no_users_port() {
    let sandbox = sandbox().await;
    if server_isolation().await == "process" {
        return;
    }
    assert!(sandbox.run("curl -s http://localhost:22222/").await.contains("Web Terminal"));
    // So does the toolbox, for programs inside.
    assert!(sandbox.run("curl -s http://localhost:2280/version").await.contains("\"version\""));
    let execute =
        "curl -s localhost:2280/process/execute -H 'Content-Type: application/json' -d '{\"command\": \"whoami\"}'";
    assert!(sandbox.run(execute).await.contains(sandbox.run("whoami").await.trim()));
    let ports: Value =
        sandbox.client.get(sandbox.url("/port")).send().await.expect("answer").json().await.expect("JSON");
    assert!(!["22222", "2280"].iter().any(|own| ports.to_string().contains(own)), "{ports}");
}

async fn server_isolation() -> String {
    let health = reqwest::get(format!("{}/health", server().base_url)).await.expect("answer");
    health.json::<Value>().await.expect("JSON")["isolation"].as_str().unwrap_or_default().to_owned()
}

#[tokio::test]
async fn a_close_frame_is_answered() {
    let sandbox = sandbox().await;
    let mut page = Page::open(&signed_url(&sandbox).await).await;
    let frame = CloseFrame { code: CloseCode::Normal, reason: "".into() };
    page.send(Message::Close(Some(frame.clone()))).await;
    while page.next().await {}
    assert_eq!(page.close, Some(frame));
}
