//! Rate limits as the real API has them: off unless asked for (`--rate-limit`), fixed windows, the throttler's headers.
//!
//! All of it is observed: a success carries `X-RateLimit-Limit-<name>`, `-Remaining-<name>` and `-Reset-<name>`
//! (seconds), a refusal only `Retry-After-<name>`; who exceeds a window is blocked for a whole one. Failed
//! authentication is counted by address, carries both sorts of headers and a plain `Retry-After`, and once exceeded
//! closes every route to that address, for good keys too. Creating, and changing a sandbox's state, count on their own
//! and not as `authenticated`. What isn't routed isn't counted. `/health` is counted by address. The old toolbox paths
//! count as nothing but failed authentication; the new ones are not the API's, so nothing counts there.

use std::{collections::HashMap, fmt, net::IpAddr, str::FromStr};

use axum::response::{IntoResponse, Response};
use chrono::{DateTime, TimeDelta, Utc};
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, StatusCode, Uri};
use parking_lot::Mutex;
use serde_json::{Value, json};

use super::{
    auth,
    error::{self, ApiError},
    operations,
};
use crate::model::ControlPlane;

/// What is counted together.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Class {
    Anonymous,
    FailedAuth,
    Authenticated,
    Create,
    Lifecycle,
    /// In the contract's `RateLimitConfig`, not observed.
    List,
}

const CLASSES: [(Class, &str); 6] = [
    (Class::Anonymous, "anonymous"),
    (Class::FailedAuth, "failed-auth"),
    (Class::Authenticated, "authenticated"),
    (Class::Create, "sandbox-create"),
    (Class::Lifecycle, "sandbox-lifecycle"),
    (Class::List, "sandbox-list"),
];

/// Operations that count on their own.
const OWN: [(&str, Class); 10] = [
    ("createSandbox", Class::Create),
    ("forkSandbox", Class::Create),
    ("deleteSandbox", Class::Lifecycle),
    ("startSandbox", Class::Lifecycle),
    ("stopSandbox", Class::Lifecycle),
    ("pauseSandbox", Class::Lifecycle),
    ("resizeSandbox", Class::Lifecycle),
    ("recoverSandbox", Class::Lifecycle),
    ("archiveSandbox", Class::Lifecycle),
    ("listSandboxes", Class::List),
];

/// Open to all, so nobody's (observed).
const OPEN: [&str; 3] = ["ConfigController_getConfig", "listSharedRegions", "getAuditScenarios"];

impl Class {
    fn name(self) -> &'static str {
        CLASSES.iter().find(|(class, _)| *class == self).map_or("", |(_, name)| name)
    }
}

impl fmt::Display for Class {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// `NAME=COUNT/SECONDS`: so many requests in so many seconds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RateLimit {
    class: Class,
    count: u32,
    seconds: u32,
}

impl FromStr for RateLimit {
    type Err = String;

    fn from_str(text: &str) -> Result<RateLimit, String> {
        let form = || "expected NAME=COUNT/SECONDS, such as sandbox-create=300/60".to_owned();
        let (name, rate) = text.split_once('=').ok_or_else(form)?;
        let names = || CLASSES.map(|(_, name)| name).join(", ");
        let class = CLASSES.iter().find(|(_, own)| *own == name.trim());
        let (class, _) = class.ok_or_else(|| format!("no rate limit is called {name}: there are {}", names()))?;
        let (count, seconds) = rate.split_once('/').ok_or_else(form)?;
        let number = |text: &str| text.trim().parse().ok().filter(|number| *number > 0).ok_or_else(form);
        Ok(RateLimit { class: *class, count: number(count)?, seconds: number(seconds)? })
    }
}

/// Who is counted: an organisation, or an address whose authentication failed.
type Who = String;

/// A window that began with its first request.
struct Window {
    hits: u32,
    until: DateTime<Utc>,
    /// Exceeded: until `until`, everything is refused.
    blocked: bool,
}

/// The counters of a server.
pub struct RateLimits {
    limits: Vec<RateLimit>,
    windows: Mutex<HashMap<(Class, Who), Window>>,
}

/// Windows that are kept; beyond it, those that ended go.
const MAX_WINDOWS: usize = 10_000;

/// What a request is told.
struct Told {
    limit: RateLimit,
    remaining: u32,
    /// Seconds, rounded up.
    reset: i64,
    refused: bool,
}

impl RateLimits {
    pub fn new(limits: &[RateLimit]) -> RateLimits {
        RateLimits { limits: limits.to_vec(), windows: Mutex::default() }
    }

