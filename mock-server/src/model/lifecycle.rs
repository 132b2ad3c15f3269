//! Carries out what the rules allow: launches, stops and removes sandboxes. A transition is a task of its own, so a
//! client that goes away doesn't cancel it.

use std::{sync::Arc, time::Duration};

use super::{
    ControlPlane,
    error::{ErrorKind, ModelError},
    rules::{OUTRUN, Operation, Phase, Progress},
    sandbox::{BackupState, DesiredState, Sandbox, State},
    tokens,
};
use crate::faults::{Hold, origin::carried};
use crate::runtime::{self, NetworkPolicy, SandboxSpec};

/// Requests wait this long for `started` (observed); the launch goes on.
const MAX_WAIT: Duration = Duration::from_secs(30);
/// Between SIGTERM and SIGKILL of a stop without `force`.
const GRACE: Duration = Duration::from_secs(1);
/// A deleted sandbox stays readable this long: SDK 0.108 reads it again after deleting it. Not longer, since SDKs that
/// wait for `destroyed` wait for this.
const LINGER: Duration = Duration::from_millis(500);

const HAS_FORKS: &str = "Cannot delete sandbox which has active fork children. The forks must be deleted first.";

type Launch = tokio::task::JoinHandle<Result<(), ModelError>>;

impl ControlPlane {
    /// Launches a record that was just added, and waits for it. The answer is the record from before: `creating` (observed).
    pub async fn create(self: &Arc<Self>, record: Sandbox) -> Result<Arc<Sandbox>, ModelError> {
        let cp = self.clone();
        let begun = apart(async move {
            cp.snapshot_used(&record).await;
            if let Some(taken) = cp.take_warm(&record).await? {
                return Ok((taken, None));
            }
            let record = cp.add(record).await?;
            cp.volumes_used(&record).await;
            let launch = match record.actual_state {
                State::PendingBuild => {
                    // So that it can be followed at once; a failure ends the build with its reason.
                    drop(cp.log(&record.id));
                    tokio::spawn(cp.clone().build_sandbox(record.id.clone()));
                    None
                }
                _ => Some(cp.spawn_launch(&record.id)),
            };
            Ok((record, launch))
        });
        let (record, launch) = begun.await?;
        if let Some(launch) = launch {
            started(launch).await?;
        }
        Ok(record)
    }

    /// Starts a stopped or paused sandbox and waits until it is; a started one is answered as it is, an archived one before
    /// its files are back.
    pub async fn start(self: &Arc<Self>, sandbox: &Arc<Sandbox>) -> Result<Arc<Sandbox>, ModelError> {
        if sandbox.phase().begin(Operation::Start, sandbox.nature())? == sandbox.phase() {
            return Ok(sandbox.clone());
        }
        self.check_active(&sandbox.organization_id)?;
        let (cp, seen) = (self.clone(), sandbox.clone());
        let begun = apart(async move {
            let record = cp.advance(&seen, Operation::Start).await?;
            let task = match record.actual_state {
                State::Resuming => tokio::spawn(carried(cp.clone().resume(record.id.clone()))),
                _ => cp.spawn_launch(&record.id),
            };
            Ok((record, task))
        });
        let (record, task) = begun.await?;
        if record.actual_state == State::Archived {
            // A restoration takes its time: it isn't waited for (observed).
            return Ok(record);
        }
        started(task).await?;
        self.find(&sandbox.organization_id, &sandbox.id)
    }

    /// Begins to stop a sandbox (an ephemeral one: to delete it). `force` skips the time that processes get to end.
    pub async fn stop(self: &Arc<Self>, sandbox: &Sandbox, force: bool) -> Result<Arc<Sandbox>, ModelError> {
        self.begin(sandbox, Operation::Stop, force).await
    }

