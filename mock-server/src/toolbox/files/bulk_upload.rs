//! `UploadFiles`: many files in one form, `files[<i>].path` before `files[<i>].file`.

use std::{collections::HashMap, path::Path};

use axum::{
    extract::{Request, State},
    http::{Method, StatusCode, Uri, header},
    response::{IntoResponse, Response},
};
use bytes::Bytes;
use serde::Serialize;
use serde_json::json;

use super::{
    Named,
    multipart::{Multipart, MultipartError},
    store::{Source, StoreError, store},
};
use crate::toolbox::{
    Ctx, ToolboxError, go_errors,
    json::{self, GoJson},
};

/// Longest path field; the operating system allows 4,096 bytes.
const MAX_PATH: usize = 16 << 10;
/// All path fields of one form together: they are kept until the end.
const MAX_PATHS: usize = 32 << 20;
/// Errors told one by one; after that they are only counted.
const MAX_ERRORS: usize = 1_000;

#[derive(Serialize)]
struct Stored {
    path: String,
    bytes: u64,
}

#[derive(Default)]
struct Outcome {
    files: Vec<Stored>,
    errors: Vec<String>,
}

/// `UploadFiles`: goes on after an error, good files are kept, and the whole body is read before the answer.
pub async fn bulk_upload(
    State(ctx): State<Ctx>,
    method: Method,
    uri: Uri,
    request: Request,
) -> Result<Response, ToolboxError> {
    let mut outcome = Outcome::default();
    match Multipart::new(request) {
        None => outcome.errors.push("invalid multipart form".into()),
        Some(mut form) => {
            if let Err(error) = store_all(&ctx, &mut form, &mut outcome).await {
                outcome.fail(format!("reading part: {error}"));
            }
            form.drain().await;
        }
    }
    Ok(outcome.answer(uri.path(), method.as_str()))
}

async fn store_all(ctx: &Ctx, form: &mut Multipart, outcome: &mut Outcome) -> Result<(), MultipartError> {
    let mut paths: HashMap<String, String> = HashMap::new();
    let mut kept = 0;
    while let Some(part) = form.part().await? {
        let Some((index, field)) = part.name.strip_prefix("files[").and_then(|name| name.split_once("].")) else {
            continue;
        };
        match field {
            "path" => match form.text(MAX_PATH).await?.trim() {
                "" => outcome.fail(format!("path[{index}]: empty path")),
                path => {
                    kept += index.len() + path.len();
                    if kept > MAX_PATHS {
                        return Err(MultipartError::TooLarge);
                    }
                    paths.insert(index.to_owned(), path.to_owned());
                }
            },
            "file" => match paths.get(index) {
                None => outcome.fail(format!("file[{index}]: missing .path metadata")),
                Some(path) => store_one(ctx, path, form, outcome).await,
            },
            _ => {}
        }
    }
    Ok(())
}

async fn store_one(ctx: &Ctx, path: &str, form: &mut Multipart, outcome: &mut Outcome) {
    let file = Named::new(ctx, Path::new(path));
    match store(&file.real, 0o755, &mut CurrentPart(form)).await {
        Ok(bytes) => outcome.files.push(Stored { path: path.to_owned(), bytes }),
        Err(error) => outcome.fail(format!("{path}: {}", words(&file, &error))),
    }
}

fn words(file: &Named, error: &StoreError) -> String {
    let path = file.given.display();
    match error {
        StoreError::Source(words) => format!("write: {words}"),
        StoreError::MakeDir(failed, error) => {
            let parent = file.given.parent().unwrap_or(Path::new(".")).display().to_string();
            format!("mkdir {parent}: {}", go_errors::path_error("mkdir", file.say(failed).display(), error))
        }
        StoreError::Open(error) => format!("create: {}", go_errors::path_error("open", path, error)),
        StoreError::Write(error) => format!("write: {}", go_errors::path_error("write", path, error)),
    }
}

impl Outcome {
    fn fail(&mut self, error: String) {
        if self.errors.len() < MAX_ERRORS {
            self.errors.push(error);
        }
    }

    /// On failure the envelope and the lists that older clients read.
    fn answer(self, path: &str, method: &str) -> Response {
        let files = if self.files.is_empty() { json!(null) } else { json!(self.files) };
        if self.errors.is_empty() {
            return GoJson(json!({ "files": files })).into_response();
        }
        let mut body = ToolboxError::bad_request(self.errors.join("; ")).body(path, method);
        body["errors"] = json!(self.errors);
        body["files"] = files;
        (StatusCode::BAD_REQUEST, [(header::CONTENT_TYPE, "application/json; charset=utf-8")], json::to_vec(&body))
            .into_response()
    }
}

struct CurrentPart<'a>(&'a mut Multipart);

impl Source for CurrentPart<'_> {
    async fn chunk(&mut self) -> Result<Option<Bytes>, String> {
        self.0.chunk().await.map_err(|error| error.to_string())
    }
}
