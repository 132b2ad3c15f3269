//! The desktop: `/computeruse/*` of the toolbox contract (33 operations, and four that newer SDKs have).
//!
//! An X server ([`programs`]), a window manager and, where the base has them, VNC, noVNC and AT-SPI, all run as the
//! sandbox's user and kept running by [`supervisor`]. The agent speaks to X itself ([`display`], by x11rb) and to
//! AT-SPI ([`accessibility`], by atspi); nothing that clicks, types or takes pictures is a program in the sandbox.
//! Recordings are ffmpeg's ([`recordings`]).
//!
//! # Differences on purpose
//! * Where the X server isn't installed, the 503 names what to install. Observed was one text for every trouble.
//! * The process called `xfce4` is the desktop or window manager that the base has; `dbus` and `atspi` are shown, too.
//! * The status is `active` when everything runs that the base has; VNC, noVNC and AT-SPI may be missing.
//! * An unknown process is 404 `PROCESS_NOT_FOUND` in every operation.
//! * A part of a region that lies outside of the screen is black.
//! * In tier `process` there is no VNC: its port would be everybody's on the host.

pub mod accessibility;
mod capture;
mod desktop;
mod display;
mod keyboard;
mod keys;
mod mouse;
mod picture;
mod processes;
mod programs;
pub mod recordings;
mod request;
mod screenshots;
mod supervisor;
mod typing;
mod windows;

use axum::{
    Router,
    routing::{get, post},
};

pub use desktop::Desktop;

use super::Ctx;

pub fn routes() -> Router<Ctx> {
    Router::new()
        .route("/computeruse/start", post(processes::start))
        .route("/computeruse/stop", post(processes::stop))
        .route("/computeruse/status", get(processes::status))
        .route("/computeruse/process-status", get(processes::status))
        .route("/computeruse/process/{name}/status", get(processes::process_status))
        .route("/computeruse/process/{name}/restart", post(processes::restart))
        .route("/computeruse/process/{name}/logs", get(processes::logs))
        .route("/computeruse/process/{name}/errors", get(processes::errors))
        .route("/computeruse/screenshot", get(screenshots::full))
        .route("/computeruse/screenshot/region", get(screenshots::region))
        .route("/computeruse/screenshot/compressed", get(screenshots::compressed))
        .route("/computeruse/screenshot/region/compressed", get(screenshots::compressed_region))
        .route("/computeruse/display/info", get(windows::displays))
        .route("/computeruse/display/windows", get(windows::windows))
        .merge(mouse::routes())
        .merge(keyboard::routes())
        .merge(accessibility::routes())
        .merge(recordings::routes())
}
