//! Images that come from no registry: a root file system of this machine, what a container engine saved, nothing at all.

use std::{
    fs::{self, File},
    io::{self, Read, Write},
    path::{Path, PathBuf},
};

use serde::Deserialize;
use sha2::{Digest, Sha256};

use super::{Image, ImageConfig, ImageError, ImageLayer, ImageStore, config::ConfigFile};

/// Bounds on what an engine's archive may have.
const MAX_LAYERS: usize = 400;
const MAX_JSON: u64 = 8 << 20;

impl ImageStore {
    /// The empty image that `FROM scratch` means.
    pub fn scratch(&self) -> Result<Image, ImageError> {
        let empty = [0; 1024];
        let mut blob = self.new_blob()?;
        blob.write_all(&empty).map_err(ImageError::io("cannot write a layer"))?;
        let digest = sha256(&empty);
        let layer = ImageLayer { digest: digest.clone(), diff_id: digest.clone(), size: empty.len() as u64 };
        self.keep(blob, &layer)?;
        let config = ImageConfig { work_dir: "/".into(), ..ImageConfig::default() };
        Ok(Image { name: "scratch".into(), digest, config, layers: vec![layer] })
    }

    /// A directory, or an archive of one (`.tar`, `.tar.gz`, `.tar.zst`), as an image of one layer. Blocking; `known`
    /// says that a layer is unpacked already.
    pub fn import(&self, path: &Path) -> Result<Image, ImageError> {
        let name = || path.display().to_string();
        let (mut blob, mut diff) = (self.new_blob()?, Hashing::new(io::sink()));
        let at = |what: &str| ImageError::io(format!("{what} {}", path.display()));
        let digest = if path.is_dir() {
            let mut out = tar::Builder::new(Hashing::new(&mut blob));
            out.follow_symlinks(false);
            append_tree(&mut out, path).map_err(at("cannot read"))?;
            out.into_inner().map_err(at("cannot pack"))?.digest()
        } else {
            let mut file = File::open(path).map_err(at("cannot open"))?;
            let mut out = Hashing::new(&mut blob);
            io::copy(&mut file, &mut out).map_err(at("cannot copy"))?;
            out.digest()
        };
        let packed = File::open(blob.path()).map_err(at("cannot read back"))?;
        let size = packed.metadata().map_err(at("cannot read back"))?.len();
        let mut plain = super::decompressed(io::BufReader::new(packed)).map_err(at("cannot unpack"))?;
        io::copy(&mut plain, &mut diff).map_err(at("cannot unpack"))?;
        let layer = ImageLayer { digest: digest.clone(), diff_id: diff.digest(), size };
        self.keep(blob, &layer)?;
        let config = ImageConfig { work_dir: "/".into(), ..ImageConfig::default() };
        Ok(Image { name: name(), digest, config, layers: vec![layer] })
    }

    /// What `docker save` and its like wrote. Blocking.
    ///
    /// # Errors
    /// An archive without the parts that its manifest names, or with more than there may be.
    pub fn import_saved(&self, archive: &Path, name: &str) -> Result<Image, ImageError> {
        let invalid = |reason: String| ImageError::Invalid { image: name.to_owned(), reason };
        let dir = tempfile::tempdir_in(self.make_dir("blobs")?).map_err(ImageError::io("cannot unpack an image"))?;
        // Never leads out of its directory.
        let unpacked = File::open(archive).and_then(|file| tar::Archive::new(file).unpack(dir.path()));
        unpacked.map_err(|error| invalid(format!("what was saved can't be read: {error}")))?;
        let root = fs::canonicalize(dir.path()).map_err(ImageError::io("cannot unpack an image"))?;
        let part = |path: &str| -> Result<PathBuf, ImageError> {
            let found = fs::canonicalize(root.join(path)).ok().filter(|real| real.starts_with(&root) && real.is_file());
            found.ok_or_else(|| invalid(format!("what was saved has no {path}")))
        };
        let manifest = read_small(&part("manifest.json")?).map_err(|e| invalid(e.to_string()))?;
        let entries: Vec<Saved> = serde_json::from_slice(&manifest).map_err(|e| invalid(e.to_string()))?;
        let [saved] = entries.as_slice() else { return Err(invalid("not exactly one image was saved".into())) };
        let text = read_small(&part(&saved.config)?).map_err(|e| invalid(e.to_string()))?;
        let file: ConfigFile = serde_json::from_slice(&text).map_err(|e| invalid(e.to_string()))?;
        if file.diff_ids().len() != saved.layers.len() || saved.layers.len() > MAX_LAYERS {
            return Err(invalid("its configuration names other layers than its manifest".into()));
        }
        let mut layers = Vec::new();
        for (path, diff_id) in saved.layers.iter().zip(file.diff_ids()) {
            layers.push(self.import_layer(&part(path)?, diff_id)?);
        }
        let image = Image { name: name.to_owned(), digest: sha256(&text), config: file.into_config(), layers };
        // An image may have no layers, a root file system not.
        if image.layers.is_empty() { Ok(Image { layers: self.scratch()?.layers, ..image }) } else { Ok(image) }
    }

