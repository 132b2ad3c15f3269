//! JUnit XML: a family of rules is a suite, a rule a case.

use std::time::Duration;

use quick_junit::{NonSuccessKind, Report, TestCase, TestCaseStatus, TestSuite};

use crate::{
    judge::{Verdict, verdict::Ruled},
    plain::well_formed,
    scenario::Level,
};

/// The XML text.
pub fn to_string(verdict: &Verdict) -> Result<String, quick_junit::SerializeError> {
    let mut junit = Report::new("daytona-conformance client");
    junit.set_timestamp(verdict.started_at).set_time(Duration::from_millis(verdict.took));
    let family = |rule: &Ruled| rule.id.split('/').next().unwrap_or_default().to_owned();
    let mut families: Vec<String> = verdict.rules.iter().map(family).collect();
    families.dedup();
    for name in families {
        let mut suite = TestSuite::new(&*name);
        suite.add_test_cases(verdict.rules.iter().filter(|rule| family(rule) == name).map(case));
        junit.add_test_suite(suite);
    }
    let mut program = TestSuite::new("program");
    let mut ended = TestCase::new(&*verdict.command, TestCaseStatus::success());
    if !verdict.program_succeeded {
        ended.status = TestCaseStatus::non_success(NonSuccessKind::Error);
        let expected = verdict.expected_exit.as_deref().map(|code| format!("; expected exit code {code}"));
        ended.status.set_message(format!("{}{}", verdict.program, expected.unwrap_or_default()));
    }
    program.add_test_case(ended);
    junit.add_test_suite(program);
    junit.to_string().map(|xml| well_formed(&xml))
}

fn case(rule: &Ruled) -> TestCase {
    let mut text = String::new();
    for finding in &rule.findings {
        text.push_str(&format!("{}\n", finding.what));
        for line in finding.fix.iter().map(|fix| format!("instead: {fix}")).chain(finding.calls.iter().cloned()) {
            text.push_str(&format!("  {line}\n"));
        }
    }
    let fails = !rule.holds() && rule.level == Level::Must;
    let mut status =
        if fails { TestCaseStatus::non_success(NonSuccessKind::Failure) } else { TestCaseStatus::success() };
    if fails {
        status.set_type("FAIL").set_message(rule.rule.clone()).set_description(format!("{text}fix: {}\n", rule.fix));
    }
    let mut case = TestCase::new(rule.id.clone(), status);
    if !fails && !text.is_empty() {
        case.set_system_out(format!("{}: {text}", rule.word()));
    }
    case
}
