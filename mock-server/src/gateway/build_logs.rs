//! `/sandboxes/{id}/build-logs` and `/snapshots/{id}/build-logs`: what the URLs of `getBuildLogsUrl` and
//! `getSnapshotBuildLogsUrl` lead to. SDKs ask with their key and `?follow=true` (`utils/Stream.ts`,
//! `_utils/stream.py`); in the original it is the proxy that answers, in its envelope (observed).

use axum::{body::Body, response::Response};
use http::{Method, Request};

use super::{
    Gateway,
    cors::Cors,
    credentials::{bearer, query_value},
    error::ProxyError,
};
use crate::api::build_logs::{sandbox_log, snapshot_log};

/// What is built.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Built {
    Sandbox,
    Snapshot,
}

impl Built {
    /// The contract's name for the reading of such logs.
    pub fn operation(self) -> &'static str {
        match self {
            Built::Sandbox => "getBuildLogs",
            Built::Snapshot => "getSnapshotBuildLogs",
        }
    }
}

/// What a path asks for the log of, and its id.
pub fn asked(path: &str) -> Option<(Built, &str)> {
    let mut parts = path.strip_prefix('/')?.split('/');
    let (Some(kind), Some(id), Some("build-logs"), None) = (parts.next(), parts.next(), parts.next(), parts.next())
    else {
        return None;
    };
    let built = match kind {
        "sandboxes" => Built::Sandbox,
        "snapshots" => Built::Snapshot,
        _ => return None,
    };
    (!id.is_empty()).then_some((built, id))
}

/// Answers a request for a log.
pub async fn answer(gateway: &Gateway, request: Request<Body>) -> Response {
    let (parts, _) = request.into_parts();
    let cors = match Cors::proxy(&parts).preflight(&parts) {
        Ok(response) => return response,
        Err(cors) => cors,
    };
    let (method, path) = (&parts.method, parts.uri.path());
    let reads = matches!(*method, Method::GET | Method::HEAD);
    let answer = match asked(path).filter(|_| reads) {
        Some((built, id)) => {
            let follow = query_value(&parts.uri, "follow").as_deref() == Some("true");
            log(gateway, bearer(&parts.headers), built, id, follow).await
        }
        None => Err(ProxyError::not_found("not found")),
    };
    cors.apply(answer.unwrap_or_else(|error| error.response(method, path)))
}

async fn log(
    gateway: &Gateway,
    key: Option<&str>,
    built: Built,
    id: &str,
    follow: bool,
) -> Result<Response, ProxyError> {
    let cp = gateway.cp();
    let caller = key.and_then(|key| cp.authenticate(key));
    let caller = caller.ok_or_else(|| ProxyError::relayed(crate::api::ApiError::unauthorized()))?;
    let answer = match built {
        Built::Sandbox => sandbox_log(cp, &caller, id, follow).await,
        Built::Snapshot => snapshot_log(cp, &caller, id, follow).await,
    };
    answer.map_err(ProxyError::relayed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_told_apart() {
        assert_eq!(asked("/sandboxes/x/build-logs"), Some((Built::Sandbox, "x")));
        assert_eq!(asked("/snapshots/x/build-logs"), Some((Built::Snapshot, "x")));
        for path in ["/sandboxes//build-logs", "/sandboxes/x", "/sandboxes/x/build-logs/", "/toolbox/x/build-logs", "/"]
        {
            assert_eq!(asked(path), None, "{path}");
        }
    }
}
