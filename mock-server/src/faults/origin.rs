//! The request for which something happens to a sandbox. It goes along with the tasks that the request begins, so that a
//! fault can be about transitions of certain requests: the second create, what one SDK asks for.

use std::sync::Arc;

use super::Facts;
use crate::journal::{Exchange, entry};

tokio::task_local! {
    static REQUEST: Arc<Exchange>;
}

/// Runs what answers a request.
pub async fn within<F: Future>(exchange: &Arc<Exchange>, answer: F) -> F::Output {
    REQUEST.scope(exchange.clone(), answer).await
}

/// For a task of its own: it belongs to the same request, if there is one.
pub fn carried<F: Future>(task: F) -> impl Future<Output = F::Output> + use<F> {
    let request = current();
    async move {
        match request {
            Some(request) => REQUEST.scope(request, task).await,
            None => task.await,
        }
    }
}

/// The request that this task belongs to.
pub fn current() -> Option<Arc<Exchange>> {
    REQUEST.try_with(Arc::clone).ok()
}

/// Notes in a request's entry, if that isn't written yet, that a fault acted.
pub fn note(exchange: &Exchange, fault: &str) {
    let faults = &mut exchange.progress.lock().faults;
    if !faults.iter().any(|id| id == fault) {
        faults.push(fault.to_owned());
    }
}

impl<'a> Facts<'a> {
    /// What a request is; `known` is the sandbox that it names, if there is one; `upgrade`: it wants to be a WebSocket.
    pub fn of(exchange: &'a Exchange, known: Option<(&'a str, &'a str)>, upgrade: bool) -> Facts<'a> {
        let text = |name: &str| exchange.headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default();
        Facts {
            operation: entry::operation_id(exchange),
            plane: exchange.place.plane,
            method: exchange.method.as_str(),
            path: exchange.uri.path(),
            sandbox: exchange.place.sandbox.as_deref(),
            known,
            source: text("x-daytona-source"),
            user_agent: text("user-agent"),
            upgrade,
            late: exchange.progress.lock().status.is_some(),
        }
    }
}
