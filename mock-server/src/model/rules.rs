//! The state machine as data: what each operation does in each state, and what then happens.
//! Pure; [`super::lifecycle`] carries it out. The table is the observed one.

use super::{
    error::{ErrorKind, ModelError},
    sandbox::{DesiredState, State},
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
const NO_RECOVER: Verdict = Refuse(BadRequest, "Sandbox is not in a recoverable state");
const NEVER_FORK: Verdict = Refuse(Unprocessable, "Forking is not supported for this sandbox");
const NO_SNAP: Verdict = Refuse(BadRequest, "Sandbox must be in started or stopped state to create a snapshot");
const NO_RESIZE: Verdict = Refuse(BadRequest, "Sandbox must be in started or stopped state to resize");
const BACKING: Verdict = Refuse(BadRequest, "Sandbox backup is already in progress");

/// What the loser of a race reads: it saw a state that allowed the operation, and another was faster (observed). Who
/// comes later sees the change in progress.
pub const OUTRUN: &str = "Sandbox was modified by another operation";

/// One row per operation, one column per [`column`].
#[rustfmt::skip]
const TABLE: [(Operation, [Verdict; 8]); 10] = [
    //                    started      stopping   stopped    changing   destroying errored     archiving  archived
    (Operation::Start,    [Nothing,    BUSY,      Go,        BUSY,      BUSY,      ERRED,      Go,        Go]),
    (Operation::Stop,     [Go,         BUSY,      NO_STOP,   BUSY,      BUSY,      ERRED,      BUSY,      NO_STOP]),
    (Operation::Pause,    [NEVER_PAUSE,NO_PAUSE,  NO_PAUSE,  NO_PAUSE,  NO_PAUSE,  NO_PAUSE,   NO_PAUSE,  NO_PAUSE]),
    (Operation::Archive,  [NO_ARCHIVE, BUSY,      Go,        BUSY,      BUSY,      ERRED,      BUSY,      NO_ARCHIVE]),
    (Operation::Recover,  [NO_RECOVER, NO_RECOVER,NO_RECOVER,NO_RECOVER,NO_RECOVER,NO_RECOVER, NO_RECOVER,NO_RECOVER]),
    (Operation::Fork,     [NEVER_FORK, NEVER_FORK,NEVER_FORK,NEVER_FORK,NEVER_FORK,NEVER_FORK, NEVER_FORK,NEVER_FORK]),
    (Operation::Snapshot, [Go,         NO_SNAP,   Go,        NO_SNAP,   NO_SNAP,   NO_SNAP,    NO_SNAP,   NO_SNAP]),
    (Operation::Resize,   [Go,         NO_RESIZE, Go,        NO_RESIZE, NO_RESIZE, NO_RESIZE,  NO_RESIZE, NO_RESIZE]),
    (Operation::Backup,   [Nothing,    Nothing,   Nothing,   Nothing,   Nothing,   Nothing,    BACKING,   Nothing]),
    (Operation::Delete,   [Go,         BUSY,      Go,        BUSY,      BUSY,      Go,         Go,        Go]),
];

/// The table's column of a derived state.
fn column(state: State) -> usize {
    match state {
        State::Started => 0,
        State::Stopping => 1,
        // A paused sandbox keeps its memory, but nothing runs in it.
        State::Stopped | State::Paused => 2,
        State::Destroying | State::Destroyed => 4,
        State::Error | State::BuildFailed => 5,
        State::Archiving => 6,
        State::Archived => 7,
        _ => 3,
    }
}

/// What `operation` does in the derived `state`.
pub fn verdict(operation: Operation, state: State) -> Verdict {
    TABLE.iter().find(|row| row.0 == operation).map_or(BUSY, |row| row.1[column(state)])
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
    /// The launch of a new sandbox began.
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
            (S::Started, D::Stopped) => S::Stopping,
            (
                S::Started
                | S::Stopped
                | S::Creating
                | S::Unknown
                | S::Snapshotting
                | S::PendingBuild
                | S::BuildingSnapshot,
                D::Destroyed,
            ) => S::Destroying,
            (S::Stopped, D::Started) => S::Starting,
            (S::Stopped, D::Archived) => S::Archiving,
            (S::Unknown, D::Started) => S::Creating,
            (state, _) => state,
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
        )
    }

    /// Deleted while in error: invisible, but kept for `includeErroredDeleted` (observed).
    pub fn is_errored_deleted(self) -> bool {
        matches!(self.actual, State::Error | State::BuildFailed) && self.desired == DesiredState::Destroyed
    }

    /// Asks for an operation: the phase that it leads to, the same one if there is nothing to do, or why not.
    pub fn begin(self, operation: Operation, ephemeral: bool) -> Result<Phase, ModelError> {
        // What nobody works on yet can be deleted (observed).
        if operation == Operation::Delete && self == Phase::UNBUILT {
            return Ok(Phase { desired: DesiredState::Destroyed, ..self });
        }
        match verdict(operation, self.shown()) {
            Refuse(kind, message) => Err(ModelError::new(kind, message)),
            Nothing => Ok(self),
            Go => match operation {
                Operation::Start if self.actual == State::Stopped => {
                    Ok(Phase { desired: DesiredState::Started, ..self })
                }
                Operation::Snapshot => Ok(Phase { actual: State::Snapshotting, ..self }),
                Operation::Stop if ephemeral => Ok(Phase { desired: DesiredState::Destroyed, ..self }),
                Operation::Stop => Ok(Phase { desired: DesiredState::Stopped, ..self }),
                Operation::Delete => Ok(Phase { desired: DesiredState::Destroyed, ..self }),
                Operation::Archive if ephemeral => {
                    Err(ModelError::bad_request("Ephemeral sandboxes cannot be archived"))
                }
                _ => Err(ModelError::new(ErrorKind::NotEmulated, "")),
            },
        }
    }

    /// What a report of the runtime makes of it. Reports that come too late change nothing.
    pub fn after(self, progress: Progress) -> Phase {
        use DesiredState as D;
        use State as S;
        match (progress, self.actual, self.desired) {
            (Progress::Creating, S::Unknown, D::Started) => Phase { actual: S::Creating, ..self },
            (Progress::Launched, S::Unknown | S::Creating | S::Stopped, _) => Phase { actual: S::Started, ..self },
            (Progress::LaunchFailed, S::Unknown | S::Creating | S::Stopped, D::Started) => {
                Phase { actual: S::Error, ..self }
            }
            (Progress::Snapshotted, S::Snapshotting, D::Started) => Phase { actual: S::Started, ..self },
            (Progress::Snapshotted, S::Snapshotting, _) => Phase { actual: S::Stopped, ..self },
            (Progress::Building, S::PendingBuild, D::Started) => Phase { actual: S::BuildingSnapshot, ..self },
            (Progress::Built, S::BuildingSnapshot, _) => Phase { actual: S::Unknown, ..self },
            (Progress::BuildFailed, S::PendingBuild | S::BuildingSnapshot, D::Started) => {
                Phase { actual: S::BuildFailed, ..self }
            }
            (Progress::Died, S::Snapshotting, _) => Phase { actual: S::Stopped, desired: D::Stopped },
            (Progress::Halted, S::Started, D::Stopped) => Phase { actual: S::Stopped, ..self },
            (Progress::Died, S::Started, D::Started | D::Stopped) => Phase { actual: S::Stopped, desired: D::Stopped },
            (Progress::Removed, actual, D::Destroyed) if !matches!(actual, S::Error | S::BuildFailed) => {
                Phase { actual: S::Destroyed, ..self }
            }
            _ => self,
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn every_operation_has_a_row() {
        for operation in Operation::ALL {
            assert!(TABLE.iter().any(|row| row.0 == operation), "{operation:?}");
        }
    }

    #[test]
    fn a_life() {
        let new = Phase::NEW;
        assert_eq!(new.shown(), State::Creating);
        let started = new.after(Progress::Creating).after(Progress::Launched);
        assert_eq!((started.shown(), started.is_pending()), (State::Started, false));
        assert_eq!(started.begin(Operation::Start, false).expect("no-op"), started);
        let stopping = started.begin(Operation::Stop, false).expect("stops");
        assert_eq!((stopping.shown(), stopping.is_pending()), (State::Stopping, true));
        let busy = stopping.begin(Operation::Delete, false).expect_err("busy");
        assert_eq!((busy.kind, busy.message.as_str()), (Conflict, "Sandbox state change in progress"));
        let stopped = stopping.after(Progress::Halted);
        let starting = stopped.begin(Operation::Start, false).expect("starts");
        assert_eq!(starting.shown(), State::Starting);
        assert_eq!(starting.after(Progress::LaunchFailed).shown(), State::Error);
        assert_eq!(started.begin(Operation::Stop, true).expect("ephemeral").shown(), State::Destroying);
        let gone = stopped.begin(Operation::Delete, false).expect("deletes").after(Progress::Removed);
        assert_eq!(gone.shown(), State::Destroyed);
    }

    fn operation() -> impl Strategy<Value = Operation> {
        prop::sample::select(Operation::ALL.to_vec())
    }

    fn progress() -> impl Strategy<Value = Progress> {
        use Progress::*;
        prop::sample::select(vec![
            Creating,
            Launched,
            LaunchFailed,
            Halted,
            Died,
            Removed,
            Snapshotted,
            Building,
            Built,
            BuildFailed,
        ])
    }

    #[derive(Clone, Debug)]
    enum Step {
        Ask(Operation, bool),
        Report(Progress),
    }

    fn step() -> impl Strategy<Value = Step> {
        prop_oneof![(operation(), any::<bool>()).prop_map(|(o, e)| Step::Ask(o, e)), progress().prop_map(Step::Report)]
    }

    /// Every pair that may be reached, with the state that clients see. Nothing else is ever stored.
    const DOCUMENTED: &[(State, DesiredState, State)] = &[
        (State::Unknown, DesiredState::Started, State::Creating),
        (State::Creating, DesiredState::Started, State::Creating),
        (State::Started, DesiredState::Started, State::Started),
        (State::Started, DesiredState::Stopped, State::Stopping),
        (State::Stopped, DesiredState::Stopped, State::Stopped),
        (State::Stopped, DesiredState::Started, State::Starting),
        (State::Started, DesiredState::Destroyed, State::Destroying),
        (State::Stopped, DesiredState::Destroyed, State::Destroying),
        (State::Destroyed, DesiredState::Destroyed, State::Destroyed),
        (State::Snapshotting, DesiredState::Started, State::Snapshotting),
        (State::Snapshotting, DesiredState::Stopped, State::Snapshotting),
        (State::PendingBuild, DesiredState::Started, State::PendingBuild),
        (State::BuildingSnapshot, DesiredState::Started, State::BuildingSnapshot),
        (State::Unknown, DesiredState::Destroyed, State::Destroying),
        (State::PendingBuild, DesiredState::Destroyed, State::Destroying),
        (State::BuildingSnapshot, DesiredState::Destroyed, State::Destroying),
        (State::BuildFailed, DesiredState::Started, State::BuildFailed),
        (State::BuildFailed, DesiredState::Destroyed, State::BuildFailed),
        (State::Error, DesiredState::Started, State::Error),
        (State::Error, DesiredState::Destroyed, State::Error),
    ];

    proptest! {
        #[test]
        fn no_sequence_leaves_the_documented_phases(built: bool, steps in prop::collection::vec(step(), 0..60)) {
            let mut phase = if built { Phase::UNBUILT } else { Phase::NEW };
            for step in steps {
                let before = phase;
                match step {
                    Step::Ask(operation, ephemeral) => match phase.begin(operation, ephemeral) {
                        Ok(next) => phase = next,
                        Err(e) => prop_assert!(e.kind == ErrorKind::NotEmulated || !e.message.is_empty()),
                    },
                    Step::Report(progress) => phase = phase.after(progress),
                }
                let known = DOCUMENTED.iter().find(|d| (d.0, d.1) == (phase.actual, phase.desired));
                prop_assert_eq!(known.map(|d| d.2), Some(phase.shown()), "{:?} after {:?}", phase, before);
                if before.actual == State::Destroyed {
                    prop_assert_eq!(phase, before, "destroyed is the end");
                }
            }
        }
    }
}
