//! `--base IMAGE`: pulled from a registry, unpacked once, used by sandboxes, offline too.

pub mod registry;

use std::{fs, path::Path, time::Duration};

use daytona_mock::runtime::{
    BaseChoice, Isolation, IsolationChoice, Runtime, RuntimeConfig, Sandbox, SandboxSpec, base::prepare,
};
use serde_json::json;

use self::registry::{Layer, Pack, Registry, layer, packed, programs};
use crate::{runtime::execute, support};

fn config(dir: &Path, image: &str) -> RuntimeConfig {
    RuntimeConfig {
        data_dir: dir.join("data"),
        cache_dir: dir.join("cache"),
        isolation: support::isolation(),
        base: BaseChoice::Image(image.to_owned()),
        base_include: Vec::new(),
        git_mirrors: None,
        upstream_ca: Vec::new(),
        binary: support::binary(),
        limits: Default::default(),
    }
}

pub fn tier() -> Isolation {
    match support::isolation() {
        IsolationChoice::Exactly(isolation) => isolation,
        IsolationChoice::Auto if nix::unistd::geteuid().is_root() => Isolation::Root,
        IsolationChoice::Auto => Isolation::Single,
    }
}

/// False, and said so, where sandboxes have no root of their own.
pub fn has_images() -> bool {
    let has = tier() != Isolation::Process;
    if !has {
        println!("skipped: tier process has no images");
    }
    has
}

async fn why_not(dir: &Path, image: &str) -> String {
    prepare(&config(dir, image), tier()).await.expect_err("refused").to_string()
}

async fn sandbox(config: RuntimeConfig) -> (std::sync::Arc<Runtime>, std::sync::Arc<Sandbox>) {
    let runtime = Runtime::start(config).await.expect("the runtime");
    let spec = SandboxSpec { id: uuid::Uuid::new_v4().to_string(), user: "daytona".into(), ..SandboxSpec::default() };
    let sandbox = runtime.launch(&spec).await.expect("a sandbox");
    (runtime, sandbox)
}

async fn end(runtime: &Runtime, sandbox: &Sandbox) {
    sandbox.stop(Duration::ZERO).await;
    runtime.remove(sandbox.id()).await.expect("removed");
    runtime.shutdown().await;
}

/// A cache has directories that are closed to their owner.
fn remove(dir: tempfile::TempDir) {
    if tier() == Isolation::Subuid {
        // Other ids' files, for a run as root to remove.
        return drop(dir.keep());
    }
    let opened = std::process::Command::new("chmod").args(["-R", "u+rwX"]).arg(dir.path()).status();
    assert!(opened.expect("chmod").success());
    dir.close().expect("removed");
}

fn layers() -> Vec<Layer> {
    vec![
        programs(),
        layer(
            Pack::Zstd,
            "mkdir -p data/old data/kept etc; echo 1 > data/gone; echo 1 > data/old/x; echo low > data/kept/x",
        ),
        layer(
            Pack::Plain,
            "mkdir -p data/old; : > data/.wh.gone; : > data/old/.wh..wh..opq; echo new > data/old/y; ln data/old/y data/again",
        ),
    ]
}

#[tokio::test]
async fn an_image_is_a_base_and_stays_one_offline() {
    if !has_images() {
        return;
    }
    let (registry, dir) = (Registry::start().await, tempfile::tempdir().expect("a temporary directory"));
    let settings = json!({"Env": ["FROM_IMAGE=yes", "PATH=/usr/bin:/bin"], "WorkingDir": "/data", "Cmd": ["sh"]});
    let image = registry.push("some/base:1", &layers(), settings);
    let (runtime, one) = sandbox(config(dir.path(), &image)).await;
    let said = execute(&one, "id -un; cd /data; cat old/y again kept/x; ls; ls old; echo $FROM_IMAGE").await;
    assert_eq!(said, (0, "daytona\nnew\nnew\nlow\nagain\nkept\nold\ny\nyes".into()));
    assert_ne!(execute(&one, "touch /etc/x").await.0, 0, "/etc is open");
    assert!(runtime.info().base.contains(&image));
    end(&runtime, &one).await;

    registry.stop();
    let (runtime, two) = sandbox(config(dir.path(), &image)).await;
    assert_eq!(execute(&two, "cat /data/old/y").await.1, "new");
    end(&runtime, &two).await;
    let blobs = fs::read_dir(dir.path().join("cache/images/blobs")).expect("blobs").count();
    assert_eq!(blobs, 0, "blobs stay although they are unpacked");
    remove(dir);
}

