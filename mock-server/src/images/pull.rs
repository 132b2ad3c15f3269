//! Pulling an image: manifest for this platform, configuration, layers that are missing, each checked by its digest.

use std::{
    io::Write,
    sync::{Arc, Once},
    time::Duration,
};

use futures_util::StreamExt;
use oci_client::{
    Client, Reference, RegistryOperation,
    client::{ClientConfig, ClientProtocol},
    errors::{OciDistributionError, OciErrorCode},
    manifest::{OciDescriptor, OciImageManifest, OciManifest},
    secrets::RegistryAuth,
};

use super::{
    Credentials, Image, ImageError, ImageLayer, ImageStore,
    credentials::{self},
    parts::{self, MAX_CONFIG},
};

const CONNECT: Duration = Duration::from_secs(10);
/// Between two pieces of an answer.
const READ: Duration = Duration::from_secs(60);

/// Whether what a name meant once is good enough.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Policy {
    /// Take what was pulled before under this name, without asking the registry.
    Cached,
    /// Ask the registry; if nobody answers, take what was pulled before.
    Fresh,
}

/// One who is told, in lines for people, how a pull goes on.
pub type Progress = Arc<dyn Fn(String) + Send + Sync>;

/// Pulls images into a store.
pub struct Puller {
    store: ImageStore,
    credentials: Vec<Credentials>,
    progress: Progress,
}

impl Puller {
    /// `credentials` come before those of the user's `docker login`.
    pub fn new(store: ImageStore, credentials: Vec<Credentials>, progress: Progress) -> Puller {
        Puller { store, credentials, progress }
    }

    /// Sees to it that every layer's blob is in the store but those that `unpacked` knows, and says what the image is.
    ///
    /// # Errors
    /// Nothing is left behind but whole blobs.
    pub async fn pull(
        &self,
        image: &Reference,
        policy: Policy,
        unpacked: impl Fn(&ImageLayer) -> bool,
    ) -> Result<Image, ImageError> {
        let missing = |found: &Image| {
            let lacks = |layer: &&ImageLayer| !unpacked(layer) && !self.store.blob(layer).is_file();
            found.layers.iter().filter(lacks).cloned().collect::<Vec<_>>()
        };
        let cached = self.store.find(image);
        if policy == Policy::Cached
            && let Some(found) = &cached
            && missing(found).is_empty()
        {
            return Ok(found.clone());
        }
        let connection = self.connect(image).await?;
        let found = match connection.describe().await {
            Err(ImageError::Unreachable { reason, .. }) if cached.as_ref().is_some_and(|c| missing(c).is_empty()) => {
                self.say(format!(
                    "warning: {}: registry unreachable ({reason}), using the cached image",
                    image.whole()
                ));
                return Ok(cached.expect("looked at it"));
            }
            described => described?,
        };
        let missing = missing(&found);
        for (n, layer) in missing.iter().enumerate() {
            let size = layer.size as f64 / 1e6;
            self.say(format!("{}: pulling layer {}/{} ({size:.1} MB)", image.whole(), n + 1, missing.len()));
            connection.fetch(&self.store, layer).await?;
        }
        self.store.save(image, &found)?;
        if !missing.is_empty() {
            self.say(format!("{}: pulled {}", image.whole(), found.digest));
        }
        Ok(found)
    }

    async fn connect<'a>(&self, image: &'a Reference) -> Result<Connection<'a>, ImageError> {
        let (name, given) = (image.clone(), self.credentials.clone());
        let auth = tokio::task::spawn_blocking(move || credentials::find(&name, &given)).await;
        let auth = auth.map_err(|e| invalid(image, e.to_string()))?;
        Ok(Connection { image, auth, client: client(image)? })
    }

    fn say(&self, line: String) {
        (self.progress)(line);
    }
}

struct Connection<'a> {
    image: &'a Reference,
    auth: RegistryAuth,
    client: Client,
}

