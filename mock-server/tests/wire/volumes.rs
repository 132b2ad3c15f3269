//! Volumes: their life, and what several sandboxes see of them at once.

use daytona_mock::{MockServer, runtime::Isolation};
use reqwest::Method;
use serde_json::{Value, json};

use crate::{
    events::Socket,
    images::tier,
    snapshots::Account,
    support::{Sandbox, client, config, eventually, server},
};

/// A ready volume.
async fn volume(account: &Account, name: &str) -> String {
    let made = account.ok(Method::POST, "/volumes", json!({"name": name})).await;
    assert_eq!(made["state"], "pending_create", "{made}");
    made["id"].as_str().expect("an id").to_owned()
}

async fn read(account: &Account, id: &str) -> Value {
    account.ok(Method::GET, &format!("/volumes/{id}"), json!({})).await
}

async fn until(account: &Account, id: &str, state: &str) -> Value {
    eventually(state, async || Some(read(account, id).await).filter(|volume| volume["state"] == state)).await
}

fn error(status: u16, message: &str) -> (u16, Value) {
    (status, json!(message))
}

impl Account {
    /// Status and message of what is refused.
    async fn refused(&self, method: Method, path: &str, body: Value) -> (u16, Value) {
        let (status, answer) = self.call(method, path, body).await;
        (status, answer["message"].clone())
    }

    async fn mounting(&self, mounts: Value) -> Sandbox {
        let sandbox = self.sandbox(json!({"volumes": mounts})).await;
        sandbox.until("started").await;
        sandbox
    }
}

#[tokio::test]
async fn a_volume_has_the_observed_life() {
    let account = Account::new().await;
    let made = account.ok(Method::POST, "/volumes", json!({"name": "a b/c"})).await;
    let keys: Vec<&str> = made.as_object().expect("an object").keys().map(String::as_str).collect();
    assert_eq!(keys, ["id", "name", "organizationId", "state", "createdAt", "updatedAt", "errorReason"]);
    assert_eq!((&made["state"], &made["errorReason"]), (&json!("pending_create"), &Value::Null));
    let id = made["id"].as_str().expect("an id");
    assert_eq!(read(&account, id).await["state"], "ready", "by the time of the answer");
    let by_name = account.ok(Method::GET, "/volumes/by-name/a%20b%2Fc", json!({})).await;
    assert_eq!(by_name["id"], id);
    let unnamed = account.ok(Method::POST, "/volumes", json!({"name": ""})).await;
    assert_eq!(unnamed["name"], unnamed["id"]);
    let list = account.ok(Method::GET, "/volumes", json!({})).await;
    assert_eq!((list[0]["id"].clone(), list[1]["id"].clone()), (unnamed["id"].clone(), json!(id)), "newest first");

    let path = format!("/volumes/{id}");
    assert_eq!(account.call(Method::DELETE, &path, json!({})).await, (200, json!("")));
    let deleted = until(&account, id, "deleted").await;
    assert_eq!(deleted["name"], "a b/c-deleted");
    let again = "Volume must be in 'ready' or 'error' state in order to be deleted";
    assert_eq!(account.refused(Method::DELETE, &path, json!({})).await, error(400, again));
    let gone = account.refused(Method::GET, "/volumes/by-name/a%20b%2Fc", json!({})).await;
    assert_eq!(gone, error(404, "Volume with name a b/c not found"));
    let ids = |list: Value| list.as_array().expect("an array").iter().map(|one| one["id"].clone()).collect::<Vec<_>>();
    assert_eq!(ids(account.ok(Method::GET, "/volumes", json!({})).await), [unnamed["id"].clone()]);
    let all = ids(account.ok(Method::GET, "/volumes?includeDeleted=true", json!({})).await);
    assert_eq!(all, [unnamed["id"].clone(), json!(id)]);
    volume(&account, "a b/c").await;
}

