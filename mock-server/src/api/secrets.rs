//! Secrets of an organisation, and of a sandbox. Values go in and never out.

use std::sync::Arc;

use axum::extract::{Path, State};
use http::StatusCode;
use serde_json::{Map, Value, json};

use super::{
    auth::{Caller, Client},
    body::Body,
    error::{ApiResult, created, ok, time},
    query::Query,
    sandboxes::full,
    validate::Checks,
};
use crate::model::{
    ControlPlane,
    secrets::{Secret, SecretChange, SecretOrder, is_host, is_name},
};

/// Bytes of a value; more than any key, token or certificate.
const MAX_VALUE: usize = 64 * 1024;
const MAX_DESCRIPTION: usize = 1024;
const MAX_HOSTS: usize = 100;
const SORTS: [(&str, SecretOrder); 3] =
    [("name", SecretOrder::Name), ("createdAt", SecretOrder::Created), ("updatedAt", SecretOrder::Updated)];
const ORDERS: [(&str, bool); 2] = [("asc", false), ("desc", true)];

/// `Secret` of the contract.
fn dto(secret: &Secret) -> Value {
    let mut dto = json!({
        "id": secret.id,
        "name": secret.name,
        "createdAt": time(secret.created_at),
        "placeholder": secret.placeholder,
        "hosts": secret.hosts,
        "updatedAt": time(secret.updated_at),
    });
    if let Some(description) = &secret.description {
        dto["description"] = json!(description);
    }
    dto
}

fn dtos(secrets: &[Arc<Secret>]) -> Vec<Value> {
    secrets.iter().map(|secret| dto(secret)).collect()
}

/// `createSecret`; 409 for a name that there is.
pub async fn create(State(cp): State<Arc<ControlPlane>>, caller: Caller, Body(body): Body) -> ApiResult {
    let mut checks = Checks::new(&body);
    let name = checks.string("name").unwrap_or_default();
    if !is_name(&name) {
        checks.problem("name must match /^[a-zA-Z_][a-zA-Z0-9_-]*$/ regular expression");
    }
    let new = change(&mut checks, true);
    checks.finish()?;
    Ok(created(&dto(&*cp.add_secret(caller.organization(), name, new).await?)))
}

/// `listSecrets`: all, newest first.
pub async fn list(State(cp): State<Arc<ControlPlane>>, caller: Caller) -> ApiResult {
    Ok(ok(&dtos(&cp.secrets(caller.organization()))))
}

/// `listSecretsPaginated`: `{items, total, nextCursor}`.
pub async fn paginated(State(cp): State<Arc<ControlPlane>>, caller: Caller, mut query: Query) -> ApiResult {
    let (cursor, limit) = (query.text("cursor"), query.number("limit", Some(200), true).unwrap_or(100));
    let name = query.text("name");
    let order = (query.word("sort", &SORTS, SecretOrder::Created), query.word("order", &ORDERS, true));
    query.check()?;
    let page = cp.list_secrets(caller.organization(), &name, order, &cursor, limit as usize)?;
    Ok(ok(&json!({"items": dtos(&page.items), "total": page.total, "nextCursor": page.next})))
}

/// `getSecret`.
pub async fn get(State(cp): State<Arc<ControlPlane>>, caller: Caller, Path(id): Path<String>) -> ApiResult {
    Ok(ok(&dto(&*cp.secret(caller.organization(), &id)?)))
}

/// `updateSecret`: what is not given stays.
pub async fn update(
    State(cp): State<Arc<ControlPlane>>,
    caller: Caller,
    Path(id): Path<String>,
    Body(body): Body,
) -> ApiResult {
    cp.secret(caller.organization(), &id)?;
    let mut checks = Checks::new(&body);
    let new = change(&mut checks, false);
    checks.finish()?;
    Ok(ok(&dto(&*cp.change_secret(caller.organization(), &id, new).await?)))
}

/// `deleteSecret`: sandboxes that have it lose it.
pub async fn delete(
    State(cp): State<Arc<ControlPlane>>,
    caller: Caller,
    Path(id): Path<String>,
) -> ApiResult<StatusCode> {
    cp.remove_secret(caller.organization(), &id).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// `updateSandboxSecrets`: the whole set.
pub async fn attach(
    State(cp): State<Arc<ControlPlane>>,
    caller: Caller,
    client: Client,
    Path(id): Path<String>,
    Body(body): Body,
) -> ApiResult {
    let sandbox = caller.sandbox(&cp, &id)?;
    let mut checks = Checks::new(&body);
    if checks.given("secrets").is_none() {
        checks.problem("secrets must be an array");
    }
    let pairs = pairs(&mut checks);
    checks.finish()?;
    Ok(full(&cp.set_secrets(&sandbox, &pairs).await?, &client))
}

fn change(checks: &mut Checks, new: bool) -> SecretChange {
    let value = checks.string("value");
    let given = checks.given("value");
    if value.as_deref().map_or(new && given.is_none(), str::is_empty) {
        checks.problem("value should not be empty");
    }
    // It goes out in a header, which can't have those (RFC 9110, section 5.5).
    if value.as_ref().is_some_and(|value| value.chars().any(|c| c.is_ascii_control() && c != '\t')) {
        checks.problem("value must not contain line breaks or other control characters");
    }
    let description = checks.string("description");
    for (name, text, most) in [("value", &value, MAX_VALUE), ("description", &description, MAX_DESCRIPTION)] {
        if text.as_ref().is_some_and(|text| text.len() > most) {
            checks.problem(format!("{name} must be shorter than or equal to {most} characters"));
        }
    }
    SecretChange { value, description, hosts: hosts(checks) }
}

fn hosts(checks: &mut Checks) -> Option<Vec<String>> {
    let Some(items) = checks.given("hosts")?.as_array() else {
        checks.problem("hosts must be an array");
        return None;
    };
    if items.len() > MAX_HOSTS {
        checks.problem(format!("hosts must contain no more than {MAX_HOSTS} elements"));
    }
    let hosts = items.iter().map(|item| item.as_str().filter(|host| is_host(host)).map(str::to_ascii_lowercase));
    let hosts: Option<Vec<String>> = hosts.collect();
    if hosts.is_none() {
        checks.problem("each value in hosts must be a host name without a port, with *. in front or not");
    }
    hosts
}

/// `secrets: [{variable: name of the secret}, …]`.
pub(super) fn pairs(checks: &mut Checks) -> Vec<(String, String)> {
    let Some(value) = checks.given("secrets") else { return Vec::new() };
    let Some(items) = value.as_array() else {
        checks.problem("secrets must be an array");
        return Vec::new();
    };
    let text = |(variable, name): (&String, &Value)| Some((variable.clone(), name.as_str()?.to_owned()));
    let pair = |item: &Value| -> Option<Vec<(String, String)>> {
        item.as_object().and_then(|object: &Map<String, Value>| object.iter().map(text).collect())
    };
    let all: Option<Vec<_>> = items.iter().map(pair).collect();
    if all.is_none() {
        checks.problem("each value in secrets must be an object of strings");
    }
    all.unwrap_or_default().into_iter().flatten().collect()
}
