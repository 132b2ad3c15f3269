//! Forks of machines: their files, their family, and what a family refuses.

use reqwest::Method;
use serde_json::{Value, json};

use crate::{
    api::{Api, id, names},
    images::has_images,
    pause::machine,
    support::{Sandbox, eventually},
    timers::{advance, frozen},
};

const HAS_FORKS: &str = "Cannot delete sandbox which has active fork children. The forks must be deleted first.";

async fn fork(parent: &Sandbox, body: Value) -> (Value, Sandbox) {
    let url = format!("{}/sandbox/{}/fork", crate::support::server().api_url, parent.id);
    let answer = parent.client.post(url).json(&body).send().await.expect("answer");
    let (status, made) = crate::api::answer(answer).await;
    assert_eq!(status, 200, "{made}");
    let child = Sandbox { id: id(&made), key: parent.key.clone(), client: parent.client.clone() };
    child.until("started").await;
    (made, child)
}

#[tokio::test]
async fn a_fork_has_the_files_and_goes_its_own_way() {
    if !has_images() {
        return;
    }
    let (api, parent) =
        machine(json!({"labels": {"code-toolbox-language": "python", "a": "b"}, "env": {"V": "1"}})).await;
    let fill = "cd; mkdir -p d/e; echo deep > d/e/f; ln d/e/f hard; ln -s d/e/f soft; chmod 640 hard; \
        truncate -s 50M sparse; printf x | dd of=sparse bs=1 seek=40000000 conv=notrunc 2>/dev/null; \
        rm -rf /usr/share/doc/base-files; sudo touch /etc/mine; touch -d @1000000000 d; sleep 4444 >/dev/null 2>&1 &";
    parent.run(fill).await;
    let (made, child) = fork(&parent, json!({"name": "child"})).await;
    assert_eq!(
        (&made["name"], &made["state"], &made["desiredState"]),
        (&json!("child"), &json!("creating"), &json!("started"))
    );
    assert_eq!(
        (&made["labels"]["a"], &made["env"]["V"], &made["sandboxClass"]),
        (&json!("b"), &json!("1"), &json!("linux-vm"))
    );
    parent.until("started").await;
    let look = "cd; cat d/e/f hard soft; stat -c '%h %a' hard; stat -c '%s' sparse; \
        test $(du -k sparse | cut -f1) -lt 5000 && echo sparse; tail -c +40000001 sparse | head -c 1; echo; \
        stat -c %Y d; ls /etc/mine; pgrep -x sleep || echo alone; hostname";
    let seen = child.run(look).await;
    let expected =
        format!("deep\ndeep\ndeep\n2 640\n52428800\nsparse\nx\n1000000000\n/etc/mine\nalone\n{}\n", child.id);
    assert_eq!(seen, expected);
    child.run("echo other > ~/d/e/f; sudo rm /etc/mine").await;
    assert_eq!(
        parent.run("cat ~/hard; ls /etc/mine; pgrep -x sleep >/dev/null && echo runs").await,
        "deep\n/etc/mine\nruns\n"
    );

    // The family.
    let (_, grandchild) = fork(&child, json!({})).await;
    let (_, forks) = parent.api(Method::GET, "/forks").await;
    assert_eq!(names(&json!({"items": forks})), ["child"]);
    assert_eq!(grandchild.api(Method::GET, "/parent").await.1["id"], json!(child.id));
    let (_, ancestors) = grandchild.api(Method::GET, "/ancestors").await;
    let ids: Vec<&Value> = ancestors.as_array().expect("a list").iter().map(|one| &one["id"]).collect();
    assert_eq!(ids, [&json!(parent.id), &json!(child.id)], "oldest first");
    assert_eq!(parent.api(Method::GET, "/parent").await.0, 404);

    // Parents outlive their forks.
    api.refused("DELETE", &format!("/sandbox/{}", parent.id), Value::Null, 400, HAS_FORKS).await;
    for sandbox in [&grandchild, &child] {
        assert_eq!(sandbox.api(Method::DELETE, "").await.0, 200);
    }
    assert_eq!(parent.api(Method::GET, "/forks").await.1, json!([]));
    assert_eq!(parent.api(Method::DELETE, "").await.0, 200);
    api.until_gone(&parent.id).await;
}

#[tokio::test]
async fn what_a_fork_refuses() {
    let (api, parent) = machine(json!({"name": "p"})).await;
    api.refused("POST", "/sandbox/p/fork", json!({"name": "p"}), 409, "Sandbox with this name already exists").await;
    api.refused(
        "POST",
        "/sandbox/p/fork",
        json!({"name": 5}),
        400,
        "name must not contain HTML tags, URLs, or control characters, name must be a string",
    )
    .await;
    parent.api(Method::POST, "/stop?force=true").await;
    parent.until("stopped").await;
    api.refused("POST", "/sandbox/p/fork", json!({}), 400, "Sandbox must be in started state to fork").await;
    let containers = Api::new().await;
    containers.named("c").await;
    containers.refused("POST", "/sandbox/c/fork", json!({}), 422, "Forking is not supported for this sandbox").await;
    api.refused("POST", "/sandbox/nope/fork", json!({}), 404, "Sandbox with ID or name nope not found").await;
}

#[tokio::test]
async fn of_two_forks_at_once_with_one_name_one_is_made() {
    let (api, parent) = machine(json!({})).await;
    let path = format!("/sandbox/{}/fork", parent.id);
    let mut answers = futures_util::future::join_all((0..3).map(|_| api.post(&path, json!({"name": "one"})))).await;
    answers.sort_by_key(|(status, _)| *status);
    assert_eq!(answers[0].0, 200, "{answers:?}");
    assert!(answers[1..].iter().all(|(status, _)| *status == 409 || *status == 400), "{answers:?}");
    parent.until("started").await;
    let (_, forks) = parent.api(Method::GET, "/forks").await;
    assert_eq!(forks.as_array().map(Vec::len), Some(1));
}

#[tokio::test]
async fn a_parent_whose_time_is_over_goes_after_its_forks() {
    let (server, api) = frozen().await;
    let body = json!({"name": "p", "snapshot": "daytona-vm-small", "ttlMinutes": 5, "autoPauseInterval": 0});
    let parent = id(&api.sandbox(body).await);
    let (status, fork) = api.post("/sandbox/p/fork", json!({"name": "f"})).await;
    assert_eq!(status, 200, "{fork}");
    api.until("f", "started").await;
    api.post("/sandbox/f/ttl/0", Value::Null).await;
    advance(&api, 6).await;
    assert_eq!(api.get("/sandbox/p").await.0, 200, "it has a fork");
    api.delete("/sandbox/f").await;
    eventually("the parent is gone", async || (api.get(&format!("/sandbox/{parent}")).await.0 == 404).then_some(()))
        .await;
    server.shutdown().await;
}
