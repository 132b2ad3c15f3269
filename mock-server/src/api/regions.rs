//! Regions: there is one, shared by all.

use axum::response::Response;
use chrono::{DateTime, Utc};
use serde_json::{Value, json};

use super::{
    auth::Caller,
    error::{ApiError, ok, time},
};
use crate::model::REGION;

fn shared() -> Value {
    let since = time(DateTime::<Utc>::UNIX_EPOCH);
    json!([{
        "id": REGION,
        "name": REGION,
        "organizationId": null,
        "regionType": "shared",
        "createdAt": since,
        "updatedAt": since,
        "proxyUrl": null,
        "sshGatewayUrl": null,
        "snapshotManagerUrl": null,
    }])
}

/// `listAvailableRegions`.
pub async fn available(_: Caller) -> Response {
    ok(&shared())
}

/// `listSharedRegions`: open to all.
pub async fn list_shared() -> Response {
    ok(&shared())
}

/// `getRegionById`: shared ones are not readable by id (observed).
pub async fn get(_: Caller) -> ApiError {
    ApiError::not_found("Region not found")
}
