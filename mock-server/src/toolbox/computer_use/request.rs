//! What requests need and say: a desktop, query parameters in the daemon's words, and bodies.

use axum::{
    extract::{FromRequestParts, Request},
    http::{StatusCode, request::Parts},
};

use super::programs::available;
use crate::toolbox::{
    Ctx, ToolboxError,
    body::{self, JsonBody},
    params::Params,
};

/// The agent, where sandboxes can have a desktop. 503 with the packages to install elsewhere, whatever else is wrong
/// with the request (observed).
pub struct Screen(pub Ctx);

impl FromRequestParts<Ctx> for Screen {
    type Rejection = ToolboxError;

    async fn from_request_parts(_: &mut Parts, ctx: &Ctx) -> Result<Screen, ToolboxError> {
        available(&ctx.env())?;
        Ok(Screen(ctx.clone()))
    }
}

/// A body with the daemon's own words for one that can't be read: 400 `Invalid coordinates`.
pub async fn body<T: JsonBody>(request: Request, complaint: &str) -> Result<T, ToolboxError> {
    let read = body::read(request).await.and_then(|bytes| body::parse(&bytes));
    read.map_err(|why| {
        let message = format!("{complaint}: {why}");
        ToolboxError::new(StatusCode::BAD_REQUEST, "INVALID_REQUEST_BODY", message)
    })
}

/// 400 `invalid query parameter <name>: <why>`
pub fn invalid(name: &str, why: &str) -> ToolboxError {
    ToolboxError::bad_request(format!("invalid query parameter {name}: {why}"))
}

/// A whole number, if it is there.
pub fn integer(params: &Params, name: &str) -> Result<Option<i32>, ToolboxError> {
    let Some(text) = params.text(name) else { return Ok(None) };
    text.parse().map(Some).map_err(|_| invalid(name, "must be an integer"))
}

/// A whole number that must be there.
pub fn required(params: &Params, name: &str) -> Result<i32, ToolboxError> {
    let missing = || ToolboxError::bad_request(format!("missing required query parameter: {name}"));
    integer(params, name)?.ok_or_else(missing)
}

/// What Go takes for a boolean.
pub fn boolean(params: &Params, names: &[&str]) -> Result<bool, ToolboxError> {
    let Some((name, text)) = names.iter().find_map(|name| Some((*name, params.text(name)?))) else { return Ok(false) };
    match &*text {
        "1" | "t" | "T" | "true" | "TRUE" | "True" => Ok(true),
        "0" | "f" | "F" | "false" | "FALSE" | "False" => Ok(false),
        _ => Err(invalid(name, "must be a boolean")),
    }
}
