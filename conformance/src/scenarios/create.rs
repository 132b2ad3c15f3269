use crate::prelude::*;

scenarios! { "create";
    /// Without fields a sandbox is made of the default snapshot and reaches `started`; the answer has the documented
    /// defaults. (createSandbox; observed)
    defaults: Must, covers ["createSandbox", "getSandbox"];

    /// The answer says `creating` or `started`, and what is wanted: `started`. SDKs wait by themselves. (observed)
    answers_with_the_state: Must, covers ["createSandbox"];

    /// A name that isn't given, empty or null is the id. (observed)
    name_defaults_to_the_id: Must, covers ["createSandbox"];

    /// A sandbox is found by id and by name, and by nothing that only resembles them. (observed)
    found_by_id_and_name: Must, covers ["getSandbox"];

    /// A name is given once: the second creation is 409, and of several at the same time exactly one succeeds.
    /// (observed)
    names_are_unique: Must, covers ["createSandbox"], classes [Racing];

    /// Labels, environment and user come back as they were given; values that aren't strings come back too. (observed)
    fields_come_back: Must, covers ["createSandbox", "getSandbox"];

    /// The sandbox's environment holds the variables of its creation, and its own id. (observed)
    environment_reaches_processes: Must, covers ["createSandbox", "ExecuteCommand"];

    /// Each bad field is refused with 400 and its own message; nothing is made. (observed)
    fields_are_validated: Must, covers ["createSandbox"];

    /// Several bad fields are reported together. (observed)
    problems_are_joined: Should, covers ["createSandbox"];

    /// An unknown snapshot is 400 (not 404), an unknown region 404. (observed)
    unknown_snapshot_and_region: Must, covers ["createSandbox"];

    /// Resources belong to the snapshot: giving them with one is 400; zero counts as not given. (observed)
    resources_come_from_the_snapshot: Must, covers ["createSandbox"];

    /// A sandbox is made of the snapshot that is asked for, with its sizes. (createSandbox: `snapshot`; observed)
    snapshots_have_sizes: Must, covers ["createSandbox", "getAllSnapshots"];

    /// Unknown fields are ignored. (SDKs of tomorrow send more; observed)
    unknown_fields_are_ignored: Must, covers ["createSandbox"];

    /// Networks and domains are checked one by one, each problem with its own message. (observed)
    networks_are_validated: Must, covers ["createSandbox"];

    /// What SDKs of today require beyond the contract is there: `kvm` in sandboxes, `networkBlockAll` in lists. (their
    /// models refuse an answer without)
    newest_sdks_can_read_it: Should, covers ["createSandbox", "listSandboxes"];

    /// Ten sandboxes made at once are all made, with ids and names of their own. (createSandbox)
    ten_at_once: Must, covers ["createSandbox"];
}

async fn defaults(cx: Cx) -> Result {
    let made = cx.create(json!({}))?.send().await?;
    cx.check("status").status(&made, 200);
    let id = made.string("/id")?;
    cx.check("id").that(uuid::Uuid::try_parse(&id).is_ok(), "a UUID", &id);
    for (field, value) in [
        ("user", json!("daytona")),
        ("public", json!(false)),
        ("networkBlockAll", json!(false)),
        ("gpu", json!(0)),
        ("env", json!({})),
        ("volumes", json!([])),
        ("desiredState", json!("started")),
        ("recoverable", json!(false)),
        ("backupState", json!("None")),
        ("autoArchiveInterval", json!(10080)),
        ("sandboxClass", json!("container")),
    ] {
        cx.check(field).on(&made).eq(&made[field], &value);
    }
    for field in ["snapshot", "target", "organizationId"] {
        cx.check(field).on(&made).that(
            made[field].as_str().is_some_and(|text| !text.is_empty()),
            "a text",
            &made[field],
        );
    }
    let sandbox = Sandbox::of(cx.api().clone(), &made)?;
    let started = sandbox.wait_for("started").await?;
    cx.check("no-error").json(&started, "/errorReason", Value::Null);
    cx.check_same("read", &started, &started.json, &made.json, LASTING);
    for field in ["runnerId", "daemonVersion"] {
        let text = started[field].as_str().unwrap_or_default();
        cx.check(format!("started-{field}")).on(&started).that(!text.is_empty(), "a text", &started[field]);
    }
    cx.check_recent("created-now", &made, "/createdAt").await;
    let (created, updated) = (time(&started["createdAt"]), time(&started["updatedAt"]));
    cx.check("updated-later").on(&started).that(updated >= created, "at or after createdAt", &started["updatedAt"]);
    Ok(())
}

