//! Secrets: an organisation's, and the placeholders that sandboxes have of them.

use reqwest::Method;
use serde_json::{Value, json};

use crate::{
    api::{Api, id, keys, names},
    store::serve,
    support::{Sandbox, client, new_key, server},
};

const VALUE: &str = "sk-the-very-value";

async fn account() -> Api {
    let key = new_key().await;
    Api { url: server().api_url.clone(), client: client(&key), key }
}

async fn secret(api: &Api, name: &str) -> Value {
    let body = json!({"name": name, "value": VALUE, "hosts": ["api.example.com"]});
    let (status, made) = api.post("/secret", body).await;
    assert_eq!(status, 201, "{made}");
    assert!(!made.to_string().contains(VALUE), "{made}");
    made
}

/// A started sandbox with these secrets.
async fn with(api: &Api, body: Value) -> Sandbox {
    let made = api.sandbox(body).await;
    let sandbox = Sandbox { id: id(&made), key: api.key.clone(), client: api.client.clone() };
    sandbox.until("started").await;
    sandbox
}

fn placeholder(secret: &Value) -> &str {
    secret["placeholder"].as_str().expect("a placeholder")
}

#[tokio::test]
async fn secrets_are_made_read_changed_and_deleted() {
    let api = account().await;
    let made = secret(&api, "ONE").await;
    assert_eq!(keys(&made), ["id", "name", "createdAt", "placeholder", "hosts", "updatedAt"]);
    assert!(placeholder(&made).starts_with("dtn_secret_"), "{made}");
    let path = format!("/secret/{}", id(&made));
    assert_eq!(api.get(&path).await, (200, made.clone()));
    let change = json!({"description": "mine", "hosts": ["*.Example.com"], "value": "other"});
    let (status, changed) = api.call("PATCH", &path, change).await;
    assert_eq!((status, &changed["description"], &changed["hosts"]), (200, &json!("mine"), &json!(["*.example.com"])));
    assert_eq!(changed["placeholder"], made["placeholder"]);
    let (_, same) = api.call("PATCH", &path, json!({"description": null})).await;
    assert_eq!((&same["description"], &same["hosts"]), (&json!("mine"), &json!(["*.example.com"])));
    assert_eq!(api.get("/secret").await, (200, json!([same])));
    assert_eq!(api.delete(&path).await, (204, Value::Null));
    for method in ["GET", "PATCH", "DELETE"] {
        let text = format!("Secret with ID {} not found", id(&made));
        api.refused(method, &path, json!({}), 404, &text).await;
    }
    assert_eq!(api.get("/secret").await, (200, json!([])));
}

#[tokio::test]
async fn what_secrets_refuse() {
    let api = Api::new().await;
    secret(&api, "TAKEN").await;
    let again = json!({"name": "TAKEN", "value": "x"});
    api.refused("POST", "/secret", again, 409, "Secret with name TAKEN already exists").await;
    let name = "name must match /^[a-zA-Z_][a-zA-Z0-9_-]*$/ regular expression";
    let host = "each value in hosts must be a host name without a port, with *. in front or not";
    for (body, text) in [
        (json!({"value": "x"}), name),
        (json!({"name": "1a", "value": "x"}), name),
        (json!({"name": "a b", "value": "x"}), name),
        (json!({"name": "A"}), "value should not be empty"),
        (json!({"name": "A", "value": ""}), "value should not be empty"),
        (json!({"name": "A", "value": 1}), "value must be a string"),
        (
            json!({"name": "A", "value": "x\r\nX-Other: y"}),
            "value must not contain line breaks or other control characters",
        ),
        (json!({"name": "A", "value": "x\u{0}"}), "value must not contain line breaks or other control characters"),
        (json!({"name": "A", "value": "x", "hosts": "a.example"}), "hosts must be an array"),
        (json!({"name": "A", "value": "x", "hosts": ["a.example:443"]}), host),
        (json!({"name": "A", "value": "x", "hosts": ["https://a.example"]}), host),
        (json!({"name": "A", "value": "x", "hosts": [1]}), host),
        (json!({"name": "A", "value": "x".repeat(65_537)}), "value must be shorter than or equal to 65536 characters"),
    ] {
        api.refused("POST", "/secret", body, 400, text).await;
    }
    assert_eq!(api.get("/secret/paginated").await.1["total"], 1);
    for (query, text) in [
        ("limit=201", "limit must not be greater than 200"),
        ("sort=x", "sort must be one of the following values: name, createdAt, updatedAt"),
        ("order=x", "order must be one of the following values: asc, desc"),
        ("cursor=x", "Invalid cursor provided: x"),
    ] {
        api.refused("GET", &format!("/secret/paginated?{query}"), Value::Null, 400, text).await;
    }
}

