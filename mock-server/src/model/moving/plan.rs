//! What a restoration will make: the archive's records checked as if somebody asked for each, with ids that nobody has
//! here. Ids stay as they are where they can, since applications remember them.

use std::{
    collections::{BTreeMap, HashMap, HashSet},
    sync::Arc,
};

use chrono::TimeDelta;
use serde::Serialize;

use super::{FORMAT, Manifest, VERSION, member, object, pushed};
use crate::model::{
    ControlPlane, Identity, REGION, State,
    create::check_lists,
    objects::Object,
    organization::Organization,
    pushed::Pushed,
    regions::{self, Region},
    registries::{self, Registry},
    sandbox::{BackupState, Sandbox},
    secrets::{self, Secret},
    settings,
    snapshots::{self, Snapshot, SnapshotState},
    store::{Kind, Write},
    tokens,
    volumes::{Volume, VolumeState},
    warm_pools::WarmPool,
    webhooks::{self, Endpoint, NewEndpoint},
    world::World,
};
use crate::{
    registry::names::{is_reference, is_repository},
    runtime::Root,
};

/// What will be there, and which member of the archive each tree comes from.
pub(super) struct Plan {
    pub organization_id: String,
    pub organization: Organization,
    /// With the member that has its files.
    pub sandboxes: Vec<(String, Sandbox)>,
    pub volumes: Vec<(String, Volume)>,
    /// Member and new name; true: of an image.
    pub layers: Vec<(String, String, bool)>,
    pub objects: Vec<(String, Object)>,
    /// What names of pushed images mean, and their files: member, whether it is a manifest, digest.
    pub pushed: Vec<Pushed>,
    pub pushed_files: Vec<(String, bool, String)>,
    pub snapshots: Vec<Snapshot>,
    pub registries: Vec<Registry>,
    pub secrets: Vec<Secret>,
    pub regions: Vec<Region>,
    pub warm_pools: Vec<WarmPool>,
    pub webhooks: Vec<Endpoint>,
    /// What is not as it was, for people.
    pub notes: Vec<String>,
    /// Old and new ids, where they differ.
    pub ids: BTreeMap<String, String>,
}

/// Gives new ids where the old ones are taken.
#[derive(Default)]
struct Ids {
    new: HashMap<String, String>,
}

impl Ids {
    /// The id that something gets here; an error for one that is there twice or is none.
    fn keep(&mut self, old: &str, taken: bool) -> Result<String, String> {
        let fine = uuid::Uuid::parse_str(old).is_ok_and(|id| id.to_string() == old);
        if !fine {
            return Err(format!("{old:?} is no id"));
        }
        self.set(old, if taken { tokens::uuid() } else { old.to_owned() })
    }

    fn set(&mut self, old: &str, new: String) -> Result<String, String> {
        match self.new.insert(old.to_owned(), new.clone()) {
            None => Ok(new),
            Some(_) => Err(format!("{old} is there twice")),
        }
    }

    fn of(&self, old: &str) -> Option<String> {
        self.new.get(old).cloned()
    }
}

/// Fails with what is wrong with an archive.
type Checked<T> = Result<T, String>;

struct Planner<'a> {
    cp: &'a ControlPlane,
    owner: &'a Identity,
    manifest: &'a Manifest,
    ids: Ids,
    layers: HashMap<String, String>,
    /// By image: the names of its layers.
    images: HashMap<String, Vec<String>>,
    plan: Vec<(String, String, bool)>,
    /// How long it was saved: time stood still for it.
    away: TimeDelta,
}

impl Plan {
    pub fn new(cp: &ControlPlane, owner: &Identity, manifest: &Manifest) -> Checked<Plan> {
        check_form(cp, manifest)?;
        let away = cp.clock().now() - manifest.saved_at;
        let mut planner = Planner {
            cp,
            owner,
            manifest,
            ids: Ids::default(),
            layers: HashMap::new(),
            images: HashMap::new(),
            plan: Vec::new(),
            away,
        };
        planner.plan()
    }

