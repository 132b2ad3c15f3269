//! What happens between a look and a deed: somebody else is faster, a client goes away, a timer fires.

use std::{sync::Arc, time::Duration};

use daytona_mock::model::{
    MadeOf, ModelError, NewSandbox, NewSnapshot, Sandbox, State,
    keys::NewKey,
    organization::{Access, MemberRole, NewInvitation},
    regions::RegionUrls,
    secrets::SecretChange,
    settings::Interval,
    snapshots::SnapshotState,
};
use futures_util::{FutureExt, future::join_all};
use serde_json::{Value, json};

use crate::{api::Api, images::has_images, model::World, support::eventually};

impl World {
    fn owner(&self) -> &str {
        &self.caller.organization_id
    }

    fn draft(&self, new: NewSandbox) -> Sandbox {
        self.cp.draft(&self.caller, new).expect("fine")
    }

    fn state(&self, id: &str) -> Option<State> {
        self.cp.find(self.owner(), id).ok().map(|sandbox| sandbox.state())
    }

    async fn until(&self, id: &str, state: State) {
        eventually(state.as_str(), async || (self.state(id) == Some(state)).then_some(())).await;
    }

    async fn refused(&self, draft: Sandbox, message: &str) {
        let refused: ModelError = self.cp.create(draft.clone()).await.expect_err(message);
        assert!(refused.message.contains(message), "{refused}");
        assert_eq!(self.state(&draft.id), None, "{message}");
    }
}

