use proptest::prelude::*;
use reqwest::Method;

use crate::prelude::*;

scenarios! { "settings";
    /// Labels are replaced as a whole, the answer has them, and the list finds the sandbox by the new ones only.
    /// (replaceLabels)
    labels_are_replaced: Must, covers ["replaceLabels"];

    /// Whatever labels a sandbox is given, it has. (replaceLabels)
    labels_round_trip: Must, covers ["replaceLabels", "getSandbox"], classes [Generated];

    /// Intervals are set in minutes and come back; a negative one means off only where that is documented. (observed)
    intervals_are_set: Must, covers ["setAutostopInterval", "setAutoArchiveInterval", "setAutoDeleteInterval"];

    /// Intervals that aren't whole numbers are refused and change nothing. (the original answers 500; a server may be
    /// clearer)
    odd_intervals_are_refused: Should, covers ["setAutostopInterval", "setAutoArchiveInterval", "setAutoDeleteInterval"];

    /// `public/true` opens previews, anything else closes them. (updatePublicStatus; observed)
    public_is_switched: Must, covers ["updatePublicStatus"];

    /// Activity can be told, by name too, and moves `lastActivityAt`. (updateLastActivity; observed)
    activity_is_told: Must, covers ["updateLastActivity"];

    /// Network settings exclude each other as documented: a list ends a block, a block ends the list. (observed)
    network_settings_replace_each_other: Must, covers ["updateNetworkSettings"];

    /// Bad network settings are refused with their own messages, and change nothing. (observed)
    network_settings_are_validated: Must, covers ["updateNetworkSettings"];

    /// A time to live sets `autoDestroyAt`, zero takes it away. (setTtl)
    time_to_live: Must, covers ["setTtl"], since "0.200";

    /// Metrics of a started sandbox, where any are kept, are series of points within the window, by the names that SDKs
    /// ask for. (getSandboxMetrics; PyPI daytona, common/sandbox.py)
    metrics_are_within_the_window: Should, covers ["getSandboxMetrics"];

    /// Auto-pause is for machines that can be paused: a container refuses it, or takes 0 for off. (setAutoPauseInterval)
    auto_pause_is_for_machines: Should, covers ["setAutoPauseInterval"], since "0.200";

    /// The toolbox's URL is the one in the sandbox. (getToolboxProxyUrl)
    toolbox_url_is_known: Must, covers ["getToolboxProxyUrl"];

    /// A sandbox that was not built has no build logs: 404. (observed)
    no_build_logs: Must, covers ["getBuildLogs", "getBuildLogsUrl"];

    /// Telemetry needs a time window, and is empty where nothing was measured. (observed)
    telemetry_needs_a_window: Must,
        covers ["getSandboxMetrics", "getSandboxLogs", "getSandboxTraces", "getSandboxTraceSpans"];

    /// An idle sandbox stops by itself after its interval. (SDKs: autoStopInterval)
    auto_stop: Must, covers ["createSandbox"], needs [Clock], classes [Alone];

    /// A stopped sandbox is deleted after its interval. (SDKs: autoDeleteInterval)
    auto_delete: Must, covers ["createSandbox", "stopSandbox"], needs [Clock], classes [Alone];

    /// A sandbox ends with its time to live, whatever it does. (SDKs: ttlMinutes)
    ttl_ends_it: Must, covers ["createSandbox"], needs [Clock], since "0.200", classes [Alone];

    /// Interval 0 switches auto-stop off. (SDKs: autoStopInterval)
    zero_never_stops: Must, covers ["createSandbox"], needs [Clock], classes [Alone];
}

async fn labels_are_replaced(cx: Cx) -> Result {
    let group = cx.name("group");
    let sandbox = cx.sandbox_with(json!({"labels": {"old": group}})).await?;
    let labels = cx.labels(json!({"new": group}));
    let put = sandbox.op(Method::PUT, "/labels").json(json!({"labels": labels})).send().await?;
    cx.check("status").status(&put, 200);
    cx.check("answer").json(&put, "/labels", labels.clone());
    cx.check("kept").json(&sandbox.read().await?, "/labels", labels);
    for (id, key, expected) in [("found-by-new", "new", 1), ("not-by-old", "old", 0)] {
        let filter = json!({key: group}).to_string();
        let list = cx.get("/sandbox").query("labels", filter).send().await?;
        cx.check(id).on(&list).eq(list["items"].as_array().map(Vec::len), Some(expected));
    }
    Ok(())
}

