//! The audit log: noting each operation that is in it once it is answered, and reading it.

use std::{net::IpAddr, sync::Arc};

use axum::{
    body::Body,
    extract::{Path, Request, State},
    response::Response,
};
use http::{HeaderMap, StatusCode, header};
use http_body_util::BodyExt;
use rusqlite::types::Value as Sql;
use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::{
    auth::{self, Caller, Known},
    body::Body as JsonBody,
    error::{ApiError, ApiResult, ok},
    operations::Operation,
    query::{Query, parse_date},
    rate_limits::Peer,
};
use crate::{
    audit::{Actor, Condition, Entry, Field, Place, Test, Wanted, actions},
    model::{ControlPlane, Identity},
};

/// `in` and `notIn` have at most so many entries (contract).
const MAX_LIST: usize = 100;
/// Longer texts of a body are cut in the log, and larger structures left out.
const MAX_TEXT: usize = 256;
const MAX_NESTED: usize = 1024;
const MAX_FIELDS: usize = 40;
/// Bodies' fields that are nobody's business.
const SECRET: [&str; 8] = ["password", "secret", "secrets", "value", "token", "env", "headers", "apiKey"];

/// What is known of a request before it is answered. `None` if its operation isn't in the log, or nobody asks.
pub struct Draft(Entry);

impl Draft {
    pub fn of(cp: &ControlPlane, operation: &'static Operation, request: &Request) -> Option<Draft> {
        let (action, target_type) = actions::of(operation.id)?;
        let Known(Some(who)) = request.extensions().get::<Known>()? else { return None };
        let (headers, path) = (request.headers(), request.uri().path());
        let text = |name: header::HeaderName| headers.get(name).and_then(|value| value.to_str().ok()).map(cut);
        let body = request.extensions().get::<JsonBody>().map(|body| summary(&body.0)).unwrap_or_default();
        let parameters = operation.arguments(path);
        let target_id = parameters.iter().rev().find(|(name, _)| is_target(name)).map(|(_, value)| cut(value));
        let mut metadata = Map::new();
        let others = parameters.iter().filter(|(name, _)| !is_target(name));
        let others: Map<String, Value> = others.map(|(name, value)| ((*name).to_owned(), json!(cut(value)))).collect();
        metadata.extend(Some(("params".to_owned(), Value::Object(others.clone()))).filter(|_| !others.is_empty()));
        metadata.extend(Some(("body".to_owned(), Value::Object(body.clone()))).filter(|_| !body.is_empty()));
        Some(Draft(Entry {
            actor: actor(cp, who, headers, request),
            organization_id: organization(&parameters, who),
            action,
            target_type,
            target_id,
            status: None,
            error: None,
            ip: request.extensions().get::<Peer>().map(|Peer(ip)| ip.to_canonical()).map(|ip: IpAddr| ip.to_string()),
            user_agent: text(header::USER_AGENT),
            source: headers.get("x-daytona-source").and_then(|source| source.to_str().ok()).map(cut),
            metadata,
            at: cp.clock().now(),
        }))
    }

    /// Notes how it ended. The answer goes on unchanged.
    pub async fn note(self, cp: &ControlPlane, response: Response) -> Response {
        #[derive(Default, Deserialize)]
        struct Told {
            id: Option<String>,
            message: Option<String>,
        }
        let mut entry = self.0;
        let (parts, body) = response.into_parts();
        let bytes = body.collect().await.map(|body| body.to_bytes()).unwrap_or_default();
        let told: Told = serde_json::from_slice(&bytes).unwrap_or_default();
        let made = entry.action == "create" || entry.target_type == "sandbox" && entry.action != "create_ssh_access";
        if parts.status.is_success() && made && told.id.is_some() {
            entry.target_id = told.id;
        }
        entry.status = Some(parts.status.as_u16());
        entry.error = told.message.filter(|_| !parts.status.is_success());
        cp.audit().note(entry);
        Response::from_parts(parts, Body::from(bytes))
    }
}

fn actor(cp: &ControlPlane, who: &Identity, headers: &HeaderMap, request: &Request) -> Actor {
    let email = cp.user(&who.user_id).map(|user| user.email).unwrap_or_default();
    let key = auth::token(headers, request.uri()).map(|key| {
        let chars: Vec<char> = key.chars().collect();
        let end = chars.len().saturating_sub(3).max(chars.len().min(3));
        (chars[..chars.len().min(3)].iter().collect(), chars[end..].iter().collect())
    });
    Actor { id: who.user_id.clone(), email, key }
}

/// The organisation in the path if the caller's user is in it, else the caller's: no log takes entries from strangers.
fn organization(parameters: &[(&str, &str)], who: &Identity) -> String {
    let named = parameters.iter().find(|(name, _)| *name == "organizationId").map(|(_, id)| *id);
    named.filter(|id| who.organization_id == *id).unwrap_or(&who.organization_id).to_owned()
}

/// Whether a parameter of a path names what the operation is about; the last one that does counts.
fn is_target(parameter: &str) -> bool {
    parameter == "name" || parameter == "id" || parameter.ends_with("Id") || parameter.ends_with("IdOrName")
}

fn cut(text: &str) -> String {
    text.chars().take(MAX_TEXT).collect()
}

/// What the log keeps of a body: nothing secret, nothing large.
fn summary(body: &Map<String, Value>) -> Map<String, Value> {
    let kept = |name: &str, value: &Value| match value {
        Value::Null => Value::Null,
        _ if SECRET.contains(&name) => json!("***"),
        Value::String(text) => json!(cut(text)),
        Value::Array(_) | Value::Object(_) if value.to_string().len() > MAX_NESTED => json!("…"),
        _ => value.clone(),
    };
    let fields = body.iter().take(MAX_FIELDS);
    fields.map(|(name, value)| (cut(name), kept(name, value))).collect()
}

