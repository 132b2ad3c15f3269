//! SSH: access over the API, and the gateway as OpenSSH's own programs and a client of our own see it.

mod access;
mod client;
mod forwards;
mod lives;
mod programs;

use std::{
    io::Write,
    path::Path,
    process::{Output, Stdio},
    time::Duration,
};

use reqwest::Method;
use serde_json::Value;
use tokio::{io::AsyncWriteExt, process::Command};

use crate::support::{Sandbox, sandbox};

/// What one run of a program may take on a busy machine.
const PATIENCE: Duration = Duration::from_secs(60);

/// A sandbox with SSH access.
pub struct Access {
    pub sandbox: Sandbox,
    pub token: String,
    pub port: u16,
}

pub async fn access() -> Access {
    let sandbox = sandbox().await;
    let (token, port) = token(&sandbox).await;
    Access { sandbox, token, port }
}

/// A fresh token, and the port that it counts for.
async fn token(sandbox: &Sandbox) -> (String, u16) {
    let (status, access) = sandbox.api(Method::POST, "/ssh-access").await;
    assert_eq!(status, 200, "{access}");
    (text(&access, "token"), port(&access))
}

fn text(object: &Value, field: &str) -> String {
    object[field].as_str().unwrap_or_else(|| panic!("{field}: {object}")).to_owned()
}

/// Of `ssh -p PORT TOKEN@HOST`.
fn port(access: &Value) -> u16 {
    let command = text(access, "sshCommand");
    let port = command.split(' ').nth(2).and_then(|port| port.parse().ok());
    port.unwrap_or_else(|| panic!("{command}"))
}

/// Nothing of this machine's own configuration, and no questions.
const OPTIONS: &[&str] = &[
    "-F/dev/null",
    "-oStrictHostKeyChecking=no",
    "-oUserKnownHostsFile=/dev/null",
    "-oLogLevel=ERROR",
    "-oBatchMode=yes",
    "-oIdentityFile=none",
    "-oIdentityAgent=none",
];

impl Access {
    fn host(&self) -> String {
        format!("{}@127.0.0.1", self.token)
    }

    /// `ssh`, to be given options; [`Access::run`] adds host and command.
    pub fn ssh(&self) -> Command {
        let mut command = program("ssh");
        command.args(OPTIONS).arg(format!("-p{}", self.port));
        command
    }

    /// `ssh OPTIONS host COMMAND` with this input.
    pub async fn run(&self, options: &[&str], command: &str, input: &[u8]) -> Output {
        let mut ssh = self.ssh();
        ssh.args(options).arg(self.host()).arg(command);
        run(ssh, input).await
    }

    /// `scp`, `sftp` and the like, with the port as they want it.
    pub fn copier(&self, name: &str) -> Command {
        let mut command = program(name);
        command.args(OPTIONS).arg(format!("-P{}", self.port));
        command
    }

    pub fn remote(&self, path: &str) -> String {
        format!("{}:{path}", self.host())
    }
}

/// A program of this machine; `scripts/test` installs what is missing.
pub fn program(name: &str) -> Command {
    let mut command = Command::new(name);
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true);
    command
}

pub async fn run(mut command: Command, input: &[u8]) -> Output {
    let mut child = command.spawn().expect("the program is installed (openssh-client, rsync)");
    let mut stdin = child.stdin.take().expect("stdin");
    let input = input.to_vec();
    // What isn't read is no error.
    tokio::spawn(async move { stdin.write_all(&input).await });
    tokio::time::timeout(PATIENCE, child.wait_with_output()).await.expect("in time").expect("output")
}

/// Its output, if it succeeded.
pub fn good(output: &Output) -> String {
    assert!(output.status.success(), "{output:?}");
    String::from_utf8(output.stdout.clone()).expect("UTF-8")
}

/// A file of the test's with some bytes that don't repeat soon.
fn file_of(dir: &Path, name: &str, size: usize) -> Vec<u8> {
    let bytes: Vec<u8> = (0..size as u32).map(|n| (n.wrapping_mul(2_654_435_761) >> 13) as u8).collect();
    std::fs::File::create(dir.join(name)).and_then(|mut file| file.write_all(&bytes)).expect("written");
    bytes
}
