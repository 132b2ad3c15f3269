//! Mouse and keyboard.

use serde_json::{Value, json};

use super::{desk, refused};
use crate::support::eventually;

#[tokio::test]
async fn the_mouse_does_all_that_mice_do() {
    let Some(desk) = desk().await else { return };
    desk.probe().await;
    desk.window("Probe é漢").await;
    assert_eq!(desk.ok("mouse/move", json!({"x": 200, "y": 220})).await, json!({"x": 200, "y": 220}));
    assert_eq!(desk.get("mouse/position").await, json!({"x": 200, "y": 220}));
    assert_eq!(desk.ok("mouse/move", json!({"x": 99999, "y": -5})).await, json!({"x": 1279, "y": 0}));

    desk.ok("mouse/click", json!({"x": 200, "y": 200, "button": "right"})).await;
    desk.event("press 3 200 200 0").await;
    desk.ok("mouse/click", json!({"x": 210, "y": 200, "button": "middle", "modifiers": ["ctrl", "shift"]})).await;
    desk.event("press 2 210 200 5").await;
    desk.ok("mouse/click", json!({"x": 220, "y": 200, "double": true})).await;
    desk.event("double").await;
    assert_eq!(
        desk.ok("mouse/scroll", json!({"x": 230, "y": 200, "direction": "down", "amount": 2})).await["success"],
        true
    );
    desk.event("press 5 230 200 0").await;
    desk.ok("mouse/scroll", json!({"x": 240, "y": 200, "direction": "up"})).await;
    desk.event("press 4 240 200 0").await;
    let dragged = desk.ok("mouse/drag", json!({"startX": 150, "startY": 180, "endX": 260, "endY": 230})).await;
    assert_eq!(dragged, json!({"x": 260, "y": 230}));
    desk.event("press 1 150 180 0").await;
    desk.event("release 1 260 230 dragged").await;
    // Of newer SDKs.
    desk.ok("mouse/down", json!({"x": 160, "y": 190})).await;
    desk.event("press 1 160 190 0").await;
    assert_eq!(desk.ok("mouse/up", json!({})).await, json!({"x": 160, "y": 190}));
    desk.event("release 1 160 190").await;
}

#[tokio::test]
async fn keys_and_chords_are_pressed() {
    let Some(desk) = desk().await else { return };
    desk.probe().await;
    desk.window("Probe é漢").await;
    desk.ok("mouse/click", json!({"x": 200, "y": 220})).await;
    desk.event("press 1 200 220").await;
    for (key, event) in [("Return", "key Return 0"), ("f5", "key F5 0"), ("A", "key a 0"), ("num_plus", "key KP_Add 0")]
    {
        desk.ok("keyboard/key", json!({"key": key})).await;
        desk.event(event).await;
    }
    desk.ok("keyboard/key", json!({"key": "t", "modifiers": ["ctrl", "shift"]})).await;
    desk.event("key T 5").await;
    desk.ok("keyboard/hotkey", json!({"keys": "Ctrl + C"})).await;
    desk.event("key c 4").await;
    desk.ok("keyboard/down", json!({"key": "shift"})).await;
    desk.ok("keyboard/key", json!({"key": "b"})).await;
    desk.event("key B 1").await;
    desk.ok("keyboard/up", json!({"key": "shift"})).await;
    desk.event("up Shift_L").await;
}

#[tokio::test]
async fn any_text_is_typed() {
    let Some(desk) = desk().await else { return };
    // More characters without a key than there are keys without a character.
    let many: String = (0x4E00..0x4E00 + 300).filter_map(char::from_u32).collect();
    for (n, text) in ["Hello, World! ~\"'\\", "été Ü ß €uro", "漢字 かな привет", "🎉👍🏽", &many].into_iter().enumerate()
    {
        let title = format!("Say {n}");
        desk.form(&title, "entry", &format!("said{n}")).await;
        focused(&desk).await;
        let delay = if n == 1 { json!(5) } else { Value::Null };
        let typed = desk.ok("keyboard/type", json!({"text": format!("{text}\n"), "delay": delay})).await;
        assert_eq!(typed, json!({}));
        assert_eq!(desk.said(&format!("said{n}")).await, format!("{text}\n"));
    }
}

/// Waits until an entry has the focus.
async fn focused(desk: &super::Desk) {
    eventually("focus", async || {
        let find = json!({"scope": "all", "states": ["focused"], "role": "text"});
        let found = desk.ok("a11y/find", find).await;
        found["matches"].as_array().is_some_and(|matches| !matches.is_empty()).then_some(())
    })
    .await;
}

#[tokio::test]
async fn requests_are_checked() {
    let Some(desk) = desk().await else { return };
    let bad = |operation, body: Value, status| {
        let desk = &desk;
        async move { refused(desk.post(operation, body).await, status).await }
    };
    for (operation, body, message) in [
        ("mouse/move", json!({"x": "a"}), "Invalid coordinates"),
        ("mouse/click", json!([]), "Invalid click parameters"),
        ("mouse/drag", json!({"startX": 1.5}), "Invalid drag parameters"),
        ("mouse/scroll", json!({"amount": "x"}), "Invalid scroll parameters"),
        ("keyboard/type", json!({"text": 1}), "Invalid input"),
        ("keyboard/key", json!({"modifiers": "ctrl"}), "Invalid key"),
        ("keyboard/hotkey", json!({"keys": ["a"]}), "Invalid hotkey"),
    ] {
        let (code, said) = bad(operation, body, 400).await;
        assert!(code == "INVALID_REQUEST_BODY" && said.starts_with(message), "{operation}: {said}");
    }
    for (operation, body, message) in [
        (
            "mouse/click",
            json!({"button": "back"}),
            "unsupported mouse button \"back\": expected one of left, right, middle",
        ),
        ("mouse/down", json!({"x": 1}), "x and y must be provided together"),
        ("mouse/up", json!({"y": 1}), "x and y must be provided together"),
        ("mouse/click", json!({"clicks": 0}), "clicks must be between 1 and 10"),
        ("mouse/click", json!({"modifiers": ["hyper"]}), "unsupported modifier \"hyper\""),
        ("mouse/scroll", json!({"direction": "in"}), "unsupported scroll direction \"in\": expected up or down"),
        ("mouse/scroll", json!({"direction": "up", "amount": -1}), "amount must be between 0 and 1000"),
        ("keyboard/type", json!({"text": "a\tb"}), "text contains the control character U+0009"),
        ("keyboard/type", json!({"text": "a", "delay": -1}), "delay must be between 0 and 10000"),
        ("keyboard/key", json!({"key": "nokey"}), "unsupported key \"nokey\""),
        ("keyboard/key", json!({}), "unsupported key \"\""),
        ("keyboard/hotkey", json!({"keys": "a+b"}), "unsupported modifier \"a\""),
        ("keyboard/hotkey", json!({"keys": ""}), "hotkey cannot be empty"),
    ] {
        let (code, said) = bad(operation, body, 400).await;
        assert!(code == "BAD_REQUEST" && said.starts_with(&format!("bad request: {message}")), "{operation}: {said}");
    }
}