    /// Its records in the store's form.
    pub fn writes(&self) -> Vec<Write> {
        let own = &self.organization_id;
        let sandboxes = self.sandboxes.iter().map(|(_, one)| put(Kind::Sandbox, &one.id, own, one));
        let volumes = self.volumes.iter().map(|(_, one)| put(Kind::Volume, &one.id, own, one));
        let objects = self.objects.iter().map(|(_, one)| put(Kind::Object, &one.key, own, one));
        let snapshots = self.snapshots.iter().map(|one| put(Kind::Snapshot, &one.id, own, one));
        let registries = self.registries.iter().map(|one| put(Kind::Registry, &one.id, own, one));
        let secrets = self.secrets.iter().map(|one| put(Kind::Secret, &one.id, own, one));
        let regions = self.regions.iter().map(|one| put(Kind::Region, &one.id, own, one));
        let pools = self.warm_pools.iter().map(|one| put(Kind::WarmPool, &one.id, own, one));
        let webhooks = self.webhooks.iter().map(|one| put(Kind::Webhook, &one.id, own, one));
        let files = sandboxes.chain(volumes).chain(objects).chain(snapshots);
        let settings = registries.chain(secrets).chain(regions).chain(pools).chain(webhooks);
        files.chain(settings).chain([self.organization.put()]).collect()
    }

    /// Whether nobody has taken one of its ids meanwhile.
    pub fn fits(&self, world: &World) -> bool {
        let free = |taken: bool| !taken;
        self.sandboxes.iter().all(|(_, one)| free(world.sandboxes.contains_key(&one.id)))
            && self.volumes.iter().all(|(_, one)| free(world.volumes.contains_key(&one.id)))
            && self.snapshots.iter().all(|one| free(world.snapshots.contains_key(&one.id)))
            && self.registries.iter().all(|one| free(world.registries.contains_key(&one.id)))
            && self.secrets.iter().all(|one| free(world.secrets.contains_key(&one.id)))
            && self.regions.iter().all(|one| free(world.regions.contains_key(&one.id)))
            && self.warm_pools.iter().all(|one| free(world.warm_pools.contains_key(&one.id)))
    }

    /// Puts everything into the world.
    pub fn apply(self, world: &mut World) {
        world.replace_organization(Arc::new(self.organization));
        world.regions.extend(self.regions.into_iter().map(|one| (one.id.clone(), Arc::new(one))));
        world.volumes.extend(self.volumes.into_iter().map(|(_, one)| (one.id.clone(), Arc::new(one))));
        world.objects.extend(self.objects.into_iter().map(|(_, one)| (one.key.clone(), Arc::new(one))));
        world.snapshots.extend(self.snapshots.into_iter().map(|one| (one.id.clone(), Arc::new(one))));
        world.registries.extend(self.registries.into_iter().map(|one| (one.id.clone(), Arc::new(one))));
        world.secrets.extend(self.secrets.into_iter().map(|one| (one.id.clone(), Arc::new(one))));
        world.warm_pools.extend(self.warm_pools.into_iter().map(|one| (one.id.clone(), Arc::new(one))));
        world.webhooks.extend(self.webhooks.into_iter().map(|one| (one.id.clone(), Arc::new(one))));
        for (_, sandbox) in self.sandboxes {
            world.insert(Arc::new(sandbox));
        }
    }
}

fn put(kind: Kind, key: &str, organization: &str, record: &impl Serialize) -> Write {
    let record = serde_json::to_string(record).expect("records are JSON");
    Write::Put { kind, key: key.to_owned(), organization: organization.to_owned(), record }
}

