//! Runs every scenario against the server that DAYTONA_API_URL and DAYTONA_API_KEY name (`scripts/with-server` sets
//! them). Without one there is nothing to judge and the test says so.

use daytona_conformance::{context::Cx, scenario::Level, scenarios};

#[tokio::test]
async fn scenarios_pass_on_the_server_given() {
    let (Ok(url), Ok(key)) = (std::env::var("DAYTONA_API_URL"), std::env::var("DAYTONA_API_KEY")) else {
        eprintln!("skipped: no DAYTONA_API_URL and DAYTONA_API_KEY");
        return;
    };
    let mut failures = Vec::new();
    for scenario in scenarios::all() {
        let mut cx = Cx::new(&url, &key);
        let ended = (scenario.run)(&mut cx).await;
        let cleaned = cx.clean_up().await;
        for error in [ended, cleaned].into_iter().filter_map(Result::err) {
            failures.push(format!("{}: harness: {}", scenario.id, error.0));
        }
        for check in cx.checks().iter().filter(|check| !check.passed) {
            let level = if scenario.level == Level::Must { "MUST" } else { "SHOULD" };
            let (id, expected, got) = (check.id, &check.expected, &check.got);
            failures
                .push(format!("{}:{id} ({level}): expected {expected}, got {got}\n  {}", scenario.id, scenario.rule));
        }
    }
    assert!(failures.is_empty(), "\n{}", failures.join("\n"));
}
