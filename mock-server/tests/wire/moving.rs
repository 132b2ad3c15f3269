//! `/__control/save` and `/__control/restore`: a world in one archive, and what is no such archive.

use std::{io::Write, path::Path};

use daytona_mock::{MockServer, config::Config};
use serde_json::{Value, json};

use crate::{
    api::{Api, answer, names},
    images::{
        has_images,
        registry::{Pack, Registry, layer, programs},
    },
    store::{open, serve},
    support::{config, eventually},
};

/// The archive of a world.
pub async fn saved(api: &Api, query: &str) -> Vec<u8> {
    let url = format!("{}/save{query}", api.url.replace("/api", "/__control"));
    let got = api.client.get(url).bearer_auth(&api.key).send().await.expect("answer");
    assert_eq!(
        (got.status().as_u16(), &got.headers()["content-type"]),
        (200, &"application/x-tar".parse().expect("a value"))
    );
    got.bytes().await.expect("an archive").to_vec()
}

pub async fn restored(api: &Api, archive: Vec<u8>) -> (u16, Value) {
    let url = api.url.replace("/api", "/__control/restore");
    answer(api.client.post(url).bearer_auth(&api.key).body(archive).send().await.expect("answer")).await
}

/// A key of another world on the same server.
pub async fn another(api: &Api) -> Api {
    let (_, minted) = api.control("POST", "/keys", Value::Null).await;
    api.with_key(minted["apiKey"].as_str().expect("a key"))
}

/// Runs a command, which must exit with 0; its output.
pub async fn run(api: &Api, name: &str, command: &str) -> String {
    let (_, sandbox) = api.get(&format!("/sandbox/{name}")).await;
    let (base, id) = (sandbox["toolboxProxyUrl"].as_str().expect("an URL"), sandbox["id"].as_str().expect("an id"));
    let request = api.client.post(format!("{base}/{id}/process/execute")).bearer_auth(&api.key);
    let words = ["bash", "-c", command].map(quoted).join(" ");
    let request = request.json(&json!({"command": words}));
    let (_, body) = answer(request.send().await.expect("answer")).await;
    assert_eq!(body["exitCode"], 0, "{command}: {body}");
    body["result"].as_str().expect("text").to_owned()
}

fn quoted(word: &str) -> String {
    format!("'{}'", word.replace('\'', r"'\''"))
}

/// Files of all kinds, and what `ls` and others say of them.
pub const FILL: &str = "cd; mkdir -p d/e; echo deep > d/e/f; ln d/e/f hard; ln -s d/e/f soft; chmod 4750 hard; mkfifo pipe; \
    truncate -s 20M sparse; printf x | dd of=sparse bs=1 seek=10000000 conv=notrunc 2>/dev/null; \
    python3 -c 'import os; os.setxattr(\"hard\", \"user.color\", b\"red\")'; \
    sudo touch /etc/mine; sudo chown root:root /etc/mine; sudo rm -rf /etc/skel; sudo rm -f /usr/bin/rev; \
    touch -d @1000000000.5 d; echo data > data/file; mkdir data/dir; id > data/dir/who";
pub const LOOK: &str = "cd; cat d/e/f hard soft data/file data/dir/who; find . -printf '%p %y %m %u %g %n %l\\n' | grep -v cache | sort; \
    stat -c '%s' sparse; test $(du -k sparse | cut -f1) -lt 5000 && echo holes; tail -c +10000001 sparse | head -c 1; \
    python3 -c 'import os; print(os.getxattr(\"hard\", \"user.color\"))'; stat -c '%U %G' /etc/mine; stat -c %.9Y d; \
    ls /etc/skel 2>/dev/null || echo no skel; ls /usr/bin/rev 2>/dev/null || echo no rev";

