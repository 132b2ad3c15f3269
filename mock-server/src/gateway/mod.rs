//! What listens: routing by host and path, authentication, forwarding to sandboxes, events.

mod activity;
mod bend;
mod bent_body;
pub mod besides;
pub(crate) mod build_logs;
mod cors;
mod credentials;
mod error;
mod events;
mod faulty;
mod forward;
mod frames;
mod hosts;
mod legacy;
mod lenient;
mod lent;
mod linger;
pub mod links;
pub mod listen;
mod lull;
pub mod origin;
mod pool;
pub(crate) mod portal;
mod preview;
mod preview_ports;
mod record;
mod request_body;
pub(crate) mod seal;
mod sign_in;
mod skew;
pub mod ssh;
mod strict;
mod tap;
pub mod tls;
mod toolbox;
mod tunnel;
mod warning;

use std::{net::SocketAddr, sync::Arc};

use axum::{
    Json, Router,
    body::Body,
    response::{IntoResponse, Response},
};
use http::{HeaderName, HeaderValue, Request, StatusCode};
use tokio_rustls::TlsAcceptor;
use tower::ServiceExt;

pub use self::hosts::check;
use self::{
    activity::Activity,
    besides::{Besides, Secure},
    cors::Cors,
    error::ProxyError,
    events::Events,
    hosts::{Destination, Hosts},
    links::Links,
    lull::Lull,
    origin::Origin,
    pool::Pool,
    preview_ports::PreviewPorts,
    seal::Seal,
    tap::Tap,
};
use crate::{
    api::{self, RateLimits},
    config::Config,
    control,
    faults::origin::within,
    journal::{Journal, Plane, Recording},
    limits::Limits,
    model::{ControlPlane, PreviewPort},
    registry,
    storage::Storage,
    webhooks::Webhooks,
};

const API_VERSION: HeaderName = HeaderName::from_static("x-daytona-api-version");
const MOCK: HeaderName = HeaderName::from_static("x-daytona-mock");

/// Answers every request of a server. Cheap to clone.
#[derive(Clone)]
pub struct Gateway(Arc<Inner>);

struct Inner {
    cp: Arc<ControlPlane>,
    hosts: Hosts,
    /// `/api` and `/__control`.
    routes: Router,
    pool: Pool,
    lull: Lull,
    activity: Activity,
    events: Events,
    storage: Storage,
    besides: Arc<Besides>,
    links: Arc<Links>,
    seal: Arc<Seal>,
    journal: Journal,
    rate_limits: Arc<RateLimits>,
    api_version: HeaderValue,
    tls: Option<TlsAcceptor>,
}

impl Gateway {
    pub fn new(
        cp: Arc<ControlPlane>,
        journal: Journal,
        config: &Config,
        listening: SocketAddr,
        ssh: ssh::Public,
        tls: Option<TlsAcceptor>,
    ) -> Gateway {
        let hosts = Hosts::new(config, listening);
        let links = Links::new(PreviewPorts::new(listening.ip(), &cp), hosts.unpinned_domains(), config.scheme());
        let rate_limits = Arc::new(RateLimits::new(&config.rate_limits));
        let (seal, webhooks) = (Arc::new(Seal::new()), Webhooks::start(&cp));
        let routes = Router::new()
            .nest("/api", api::router(cp.clone(), links.clone(), rate_limits.clone(), seal.clone(), Arc::new(ssh)))
            .nest("/__control", control::router(cp.clone(), journal.clone(), seal.clone(), webhooks));
        let lull = Lull::default();
        // What the start itself took.
        lull.over();
        Gateway(Arc::new(Inner {
            hosts,
            links,
            routes,
            pool: Pool::default(),
            lull,
            activity: Activity::new(cp.clone()),
            events: Events::new(&cp),
            storage: Storage::new(&cp),
            besides: Besides::new(config, listening, cp.config().data_dir.clone()),
            seal,
            journal,
            rate_limits,
            api_version: HeaderValue::from_str(&cp.config().api_version).unwrap_or(HeaderValue::from_static("unknown")),
            tls,
            cp,
        }))
    }

