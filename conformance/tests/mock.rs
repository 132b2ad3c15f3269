//! Some scenarios against a mock that is not as `--target mock` starts it: whose clock another run has turned, or whose limits are
//! met. It needs the program `daytona-mock` beside this one (`cargo build -p daytona-mock`).

use daytona_conformance::{Outcome, Plan, Report, Selection, Target, mock::Mock, run};

async fn judged(mock: &Mock, globs: &[&str]) -> Report {
    let globs = globs.iter().map(|glob| (*glob).to_owned()).collect();
    let plan = Plan { selection: Selection { globs, ..Selection::default() }, jobs: 4, ..Plan::default() };
    let target = Target { private: true, ..Target::new(&mock.api_url, &mock.api_key) };
    run(plan, target).await.expect("a run")
}

/// What isn't as it should be, with the checks that failed.
fn bad(report: &Report) -> Vec<String> {
    let all = report.scenarios.iter();
    let bad = all.filter(|one| !matches!(one.outcome, Outcome::Pass | Outcome::NotApplicable));
    bad.map(|one| format!("{}: {:?} {:?}", one.id, one.reason, one.failed().collect::<Vec<_>>())).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_turned_clock_changes_no_verdict() {
    let mock = Mock::start().await.expect("daytona-mock starts: cargo build -p daytona-mock makes it");
    _ = rustls::crypto::ring::default_provider().install_default();
    let clock = mock.api_url.replace("/api", "/__control/clock");
    let turn =
        reqwest::Client::new().post(clock).bearer_auth(&mock.api_key).json(&serde_json::json!({"advance": 3_456_000}));
    assert_eq!(turn.send().await.expect("an answer").status(), 200);
    let globs = ["signing/*", "registries/push_access*", "audit/*", "api_keys/*", "organizations/invitations*"];
    let report = judged(&mock, &globs).await;
    mock.stop().await;
    assert_eq!(bad(&report), Vec::<String>::new());
}

#[tokio::test(flavor = "multi_thread")]
async fn limits_that_are_met_are_judged() {
    let limits = ["authenticated=60/60", "sandbox-create=30/60", "sandbox-lifecycle=30/60"];
    let options: Vec<&str> = limits.iter().flat_map(|limit| ["--rate-limit", limit]).collect();
    let mock = Mock::start_with(&options).await.expect("daytona-mock starts: cargo build -p daytona-mock makes it");
    let report = judged(&mock, &["rate_limits/*"]).await;
    mock.stop().await;
    assert_eq!(bad(&report), Vec::<String>::new());
    assert!(report.scenarios.iter().all(|one| one.outcome == Outcome::Pass), "{}", report.to_json());
}
