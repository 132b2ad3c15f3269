//! `--base IMAGE` and the images of snapshots: layers unpacked once each, shared by all images that have them.

use std::{fs, sync::Arc};

use super::{
    Base, BaseLease, at,
    cache::{self, Entry, Key, Place},
    default_env,
    layer::Owners,
    rootfs, shift, unpack,
};
use crate::{
    images::{Image, ImageLayer, ImageStore, Policy, Puller, Reference, parse_reference},
    runtime::{Isolation, RuntimeConfig, RuntimeError, userns},
};

/// Layers on disk, topmost first; they stay as long as the leases do.
pub(crate) struct Unpacked {
    pub layers: Vec<std::path::PathBuf>,
    pub leases: Vec<BaseLease>,
}

/// Pulls and unpacks the image of `--base`, unless that was done before.
pub(super) async fn pull(name: &str, config: &RuntimeConfig, isolation: Isolation) -> Result<(), RuntimeError> {
    let image = parse_base(name)?;
    let told = Arc::new(|line: String| tracing::info!(target: "daytona_mock::pull", "{line}"));
    let puller = Puller::new(ImageStore::new(&config.cache_dir), Vec::new(), told);
    let place = Place { cache_dir: &config.cache_dir, shifted: shift::needed(config, isolation) };
    let known = |layer: &ImageLayer| is_unpacked(layer, place, isolation);
    let pulled = puller.pull(&image, Policy::Cached, known).await;
    let pulled = pulled.map_err(|e| RuntimeError::Unavailable(format!("--base {name}: {e}")))?;
    let config = config.clone();
    let unpack = move || {
        let place = Place { cache_dir: &config.cache_dir, shifted: shift::needed(&config, isolation) };
        unpack(&pulled, &config, isolation, place).map(drop)
    };
    tokio::task::spawn_blocking(unpack).await.map_err(|e| RuntimeError::Unavailable(format!("{name}: {e}")))?
}

fn parse_base(name: &str) -> Result<Reference, RuntimeError> {
    let hint = "there is no such file or directory, and as an image";
    parse_reference(name).map_err(|e| RuntimeError::Unavailable(format!("--base {name}: {hint} {e}")))
}

/// The base that the pulled image makes.
pub(super) fn prepare(
    name: &str,
    config: &RuntimeConfig,
    isolation: Isolation,
    place: Place,
) -> Result<Base, RuntimeError> {
    let gone = || RuntimeError::Unavailable(format!("--base {name}: the image vanished from the cache; try again"));
    let image = ImageStore::new(&config.cache_dir).find(&parse_base(name)?).ok_or_else(gone)?;
    let unpacked = unpack(&image, config, isolation, place)?;
    let mut base = rootfs::complete(unpacked.layers, config, isolation, place, format!("image {name}"))?;
    base._leases.extend(unpacked.leases);
    base.env = default_env();
    base.env.extend(image.config.env);
    base.entrypoint = [image.config.entrypoint, image.config.cmd].concat();
    Ok(base)
}

/// Unpacks what isn't yet, with the owners of this tier, in the user namespace that has them.
pub(crate) fn unpack(
    image: &Image,
    config: &RuntimeConfig,
    isolation: Isolation,
    place: Place,
) -> Result<Unpacked, RuntimeError> {
    let all = image.layers.iter().all(|layer| is_unpacked(layer, place, isolation));
    if !all && isolation == Isolation::Subuid && !nix::unistd::geteuid().is_root() {
        place.make_dir()?;
        userns::unpack_image(&config.binary, &config.cache_dir, image)
            .map_err(at("cannot unpack in", &config.cache_dir))?;
    }
    let unpacked = unpack_here(image, place, isolation)?;
    let store = ImageStore::new(&config.cache_dir);
    image.layers.iter().for_each(|layer| store.remove_blob(layer));
    Ok(unpacked)
}

/// What [`unpack`] does, for the helper in the user namespace too.
pub(crate) fn unpack_here(image: &Image, place: Place, isolation: Isolation) -> Result<Unpacked, RuntimeError> {
    let store = ImageStore::new(place.cache_dir);
    let mut unpacked = Unpacked { layers: Vec::new(), leases: Vec::new() };
    for layer in &image.layers {
        let entry = find_or_unpack(layer, &store, place, isolation).map_err(named(image))?;
        // An image may have the same layer twice, an overlay may not; what the lower one does the upper one does again.
        unpacked.layers.retain(|path| path != &entry.path);
        unpacked.layers.insert(0, entry.path);
        unpacked.leases.push(BaseLease(entry.lease));
    }
    Ok(unpacked)
}

fn named(image: &Image) -> impl FnOnce(RuntimeError) -> RuntimeError {
    let name = image.name.clone();
    move |error| RuntimeError::Unavailable(format!("{name}: {error}"))
}

fn find_or_unpack(
    layer: &ImageLayer,
    store: &ImageStore,
    place: Place,
    isolation: Isolation,
) -> Result<Entry, RuntimeError> {
    let blob = store.blob(layer);
    place.find_or_make(key(layer, isolation), |dir| {
        unpack::unpack_layer(&blob, dir, Owners::of(isolation), &layer.diff_id)
            .map_err(at("cannot unpack its layer", &blob))?;
        // The root's own mode, if the layer says nothing of it.
        let mode = fs::metadata(dir).map_err(at("cannot read", dir))?.permissions();
        let open = std::os::unix::fs::PermissionsExt::mode(&mode) | 0o755;
        fs::set_permissions(dir, std::os::unix::fs::PermissionsExt::from_mode(open)).map_err(at("cannot open up", dir))
    })
}

/// Whether a layer need not be pulled.
pub(crate) fn is_unpacked(layer: &ImageLayer, place: Place, isolation: Isolation) -> bool {
    place.find(key(layer, isolation)).is_some()
}

fn key(layer: &ImageLayer, isolation: Isolation) -> Key {
    Key::new(cache::LAYER).with(format!("{isolation:?}")).with(&layer.diff_id)
}
