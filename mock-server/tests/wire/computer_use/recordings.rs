//! Recordings and their dashboard.

use reqwest::Method;
use serde_json::{Value, json};

use super::{Desk, desk, desk_in, read, refused};
use crate::support::{Sandbox, Toolbox, eventually, sandbox, server, toolbox};

async fn record(desk: &Desk, label: &str) -> Value {
    let answer = desk.post("recordings/start", json!({"label": label})).await;
    assert_eq!(answer.status(), 201);
    read(answer).await
}

#[tokio::test]
async fn the_screen_is_recorded() {
    let Some(desk) = desk().await else { return };
    let begun = record(&desk, "my run").await;
    let (id, name) = (begun["id"].as_str().expect("an id"), begun["fileName"].as_str().expect("a name"));
    assert_eq!((&begun["status"], &begun["endTime"]), (&json!("recording"), &Value::Null));
    assert!(name.starts_with(&format!("{id}_my run_")) && name.ends_with(".mp4"), "{name}");
    assert_eq!(begun["filePath"], format!("/home/daytona/.daytona/recordings/{name}"));
    assert_eq!(desk.get("recordings").await["recordings"], json!([begun]));
    let busy = refused(desk.tb.delete(&format!("/computeruse/recordings/{id}")).await, 409).await;
    assert_eq!(busy.0, "RECORDING_STILL_ACTIVE");
    desk.probe().await;

    let ended = desk.ok("recordings/stop", json!({"id": id})).await;
    assert_eq!((&ended["status"], &ended["id"]), (&json!("completed"), &begun["id"]));
    assert!(ended["durationSeconds"].as_f64().expect("a length") > 0.1 && ended["endTime"].is_string(), "{ended}");
    assert_eq!(desk.get(&format!("recordings/{id}")).await, ended);
    // It can be played from its start on, and has the size of the screen.
    let probe =
        "ffprobe -v error -select_streams v -show_entries stream=codec_name,width,height:format=duration -of csv=p=0";
    let about = desk.tb.run(&format!("{probe} '{}'", ended["filePath"].as_str().expect("a path"))).await;
    assert!(about.starts_with("h264,1280,720\n"), "{about}");
    assert!(about.lines().nth(1).and_then(|length| length.parse::<f64>().ok()).expect("a length") > 0.1);

    let url = format!("{}/computeruse/recordings/{id}/download", desk.tb.url);
    let whole = desk.tb.client.get(&url).send().await.expect("answer");
    assert_eq!(whole.headers()["content-type"], "video/mp4");
    let whole = whole.bytes().await.expect("bytes");
    assert_eq!((whole.len() as u64, &whole[4..8]), (ended["sizeBytes"].as_u64().expect("a size"), &b"ftyp"[..]));
    let part = desk.tb.client.get(&url).header("range", "bytes=4-7").send().await.expect("answer");
    assert_eq!((part.status().as_u16(), &part.bytes().await.expect("bytes")[..]), (206, &b"ftyp"[..]));

    assert_eq!(desk.tb.delete(&format!("/computeruse/recordings/{id}")).await.status(), 204);
    assert_eq!(desk.get("recordings").await["recordings"], json!([]));
    assert_eq!(desk.tb.run("ls .daytona/recordings").await, "");
}

#[tokio::test]
async fn stopping_the_desktop_completes_recordings() {
    let Some(desk) = desk().await else { return };
    let id = record(&desk, "").await["id"].as_str().expect("an id").to_owned();
    desk.ok("stop", json!({})).await;
    let ended = desk.get(&format!("recordings/{id}")).await;
    assert!(
        ended["status"] == "completed" && ended["fileName"].as_str().expect("a name").contains("_session_"),
        "{ended}"
    );
    // One whose ffmpeg is killed keeps what it has.
    desk.ok("start", json!({})).await;
    let id = record(&desk, "killed").await["id"].as_str().expect("an id").to_owned();
    desk.tb.run("pkill -9 -x ffmpeg").await;
    let ended = eventually("its end", async || {
        let recording = desk.get(&format!("recordings/{id}")).await;
        (recording["status"] != "recording").then_some(recording)
    });
    let ended = ended.await;
    assert_eq!(desk.ok("recordings/stop", json!({"id": id})).await["status"], ended["status"]);
}

