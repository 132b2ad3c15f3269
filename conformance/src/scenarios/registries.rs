//! Docker registries: credentials for pulls, and the one that images are pushed to.

use base64::{Engine, engine::general_purpose::STANDARD};
use reqwest::Method;
use sha2::{Digest, Sha256};

use crate::{
    client::{Answer, Client, Request},
    prelude::*,
};

const PATH: &str = "/docker-registry";

scenarios! { "registries";
    /// A registry is answered 201 without its password, is listed and read, and is gone when it is deleted.
    /// (createRegistry, listRegistries, getRegistry, deleteRegistry)
    registries_come_and_go: Must, covers ["createRegistry", "listRegistries", "getRegistry", "deleteRegistry"],
        classes [Racing];

    /// A change is answered and kept; a project that it does not name is dropped. (updateRegistry; observed)
    changes_are_kept: Must, covers ["updateRegistry", "getRegistry"];

    /// A registry without name, URL or credentials is 400, and nothing is made. (createRegistry)
    input_is_validated: Must, covers ["createRegistry"];

    /// An unknown registry is 404, for reading, changing and deleting. (getRegistry, updateRegistry, deleteRegistry)
    unknown_registry_is_not_found: Must, covers ["getRegistry", "updateRegistry", "deleteRegistry"];

    /// Access to push images names user, secret, registry and project, and ends. (getTransientPushAccess)
    push_access_is_given: Must, covers ["getTransientPushAccess"];

    /// Access to push images needs a permission to write snapshots or sandboxes. (getTransientPushAccess)
    push_access_needs_a_permission: Must, covers ["getTransientPushAccess"], needs [ApiKeys];

    /// With that access, what is pushed below the project can be read again, by tag and by digest; what is not whole is
    /// refused, and so is what belongs to others. (getTransientPushAccess; the OCI distribution specification)
    what_is_pushed_is_there: Must, covers ["getTransientPushAccess"], needs [SecondAccount];

    /// Another organisation neither lists nor reads nor deletes it.
    others_see_nothing: Must, covers ["listRegistries", "getRegistry", "deleteRegistry"], needs [SecondAccount];
}

const PASSWORD: &str = "conformance-password";

fn body(name: &str) -> Value {
    json!({"name": name, "url": "https://registry.example", "username": "me", "password": PASSWORD, "project": "mine"})
}

/// A registry of this scenario's own: its id.
async fn make(cx: &Cx) -> Result<String> {
    let id = cx.post(PATH).json(body(&cx.name("registry"))).send().await?.ok()?.string("/id")?;
    cx.removes("deleteRegistry", &format!("{PATH}/{id}"));
    Ok(id)
}

async fn remove(cx: &Cx, id: &str) -> Result {
    let deleted = cx.delete(&format!("{PATH}/{id}")).send().await?;
    cx.check("deleted").status(&deleted, 204);
    Ok(())
}

async fn registries_come_and_go(cx: Cx) -> Result {
    let name = cx.name("registry");
    let made = cx.post(PATH).json(body(&name)).send().await?;
    cx.check("created").status(&made, 201);
    let id = made.string("/id")?;
    cx.removes("deleteRegistry", &format!("{PATH}/{id}"));
    let read = cx.get(&format!("{PATH}/{id}")).send().await?;
    for (field, value) in
        [("name", &*name), ("url", "https://registry.example"), ("username", "me"), ("project", "mine")]
    {
        cx.check(format!("created-{field}")).json(&made, &format!("/{field}"), value);
        cx.check(format!("read-{field}")).json(&read, &format!("/{field}"), value);
    }
    let newer = make(&cx).await?;
    let list = cx.get(PATH).send().await?;
    let place = |wanted: &str| list.json.as_array().into_iter().flatten().position(|one| one["id"] == wanted);
    cx.check("newest-first").on(&list).that(
        place(&newer).is_some() && place(&newer) < place(&id),
        "the newer one first",
        (place(&newer), place(&id)),
    );
    let listed: Vec<_> = list.array("")?.iter().filter(|registry| registry["id"] == *id).collect();
    cx.check("listed").on(&list).eq(listed.len(), 1);
    cx.check("type").json(&made, "/registryType", "organization");
    cx.check_recent("created-at", &made, "/createdAt").await;
    let fields = &["id", "name", "url", "username", "project", "registryType", "createdAt", "updatedAt"];
    cx.check_same("same", &read, &read.json, &made.json, fields);
    cx.check_same("item", &list, listed.first().copied().unwrap_or(&Value::Null), &read.json, fields);
    let told = [&made, &read, &list].map(|answer| answer.text().contains(PASSWORD));
    cx.check("password-never-shown").eq(told, [false; 3]);
    remove(&cx, &id).await?;
    cx.check("gone").status(&cx.get(&format!("{PATH}/{id}")).send().await?, 404);
    let list = cx.get(PATH).send().await?;
    cx.check("not-listed").on(&list).that(!list.text().contains(&id), "a list without it", list.summary());
    Ok(())
}

