//! `ReplaceInFiles`: literal text in listed files.

use std::{
    fs::{File, OpenOptions},
    io::{self, Read, Write},
    os::unix::fs::OpenOptionsExt,
    path::Path,
};

use axum::{extract::State, response::IntoResponse};
use memchr::memmem::Finder;
use serde::{Deserialize, Serialize};

use super::{Named, cancellable};
use crate::limits;
use crate::toolbox::{
    Ctx, ToolboxError,
    body::{Body, Field, JsonBody, Kind},
    go_errors,
    json::GoJson,
};

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct ReplaceRequest {
    files: Vec<Option<String>>,
    pattern: String,
    new_value: String,
}

impl JsonBody for ReplaceRequest {
    const NAME: &'static str = "ReplaceRequest";
    const FIELDS: &'static [Field] = &[
        Field::required("files", "Files", Kind::StrList),
        Field::required("pattern", "Pattern", Kind::Str),
        Field::required("newValue", "NewValue", Kind::StrPtr),
    ];
}

/// `ReplaceResult` of the contract.
#[derive(Serialize)]
struct ReplaceResult {
    file: String,
    success: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<String>,
}

/// `ReplaceInFiles`: a result per file. Files are rewritten in place, also when nothing in them matched (observed).
pub async fn replace(
    State(ctx): State<Ctx>,
    Body(request): Body<ReplaceRequest>,
) -> Result<impl IntoResponse, ToolboxError> {
    if request.files.len() > limits::inside().bulk_paths {
        return Err(ToolboxError::bad_request(format!("more than {} files", limits::inside().bulk_paths)));
    }
    let results = cancellable(move |gone| {
        let finder = Finder::new(&request.pattern);
        let files = request.files.into_iter().map(Option::unwrap_or_default).take_while(|_| !gone.is_set());
        files
            .map(|file| {
                let named = Named::new(&ctx, Path::new(&file));
                let error = replace_in(&named, &finder, request.new_value.as_bytes()).err();
                ReplaceResult { file, success: error.is_none(), error }
            })
            .collect::<Vec<_>>()
    });
    Ok(GoJson(results.await?))
}

fn replace_in(file: &Named, finder: &Finder, new: &[u8]) -> Result<(), String> {
    let fail = |operation, error: io::Error| go_errors::path_error(operation, file.given.display(), &error);
    if file.given.as_os_str().is_empty() {
        return Err(fail("open", io::Error::from_raw_os_error(libc::ENOENT)));
    }
    let open = OpenOptions::new().read(true).custom_flags(libc::O_NONBLOCK).open(&file.real);
    let old =
        open.map_err(|error| fail("open", error)).and_then(|file| read(file).map_err(|error| fail("read", error)))?;
    // Twice over the text instead of remembering every place: there may be as many as bytes.
    let hits = finder.find_iter(&old).count();
    let size = (old.len() - hits * finder.needle().len()).saturating_add(hits.saturating_mul(new.len()));
    if size > limits::inside().replace_size {
        return Err(fail("write", io::Error::from_raw_os_error(libc::EFBIG)));
    }
    let mut changed = Vec::with_capacity(size);
    let mut at = 0;
    for hit in finder.find_iter(&old) {
        changed.extend_from_slice(&old[at..hit]);
        changed.extend_from_slice(new);
        at = hit + finder.needle().len();
    }
    changed.extend_from_slice(&old[at..]);
    let mut target = OpenOptions::new().write(true).open(&file.real).map_err(|error| fail("open", error))?;
    // Not truncated before but cut after: a full disk then costs as little as possible.
    let written = target.write_all(&changed).and_then(|()| target.set_len(size as u64));
    written.map_err(|error| fail("write", error))
}

fn read(file: File) -> io::Result<Vec<u8>> {
    let metadata = file.metadata()?;
    if !metadata.is_dir() && !metadata.is_file() {
        return Err(io::Error::from_raw_os_error(libc::EINVAL));
    }
    let mut contents = Vec::new();
    (&file).take(limits::inside().replace_size as u64 + 1).read_to_end(&mut contents)?;
    match contents.len() > limits::inside().replace_size {
        true => Err(io::Error::from_raw_os_error(libc::EFBIG)),
        false => Ok(contents),
    }
}
