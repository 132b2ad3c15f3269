//! The programs of a desktop, in the order in which they start, and what stands in for each.

use std::{
    collections::BTreeMap,
    ffi::OsString,
    fs, io,
    os::{
        linux::net::SocketAddrExt,
        unix::{
            ffi::OsStrExt,
            fs::PermissionsExt,
            net::{SocketAddr, UnixStream},
        },
    },
    path::{Path, PathBuf},
};

use crate::toolbox::{ToolboxError, process::shell::find_program};

/// Where noVNC and VNC listen in a sandbox (observed).
const NOVNC_PORT: u16 = 6080;
const VNC_PORT: u16 = 5901;

/// Debian's packages for everything.
const PACKAGES: &str = "xvfb openbox x11vnc novnc websockify ffmpeg dbus at-spi2-core";

const DEFAULT_SIZE: (u16, u16) = (1280, 720);

/// One program of the desktop.
pub struct Spec {
    /// As the API calls it.
    pub name: &'static str,
    /// As in `ProcessStatus`; those with smaller ones start first.
    pub priority: u32,
    /// Whether a desktop without it is only part of one.
    pub required: bool,
    /// The line by which it says that it is ready, if it ever says so.
    pub ready: Option<fn(&str) -> bool>,
    /// Whether it is a client of the X server.
    pub needs_display: bool,
    launch: fn(&Place) -> Option<Launch>,
}

/// A program and its arguments.
pub struct Launch {
    pub program: PathBuf,
    pub args: Vec<OsString>,
}

/// What programs are chosen by.
pub struct Place {
    /// Of the sandbox, with `DISPLAY` once there is one.
    pub env: BTreeMap<String, String>,
    /// For sockets.
    pub dir: PathBuf,
    /// Whether the network and `/tmp` are the sandbox's own.
    pub isolated: bool,
}

pub const XVFB: &str = "xvfb";
pub const DBUS: &str = "dbus";
pub const ATSPI: &str = "atspi";
pub const WINDOW_MANAGER: &str = "xfce4";

pub const SPECS: &[Spec] = &[
    Spec {
        name: XVFB,
        priority: 100,
        required: true,
        ready: Some(|line| line.parse::<u32>().is_ok()),
        needs_display: false,
        launch: xvfb,
    },
    Spec {
        name: DBUS,
        priority: 150,
        required: false,
        ready: Some(|line| line.starts_with("unix:")),
        needs_display: false,
        launch: dbus,
    },
    Spec { name: ATSPI, priority: 160, required: false, ready: None, needs_display: true, launch: atspi },
    Spec {
        name: WINDOW_MANAGER,
        priority: 200,
        required: true,
        ready: None,
        needs_display: true,
        launch: window_manager,
    },
    Spec {
        name: "x11vnc",
        priority: 300,
        required: false,
        ready: Some(|line| line.starts_with("PORT=")),
        needs_display: true,
        launch: x11vnc,
    },
    Spec {
        name: "novnc",
        priority: 400,
        required: false,
        ready: Some(|line| line.contains("proxying from")),
        needs_display: false,
        launch: novnc,
    },
];

impl Spec {
    /// How to start it here; `None` where the base doesn't have it.
    pub fn launch(&self, place: &Place) -> Option<Launch> {
        (self.launch)(place)
    }
}

/// 503 with the packages to install, when there is no X server.
pub fn available(env: &BTreeMap<String, String>) -> Result<(), ToolboxError> {
    find_program("Xvfb", env).map(drop).ok_or_else(|| {
        unavailable(&format!("Xvfb is not installed in this sandbox. Install it: apt-get install -y {PACKAGES}"))
    })
}

/// 503 `Computer-use functionality is not available: …`
pub fn unavailable(why: &str) -> ToolboxError {
    let message = format!("Computer-use functionality is not available: {why}");
    ToolboxError::new(axum::http::StatusCode::SERVICE_UNAVAILABLE, "SERVICE_UNAVAILABLE", message)
}

/// What is wrong where a required program is missing.
pub fn missing(name: &str) -> String {
    format!("{name} is not installed in this sandbox: apt-get install -y {PACKAGES}\n")
}

/// `VNC_RESOLUTION=1920x1080` in the sandbox's environment makes a screen of that size.
fn size(env: &BTreeMap<String, String>) -> (u16, u16) {
    let asked = env.get("VNC_RESOLUTION").and_then(|text| {
        let mut numbers = text.split('x').map(|number| number.trim().parse::<u16>());
        Some((numbers.next()?.ok()?, numbers.next()?.ok()?))
    });
    asked.filter(|(width, height)| [width, height].into_iter().all(|n| (64..=4096).contains(n))).unwrap_or(DEFAULT_SIZE)
}