async fn changes_are_kept(cx: Cx) -> Result {
    let id = make(&cx).await?;
    let path = format!("{PATH}/{id}");
    let change = json!({"name": cx.name("changed"), "url": "https://other.example", "username": "you"});
    let changed = cx.api().patch(&path).json(change.clone()).send().await?;
    cx.check("changed").status(&changed, 200);
    let read = cx.get(&path).send().await?;
    for field in ["name", "url", "username"] {
        cx.check(format!("answer-{field}")).json(&changed, &format!("/{field}"), change[field].clone());
        cx.check(format!("kept-{field}")).json(&read, &format!("/{field}"), change[field].clone());
    }
    cx.check("project-dropped").should().json(&read, "/project", "");
    let (created, updated) = (time(&read["createdAt"]), time(&read["updatedAt"]));
    cx.check("updated-at").on(&read).that(updated > created, "a time after createdAt", &read["updatedAt"]);
    remove(&cx, &id).await
}

async fn input_is_validated(cx: Cx) -> Result {
    for field in ["name", "url", "username", "password"] {
        let mut incomplete = body(&cx.name("registry"));
        incomplete.as_object_mut().expect("an object").remove(field);
        cx.check(format!("no-{field}")).status(&cx.post(PATH).json(incomplete).send().await?, 400);
        let mut wrong = body(&cx.name("registry"));
        wrong[field] = json!(1);
        cx.check(format!("number-{field}")).status(&cx.post(PATH).json(wrong).send().await?, 400);
    }
    Ok(())
}

async fn unknown_registry_is_not_found(cx: Cx) -> Result {
    let path = format!("{PATH}/00000000-0000-4000-8000-000000000000");
    let change = json!({"name": "x", "url": "https://x.example", "username": "x"});
    cx.check("get").status(&cx.get(&path).send().await?, 404);
    cx.check("update").status(&cx.api().patch(&path).json(change).send().await?, 404);
    cx.check("delete").status(&cx.delete(&path).send().await?, 404);
    Ok(())
}

async fn others_see_nothing(cx: Cx) -> Result {
    let id = make(&cx).await?;
    let (path, other) = (format!("{PATH}/{id}"), cx.second_account().await?);
    let list = other.get(PATH).send().await?;
    cx.check("list").on(&list).that(!list.text().contains(&id), "a list without it", list.summary());
    cx.check("get").status_in(&other.get(&path).send().await?, &[403, 404]);
    cx.check("delete").status_in(&other.delete(&path).send().await?, &[403, 404]);
    cx.check("still-there").status(&cx.get(&path).send().await?, 200);
    remove(&cx, &id).await
}

const PUSH: &str = "/docker-registry/registry-push-access";

async fn push_access_is_given(cx: Cx) -> Result {
    let access = cx.get(PUSH).send().await?;
    cx.check("status").status(&access, 200);
    for field in ["username", "secret", "registryId", "registryUrl", "project"] {
        let text = access.at(&format!("/{field}")).as_str().unwrap_or_default();
        cx.check(field).that(!text.is_empty(), "a text", text.len());
    }
    let url = access.string("/registryUrl")?;
    cx.check("bare-host").on(&access).that(!url.contains("://"), "a host without a scheme", &url);
    let end = chrono::DateTime::parse_from_rfc3339(&access.string("/expiresAt")?);
    let now = cx.now().await;
    let later = end.as_ref().is_ok_and(|end| *end > now);
    cx.check("ends-later").on(&access).that(later, "a time to come", access.string("/expiresAt")?);
    Ok(())
}

async fn push_access_needs_a_permission(cx: Cx) -> Result {
    let body = json!({"name": cx.name("key"), "permissions": ["read:volumes"]});
    let key = cx.post("/api-keys").json(body).send().await?.ok()?.string("/value")?;
    let denied = cx.api().with_key(&key).get(PUSH).send().await?;
    cx.check("denied").error(&denied, 403, "Access denied");
    Ok(())
}

