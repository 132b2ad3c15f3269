//! What owners set about their organisation.

use std::sync::Arc;

use axum::extract::{Path, State};
use http::StatusCode;
use serde_json::Value;

use super::{
    super::{auth::Caller, body::Body, error::ApiResult, validate::Checks},
    switch,
};
use crate::model::{
    ControlPlane,
    organization::{Otel, Settings},
};

/// `updateOrganizationPreviewWarning`: browsers see a warning before a preview from now on, or don't.
pub async fn preview_warning(
    State(cp): State<Arc<ControlPlane>>,
    caller: Caller,
    Path(id): Path<String>,
    Body(body): Body,
) -> ApiResult<StatusCode> {
    let organization = caller.owner_of(&cp, &id)?;
    let on = switch(&body, "previewWarningEnabled")?;
    cp.set_organization(&organization.id, Settings::PreviewWarning(on)).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// `updateExperimentalConfig`: any object takes the place of the old one.
pub async fn experimental(
    State(cp): State<Arc<ControlPlane>>,
    caller: Caller,
    Path(id): Path<String>,
    Body(body): Body,
) -> ApiResult<()> {
    let organization = caller.owner_of(&cp, &id)?;
    cp.set_organization(&organization.id, Settings::Experimental(body)).await?;
    Ok(())
}

/// `updateOrganizationOtelConfig`.
pub async fn set_otel(
    State(cp): State<Arc<ControlPlane>>,
    caller: Caller,
    Path(id): Path<String>,
    Body(body): Body,
) -> ApiResult<StatusCode> {
    let organization = caller.owner_of(&cp, &id)?;
    let mut checks = Checks::new(&body);
    let endpoint = checks.string("endpoint");
    if checks.given("endpoint").is_none() {
        checks.problem("endpoint must be a string");
    }
    let headers = checks.object("headers").cloned();
    if headers.iter().flatten().any(|(_, value)| !matches!(value, Value::String(_))) {
        checks.problem("each value in headers must be a string");
    }
    checks.finish()?;
    let otel = Otel { endpoint: endpoint.unwrap_or_default(), headers };
    cp.set_organization(&organization.id, Settings::Otel(Some(otel))).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// `deleteOrganizationOtelConfig`.
pub async fn delete_otel(
    State(cp): State<Arc<ControlPlane>>,
    caller: Caller,
    Path(id): Path<String>,
) -> ApiResult<StatusCode> {
    let organization = caller.owner_of(&cp, &id)?;
    cp.set_organization(&organization.id, Settings::Otel(None)).await?;
    Ok(StatusCode::NO_CONTENT)
}
