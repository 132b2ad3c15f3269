//! OpenSSH's programs and rsync against the gateway.

use super::{access, file_of, good, program, run};
use crate::support::eventually;

#[tokio::test]
async fn commands_have_their_exit_code_and_separate_outputs() {
    let access = access().await;
    let output = access.run(&[], "echo out; echo err >&2; pwd; echo x > /dev/stderr; exit 7", b"").await;
    assert_eq!(output.status.code(), Some(7));
    assert_eq!(String::from_utf8_lossy(&output.stderr), "err\nx\n");
    let out = String::from_utf8_lossy(&output.stdout);
    assert!(out.starts_with("out\n/"), "{out}");
    // Observed: a signal's death is 1.
    assert_eq!(access.run(&[], "kill -9 $$", b"").await.status.code(), Some(1));
    assert_eq!(access.run(&[], "no-such-program", b"").await.status.code(), Some(127));
    assert_eq!(good(&access.run(&["-oSetEnv=GIVEN=value"], "echo $GIVEN", b"").await), "value\n");
}

#[tokio::test]
async fn input_passes_both_ways_and_its_end_is_seen() {
    let access = access().await;
    let input = file_of(&std::env::temp_dir(), &format!("ssh-{}", access.sandbox.id), 8 << 20);
    _ = std::fs::remove_file(std::env::temp_dir().join(format!("ssh-{}", access.sandbox.id)));
    let output = access.run(&[], "cat", &input).await;
    assert!(output.status.success() && output.stdout == input, "{} bytes, {:?}", output.stdout.len(), output.status);
    assert_eq!(good(&access.run(&[], "wc -c", &input).await).trim(), (8 << 20).to_string());
    // A script over the input of a shell, as VS Code starts its server.
    let mut script = "x=0\n".to_owned();
    (0..500).for_each(|_| script.push_str("x=$((x + 1))\n"));
    script.push_str("echo $x\nexit 3\n");
    let output = access.run(&["-T"], "sh", script.as_bytes()).await;
    assert_eq!((output.status.code(), &*output.stdout), (Some(3), &b"500\n"[..]));
    // What isn't read doesn't keep the end back.
    assert!(access.run(&[], "true", &input).await.status.success());
    // A shell without a terminal.
    let mut ssh = access.ssh();
    ssh.args(["-T", &access.host()]);
    assert_eq!(good(&run(ssh, b"echo from $0; exit\n").await), "from /bin/sh\n");
}

#[tokio::test]
async fn terminals_are_real() {
    let access = access().await;
    let command = "test -t 0 && test -t 1 && tty && stty size && echo $TERM && echo e >&2; exit 4";
    let output = access.run(&["-tt"], command, b"").await;
    let shown = String::from_utf8_lossy(&output.stdout).replace("\r\n", "\n");
    assert_eq!(output.status.code(), Some(4), "{shown}");
    assert!(shown.starts_with("/dev/pts/") && shown.ends_with("\ne\n"), "{shown}");
    let mut ssh = access.ssh();
    ssh.args(["-tt", &access.host()]);
    let shown = good(&run(ssh, b"shopt -q login_shell && echo lo''gin; exit\n").await);
    assert!(shown.contains("login\r\n"), "{shown}");
}

#[tokio::test]
async fn sftp_lists_copies_and_changes() {
    let access = access().await;
    let dir = tempfile::tempdir().expect("temp dir");
    let bytes = file_of(dir.path(), "up", 3 << 20);
    let mut sftp = access.copier("sftp");
    sftp.args(["-b", "-", &access.host()]).current_dir(&dir);
    let batch = "pwd\nmkdir made\nput up made/a\nrename made/a made/b\nln -s b made/c\nchmod 640 made/b\n\
                 ls -la made\nget made/b down\ndf made\nrm made/c\nrm made/b\nrmdir made\nls -a made\n";
    let output = run(sftp, batch.as_bytes()).await;
    let shown = String::from_utf8_lossy(&output.stdout);
    assert_eq!(output.status.code(), Some(1), "the last one fails: {output:?}");
    assert!(String::from_utf8_lossy(&output.stderr).contains("not found"), "{output:?}");
    assert!(shown.contains("Remote working directory: /"), "{shown}");
    let itself = shown.lines().filter(|line| line.starts_with('d') && line.ends_with('.')).count();
    assert_eq!(itself, 2, "it and what it is in: {shown}");
    assert!(shown.contains("-rw-r-----") && shown.contains("lrwxrwxrwx"), "{shown}");
    assert!(std::fs::read(dir.path().join("down")).expect("downloaded") == bytes);
}

#[tokio::test]
async fn scp_copies_in_both_of_its_ways() {
    let access = access().await;
    let dir = tempfile::tempdir().expect("temp dir");
    let bytes = file_of(dir.path(), "a file", 1 << 20);
    // The old way needs the program inside.
    let old = access.run(&[], "command -v scp", b"").await.status.success();
    for way in [&["-s"][..], &["-O"][..]].iter().take(1 + usize::from(old)) {
        let (there, back) = (access.remote("there"), dir.path().join("back"));
        let mut up = access.copier("scp");
        up.args(*way).arg("-p").arg(dir.path().join("a file")).arg(&there);
        good(&run(up, b"").await);
        let mut down = access.copier("scp");
        down.args(*way).arg(&there).arg(&back);
        good(&run(down, b"").await);
        assert!(std::fs::read(&back).expect("copied back") == bytes, "{way:?}");
        std::fs::remove_file(back).expect("removed");
    }
}

#[tokio::test]
async fn rsync_copies_a_tree() {
    let access = access().await;
    if !access.run(&[], "command -v rsync", b"").await.status.success() {
        eprintln!("skipped: the base has no rsync");
        return;
    }
    let dir = tempfile::tempdir().expect("temp dir");
    let tree = dir.path().join("tree");
    std::fs::create_dir_all(tree.join("below")).expect("made");
    (0..50).for_each(|n| drop(file_of(&tree.join("below"), &n.to_string(), n * 1000)));
    let shell = format!("ssh {} -p {}", super::OPTIONS.join(" "), access.port);
    for (from, to) in [
        (format!("{}/", tree.display()), access.remote("tree/")),
        (access.remote("tree/"), format!("{}/", dir.path().join("back").display())),
    ] {
        let mut rsync = program("rsync");
        rsync.args(["-a", "-e", &shell, &from, &to]);
        good(&run(rsync, b"").await);
    }
    let same = std::process::Command::new("diff").arg("-r").arg(&tree).arg(dir.path().join("back")).status();
    assert!(same.expect("diff").success());
}

#[tokio::test]
async fn whoever_vanishes_is_hung_up_on_but_not_what_was_detached() {
    let access = access().await;
    let running = async |marker: &str| {
        let command = format!("pgrep -f '[s]leep {marker}' >/dev/null && echo yes || echo no");
        access.sandbox.run(&command).await.trim() == "yes"
    };
    for options in [&["-T"][..], &["-tt"][..]] {
        let marker = format!("{}", 700_000 + options[0].len());
        let mut ssh = access.ssh();
        let detached = "nohup sleep 600000 >/dev/null 2>&1 & ";
        ssh.args(options).arg(access.host()).arg(format!("{detached} sleep {marker}"));
        let mut client = ssh.spawn().expect("ssh");
        eventually("it runs", async || running(&marker).await.then_some(())).await;
        client.kill().await.expect("killed");
        eventually("it is gone", async || (!running(&marker).await).then_some(())).await;
        assert!(running("600000").await, "{options:?}");
        access.sandbox.run("pkill -f '[s]leep 600000'; true").await;
    }
}
