use super::{get, happened, has_focus, open_window, post, start};
use crate::prelude::*;

scenarios! { "computer_use";
    /// The mouse moves where it is told, clicks, drags and scrolls; windows notice. (MoveMouse, GetMousePosition, Click,
    /// Drag, Scroll)
    mouse_acts_on_windows: Must, covers ["MoveMouse", "GetMousePosition", "Click", "Drag", "Scroll"], since "0.200";

    /// Text of any script is typed; a line end is Enter. Keys and chords are pressed. (TypeText, PressKey, PressHotkey)
    keyboard_acts_on_windows: Must, covers ["TypeText", "PressKey", "PressHotkey"], since "0.200";

    /// Unknown buttons, directions, keys and control characters are refused. (Click, Scroll, TypeText, PressKey,
    /// PressHotkey; observed)
    input_is_validated: Must,
        covers ["MoveMouse", "Click", "Drag", "Scroll", "TypeText", "PressKey", "PressHotkey"], since "0.200";
}

async fn mouse_acts_on_windows(cx: Cx) -> Result {
    let sandbox = cx.sandbox().await?;
    start(&sandbox).await?;
    open_window(&cx, &sandbox).await?;
    let moved = post(&sandbox, "mouse/move", json!({"x": 300, "y": 260})).await?;
    cx.check("moved").status(&moved, 200);
    cx.check("there").json(&moved, "/x", 300);
    let position = get(&sandbox, "mouse/position").await?;
    cx.check("position").on(&position).eq(position.json.clone(), json!({"x": 300, "y": 260}));
    for (button, number) in [("left", 1), ("right", 3), ("middle", 2)] {
        let clicked = post(&sandbox, "mouse/click", json!({"x": 300, "y": 260, "button": button})).await?;
        cx.check(format!("{button}-status")).status(&clicked, 200);
        happened(&cx, &sandbox, &format!("press {number} 300 260")).await?;
    }
    let double = post(&sandbox, "mouse/click", json!({"x": 320, "y": 260, "double": true})).await?;
    cx.check("double").status(&double, 200);
    happened(&cx, &sandbox, "double").await?;
    let drag = json!({"startX": 240, "startY": 230, "endX": 360, "endY": 280});
    let dragged = post(&sandbox, "mouse/drag", drag).await?;
    cx.check("dragged").on(&dragged).eq(dragged.json.clone(), json!({"x": 360, "y": 280}));
    happened(&cx, &sandbox, "release 1 360 280 dragged").await?;
    for (direction, number) in [("up", 4), ("down", 5)] {
        let scroll = json!({"x": 310, "y": 250, "direction": direction, "amount": 1});
        let scrolled = post(&sandbox, "mouse/scroll", scroll).await?;
        cx.check(format!("scrolled-{direction}")).json(&scrolled, "/success", true);
        happened(&cx, &sandbox, &format!("press {number} 310 250")).await?;
    }
    Ok(())
}

async fn keyboard_acts_on_windows(cx: Cx) -> Result {
    let sandbox = cx.sandbox().await?;
    start(&sandbox).await?;
    open_window(&cx, &sandbox).await?;
    post(&sandbox, "mouse/click", json!({"x": 300, "y": 172})).await?.ok()?;
    has_focus(&cx, &sandbox).await?;
    let typed = post(&sandbox, "keyboard/type", json!({"text": "Hi! ~é 漢\n"})).await?;
    cx.check("typed").status(&typed, 200);
    // As Python's `ascii` writes it.
    happened(&cx, &sandbox, r"typed 'Hi! ~\xe9 \u6f22'").await?;
    cx.check("key").status(&post(&sandbox, "keyboard/key", json!({"key": "f5"})).await?, 200);
    happened(&cx, &sandbox, "key").await?;
    cx.check("chord").status(&post(&sandbox, "keyboard/hotkey", json!({"keys": "ctrl+k"})).await?, 200);
    happened(&cx, &sandbox, "chord").await?;
    let modified = json!({"key": "a", "modifiers": ["ctrl"]});
    cx.check("modified").status(&post(&sandbox, "keyboard/key", modified).await?, 200);
    Ok(())
}

async fn input_is_validated(cx: Cx) -> Result {
    let sandbox = cx.shared().await?;
    start(&sandbox).await?;
    for (id, operation, body) in [
        ("coordinates", "mouse/move", json!({"x": "a", "y": 1})),
        ("button", "mouse/click", json!({"x": 1, "y": 1, "button": "fourth"})),
        ("drag", "mouse/drag", json!({"startX": "a"})),
        ("direction", "mouse/scroll", json!({"x": 1, "y": 1, "direction": "inwards"})),
        ("control", "keyboard/type", json!({"text": "a\u{7}"})),
        ("key", "keyboard/key", json!({"key": "no such key"})),
        ("hotkey", "keyboard/hotkey", json!({"keys": "no such key"})),
    ] {
        cx.check(id).status(&post(&sandbox, operation, body).await?, 400);
    }
    Ok(())
}
