//! Where builds take files from besides the context: the network, other stages by pattern and by mount, nothing at all.

use axum::{Router, extract::Request, response::IntoResponse};
use http::StatusCode;
use reqwest::Method;
use serde_json::json;

use crate::{
    builds::{Built, base_image, build},
    images::{
        has_images,
        registry::{Registry, sha256},
    },
    snapshots::Account,
    support::server,
};

/// Files on a port of the test's own; where it is.
async fn files() -> String {
    let own = server().base_url.clone();
    let answer = async move |request: Request| match request.uri().path() {
        "/d/tool.txt" => ([("last-modified", "Tue, 14 Nov 2023 22:13:20 GMT")], "a tool\n").into_response(),
        "/to-tool" => (StatusCode::FOUND, [("location", "/d/tool.txt".to_owned())]).into_response(),
        "/to-loopback" => (StatusCode::FOUND, [("location", "http://127.0.0.1:9/x".to_owned())]).into_response(),
        "/to-server" => (StatusCode::FOUND, [("location", format!("{own}/health"))]).into_response(),
        _ => StatusCode::NOT_FOUND.into_response(),
    };
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("bind");
    let url = format!("http://host.internal:{}", listener.local_addr().expect("address").port());
    tokio::spawn(async move { axum::serve(listener, Router::new().fallback(answer)).await });
    url
}

/// What a sandbox of a build says to a command.
pub async fn run_in(built: &Built, snapshot: &str, command: &str) -> String {
    assert_eq!(built.snapshot["state"], "active", "{}", built.log);
    let one = built.account.sandbox(json!({"snapshot": snapshot})).await;
    one.until("started").await;
    one.run(command).await
}

#[tokio::test]
async fn files_of_the_network_are_added() {
    if !has_images() {
        return;
    }
    let (registry, url) = (Registry::start().await, files().await);
    let image = base_image(&registry).await;
    let digest = sha256(b"a tool\n");
    let dockerfile = format!(
        "FROM {image}\nARG URL={url}\nADD $URL/d/tool.txt /opt/\n\
         ADD --checksum={digest} --chmod=755 --chown=app:app $URL/to-tool /renamed\n"
    );
    let built = build(Account::new().await, "added", &dockerfile, &[]).await;
    let said = run_in(&built, "added", "cat /opt/tool.txt /renamed; stat -c '%a %Y' /opt/tool.txt /renamed").await;
    assert_eq!(said, "a tool\na tool\n600 1700000000\n755 1700000000\n");
    assert!(
        built.log.contains(&format!("Downloading {url}/d/tool.txt")) && built.log.contains(&digest),
        "{}",
        built.log
    );
    let again = build(built.account, "again", &dockerfile, &[]).await;
    assert_eq!(again.log.matches("Using cache").count(), 2, "{}", again.log);

    let own = &server().base_url;
    for (n, (line, reason)) in [
        (format!("ADD {url}/none /x"), "404"),
        (format!("ADD --checksum=sha256:00 {url}/d/tool.txt /x"), "not sha256:00"),
        (format!("ADD {url}/to-server /x"), "the server itself"),
        (format!("ADD {url}/to-loopback /x"), "can't reach this address"),
        (format!("ADD {}/d/tool.txt /x", url.replace("host.internal", "127.0.0.1")), "can't reach this address"),
        (format!("ADD {}/d/tool.txt /x", url.replace("host.internal", "localhost")), "can't reach this address"),
        (format!("ADD {own}/health /x"), "the server itself"),
        (format!("ADD {url}/ /x/"), "404"),
        ("ADD http://host.internal:1/x /x".to_owned(), "ADD http://host.internal:1/x"),
        (format!("COPY --checksum=sha256:00 {url}/d/tool.txt /x"), "--checksum is not supported"),
    ]
    .into_iter()
    .enumerate()
    {
        let account = Account { key: again.account.key.clone(), client: again.account.client.clone() };
        let failed = build(account, &format!("bad-{n}"), &format!("FROM {image}\n{line}\n"), &[]).await;
        let told = failed.snapshot["errorReason"].as_str().expect("a reason");
        assert!(failed.snapshot["state"] == "error" && told.contains(reason), "{line}: {told}");
    }
}

#[tokio::test]
async fn stages_are_taken_from_by_pattern_and_by_mount_and_scratch_is_empty() {
    if !has_images() {
        return;
    }
    let registry = Registry::start().await;
    let image = base_image(&registry).await;
    let dockerfile = format!(
        "FROM {image} AS maker\nRUN mkdir -p /out/sub && echo a > /out/a.whl && echo b > /out/b.whl && echo c > /out/c.txt \
         && echo d > /out/sub/d.whl\n\
         FROM scratch\nCOPY --from=maker / /\nCOPY --from=maker /out/*.whl /wheels/\n\
         RUN --mount=from=maker,source=/out,target=/seen --network=none cat /seen/sub/d.whl > /d && ls /out > /left\n\
         RUN --mount=type=bind,from=maker,source=/out/c.txt,target=/c.txt cat /c.txt > /copied\n"
    );
    let built = build(Account::new().await, "patterns", &dockerfile, &[]).await;
    let said = run_in(&built, "patterns", "ls /wheels /seen; cat /d /left /copied; id -un; ls /proc/self/status").await;
    assert_eq!(said, "/seen:\n\n/wheels:\na.whl\nb.whl\nd\na.whl\nb.whl\nc.txt\nsub\nc\nroot\n/proc/self/status\n");

    let other = dockerfile.replace("echo d", "echo other");
    let again = build(built.account, "other", &other, &[]).await;
    assert_eq!(run_in(&again, "other", "cat /d").await, "other\n", "another content is another step");
    for (line, reason) in
        [("COPY --from=0 /out/*.rs /x/", "nothing fits"), ("RUN --mount=from=0,source=/none,target=/x true", "/none")]
    {
        let account = Account { key: again.account.key.clone(), client: again.account.client.clone() };
        let name = format!("bad-{}", line.len());
        let failed = build(account, &name, &format!("FROM {image}\nRUN mkdir /out\nFROM {image}\n{line}\n"), &[]).await;
        let told = failed.snapshot["errorReason"].as_str().expect("a reason");
        assert!(failed.snapshot["state"] == "error" && told.contains(reason), "{line}: {told}");
    }
}

/// Self-hosted servers have `daytonaio/sandbox:<tag>` as their default snapshot's name.
#[tokio::test]
async fn the_default_image_is_a_snapshot_under_its_own_name() {
    let account = Account::new().await;
    let one = account.sandbox(json!({"snapshot": "daytonaio/sandbox:0.5.0"})).await;
    one.until("started").await;
    let record = one.api(Method::GET, "").await.1;
    assert_eq!((&record["snapshot"], &record["cpu"]), (&json!("daytonaio/sandbox:0.5.0"), &json!(1)));
    let seen = account.ok(Method::GET, "/snapshots/daytonaio%2Fsandbox:0.5.0", json!({})).await;
    assert_eq!((&seen["name"], &seen["general"]), (&json!("daytonaio/sandbox:0.5.0"), &json!(true)));
    assert_eq!(seen["enabled"], true, "Python models of 0.21 fail without it");
    for unknown in ["daytonaio/sandbox:", "daytonaio/other:1", "x/daytonaio/sandbox:1"] {
        assert_eq!(account.call(Method::POST, "/sandbox", json!({"snapshot": unknown})).await.0, 400, "{unknown}");
    }
}
