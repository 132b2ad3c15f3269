use crate::prelude::*;

scenarios! { "transport";
    /// A route that doesn't exist is answered 404 `Cannot METHOD /path` in the envelope, with a key or without; so is a
    /// method that a route doesn't have. SDK tests look for that text to find out what a server lacks. (observed)
    unknown_route_names_itself: Must, covers [];

    /// A body that is no JSON is answered 400 `Invalid JSON in request body`, before the key is looked at. (observed)
    invalid_json_is_refused_first: Must, covers ["createSandbox"];

    /// No body, an empty one or one of another content type counts as an empty object. (observed)
    missing_body_is_an_empty_object: Must, covers ["updateNetworkSettings"];

    /// Every answer carries `X-Daytona-Api-Version`, errors too. The CLI warns by it. (observed)
    version_header_is_everywhere: Must, covers ["listSandboxes", "HealthController_live"];

    /// Health is answered like everything else: JSON in UTF-8, with a weak ETag and what caches must know of origins.
    /// (observed)
    health_has_the_usual_headers: Should, covers ["HealthController_live"];

    /// JSON answers have an ETag, and `If-None-Match` with it is answered 304 without a body. (observed)
    etag_is_honoured: Should, covers ["ConfigController_getConfig"];

    /// Paths are found in any case and with a slash at the end; HEAD works where GET does. (observed)
    lenient_routing: Should, covers ["HealthController_live"];

    /// A browser's preflight is answered 204 with the origin, the methods and the headers it asked for. (observed)
    preflight_is_answered: Must, covers ["ConfigController_getConfig"];

    /// The envelope says path with query, time, status, reason phrase and message. (SDKs read `message`; observed)
    envelope_is_complete: Must, covers ["getSandbox"];

    /// Fifty requests at once over as many connections are all answered. (clients open fifty; observed)
    fifty_requests_at_once: Must, covers ["listSandboxes"];
}

async fn unknown_route_names_itself(cx: Cx) -> Result {
    for (id, path) in [("root", "/no-such-route"), ("below", "/sandbox/x/no-such-operation"), ("deep", "/a/b/c/d")] {
        let message = format!("Cannot GET /api{path}");
        cx.check(id).error(&cx.get(path).send().await?, 404, &message);
        cx.check(format!("{id}-no-key")).error(&cx.get(path).no_key().send().await?, 404, &message);
    }
    let answer = cx.api().patch("/sandbox").json(json!({})).send().await?;
    cx.check("method").error(&answer, 404, "Cannot PATCH /api/sandbox");
    Ok(())
}

async fn invalid_json_is_refused_first(cx: Cx) -> Result {
    for (id, body) in [("cut", "{\"name\":"), ("garbage", "\u{0}x"), ("string", "\"text\""), ("number", "5")] {
        let answer = cx.post("/sandbox").no_key().body("application/json", body).send().await?;
        cx.check(id).error(&answer, 400, "Invalid JSON in request body");
    }
    Ok(())
}

async fn missing_body_is_an_empty_object(cx: Cx) -> Result {
    // A body that is looked at, of an operation that changes nothing without fields.
    for (id, kind, body) in [("none", "", ""), ("empty", "application/json", ""), ("xml", "text/xml", "<a/>")] {
        let answer = cx.post("/sandbox/no-such-sandbox/network-settings").body(kind, body).send().await?;
        cx.check(id).error(&answer, 404, "Sandbox with ID or name no-such-sandbox not found");
    }
    Ok(())
}

async fn version_header_is_everywhere(cx: Cx) -> Result {
    for (id, request) in [
        ("open", cx.get("/health").no_key()),
        ("good", cx.get("/sandbox?limit=1&name=nobody")),
        ("refused", cx.get("/sandbox").no_key()),
        ("missing", cx.get("/no-such-route")),
    ] {
        let answer = request.send().await?;
        let version = answer.header("x-daytona-api-version");
        cx.check(id).on(&answer).that(!version.is_empty(), "X-Daytona-Api-Version", &answer.headers);
    }
    Ok(())
}

