//! `UploadFile` (`/files/upload-v2`: a form or a raw body) and its elder `POST /files/upload` (a form).

use axum::{
    body::BodyDataStream,
    extract::{Request, State},
    http::StatusCode,
    response::IntoResponse,
};
use bytes::Bytes;
use futures_util::StreamExt;
use serde::Serialize;

use super::{
    Named,
    info::base_name,
    multipart::{self, Multipart, MultipartError},
    store::{Source, StoreError, store},
};
use crate::toolbox::{Ctx, ToolboxError, go_errors, json::GoJson, params::Params};

/// `UploadedFile` of the contract.
#[derive(Serialize)]
struct UploadedFile {
    name: String,
    path: String,
    r#type: &'static str,
}

/// `POST /files/upload` (observed): 200 without a body; parents are made with mode 0750.
pub async fn upload(State(ctx): State<Ctx>, params: Params, request: Request) -> Result<StatusCode, ToolboxError> {
    let file = params.path(&ctx, "path");
    store_form(file, 0o750, request).await?;
    Ok(StatusCode::OK)
}

/// `UploadFile`: parents are made with mode 0755.
pub async fn upload_v2(
    State(ctx): State<Ctx>,
    params: Params,
    request: Request,
) -> Result<impl IntoResponse, ToolboxError> {
    let file = params.path(&ctx, "path");
    let file = match multipart::is_multipart(request.headers()) {
        true => store_form(file, 0o755, request).await?,
        false => store_raw(file, 0o755, request).await?,
    };
    let name = base_name(&file.given).to_string_lossy().into_owned();
    Ok(GoJson(UploadedFile { name, path: file.given.to_string_lossy().into_owned(), r#type: "file" }))
}

async fn store_form(file: Result<Named, ToolboxError>, mode: u32, request: Request) -> Result<Named, ToolboxError> {
    let Some(mut form) = Multipart::new(request) else {
        return Err(ToolboxError::bad_request("request Content-Type isn't multipart/form-data"));
    };
    let result = store_field(file, mode, &mut form).await;
    if result.is_err() {
        form.drain().await;
    }
    result
}

async fn store_field(
    file: Result<Named, ToolboxError>,
    mode: u32,
    form: &mut Multipart,
) -> Result<Named, ToolboxError> {
    let file = file?;
    let malformed = |error: MultipartError| ToolboxError::bad_request(error);
    loop {
        match form.part().await.map_err(malformed)? {
            Some(part) if part.name == "file" => break,
            Some(_) => {}
            None => return Err(ToolboxError::bad_request("http: no such file")),
        }
    }
    let stored = store(&file.real, mode, &mut OnlyPart(form)).await;
    stored.map(|_| file.clone()).map_err(|error| refusal(&file, &error))
}

async fn store_raw(file: Result<Named, ToolboxError>, mode: u32, request: Request) -> Result<Named, ToolboxError> {
    let mut body = Raw(request.into_body().into_data_stream());
    let result = match file {
        Ok(file) => store(&file.real, mode, &mut body).await.map(|_| file.clone()).map_err(|e| refusal(&file, &e)),
        Err(error) => Err(error),
    };
    if result.is_err() {
        while let Some(Ok(_)) = body.0.next().await {}
    }
    result
}

fn refusal(file: &Named, error: &StoreError) -> ToolboxError {
    match error {
        StoreError::Source(words) => ToolboxError::bad_request(words),
        StoreError::MakeDir(path, error) => {
            ToolboxError::bad_request(go_errors::path_error("mkdir", file.say(path).display(), error))
        }
        StoreError::Open(error) => file.refusal("open", error),
        StoreError::Write(error) => file.refusal("write", error),
    }
}

/// The current part of a form, to be stored only when the rest of the form is well-formed too.
struct OnlyPart<'a>(&'a mut Multipart);

impl Source for OnlyPart<'_> {
    async fn chunk(&mut self) -> Result<Option<Bytes>, String> {
        let words = |error: MultipartError| error.to_string();
        if let Some(bytes) = self.0.chunk().await.map_err(words)? {
            return Ok(Some(bytes));
        }
        while self.0.part().await.map_err(words)?.is_some() {}
        Ok(None)
    }
}

struct Raw(BodyDataStream);

impl Source for Raw {
    async fn chunk(&mut self) -> Result<Option<Bytes>, String> {
        self.0.next().await.transpose().map_err(|_| "unexpected EOF".into())
    }
}