#[tokio::test]
async fn what_is_refused_says_why() {
    let (account, other) = (Account::new().await, Account::new().await);
    let id = volume(&account, "mine").await;
    let string = "name must be a string";
    let unsafe_text = "name must not contain HTML tags, URLs, or control characters";
    for (body, text) in [
        (json!({}), string.to_owned()),
        (json!({"name": null}), string.to_owned()),
        (json!({"name": 5}), format!("{unsafe_text}, {string}")),
        (json!({"name": "<b>x"}), unsafe_text.to_owned()),
        (json!({"name": "mine"}), "Volume with name mine already exists".to_owned()),
    ] {
        assert_eq!(account.refused(Method::POST, "/volumes", body).await, error(400, &text));
    }
    for name in ["mine", "00000000-0000-4000-8000-000000000000"] {
        let text = format!("Volume with ID {name} not found");
        for method in [Method::GET, Method::DELETE] {
            let refused = account.refused(method, &format!("/volumes/{name}"), json!({})).await;
            assert_eq!(refused, error(404, &text), "never by name");
        }
    }
    assert_eq!(other.call(Method::GET, &format!("/volumes/{id}"), json!({})).await.0, 404);
    let body = json!({"name": "none", "permissions": ["write:sandboxes"]});
    let key = account.ok(Method::POST, "/api-keys", body).await["value"].as_str().expect("a key").to_owned();
    let none = Account { client: client(&key), key };
    for (method, path) in [
        (Method::GET, "/volumes".to_owned()),
        (Method::POST, "/volumes".to_owned()),
        (Method::GET, format!("/volumes/{id}")),
        (Method::GET, "/volumes/by-name/mine".to_owned()),
        (Method::DELETE, format!("/volumes/{id}")),
    ] {
        assert_eq!(none.refused(method, &path, json!({})).await, error(403, "Access denied"), "{path}");
    }
}

#[tokio::test]
async fn mounts_are_checked_in_the_observed_order() {
    let account = Account::new().await;
    let id = volume(&account, "v").await;
    let gone = volume(&account, "gone").await;
    account.ok(Method::DELETE, &format!("/volumes/{gone}"), json!({})).await;
    until(&account, &gone, "deleted").await;
    let refused = async |mounts: Value| account.refused(Method::POST, "/sandbox", json!({"volumes": mounts})).await;
    let shape = "volumes must be an array, each value in nested property volumes must be either object or array";
    let empty = "volumes.0.volumeId should not be empty, volumes.0.volumeId must be a string, volumes.0.mountPath must be a string";
    for (mounts, status, text) in [
        (json!("x"), 400, shape.to_owned()),
        (json!([{}]), 400, empty.to_owned()),
        (json!([{"volumeId": "nope", "mountPath": "bad"}]), 404, "Volume 'nope' not found".to_owned()),
        (json!([{"volumeId": "gone", "mountPath": "/x"}]), 404, "Volume 'gone' not found".to_owned()),
        (
            json!([{"volumeId": gone, "mountPath": "/x"}]),
            400,
            format!("Volume '{gone}' is not in a ready state. Current state: deleted"),
        ),
        (json!([{"volumeId": id, "mountPath": "x"}]), 400, "Invalid mount path x (must be absolute)".to_owned()),
        (
            json!([{"volumeId": id, "mountPath": "/etc/x"}]),
            400,
            "Invalid mount path /etc/x (cannot mount to system directory)".to_owned(),
        ),
        (
            json!([{"volumeId": id, "mountPath": "/x", "subpath": "../y"}]),
            400,
            "Invalid subpath \"../y\" (cannot contain .. for security)".to_owned(),
        ),
    ] {
        assert_eq!(refused(mounts.clone()).await, error(status, &text), "{mounts}");
    }
}

