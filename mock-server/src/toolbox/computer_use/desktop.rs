//! The desktop of a sandbox: its programs and our connection to its screen.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use serde::Serialize;
use tempfile::TempDir;
use tokio::{sync::Mutex, time::timeout};

use super::{
    display::{Display, Trouble},
    programs::{self, DBUS, Place, SPECS, Spec, WINDOW_MANAGER, XVFB},
    supervisor::{Plan, Process},
};
use crate::toolbox::{Ctx, ToolboxError};

/// For an X server on a busy machine.
const START_LIMIT: Duration = Duration::from_secs(20);
/// For what the desktop can do without.
const OPTIONAL_LIMIT: Duration = Duration::from_secs(5);
/// For a program to see its input.
const PAUSE: Duration = Duration::from_millis(300);
/// For one thing asked of the X server.
const REQUEST_LIMIT: Duration = Duration::from_secs(15);

/// One for each agent.
pub struct Desktop {
    processes: Vec<Arc<Process>>,
    /// One start, stop or restart at a time. Holds the place of sockets.
    turn: Mutex<Option<TempDir>>,
    /// The connection to the screen, and the process that it leads to.
    display: parking_lot::Mutex<Option<(Option<i32>, Arc<Display>)>>,
    /// One request types, clicks or drags at a time.
    pub input: Mutex<()>,
}

impl Default for Desktop {
    fn default() -> Desktop {
        let processes = SPECS.iter().map(|_| Arc::default()).collect();
        Desktop { processes, turn: Mutex::default(), display: parking_lot::Mutex::default(), input: Mutex::default() }
    }
}

/// `ProcessStatus` of the contract; no `pid` while it doesn't run.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ProcessStatus {
    running: bool,
    priority: u32,
    auto_restart: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    pid: Option<i32>,
}

impl Desktop {
    fn each(&self) -> impl Iterator<Item = (&'static Spec, &Arc<Process>)> {
        SPECS.iter().zip(&self.processes)
    }

    /// 404 `PROCESS_NOT_FOUND` for a name that isn't there.
    pub fn process(&self, name: &str) -> Result<(&'static Spec, &Arc<Process>), ToolboxError> {
        self.each().find(|(spec, _)| spec.name == name).ok_or_else(|| ToolboxError {
            code: "PROCESS_NOT_FOUND",
            ..ToolboxError::not_found(format!("process {name} not found"))
        })
    }

    fn server(&self) -> &Arc<Process> {
        &self.processes[0]
    }

    /// Starts what doesn't run yet. 503 when the X server doesn't come up, and then nothing is left of it.
    pub async fn start(&self, ctx: &Ctx) -> Result<(), ToolboxError> {
        let mut turn = self.turn.lock().await;
        let dir = match &mut *turn {
            Some(dir) => dir.path().to_owned(),
            place => place.insert(own_directory()?).path().to_owned(),
        };
        for (spec, process) in self.each() {
            self.launch(ctx, &dir, spec, process).await;
            if spec.name == XVFB && !process.ready(START_LIMIT).await {
                let said = process.errors();
                self.stop_all(ctx).await;
                return Err(programs::unavailable(&format!("the X server didn't start\n{}", said.trim())));
            }
            if spec.name == XVFB {
                self.publish(ctx, &dir);
            }
            if spec.name == WINDOW_MANAGER && process.state().kept {
                self.managed().await;
            }
        }
        for (_, process) in self.each().skip(3).filter(|(_, process)| process.state().kept) {
            process.ready(OPTIONAL_LIMIT).await;
        }
        Ok(())
    }

