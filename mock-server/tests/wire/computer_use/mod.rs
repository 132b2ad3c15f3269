//! The desktop: a real X server with real windows, in a sandbox.

mod accessibility;
mod input;
mod processes;
mod recordings;
mod screen;

use base64::{Engine, engine::general_purpose::STANDARD};
use image::RgbImage;
use serde_json::{Value, json};

use crate::support::{Toolbox, eventually, toolbox};

const PROBE: &str = include_str!("window.py");
const FORM: &str = include_str!("form.py");

/// A sandbox with its desktop started.
pub struct Desk {
    pub tb: Toolbox,
}

/// `None`, and said so, where the base lacks a program.
pub async fn desk() -> Option<Desk> {
    desk_in(toolbox().await).await
}

async fn desk_in(tb: Toolbox) -> Option<Desk> {
    let programs = "Xvfb openbox dbus-daemon x11vnc websockify ffmpeg";
    let missing = tb
        .run(&format!(
            "for p in {programs}; do command -v $p >/dev/null || echo $p; done
             for m in tkinter gi; do /usr/bin/python3 -c \"import $m\" 2>/dev/null || echo python3-$m; done"
        ))
        .await;
    if !missing.is_empty() {
        println!("skipped: the base lacks {}", missing.replace('\n', " "));
        return None;
    }
    let desk = Desk { tb };
    let started = desk.ok("start", json!({})).await;
    assert_eq!(started["message"], "Computer use processes started successfully");
    Some(desk)
}

impl Desk {
    pub async fn post(&self, operation: &str, body: Value) -> reqwest::Response {
        self.tb.post(&format!("/computeruse/{operation}"), body).await
    }

    pub async fn ok(&self, operation: &str, body: Value) -> Value {
        read(self.post(operation, body).await).await
    }

    pub async fn get(&self, operation: &str) -> Value {
        read(self.tb.get(&format!("/computeruse/{operation}")).await).await
    }

    /// A picture of the screen, from a PNG.
    pub async fn screen(&self, operation: &str) -> RgbImage {
        picture(&self.get(operation).await)
    }

    /// Opens the window of the probe.
    pub async fn probe(&self) {
        self.write("window.py", PROBE).await;
        self.spawn("/usr/bin/python3 window.py events").await;
        self.event("ready").await;
    }

    /// Opens a form with an `entry` or a `scale`; what is entered goes to the file `out`.
    pub async fn form(&self, title: &str, kind: &str, out: &str) {
        self.write("form.py", FORM).await;
        self.spawn(&format!("/usr/bin/python3 form.py \"{title}\" {kind} {out}")).await;
        self.window(title).await;
    }

    /// Waits until something was entered.
    pub async fn said(&self, out: &str) -> String {
        eventually("said", async || {
            let said = self.tb.run(&format!("cat {out} 2>/dev/null || true")).await;
            said.ends_with('\n').then_some(said)
        })
        .await
    }

    async fn write(&self, path: &str, text: &'static str) {
        let upload = reqwest::multipart::Form::new().part("file", reqwest::multipart::Part::text(text).file_name("x"));
        let url = format!("{}/files/upload-v2?path={path}", self.tb.url);
        let uploaded = self.tb.client.post(url).multipart(upload).send().await.expect("answer");
        assert_eq!(uploaded.status(), 200);
    }

    /// Starts a program that goes on.
    pub async fn spawn(&self, command: &str) {
        self.tb.run(&format!("setsid sh -c '{command}' >spawned.log 2>&1 </dev/null &")).await;
    }

    /// Waits until the probe has told of something.
    pub async fn event(&self, wanted: &str) {
        eventually(wanted, async || self.tb.run("cat events 2>/dev/null || true").await.contains(wanted).then_some(()))
            .await;
    }

    /// Waits until there is a window with this title; what the API tells of it.
    pub async fn window(&self, title: &str) -> Value {
        eventually(title, async || {
            let windows = self.get("display/windows").await;
            windows["windows"].as_array().expect("a list").iter().find(|window| window["title"] == title).cloned()
        })
        .await
    }
}

pub fn picture(answer: &Value) -> RgbImage {
    let file = STANDARD.decode(answer["screenshot"].as_str().expect("text")).expect("base64");
    image::load_from_memory(&file).expect("a picture").to_rgb8()
}

pub async fn read(answer: reqwest::Response) -> Value {
    let status = answer.status();
    let text = answer.text().await.expect("text");
    assert!(status.is_success(), "{status}: {text}");
    serde_json::from_str(&text).expect("JSON")
}

/// The code and message of a refusal.
pub async fn refused(answer: reqwest::Response, status: u16) -> (String, String) {
    assert_eq!(answer.status(), status);
    let body: Value = answer.json().await.expect("an envelope");
    let text = |name: &str| body[name].as_str().unwrap_or_default().to_owned();
    (text("code"), text("message"))
}