    /// Stops a sandbox; it is stopped when this returns.
    pub async fn stop_whole(self: &Arc<Self>, sandbox: &Sandbox) -> Result<(), ModelError> {
        let (cp, seen) = (self.clone(), sandbox.clone());
        apart(async move {
            let record = cp.advance(&seen, Operation::Stop).await?;
            match record.desired_state {
                DesiredState::Destroyed => cp.destroy(seen.id, LINGER).await,
                _ => cp.halt(seen.id, GRACE).await,
            }
            Ok(())
        })
        .await
    }

    /// Begins to delete a sandbox.
    pub async fn delete(self: &Arc<Self>, sandbox: &Sandbox) -> Result<Arc<Sandbox>, ModelError> {
        self.begin(sandbox, Operation::Delete, true).await
    }

    /// Whether an operation is allowed now; for those that aren't carried out here.
    pub fn check(&self, sandbox: &Sandbox, operation: Operation) -> Result<(), ModelError> {
        sandbox.phase().begin(operation, sandbox.nature()).map(drop)
    }

    /// Stop, pause, archive and delete: changes the desired state and lets a task do the rest.
    pub(super) async fn begin(
        self: &Arc<Self>,
        seen: &Sandbox,
        operation: Operation,
        force: bool,
    ) -> Result<Arc<Sandbox>, ModelError> {
        self.begin_if(seen, operation, force, |_| true).await
    }

    /// The same, if this still holds for the record that is changed.
    pub(super) async fn begin_if(
        self: &Arc<Self>,
        seen: &Sandbox,
        operation: Operation,
        force: bool,
        holds: impl FnOnce(&Sandbox) -> bool + Send + 'static,
    ) -> Result<Arc<Sandbox>, ModelError> {
        let (cp, seen) = (self.clone(), seen.clone());
        apart(async move {
            let record = cp.advance_if(&seen, operation, holds).await?;
            let grace = if force { Duration::ZERO } else { GRACE };
            if record.desired_state == DesiredState::Destroyed {
                cp.wipe_followers(&record.id);
            }
            match record.desired_state {
                DesiredState::Destroyed => drop(tokio::spawn(cp.clone().destroy(record.id.clone(), LINGER))),
                DesiredState::Archived => drop(tokio::spawn(cp.clone().store_away(record.id.clone()))),
                DesiredState::Paused => drop(tokio::spawn(cp.clone().hold(record.id.clone()))),
                _ => drop(tokio::spawn(cp.clone().halt(record.id.clone(), grace))),
            }
            Ok(record)
        })
        .await
    }

    /// Takes the first step of an operation that was allowed in the state in which the caller saw the sandbox.
    pub(super) async fn advance(&self, seen: &Sandbox, operation: Operation) -> Result<Arc<Sandbox>, ModelError> {
        self.advance_if(seen, operation, |_| true).await
    }

    async fn advance_if(
        &self,
        seen: &Sandbox,
        operation: Operation,
        holds: impl FnOnce(&Sandbox) -> bool,
    ) -> Result<Arc<Sandbox>, ModelError> {
        seen.phase().begin(operation, seen.nature())?;
        let edit = |sandbox: &mut Sandbox| {
            // One that was being archived may be archived by now: nobody else asked for anything.
            let moved = sandbox.phase() != seen.phase() && sandbox.phase() != seen.phase().after(Progress::Archived);
            // Or somebody took it out of its pool: then it isn't the pool's to discard.
            if moved || sandbox.warm_pool_id != seen.warm_pool_id || !holds(sandbox) {
                return Err(ModelError::conflict(OUTRUN));
            }
            if operation == Operation::Delete && self.world.read().has_live_forks(&sandbox.id) {
                return Err(ModelError::bad_request(HAS_FORKS));
            }
            let next = sandbox.phase().begin(operation, sandbox.nature())?;
            if operation == Operation::Start && next.actual != State::Resuming {
                sandbox.preview_token = tokens::preview_token();
            }
            sandbox.set_phase(next);
            Ok(())
        };
        self.change(&seen.id, edit).await
    }

