//! What was pulled: `<cache_dir>/images/refs/<hash>.json` and `blobs/<sha256>`.

use std::{
    fs, io,
    os::unix::fs::DirBuilderExt,
    path::{Path, PathBuf},
};

use oci_client::Reference;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::{ImageConfig, ImageError};

/// An image whose parts are known, if not all at hand.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Image {
    /// The whole name: `docker.io/library/debian:12`.
    pub name: String,
    /// Of the manifest for this platform; names the image for good.
    pub digest: String,
    pub config: ImageConfig,
    /// Lowest first.
    pub layers: Vec<ImageLayer>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ImageLayer {
    /// Of the blob in the registry, `sha256:…`.
    pub digest: String,
    /// Of the unpacked archive, `sha256:…`.
    pub diff_id: String,
    /// Bytes of the blob.
    pub size: u64,
}

impl Image {
    /// Bytes in the registry.
    pub fn size(&self) -> u64 {
        self.layers.iter().map(|layer| layer.size).sum()
    }
}

/// The cache of a user's images.
#[derive(Clone, Debug)]
pub struct ImageStore {
    dir: PathBuf,
}

impl ImageStore {
    pub fn new(cache_dir: &Path) -> ImageStore {
        ImageStore { dir: cache_dir.join("images") }
    }

    /// What this name meant when it was last pulled.
    pub fn find(&self, image: &Reference) -> Option<Image> {
        let text = fs::read(self.ref_path(image)).ok()?;
        // One of another version of this program is as good as none.
        serde_json::from_slice(&text).ok()
    }

    /// The blob of a layer, whether it is there or not.
    pub fn blob(&self, layer: &ImageLayer) -> PathBuf {
        self.dir.join("blobs").join(file_name(&layer.digest))
    }

    /// Forgets a layer's blob, for it is unpacked.
    pub fn remove_blob(&self, layer: &ImageLayer) {
        // What stays costs space only.
        let _ = fs::remove_file(self.blob(layer));
    }

    pub(super) fn save(&self, image: &Reference, found: &Image) -> Result<(), ImageError> {
        let path = self.ref_path(image);
        let text = serde_json::to_vec(found).expect("plain data");
        let write = |dir| {
            let mut file = tempfile::NamedTempFile::new_in(dir)?;
            io::Write::write_all(&mut file, &text)?;
            file.persist(&path).map_err(io::Error::from)
        };
        write(self.make_dir("refs")?).map(drop).map_err(ImageError::io(format!("cannot write {}", path.display())))
    }

    /// An empty file that may become a blob.
    pub(super) fn new_blob(&self) -> Result<tempfile::NamedTempFile, ImageError> {
        let make = |dir| tempfile::NamedTempFile::new_in(dir);
        make(self.make_dir("blobs")?).map_err(ImageError::io(format!("cannot write to {}", self.dir.display())))
    }

    /// Makes a file the blob of a layer.
    pub(super) fn keep(&self, file: tempfile::NamedTempFile, layer: &ImageLayer) -> Result<(), ImageError> {
        let path = self.blob(layer);
        let kept = file.persist(&path).map_err(|error| error.error);
        kept.map(drop).map_err(ImageError::io(format!("cannot write {}", path.display())))
    }

    pub(super) fn make_dir(&self, name: &str) -> Result<PathBuf, ImageError> {
        let dir = self.dir.join(name);
        let made = fs::DirBuilder::new().recursive(true).mode(0o700).create(&dir);
        made.map(|()| dir).map_err(ImageError::io(format!("cannot write to {}", self.dir.display())))
    }

    fn ref_path(&self, image: &Reference) -> PathBuf {
        let hash = Sha256::digest(format!("{} {}", image.whole(), std::env::consts::ARCH));
        let hex: String = hash.iter().map(|byte| format!("{byte:02x}")).collect();
        self.dir.join("refs").join(format!("{hex}.json"))
    }
}

/// `sha256:<hex>` as a file name; digests are checked when an image is read.
fn file_name(digest: &str) -> String {
    digest.replace(|c: char| !c.is_ascii_alphanumeric(), "-")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_kept_apart_and_digests_stay_in_their_directory() {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let store = ImageStore::new(dir.path());
        let (a, b): (Reference, Reference) = ("debian:12".parse().expect("a"), "debian:13".parse().expect("b"));
        let layer = ImageLayer { digest: "../../x".into(), diff_id: String::new(), size: 1 };
        assert!(store.blob(&layer).starts_with(dir.path()) && !store.blob(&layer).to_string_lossy().contains(".."));
        let image = Image { name: a.whole(), digest: "d".into(), config: ImageConfig::default(), layers: vec![layer] };
        store.save(&a, &image).expect("saved");
        assert_eq!(store.find(&a), Some(image));
        assert_eq!(store.find(&b), None);
    }
}
