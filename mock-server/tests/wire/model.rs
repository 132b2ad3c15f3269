//! The model over a real runtime, where a test needs to reach behind the wire: events, and a sandbox that dies.

use std::{path::PathBuf, sync::Arc, time::Duration};

use daytona_mock::{
    model::{
        Clock, ControlPlane, EventKind, Identity, ModelConfig, ModelError, ModelEvent, NewSandbox, Sandbox, State,
    },
    runtime::{BaseChoice, Isolation, Runtime, RuntimeConfig},
};
use tokio::sync::broadcast::Receiver;

use crate::support::{PATIENCE, binary, cache_dir, isolation};

pub struct World {
    pub cp: Arc<ControlPlane>,
    pub caller: Identity,
    events: Receiver<ModelEvent>,
    _dir: tempfile::TempDir,
}

impl World {
    pub async fn open() -> World {
        let dir = tempfile::tempdir().expect("temp dir");
        let runtime = RuntimeConfig {
            data_dir: dir.path().to_owned(),
            cache_dir: cache_dir(),
            isolation: isolation(),
            base: BaseChoice::Host,
            base_include: Vec::new(),
            git_mirrors: None::<PathBuf>,
            upstream_ca: Vec::new(),
            limits: Default::default(),
            binary: binary(),
        };
        let runtime = Runtime::start(runtime).await.expect("runtime");
        let api_version = "0.205.1".into();
        let config = ModelConfig {
            offline_base: Default::default(),
            builder: None,
            data_dir: dir.path().to_owned(),
            env: vec![],
            api_keys: vec![],
            api_version,
            limits: Default::default(),
            quota: None,
            strict: None,
        };
        let cp = ControlPlane::open(config, Clock::default(), runtime).await.expect("opens");
        let caller = cp.authenticate(cp.first_key()).expect("a good key");
        World { events: cp.events(), cp, caller, _dir: dir }
    }

    pub async fn create(&self) -> Arc<Sandbox> {
        let draft = self.cp.draft(&self.caller, NewSandbox::default()).expect("fine");
        let created = self.cp.create(draft).await.expect("started");
        self.cp.find(&self.caller.organization_id, &created.id).expect("there")
    }

    /// The next event as one line.
    async fn event(&mut self) -> String {
        let event = tokio::time::timeout(PATIENCE, self.events.recv()).await.expect("in time").expect("an event");
        let ModelEvent::Sandbox { kind, sandbox } = event else { panic!("{event:?}") };
        match kind {
            EventKind::Created => format!("created {}", sandbox.state().as_str()),
            EventKind::State { old, new } => format!("{} > {}", old.as_str(), new.as_str()),
            EventKind::DesiredState { old, new } => {
                format!("desired {} > {} while {}", old.as_str(), new.as_str(), sandbox.state().as_str())
            }
        }
    }

    async fn expect(&mut self, expected: &[&str]) {
        for line in expected {
            assert_eq!(&self.event().await, line);
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn events_come_in_the_observed_order() {
    let mut world = World::open().await;
    let sandbox = world.create().await;
    world.expect(&["created creating", "unknown > creating", "creating > started"]).await;
    world.cp.stop(&sandbox, true).await.expect("stops");
    world.expect(&["desired started > stopped while stopping", "started > stopping", "stopping > stopped"]).await;
    let sandbox = world.cp.find(&world.caller.organization_id, &sandbox.id).expect("there");
    let sandbox = world.cp.start(&sandbox).await.expect("starts");
    world.expect(&["desired stopped > started while starting", "stopped > starting", "starting > started"]).await;
    world.cp.set_public(&sandbox, true).await.expect("fine");
    world.cp.delete(&sandbox).await.expect("deletes");
    world
        .expect(&["desired started > destroyed while destroying", "started > destroying", "destroying > destroyed"])
        .await;
    assert!(world.cp.find(&world.caller.organization_id, &sandbox.id).is_err());
    world.cp.shutdown().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_sandbox_that_dies_is_stopped_and_starts_again() {
    let mut world = World::open().await;
    let sandbox = world.create().await;
    let machine = world.cp.toolbox_target(&sandbox.id).and_then(|target| target.running).expect("it runs");
    world.expect(&["created creating", "unknown > creating", "creating > started"]).await;
    let killed = std::process::Command::new("kill").args(["-9", &machine.pid().to_string()]).status();
    if !killed.is_ok_and(|status| status.success()) {
        // Tier subuid: its processes belong to other ids.
        assert_eq!(world.cp.runtime().info().isolation, Isolation::Subuid);
        return eprintln!("skipped in tier subuid: a_sandbox_that_dies_is_stopped_and_starts_again");
    }
    world.expect(&["desired started > stopped while stopped", "started > stopped"]).await;
    assert!(world.cp.toolbox_target(&sandbox.id).is_some_and(|t| t.state == State::Stopped && t.running.is_none()));
    let sandbox = world.cp.find(&world.caller.organization_id, &sandbox.id).expect("there");
    let again = world.cp.start(&sandbox).await.expect("starts");
    assert_eq!(again.state(), State::Started);
    world.cp.shutdown().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_saw_the_state_before_the_winner_changed_it_is_told_so() {
    let world = World::open().await;
    let seen = world.create().await;
    world.cp.stop(&seen, true).await.expect("the winner");
    let outrun = ModelError::conflict("Sandbox was modified by another operation");
    assert_eq!(world.cp.stop(&seen, true).await.err(), Some(outrun.clone()));
    assert_eq!(world.cp.delete(&seen).await.err(), Some(outrun));
    world.cp.shutdown().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_signature_opens_one_file_for_one_method_until_it_expires_or_the_key_changes() {
    use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
    use hmac::{Hmac, KeyInit, Mac};
    let world = World::open().await;
    let sandbox = world.create().await;
    let sign = |method: &str, path: &str, expires: u64| {
        let mut mac = Hmac::<sha2::Sha256>::new_from_slice(sandbox.signing_key.as_bytes()).expect("any length");
        mac.update(format!("v1:files:{method}:{path}:{expires}").as_bytes());
        format!("v1_{}", URL_SAFE_NO_PAD.encode(mac.finalize().into_bytes()))
    };
    let check = |id: &str, method: &str, path: &str, expires: u64, signature: &str| {
        world.cp.verify_signed_file_url(id, method, path, expires, signature)
    };
    let later = u64::try_from(world.cp.clock().now().timestamp()).expect("after 1970") + 60;
    let good = sign("GET", "/a b", later);
    assert!(check(&sandbox.id, "GET", "/a b", later, &good));
    assert!(check(&sandbox.id, "GET", "/a", 0, &sign("GET", "/a", 0)), "0 never expires");
    assert!(!check(&sandbox.id, "POST", "/a b", later, &good));
    assert!(!check(&sandbox.id, "GET", "/a", later, &good));
    assert!(!check(&sandbox.id, "GET", "/a b", later + 1, &good));
    assert!(!check("nope", "GET", "/a b", later, &good));
    for bad in ["", "v1_", "v1_!", &good[3..]] {
        assert!(!check(&sandbox.id, "GET", "/a b", later, bad), "{bad:?}");
    }
    world.cp.clock().advance(Duration::from_secs(61));
    assert!(!check(&sandbox.id, "GET", "/a b", later, &good), "expired");
    world.cp.rotate_signing_key(&sandbox).await.expect("fine");
    assert!(!check(&sandbox.id, "GET", "/a", 0, &sign("GET", "/a", 0)), "the key is another");
    world.cp.shutdown().await;
}