async fn labels_round_trip(cx: Cx) -> Result {
    let sandbox = cx.sandbox().await?;
    let text = "[^\\x00]{0,40}";
    let maps = prop::collection::btree_map("[a-zA-Z0-9./_ é✓-]{1,30}", text, 0..8);
    cx.law("same", "the labels that were given", maps, move |cx, map| {
        let sandbox = sandbox.clone();
        async move {
            let labels = cx.labels(json!(map));
            let put = sandbox.op(Method::PUT, "/labels").json(json!({"labels": labels})).send().await?;
            let read = sandbox.read().await?;
            let good = put.status == 200 && put["labels"] == labels && read["labels"] == labels;
            Ok((!good).then(|| format!("{} then {}", put.summary(), read["labels"])))
        }
    })
    .await
}

async fn intervals_are_set(cx: Cx) -> Result {
    let sandbox = cx.sandbox().await?;
    for (id, path, field, expected) in [
        ("autostop", "/autostop/7", "autoStopInterval", 7),
        ("autostop-off", "/autostop/0", "autoStopInterval", 0),
        ("autoarchive", "/autoarchive/60", "autoArchiveInterval", 60),
        ("autoarchive-maximum", "/autoarchive/0", "autoArchiveInterval", 43200),
        ("autoarchive-clamped", "/autoarchive/99999", "autoArchiveInterval", 43200),
        ("autodelete", "/autodelete/45", "autoDeleteInterval", 45),
        ("autodelete-off", "/autodelete/-1", "autoDeleteInterval", -1),
    ] {
        let answer = sandbox.op(Method::POST, path).send().await?;
        cx.check(format!("{id}-status")).status_in(&answer, &[200, 201]);
        cx.check(format!("{id}-answer")).json(&answer, &format!("/{field}"), expected);
        cx.check(id).json(&sandbox.read().await?, &format!("/{field}"), expected);
    }
    let config = cx.get("/config").send().await?;
    cx.check("maximum-is-told").json(&config, "/maxAutoArchiveInterval", 43200);
    for (id, path, message) in [
        ("autostop-negative", "/autostop/-1", "Auto-stop interval must be non-negative"),
        ("autoarchive-negative", "/autoarchive/-1", "Auto-archive interval must be non-negative"),
    ] {
        cx.check(id).error(&sandbox.op(Method::POST, path).send().await?, 400, message);
    }
    Ok(())
}

async fn odd_intervals_are_refused(cx: Cx) -> Result {
    let sandbox = cx.sandbox().await?;
    let before = sandbox.read().await?;
    for path in ["autostop", "autoarchive", "autodelete"] {
        for value in ["x", "1.5"] {
            let answer = sandbox.op(Method::POST, &format!("/{path}/{value}")).send().await?;
            cx.check(format!("{path}-{value}")).status(&answer, 400);
        }
    }
    let after = sandbox.read().await?;
    for field in ["autoStopInterval", "autoArchiveInterval", "autoDeleteInterval"] {
        cx.check(field).on(&after).eq(&after[field], &before[field]);
    }
    Ok(())
}

async fn public_is_switched(cx: Cx) -> Result {
    let sandbox = cx.sandbox().await?;
    for (id, value, expected) in [("true", "true", true), ("false", "false", false), ("upper-case", "TRUE", false)] {
        let answer = sandbox.op(Method::POST, &format!("/public/{value}")).send().await?;
        cx.check(format!("{id}-status")).status_in(&answer, &[200, 201]);
        cx.check(id).json(&answer, "/public", expected);
        cx.check(format!("{id}-kept")).json(&sandbox.read().await?, "/public", expected);
    }
    Ok(())
}

async fn activity_is_told(cx: Cx) -> Result {
    let sandbox = cx.sandbox_with(json!({"name": cx.name("active")})).await?;
    let before = sandbox.read().await?.string("/lastActivityAt")?;
    for (id, path) in [("by-id", &sandbox.id), ("by-name", &sandbox.name)] {
        let answer = cx.post(&format!("/sandbox/{path}/last-activity")).send().await?;
        cx.check(id).status(&answer, 201);
        cx.check(format!("{id}-empty")).on(&answer).eq(answer.text(), "");
    }
    // What comes at once after a change may count as part of it.
    let moved = cx.eventually("lastActivityAt moves", Duration::from_secs(30), async || {
        sandbox.op(Method::POST, "/last-activity").send().await?.ok()?;
        let now = sandbox.read().await?.string("/lastActivityAt")?;
        Ok((now > before).then_some(now))
    });
    cx.check("moves").that(moved.await? > before, "a later time", &before);
    Ok(())
}

