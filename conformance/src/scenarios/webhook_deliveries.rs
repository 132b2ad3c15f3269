//! What an organisation's endpoints are told, where they can be added without the portal (`/__control/webhooks`) and reach
//! this machine.

use base64::{Engine, engine::general_purpose::STANDARD};
use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;

use crate::{
    client::{Answer, Client},
    prelude::*,
    receiver::{Received, Receiver},
};

scenarios! { "webhooks";
    /// An endpoint is told of a sandbox's life, in order, in flat payloads with the organisation's id; each message has an id,
    /// a time and a signature of both and its body. (documented webhook events; Svix, Standard Webhooks)
    deliveries_are_signed_and_in_order: Must, covers ["createSandbox", "deleteSandbox"], needs [Operators];

    /// It is told what it asked for, and of its own organisation only; a deleted one is told nothing. (documented webhook
    /// events)
    deliveries_are_chosen: Must, covers ["createSnapshot"], needs [Operators];

    /// What an endpoint doesn't take is told again, as the same message: after five seconds, then after five minutes; what
    /// it took isn't. (Svix's schedule)
    deliveries_come_again: Must, covers ["createSnapshot"], needs [Operators, Clock], classes [Alone];
}

const WITHIN: Duration = Duration::from_secs(12);
/// Nothing comes for so long: nothing comes.
const QUIET: Duration = Duration::from_millis(300);

/// The routes below `/__control` with the key of an account.
fn control(cx: &Cx, account: &Client) -> Client {
    account.at(&format!("{}/__control", cx.root().base()), None)
}

/// An organisation of its own with an endpoint, on a server that can reach it.
async fn begin(cx: &Cx, events: Value) -> Result<(Client, Receiver, Answer)> {
    let base = reqwest::Url::parse(cx.root().base()).map_err(Stop::harness)?;
    if !matches!(base.host_str(), Some("localhost" | "127.0.0.1" | "[::1]")) {
        return Err(Stop::not_applicable("the server can't reach this machine"));
    }
    let (account, receiver) = (cx.own_account().await?, Receiver::start().await?);
    let endpoint = add(cx, &account, &receiver, events).await?;
    Ok((account, receiver, endpoint))
}

async fn add(cx: &Cx, account: &Client, receiver: &Receiver, events: Value) -> Result<Answer> {
    let added = control(cx, account).post("/webhooks").json(json!({"url": receiver.url, "eventTypes": events}));
    let added = added.send().await?;
    if matches!(added.status, 404 | 501) {
        return Err(Stop::not_applicable("endpoints can't be added"));
    }
    added.ok()
}

/// Something that is told at once and costs nothing: a snapshot that has yet to be pulled.
async fn happen(cx: &Cx, account: &Client) -> Result<Answer> {
    account.post("/snapshots").json(json!({"name": cx.name("told"), "imageName": "debian:12.5"})).send().await?.ok()
}

/// Checks: the signature is the secret's, under both names of its headers, and the time is now.
fn is_signed(cx: &Cx, message: &Received, secret: &str) {
    let key = STANDARD.decode(secret.strip_prefix("whsec_").unwrap_or_default()).unwrap_or_default();
    for family in ["svix", "webhook"] {
        let [id, at, signature] =
            ["id", "timestamp", "signature"].map(|what| message.header(&format!("{family}-{what}")));
        let mut mac = Hmac::<Sha256>::new_from_slice(&key).expect("HMAC takes keys of any length");
        mac.update(format!("{id}.{at}.").as_bytes());
        mac.update(&message.body);
        let expected = format!("v1,{}", STANDARD.encode(mac.finalize().into_bytes()));
        let is_there = signature.split(' ').any(|one| one == expected);
        cx.check(format!("{family}-signature")).that(is_there, "the HMAC of id, time and body", signature);
        // Receivers allow five minutes, by their own clock.
        let age = at.parse::<i64>().map(|at| (chrono::Utc::now().timestamp() - at).abs());
        cx.check(format!("{family}-time")).that(age.as_ref().is_ok_and(|age| *age < 300), "seconds of now", at);
        cx.check(format!("{family}-id")).that(id.starts_with("msg_"), "msg_…", id);
    }
    cx.check("method").eq(message.method.as_str(), "POST");
    cx.check("type").that(message.header("content-type").starts_with("application/json"), "JSON", &message.headers);
}