/// A world with something of everything.
async fn furnish(api: &Api) {
    api.post("/volumes", json!({"name": "data"})).await;
    let (status, secret) = api.post("/secret", json!({"name": "TOKEN", "value": "hush-hush-value"})).await;
    assert_eq!(status, 201, "{secret}");
    let registry = json!({"name": "mine", "url": "https://r.example", "username": "me", "password": "registry-word"});
    let (status, made) = api.post("/docker-registry", registry).await;
    assert!(status < 300, "{made}");
    let hook = json!({"url": "http://127.0.0.1:9/hook", "eventTypes": ["snapshot.created"]});
    assert_eq!(api.control("POST", "/webhooks", hook).await.0, 201);
    let (status, region) = api.post("/regions", json!({"name": "own"})).await;
    assert!(status < 300, "{region}");
    let web = json!({
        "name": "web", "labels": {"team": "a"}, "env": {"MODE": "test"}, "autoStopInterval": 0, "secrets": [{"API": "TOKEN"}],
        "volumes": [{"volumeId": "data", "mountPath": "/home/daytona/data"}],
    });
    api.sandbox(web).await;
    run(api, "web", FILL).await;
    api.named("idle").await;
    run(api, "idle", "echo idle > ~/note").await;
    stop(api, "idle").await;
    api.named("old").await;
    run(api, "old", "echo old > ~/note").await;
    stop(api, "old").await;
    api.post("/sandbox/old/archive", Value::Null).await;
    api.until("old", "archived").await;
    let (status, made) = api.post("/sandbox/idle/snapshot", json!({"name": "snap"})).await;
    assert_eq!(status, 200, "{made}");
    eventually("a snapshot", async || (api.get("/snapshots/snap").await.1["state"] == "active").then_some(())).await;
    api.sandbox(json!({"name": "made", "snapshot": "snap"})).await;
}

async fn stop(api: &Api, name: &str) {
    api.post(&format!("/sandbox/{name}/stop"), Value::Null).await;
    api.until(name, "stopped").await;
}

#[tokio::test]
async fn a_world_moves_to_another_server_whole() {
    if !has_images() {
        return;
    }
    let api = Api::new().await;
    furnish(&api).await;
    let (seen, before) = (run(&api, "web", LOOK).await, api.get("/sandbox/web").await.1);
    assert!(seen.contains("no skel\nno rev") && seen.contains("holes"), "{seen}");
    let archive = saved(&api, "").await;
    let holds = |archive: &[u8], text: &str| archive.windows(text.len()).any(|part| part == text.as_bytes());
    assert!(holds(&archive, "TOKEN") && !holds(&archive, "hush-hush-value") && !holds(&archive, "registry-word"));
    assert_eq!(run(&api, "web", "echo goes on").await, "goes on\n");

    let dir = tempfile::tempdir().expect("temp dir");
    let (server, there) = open(dir.path(), &[]).await;
    let (status, told) = restored(&there, archive.clone()).await;
    assert_eq!(status, 201, "{told}");
    assert_eq!(told["ids"], json!({}), "ids stay where they are free");
    let notes = told["notes"].to_string();
    for part in ["1 secrets have no value", "1 registries have no password", "1 webhook endpoints have a new"] {
        assert!(notes.contains(part), "{notes}");
    }
    let after = there.get("/sandbox/web").await.1;
    for field in
        ["id", "name", "labels", "env", "state", "autoStopInterval", "cpu", "memory", "disk", "snapshot", "createdAt"]
    {
        assert_eq!(after[field], before[field], "{field}");
    }
    assert_eq!(after["state"], "started", "it runs when the answer comes");
    assert_eq!(run(&there, "web", LOOK).await, seen);
    assert_eq!(run(&there, "web", "echo $MODE; echo ${API%%_*}").await, "test\ndtn\n");
    assert_eq!(there.get("/sandbox/idle").await.1["state"], "stopped");
    for name in ["idle", "old"] {
        there.post(&format!("/sandbox/{name}/start"), Value::Null).await;
        there.until(name, "started").await;
        assert_eq!(run(&there, name, "cat ~/note").await, format!("{name}\n"));
    }
    assert_eq!(run(&there, "made", "cat ~/note").await, "idle\n");
    there.sandbox(json!({"name": "new", "snapshot": "snap"})).await;
    assert_eq!(run(&there, "new", "cat ~/note").await, "idle\n");
    assert_eq!(there.get("/volumes").await.1[0]["name"], "data");
    assert_eq!(there.get("/docker-registry").await.1[0]["url"], "https://r.example");
    assert_eq!(there.control("GET", "/webhooks", Value::Null).await.1["endpoints"].as_array().map(Vec::len), Some(1));
    assert!(there.get("/regions").await.1.to_string().contains("\"own\""));

    let (status, body) = restored(&there, archive.clone()).await;
    assert!(status == 409 && body["message"].as_str().is_some_and(|text| text.contains("reset it first")), "{body}");
    // Beside itself it gets other ids, and is the same besides.
    let twin = another(&there).await;
    let (status, told) = restored(&twin, archive).await;
    assert_eq!(status, 201, "{told}");
    let new = told["ids"][before["id"].as_str().expect("an id")].clone();
    assert_eq!((twin.get("/sandbox/web").await.1["id"].clone(), new.is_string()), (new, true));
    assert_eq!(run(&twin, "web", LOOK).await, seen);
    run(&twin, "web", "echo mine > data/file").await;
    assert_eq!(run(&there, "web", "cat data/file").await, "data\n", "it has a volume of its own");
    assert_eq!(twin.control("POST", "/reset", Value::Null).await.0, 204);
    assert_eq!(run(&there, "made", "cat ~/note").await, "idle\n", "and layers of its own");
    // What was restored survives the server like everything else.
    server.shutdown().await;
    let (server, there) = open(dir.path(), &[]).await;
    there.until("web", "started").await;
    assert_eq!(run(&there, "web", LOOK).await, seen);
    assert_eq!(run(&there, "made", "cat ~/note").await, "idle\n");
    server.shutdown().await;
}

