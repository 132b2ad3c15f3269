use reqwest::Method;

use crate::{
    client::{Dial, Message},
    prelude::*,
};

scenarios! { "previews";
    /// A preview URL names port and sandbox, and comes with a token; it needs no started sandbox. (getPortPreviewUrl;
    /// observed)
    links_are_given: Must, covers ["getPortPreviewUrl"];

    /// Ports outside 1 to 65535 are 400 `Invalid port`. (observed)
    ports_are_validated: Must, covers ["getPortPreviewUrl"];

    /// A signed URL has a token of its own, lives as long as asked, and 1 s to 24 h may be asked. (observed)
    signed_links_are_given: Must, covers ["getSignedPortPreviewUrl"];

    /// The URL opens what listens in the sandbox, for the key, the preview token as header and in the query.
    /// (observed; SDK documentation)
    links_open_with_credentials: Must, covers ["getPortPreviewUrl"], needs [Previews];

    /// Without good credentials nothing of a private sandbox is shown: a redirect to a sign-in page. (observed)
    private_previews_are_closed: Must, covers ["getPortPreviewUrl"], needs [Previews];

    /// A public sandbox's previews open without credentials; ports 22222 and 2280 stay closed. (observed)
    public_previews_are_open: Must, covers ["updatePublicStatus", "getPortPreviewUrl"], needs [Previews];

    /// A signed URL opens without anything else, sets a cookie, and ends when it is expired. (observed)
    signed_links_open_and_end: Must, covers ["getSignedPortPreviewUrl", "expireSignedPortPreviewUrl"], needs [Previews];

    /// Expiring is idempotent, and unknown tokens can be expired too. (observed)
    expiry_is_idempotent: Must, covers ["expireSignedPortPreviewUrl"];

    /// A port where nothing listens is 502. (observed)
    dead_port_is_bad_gateway: Must, covers ["getPortPreviewUrl"], needs [Previews];

    /// Credentials don't reach the program behind a preview; everything else does. (observed)
    credentials_are_stripped: Must, covers ["getPortPreviewUrl"], needs [Previews];

    /// Any method, status, header and body goes through, in both directions. (observed)
    everything_goes_through: Must, covers ["getPortPreviewUrl"], needs [Previews];

    /// A WebSocket goes through like any other request, with the same credentials. (observed)
    websockets_go_through: Must, covers ["getPortPreviewUrl"], needs [Previews];

    /// Browsers may ask previews and toolboxes from any page, with credentials. (observed)
    browsers_may_ask: Must, covers ["getPortPreviewUrl"], needs [Previews];

    /// A signed URL lives for a minute unless told otherwise. (getSignedPortPreviewUrl; observed)
    signed_links_end_by_default: Must,
        covers ["getSignedPortPreviewUrl", "getSandboxIdFromSignedPreviewUrlToken"], needs [Clock], classes [Alone];

    /// A restart gives another preview token, and the old one is refused. (observed)
    restart_changes_the_token: Must, covers ["getPortPreviewUrl", "startSandbox"];

    /// Which sandbox a signed token is for can be asked without a key; a wrong port or token is 403. (observed)
    token_lookup_is_open: Should, covers ["getSandboxIdFromSignedPreviewUrlToken"];
}

const PORT: u16 = 3000;