    pub(super) fn spawn_launch(self: &Arc<Self>, id: &str) -> Launch {
        tokio::spawn(carried(self.clone().launch(id.to_owned())))
    }

    /// Launches, unless a fault holds it.
    async fn launch(self: Arc<Self>, id: String) -> Result<(), ModelError> {
        if self.faults().is_idle() {
            return self.launch_now(id).await;
        }
        let hold = match self.report(&id, Progress::Creating).await?.actual_state {
            State::Stopped => Hold::Starting,
            State::Restoring => Hold::Restoring,
            _ => Hold::Creating,
        };
        self.unless_held(&id, hold, self.clone().launch_now(id.clone())).await
    }

    async fn launch_now(self: Arc<Self>, id: String) -> Result<(), ModelError> {
        let Some(turn) = self.turn(&id) else { return Ok(()) };
        self.stop_archiving(&id);
        let _turn = turn.lock().await;
        let runner = self.runner_id().to_owned();
        let begin = |sandbox: &mut Sandbox, _: &mut Option<_>| {
            sandbox.set_phase(sandbox.phase().after(Progress::Creating));
            sandbox.runner_id = Some(runner);
            Ok(())
        };
        let sandbox = self.note(&id, begin).await?;
        if sandbox.desired_state != DesiredState::Started {
            return Ok(());
        }
        if let Some(reason) = self.faults().start_failure(&sandbox.organization_id, &id, &sandbox.name) {
            return self.launch_failed(&id, reason).await;
        }
        let spec = self.spec(&sandbox);
        match self.runtime().launch(&spec).await {
            Ok(machine) => self.launched(&id, machine, spec.network).await,
            // Stopping the server ends launches; the next start tries again.
            Err(_) if self.closing.is_cancelled() => Ok(()),
            Err(error) => self.launch_failed(&id, error.to_string()).await,
        }
    }

    async fn launch_failed(&self, id: &str, reason: String) -> Result<(), ModelError> {
        tracing::warn!(sandbox = id, reason, "did not start");
        let failed = |sandbox: &mut Sandbox, _: &mut Option<_>| {
            // What it wrote before is untouched, so a start may be tried again.
            sandbox.recoverable = sandbox.actual_state != State::Creating;
            sandbox.set_phase(sandbox.phase().after(Progress::LaunchFailed));
            sandbox.error_reason = Some(reason.clone());
            Ok(())
        };
        self.note(id, failed).await?;
        Err(ModelError::bad_request(format!("Sandbox failed to start: {reason}")))
    }

    pub(super) async fn launched(
        self: &Arc<Self>,
        id: &str,
        machine: Arc<runtime::Sandbox>,
        policy: NetworkPolicy,
    ) -> Result<(), ModelError> {
        let version = self.config().api_version.clone();
        let edit = |sandbox: &mut Sandbox, running: &mut Option<_>| {
            sandbox.set_phase(sandbox.phase().after(Progress::Launched));
            sandbox.daemon_version = Some(version);
            sandbox.backup_state = BackupState::None;
            let now = sandbox.network_policy();
            if now != policy {
                // Changed during the launch.
                machine.set_network_policy(now);
            }
            *running = Some(machine.clone());
            Ok(())
        };
        self.note(id, edit).await?;
        // They may have changed during the launch, too.
        self.world.read().hand_secrets(id);
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
        let died = |sandbox: &mut Sandbox, running: &mut Option<Arc<runtime::Sandbox>>| {
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
        };
        let Ok(record) = self.note(&id, died).await else { return };
        tracing::info!(sandbox = id, reason = exit.reason, "ended by itself");
        if let Some(pool) = &record.warm_pool_id {
            self.tend(pool);
        }
        if record.desired_state == DesiredState::Destroyed {
            self.wipe_followers(&id);
            self.destroy(id, LINGER).await;
        }
    }

