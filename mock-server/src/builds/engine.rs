//! `--builder docker|podman|buildah`: Dockerfiles are built by a container engine of this machine, and what it saved is
//! taken over as an image.

use std::{
    collections::BTreeMap,
    ffi::OsString,
    io,
    os::fd::OwnedFd,
    path::{Path, PathBuf},
    process::Stdio,
};

use nix::unistd::{AccessFlags, access};
use tokio::{io::AsyncReadExt, net::unix::pipe, process::Command};

use super::BuildLog;
use crate::images::{Image, ImageStore};

const PIECE: usize = 16 << 10;

/// Whose command line it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Docker,
    Podman,
    Buildah,
}

/// A container engine that builds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Engine {
    kind: Kind,
    /// A name to look for on PATH, or a path.
    program: PathBuf,
}

impl std::str::FromStr for Engine {
    type Err = String;

    /// `docker`, `podman`, `buildah`, or a path that ends in one of them.
    fn from_str(text: &str) -> Result<Engine, String> {
        let program = PathBuf::from(text);
        let kind = match program.file_name().and_then(|name| name.to_str()) {
            Some("docker") => Kind::Docker,
            Some("podman") => Kind::Podman,
            Some("buildah") => Kind::Buildah,
            _ => return Err("expected docker, podman or buildah".into()),
        };
        Ok(Engine { kind, program })
    }
}

impl Engine {
    /// The same with the whole path of its program; `None` if there is no such program.
    pub fn find(&self) -> Option<Engine> {
        let runs = |path: &PathBuf| path.is_file() && access(path, AccessFlags::X_OK).is_ok();
        let path = std::env::var_os("PATH").unwrap_or_default();
        let program = if self.program.components().count() > 1 {
            Some(self.program.clone()).filter(runs)
        } else {
            std::env::split_paths(&path).map(|dir| dir.join(&self.program)).find(runs)
        };
        program.map(|program| Engine { program, ..*self })
    }

    pub fn program(&self) -> &Path {
        &self.program
    }

    /// Builds; `tag` names the image in the engine, which keeps it for its own cache. What it says goes to the log.
    ///
    /// # Errors
    /// The text that ends the log.
    pub(super) async fn build(
        &self,
        log: &BuildLog,
        dockerfile: &str,
        context: &Path,
        env: &BTreeMap<String, String>,
        (store, tag): (ImageStore, &str),
    ) -> Result<Image, String> {
        let dir = tempfile::tempdir().map_err(|error| error.to_string())?;
        let (file, saved) = (dir.path().join("Dockerfile"), dir.path().join("image.tar"));
        std::fs::write(&file, dockerfile).map_err(|error| error.to_string())?;
        let mut build: Vec<OsString> = vec!["build".into(), "--file".into(), file.into(), "--tag".into(), tag.into()];
        for (name, value) in env {
            build.extend(["--build-arg".into(), format!("{name}={value}").into()]);
        }
        build.push(context.into());
        self.run(log, build).await?;
        self.run(log, self.save(tag, &saved)).await?;
        let tag = tag.to_owned();
        let import = move || store.import_saved(&saved, &tag).map_err(|error| error.to_string());
        tokio::task::spawn_blocking(import).await.map_err(|error| error.to_string())?
    }

    fn save(&self, tag: &str, to: &Path) -> Vec<OsString> {
        let words: Vec<&str> = match self.kind {
            Kind::Docker => vec!["save", "--output"],
            Kind::Podman => vec!["save", "--format", "docker-archive", "--output"],
            Kind::Buildah => {
                let target = format!("docker-archive:{}:{tag}", to.display());
                return vec!["push".into(), "--quiet".into(), tag.into(), target.into()];
            }
        };
        words.into_iter().map(OsString::from).chain([to.into(), tag.into()]).collect()
    }

    async fn run(&self, log: &BuildLog, args: Vec<OsString>) -> Result<(), String> {
        let verb = args.first().map(|verb| verb.to_string_lossy().into_owned()).unwrap_or_default();
        let failed = |error: io::Error| format!("{}: {error}", self.program.display());
        let (mut child, mut output) = self.start(&args).map_err(failed)?;
        let mut buffer = vec![0; PIECE];
        // To the end of its output, which is when all who have it are done.
        loop {
            match output.read(&mut buffer).await.map_err(failed)? {
                0 => break,
                length => log.write(&buffer[..length]),
            }
        }
        let status = child.wait().await.map_err(failed)?;
        let name = self.program.file_name().unwrap_or_default().to_string_lossy();
        if status.success() { Ok(()) } else { Err(format!("{name} {verb} ended with {status}")) }
    }

    fn start(&self, args: &[OsString]) -> io::Result<(tokio::process::Child, pipe::Receiver)> {
        let (output, input) = io::pipe()?;
        let errors = input.try_clone()?;
        let mut command = Command::new(&self.program);
        command.args(args).env("BUILDKIT_PROGRESS", "plain").kill_on_drop(true);
        command.stdin(Stdio::null()).stdout(input).stderr(errors);
        let child = command.spawn()?;
        // With it go the last writing ends but the child's.
        drop(command);
        Ok((child, pipe::Receiver::from_owned_fd(OwnedFd::from(output))?))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn engines_are_known_by_their_program() {
        for (text, kind) in [("docker", Kind::Docker), ("podman", Kind::Podman), ("/usr/bin/buildah", Kind::Buildah)] {
            assert_eq!(text.parse::<Engine>().map(|engine| engine.kind), Ok(kind));
        }
        assert!("kaniko".parse::<Engine>().is_err());
        assert!("/no/such/docker".parse::<Engine>().expect("an engine").find().is_none());
    }
}
