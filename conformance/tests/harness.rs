//! The suite itself, against servers that misbehave: what is a verdict, what isn't, and what a report says of it.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use daytona_conformance::{
    Outcome, Plan, Report, Selection, Target,
    baseline::Baseline,
    mutants::{Proxy, Server, table},
    run, run_observed,
    stop::Stop,
    transcript::Transcript,
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
};
use tokio_util::sync::CancellationToken;

const KEY: &str = "dtn_this-is-the-key-of-the-harness-tests";
const CONFIG: &str = r#"{"version":"0.205.1","oidc":{"issuer":"i","clientId":"c","audience":"a"},"linkedAccountsEnabled":false,
    "announcements":{},"proxyTemplateUrl":"http://{{PORT}}.x","proxyToolboxUrl":"http://x","defaultSnapshot":"s","dashboardUrl":"http://x",
    "maxAutoArchiveInterval":1,"maintananceMode":false,"environment":"test"}"#;

/// What a stub answers to the n-th request for a path; `None` closes the connection.
type Script = Arc<dyn Fn(&str, usize) -> Option<(u16, &'static str, String)> + Send + Sync>;

/// A server that says what it is told to. Its API's URL.
async fn stub(script: impl Fn(&str, usize) -> Option<(u16, &'static str, String)> + Send + Sync + 'static) -> Target {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let url = format!("http://{}/api", listener.local_addr().expect("an address"));
    let (script, count): (Script, _) = (Arc::new(script), Arc::new(AtomicUsize::new(0)));
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(serve(stream, script.clone(), count.clone()));
        }
    });
    Target { private: true, ..Target::new(&url, KEY) }
}

async fn serve(mut stream: TcpStream, script: Script, count: Arc<AtomicUsize>) {
    let mut read = Vec::new();
    loop {
        let mut buffer = [0; 4096];
        match stream.read(&mut buffer).await {
            Ok(0) | Err(_) => return,
            Ok(n) => read.extend_from_slice(&buffer[..n]),
        }
        let head = String::from_utf8_lossy(&read).into_owned();
        let length =
            head.to_lowercase().split("content-length: ").nth(1).and_then(|rest| rest.lines().next()?.parse().ok());
        if head.split_once("\r\n\r\n").is_some_and(|(_, body)| body.len() >= length.unwrap_or(0)) {
            read.clear();
            let path = head.split(' ').nth(1).unwrap_or_default().trim_start_matches("/api").to_owned();
            let Some((status, headers, body)) = script(&path, count.fetch_add(1, Ordering::SeqCst)) else { return };
            let length = body.len();
            let kind = if headers.contains("Content-Type") { "" } else { "Content-Type: application/json\r\n" };
            let answer = format!("HTTP/1.1 {status} X\r\n{kind}Content-Length: {length}\r\n{headers}\r\n{body}");
            if stream.write_all(answer.as_bytes()).await.is_err() {
                return;
            }
        }
    }
}

fn plan(id: &str) -> Plan {
    let selection = Selection { globs: vec![id.to_owned()], ..Selection::default() };
    Plan { selection, timeout: Duration::from_secs(20), seed: 1, ..Plan::default() }
}

