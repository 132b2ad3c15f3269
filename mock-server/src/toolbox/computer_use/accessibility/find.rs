//! Searching the tree.

use axum::{extract::Request, response::IntoResponse};
use regex::Regex;
use serde::Deserialize;
use serde_json::json;

use super::{
    bus::Bus,
    tree::{Described, Scope, read},
};
use crate::toolbox::{
    ToolboxError,
    body::{self, Field, JsonBody, Kind},
    computer_use::request::Screen,
    json::GoJson,
};

const DEFAULT_LIMIT: usize = 100;
const MAX_DEPTH: usize = 100;

/// `FindAccessibilityNodesRequest` of the contract.
#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct FindAccessibilityNodesRequest {
    scope: String,
    pid: Option<i64>,
    role: String,
    name: Option<String>,
    name_match: String,
    states: Vec<String>,
    limit: i64,
}

impl JsonBody for FindAccessibilityNodesRequest {
    const NAME: &'static str = "FindAccessibilityNodesRequest";
    const FIELDS: &'static [Field] = &[
        Field::optional("scope", "Scope", Kind::Str),
        Field::optional("pid", "PID", Kind::Int),
        Field::optional("role", "Role", Kind::Str),
        Field::optional("name", "Name", Kind::Str),
        Field::optional("nameMatch", "NameMatch", Kind::Str),
        Field::optional("states", "States", Kind::StrList),
        Field::optional("limit", "Limit", Kind::Int),
    ];
}

/// `FindAccessibilityNodes`: a flat list, parents before children; 100 at most unless the request says otherwise.
pub async fn find(Screen(ctx): Screen, request: Request) -> Result<impl IntoResponse, ToolboxError> {
    let bus = Bus::connect(&ctx).await?;
    let read_body = body::read(request).await.and_then(|bytes| body::parse(&bytes));
    let request: FindAccessibilityNodesRequest = read_body.map_err(ToolboxError::bad_request)?;
    let scope = Scope::of(&request.scope, request.pid)?;
    let wanted = Wanted::new(&request)?;
    let limit = match request.limit {
        0 => DEFAULT_LIMIT,
        limit => usize::try_from(limit).map_err(|_| ToolboxError::bad_request("limit must not be negative"))?,
    };
    let root = scope.root(&ctx, &bus).await?;
    let read = read(&bus, &root, MAX_DEPTH).await?;
    let mut matches: Vec<Described> = read.nodes.into_iter().filter(|node| wanted.fits(node)).collect();
    let truncated = read.truncated || matches.len() > limit;
    matches.truncate(limit);
    Ok(GoJson(json!({"matches": matches, "truncated": truncated})))
}

/// What a node has to be like.
struct Wanted {
    role: String,
    name: Name,
    states: Vec<String>,
}

enum Name {
    Any,
    Exactly(String),
    With(String),
    Like(Regex),
}

impl Wanted {
    fn new(request: &FindAccessibilityNodesRequest) -> Result<Wanted, ToolboxError> {
        let name = match (&request.name, request.name_match.as_str()) {
            (None, "" | "exact" | "substring" | "regex") => Name::Any,
            (Some(name), "" | "exact") => Name::Exactly(name.clone()),
            (Some(name), "substring") => Name::With(name.to_lowercase()),
            (Some(name), "regex") => Name::Like(
                Regex::new(name)
                    .map_err(|error| ToolboxError::bad_request(format!("invalid name pattern: {error}")))?,
            ),
            (_, other) => {
                return Err(ToolboxError::bad_request(format!(
                    "invalid nameMatch {other:?}: expected exact, substring or regex"
                )));
            }
        };
        let states = request.states.iter().map(|state| plain(state)).collect();
        Ok(Wanted { role: plain(&request.role), name, states })
    }

    fn fits(&self, node: &Described) -> bool {
        let role = plain(&node.role);
        let role_fits = self.role.is_empty() || role == self.role || role.strip_prefix("push ") == Some(&self.role);
        let name_fits = match &self.name {
            Name::Any => true,
            Name::Exactly(name) => node.name == *name,
            Name::With(part) => node.name.to_lowercase().contains(part),
            Name::Like(pattern) => pattern.is_match(&node.name),
        };
        role_fits && name_fits && self.states.iter().all(|state| node.states.iter().any(|own| plain(own) == *state))
    }
}

/// Roles and states are written in several ways: `push button`, `PUSH_BUTTON`, `push-button`.
fn plain(name: &str) -> String {
    name.trim().to_lowercase().replace(['_', '-'], " ")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fits(request: serde_json::Value) -> bool {
        let request = serde_json::from_value(request).expect("a request");
        let node = Described {
            role: "push button".into(),
            name: "Save As".into(),
            states: vec!["enabled", "multi-line"],
            ..Described::default()
        };
        Wanted::new(&request).expect("fine").fits(&node)
    }

    #[test]
    fn nodes_are_matched() {
        for request in [
            json!({}),
            json!({"role": "button"}),
            json!({"role": "PUSH_BUTTON", "name": "Save As"}),
            json!({"name": "save", "nameMatch": "substring"}),
            json!({"name": "^Save .s$", "nameMatch": "regex", "states": ["enabled", "MULTI_LINE"]}),
        ] {
            assert!(fits(request.clone()), "{request}");
        }
        for request in [
            json!({"role": "frame"}),
            json!({"name": "save as"}),
            json!({"name": "^As", "nameMatch": "regex"}),
            json!({"states": ["enabled", "focused"]}),
        ] {
            assert!(!fits(request.clone()), "{request}");
        }
    }

    #[test]
    fn bad_patterns_are_refused() {
        for request in [json!({"name": "(", "nameMatch": "regex"}), json!({"nameMatch": "fuzzy"})] {
            let request = serde_json::from_value(request).expect("a request");
            assert!(Wanted::new(&request).is_err());
        }
    }
}