/// A program that answers with what it was sent; started once for all scenarios that look at it.
const ECHO: &str = r#"
import base64, hashlib, http.server, json
class H(http.server.BaseHTTPRequestHandler):
    protocol_version = 'HTTP/1.1'
    def talk(self):
        key = self.headers['Sec-WebSocket-Key'] + '258EAFA5-E914-47DA-95CA-C5AB0DC85B11'
        self.send_response(101)
        self.send_header('Upgrade', 'websocket')
        self.send_header('Connection', 'Upgrade')
        self.send_header('Sec-WebSocket-Accept', base64.b64encode(hashlib.sha1(key.encode()).digest()).decode())
        self.end_headers()
        length, mask = self.rfile.read(2)[1] & 127, self.rfile.read(4)
        said = bytes(byte ^ mask[at % 4] for at, byte in enumerate(self.rfile.read(length)))
        self.wfile.write(bytes([0x81, len(said)]) + said)
        self.close_connection = True
    def do(self):
        if self.headers.get('Upgrade', '').lower() == 'websocket': return self.talk()
        body = self.rfile.read(int(self.headers.get('Content-Length') or 0)).decode('latin-1')
        said = json.dumps({'method': self.command, 'path': self.path, 'headers': dict(self.headers), 'body': body}).encode()
        self.send_response(int(self.headers.get('X-Want-Status') or 200))
        self.send_header('Content-Type', 'application/json')
        self.send_header('X-Echo', 'here')
        self.send_header('X-Length', str(len(said)))
        self.send_header('Set-Cookie', 'one=1; Path=/')
        self.send_header('Set-Cookie', 'two=2')
        self.send_header('Content-Length', str(len(said)))
        self.end_headers()
        if self.command != 'HEAD': self.wfile.write(said)
    do_GET = do_POST = do_PUT = do_PATCH = do_DELETE = do_HEAD = do_OPTIONS = do
    def log_message(self, *a): pass
http.server.ThreadingHTTPServer(('0.0.0.0', 3000), H).serve_forever()
"#;

async fn serve(cx: &Cx, sandbox: &Sandbox) -> Result {
    sandbox.needs_program("python3").await?;
    let file = format!("{}.py", cx.dir());
    sandbox.upload(&file, ECHO.as_bytes()).await?.ok()?;
    // A second one finds the port taken and ends.
    sandbox.output(&format!("setsid python3 {file} >/dev/null 2>&1 & true")).await?;
    let listens = async || {
        let answer = sandbox.get(&format!("/port/{PORT}/in-use")).send().await?.ok()?;
        Ok((answer["isInUse"] == true).then_some(()))
    };
    cx.eventually("the echo program listens", Duration::from_secs(15), listens).await
}

struct Link {
    url: String,
    token: String,
}

async fn link(sandbox: &Sandbox, port: u16) -> Result<Link> {
    let answer = sandbox.op(Method::GET, &format!("/ports/{port}/preview-url")).send().await?.ok()?;
    let url = answer.string("/url")?.trim_end_matches('/').to_owned();
    Ok(Link { url, token: answer.string("/token")? })
}

async fn links_are_given(cx: Cx) -> Result {
    let sandbox = cx.sandbox().await?;
    let answer = sandbox.op(Method::GET, "/ports/3000/preview-url").send().await?;
    cx.check("sandbox").json(&answer, "/sandboxId", sandbox.id.as_str());
    let url = reqwest::Url::parse(&answer.string("/url")?);
    cx.check("url").on(&answer).that(url.is_ok(), "a URL", &answer["url"]);
    let token = answer.string("/token")?;
    let plain = token.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"_-".contains(&byte));
    cx.check("token").on(&answer).that(token.len() >= 16 && plain, "a token of a-z, 0-9, _ and -", token.len());
    let by_name = cx.get(&format!("/sandbox/{}/ports/3000/preview-url", sandbox.name)).send().await?;
    cx.check("by-name").json(&by_name, "/url", answer["url"].clone());
    sandbox.stop().await?;
    cx.check("stopped").status(&sandbox.op(Method::GET, "/ports/3000/preview-url").send().await?, 200);
    Ok(())
}

async fn ports_are_validated(cx: Cx) -> Result {
    let sandbox = cx.shared().await?;
    for port in ["0", "-1", "65536"] {
        let answer = sandbox.op(Method::GET, &format!("/ports/{port}/preview-url")).send().await?;
        cx.check(format!("port{port}")).error(&answer, 400, "Invalid port");
    }
    for port in ["1", "65535"] {
        let answer = sandbox.op(Method::GET, &format!("/ports/{port}/preview-url")).send().await?;
        cx.check(format!("port{port}")).status(&answer, 200);
    }
    Ok(())
}