fn check_form(cp: &ControlPlane, manifest: &Manifest) -> Checked<()> {
    if manifest.format != FORMAT || manifest.version != VERSION {
        let (format, version) = (&manifest.format, manifest.version);
        return Err(format!("it is a {format} of version {version}; this server knows {FORMAT} of version {VERSION}"));
    }
    let targets = cp.runtime().base_targets();
    let on_base = |root: &Root| root.image.is_none();
    let roots = manifest.sandboxes.iter().map(|one| &one.root);
    let mut roots = roots.chain(manifest.snapshots.iter().map(|one| &one.root));
    if manifest.base_targets != targets && roots.any(|root| on_base(root)) {
        let (theirs, ours) = (&manifest.base, &cp.runtime().info().base);
        return Err(format!("its sandboxes stand on {theirs}, which has other parts than this server's base, {ours}"));
    }
    let limits = &cp.config().limits;
    let pools: usize = manifest.warm_pools.iter().map(|pool| pool.size as usize).sum();
    for (what, count, most) in [
        ("sandboxes", manifest.sandboxes.len() + cp.world.read().sandboxes.len(), limits.sandboxes),
        ("snapshots", manifest.snapshots.len(), limits.snapshots),
        ("volumes", manifest.volumes.len(), limits.volumes),
        ("objects", manifest.objects.len(), limits.objects),
        ("parts of pushed images", manifest.pushed.files().count(), 2 * limits.registry_blobs),
        ("registries", manifest.registries.len(), registries::MAX),
        ("secrets", manifest.secrets.len(), secrets::QUOTA),
        ("regions", manifest.regions.len(), limits.regions),
        ("sandboxes in warm pools", pools, limits.warm_sandboxes),
        ("webhooks", manifest.webhooks.len(), limits.webhooks),
    ] {
        if count > most {
            return Err(format!("with it there would be {count} {what}, of {most} that are allowed"));
        }
    }
    Ok(())
}

/// Each name once.
fn all_differ<'a>(what: &str, names: impl Iterator<Item = &'a String>) -> Checked<()> {
    let mut seen = HashSet::new();
    match names.into_iter().find(|name| !seen.insert(name.as_str())) {
        Some(twice) => Err(format!("two {what} are called {twice}")),
        None => Ok(()),
    }
}