async fn network_settings_replace_each_other(cx: Cx) -> Result {
    let sandbox = cx.sandbox().await?;
    let set = async |body: Value| sandbox.op(Method::POST, "/network-settings").json(body).send().await;
    let list = set(json!({"networkAllowList": "10.0.0.0/8"})).await?;
    cx.check("list").json(&list, "/networkAllowList", "10.0.0.0/8");
    let block = set(json!({"networkBlockAll": true})).await?;
    cx.check("block").json(&block, "/networkBlockAll", true);
    let read = sandbox.read().await?;
    cx.check("block-ends-the-list").json(&read, "/networkAllowList", Value::Null);
    set(json!({"networkAllowList": "192.168.0.0/16"})).await?;
    let read = sandbox.read().await?;
    cx.check("list-ends-the-block").json(&read, "/networkBlockAll", false);
    cx.check("list-again").json(&read, "/networkAllowList", "192.168.0.0/16");
    set(json!({"domainAllowList": "*.example.com,example.org"})).await?;
    cx.check("domains").json(&sandbox.read().await?, "/domainAllowList", "*.example.com,example.org");
    set(json!({"networkBlockAll": false, "domainAllowList": ""})).await?;
    let read = sandbox.read().await?;
    cx.check("open-again").json(&read, "/networkBlockAll", false);
    cx.check("no-list").json(&read, "/networkAllowList", Value::Null);
    cx.check("no-domains").json(&read, "/domainAllowList", Value::Null);
    Ok(())
}

async fn network_settings_are_validated(cx: Cx) -> Result {
    let sandbox = cx.shared().await?;
    let nothing = "At least one of networkBlockAll, networkAllowList or domainAllowList must be provided";
    for (id, body, message) in [
        ("nothing", json!({}), nothing),
        ("block", json!({"networkBlockAll": "yes"}), "networkBlockAll must be a boolean value"),
        ("list", json!({"networkAllowList": 5}), "networkAllowList must be a string"),
        (
            "network",
            json!({"networkAllowList": "1.2.3.4"}),
            "Invalid network format: \"1.2.3.4\". Missing CIDR prefix length (e.g., /24)",
        ),
        ("domain", json!({"domainAllowList": "a b"}), "Invalid domain: \"a b\". Must be a valid domain name"),
    ] {
        let answer = sandbox.op(Method::POST, "/network-settings").json(body).send().await?;
        cx.check(id).error(&answer, 400, message);
    }
    cx.check("unchanged").json(&sandbox.read().await?, "/networkBlockAll", false);
    Ok(())
}

async fn time_to_live(cx: Cx) -> Result {
    let sandbox = cx.sandbox().await?;
    let set = sandbox.op(Method::POST, "/ttl/60").send().await?;
    cx.check("status").status_in(&set, &[200, 201]);
    let at = sandbox.read().await?;
    let hour = cx.now().await + chrono::TimeDelta::minutes(60);
    for (id, answer) in [("set", &at), ("set-answer", &set)] {
        let told = time(&answer["autoDestroyAt"]);
        let fits = told.is_some_and(|told| (told - hour).abs() < chrono::TimeDelta::minutes(2));
        cx.check(id).on(answer).that(fits, "the time in 60 minutes", &answer["autoDestroyAt"]);
    }
    sandbox.op(Method::POST, "/ttl/0").send().await?.ok()?;
    cx.check("taken-away").json(&sandbox.read().await?, "/autoDestroyAt", Value::Null);
    let refused = sandbox.op(Method::POST, "/ttl/x").send().await?;
    cx.check("no-number").status(&refused, 400);
    Ok(())
}

async fn auto_pause_is_for_machines(cx: Cx) -> Result {
    let sandbox = cx.sandbox().await?;
    let off = sandbox.op(Method::POST, "/autopause/0").send().await?;
    cx.check("off").status_in(&off, &[200, 201, 400, 422]);
    let on = sandbox.op(Method::POST, "/autopause/5").send().await?;
    cx.check("on").status_in(&on, &[400, 422]);
    cx.check("negative").status(&sandbox.op(Method::POST, "/autopause/-1").send().await?, 400);
    Ok(())
}

async fn toolbox_url_is_known(cx: Cx) -> Result {
    let sandbox = cx.shared().await?;
    let answer = sandbox.op(Method::GET, "/toolbox-proxy-url").send().await?;
    cx.check("url").json(&answer, "/url", sandbox.created["toolboxProxyUrl"].clone());
    cx.check("read").json(&sandbox.read().await?, "/toolboxProxyUrl", answer["url"].clone());
    Ok(())
}

async fn no_build_logs(cx: Cx) -> Result {
    let sandbox = cx.shared().await?;
    let url = sandbox.op(Method::GET, "/build-logs-url").send().await?;
    cx.check("url").error(&url, 404, &format!("Sandbox {} has no build info", sandbox.id));
    let logs = sandbox.op(Method::GET, "/build-logs").send().await?;
    cx.check("logs").error(&logs, 404, &format!("Sandbox with ID or name {} has no build info", sandbox.id));
    Ok(())
}

