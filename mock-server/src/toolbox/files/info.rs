//! What files are: `ListFiles` and `GetFileInfo`.

use std::{
    ffi::{OsStr, OsString},
    fs::{self, DirEntry, Metadata},
    io,
    os::unix::fs::MetadataExt,
    path::{Component, Path, PathBuf},
};

use axum::{
    extract::State,
    http::HeaderMap,
    response::{IntoResponse, Response},
};
use chrono::{DateTime, Local, TimeZone};
use serde::Serialize;

use super::{Named, blocking, mode};
use crate::limits;
use crate::toolbox::{Ctx, ToolboxError, json::GoJson, params::Params};

/// `FileInfo` of the contract. For a link everything but `name` and `path` describes its target.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct FileInfo {
    name: String,
    size: u64,
    mode: String,
    mod_time: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    modified_at: Option<String>,
    is_dir: bool,
    owner: String,
    group: String,
    permissions: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    path: Option<String>,
}

/// `ListFiles`: the entries of a directory by name, each followed by its own down to `depth`. Links aren't descended.
pub async fn list(State(ctx): State<Ctx>, params: Params, headers: HeaderMap) -> Result<Response, ToolboxError> {
    let directory = params.path_or(&ctx, "path", ".");
    let depth = match params.text("depth") {
        None => 1,
        Some(text) => text
            .parse::<u32>()
            .ok()
            .filter(|depth| *depth >= 1)
            .ok_or_else(|| ToolboxError::bad_request("depth must be an integer greater than or equal to 1"))?,
    };
    let shown = full_path(&ctx, &directory.given);
    let mut listing = Listing { entries: Vec::new(), modern: !strict_client(&headers) };
    let entries = blocking(move || {
        listing.add(&directory.real, &shown, depth).map_err(|error| match error.kind() {
            io::ErrorKind::QuotaExceeded => {
                ToolboxError::bad_request(format!("more than {} entries", limits::inside().entries))
            }
            _ => directory.error("open", &error),
        })?;
        Ok::<_, ToolboxError>(listing.entries)
    });
    Ok(GoJson(entries.await??).into_response())
}

/// `GetFileInfo`.
pub async fn info(State(ctx): State<Ctx>, params: Params, headers: HeaderMap) -> Result<Response, ToolboxError> {
    let file = params.path(&ctx, "path")?;
    let Named { real, .. } = file.clone();
    let metadata = blocking(move || fs::metadata(&real)).await?.map_err(|error| file.error("stat", &error))?;
    let path = full_path(&ctx, &file.given);
    let name = base_name(&file.given);
    Ok(GoJson(FileInfo::new(&name, &path, &metadata, !strict_client(&headers))).into_response())
}

struct Listing {
    entries: Vec<FileInfo>,
    modern: bool,
}

impl Listing {
    fn add(&mut self, real: &Path, shown: &Path, depth: u32) -> io::Result<()> {
        let mut children = fs::read_dir(real)?.collect::<io::Result<Vec<DirEntry>>>()?;
        children.sort_by_cached_key(DirEntry::file_name);
        for child in children {
            let Ok(kind) = child.file_type() else { continue };
            // Relative to the open directory, and so cheaper than by path; but it doesn't follow links.
            let metadata = if kind.is_symlink() { fs::metadata(child.path()) } else { child.metadata() };
            // Dangling links, and what has just gone, aren't mentioned (observed).
            let Ok(metadata) = metadata else { continue };
            if self.entries.len() >= limits::inside().entries {
                return Err(io::ErrorKind::QuotaExceeded.into());
            }
            let path = shown.join(child.file_name());
            self.entries.push(FileInfo::new(&child.file_name(), &path, &metadata, self.modern));
            if kind.is_dir() && depth > 1 {
                match self.add(&child.path(), &path, depth - 1) {
                    Err(error) if error.kind() == io::ErrorKind::QuotaExceeded => return Err(error),
                    // Listed, but closed to us: as `find` and `ls -R` do, go on with the others.
                    _ => {}
                }
            }
        }
        Ok(())
    }
}

impl FileInfo {
    fn new(name: &OsStr, path: &Path, metadata: &Metadata, modern: bool) -> FileInfo {
        let modified = Local
            .timestamp_opt(metadata.mtime(), metadata.mtime_nsec() as u32)
            .single()
            .unwrap_or_else(|| DateTime::UNIX_EPOCH.into());
        FileInfo {
            name: name.to_string_lossy().into_owned(),
            size: metadata.size(),
            mode: mode::string(metadata.mode()),
            mod_time: go_time(&modified),
            modified_at: modern.then(|| rfc3339(&modified)),
            is_dir: metadata.is_dir(),
            owner: metadata.uid().to_string(),
            group: metadata.gid().to_string(),
            permissions: format!("{:04o}", metadata.mode() & 0o777),
            path: modern.then(|| path.to_string_lossy().into_owned()),
        }
    }
}