/// `getAuditScenarios`: open to all.
pub async fn scenarios() -> Response {
    let all = actions::scenarios();
    let targets = all.iter().map(|(target, actions)| json!({"targetType": target, "actions": actions}));
    ok(&json!({"targets": targets.collect::<Vec<_>>()}))
}

/// `getOrganizationAuditLogs`: newest first.
pub async fn list(
    State(cp): State<Arc<ControlPlane>>,
    caller: Caller,
    Path(id): Path<String>,
    mut query: Query,
) -> ApiResult {
    let organization = caller.member_of(&cp, &id)?;
    let page = query.page();
    let limit = query.number("limit", Some(200), true).unwrap_or(100);
    let mut conditions = Vec::new();
    for (name, test) in [("from", Test::Gte as fn(Sql) -> Test), ("to", Test::Lte)] {
        if let Some(at) = query.date(name) {
            conditions.push(Condition::new(Field::At, test(at.timestamp_millis().into())));
        }
    }
    filters(&mut query, &mut conditions);
    let after = query.get("nextToken").map(place);
    if after == Some(None) {
        query.problem("nextToken is invalid");
    }
    query.check()?;
    let wanted = Wanted {
        organization_id: organization.id.clone(),
        conditions,
        page: page.try_into().unwrap_or(u32::MAX),
        limit,
        after: after.flatten(),
    };
    let unavailable = || ApiError::new(StatusCode::SERVICE_UNAVAILABLE, "The audit log is not available");
    let found = cp.audit().find(wanted).await.ok_or_else(unavailable)?;
    let mut answer = json!({
        "items": found.items,
        "total": found.total,
        "page": page,
        "totalPages": found.total.div_ceil(limit.into()),
    });
    if let Some(next) = found.next {
        answer["nextToken"] = json!(format!("{}.{}", next.0, next.1));
    }
    Ok(ok(&answer))
}

/// A `nextToken` of ours.
fn place(text: &str) -> Option<Place> {
    let (at, number) = text.split_once('.')?;
    Some((at.parse().ok()?, number.parse().ok()?))
}

const FIELDS: [(&str, Field); 10] = [
    ("id", Field::Id),
    ("actorId", Field::Actor),
    ("actorEmail", Field::Email),
    ("actorApiKeyPrefix", Field::KeyPrefix),
    ("actorApiKeySuffix", Field::KeySuffix),
    ("action", Field::Action),
    ("targetType", Field::TargetType),
    ("targetId", Field::Target),
    ("statusCode", Field::Status),
    ("createdAt", Field::At),
];

/// `name[eq]=…`, `name[in]=a,b` and so on; a bare `name=…` is no filter of the contract.
fn filters(query: &mut Query, conditions: &mut Vec<Condition>) {
    for (name, field) in FIELDS {
        if query.get(name).is_some() {
            query.problem(format!("nested property {name} must be either object or array"));
        }
        let operators: &[&str] = match field {
            Field::At => &["gte", "lte", "gt", "lt"],
            Field::Status => &["eq", "not", "in", "notIn", "gte", "lte", "gt", "lt"],
            _ => &["eq", "not", "in", "notIn"],
        };
        for operator in operators {
            let given = query.nested(name, operator);
            if given.is_empty() {
                continue;
            }
            let values: Option<Vec<Sql>> = given.iter().map(|text| value(field, text)).collect();
            let Some(values) = values.filter(|values| values.len() <= MAX_LIST) else {
                query.problem(format!("{name}.{operator} is invalid"));
                continue;
            };
            let first = values[0].clone();
            conditions.push(Condition::new(
                field,
                match *operator {
                    "eq" => Test::Eq(first),
                    "not" => Test::Not(first),
                    "in" => Test::In(values),
                    "notIn" => Test::NotIn(values),
                    "gte" => Test::Gte(first),
                    "lte" => Test::Lte(first),
                    "gt" => Test::Gt(first),
                    _ => Test::Lt(first),
                },
            ));
        }
    }
}

fn value(field: Field, text: &str) -> Option<Sql> {
    match field {
        Field::Status => text.parse::<i64>().ok().map(Sql::from),
        Field::At => parse_date(text).map(|at| at.timestamp_millis().into()),
        _ => Some(text.to_owned().into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bodies_are_kept_without_secrets_and_short() {
        let long = "x".repeat(1000);
        let body =
            json!({"name": long, "password": "p", "env": {"A": "secret"}, "n": 1, "list": vec![long.clone(); 5]});
        let kept = Value::Object(summary(body.as_object().expect("an object")));
        let short = "x".repeat(MAX_TEXT);
        assert_eq!(kept, json!({"name": short, "password": "***", "env": "***", "n": 1, "list": "…"}));
    }

    #[test]
    fn the_last_name_in_a_path_is_the_target() {
        let target = |method, path: &'static str| {
            let operation = super::super::operations::find(method, path).expect("an operation");
            let found = operation.arguments(path).into_iter().rev().find(|(name, _)| is_target(name));
            found.map(|(_, value)| value)
        };
        assert_eq!(target("POST", "/sandbox/box/autostop/5"), Some("box"));
        assert_eq!(target("DELETE", "/api-keys/user/key"), Some("key"));
        assert_eq!(target("POST", "/organizations/o/users/u/access"), Some("u"));
        assert_eq!(target("DELETE", "/organizations/o"), Some("o"));
        assert_eq!(target("POST", "/sandbox"), None);
    }
}
