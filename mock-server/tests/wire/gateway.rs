//! What the gateway decides by itself: hosts, unknown paths, cross-origin answers, hostile connections.

use std::time::Duration;

use daytona_mock::{MockServer, config::Config};
use reqwest::{Client, Method, Response, header};
use serde_json::Value;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

use crate::support::server;

async fn get(path: &str, headers: &[(&str, &str)]) -> Response {
    send(Method::GET, path, headers).await
}

async fn send(method: Method, path: &str, headers: &[(&str, &str)]) -> Response {
    let mut request = Client::new().request(method, format!("{}{path}", server().base_url));
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    request.send().await.expect("answer")
}

async fn json(response: Response) -> Value {
    response.json().await.expect("JSON")
}

fn text<'a>(response: &'a Response, header: &str) -> &'a str {
    response.headers().get(header).map_or("", |value| value.to_str().expect("text"))
}

/// Sends bytes as they are; everything that comes back until the server closes.
async fn raw(bytes: &[u8]) -> String {
    let address = server().base_url.trim_start_matches("http://").to_owned();
    let mut stream = TcpStream::connect(address).await.expect("connects");
    stream.write_all(bytes).await.expect("writes");
    let mut answer = Vec::new();
    let read = stream.read_to_end(&mut answer);
    tokio::time::timeout(Duration::from_secs(10), read).await.expect("in time").expect("reads");
    String::from_utf8_lossy(&answer).into_owned()
}

#[tokio::test]
async fn health_needs_no_key_and_tells_what_sandboxes_can_do() {
    for path in ["/health", "/api/health"] {
        let answer = get(path, &[]).await;
        assert_eq!(answer.status(), 200, "{path}");
        let body = json(answer).await;
        assert_eq!(body["status"], "ok");
        assert!(body["isolation"].is_string() && body["capabilities"].is_object(), "{body}");
        // What tier process lacks is told as such.
        for name in
            ["archive", "fork", "images", "linkedNames", "networkPolicies", "save", "snapshots", "vnc", "volumes"]
        {
            let capability = &body["capabilities"][name];
            assert_eq!(capability["available"], body["isolation"] != "process", "{name}: {body}");
            assert!(capability["detail"].as_str().is_some_and(|detail| !detail.is_empty()), "{name}: {body}");
        }
    }
}

#[tokio::test]
async fn every_answer_names_the_versions() {
    for path in ["/", "/health", "/nope", "/toolbox/x/version", "/api/nope"] {
        let answer = get(path, &[]).await;
        assert_eq!(text(&answer, "x-daytona-api-version"), "0.205.1", "{path}");
        assert_eq!(text(&answer, "x-daytona-mock"), env!("CARGO_PKG_VERSION"), "{path}");
    }
}

#[tokio::test]
async fn foreign_hosts_are_misdirected_and_told_the_way() {
    for host in ["evil.example", "localhost.evil.example", "10.1.2.3", "3000-x.evil.example"] {
        for path in ["/health", "/api/config", "/toolbox/x/version"] {
            let answer = get(path, &[("host", host)]).await;
            assert_eq!(answer.status(), 421, "{host}{path}");
            let body = json(answer).await;
            assert_eq!((&body["statusCode"], &body["source"]), (&421.into(), &"DAYTONA_PROXY".into()));
            assert!(
                body["message"].as_str().is_some_and(|text| text.contains(&format!("--allow-host {host}"))),
                "{body}"
            );
        }
    }
}

#[tokio::test]
async fn loopback_names_are_known() {
    for host in ["localhost", "LOCALHOST:1", "127.9.9.9:80", "[::1]", "some.name.localhost:5"] {
        assert_eq!(get("/health", &[("host", host)]).await.status(), 200, "{host}");
    }
}

#[tokio::test]
async fn a_request_without_host_is_from_an_old_client() {
    assert!(raw(b"GET /health HTTP/1.0\r\n\r\n").await.starts_with("HTTP/1.0 200"));
}

#[tokio::test]
async fn unknown_paths_have_the_proxys_envelope() {
    for path in ["/nope", "/toolbox", "/toolbox/", "/toolbox/some-id", "/apiary"] {
        let answer = get(path, &[]).await;
        assert_eq!(answer.status(), 404, "{path}");
        let body = json(answer).await;
        let keys: Vec<&String> = body.as_object().expect("object").keys().collect();
        assert_eq!(keys, ["statusCode", "message", "source", "code", "timestamp", "path", "method"]);
        assert_eq!((&body["message"], &body["code"]), (&"not found: not found".into(), &"NOT_FOUND".into()));
        assert_eq!((&body["path"], &body["method"]), (&path.into(), &"GET".into()));
    }
}

