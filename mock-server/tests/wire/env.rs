//! `POST /env`: what processes started afterwards see.

use serde_json::json;

use crate::support::toolbox;

#[tokio::test]
async fn set_and_unset_reach_later_processes() {
    let tb = toolbox().await;
    let res = tb.post("/env", json!({"set": {"A": "1", "B": "2"}})).await;
    assert_eq!(res.status(), 200);
    let body: serde_json::Value = res.json().await.expect("JSON");
    assert_eq!(body, json!({"message": "Environment updated successfully"}));
    assert_eq!(tb.run("echo $A $B").await, "1 2\n");
    tb.post("/env", json!({"unset": ["A"], "set": {"B": "3"}})).await;
    assert_eq!(tb.run("echo [$A] $B").await, "[] 3\n");
}

#[tokio::test]
async fn unset_happens_before_set() {
    let tb = toolbox().await;
    tb.post("/env", json!({"set": {"A": "new"}, "unset": ["A"]})).await;
    assert_eq!(tb.run("echo $A").await, "new\n");
}

#[tokio::test]
async fn unset_by_value_prefix_spares_what_is_set_in_the_same_call() {
    let tb = toolbox().await;
    tb.post("/env", json!({"set": {"A": "sec-1", "B": "sec-2", "C": "other"}})).await;
    tb.post("/env", json!({"set": {"B": "sec-3"}, "unsetValuePrefix": "sec-"})).await;
    assert_eq!(tb.run("echo [$A] [$B] [$C]").await, "[] [sec-3] [other]\n");
    tb.post("/env", json!({"unsetValuePrefix": ""})).await;
    assert_eq!(tb.run("echo $C").await, "other\n");
}

#[tokio::test]
async fn bad_bodies_change_nothing() {
    let tb = toolbox().await;
    let res = tb.client.post(format!("{}/env", tb.url)).body("nope").send().await.expect("answer");
    assert_eq!(res.status(), 400);
    let body: serde_json::Value = res.json().await.expect("JSON");
    assert_eq!(body["code"], "INVALID_REQUEST_BODY");
    for bad in
        [json!({"set": {"A": "x", "B=C": "1"}}), json!({"set": {"A": "x", "": "1"}}), json!({"set": {"A": "a\u{0}b"}})]
    {
        assert_eq!(tb.post("/env", bad).await.status(), 400);
    }
    let huge = json!({"set": {"A": "x".repeat(2 << 20)}});
    assert_eq!(tb.post("/env", huge).await.status(), 400);
    assert_eq!(tb.run("echo [$A]").await, "[]\n");
}