/// What a sandbox keeps from its creation on.
const LASTING: &[&str] = &[
    "id",
    "organizationId",
    "name",
    "target",
    "snapshot",
    "user",
    "env",
    "cpu",
    "gpu",
    "memory",
    "disk",
    "public",
    "networkBlockAll",
    "labels",
    "volumes",
    "recoverable",
    "autoStopInterval",
    "autoArchiveInterval",
    "autoDeleteInterval",
    "sandboxClass",
    "createdAt",
    "toolboxProxyUrl",
];

async fn answers_with_the_state(cx: Cx) -> Result {
    let made = cx.create(json!({}))?.send().await?.ok()?;
    let state = made["state"].as_str().unwrap_or_default();
    cx.check("state").on(&made).that(matches!(state, "creating" | "started"), "creating or started", state);
    cx.check("desired").json(&made, "/desiredState", "started");
    Ok(())
}

async fn name_defaults_to_the_id(cx: Cx) -> Result {
    for (id, body) in [("absent", json!({})), ("empty", json!({"name": ""})), ("null", json!({"name": null}))] {
        let made = cx.create(body)?.send().await?.ok()?;
        cx.check(id).on(&made).eq(&made["name"], &made["id"]);
    }
    Ok(())
}

async fn found_by_id_and_name(cx: Cx) -> Result {
    let name = cx.name("Mixed Case");
    let sandbox = cx.sandbox_with(json!({"name": name})).await?;
    cx.check("name-kept").eq(&sandbox.name, &name);
    let by_name = cx.get(&format!("/sandbox/{}", name.replace(' ', "%20"))).send().await?;
    cx.check("by-name").json(&by_name, "/id", sandbox.id.as_str());
    let wrong = [sandbox.id.to_uppercase(), name.to_lowercase().replace(' ', "%20"), sandbox.id[..8].to_owned()];
    for (id, wrong) in ["upper-case-id", "lower-case-name", "prefix"].into_iter().zip(wrong) {
        cx.check(id).status(&cx.get(&format!("/sandbox/{wrong}")).send().await?, 404);
    }
    Ok(())
}

async fn names_are_unique(cx: Cx) -> Result {
    let name = cx.name("one");
    let body = json!({"name": name});
    let mut requests = Vec::new();
    for _ in 0..4 {
        requests.push(cx.create(body.clone())?.send());
    }
    let answers = futures_util::future::try_join_all(requests).await?;
    let made = answers.iter().filter(|answer| answer.is_ok()).count();
    cx.check("exactly-one").eq(made, 1);
    for answer in answers.iter().filter(|answer| !answer.is_ok()) {
        cx.check("others-conflict").error(answer, 409, &format!("Sandbox with name {name} already exists"));
    }
    let later = cx.create(body)?.send().await?;
    cx.check("later").error(&later, 409, &format!("Sandbox with name {name} already exists"));
    Ok(())
}

async fn fields_come_back(cx: Cx) -> Result {
    let labels = cx.labels(json!({"team": "größe ✓", "empty": "", "a b/c": "x=y"}));
    let body = json!({"labels": labels, "env": {"PLAIN": "1", "SPACED": "a b", "UNICODE": "ünï"}, "user": "daytona",
        "public": true, "autoStopInterval": 7, "autoDeleteInterval": 60});
    let sandbox = cx.sandbox_with(body.clone()).await?;
    let read = sandbox.read().await?;
    for field in ["labels", "env", "user", "public", "autoStopInterval", "autoDeleteInterval"] {
        cx.check(format!("{field}-created")).eq(&sandbox.created[field], &body[field]);
        cx.check(field).on(&read).eq(&read[field], &body[field]);
    }
    Ok(())
}

