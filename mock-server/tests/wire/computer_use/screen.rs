//! Screenshots, displays and windows.

use image::Rgb;
use serde_json::json;

use super::{desk, picture, refused};
use crate::support::{eventually, toolbox};

const RED: Rgb<u8> = Rgb([255, 0, 0]);
const GREEN: Rgb<u8> = Rgb([0, 255, 0]);
const BLACK: Rgb<u8> = Rgb([0, 0, 0]);

#[tokio::test]
async fn a_window_is_seen_and_clicked() {
    let Some(desk) = desk().await else { return };
    let displays = desk.get("display/info").await;
    let display = json!({"id": 0, "x": 0, "y": 0, "width": 1280, "height": 720, "isActive": true});
    assert_eq!(displays["displays"], json!([display]));

    desk.probe().await;
    // The window manager activates it a moment after it is there.
    let active = async || Some(desk.window("Probe é漢").await).filter(|window| window["isActive"] == true);
    let window = eventually("an active window", active).await;
    assert_eq!((&window["width"], &window["height"]), (&json!(300), &json!(200)));
    let corner = |name: &str| window[name].as_u64().expect("a number") as u32;
    let (x, y) = (corner("x") + 150, corner("y") + 100);

    eventually("red", async || (*desk.screen("screenshot").await.get_pixel(x, y) == RED).then_some(())).await;
    let whole = desk.get("screenshot").await;
    assert_eq!((&whole["cursorPosition"], &whole["sizeBytes"]), (&json!({"x": 0, "y": 0}), &json!(null)));
    assert_eq!(picture(&whole).dimensions(), (1280, 720));

    let clicked = desk.ok("mouse/click", json!({"x": x, "y": y})).await;
    assert_eq!(clicked, json!({"x": x, "y": y}));
    desk.event(&format!("press 1 {x} {y} 0")).await;
    eventually("green", async || (*desk.screen("screenshot").await.get_pixel(x, y) == GREEN).then_some(())).await;

    // A region, where it is and beyond the edge.
    let part = format!("screenshot/region?x={}&y={}&width=20&height=10", x - 10, y - 5);
    let part = desk.screen(&part).await;
    assert!(part.dimensions() == (20, 10) && part.pixels().all(|pixel| *pixel == GREEN));
    let outside = desk.screen("screenshot/region?x=1270&y=-10&width=20&height=20").await;
    assert_eq!((outside.dimensions(), *outside.get_pixel(19, 0)), ((20, 20), BLACK));

    // With the cursor, which is a cross there.
    let with =
        desk.get(&format!("screenshot/region?x={}&y={}&width=40&height=40&showCursor=true", x - 20, y - 20)).await;
    assert_eq!(with["cursorPosition"], json!({"x": x, "y": y}));
    assert!(picture(&with).pixels().any(|pixel| *pixel != GREEN));

    // Smaller ones.
    for (query, size) in
        [("scale=0.5", (640, 360)), ("format=jpeg&quality=80", (1280, 720)), ("format=webp", (1280, 720))]
    {
        let small = desk.get(&format!("screenshot/compressed?{query}")).await;
        let Rgb([red, green, blue]) = *picture(&small).get_pixel(x * size.0 / 1280, y * size.1 / 720);
        assert!(picture(&small).dimensions() == size && red < 20 && green > 235 && blue < 20, "{query}");
        assert!(small["sizeBytes"].as_u64().expect("a size") > 0 && small["cursorPosition"].is_null());
    }
    let query = format!("x={}&y={}&width=20&height=10&format=jpeg&scale=0.5&showCursor=1", x - 10, y - 5);
    let small = desk.get(&format!("screenshot/region/compressed?{query}")).await;
    assert_eq!((picture(&small).dimensions(), &small["cursorPosition"]), ((10, 5), &json!({"x": x, "y": y})));
}

#[tokio::test]
async fn requests_are_checked() {
    let Some(desk) = desk().await else { return };
    for (query, message) in [
        ("screenshot?showCursor=maybe", "invalid query parameter showCursor: must be a boolean"),
        ("screenshot/region?y=1&width=1&height=1", "missing required query parameter: x"),
        ("screenshot/region?x=a&y=1&width=1&height=1", "invalid query parameter x: must be an integer"),
        ("screenshot/region?x=0&y=0&width=0&height=1", "invalid query parameter width: must be greater than zero"),
        ("screenshot/region?x=0&y=0&width=99999&height=99999", "a region of more than 33554432 pixels"),
        ("screenshot/compressed?quality=101", "invalid query parameter quality: must be between 1 and 100"),
        ("screenshot/compressed?scale=0.05", "invalid query parameter scale: must be between 0.1 and 1.0"),
        ("screenshot/compressed?scale=NaN", "invalid query parameter scale: must be between 0.1 and 1.0"),
        ("screenshot/compressed?format=gif", "invalid query parameter format: must be png, jpeg or webp"),
    ] {
        let answer = desk.tb.get(&format!("/computeruse/{query}")).await;
        assert_eq!(refused(answer, 400).await, ("BAD_REQUEST".into(), format!("bad request: {message}")), "{query}");
    }
}

#[tokio::test]
async fn without_an_x_server_the_packages_are_named() {
    let tb = toolbox().await;
    tb.post("/env", json!({"set": {"PATH": "/nowhere"}})).await;
    for path in ["status", "screenshot?showCursor=maybe", "display/info", "process/x/logs", "a11y/tree"] {
        let (_, message) = refused(tb.get(&format!("/computeruse/{path}")).await, 503).await;
        assert!(message.contains("apt-get install -y xvfb openbox"), "{path}: {message}");
    }
    for path in ["start", "mouse/click", "keyboard/type", "a11y/find", "process/xvfb/restart"] {
        let (_, message) = refused(tb.post(&format!("/computeruse/{path}"), json!([])).await, 503).await;
        assert!(message.starts_with("Computer-use functionality is not available"), "{path}: {message}");
    }
    let (code, _) = refused(tb.post("/computeruse/recordings/start", json!({"label": "/"})).await, 503).await;
    assert_eq!(code, "RECORDING_FFMPEG_NOT_FOUND");
}