impl Connection<'_> {
    /// What the image is for this platform, according to the registry.
    async fn describe(&self) -> Result<Image, ImageError> {
        let (manifest, digest) = self.manifest().await?;
        parts::assemble(self.image.whole(), digest, &manifest, &self.config(&manifest.config).await?)
    }

    async fn manifest(&self) -> Result<(OciImageManifest, String), ImageError> {
        self.client.auth(self.image, &self.auth, RegistryOperation::Pull).await.map_err(|e| self.error(e))?;
        let (manifest, digest) = self.client.pull_manifest(self.image, &self.auth).await.map_err(|e| self.error(e))?;
        let index = match manifest {
            OciManifest::Image(manifest) => return Ok((manifest, digest)),
            OciManifest::ImageIndex(index) => index,
        };
        let digest = parts::pick(&self.image.whole(), &index.manifests)?;
        let variant = self.image.clone_with_digest(digest.clone());
        match self.client.pull_manifest(&variant, &self.auth).await.map_err(|e| self.error(e))? {
            (OciManifest::Image(manifest), _) => Ok((manifest, digest)),
            (OciManifest::ImageIndex(_), _) => Err(self.invalid("an index of indexes")),
        }
    }

    async fn config(&self, descriptor: &OciDescriptor) -> Result<Vec<u8>, ImageError> {
        if !(0..=MAX_CONFIG).contains(&descriptor.size) {
            return Err(self.invalid("its configuration is too large"));
        }
        let mut bytes = Vec::new();
        let mut stream = self.client.pull_blob_stream(self.image, descriptor).await.map_err(|e| self.error(e))?.stream;
        while let Some(piece) = stream.next().await {
            bytes.extend_from_slice(&piece.map_err(|e| self.broken(&e))?);
            if bytes.len() as i64 > MAX_CONFIG {
                return Err(self.invalid("its configuration is too large"));
            }
        }
        Ok(bytes)
    }

    /// Downloads a blob. The stream checks the digest before its end.
    async fn fetch(&self, store: &ImageStore, layer: &ImageLayer) -> Result<(), ImageError> {
        let descriptor =
            OciDescriptor { digest: layer.digest.clone(), size: layer.size as i64, ..OciDescriptor::default() };
        let mut stream = self.client.pull_blob_stream(self.image, &descriptor).await.map_err(|e| self.error(e))?.stream;
        let (mut file, mut length) = (store.new_blob()?, 0);
        while let Some(piece) = stream.next().await {
            let piece = piece.map_err(|e| self.broken(&e))?;
            length += piece.len() as u64;
            if length > layer.size {
                return Err(self.invalid("a layer is longer than its manifest says"));
            }
            // A file of our own, a piece at a time: the page cache takes it without waiting.
            file.write_all(&piece).map_err(ImageError::io("cannot write a layer"))?;
        }
        let path = store.blob(layer);
        file.persist(&path).map_err(|e| ImageError::io(format!("cannot write {}", path.display()))(e.error))?;
        Ok(())
    }

    fn invalid(&self, reason: impl Into<String>) -> ImageError {
        invalid(self.image, reason)
    }

    /// A body that broke off, or whose digest is wrong.
    fn broken(&self, error: &std::io::Error) -> ImageError {
        self.invalid(format!("a download failed: {error}"))
    }

    fn error(&self, error: OciDistributionError) -> ImageError {
        use OciDistributionError as E;
        let image = self.image.whole();
        let denied = || ImageError::Denied { image: image.clone(), registry: self.image.registry().to_owned() };
        match error {
            E::RequestError(error) if error.is_decode() || error.is_body() => self.invalid(root_cause(&error)),
            E::RequestError(error) => ImageError::Unreachable { image, reason: root_cause(&error) },
            E::AuthenticationFailure(_) | E::UnauthorizedError { .. } => denied(),
            E::ServerError { code: 401 | 403, .. } => denied(),
            E::ServerError { code: 404, .. } => ImageError::NotFound(image),
            E::ServerError { code, .. } => ImageError::Unreachable { image, reason: format!("status {code}") },
            E::RegistryError { envelope, .. } => match envelope.errors.first().map(|error| &error.code) {
                Some(OciErrorCode::ManifestUnknown | OciErrorCode::NameUnknown | OciErrorCode::NotFound) => {
                    ImageError::NotFound(image)
                }
                Some(OciErrorCode::Denied | OciErrorCode::Unauthorized) => denied(),
                _ => self.invalid(format!("its registry answers {envelope}")),
            },
            E::ImageManifestNotFoundError(_) => ImageError::NotFound(image),
            other => self.invalid(other.to_string()),
        }
    }
}

fn invalid(image: &Reference, reason: impl Into<String>) -> ImageError {
    ImageError::Invalid { image: image.whole(), reason: reason.into() }
}

/// The innermost reason: that the name doesn't resolve, that nobody listens.
fn root_cause(error: &dyn std::error::Error) -> String {
    let mut error = error;
    while let Some(source) = error.source() {
        error = source;
    }
    error.to_string()
}

fn client(image: &Reference) -> Result<Client, ImageError> {
    static CRYPTO: Once = Once::new();
    CRYPTO.call_once(|| {
        // An embedding program may have chosen before; then that stays.
        let _ = rustls::crypto::ring::default_provider().install_default();
    });
    // As container engines do: registries on this machine need no certificates.
    let registry = image.resolve_registry();
    let plain = if is_loopback(registry) { vec![registry.to_owned()] } else { Vec::new() };
    let config = ClientConfig {
        protocol: ClientProtocol::HttpsExcept(plain),
        connect_timeout: Some(CONNECT),
        read_timeout: Some(READ),
        user_agent: concat!("daytona-mock/", env!("CARGO_PKG_VERSION")),
        ..ClientConfig::default()
    };
    Client::try_from(config).map_err(|e| invalid(image, e.to_string()))
}

fn is_loopback(registry: &str) -> bool {
    let host = registry.rsplit_once(':').map_or(registry, |(host, _)| host);
    let ip = host.trim_matches(['[', ']']).parse::<std::net::IpAddr>();
    host == "localhost" || host.ends_with(".localhost") || ip.is_ok_and(|ip| ip.is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_this_machine_is_spoken_to_in_the_clear() {
        for host in ["localhost", "localhost:5000", "127.0.0.1:1", "[::1]:5000", "r.localhost:80"] {
            assert!(is_loopback(host), "{host}");
        }
        for host in ["index.docker.io", "10.0.0.1:5000", "localhost.example", "127.0.0.1.example:1"] {
            assert!(!is_loopback(host), "{host}");
        }
    }
}
