//! One scenario, as often as the plan allows.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use tokio_util::sync::CancellationToken;

use super::{Event, Observer, Plan, World};
use crate::{
    check::Check,
    context::Cx,
    report::{Attempt, Outcome, ScenarioReport},
    scenario::{Class, Level, Scenario},
    stop::{Result, Stop},
};

/// What takes minutes may take so many times as long.
const SLOW: u32 = 5;
/// For what a scenario made.
const CLEAN_UP_TIMEOUT: Duration = Duration::from_secs(60);

pub(super) async fn judge(
    world: &Arc<World>,
    plan: &Plan,
    scenario: &'static Scenario,
    stop: &CancellationToken,
    observer: &Observer,
) -> ScenarioReport {
    if stop.is_cancelled() {
        return ScenarioReport::not_run(scenario, "the run ended before");
    }
    observer(Event::Started(scenario));
    let mut report = match world.missing(scenario).await {
        Ok(Some(missing)) => ScenarioReport::not_applicable(scenario, missing),
        Ok(None) => attempts(world, plan, scenario, stop).await,
        Err(stop) => ScenarioReport::not_run(scenario, &stop.to_string()),
    };
    if let Some(baseline) = &plan.baseline {
        baseline.apply(&mut report);
    }
    observer(Event::Finished(&report));
    report
}

async fn attempts(
    world: &Arc<World>,
    plan: &Plan,
    scenario: &'static Scenario,
    stop: &CancellationToken,
) -> ScenarioReport {
    let mut earlier = Vec::new();
    loop {
        let mut report = attempt(world, plan, scenario, stop).await;
        let again = report.outcome.is_failure() && earlier.len() < plan.retries as usize && !stop.is_cancelled();
        if !again {
            report.earlier_attempts = earlier;
            return report;
        }
        earlier.push(Attempt::of(report));
    }
}

async fn attempt(
    world: &Arc<World>,
    plan: &Plan,
    scenario: &'static Scenario,
    stop: &CancellationToken,
) -> ScenarioReport {
    let cx = Cx::new(world.clone(), scenario);
    let limit = if scenario.is(Class::Slow) { plan.timeout * SLOW } else { plan.timeout };
    let began = Instant::now();
    let task = tokio::spawn((scenario.run)(cx.clone()));
    let abort = task.abort_handle();
    let ended = tokio::select! {
        ended = task => Some(ended.unwrap_or_else(|panic| Err(Stop::harness(format!("the scenario panicked: {panic}"))))),
        () = out_of_time(&cx, limit) => Some(Err(Stop::untestable(format!("not done within {limit:?}")))),
        () = stop.cancelled() => None,
    };
    abort.abort();
    let took = began.elapsed();
    // The clean-up is no part of it.
    let (exchanges, mut checks) = cx.log().take();
    let cleaned = tokio::time::timeout(CLEAN_UP_TIMEOUT, cx.clean_up()).await;
    let left_behind = cleaned.unwrap_or_else(|_| vec!["the clean-up took too long".to_owned()]);
    let seen = cx.watch().take_seen();
    for check in &mut checks {
        check.expected = world.secrets().text(&check.expected);
        check.got = world.secrets().text(&check.got);
    }
    let unasked = scenario.covers.iter().find(|operation| !seen.contains_key(*operation));
    let (outcome, reason) = match ended {
        Some(ended) => match (outcome(scenario, ended, &checks), unasked) {
            // Coverage is what was asked, not what a row says.
            ((Outcome::Pass, _), Some(unasked)) => {
                (Outcome::Error, Some(format!("covers {unasked}, and never asked it")))
            }
            (judged, _) => judged,
        },
        None => (Outcome::NotRun, Some("the run ended meanwhile".to_owned())),
    };
    let exchanges = if plan.keep_exchanges || outcome.shows_exchanges() { exchanges } else { Vec::new() };
    let reason = reason.map(|reason| world.secrets().text(&reason));
    let mut report = ScenarioReport::of(scenario, outcome, reason);
    report.checks = checks;
    report.exchanges = exchanges;
    report.took = took.as_millis() as u64;
    report.left_behind = left_behind.iter().map(|left| world.secrets().text(left)).collect();
    report.seen = seen;
    report
}

/// What a scenario waited because it was told to isn't part of its time.
async fn out_of_time(cx: &Cx, timeout: Duration) {
    let began = tokio::time::Instant::now();
    loop {
        let end = began + timeout + cx.waited();
        if tokio::time::Instant::now() >= end {
            return;
        }
        tokio::time::sleep_until(end).await;
    }
}

fn outcome(scenario: &Scenario, ended: Result, checks: &[Check]) -> (Outcome, Option<String>) {
    let must = scenario.level == Level::Must;
    let failed = |should: bool| checks.iter().any(|check| !check.passed && check.should == should);
    let verdict = match (failed(false) && must, failed(false) || failed(true)) {
        (true, _) => Outcome::Fail,
        (_, true) => Outcome::Warn,
        _ => Outcome::Pass,
    };
    match ended {
        Ok(()) if checks.is_empty() => (Outcome::Error, Some("the scenario ended without a verdict".to_owned())),
        Ok(()) => (verdict, None),
        Err(Stop::Harness(why)) => (Outcome::Error, Some(why)),
        Err(Stop::NotApplicable(what)) if verdict == Outcome::Pass => (Outcome::NotApplicable, Some(what)),
        Err(stop) if verdict == Outcome::Fail => (verdict, Some(stop.to_string())),
        Err(Stop::NotRun(why)) => (Outcome::NotRun, Some(why)),
        Err(stop) if must => (Outcome::Untestable, Some(stop.to_string())),
        Err(stop) => (Outcome::Warn, Some(stop.to_string())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(passed: bool, should: bool) -> Check {
        let (expected, got) = (String::new(), String::new());
        Check { id: "c".to_owned(), passed, should, expected, got, exchange: None }
    }

    fn scenario(level: Level) -> Scenario {
        Scenario { level, ..*crate::scenarios::all().next().unwrap() }
    }

    #[test]
    fn outcomes_follow_from_checks_levels_and_ends() {
        let (must, should) = (scenario(Level::Must), scenario(Level::Should));
        let (good, bad, soft) = ([check(true, false)], [check(false, false)], [check(false, true)]);
        let of = |scenario, ended, checks: &[Check]| outcome(scenario, ended, checks).0;
        assert_eq!(of(&must, Ok(()), &good), Outcome::Pass);
        assert_eq!(of(&must, Ok(()), &bad), Outcome::Fail);
        assert_eq!(of(&must, Ok(()), &soft), Outcome::Warn);
        assert_eq!(of(&should, Ok(()), &bad), Outcome::Warn);
        assert_eq!(of(&must, Ok(()), &[]), Outcome::Error);
        assert_eq!(of(&must, Err(Stop::untestable("x")), &good), Outcome::Untestable);
        assert_eq!(of(&must, Err(Stop::untestable("x")), &bad), Outcome::Fail);
        assert_eq!(of(&should, Err(Stop::untestable("x")), &[]), Outcome::Warn);
        assert_eq!(of(&must, Err(Stop::not_applicable("x")), &[]), Outcome::NotApplicable);
        assert_eq!(of(&must, Err(Stop::not_run("x")), &good), Outcome::NotRun);
        assert_eq!(of(&must, Err(Stop::not_run("x")), &bad), Outcome::Fail);
        assert_eq!(of(&must, Err(Stop::harness("x")), &bad), Outcome::Error);
    }
}
