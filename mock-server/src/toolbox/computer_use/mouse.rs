//! The mouse.

use std::time::{Duration, Instant};

use axum::{
    Router,
    extract::Request,
    response::IntoResponse,
    routing::{get, post},
};
use serde::Deserialize;
use serde_json::json;
use tokio::time::sleep;
use x11rb::protocol::{xproto::MOTION_NOTIFY_EVENT, xtest::ConnectionExt as _};

use super::{
    display::{Display, Position, Trouble},
    keys::{self, Keysym},
    request::{Screen, body},
};
use crate::toolbox::{
    Ctx, ToolboxError,
    body::{Field, JsonBody, Kind},
    json::GoJson,
};

const MAX_CLICKS: i64 = 10;
const MAX_SCROLL: i64 = 1_000;
/// A drag goes in steps, as programs grab the pointer only after the first ones.
const DRAG_STEPS: i32 = 16;
const DRAG_PAUSE: Duration = Duration::from_millis(8);

pub fn routes() -> Router<Ctx> {
    Router::new()
        .route("/computeruse/mouse/position", get(position))
        .route("/computeruse/mouse/move", post(move_to))
        .route("/computeruse/mouse/click", post(click))
        .route("/computeruse/mouse/drag", post(drag))
        .route("/computeruse/mouse/scroll", post(scroll))
        // Of SDKs newer than the contract.
        .route("/computeruse/mouse/down", post(down))
        .route("/computeruse/mouse/up", post(up))
}

/// A window manager is asked about each press, and what follows is held back until it has answered: so long it is waited
/// for, looking this often, as X tells nobody.
const HELD_BACK: Duration = Duration::from_millis(500);
const LOOK: Duration = Duration::from_millis(2);

const X: Field = Field::optional("x", "X", Kind::Int);
const Y: Field = Field::optional("y", "Y", Kind::Int);
const BUTTON: Field = Field::optional("button", "Button", Kind::Str);
const MODIFIERS: Field = Field::optional("modifiers", "Modifiers", Kind::StrList);

/// `MouseMoveRequest` of the contract.
#[derive(Default, Deserialize)]
#[serde(default)]
struct MouseMoveRequest {
    x: i64,
    y: i64,
}

impl JsonBody for MouseMoveRequest {
    const NAME: &'static str = "MouseMoveRequest";
    const FIELDS: &'static [Field] = &[X, Y];
}

/// `MouseClickRequest` of the contract, with what newer SDKs add.
#[derive(Default, Deserialize)]
#[serde(default)]
struct MouseClickRequest {
    x: i64,
    y: i64,
    button: String,
    double: bool,
    clicks: Option<i64>,
    modifiers: Vec<String>,
}

impl JsonBody for MouseClickRequest {
    const NAME: &'static str = "MouseClickRequest";
    const FIELDS: &'static [Field] = &[
        X,
        Y,
        BUTTON,
        Field::optional("double", "Double", Kind::Bool),
        Field::optional("clicks", "Clicks", Kind::Int),
        MODIFIERS,
    ];
}

/// `MouseDownRequest` and `MouseUpRequest` of newer SDKs.
#[derive(Default, Deserialize)]
#[serde(default)]
struct MouseButtonRequest {
    x: Option<i64>,
    y: Option<i64>,
    button: String,
}

impl JsonBody for MouseButtonRequest {
    const NAME: &'static str = "MouseDownRequest";
    const FIELDS: &'static [Field] = &[X, Y, BUTTON];
}

/// `MouseDragRequest` of the contract, with what newer SDKs add.
#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct MouseDragRequest {
    start_x: i64,
    start_y: i64,
    end_x: i64,
    end_y: i64,
    button: String,
    modifiers: Vec<String>,
}

impl JsonBody for MouseDragRequest {
    const NAME: &'static str = "MouseDragRequest";
    const FIELDS: &'static [Field] = &[
        Field::optional("startX", "StartX", Kind::Int),
        Field::optional("startY", "StartY", Kind::Int),
        Field::optional("endX", "EndX", Kind::Int),
        Field::optional("endY", "EndY", Kind::Int),
        BUTTON,
        MODIFIERS,
    ];
}

/// `MouseScrollRequest` of the contract, with what newer SDKs add.
#[derive(Default, Deserialize)]
#[serde(default)]
struct MouseScrollRequest {
    x: i64,
    y: i64,
    direction: String,
    amount: Option<i64>,
    modifiers: Vec<String>,
}