fn good(path: &str) -> (u16, &'static str, String) {
    if path.starts_with("/config") { (200, "", CONFIG.to_owned()) } else { (200, "", r#"{"items":[]}"#.to_owned()) }
}

fn only(report: &Report) -> Outcome {
    assert_eq!(report.scenarios.len(), 1);
    report.scenarios[0].outcome
}

#[tokio::test]
async fn a_good_server_passes() {
    let report = run(plan("auth/config_needs_no_key"), stub(|path, _| Some(good(path))).await).await.unwrap();
    assert_eq!((only(&report), report.exit_code()), (Outcome::Pass, 0), "{}", report.to_json());
}

#[tokio::test]
async fn a_missing_field_is_a_verdict_and_the_shape_has_its_own() {
    let target = stub(|path, _| {
        let (status, headers, body) = good(path);
        Some((status, headers, body.replace("\"proxyToolboxUrl\"", "\"toolboxUrl\"")))
    });
    let report = run(plan("auth/config_needs_no_key"), target.await).await.unwrap();
    assert_eq!((only(&report), report.exit_code()), (Outcome::Fail, 1));
    let failed: Vec<&str> = report.scenarios[0].failed().map(|check| check.id.as_str()).collect();
    assert_eq!(failed, ["shape:ConfigController_getConfig", "proxyToolboxUrl"]);
    let shown = report.scenarios[0].failed().all(|check| check.exchange.is_some());
    assert!(shown, "each failure shows its exchange");
}

#[tokio::test]
async fn json_that_is_said_to_be_text_is_a_verdict() {
    let target = stub(|path, _| Some((200, "Content-Type: text/plain; charset=utf-8\r\n", good(path).2)));
    let report = run(plan("auth/config_needs_no_key"), target.await).await.unwrap();
    assert_eq!((only(&report), report.exit_code()), (Outcome::Fail, 1));
    let failed: Vec<&str> = report.scenarios[0].failed().map(|check| check.id.as_str()).collect();
    assert_eq!(failed, ["type:ConfigController_getConfig"]);
}

#[tokio::test]
async fn an_error_that_is_said_to_be_a_page_is_a_verdict() {
    let answered = async |headers: &'static str, root: &'static str, at: String| {
        let target = stub(move |path, n| {
            let error = format!(
                r#"{{"path":"{root}{path}","timestamp":"{at}","statusCode":404,"error":"Not Found","message":"m"}}"#
            );
            Some(if n < 2 { good(path) } else { (404, headers, error) })
        });
        let report = run(plan("catalogue/unknown_snapshot_is_not_found"), target.await).await.unwrap();
        report.scenarios[0].failed().filter(|check| check.id.starts_with("envelope:")).count()
    };
    let now = || chrono::Utc::now().to_rfc3339();
    assert_eq!(answered("", "/api", now()).await, 0);
    assert!(answered("Content-Type: text/html\r\n", "/api", now()).await > 0, "a page");
    assert!(answered("", "/api", "1970-01-01T00:00:00Z".to_owned()).await > 0, "of 1970");
}

#[tokio::test]
async fn a_server_without_a_release_is_judged_like_the_newest() {
    let of = async |version: &'static str, id: &str| {
        let told = version.trim_start_matches("X-Daytona-Api-Version: ").trim_end();
        let target = stub(move |path, _| Some((200, version, good(path).2.replace("0.205.1", told))));
        run(plan(id), target.await).await.unwrap()
    };
    for version in ["X-Daytona-Api-Version: dev\r\n", "X-Daytona-Api-Version: v0.0.0-dev\r\n"] {
        assert_eq!(only(&of(version, "auth/config_needs_no_key").await), Outcome::Pass);
        let new = of(version, "audit/scenarios_are_public").await;
        assert!(only(&new) != Outcome::NotApplicable, "{}", new.to_json());
    }
    let old = of("X-Daytona-Api-Version: 0.1.0\r\n", "auth/*").await;
    assert!(old.scenarios.iter().all(|scenario| scenario.outcome == Outcome::NotApplicable));
    assert_eq!(old.exit_code(), 2, "nothing was judged");
}

#[tokio::test]
async fn fields_beyond_the_contract_are_told_and_no_verdict() {
    let target = stub(|path, _| {
        let (status, headers, body) = good(path);
        Some((
            status,
            headers,
            body.replacen('{', r#"{"defaultSnapshott":"s","dtn_this-is-the-key-of-the-harness-tests":1,"#, 1),
        ))
    });
    let report = run(plan("auth/config_needs_no_key"), target.await).await.unwrap();
    assert_eq!((only(&report), report.exit_code()), (Outcome::Pass, 0), "{}", report.to_json());
    let beyond: Vec<_> = report.beyond().map(|row| (row.operation, row.undeclared.len())).collect();
    assert_eq!(beyond, [("ConfigController_getConfig", 2)]);
    let mut printed = Vec::new();
    daytona_conformance::report::console::write(&mut printed, &report, true).unwrap();
    let page = daytona_conformance::report::html::to_string(&report);
    for text in [String::from_utf8(printed).unwrap(), report.to_json(), page] {
        assert!(text.contains("defaultSnapshott") && !text.contains(KEY), "{text}");
    }
}

#[tokio::test]
async fn a_server_that_hangs_up_is_untestable() {
    // The first two requests are the suite's own.
    let target = stub(|path, n| (n < 2).then(|| good(path))).await;
    let report = run(plan("auth/config_needs_no_key"), target).await.unwrap();
    assert_eq!((only(&report), report.exit_code()), (Outcome::Untestable, 1));
}

#[tokio::test]
async fn no_server_and_a_wrong_key_are_no_verdict() {
    let nobody = Target { private: true, ..Target::new("http://127.0.0.1:1/api", KEY) };
    assert!(matches!(run(plan("auth/*"), nobody).await, Err(Stop::Harness(_))));
    let refusing = stub(|path, _| {
        let is_list = path.starts_with("/sandbox");
        Some(if is_list { (401, "", r#"{"message":"Invalid credentials"}"#.to_owned()) } else { good(path) })
    });
    let refused = run(plan("auth/*"), refusing.await).await;
    assert!(matches!(refused, Err(Stop::Harness(why)) if why.contains("key is not accepted")));
}

#[tokio::test]
async fn a_429_is_waited_out() {
    let target = stub(|path, n| match n {
        2 | 3 => Some((429, "Retry-After-authenticated: 1\r\n", "{}".to_owned())),
        _ => Some(good(path)),
    });
    let report = run(plan("auth/config_needs_no_key"), target.await).await.unwrap();
    assert_eq!(only(&report), Outcome::Pass, "{}", report.to_json());
    assert!(report.took >= 2000, "waited as long as it was told: {} ms", report.took);
}

#[tokio::test]
async fn a_slow_scenario_is_untestable_and_a_late_run_partial() {
    let slow = || {
        stub(|path, n| {
            if n >= 2 {
                std::thread::sleep(Duration::from_millis(400));
            }
            Some(good(path))
        })
    };
    let hurried = Plan { timeout: Duration::from_millis(50), ..plan("auth/config_needs_no_key") };
    assert_eq!(only(&run(hurried, slow().await).await.unwrap()), Outcome::Untestable);
    let late = Plan { deadline: Some(Duration::from_millis(50)), ..plan("auth/config_needs_no_key") };
    let report = run(late, slow().await).await.unwrap();
    assert_eq!((only(&report), report.partial, report.exit_code()), (Outcome::NotRun, true, 2));
}

#[tokio::test]
async fn an_interrupted_run_reports_what_it_has() {
    let cancel = CancellationToken::new();
    cancel.cancel();
    let target = stub(|path, _| Some(good(path))).await;
    let report = run_observed(plan("auth/*"), target, cancel, Arc::new(|_| {})).await.unwrap();
    assert!(report.partial && report.exit_code() == 2);
    assert!(report.scenarios.iter().all(|scenario| scenario.outcome == Outcome::NotRun));
}

#[tokio::test]
async fn nothing_to_run_is_no_success() {
    let report = run(plan("no/such"), stub(|path, _| Some(good(path))).await).await.unwrap();
    assert_eq!(report.exit_code(), 2);
}

#[tokio::test]
async fn a_flaky_scenario_shows_every_attempt() {
    // The third to fifth request: the whole of the first attempt.
    let target = stub(|path, n| Some(if n == 2 { (200, "", "{}".to_owned()) } else { good(path) }));
    let flaky = Plan { retries: 2, ..plan("auth/config_needs_no_key") };
    let report = run(flaky, target.await).await.unwrap();
    assert_eq!(only(&report), Outcome::Pass);
    let attempts: Vec<Outcome> = report.scenarios[0].earlier_attempts.iter().map(|attempt| attempt.outcome).collect();
    assert_eq!(attempts, [Outcome::Fail]);
}

#[tokio::test]
async fn a_baseline_accepts_and_notices_what_is_stale() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("accepted.txt");
    let broken =
        || stub(|path, _| Some((good(path).0, "", good(path).2.replace("\"defaultSnapshot\"", "\"snapshot\""))));
    let failed = run(plan("auth/config_needs_no_key"), broken().await).await.unwrap();
    std::fs::write(&file, Baseline::default().text_of(&failed)).unwrap();
    let with_baseline = || Plan { baseline: Some(Baseline::read(&file).unwrap()), ..plan("auth/config_needs_no_key") };
    let accepted = run(with_baseline(), broken().await).await.unwrap();
    assert_eq!((only(&accepted), accepted.exit_code()), (Outcome::Pass, 0), "{}", accepted.to_json());
    let mended = run(with_baseline(), stub(|path, _| Some(good(path))).await).await.unwrap();
    assert_eq!((mended.stale.len(), mended.exit_code()), (2, 1));
}

#[tokio::test]
async fn the_mutation_proxy_changes_one_thing_and_nothing_else() {
    let good = stub(|path, _| Some(good(path))).await;
    let address = good.api_url.trim_start_matches("http://").trim_end_matches("/api").parse().unwrap();
    let server = Server { address, key: KEY.into() };
    let through = async |mutant: Option<&str>| {
        let mutant = mutant.map(|id| table::all().find(|mutant| mutant.id == id).expect("a mutant"));
        let proxy = Proxy::start(server.clone(), mutant).unwrap();
        let target = Target { private: true, ..Target::new(&proxy.api_url, KEY) };
        (run(plan("auth/config_needs_no_key"), target).await.unwrap(), proxy.hits())
    };
    let (report, hits) = through(None).await;
    assert_eq!((only(&report), hits), (Outcome::Pass, 0), "{}", report.to_json());
    let (report, hits) = through(Some("catalogue/config-without-toolbox")).await;
    assert_eq!(only(&report), Outcome::Fail);
    assert!(hits > 0);
    let failed: Vec<&str> = report.scenarios[0].failed().map(|check| check.id.as_str()).collect();
    assert_eq!(failed, ["shape:ConfigController_getConfig", "proxyToolboxUrl"]);
    let (report, hits) = through(Some("catalogue/health-in-other-words")).await;
    assert_eq!((only(&report), hits), (Outcome::Pass, 0), "health isn't asked by this scenario");
}

#[tokio::test]
async fn no_report_has_the_key() {
    let target = stub(|path, _| {
        Some((200, "Set-Cookie: secret-cookie-value\r\n", format!("{{\"echo\":\"{KEY}\",\"p\":{path:?}}}")))
    });
    let plan = Plan { keep_exchanges: true, ..plan("auth/*") };
    // Its answer to /config has no version, so that one is given in the header.
    let target = Target { private: true, ..target.await };
    let Err(Stop::Harness(why)) = run(plan.clone(), target).await else { panic!("no server without a version") };
    assert!(!why.contains(KEY), "{why}");
    let echo =
        stub(|path, n| Some(if n < 2 { good(path) } else { (200, "", format!("{{\"echo\":\"{KEY}\"}}")) })).await;
    let report = run(plan, echo).await.unwrap();
    for text in [
        report.to_json(),
        daytona_conformance::report::html::to_string(&report),
        daytona_conformance::report::junit::to_string(&report).unwrap(),
        Transcript::of(&report).to_json(),
    ] {
        assert!(!text.contains(KEY), "the key is in a report");
        assert!(text.len() > 100);
    }
}