async fn deliveries_are_signed_and_in_order(cx: Cx) -> Result {
    let (account, receiver, endpoint) = begin(&cx, Value::Null).await?;
    let secret = endpoint.string("/secret")?;
    let made = account.post("/sandbox").json(cx.sandbox_body(json!({}))).send().await?.ok()?;
    let sandbox = Sandbox::of(account.clone(), &made)?;
    sandbox.wait_for("started").await?;
    account.delete(&format!("/sandbox/{}", sandbox.id)).send().await?.ok()?;
    let (mut told, mut ids) = (Vec::new(), std::collections::HashSet::new());
    while told.last().is_none_or(|last| last != "destroyed") {
        let message = receiver.expect(WITHIN).await?;
        is_signed(&cx, &message, &secret);
        ids.insert(message.header("webhook-id").to_owned());
        let body = message.json();
        let first = told.is_empty();
        let event = if first { "sandbox.created" } else { "sandbox.state.updated" };
        cx.check("event").eq(&body["event"], &json!(event));
        cx.check("about").eq(&body["id"], &json!(sandbox.id));
        cx.check("organization").eq(&body["organizationId"], &made["organizationId"]);
        let at = if first { "createdAt" } else { "updatedAt" };
        let times = time(&body["timestamp"]).is_some() && time(&body[at]).is_some();
        cx.check("times").that(times, &format!("timestamp and {at}"), &body);
        if let Some(last) = told.last().filter(|_| told.len() > 1) {
            cx.check("a-chain").eq(&body["oldState"], &json!(last));
        }
        told.push(body[if first { "state" } else { "newState" }].as_str().unwrap_or_default().to_owned());
    }
    cx.check("one-message-each").eq(ids.len(), told.len());
    cx.check("states").that(
        told.ends_with(&["started", "destroying", "destroyed"].map(String::from)),
        "its life",
        &told,
    );
    Ok(())
}

async fn deliveries_are_chosen(cx: Cx) -> Result {
    let (account, receiver, endpoint) = begin(&cx, json!(["snapshot.removed"])).await?;
    let stranger = cx.own_account().await?;
    let removed = async |by: &Client| -> Result<Value> {
        let id = happen(&cx, by).await?.string("/id")?;
        by.delete(&format!("/snapshots/{id}")).send().await?.ok()?;
        Ok(json!(id))
    };
    removed(&stranger).await?;
    let mine = removed(&account).await?;
    let message = receiver.expect(WITHIN).await?.json();
    cx.check("event").eq(&message["event"], &json!("snapshot.removed"));
    cx.check("mine").eq(&message["id"], &mine);
    cx.check("removed-at").that(time(&message["removedAt"]).is_some(), "a time", &message);
    let deleted = control(&cx, &account).delete(&format!("/webhooks/{}", endpoint.string("/id")?)).send().await?;
    cx.check("deleted").status(&deleted, 204);
    // Who is told at the same time says when it would have been.
    let other = Receiver::start().await?;
    add(&cx, &account, &other, json!(["snapshot.removed"])).await?;
    removed(&account).await?;
    other.expect(WITHIN).await?;
    let more = receiver.next(QUIET).await;
    cx.check("nothing-more").that(more.is_none(), "silence", &more);
    Ok(())
}

async fn deliveries_come_again(cx: Cx) -> Result {
    let (account, receiver, endpoint) = begin(&cx, json!(["snapshot.created"])).await?;
    receiver.answer(500);
    cx.clock(json!({"freeze": true})).await?;
    let turned = again(&cx, &account, &receiver, &endpoint).await;
    cx.clock(json!({"run": true})).await?;
    turned
}

async fn again(cx: &Cx, account: &Client, receiver: &Receiver, endpoint: &Answer) -> Result {
    let (control, path) = (control(cx, account), format!("/webhooks/{}/deliveries", endpoint.string("/id")?));
    // What comes next is due when the last attempt is noted.
    let noted = async |attempts: usize| {
        cx.eventually("the attempt is noted", WITHIN, async || {
            let answer = control.get(&path).send().await?.ok()?;
            let made = answer.at("/items/0/attempts").as_array().map_or(0, Vec::len);
            Ok((made == attempts).then_some(answer))
        })
        .await
    };
    happen(cx, account).await?;
    let first = receiver.expect(WITHIN).await?;
    cx.check("pending").json(&noted(1).await?, "/items/0/state", "pending");
    cx.clock(json!({"advance": 4})).await?;
    let early = receiver.next(QUIET).await;
    if !cx.check("not-before").that(early.is_none(), "silence", &early) {
        return Ok(());
    }
    for (attempt, seconds, status) in [(2, 2, 500), (3, 301, 204)] {
        receiver.answer(status);
        cx.clock(json!({"advance": seconds})).await?;
        let next = receiver.expect(WITHIN).await?;
        cx.check("same-body").eq(next.body == first.body, true);
        cx.check("same-id").eq(next.header("webhook-id"), first.header("webhook-id"));
        is_signed(cx, &next, &endpoint.string("/secret")?);
        noted(attempt).await?;
    }
    let last = noted(3).await?;
    cx.check("delivered").json(&last, "/items/0/state", "delivered");
    cx.check("statuses").eq(
        [0, 1, 2].map(|at| last.at(&format!("/items/0/attempts/{at}/status")).as_u64()),
        [Some(500), Some(500), Some(204)],
    );
    cx.clock(json!({"advance": 7200})).await?;
    let more = receiver.next(QUIET).await;
    cx.check("heard-once").that(more.is_none(), "silence", &more);
    Ok(())
}
