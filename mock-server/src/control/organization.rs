//! `/__control/organization`: what operators of the real product do to an organisation. It is the calling key's.

use std::sync::Arc;

use axum::extract::State;
use chrono::{DateTime, Utc};
use serde_json::{Map, Value, json};

use crate::{
    api::{ApiError, ApiResult, Body, Caller, ok, organization_dto},
    model::{
        ControlPlane,
        organization::{Organization, Settings},
        quota::Quota,
    },
};

pub async fn get(State(cp): State<Arc<ControlPlane>>, caller: Caller) -> ApiResult {
    let organization = caller.member_of(&cp, caller.organization())?;
    Ok(ok(&told(&cp, &organization)))
}

pub async fn update(State(cp): State<Arc<ControlPlane>>, caller: Caller, Body(body): Body) -> ApiResult {
    let organization = caller.member_of(&cp, caller.organization())?;
    Ok(ok(&change(&cp, organization, &body).await?))
}

/// Changes what is named, all or nothing; the organisation as it is then.
pub(crate) async fn change(
    cp: &ControlPlane,
    mut organization: Arc<Organization>,
    body: &Map<String, Value>,
) -> ApiResult<Value> {
    let changes: Vec<Settings> =
        body.iter().map(|(name, value)| read(cp, &organization, name, value)).collect::<ApiResult<_>>()?;
    for change in changes {
        organization = cp.set_organization(&organization.id, change).await?;
    }
    Ok(told(cp, &organization))
}

fn told(cp: &ControlPlane, organization: &Organization) -> Value {
    let mut dto = organization_dto(organization, cp.clock().now());
    let enforced = organization.quota.or(cp.config().quota);
    dto["quota"] = json!(enforced);
    dto
}

fn read(cp: &ControlPlane, organization: &Organization, name: &str, value: &Value) -> ApiResult<Settings> {
    let bad = |what: &str| ApiError::bad_request(format!("{name} must be {what}"));
    match (name, value) {
        ("suspended", Value::Bool(false) | Value::Null) => Ok(Settings::Suspended(None)),
        ("suspended", Value::Bool(true)) => Ok(Settings::Suspended(Some((None, None)))),
        ("suspended", Value::Object(how)) => {
            let (reason, until) = (text(how, "reason")?, text(how, "until")?);
            let until = until.map(|at| DateTime::parse_from_rfc3339(&at).map(|at| at.with_timezone(&Utc)));
            let until = until.transpose().map_err(|_| bad("{reason, until: ISO time}, true or false"))?;
            Ok(Settings::Suspended(Some((reason, until))))
        }
        ("limitedNetworkEgress", Value::Bool(on)) => Ok(Settings::LimitedEgress(*on)),
        ("quota", Value::Null) => Ok(Settings::Quota(None)),
        ("quota", Value::Object(given)) => {
            let mut quota: Map<String, Value> = match json!(cp.quota(organization)) {
                Value::Object(current) => current,
                _ => Map::new(),
            };
            if let Some((unknown, _)) = given.iter().find(|(name, _)| !quota.contains_key(*name)) {
                let known = quota.keys().cloned().collect::<Vec<_>>().join(", ");
                return Err(ApiError::bad_request(format!("no quota is called {unknown}: there are {known}")));
            }
            quota.extend(given.clone());
            let quota: Quota = serde_json::from_value(Value::Object(quota)).map_err(|_| bad("whole numbers"))?;
            Ok(Settings::Quota(Some(quota)))
        }
        ("suspended", _) => Err(bad("{reason, until}, true or false")),
        ("limitedNetworkEgress", _) => Err(bad("true or false")),
        ("quota", _) => Err(bad("an object or null")),
        _ => Err(ApiError::bad_request(format!("{name} can't be set: suspended, limitedNetworkEgress and quota can"))),
    }
}

fn text(body: &Map<String, Value>, name: &str) -> ApiResult<Option<String>> {
    match body.get(name) {
        None | Some(Value::Null) => Ok(None),
        Some(Value::String(text)) if text.len() <= 1000 => Ok(Some(text.clone())),
        Some(_) => Err(ApiError::bad_request(format!("{name} must be a string of at most 1000 characters"))),
    }
}
