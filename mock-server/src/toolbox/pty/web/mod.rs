//! The web terminal: a page with a shell, on a port of its own as in the original, so that it is reached by that port's
//! preview link. Who may use it is the gateway's business; inside, anybody may.
//!
//! Different from the original: the socket closes with the exit of its shell and not by falling silent, pages of other
//! origins can't open it, and `null` is typed.

mod assets;
mod socket;

use axum::{
    Router,
    extract::State,
    http::{HeaderMap, HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
    routing::get,
};

use crate::toolbox::{
    Ctx,
    own_port::is_own_page,
    websocket::{self, Upgrade},
};

/// Where the web terminal listens in a sandbox (observed).
pub const PORT: u16 = 22222;

/// The largest frame that is read.
const MAX_FRAME: usize = 64 << 10;

pub fn routes(ctx: Ctx) -> Router {
    let socket = Router::new().route("/ws", get(web_socket)).with_state(ctx);
    Router::new().route("/", get(assets::page)).route("/{file}", get(assets::file)).merge(socket)
}

async fn web_socket(State(ctx): State<Ctx>, headers: HeaderMap, upgrade: Upgrade) -> Response {
    let Ok(upgrade) = upgrade else { return websocket::not_one() };
    if !is_own_page(&headers) {
        return (StatusCode::FORBIDDEN, "Forbidden: a page of another origin\n").into_response();
    }
    let upgrade =
        upgrade.read_buffer_size(websocket::READ_BUFFER).max_message_size(MAX_FRAME).max_frame_size(MAX_FRAME);
    upgrade.on_upgrade(move |socket| socket::serve(socket, ctx))
}

fn text(content_type: &'static str) -> [(header::HeaderName, HeaderValue); 2] {
    [
        (header::CONTENT_TYPE, HeaderValue::from_static(content_type)),
        (header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff")),
    ]
}