    /// Starts one program, unless it runs, or is missing.
    async fn launch(&self, ctx: &Ctx, dir: &Path, spec: &'static Spec, process: &Arc<Process>) {
        let state = process.state();
        if state.kept && !state.gave_up {
            return;
        }
        process.stop().await;
        let place = self.place(ctx, dir);
        let Some(launch) = spec.launch(&place) else {
            if spec.required {
                process.note(&programs::missing(spec.name));
            }
            return;
        };
        let needs = spec.needs_display.then(|| self.server().watch());
        process.keep(Plan { launch, env: place.env, ready: spec.ready, needs });
        if spec.name == DBUS {
            process.ready(OPTIONAL_LIMIT).await;
        }
    }

    fn place(&self, ctx: &Ctx, dir: &Path) -> Place {
        let mut env = ctx.env();
        if let Some(display) = self.display_name() {
            env.insert("DISPLAY".into(), display);
        }
        env.insert("DBUS_SESSION_BUS_ADDRESS".into(), programs::session_bus(dir));
        // AT-SPI's bus has its socket there; the path of a socket must be short.
        env.insert("XDG_RUNTIME_DIR".into(), dir.to_string_lossy().into_owned());
        env.insert("PYTHONUNBUFFERED".into(), "1".into());
        Place { env, dir: dir.to_owned(), isolated: ctx.config().fake_root.is_none() }
    }

    /// `:0`, once there is one.
    pub fn display_name(&self) -> Option<String> {
        self.server().state().ready.then(|| format!(":{}", self.server().said()))
    }

    /// Programs started from now on find the screen and the bus.
    fn publish(&self, ctx: &Ctx, dir: &Path) {
        let Some(display) = self.display_name() else { return };
        ctx.update_env(|env| {
            env.insert("DISPLAY".into(), display);
            env.insert("DBUS_SESSION_BUS_ADDRESS".into(), programs::session_bus(dir));
            env.entry("QT_LINUX_ACCESSIBILITY_ALWAYS_ON".into()).or_insert_with(|| "1".into());
        });
    }

    /// Until a window manager manages the screen. Without one the desktop works, too, so nobody waits for ever.
    async fn managed(&self) {
        let Some(name) = self.display_name() else { return };
        if let Ok(display) = blocking(move || Display::connect(&name)).await {
            _ = timeout(OPTIONAL_LIMIT, display.managed()).await;
        }
    }

    /// Waits until the program that has the focus has seen all input so far; X itself can't tell, so one that doesn't
    /// answer gets some time.
    pub async fn settle(&self) {
        let Some(name) = self.display_name() else { return };
        let caught_up = match blocking(move || Display::connect(&name)).await {
            Ok(display) => matches!(timeout(OPTIONAL_LIMIT, display.caught_up()).await, Ok(Ok(true))),
            Err(_) => false,
        };
        if !caught_up {
            tokio::time::sleep(PAUSE).await;
        }
    }

    /// Ends everything.
    pub async fn stop(&self, ctx: &Ctx) {
        let _turn = self.turn.lock().await;
        self.stop_all(ctx).await;
    }

    async fn stop_all(&self, ctx: &Ctx) {
        self.display.lock().take();
        futures_util::future::join_all(self.processes.iter().map(|process| process.stop())).await;
        ctx.update_env(|env| {
            env.remove("DISPLAY");
            env.remove("DBUS_SESSION_BUS_ADDRESS");
        });
    }

    /// Ends one program and starts it again. 404 for an unknown one, 503 for one that the base doesn't have or that
    /// doesn't come up.
    pub async fn restart(&self, ctx: &Ctx, name: &str) -> Result<(), ToolboxError> {
        let (spec, process) = self.process(name)?;
        let turn = self.turn.lock().await;
        let dir = turn.as_ref().filter(|_| self.server().state().kept).map(|dir| dir.path().to_owned());
        let dir = dir.ok_or_else(not_started)?;
        process.stop().await;
        self.launch(ctx, &dir, spec, process).await;
        if !process.state().kept {
            return Err(programs::unavailable(programs::missing(name).trim()));
        }
        if !process.ready(START_LIMIT).await {
            return Err(programs::unavailable(&format!("{name} didn't start\n{}", process.errors().trim())));
        }
        if spec.name == WINDOW_MANAGER {
            self.managed().await;
        }
        Ok(())
    }