/// Go clients before 0.188.0 refuse answers with fields that they don't know (observed).
fn strict_client(headers: &HeaderMap) -> bool {
    let header = |name| headers.get(name).and_then(|value| value.to_str().ok());
    let version = header("x-daytona-sdk-version").unwrap_or_default().trim_start_matches('v');
    let mut numbers = version.split(['.', '-', '+']).map(|part| part.parse::<u32>().ok());
    match (header("x-daytona-source"), numbers.next().flatten(), numbers.next().flatten()) {
        // 0.0.0 is a build from the repository: the newest.
        (Some("sdk-go"), Some(0), Some(minor)) => minor < 188 && !version.starts_with("0.0.0"),
        _ => false,
    }
}

/// Go's `time.Time.String()`: `2026-11-23 21:44:23.305941077 +0000 UTC`. Zones other than UTC go by their offset.
fn go_time(time: &DateTime<Local>) -> String {
    let offset = time.format("%z").to_string();
    let zone = if offset == "+0000" { "UTC" } else { &offset };
    format!("{} {offset} {zone}", with_fraction(time, "%Y-%m-%d %H:%M:%S"))
}

fn rfc3339(time: &DateTime<Local>) -> String {
    let zone = time.format("%:z").to_string();
    let zone = if zone == "+00:00" { "Z" } else { &zone };
    format!("{}{zone}", with_fraction(time, "%Y-%m-%dT%H:%M:%S"))
}

/// Nanoseconds without trailing zeros, and without a dot when there are none.
fn with_fraction(time: &DateTime<Local>, format: &str) -> String {
    let text = format!("{}.{:09}", time.format(format), time.timestamp_subsec_nanos());
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

/// The last element as Go's `Stat` names it; `/` is `/`, `.` is `.`.
pub fn base_name(path: &Path) -> OsString {
    match path.components().next_back() {
        Some(Component::RootDir) => "/".into(),
        Some(component) => component.as_os_str().into(),
        None => ".".into(),
    }
}

/// The absolute, lexically clean form of a path. In tier `process` it keeps the form that the client used: below
/// `/home/daytona`, or below the work directory as `GET /work-dir` told it.
fn full_path(ctx: &Ctx, given: &Path) -> PathBuf {
    let mut clean = PathBuf::from("/");
    for component in ctx.config().work_dir.join(given).components() {
        match component {
            Component::Normal(name) => clean.push(name),
            Component::ParentDir => _ = clean.pop(),
            _ => {}
        }
    }
    clean
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times() {
        let time = |nanos| DateTime::<Local>::from(DateTime::from_timestamp(1_795_470_263, nanos).expect("in range"));
        if time(0).format("%z").to_string() == "+0000" {
            assert_eq!(go_time(&time(305_941_070)), "2026-11-23 21:44:23.30594107 +0000 UTC");
            assert_eq!(go_time(&time(0)), "2026-11-23 21:44:23 +0000 UTC");
            assert_eq!(rfc3339(&time(500_000_000)), "2026-11-23T21:44:23.5Z");
        }
    }

    #[test]
    fn strict_go_clients() {
        let headers = |source: &'static str, version: &'static str| {
            let pairs = [("x-daytona-source", source), ("x-daytona-sdk-version", version)];
            pairs.into_iter().map(|(k, v)| (k.parse().expect("name"), v.parse().expect("value"))).collect()
        };
        assert!(strict_client(&headers("sdk-go", "0.187.9")));
        assert!(strict_client(&headers("sdk-go", "v0.150.0-rc1")));
        for (source, version) in
            [("sdk-go", "0.188.0"), ("sdk-go", "1.0.0"), ("sdk-go", "0.0.0-dev"), ("sdk-python", "0.100.0")]
        {
            assert!(!strict_client(&headers(source, version)), "{source} {version}");
        }
    }

    #[test]
    fn base_names() {
        for (path, name) in [("/", "/"), (".", "."), ("a/b/", "b"), ("a/..", ".."), ("./a", "a")] {
            assert_eq!(base_name(Path::new(path)), name, "{path}");
        }
    }
}