#[tokio::test]
async fn secrets_are_in_it_if_somebody_says_so() {
    if !has_images() {
        return;
    }
    let api = Api::new().await;
    api.post("/secret", json!({"name": "TOKEN", "value": "hush-hush-value"})).await;
    let archive = saved(&api, "?secrets=true").await;
    assert!(archive.windows(15).any(|part| part == b"hush-hush-value"));
    let twin = another(&api).await;
    let (status, told) = restored(&twin, archive).await;
    assert_eq!((status, &told["notes"], &told["secrets"][0]["name"]), (201, &json!([]), &json!("TOKEN")), "{told}");
    let again = saved(&twin, "?secrets=true").await;
    assert!(again.windows(15).any(|part| part == b"hush-hush-value"));
    let (status, body) = api.control("GET", "/save?secret=true", Value::Null).await;
    assert_eq!(status, 400, "{body}");
    let (_, key) = api.post("/api-keys", json!({"name": "weak", "permissions": ["write:sandboxes"]})).await;
    let weak = api.with_key(key["value"].as_str().expect("a key"));
    assert_eq!(weak.control("GET", "/save", Value::Null).await.0, 403);
    assert_eq!(restored(&weak, Vec::new()).await.0, 403);
}

#[tokio::test]
async fn layers_of_pulled_images_come_along() {
    if !has_images() {
        return;
    }
    let registry = Registry::start().await;
    let layers = [programs(), layer(Pack::Gzip, "mkdir -p opt; echo tool > opt/tool")];
    let image = registry.push("some/tools:1", &layers, json!({"Env": ["PATH=/bin:/usr/bin"]}));
    let api = Api::new().await;
    let (status, made) = api.post("/snapshots", json!({"name": "tools", "imageName": image})).await;
    assert_eq!(status, 200, "{made}");
    eventually("pulled", async || (api.get("/snapshots/tools").await.1["state"] == "active").then_some(())).await;
    api.sandbox(json!({"name": "a", "snapshot": "tools"})).await;
    let archive = saved(&api, "").await;
    registry.stop();
    let dir = tempfile::tempdir().expect("temp dir");
    // Its cache is the same, but nothing in it counts: layers come with the archive.
    let elsewhere = Config { data_dir: Some(dir.path().join("data")), ..config() };
    let server = MockServer::start(elsewhere).await.expect("starts");
    let there = Api { url: server.api_url.clone(), key: server.api_key.clone(), client: reqwest::Client::new() };
    let (status, told) = restored(&there, archive).await;
    assert_eq!(status, 201, "{told}");
    assert_eq!(there.get("/sandbox/a").await.1["state"], "started");
    there.sandbox(json!({"name": "b", "snapshot": "tools"})).await;
    for name in ["a", "b"] {
        let (_, sandbox) = there.get(&format!("/sandbox/{name}")).await;
        let (base, id) = (sandbox["toolboxProxyUrl"].as_str().expect("an URL"), sandbox["id"].as_str().expect("an id"));
        let request = there.client.post(format!("{base}/{id}/process/execute")).bearer_auth(&there.key);
        let request = request.json(&json!({"command": "cat /opt/tool"}));
        assert_eq!(answer(request.send().await.expect("answer")).await.1["result"], "tool\n");
    }
    server.shutdown().await;
}