    /// `/config.rateLimit`: empty objects for what isn't limited (observed).
    pub fn config(&self) -> Value {
        let all = [
            (Class::Authenticated, "authenticated"),
            (Class::Create, "sandboxCreate"),
            (Class::Lifecycle, "sandboxLifecycle"),
        ];
        let list = self.limit(Class::List).map(|_| (Class::List, "sandboxList"));
        let entry =
            |class| self.limit(class).map_or(json!({}), |limit| json!({"ttl": limit.seconds, "limit": limit.count}));
        all.into_iter().chain(list).map(|(class, name)| (name.to_owned(), entry(class))).collect()
    }

    fn limit(&self, class: Class) -> Option<&RateLimit> {
        self.limits.iter().rev().find(|limit| limit.class == class)
    }

    /// Answers by `serve`, unless there were too many requests like this one.
    pub async fn answer(
        &self,
        cp: &ControlPlane,
        request: axum::extract::Request,
        serve: impl AsyncFnOnce(axum::extract::Request) -> Response,
    ) -> Response {
        if self.limits.is_empty() {
            return serve(request).await;
        }
        let (now, address) = (cp.clock().now(), address(&request));
        if let Some(told) = self.blocked(&address, now) {
            return told.refusal();
        }
        let caller = auth::token(request.headers(), request.uri()).and_then(|token| cp.authenticate(&token));
        let class = self.class(request.method(), request.uri());
        let told = match (class, caller) {
            (Some(class), Some(caller)) => self.hit(class, caller.organization_id, now),
            _ => None,
        };
        if let Some(told) = told.as_ref().filter(|told| told.refused) {
            return told.refusal();
        }
        let mut response = self.count_failure(serve(request).await, address, now);
        if let Some(told) = told.filter(|_| response.status() != StatusCode::TOO_MANY_REQUESTS) {
            told.write(response.headers_mut());
        }
        response
    }

    /// The same for what belongs to nobody, counted by address (`anonymous`) or not at all but for its failures.
    pub async fn answer_apart<B>(
        &self,
        cp: &ControlPlane,
        request: Request<B>,
        anonymous: bool,
        serve: impl AsyncFnOnce(Request<B>) -> Response,
    ) -> Response {
        if self.limits.is_empty() {
            return serve(request).await;
        }
        let (now, address) = (cp.clock().now(), address(&request));
        let (method, uri) = (request.method().clone(), request.uri().clone());
        // Nobody after us puts it into the envelope.
        let refusal = |told: &Told| error::render(told.refusal(), method.as_str(), &uri);
        if let Some(told) = self.blocked(&address, now) {
            return refusal(&told);
        }
        let told = if anonymous { self.hit(Class::Anonymous, address.clone(), now) } else { None };
        if let Some(told) = told.as_ref().filter(|told| told.refused) {
            return refusal(told);
        }
        let mut response = self.count_failure(serve(request).await, address, now);
        if response.status() == StatusCode::TOO_MANY_REQUESTS {
            return error::render(response, method.as_str(), &uri);
        }
        if let Some(told) = told {
            told.write(response.headers_mut());
        }
        response
    }

    fn count_failure(&self, mut response: Response, address: Who, now: DateTime<Utc>) -> Response {
        if response.status() != StatusCode::UNAUTHORIZED {
            return response;
        }
        match self.hit(Class::FailedAuth, address, now) {
            Some(told) if told.refused => return told.refusal(),
            Some(told) => told.write(response.headers_mut()),
            None => {}
        }
        response
    }

    /// What a request counts as.
    fn class(&self, method: &Method, uri: &Uri) -> Option<Class> {
        let operation = operations::find(if method == Method::HEAD { "GET" } else { method.as_str() }, uri.path())?;
        if OPEN.contains(&operation.id) {
            return None;
        }
        let own = OWN.iter().find(|(id, class)| *id == operation.id && self.limit(*class).is_some());
        // What has a limit of its own never counts as authenticated, even while that limit is off.
        let apart = OWN.iter().any(|(id, class)| *id == operation.id && *class != Class::List);
        own.map(|(_, class)| *class).or((!apart).then_some(Class::Authenticated))
    }

    fn blocked(&self, address: &str, now: DateTime<Utc>) -> Option<Told> {
        let limit = self.limit(Class::FailedAuth)?.clone();
        let windows = self.windows.lock();
        let window = windows.get(&(Class::FailedAuth, address.to_owned()))?;
        let blocked = window.blocked && window.until > now;
        blocked.then(|| Told { limit, remaining: 0, reset: seconds(window.until - now), refused: true })
    }