async fn signed_links_are_given(cx: Cx) -> Result {
    let sandbox = cx.shared().await?;
    let path = "/ports/3000/signed-preview-url";
    let answer = sandbox.op(Method::GET, path).send().await?;
    cx.check("sandbox").json(&answer, "/sandboxId", sandbox.id.as_str());
    cx.check("port").json(&answer, "/port", 3000);
    let (url, token) = (answer.string("/url")?, answer.string("/token")?);
    let plain = token.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit());
    cx.check("token").on(&answer).that(token.len() >= 16 && plain, "a token of a-z and 0-9", token.len());
    cx.check("no-id").on(&answer).that(!url.contains(&sandbox.id), "a URL without the sandbox's id", "the id");
    let another = sandbox.op(Method::GET, path).send().await?;
    cx.check("another").on(&another).that(another.string("/token")? != token, "another token", "the same");
    for seconds in ["1", "86400"] {
        let answer = sandbox.op(Method::GET, &format!("{path}?expiresInSeconds={seconds}")).send().await?;
        cx.check(format!("seconds{seconds}")).status(&answer, 200);
    }
    for seconds in ["0", "-1", "86401"] {
        let answer = sandbox.op(Method::GET, &format!("{path}?expiresInSeconds={seconds}")).send().await?;
        cx.check(format!("seconds{seconds}")).error(
            &answer,
            400,
            "expiresInSeconds must be between 1 second and 24 hours",
        );
    }
    Ok(())
}

async fn links_open_with_credentials(cx: Cx) -> Result {
    let sandbox = cx.shared().await?;
    serve(&cx, &sandbox).await?;
    let link = link(&sandbox, PORT).await?;
    let url = format!("{}/path?x=1", link.url);
    for (id, request) in [
        ("key", cx.get(&url)),
        ("header", cx.get(&url).no_key().header("X-Daytona-Preview-Token", &link.token)),
        ("query", cx.get(&url).no_key().query("DAYTONA_SANDBOX_AUTH_KEY", &link.token)),
    ] {
        let answer = request.send().await?;
        cx.check(id).status(&answer, 200);
        cx.check(format!("{id}-path")).json(&answer, "/path", "/path?x=1");
    }
    Ok(())
}

async fn private_previews_are_closed(cx: Cx) -> Result {
    let sandbox = cx.shared().await?;
    serve(&cx, &sandbox).await?;
    let link = link(&sandbox, PORT).await?;
    for (id, request) in [
        ("nothing", cx.get(&link.url).no_key()),
        ("unknown-key", cx.get(&link.url).key("dtn_unknown-key-unknown")),
        ("unknown-token", cx.get(&link.url).no_key().header("X-Daytona-Preview-Token", "0123456789abcdef")),
        ("unknown-query", cx.get(&link.url).no_key().query("DAYTONA_SANDBOX_AUTH_KEY", "0123456789abcdef")),
        (
            "unknown-cookie",
            cx.get(&link.url).no_key().header("Cookie", format!("daytona-sandbox-auth-{}=x", sandbox.id)),
        ),
    ] {
        let answer = request.send().await?;
        cx.check(id).status_in(&answer, &[307, 401]);
        cx.check(format!("{id}-nothing-shown")).on(&answer).that(
            answer.header("x-echo").is_empty(),
            "no answer of the program",
            "its answer",
        );
        if answer.status == 307 {
            cx.check(format!("{id}-location")).on(&answer).that(
                !answer.header("location").is_empty(),
                "a sign-in page",
                "",
            );
        }
    }
    Ok(())
}

