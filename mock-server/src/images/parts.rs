//! What a manifest and a configuration make: an image, if they fit each other and this machine.

use std::{fs, path::PathBuf};

use oci_client::{
    Reference,
    manifest::{ImageIndexEntry, OciDescriptor, OciImageManifest, OciManifest},
};

use super::{Image, ImageError, ImageLayer, ImageStore, config::ConfigFile};

/// Bounds on what a registry may send.
const MAX_LAYERS: usize = 400;
pub const MAX_CONFIG: i64 = 8 << 20;
const MAX_BLOB: u64 = 32 << 30;

/// What a name means: a manifest as it was pushed, and its digest.
pub type Manifest = (Vec<u8>, String);

/// The image of this manifest, whose configuration these bytes are.
pub fn assemble(name: String, digest: String, manifest: &OciImageManifest, config: &[u8]) -> Result<Image, ImageError> {
    let invalid = |reason: String| ImageError::Invalid { image: name.clone(), reason };
    if manifest.layers.len() > MAX_LAYERS {
        return Err(invalid(format!("{} layers are too many", manifest.layers.len())));
    }
    let file: ConfigFile = serde_json::from_slice(config).map_err(|e| invalid(format!("its configuration: {e}")))?;
    let platform = format!("{}/{}", file.os, file.architecture);
    if platform != this_platform() && !file.os.is_empty() {
        return Err(ImageError::Platform { image: name, platform: this_platform(), offered: platform });
    }
    if file.diff_ids().len() != manifest.layers.len() {
        return Err(invalid("its configuration names other layers than its manifest".into()));
    }
    let layers = manifest.layers.iter().zip(file.diff_ids()).map(|(part, diff_id)| layer(part, diff_id));
    let layers = layers.collect::<Result<Vec<_>, _>>().map_err(|reason| invalid(reason.into()))?;
    Ok(Image { digest, config: file.into_config(), layers, name })
}

fn layer(part: &OciDescriptor, diff_id: &str) -> Result<ImageLayer, &'static str> {
    let size = u64::try_from(part.size).ok().filter(|size| *size <= MAX_BLOB).ok_or("a layer is too large")?;
    if !is_sha256(&part.digest) || !is_sha256(diff_id) {
        return Err("a layer has no SHA-256 digest");
    }
    Ok(ImageLayer { digest: part.digest.clone(), diff_id: diff_id.to_owned(), size })
}

impl ImageStore {
    /// Takes over an image that was pushed to this server. `find` knows manifests by tag and digest, with their digest;
    /// `blob` where a blob is. Blocking.
    pub fn import_pushed(
        &self,
        reference: &Reference,
        name: &str,
        find: &dyn Fn(&str) -> Option<Manifest>,
        blob: &dyn Fn(&str) -> Option<PathBuf>,
    ) -> Result<Image, ImageError> {
        let whole = reference.whole();
        let invalid = |reason: String| ImageError::Invalid { image: whole.clone(), reason };
        let read = |name: &str| -> Result<(OciManifest, String), ImageError> {
            let (bytes, digest) = find(name).ok_or_else(|| ImageError::NotFound(whole.clone()))?;
            let manifest = serde_json::from_slice(&bytes).map_err(|error| invalid(format!("its manifest: {error}")))?;
            Ok((manifest, digest))
        };
        let (manifest, digest) = match read(name)? {
            (OciManifest::ImageIndex(index), _) => match read(&pick(&whole, &index.manifests)?)? {
                (OciManifest::Image(manifest), digest) => (manifest, digest),
                (OciManifest::ImageIndex(_), _) => return Err(invalid("an index of indexes".into())),
            },
            (OciManifest::Image(manifest), digest) => (manifest, digest),
        };
        let missing = || invalid("a part of it is not here".into());
        let config = blob(&manifest.config.digest).ok_or_else(missing)?;
        let small = fs::metadata(&config).is_ok_and(|meta| meta.len() <= MAX_CONFIG as u64);
        let config = fs::read(config).ok().filter(|_| small).ok_or_else(missing)?;
        let image = assemble(whole.clone(), digest, &manifest, &config)?;
        for layer in &image.layers {
            if !self.blob(layer).is_file() {
                self.import_layer(&blob(&layer.digest).ok_or_else(missing)?, &layer.diff_id)?;
            }
        }
        Ok(image)
    }
}

/// `sha256:` and 64 hexadecimal digits.
fn is_sha256(digest: &str) -> bool {
    digest.strip_prefix("sha256:").is_some_and(|hex| hex.len() == 64 && hex.bytes().all(|b| b.is_ascii_hexdigit()))
}

/// As images name it: `linux/amd64`.
fn this_platform() -> String {
    let arch = match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    };
    format!("linux/{arch}")
}

fn platform(entry: &ImageIndexEntry) -> Option<String> {
    entry.platform.as_ref().map(|platform| format!("{}/{}", platform.os, platform.architecture))
}

/// The digest of the variant for this machine.
pub fn pick(image: &str, entries: &[ImageIndexEntry]) -> Result<String, ImageError> {
    let wanted = Some(this_platform());
    let found = entries.iter().find(|entry| platform(entry) == wanted).map(|entry| entry.digest.clone());
    found.ok_or_else(|| ImageError::Platform {
        image: image.to_owned(),
        platform: this_platform(),
        offered: offered(entries),
    })
}

fn offered(entries: &[ImageIndexEntry]) -> String {
    let mut all: Vec<String> = entries.iter().filter_map(platform).take(20).collect();
    all.dedup();
    if all.is_empty() { "none".into() } else { all.join(", ") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn digests_are_whole() {
        assert!(is_sha256(&format!("sha256:{}", "a1".repeat(32))));
        for bad in ["sha256:", "sha512:00", "../x", ""] {
            assert!(!is_sha256(bad));
        }
    }
}
