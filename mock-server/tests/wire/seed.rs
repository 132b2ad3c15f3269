//! Worlds from a file.

use daytona_mock::{MockServer, config::Config};
use serde_json::{Value, json};

use crate::{
    api::{Api, names},
    images::has_images,
    support::{config, server},
};

async fn run(api: &Api, base: &str, id: &str, command: &str) -> String {
    let url = format!("{base}/toolbox/{id}/process/execute");
    let answer = api.client.post(url).bearer_auth(&api.key).json(&json!({"command": command})).send().await;
    let body: Value = answer.expect("answer").json().await.expect("JSON");
    body["result"].as_str().unwrap_or_else(|| panic!("{body}")).to_owned()
}

#[tokio::test]
async fn sandboxes_have_their_files_labels_and_state() {
    let api = Api::new().await;
    let seed = json!({"sandboxes": [
        {"name": "web", "labels": {"team": "a"}, "env": {"MODE": "test"}, "autoStopInterval": 0, "public": true,
         "files": {"app/main.py": "print('hi')\n", "/tmp/raw": {"base64": "AAE="}}, "run": ["echo $MODE > mode"]},
        {"name": "idle", "state": "stopped"},
    ]});
    let (status, made) = api.control("POST", "/seed", seed).await;
    assert_eq!(status, 201, "{made}");
    let web = api.get("/sandbox/web").await.1;
    assert_eq!(
        (&web["labels"], &web["public"], &web["autoStopInterval"]),
        (&json!({"team": "a"}), &json!(true), &json!(0))
    );
    let id = made["sandboxes"][0]["id"].as_str().expect("an id");
    let output = run(&api, &server().base_url, id, "cat app/main.py mode; od -An -tx1 /tmp/raw").await;
    assert_eq!(output, "print('hi')\ntest\n 00 01\n");
    assert_eq!(api.get("/sandbox/idle").await.1["state"], "stopped");
    for (seed, part) in [
        (json!({"sandboxes": [{"name": "web"}]}), "sandboxes[0] (web): Sandbox with name web already exists"),
        (json!({"sandboxes": [{"name": "x", "run": ["exit 3"]}]}), "exit 3: it exited with 3"),
        (json!({"sandboxes": [{"lables": {}}]}), "unknown field `lables`"),
        (json!({"snapshots": [{"name": "s"}]}), "one of image and dockerfile"),
    ] {
        let (status, body) = api.control("POST", "/seed", seed.clone()).await;
        assert!(status == 400 && body["message"].as_str().is_some_and(|text| text.contains(part)), "{seed}: {body}");
    }
}

