//! Carries out what the rules allow: launches, stops and removes sandboxes. A transition is a task of its own, so a
//! client that goes away doesn't cancel it.

use std::{sync::Arc, time::Duration};

use super::{
    ControlPlane,
    error::{ErrorKind, ModelError},
    rules::{Operation, Phase, Progress},
    sandbox::{DesiredState, Sandbox, State},
    store::Commit,
    tokens,
};
use crate::runtime::{self, SandboxSpec};

/// Requests wait this long for `started` (observed); the launch goes on.
const MAX_WAIT: Duration = Duration::from_secs(30);
/// Between SIGTERM and SIGKILL of a stop without `force`.
const GRACE: Duration = Duration::from_secs(1);
/// A deleted sandbox stays readable this long: SDK 0.108 reads it again after deleting it. Not longer, since SDKs that
/// wait for `destroyed` wait for this.
const LINGER: Duration = Duration::from_millis(500);

type Launch = tokio::task::JoinHandle<Result<(), ModelError>>;

impl ControlPlane {
    /// Launches a record that was just added, and waits for it. The answer is the record from before: `creating` (observed).
    pub async fn create(self: &Arc<Self>, record: Sandbox) -> Result<Arc<Sandbox>, ModelError> {
        let (record, commit) = self.add(record)?;
        let launch = self.spawn_launch(&record.id);
        commit.wait().await?;
        started(launch).await?;
        Ok(record)
    }

    /// Starts a stopped sandbox and waits until it is; a started one is answered as it is.
    pub async fn start(self: &Arc<Self>, sandbox: &Arc<Sandbox>) -> Result<Arc<Sandbox>, ModelError> {
        if sandbox.phase().begin(Operation::Start, false)? == sandbox.phase() {
            return Ok(sandbox.clone());
        }
        let (record, commit) = self.change(&sandbox.id, |sandbox, _| {
            sandbox.set_phase(sandbox.phase().begin(Operation::Start, false)?);
            sandbox.preview_token = tokens::preview_token();
            Ok(())
        })?;
        let launch = self.spawn_launch(&record.id);
        commit.wait().await?;
        started(launch).await?;
        self.find(&sandbox.organization_id, &sandbox.id)
    }

    /// Begins to stop a sandbox (an ephemeral one: to delete it). `force` skips the time that processes get to end.
    pub async fn stop(self: &Arc<Self>, sandbox: &Sandbox, force: bool) -> Result<Arc<Sandbox>, ModelError> {
        let (record, commit) = self.begin(&sandbox.id, Operation::Stop, force)?;
        commit.wait().await?;
        Ok(record)
    }

    /// Begins to delete a sandbox.
    pub async fn delete(self: &Arc<Self>, sandbox: &Sandbox) -> Result<Arc<Sandbox>, ModelError> {
        let (record, commit) = self.begin(&sandbox.id, Operation::Delete, true)?;
        commit.wait().await?;
        Ok(record)
    }

    /// Whether an operation is allowed now; for those that aren't carried out here.
    pub fn check(&self, sandbox: &Sandbox, operation: Operation) -> Result<(), ModelError> {
        sandbox.phase().begin(operation, sandbox.is_ephemeral()).map(drop)
    }

    /// Stop and delete: changes the desired state and lets a task do the rest.
    pub(super) fn begin(
        self: &Arc<Self>,
        id: &str,
        operation: Operation,
        force: bool,
    ) -> Result<(Arc<Sandbox>, Commit), ModelError> {
        let (record, commit) = self.change(id, |sandbox, _| {
            let next = sandbox.phase().begin(operation, sandbox.is_ephemeral())?;
            sandbox.set_phase(next);
            Ok(())
        })?;
        let grace = if force { Duration::ZERO } else { GRACE };
        match record.desired_state {
            DesiredState::Destroyed => drop(tokio::spawn(self.clone().destroy(record.id.clone(), LINGER))),
            _ => drop(tokio::spawn(self.clone().halt(record.id.clone(), grace))),
        }
        Ok((record, commit))
    }

