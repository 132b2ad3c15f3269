//! The user that a key acts for. Linking accounts and signing in by SMS belong to identity providers, which this server
//! has none of: the original answers 404 `Not Found` then (observed).

use std::sync::Arc;

use axum::extract::State;
use serde_json::json;

use super::{
    auth::Caller,
    error::{ApiError, ApiResult, ok, time},
};
use crate::model::ControlPlane;

/// `getAuthenticatedUser`.
pub async fn me(State(cp): State<Arc<ControlPlane>>, caller: Caller) -> ApiResult {
    let user = cp.user(&caller.0.user_id).ok_or_else(ApiError::unauthorized)?;
    Ok(ok(&json!({
        "id": user.id,
        "name": user.name,
        "email": user.email,
        "emailVerified": true,
        "publicKeys": [],
        "createdAt": time(user.created_at),
    })))
}

/// `getAvailableAccountProviders`, `linkAccount`, `unlinkAccount`, `enrollInSmsMfa`.
pub async fn no_providers(_: Caller) -> ApiError {
    ApiError::not_found("Not Found")
}