#[tokio::test]
async fn layers_are_shared_between_images() {
    if !has_images() {
        return;
    }
    let (registry, dir) = (Registry::start().await, tempfile::tempdir().expect("a temporary directory"));
    let (low, top) = (programs(), layer(Pack::Gzip, "echo hi > top"));
    let one = registry.push("some/one:1", std::slice::from_ref(&low), json!({}));
    let two = registry.push("some/two:1", &[low.clone(), top], json!(null));
    prepare(&config(dir.path(), &one), tier()).await.expect("one");
    let base = prepare(&config(dir.path(), &two), tier()).await.expect("two");
    assert_eq!(registry.fetched(&registry::sha256(&low.blob)), 1, "pulled again");
    assert_eq!(base.overlays[0].lowers.len(), 3);
    drop(base);
    remove(dir);
}

#[tokio::test]
async fn what_cannot_be_had_is_said_so() {
    if !has_images() {
        return;
    }
    let (registry, dir) = (Registry::start().await, tempfile::tempdir().expect("a temporary directory"));
    let fine = layer(Pack::Gzip, "echo hi > x");
    let unknown = format!("{}/no/such:1", registry.host);
    let foreign = registry.push_for("some/foreign:1", std::slice::from_ref(&fine), json!({}), "windows", "amd64");
    let tampered = layer(Pack::Plain, "echo tampered > x");
    let broken = registry.push("some/broken:1", std::slice::from_ref(&tampered), json!({}));
    registry.tamper(&tampered);
    let lying = Layer { diff_id: registry::sha256(b"something else"), ..layer(Pack::Gzip, "echo other > x") };
    let lying = registry.push("some/lying:1", &[lying], json!({}));
    let no_archive = registry.push("some/junk:1", &[packed(Pack::Gzip, b"junk".repeat(400))], json!({}));
    let secret = registry.push("some/secret:1", std::slice::from_ref(&fine), json!({}));
    for (image, expected) in [
        (unknown.as_str(), "no such image"),
        (&foreign, "it has windows/amd64"),
        (&broken, "digest"),
        (&lying, "digest"),
        (&no_archive, "cannot unpack its layer"),
        ("127.0.0.1:1/some/thing:1", "can't be reached"),
        ("Not A Name", "image reference"),
    ] {
        let why = why_not(dir.path(), image).await;
        assert!(why.contains(expected) && why.contains(image), "{image}: {why}");
    }
    registry.require("me", "hunter3");
    let why = why_not(dir.path(), &secret).await;
    assert!(why.contains("access denied") && why.contains("docker login") && !why.contains("hunter"), "{why}");
    let made = dir.path().join("cache/bases");
    let left = fs::read_dir(made).into_iter().flatten().flatten().filter(|entry| entry.path().is_dir());
    assert_eq!(left.count(), 0, "something stays behind");
    remove(dir);
}

#[tokio::test]
async fn hostile_layers_do_not_get_out() {
    if !has_images() {
        return;
    }
    let (registry, dir) = (Registry::start().await, tempfile::tempdir().expect("a temporary directory"));
    let entry = |name: &str, kind: tar::EntryType, link: &str| {
        let mut header = tar::Header::new_ustar();
        header.set_entry_type(kind);
        header.set_mode(0o644);
        header.set_size(0);
        header.as_mut_bytes()[..name.len()].copy_from_slice(name.as_bytes());
        header.as_mut_bytes()[157..157 + link.len()].copy_from_slice(link.as_bytes());
        header.set_cksum();
        header.as_bytes().to_vec()
    };
    let out = dir.path().join("out").display().to_string();
    let file = tar::EntryType::Regular;
    let attacks: Vec<Vec<Vec<u8>>> = vec![
        vec![entry("../../../../out", file, "")],
        vec![entry(&out, file, "")],
        vec![entry("a", tar::EntryType::Symlink, &dir.path().display().to_string()), entry("a/out", file, "")],
        vec![entry("a", tar::EntryType::Symlink, &dir.path().display().to_string()), entry("a/.wh.out", file, "")],
        vec![entry("a", tar::EntryType::Link, "/etc/passwd")],
    ];
    for (n, attack) in attacks.into_iter().enumerate() {
        let mut bytes = attack.concat();
        bytes.extend([0; 1024]);
        let image = registry.push(&format!("some/bad{n}:1"), &[packed(Pack::Plain, bytes)], json!({}));
        let why = why_not(dir.path(), &image).await;
        assert!(why.contains("cannot unpack its layer"), "{why}");
        assert!(!dir.path().join("out").exists(), "attack {n} got out");
    }
    remove(dir);
}