async fn public_previews_are_open(cx: Cx) -> Result {
    let sandbox = cx.sandbox_with(json!({"public": true})).await?;
    serve(&cx, &sandbox).await?;
    let url = link(&sandbox, PORT).await?.url;
    cx.check("open").status(&cx.get(&url).no_key().send().await?, 200);
    cx.check("bad-key-is-ignored").status(&cx.get(&url).key("dtn_unknown-key-unknown").send().await?, 200);
    for port in [2280, 22222] {
        let url = link(&sandbox, port).await?.url;
        cx.check(format!("port{port}")).status_in(&cx.get(&url).no_key().send().await?, &[307, 401]);
    }
    sandbox.op(Method::POST, "/public/false").send().await?.ok()?;
    let closed = async || Ok((cx.get(&url).no_key().send().await?.status != 200).then_some(()));
    cx.eventually("the preview is closed again", Duration::from_secs(15), closed).await?;
    Ok(())
}

async fn signed_links_open_and_end(cx: Cx) -> Result {
    let sandbox = cx.shared().await?;
    serve(&cx, &sandbox).await?;
    let answer = sandbox
        .op(Method::GET, &format!("/ports/{PORT}/signed-preview-url?expiresInSeconds=600"))
        .send()
        .await?
        .ok()?;
    let (url, token) = (answer.string("/url")?, answer.string("/token")?);
    let opened = cx.get(&url).no_key().send().await?;
    cx.check("open").status(&opened, 200);
    let cookies = opened.headers.get_all("set-cookie").iter().filter_map(|one| one.to_str().ok());
    let own = cookies.filter(|cookie| cookie.contains("daytona-sandbox-auth-")).collect::<String>();
    cx.check("cookie").on(&opened).should().contains(&own, "daytona-sandbox-auth-");
    if !own.is_empty() {
        super::sign_in::is_for_an_hour(&cx, &opened, &own);
    }
    let path = format!("/ports/{PORT}/signed-preview-url?expiresInSeconds=1");
    let short = sandbox.op(Method::GET, &path).send().await?.ok()?.string("/url")?;
    let over = cx.eventually("a second ends", Duration::from_secs(10), async || {
        Ok((cx.get(&short).no_key().send().await?.status != 200).then_some(()))
    });
    cx.check("as-long-as-asked").that(over.await.is_ok(), "no answer after a second", "an answer after ten");
    let expire = format!("/ports/{PORT}/signed-preview-url/{token}/expire");
    cx.check("expire").status_in(&sandbox.op(Method::POST, &expire).send().await?, &[200, 201, 204]);
    let ended = async || Ok((cx.get(&url).no_key().send().await?.status != 200).then_some(()));
    cx.eventually("the signed preview ends", Duration::from_secs(10), ended).await?;
    let closed = cx.get(&url).no_key().send().await?;
    cx.check("ended").status_in(&closed, &[307, 401, 404]);
    Ok(())
}

async fn expiry_is_idempotent(cx: Cx) -> Result {
    let sandbox = cx.shared().await?;
    let answer = sandbox.op(Method::GET, "/ports/3000/signed-preview-url").send().await?.ok()?;
    let token = answer.string("/token")?;
    for (id, token) in [("first", token.as_str()), ("again", token.as_str()), ("unknown", "0123456789abcdef")] {
        let answer = sandbox.op(Method::POST, &format!("/ports/3000/signed-preview-url/{token}/expire")).send().await?;
        cx.check(id).status_in(&answer, &[200, 201, 204]);
    }
    Ok(())
}

async fn dead_port_is_bad_gateway(cx: Cx) -> Result {
    let sandbox = cx.shared().await?;
    let url = link(&sandbox, 9).await?.url;
    let answer = cx.get(&url).send().await?;
    cx.check("status").status(&answer, 502);
    cx.check("empty").on(&answer).eq(answer.text(), "");
    Ok(())
}