#[tokio::test]
async fn pages_are_sorted_filtered_and_continued() {
    let api = Api::new().await;
    for name in ["b", "A_key", "c", "a_KEY"] {
        secret(&api, name).await;
    }
    let (_, all) = api.get("/secret/paginated").await;
    assert_eq!(
        (names(&all), &all["total"], &all["nextCursor"]),
        (vec!["a_KEY", "c", "A_key", "b"], &json!(4), &Value::Null)
    );
    assert_eq!(names(&api.get("/secret/paginated?sort=createdAt&order=asc").await.1), ["b", "A_key", "c", "a_KEY"]);
    let (_, found) = api.get("/secret/paginated?name=key&sort=name&order=asc").await;
    assert_eq!((names(&found), &found["total"]), (vec!["A_key", "a_KEY"], &json!(2)));
    for order in ["sort=name&order=asc", "sort=updatedAt&order=desc"] {
        let (_, whole) = api.get(&format!("/secret/paginated?{order}")).await;
        let (mut cursor, mut told) = (String::new(), Vec::new());
        loop {
            let (_, page) = api.get(&format!("/secret/paginated?{order}&limit=1&cursor={cursor}")).await;
            told.extend(names(&page).into_iter().map(String::from));
            assert_eq!(page["total"], 4);
            let Some(next) = page["nextCursor"].as_str() else { break };
            cursor = next.replace('=', "%3D").replace('+', "%2B");
        }
        assert_eq!(told, names(&whole), "{order}");
    }
}

#[tokio::test]
async fn quotas_hold() {
    let api = Api::new().await;
    let mut pairs = Vec::new();
    for n in 0..100 {
        secret(&api, &format!("s{n}")).await;
        pairs.push(json!({format!("V{n}"): "s0"}));
    }
    let body = json!({"name": "more", "value": "x"});
    api.refused("POST", "/secret", body, 400, "Secret quota exceeded. Maximum allowed: 100").await;
    let text = "Too many secrets for one sandbox. Maximum allowed: 20";
    api.refused("POST", "/sandbox", json!({"secrets": pairs[..21]}), 400, text).await;
}

#[tokio::test]
async fn sandboxes_see_placeholders() {
    let api = account().await;
    let (one, two) = (secret(&api, "one").await, secret(&api, "two").await);
    let sandbox = with(&api, json!({"env": {"B": "plain"}, "secrets": [{"A": "one"}, {"B": "two"}]})).await;
    let attach = format!("/sandbox/{}/secrets", sandbox.id);
    let both = format!("{} {}\n", placeholder(&one), placeholder(&two));
    assert_eq!(sandbox.run("echo $A $B").await, both);
    // The set is replaced; what runs keeps its own, and what was covered comes back.
    let sleeper = "sh -c 'setsid sleep 600 >/dev/null 2>&1 & echo $!'";
    let pid = sandbox.run(sleeper).await;
    let (status, changed) = api.put(&attach, json!({"secrets": [{"C": "one"}]})).await;
    assert_eq!((status, &changed["id"]), (200, &json!(sandbox.id)), "{changed}");
    let now = format!("[] plain {}\n", placeholder(&one));
    assert_eq!(sandbox.run("echo [$A] $B $C").await, now);
    let old = sandbox.run(&format!("tr '\\0' '\\n' < /proc/{}/environ | grep ^A=", pid.trim())).await;
    assert_eq!(old, format!("A={}\n", placeholder(&one)));
    sandbox.api(Method::POST, "/stop?force=true").await;
    sandbox.until("stopped").await;
    sandbox.api(Method::POST, "/start").await;
    sandbox.until("started").await;
    assert_eq!(sandbox.run("echo [$A] $B $C").await, now);
    // Rotation changes nothing inside; a deleted secret is detached.
    let path = format!("/secret/{}", id(&one));
    api.call("PATCH", &path, json!({"value": "rotated"})).await;
    assert_eq!(sandbox.run("echo [$A] $B $C").await, now);
    assert_eq!(api.delete(&path).await.0, 204);
    crate::support::eventually("detached", async || (sandbox.run("echo [$C]").await == "[]\n").then_some(())).await;
    assert_eq!(api.put(&attach, json!({"secrets": [{"D": "two"}]})).await.0, 200);
    assert_eq!(sandbox.run("echo $D").await, format!("{}\n", placeholder(&two)));
    assert_eq!(api.put(&attach, json!({"secrets": []})).await.0, 200);
    assert_eq!(sandbox.run("echo [$D] $B").await, "[] plain\n");
}