/// The members of an archive, in order.
fn members(archive: &[u8]) -> Vec<(String, Vec<u8>)> {
    let mut archive = tar::Archive::new(archive);
    let entries = archive.entries().expect("entries");
    entries
        .map(|entry| {
            let mut entry = entry.expect("an entry");
            let name = entry.path().expect("a path").to_string_lossy().into_owned();
            let mut bytes = Vec::new();
            std::io::Read::read_to_end(&mut entry, &mut bytes).expect("read");
            (name, bytes)
        })
        .collect()
}

fn joined(members: &[(String, Vec<u8>)]) -> Vec<u8> {
    let mut builder = tar::Builder::new(Vec::new());
    for (name, bytes) in members {
        let mut header = tar::Header::new_gnu();
        header.set_size(bytes.len() as u64);
        header.set_mode(0o600);
        builder.append_data(&mut header, name, bytes.as_slice()).expect("added");
    }
    builder.into_inner().expect("whole")
}

/// A tree as an archive has it, of raw headers: kind, name, link, owner, content.
fn tree(entries: &[(u8, &str, &str, u64, &[u8])], says_owners: bool) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut add = |kind: u8, name: &str, link: &str, owner: u64, content: &[u8]| {
        let mut header = tar::Header::new_ustar();
        header.set_size(content.len() as u64);
        header.set_mode(0o755);
        header.set_uid(owner);
        header.set_gid(owner);
        header.set_mtime(0);
        header.set_entry_type(tar::EntryType::new(kind));
        header.set_link_name_literal(link).expect("a link");
        header.as_mut_bytes()[..name.len()].copy_from_slice(name.as_bytes());
        header.set_cksum();
        bytes.write_all(header.as_bytes()).expect("written");
        bytes.write_all(content).expect("written");
        bytes.resize(bytes.len().next_multiple_of(512), 0);
    };
    if says_owners {
        add(b'g', "owners", "", 0, b"25 DAYTONA.owners=inside\n");
    }
    entries.iter().for_each(|(kind, name, link, owner, content)| add(*kind, name, link, *owner, content));
    bytes.resize(bytes.len() + 1024, 0);
    zstd::encode_all(bytes.as_slice(), 1).expect("compressed")
}

/// What is in a directory of the server.
pub fn count(dir: &Path, name: &str) -> usize {
    std::fs::read_dir(dir.join(name)).map_or(0, |entries| entries.count())
}