/// `:0` where displays are the sandbox's own, or what its `DISPLAY` says; elsewhere the server takes a free one.
fn xvfb(place: &Place) -> Option<Launch> {
    let (width, height) = size(&place.env);
    let screen = format!("{width}x{height}x24");
    let mut args: Vec<OsString> = Vec::new();
    if place.isolated {
        let number = place.env.get("DISPLAY").and_then(|display| display.strip_prefix(':')?.parse::<u16>().ok());
        let number = number.unwrap_or(0);
        make_room(number);
        // Whoever is in the sandbox may use its screen, root too.
        args.extend([format!(":{number}").into(), "-ac".into()]);
    }
    args.extend(
        ["-screen", "0", &screen, "-displayfd", "1", "-nolisten", "tcp", "-noreset", "-dpi", "96"].map(Into::into),
    );
    Some(Launch { program: find_program("Xvfb", &place.env)?, args })
}

/// Makes the directory of X's sockets, which the server makes only as root; removes what a server of an earlier run of
/// the sandbox left, since the process that its lock names may be another one by now.
fn make_room(number: u16) {
    let dir = Path::new("/tmp/.X11-unix");
    if fs::create_dir(dir).is_ok() {
        _ = fs::set_permissions(dir, fs::Permissions::from_mode(0o1777));
    }
    let socket = dir.join(format!("X{number}"));
    let lives = |address: io::Result<SocketAddr>| address.and_then(|at| UnixStream::connect_addr(&at)).is_ok();
    let name = socket.as_os_str().as_bytes();
    if !lives(SocketAddr::from_pathname(&socket)) && !lives(SocketAddr::from_abstract_name(name)) {
        _ = fs::remove_file(&socket);
        _ = fs::remove_file(format!("/tmp/.X{number}-lock"));
    }
}

fn dbus(place: &Place) -> Option<Launch> {
    let address = format!("--address={}", session_bus(&place.dir));
    let args = ["--session", "--nofork", "--nopidfile", "--nosyslog", &address, "--print-address=1"].map(Into::into);
    Some(Launch { program: find_program("dbus-daemon", &place.env)?, args: args.into() })
}

/// The address of the session's bus.
pub fn session_bus(dir: &Path) -> String {
    format!("unix:path={}", dir.join("bus").display())
}

fn atspi(place: &Place) -> Option<Launch> {
    find_program("dbus-daemon", &place.env)?;
    let places = ["/usr/libexec", "/usr/lib/at-spi2-core", "/usr/lib/at-spi2"];
    let program =
        places.into_iter().map(|dir| Path::new(dir).join("at-spi-bus-launcher")).find(|path| path.exists())?;
    Some(Launch { program, args: vec!["--launch-immediately".into()] })
}

fn window_manager(place: &Place) -> Option<Launch> {
    let known = ["startxfce4", "openbox", "xfwm4", "icewm", "fluxbox", "matchbox-window-manager"];
    let program = known.into_iter().find_map(|name| find_program(name, &place.env))?;
    Some(Launch { program, args: Vec::new() })
}

fn x11vnc(place: &Place) -> Option<Launch> {
    let program = find_program("x11vnc", &place.env).filter(|_| place.isolated)?;
    let port = VNC_PORT.to_string();
    let flags = ["-rfbport", &port, "-localhost", "-forever", "-shared", "-nopw", "-quiet", "-noxdamage", "-no6"];
    Some(Launch { program, args: flags.map(Into::into).into() })
}

fn novnc(place: &Place) -> Option<Launch> {
    find_program("x11vnc", &place.env).filter(|_| place.isolated)?;
    let page = Path::new("/usr/share/novnc").to_owned();
    let program = find_program("websockify", &place.env).filter(|_| page.exists())?;
    let (own, vnc) = (format!("127.0.0.1:{NOVNC_PORT}"), format!("127.0.0.1:{VNC_PORT}"));
    Some(Launch { program, args: vec!["--web".into(), page.into(), own.into(), vnc.into()] })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with(name: &str, value: &str) -> BTreeMap<String, String> {
        BTreeMap::from([(name.to_owned(), value.to_owned())])
    }

    #[test]
    fn sizes_are_bounded() {
        for (text, size_of) in [
            ("1920x1080", (1920, 1080)),
            ("800x600x24", (800, 600)),
            ("1x1", DEFAULT_SIZE),
            ("99999x2", DEFAULT_SIZE),
            ("", DEFAULT_SIZE),
            ("1024", DEFAULT_SIZE),
        ] {
            assert_eq!(size(&with("VNC_RESOLUTION", text)), size_of, "{text}");
        }
    }

    #[test]
    fn what_is_missing_is_named() {
        let error = available(&with("PATH", "/nowhere")).expect_err("nothing there");
        assert_eq!(error.status, 503);
        assert!(error.message.contains("apt-get install -y xvfb openbox"), "{}", error.message);
        let place = Place { env: with("PATH", "/nowhere"), dir: "/tmp".into(), isolated: true };
        let missing = ["xvfb", "dbus", "xfce4", "x11vnc", "novnc"];
        assert!(SPECS.iter().filter(|spec| missing.contains(&spec.name)).all(|spec| spec.launch(&place).is_none()));
    }
}