impl Planner<'_> {
    fn plan(&mut self) -> Checked<Plan> {
        let manifest = self.manifest;
        // First what others name.
        let regions = manifest.regions.iter().map(|one| self.region(one)).collect::<Checked<_>>()?;
        let volumes = manifest.volumes.iter().map(|one| self.volume(one)).collect::<Checked<Vec<_>>>()?;
        let secrets = manifest.secrets.iter().map(|one| self.secret(one)).collect::<Checked<Vec<_>>>()?;
        for one in &manifest.sandboxes {
            self.ids.keep(&one.id, self.cp.world.read().sandboxes.contains_key(&one.id))?;
        }
        let sandboxes = manifest.sandboxes.iter().map(|one| self.sandbox(one)).collect::<Checked<Vec<_>>>()?;
        let snapshots = manifest.snapshots.iter().map(|one| self.snapshot(one)).collect::<Checked<Vec<_>>>()?;
        let registries = manifest.registries.iter().map(|one| self.registry(one)).collect::<Checked<_>>()?;
        let warm_pools = manifest.warm_pools.iter().map(|one| self.warm_pool(one)).collect::<Checked<_>>()?;
        let webhooks = manifest.webhooks.iter().map(|one| self.webhook(one)).collect::<Checked<_>>()?;
        let objects = manifest.objects.iter().enumerate();
        let objects = objects.map(|(n, one)| self.object(n, one)).collect::<Checked<Vec<_>>>()?;
        let names = manifest.pushed.names.iter().map(|one| self.pushed(one)).collect::<Checked<Vec<_>>>()?;
        let files = manifest.pushed.files().enumerate();
        let files = files.map(|(n, (is_manifest, digest))| (pushed(n), is_manifest, digest.clone()));
        let all = sandboxes.iter().map(|(_, one)| one);
        self.cp.check_quota_of_all(&self.owner.organization_id, all).map_err(|error| error.message)?;
        all_differ("sandboxes", sandboxes.iter().map(|(_, one)| &one.name))?;
        all_differ("volumes", volumes.iter().map(|(_, one)| &one.name))?;
        all_differ("snapshots", snapshots.iter().map(|one: &Snapshot| &one.name))?;
        all_differ("secrets", secrets.iter().map(|one| &one.name))?;
        all_differ("objects", objects.iter().map(|(_, one)| &one.key))?;
        Ok(Plan {
            organization_id: self.owner.organization_id.clone(),
            organization: self.organization()?,
            sandboxes,
            volumes,
            layers: std::mem::take(&mut self.plan),
            objects,
            pushed: names,
            pushed_files: files.collect(),
            snapshots,
            registries,
            secrets,
            regions,
            warm_pools,
            webhooks,
            notes: self.notes(),
            ids: self.ids.new.iter().filter(|(old, new)| old != new).map(|(a, b)| (a.clone(), b.clone())).collect(),
        })
    }

    fn notes(&self) -> Vec<String> {
        let manifest = self.manifest;
        let mut notes = Vec::new();
        if !manifest.with_secrets {
            let passwords = manifest.registries.len();
            for (count, what) in [
                (manifest.secrets.len(), "secrets have no value"),
                (passwords, "registries have no password"),
                (manifest.webhooks.len(), "webhook endpoints have a new signing secret"),
            ] {
                if count > 0 {
                    notes.push(format!("{count} {what}: the world was saved without secrets"));
                }
            }
        }
        let ours = &self.cp.runtime().info().base;
        if manifest.base != *ours {
            notes.push(format!("it was made on {}, this server has {ours}", manifest.base));
        }
        notes
    }

    fn organization(&self) -> Checked<Organization> {
        let own = self.cp.organization(&self.owner.organization_id).ok_or("this world is gone")?;
        let terms = &self.manifest.organization;
        Ok(Organization {
            default_region: terms.default_region.as_deref().map(|id| self.target(id)),
            limited_egress: terms.limited_egress,
            preview_warning: terms.preview_warning,
            ..Organization::clone(&own)
        })
    }

    /// A region's id here.
    fn target(&self, old: &str) -> String {
        self.ids.of(old).unwrap_or_else(|| REGION.to_owned())
    }

    fn region(&mut self, old: &Arc<Region>) -> Checked<Region> {
        regions::check_name(&old.name).map_err(|error| error.message)?;
        let plain = |id: &str| id.len() <= 300 && regions::check_name(id).is_ok();
        if old.id == REGION || !plain(&old.id) {
            return Err(format!("{:?} is no region", old.id));
        }
        let id = match self.cp.world.read().regions.contains_key(&old.id) {
            true => regions::new_id(&old.name),
            false => old.id.clone(),
        };
        let id = self.ids.set(&old.id, id)?;
        Ok(Region { id, organization_id: Some(self.owner.organization_id.clone()), ..Region::clone(old) })
    }

    fn volume(&mut self, old: &Arc<Volume>) -> Checked<(String, Volume)> {
        let id = self.ids.keep(&old.id, self.cp.world.read().volumes.contains_key(&old.id))?;
        let volume = Volume {
            id,
            organization_id: self.owner.organization_id.clone(),
            state: VolumeState::Ready,
            error_reason: None,
            ..Volume::clone(old)
        };
        Ok((member("volumes", &old.id), volume))
    }

    fn secret(&mut self, old: &Secret) -> Checked<Secret> {
        let fine = secrets::is_name(&old.name)
            && old.hosts.iter().all(|host| secrets::is_host(host))
            && old.placeholder.starts_with(secrets::PLACEHOLDER);
        if !fine {
            return Err(format!("the secret {:?} is none", old.name));
        }
        let id = self.ids.keep(&old.id, self.cp.world.read().secrets.contains_key(&old.id))?;
        Ok(Secret { id, organization_id: self.owner.organization_id.clone(), ..old.clone() })
    }

    fn registry(&mut self, old: &Registry) -> Checked<Registry> {
        let id = self.ids.keep(&old.id, self.cp.world.read().registries.contains_key(&old.id))?;
        Ok(Registry { id, organization_id: self.owner.organization_id.clone(), ..old.clone() })
    }

    fn warm_pool(&mut self, old: &Arc<WarmPool>) -> Checked<WarmPool> {
        let id = self.ids.keep(&old.id, self.cp.world.read().warm_pools.contains_key(&old.id))?;
        let (organization_id, target) = (self.owner.organization_id.clone(), self.target(&old.target));
        Ok(WarmPool { id, organization_id, target, error_reason: None, ..WarmPool::clone(old) })
    }

    fn webhook(&mut self, old: &Endpoint) -> Checked<Endpoint> {
        let secret = Some(old.secret.clone()).filter(|secret| !secret.is_empty()).unwrap_or_else(webhooks::new_secret);
        let new = NewEndpoint { url: old.url.clone(), events: old.events.clone(), secret: Some(secret.clone()) };
        new.check().map_err(|error| format!("a webhook: {error}"))?;
        let organization_id = Some(self.owner.organization_id.clone());
        Ok(Endpoint { id: webhooks::new_id(), organization_id, secret, ..old.clone() })
    }

    fn object(&mut self, n: usize, old: &Arc<Object>) -> Checked<(String, Object)> {
        let (_, rest) = old.key.split_once('/').ok_or_else(|| format!("{:?} is no object", old.key))?;
        let key = format!("{}/{rest}", self.owner.organization_id);
        // The file's name comes with the file.
        Ok((object(n), Object { key, file: String::new(), ..Object::clone(old) }))
    }

    /// Repositories begin with the organisation.
    fn pushed(&self, old: &Pushed) -> Checked<Pushed> {
        let wrong = || format!("{}:{} is no pushed image", old.repository, old.reference);
        let (_, rest) = old.repository.split_once('/').ok_or_else(wrong)?;
        let repository = format!("{}/{rest}", self.owner.organization_id);
        let fine = is_repository(&repository)
            && is_reference(&old.reference)
            && old.media_type.len() < 256
            && http::HeaderValue::from_str(&old.media_type).is_ok()
            && self.manifest.pushed.manifests.contains(&old.digest);
        if fine { Ok(Pushed { repository, ..old.clone() }) } else { Err(wrong()) }
    }

    /// The name by which an image is found here.
    fn image_name(&self, old: &Snapshot) -> String {
        let (from, to) = (format!("/{}/", old.organization_id), format!("/{}/", self.owner.organization_id));
        old.image_name.replacen(&from, &to, 1)
    }

    fn snapshot(&mut self, old: &Arc<Snapshot>) -> Checked<Snapshot> {
        let taken = self.cp.world.read().snapshots.contains_key(&old.id) || snapshots::general(&old.id).is_some();
        let id = self.ids.keep(&old.id, taken)?;
        if old.state == SnapshotState::Removing {
            return Err(format!("the snapshot {} was being removed", old.name));
        }
        let (root, region) = (Arc::new(self.root(&old.root)?), self.target(&old.region));
        let source_sandbox_id = old.source_sandbox_id.as_ref().map(|id| self.ids.of(id).unwrap_or_else(|| id.clone()));
        let (organization_id, image_name) = (self.owner.organization_id.clone(), self.image_name(old));
        Ok(Snapshot { id, organization_id, image_name, region, root, source_sandbox_id, ..Snapshot::clone(old) })
    }

    fn sandbox(&mut self, old: &Arc<Sandbox>) -> Checked<(String, Sandbox)> {
        let mut new = Sandbox::clone(old);
        let wrong = |what: &dyn std::fmt::Display| format!("the sandbox {}: {what}", old.name);
        new.id = self.ids.of(&old.id).unwrap_or_default();
        if new.name.is_empty() || new.phase().is_errored_deleted() {
            return Err(wrong(&"it was deleted"));
        }
        if old.name == old.id {
            new.name = new.id.clone();
        }
        new.organization_id = self.owner.organization_id.clone();
        new.target = self.target(&old.target);
        new.set_phase(old.phase().after_restart());
        new.snapshotting_as = None;
        if let Some(resources) = new.resizing_to {
            new.set_resources(resources);
        }
        new.runner_id = (new.actual_state != State::Archived).then(|| self.cp.runner_id().to_owned());
        new.preview_token = tokens::preview_token();
        if new.signing_key.is_empty() {
            new.signing_key = tokens::signing_key();
        }
        if new.backup_state != BackupState::Completed {
            new.backup_state = BackupState::None;
        }
        new.auto_archive_interval = settings::clamp_archive(old.auto_archive_interval);
        new.auto_destroy_at = old.auto_destroy_at.and_then(|at| at.checked_add_signed(self.away));
        new.last_activity_at = self.cp.clock().now();
        (new.forked_from, new.linked_to) = (self.other(&old.forked_from), self.other(&old.linked_to));
        new.warm_pool_id = None;
        let lists = (old.network_allow_list.as_deref(), old.domain_allow_list.as_deref());
        check_lists(lists.0, lists.1).and_then(|()| old.outward.check()).map_err(|error| wrong(&error))?;
        self.cp.check_inside(&old.env, Some(&old.user)).map_err(|error| wrong(&error))?;
        for mount in &mut new.volumes {
            mount.check().map_err(|error| wrong(&error))?;
            mount.volume_id = self.ids.of(&mount.volume_id).ok_or_else(|| wrong(&"its volume is not there"))?;
        }
        for one in &mut new.secrets {
            let id = self.ids.of(&one.secret_id).filter(|_| secrets::is_variable(&one.variable));
            one.secret_id = id.ok_or_else(|| wrong(&"its secret is not there"))?;
        }
        new.root = Arc::new(self.root(&old.root).map_err(|error| wrong(&error))?);
        Ok((member("sandboxes", &old.id), new))
    }

    fn other(&self, id: &Option<String>) -> Option<String> {
        self.ids.of(id.as_deref()?)
    }

    /// The same root of layers that are ours alone: names of others' would let an archive change what they are made of.
    fn root(&mut self, old: &Root) -> Checked<Root> {
        let mut root = Root { layers: Vec::new(), ..old.clone() };
        if let Some(image) = &mut root.image {
            root.layers = self.image(&image.digest)?;
            (image.layers, image.digest) = (Vec::new(), format!("restored-{}", tokens::uuid()));
        }
        for name in &old.layers {
            let (member, name) = (member("layers", name), name.clone());
            let new = self.layers.entry(name).or_insert_with(|| {
                let new = format!("r-{}", tokens::uuid());
                self.plan.push((member, new.clone(), false));
                new
            });
            root.layers.push(new.clone());
        }
        Ok(root)
    }

    fn image(&mut self, digest: &str) -> Checked<Vec<String>> {
        if let Some(layers) = self.images.get(digest) {
            return Ok(layers.clone());
        }
        let wanted = self.manifest.images.get(digest).ok_or_else(|| format!("the image {digest:?} is not there"))?;
        let mut layers = Vec::new();
        for n in wanted {
            let member = member("images", &n.to_string());
            let name = self.layers.entry(member.clone()).or_insert_with(|| {
                let new = format!("r-{}", tokens::uuid());
                self.plan.push((member, new.clone(), true));
                new
            });
            layers.push(name.clone());
        }
        self.images.insert(digest.to_owned(), layers.clone());
        Ok(layers)
    }
}