    fn halt(self: Arc<Self>, id: String, grace: Duration) -> impl Future<Output = ()> + Send + use<> {
        let held = self.holding(&id, Hold::Stopping);
        async move {
            self.passed(&held, &id).await;
            let Some(turn) = self.turn(&id) else { return };
            let _turn = turn.lock().await;
            // It may have ended by itself, and run again since.
            if !self.is_at(&id, |phase| phase.desired == DesiredState::Stopped) {
                return;
            }
            if let Some(machine) = self.take_machine(&id) {
                machine.stop(grace).await;
            }
            // One that is gone needs no report.
            _ = self.report(&id, Progress::Halted).await;
        }
    }

    /// Ends processes, removes files, then after `linger` the record.
    pub(super) fn destroy(self: Arc<Self>, id: String, linger: Duration) -> impl Future<Output = ()> + Send + use<> {
        let held = self.holding(&id, Hold::Destroying);
        async move {
            self.passed(&held, &id).await;
            let Some(turn) = self.turn(&id) else { return };
            self.stop_archiving(&id);
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
            let Ok(record) = self.note(&id, removed).await else { return };
            if record.actual_state == State::Destroyed {
                self.forget(&id).await;
                self.release(&record.organization_id, &record.root).await;
                self.forget_log(&id);
            }
            if let Some(pool) = &record.warm_pool_id {
                self.tend(pool);
            }
        }
    }

    /// Destroys everything that an organisation owns, whatever it is doing, and waits until it is gone. Fails if the
    /// store refused some of it.
    pub async fn reset(self: &Arc<Self>, organization_id: &str) -> Result<(), ModelError> {
        // First: what they hold must not keep the rest.
        self.faults().clear(organization_id);
        for pool in self.warm_pools(organization_id) {
            self.delete_warm_pool(organization_id, &pool.id).await?;
        }
        let ids: Vec<String> = {
            let world = self.world.read();
            world.tenants.get(organization_id).map(|tenant| tenant.ids.iter().cloned().collect()).unwrap_or_default()
        };
        let mut tasks = tokio::task::JoinSet::new();
        for id in ids {
            tasks.spawn(self.clone().wipe(id));
        }
        let mut all = Ok(());
        while let Some(result) = tasks.join_next().await {
            let done = result.map_err(|error| ModelError::internal(format!("a reset failed: {error}")));
            all = all.and(done.flatten());
        }
        for snapshot in self.own_snapshots(organization_id) {
            self.forget_snapshot(&snapshot.id).await;
        }
        self.forget_secrets(organization_id).await?;
        self.reset_webhooks(organization_id).await?;
        for registry in self.registries(organization_id) {
            self.remove_registry(&registry).await?;
        }
        self.reset_regions(organization_id).await?;
        self.audit().forget(organization_id).await;
        self.wipe_volumes(organization_id).await?;
        self.wipe_objects(organization_id).await;
        self.wipe_uploads(organization_id).await;
        self.wipe_pushed(organization_id).await;
        all
    }

    /// Destroys a sandbox, whatever its state, and waits until nothing of it is left; nothing if there is none.
    pub(crate) async fn wipe(self: Arc<Self>, id: String) -> Result<(), ModelError> {
        let doom = |sandbox: &mut Sandbox| {
            sandbox.set_phase(Phase { desired: DesiredState::Destroyed, ..sandbox.phase() });
            Ok(())
        };
        let record = match self.change(&id, doom).await {
            Ok(record) => record,
            // It was just going.
            Err(error) if error.kind == ErrorKind::NotFound => return Ok(()),
            Err(error) => return Err(error),
        };
        self.clone().destroy(id.clone(), Duration::ZERO).await;
        if record.phase().is_errored_deleted() {
            self.forget(&id).await;
        }
        Ok(())
    }

    /// Takes the machine away from its watcher, so that its end is no surprise.
    fn take_machine(&self, id: &str) -> Option<Arc<runtime::Sandbox>> {
        self.world.write().sandboxes.get_mut(id)?.running.take()
    }