#[tokio::test]
async fn the_user_s_docker_login_is_used() {
    if !has_images() {
        return;
    }
    let (registry, dir) = (Registry::start().await, tempfile::tempdir().expect("a temporary directory"));
    registry.require("me", "hunter3");
    let image = registry.push("some/private:1", &[programs()], json!({}));
    let auth = base64::Engine::encode(&base64::engine::general_purpose::STANDARD, "me:hunter3");
    let login = json!({"auths": {&registry.host: {"auth": auth}}});
    fs::write(dir.path().join("config.json"), login.to_string()).expect("a config");
    let ready = dir.path().join("ready.json");
    let mut server = tokio::process::Command::new(support::binary())
        .args(["serve", "--ephemeral", "--listen", "127.0.0.1:0", "--base", &image, "--ready-file"])
        .arg(&ready)
        .env("DOCKER_CONFIG", dir.path())
        .env("XDG_CACHE_HOME", dir.path())
        .env("DAYTONA_MOCK_ISOLATION", tier().to_string())
        .stdout(std::process::Stdio::null())
        .stderr(fs::File::create(dir.path().join("log")).expect("a log"))
        .kill_on_drop(true)
        .spawn()
        .expect("the server");
    let came = support::eventually("ready or ended", || {
        let ended = server.try_wait().expect("a status").is_some();
        std::future::ready((ended || ready.exists()).then_some(ready.exists()))
    })
    .await;
    let log = fs::read_to_string(dir.path().join("log")).expect("the log");
    assert!(came, "{log}");
    assert!(log.contains("pulling layer 1/1") && !log.contains("hunter3"), "{log}");
    nix::sys::signal::kill(nix::unistd::Pid::from_raw(server.id().expect("a pid") as i32), nix::sys::signal::SIGTERM)
        .expect("a signal");
    server.wait().await.expect("it ends");
    remove(dir);
}

/// Tier root: the kernel maps no owners on overlayfs, so what lies there is copied with owners that fit.
#[tokio::test]
async fn sources_on_overlayfs_are_copied_with_shifted_owners() {
    if tier() != Isolation::Root {
        return println!("skipped: only root mounts overlays and maps owners");
    }
    let dir = tempfile::tempdir().expect("a temporary directory");
    let root = dir.path().join("low/root");
    fs::create_dir_all(&root).expect("the root");
    let tar = zcat(&programs().blob);
    let mut archive = tar::Archive::new(tar.as_slice());
    archive.set_preserve_permissions(true);
    archive.unpack(&root).expect("unpacked");
    let app = root.join("srv");
    fs::create_dir_all(&app).expect("srv");
    std::os::unix::fs::chown(&app, Some(1234), Some(1234)).expect("chown");
    for name in ["up", "work", "merged"] {
        fs::create_dir(dir.path().join(name)).expect("a directory");
    }
    let path = |name: &str| dir.path().join(name).display().to_string();
    let options = format!("lowerdir={},upperdir={},workdir={}", path("low"), path("up"), path("work"));
    let merged = dir.path().join("merged");
    nix::mount::mount(Some("overlay"), &merged, Some("overlay"), nix::mount::MsFlags::empty(), Some(options.as_str()))
        .expect("an overlay");
    let mut config = config(dir.path(), "unused");
    config.base = BaseChoice::Directory(merged.join("root"));
    config.cache_dir = merged.join("cache");
    let (runtime, one) = sandbox(config).await;
    let said =
        execute(&one, "id -un; stat -c %u:%g /etc/passwd /srv /home/daytona; touch ~/mine; stat -c %a /tmp").await;
    assert_eq!(said, (0, "daytona\n0:0\n1234:1234\n1000:1000\n1777".into()));
    assert_ne!(execute(&one, "touch /etc/x").await.0, 0, "/etc is open");
    end(&runtime, &one).await;
    nix::mount::umount2(&merged, nix::mount::MntFlags::MNT_DETACH).expect("unmounted");
    remove(dir);
}

fn zcat(bytes: &[u8]) -> Vec<u8> {
    let mut plain = Vec::new();
    std::io::Read::read_to_end(&mut flate2::read::GzDecoder::new(bytes), &mut plain).expect("gzip");
    plain
}
