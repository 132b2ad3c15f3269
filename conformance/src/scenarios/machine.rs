//! What a sandbox tells of itself, its environment, its ports, and what the toolbox does with every request.

use reqwest::Method;

use crate::prelude::*;

scenarios! { "machine";
    /// The toolbox tells its version. (GetVersion)
    version_is_told: Must, covers ["GetVersion"];

    /// Work and home directory are absolute and there; `/project-dir` is the home under its old name. (GetWorkDir,
    /// GetUserHomeDir; observed)
    directories_are_told: Must, covers ["GetWorkDir", "GetUserHomeDir"];

    /// The token of telemetry is taken, again and again, and none at all. (Initialize; observed)
    init_is_taken: Must, covers ["Initialize"];

    /// No JSON is 400. (Initialize; observed)
    init_checks_its_body: Must, covers ["Initialize"];

    /// Variables are set and unset for processes started afterwards, in every way to start one. (UpdateEnv; SDKs: updateEnv)
    env_is_for_new_processes: Must, covers ["UpdateEnv"], since "0.200";

    /// `unsetValuePrefix` drops those whose value begins with it, but for those that are set. (UpdateEnv)
    env_drops_by_value: Should, covers ["UpdateEnv"], since "0.200";

    /// A body that isn't one is 400 with the code `INVALID_REQUEST_BODY`, and changes nothing. (UpdateEnv)
    env_checks_its_body: Must, covers ["UpdateEnv"], since "0.200";

    /// Measurements are numbers that go together. (GetSystemMetrics)
    metrics_are_plausible: Must, covers ["GetSystemMetrics"], since "0.200";

    /// A port that a program listens on is in use, and listed; one where nothing listens isn't. (GetPorts, IsPortInUse)
    ports_are_found: Must, covers ["GetPorts", "IsPortInUse"];

    /// Ports outside 3000 to 9999 and what is no number are 400. (IsPortInUse; observed)
    ports_are_checked: Must, covers ["IsPortInUse"];

    /// `/proxy/{port}/` hands any request on as it is: method, path, query, body; and its answer. (observed)
    proxy_hands_on: Must, covers [];

    /// A port where nothing listens is 502; a port that is none is 400. (observed)
    proxy_of_nothing: Must, covers [];

    /// Credentials for the sandbox don't reach what is behind the proxy.
    proxy_strips_credentials: Must, covers [], since "0.200";

    /// What no route takes is 404 in plain text, also a wrong method; there is no 405. (observed)
    unknown_paths_are_plain: Should, covers [];

    /// A slash too many is redirected, below the sandbox's own URL. (observed)
    slashes_are_redirected: Should, covers [];

    /// Every answer of the toolbox has an `X-Request-Id` of its own, a UUID. (observed)
    answers_have_ids: Should, covers ["GetVersion"];

    /// JSON is sent with its type and character set, `<`, `>` and `&` escaped. (observed)
    json_is_escaped: Should, covers ["ExecuteCommand"];

    /// Errors tell status, message, code, source, path, method and time. (ErrorResponse; SDKs)
    errors_are_complete: Must, covers ["GetFileInfo"], since "0.200";
}

async fn version_is_told(cx: Cx) -> Result {
    let answer = cx.shared().await?.get("/version").send().await?;
    cx.check("status").status(&answer, 200);
    cx.check("version").on(&answer).that(
        answer["version"].as_str().is_some_and(|v| !v.is_empty()),
        "a version",
        &answer["version"],
    );
    Ok(())
}

async fn directories_are_told(cx: Cx) -> Result {
    let sandbox = cx.shared().await?;
    let pwd = sandbox.output("pwd").await?;
    cx.check("work").json(&sandbox.get("/work-dir").send().await?, "/dir", pwd.trim());
    let home = sandbox.output("echo $HOME").await?;
    cx.check("home").json(&sandbox.get("/user-home-dir").send().await?, "/dir", home.trim());
    cx.check("project").should().json(&sandbox.get("/project-dir").send().await?, "/dir", home.trim());
    cx.check("there").json(
        &sandbox.exec(&format!("test -d '{}' && test -d '{}'", pwd.trim(), home.trim())).await?,
        "/exitCode",
        0,
    );
    Ok(())
}

async fn init_is_taken(cx: Cx) -> Result {
    let sandbox = cx.shared().await?;
    for (id, body) in [("token", json!({"token": "t"})), ("again", json!({"token": "u"})), ("none", json!({}))] {
        let answer = sandbox.post("/init").json(body).send().await?;
        cx.check(id).status(&answer, 200);
        let text = "Auth token set and telemetry initialized successfully";
        cx.check(format!("{id}-message")).should().json(&answer, "/message", text);
    }
    Ok(())
}