    pub(super) fn spawn_launch(self: &Arc<Self>, id: &str) -> Launch {
        tokio::spawn(self.clone().launch(id.to_owned()))
    }

    async fn launch(self: Arc<Self>, id: String) -> Result<(), ModelError> {
        let Some(turn) = self.turn(&id) else { return Ok(()) };
        let _turn = turn.lock().await;
        let (sandbox, commit) = self.report(&id, Progress::Creating)?;
        drop(commit);
        if sandbox.desired_state != DesiredState::Started {
            return Ok(());
        }
        match self.runtime().launch(&self.spec(&sandbox)).await {
            Ok(machine) => self.launched(&id, machine),
            // Stopping the server ends launches; the next start tries again.
            Err(_) if self.closing.is_cancelled() => Ok(()),
            Err(error) => {
                let reason = error.to_string();
                tracing::warn!(sandbox = id, reason, "did not start");
                drop(self.change(&id, |sandbox, _| {
                    sandbox.set_phase(sandbox.phase().after(Progress::LaunchFailed));
                    sandbox.error_reason = Some(reason.clone());
                    Ok(())
                })?);
                Err(ModelError::bad_request(format!("Sandbox failed to start: {reason}")))
            }
        }
    }

    fn launched(self: &Arc<Self>, id: &str, machine: Arc<runtime::Sandbox>) -> Result<(), ModelError> {
        let version = self.config().api_version.clone();
        let (_, commit) = self.change(id, |sandbox, running| {
            sandbox.set_phase(sandbox.phase().after(Progress::Launched));
            sandbox.daemon_version = Some(version);
            *running = Some(machine.clone());
            Ok(())
        })?;
        drop(commit);
        tokio::spawn(self.clone().watch(id.to_owned(), machine));
        Ok(())
    }

    /// A sandbox whose processes end by themselves is stopped, as if somebody had stopped it: its files are intact and
    /// it can be started again.
    async fn watch(self: Arc<Self>, id: String, machine: Arc<runtime::Sandbox>) {
        let exit = tokio::select! {
            exit = machine.exited() => exit,
            () = self.closing.cancelled() => return,
        };
        let died = self.change(&id, |sandbox, running| {
            if !running.as_ref().is_some_and(|current| Arc::ptr_eq(current, &machine)) {
                return Err(ModelError::no_sandbox(&sandbox.id));
            }
            *running = None;
            let mut next = sandbox.phase().after(Progress::Died);
            if sandbox.is_ephemeral() {
                next.desired = DesiredState::Destroyed;
            }
            sandbox.set_phase(next);
            Ok(())
        });
        let Ok((record, commit)) = died else { return };
        drop(commit);
        tracing::info!(sandbox = id, reason = exit.reason, "ended by itself");
        if record.desired_state == DesiredState::Destroyed {
            self.destroy(id, LINGER).await;
        }
    }

    async fn halt(self: Arc<Self>, id: String, grace: Duration) {
        let Some(turn) = self.turn(&id) else { return };
        let _turn = turn.lock().await;
        if let Some(machine) = self.take_machine(&id) {
            machine.stop(grace).await;
        }
        drop(self.report(&id, Progress::Halted));
    }

    /// Ends processes, removes files, then after `linger` the record.
    pub(super) async fn destroy(self: Arc<Self>, id: String, linger: Duration) {
        let Some(turn) = self.turn(&id) else { return };
        let turn = turn.lock_owned().await;
        let gone = tokio::time::Instant::now() + linger;
        if let Some(machine) = self.take_machine(&id) {
            machine.stop(Duration::ZERO).await;
        }
        if let Err(error) = self.runtime().remove(&id).await {
            // What is left is removed at the next start, which knows it by having no record.
            tracing::warn!(sandbox = id, %error, "its files could not be removed");
        }
        drop(turn);
        // By this clock, so that tests can turn it; in real time at the latest, so that a frozen clock delays nobody.
        tokio::select! {
            () = self.clock().sleep(linger) => {}
            () = tokio::time::sleep_until(gone) => {}
        }
        match self.change(&id, removed) {
            Ok((record, commit)) if record.actual_state == State::Destroyed => {
                drop(commit);
                drop(self.forget(&id));
            }
            _ => {}
        }
    }

