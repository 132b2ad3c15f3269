//! Displays and windows.

use axum::response::IntoResponse;
use serde::Serialize;
use serde_json::json;
use x11rb::protocol::xproto::{AtomEnum, ConnectionExt as _, MapState, Window};

use super::{
    display::{Display, Trouble},
    request::Screen,
};
use crate::toolbox::{ToolboxError, json::GoJson};

/// Windows of one answer, and bytes of a title, four each.
const MAX_WINDOWS: usize = 1_000;
const MAX_TITLE: u32 = 256;

/// `DisplayInfo` of the contract.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct DisplayInfo {
    id: u32,
    x: i32,
    y: i32,
    width: u16,
    height: u16,
    is_active: bool,
}

/// `WindowInfo` of the contract.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct WindowInfo {
    id: u32,
    title: String,
    x: i32,
    y: i32,
    width: u16,
    height: u16,
    is_active: bool,
}

/// `GetDisplayInfo`: the one there is.
pub async fn displays(Screen(ctx): Screen) -> Result<impl IntoResponse, ToolboxError> {
    let info = ctx.desktop().ask(|display| {
        display.settled()?;
        Ok(DisplayInfo { id: 0, x: 0, y: 0, width: display.width, height: display.height, is_active: true })
    });
    Ok(GoJson(json!({"displays": [info.await?]})))
}

/// `GetWindows`: those of the window manager, the lowest first; without one, all with a title.
pub async fn windows(Screen(ctx): Screen) -> Result<impl IntoResponse, ToolboxError> {
    let windows = ctx.desktop().ask(|display| {
        let active = display.windows_of(display.root, display.atoms._NET_ACTIVE_WINDOW)?.first().copied();
        let managed = display.windows_of(display.root, display.atoms._NET_CLIENT_LIST)?;
        let is_managed = !display.windows_of(display.root, display.atoms._NET_SUPPORTING_WM_CHECK)?.is_empty();
        let all = if is_managed { managed } else { display.conn.query_tree(display.root)?.reply()?.children };
        // One that goes away meanwhile isn't there.
        let about = all.into_iter().filter_map(|window| display.about(window, active).ok().flatten());
        let about = about.filter(|window| is_managed || !window.title.is_empty()).take(MAX_WINDOWS).collect::<Vec<_>>();
        display.drain()?;
        Ok(about)
    });
    Ok(GoJson(json!({"windows": windows.await?})))
}

impl Display {
    /// `None` for one that isn't seen.
    fn about(&self, window: Window, active: Option<Window>) -> Result<Option<WindowInfo>, Trouble> {
        let attributes = self.conn.get_window_attributes(window)?;
        let geometry = self.conn.get_geometry(window)?;
        let corner = self.conn.translate_coordinates(window, self.root, 0, 0)?;
        let named =
            self.conn.get_property(false, window, self.atoms._NET_WM_NAME, self.atoms.UTF8_STRING, 0, MAX_TITLE)?;
        let titled = self.conn.get_property(false, window, AtomEnum::WM_NAME, AtomEnum::ANY, 0, MAX_TITLE)?;
        if attributes.reply()?.map_state != MapState::VIEWABLE {
            return Ok(None);
        }
        let (geometry, corner) = (geometry.reply()?, corner.reply()?);
        let title = named.reply()?.value;
        let title = if title.is_empty() { titled.reply()?.value } else { title };
        Ok(Some(WindowInfo {
            id: window,
            title: String::from_utf8_lossy(&title).into_owned(),
            x: corner.dst_x.into(),
            y: corner.dst_y.into(),
            width: geometry.width,
            height: geometry.height,
            is_active: active == Some(window),
        }))
    }
}
