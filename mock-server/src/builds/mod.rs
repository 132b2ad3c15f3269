//! Builds from Dockerfiles: each instruction that writes runs in a sandbox of its own over the layers so far, and what it
//! wrote becomes a layer, named by what it depends on, so that the same build finds it again.

mod archive;
mod context;
mod copying;
mod dockerfile;
mod engine;
mod fetch;
pub(crate) mod glob;
mod instructions;
mod lines;
mod log;
mod machine;
pub(crate) mod modes;
mod mount;
mod run;
mod turns;
mod words;

use std::{collections::BTreeMap, path::PathBuf, sync::Arc};

use futures_util::future::BoxFuture;

pub use self::{context::unpack as unpack_context, engine::Engine, log::BuildLog};
use crate::runtime::{Root, Runtime};

/// Finds what `FROM` names, with what there is to say about it.
pub type Bases = Arc<dyn Fn(String) -> BoxFuture<'static, Result<Base, String>> + Send + Sync>;

/// What a stage starts from.
#[derive(Clone, Debug)]
pub struct Base {
    pub root: Root,
    /// This machine stands in for an image that can't be had: lines that need the network may fail.
    pub substitute: bool,
}

/// What a build works with.
pub struct Build {
    pub runtime: Arc<Runtime>,
    pub log: Arc<BuildLog>,
    pub bases: Bases,
    /// Variables of every `RUN`, which no image keeps: proxies, package indexes.
    pub env: BTreeMap<String, String>,
    /// The unpacked context; empty if there is none.
    pub context: PathBuf,
    /// Where `RUN --mount=type=cache` keeps its directories: the organisation's own.
    pub caches: PathBuf,
    /// Bytes that one `ADD` may download.
    pub download: u64,
    /// Who builds instead, and what it calls the image.
    pub engine: Option<(Engine, String)>,
}

impl Build {
    /// Builds the last stage, and those that it needs.
    ///
    /// # Errors
    /// The text that ends the log: which line, and why.
    pub async fn run(&self, dockerfile: &str) -> Result<Root, String> {
        let built = match &self.engine {
            Some((engine, tag)) => self.run_by(engine, tag, dockerfile).await,
            None => instructions::build(self, dockerfile).await,
        };
        match &built {
            Ok(_) => self.log.line("Successfully built"),
            Err(reason) => self.log.line(&format!("ERROR: {reason}")),
        }
        built
    }

    async fn run_by(&self, engine: &Engine, tag: &str, dockerfile: &str) -> Result<Root, String> {
        let store = self.runtime.image_store();
        let image = engine.build(&self.log, dockerfile, &self.context, &self.env, (store, tag)).await?;
        self.runtime.unpack(&image).await.map_err(|error| error.to_string())?;
        let config = Some(image.config.clone());
        Ok(Root { image: Some(image), config, ..Root::default() })
    }
}
