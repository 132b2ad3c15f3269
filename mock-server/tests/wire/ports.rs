//! `GET /port` and `/port/{port}/in-use`.

use serde_json::{Value, json};

use crate::support::{Toolbox, eventually, toolbox};

async fn json(tb: &Toolbox, path: &str) -> (u16, Value) {
    let res = tb.get(path).await;
    (res.status().as_u16(), res.json().await.expect("JSON"))
}

/// A program inside that listens on a port which `in-use` answers for; its pid and port.
async fn listener(tb: &Toolbox, host: &str) -> (String, u16) {
    // At random: in tier process all sandboxes have the host's ports.
    let port = 3000 + (uuid::Uuid::new_v4().as_u128() % 7000) as u16;
    let program = format!(
        "import socket, time\ns = socket.create_server((\"{host}\", {port}), family=socket.AF_INET6 if \":\" in \"{host}\" else socket.AF_INET)\n\
         open(\"listening\", \"w\").close()\ntime.sleep(600)"
    );
    let start = format!("setsid python3 -c '{program}' >log 2>&1 </dev/null & echo $!");
    let pid = tb.run(&start).await;
    eventually("it listens", async || (tb.get("/files/info?path=listening").await.status() == 200).then_some(())).await;
    (pid.trim().to_owned(), port)
}

#[tokio::test]
async fn ipv4_listeners_are_listed_as_long_as_they_listen() {
    let tb = toolbox().await;
    let (pid, port) = listener(&tb, "127.0.0.1").await;
    let listed = async || {
        let (status, body) = json(&tb, "/port").await;
        assert_eq!(status, 200);
        body["ports"].as_array().expect("ports").contains(&json!(port))
    };
    assert!(listed().await);
    tb.run(&format!("kill {pid}")).await;
    eventually("it is gone", async || (!listed().await).then_some(())).await;
}

#[tokio::test]
async fn ipv6_listeners_are_in_use_but_not_listed() {
    let tb = toolbox().await;
    if tb.run("test -e /proc/net/if_inet6 && grep -c ' lo$' /proc/net/if_inet6 || true").await.trim() != "1" {
        return println!("skipped: ipv6_listeners_are_in_use_but_not_listed: no IPv6 here");
    }
    let (_, port) = listener(&tb, "::1").await;
    assert_eq!(json(&tb, &format!("/port/{port}/in-use")).await, (200, json!({"isInUse": true})));
    assert!(!json(&tb, "/port").await.1["ports"].as_array().expect("ports").contains(&json!(port)));
}

#[tokio::test]
async fn in_use_or_not() {
    let tb = toolbox().await;
    let (pid, port) = listener(&tb, "127.0.0.1").await;
    let path = format!("/port/{port}/in-use");
    assert_eq!(json(&tb, &path).await, (200, json!({"isInUse": true})));
    tb.run(&format!("kill {pid}")).await;
    let free = (200, json!({"isInUse": false}));
    eventually("it is free", async || (json(&tb, &path).await == free).then_some(())).await;
}

#[tokio::test]
async fn other_ports_are_refused() {
    let tb = toolbox().await;
    for port in ["2999", "10000", "0", "-1", "99999", "abc"] {
        let (status, error) = json(&tb, &format!("/port/{port}/in-use")).await;
        assert_eq!((status, &error["code"]), (400, &json!("BAD_REQUEST")), "{port}");
    }
}
