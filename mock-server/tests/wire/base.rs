//! What sandboxes are made of: the host base and the others, as they lie on disk.

use std::{
    fs,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use daytona_mock::runtime::{
    BaseChoice, Isolation, IsolationChoice, Runtime, RuntimeConfig, Sandbox, SandboxSpec,
    base::{Base, prepare},
};
use http_body_util::{BodyExt, Full};
use hyper::{body::Bytes, client::conn::http1};
use hyper_util::rt::TokioIo;

use crate::support::isolation;

fn config(dir: &Path, base: BaseChoice) -> RuntimeConfig {
    RuntimeConfig {
        data_dir: dir.join("data"),
        cache_dir: dir.join("cache"),
        isolation: IsolationChoice::Auto,
        base,
        base_include: Vec::new(),
        git_mirrors: None,
        upstream_ca: Vec::new(),
        limits: Default::default(),
        binary: std::env::var_os("DAYTONA_MOCK_TEST_BINARY")
            .map_or_else(|| env!("CARGO_BIN_EXE_daytona-mock").into(), PathBuf::from),
    }
}

/// Bases that tests share, so that each is made once.
fn shared_cache() -> PathBuf {
    std::env::var_os("DAYTONA_MOCK_TEST_CACHE")
        .map_or_else(|| concat!(env!("CARGO_TARGET_TMPDIR"), "/bases").into(), PathBuf::from)
}

/// Removes a cache of a test's own: in tier single its directories are closed to their owner.
fn remove_cache(dir: tempfile::TempDir) {
    let opened = std::process::Command::new("chmod").args(["-R", "u+rwX"]).arg(dir.path()).status();
    assert!(opened.expect("chmod").success());
    dir.close().expect("removed");
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
    let mut config = config(dir.path(), BaseChoice::Host);
    config.cache_dir = shared_cache();
    let base = prepare(&config, tier()).await.expect("the host base");
    let root = lower_of(&base, "/");

    let passwd = fs::read_to_string(root.join("etc/passwd")).expect("passwd");
    assert!(passwd.contains("daytona:x:1000:1000::/home/daytona:/bin/bash\n"));
    assert!(passwd.starts_with("root:x:0:0:"));
    if tier() == Isolation::Root {
        let shadow = fs::read_to_string(root.join("etc/shadow")).expect("shadow");
        assert!(shadow.lines().all(|line| line.split(':').nth(1) == Some("*")), "a password came along");
    }
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
    assert_eq!(
        base.env["PATH"],
        "/home/daytona/.local/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
    );
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
    remove_cache(dir);
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
    remove_cache(dir);
}

/// A running sandbox over the host base.
struct World {
    runtime: Arc<Runtime>,
    sandbox: Arc<Sandbox>,
    dir: tempfile::TempDir,
}

async fn start(change: impl FnOnce(&mut RuntimeConfig)) -> World {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let mut config = config(dir.path(), BaseChoice::Host);
    config.isolation = isolation();
    config.cache_dir = shared_cache();
    change(&mut config);
    let runtime = Runtime::start(config).await.expect("the runtime");
    let spec = SandboxSpec { id: uuid::Uuid::new_v4().to_string(), user: "daytona".into(), ..SandboxSpec::default() };
    let sandbox = runtime.launch(&spec).await.expect("a sandbox");
    World { runtime, sandbox, dir }
}

impl World {
    /// Exit code and output of a shell command inside.
    async fn run(&self, command: &str) -> (i64, String) {
        let stream = self.sandbox.connect().await.expect("a connection");
        let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await.expect("a handshake");
        tokio::spawn(connection);
        let body = serde_json::json!({"command": command, "timeout": 120}).to_string();
        let request = hyper::Request::post("/process/execute")
            .header("host", "sandbox")
            .header("content-type", "application/json")
            .body(Full::new(Bytes::from(body)))
            .expect("a request");
        let answer = sender.send_request(request).await.expect("an answer");
        let body = answer.into_body().collect().await.expect("a body").to_bytes();
        let body: serde_json::Value = serde_json::from_slice(&body).expect("JSON");
        let output = body["result"].as_str().unwrap_or_default().trim().to_owned();
        (body["exitCode"].as_i64().unwrap_or(-1), output)
    }

    /// Output of a command that must succeed.
    async fn ok(&self, command: &str) -> String {
        let (code, output) = self.run(command).await;
        assert_eq!(code, 0, "{command}: {output}");
        output
    }

    async fn end(self) {
        self.sandbox.stop(Duration::ZERO).await;
        self.runtime.remove(self.sandbox.id()).await.expect("removed");
        self.runtime.shutdown().await;
        drop(self.dir);
    }
}

#[tokio::test]
async fn programs_of_the_host_work_inside() {
    let world = start(|_| ()).await;
    assert_eq!(world.ok("whoami; id -u; pwd; echo $HOME").await, "daytona\n1000\n/home/daytona\n/home/daytona");
    assert_eq!(world.ok("python -c 'print(6*7)'").await, "42");
    assert_eq!(world.ok("node -p 6*7").await, "42");
    world.ok("npm --version && git --version && curl --version").await;
    world.ok("python -m venv --without-pip v && v/bin/python -c 'import ssl, sqlite3'").await;
    assert_eq!(world.run("ls /home").await.1, "daytona");
    assert_ne!(world.run("cat /root/.bashrc").await.0, 0, "root's home is open");
    assert_ne!(world.run("touch /etc/mine").await.0, 0, "/etc is open without sudo");
    assert_ne!(world.run("touch /usr/mine").await.0, 0, "/usr is open without sudo");
    world.ok("touch /tmp/a /var/tmp/b ~/c").await;
    world.end().await;
}

#[tokio::test]
async fn pip_installs_without_being_told_to_break_anything() {
    let world = start(|_| ()).await;
    let package = "mkdir -p p && printf '[project]\\nname=\"tiny\"\\nversion=\"1\"\\n' > p/pyproject.toml && \
        mkdir p/src && echo 'x=42' > p/tiny.py";
    world.ok(package).await;
    let marks = world.ok("ls /usr/lib/python3*/EXTERNALLY-MANAGED 2>/dev/null; true").await;
    assert_eq!(marks, "", "the mark is still there");
    let (_, output) = world.run("python -m pip install --no-index nonexistent-package-xyz 2>&1").await;
    assert!(output.contains("No matching distribution") && !output.contains("externally-managed"), "{output}");
    world.end().await;
}

#[tokio::test]
async fn users_install_programs_for_themselves() {
    let world = start(|_| ()).await;
    world.ok("mkdir -p ~/.local/bin && printf '#!/bin/sh\necho own' > ~/.local/bin/own-program && chmod 755 ~/.local/bin/*").await;
    assert_eq!(world.ok("own-program").await, "own");
    if world.run("command -v npm").await.0 == 0 {
        assert_eq!(world.ok("npm prefix -g").await, "/home/daytona/.local");
        world.ok("sudo chown -R $(whoami) $(npm prefix -g)").await;
        // What this machine says for all holds inside, too.
        let global = world.ok("npm config get globalconfig").await;
        for place in ["/usr/local/etc/npmrc", "/usr/etc/npmrc", "/etc/npmrc"] {
            assert!(global != "/home/daytona/.local/etc/npmrc" || !Path::new(place).exists(), "{place} is passed over");
        }
        world
            .ok("mkdir p && cd p && echo '{\"name\":\"p\",\"version\":\"1.0.0\",\"bin\":\"p.js\"}' > package.json")
            .await;
        world.ok("printf '#!/usr/bin/env node\nconsole.log(7)' > p/p.js && npm install -g --offline ./p").await;
        assert_eq!(world.ok("p").await, "7");
    }
    world.end().await;
}

#[tokio::test]
async fn sudo_and_packages_work_inside() {
    let world = start(|_| ()).await;
    assert_eq!(world.ok("sudo whoami && sudo -n -E id -u").await, "root\n0");
    assert_eq!(world.ok("sudo touch /etc/mine && ls /etc/mine").await, "/etc/mine");
    assert_eq!(
        world.ok("PATH=/usr/bin:/bin sudo -n id -u && sudo -nv && /usr/bin/sudo -g nogroup id -gn").await,
        "0\nnogroup"
    );
    if world.run("command -v dpkg-deb").await.0 == 0 {
        world.ok("mkdir -p p/DEBIAN p/usr/share/tiny && echo hello > p/usr/share/tiny/data").await;
        let control = "Package: tiny\\nVersion: 1\\nArchitecture: all\\nMaintainer: nobody <n@example.org>\\nDescription: tiny\\n";
        world.ok(&format!("printf '{control}' > p/DEBIAN/control")).await;
        let script = "#!/bin/sh\\nset -e\\nuseradd --system tinyuser\\nchown tinyuser /usr/share/tiny/data\\n";
        world.ok(&format!("printf '{script}' > p/DEBIAN/postinst && chmod 755 p/DEBIAN/postinst")).await;
        world.ok("dpkg-deb --root-owner-group -b p tiny.deb && sudo apt-get install -y ./tiny.deb").await;
        assert_eq!(world.ok("cat /usr/share/tiny/data && dpkg-query -W tiny").await, "hello\ntiny\t1");
    }
    world.end().await;
}

#[tokio::test]
async fn remotes_that_are_mirrored_are_cloned_offline() {
    let mirrors = tempfile::tempdir().expect("a temporary directory");
    let bare = mirrors.path().join("github.com/someone/thing.git");
    let script = format!(
        "set -e; git init -q -b main {work} && cd {work} && echo hi > readme && git add . && \
         git -c user.name=n -c user.email=n@example.org commit -qm one && git clone -q --bare . {bare}",
        work = mirrors.path().join("work").display(),
        bare = bare.display(),
    );
    let made = std::process::Command::new("sh").args(["-c", &script]).status().expect("git");
    assert!(made.success());
    std::fs::set_permissions(mirrors.path(), std::os::unix::fs::PermissionsExt::from_mode(0o755)).expect("mode");
    let world = start(|config| config.git_mirrors = Some(mirrors.path().to_owned())).await;
    world.ok("git clone -q https://github.com/someone/thing && cat thing/readme").await;
    world.ok("git clone -q https://github.com/someone/thing.git again && sudo git clone -q https://github.com/someone/thing r").await;
    assert_ne!(world.run("touch /srv/git-mirrors/x").await.0, 0, "mirrors can be written to");
    world.end().await;
}

#[tokio::test]
async fn an_archive_is_a_base() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let archive = dir.path().join("root.tar.gz");
    // Dynamic programs of the host, through a bind; the rest is the archive's.
    let script = format!(
        "set -e; cd {}; mkdir -p r/etc r/usr r/tmp r/root; chmod 700 r/root; echo 'root:x:0:0::/root:/bin/sh' > r/etc/passwd; \
         echo 'root:x:0:' > r/etc/group; ln -s usr/bin r/bin; ln -s usr/lib r/lib; ln -s usr/lib64 r/lib64; echo ours > r/etc/issue; \
         tar -C r --owner=0 --group=0 -czf root.tar.gz .",
        dir.path().display()
    );
    assert!(std::process::Command::new("sh").args(["-c", &script]).status().expect("tar").success());
    let world = start(|config| {
        config.base = BaseChoice::Tarball(archive.clone());
        config.base_include = vec!["/usr".into()];
    })
    .await;
    assert_eq!(world.ok("whoami; cat /etc/issue; pwd").await, "daytona\nours\n/home/daytona");
    assert_ne!(world.run("touch /etc/mine").await.0, 0, "/etc is open");
    assert_ne!(world.run("ls /root").await.0, 0, "/root is open");
    world.end().await;
}