    fn hit(&self, class: Class, who: Who, now: DateTime<Utc>) -> Option<Told> {
        let limit = self.limit(class)?.clone();
        let whole = TimeDelta::seconds(limit.seconds.into());
        let mut windows = self.windows.lock();
        if windows.len() >= MAX_WINDOWS {
            windows.retain(|_, window| window.until > now);
        }
        let fresh = || Window { hits: 0, until: now + whole, blocked: false };
        let window = windows.entry((class, who)).or_insert_with(fresh);
        if window.until <= now {
            *window = fresh();
        }
        window.hits = window.hits.saturating_add(1);
        // The last failure that fits is refused already; of the others the first that doesn't (observed).
        let exceeded = if class == Class::FailedAuth { window.hits >= limit.count } else { window.hits > limit.count };
        if exceeded && !window.blocked {
            window.blocked = true;
            window.until = now + whole;
        }
        let remaining = limit.count.saturating_sub(window.hits);
        Some(Told { limit, remaining, reset: seconds(window.until - now), refused: exceeded })
    }
}

fn address<B>(request: &Request<B>) -> Who {
    request.extensions().get::<Peer>().map_or_else(String::new, |peer| peer.0.to_string())
}

fn seconds(span: TimeDelta) -> i64 {
    (span.num_milliseconds() + 999) / 1000
}

/// The name of the limit that a request of the API counts for; `path` is below `/api`.
pub fn limit_of(method: &str, path: &str) -> Option<&'static str> {
    let operation = operations::find(method, path)?;
    let own = OWN.iter().find(|(id, _)| *id == operation.id);
    own.map(|(_, class)| class.name())
}

/// The names of all limits.
pub fn limit_names() -> impl Iterator<Item = &'static str> {
    CLASSES.iter().map(|(_, name)| *name)
}

/// The throttler's refusal by a limit, which may be in force or not; for faults.
pub fn throttled(limit: &str, seconds: u32) -> Response {
    let class = CLASSES.iter().find(|(_, name)| *name == limit).map_or(Class::Authenticated, |(class, _)| *class);
    let limit = RateLimit { class, count: 1, seconds };
    Told { limit, remaining: 0, reset: seconds.into(), refused: true }.refusal()
}

impl Told {
    fn refusal(&self) -> Response {
        let error = ApiError::new(StatusCode::TOO_MANY_REQUESTS, "ThrottlerException: Too Many Requests");
        let mut response = error.into_response();
        if self.limit.class == Class::FailedAuth {
            self.write(response.headers_mut());
            put(response.headers_mut(), "retry-after", self.reset);
        } else {
            put(response.headers_mut(), &format!("retry-after-{}", self.limit.class), self.reset);
        }
        response
    }

    fn write(&self, headers: &mut HeaderMap) {
        let class = self.limit.class;
        put(headers, &format!("x-ratelimit-limit-{class}"), self.limit.count.into());
        put(headers, &format!("x-ratelimit-remaining-{class}"), self.remaining.into());
        put(headers, &format!("x-ratelimit-reset-{class}"), self.reset);
    }
}

fn put(headers: &mut HeaderMap, name: &str, value: i64) {
    if let Ok(name) = HeaderName::from_bytes(name.as_bytes()) {
        headers.insert(name, HeaderValue::from(value));
    }
}

/// The address that a request came from; the gateway sets it.
#[derive(Clone, Copy)]
pub struct Peer(pub IpAddr);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limits_are_parsed() {
        let limit: RateLimit = "sandbox-create=300/60".parse().expect("fine");
        assert_eq!(limit, RateLimit { class: Class::Create, count: 300, seconds: 60 });
        for bad in ["", "sandbox-create", "sandbox-create=300", "sandbox-create=0/60", "sandbox-create=1/x", "nope=1/1"]
        {
            assert!(bad.parse::<RateLimit>().is_err(), "{bad}");
        }
    }

    #[test]
    fn a_window_ends_and_a_block_lasts_a_whole_one() {
        let limits = RateLimits::new(&["authenticated=2/20".parse().expect("fine")]);
        let start = DateTime::<Utc>::UNIX_EPOCH;
        let hit = |at: i64| {
            let told = limits.hit(Class::Authenticated, "o".into(), start + TimeDelta::seconds(at)).expect("limited");
            (told.refused, told.remaining, told.reset)
        };
        assert_eq!(hit(0), (false, 1, 20));
        assert_eq!(hit(5), (false, 0, 15));
        assert_eq!(hit(6), (true, 0, 20), "blocked from now");
        assert_eq!(hit(25), (true, 0, 1));
        assert_eq!(hit(26), (false, 1, 20));
        assert!(limits.hit(Class::Create, "o".into(), start).is_none());
    }

    #[test]
    fn requests_have_their_class() {
        let limits = RateLimits::new(&["authenticated=2/20".parse().expect("fine")]);
        let class = |method: Method, path: &str| limits.class(&method, &path.parse().expect("a path"));
        assert_eq!(class(Method::POST, "/sandbox"), None, "its own limit is off");
        assert_eq!(class(Method::GET, "/sandbox"), Some(Class::Authenticated));
        assert_eq!(class(Method::GET, "/sandbox/x"), Some(Class::Authenticated));
        assert_eq!(class(Method::GET, "/nope"), None);
    }
}