#[tokio::test]
async fn requests_are_checked() {
    let tb = toolbox().await;
    assert_eq!(read(tb.get("/computeruse/recordings").await).await, json!({"recordings": []}));
    for path in ["x", "7f1c1f0e-2a55-4b8e-9d0c-0a1b2c3d4e5f", "..%2F..%2Fetc"] {
        for sub in ["", "/download"] {
            let answer = tb.get(&format!("/computeruse/recordings/{path}{sub}")).await;
            assert_eq!(answer.status(), 404, "{path}{sub}");
        }
        assert_eq!(tb.delete(&format!("/computeruse/recordings/{path}")).await.status(), 404, "{path}");
    }
    // What can't be read isn't empty.
    tb.run("mkdir -p ~/.daytona && touch ~/.daytona/recordings").await;
    for path in ["", "/x", "/x/download"] {
        let (code, message) = refused(tb.get(&format!("/computeruse/recordings{path}")).await, 500).await;
        assert_eq!(code, "INTERNAL_SERVER_ERROR");
        assert!(message.contains("not a directory"), "{message}");
    }
    tb.run("rm ~/.daytona/recordings").await;
    let stop = |body| tb.post("/computeruse/recordings/stop", body);
    assert_eq!(refused(stop(json!({})).await, 400).await.0, "INVALID_REQUEST_BODY");
    assert_eq!(refused(stop(json!({"id": "x"})).await, 404).await.1, "not found: recording not found");
    if tb.run("command -v ffmpeg || true").await.is_empty() {
        println!("skipped: the base lacks ffmpeg");
        return;
    }
    for label in ["a/b", ".x", "é", &"x".repeat(101)] {
        let (_, message) = refused(tb.post("/computeruse/recordings/start", json!({"label": label})).await, 400).await;
        assert!(message.starts_with("bad request: invalid label"), "{message}");
    }
    let (_, message) = refused(tb.post("/computeruse/recordings/start", json!({})).await, 500).await;
    assert!(message.contains("start computer use first"), "{message}");
}

/// Asks the dashboard, through its preview.
async fn ask(
    sandbox: &Sandbox,
    client: &reqwest::Client,
    method: Method,
    path: &str,
    body: Value,
) -> reqwest::Response {
    let host = format!("33333-{}.localhost", sandbox.id);
    let request = client.request(method, format!("{}{path}", server().base_url)).header("host", host);
    request.json(&body).send().await.expect("answer")
}

#[tokio::test]
async fn the_dashboard_lists_plays_and_deletes() {
    let sandbox = sandbox().await;
    let tb = Toolbox::new(sandbox.url(""), sandbox.client.clone());
    let page = ask(&sandbox, &sandbox.client, Method::GET, "/", Value::Null).await;
    assert!(page.text().await.expect("text").contains("<h1>Recordings</h1>"));
    let Some(desk) = desk_in(tb).await else { return };
    let id = record(&desk, "shown").await["id"].as_str().expect("an id").to_owned();
    let ended = desk.ok("recordings/stop", json!({"id": id})).await;
    let listed = read(ask(&sandbox, &sandbox.client, Method::GET, "/api/recordings", Value::Null).await).await;
    assert_eq!(listed, json!({"recordings": [ended]}));
    let name = ended["fileName"].as_str().expect("a name");
    let film = ask(&sandbox, &sandbox.client, Method::GET, &format!("/videos/{name}"), Value::Null).await;
    assert_eq!((film.status().as_u16(), film.headers()["content-type"].as_bytes()), (200, &b"video/mp4"[..]));
    for (file, status, error) in [("nope.mp4", 404, "file not found"), ("..%2F.bashrc", 403, "access denied")] {
        let answer = ask(&sandbox, &sandbox.client, Method::GET, &format!("/videos/{file}"), Value::Null).await;
        assert_eq!(answer.status(), status, "{file}");
        assert_eq!(answer.json::<Value>().await.expect("JSON"), json!({"error": error}));
    }
    let ids = json!({"ids": [id, "nope"]});
    let deleted = read(ask(&sandbox, &sandbox.client, Method::DELETE, "/api/recordings", ids).await).await;
    assert_eq!(deleted, json!({"deleted": [id], "failed": ["nope"]}));

    // Nobody else's, even if the sandbox is public.
    assert_eq!(sandbox.api(Method::POST, "/public/true").await.0, 201);
    let stranger = reqwest::Client::builder().redirect(reqwest::redirect::Policy::none()).build().expect("a client");
    let answer = ask(&sandbox, &stranger, Method::GET, "/api/recordings", Value::Null).await;
    assert_eq!(answer.status(), 307);
}
