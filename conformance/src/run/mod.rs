//! Runs scenarios.

mod attempt;
mod budget;
mod plan;
pub(crate) mod probe;
mod world;

use std::{sync::Arc, time::Duration};

use futures_util::StreamExt;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

pub use budget::Spent;
pub use plan::{Budget, Plan, Selection, Target, matches};
pub use world::{Server, World};

use crate::{
    report::{self, Outcome, Report, ScenarioReport},
    scenario::{Class, Scenario},
    scenarios,
    stop::Result,
};

/// What happens, as it happens.
pub enum Event<'a> {
    /// So many scenarios will run.
    Begin(usize),
    Started(&'a Scenario),
    Finished(&'a ScenarioReport),
}

/// Told of every [`Event`].
pub type Observer = Arc<dyn Fn(Event) + Send + Sync>;

/// Runs what the plan selects against the target. An error means that nothing could be judged: no server, a wrong key.
pub async fn run(plan: Plan, target: Target) -> Result<Report> {
    run_observed(plan, target, CancellationToken::new(), Arc::new(|_| {})).await
}

/// The same; cancelled, it ends soon, cleans up and reports what it has.
pub async fn run_observed(plan: Plan, target: Target, cancel: CancellationToken, observer: Observer) -> Result<Report> {
    let started_at = chrono::Utc::now();
    let started = Instant::now();
    let world = Arc::new(World::open(&plan, target).await?);
    let selected = plan.selection.of(scenarios::all());
    observer(Event::Begin(selected.len()));
    let judged = judge_all(&world, &plan, &selected, &cancel, &observer).await;
    let left_behind = clean_up(&world, &judged).await;
    world.ledger.close();
    let head = report::Head { plan: &plan, world: &world, started_at, took: started.elapsed() };
    Ok(Report::new(head, judged, left_behind, cancel.is_cancelled()))
}

/// In parallel first, then those that need the server for themselves.
async fn judge_all(
    world: &Arc<World>,
    plan: &Plan,
    selected: &[&'static Scenario],
    cancel: &CancellationToken,
    observer: &Observer,
) -> Vec<ScenarioReport> {
    // A child: a run that has failed or is late stops, but it wasn't interrupted.
    let stop = cancel.child_token();
    if let Some(deadline) = plan.deadline {
        let (stop, world) = (stop.clone(), Arc::downgrade(world));
        tokio::spawn(async move {
            tokio::select! {
                () = tokio::time::sleep(deadline) => if world.strong_count() > 0 { stop.cancel() },
                () = stop.cancelled() => {}
            }
        });
    }
    let (alone, together): (Vec<&'static Scenario>, Vec<_>) =
        selected.iter().copied().partition(|scenario| scenario.is(Class::Alone));
    let mut judged = Vec::new();
    for (group, jobs) in [(together, plan.jobs.max(1)), (alone, 1)] {
        let one = |scenario: &'static Scenario| {
            let (world, plan, stop, observer) = (world.clone(), plan.clone(), stop.clone(), observer.clone());
            let task = tokio::spawn(async move {
                let report = attempt::judge(&world, &plan, scenario, &stop, &observer).await;
                if plan.fail_fast && report.outcome.is_failure() {
                    stop.cancel();
                }
                report
            });
            async move { task.await.unwrap_or_else(|panic| ScenarioReport::broken(scenario, panic.to_string())) }
        };
        judged.extend(futures_util::stream::iter(group).map(one).buffer_unordered(jobs).collect::<Vec<_>>().await);
    }
    stop.cancel();
    let place = |id: &str| selected.iter().position(|scenario| scenario.id == id);
    judged.sort_by_key(|report| place(&report.id));
    judged
}

/// Removes what scenarios shared and, by its labels, whatever else is still there. Says what resisted.
async fn clean_up(world: &Arc<World>, judged: &[ScenarioReport]) -> Vec<String> {
    let client = world.client();
    let shared = world.take_shared();
    let removals = shared.iter().map(|sandbox| {
        let (client, path) = (&client, format!("/sandbox/{}", sandbox.id));
        async move {
            let removed = crate::sweep::remove(client, &path).await;
            removed.map(|()| world.ledger.gone(&path)).map_err(|why| format!("{path}: {why}"))
        }
    });
    let mut left: Vec<String> =
        futures_util::future::join_all(removals).await.into_iter().filter_map(Result::err).collect();
    if judged.iter().any(|report| !report.left_behind.is_empty() || report.outcome == Outcome::NotRun) {
        let which = crate::sweep::Which::Run(world.run_id.clone());
        let swept = tokio::time::timeout(Duration::from_secs(60), crate::sweep::sandboxes(&client, &which)).await;
        if let Ok(Ok((_, resisted))) = swept {
            left.extend(resisted);
        }
    }
    left.extend(judged.iter().flat_map(|report| &report.left_behind).filter(|l| !l.starts_with("/sandbox")).cloned());
    left
}