#[tokio::test]
async fn a_directory_of_roots_is_a_base() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    // Only root can make one, so `scripts/test` makes it for the others.
    let made = std::env::var_os("DAYTONA_MOCK_TEST_ROOTS_TREE").map(PathBuf::from);
    let root = made.unwrap_or_else(|| {
        let script = include_str!("roots_tree.sh");
        let root = dir.path().join("r");
        let done = std::process::Command::new("sh").args(["-c", script, "sh"]).arg(&root).status();
        assert!(done.expect("sh").success());
        root
    });
    if fs::metadata(&root).expect("the tree").uid() != 0 {
        println!(
            "SKIPPED: a_directory_of_roots_is_a_base: tests neither run as root nor have DAYTONA_MOCK_TEST_ROOTS_TREE"
        );
        return;
    }
    let world = start(|config| {
        config.base = BaseChoice::Directory(root.clone());
        config.base_include = vec!["/usr".into()];
    })
    .await;
    if world.runtime.info().isolation == Isolation::Process {
        return println!("SKIPPED in tier process: a_directory_of_roots_is_a_base");
    }
    assert_eq!(world.ok("cd /tmp && mkdir t && echo x > t/x && cat t/x /srv/all").await, "x\nall");
    world.ok("touch /srv/open/new && echo more >> /srv/all && echo more >> ~/.profile && touch ~/new").await;
    for closed in ["touch /etc/new", "echo x >> /etc/passwd", "ls /root", "cat /etc/hidden"] {
        assert_ne!(world.run(closed).await.0, 0, "{closed}");
    }
    assert_eq!(
        fs::read_to_string(root.join("srv/all")).expect("the file"),
        "all\n",
        "the tree itself is never changed"
    );
    world.end().await;
}

#[tokio::test]
async fn what_is_no_base_is_said_so() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let file = dir.path().join("no-archive");
    fs::write(&file, "hello".repeat(500)).expect("a file");
    let cases = [
        (BaseChoice::Directory("/".into()), "--base host"),
        (BaseChoice::Directory("/no/such".into()), "/no/such"),
        (BaseChoice::Tarball(file), "cannot unpack"),
    ];
    for (base, expected) in cases {
        let error = prepare(&config(dir.path(), base), tier()).await.expect_err(expected).to_string();
        assert!(error.contains(expected), "{error}");
    }
    let left = fs::read_dir(dir.path().join("cache/bases")).expect("the cache").flatten();
    assert!(left.map(|e| e.path()).all(|p| !p.is_dir()), "something unfinished stays behind");
}