impl JsonBody for MouseScrollRequest {
    const NAME: &'static str = "MouseScrollRequest";
    const FIELDS: &'static [Field] = &[
        X,
        Y,
        Field::optional("direction", "Direction", Kind::Str),
        Field::optional("amount", "Amount", Kind::Int),
        MODIFIERS,
    ];
}

/// `GetMousePosition`.
async fn position(Screen(ctx): Screen) -> Result<impl IntoResponse, ToolboxError> {
    ctx.desktop().ask(Display::pointer).await.map(GoJson)
}

/// `MoveMouse`: 200 with where it is then, which is on the screen.
async fn move_to(Screen(ctx): Screen, request: Request) -> Result<impl IntoResponse, ToolboxError> {
    let MouseMoveRequest { x, y } = body(request, "Invalid coordinates").await?;
    let _one_at_a_time = ctx.desktop().input.lock().await;
    let moved = move |display: &Display| display.point(x, y).and_then(|()| display.arrived(x, y));
    ctx.desktop().ask(moved).await.map(GoJson)
}

/// `Click`: 200 with where it was. `clicks` wins over `double` (SDK documentation).
async fn click(Screen(ctx): Screen, request: Request) -> Result<impl IntoResponse, ToolboxError> {
    let request: MouseClickRequest = body(request, "Invalid click parameters").await?;
    let (button, held) = (button(&request.button)?, modifiers(&request.modifiers)?);
    let clicks = request.clicks.unwrap_or(if request.double { 2 } else { 1 });
    if !(1..=MAX_CLICKS).contains(&clicks) {
        return Err(ToolboxError::bad_request(format!("clicks must be between 1 and {MAX_CLICKS}")));
    }
    let _one_at_a_time = ctx.desktop().input.lock().await;
    let click = move |display: &Display| {
        display.point(request.x, request.y)?;
        display.holding(&held, || {
            for down in [true, false].repeat(clicks as usize) {
                display.button(button, down)?;
            }
            Ok(())
        })?;
        display.arrived(request.x, request.y)
    };
    ctx.desktop().ask(click).await.map(GoJson)
}

/// `Drag`: 200 with where it ended.
async fn drag(Screen(ctx): Screen, request: Request) -> Result<impl IntoResponse, ToolboxError> {
    let request: MouseDragRequest = body(request, "Invalid drag parameters").await?;
    let (button, held) = (button(&request.button)?, modifiers(&request.modifiers)?);
    // A task of its own: a client that goes away leaves no button pressed.
    let dragged = tokio::spawn(async move {
        let _one_at_a_time = ctx.desktop().input.lock().await;
        carry(&ctx, &request, button, held).await
    });
    dragged.await.map_err(|_| ToolboxError::internal("the display failed"))?.map(GoJson)
}

async fn carry(ctx: &Ctx, request: &MouseDragRequest, button: u8, held: Vec<Keysym>) -> Result<Position, ToolboxError> {
    let (from, to) = ((clip(request.start_x), clip(request.start_y)), (clip(request.end_x), clip(request.end_y)));
    let keys = held.clone();
    let begin = move |display: &Display| {
        display.point(from.0.into(), from.1.into())?;
        display.press(&display.codes(&keys)?, true)?;
        display.button(button, true)?;
        display.settled()
    };
    ctx.desktop().ask(begin).await?;
    for step in 1..=DRAG_STEPS {
        sleep(DRAG_PAUSE).await;
        let between = move |from: i16, to: i16| {
            i64::from(from) + i64::from(i32::from(to) - i32::from(from)) * i64::from(step) / i64::from(DRAG_STEPS)
        };
        let (x, y) = (between(from.0, to.0), between(from.1, to.1));
        ctx.desktop().ask(move |display| display.point(x, y).and_then(|()| display.settled())).await?;
    }
    sleep(DRAG_PAUSE).await;
    let end = move |display: &Display| {
        display.button(button, false)?;
        display.press(&display.codes(&held)?, false)?;
        display.arrived(to.0.into(), to.1.into())
    };
    ctx.desktop().ask(end).await
}

