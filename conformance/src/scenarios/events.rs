use reqwest::Method;

use crate::{client::Socket, prelude::*};

scenarios! { "events";
    /// A client that gives a key is connected; one without, or with an unknown one, is told `Unauthorized`.
    /// (SDKs: EventDispatcher)
    connecting_needs_a_key: Must, covers [], needs [Events];

    /// Each change of a sandbox's state is told, in order, with the sandbox as it then is, so that SDK waits end at
    /// once. (SDKs: EventSubscriptionManager; observed)
    states_are_told_in_order: Must, covers ["createSandbox", "stopSandbox", "startSandbox", "deleteSandbox"], needs [Events];

    /// Volumes are told of like sandboxes: that there is one, and each of its states. (observed)
    volumes_are_told_of: Must, covers ["createVolume"], needs [Events];

    /// The server pings within the interval that it told at the beginning: clients that hear nothing hang up. (Engine.IO)
    pings_keep_it_alive: Must, covers [], needs [Events], classes [Slow];

    /// Events of one organisation don't reach another. (observed)
    events_stay_in_their_organization: Must, covers ["createSandbox"], needs [Events, SecondAccount];
}

const WITHIN: Duration = Duration::from_secs(30);

/// Socket.IO by hand: the open packet has come, nothing is said yet.
async fn open(cx: &Cx) -> Result<Socket> {
    let mut socket =
        cx.api().ws("/socket.io/").query("EIO", 4).query("transport", "websocket").no_key().connect().await?;
    let opened = packet(&mut socket).await?;
    cx.check("open-packet").that(opened.starts_with("0{"), "an open packet", &opened);
    let packet: Value = opened.strip_prefix('0').and_then(|text| serde_json::from_str(text).ok()).unwrap_or_default();
    let has = packet["sid"].is_string() && packet["pingInterval"].is_u64() && packet["pingTimeout"].is_u64();
    cx.check("open-packet-fields").that(has, "sid, pingInterval and pingTimeout", &packet);
    Ok(socket)
}

/// The next packet that isn't a ping.
async fn packet(socket: &mut Socket) -> Result<String> {
    loop {
        let Some(message) = socket.next(WITHIN).await? else { return Err(Stop::untestable("the event socket ended")) };
        if message.is_binary() {
            return Err(Stop::untestable("a packet in a binary frame: Socket.IO's are text"));
        }
        let text = message.into_text().map(|text| text.to_string()).unwrap_or_default();
        match text.as_str() {
            "2" => socket.send_text("3").await?,
            _ => return Ok(text),
        }
    }
}

async fn connected(cx: &Cx, key: &str) -> Result<Socket> {
    let mut socket = open(cx).await?;
    socket.send_text(&format!("40{}", json!({"token": key}))).await?;
    let answer = packet(&mut socket).await?;
    cx.check("connected").that(answer.starts_with("40{"), "a connect packet", &answer);
    Ok(socket)
}

/// The next event about this sandbox, or about any.
async fn event(socket: &mut Socket, id: Option<&str>) -> Result<(String, Value)> {
    loop {
        let text = packet(socket).await?;
        let Some(Ok(Value::Array(parts))) = text.strip_prefix("42").map(serde_json::from_str) else { continue };
        let (name, payload) = (parts.first().cloned().unwrap_or_default(), parts.get(1).cloned().unwrap_or_default());
        let about = payload.pointer("/sandbox/id").or_else(|| payload.get("id")).and_then(Value::as_str);
        if id.is_none() || about == id {
            return Ok((name.as_str().unwrap_or_default().to_owned(), payload));
        }
    }
}

/// Events up to the one that says that the state is reached: the states told on the way, old and new.
async fn until(cx: &Cx, socket: &mut Socket, id: &str, state: &str) -> Result<Vec<(String, String)>> {
    let (mut told, mut desired) = (Vec::new(), Value::Null);
    loop {
        let (name, payload) = event(socket, Some(id)).await?;
        if name == "sandbox.desired-state.updated" {
            desired = payload["newDesiredState"].clone();
        }
        if name != "sandbox.state.updated" {
            continue;
        }
        let text = |field: &str| payload[field].as_str().unwrap_or_default().to_owned();
        cx.check("sandbox-agrees").that(
            payload["sandbox"]["state"] == payload["newState"],
            "sandbox.state is newState",
            &payload["newState"],
        );
        // What is wanted is told before what is done about it.
        let wanted = [("stopping", "stopped"), ("starting", "started"), ("destroying", "destroyed")];
        if let Some((now, wanted)) = wanted.iter().find(|(now, _)| payload["newState"] == *now) {
            cx.check(format!("desired-before-{now}")).eq(&desired, &json!(wanted));
        }
        told.push((text("oldState"), text("newState")));
        if text("newState") == state {
            return Ok(told);
        }
    }
}

async fn connecting_needs_a_key(cx: Cx) -> Result {
    connected(&cx, cx.key()).await?;
    for (id, auth) in [("unknown", json!({"token": "dtn_unknown"}).to_string()), ("missing", String::new())] {
        let mut socket = open(&cx).await?;
        socket.send_text(&format!("40{auth}")).await?;
        let answer = packet(&mut socket).await?;
        cx.check(id).that(answer.starts_with("44") && answer.contains("Unauthorized"), "44 with Unauthorized", answer);
    }
    Ok(())
}