#[tokio::test]
async fn test_controls_take_json_and_yaml_whatever_the_type_says() {
    let api = Api::new().await;
    let post = async |kind: Option<&str>, body: &str| {
        let request = api.client.post(format!("{}/__control/seed", server().base_url)).bearer_auth(&api.key);
        let request = request.body(body.to_owned());
        let request = kind.into_iter().fold(request, |request, kind| request.header("content-type", kind));
        crate::api::answer(request.send().await.expect("answer")).await
    };
    for (n, kind) in [None, Some("application/yaml"), Some("text/plain"), Some("application/x-www-form-urlencoded")]
        .into_iter()
        .enumerate()
    {
        let (status, made) = post(kind, &format!("secrets:\n  - {{name: Y{n}, value: v}}\n")).await;
        assert_eq!((status, &made["secrets"][0]["name"]), (201, &json!(format!("Y{n}"))), "{kind:?}: {made}");
        let (status, made) = post(kind, &format!(r#"{{"secrets": [{{"name": "J{n}", "value": "v"}}]}}"#)).await;
        assert_eq!((status, &made["secrets"][0]["name"]), (201, &json!(format!("J{n}"))), "{kind:?}: {made}");
    }
    for bad in ["[]", "text", "{", "a: [", "1"] {
        let (status, told) = post(None, bad).await;
        let text = told["message"].as_str().unwrap_or_default();
        assert!(status == 400 && text.starts_with("the body must be an object, in JSON or YAML"), "{bad}: {told}");
    }
}

#[tokio::test]
async fn volumes_have_files_and_secrets_are_attached() {
    let api = Api::new().await;
    let mut seed = json!({
        "volumes": [{"name": "data", "files": {"set/one.txt": "1\n", "raw": {"base64": "AAE="}}}],
        "secrets": [{"name": "TOKEN", "value": "hush-hush", "description": "d", "hosts": ["API.example.com"]}],
        "sandboxes": [{"name": "web", "secrets": {"API_TOKEN": "TOKEN"}}],
    });
    if has_images() {
        seed["sandboxes"][0]["volumes"] =
            json!([{"name": "data", "mountPath": "/home/daytona/data", "subpath": "set"}]);
    }
    let (status, made) = api.control("POST", "/seed", seed).await;
    assert_eq!((status, &made["volumes"][0]["name"]), (201, &json!("data")), "{made}");
    assert_eq!(api.get("/volumes").await.1[0]["state"], "ready");
    let secret = api.get("/secret").await.1[0].clone();
    assert_eq!((&secret["name"], &secret["hosts"]), (&json!("TOKEN"), &json!(["api.example.com"])), "{secret}");
    let id = made["sandboxes"][0]["id"].as_str().expect("an id");
    let variable = run(&api, &server().base_url, id, "echo $API_TOKEN").await;
    assert!(variable.starts_with("dtn_secret_"), "{variable}");
    if has_images() {
        let output =
            run(&api, &server().base_url, id, "cat data/one.txt && echo more >> data/one.txt && cat data/one.txt")
                .await;
        assert_eq!(output, "1\n1\nmore\n");
    }
    for (seed, part) in [
        (json!({"volumes": [{"name": "v", "files": {"../x": ""}}]}), "../x: write ../x to volume"),
        (json!({"volumes": [{"name": "data"}]}), "volumes[0] (data): Volume with name data already exists"),
        (json!({"secrets": [{"name": "1", "value": ""}]}), "secrets[0] (1): a name has letters"),
        (json!({"secrets": [{"name": "A", "value": "", "hosts": ["a:1"]}]}), "a:1 is no host name"),
        (json!({"sandboxes": [{"secrets": {"A": "none"}}]}), "Secret 'none' not found"),
    ] {
        let (status, body) = api.control("POST", "/seed", seed.clone()).await;
        assert!(status == 400 && body["message"].as_str().is_some_and(|text| text.contains(part)), "{seed}: {body}");
    }
}

#[tokio::test]
async fn nothing_stays_of_a_seed_that_failed() {
    let api = Api::new().await;
    let before = json!({"volumes": [{"name": "mine"}], "sandboxes": [{"name": "mine"}]});
    assert_eq!(api.control("POST", "/seed", before).await.0, 201);
    let mut seed = json!({
        "volumes": [{"name": "data", "files": {"one": "1"}}],
        "secrets": [{"name": "TOKEN", "value": "v"}],
        "sandboxes": [
            {"name": "first", "secrets": {"T": "TOKEN"}, "state": "stopped"},
            {"name": "second", "run": ["exit 3"]},
        ],
    });
    if has_images() {
        seed["snapshots"] = json!([{"name": "tools", "dockerfile": "FROM debian:12\nRUN true"}]);
        seed["sandboxes"][0]["volumes"] = json!([{"name": "data", "mountPath": "/home/daytona/data"}]);
        seed["sandboxes"][1]["snapshot"] = json!("tools");
    }
    let (status, told) = api.control("POST", "/seed", seed.clone()).await;
    assert_eq!(status, 400, "{told}");
    assert_eq!(names(&api.get("/sandbox").await.1), ["mine"]);
    let names_of = |list: &Value| -> Vec<String> {
        let all = list.as_array().expect("a list").iter();
        all.map(|one| one["name"].as_str().unwrap_or_default().to_owned()).collect()
    };
    assert_eq!(names_of(&api.get("/volumes").await.1), ["mine"]);
    assert_eq!(api.get("/secret").await.1, json!([]));
    let snapshots = api.get("/snapshots").await.1;
    assert!(!names_of(&snapshots["items"]).contains(&"tools".to_owned()), "{snapshots}");
    // Its names are free.
    seed["sandboxes"][1]["run"] = json!(["exit 0"]);
    let (status, told) = api.control("POST", "/seed", seed).await;
    assert_eq!(status, 201, "{told}");
}

#[tokio::test]
async fn a_server_starts_with_a_seed_and_sows_once() {
    let dir = tempfile::tempdir().expect("temp dir");
    let seed = dir.path().join("seed.yaml");
    std::fs::write(&seed, "sandboxes:\n  - name: web\n    files: {a.txt: one}\n").expect("written");
    let config = || Config { seed: Some(seed.clone()), data_dir: Some(dir.path().join("data")), ..config() };
    for _ in 0..2 {
        let server = MockServer::start(config()).await.expect("starts");
        let api = Api { url: server.api_url.clone(), key: server.api_key.clone(), client: reqwest::Client::new() };
        let list = api.get("/sandbox").await.1;
        assert_eq!(names(&list), ["web"]);
        let id = list["items"][0]["id"].as_str().expect("an id");
        api.until(id, "started").await;
        assert_eq!(run(&api, api.url.trim_end_matches("/api"), id, "cat a.txt").await, "one");
        server.shutdown().await;
    }
    std::fs::write(&seed, "sandboxes: [{nam: x}]").expect("written");
    let fresh = Config { data_dir: Some(dir.path().join("other")), ..config() };
    let text = MockServer::start(fresh).await.err().expect("refused").to_string();
    assert!(text.contains("seed.yaml") && text.contains("nam"), "{text}");
}