#[tokio::test]
async fn sandboxes_see_each_others_writes() {
    let account = Account::new().await;
    let id = volume(&account, "shared").await;
    if tier() == Isolation::Process {
        let body = json!({"volumes": [{"volumeId": id, "mountPath": "/data"}]});
        assert_eq!(account.call(Method::POST, "/sandbox", body).await.0, 400, "said, not pretended");
        return;
    }
    // By name, too; the answer has the id.
    let body = json!({"name": "one", "volumes": [{"volumeId": "shared", "mountPath": "/home/daytona/data"}]});
    let one = account.sandbox(body).await;
    let two = json!([
        {"volumeId": id, "mountPath": "/mnt/deep/er", "subpath": "a/b"},
        {"volumeId": id, "mountPath": "/mnt/deep"},
    ]);
    let two = account.mounting(two).await;
    one.until("started").await;
    let shown = one.api(Method::GET, "").await.1["volumes"].clone();
    assert_eq!(shown, json!([{"volumeId": id, "mountPath": "/home/daytona/data"}]));
    let list = account.client.get(format!("{}/sandbox", server().api_url)).header("x-daytona-sdk-version", "0.226.1");
    let listed: Value = list.send().await.expect("answer").json().await.expect("JSON");
    let items = listed["items"].as_array().unwrap_or_else(|| panic!("{listed}"));
    assert!(items.len() == 2 && items.iter().all(|item| item.get("volumes").is_none()), "{listed}");

    one.run("echo hello > data/file; mkdir data/dir; echo 2 > data/a/b/two").await;
    assert_eq!(two.run("cat /mnt/deep/file /mnt/deep/er/two; echo back > /mnt/deep/er/three").await, "hello\n2\n");
    let owners = "stat -c '%U %A' data data/file data/a/b/three | tr '\\n' ' '";
    assert_eq!(one.run(owners).await, "daytona drwxrwxrwx daytona -rw-rw-rw- daytona -rw-rw-rw- ");
    // What is in a volume isn't in the sandbox, and a start mounts it again.
    one.api(Method::POST, "/stop").await;
    one.until("stopped").await;
    two.run("echo while stopped > /mnt/deep/later").await;
    one.api(Method::POST, "/start").await;
    one.until("started").await;
    assert_eq!(one.run("cat data/later data/a/b/three").await, "while stopped\nback\n");

    let path = format!("/volumes/{id}");
    assert!(read(&account, &id).await["lastUsedAt"].is_string());
    two.api(Method::DELETE, "").await;
    let used = "Volume cannot be deleted because it is in use by one or more sandboxes (e.g. one)";
    assert_eq!(account.refused(Method::DELETE, &path, json!({})).await, error(409, used));
    one.api(Method::POST, "/stop").await;
    one.until("stopped").await;
    assert_eq!(account.refused(Method::DELETE, &path, json!({})).await, error(409, used), "stopped ones count");
    one.api(Method::DELETE, "").await;
    account.ok(Method::DELETE, &path, json!({})).await;
    until(&account, &id, "deleted").await;
    let files = crate::support::run_dir().join("volumes").join(&id);
    assert!(!files.exists(), "its files are gone");
}

#[tokio::test]
async fn a_subpath_leads_nowhere_else() {
    if tier() == Isolation::Process {
        return;
    }
    let account = Account::new().await;
    let id = volume(&account, "links").await;
    let one = account.mounting(json!([{"volumeId": id, "mountPath": "/v"}])).await;
    one.run("ln -s /etc /v/out; ln -s ../../.. /v/up; mkdir /v/real; ln -s real /v/in; echo x > /v/file").await;
    for subpath in ["out", "out/ssl", "up", "in", "file"] {
        let body = json!({"volumes": [{"volumeId": id, "mountPath": "/v", "subpath": subpath}]});
        let (status, refused) = account.call(Method::POST, "/sandbox", body).await;
        let text = refused["message"].as_str().unwrap_or_default();
        assert!(status == 400 && text.starts_with("Sandbox failed to start: "), "{subpath}: {refused}");
    }
    // The place where it is mounted may be behind a link, but only inside.
    let target = "mkdir -p /home/daytona/real && ln -s /home/daytona/real /home/daytona/link";
    let two = account.mounting(json!([{"volumeId": id, "mountPath": "/home/daytona/real/x"}])).await;
    two.run(target).await;
    assert_eq!(two.run("cat /home/daytona/link/x/file; id -un").await, "x\ndaytona\n");
}

