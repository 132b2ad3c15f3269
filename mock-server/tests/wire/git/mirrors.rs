//! `--git-mirrors`: remotes that are mirrored are reached offline, by the API and in a shell.

use std::{fs, os::unix::fs::PermissionsExt};

use daytona_mock::MockServer;
use serde_json::{Value, json};

use super::refused;
use crate::{
    api::Api,
    support::{Toolbox, client, config},
};

#[tokio::test]
async fn mirrored_remotes_are_cloned_pulled_and_not_pushed_to() {
    let mirrors = tempfile::tempdir().expect("a directory");
    let script = "git init -q -b main work && cd work && git config user.name n && git config user.email n@x &&
        echo hi >readme && git add . && git commit -qm one && mkdir -p ../github.com/someone &&
        git clone -q --bare . ../github.com/someone/thing.git && echo more >>readme && git commit -qam two";
    let run = |script: &str| {
        let status = std::process::Command::new("sh").args(["-ec", script]).current_dir(mirrors.path()).status();
        assert!(status.expect("sh runs").success());
    };
    run(script);
    fs::set_permissions(mirrors.path(), fs::Permissions::from_mode(0o755)).expect("mode");
    let server =
        MockServer::start(daytona_mock::config::Config { git_mirrors: Some(mirrors.path().into()), ..config() });
    let server = server.await.expect("the server starts");
    let api = Api { url: server.api_url.clone(), key: server.api_key.clone(), client: reqwest::Client::new() };
    let id = api.named("mirrored").await;
    let url = format!("{}/toolbox/{id}", server.api_url.trim_end_matches("/api"));
    let tb = Toolbox::new(url, client(&server.api_key));

    let plain = "https://github.com/someone/thing";
    for (path, url) in
        [("a", plain.to_owned()), ("b", format!("{plain}.git")), ("c", plain.replace("//", "//me:token@"))]
    {
        tb.git_ok("clone", json!({"url": url, "path": path})).await;
        assert_eq!(
            tb.run(&format!("cat {path}/readme; git -C {path} config remote.origin.url")).await,
            format!("hi\n{url}\n")
        );
        assert_eq!(tb.git_get(&format!("status?path={path}")).await["branchPublished"], Value::Bool(true));
    }
    run("git -C work push -q ../github.com/someone/thing.git main");
    for path in ["a", "b", "c"] {
        tb.git_ok("pull", json!({"path": path})).await;
        assert_eq!(tb.run(&format!("cat {path}/readme")).await, "hi\nmore\n");
    }
    tb.run("cd a && git pull -q && git fetch -q && git ls-remote >/dev/null").await;
    tb.git_ok("commit", json!({"path": "a", "message": "m", "author": "A", "email": "a@x", "allow_empty": true})).await;
    let status = tb.git("push", json!({"path": "a"})).await.status().as_u16();
    assert!([422, 500].contains(&status), "mirrors are read-only: {status}");
    refused(
        tb.git("clone", json!({"url": "https://no.such.host.invalid/x", "path": "x"})).await,
        502,
        "GIT_TRANSPORT_FAILED",
    )
    .await;
    server.shutdown().await;
}
