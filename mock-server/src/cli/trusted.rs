//! `trusted`: runs a program that trusts the server's certificate authority. Some clients read the machine's own list of
//! authorities and nothing else, so the program gets a mount namespace in which the list has one more.

use std::{
    ffi::OsString,
    fs,
    io::{self, Read, Write},
    net::TcpStream,
    os::unix::{fs::PermissionsExt, process::CommandExt},
    path::Path,
    process::Command,
    time::Duration,
};

use nix::{
    mount::{MsFlags, mount},
    sched::{CloneFlags, unshare},
    unistd::{getegid, geteuid},
};

use super::{Locate, client};
use crate::gateway::besides::AUTHORITY;

/// Where systems keep their authorities in one file.
const BUNDLES: [&str; 5] = [
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/pki/tls/certs/ca-bundle.crt",
    "/etc/pki/ca-trust/extracted/pem/tls-ca-bundle.pem",
    "/etc/ssl/ca-bundle.pem",
    "/etc/ssl/cert.pem",
];

/// Variables by which clients that have one are told where authorities are.
const VARIABLES: [&str; 4] = ["SSL_CERT_FILE", "NODE_EXTRA_CA_CERTS", "REQUESTS_CA_BUNDLE", "AWS_CA_BUNDLE"];

/// A server that is well answers in milliseconds.
const PATIENCE: Duration = Duration::from_secs(10);

/// Becomes the program; returns only if that fails.
pub fn run(command: &[OsString], locate: &Locate) -> Result<(), String> {
    let [program, args @ ..] = command else { return Err("which program?".into()) };
    let certificate = certificate(locate)?;
    let bundle = BUNDLES.into_iter().map(Path::new).find(|path| path.is_file()).ok_or_else(|| {
        "this machine has no list of authorities that could be extended (on Debian: apt install ca-certificates)"
            .to_owned()
    })?;
    cover(bundle, certificate.as_bytes()).map_err(|error| {
        format!("a mount namespace for the program: {error} (as root, or where users may have namespaces, it works)")
    })?;
    let mut command = Command::new(program);
    command.args(args).envs(VARIABLES.map(|name| (name, bundle)));
    Err(format!("{}: {}", program.display(), command.exec()))
}

/// The authority of the server at `DAYTONA_API_URL`, else of the one with this ready file or data directory.
fn certificate(locate: &Locate) -> Result<String, String> {
    let url = std::env::var("DAYTONA_API_URL").unwrap_or_default();
    if let Some(rest) = url.strip_prefix("http://") {
        let host = rest.split('/').next().unwrap_or_default();
        return fetch(host).map_err(|error| format!("DAYTONA_API_URL={url}: {error}"));
    }
    // A server that speaks TLS only says where its authority is.
    let ready = client::find(locate)?;
    let path = ready.ca_certificate.ok_or("that server has no authority of its own")?;
    fs::read_to_string(&path).map_err(|error| format!("{}: {error}", path.display()))
}

fn fetch(host: &str) -> io::Result<String> {
    let address = if host.contains(':') { host.to_owned() } else { format!("{host}:80") };
    let mut stream = TcpStream::connect(address)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    // HTTP/1.0 without keep-alive: the answer ends with the connection.
    write!(stream, "GET {AUTHORITY} HTTP/1.0\r\nHost: {host}\r\n\r\n")?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    let (head, body) = answer.split_once("\r\n\r\n").unwrap_or((&answer, ""));
    let is_good = head.split(' ').nth(1) == Some("200") && body.starts_with("-----BEGIN CERTIFICATE-----");
    if is_good { Ok(body.to_owned()) } else { Err(io::Error::other("that server has no authority of its own")) }
}

/// From here on this process sees one authority more in `bundle`, and nobody else does.
fn cover(bundle: &Path, certificate: &[u8]) -> io::Result<()> {
    let mut merged = tempfile::NamedTempFile::new()?;
    merged.write_all(&fs::read(bundle)?)?;
    merged.write_all(b"\n")?;
    merged.write_all(certificate)?;
    merged.as_file().set_permissions(fs::Permissions::from_mode(0o644))?;
    let (uid, gid) = (geteuid(), getegid());
    if uid.is_root() {
        unshare(CloneFlags::CLONE_NEWNS)?;
    } else {
        unshare(CloneFlags::CLONE_NEWUSER | CloneFlags::CLONE_NEWNS)?;
        fs::write("/proc/self/setgroups", "deny")?;
        fs::write("/proc/self/uid_map", format!("{uid} {uid} 1"))?;
        fs::write("/proc/self/gid_map", format!("{gid} {gid} 1"))?;
    }
    let none = None::<&str>;
    mount(none, "/", none, MsFlags::MS_REC | MsFlags::MS_PRIVATE, none)?;
    mount(Some(merged.path()), bundle, none, MsFlags::MS_BIND, none)?;
    Ok(())
}
