//! A world that moves from a server of root to one of an ordinary user, and back.

use std::{
    os::unix::{fs::MetadataExt, fs::PermissionsExt, fs::chown, process::CommandExt},
    path::Path,
    process::{Command, Stdio},
};

use serde_json::json;

use crate::{
    api::Api,
    images::has_images,
    moving::{FILL, LOOK, another, restored, run, saved},
    store::spawn,
    support::copy_binary,
};

/// Who has nothing.
const NOBODY: u32 = 65534;

/// The program as an ordinary user runs it, in tier single.
fn ordinary(dir: &Path) -> Command {
    let mut command = program(dir);
    command.args(["serve", "--isolation", "single"]);
    command
}

/// Makes a directory for [`program`]: its data, which are that user's.
pub fn give_away(dir: &Path) {
    let data = dir.join("data");
    std::fs::create_dir(&data).expect("made");
    chown(&data, Some(NOBODY), Some(NOBODY)).expect("given away");
}

/// The program as nobody runs it, who has no right to anything but `data` in this directory.
pub fn program(dir: &Path) -> Command {
    let program = dir.join("daytona-mock");
    if !program.exists() {
        copy_binary(&program);
        for path in [dir, &program] {
            std::fs::set_permissions(path, PermissionsExt::from_mode(0o755)).expect("readable");
        }
    }
    let mut command = Command::new(program);
    command.uid(NOBODY).gid(NOBODY).current_dir("/").env_remove("XDG_RUNTIME_DIR").env("HOME", dir);
    command.env("XDG_CACHE_HOME", dir.join("data"));
    command
}

#[tokio::test]
async fn a_world_moves_between_root_and_an_ordinary_user() {
    let is_root = std::fs::metadata("/proc/self").expect("/proc").uid() == 0;
    if !is_root || !has_images() {
        return;
    }
    let dir = tempfile::tempdir().expect("temp dir");
    let data = dir.path().join("data");
    give_away(dir.path());
    let mut unshare = Command::new("unshare");
    let allowed = unshare.args(["--user", "true"]).uid(NOBODY).gid(NOBODY).stderr(Stdio::null()).status();
    if !allowed.is_ok_and(|status| status.success()) {
        println!("SKIPPED: ordinary users can't isolate here");
        return;
    }
    let plain = spawn(&data, ordinary(dir.path())).await;

    let api = Api::new().await;
    api.post("/volumes", json!({"name": "data"})).await;
    let volumes = json!([{"volumeId": "data", "mountPath": "/home/daytona/data"}]);
    api.sandbox(json!({"name": "web", "volumes": volumes})).await;
    run(&api, "web", FILL).await;
    // There is one user in tier single.
    let look = LOOK.replace("stat -c '%U %G' /etc/mine; ", "");
    let seen = run(&api, "web", &look).await;
    let (status, told) = restored(&plain.api, saved(&api, "").await).await;
    assert_eq!(status, 201, "{told}");
    assert_eq!(run(&plain.api, "web", &look).await, seen);
    assert_eq!(run(&plain.api, "web", "stat -c '%U %G' /etc/mine").await, "daytona daytona\n");

    run(&plain.api, "web", "echo more > ~/more; sudo touch /etc/more; rm ~/soft").await;
    let seen = run(&plain.api, "web", &look).await;
    let back = another(&api).await;
    let (status, told) = restored(&back, saved(&plain.api, "").await).await;
    assert_eq!(status, 201, "{told}");
    assert_eq!(run(&back, "web", &look).await, seen);
    assert_eq!(
        run(&back, "web", "cat ~/more; sudo chown root /etc/more && stat -c %U /etc/more").await,
        "more\nroot\n"
    );
    plain.kill();
}