async fn health_has_the_usual_headers(cx: Cx) -> Result {
    let answer = cx.get("/health").no_key().send().await?;
    cx.check("type").on(&answer).eq(answer.header("content-type"), "application/json; charset=utf-8");
    let tag = answer.header("etag").to_owned();
    cx.check("etag").on(&answer).that(tag.starts_with("W/\""), "a weak ETag", &tag);
    let vary = answer.headers.get_all("vary").iter().filter_map(|one| one.to_str().ok()).collect::<Vec<_>>().join(",");
    cx.check("vary").on(&answer).contains(&vary.to_ascii_lowercase(), "origin");
    let again = cx.get("/health").no_key().header("If-None-Match", tag).send().await?;
    cx.check("not-modified").status(&again, 304);
    Ok(())
}

async fn etag_is_honoured(cx: Cx) -> Result {
    let first = cx.get("/config").send().await?.ok()?;
    let tag = first.header("etag").to_owned();
    cx.check("etag").on(&first).that(!tag.is_empty(), "an ETag", &tag);
    let again = cx.get("/config").header("If-None-Match", &tag).send().await?;
    cx.check("not-modified").status(&again, 304);
    cx.check("no-body").eq(again.body.len(), 0);
    cx.check("another").status(&cx.get("/config").header("If-None-Match", "W/\"1\"").send().await?, 200);
    Ok(())
}

async fn lenient_routing(cx: Cx) -> Result {
    cx.check("case").status(&cx.get("/HEALTH").send().await?, 200);
    cx.check("slash").status(&cx.get("/health/").send().await?, 200);
    let head = cx.api().request(reqwest::Method::HEAD, "/health").send().await?;
    cx.check("head").status(&head, 200);
    cx.check("head-body").eq(head.body.len(), 0);
    Ok(())
}

async fn preflight_is_answered(cx: Cx) -> Result {
    let origin = "https://app.example";
    let request = cx.api().request(reqwest::Method::OPTIONS, "/sandbox").no_key().header("Origin", origin);
    let request = request.header("Access-Control-Request-Method", "POST");
    let answer = request.header("Access-Control-Request-Headers", "authorization,content-type").send().await?;
    cx.check("status").status(&answer, 204);
    cx.check("origin").on(&answer).eq(answer.header("access-control-allow-origin"), origin);
    cx.check("methods").on(&answer).contains(answer.header("access-control-allow-methods"), "POST");
    let allowed = answer.header("access-control-allow-headers").to_ascii_lowercase();
    cx.check("headers").on(&answer).contains(&allowed, "authorization");
    let real = cx.get("/config").header("Origin", origin).send().await?;
    cx.check("answer-origin").on(&real).eq(real.header("access-control-allow-origin"), origin);
    // What caches must know, since the origin is echoed.
    let vary = real.headers.get_all("vary").iter().filter_map(|one| one.to_str().ok()).collect::<Vec<_>>().join(",");
    cx.check("vary").on(&real).contains(&vary.to_ascii_lowercase(), "origin");
    for (id, answer) in [("preflight", &answer), ("answer", &real)] {
        let credentials = answer.header("access-control-allow-credentials");
        cx.check(format!("{id}-no-credentials")).on(answer).eq(credentials, "");
    }
    Ok(())
}

async fn envelope_is_complete(cx: Cx) -> Result {
    let answer = cx.get("/sandbox/no such?verbose=true").send().await?;
    cx.check("message").error(&answer, 404, "Sandbox with ID or name no such not found");
    cx.check("path").json(&answer, "/path", "/api/sandbox/no%20such?verbose=true");
    cx.check("status-code").json(&answer, "/statusCode", 404);
    cx.check("error").json(&answer, "/error", "Not Found");
    let at = answer["timestamp"].as_str().and_then(|at| chrono::DateTime::parse_from_rfc3339(at).ok());
    let now = answer.date().unwrap_or_else(chrono::Utc::now);
    let off = at.map(|at| (now - at.to_utc()).num_seconds().abs());
    cx.check("timestamp").on(&answer).should().that(off.is_some_and(|off| off < 300), "now", &answer["timestamp"]);
    Ok(())
}

async fn fifty_requests_at_once(cx: Cx) -> Result {
    let requests = (0..50).map(|_| cx.get("/sandbox").query("name", "nobody").send());
    let answers = futures_util::future::try_join_all(requests).await?;
    let good = answers.iter().filter(|answer| answer.status == 200).count();
    cx.check("all-answered").eq(good, 50);
    Ok(())
}
