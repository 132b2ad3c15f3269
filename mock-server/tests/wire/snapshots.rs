//! Snapshots: made of images and sandboxes, their states, and sandboxes that are made of them.

use reqwest::Method;
use serde_json::{Value, json};

use crate::{
    images::{
        has_images,
        registry::{Pack, Registry, layer, programs},
    },
    support::{Sandbox, client, eventually, new_key, sandbox, server},
};

/// An organisation of its own.
pub struct Account {
    pub key: String,
    pub client: reqwest::Client,
}

impl Account {
    pub async fn new() -> Account {
        let key = new_key().await;
        Account { client: client(&key), key }
    }

    pub async fn call(&self, method: Method, path: &str, body: Value) -> (u16, Value) {
        let url = format!("{}{path}", server().api_url);
        let answer = self.client.request(method, url).json(&body).send().await.expect("answer");
        let status = answer.status().as_u16();
        let text = answer.text().await.expect("text");
        (status, serde_json::from_str(&text).unwrap_or(Value::String(text)))
    }

    /// A call that must succeed.
    pub async fn ok(&self, method: Method, path: &str, body: Value) -> Value {
        let (status, answer) = self.call(method, path, body).await;
        assert!((200..300).contains(&status), "{path}: {status} {answer}");
        answer
    }

    /// Waits until a snapshot is no longer being made.
    pub async fn made(&self, name: &str) -> Value {
        eventually(name, async || {
            let snapshot = self.ok(Method::GET, &format!("/snapshots/{name}"), json!({})).await;
            let state = snapshot["state"].as_str().unwrap_or_default().to_owned();
            (!["pending", "pulling", "building"].contains(&state.as_str())).then_some(snapshot)
        })
        .await
    }

    pub async fn sandbox(&self, body: Value) -> Sandbox {
        let made = self.ok(Method::POST, "/sandbox", body).await;
        let id = made["id"].as_str().expect("an id").to_owned();
        Sandbox { id, key: self.key.clone(), client: self.client.clone() }
    }
}

#[tokio::test]
async fn an_image_becomes_a_snapshot_and_sandboxes_run_it() {
    if !has_images() {
        return;
    }
    let (account, registry) = (Account::new().await, Registry::start().await);
    let top = layer(Pack::Zstd, "mkdir -p srv/app; echo here > srv/app/file; chmod 755 srv");
    let settings = json!({"Env": ["WHO=image"], "WorkingDir": "/srv/app"});
    let image = registry.push("some/app:1", &[programs(), top], settings);
    let body =
        json!({"name": "mine", "imageName": image, "cpu": 2, "memory": 3, "disk": 4, "entrypoint": ["sleep", "9"]});
    let pending = account.ok(Method::POST, "/snapshots", body.clone()).await;
    assert_eq!(
        (&pending["state"], &pending["general"], &pending["mem"]),
        (&json!("pending"), &json!(false), &json!(3))
    );
    assert_eq!(account.call(Method::POST, "/snapshots", body).await.0, 409);
    let made = account.made("mine").await;
    assert_eq!(made["state"], "active", "{made}");
    assert_eq!((&made["entrypoint"], &made["imageName"]), (&json!(["sleep", "9"]), &json!(image)));
    assert!(made["size"].as_f64().expect("a size") > 0.0 && made["ref"].is_string() && made["lastUsedAt"].is_string());

    let one = account.sandbox(json!({"snapshot": "mine"})).await;
    one.until("started").await;
    assert_eq!(one.run("id -un; cat file; echo $WHO; echo $HOME").await, "root\nhere\nimage\n/root\n");
    one.run("touch /etc/mine && chown app /etc/mine && rm /srv/app/file").await;
    let record = one.api(Method::GET, "").await.1;
    assert_eq!((&record["cpu"], &record["snapshot"]), (&json!(2), &json!("mine")));

    // It outlives its snapshot.
    let id = made["id"].as_str().expect("an id");
    account.ok(Method::DELETE, &format!("/snapshots/{id}"), json!({})).await;
    eventually("gone", async || (account.call(Method::GET, "/snapshots/mine", json!({})).await.0 == 404).then_some(()))
        .await;
    one.api(Method::POST, "/stop").await;
    one.until("stopped").await;
    one.api(Method::POST, "/start").await;
    one.until("started").await;
    assert_eq!(one.run("ls /etc/mine; ls /srv/app").await, "/etc/mine\n");
    let (status, refused) = account.call(Method::POST, "/sandbox", json!({"snapshot": "mine"})).await;
    assert_eq!(status, 400, "{refused}");
}

