//! `GET /system/metrics`.

use serde_json::Value;

use crate::support::toolbox;

#[tokio::test]
async fn figures_are_plausible() {
    let tb = toolbox().await;
    let first: Value = tb.get("/system/metrics").await.json().await.expect("JSON");
    assert_eq!(first["cpuUsedPct"], 0.0);
    let number = |name: &str| first[name].as_u64().unwrap_or_else(|| panic!("{name}: {first}"));
    assert!(number("cpuCount") > 0);
    assert!(number("memTotal") > number("memUsed") && number("memUsed") > 0);
    assert!(number("diskTotal") >= number("diskUsed") && number("diskTotal") > number("diskFree"));
    number("memCache");
    let stamp = chrono::DateTime::parse_from_rfc3339(first["timestamp"].as_str().expect("text")).expect("time");
    assert_eq!(stamp.timestamp() as u64, number("timestampUnix"));
    tb.run("timeout 0.3 sh -c 'while :; do :; done'; true").await;
    let second: Value = tb.get("/system/metrics").await.json().await.expect("JSON");
    let used = second["cpuUsedPct"].as_f64().expect("number");
    assert!(used > 0.0 && used <= 100.0, "{used}");
}
