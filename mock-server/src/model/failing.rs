//! Where faults act on sandboxes: transitions that are held, launches and builds that fail, processes that die.

use std::{sync::Arc, time::Duration};

use super::{ControlPlane, error::ModelError};
use crate::faults::{Effect, Fault, Faults, Held, Hold, Rule, origin::carried};

impl ControlPlane {
    pub fn faults(&self) -> &Arc<Faults> {
        &self.faults
    }

    /// Adds a fault to a world. What dies at once is dead when this returns; an error says what is wrong with the rule.
    pub async fn add_fault(&self, organization_id: &str, rule: Rule) -> Result<Arc<Fault>, String> {
        let fault = self.faults.add(organization_id, rule)?;
        if fault.rule.effect == (Effect::Die {}) && fault.rule.matcher.is_only_sandbox() {
            self.kill_matching(organization_id, &fault).await;
        }
        Ok(fault)
    }

    /// What holds a sandbox's transition, or the making of a snapshot, that begins now: to be asked at once, not by the task
    /// that carries it out, since polls count from then on.
    pub(super) fn holding(&self, id: &str, hold: Hold) -> Vec<Held> {
        if self.faults.is_idle() {
            return Vec::new();
        }
        let whose = self.whose(id);
        whose.map_or_else(Vec::new, |(organization, name)| self.faults.holding(&organization, id, &name, hold))
    }

    /// Organisation and name of a sandbox or a snapshot.
    fn whose(&self, id: &str) -> Option<(String, String)> {
        let world = self.world.read();
        let sandbox = world.sandboxes.get(id).map(|entry| &entry.record);
        let sandbox = sandbox.map(|own| (own.organization_id.as_str(), own.given_name()));
        let found = sandbox.or_else(|| world.snapshots.get(id).map(|own| (own.organization_id.as_str(), &*own.name)));
        found.map(|(organization, name)| (organization.to_owned(), name.to_owned()))
    }

    /// Until nothing of it holds the sandbox any more, or the server stops.
    pub(super) async fn passed(&self, holding: &[Held], id: &str) {
        let all = async {
            for held in holding {
                held.passed(self.clock(), id).await;
            }
        };
        tokio::select! {
            () = all => {}
            () = self.closing.cancelled() => {}
        }
    }

    /// Waits while this transition is held.
    pub(super) async fn pass(&self, id: &str, hold: Hold) {
        self.passed(&self.holding(id, hold), id).await;
    }

    /// Goes on with a transition, unless it is held: then a task of its own does, once it may, and nobody waits for it.
    pub(super) async fn unless_held(
        self: &Arc<Self>,
        id: &str,
        hold: Hold,
        go_on: impl Future<Output = Result<(), ModelError>> + Send + 'static,
    ) -> Result<(), ModelError> {
        let holding = self.holding(id, hold);
        if holding.is_empty() {
            return go_on.await;
        }
        let (cp, id) = (self.clone(), id.to_owned());
        tokio::spawn(carried(async move {
            cp.passed(&holding, &id).await;
            // A failure is in the record by now.
            drop(go_on.await);
        }));
        Ok(())
    }

    /// Why a fault wants this build to fail; `id` is a sandbox's or a snapshot's.
    pub(super) fn planned_failure(&self, id: &str) -> Option<String> {
        let (organization, name) = self.whose(id)?;
        self.faults.build_failure(&organization, id, &name)
    }

    /// Ends every process of a sandbox, as if they had ended by themselves.
    pub async fn kill(&self, id: &str) {
        if let Some(machine) = self.machine(id) {
            machine.stop(Duration::ZERO).await;
        }
    }

    /// Kills the sandboxes of a world that a fault means.
    async fn kill_matching(&self, organization_id: &str, fault: &Fault) {
        let ids: Vec<String> = {
            let world = self.world.read();
            let own = world.sandboxes.values().map(|entry| &entry.record);
            let own = own.filter(|sandbox| sandbox.organization_id == organization_id);
            let meant = own.filter(|sandbox| fault.rule.matcher.fits_sandbox(&sandbox.id, sandbox.given_name()));
            meant.map(|sandbox| sandbox.id.clone()).collect()
        };
        for id in ids {
            fault.hit();
            self.kill(&id).await;
        }
    }
}
