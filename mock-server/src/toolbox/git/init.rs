//! `POST /git/init`.

use axum::{
    extract::{Request, State},
    http::StatusCode,
    response::IntoResponse,
};
use serde::Deserialize;

use super::{branches, command::Call, read, repository::Repository};
use crate::toolbox::{
    Ctx, ToolboxError,
    body::{Field, JsonBody, Kind},
};

/// `GitInitRequest` of the contract.
#[derive(Default, Deserialize)]
#[serde(default)]
struct GitInitRequest {
    path: String,
    bare: bool,
    initial_branch: String,
}

impl JsonBody for GitInitRequest {
    const NAME: &'static str = "GitInitRequest";
    const FIELDS: &'static [Field] = &[
        Field::required("path", "Path", Kind::Str),
        Field::optional("bare", "Bare", Kind::Bool),
        Field::optional("initial_branch", "InitialBranch", Kind::Str),
    ];
}

/// `InitRepository`: 201, directories made on the way; 409 where there is one.
pub async fn init(State(ctx): State<Ctx>, body: Request) -> Result<impl IntoResponse, ToolboxError> {
    let request: GitInitRequest = read(body).await?;
    Call::run(ctx, async move |call| {
        let target = call.ctx.resolve(&request.path);
        if Repository::find(&target).await.is_some() {
            return Err(ToolboxError::conflict("repository already exists"));
        }
        let mut git = call.git(["init", "--quiet"]);
        if request.bare {
            git = git.arg("--bare");
        }
        if !request.initial_branch.is_empty() {
            branches::check_name(&request.initial_branch)?;
            git = git.arg(format!("--initial-branch={}", request.initial_branch));
        }
        git.arg("--").arg(target).text().await?;
        Ok(StatusCode::CREATED)
    })
    .await
}