#[tokio::test]
async fn an_image_that_cannot_be_had_is_an_error() {
    if !has_images() {
        return;
    }
    let account = Account::new().await;
    account.ok(Method::POST, "/snapshots", json!({"name": "bad", "imageName": "127.0.0.1:1/no/such:1"})).await;
    let made = account.made("bad").await;
    assert_eq!(made["state"], "error");
    assert!(made["errorReason"].as_str().expect("a reason").contains("can't be reached"), "{made}");
    let (status, refused) = account.call(Method::POST, "/sandbox", json!({"snapshot": "bad"})).await;
    assert_eq!((status, refused["message"].as_str()), (400, Some("Snapshot bad is error")));
}

#[tokio::test]
async fn a_stopped_sandbox_becomes_a_snapshot_without_a_copy() {
    if !has_images() {
        return;
    }
    let one = sandbox().await;
    let account = Account { key: one.key.clone(), client: one.client.clone() };
    one.run("echo kept > ~/file && echo gone > ~/other && sudo touch /usr/local/mark && mkdir d && seq 300 > d/n")
        .await;
    one.api(Method::POST, "/stop").await;
    one.until("stopped").await;
    let path = format!("/sandbox/{}/snapshot", one.id);
    let began = account.ok(Method::POST, &path, json!({"name": "frozen"})).await;
    assert_eq!(began["state"], "snapshotting");
    one.until("stopped").await;
    let made = account.made("frozen").await;
    assert_eq!((&made["state"], &made["sourceSandboxId"]), (&json!("active"), &json!(one.id)));
    assert_eq!(made["imageName"], "");

    let two = account.sandbox(json!({"snapshot": "frozen"})).await;
    two.until("started").await;
    assert_eq!(
        two.run("whoami; cat file; ls /usr/local/mark; rm other; ls d; sudo id -u").await,
        "daytona\nkept\n/usr/local/mark\nn\n0\n"
    );
    // The first one goes on over the same files, and they don't share what they write.
    one.api(Method::POST, "/start").await;
    one.until("started").await;
    assert_eq!(one.run("cat file other; echo more >> file; ls").await, "kept\ngone\nd\nfile\nother\n");
    assert_eq!(two.run("cat file").await, "kept\n");
    // A third generation, of a running one, in which something is hidden.
    account.ok(Method::POST, &format!("/sandbox/{}/snapshot", two.id), json!({"name": "again"})).await;
    two.until("started").await;
    account.made("again").await;
    let three = account.sandbox(json!({"snapshot": "again"})).await;
    three.until("started").await;
    assert_eq!(three.run("ls; cat file; wc -l < d/n").await, "d\nfile\nkept\n300\n");
    let listed = account.ok(Method::GET, &format!("/snapshots?sourceSandboxId={}", two.id), json!({})).await;
    assert_eq!((&listed["total"], &listed["items"][0]["name"]), (&json!(1), &json!("again")));
}

#[tokio::test]
async fn a_running_sandbox_keeps_running_while_it_is_copied() {
    if !has_images() {
        return;
    }
    let one = sandbox().await;
    let account = Account { key: one.key.clone(), client: one.client.clone() };
    one.run("mkdir d && seq 2000 | (cd d && xargs touch) && ln d/1 hard && (sleep 600 >/dev/null 2>&1 &)").await;
    let path = format!("/sandbox/{}/snapshot", one.id);
    account.ok(Method::POST, &path, json!({"name": "copy"})).await;
    one.until("started").await;
    assert_eq!(one.run("pgrep -c sleep").await, "1\n");
    let two = account.sandbox(json!({"snapshot": "copy"})).await;
    two.until("started").await;
    assert_eq!(two.run("ls d | wc -l; stat -c %h:%U hard").await, "2000\n2:daytona\n");
    for (body, message) in [
        (json!({}), "name must be a string"),
        (json!({"name": 5}), "name must be a string"),
        (json!({"name": "x", "includeMemory": true}), "includeMemory is only supported for Windows sandboxes"),
    ] {
        let (status, refused) = account.call(Method::POST, &path, body).await;
        assert_eq!((status, refused["message"].as_str()), (400, Some(message)));
    }
    // A name that is taken is no error, and makes nothing.
    account.ok(Method::POST, &path, json!({"name": "copy"})).await;
    one.until("started").await;
    assert_eq!(account.ok(Method::GET, "/snapshots?name=copy", json!({})).await["total"], 1);
    assert_eq!(account.ok(Method::GET, "/snapshots?name=C%25y", json!({})).await["total"], 1, "a pattern of SQL");
}

