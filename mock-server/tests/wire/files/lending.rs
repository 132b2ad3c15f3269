//! Large files, which the server reads itself (`runtime/lending.rs`).

use daytona_mock::runtime::{Isolation, IsolationChoice};
use reqwest::{Method, Response};
use serde_json::{Value, json};

use super::download::is_open;
use crate::{
    faults::of,
    journal::entries,
    support::{Sandbox, eventually, isolation, sandbox},
};

const HEADER: &str = "X-Daytona-Mock-Lend";

async fn download(sandbox: &Sandbox, name: &str, offer: Option<&str>) -> Response {
    let mut request = sandbox.client.get(sandbox.url(&format!("/files/download?path={name}")));
    if let Some(offer) = offer {
        request = request.header(HEADER, offer);
    }
    let answer = request.send().await.expect("answer");
    assert_eq!(answer.status(), 200);
    assert!(!answer.headers().contains_key(HEADER), "{:?}", answer.headers());
    answer
}

#[tokio::test]
async fn nobody_else_is_lent_a_file() {
    let sandbox = sandbox().await;
    sandbox.run("head -c 1000000 /dev/urandom > big").await;
    let sum = sandbox.run("sha256sum < big").await;
    for offer in [None, Some("0"), Some("4294967295"), Some("-1"), Some("0-10")] {
        let body = download(&sandbox, "big", offer).await.bytes().await.expect("whole");
        assert_eq!(body.len(), 1_000_000, "{offer:?}");
        let again = sandbox.client.post(sandbox.url("/files/upload-v2?path=again")).body(body).send().await;
        assert_eq!(again.expect("answer").status(), 200);
        assert_eq!(sandbox.run("sha256sum < again").await, sum, "{offer:?}");
    }
    // The agent itself, for who is inside.
    let inside = "import urllib.request as u
url = 'http://localhost:2280/files/download?path=/home/daytona/big'
answer = u.urlopen(u.Request(url, headers={'X-Daytona-Mock-Lend': '0'}))
print(len(answer.read()), answer.headers.get('X-Daytona-Mock-Lend'))";
    if isolation() != IsolationChoice::Exactly(Isolation::Process) {
        assert_eq!(sandbox.run(&format!("python3 -c \"{inside}\"")).await, "1000000 None\n");
    }
}

#[tokio::test]
async fn the_journal_tells_whole_downloads_from_others() {
    let sandbox = sandbox().await;
    sandbox.run("head -c 3000000 /dev/urandom > big").await;
    let api = of(&sandbox);
    drop(download(&sandbox, "big", None).await.bytes().await.expect("whole"));
    let whole = entries(&api, "operation=DownloadFile&until=1&open=false").await.pop().expect("one");
    assert_eq!((&whole["aborted"], &whole["response"]["bytes"]), (&Value::Null, &json!(3_000_000)), "{whole}");
    sandbox.run("truncate -s 2G big").await;
    let mut broken = download(&sandbox, "big", None).await;
    assert!(broken.chunk().await.expect("some of it").is_some());
    drop(broken);
    let broken = entries(&api, "operation=DownloadFile&until=2&open=false").await.pop().expect("one");
    assert_eq!(broken["aborted"], true, "{broken}");
}

#[tokio::test]
async fn a_download_ends_with_its_sandbox() {
    if !nix::unistd::geteuid().is_root() {
        return println!("skipped: a_download_ends_with_its_sandbox: only root sees what a server has open");
    }
    let sandbox = sandbox().await;
    let name = format!("big-{}", uuid::Uuid::new_v4());
    sandbox.run(&format!("truncate -s 2G {name}")).await;
    let mut answer = download(&sandbox, &name, None).await;
    assert!(answer.chunk().await.expect("some of it").is_some());
    assert!(is_open(&name));
    let (status, body) = sandbox.api(Method::POST, "/stop").await;
    assert_eq!(status, 200, "{body}");
    sandbox.until("stopped").await;
    // Though the client neither reads on nor leaves.
    eventually("it is closed", async || (!is_open(&name)).then_some(())).await;
    let rest = async {
        while answer.chunk().await?.is_some() {}
        Ok::<_, reqwest::Error>(())
    };
    rest.await.expect_err("its size was promised");
}
