//! Metrics from real samples.

use serde_json::{Value, json};

use crate::{
    api::Api,
    support::{eventually, sandbox},
    timers::{advance, frozen},
};

fn series<'a>(metrics: &'a Value, name: &str) -> &'a [Value] {
    let all = metrics["series"].as_array().expect("series");
    let found = all.iter().find(|series| series["metricName"] == name);
    found.and_then(|series| series["dataPoints"].as_array()).map_or(&[], Vec::as_slice)
}

const ALL: &str = "?from=2020-01-01&to=2100-01-01";

#[tokio::test]
async fn who_asks_gets_a_sample() {
    let sandbox = sandbox().await;
    let api =
        Api { url: crate::support::server().api_url.clone(), key: sandbox.key.clone(), client: sandbox.client.clone() };
    let path = format!("/sandbox/{}/telemetry/metrics", sandbox.id);
    let (status, metrics) = api.get(&format!("{path}{ALL}")).await;
    assert_eq!(status, 200);
    let points = series(&metrics, "daytona.sandbox.memory.usage");
    assert!(points.len() == 1 && points[0]["value"].is_number() && points[0]["timestamp"].is_string(), "{metrics}");
    assert_eq!(metrics["series"].as_array().map(Vec::len), Some(7));
    assert!(series(&metrics, "daytona.sandbox.cpu.limit")[0]["value"].as_f64().is_some_and(|count| count >= 1.0));
    let two = "&metricNames=daytona.sandbox.cpu.limit&metricNames=daytona.sandbox.memory.limit";
    let (_, some) = api.get(&format!("{path}{ALL}{two}")).await;
    assert_eq!(some["series"].as_array().map(Vec::len), Some(2));
    assert_eq!(api.get(&format!("{path}?from=2020-01-01&to=2020-01-02")).await.1, json!({"series": []}));
    let one = "to must be a valid ISO 8601 date string";
    api.refused("GET", &format!("{path}?from=2020-01-01&to=x"), Value::Null, 400, one).await;
    for what in ["logs", "traces"] {
        let path = format!("/sandbox/{}/telemetry/{what}{ALL}", sandbox.id);
        assert_eq!(api.get(&format!("{path}&page=3&limit=5")).await.1["page"], 3);
        for name in ["page", "limit"] {
            let text = format!("{name} must not be less than 1");
            api.refused("GET", &format!("{path}&{name}=0"), Value::Null, 400, &text).await;
        }
    }
}

#[tokio::test]
async fn started_ones_are_sampled_each_minute_and_others_are_not() {
    let (server, api) = frozen().await;
    api.sandbox(json!({"name": "a", "autoStopInterval": 0})).await;
    // A window that is over asks for no sample, so what is in there was taken by the clock.
    let taken = async || {
        let now = api.control("GET", "/clock", Value::Null).await.1["now"].as_str().expect("a time").to_owned();
        let now: chrono::DateTime<chrono::Utc> = now.parse().expect("a time");
        let to = (now - chrono::Duration::seconds(30)).to_rfc3339_opts(chrono::SecondsFormat::Millis, true);
        let path = format!("/sandbox/a/telemetry/metrics?from=2020-01-01&to={to}");
        series(&api.get(&path).await.1, "daytona.sandbox.cpu.utilization").len()
    };
    assert_eq!(taken().await, 0);
    eventually("samples by the clock", async || {
        advance(&api, 1).await;
        (taken().await >= 2).then_some(())
    })
    .await;
    api.post("/sandbox/a/stop?force=true", Value::Null).await;
    api.until("a", "stopped").await;
    advance(&api, 1).await;
    let before = taken().await;
    for _ in 0..5 {
        advance(&api, 1).await;
    }
    assert_eq!(taken().await, before);
    assert_eq!(api.get(&format!("/sandbox/a/telemetry/metrics{ALL}")).await.0, 200);
    server.shutdown().await;
}
