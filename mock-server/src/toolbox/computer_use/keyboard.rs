//! The keyboard: text, keys and chords.

use std::time::Duration;

use axum::{Router, extract::Request, response::IntoResponse, routing::post};
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::time::sleep;

use super::{
    keys::{self, Keysym},
    request::{Screen, body},
};
use crate::toolbox::{
    Ctx, ToolboxError,
    body::{Field, JsonBody, Kind},
    json::GoJson,
};

/// Strokes that go out in one piece; between two pieces a request may be broken off.
const PIECE: usize = 256;
const MAX_DELAY: i64 = 10_000;

const RETURN: Keysym = 0xff0d;

pub fn routes() -> Router<Ctx> {
    Router::new()
        .route("/computeruse/keyboard/type", post(type_text))
        .route("/computeruse/keyboard/key", post(press))
        .route("/computeruse/keyboard/hotkey", post(hotkey))
        // Of SDKs newer than the contract.
        .route("/computeruse/keyboard/down", post(down))
        .route("/computeruse/keyboard/up", post(up))
}

/// `KeyboardTypeRequest` of the contract.
#[derive(Default, Deserialize)]
#[serde(default)]
struct KeyboardTypeRequest {
    text: String,
    /// Milliseconds.
    delay: i64,
}

impl JsonBody for KeyboardTypeRequest {
    const NAME: &'static str = "KeyboardTypeRequest";
    const FIELDS: &'static [Field] =
        &[Field::optional("text", "Text", Kind::Str), Field::optional("delay", "Delay", Kind::Int)];
}

/// `KeyboardPressRequest` of the contract.
#[derive(Default, Deserialize)]
#[serde(default)]
struct KeyboardPressRequest {
    key: String,
    modifiers: Vec<String>,
}

impl JsonBody for KeyboardPressRequest {
    const NAME: &'static str = "KeyboardPressRequest";
    const FIELDS: &'static [Field] =
        &[Field::optional("key", "Key", Kind::Str), Field::optional("modifiers", "Modifiers", Kind::StrList)];
}

/// `KeyboardHotkeyRequest` of the contract.
#[derive(Default, Deserialize)]
#[serde(default)]
struct KeyboardHotkeyRequest {
    keys: String,
}

impl JsonBody for KeyboardHotkeyRequest {
    const NAME: &'static str = "KeyboardHotkeyRequest";
    const FIELDS: &'static [Field] = &[Field::optional("keys", "Keys", Kind::Str)];
}

/// `TypeText`: 200 when all is typed. A line end is Enter; other control characters are 400 (observed). Broken off when
/// the client goes away.
async fn type_text(Screen(ctx): Screen, request: Request) -> Result<impl IntoResponse, ToolboxError> {
    let KeyboardTypeRequest { text, delay } = body(request, "Invalid input").await?;
    if !(0..=MAX_DELAY).contains(&delay) {
        return Err(ToolboxError::bad_request(format!("delay must be between 0 and {MAX_DELAY} milliseconds")));
    }
    let symbols = text.chars().map(symbol).collect::<Result<Vec<_>, _>>()?;
    let _one_at_a_time = ctx.desktop().input.lock().await;
    write(&ctx, &symbols, Duration::from_millis(delay.unsigned_abs())).await?;
    Ok(GoJson(json!({})))
}

fn symbol(character: char) -> Result<Keysym, ToolboxError> {
    match character {
        '\n' => Ok(RETURN),
        control if control.is_control() => {
            let code = u32::from(control);
            Err(ToolboxError::bad_request(format!(
                "text contains the control character U+{code:04X}: press keys for it"
            )))
        }
        character => Ok(keys::of_char(character)),
    }
}

async fn write(ctx: &Ctx, symbols: &[Keysym], delay: Duration) -> Result<(), ToolboxError> {
    let mut rest = symbols;
    let mut paused = false;
    while !rest.is_empty() {
        let text = rest.to_vec();
        let Some(keys) = ctx.desktop().ask(move |display| display.prepare(&text, paused)).await? else {
            ctx.desktop().settle().await;
            paused = true;
            continue;
        };
        paused = false;
        let keys = std::sync::Arc::new(keys);
        let piece = if delay.is_zero() { PIECE } else { 1 };
        for (at, strokes) in keys.strokes.chunks(piece).enumerate() {
            if at > 0 || rest.len() < symbols.len() {
                sleep(delay).await;
            }
            let (keys, strokes) = (keys.clone(), strokes.to_vec());
            ctx.desktop().ask(move |display| display.strike(&keys, &strokes)).await?;
        }
        rest = &rest[keys.strokes.len()..];
    }
    Ok(())
}

/// `PressKey`: 200 `{}`. Modifiers are held meanwhile.
async fn press(Screen(ctx): Screen, request: Request) -> Result<impl IntoResponse, ToolboxError> {
    let KeyboardPressRequest { key, modifiers } = body(request, "Invalid key").await?;
    let mut chord = modifiers.iter().map(|name| keys::modifier(name)).collect::<Result<Vec<_>, _>>()?;
    chord.push(keys::key(&key)?);
    strike(&ctx, chord, true, true).await
}

/// `PressHotkey`: 200 `{}`.
async fn hotkey(Screen(ctx): Screen, request: Request) -> Result<impl IntoResponse, ToolboxError> {
    let KeyboardHotkeyRequest { keys } = body(request, "Invalid hotkey").await?;
    strike(&ctx, keys::chord(&keys)?, true, true).await
}

/// `KeyDown` of newer SDKs: held until `up`.
async fn down(Screen(ctx): Screen, request: Request) -> Result<impl IntoResponse, ToolboxError> {
    let KeyboardPressRequest { key, .. } = body(request, "Invalid key").await?;
    strike(&ctx, vec![keys::key(&key)?], true, false).await
}

/// `KeyUp` of newer SDKs.
async fn up(Screen(ctx): Screen, request: Request) -> Result<impl IntoResponse, ToolboxError> {
    let KeyboardPressRequest { key, .. } = body(request, "Invalid key").await?;
    strike(&ctx, vec![keys::key(&key)?], false, true).await
}

async fn strike(ctx: &Ctx, chord: Vec<Keysym>, down: bool, up: bool) -> Result<GoJson<Value>, ToolboxError> {
    let _one_at_a_time = ctx.desktop().input.lock().await;
    let strike = move |display: &super::display::Display| {
        let codes = display.codes(&chord)?;
        if down {
            display.press(&codes, true)?;
        }
        if up {
            display.press(&codes, false)?;
        }
        display.settled()
    };
    ctx.desktop().ask(strike).await?;
    Ok(GoJson(json!({})))
}
