//! The state machine as data: what each operation does in each state, and what then happens.
//! Pure; [`super::lifecycle`] and its neighbours carry it out. The table is the observed one.

use super::{
    error::{ErrorKind, ModelError},
    sandbox::{Class, DesiredState, State},
};

/// An operation that a client asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Operation {
    Start,
    Stop,
    Pause,
    Archive,
    Recover,
    Fork,
    Snapshot,
    Resize,
    Backup,
    Delete,
}

impl Operation {
    pub const ALL: [Operation; 10] = [
        Operation::Start,
        Operation::Stop,
        Operation::Pause,
        Operation::Archive,
        Operation::Recover,
        Operation::Fork,
        Operation::Snapshot,
        Operation::Resize,
        Operation::Backup,
        Operation::Delete,
    ];
}

/// What else than its state decides about an operation.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Nature {
    pub class: Class,
    /// Deleted instead of stopped.
    pub ephemeral: bool,
    /// An error that `recover` can mend.
    pub recoverable: bool,
}

/// What an operation does in a state.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It happens.
    Go,
    /// Accepted, but there is nothing to do.
    Nothing,
    Refuse(ErrorKind, &'static str),
}

use ErrorKind::{BadRequest, Conflict, Unprocessable};
use Verdict::{Go, Nothing, Refuse};

const BUSY: Verdict = Refuse(Conflict, "Sandbox state change in progress");
const ERRED: Verdict = Refuse(BadRequest, "Sandbox is in an errored state");
const NO_STOP: Verdict = Refuse(BadRequest, "Sandbox is not in a stoppable state");
const NO_PAUSE: Verdict = Refuse(BadRequest, "Sandbox must be in started state to pause");
const NEVER_PAUSE: Verdict = Refuse(Unprocessable, "Pausing is not supported for this sandbox");
const NO_ARCHIVE: Verdict = Refuse(BadRequest, "Sandbox is not stopped");
const NO_RECOVER: Verdict = Refuse(BadRequest, NOT_RECOVERABLE);
const NO_FORK: Verdict = Refuse(BadRequest, "Sandbox must be in started state to fork");
const NEVER_FORK: Verdict = Refuse(Unprocessable, "Forking is not supported for this sandbox");
const NO_SNAP: Verdict = Refuse(BadRequest, "Sandbox must be in started or stopped state to create a snapshot");
const NO_RESIZE: Verdict = Refuse(BadRequest, "Sandbox must be in started or stopped state to resize");
const BACKING: Verdict = Refuse(BadRequest, "Sandbox backup is already in progress");

const NOT_RECOVERABLE: &str = "Sandbox is not in a recoverable state";

/// What the loser of a race reads: it saw a state that allowed the operation, and another was faster (observed). Who
/// comes later sees the change in progress.
pub const OUTRUN: &str = "Sandbox was modified by another operation";

type Row = (Operation, [Verdict; 9]);

/// One row per operation, one column per [`column`]; of containers, and of machines but for [`OF_MACHINES`].
#[rustfmt::skip]
const TABLE: [Row; 10] = [
    //                    started      stopping   stopped    changing   destroying errored     archiving  archived   paused
    (Operation::Start,    [Nothing,    BUSY,      Go,        BUSY,      BUSY,      ERRED,      Go,        Go,        Go]),
    (Operation::Stop,     [Go,         BUSY,      NO_STOP,   BUSY,      BUSY,      ERRED,      BUSY,      NO_STOP,   Go]),
    (Operation::Pause,    [NEVER_PAUSE,NO_PAUSE,  NO_PAUSE,  NO_PAUSE,  NO_PAUSE,  NO_PAUSE,   NO_PAUSE,  NO_PAUSE,  NO_PAUSE]),
    (Operation::Archive,  [NO_ARCHIVE, BUSY,      Go,        BUSY,      BUSY,      ERRED,      BUSY,      NO_ARCHIVE,NO_ARCHIVE]),
    (Operation::Recover,  [NO_RECOVER, NO_RECOVER,NO_RECOVER,NO_RECOVER,NO_RECOVER,Go,         NO_RECOVER,NO_RECOVER,NO_RECOVER]),
    (Operation::Fork,     [NEVER_FORK, NEVER_FORK,NEVER_FORK,NEVER_FORK,NEVER_FORK,NEVER_FORK, NEVER_FORK,NEVER_FORK,NEVER_FORK]),
    (Operation::Snapshot, [Go,         NO_SNAP,   Go,        NO_SNAP,   NO_SNAP,   NO_SNAP,    NO_SNAP,   NO_SNAP,   NO_SNAP]),
    (Operation::Resize,   [Go,         NO_RESIZE, Go,        NO_RESIZE, NO_RESIZE, NO_RESIZE,  NO_RESIZE, NO_RESIZE, NO_RESIZE]),
    (Operation::Backup,   [Nothing,    Nothing,   Nothing,   Nothing,   Nothing,   Nothing,    BACKING,   Nothing,   Nothing]),
    (Operation::Delete,   [Go,         BUSY,      Go,        BUSY,      BUSY,      Go,         Go,        Go,        Go]),
];

