//! Screenshots: the whole screen or a region, as it is or compressed.

use axum::response::IntoResponse;
use base64::{Engine, engine::general_purpose::STANDARD};
use serde::Serialize;

use super::{
    capture::{Area, Picture},
    desktop,
    display::Position,
    picture::{self, Compression, Format},
    request::{Screen, boolean, integer, invalid, required},
};
use crate::toolbox::{Ctx, ToolboxError, json::GoJson, params::Params};

const DEFAULT_QUALITY: u8 = 85;

/// `ScreenshotResponse` of the contract.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Screenshot {
    /// Base64.
    screenshot: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    cursor_position: Option<Position>,
    #[serde(skip_serializing_if = "Option::is_none")]
    size_bytes: Option<usize>,
}

/// `TakeScreenshot`: a PNG. The cursor's position is 0, 0 unless it is shown (observed).
pub async fn full(Screen(ctx): Screen, params: Params) -> Result<impl IntoResponse, ToolboxError> {
    let cursor = with_cursor(&params)?;
    plain(&ctx, None, cursor).await.map(GoJson)
}

/// `TakeRegionScreenshot`.
pub async fn region(Screen(ctx): Screen, params: Params) -> Result<impl IntoResponse, ToolboxError> {
    let (area, cursor) = (area(&params)?, with_cursor(&params)?);
    plain(&ctx, Some(area), cursor).await.map(GoJson)
}

/// `TakeCompressedScreenshot`: with its size, and the cursor's position only if it is shown.
pub async fn compressed(Screen(ctx): Screen, params: Params) -> Result<impl IntoResponse, ToolboxError> {
    let (how, cursor) = (compression(&params)?, with_cursor(&params)?);
    small(&ctx, None, how, cursor).await.map(GoJson)
}

/// `TakeCompressedRegionScreenshot`.
pub async fn compressed_region(Screen(ctx): Screen, params: Params) -> Result<impl IntoResponse, ToolboxError> {
    let (area, how, cursor) = (area(&params)?, compression(&params)?, with_cursor(&params)?);
    small(&ctx, Some(area), how, cursor).await.map(GoJson)
}

async fn plain(ctx: &Ctx, area: Option<Area>, cursor: bool) -> Result<Screenshot, ToolboxError> {
    let (picture, position) = picture(ctx, area, cursor).await?;
    let make = move || Ok(STANDARD.encode(picture::png(&picture)?));
    Ok(Screenshot { screenshot: desktop::work(make).await?, cursor_position: Some(position), size_bytes: None })
}

async fn small(ctx: &Ctx, area: Option<Area>, how: Compression, cursor: bool) -> Result<Screenshot, ToolboxError> {
    let (picture, position) = picture(ctx, area, cursor).await?;
    let make = move || {
        let file = picture::compressed(picture, how)?;
        Ok((STANDARD.encode(&file), Some(file.len())))
    };
    let (screenshot, size_bytes) = desktop::work(make).await?;
    Ok(Screenshot { screenshot, cursor_position: cursor.then_some(position), size_bytes })
}

/// Of an area, or of the whole screen.
async fn picture(ctx: &Ctx, area: Option<Area>, cursor: bool) -> Result<(Picture, Position), ToolboxError> {
    ctx.desktop().ask(move |display| display.picture(area.unwrap_or_else(|| display.whole()), cursor)).await
}

fn with_cursor(params: &Params) -> Result<bool, ToolboxError> {
    boolean(params, &["showCursor", "show_cursor"])
}

fn area(params: &Params) -> Result<Area, ToolboxError> {
    let (x, y) = (required(params, "x")?, required(params, "y")?);
    let length = |name| match u32::try_from(required(params, name)?) {
        Ok(length) if length > 0 => Ok(length),
        _ => Err(invalid(name, "must be greater than zero")),
    };
    Ok(Area { x, y, width: length("width")?, height: length("height")? })
}

fn compression(params: &Params) -> Result<Compression, ToolboxError> {
    let format = match params.text("format") {
        None => Format::default(),
        Some(name) => Format::of(&name).ok_or_else(|| invalid("format", "must be png, jpeg or webp"))?,
    };
    let quality = match integer(params, "quality")? {
        None => DEFAULT_QUALITY,
        Some(quality @ 1..=100) => quality as u8,
        Some(_) => return Err(invalid("quality", "must be between 1 and 100")),
    };
    let scale = match params.text("scale").map(|text| text.parse::<f64>()) {
        None => 1.0,
        Some(Ok(scale)) if (0.1..=1.0).contains(&scale) => scale,
        Some(Ok(_)) => return Err(invalid("scale", "must be between 0.1 and 1.0")),
        Some(Err(_)) => return Err(invalid("scale", "must be a number")),
    };
    Ok(Compression { format, quality, scale })
}
