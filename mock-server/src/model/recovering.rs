//! Recovery: a sandbox that failed to start over its files may be tried again, and they are as they were.

use std::sync::Arc;

use super::{
    ControlPlane,
    error::ModelError,
    lifecycle::apart,
    rules::{Operation, Progress},
    sandbox::Sandbox,
};

impl ControlPlane {
    /// Takes a recoverable error away, then starts the sandbox and waits until it is. Without the start it is answered as
    /// it was, and is stopped soon (observed).
    pub async fn recover(
        self: &Arc<Self>,
        sandbox: &Arc<Sandbox>,
        skip_start: bool,
    ) -> Result<Arc<Sandbox>, ModelError> {
        self.check(sandbox, Operation::Recover)?;
        let (cp, seen) = (self.clone(), sandbox.clone());
        let (erred, stopped) = apart(async move {
            let erred = cp.advance(&seen, Operation::Recover).await?;
            let edit = |sandbox: &mut Sandbox, _: &mut Option<_>| {
                sandbox.set_phase(sandbox.phase().after(Progress::Recovered));
                sandbox.error_reason = None;
                sandbox.recoverable = false;
                Ok(())
            };
            let stopped = cp.note(&erred.id, edit).await?;
            Ok((erred, stopped))
        })
        .await?;
        if skip_start { Ok(erred) } else { self.start(&stopped).await }
    }
}
