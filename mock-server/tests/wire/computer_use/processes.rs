//! The programs of the desktop.

use serde_json::json;

use super::{Desk, desk, desk_in, read, refused};
use crate::support::{Toolbox, eventually, sandbox, server, toolbox};

#[tokio::test]
async fn what_dies_is_started_again() {
    let Some(desk) = desk().await else { return };
    assert_eq!(desk.get("status").await, json!({"status": "active"}));
    assert_eq!(desk.get("process-status").await, json!({"status": "active"}));
    let status = desk.ok("start", json!({})).await["status"].clone();
    for name in ["xvfb", "xfce4", "x11vnc", "novnc", "dbus", "atspi"] {
        let one = &status[name];
        assert!(one["running"] == true && one["autoRestart"] == true && one["pid"].is_number(), "{name}: {one}");
        let running = desk.get(&format!("process/{name}/status")).await;
        assert_eq!(running, json!({"processName": name, "running": true}));
    }
    assert!(desk.get("process/x11vnc/logs").await["logs"].as_str().expect("text").contains("PORT=5901"));

    // The X server takes all of its clients along.
    let old = status["xvfb"]["pid"].clone();
    desk.tb.run(&format!("kill -9 {old}")).await;
    eventually("a new X server", async || {
        let status = desk.ok("start", json!({})).await["status"].clone();
        let all = ["xvfb", "xfce4", "x11vnc", "novnc"].iter().all(|name| status[name]["running"] == true);
        (all && status["xvfb"]["pid"] != old).then_some(())
    })
    .await;
    eventually("a screen", async || (desk.tb.get("/computeruse/screenshot").await.status() == 200).then_some(())).await;
    let errors = desk.get("process/xvfb/errors").await;
    assert!(errors["errors"].as_str().expect("text").contains("[ended (signal: 9 (SIGKILL)); it is started again]"));

    let restarted = desk.ok("process/xfce4/restart", json!({})).await;
    assert_eq!(restarted, json!({"message": "Process xfce4 restarted successfully", "processName": "xfce4"}));
    // A new X server is asked like the old one, at once.
    desk.ok("process/xvfb/restart", json!({})).await;
    desk.get("screenshot").await;
    for path in ["process/nope/status", "process/nope/logs", "process/nope/errors"] {
        let refusal = refused(desk.tb.get(&format!("/computeruse/{path}")).await, 404).await;
        assert_eq!(refusal, ("PROCESS_NOT_FOUND".into(), "not found: process nope not found".into()));
    }
    assert_eq!(refused(desk.post("process/nope/restart", json!({})).await, 404).await.0, "PROCESS_NOT_FOUND");
    stopped(&desk).await;
}

async fn stopped(desk: &Desk) {
    let stopped = desk.ok("stop", json!({})).await;
    assert_eq!(stopped["message"], "Computer use processes stopped successfully");
    assert!(stopped["status"].as_object().expect("all").values().all(|one| one["running"] == false), "{stopped}");
    assert_eq!(desk.get("status").await, json!({"status": "inactive"}));
    assert_eq!(
        desk.tb
            .run("for p in Xvfb openbox x11vnc websockify dbus-daemon; do pgrep -x $p; done; echo \"[$DISPLAY]\"")
            .await,
        "[]\n"
    );
    let (_, message) = refused(desk.tb.get("/computeruse/screenshot").await, 500).await;
    assert!(message.contains("start computer use first"), "{message}");
    assert_eq!(refused(desk.post("process/xvfb/restart", json!({})).await, 500).await.0, "INTERNAL_SERVER_ERROR");
    desk.ok("start", json!({})).await;
    assert_eq!(desk.get("status").await, json!({"status": "active"}));
}

#[tokio::test]
async fn the_desktop_is_seen_in_a_browser() {
    let sandbox = sandbox().await;
    let tb = Toolbox::new(sandbox.url(""), sandbox.client.clone());
    let Some(desk) = desk_in(tb).await else { return };
    if desk.ok("start", json!({})).await["status"]["novnc"]["running"] == false {
        println!("skipped: no VNC in tier process");
        return;
    }
    let host = format!("6080-{}.localhost", sandbox.id);
    let page = sandbox.client.get(format!("{}/vnc.html", server().base_url)).header("host", host).send();
    let text = page.await.expect("answer").text().await.expect("text");
    assert!(text.contains("noVNC"), "{text}");
}

#[tokio::test]
async fn nothing_runs_before_it_is_started() {
    let tb = toolbox().await;
    if tb.run("command -v Xvfb || true").await.is_empty() {
        println!("skipped: the base lacks Xvfb");
        return;
    }
    assert_eq!(read(tb.get("/computeruse/status").await).await, json!({"status": "inactive"}));
    let (_, message) = refused(tb.get("/computeruse/display/info").await, 500).await;
    assert!(message.contains("start computer use first"), "{message}");
    tb.post("/env", json!({"set": {"VNC_RESOLUTION": "800x600"}})).await;
    assert_eq!(tb.post("/computeruse/start", json!({})).await.status(), 200);
    let display = read(tb.get("/computeruse/display/info").await).await;
    assert_eq!((&display["displays"][0]["width"], &display["displays"][0]["height"]), (&json!(800), &json!(600)));
}