async fn environment_reaches_processes(cx: Cx) -> Result {
    let sandbox = cx
        .sandbox_with(json!({"env": {"GREETING": "hällo 'w' \"x\" $HOME", "EMPTY": "", "BLANKS": "  two  "}}))
        .await?;
    let output = sandbox
        .output("printf '%s|%s|%s|%s' \"$GREETING\" \"${EMPTY-unset}\" \"$BLANKS\" \"$DAYTONA_SANDBOX_ID\"")
        .await?;
    cx.check("variables").eq(output, format!("hällo 'w' \"x\" $HOME||  two  |{}", sandbox.id));
    Ok(())
}

async fn fields_are_validated(cx: Cx) -> Result {
    let html = "name must not contain HTML tags, URLs, or control characters";
    let bad = [
        ("name-number", json!({"name": 5}), "name must be a string"),
        ("name-html", json!({"name": "<script>x"}), html),
        ("name-url", json!({"name": "see https://evil.example"}), html),
        ("name-control", json!({"name": "a\u{7}b"}), html),
        ("snapshot-number", json!({"snapshot": 1}), "snapshot must be a string"),
        ("user-number", json!({"user": 1}), "user must be a string"),
        ("target-number", json!({"target": 1}), "target must be a string"),
        ("env-array", json!({"env": []}), "env must be an object"),
        ("env-string", json!({"env": "A=1"}), "env must be an object"),
        ("public-string", json!({"public": "true"}), "public must be a boolean value"),
        ("public-number", json!({"public": 1}), "public must be a boolean value"),
        ("block-string", json!({"networkBlockAll": "yes"}), "networkBlockAll must be a boolean value"),
        ("cpu-string", json!({"cpu": "x"}), "cpu must be a number conforming to the specified constraints"),
        ("cpu-negative", json!({"cpu": -1}), "cpu must not be less than 0"),
        ("gpu-two", json!({"gpu": 2}), "gpu must not be greater than 1"),
        ("volumes-object", json!({"volumes": {}}), "volumes must be an array"),
        ("volumes-empty-item", json!({"volumes": [{}]}), "volumes.0.volumeId must be a string"),
        ("autostop-negative", json!({"autoStopInterval": -1}), "Auto-stop interval must be non-negative"),
        ("autoarchive-negative", json!({"autoArchiveInterval": -1}), "Auto-archive interval must be non-negative"),
    ];
    for (id, body, message) in bad {
        let answer = cx.create(body)?.send().await?;
        cx.check(format!("{id}-status")).status(&answer, 400);
        cx.check(id).on(&answer).contains(answer["message"].as_str().unwrap_or_default(), message);
    }
    // Made without the suite's labels these would be lost, so they are asked for in the raw.
    for (id, labels) in [("labels-array", json!([])), ("labels-string", json!("a=b"))] {
        let answer = cx.post("/sandbox").json(json!({"labels": labels})).send().await?;
        cx.check(id).error(&answer, 400, "labels must be an object");
    }
    Ok(())
}

async fn problems_are_joined(cx: Cx) -> Result {
    let answer = cx.create(json!({"public": 1, "cpu": "x", "env": []}))?.send().await?;
    cx.check("status").status(&answer, 400);
    let message = answer["message"].as_str().unwrap_or_default();
    for part in ["env must be an object", "public must be a boolean value", "cpu must be a number"] {
        cx.check(part.split(' ').next().unwrap_or_default()).on(&answer).contains(message, part);
    }
    Ok(())
}

async fn unknown_snapshot_and_region(cx: Cx) -> Result {
    let answer = cx.create(json!({"snapshot": "no-such-snapshot"}))?.send().await?;
    let message = "Snapshot no-such-snapshot not found. Did you add it through the Daytona Dashboard?";
    cx.check("snapshot").error(&answer, 400, message);
    let answer = cx.create(json!({"target": "mars"}))?.send().await?;
    cx.check("region").error(&answer, 404, "Region not found");
    Ok(())
}

async fn resources_come_from_the_snapshot(cx: Cx) -> Result {
    for (id, body) in [("cpu", json!({"cpu": 2})), ("memory", json!({"memory": 4})), ("disk", json!({"disk": 5}))] {
        let answer = cx.create(body)?.send().await?;
        cx.check(id).error(&answer, 400, "Cannot specify Sandbox resources when using a snapshot");
    }
    let zero = cx.create(json!({"cpu": 0}))?.send().await?;
    cx.check("zero").status(&zero, 200);
    Ok(())
}