async fn credentials_are_stripped(cx: Cx) -> Result {
    let sandbox = cx.shared().await?;
    serve(&cx, &sandbox).await?;
    let link = link(&sandbox, PORT).await?;
    let request = cx.get(&link.url).header("X-Daytona-Preview-Token", &link.token).header("X-Mine", "kept");
    let request = request.query("DAYTONA_SANDBOX_AUTH_KEY", &link.token).query("mine", "kept");
    // The log shows redacted values; what came is compared here.
    let answer = request.send().await?.ok()?;
    let text = answer.text();
    cx.check("no-key").that(!text.contains(cx.key()), "the key nowhere", "the key");
    cx.check("no-token").that(!text.contains(&link.token), "the token nowhere", "the token");
    cx.check("header-kept").on(&answer).contains(&text.to_lowercase(), "\"x-mine\": \"kept\"");
    cx.check("query-kept").on(&answer).contains(answer["path"].as_str().unwrap_or_default(), "mine=kept");
    Ok(())
}

async fn everything_goes_through(cx: Cx) -> Result {
    let sandbox = cx.shared().await?;
    serve(&cx, &sandbox).await?;
    let url = format!("{}/a%20b/%C3%A9?q=%26&empty", link(&sandbox, PORT).await?.url);
    for method in [Method::POST, Method::PUT, Method::PATCH, Method::DELETE] {
        let answer = cx.api().request(method.clone(), &url).body("text/x-mine", "hé\u{1}llo").send().await?;
        cx.check(format!("{method}-method")).json(&answer, "/method", method.as_str());
        cx.check(format!("{method}-path")).json(&answer, "/path", "/a%20b/%C3%A9?q=%26&empty");
        cx.check(format!("{method}-body")).json(&answer, "/body", "h\u{c3}\u{a9}\u{1}llo");
    }
    for status in [201, 302, 404, 500] {
        let answer = cx.get(&url).header("X-Want-Status", status).send().await?;
        cx.check(format!("status-{status}")).status(&answer, status);
        cx.check(format!("header-{status}")).on(&answer).eq(answer.header("x-echo"), "here");
    }
    let answer = cx.get(&url).header("Cookie", "mine=1; yours=2").send().await?;
    cx.check("type").on(&answer).eq(answer.header("content-type"), "application/json");
    cx.check("length").on(&answer).eq(answer.body.len().to_string(), answer.header("x-length"));
    let cookies: Vec<_> = answer.headers.get_all("set-cookie").iter().filter_map(|one| one.to_str().ok()).collect();
    for cookie in ["one=1; Path=/", "two=2"] {
        cx.check("set-cookie").on(&answer).that(cookies.contains(&cookie), cookie, &cookies);
    }
    cx.check("cookie").on(&answer).contains(&answer.text().to_lowercase(), "\"cookie\": \"mine=1; yours=2\"");
    let host = reqwest::Url::parse(&url).ok().and_then(|url| url.host_str().map(str::to_owned)).unwrap_or_default();
    let forwarded = format!("\"x-forwarded-host\": \"{host}");
    cx.check("forwarded-host").should().on(&answer).contains(&answer.text().to_lowercase(), &forwarded);
    let head = cx.api().request(Method::HEAD, &url).send().await?;
    cx.check("head").status(&head, 200);
    cx.check("head-header").on(&head).eq(head.header("x-echo"), "here");
    Ok(())
}

async fn websockets_go_through(cx: Cx) -> Result {
    let sandbox = cx.shared().await?;
    serve(&cx, &sandbox).await?;
    let link = link(&sandbox, PORT).await?;
    let token = [("X-Daytona-Preview-Token", link.token.as_str())];
    for (id, headers) in [("key", &[][..]), ("token", &token[..])] {
        let request = cx.api().ws(&format!("{}/ws", link.url));
        let request = if headers.is_empty() { request } else { request.no_key() };
        let mut socket =
            headers.iter().fold(request, |request, (name, value)| request.header(name, value)).connect().await?;
        socket.send_text("hé there").await?;
        let said = socket.next(Duration::from_secs(10)).await?;
        cx.check(id).that(said == Some(Message::text("hé there")), "the text that was sent", said);
    }
    match cx.api().ws(&format!("{}/ws", link.url)).no_key().dial().await? {
        Dial::Refused(answer) => _ = cx.check("closed").status_in(&answer, &[307, 401]),
        Dial::Open(_) => _ = cx.check("closed").that(false, "a refusal without credentials", "an open WebSocket"),
    }
    Ok(())
}