    /// Its machine, while it has one.
    pub(super) fn machine(&self, id: &str) -> Option<Arc<runtime::Sandbox>> {
        self.world.read().sandboxes.get(id)?.running.clone()
    }

    /// Whether a sandbox is there and this holds for its phase.
    pub(super) fn is_at(&self, id: &str, holds: impl FnOnce(Phase) -> bool) -> bool {
        self.world.read().sandboxes.get(id).is_some_and(|entry| holds(entry.record.phase()))
    }

    pub(super) fn turn(&self, id: &str) -> Option<Arc<tokio::sync::Mutex<()>>> {
        Some(self.world.read().sandboxes.get(id)?.turn.clone())
    }

    pub(super) async fn report(&self, id: &str, progress: Progress) -> Result<Arc<Sandbox>, ModelError> {
        let edit = |sandbox: &mut Sandbox, _: &mut Option<_>| {
            sandbox.set_phase(sandbox.phase().after(progress));
            Ok(())
        };
        self.note(id, edit).await
    }

    /// The server's variables, those of its ways out over them, and its own over all.
    pub(super) fn own_variables(&self, sandbox: &Sandbox) -> Vec<(String, String)> {
        let own = sandbox.env.iter().map(|(name, value)| (name.to_owned(), value.to_owned()));
        self.config().env.iter().cloned().chain(sandbox.outward.variables()).chain(own).collect()
    }

    fn spec(&self, sandbox: &Sandbox) -> SandboxSpec {
        let given = [
            ("DAYTONA_SANDBOX_ID", sandbox.id.as_str()),
            ("DAYTONA_SANDBOX_SNAPSHOT", sandbox.snapshot.as_deref().unwrap_or_default()),
            ("DAYTONA_SANDBOX_USER", sandbox.runs_as()),
            ("DAYTONA_ORGANIZATION_ID", &sandbox.organization_id),
            ("DAYTONA_REGION_ID", &sandbox.target),
            ("DAYTONA_USER_HOME_AS_WORKDIR", "true"),
        ];
        let given = given.map(|(name, value)| (name.to_owned(), value.to_owned()));
        SandboxSpec {
            id: sandbox.id.clone(),
            // Later ones win: secrets over its own variables, the facts over all.
            env: self.own_variables(sandbox).into_iter().chain(self.placeholders(sandbox)).chain(given).collect(),
            user: sandbox.runs_as().to_owned(),
            network: sandbox.network_policy(),
            secrets: self.world.read().outbound_secrets(sandbox),
            root: sandbox.root.clone(),
            binds: Vec::new(),
            volumes: self.volume_mounts(sandbox),
            build: false,
            resources: Some(sandbox.resources()),
        }
    }
}

fn removed(sandbox: &mut Sandbox, _: &mut Option<Arc<runtime::Sandbox>>) -> Result<(), ModelError> {
    sandbox.set_phase(sandbox.phase().after(Progress::Removed));
    sandbox.runner_id = None;
    Ok(())
}

/// Runs a first step to its end even if the client goes away: else nobody would carry on with what it began. It belongs to
/// the client's request all the same.
pub(super) async fn apart<T: Send + 'static>(
    step: impl Future<Output = Result<T, ModelError>> + Send + 'static,
) -> Result<T, ModelError> {
    tokio::spawn(carried(step)).await.map_err(|error| ModelError::internal(format!("an operation failed: {error}")))?
}

/// Waits for a launch, but not for ever.
async fn started(launch: Launch) -> Result<(), ModelError> {
    match tokio::time::timeout(MAX_WAIT, launch).await {
        Ok(Ok(result)) => result,
        Ok(Err(error)) => Err(ModelError::new(ErrorKind::Internal, format!("a launch failed: {error}"))),
        Err(_) => Ok(()),
    }
}
