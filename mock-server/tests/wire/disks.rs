//! A sandbox's disk is as large as it asked for, in tier root where the machine has loop devices.

use reqwest::Method;
use serde_json::{Value, json};

use crate::{
    api::answer,
    support::{Sandbox, eventually, sandbox, server},
};

/// Whether disks are enforced here; says so where they aren't.
async fn has_disks() -> bool {
    let health = reqwest::get(format!("{}/health", server().base_url)).await.expect("answer");
    let disk = health.json::<Value>().await.expect("JSON")["capabilities"]["disk"].clone();
    if disk["available"] == json!(false) {
        println!("skipped: {}", disk["detail"]);
    }
    disk["available"] == json!(true)
}

/// GiB that `df` shows for a path, rounded up.
async fn size_of(sandbox: &Sandbox, path: &str) -> String {
    sandbox.run(&format!("df --output=size -BG {path} | tail -1 | tr -d ' \\n'")).await
}

async fn act(sandbox: &Sandbox, what: &str, body: Value, state: &str) {
    let url = format!("{}/sandbox/{}/{what}", server().api_url, sandbox.id);
    let request = sandbox.client.post(url);
    let request = if body.is_null() { request } else { request.json(&body) };
    let (status, told) = answer(request.send().await.expect("answer")).await;
    assert_eq!(status, 200, "{what}: {told}");
    sandbox.until(state).await;
}

/// The files behind this machine's loop devices that are of a sandbox.
fn devices_of(id: &str) -> Vec<String> {
    let blocks = std::fs::read_dir("/sys/block").into_iter().flatten().flatten();
    let files = blocks.filter_map(|block| std::fs::read_to_string(block.path().join("loop/backing_file")).ok());
    files.filter(|file| file.contains(id)).collect()
}

#[tokio::test]
async fn a_disk_is_full_when_it_is_full_and_grows() {
    if !has_disks().await {
        return;
    }
    let sandbox = sandbox().await;
    for path in ["/", "/usr", "/home/daytona"] {
        assert_eq!(size_of(&sandbox, path).await, "3G", "{path}");
    }
    let fill = "cd; echo kept > kept; fallocate -l 2900M big && fallocate -l 200M more || rm -f more; \
        head -c 300M /dev/zero > rest; stat -c %s rest";
    let full = sandbox.run(fill).await;
    assert!(full.contains("fallocate failed: No space left on device"), "{full}");
    assert!(full.contains("error writing 'standard output': No space left on device"), "{full}");
    let upload = sandbox.url("/files/upload?path=/home/daytona/upload");
    let form = reqwest::multipart::Form::new().part("file", reqwest::multipart::Part::bytes(vec![7; 1 << 20]));
    let refused = sandbox.client.post(upload).multipart(form).send().await.expect("answer").status();
    assert!(!refused.is_success(), "{refused}");

    // It starts as full as it was, and room can be made.
    act(&sandbox, "stop", Value::Null, "stopped").await;
    act(&sandbox, "start", Value::Null, "started").await;
    let seen = sandbox
        .run("cd; cat kept; echo x > y 2>/dev/null; test -s y || echo full; rm big rest; echo x > y; cat y")
        .await;
    assert_eq!(seen, "kept\nfull\nx\n");

    act(&sandbox, "stop", Value::Null, "stopped").await;
    act(&sandbox, "resize", json!({"disk": 5}), "stopped").await;
    act(&sandbox, "start", Value::Null, "started").await;
    assert_eq!(size_of(&sandbox, "/").await, "5G");
    assert_eq!(sandbox.run("cd; cat kept; fallocate -l 4G big && echo room").await, "kept\nroom\n");

    assert_eq!(devices_of(&sandbox.id).len(), 1);
    sandbox.api(Method::DELETE, "").await;
    eventually("its loop device is free", async || devices_of(&sandbox.id).is_empty().then_some(())).await;
}

#[tokio::test]
async fn what_is_removed_is_given_back_to_the_machine() {
    if !has_disks().await {
        return;
    }
    let sandbox = sandbox().await;
    let image = crate::support::run_dir().join("sandboxes").join(&sandbox.id).join("disk.img");
    let used = || std::os::unix::fs::MetadataExt::blocks(&std::fs::metadata(&image).expect("a disk")) * 512;
    sandbox.run("cd; head -c 50M /dev/urandom > big; sync").await;
    assert!(used() > 50 << 20);
    sandbox.run("rm ~/big").await;
    act(&sandbox, "stop", Value::Null, "stopped").await;
    eventually("it is given back", async || (used() < 20 << 20).then_some(())).await;
}

#[tokio::test]
async fn an_archive_comes_back_on_a_disk() {
    if !has_disks().await {
        return;
    }
    let sandbox = sandbox().await;
    sandbox.run("echo kept > ~/kept").await;
    act(&sandbox, "stop", Value::Null, "stopped").await;
    act(&sandbox, "archive", Value::Null, "archived").await;
    act(&sandbox, "start", Value::Null, "started").await;
    assert_eq!(sandbox.run("cat ~/kept").await, "kept\n");
    assert_eq!(size_of(&sandbox, "/").await, "3G");
}