    /// Destroys everything that an organisation owns, whatever it is doing, and waits until it is gone.
    pub async fn reset(self: &Arc<Self>, organization_id: &str) {
        let ids: Vec<String> = {
            let world = self.world.read();
            world.tenants.get(organization_id).map(|tenant| tenant.ids.iter().cloned().collect()).unwrap_or_default()
        };
        let mut tasks = tokio::task::JoinSet::new();
        for id in ids {
            let Ok((record, commit)) = self.change(&id, |sandbox, _| {
                sandbox.set_phase(Phase { desired: DesiredState::Destroyed, ..sandbox.phase() });
                Ok(())
            }) else {
                continue;
            };
            drop(commit);
            let cp = self.clone();
            tasks.spawn(async move {
                cp.clone().destroy(id.clone(), Duration::ZERO).await;
                if record.phase().is_errored_deleted() {
                    drop(cp.forget(&id));
                }
            });
        }
        while let Some(result) = tasks.join_next().await {
            if let Err(error) = result {
                tracing::error!(%error, "a reset failed");
            }
        }
    }

    /// Takes the machine away from its watcher, so that its end is no surprise.
    fn take_machine(&self, id: &str) -> Option<Arc<runtime::Sandbox>> {
        self.world.write().sandboxes.get_mut(id)?.running.take()
    }

    fn turn(&self, id: &str) -> Option<Arc<tokio::sync::Mutex<()>>> {
        Some(self.world.read().sandboxes.get(id)?.turn.clone())
    }

    fn report(&self, id: &str, progress: Progress) -> Result<(Arc<Sandbox>, Commit), ModelError> {
        self.change(id, |sandbox, _| {
            sandbox.set_phase(sandbox.phase().after(progress));
            Ok(())
        })
    }

    fn spec(&self, sandbox: &Sandbox) -> SandboxSpec {
        let own = sandbox.env.iter().map(|(name, value)| (name.to_owned(), value.to_owned()));
        let given = [
            ("DAYTONA_SANDBOX_ID", sandbox.id.as_str()),
            ("DAYTONA_SANDBOX_SNAPSHOT", sandbox.snapshot.as_deref().unwrap_or_default()),
            ("DAYTONA_SANDBOX_USER", &sandbox.user),
            ("DAYTONA_ORGANIZATION_ID", &sandbox.organization_id),
            ("DAYTONA_REGION_ID", &sandbox.target),
            ("DAYTONA_USER_HOME_AS_WORKDIR", "true"),
        ];
        let given = given.map(|(name, value)| (name.to_owned(), value.to_owned()));
        SandboxSpec {
            id: sandbox.id.clone(),
            // Later ones win: a sandbox's own variables over the server's, the facts over both.
            env: self.config().env.iter().cloned().chain(own).chain(given).collect(),
            user: sandbox.user.clone(),
            network: sandbox.network_policy(),
        }
    }
}

fn removed(sandbox: &mut Sandbox, _: &mut Option<Arc<runtime::Sandbox>>) -> Result<(), ModelError> {
    sandbox.set_phase(sandbox.phase().after(Progress::Removed));
    sandbox.runner_id = None;
    Ok(())
}

/// Waits for a launch, but not for ever.
async fn started(launch: Launch) -> Result<(), ModelError> {
    match tokio::time::timeout(MAX_WAIT, launch).await {
        Ok(Ok(result)) => result,
        Ok(Err(error)) => Err(ModelError::new(ErrorKind::Internal, format!("a launch failed: {error}"))),
        Err(_) => Ok(()),
    }
}