#[tokio::test]
async fn what_is_no_world_changes_nothing() {
    if !has_images() {
        return;
    }
    let api = Api::new().await;
    api.named("a").await;
    stop(&api, "a").await;
    let whole = members(&saved(&api, "").await);
    let text: Value = serde_json::from_slice(&whole[0].1).expect("a manifest");
    let dir = tempfile::tempdir().expect("temp dir");
    let limits = |text: &str| {
        let mut limits = daytona_mock::limits::Limits::default();
        limits.set(text).expect("a limit");
        limits
    };
    let config = Config { data_dir: Some(dir.path().to_owned()), limits: limits("world-size=2M"), ..config() };
    let server = MockServer::start(config).await.expect("starts");
    let there = Api { url: server.api_url.clone(), key: server.api_key.clone(), client: reqwest::Client::new() };
    let kept = ["sandboxes", "archive", "volumes", "layers"].map(|name| count(dir.path(), name));
    let edited = |edit: &dyn Fn(&mut Value)| {
        let mut changed = text.clone();
        edit(&mut changed);
        let mut all = whole.clone();
        all[0].1 = changed.to_string().into_bytes();
        joined(&all)
    };
    let files = |bytes: Vec<u8>| joined(&[whole[0].clone(), (whole[1].0.clone(), bytes)]);
    let outside = dir.path().parent().expect("a parent").join("moving-escape");
    let way_out = format!("../../../../../../../..{}", outside.display());
    let bomb = vec![0; 3 << 20];
    let cases: Vec<(&str, Vec<u8>, &str)> = vec![
        ("nothing", Vec::new(), "it is no daytona-mock world"),
        ("text", b"hello".to_vec(), "it is no daytona-mock world"),
        ("half", joined(&whole)[..1500].to_vec(), ""),
        ("no files", joined(&whole[..1]), "is not in it"),
        ("another file", joined(&[whole[0].clone(), ("x/y".into(), Vec::new())]), "was expected, not x/y"),
        ("more", joined(&[whole.clone(), vec![("more".into(), Vec::new())]].concat()), "more in it than it says"),
        ("not compressed", files(b"no zstd".to_vec()), ""),
        ("a newer one", edited(&|m| m["version"] = json!(2)), "version 2"),
        ("a bad id", edited(&|m| m["sandboxes"][0]["id"] = json!("../../x")), ""),
        ("no name", edited(&|m| m["sandboxes"][0]["name"] = json!("")), "it was deleted"),
        ("unknown layers", edited(&|m| m["sandboxes"][0]["root"]["layers"] = json!(["../x"])), "is not in it"),
        (
            "an unknown image",
            edited(&|m| {
                m["sandboxes"][0]["root"]["image"] = json!({"name": "x", "digest": "y",
            "config": {"env": {}, "user": "", "work_dir": "/", "entrypoint": [], "cmd": [], "labels": {}, "shell": []},
            "layers": []})
            }),
            "the image \"y\" is not there",
        ),
        (
            "an unknown volume",
            edited(&|m| m["sandboxes"][0]["volumes"] = json!([{"volumeId": "v", "mountPath": "/d"}])),
            "its volume is not there",
        ),
        (
            "a bad mount",
            edited(&|m| m["sandboxes"][0]["volumes"] = json!([{"volumeId": "v", "mountPath": "/etc"}])),
            "Invalid mount path",
        ),
        (
            "twice",
            edited(&|m| {
                let one = m["sandboxes"][0].clone();
                m["sandboxes"].as_array_mut().expect("an array").push(one);
            }),
            "",
        ),
        ("another base", edited(&|m| m["baseTargets"] = json!(["/x"])), "has other parts"),
        ("owners of this disk", files(tree(&[(b'5', "0", "", 0, b"")], false)), "whose files"),
        (
            "an absolute path",
            files(tree(&[(b'0', outside.to_str().expect("text"), "", 0, b"x")], true)),
            "a path leads out",
        ),
        ("a way up", files(tree(&[(b'0', &way_out, "", 0, b"x")], true)), "a path leads out"),
        (
            "through a link",
            files(tree(&[(b'2', "out", "/tmp", 0, b""), (b'0', "out/moving-escape", "", 0, b"x")], true)),
            "leads through no directory",
        ),
        (
            "a hard link out",
            files(tree(&[(b'1', "passwd", "../../../../etc/passwd", 0, b"")], true)),
            "a path leads out",
        ),
        ("the host's root", files(tree(&[(b'0', "x", "", 1_000_000, b"")], true)), "an owner"),
        ("a disk", files(tree(&[(b'4', "sda", "", 0, b"")], true)), "a kind that isn't ours"),
        ("much of nothing", files(tree(&[(b'0', "zeros", "", 0, &bomb)], true)), "more in the archive than is allowed"),
    ];
    for (what, archive, part) in cases {
        let (status, body) = restored(&there, archive).await;
        let message = body["message"].as_str().unwrap_or_default();
        assert!(
            status == 400 && message.starts_with("The archive can't be restored: ") && message.contains(part),
            "{what}: {status} {body}"
        );
        assert_eq!(there.get("/sandbox").await.1["items"], json!([]), "{what}");
        let now = ["sandboxes", "archive", "volumes", "layers"].map(|name| count(dir.path(), name));
        assert_eq!(now, kept, "{what} left something");
        assert!(!outside.exists() && !Path::new("/tmp/moving-escape").exists(), "{what} got out");
    }
    let (status, told) = restored(&there, joined(&whole)).await;
    assert_eq!(status, 201, "a good one still can: {told}");
    assert_eq!(names(&there.get("/sandbox").await.1), ["a"]);
    server.shutdown().await;
}