#[tokio::test]
async fn well_known_images_are_stood_in_for_offline() {
    if !has_images() {
        return;
    }
    let account = Account::new().await;
    account.ok(Method::POST, "/snapshots", json!({"name": "py", "imageName": "python:3.12.99-nosuchtag"})).await;
    let made = account.made("py").await;
    if made["errorReason"].as_str().is_some_and(|reason| reason.contains("no such image")) {
        return println!("skipped: this machine reaches Docker Hub");
    }
    assert_eq!(made["state"], "active", "{made}");
    let one = account.sandbox(json!({"snapshot": "py"})).await;
    one.until("started").await;
    assert_eq!(one.run("whoami; python -c 'print(6*7)'; touch /etc/x").await, "root\n42\n");
}

#[tokio::test]
async fn snapshots_are_switched_off_and_on() {
    if !has_images() {
        return;
    }
    let one = sandbox().await;
    let account = Account { key: one.key.clone(), client: one.client.clone() };
    account.ok(Method::POST, &format!("/sandbox/{}/snapshot", one.id), json!({"name": "switch"})).await;
    one.until("started").await;
    let id = account.made("switch").await["id"].as_str().expect("an id").to_owned();
    let message = async |method, path: String| account.call(method, &path, json!({})).await.1["message"].clone();
    assert_eq!(
        message(Method::POST, format!("/snapshots/{id}/activate")).await,
        format!("Snapshot {id} is already active")
    );
    for _ in 0..2 {
        assert_eq!(account.call(Method::POST, &format!("/snapshots/{id}/deactivate"), json!({})).await.0, 204);
    }
    assert_eq!(account.made("switch").await["state"], "inactive");
    let (status, refused) = account.call(Method::POST, "/sandbox", json!({"snapshot": "switch"})).await;
    assert_eq!((status, refused["message"].as_str()), (400, Some("Snapshot switch is inactive")));
    let pending = account.ok(Method::POST, &format!("/snapshots/{id}/activate"), json!({})).await;
    assert_eq!(pending["state"], "pending");
    assert_eq!(account.made("switch").await["state"], "active");

    let uuid = "Validation failed (uuid is expected)";
    for (method, path) in [(Method::DELETE, ""), (Method::POST, "/activate"), (Method::POST, "/deactivate")] {
        assert_eq!(message(method.clone(), format!("/snapshots/switch{path}")).await, uuid);
        assert_eq!(message(method.clone(), format!("/snapshots/daytona-small{path}")).await, uuid);
        assert_eq!(message(method, format!("/snapshots/nope{path}")).await, "Snapshot with name nope not found");
    }
    let other = Account::new().await;
    let texts = [(id.as_str(), "Snapshot with ID or name"), ("switch", "Snapshot with name")];
    for (name, text) in texts {
        let (status, refused) = other.call(Method::GET, &format!("/snapshots/{name}"), json!({})).await;
        assert_eq!((status, &refused["message"]), (404, &json!(format!("{text} {name} not found"))));
    }
    let (_, general) = other.call(Method::GET, "/snapshots/daytona-small", json!({})).await;
    for id in [id.as_str(), general["id"].as_str().expect("an id")] {
        for (method, path) in [(Method::DELETE, ""), (Method::POST, "/activate"), (Method::POST, "/deactivate")] {
            let (status, refused) = other.call(method, &format!("/snapshots/{id}{path}"), json!({})).await;
            assert_eq!(
                (status, &refused["message"]),
                (404, &json!(format!("Snapshot with ID or name {id} not found")))
            );
        }
    }
    // They are the operator's, who can't remove them either (observed).
    let operator = Account { key: server().api_key.clone(), client: client(&server().api_key) };
    let (_, organizations) = operator.call(Method::GET, "/organizations", json!({})).await;
    let ids: Vec<&Value> = organizations.as_array().expect("some").iter().map(|one| &one["id"]).collect();
    assert!(ids.contains(&&general["organizationId"]), "{general} {organizations}");
    let path = format!("/snapshots/{}", general["id"].as_str().expect("an id"));
    let (status, refused) = operator.call(Method::DELETE, &path, json!({})).await;
    assert_eq!((status, &refused["message"]), (403, &json!("You cannot delete a general snapshot")));
    let (status, _) = account.call(Method::GET, &format!("/snapshots/{id}/build-logs-url"), json!({})).await;
    assert_eq!(status, 404, "nothing was built");
}

