//! Lives, and whatever else may happen.

use proptest::prelude::*;

use super::*;

const CONTAINER: Nature = Nature { class: Class::Container, ephemeral: false, recoverable: false };
const MACHINE: Nature = Nature { class: Class::LinuxVm, ..CONTAINER };

#[test]
fn every_operation_has_a_row() {
    for operation in Operation::ALL {
        assert!(TABLE.iter().any(|row| row.0 == operation), "{operation:?}");
    }
}

fn started() -> Phase {
    Phase::NEW.after(Progress::Creating).after(Progress::Launched)
}

fn refusal(phase: Phase, operation: Operation, nature: Nature) -> (ErrorKind, String) {
    let error = phase.begin(operation, nature).expect_err("refused");
    (error.kind, error.message)
}

#[test]
fn a_life() {
    assert_eq!(Phase::NEW.shown(), State::Creating);
    let started = started();
    assert_eq!((started.shown(), started.is_pending()), (State::Started, false));
    assert_eq!(started.begin(Operation::Start, CONTAINER).expect("no-op"), started);
    let stopping = started.begin(Operation::Stop, CONTAINER).expect("stops");
    assert_eq!((stopping.shown(), stopping.is_pending()), (State::Stopping, true));
    let busy = refusal(stopping, Operation::Delete, CONTAINER);
    assert_eq!(busy, (Conflict, "Sandbox state change in progress".into()));
    let stopped = stopping.after(Progress::Halted);
    let starting = stopped.begin(Operation::Start, CONTAINER).expect("starts");
    assert_eq!(starting.shown(), State::Starting);
    assert_eq!(starting.after(Progress::LaunchFailed).shown(), State::Error);
    let ephemeral = Nature { ephemeral: true, ..CONTAINER };
    assert_eq!(started.begin(Operation::Stop, ephemeral).expect("ephemeral").shown(), State::Destroying);
    let gone = stopped.begin(Operation::Delete, CONTAINER).expect("deletes").after(Progress::Removed);
    assert_eq!(gone.shown(), State::Destroyed);
}

#[test]
fn a_machine_pauses_and_forks_and_a_container_does_not() {
    let started = started();
    for operation in [Operation::Pause, Operation::Fork] {
        assert_eq!(refusal(started, operation, CONTAINER).0, Unprocessable);
    }
    let pausing = started.begin(Operation::Pause, MACHINE).expect("pauses");
    assert_eq!((pausing.shown(), pausing.is_pending()), (State::Pausing, true));
    assert_eq!(refusal(pausing, Operation::Start, MACHINE).0, Conflict);
    let paused = pausing.after(Progress::Paused);
    assert_eq!((paused.shown(), paused.is_pending()), (State::Paused, false));
    assert_eq!(refusal(paused, Operation::Fork, MACHINE).1, "Sandbox must be in started state to fork");
    let resuming = paused.begin(Operation::Start, MACHINE).expect("resumes");
    assert_eq!((resuming.shown(), resuming.after(Progress::Resumed)), (State::Resuming, started));
    assert_eq!(paused.begin(Operation::Stop, MACHINE).expect("stops").shown(), State::Stopping);
    let forking = started.begin(Operation::Fork, MACHINE).expect("forks");
    assert_eq!((forking.shown(), forking.after(Progress::Forked)), (State::Forking, started));
    for phase in [pausing, paused] {
        assert_eq!(phase.after_restart().shown(), State::Stopped);
    }
    assert_eq!(resuming.after_restart().shown(), State::Starting);
}

#[test]
fn an_archived_one_is_restored_by_a_start() {
    let stopped = Phase { actual: State::Stopped, desired: DesiredState::Stopped };
    let archiving = stopped.begin(Operation::Archive, CONTAINER).expect("archives");
    assert_eq!(archiving.shown(), State::Archiving);
    assert_eq!(archiving.begin(Operation::Start, CONTAINER).expect("cancels").shown(), State::Starting);
    assert_eq!(archiving.after_restart(), archiving, "it goes on");
    let archived = archiving.after(Progress::Archived);
    assert_eq!((archived.shown(), archived.is_pending()), (State::Archived, false));
    let waiting = archived.begin(Operation::Start, CONTAINER).expect("starts");
    assert_eq!((waiting.shown(), waiting.listed()), (State::Archived, State::Restoring));
    assert_eq!(refusal(waiting, Operation::Start, CONTAINER).0, Conflict);
    let restoring = waiting.after(Progress::Creating);
    assert_eq!((restoring.shown(), restoring.after_restart()), (State::Restoring, waiting));
    assert_eq!(restoring.after(Progress::Launched), started());
    let ephemeral = Nature { ephemeral: true, ..CONTAINER };
    assert_eq!(refusal(stopped, Operation::Archive, ephemeral).1, "Ephemeral sandboxes cannot be archived");
}

