//! `POST /env`: the environment of processes started from now on.

use std::collections::BTreeMap;

use axum::{extract::State, response::IntoResponse};
use serde::Deserialize;
use serde_json::json;

use super::{
    Ctx, ToolboxError,
    body::{Body, Field, JsonBody, Kind},
    json::GoJson,
};
use crate::{limits, variables};

/// `UpdateEnvRequest` of the contract; every field is optional.
#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct UpdateEnvRequest {
    set: BTreeMap<String, String>,
    unset: Vec<String>,
    unset_value_prefix: String,
}

impl JsonBody for UpdateEnvRequest {
    const NAME: &'static str = "UpdateEnvRequest";
    const FIELDS: &'static [Field] = &[
        Field::optional("set", "Set", Kind::StrMap),
        Field::optional("unset", "Unset", Kind::StrList),
        Field::optional("unsetValuePrefix", "UnsetValuePrefix", Kind::Str),
    ];
}

/// `UpdateEnv`: unsets by name and by the beginning of the value (but not what is set here), then sets.
pub async fn update(
    State(ctx): State<Ctx>,
    Body(request): Body<UpdateEnvRequest>,
) -> Result<impl IntoResponse, ToolboxError> {
    let UpdateEnvRequest { set, unset, unset_value_prefix: prefix } = request;
    // What no process could be given.
    set.iter().try_for_each(|(name, value)| variables::check(name, value)).map_err(ToolboxError::bad_request)?;
    let mut next = ctx.env();
    next.retain(|name, value| {
        // Every value starts with the empty prefix, which is what "not given" looks like.
        let by_value = !prefix.is_empty() && value.starts_with(&prefix) && !set.contains_key(name);
        !by_value && !unset.contains(name)
    });
    next.extend(set);
    let all = next.iter().map(|(name, value)| (name.as_str(), value.as_str()));
    variables::check_all(all, limits::inside().environment).map_err(ToolboxError::bad_request)?;
    ctx.update_env(|env| *env = next);
    Ok(GoJson(json!({"message": "Environment updated successfully"})))
}
