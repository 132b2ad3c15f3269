//! Files, from reading about them to moving them. Commands prepare what the operations can't make.

pub mod bulk;
pub mod change;
pub mod download;
pub mod info;
pub mod lists;
pub mod text;
pub mod upload;

use crate::prelude::*;

/// A text file; folders above it are made.
async fn write(sandbox: &Sandbox, path: &str, text: &str) -> Result {
    sandbox.upload(path, text.as_bytes()).await?.ok()?;
    Ok(())
}

/// `GET /files{operation}` about a path.
async fn ask(sandbox: &Sandbox, operation: &str, path: &str) -> Result<crate::client::Answer> {
    sandbox.get(&format!("/files{operation}")).query("path", path).send().await
}

/// Permissions are nothing to a toolbox that runs as root.
async fn needs_a_plain_user(sandbox: &Sandbox) -> Result {
    let root = sandbox.output("id -u").await?.trim() == "0";
    if root { Err(Stop::not_applicable("a toolbox that doesn't run as root")) } else { Ok(()) }
}

/// Bytes that aren't text, don't repeat soon and don't compress.
fn noise(length: usize, seed: u64) -> Vec<u8> {
    let mut state = seed | 1;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state >> 24) as u8
    };
    (0..length).map(|_| next()).collect()
}