#[test]
fn only_what_is_recoverable_recovers() {
    let failed = Phase { actual: State::Error, desired: DesiredState::Started };
    assert_eq!(refusal(failed, Operation::Recover, CONTAINER).1, NOT_RECOVERABLE);
    let recoverable = Nature { recoverable: true, ..CONTAINER };
    let recovering = failed.begin(Operation::Recover, recoverable).expect("recovers");
    assert_eq!(recovering.shown(), State::Error);
    assert_eq!(recovering.after(Progress::Recovered).shown(), State::Stopped);
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
        Forked,
        Resized,
        Paused,
        PauseFailed,
        Resumed,
        Archived,
        ArchiveFailed,
        Recovered,
        Building,
        Built,
        BuildFailed,
    ])
}

fn nature() -> impl Strategy<Value = Nature> {
    let class = prop::sample::select(vec![Class::Container, Class::LinuxVm]);
    (class, any::<bool>(), any::<bool>()).prop_map(|(class, ephemeral, recoverable)| Nature {
        class,
        ephemeral,
        recoverable,
    })
}

#[derive(Clone, Debug)]
enum Step {
    Ask(Operation, Nature),
    Report(Progress),
    Restart,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        8 => (operation(), nature()).prop_map(|(o, n)| Step::Ask(o, n)),
        8 => progress().prop_map(Step::Report),
        1 => Just(Step::Restart),
    ]
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
    (State::Resizing, DesiredState::Started, State::Resizing),
    (State::Resizing, DesiredState::Stopped, State::Resizing),
    (State::Forking, DesiredState::Started, State::Forking),
    (State::Pausing, DesiredState::Paused, State::Pausing),
    (State::Paused, DesiredState::Paused, State::Paused),
    (State::Paused, DesiredState::Stopped, State::Stopping),
    (State::Paused, DesiredState::Destroyed, State::Destroying),
    (State::Resuming, DesiredState::Started, State::Resuming),
    (State::Stopped, DesiredState::Archived, State::Archiving),
    (State::Archived, DesiredState::Archived, State::Archived),
    (State::Archived, DesiredState::Started, State::Archived),
    (State::Archived, DesiredState::Destroyed, State::Archived),
    (State::Restoring, DesiredState::Started, State::Restoring),
    (State::PendingBuild, DesiredState::Started, State::PendingBuild),
    (State::BuildingSnapshot, DesiredState::Started, State::BuildingSnapshot),
    (State::Unknown, DesiredState::Destroyed, State::Destroying),
    (State::PendingBuild, DesiredState::Destroyed, State::Destroying),
    (State::BuildingSnapshot, DesiredState::Destroyed, State::Destroying),
    (State::BuildFailed, DesiredState::Started, State::BuildFailed),
    (State::BuildFailed, DesiredState::Stopped, State::BuildFailed),
    (State::BuildFailed, DesiredState::Destroyed, State::BuildFailed),
    (State::Error, DesiredState::Started, State::Error),
    (State::Error, DesiredState::Stopped, State::Error),
    (State::Error, DesiredState::Destroyed, State::Error),
];

proptest! {
    #[test]
    fn no_sequence_leaves_the_documented_phases(built: bool, steps in prop::collection::vec(step(), 0..60)) {
        let mut phase = if built { Phase::UNBUILT } else { Phase::NEW };
        for step in steps {
            let before = phase;
            match step {
                Step::Ask(operation, nature) => match phase.begin(operation, nature) {
                    Ok(next) => phase = next,
                    Err(e) => prop_assert!(!e.message.is_empty()),
                },
                Step::Report(progress) => phase = phase.after(progress),
                Step::Restart => phase = phase.after_restart(),
            }
            let known = DOCUMENTED.iter().find(|d| (d.0, d.1) == (phase.actual, phase.desired));
            prop_assert_eq!(known.map(|d| d.2), Some(phase.shown()), "{:?} after {:?}", phase, before);
            if before.actual == State::Destroyed {
                prop_assert_eq!(phase, before, "destroyed is the end");
            }
        }
    }
}
