//! What sandboxes are made of: the host base and the others, as they lie on disk.

use std::{fs, os::unix::fs::MetadataExt, path::Path};

use daytona_mock::runtime::{
    BaseChoice, Isolation, IsolationChoice, RuntimeConfig,
    base::{Base, prepare},
};

fn config(dir: &Path, base: BaseChoice) -> RuntimeConfig {
    RuntimeConfig {
        data_dir: dir.join("data"),
        cache_dir: dir.join("cache"),
        isolation: IsolationChoice::Auto,
        base,
        base_include: Vec::new(),
        git_mirrors: None,
        binary: env!("CARGO_BIN_EXE_daytona-mock").into(),
    }
}

/// The tier whose owners this process can write.
fn tier() -> Isolation {
    if nix::unistd::geteuid().is_root() { Isolation::Root } else { Isolation::Single }
}

fn lower_of<'a>(base: &'a Base, target: &str) -> &'a Path {
    let overlay = base.overlays.iter().find(|overlay| overlay.target == Path::new(target)).expect("an overlay");
    &overlay.lowers[0]
}

#[tokio::test]
async fn host_base_has_programs_but_no_people_and_no_secrets() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let base = prepare(&config(dir.path(), BaseChoice::Host), tier()).await.expect("the host base");
    let root = lower_of(&base, "/");

    let passwd = fs::read_to_string(root.join("etc/passwd")).expect("passwd");
    assert!(passwd.contains("daytona:x:1000:1000::/home/daytona:/bin/bash\n"));
    assert!(passwd.starts_with("root:x:0:0:"));
    let shadow = fs::read_to_string(root.join("etc/shadow")).expect("shadow");
    assert!(shadow.lines().all(|line| line.split(':').nth(1) == Some("*")), "a password came along");
    for secret in ["etc/ssl/private", "etc/machine-id", "etc/shadow-", "etc/gshadow-", "etc/ssh/ssh_host_rsa_key"] {
        assert!(!root.join(secret).exists(), "{secret}");
    }
    assert!(root.join("etc/ssl/certs").is_dir() && root.join("etc/ld.so.cache").is_file());
    assert_eq!(fs::read_link(root.join("bin")).ok(), fs::read_link("/bin").ok());
    assert_eq!(fs::read_dir(root.join("home")).expect("homes").count(), 1, "homes of the host came along");
    assert_eq!(fs::metadata(root.join("tmp")).expect("tmp").mode() & 0o7777, 0o1777);
    if tier() == Isolation::Root {
        assert_eq!(fs::metadata(root.join("home/daytona/.bashrc")).expect("skel").uid(), 1000);
        assert_eq!(fs::metadata(root.join("etc/sudoers.d/daytona")).expect("sudoers").mode() & 0o7777, 0o440);
    }
    assert_eq!(base.env["PATH"], "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin");
    assert_eq!(
        (base.user.name.as_str(), base.user.uid, base.work_dir.as_path()),
        ("daytona", 1000, Path::new("/home/daytona"))
    );
}

#[tokio::test]
async fn a_base_is_made_once_however_many_ask() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let config = config(dir.path(), BaseChoice::Host);
    let (one, two) = tokio::join!(prepare(&config, tier()), prepare(&config, tier()));
    let (one, two) = (one.expect("the base"), two.expect("the base"));
    assert_eq!(one.overlays, two.overlays);
    let made = fs::metadata(lower_of(&one, "/")).expect("the skeleton").ino();
    let started = std::time::Instant::now();
    let again = prepare(&config, tier()).await.expect("the base");
    println!("warm prepare: {:?}", started.elapsed());
    assert_eq!(fs::metadata(lower_of(&again, "/")).expect("the skeleton").ino(), made);
}

#[tokio::test]
async fn included_directories_are_bound_where_they_are() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let mut config = config(dir.path(), BaseChoice::Host);
    config.base_include = vec![dir.path().to_owned()];
    let base = prepare(&config, tier()).await.expect("the base");
    let bind = base.binds.iter().find(|bind| bind.target == dir.path()).expect("the bind");
    assert!(bind.read_only && bind.source == dir.path());
    let mount_point = dir.path().strip_prefix("/").expect("an absolute path");
    assert!(lower_of(&base, "/").join(mount_point).is_dir());

    for refused in ["/etc", "relative", "/tmp/../root", "/no/such/directory"] {
        config.base_include = vec![refused.into()];
        let error = prepare(&config, tier()).await.expect_err(refused).to_string();
        assert!(error.contains("--base-include"), "{error}");
    }
}
