//! Where faults act on sandboxes: transitions that are held, launches and builds that fail, processes that die.

use std::{sync::Arc, time::Duration};

use super::{ControlPlane, sandbox::Sandbox};
use crate::faults::{Fault, Faults, Hold};

impl ControlPlane {
    pub fn faults(&self) -> &Arc<Faults> {
        &self.faults
    }

    /// What holds a sandbox's transition now.
    pub(super) fn holding(&self, sandbox: &Sandbox, hold: Hold) -> Vec<Arc<Fault>> {
        self.faults.holding(&sandbox.organization_id, &sandbox.id, &sandbox.name, hold)
    }

    /// Until nothing of it holds the sandbox any more, or the server stops.
    pub(super) async fn passed(&self, holding: &[Arc<Fault>], id: &str) {
        let all = async {
            for fault in holding {
                fault.passed(self.clock(), id).await;
            }
        };
        tokio::select! {
            () = all => {}
            () = self.closing.cancelled() => {}
        }
    }

    /// Waits while a transition of this sandbox is held.
    pub(super) async fn pass(&self, id: &str, hold: Hold) {
        if self.faults.is_idle() {
            return;
        }
        let sandbox = self.world.read().sandboxes.get(id).map(|entry| entry.record.clone());
        if let Some(sandbox) = sandbox {
            self.passed(&self.holding(&sandbox, hold), id).await;
        }
    }

    /// Ends every process of a sandbox, as if they had ended by themselves.
    pub async fn kill(&self, id: &str) {
        if let Some(machine) = self.machine(id) {
            machine.stop(Duration::ZERO).await;
        }
    }

    /// Kills the sandboxes of a world that a fault means.
    pub async fn kill_matching(&self, organization_id: &str, fault: &Fault) {
        let ids: Vec<String> = {
            let world = self.world.read();
            let own = world.sandboxes.values().map(|entry| &entry.record);
            let own = own.filter(|sandbox| sandbox.organization_id == organization_id);
            let meant = own.filter(|sandbox| fault.rule.matcher.fits_sandbox(&sandbox.id, &sandbox.name));
            meant.map(|sandbox| sandbox.id.clone()).collect()
        };
        for id in ids {
            fault.hit();
            self.kill(&id).await;
        }
    }
}
