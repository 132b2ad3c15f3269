//! JUnit XML, as CI systems read it: an area is a suite, a scenario a case.

use std::time::Duration;

use quick_junit::{NonSuccessKind, Report as Junit, TestCase, TestCaseStatus, TestRerun, TestSuite};

use super::{Outcome, Report, ScenarioReport};
use crate::plain::well_formed;

/// The XML text.
pub fn to_string(report: &Report) -> Result<String, quick_junit::SerializeError> {
    let mut junit = Junit::new("daytona-conformance");
    junit.set_timestamp(report.started_at).set_time(Duration::from_millis(report.took));
    let mut areas: Vec<&str> = report.scenarios.iter().map(|scenario| scenario.area).collect();
    areas.dedup();
    for area in areas {
        let mut suite = TestSuite::new(area);
        suite.add_test_cases(report.scenarios.iter().filter(|scenario| scenario.area == area).map(case));
        junit.add_test_suite(suite);
    }
    junit.to_string().map(|xml| well_formed(&xml))
}

fn case(scenario: &ScenarioReport) -> TestCase {
    let mut case = TestCase::new(&scenario.id, status(scenario));
    case.set_classname(format!("conformance.{}", scenario.area)).set_time(Duration::from_millis(scenario.took));
    if scenario.outcome == Outcome::Warn {
        case.set_system_out(format!("WARN {}", text(scenario)));
    }
    case
}

fn status(scenario: &ScenarioReport) -> TestCaseStatus {
    let kind = match scenario.outcome {
        Outcome::Pass | Outcome::Warn => return with_attempts(TestCaseStatus::success(), scenario),
        Outcome::NotApplicable | Outcome::NotRun => {
            let mut skipped = TestCaseStatus::skipped();
            skipped.set_message(scenario.reason.clone().unwrap_or_default());
            return skipped;
        }
        Outcome::Fail | Outcome::Untestable => NonSuccessKind::Failure,
        Outcome::Error => NonSuccessKind::Error,
    };
    let mut status = TestCaseStatus::non_success(kind);
    status.set_type(scenario.outcome.word()).set_message(scenario.rule.clone()).set_description(text(scenario));
    with_attempts(status, scenario)
}

/// A success with earlier attempts is flaky.
fn with_attempts(mut status: TestCaseStatus, scenario: &ScenarioReport) -> TestCaseStatus {
    for attempt in &scenario.earlier_attempts {
        let mut rerun = TestRerun::new(NonSuccessKind::Failure);
        rerun.set_type(attempt.outcome.word()).set_message(attempt.told());
        status.add_rerun(rerun);
    }
    status
}

fn text(scenario: &ScenarioReport) -> String {
    let mut text = format!("rule: {}\n", scenario.rule);
    if let Some(reason) = &scenario.reason {
        text.push_str(&format!("because: {reason}\n"));
    }
    for check in scenario.failed() {
        text.push_str(&format!("{}:{}\n  expected: {}\n  got: {}\n", scenario.id, check.id, check.expected, check.got));
        if let Some(exchange) = check.exchange.and_then(|number| scenario.exchanges.get(number)) {
            text.push_str(&format!("  in: {} {}\n", exchange.method, exchange.url));
        }
    }
    text
}