async fn snapshots_have_sizes(cx: Cx) -> Result {
    let snapshots = cx.get("/snapshots").send().await?.ok()?;
    let ready = |one: &&Value| one["general"] == true && one["state"] == "active" && one["sandboxClass"] != "linux-vm";
    // One is the default, which anybody gets who isn't understood.
    let general: Vec<&Value> = snapshots.array("/items")?.iter().filter(ready).take(2).collect();
    if general.is_empty() {
        return Err(Stop::not_applicable("a general snapshot"));
    }
    for general in general {
        let made = cx.create(json!({"snapshot": general["name"]}))?.send().await?;
        if !made.is_ok() {
            // There may be no room for a large one.
            cx.check("refused").status_in(&made, &[400, 403]);
            continue;
        }
        cx.check("snapshot").on(&made).eq(&made["snapshot"], &general["name"]);
        for (sandbox, snapshot) in [("cpu", "cpu"), ("memory", "mem"), ("disk", "disk")] {
            cx.check(sandbox).on(&made).eq(made[sandbox].as_f64(), general[snapshot].as_f64());
        }
    }
    Ok(())
}

async fn unknown_fields_are_ignored(cx: Cx) -> Result {
    let made = cx.create(json!({"noSuchField": {"deep": [1]}, "Name": "x"}))?.send().await?;
    cx.check("made").status(&made, 200);
    cx.check("not-stored").on(&made).that(made["noSuchField"].is_null(), "no such field", &made["noSuchField"]);
    Ok(())
}

async fn networks_are_validated(cx: Cx) -> Result {
    let eleven = (0..11).map(|n| format!("10.0.{n}.0/24")).collect::<Vec<_>>().join(",");
    let domains = (0..11).map(|n| format!("d{n}.example")).collect::<Vec<_>>().join(",");
    let bad = [
        (
            "no-ip",
            "networkAllowList",
            "x/24",
            "Invalid IP address: \"x\" in network \"x/24\". Must be a valid IPv4 address",
        ),
        (
            "no-prefix",
            "networkAllowList",
            "1.2.3.4",
            "Invalid network format: \"1.2.3.4\". Missing CIDR prefix length (e.g., /24)",
        ),
        (
            "prefix",
            "networkAllowList",
            "1.2.3.4/33",
            "Invalid CIDR prefix length: 1.2.3.4/33. Prefix must be between 0 and 32",
        ),
        ("too-many", "networkAllowList", &eleven, "Network allow list cannot contain more than 10 networks"),
        ("domain", "domainAllowList", "not a domain", "Invalid domain: \"not a domain\". Must be a valid domain name"),
        ("too-many-domains", "domainAllowList", &domains, "Domain allow list cannot contain more than 10 domains"),
    ];
    for (id, field, value, message) in bad {
        let answer = cx.create(json!({field: value}))?.send().await?;
        cx.check(id).error(&answer, 400, message);
    }
    let made =
        cx.create(json!({"networkAllowList": "10.0.0.0/8, 192.168.1.0/24", "domainAllowList": "*.example.com"}))?;
    let made = made.send().await?;
    cx.check("networks-kept").json(&made, "/networkAllowList", "10.0.0.0/8, 192.168.1.0/24");
    cx.check("domains-kept").json(&made, "/domainAllowList", "*.example.com");
    Ok(())
}

async fn newest_sdks_can_read_it(cx: Cx) -> Result {
    let made = cx.create(json!({}))?.send().await?.ok()?;
    cx.check("kvm").on(&made).that(made["kvm"].is_boolean(), "a boolean", &made["kvm"]);
    let list = cx.get("/sandbox").query("id", made.string("/id")?).send().await?.ok()?;
    let block = list.at("/items/0/networkBlockAll");
    cx.check("list").on(&list).that(block.is_boolean(), "a boolean", block);
    Ok(())
}

async fn ten_at_once(cx: Cx) -> Result {
    let mut requests = Vec::new();
    for _ in 0..10 {
        requests.push(cx.create(json!({}))?.send());
    }
    let answers = futures_util::future::try_join_all(requests).await?;
    cx.check("all-made").eq(answers.iter().filter(|answer| answer.is_ok()).count(), 10);
    let ids: std::collections::HashSet<&str> = answers.iter().filter_map(|answer| answer["id"].as_str()).collect();
    cx.check("own-ids").eq(ids.len(), 10);
    Ok(())
}
