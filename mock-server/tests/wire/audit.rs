//! The audit log.

use serde_json::{Value, json};

use crate::{
    api::{Api, answer, id},
    timers::{advance, frozen},
};

/// The path of a key's own log.
async fn log(api: &Api) -> String {
    let (_, all) = api.get("/organizations").await;
    format!("/audit/organizations/{}", all[0]["id"].as_str().expect("an id"))
}

async fn items(api: &Api, path: &str) -> Vec<Value> {
    let (status, page) = api.get(path).await;
    assert_eq!(status, 200, "{page}");
    page["items"].as_array().expect("items").clone()
}

#[tokio::test]
async fn changes_and_refusals_are_there_at_once() {
    let api = Api::new().await;
    let path = log(&api).await;
    assert_eq!(api.get(&path).await.1, json!({"items": [], "total": 0, "page": 1, "totalPages": 0}));
    let create = api.request("POST", "/sandbox").header("x-daytona-source", "sdk-rust").header("user-agent", "me/1");
    let body = json!({"name": "box", "env": {"KEY": "hidden"}, "labels": {"a": "b"}});
    let (_, sandbox) = answer(create.json(&body).send().await.expect("answer")).await;
    api.post("/sandbox/box/autostop/5", Value::Null).await;
    api.post("/sandbox/nope/start", Value::Null).await;
    api.get("/sandbox/box").await;
    let all = items(&api, &path).await;
    let actions: Vec<_> = all.iter().map(|entry| entry["action"].as_str().expect("text")).collect();
    assert_eq!(actions, ["start", "set_auto_stop_interval", "create"], "newest first, no reads");
    let me = api.get("/users/me").await.1;
    let (refused, set, made) = (&all[0], &all[1], &all[2]);
    assert_eq!((&refused["statusCode"], &refused["targetId"]), (&json!(404), &json!("nope")));
    assert_eq!(refused["errorMessage"], "Sandbox with ID or name nope not found");
    assert_eq!((&set["metadata"], &set["targetId"]), (&json!({"params": {"interval": "5"}}), &json!(id(&sandbox))));
    for (field, value) in [
        ("actorId", me["id"].clone()),
        ("actorEmail", me["email"].clone()),
        ("actorApiKeyPrefix", json!("dtn")),
        ("actorApiKeySuffix", json!(&api.key[api.key.len() - 3..])),
        ("organizationId", sandbox["organizationId"].clone()),
        ("targetType", json!("sandbox")),
        ("targetId", json!(id(&sandbox))),
        ("statusCode", json!(200)),
        ("errorMessage", Value::Null),
        ("ipAddress", json!("127.0.0.1")),
        ("userAgent", json!("me/1")),
        ("source", json!("sdk-rust")),
        ("metadata", json!({"body": {"name": "box", "env": "***", "labels": {"a": "b"}}})),
    ] {
        assert_eq!(made[field], value, "{field}");
    }
    let nobody = api.with_key("wrong");
    nobody.post("/sandbox/box/stop", Value::Null).await;
    assert_eq!(items(&api, &path).await.len(), 3, "nobody is in nobody's log");
    assert_eq!(api.control("POST", "/reset", Value::Null).await.0, 204);
    assert_eq!(items(&api, &path).await.len(), 0, "a reset world has no past");
}

#[tokio::test]
async fn pages_and_filters() {
    let (api, other) = (Api::new().await, Api::new().await);
    let path = log(&api).await;
    for name in ["a", "b", "c", "d"] {
        api.post(&format!("/sandbox/{name}/stop"), Value::Null).await;
    }
    api.post("/sandbox/a/start", Value::Null).await;
    api.post("/docker-registry", json!({})).await;
    let (_, page) = api.get(&format!("{path}?limit=2&page=3")).await;
    assert_eq!((&page["total"], &page["page"], &page["totalPages"]), (&json!(6), &json!(3), &json!(3)));
    assert_eq!(page["items"][1]["targetId"], "a");
    let (_, first) = api.get(&format!("{path}?limit=4")).await;
    let next = first["nextToken"].as_str().expect("a token");
    let (_, rest) = api.get(&format!("{path}?limit=4&nextToken={next}")).await;
    assert_eq!((rest["items"].as_array().map(Vec::len), rest.get("nextToken")), (Some(2), None));
    let count = async |query: &str| items(&api, &format!("{path}?{query}")).await.len();
    assert_eq!(count("action[eq]=stop").await, 4);
    assert_eq!(count("action[not]=stop").await, 2);
    assert_eq!(count("targetId[in]=a,b").await, 3);
    assert_eq!(count("targetId[in]=a&targetId[in]=c&action[eq]=stop").await, 2);
    assert_eq!(count("targetId[notIn]=a,b").await, 3, "what has no target too");
    assert_eq!(count("statusCode[gte]=404").await, 5);
    assert_eq!(count("statusCode[lt]=404&targetType[eq]=docker_registry").await, 1);
    assert_eq!(count("createdAt[gt]=2000-01-01").await, 6);
    assert_eq!(count("to=2000-01-01").await, 0);
    for bad in [
        "page=0",
        "limit=201",
        "from=x",
        "statusCode[eq]=x",
        "statusCode=x",
        "action=stop",
        "createdAt[gt]=x",
        "nextToken=x",
    ] {
        assert_eq!(api.get(&format!("{path}?{bad}")).await.0, 400, "{bad}");
    }
    other.refused("GET", &path, Value::Null, 403, "Invalid authentication context").await;
    let (status, scenarios) = api.with_key("wrong").get("/audit/scenarios").await;
    assert_eq!((status, &scenarios["targets"][0]["targetType"]), (200, &json!("api_key")));
}

#[tokio::test]
async fn what_timers_do_is_there_too() {
    let (server, api) = frozen().await;
    let path = log(&api).await;
    let sandbox = api.sandbox(json!({"autoStopInterval": 1})).await;
    advance(&api, 1).await;
    api.until(&id(&sandbox), "stopped").await;
    let all = items(&api, &format!("{path}?action[eq]=auto_stop")).await;
    assert_eq!((all.len(), &all[0]["actorId"], &all[0]["targetId"]), (1, &json!("system"), &json!(id(&sandbox))));
    server.shutdown().await;
}
