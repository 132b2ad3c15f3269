//! `updateNetworkSettings` all the way: from the API through the gateway to what programs in a sandbox reach.

use daytona_mock::{MockServer, config::Config};
use reqwest::Method;
use serde_json::json;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpListener,
};

use crate::support::{Sandbox, eventually, isolation, sandbox, server};

/// Whether policies apply in the tier of these tests.
pub async fn enforced() -> bool {
    let health = reqwest::get(format!("{}/health", server().base_url)).await.expect("answer");
    let health: serde_json::Value = health.json().await.expect("JSON");
    let enforced = health["isolation"] != "process";
    if !enforced {
        println!("SKIPPED in tier process: network policies don't apply ({:?})", isolation());
    }
    enforced
}

/// Whether a program inside reaches a port of this host.
async fn reaches(sandbox: &Sandbox, port: u16) -> bool {
    let dial = format!("timeout 2 bash -c 'echo > /dev/tcp/10.0.2.2/{port}' 2>/dev/null && echo yes || echo no");
    sandbox.run(&dial).await == "yes\n"
}

async fn set(sandbox: &Sandbox, settings: serde_json::Value) {
    let url = format!("{}/sandbox/{}/network-settings", server().api_url, sandbox.id);
    let answer = sandbox.client.post(url).json(&settings).send().await.expect("answer");
    assert_eq!(answer.status(), 200, "{settings}");
}

#[tokio::test]
async fn blocking_cuts_what_is_open_and_allowing_opens_again() {
    if !enforced().await {
        return;
    }
    let sandbox = sandbox().await;
    let outside = TcpListener::bind("127.0.0.1:0").await.expect("bind");
    let port = outside.local_addr().expect("address").port();
    let follow = format!("(exec 3<>/dev/tcp/10.0.2.2/{port}; echo hello >&3; cat <&3 > got) >/dev/null 2>&1 &");
    sandbox.run(&follow).await;
    let (mut flow, _) = outside.accept().await.expect("accepted");
    let mut hello = [0; 6];
    flow.read_exact(&mut hello).await.expect("hello");
    flow.write_all(b"one\n").await.expect("written");
    eventually("it arrives", async || (sandbox.run("cat got").await == "one\n").then_some(())).await;

    set(&sandbox, json!({"networkBlockAll": true})).await;
    assert!(!matches!(flow.read(&mut hello).await, Ok(1..)), "the flow is cut outside");
    assert_eq!(sandbox.run("cat got").await, "one\n", "and silent inside");
    assert!(!reaches(&sandbox, port).await, "blocked");
    assert_eq!(sandbox.api(Method::GET, "").await.1["networkBlockAll"], true);

    set(&sandbox, json!({"networkAllowList": "10.0.2.2/32"})).await;
    assert!(reaches(&sandbox, port).await, "an allow list unblocks");
    set(&sandbox, json!({"networkAllowList": "203.0.113.0/24"})).await;
    assert!(!reaches(&sandbox, port).await, "not on the list");
    set(&sandbox, json!({"networkBlockAll": false})).await;
    assert!(reaches(&sandbox, port).await, "all is open again");
    let blocks = async || sandbox.api(Method::GET, "").await.1["networkBlockAll"].clone();
    set(&sandbox, json!({"networkBlockAll": true, "domainAllowList": "a.test"})).await;
    assert_eq!(blocks().await, true);
    set(&sandbox, json!({"domainAllowList": ""})).await;
    assert_eq!(blocks().await, true);
    set(&sandbox, json!({"domainAllowList": "a.test"})).await;
    assert_eq!(blocks().await, false, "domains unblock, too");
    set(&sandbox, json!({"networkBlockAll": false, "domainAllowList": ""})).await;

    // What is set holds for the next start, too.
    set(&sandbox, json!({"networkBlockAll": true})).await;
    assert_eq!(sandbox.api(Method::POST, "/stop?force=true").await.0, 200);
    sandbox.until("stopped").await;
    assert_eq!(sandbox.api(Method::POST, "/start").await.0, 200);
    assert!(!reaches(&sandbox, port).await, "still blocked");
}

#[tokio::test]
async fn all_sandboxes_share_a_bound_of_flows() {
    if !enforced().await {
        return;
    }
    let limits = daytona_mock::limits::Limits { all_tcp_flows: 1, ..Default::default() };
    let config = Config { limits, ..crate::support::config() };
    let server = MockServer::start(config).await.expect("the server starts");
    let client = crate::support::client(&server.api_key);
    let outside = TcpListener::bind("127.0.0.1:0").await.expect("bind");
    let port = outside.local_addr().expect("address").port();
    let make = async || {
        let answer = client.post(format!("{}/sandbox", server.api_url)).json(&json!({})).send().await.expect("answer");
        let sandbox: serde_json::Value = answer.json().await.expect("JSON");
        format!("{}/{}/process/execute", server.toolbox_url, sandbox["id"].as_str().expect("id"))
    };
    let run = async |url: &str, command: &str| {
        let answer = client.post(url).json(&json!({"command": command})).send().await.expect("answer");
        answer.json::<serde_json::Value>().await.expect("JSON")["exitCode"].clone()
    };
    let (one, two) = (make().await, make().await);
    let hold = format!("exec 3<>/dev/tcp/10.0.2.2/{port}; (cat <&3 >/dev/null 2>&1 &)");
    assert_eq!(run(&one, &format!("bash -c '{hold}'")).await, 0);
    let (flow, _) = outside.accept().await.expect("accepted");
    let dial = format!("timeout 4 bash -c 'echo > /dev/tcp/10.0.2.2/{port}'");
    assert_eq!(run(&two, &dial).await, 124, "no room");
    drop(flow);
    eventually("room", async || (run(&two, &dial).await == 0).then_some(())).await;
    server.shutdown().await;
}