const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";

/// A registry, and who one is there.
struct Pusher {
    client: Client,
    login: String,
    project: String,
}

impl Pusher {
    async fn of(api: &Client) -> Result<Pusher> {
        let access = api.get(PUSH).send().await?.ok()?;
        let host = access.string("/registryUrl")?;
        // Registries speak TLS, but for those of this machine.
        let local = api.base().starts_with("http://") && api.base().contains(&host);
        let url = format!("{}://{host}", if local { "http" } else { "https" });
        let login = format!("{}:{}", access.string("/username")?, access.string("/secret")?);
        Ok(Pusher { client: api.at(&url, None), login, project: access.string("/project")? })
    }

    fn ask(&self, method: Method, path: &str) -> Request {
        let login = format!("Basic {}", STANDARD.encode(&self.login));
        self.client.request(method, path).no_key().header("authorization", login)
    }

    async fn blob(&self, repository: &str, digest: &str, bytes: &[u8]) -> Result<Answer> {
        let begun = self.ask(Method::POST, &format!("/v2/{repository}/blobs/uploads/")).send().await?.ok()?;
        let place = begun.header("location").to_owned();
        let place = place.strip_prefix(self.client.base()).unwrap_or(&place);
        let mark = if place.contains('?') { '&' } else { '?' };
        let put = self.ask(Method::PUT, &format!("{place}{mark}digest={digest}"));
        put.body("application/octet-stream", bytes.to_vec()).send().await
    }
}

fn digest(bytes: &[u8]) -> String {
    let hex: String = Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect();
    format!("sha256:{hex}")
}

async fn what_is_pushed_is_there(cx: Cx) -> Result {
    let own = Pusher::of(cx.api()).await?;
    let ping = own.ask(Method::GET, "/v2/").send().await?;
    if ping.header("www-authenticate").starts_with("Bearer") {
        return Err(Stop::not_applicable("a registry that takes the credentials as they are"));
    }
    cx.check("welcome").status(&ping, 200);
    let repository = format!("{}/conformance-{}", own.project, uuid::Uuid::new_v4().simple());
    let config =
        json!({"os": "linux", "architecture": "amd64", "rootfs": {"type": "layers", "diff_ids": []}}).to_string();
    let config = config.as_bytes();
    let wrong = own.blob(&repository, &digest(b"other"), config).await?;
    cx.check("not-whole").status(&wrong, 400);
    let blob = own.blob(&repository, &digest(config), config).await?;
    cx.check("blob").status(&blob, 201);
    let image = json!({"schemaVersion": 2, "mediaType": MANIFEST, "layers": [], "config":
        {"mediaType": "application/vnd.oci.image.config.v1+json", "digest": digest(config), "size": config.len()}});
    let manifest = image.to_string();
    let tagged = format!("/v2/{repository}/manifests/1.0");
    let put = own.ask(Method::PUT, &tagged).body(MANIFEST, manifest.clone()).send().await?;
    cx.check("manifest").status(&put, 201);
    let name = digest(manifest.as_bytes());
    cx.check("digest").on(&put).eq(put.header("docker-content-digest"), name.as_str());
    for (check, path) in [("by-tag", tagged.clone()), ("by-digest", format!("/v2/{repository}/manifests/{name}"))] {
        let read = own.ask(Method::GET, &path).header("accept", MANIFEST).send().await?;
        cx.check(format!("{check}-status")).status(&read, 200);
        cx.check(check).on(&read).eq(read.text(), manifest.as_str());
    }
    let read = own.ask(Method::GET, &format!("/v2/{repository}/blobs/{}", digest(config))).send().await?;
    cx.check("content-status").status(&read, 200);
    cx.check("content").on(&read).eq(read.text().as_bytes(), config);
    let none = own.ask(Method::GET, &format!("/v2/{repository}/manifests/2.0")).send().await?;
    cx.check("unknown").status(&none, 404);
    let other = Pusher::of(&cx.second_account().await?).await?;
    let denied = other.ask(Method::GET, &tagged).header("accept", MANIFEST).send().await?;
    cx.check("others").status_in(&denied, &[401, 403, 404]);
    let stranger = Pusher { login: format!("{}x", own.login), ..own };
    cx.check("wrong-secret").status(&stranger.ask(Method::GET, &tagged).send().await?, 401);
    Ok(())
}