#[tokio::test]
async fn sockets_hear_of_volumes() {
    let account = Account::new().await;
    let mut socket = Socket::with(&account.key).await;
    let id = volume(&account, "heard").await;
    let (name, payload) = socket.event().await;
    assert_eq!(
        (name.as_str(), &payload["state"], &payload["id"]),
        ("volume.created", &json!("pending_create"), &json!(id))
    );
    let change = async |socket: &mut Socket| {
        let (name, payload) = socket.event().await;
        assert_eq!((name.as_str(), &payload["volume"]["state"]), ("volume.state.updated", &payload["newState"]));
        format!("{}>{}", payload["oldState"].as_str().expect("old"), payload["newState"].as_str().expect("new"))
    };
    assert_eq!(change(&mut socket).await, "pending_create>creating");
    assert_eq!(change(&mut socket).await, "creating>ready");
    if tier() != Isolation::Process {
        let sandbox = account.mounting(json!([{"volumeId": id, "mountPath": "/v"}])).await;
        let used = loop {
            let (name, payload) = socket.event().await;
            if name.starts_with("volume.") {
                assert_eq!(name, "volume.lastUsedAt.updated");
                break payload;
            }
        };
        assert!(used["lastUsedAt"].is_string() && used["id"] == json!(id), "{used}");
        sandbox.api(Method::DELETE, "").await;
    }
    account.ok(Method::DELETE, &format!("/volumes/{id}"), json!({})).await;
    let mut changes = Vec::new();
    while changes.last().is_none_or(|last: &String| last != "deleting>deleted") {
        let (name, payload) = socket.event().await;
        if name == "volume.state.updated" {
            changes.push(format!(
                "{}>{}",
                payload["oldState"].as_str().expect("old"),
                payload["newState"].as_str().expect("new")
            ));
        }
    }
    assert_eq!(changes, ["ready>pending_delete", "pending_delete>deleting", "deleting>deleted"]);
}

/// A server of its own with room for one.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn volumes_survive_a_restart_and_have_a_quota() {
    let dir = tempfile::tempdir().expect("a directory");
    let start = async || {
        let mut config = daytona_mock::config::Config { data_dir: Some(dir.path().to_owned()), ..config() };
        config.limits.volumes = 1;
        MockServer::start(config).await.expect("starts")
    };
    let running = start().await;
    let key = running.api_key.clone();
    let http = client(&key);
    let made = async |server: &MockServer, path: &str, body: Value| -> (u16, Value) {
        let answer = http.post(format!("{}{path}", server.api_url)).json(&body).send().await.expect("answer");
        (answer.status().as_u16(), answer.json().await.expect("JSON"))
    };
    let (status, volume) = made(&running, "/volumes", json!({"name": "kept"})).await;
    assert_eq!(status, 200, "{volume}");
    let (status, second) = made(&running, "/volumes", json!({"name": "more"})).await;
    assert_eq!((status, &second["message"]), (400, &json!("Volume quota exceeded. Maximum allowed: 1")));
    let in_tier = running.runtime_info().isolation != Isolation::Process;
    let mut id = String::new();
    let execute = async |server: &MockServer, id: &str, command: &str| -> Value {
        let url = format!("{}/{id}/process/execute", server.toolbox_url);
        let answer = http.post(url).json(&json!({"command": command})).send().await.expect("answer");
        answer.json::<Value>().await.expect("JSON")["result"].clone()
    };
    if in_tier {
        let body = json!({"volumes": [{"volumeId": "kept", "mountPath": "/v", "subpath": "s"}]});
        let (status, sandbox) = made(&running, "/sandbox", body).await;
        assert_eq!(status, 200, "{sandbox}");
        id = sandbox["id"].as_str().expect("an id").to_owned();
        assert_eq!(execute(&running, &id, "echo data > /v/file; cat /v/file").await, "data\n");
    }
    std::fs::create_dir_all(dir.path().join("volumes/orphan")).expect("made");
    running.shutdown().await;

    let running = start().await;
    let url = format!("{}/volumes", running.api_url);
    let list: Value = http.get(url).send().await.expect("answer").json().await.expect("JSON");
    assert_eq!((&list[0]["id"], &list[0]["state"]), (&volume["id"], &json!("ready")));
    eventually("files of nobody are removed", async || (!dir.path().join("volumes/orphan").exists()).then_some(()))
        .await;
    if in_tier {
        eventually("started again", async || {
            let url = format!("{}/sandbox/{id}", running.api_url);
            let sandbox: Value = http.get(url).send().await.expect("answer").json().await.expect("JSON");
            (sandbox["state"] == "started").then_some(())
        })
        .await;
        assert_eq!(execute(&running, &id, "cat /v/file").await, "data\n");
    }
    running.shutdown().await;
}
