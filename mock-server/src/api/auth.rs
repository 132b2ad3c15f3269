//! Who asks, and what they may. The order of refusals is observed: 401, then 403, then 404, then 400.

use std::{convert::Infallible, sync::Arc};

use axum::extract::{FromRef, FromRequestParts};
use http::{HeaderMap, Uri, header, request::Parts};

use super::error::{ApiError, ApiResult};
use crate::{
    gateway::origin::{Addressing, Origin},
    model::{
        ControlPlane, Identity, LANGUAGE_LABEL, Sandbox,
        organization::{MemberRole, Organization, User},
    },
};

/// The holder of a good key, who may ask for the operation: [`super::permissions`] was there first.
pub struct Caller(pub Identity);

impl Caller {
    pub fn organization(&self) -> &str {
        &self.0.organization_id
    }

    /// The user that the key acts for, if it may all that its user may in its organisation: then it stands for the user
    /// on the routes that the original keeps for people who are signed in. Else 403.
    pub fn person(&self, cp: &ControlPlane) -> ApiResult<User> {
        let home = cp.organization(self.organization());
        let all = home.and_then(|home| home.permissions_of(&self.0.user_id)).unwrap_or_default();
        if all.iter().any(|one| !self.0.permissions.contains(one)) {
            return Err(ApiError::denied());
        }
        cp.user(&self.0.user_id).ok_or_else(ApiError::denied)
    }

    /// An organisation by id that the caller is in. A key is in its own; one that stands for its user in all of the
    /// user's. Strangers get 403 (observed).
    pub fn member_of(&self, cp: &ControlPlane, id: &str) -> ApiResult<Arc<Organization>> {
        if id != self.organization() && self.person(cp).is_err() {
            return Err(ApiError::wrong_context());
        }
        cp.organization_of(&self.0.user_id, id)?.ok_or_else(ApiError::wrong_context)
    }

    /// The same for what only owners may.
    pub fn owner_of(&self, cp: &ControlPlane, id: &str) -> ApiResult<Arc<Organization>> {
        let organization = self.member_of(cp, id)?;
        self.person(cp)?;
        let member = organization.member(&self.0.user_id);
        let owns = member.is_some_and(|member| member.role == MemberRole::Owner);
        if owns { Ok(organization) } else { Err(ApiError::denied()) }
    }

    /// A sandbox of the caller's organisation by id or name, else 404.
    pub fn sandbox(&self, cp: &ControlPlane, id_or_name: &str) -> ApiResult<Arc<Sandbox>> {
        Ok(cp.find(self.organization(), id_or_name)?)
    }
}

impl<S> FromRequestParts<S> for Caller
where
    S: Send + Sync,
    Arc<ControlPlane>: FromRef<S>,
{
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, ApiError> {
        if let Some(Known(known)) = parts.extensions.get() {
            return known.clone().map(Caller).ok_or_else(ApiError::unauthorized);
        }
        let cp = Arc::<ControlPlane>::from_ref(state);
        identify(&cp, &parts.headers, &parts.uri).map(Caller).ok_or_else(ApiError::unauthorized)
    }
}

/// Who asks, where it is known already: a request extension.
#[derive(Clone)]
pub struct Known(pub Option<Identity>);

/// Who asks; `None` without a good key.
pub fn identify(cp: &ControlPlane, headers: &HeaderMap, uri: &Uri) -> Option<Identity> {
    token(headers, uri).and_then(|token| cp.authenticate(&token))
}

/// The key in a request's header or query.
pub fn token(headers: &HeaderMap, uri: &Uri) -> Option<String> {
    bearer(headers).or_else(|| in_query(uri.query()))
}

/// The scheme is case-insensitive (observed).
pub fn bearer(headers: &HeaderMap) -> Option<String> {
    let value = headers.get(header::AUTHORIZATION)?.to_str().ok()?;
    let (scheme, token) = value.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then(|| token.trim().to_owned())
}

/// `?access_token=` authenticates too (observed).
fn in_query(query: Option<&str>) -> Option<String> {
    let mut pairs = form_urlencoded::parse(query?.as_bytes());
    pairs.find(|(name, _)| name == "access_token").map(|(_, token)| token.into_owned())
}

/// Where the client is and what it is: what answers depend on besides the data.
pub struct Client {
    pub origin: Origin,
    python: bool,
}

impl<S: Send + Sync> FromRequestParts<S> for Client {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Infallible> {
        let origin = parts.extensions.get::<Origin>().cloned();
        let source = parts.headers.get("x-daytona-source").and_then(|source| source.to_str().ok()).unwrap_or_default();
        Ok(Client {
            // The gateway always sets it; without one, URLs are relative to nowhere in particular.
            origin: origin.unwrap_or_else(|| Origin {
                scheme: "http".into(),
                authority: "localhost".into(),
                preview_domain: "localhost".into(),
                previews: Addressing::Names,
            }),
            python: source.contains("python"),
        })
    }
}

impl Client {
    /// One of the Python SDKs.
    pub fn is_python(&self) -> bool {
        self.python
    }

    /// The record as this client can read it. The Python SDKs fail a whole `list()` or `get()` over a language label
    /// that they don't know, so they don't see such a label; it is kept, and others see it.
    pub fn view(&self, sandbox: &Arc<Sandbox>) -> Arc<Sandbox> {
        let known = sandbox.language().is_none_or(|name| ["python", "typescript", "javascript"].contains(&name));
        if !self.python || known {
            return sandbox.clone();
        }
        let mut seen = Sandbox::clone(sandbox);
        seen.labels.remove(LANGUAGE_LABEL);
        Arc::new(seen)
    }
}