fn snapshot(name: &str) -> NewSnapshot {
    NewSnapshot {
        name: name.into(),
        made_of: MadeOf::Build { dockerfile: "FROM scratch\n".into(), context_hashes: Vec::new() },
        entrypoint: None,
        region: "us".into(),
        cpu: None,
        memory: None,
        disk: None,
        class: Default::default(),
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_new_sandbox_needs_is_still_there_when_it_begins_to_be() {
    let world = World::open().await;
    let cp = &world.cp;
    let owner = world.create().await;
    let linked =
        NewSandbox { linked_sandbox: Some(owner.id.clone()), auto_delete_interval: Some(0), ..NewSandbox::default() };
    let linked = world.draft(linked);
    cp.delete(&owner).await.expect("deleted");
    world.refused(linked, &owner.id).await;

    let value = SecretChange { value: Some("v".into()), ..SecretChange::default() };
    let secret = cp.add_secret(world.owner(), "s".into(), value).await.expect("made");
    let with = NewSandbox { secrets: vec![("TOKEN".into(), "s".into())], ..NewSandbox::default() };
    let with = world.draft(with);
    cp.remove_secret(world.owner(), &secret.id).await.expect("removed");
    world.refused(with, "TOKEN").await;

    let urls = RegionUrls { proxy: None, ssh_gateway: None, snapshot_manager: None, otel_endpoint: None };
    let (region, _) = cp.create_region(world.owner(), "r".into(), urls).await.expect("made");
    let mut there = world.draft(NewSandbox::default());
    there.target = region.id.clone();
    cp.delete_region(world.owner(), &region.id).await.expect("removed");
    world.refused(there, "Region not found").await;

    if has_images() {
        let source = world.create().await;
        cp.snapshot_sandbox(&source, "snap".into()).await.expect("begun");
        world.until(&source.id, State::Started).await;
        let made = cp.own_snapshot(world.owner(), "snap").expect("made");
        let of_it = world.draft(NewSandbox { snapshot: Some("snap".into()), ..NewSandbox::default() });
        cp.remove_snapshot(&made).await.expect("removed");
        eventually("it is gone", async || cp.own_snapshot(world.owner(), "snap").is_none().then_some(())).await;
        world.refused(of_it, "Snapshot snap not found").await;
    }
    cp.shutdown().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_that_goes_away_leaves_nothing_half_done() {
    let world = World::open().await;
    let cp = &world.cp;
    // Each is polled once, which is as far as the store is asked, and dropped.
    drop(cp.create_snapshot(&world.caller, snapshot("built")).now_or_never());
    let settled = |name: &'static str| {
        let cp = cp.clone();
        let owner = world.owner().to_owned();
        async move {
            let settled = [SnapshotState::Active, SnapshotState::BuildFailed];
            let now = async || cp.own_snapshot(&owner, name).filter(|one| settled.contains(&one.state));
            eventually("the snapshot is made", now).await
        }
    };
    let made = settled("built").await;
    if has_images() {
        cp.deactivate_snapshot(&made).await.expect("deactivated");
        drop(cp.activate_snapshot(&made).now_or_never());
        settled("built").await;
        let source = world.create().await;
        drop(cp.snapshot_sandbox(&source, "of-sandbox".into()).now_or_never());
        settled("of-sandbox").await;
        world.until(&source.id, State::Started).await;
    }
    drop(cp.remove_snapshot(&made).now_or_never());
    eventually("it is gone", async || cp.own_snapshot(world.owner(), "built").is_none().then_some(())).await;

    let volume = cp.create_volume(&world.caller, "v".into()).await.expect("made");
    let volume = cp.volume(world.owner(), &volume.id).expect("there");
    drop(cp.delete_volume(&volume).now_or_never());
    eventually("it is gone", async || cp.volumes(world.owner(), false).is_empty().then_some(())).await;

    let pool = cp.create_warm_pool(&world.caller, "daytona-small".into(), None, 1);
    drop(pool.now_or_never());
    let filled = async || cp.warm_pools(world.owner()).first().filter(|pool| cp.ready_in(pool) == 1).cloned();
    eventually("it is filled", filled).await;
    let draft = world.draft(NewSandbox { name: Some("mine".into()), ..NewSandbox::default() });
    drop(cp.create(draft).now_or_never());
    world.until("mine", State::Started).await;
    eventually("it is filled again", filled).await;
    cp.shutdown().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_put_off_does_not_happen() {
    let world = World::open().await;
    let cp = &world.cp;
    let all: Vec<Arc<Sandbox>> = join_all((0..8).map(|_| world.create())).await;
    cp.clock().freeze();
    cp.clock().advance(Duration::from_secs(14 * 60));
    for sandbox in &all {
        cp.set_interval(sandbox, Interval::Stop, 1).await.expect("set");
    }
    cp.clock().advance(Duration::from_secs(2 * 60));
    let put_off = all.iter().map(|sandbox| cp.set_interval(sandbox, Interval::Stop, 0));
    let (told, ()) = tokio::join!(join_all(put_off), cp.do_what_is_due());
    // Those that still were to run when their timer was taken away go on.
    let told = told.into_iter().map(|record| record.expect("set"));
    let kept: Vec<Arc<Sandbox>> = told.filter(|record| record.state() == State::Started).collect();
    cp.do_what_is_due().await;
    for sandbox in &kept {
        assert_eq!(world.state(&sandbox.id), Some(State::Started), "{} of {} were put off", kept.len(), all.len());
    }
    cp.shutdown().await;
}

#[tokio::test]
async fn a_stop_that_comes_late_leaves_the_next_run_alone() {
    let api = Api::new().await;
    let id = api.named("s").await;
    let slow = json!({"effect": {"type": "slow", "state": "stopping"}});
    let (_, held) = api.control("POST", "/faults", slow).await;
    api.post("/sandbox/s/stop", Value::Null).await;
    let kill = json!({"match": {"sandbox": "s"}, "effect": {"type": "die"}});
    assert_eq!(api.control("POST", "/faults", kill).await.0, 201);
    api.until(&id, "stopped").await;
    assert_eq!(api.post("/sandbox/s/start", Value::Null).await.0, 200);
    api.until(&id, "started").await;
    let held = format!("/faults/{}/release", held["id"].as_str().expect("an id"));
    assert_eq!(api.control("POST", &held, Value::Null).await.0, 200);
    let (_, sandbox) = api.get("/sandbox/s").await;
    let url = format!("{}/{id}/process/execute", sandbox["toolboxProxyUrl"].as_str().expect("an URL"));
    for _ in 0..20 {
        let run = api.client.post(&url).bearer_auth(&api.key).json(&json!({"command": "sleep 0.02"}));
        let answer = run.send().await.expect("answer");
        assert_eq!(answer.status(), 200, "{}", answer.text().await.unwrap_or_default());
    }
}

#[tokio::test]
async fn a_registry_that_was_deleted_stays_so() {
    let api = Api::new().await;
    let body = json!({"name": "r", "url": "r.example", "username": "u", "password": "p"});
    for round in 0..30 {
        let (status, made) = api.post("/docker-registry", body.clone()).await;
        assert_eq!(status, 201, "{made}");
        let path = format!("/docker-registry/{}", made["id"].as_str().expect("an id"));
        let (_, (deleted, _)) = tokio::join!(api.call("PATCH", &path, body.clone()), api.delete(&path));
        assert_eq!((deleted, api.get(&path).await.0), (204, 404), "round {round}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_is_put_out_of_an_organisation_gets_no_key_there() {
    let world = World::open().await;
    let cp = &world.cp;
    let user = cp.user(&world.caller.user_id).expect("a user");
    let place = cp.create_organization(&user.id, "Acme".into(), "us").await.expect("made");
    let guest = cp.mint(Some("Guest".into()), Some("guest@example.com".into())).await.expect("minted").user;
    let access = Access { role: MemberRole::Owner, role_ids: Vec::new() };
    let invitation = NewInvitation { email: guest.email.clone(), access, expires_at: None };
    let (_, invited) = cp.invite(&place.id, &user, invitation).await.expect("invited");
    let (place, _) = cp.answer_invitation(&guest, &invited.id, true).await.expect("accepted");
    let allowed = place.permissions_of(&guest.id).expect("a member");
    cp.remove_member(&place.id, &guest.id).await.expect("put out");
    let new = NewKey { name: "late".into(), permissions: allowed.clone(), expires_at: None };
    assert!(cp.create_key(&place.id, &guest.id, &allowed, new).await.is_err());
    assert_eq!(cp.api_keys(&place.id).len(), 0);
    cp.shutdown().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_begins_in_an_organisation_that_is_gone() {
    let world = World::open().await;
    let cp = &world.cp;
    let place = cp.create_organization(&world.caller.user_id, "Acme".into(), "us").await.expect("made");
    let caller = daytona_mock::model::Identity { organization_id: place.id.clone(), ..world.caller.clone() };
    let draft = cp.draft(&caller, NewSandbox::default()).expect("fine");
    cp.delete_organization(&place.id).await.expect("deleted");
    let refused = cp.create(draft).await.expect_err("it is gone");
    assert_eq!(refused.message, format!("Organization with ID {} not found", place.id));
    assert!(cp.is_empty(&place.id));
    cp.shutdown().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_being_forked_is_not_deleted_before_its_fork_is_there() {
    if !has_images() {
        return;
    }
    for round in 0..5 {
        let (api, parent) = crate::pause::machine(json!({})).await;
        let (path, fork) = (format!("/sandbox/{}", parent.id), format!("/sandbox/{}/fork", parent.id));
        let forked = api.post(&fork, json!({"name": "child"}));
        tokio::pin!(forked);
        let mut deleted = false;
        let (status, _) = loop {
            tokio::select! {
                biased;
                answer = &mut forked => break answer,
                (status, _) = api.delete(&path) => deleted |= status == 200,
            }
        };
        let child = status == 200 && api.get("/sandbox/child").await.0 == 200;
        assert!(!(deleted && child), "round {round}: deleted, and forked all the same");
    }
}