#[tokio::test]
async fn hosts_below_a_domain_of_previews_are_previews_or_nothing() {
    let config = Config { preview_domain: Some("preview.test".into()), ..crate::support::config() };
    let running = MockServer::start(config).await.expect("starts");
    let client = reqwest::Client::new();
    for (host, status) in
        [("abc-x.preview.test", 404), ("abc.preview.test", 404), ("preview.test", 200), ("a.b.preview.test", 421)]
    {
        let answer = client.get(format!("{}/config", running.api_url)).header("host", host).send().await;
        let answer = answer.expect("answer");
        assert_eq!(answer.status().as_u16(), status, "{host}");
        if status == 404 {
            assert_eq!(json(answer).await["message"], "not found: not found");
        }
    }
    running.shutdown().await;
}

#[tokio::test]
async fn the_document_lists_the_operations() {
    let document = json(get("/api-json", &[]).await).await;
    assert_eq!(document["openapi"], "3.0.0");
    let paths = document["paths"].as_object().expect("paths");
    let operations: usize = paths.values().map(|path| path.as_object().map_or(0, serde_json::Map::len)).sum();
    assert_eq!(operations, 196);
    let get = &paths["/api/sandbox/{sandboxIdOrName}"]["get"];
    assert_eq!((&get["operationId"], &get["parameters"][0]["name"]), (&"getSandbox".into(), &"sandboxIdOrName".into()));
}

#[tokio::test]
async fn the_front_page_says_how_to_connect() {
    let page = get("/", &[]).await.text().await.expect("text");
    assert!(page.contains(&format!("DAYTONA_API_URL={}", server().api_url)), "{page}");
}

#[tokio::test]
async fn a_preflight_to_a_sandbox_allows_what_was_asked() {
    let headers = [
        ("origin", "http://app.example"),
        ("access-control-request-method", "POST"),
        ("access-control-request-headers", "authorization, x-mine"),
    ];
    let answer = send(Method::OPTIONS, "/toolbox/x/process/execute", &headers).await;
    assert_eq!(answer.status(), 204);
    assert_eq!(text(&answer, "access-control-allow-origin"), "http://app.example");
    assert_eq!(text(&answer, "access-control-allow-credentials"), "true");
    assert_eq!(text(&answer, "access-control-max-age"), "43200");
    assert!(text(&answer, "access-control-allow-headers").contains("x-mine"));
    assert!(text(&answer, "access-control-allow-methods").contains("DELETE"));
}

#[tokio::test]
async fn a_preflight_to_the_api_allows_no_credentials() {
    let headers = [
        ("origin", "http://app.example"),
        ("access-control-request-method", "POST"),
        ("access-control-request-headers", "authorization"),
    ];
    let answer = send(Method::OPTIONS, "/api/sandbox", &headers).await;
    assert_eq!(answer.status(), 204);
    assert_eq!(text(&answer, "access-control-allow-origin"), "http://app.example");
    assert_eq!(text(&answer, "access-control-allow-headers"), "authorization");
    assert_eq!(text(&answer, "access-control-allow-credentials"), "");
}

#[tokio::test]
async fn cors_of_the_proxy_can_be_switched_off() {
    let origin = ("origin", "http://app.example");
    let answer = get("/toolbox/x/version", &[origin]).await;
    assert_eq!(text(&answer, "access-control-allow-origin"), "http://app.example");
    let answer = get("/toolbox/x/version", &[origin, ("x-daytona-disable-cors", "true")]).await;
    assert_eq!(text(&answer, "access-control-allow-origin"), "");
}

#[tokio::test]
async fn raw_json_in_a_query_is_understood() {
    let address = server().base_url.trim_start_matches("http://").to_owned();
    let mut stream = TcpStream::connect(address).await.expect("connects");
    // The body of the second must pass as it is, and the third come after it on the same connection.
    let requests = [
        "GET /health?labels={\"a\":\"b<c>\"} HTTP/1.1\r\nHost: localhost\r\n\r\n",
        "POST /health?x=\"y\" HTTP/1.1\r\nHost: localhost\r\nContent-Length: 12\r\n\r\nGET /?\"x\" \r\n",
    ];
    for request in requests {
        stream.write_all(request.as_bytes()).await.expect("writes");
        let mut answer = vec![0; 64 * 1024];
        let count = stream.read(&mut answer).await.expect("reads");
        assert!(answer[..count].starts_with(b"HTTP/1.1 200"), "{request}");
    }
}

