//! OCI images: names, credentials, pulls, and what was pulled before. Knows nothing of sandboxes; the runtime unpacks
//! the layers (`runtime::base`) and the model decides what is pulled when.
//!
//! Everything lies in `<cache_dir>/images`, shared by the servers of a user: `refs/…` says what a name meant when it
//! was last pulled, `blobs/<sha256>` are layers that aren't unpacked yet.

mod config;
mod credentials;
mod local;
mod parts;
mod pull;
mod store;

pub use oci_client::Reference;

pub(crate) use self::local::Hashing;

pub use self::{
    config::ImageConfig,
    credentials::Credentials,
    pull::{Policy, Progress, Puller},
    store::{Image, ImageLayer, ImageStore},
};

/// Why an image can't be had. The text is for people: it names the image and the way out, and no secret.
#[derive(Debug, thiserror::Error)]
pub enum ImageError {
    #[error("{0:?} is no image reference: {1}")]
    Name(String, String),
    /// Nobody answers; the image may be in the cache of another machine.
    #[error("{image}: the registry can't be reached ({reason}), and the image is not in the cache")]
    Unreachable { image: String, reason: String },
    #[error("{image}: access denied by {registry}; `docker login {registry}` or registry credentials of the API help")]
    Denied { image: String, registry: String },
    #[error("{0}: no such image in its registry")]
    NotFound(String),
    #[error("{image}: there is no variant for {platform}; it has {offered}")]
    Platform { image: String, platform: String, offered: String },
    /// What arrived is not what its digest says, or no image at all.
    #[error("{image}: {reason}")]
    Invalid { image: String, reason: String },
    #[error("{what}: {source}")]
    Io { what: String, source: std::io::Error },
}

impl ImageError {
    fn io(what: impl Into<String>) -> impl FnOnce(std::io::Error) -> ImageError {
        let what = what.into();
        move |source| ImageError::Io { what, source }
    }
}

/// What is in an archive that may be compressed by gzip or zstd.
///
/// # Errors
/// `InvalidData` for xz and bzip2.
pub fn decompressed<R: std::io::BufRead + 'static>(mut reader: R) -> std::io::Result<Box<dyn std::io::Read>> {
    let start = reader.fill_buf()?;
    Ok(match start {
        [0x1f, 0x8b, ..] => Box::new(flate2::bufread::MultiGzDecoder::new(reader)),
        [0x28, 0xb5, 0x2f, 0xfd, ..] => Box::new(zstd::Decoder::with_buffer(reader)?),
        [0xfd, b'7', b'z', ..] | [b'B', b'Z', b'h', ..] => {
            let text = "compressed by xz or bzip2; repack it as .tar, .tar.gz or .tar.zst";
            return Err(std::io::Error::new(std::io::ErrorKind::InvalidData, text));
        }
        _ => Box::new(reader),
    })
}

/// Reads an image name as container engines do: `debian:12`, `ghcr.io/a/b@sha256:…`; no tag means `latest`.
pub fn parse_reference(name: &str) -> Result<Reference, ImageError> {
    name.parse().map_err(|e: oci_client::ParseError| ImageError::Name(name.to_owned(), e.to_string()))
}
