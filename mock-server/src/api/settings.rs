//! What can be changed on a live sandbox. The intervals and `public` answer 201 (observed).

use std::sync::Arc;

use axum::{
    extract::{Path, State},
    response::Response,
};

use super::{
    auth::{Caller, Client},
    body::Body,
    dto::{Full, Shape},
    error::{ApiError, ApiResult, created},
    query::number_of,
    sandboxes::full,
    validate::Checks,
};
use crate::model::{
    ControlPlane, Sandbox, StringMap,
    settings::{Interval, NetworkSettings},
};

fn changed(sandbox: &Arc<Sandbox>, client: &Client) -> Response {
    created(&Full { sandbox, origin: &client.origin, shape: Shape::Full })
}

/// `replaceLabels`: all of them. Anything but an object is refused, as the contract says (the original stores it).
pub async fn labels(
    State(cp): State<Arc<ControlPlane>>,
    caller: Caller,
    client: Client,
    Path(id): Path<String>,
    Body(body): Body,
) -> ApiResult {
    let sandbox = caller.sandbox(&cp, &id)?;
    let labels = body.get("labels").and_then(|labels| labels.as_object());
    let labels = labels.ok_or_else(|| ApiError::bad_request("labels must be an object"))?;
    let sandbox = cp.set_labels(&sandbox, StringMap::from(labels.clone())).await?;
    Ok(full(&sandbox, &client))
}

/// `updatePublicStatus`: exactly `true` is true (observed).
pub async fn public(
    State(cp): State<Arc<ControlPlane>>,
    caller: Caller,
    client: Client,
    Path((id, public)): Path<(String, String)>,
) -> ApiResult {
    let sandbox = caller.sandbox(&cp, &id)?;
    Ok(changed(&cp.set_public(&sandbox, public == "true").await?, &client))
}

/// `updateNetworkSettings`.
pub async fn network(
    State(cp): State<Arc<ControlPlane>>,
    caller: Caller,
    client: Client,
    Path(id): Path<String>,
    Body(body): Body,
) -> ApiResult {
    let sandbox = caller.sandbox(&cp, &id)?;
    let mut checks = Checks::new(&body);
    let settings = NetworkSettings {
        block_all: checks.boolean("networkBlockAll"),
        allow_list: checks.string_or_absent("networkAllowList"),
        domains: checks.string_or_absent("domainAllowList"),
    };
    checks.finish()?;
    Ok(full(&cp.set_network(&sandbox, settings).await?, &client))
}

/// `setAutostopInterval`.
pub async fn auto_stop(cp: State<Arc<ControlPlane>>, caller: Caller, client: Client, path: Minutes) -> ApiResult {
    interval(&cp, &caller, &client, path, Interval::Stop).await
}

/// `setAutoPauseInterval`.
pub async fn auto_pause(cp: State<Arc<ControlPlane>>, caller: Caller, client: Client, path: Minutes) -> ApiResult {
    interval(&cp, &caller, &client, path, Interval::Pause).await
}

/// `setAutoArchiveInterval`.
pub async fn auto_archive(cp: State<Arc<ControlPlane>>, caller: Caller, client: Client, path: Minutes) -> ApiResult {
    interval(&cp, &caller, &client, path, Interval::Archive).await
}

/// `setAutoDeleteInterval`.
pub async fn auto_delete(cp: State<Arc<ControlPlane>>, caller: Caller, client: Client, path: Minutes) -> ApiResult {
    interval(&cp, &caller, &client, path, Interval::Delete).await
}

/// `setTtl`.
pub async fn ttl(cp: State<Arc<ControlPlane>>, caller: Caller, client: Client, path: Minutes) -> ApiResult {
    interval(&cp, &caller, &client, path, Interval::Ttl).await
}

/// The sandbox and the number of minutes, as text.
type Minutes = Path<(String, String)>;

async fn interval(
    cp: &ControlPlane,
    caller: &Caller,
    client: &Client,
    Path((id, minutes)): Minutes,
    which: Interval,
) -> ApiResult {
    let sandbox = caller.sandbox(cp, &id)?;
    Ok(changed(&cp.set_interval(&sandbox, which, parse(&minutes, which)?).await?, client))
}

/// The original answers 500 to what isn't a whole number of 32 bits, except that too much archive time is the maximum.
fn parse(minutes: &str, which: Interval) -> ApiResult<i32> {
    match number_of(minutes) {
        n if n.fract() == 0.0 && (f64::from(i32::MIN)..=f64::from(i32::MAX)).contains(&n) => Ok(n as i32),
        n if n.fract() == 0.0 && which == Interval::Archive && n > 0.0 => Ok(i32::MAX),
        _ => {
            let name = if which == Interval::Ttl { "ttlMinutes" } else { "interval" };
            Err(ApiError::bad_request(format!("{name} must be an integer number")))
        }
    }
}