#[tokio::test]
async fn garbage_is_refused_and_harms_nobody() {
    for bytes in
        [&b"\x16\x03\x01\x00\x05hello"[..], b"GET / HTTP/9.9\r\n\r\n", b"GET /\0 HTTP/1.1\r\nHost: localhost\r\n\r\n"]
    {
        assert!(!raw(bytes).await.starts_with("HTTP/1.1 200"));
    }
    let mut head = b"GET /health HTTP/1.1\r\nHost: localhost\r\n".to_vec();
    head.extend((0..500).flat_map(|n| format!("X-{n}: {n}\r\n").into_bytes()));
    head.extend(b"\r\n");
    assert!(raw(&head).await.starts_with("HTTP/1.1 431"), "too many headers");
    assert_eq!(endless_head().await, "HTTP/1.1 431 Request Header Fields Too Large");
    assert_eq!(get("/health", &[]).await.status(), 200);
}

/// The status line for a head that never ends.
async fn endless_head() -> String {
    let address = server().base_url.trim_start_matches("http://").to_owned();
    let (mut read, mut write) = TcpStream::connect(address).await.expect("connects").into_split();
    let flood = async {
        write.write_all(b"GET /health HTTP/1.1\r\nHost: localhost\r\nX-Long: ").await.expect("writes");
        for _ in 0..64 {
            if write.write_all(&[b'x'; 64 << 10]).await.is_err() {
                break;
            }
        }
        std::future::pending::<usize>().await
    };
    let mut answer = [0; 4096];
    let told = async {
        // Whoever is refused may go on writing; the answer is there nevertheless.
        tokio::select! {
            count = read.read(&mut answer) => count.expect("reads"),
            never = flood => never,
        }
    };
    let count = tokio::time::timeout(Duration::from_secs(10), told).await.expect("in time");
    String::from_utf8_lossy(&answer[..count]).lines().next().unwrap_or_default().to_owned()
}

#[tokio::test]
async fn half_a_request_then_silence_is_no_harm() {
    let address = server().base_url.trim_start_matches("http://").to_owned();
    let mut waiting = Vec::new();
    for _ in 0..100 {
        let mut stream = TcpStream::connect(&address).await.expect("connects");
        stream
            .write_all(b"POST /toolbox/x/files/upload HTTP/1.1\r\nHost: localhost\r\nContent-Le")
            .await
            .expect("writes");
        waiting.push(stream);
    }
    assert_eq!(get("/health", &[]).await.status(), 200);
}

#[tokio::test]
async fn without_credentials_a_sandbox_is_closed() {
    let answer = get("/toolbox/11111111-1111-4111-8111-111111111111/version", &[]).await;
    assert_eq!(answer.status(), 401);
    let body = json(answer).await;
    assert_eq!(body["code"], "UNAUTHORIZED");
    assert_eq!(
        body["message"],
        "unauthorized: missing authentication: provide a preview access token (via header, query parameter, or cookie) \
         or use an API key or JWT"
    );
}

#[tokio::test]
async fn wrong_credentials_are_named() {
    let path = "/toolbox/11111111-1111-4111-8111-111111111111/version";
    let bearer = ("authorization", "Bearer nope");
    let token = ("x-daytona-preview-token", "nope");
    let query = format!("{path}?DAYTONA_SANDBOX_AUTH_KEY=nope");
    let cases = [
        (path, vec![bearer], "Bearer token is invalid"),
        (path, vec![token], "Auth key header is invalid"),
        (query.as_str(), vec![], "Auth key query parameter is invalid"),
        (
            query.as_str(),
            vec![bearer, token],
            "Bearer token is invalid,Auth key header is invalid,Auth key query parameter is invalid",
        ),
    ];
    for (path, headers, why) in cases {
        let answer = get(path, &headers).await;
        assert_eq!(answer.status(), 401);
        assert_eq!(json(answer).await["message"], format!("unauthorized: authentication failed: {why}"));
    }
}

#[tokio::test]
async fn polling_is_no_transport_for_events() {
    let answer = get("/api/socket.io/?EIO=4&transport=polling", &[]).await;
    assert_eq!(answer.status(), 400);
    assert_eq!(text(&answer, header::CONTENT_TYPE.as_str()), "application/json");
    assert_eq!(json(answer).await, serde_json::json!({"code": 0, "message": "Transport unknown"}));
}
