//! Resources as they are seen inside, and what happens to who wants more.

use reqwest::Method;
use serde_json::{Value, json};

use crate::{
    images::has_images,
    support::{eventually, sandbox, server},
};

/// What `free` goes by, in bytes.
async fn total(sandbox: &crate::support::Sandbox) -> u64 {
    let text = sandbox.run("grep MemTotal: /proc/meminfo").await;
    text.split_whitespace().nth(1).and_then(|number| number.parse::<u64>().ok()).expect("a number") * 1024
}

#[tokio::test]
async fn processors_and_memory_are_those_that_were_asked_for() {
    if !has_images() {
        return;
    }
    let sandbox = sandbox().await;
    assert_eq!(sandbox.run("nproc").await, "1\n");
    assert_eq!(total(&sandbox).await, 1 << 30);
    assert_eq!(sandbox.run("cat /proc/meminfo | wc -c").await, sandbox.run("stat -c %s /proc/meminfo").await);
    assert!(sandbox.run("ls -A /dev | grep meminfo || echo hidden").await == "hidden\n");
    let body = json!({"cpu": 2, "memory": 3});
    let url = format!("{}/sandbox/{}/resize", server().api_url, sandbox.id);
    assert_eq!(sandbox.client.post(url).json(&body).send().await.expect("answer").status(), 200);
    sandbox.until("started").await;
    let most = std::thread::available_parallelism().map_or(1, usize::from).min(2);
    assert_eq!(sandbox.run("nproc").await, format!("{most}\n"));
    eventually("more memory is seen", async || (total(&sandbox).await == 3 << 30).then_some(())).await;
    let used = "python3 -c \"
import time
kept = b'a' * (300 << 20)
for _ in range(400):
    free = int(open('/proc/meminfo').read().split('MemFree:')[1].split()[0])
    if free < (3 << 20) - (250 << 10):
        print('told')
        break
    time.sleep(0.05)
\"";
    assert_eq!(sandbox.run(used).await, "told\n", "what is used is told");
}

#[tokio::test]
async fn who_takes_too_much_memory_is_killed_and_the_sandbox_lives() {
    if !has_images() {
        return;
    }
    let sandbox = sandbox().await;
    let greedy = "python3 -c \"x=b'a'*(1500<<20); import time; time.sleep(100)\"; echo $?";
    assert_eq!(sandbox.run(&format!("sh -c '{}' 2>/dev/null", greedy.replace('\'', "'\\''"))).await, "137\n");
    assert_eq!(sandbox.run("echo alive").await, "alive\n");
    assert_eq!(sandbox.api(Method::GET, "").await.1["state"], "started");
}

#[tokio::test]
async fn health_says_how_resources_are_bounded() {
    let health = reqwest::get(format!("{}/health", server().base_url)).await.expect("answer");
    let body: Value = health.json().await.expect("JSON");
    for name in ["cpu", "memory", "processes", "pause", "disk"] {
        let capability = &body["capabilities"][name];
        assert!(capability["available"].is_boolean() && capability["detail"].is_string(), "{name}: {body}");
    }
}
