//! `GET /port` and `/port/{port}/in-use`.

use serde_json::{Value, json};
use tokio::net::TcpListener;

use crate::support::{Toolbox, local_toolbox as toolbox};

async fn json(tb: &Toolbox, path: &str) -> (u16, Value) {
    let res = tb.get(path).await;
    (res.status().as_u16(), res.json().await.expect("JSON"))
}

/// A listener on a port that `in-use` answers for.
async fn listener(host: &str) -> (TcpListener, u16) {
    loop {
        // At random, so that nobody else takes it when it is free again.
        let port = 3000 + (uuid::Uuid::new_v4().as_u128() % 7000) as u16;
        if let Ok(listener) = TcpListener::bind((host, port)).await {
            return (listener, port);
        }
    }
}

#[tokio::test]
async fn ipv4_listeners_are_listed_as_long_as_they_listen() {
    let tb = toolbox().await;
    let (listener, port) = listener("127.0.0.1").await;
    let (status, body) = json(&tb, "/port").await;
    assert_eq!(status, 200);
    assert!(body["ports"].as_array().expect("ports").contains(&json!(port)), "{body}");
    drop(listener);
    assert!(!json(&tb, "/port").await.1["ports"].as_array().expect("ports").contains(&json!(port)));
}

#[tokio::test]
async fn ipv6_listeners_are_in_use_but_not_listed() {
    let tb = toolbox().await;
    let Ok(_) = TcpListener::bind("[::1]:0").await else {
        println!("skipped: no IPv6 here");
        return;
    };
    let (_listener, port) = listener("::1").await;
    assert_eq!(json(&tb, &format!("/port/{port}/in-use")).await, (200, json!({"isInUse": true})));
}

#[tokio::test]
async fn in_use_or_not() {
    let tb = toolbox().await;
    let (listener, port) = listener("127.0.0.1").await;
    let path = format!("/port/{port}/in-use");
    assert_eq!(json(&tb, &path).await, (200, json!({"isInUse": true})));
    drop(listener);
    assert_eq!(json(&tb, &path).await, (200, json!({"isInUse": false})));
}

#[tokio::test]
async fn other_ports_are_refused() {
    let tb = toolbox().await;
    for port in ["2999", "10000", "0", "-1", "99999", "abc"] {
        let (status, error) = json(&tb, &format!("/port/{port}/in-use")).await;
        assert_eq!((status, &error["code"]), (400, &json!("BAD_REQUEST")), "{port}");
    }
}
