//! Language servers: `/lsp/*` of the toolbox contract (7 operations).
//!
//! One program for each language and project, spoken to over its standard streams ([`connection`]), started for the
//! language that was asked for and properly initialised. Framing and the few shapes that are looked at are our own: what a
//! server answers is passed on by name, so a crate of protocol types would only be in the way.
//!
//! A server that ends is told of in the answers that waited for it, with the last it said, and started again for the
//! next request, with the documents that were open; after [`server::MAX_DEATHS`] in a row only `start` does that.
//!
//! # Differences on purpose
//! * `start` starts a server of the language asked for; observed was a TypeScript one for every language. `javascript`
//!   works in every operation.
//! * Where a server has nothing to say, lists are empty; observed was `null`, which current Python SDKs refuse.
//! * Symbols of servers that answer with a tree are flattened, with their locations; observed were zeroes.
//! * A document that is opened twice is brought up to date; paths of documents may be relative to the project, as SDKs
//!   say.

mod connection;
mod documents;
mod frame;
mod handlers;
mod language;
mod server;
mod shapes;

use axum::{
    Router,
    routing::{get, post},
};

pub use server::Servers;

use super::Ctx;

pub fn routes() -> Router<Ctx> {
    Router::new()
        .route("/lsp/start", post(handlers::start))
        .route("/lsp/stop", post(handlers::stop))
        .route("/lsp/did-open", post(handlers::did_open))
        .route("/lsp/did-close", post(handlers::did_close))
        .route("/lsp/completions", post(handlers::completions))
        .route("/lsp/document-symbols", get(handlers::document_symbols))
        .route("/lsp/workspacesymbols", get(handlers::workspace_symbols))
        // Its name on the API's own path, up to SDK 0.112.
        .route("/lsp/workspace-symbols", get(handlers::workspace_symbols))
}
