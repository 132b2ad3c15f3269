//! What a fault does. The JSON is `{"type": "…", …}`; every field but the type has a default.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::rule::Facts;
use crate::{api::limit_names, journal::Plane};

/// Where in an answer something happens.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Place {
    /// Before the request is looked at.
    #[default]
    Head,
    /// Before the answer's first byte of body; before the first frame of a WebSocket.
    Body,
}

/// Where [`Effect::SplitFrames`] cuts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Cut {
    /// Inside each character of more than one byte.
    Utf8,
    /// Inside each marker of session logs (`01 01 01`, `02 02 02`).
    Marker,
    /// Right behind each marker, so that a message ends with it.
    AfterMarker,
    /// Inside characters and inside markers.
    #[default]
    Both,
}

/// A transition that [`Effect::Slow`] holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Hold {
    Creating,
    Starting,
    Stopping,
    Destroying,
    Restoring,
    Archiving,
    Pausing,
    Resuming,
    Resizing,
    /// Of who asks for the fork: it is answered with the fork's files in place.
    Forking,
    Snapshotting,
    /// A build, of a sandbox or of a snapshot.
    BuildingSnapshot,
    /// The pull of a snapshot's image.
    PullingSnapshot,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "camelCase", rename_all_fields = "camelCase", deny_unknown_fields)]
pub enum Effect {
    /// Answers instead of the server. Without a body: the plane's envelope with `message` and `code`.
    Status {
        status: u16,
        #[serde(default)]
        body: Option<Value>,
        #[serde(default)]
        message: Option<String>,
        #[serde(default)]
        code: Option<String>,
        #[serde(default)]
        headers: BTreeMap<String, String>,
    },
    /// 429 as the throttler sends it: `Retry-After-<limit>` alone, for `failed-auth` the plain one and `X-RateLimit-*` too.
    RateLimited {
        /// `authenticated`, `sandbox-create`, …; default: what the operation counts as.
        #[serde(default)]
        limit: Option<String>,
        /// Seconds.
        #[serde(default = "retry_after")]
        retry_after: u32,
    },
    /// Waits, by the server's clock.
    Delay {
        seconds: f64,
        #[serde(default)]
        at: Place,
    },
    /// Never answers; until the fault is released or removed, then as if nothing had been.
    Hang {},
    /// The connection is reset (RST): before the request is carried out, or after so many bytes of the answer's body.
    Reset {
        #[serde(default)]
        after_bytes: Option<u64>,
    },
    /// The connection ends after so many bytes of the answer's body.
    Truncate {
        #[serde(default)]
        bytes: u64,
    },
    /// Carries the request out, then answers this status instead.
    CommitThenFail {
        #[serde(default = "bad_gateway")]
        status: u16,
        #[serde(default)]
        body: Option<Value>,
    },
    /// Carries the request out, then ends the connection without an answer: closed, or reset.
    CommitThenDrop {
        #[serde(default)]
        reset: bool,
    },
    /// Closes a WebSocket after so many data frames from the server. 1006: without a close frame.
    WebsocketClose {
        #[serde(default = "going_away")]
        code: u16,
        #[serde(default)]
        reason: String,
        #[serde(default = "one")]
        after_frames: u64,
    },
    /// Cuts what the server streams where clients join it badly: binary messages become two, text messages fragments,
    /// bodies chunks with a pause between.
    SplitFrames {
        #[serde(default)]
        at: Cut,
    },
    /// These three act on what happens to sandboxes: to those that the matcher names or to all, and if it says something of
    /// requests, too, only where such a request begins it (the second `createSandbox`, what one SDK starts).
    ///
    /// Holds a transition for a time (by the server's clock), or until the sandbox was asked for so many times, or until
    /// the fault is released; whichever is first of those given. Who asked for the transition gets the answer at once
    /// (but for a fork). Snapshots are meant by their id or name, as sandboxes are, and have no polls.
    Slow {
        state: Hold,
        #[serde(default)]
        seconds: Option<f64>,
        #[serde(default)]
        polls: Option<u64>,
    },
    /// A launch fails: the sandbox is in `error` with this reason.
    StartFailure {
        #[serde(default = "start_reason")]
        reason: String,
    },
    /// A build fails with this reason: a sandbox is `build_failed`, a snapshot `error`.
    BuildFailure {
        #[serde(default = "build_reason")]
        reason: String,
    },
    /// Kills every process of the sandbox: at once if the matcher has nothing but a sandbox, else with the request that
    /// matches, which is carried out.
    Die {},
    /// What the toolbox is asked to write (files, repositories) fails as it does on a full disk. Programs inside go on
    /// writing: all sandboxes share a file system, which knows no limit for each (`README.md`, "Break things", has what
    /// can be done for real).
    DiskFull {},
    /// Creating and starting is refused as beyond the quota.
    Quota {
        #[serde(default)]
        resource: Resource,
        #[serde(default = "maximum")]
        maximum: u32,
    },
    /// The toolbox can't be reached: 502 of the proxy.
    Unreachable {},
    /// Times in JSON answers, in their headers (`Date`, `Last-Modified`, `Expires`) and in events are off by so many seconds.
    ClockSkew { seconds: i64 },
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Resource {
    #[default]
    Cpu,
    Memory,
    Disk,
}

fn retry_after() -> u32 {
    5
}

fn bad_gateway() -> u16 {
    502
}

fn going_away() -> u16 {
    1001
}

fn one() -> u64 {
    1
}

fn maximum() -> u32 {
    2
}

fn start_reason() -> String {
    "the runner could not start the sandbox".into()
}

fn build_reason() -> String {
    "the build failed".into()
}

/// When an effect can act.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    /// With a request.
    Request,
    /// With what happens to a sandbox.
    Lifecycle,
}