#[tokio::test]
async fn what_attaching_refuses() {
    let api = Api::new().await;
    secret(&api, "one").await;
    let made = api.named("mine").await;
    let path = format!("/sandbox/{made}/secrets");
    for (secrets, status, text) in [
        (json!([{"A": "none"}]), 404, "Secret 'none' not found"),
        (json!([{"A-B": "one"}]), 400, "Invalid environment variable name: A-B"),
        (json!([{"A=B": "one"}]), 400, "Invalid environment variable name: A=B"),
        (json!([{"A": "one"}, {"A": "one"}]), 400, "Duplicate environment variable: A"),
        (json!([{"A": 1}]), 400, "each value in secrets must be an object of strings"),
        (json!({"A": "one"}), 400, "secrets must be an array"),
    ] {
        api.refused("POST", "/sandbox", json!({"name": "x", "secrets": secrets}), status, text).await;
        api.refused("PUT", &path, json!({"secrets": secrets}), status, text).await;
    }
    api.refused("PUT", &path, json!({}), 400, "secrets must be an array").await;
    let unknown = "Sandbox with ID or name nope not found";
    api.refused("PUT", "/sandbox/nope/secrets", json!({"secrets": []}), 404, unknown).await;
    assert_eq!(api.get(&path).await.0, 403, "only runners read values");
    // Another organisation has other secrets.
    let other = Api::new().await;
    let body = json!({"secrets": [{"A": "one"}]});
    other.refused("POST", "/sandbox", body, 404, "Secret 'one' not found").await;
    assert_eq!(other.get("/secret").await.1, json!([]));
}

#[tokio::test]
async fn values_are_in_no_journal_and_no_audit_log() {
    let api = account().await;
    let made = secret(&api, "one").await;
    api.call("PATCH", &format!("/secret/{}", id(&made)), json!({"value": VALUE})).await;
    let broken = api.request("POST", "/secret").header("content-type", "application/json");
    let broken = broken.body(format!("{{\"name\": \"x\", \"value\": \"{VALUE}\"")).send().await.expect("answer");
    assert_eq!(broken.status(), 400);
    assert!(!broken.text().await.expect("text").contains(VALUE));
    let (status, journal) = api.control("GET", "/journal", Value::Null).await;
    assert_eq!(status, 200);
    assert!(journal.to_string().contains("createSecret"), "{journal}");
    assert!(!journal.to_string().contains(VALUE), "{journal}");
    let (_, organizations) = api.get("/organizations").await;
    let own = organizations[0]["id"].as_str().expect("an id");
    let (status, audit) = api.get(&format!("/audit/organizations/{own}")).await;
    assert_eq!(status, 200, "{audit}");
    assert!(audit.to_string().contains("secret") && !audit.to_string().contains(VALUE), "{audit}");
}

#[tokio::test]
async fn secrets_survive_a_killed_server() {
    let dir = tempfile::tempdir().expect("temp dir");
    let serving = serve(dir.path()).await;
    let made = secret(&serving.api, "one").await;
    let sandbox = serving.api.sandbox(json!({"name": "mine", "secrets": [{"A": "one"}]})).await;
    serving.kill();
    let serving = serve(dir.path()).await;
    assert_eq!(serving.api.get("/secret").await.1, json!([made]));
    let now = serving.api.until(&id(&sandbox), "started").await;
    let url = format!("{}/{}/process/execute", now["toolboxProxyUrl"].as_str().expect("an URL"), id(&sandbox));
    let request = serving.api.client.post(url).bearer_auth(&serving.api.key).json(&json!({"command": "printenv A"}));
    let ran: Value = request.send().await.expect("answer").json().await.expect("JSON");
    assert_eq!(ran["result"], format!("{}\n", placeholder(&made)), "{ran}");
    serving.kill();
}