    /// `active`, `partial`, `inactive` or `error`.
    pub fn status(&self) -> &'static str {
        let states: Vec<_> = self.each().map(|(spec, process)| (spec, process.state())).collect();
        if states.iter().any(|(_, state)| state.gave_up) {
            return "error";
        }
        let wanted = states.iter().filter(|(spec, state)| spec.required || state.kept);
        match wanted.fold((0, 0), |(up, all), (_, state)| (up + usize::from(state.pid.is_some()), all + 1)) {
            (0, _) => "inactive",
            (up, all) if up == all => "active",
            _ => "partial",
        }
    }

    pub fn statuses(&self) -> serde_json::Map<String, serde_json::Value> {
        let status = |(spec, process): (&'static Spec, &Arc<Process>)| {
            let pid = process.state().pid;
            let status = ProcessStatus { running: pid.is_some(), priority: spec.priority, auto_restart: true, pid };
            (spec.name.to_owned(), serde_json::to_value(status).expect("plain data"))
        };
        self.each().map(status).collect()
    }

    /// The address of the session's bus, while it runs.
    pub fn session_bus(&self) -> Option<String> {
        let (_, bus) = self.each().find(|(spec, _)| spec.name == DBUS)?;
        bus.state().ready.then(|| bus.said())
    }

    /// A connection to the screen: the one there is, or a new one; one to an X server that isn't that of today is none. 500 when
    /// nobody started the desktop.
    pub async fn display(&self) -> Result<Arc<Display>, ToolboxError> {
        let server = self.server().state().pid;
        if let Some((_, display)) = self.display.lock().clone().filter(|(of, _)| *of == server) {
            return Ok(display);
        }
        let name = self.display_name().ok_or_else(not_started)?;
        let connected = blocking(move || Display::connect(&name)).await?;
        let display = Arc::new(connected);
        *self.display.lock() = Some((server, display.clone()));
        Ok(display)
    }

    /// Asks something of the screen. A connection that broke is made anew for the next request.
    pub async fn ask<T: Send + 'static>(
        &self,
        question: impl FnOnce(&Display) -> Result<T, Trouble> + Send + 'static,
    ) -> Result<T, ToolboxError> {
        let display = self.display().await?;
        let asked = display.clone();
        let (answer, broken) = blocking(move || {
            let answer = question(&asked);
            let broken = answer.is_err() && asked.is_broken();
            Ok((answer, broken))
        })
        .await?;
        let mut current = self.display.lock();
        if broken && current.as_ref().is_some_and(|(_, current)| Arc::ptr_eq(current, &display)) {
            current.take();
        }
        Ok(answer?)
    }
}

/// What asks the X server never blocks the agent.
async fn blocking<T: Send + 'static>(
    question: impl FnOnce() -> Result<T, Trouble> + Send + 'static,
) -> Result<T, ToolboxError> {
    let silent = || ToolboxError::internal("the X server doesn't answer: restart the process xvfb");
    timeout(REQUEST_LIMIT, work(question)).await.unwrap_or_else(|_| Err(silent()))
}

/// What takes the processor's time, and not the screen's: a busy machine may be slow at it.
pub async fn work<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, Trouble> + Send + 'static,
) -> Result<T, ToolboxError> {
    match tokio::task::spawn_blocking(work).await {
        Ok(made) => Ok(made?),
        Err(_) => Err(ToolboxError::internal("the display failed")),
    }
}

fn not_started() -> ToolboxError {
    ToolboxError::internal("the desktop isn't running: start computer use first")
}

/// Nobody else's, with a short path.
fn own_directory() -> Result<TempDir, ToolboxError> {
    let made = tempfile::Builder::new().prefix(".daytona-desktop-").tempdir_in(PathBuf::from("/tmp"));
    made.map_err(|error| ToolboxError::internal(format!("/tmp: {error}")))
}
