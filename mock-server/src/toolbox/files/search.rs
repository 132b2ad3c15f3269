//! `SearchFiles`: names that match a pattern.

use std::{ffi::OsStr, os::unix::ffi::OsStrExt, path::Path};

use axum::{extract::State, response::IntoResponse};
use serde_json::json;

use super::{
    cancellable,
    glob::Glob,
    info::base_name,
    walk::{Shown, Walk},
};
use crate::limits;
use crate::toolbox::{Ctx, ToolboxError, json::GoJson, params::Params};

/// `SearchFiles`: every path at or below `path` whose base name matches, in lexical order.
pub async fn search(State(ctx): State<Ctx>, params: Params) -> Result<impl IntoResponse, ToolboxError> {
    let root = params.path(&ctx, "path")?;
    let glob = Glob::new(params.required("pattern")?);
    let files = cancellable(move |gone| {
        let shown = Shown::new(&root.real, &root.given);
        // The root goes by the name that was given: `.` is no work directory's name.
        let root_name = base_name(&root.given);
        Walk::new(&root.real)
            .take_while(|_| !gone.is_set())
            .filter(|found| glob.matches(name_of(&found.path, &root.real, &root_name)))
            .map(|found| shown.path(&found.path))
            .take(limits::inside().entries + 1)
            .collect::<Vec<String>>()
    })
    .await?;
    if files.len() > limits::inside().entries {
        return Err(ToolboxError::bad_request(format!("more than {} files match", limits::inside().entries)));
    }
    Ok(GoJson(json!({ "files": files })))
}

fn name_of<'a>(path: &'a Path, root: &Path, root_name: &'a OsStr) -> &'a [u8] {
    let name = if path == root { root_name } else { path.file_name().unwrap_or_default() };
    name.as_bytes()
}