    fn cp(&self) -> &ControlPlane {
        &self.0.cp
    }

    fn limits(&self) -> &Limits {
        &self.cp().config().limits
    }

    /// What connections are decrypted with.
    fn tls(&self) -> Option<&TlsAcceptor> {
        self.0.tls.as_ref()
    }

    fn pool(&self) -> &Pool {
        &self.0.pool
    }

    fn links(&self) -> &Links {
        &self.0.links
    }

    fn seal(&self) -> &Seal {
        &self.0.seal
    }

    /// What is decrypted where the server itself speaks HTTP.
    fn besides(&self) -> &Arc<Besides> {
        &self.0.besides
    }

    fn activity(&self) -> &Activity {
        &self.0.activity
    }

    fn journal(&self) -> &Journal {
        &self.0.journal
    }

    /// Ends what would outlive the listener.
    pub async fn close(&self) {
        self.0.events.close().await;
    }

    /// Answers one request that was accepted on the address `local`, which `leads` to a preview if it isn't the
    /// server's own. Every answer names the versions, and is in the journal.
    async fn handle(
        &self,
        request: Request<Body>,
        local: SocketAddr,
        leads: Option<&PreviewPort>,
        tap: &Tap,
    ) -> Response {
        self.0.lull.over();
        let destination = self.destination(&request, local, leads);
        let (mut request, recording) = record::begin(self, &destination, request);
        let acting = |recording: &Recording| faulty::acting(self.cp(), recording.exchange());
        let faults = recording.as_ref().map(acting).unwrap_or_default();
        if let Some(recording) = recording.as_ref().filter(|_| faults.iter().any(|fault| fault.hangs())) {
            // It can be waited for: whoever made it hang wants to know when it does.
            recording.again();
        }
        if recording.as_ref().is_some_and(|recording| recording.exchange().place.plane == Plane::Events) {
            request.extensions_mut().insert(tap.clone());
        }
        let checked = match &recording {
            Some(recording) => strict::check(self, recording.exchange(), request).await,
            None => Ok(request),
        };
        let answer = async {
            match (checked, &recording) {
                (Err(refusal), _) => refusal,
                (Ok(request), Some(recording)) if !faults.is_empty() => {
                    faulty::answer(self, &faults, recording.exchange(), tap, destination, request).await
                }
                (Ok(request), _) => self.serve(destination, request).await,
            }
        };
        let mut response = match &recording {
            Some(recording) if !self.cp().faults().is_idle() => within(recording.exchange(), answer).await,
            _ => answer.await,
        };
        response.headers_mut().insert(API_VERSION, self.0.api_version.clone());
        response.headers_mut().insert(MOCK, HeaderValue::from_static(env!("CARGO_PKG_VERSION")));
        match recording {
            // Dropped, it is in the journal as one without an answer.
            Some(_) if response.extensions().get::<faulty::CutOff>().is_some() => response,
            Some(recording) => record::answer(recording, response, tap, &self.0.lull),
            None => response,
        }
    }

    async fn serve(&self, destination: Destination, request: Request<Body>) -> Response {
        match destination {
            Destination::Unknown(host) => refuse(&request, ProxyError::misdirected(&host)),
            Destination::Nowhere => refuse(&request, ProxyError::not_found("not found")),
            Destination::Main(origin) => self.route(request, origin).await,
            Destination::Preview(preview) => preview::answer(self, &preview, request).await,
        }
    }

