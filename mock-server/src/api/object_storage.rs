//! Access to the object storage, where clients upload build contexts.

use std::sync::Arc;

use axum::extract::State;
use serde_json::json;

use super::{
    auth::{Caller, Client},
    error::{ApiResult, ok},
};
use crate::{
    model::ControlPlane,
    storage::{BUCKET, REGION, Storage},
};

/// `getPushAccess`: credentials for an hour, limited to the organisation's own prefix. `StorageAccessDto` of the contract.
pub async fn push_access(State(cp): State<Arc<ControlPlane>>, caller: Caller, client: Client) -> ApiResult {
    let credentials = cp.storage_credentials(caller.organization());
    Ok(ok(&json!({
        "accessKey": credentials.access_key,
        "secret": credentials.secret,
        "sessionToken": credentials.session_token,
        "storageUrl": Storage::url(&client.origin, client.is_python()),
        "organizationId": caller.organization(),
        "bucket": BUCKET,
        "region": REGION,
    })))
}