#[tokio::test]
async fn bad_snapshots_are_refused_with_the_known_messages() {
    let account = Account::new().await;
    let image = "Image name must include a tag (e.g., ubuntu:22.04) or digest (@sha256:...)";
    for (body, message) in [
        (json!({}), "name must be a string"),
        (
            json!({"name": "a b", "imageName": "x:1"}),
            "Invalid snapshot name format. May contain letters, digits, dots, colons, and dashes",
        ),
        (json!({"name": "a"}), "Must specify an image name when not using a build info entry"),
        (json!({"name": "a", "imageName": ""}), "Must specify an image name when not using a build info entry"),
        (
            json!({"name": "a", "imageName": "x:1", "buildInfo": {}}),
            "Cannot specify an image name when using a build info entry",
        ),
        (
            json!({"name": "a", "buildInfo": {}, "entrypoint": ["x"]}),
            "Cannot specify an entrypoint when using a build info entry",
        ),
        (json!({"name": "a", "imageName": "ubuntu"}), image),
        (json!({"name": "a", "imageName": "r.example:5000/ubuntu"}), image),
        (json!({"name": "a", "imageName": "ubuntu:latest"}), "Images with tag \":latest\" are not allowed"),
        (
            json!({"name": "a", "imageName": "ubuntu@sha256:12"}),
            "Invalid digest format. Must be image@sha256:64_hex_characters",
        ),
        (
            json!({"name": "a", "imageName": "Ubuntu:1"}),
            "Invalid image name format. Must be lowercase, may contain digits, dots, dashes, and single slashes between components",
        ),
        (json!({"name": "a", "imageName": "x:1", "gpu": 1}), "No available runners"),
        (
            json!({"name": "a", "imageName": "x:1", "gpuType": ["H100", "foo"]}),
            "each value in gpuType must be one of the following values: H100, RTX-PRO-6000, H200, RTX-4090, RTX-5090, B200, B300, MI355X",
        ),
        (
            json!({"name": "a", "imageName": "x:1", "sandboxClass": "windows"}),
            "No runners are configured in region 'us' for sandbox class 'windows'. Try a different region or sandbox class.",
        ),
    ] {
        let (status, answer) = account.call(Method::POST, "/snapshots", body.clone()).await;
        assert_eq!((status, answer["message"].as_str()), (400, Some(message)), "{body}");
    }
    let (_, answer) =
        account.call(Method::POST, "/snapshots", json!({"name": "a", "imageName": "x:1", "cpu": 99})).await;
    assert!(
        answer["message"]
            .as_str()
            .expect("a message")
            .starts_with("CPU request 99 exceeds maximum allowed per sandbox (4).")
    );
    let (status, answer) =
        account.call(Method::POST, "/snapshots", json!({"name": "a", "imageName": "x:1", "regionId": "mars"})).await;
    assert_eq!((status, answer["message"].as_str()), (404, Some("Region not found")));
    assert_eq!(
        account.ok(Method::GET, "/snapshots?name=a&sort=createdAt", json!({})).await["items"][0]["general"],
        true
    );
}

#[tokio::test]
async fn registries_of_the_organisation_give_their_credentials() {
    let (account, registry) = (Account::new().await, Registry::start().await);
    registry.require("me", "hunter3");
    let image = registry.push("some/private:1", &[programs()], json!({}));
    let url = format!("http://{}", registry.host);
    let body = json!({"name": "own", "url": url, "username": "me", "password": "wrong", "project": "p"});
    let made = account.ok(Method::POST, "/docker-registry", body).await;
    assert_eq!((&made["project"], &made["registryType"]), (&json!("p"), &json!("organization")));
    assert!(made.get("password").is_none());
    let path = format!("/docker-registry/{}", made["id"].as_str().expect("an id"));
    let state = async |name: &str| {
        account.ok(Method::POST, "/snapshots", json!({"name": name, "imageName": image})).await;
        account.made(name).await
    };
    if has_images() {
        let denied = state("denied").await;
        assert!(denied["errorReason"].as_str().expect("a reason").contains("access denied"), "{denied}");
        assert!(!denied.to_string().contains("hunter"), "a secret is told");
    }
    let changed = account
        .ok(Method::PATCH, &path, json!({"name": "own", "url": url, "username": "me", "password": "hunter3"}))
        .await;
    assert_eq!((&changed["project"], &changed["username"]), (&json!(""), &json!("me")));
    if has_images() {
        assert_eq!(state("allowed").await["state"], "active");
    }
    assert_eq!(account.ok(Method::GET, "/docker-registry", json!({})).await[0]["name"], "own");
    assert_eq!(account.ok(Method::GET, &path, json!({})).await, changed);
    let (status, refused) =
        account.call(Method::POST, "/docker-registry", json!({"name": "x", "url": "no url", "username": "u"})).await;
    assert_eq!(
        (status, refused["message"].as_str()),
        (400, Some("url must be a URL address, password must be a string"))
    );
    assert_eq!(Account::new().await.call(Method::GET, &path, json!({})).await.0, 404);
    assert_eq!(account.call(Method::DELETE, &path, json!({})).await.0, 204);
    let (status, gone) = account.call(Method::DELETE, &path, json!({})).await;
    let text = format!("Docker registry with ID {} not found", made["id"].as_str().expect("an id"));
    assert_eq!((status, gone["message"].as_str()), (404, Some(text.as_str())));
}