/// What writes into a sandbox.
pub(super) const WRITERS: [&str; 14] = [
    "UploadFile",
    "UploadFiles",
    "CreateFolder",
    "ReplaceInFiles",
    "CloneRepository",
    "InitRepository",
    "AddFiles",
    "CommitChanges",
    "CheckoutBranch",
    "PullChanges",
    "RestoreFiles",
    "ResetChanges",
    "SetGitConfig",
    "StartRecording",
];
/// Headers that say how bytes are sent, or are of one hop only: an answer with others than its own can't be read.
const FRAMING: [&str; 8] =
    ["connection", "content-length", "keep-alive", "proxy-connection", "te", "trailer", "transfer-encoding", "upgrade"];
/// What quotas are checked for.
pub(super) const METERED: [&str; 5] =
    ["createSandbox", "startSandbox", "forkSandbox", "resizeSandbox", "recoverSandbox"];

impl Effect {
    pub fn stage(&self) -> Stage {
        match self {
            Effect::Slow { .. } | Effect::StartFailure { .. } | Effect::BuildFailure { .. } => Stage::Lifecycle,
            _ => Stage::Request,
        }
    }

    /// Whether it means something for a request like this, besides what the matcher says.
    pub fn suits(&self, facts: &Facts) -> bool {
        let is = |names: &[&str]| facts.operation.is_some_and(|operation| names.contains(&operation));
        match self {
            Effect::WebsocketClose { .. } => facts.upgrade,
            Effect::SplitFrames { .. } if facts.late => true,
            Effect::ClockSkew { .. } if facts.late => true,
            _ if facts.late => false,
            Effect::DiskFull {} => is(&WRITERS),
            Effect::Quota { .. } => is(&METERED),
            Effect::Unreachable {} => facts.plane == Plane::Toolbox,
            Effect::RateLimited { .. } => facts.plane == Plane::Api,
            Effect::Die {} => facts.known.is_some(),
            // What a program in a sandbox says of the time is its own.
            Effect::ClockSkew { .. } => !facts.upgrade || facts.plane == Plane::Events,
            _ => self.stage() == Stage::Request,
        }
    }

    /// Whether it answers a request in the server's stead, so that nothing after it can act.
    pub fn answers(&self) -> bool {
        matches!(
            self,
            Effect::Status { .. }
                | Effect::RateLimited { .. }
                | Effect::Reset { after_bytes: None }
                | Effect::DiskFull {}
                | Effect::Quota { .. }
                | Effect::Unreachable {}
        )
    }

    /// What is wrong with it, if something is.
    pub fn check(&self) -> Result<(), String> {
        let status = |status: u16| {
            let fine = (200..=599).contains(&status);
            if fine { Ok(()) } else { Err(format!("status must be from 200 to 599, not {status}")) }
        };
        let seconds = |seconds: f64| {
            let fine = (0.0..=1e9).contains(&seconds);
            if fine { Ok(()) } else { Err(format!("seconds must be from 0 to a thousand million, not {seconds}")) }
        };
        match self {
            Effect::Status { status: own, headers, .. } => {
                let good = |(name, value): (&String, &String)| {
                    name.parse::<http::HeaderName>().is_ok() && http::HeaderValue::from_str(value).is_ok()
                };
                if !headers.iter().all(good) {
                    return Err("headers must be headers of HTTP".into());
                }
                if let Some(own) = headers.keys().find(|name| FRAMING.iter().any(|own| own.eq_ignore_ascii_case(name)))
                {
                    return Err(format!("{own} says how the answer is sent, which is the server's own affair"));
                }
                status(*own)
            }
            Effect::CommitThenFail { status: own, .. } => status(*own),
            Effect::RateLimited { limit: Some(limit), .. } if !limit_names().any(|name| name == limit) => {
                let known: Vec<&str> = limit_names().collect();
                Err(format!("limit must be one of {}, not {limit:?}", known.join(", ")))
            }
            Effect::Delay { seconds: own, .. } => seconds(*own),
            Effect::Slow { seconds: Some(own), .. } => seconds(*own),
            Effect::WebsocketClose { code, reason, .. } => {
                let sent = matches!(code, 1000..=1003 | 1006..=1014 | 3000..=4999);
                match (sent, reason.len()) {
                    (false, _) => Err(format!("{code} is no close code: 1000 to 1003, 1006 to 1014, 3000 to 4999")),
                    (_, 124..) => Err("reason must have at most 123 bytes".into()),
                    _ => Ok(()),
                }
            }
            Effect::ClockSkew { seconds } if seconds.unsigned_abs() > 1_000_000_000 => {
                Err("seconds must be at most a thousand million".into())
            }
            _ => Ok(()),
        }
    }
}
