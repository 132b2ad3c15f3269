//! The operations.

use std::path::PathBuf;

use axum::{extract::State, http::StatusCode, response::IntoResponse};
use serde::Deserialize;
use serde_json::{Value, json};

use super::{
    documents::{path_of, uri_of},
    language::Language,
    server::Server,
    shapes,
};
use crate::toolbox::{
    Ctx, ToolboxError,
    body::{Body, Field, JsonBody, Kind},
    json::GoJson,
    params::Params,
};

/// `LspServerRequest` of the contract.
#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct LspServerRequest {
    language_id: String,
    path_to_project: String,
}

const LANGUAGE: Field = Field::required("languageId", "LanguageId", Kind::Str);
const PROJECT: Field = Field::required("pathToProject", "PathToProject", Kind::Str);
const URI: Field = Field::required("uri", "Uri", Kind::Str);

impl JsonBody for LspServerRequest {
    const NAME: &'static str = "LspServerRequest";
    const FIELDS: &'static [Field] = &[LANGUAGE, PROJECT];
}

/// `LspDocumentRequest` of the contract.
#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct LspDocumentRequest {
    language_id: String,
    path_to_project: String,
    uri: String,
}

impl JsonBody for LspDocumentRequest {
    const NAME: &'static str = "LspDocumentRequest";
    const FIELDS: &'static [Field] = &[LANGUAGE, PROJECT, URI];
}

/// `LspCompletionParams` of the contract.
#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct LspCompletionParams {
    language_id: String,
    path_to_project: String,
    uri: String,
    position: Value,
    context: Value,
}

impl JsonBody for LspCompletionParams {
    const NAME: &'static str = "LspCompletionParams";
    const FIELDS: &'static [Field] = &[
        LANGUAGE,
        PROJECT,
        URI,
        Field::required("position", "Position", Kind::Any),
        Field::optional("context", "Context", Kind::Any),
    ];
}

/// `Start`: 200 once the server is initialised; nothing for one that runs. 400 for an unsupported language or a project
/// that isn't there, 500 with the command that mends it where the program is missing, and with its last words where it
/// ends.
pub async fn start(
    State(ctx): State<Ctx>,
    Body(request): Body<LspServerRequest>,
) -> Result<impl IntoResponse, ToolboxError> {
    let language = Language::of(&request.language_id)?;
    let project = project(&ctx, &request.path_to_project);
    if !tokio::fs::metadata(&project).await.is_ok_and(|about| about.is_dir()) {
        return Err(ToolboxError::bad_request(format!("{} is not a directory", request.path_to_project)));
    }
    ctx.lsp().start(&ctx, language, &project).await?;
    Ok(StatusCode::OK)
}

/// `Stop`: 200 once it has ended.
pub async fn stop(
    State(ctx): State<Ctx>,
    Body(request): Body<LspServerRequest>,
) -> Result<impl IntoResponse, ToolboxError> {
    let project = project(&ctx, &request.path_to_project);
    ctx.lsp().stop(Language::of(&request.language_id)?, &project).await?;
    Ok(StatusCode::OK)
}

/// `DidOpen`: 200. The server gets what is in the file now.
pub async fn did_open(
    State(ctx): State<Ctx>,
    Body(request): Body<LspDocumentRequest>,
) -> Result<impl IntoResponse, ToolboxError> {
    let server = server(&ctx, &request.language_id, &request.path_to_project)?;
    let path = path_of(&ctx, &server.project, &request.uri).await?;
    server.open(&ctx, &path).await?;
    Ok(StatusCode::OK)
}

/// `DidClose`: 200.
pub async fn did_close(
    State(ctx): State<Ctx>,
    Body(request): Body<LspDocumentRequest>,
) -> Result<impl IntoResponse, ToolboxError> {
    let server = server(&ctx, &request.language_id, &request.path_to_project)?;
    let path = path_of(&ctx, &server.project, &request.uri).await?;
    server.close(&ctx, &path).await?;
    Ok(StatusCode::OK)
}

/// `Completions`: 200 `CompletionList`.
pub async fn completions(
    State(ctx): State<Ctx>,
    Body(request): Body<LspCompletionParams>,
) -> Result<impl IntoResponse, ToolboxError> {
    let server = server(&ctx, &request.language_id, &request.path_to_project)?;
    let number = |name: &str| {
        let number = request.position[name].as_u64().and_then(|number| u32::try_from(number).ok());
        number.ok_or_else(|| ToolboxError::invalid_body(format!("position.{name} must be a whole number from 0 on")))
    };
    let (line, character) = (number("line")?, number("character")?);
    let path = path_of(&ctx, &server.project, &request.uri).await?;
    let mut params = json!({
        "textDocument": {"uri": uri_of(&path)},
        "position": {"line": line, "character": character},
    });
    if let Some(kind) = request.context["triggerKind"].as_u64() {
        params["context"] = json!({"triggerKind": kind});
        if let Some(character) = request.context["triggerCharacter"].as_str() {
            params["context"]["triggerCharacter"] = character.into();
        }
    }
    let answer = server.request(&ctx, "textDocument/completion", params).await?;
    Ok(GoJson(shapes::completions(&answer)))
}

/// `DocumentSymbols`: 200 `LspSymbol[]`.
pub async fn document_symbols(State(ctx): State<Ctx>, params: Params) -> Result<impl IntoResponse, ToolboxError> {
    let (language, project, uri) =
        (text(&params, "languageId")?, text(&params, "pathToProject")?, text(&params, "uri")?);
    let server = server(&ctx, &language, &project)?;
    let uri = uri_of(&path_of(&ctx, &server.project, &uri).await?);
    let asked = json!({"textDocument": {"uri": uri}});
    let answer = server.request(&ctx, "textDocument/documentSymbol", asked).await?;
    Ok(GoJson(shown(&ctx, shapes::symbols(&answer, &uri))))
}

/// `WorkspaceSymbols`: 200 `LspSymbol[]`. 400 where the server has no such thing, as pylsp.
pub async fn workspace_symbols(State(ctx): State<Ctx>, params: Params) -> Result<impl IntoResponse, ToolboxError> {
    let (language, project) = (text(&params, "languageId")?, text(&params, "pathToProject")?);
    let query = text(&params, "query")?;
    let server = server(&ctx, &language, &project)?;
    let answer = server.request(&ctx, "workspace/symbol", json!({"query": query})).await?;
    Ok(GoJson(shown(&ctx, shapes::symbols(&answer, ""))))
}

fn text(params: &Params, name: &str) -> Result<String, ToolboxError> {
    Ok(String::from_utf8_lossy(params.required(name)?).into_owned())
}

fn server(ctx: &Ctx, language: &str, path: &str) -> Result<std::sync::Arc<Server>, ToolboxError> {
    ctx.lsp().get(Language::of(language)?, &project(ctx, path))
}

/// The project's directory, in one spelling.
fn project(ctx: &Ctx, path: &str) -> PathBuf {
    ctx.resolve(path).components().collect()
}

/// Tier `process`: with the paths that the client knows.
fn shown(ctx: &Ctx, mut symbols: Value) -> Value {
    let Some(root) = &ctx.config().fake_root else { return symbols };
    let root = uri_of(root);
    for symbol in symbols.as_array_mut().into_iter().flatten() {
        let uri = &mut symbol["location"]["uri"];
        let known =
            uri.as_str().and_then(|uri| uri.strip_prefix(&root)).filter(|rest| rest.starts_with("/home/daytona"));
        if let Some(known) = known {
            *uri = format!("file://{known}").into();
        }
    }
    symbols
}