async fn init_checks_its_body(cx: Cx) -> Result {
    let answer = cx.shared().await?.post("/init").body("application/json", "no json").send().await?;
    cx.check("status").status(&answer, 400);
    Ok(())
}

async fn env_is_for_new_processes(cx: Cx) -> Result {
    let sandbox = cx.sandbox_with(json!({"env": {"GIVEN": "at creation"}})).await?;
    let show = "echo \"${GIVEN-unset} ${ADDED-unset}\"";
    cx.check("before").json(&sandbox.exec(show).await?, "/result", "at creation unset\n");
    let set = sandbox.post("/env").json(json!({"set": {"ADDED": "a b; $(c)"}, "unset": ["GIVEN"]})).send().await?;
    cx.check("status").status(&set, 200);
    cx.check("message").should().json(&set, "/message", "Environment updated successfully");
    cx.check("execute").json(&sandbox.exec(show).await?, "/result", "unset a b; $(c)\n");
    let created = sandbox.post("/process/session").json(json!({"sessionId": "env"})).send().await?;
    cx.check("session-created").status(&created, 201);
    let session = sandbox.post("/process/session/env/exec").header("X-Daytona-SDK-Version", "0.216.0");
    cx.check("session").json(&session.json(json!({"command": show})).send().await?, "/stdout", "unset a b; $(c)\n");
    // Unsetting comes first.
    let both = sandbox.post("/env").json(json!({"set": {"ADDED": "again"}, "unset": ["ADDED"]})).send().await?;
    cx.check("both").status(&both, 200);
    cx.check("set-wins").json(&sandbox.exec(show).await?, "/result", "unset again\n");
    // Without any content type, as the Python SDK sends it.
    let untyped = sandbox.post("/env").body("", r#"{"set": {"ADDED": "untyped"}}"#).send().await?;
    cx.check("untyped").status(&untyped, 200);
    cx.check("untyped-set").json(&sandbox.exec(show).await?, "/result", "unset untyped\n");
    Ok(())
}

async fn env_drops_by_value(cx: Cx) -> Result {
    let sandbox = cx.sandbox_with(json!({"env": {"ONE": "secret:1", "TWO": "secret:2", "THREE": "plain"}})).await?;
    let body = json!({"set": {"TWO": "secret:new"}, "unsetValuePrefix": "secret:"});
    cx.check("status").status(&sandbox.post("/env").json(body).send().await?, 200);
    let answer = sandbox.exec("echo ${ONE-unset} ${TWO-unset} ${THREE-unset}").await?;
    cx.check("left").json(&answer, "/result", "unset secret:new plain\n");
    Ok(())
}

async fn env_checks_its_body(cx: Cx) -> Result {
    let sandbox = cx.shared().await?;
    for (id, body) in
        [("garbage", "no json"), ("set-a-list", r#"{"set": ["a"]}"#), ("unset-a-text", r#"{"unset": "A"}"#)]
    {
        let answer = sandbox.post("/env").body("application/json", body).send().await?;
        cx.check(id).status(&answer, 400);
        cx.check(format!("{id}-code")).json(&answer, "/code", "INVALID_REQUEST_BODY");
    }
    Ok(())
}

async fn metrics_are_plausible(cx: Cx) -> Result {
    let answer = cx.shared().await?.get("/system/metrics").send().await?;
    cx.check("status").status(&answer, 200);
    let number = |name: &str| answer[name].as_f64().unwrap_or(-1.0);
    cx.check("cpus").on(&answer).that(number("cpuCount") >= 1.0, "at least one", &answer["cpuCount"]);
    let percent = number("cpuUsedPct");
    cx.check("percent").on(&answer).that((0.0..=110.0).contains(&percent), "0 to 100", percent);
    for (used, total) in [("memUsed", "memTotal"), ("diskUsed", "diskTotal"), ("diskFree", "diskTotal")] {
        let plausible = number(used) >= 0.0 && number(total) > 0.0 && number(used) <= number(total);
        cx.check(used).on(&answer).that(plausible, "at most the total", (number(used), number(total)));
    }
    let cached = number("memCache") >= 0.0 && number("memCache") <= number("memTotal");
    cx.check("memCache").on(&answer).that(cached, "at most the total", &answer["memCache"]);
    // Some of a disk may be kept for root.
    let share = (number("diskUsed") + number("diskFree")) / number("diskTotal");
    cx.check("disk").on(&answer).that((0.8..1.01).contains(&share), "used and free are about the total", share);
    // The machine's clock is not the control plane's.
    let now = answer.date().unwrap_or_else(chrono::Utc::now).timestamp() as f64;
    let told = number("timestampUnix");
    cx.check("time").on(&answer).that((told - now).abs() < 120.0, "the time now, in seconds", told);
    Ok(())
}

/// Starts a web server of the given files on a free port.
async fn serve(cx: &Cx, sandbox: &Sandbox, port: u16) -> Result {
    sandbox.needs_program("python3").await?;
    let program = format!(
        r#"
import http.server
class H(http.server.BaseHTTPRequestHandler):
    def do(self):
        body = self.rfile.read(int(self.headers.get('Content-Length') or 0))
        said = (self.command + ' ' + self.path + '\n' + str(self.headers)).encode() + body
        self.send_response(418)
        self.send_header('X-Own', 'here')
        self.send_header('Content-Length', str(len(said)))
        self.end_headers()
        self.wfile.write(said)
    do_GET = do_POST = do_PUT = do_PATCH = do_DELETE = do
    def log_message(self, *a): pass
http.server.ThreadingHTTPServer(('0.0.0.0', {port}), H).serve_forever()
"#
    );
    let file = format!("{}.py", cx.dir());
    sandbox.upload(&file, program.as_bytes()).await?.ok()?;
    sandbox.output(&format!("setsid python3 {file} >/dev/null 2>&1 & true")).await?;
    let listens = async || {
        let answer = sandbox.get(&format!("/port/{port}/in-use")).send().await?.ok()?;
        Ok((answer["isInUse"] == true).then_some(()))
    };
    cx.eventually("the program listens", Duration::from_secs(20), listens).await
}

async fn ports_are_found(cx: Cx) -> Result {
    let sandbox = cx.shared().await?;
    let port = 3217;
    let free = sandbox.get(&format!("/port/{port}/in-use")).send().await?;
    cx.check("free").json(&free, "/isInUse", false);
    serve(&cx, &sandbox, port).await?;
    cx.check("used").json(&sandbox.get(&format!("/port/{port}/in-use")).send().await?, "/isInUse", true);
    let listed = async || {
        let ports = sandbox.get("/port").send().await?.ok()?;
        Ok(ports.array("/ports")?.contains(&json!(port)).then_some(()))
    };
    let listed = cx.eventually("listed", Duration::from_secs(20), listed).await;
    cx.check("listed").that(listed.is_ok(), "the port in the list", "not in the list");
    Ok(())
}

async fn ports_are_checked(cx: Cx) -> Result {
    let sandbox = cx.shared().await?;
    for port in ["2999", "10000", "0", "-1", "99999", "abc"] {
        let answer = sandbox.get(&format!("/port/{port}/in-use")).send().await?;
        cx.check(format!("port-{port}")).status(&answer, 400);
    }
    for port in ["3000", "9999"] {
        cx.check(format!("port-{port}")).status(&sandbox.get(&format!("/port/{port}/in-use")).send().await?, 200);
    }
    Ok(())
}

async fn proxy_hands_on(cx: Cx) -> Result {
    let sandbox = cx.shared().await?;
    serve(&cx, &sandbox, 3218).await?;
    for method in [Method::GET, Method::POST, Method::PUT, Method::PATCH, Method::DELETE] {
        let path = "/proxy/3218/a%20b/%C3%A9?q=%26&r";
        let request = sandbox.toolbox().request(method.clone(), path).header("X-Mine", "kept");
        let answer = request.body("text/x-mine", "the body").send().await?;
        cx.check(format!("{method}-status")).status(&answer, 418);
        cx.check(format!("{method}-header")).on(&answer).eq(answer.header("x-own"), "here");
        let text = answer.text().to_lowercase();
        for part in ["/a%20b/%c3%a9?q=%26&r\n", "x-mine: kept", "text/x-mine", "host: localhost:3218", "the body"] {
            cx.check(format!("{method} {part:?}")).on(&answer).contains(&text, part);
        }
        cx.check(format!("{method}-method")).on(&answer).that(
            answer.text().starts_with(method.as_str()),
            "the method",
            &text,
        );
    }
    Ok(())
}

async fn proxy_of_nothing(cx: Cx) -> Result {
    let sandbox = cx.shared().await?;
    cx.check("nothing").status(&sandbox.get("/proxy/3999/").send().await?, 502);
    cx.check("no-port").status(&sandbox.get("/proxy/abc/").send().await?, 400);
    cx.check("no-slash").should().status(&sandbox.get("/proxy/3999").send().await?, 301);
    Ok(())
}

async fn proxy_strips_credentials(cx: Cx) -> Result {
    let sandbox = cx.shared().await?;
    serve(&cx, &sandbox, 3219).await?;
    let token = sandbox.op(Method::GET, "/ports/3219/preview-url").send().await?.ok()?.string("/token")?;
    let request = sandbox.get("/proxy/3219/x?a=b").header("X-Daytona-Preview-Token", &token);
    let text = request.send().await?.text();
    cx.check("key").that(!text.contains(cx.key()), "a request without the key", "the key");
    cx.check("token").that(!text.contains(&token), "a request without the token", "the token");
    cx.check("rest").contains(&text, "/x?a=b");
    Ok(())
}

async fn unknown_paths_are_plain(cx: Cx) -> Result {
    let sandbox = cx.shared().await?;
    for (id, method, path) in [
        ("path", Method::GET, "/nope"),
        ("below", Method::GET, "/version/more"),
        ("method", Method::PUT, "/process/execute"),
        ("delete", Method::DELETE, "/version"),
    ] {
        let answer = sandbox.toolbox().request(method, path).unjudged().send().await?;
        cx.check(id).status(&answer, 404);
        cx.check(format!("{id}-text")).on(&answer).eq(answer.text(), "404 page not found");
        let kind = answer.header("content-type");
        cx.check(format!("{id}-type")).on(&answer).that(kind.starts_with("text/plain"), "text/plain", kind);
    }
    Ok(())
}

async fn slashes_are_redirected(cx: Cx) -> Result {
    let sandbox = cx.shared().await?;
    let get = sandbox.get("/version/").send().await?;
    cx.check("get").status(&get, 301);
    let location = get.header("location");
    cx.check("below").on(&get).that(
        location.ends_with(&format!("{}/version", sandbox.id)),
        "the sandbox's URL",
        location,
    );
    let post = sandbox.post("/process/execute/").json(json!({"command": "true"})).send().await?;
    cx.check("post").status(&post, 307);
    Ok(())
}

async fn answers_have_ids(cx: Cx) -> Result {
    let sandbox = cx.shared().await?;
    let mut seen = std::collections::HashSet::new();
    for path in ["/version", "/version", "/nope", "/files/info"] {
        let answer = sandbox.get(path).unjudged().send().await?;
        let id = answer.header("x-request-id").to_owned();
        cx.check("uuid").on(&answer).that(uuid::Uuid::try_parse(&id).is_ok(), "a UUID", &id);
        cx.check("own").on(&answer).that(seen.insert(id), "another id each time", "the same");
    }
    Ok(())
}

async fn json_is_escaped(cx: Cx) -> Result {
    let answer = cx.shared().await?.exec("echo '<&>'").await?;
    cx.check("type").on(&answer).eq(answer.header("content-type"), "application/json; charset=utf-8");
    cx.check("escaped").on(&answer).contains(&answer.text(), r"\u003c\u0026\u003e");
    cx.check("value").json(&answer, "/result", "<&>\n");
    Ok(())
}

async fn errors_are_complete(cx: Cx) -> Result {
    let sandbox = cx.shared().await?;
    let answer = sandbox.get("/files/info").query("path", "/no/such").send().await?;
    cx.check("status").json(&answer, "/statusCode", 404);
    cx.check("code").json(&answer, "/code", "FILE_NOT_FOUND");
    cx.check("message").json(&answer, "/message", "stat /no/such: no such file or directory");
    cx.check("source").json(&answer, "/source", "DAYTONA_DAEMON");
    cx.check("path").json(&answer, "/path", "/files/info");
    cx.check("method").json(&answer, "/method", "GET");
    let time = chrono::DateTime::parse_from_rfc3339(answer["timestamp"].as_str().unwrap_or_default());
    let now = answer.date().unwrap_or_else(chrono::Utc::now);
    let near = time.is_ok_and(|time| (now - time.to_utc()).num_seconds().abs() < 120);
    cx.check("timestamp").on(&answer).that(near, "the time now", &answer["timestamp"]);
    let kind = answer.header("content-type");
    cx.check("type").on(&answer).that(kind.starts_with("application/json"), "JSON", kind);
    Ok(())
}