async fn states_are_told_in_order(cx: Cx) -> Result {
    let mut socket = connected(&cx, cx.key()).await?;
    let sandbox = cx.sandbox().await?;
    let id = sandbox.id.as_str();
    let (name, created) = event(&mut socket, Some(id)).await?;
    cx.check("created-first").eq(name, "sandbox.created");
    cx.check("created-has-it-all").that(created["toolboxProxyUrl"].is_string(), "the whole sandbox", &created["id"]);
    let mut told = until(&cx, &mut socket, id, "started").await?;
    sandbox.stop().await?;
    told.extend(until(&cx, &mut socket, id, "stopped").await?);
    sandbox.start().await?;
    told.extend(until(&cx, &mut socket, id, "started").await?);
    sandbox.op(Method::DELETE, "").send().await?.ok()?;
    told.extend(until(&cx, &mut socket, id, "destroyed").await?);
    let broken: Vec<_> = told.windows(2).filter(|pair| pair[0].1 != pair[1].0).collect();
    cx.check("a-chain").that(broken.is_empty(), "each old state is the new one before", &told);
    let states: Vec<&str> = told.iter().map(|(_, new)| new.as_str()).collect();
    let expected = ["started", "stopping", "stopped", "starting", "started", "destroying", "destroyed"];
    cx.check("every-state").that(states.ends_with(&expected), "the documented states", &states);
    Ok(())
}

async fn events_stay_in_their_organization(cx: Cx) -> Result {
    let other = cx.second_account().await?;
    let key = other.0.key.clone().unwrap_or_default();
    let mut socket = connected(&cx, &key).await?;
    let mine = cx.sandbox().await?;
    // What the other account does itself is told; so nothing that was said before it is missing.
    let theirs = other.post("/sandbox").json(cx.sandbox_body(json!({}))).send().await?.ok()?;
    let (_, payload) = event(&mut socket, None).await?;
    let about = payload["id"].as_str().or(payload.pointer("/sandbox/id").and_then(Value::as_str)).unwrap_or_default();
    cx.check("only-its-own").that(
        about == theirs.string("/id")? && about != mine.id,
        "the account's own sandbox",
        about,
    );
    Ok(())
}

/// The next event with this beginning of its name that is about this thing.
async fn named(socket: &mut Socket, start: &str, id: &str) -> Result<(String, Value)> {
    loop {
        let (name, payload) = event(socket, None).await?;
        let whole = payload.get("volume").unwrap_or(&payload);
        if name.starts_with(start) && whole["id"] == id {
            return Ok((name, payload));
        }
    }
}

async fn volumes_are_told_of(cx: Cx) -> Result {
    let mut socket = connected(&cx, cx.key()).await?;
    let made = cx.post("/volumes").json(json!({"name": cx.name("volume")})).send().await?;
    if made.status == 503 {
        return Err(Stop::not_applicable("volumes: no object store"));
    }
    let id = made.ok()?.string("/id")?;
    let (name, _) = named(&mut socket, "volume.", &id).await?;
    cx.check("created-first").eq(name, "volume.created");
    let mut states = Vec::new();
    while states.last().is_none_or(|state| state != "ready") {
        let (_, payload) = named(&mut socket, "volume.state.updated", &id).await?;
        cx.check("volume-agrees").eq(&payload["volume"]["state"], &payload["newState"]);
        states.push(payload["newState"].as_str().unwrap_or_default().to_owned());
    }
    cx.check("states").that(states.ends_with(&["ready".to_owned()]), "states up to ready", &states);
    Ok(())
}

async fn pings_keep_it_alive(cx: Cx) -> Result {
    let mut socket =
        cx.api().ws("/socket.io/").query("EIO", 4).query("transport", "websocket").no_key().connect().await?;
    let opened = packet(&mut socket).await?;
    let packet: Value = opened.strip_prefix('0').and_then(|text| serde_json::from_str(text).ok()).unwrap_or_default();
    let interval = Duration::from_millis(packet["pingInterval"].as_u64().unwrap_or(25_000));
    socket.send_text(&format!("40{}", json!({"token": cx.key()}))).await?;
    let deadline = tokio::time::Instant::now() + interval + Duration::from_secs(10);
    let began = tokio::time::Instant::now();
    let pinged = async {
        while let Some(message) = socket.next(interval + Duration::from_secs(10)).await? {
            if message == crate::client::Message::text("2") {
                // One at the very beginning says nothing of those to come.
                if began.elapsed() > Duration::from_secs(1) {
                    return Ok(true);
                }
                socket.send_text("3").await?;
            }
        }
        Ok::<_, Stop>(false)
    };
    let pinged = tokio::time::timeout_at(deadline, pinged).await;
    cx.check("ping").that(matches!(pinged, Ok(Ok(true))), "a ping within the interval", format!("{interval:?}"));
    Ok(())
}