#[tokio::test]
async fn a_kill_in_the_middle_leaves_no_half_world() {
    if !has_images() {
        return;
    }
    let api = Api::new().await;
    for name in ["a", "b"] {
        api.named(name).await;
        run(&api, name, "mkdir ~/many; for i in $(seq 300); do echo $i > ~/many/$i; done").await;
    }
    api.post("/volumes", json!({"name": "v"})).await;
    let archive = saved(&api, "").await;
    let dir = tempfile::tempdir().expect("temp dir");
    let mut whole = false;
    // When only half of it has come, and then anywhere.
    for attempt in 0..4 {
        let serving = serve(dir.path()).await;
        if !whole && attempt == 0 {
            let (head, url) =
                (archive[..archive.len() / 2].to_vec(), serving.api.url.replace("/api", "/__control/restore"));
            let stream = futures_util::stream::once(async move { Ok::<_, std::io::Error>(head) });
            let body = futures_util::StreamExt::chain(stream, futures_util::stream::pending());
            let request = serving.api.client.post(url).bearer_auth(&serving.api.key);
            let sending = tokio::spawn(request.body(reqwest::Body::wrap_stream(body)).send());
            eventually("it arrives", async || (count(dir.path(), "trash") > 0).then_some(())).await;
            serving.kill();
            sending.abort();
        } else {
            let (key, url) = (serving.api.key.clone(), serving.api.url.clone());
            let api = Api { url, key, client: reqwest::Client::new() };
            let (begun, sent) = (archive.clone(), api.url.replace("/api", "/__control/restore"));
            let sending =
                tokio::spawn(async move { api.client.post(sent).bearer_auth(&api.key).body(begun).send().await });
            let files = |name: &str| count(dir.path(), name);
            eventually("it is unpacked", async || (files("volumes") > 0 || files("sandboxes") > 0).then_some(())).await;
            if attempt == 3 {
                sending.await.expect("no panic").expect("an answer");
            }
            serving.kill();
        }
        let again = serve(dir.path()).await;
        let list = again.api.get("/sandbox").await.1;
        let there = names(&list);
        assert!(there.is_empty() || there.len() == 2, "{there:?}");
        let volumes = again.api.get("/volumes").await.1.as_array().map_or(0, Vec::len);
        assert_eq!(volumes, usize::from(there.len() == 2));
        eventually("what is nobody's goes", async || {
            let clean = count(dir.path(), "sandboxes") == there.len() && count(dir.path(), "volumes") == volumes;
            (clean && count(dir.path(), "trash") == 0).then_some(())
        })
        .await;
        if there.len() == 2 {
            for name in ["a", "b"] {
                again.api.until(name, "started").await;
                assert_eq!(run(&again.api, name, "ls ~/many | wc -l").await, "300\n");
            }
            again.api.control("POST", "/reset", Value::Null).await;
        }
        whole |= there.len() == 2;
        again.kill();
    }
    assert!(whole, "the last one was answered");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn from_a_shell_and_from_a_program() {
    if !has_images() {
        return;
    }
    let dir = tempfile::tempdir().expect("temp dir");
    let (server, api) = open(&dir.path().join("data"), &[]).await;
    let ctl = |key: &str, words: &[&str]| {
        let mut command = std::process::Command::new(crate::support::binary());
        command.arg("ctl").arg("--data-dir").arg(dir.path().join("data")).args(["--key", key]).args(words);
        let output = command.output().expect("runs");
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        (output.status.success(), text(&output.stdout), text(&output.stderr))
    };
    api.named("a").await;
    run(&api, "a", "echo one > ~/note").await;
    let file = dir.path().join("world.tar");
    let path = file.to_str().expect("text");
    let (fine, said, _) = tokio::task::block_in_place(|| ctl(&api.key, &["save", path]));
    assert!(fine && said.contains("\"bytes\":"), "{said}");
    let (fine, _, said) = tokio::task::block_in_place(|| ctl(&api.key, &["save", path]));
    assert!(!fine && said.contains("exists"), "{said}");
    let (fine, _, said) = tokio::task::block_in_place(|| ctl(&api.key, &["restore", path]));
    assert!(!fine && said.contains("409") && said.contains("reset it first"), "{said}");
    let twin = another(&api).await;
    let (fine, said, _) = tokio::task::block_in_place(|| ctl(&twin.key, &["restore", path]));
    assert!(fine && said.contains("\"name\":\"a\""), "{said}");
    assert_eq!(run(&twin, "a", "cat ~/note").await, "one\n");
    // And as methods.
    let third = server.mint().await.expect("a key");
    let world = server.world(&third.api_key).expect("a world");
    let copy = dir.path().join("copy.tar");
    server.world(&twin.key).expect("a world").save(&copy, false).await.expect("saved");
    let told = world.restore(&copy).await.expect("restored");
    assert_eq!(told["sandboxes"][0]["name"], "a");
    assert_eq!(run(&api.with_key(&third.api_key), "a", "cat ~/note").await, "one\n");
    assert!(world.restore(&copy).await.is_err_and(|error| error.to_string().contains("reset it first")));
    server.shutdown().await;
}