/// What virtual machines can do and containers can't (contract).
#[rustfmt::skip]
const OF_MACHINES: [Row; 2] = [
    (Operation::Pause,    [Go,         NO_PAUSE,  NO_PAUSE,  NO_PAUSE,  NO_PAUSE,  NO_PAUSE,   NO_PAUSE,  NO_PAUSE,  NO_PAUSE]),
    (Operation::Fork,     [Go,         NO_FORK,   NO_FORK,   NO_FORK,   NO_FORK,   NO_FORK,    NO_FORK,   NO_FORK,   NO_FORK]),
];

/// The tables' column of a phase.
fn column(phase: Phase) -> usize {
    match phase.shown() {
        // Shown as archived until the restoration begins, and so is one that is deleted (observed).
        State::Archived if phase.desired == DesiredState::Started => 3,
        State::Archived if phase.desired == DesiredState::Destroyed => 4,
        State::Started => 0,
        State::Stopping => 1,
        State::Stopped => 2,
        State::Destroying | State::Destroyed => 4,
        State::Error | State::BuildFailed => 5,
        State::Archiving => 6,
        State::Archived => 7,
        State::Paused => 8,
        _ => 3,
    }
}

/// What `operation` does in a phase.
pub fn verdict(operation: Operation, phase: Phase, class: Class) -> Verdict {
    let special: &[Row] = if class.is_machine() { &OF_MACHINES } else { &[] };
    let row = special.iter().chain(&TABLE).find(|row| row.0 == operation);
    row.map_or(BUSY, |row| row.1[column(phase)])
}

/// Where a sandbox is and where it should be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Phase {
    pub actual: State,
    pub desired: DesiredState,
}

/// What the runtime reports.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Progress {
    /// The launch of a new sandbox, or of an archived one's restoration, began.
    Creating,
    /// Its toolbox answers.
    Launched,
    LaunchFailed,
    /// Every process is gone, as asked.
    Halted,
    /// Every process is gone, unasked.
    Died,
    /// Its files are gone.
    Removed,
    /// A snapshot of it was made, or couldn't be.
    Snapshotted,
    /// It was forked, or couldn't be.
    Forked,
    /// Its resources are others now.
    Resized,
    /// Its processes stand still, or couldn't be stopped.
    Paused,
    PauseFailed,
    /// They go on.
    Resumed,
    /// Its files are in an archive and nowhere else, or couldn't be put there.
    Archived,
    ArchiveFailed,
    /// What kept it from starting may be mended.
    Recovered,
    /// What it is built from is being built.
    Building,
    Built,
    BuildFailed,
}

impl Phase {
    /// A sandbox that was just asked for.
    pub const NEW: Phase = Phase { actual: State::Unknown, desired: DesiredState::Started };

    /// One that has to be built first.
    pub const UNBUILT: Phase = Phase { actual: State::PendingBuild, desired: DesiredState::Started };

    /// The state that clients see: where it is in the light of where it should be (observed).
    pub fn shown(self) -> State {
        use DesiredState as D;
        use State as S;
        match (self.actual, self.desired) {
            (S::Started | S::Paused, D::Stopped) => S::Stopping,
            (S::Error | S::BuildFailed | S::Archived | S::Destroyed, D::Destroyed) => self.actual,
            (_, D::Destroyed) => S::Destroying,
            (S::Stopped, D::Started) => S::Starting,
            (S::Stopped, D::Archived) => S::Archiving,
            (S::Unknown, D::Started) => S::Creating,
            (state, _) => state,
        }
    }

    /// The same in lists, which tell a restoration before it begins (observed).
    pub fn listed(self) -> State {
        match (self.actual, self.desired) {
            (State::Archived, DesiredState::Started) => State::Restoring,
            _ => self.shown(),
        }
    }

    /// A state change is under way.
    pub fn is_pending(self) -> bool {
        use DesiredState as D;
        use State as S;
        !matches!(
            (self.actual, self.desired),
            (S::Error | S::BuildFailed, _)
                | (S::Started, D::Started)
                | (S::Stopped, D::Stopped)
                | (S::Archived, D::Archived)
                | (S::Paused, D::Paused)
        )
    }

    /// Deleted while in error: invisible, but kept for `includeErroredDeleted` (observed).
    pub fn is_errored_deleted(self) -> bool {
        matches!(self.actual, State::Error | State::BuildFailed) && self.desired == DesiredState::Destroyed
    }