    fn destination(&self, request: &Request<Body>, local: SocketAddr, leads: Option<&PreviewPort>) -> Destination {
        let hosts = &self.0.hosts;
        let regions = |host: &str| self.cp().is_region_host(host);
        match (hosts.destination(request.uri(), request.headers(), local.ip(), regions), leads) {
            (refused @ (Destination::Unknown(_) | Destination::Nowhere), _) => refused,
            (_, Some(leads)) => {
                // A link whose token has ended is still one to its sandbox, for who signs in.
                let token = leads.token.clone().filter(|token| self.cp().signed_preview(leads.port, token).is_some());
                let name = token.unwrap_or_else(|| leads.sandbox_id.clone());
                Destination::Preview(hosts.at_port(request.uri(), request.headers(), local, leads.port, name))
            }
            (Destination::Main(mut origin), None) => {
                if request.extensions().get::<Secure>().is_some() && !hosts.has_public_url() {
                    origin.scheme = "https".into();
                }
                Destination::Main(origin)
            }
            (destination, None) => destination,
        }
    }

    async fn route(&self, mut request: Request<Body>, origin: Origin) -> Response {
        if Storage::concerns(&request) {
            return self.0.storage.answer(request).await;
        }
        let path = request.uri().path();
        let first = path.trim_start_matches('/').split('/').next().unwrap_or_default();
        match (first, path) {
            (_, "/health") => self.health().await,
            (_, "/") => welcome(&origin),
            (_, besides::AUTHORITY) => self.authority().await,
            ("toolbox", _) => toolbox::by_path(self, &origin, request).await,
            ("sandboxes" | "snapshots", _) => build_logs::answer(self, request).await,
            (_, "/api-json") => api::ok(&api::document(&self.cp().config().api_version)),
            ("webhook-portal", _) => {
                let page = portal::answer(&request);
                page.unwrap_or_else(|| refuse(&request, ProxyError::not_found("not found")))
            }
            ("v2", _) => registry::answer(&self.0.cp, request).await,
            (_, sign_in::PATH) => sign_in::answer(self, &origin, request).await,
            ("api", _) => {
                request.extensions_mut().insert(origin);
                let is_event = request.uri().path().starts_with(events::PATH);
                if is_event { self.0.events.answer(request).await } else { self.api(request).await }
            }
            ("__control", _) => {
                request.extensions_mut().insert(origin);
                self.routes(request).await
            }
            _ => refuse(&request, ProxyError::not_found("not found")),
        }
    }

    async fn api(&self, request: Request<Body>) -> Response {
        let (parts, body) = request.into_parts();
        match Cors::api(&parts).preflight(&parts) {
            Ok(response) => response,
            Err(cors) => {
                let is_toolbox = parts.uri.path().starts_with(legacy::PREFIX);
                let request = Request::from_parts(parts, body);
                cors.apply(if is_toolbox {
                    let serve = async |request| legacy::by_api_path(self, request).await;
                    self.0.rate_limits.answer_apart(self.cp(), request, serve).await
                } else {
                    self.routes(request).await
                })
            }
        }
    }

    async fn routes(&self, request: Request<Body>) -> Response {
        self.0.routes.clone().oneshot(request).await.unwrap_or_else(|never| match never {})
    }

    /// Whom to trust, for who wants to talk TLS to this server.
    async fn authority(&self) -> Response {
        match self.besides().authority().await {
            Some(pem) => ([(http::header::CONTENT_TYPE, "application/x-pem-file")], pem).into_response(),
            // Its certificate was given; whom to trust is known to who gave it.
            None => StatusCode::NOT_FOUND.into_response(),
        }
    }

    async fn health(&self) -> Response {
        Json(api::health(self.cp(), self.links()).await).into_response()
    }
}

fn refuse(request: &Request<Body>, error: ProxyError) -> Response {
    error.response(request.method(), request.uri().path())
}

/// For someone who opens the address in a browser.
fn welcome(origin: &Origin) -> Response {
    let text = format!(
        "daytona-mock {}: Daytona on this machine.\n\n\
         export DAYTONA_API_URL={}/api\n\
         export DAYTONA_API_KEY=<the key shown at start, or `daytona-mock env`>\n\n\
         Health and capabilities: {}/health\n",
        env!("CARGO_PKG_VERSION"),
        origin.base(),
        origin.base(),
    );
    (StatusCode::OK, text).into_response()
}