async fn telemetry_needs_a_window(cx: Cx) -> Result {
    let sandbox = cx.shared().await?;
    let dates = "from must be a valid ISO 8601 date string, to must be a valid ISO 8601 date string";
    let window = "from=2026-01-01T00:00:00Z&to=2026-01-02T00:00:00Z";
    for (id, path, pointer, empty) in [
        ("metrics", "/telemetry/metrics", "/series", json!([])),
        ("logs", "/telemetry/logs", "/items", json!([])),
        ("traces", "/telemetry/traces", "/items", json!([])),
    ] {
        cx.check(format!("{id}-refused")).error(&sandbox.op(Method::GET, path).send().await?, 400, dates);
        let answer = sandbox.op(Method::GET, &format!("{path}?{window}")).send().await?;
        cx.check(id).json(&answer, pointer, empty);
    }
    let spans = sandbox.op(Method::GET, "/telemetry/traces/no-such-trace").send().await?;
    cx.check("spans").json(&spans, "", json!([]));
    Ok(())
}

async fn metrics_are_within_the_window(cx: Cx) -> Result {
    let sandbox = cx.shared().await?;
    let created = sandbox.created["createdAt"].as_str().unwrap_or_default();
    let window = format!("/telemetry/metrics?from={created}&to=2100-01-01T00:00:00Z");
    let all = sandbox.op(Method::GET, &window).send().await?.ok()?;
    let Some(first) = all.array("/series")?.first().cloned() else {
        return Err(Stop::not_applicable("metrics of sandboxes"));
    };
    let points = first["dataPoints"].as_array().cloned().unwrap_or_default();
    let fits =
        |point: &Value| point["value"].is_number() && point["timestamp"].as_str().is_some_and(|at| at >= created);
    cx.check("points").on(&all).that(!points.is_empty() && points.iter().all(fits), "points with values", &points);
    let name = "daytona.sandbox.memory.limit";
    let one = sandbox.op(Method::GET, &format!("{window}&metricNames={name}")).send().await?.ok()?;
    let names: Vec<&Value> = one.array("/series")?.iter().map(|series| &series["metricName"]).collect();
    cx.check("by-name").on(&one).eq(names, vec![&json!(name)]);
    let none = sandbox.op(Method::GET, "/telemetry/metrics?from=2000-01-01&to=2000-01-02").send().await?;
    cx.check("another-window").json(&none, "/series", json!([]));
    Ok(())
}

/// Turns the clock, and sets it going again whatever the scenario finds.
async fn after(cx: &Cx, minutes: u32, look: impl AsyncFnOnce() -> Result) -> Result {
    cx.clock(json!({"freeze": true})).await?;
    let turned = async {
        cx.clock(json!({"advance": minutes * 60})).await?;
        look().await
    };
    let found = turned.await;
    cx.clock(json!({"run": true})).await?;
    found
}

async fn auto_stop(cx: Cx) -> Result {
    let sandbox = cx.sandbox_with(json!({"autoStopInterval": 5, "autoDeleteInterval": -1})).await?;
    after(&cx, 3, async || {
        cx.check("not-before").eq(sandbox.state().await?, "started");
        Ok(())
    })
    .await?;
    after(&cx, 4, async || {
        cx.check("stopped").json(&sandbox.wait_for("stopped").await?, "/desiredState", "stopped");
        Ok(())
    })
    .await
}

async fn auto_delete(cx: Cx) -> Result {
    let sandbox = cx.sandbox_with(json!({"autoDeleteInterval": 10})).await?;
    sandbox.stop().await?;
    after(&cx, 5, async || {
        cx.check("not-before").eq(sandbox.state().await?, "stopped");
        Ok(())
    })
    .await?;
    after(&cx, 7, async || {
        cx.check("gone").status(&sandbox.wait_gone().await?, 404);
        Ok(())
    })
    .await
}

async fn ttl_ends_it(cx: Cx) -> Result {
    let sandbox = cx.sandbox_with(json!({"ttlMinutes": 20, "autoStopInterval": 0})).await?;
    after(&cx, 15, async || {
        cx.check("not-before").eq(sandbox.state().await?, "started");
        Ok(())
    })
    .await?;
    after(&cx, 7, async || {
        cx.check("gone").status(&sandbox.wait_gone().await?, 404);
        Ok(())
    })
    .await
}

async fn zero_never_stops(cx: Cx) -> Result {
    let sandbox = cx.sandbox_with(json!({"autoStopInterval": 0, "autoDeleteInterval": -1})).await?;
    let other = cx.sandbox_with(json!({"autoStopInterval": 5, "autoDeleteInterval": -1})).await?;
    after(&cx, 60 * 24, async || {
        // When the other has stopped, the timers have been looked at.
        other.wait_for("stopped").await?;
        cx.check("still-started").eq(sandbox.state().await?, "started");
        Ok(())
    })
    .await
}