/// `Scroll`: 200 `{"success":true}`. Newer SDKs scroll sideways, too.
async fn scroll(Screen(ctx): Screen, request: Request) -> Result<impl IntoResponse, ToolboxError> {
    let request: MouseScrollRequest = body(request, "Invalid scroll parameters").await?;
    let (wheel, held) = (wheel(&request.direction)?, modifiers(&request.modifiers)?);
    let amount = request.amount.unwrap_or(1);
    if !(0..=MAX_SCROLL).contains(&amount) {
        return Err(ToolboxError::bad_request(format!("amount must be between 0 and {MAX_SCROLL}")));
    }
    let _one_at_a_time = ctx.desktop().input.lock().await;
    let scroll = move |display: &Display| {
        display.point(request.x, request.y)?;
        display.holding(&held, || {
            (0..amount).try_for_each(|_| display.button(wheel, true).and_then(|()| display.button(wheel, false)))
        })?;
        display.settled()
    };
    ctx.desktop().ask(scroll).await?;
    Ok(GoJson(json!({"success": true})))
}

/// `MouseDown` of newer SDKs: held until `up`.
async fn down(Screen(ctx): Screen, request: Request) -> Result<impl IntoResponse, ToolboxError> {
    hold(ctx, request, true).await
}

/// `MouseUp` of newer SDKs.
async fn up(Screen(ctx): Screen, request: Request) -> Result<impl IntoResponse, ToolboxError> {
    hold(ctx, request, false).await
}

async fn hold(ctx: Ctx, request: Request, down: bool) -> Result<impl IntoResponse, ToolboxError> {
    let request: MouseButtonRequest = body(request, "Invalid coordinates").await?;
    let button = button(&request.button)?;
    if request.x.is_some() != request.y.is_some() {
        // Programs ask so whether there is this operation (daytona-claude-toolsets 0.1.1, which saw it live).
        return Err(ToolboxError::bad_request("x and y must be provided together"));
    }
    let _one_at_a_time = ctx.desktop().input.lock().await;
    let hold = move |display: &Display| {
        let Some((x, y)) = request.x.zip(request.y) else {
            display.button(button, down)?;
            return display.pointer();
        };
        display.point(x, y)?;
        display.button(button, down)?;
        display.arrived(x, y)
    };
    ctx.desktop().ask(hold).await.map(GoJson)
}

fn button(name: &str) -> Result<u8, ToolboxError> {
    match name {
        "" | "left" => Ok(1),
        "middle" => Ok(2),
        "right" => Ok(3),
        other => {
            let message = format!("unsupported mouse button {other:?}: expected one of left, right, middle");
            Err(ToolboxError::bad_request(message))
        }
    }
}

/// The button that a wheel is for X.
fn wheel(direction: &str) -> Result<u8, ToolboxError> {
    match direction {
        "up" => Ok(4),
        "down" => Ok(5),
        "left" => Ok(6),
        "right" => Ok(7),
        other => {
            let message = format!("unsupported scroll direction {other:?}: expected up or down");
            Err(ToolboxError::bad_request(message))
        }
    }
}

fn modifiers(names: &[String]) -> Result<Vec<Keysym>, Trouble> {
    names.iter().map(|name| keys::modifier(name)).collect()
}

/// X counts in 16 bits; a screen has fewer.
fn clip(coordinate: i64) -> i16 {
    coordinate.clamp(0, i16::MAX.into()) as i16
}

impl Display {
    fn point(&self, x: i64, y: i64) -> Result<(), Trouble> {
        self.conn.xtest_fake_input(MOTION_NOTIFY_EVENT, 0, 0, self.root, clip(x), clip(y), 0)?;
        Ok(())
    }

    /// Where the pointer is once it has come to the nearest point of the screen, unless something keeps it.
    fn arrived(&self, x: i64, y: i64) -> Result<Position, Trouble> {
        let (right, bottom) = (i32::from(self.width) - 1, i32::from(self.height) - 1);
        let there = Position { x: i32::from(clip(x)).min(right), y: i32::from(clip(y)).min(bottom) };
        let deadline = Instant::now() + HELD_BACK;
        loop {
            let now = self.pointer()?;
            if now == there || Instant::now() >= deadline {
                return Ok(now);
            }
            std::thread::sleep(LOOK);
        }
    }

    /// Does something while keys are down.
    fn holding(&self, keys: &[Keysym], act: impl FnOnce() -> Result<(), Trouble>) -> Result<(), Trouble> {
        let codes = self.codes(keys)?;
        self.press(&codes, true)?;
        let done = act();
        self.press(&codes, false)?;
        done
    }
}