    /// Asks for an operation: the phase that it leads to, the same one if there is nothing to do, or why not.
    pub fn begin(self, operation: Operation, nature: Nature) -> Result<Phase, ModelError> {
        use DesiredState as D;
        use State as S;
        // What nobody works on yet can be deleted (observed).
        if operation == Operation::Delete && self == Phase::UNBUILT {
            return Ok(Phase { desired: D::Destroyed, ..self });
        }
        match verdict(operation, self, nature.class) {
            Refuse(kind, message) => return Err(ModelError::new(kind, message)),
            Nothing => return Ok(self),
            Go => {}
        }
        Ok(match operation {
            Operation::Start if self.actual == S::Paused => Phase { actual: S::Resuming, desired: D::Started },
            Operation::Start => Phase { desired: D::Started, ..self },
            Operation::Stop if nature.ephemeral => Phase { desired: D::Destroyed, ..self },
            Operation::Stop => Phase { desired: D::Stopped, ..self },
            Operation::Pause => Phase { actual: S::Pausing, desired: D::Paused },
            Operation::Archive if nature.ephemeral => {
                return Err(ModelError::bad_request("Ephemeral sandboxes cannot be archived"));
            }
            Operation::Archive => Phase { desired: D::Archived, ..self },
            Operation::Recover if !nature.recoverable => return Err(ModelError::bad_request(NOT_RECOVERABLE)),
            Operation::Recover => Phase { desired: D::Stopped, ..self },
            Operation::Fork => Phase { actual: S::Forking, ..self },
            Operation::Snapshot => Phase { actual: S::Snapshotting, ..self },
            Operation::Resize => Phase { actual: S::Resizing, ..self },
            Operation::Delete => Phase { desired: D::Destroyed, ..self },
            Operation::Backup => self,
        })
    }

    /// What a report of the runtime makes of it. Reports that come too late change nothing.
    pub fn after(self, progress: Progress) -> Phase {
        use DesiredState as D;
        use Progress as P;
        use State as S;
        let actual = |actual| Phase { actual, ..self };
        match (progress, self.actual, self.desired) {
            (P::Removed, S::Error | S::BuildFailed, _) => self,
            (P::Removed, _, D::Destroyed) => actual(S::Destroyed),
            (P::Launched, S::Unknown | S::Creating | S::Stopped | S::Restoring, D::Started | D::Destroyed) => {
                actual(S::Started)
            }
            (P::Built, S::BuildingSnapshot, _) => actual(S::Unknown),
            // Nothing else matters to what is to go.
            (_, _, D::Destroyed) => self,
            (P::Creating, S::Unknown, D::Started) => actual(S::Creating),
            (P::Creating, S::Archived, D::Started) => actual(S::Restoring),
            (P::LaunchFailed, S::Unknown | S::Creating | S::Stopped | S::Restoring, D::Started) => actual(S::Error),
            (P::Snapshotted, S::Snapshotting, D::Started)
            | (P::Forked, S::Forking, D::Started)
            | (P::Resized, S::Resizing, D::Started)
            | (P::Resumed, S::Resuming, D::Started) => actual(S::Started),
            (P::Snapshotted, S::Snapshotting, _) | (P::Resized, S::Resizing, _) => actual(S::Stopped),
            (P::Paused, S::Pausing, D::Paused) => actual(S::Paused),
            (P::PauseFailed, S::Pausing, D::Paused) => Phase { actual: S::Started, desired: D::Started },
            (P::Archived, S::Stopped, D::Archived) => actual(S::Archived),
            (P::ArchiveFailed, S::Stopped, D::Archived) => Phase { desired: D::Stopped, ..self },
            (P::Recovered, S::Error, D::Stopped) => actual(S::Stopped),
            (P::Building, S::PendingBuild, D::Started) => actual(S::BuildingSnapshot),
            (P::BuildFailed, S::PendingBuild | S::BuildingSnapshot, D::Started) => actual(S::BuildFailed),
            (P::Halted, S::Started | S::Paused, D::Stopped) => actual(S::Stopped),
            (
                P::Died,
                S::Started | S::Snapshotting | S::Forking | S::Resizing | S::Pausing | S::Paused | S::Resuming,
                _,
            ) => Phase { actual: S::Stopped, desired: D::Stopped },
            _ => self,
        }
    }

    /// What it is once the server was gone, and every process with it: what should be started is starting, what was
    /// paused is stopped, the rest is at rest or goes on.
    pub fn after_restart(self) -> Phase {
        use State as S;
        let actual = match self.actual {
            S::Unknown
            | S::Creating
            | S::Started
            | S::Snapshotting
            | S::Forking
            | S::Resizing
            | S::Pausing
            | S::Paused
            | S::Resuming => S::Stopped,
            S::Restoring => S::Archived,
            S::BuildingSnapshot => S::PendingBuild,
            other => other,
        };
        let desired = match self.desired {
            DesiredState::Paused => DesiredState::Stopped,
            other => other,
        };
        Phase { actual, desired }
    }
}

#[cfg(test)]
mod tests;