async fn browsers_may_ask(cx: Cx) -> Result {
    let sandbox = cx.shared().await?;
    serve(&cx, &sandbox).await?;
    let origin = "https://app.example";
    for (id, url) in
        [("toolbox", format!("{}/version", sandbox.toolbox().base())), ("preview", link(&sandbox, PORT).await?.url)]
    {
        let asked = cx.get(&url).header("Origin", origin).send().await?;
        cx.check(format!("{id}-origin")).on(&asked).eq(asked.header("access-control-allow-origin"), origin);
        cx.check(format!("{id}-credentials")).on(&asked).eq(asked.header("access-control-allow-credentials"), "true");
        let preflight = cx.api().request(Method::OPTIONS, &url).no_key().header("Origin", origin);
        let preflight = preflight.header("Access-Control-Request-Method", "POST");
        let preflight = preflight.header("Access-Control-Request-Headers", "authorization,x-mine").send().await?;
        cx.check(format!("{id}-preflight")).status_in(&preflight, &[200, 204]);
        let allowed = preflight.header("access-control-allow-headers").to_ascii_lowercase();
        cx.check(format!("{id}-headers")).on(&preflight).contains(&allowed, "x-mine");
    }
    Ok(())
}

async fn signed_links_end_by_default(cx: Cx) -> Result {
    let sandbox = cx.sandbox_with(json!({"autoStopInterval": 0})).await?;
    let path = "/ports/3000/signed-preview-url";
    let token = sandbox.op(Method::GET, path).send().await?.ok()?.string("/token")?;
    let look = async || cx.get(&format!("/preview/{token}/3000/sandbox-id")).no_key().send().await;
    cx.clock(json!({"advance": 50})).await?;
    cx.check("lives").status(&look().await?, 200);
    cx.clock(json!({"advance": 15})).await?;
    cx.check("ends").error(&look().await?, 403, "Invalid or expired token");
    Ok(())
}

async fn restart_changes_the_token(cx: Cx) -> Result {
    let sandbox = cx.sandbox().await?;
    let old = link(&sandbox, 3000).await?.token;
    sandbox.stop().await?;
    sandbox.start().await?;
    let new = link(&sandbox, 3000).await?.token;
    cx.check("another").that(new != old, "another token", "the same");
    let refused = sandbox.get("/version").no_key().header("X-Daytona-Preview-Token", &old).send().await?;
    cx.check("old-refused").status(&refused, 401);
    let taken = sandbox.get("/version").no_key().header("X-Daytona-Preview-Token", &new).send().await?;
    cx.check("new-taken").status(&taken, 200);
    Ok(())
}

async fn token_lookup_is_open(cx: Cx) -> Result {
    let sandbox = cx.shared().await?;
    let token = sandbox.op(Method::GET, "/ports/3000/signed-preview-url").send().await?.ok()?.string("/token")?;
    let found = cx.get(&format!("/preview/{token}/3000/sandbox-id")).no_key().send().await?;
    cx.check("found").on(&found).eq(found.text(), sandbox.id.as_str());
    for (id, path) in [("wrong-port", format!("{token}/3001")), ("wrong-token", "0123456789abcdef/3000".to_owned())] {
        let answer = cx.get(&format!("/preview/{path}/sandbox-id")).no_key().send().await?;
        cx.check(id).error(&answer, 403, "Invalid or expired token");
    }
    Ok(())
}
