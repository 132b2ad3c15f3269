//! A port of a sandbox, by a host name or a port of its own. Port 2280 is the toolbox itself, which old and Ruby
//! clients reach for WebSockets that way.

use axum::{body::Body, response::Response};
use http::{HeaderValue, Method, Request, StatusCode, header, request::Parts};

use super::{
    Gateway,
    cors::Cors,
    credentials::{self, Way, authorize, has_cookie},
    error::ProxyError,
    forward::{NobodyAnswers, forward},
    hosts::Preview,
    pool::TOOLBOX_PORT,
    sign_in,
    toolbox::{LEGACY, activity, not_running},
    warning,
};
use crate::model::ToolboxTarget;

/// Web terminal, toolbox, recording dashboard: private even when the sandbox is public (observed).
const RESERVED_PORTS: [u16; 3] = [22222, TOOLBOX_PORT, 33333];

/// Answers a request to a preview.
pub async fn answer(gateway: &Gateway, preview: &Preview, request: Request<Body>) -> Response {
    let (mut parts, body) = request.into_parts();
    let cors = match Cors::proxy(&parts).preflight(&parts) {
        Ok(response) => return response,
        Err(cors) => cors,
    };
    if let Some(response) = sign_in::come_back(gateway, preview, &parts) {
        return response;
    }
    let (method, path, person) = (parts.method.clone(), parts.uri.path().to_owned(), is_person(&parts));
    let admitted = match admit(gateway, preview, &mut parts) {
        Ok(admitted) => admitted,
        Err(refused) => return cors.apply(sign_in::redirect(gateway, preview, &parts, &refused)),
    };
    if let Some(warning) = warning_for(gateway, preview, &admitted, &parts) {
        return cors.apply(warning);
    }
    let answer = through(gateway, preview.port, admitted, Request::from_parts(parts, body)).await;
    let answer = match answer {
        Ok(response) if person && response.extensions().get::<NobodyAnswers>().is_some() => nobody(preview.port),
        answer => answer.unwrap_or_else(|error| error.response(&method, &path)),
    };
    cors.apply(answer)
}

/// A request that may pass.
struct Admitted {
    id: String,
    target: ToolboxTarget,
    /// For a browser, whose next request comes without the credential of this one.
    cookie: Option<HeaderValue>,
}

/// Lets a request through, stripped of credentials; a refused one is as it was.
fn admit(gateway: &Gateway, preview: &Preview, parts: &mut Parts) -> Result<Admitted, ProxyError> {
    let (cp, name) = (gateway.cp(), preview.name.as_str());
    let signed = cp.signed_preview(preview.port, name);
    let id = signed.clone().unwrap_or_else(|| name.to_owned());
    let target = cp.toolbox_target(&id);
    let is_open = target.as_ref().is_some_and(|target| target.public) && !RESERVED_PORTS.contains(&preview.port);
    let is_new = match (&target, &signed) {
        (Some(target), Some(_)) => !has_cookie(cp, name, target, &preview.base, &parts.headers),
        _ if is_open => false,
        _ => authorize(cp, &id, target.as_ref(), &preview.base, parts)? == Way::Query,
    };
    credentials::strip(cp, parts);
    let target = target.ok_or_else(|| ProxyError::unauthorized("authentication failed: unknown sandbox"))?;
    let cookie = is_new.then(|| credentials::set_cookie(cp, name, preview)).flatten();
    Ok(Admitted { id, target, cookie })
}

/// The warning for browsers, with the cookie that their next request needs. Reserved ports have none (observed).
fn warning_for(gateway: &Gateway, preview: &Preview, admitted: &Admitted, parts: &Parts) -> Option<Response> {
    if RESERVED_PORTS.contains(&preview.port) {
        return None;
    }
    let mut response = warning::answer(gateway.cp(), &admitted.target, parts)?;
    if let Some(cookie) = &admitted.cookie {
        response.headers_mut().append(header::SET_COOKIE, cookie.clone());
    }
    Some(response)
}

async fn through(
    gateway: &Gateway,
    port: u16,
    admitted: Admitted,
    mut request: Request<Body>,
) -> Result<Response, ProxyError> {
    let Admitted { id, target, cookie } = admitted;
    request.headers_mut().remove(LEGACY);
    let Some(sandbox) = &target.running else { return Err(not_running(&id, target.state, request.uri().path())) };
    let active = activity(gateway, &id, &request);
    let mut response = forward(gateway.pool(), sandbox, port, request, active).await?;
    if let Some(cookie) = cookie {
        response.headers_mut().append(header::SET_COOKIE, cookie);
    }
    Ok(response)
}

/// Whether someone looks at the answer, in a browser.
fn is_person(parts: &Parts) -> bool {
    let accepts = parts.headers.get(header::ACCEPT).and_then(|value| value.to_str().ok());
    parts.method == Method::GET && accepts.is_some_and(|accepts| accepts.contains("text/html"))
}

/// The page for a port where nothing listens; programs get no body (observed).
fn nobody(port: u16) -> Response {
    let content = format!(
        "<h1>Nothing answers on port {port}</h1>\n  <p>The sandbox runs, but no program in it listens there (yet). \
         Start one, then reload this page.</p>"
    );
    sign_in::page(StatusCode::BAD_GATEWAY, None, &content)
}