    /// Takes a file as the blob of a layer.
    pub(super) fn import_layer(&self, path: &Path, diff_id: &str) -> Result<ImageLayer, ImageError> {
        let mut blob = self.new_blob()?;
        let mut out = Hashing::new(&mut blob);
        let copied = File::open(path).and_then(|mut file| io::copy(&mut file, &mut out));
        let size = copied.map_err(ImageError::io(format!("cannot copy {}", path.display())))?;
        let layer = ImageLayer { digest: out.digest(), diff_id: diff_id.to_owned(), size };
        self.keep(blob, &layer)?;
        Ok(layer)
    }
}

/// One image of `manifest.json`.
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Saved {
    config: String,
    #[serde(default)]
    layers: Vec<String>,
}

fn read_small(path: &Path) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    File::open(path)?.take(MAX_JSON).read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// Everything below a directory, but what only a kernel makes; owners and modes as they are.
fn append_tree(out: &mut tar::Builder<impl Write>, root: &Path) -> io::Result<()> {
    for entry in walkdir::WalkDir::new(root).min_depth(1).same_file_system(true).sort_by_file_name() {
        let entry = entry?;
        let (path, kind) = (entry.path(), entry.file_type());
        let name = path.strip_prefix(root).map_err(io::Error::other)?;
        if kind.is_file() || kind.is_dir() || kind.is_symlink() {
            out.append_path_with_name(path, name)?;
        }
    }
    Ok(())
}

/// Hashes what is written through it.
pub struct Hashing<W> {
    inner: W,
    hash: Sha256,
}

impl<W: Write> Hashing<W> {
    pub fn new(inner: W) -> Hashing<W> {
        Hashing { inner, hash: Sha256::new() }
    }

    /// `sha256:…`
    pub fn digest(self) -> String {
        named(&self.hash.finalize())
    }
}

impl<W: Write> Write for Hashing<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.inner.write(bytes)?;
        self.hash.update(&bytes[..written]);
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.inner.flush()
    }
}

fn named(hash: &[u8]) -> String {
    let hex: String = hash.iter().map(|byte| format!("{byte:02x}")).collect();
    format!("sha256:{hex}")
}

fn sha256(bytes: &[u8]) -> String {
    named(&Sha256::digest(bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn store() -> (tempfile::TempDir, ImageStore) {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let store = ImageStore::new(dir.path());
        (dir, store)
    }

    #[test]
    fn a_directory_and_its_archive_are_images() {
        let (dir, store) = store();
        let root = dir.path().join("root");
        fs::create_dir_all(root.join("etc")).expect("a directory");
        fs::write(root.join("etc/hostname"), "h").expect("a file");
        let one = store.import(&root).expect("imported");
        assert!(store.blob(&one.layers[0]).is_file());
        assert_eq!(one.digest, one.layers[0].diff_id);
        let packed = dir.path().join("root.tar.gz");
        let mut gzip = flate2::write::GzEncoder::new(File::create(&packed).expect("a file"), Default::default());
        io::copy(&mut File::open(store.blob(&one.layers[0])).expect("the blob"), &mut gzip).expect("copied");
        gzip.finish().expect("whole");
        let two = store.import(&packed).expect("imported");
        assert_eq!(two.layers[0].diff_id, one.layers[0].diff_id);
        assert_ne!(two.layers[0].digest, one.layers[0].digest);
        assert!(store.import(&dir.path().join("none")).is_err());
    }

    fn saved(dir: &Path, entries: &[(&str, &[u8])]) -> PathBuf {
        let path = dir.join("saved.tar");
        let mut out = tar::Builder::new(File::create(&path).expect("a file"));
        for (name, bytes) in entries {
            let mut header = tar::Header::new_gnu();
            header.set_size(bytes.len() as u64);
            header.set_mode(0o644);
            out.append_data(&mut header, name, *bytes).expect("appended");
        }
        out.finish().expect("whole");
        path
    }

    #[test]
    fn what_an_engine_saved_is_an_image_if_it_is_whole() {
        let (dir, store) = store();
        let layer = [0; 1024];
        let config = format!(
            r#"{{"os":"linux","rootfs":{{"diff_ids":["{}"]}},"config":{{"User":"app","Cmd":["x"]}}}}"#,
            sha256(&layer)
        );
        let manifest = br#"[{"Config":"c.json","Layers":["l/layer.tar"]}]"#.as_slice();
        let all = [("manifest.json", manifest), ("c.json", config.as_bytes()), ("l/layer.tar", layer.as_slice())];
        let image = store.import_saved(&saved(dir.path(), &all), "built").expect("imported");
        assert_eq!((image.config.user.as_str(), image.layers.len()), ("app", 1));
        assert!(store.blob(&image.layers[0]).is_file());
        for missing in 0..all.len() {
            let some: Vec<_> = all.iter().enumerate().filter(|(n, _)| *n != missing).map(|(_, e)| *e).collect();
            assert!(store.import_saved(&saved(dir.path(), &some), "built").is_err());
        }
        let leading_out = br#"[{"Config":"../../etc/passwd","Layers":[]}]"#.as_slice();
        assert!(store.import_saved(&saved(dir.path(), &[("manifest.json", leading_out)]), "built").is_err());
    }
}
