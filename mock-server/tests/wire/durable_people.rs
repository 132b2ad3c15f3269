//! SIGKILL at random moments while people are invited, join, get roles and lose them, and while network settings change.

use rand::RngExt;
use serde_json::{Value, json};
use tokio::sync::mpsc;

use crate::{
    api::Api,
    durability::{Witness, asked, killed_after},
    store::serve,
};

/// People who may be invited, for each worker and attempt.
const GUESTS: usize = 3;

/// Somebody with a key.
struct Guest {
    api: Api,
    id: String,
    email: String,
}

async fn guest(api: &Api) -> Guest {
    let (status, minted) = api.control("POST", "/keys", Value::Null).await;
    assert_eq!(status, 201, "{minted}");
    let text = |name: &str| minted[name].as_str().expect("text").to_owned();
    Guest { api: api.with_key(&text("apiKey")), id: text("userId"), email: text("email") }
}

/// Who makes an organisation what it is.
struct Host {
    api: Api,
    /// `/organizations/<id>`
    path: String,
    guests: Vec<Guest>,
    witness: Witness,
    told: mpsc::UnboundedSender<()>,
}

impl Host {
    async fn new(api: &Api, told: mpsc::UnboundedSender<()>) -> Host {
        let api = api.with_key(&api.key);
        let (status, made) = api.post("/organizations", json!({"name": "Acme", "defaultRegionId": "us"})).await;
        assert_eq!(status, 201, "{made}");
        let mut guests = Vec::new();
        for _ in 0..GUESTS {
            guests.push(guest(&api).await);
        }
        let path = format!("/organizations/{}", made["id"].as_str().expect("an id"));
        Host { api, path, guests, witness: Witness::default(), told }
    }

    /// One request that makes facts true, all of them or none; what it answers. None once the server is gone.
    async fn take(
        &mut self,
        facts: &[(&str, String, Value)],
        who: Option<usize>,
        how: (&str, String, Value),
    ) -> Option<Value> {
        let api = who.map_or(&self.api, |n| &self.guests[n].api);
        let (mut answer, (method, path, body)) = (None, how);
        let request = async {
            answer = asked(api, method, &path, body).await;
            answer.as_ref().map(|_| true)
        };
        let facts: Vec<_> = facts.iter().map(|(kind, name, value)| (*kind, name.as_str(), value.clone())).collect();
        let alive = self.witness.tell(&facts, request).await && self.told.send(()).is_ok();
        answer.filter(|_| alive)
    }

    fn fact(&self, kind: &'static str, name: &str, value: Value) -> (&'static str, String, Value) {
        (kind, format!("{} {name}", self.path), value)
    }

    /// Until the server dies.
    async fn work(mut self) -> Witness {
        let mut round = 0;
        while self.round(round).await.is_some() {
            round += 1;
        }
        self.witness
    }

    async fn round(&mut self, round: usize) -> Option<()> {
        let (path, n) = (self.path.clone(), round % GUESTS);
        let (user, email) = (self.guests[n].id.clone(), self.guests[n].email.clone());
        let name = format!("role-{round}");
        let role = |permissions: &[&str]| json!({"name": name, "description": "d", "permissions": permissions});
        let less = role(&["write:sandboxes"]);
        let fact = self.fact("role", &name, less["permissions"].clone());
        let made = self.take(&[fact], None, ("POST", format!("{path}/roles"), less)).await?;
        let id = made["id"].as_str().expect("an id").to_owned();
        let more = role(&["write:sandboxes", "delete:sandboxes"]);
        let fact = self.fact("role", &name, more["permissions"].clone());
        self.take(&[fact], None, ("PUT", format!("{path}/roles/{id}"), more)).await?;

        let access = |role: &str, ids: &[&str]| json!({"email": email, "role": role, "assignedRoleIds": ids});
        let invited = self.fact("invitation", &email, json!("member"));
        let how = ("POST", format!("{path}/invitations"), access("member", &[&id]));
        let invitation = self.take(&[invited], None, how).await?["id"].as_str().expect("an id").to_owned();
        let settled = self.fact("invitation", &email, Value::Null);
        if round % 2 == 1 {
            let how = ("PUT", format!("{path}/invitations/{invitation}"), access("owner", &[]));
            let fact = self.fact("invitation", &email, json!("owner"));
            self.take(&[fact], None, how).await?;
            let how = ("POST", format!("{path}/invitations/{invitation}/cancel"), Value::Null);
            self.take(&[settled], None, how).await?;
        } else {
            let joined = self.fact("member", &user, json!([id]));
            let how = ("POST", format!("/organizations/invitations/{invitation}/accept"), Value::Null);
            self.take(&[settled, joined], Some(n), how).await?;
            let access = json!({"role": "member", "assignedRoleIds": []});
            let changed = self.fact("member", &user, json!([]));
            self.take(&[changed], None, ("POST", format!("{path}/users/{user}/access"), access)).await?;
            let gone = self.fact("member", &user, Value::Null);
            self.take(&[gone], None, ("DELETE", format!("{path}/users/{user}"), Value::Null)).await?;
        }
        // Few stay: an organisation may have a hundred.
        if round % 20 != 19 {
            let gone = self.fact("role", &name, Value::Null);
            self.take(&[gone], None, ("DELETE", format!("{path}/roles/{id}"), Value::Null)).await?;
        }
        Some(())
    }
}

const NETWORK: [&str; 3] = ["networkBlockAll", "networkAllowList", "domainAllowList"];

/// Changes what a sandbox may reach, until the server dies.
async fn net(api: Api, name: String, told: mpsc::UnboundedSender<()>) -> Witness {
    let mut witness = Witness::default();
    let mut now = json!({"networkBlockAll": false, "networkAllowList": null, "domainAllowList": null});
    for round in 0.. {
        let list = format!("10.{}.0.0/16", round % 256);
        let (body, change) = match round % 3 {
            0 => (json!({"networkAllowList": list}), json!({"networkBlockAll": false, "networkAllowList": list})),
            1 => (json!({"networkBlockAll": true}), json!({"networkBlockAll": true, "networkAllowList": null})),
            _ => {
                let domains = format!("{round}.example.com");
                (json!({"domainAllowList": domains}), json!({"networkBlockAll": false, "domainAllowList": domains}))
            }
        };
        now.as_object_mut().expect("an object").extend(change.as_object().cloned().expect("an object"));
        let path = format!("/sandbox/{name}/network-settings");
        let change = async { asked(&api, "POST", &path, body).await.map(|_| true) };
        if !witness.tell(&[("network", &name, now.clone())], change).await || told.send(()).is_err() {
            break;
        }
    }
    witness
}

async fn look(api: &Api, fact: &str) -> Value {
    let words: Vec<&str> = fact.split(' ').collect();
    if let ["network", name] = words[..] {
        let (_, sandbox) = api.get(&format!("/sandbox/{name}")).await;
        return NETWORK.iter().map(|field| ((*field).to_owned(), sandbox[field].clone())).collect();
    }
    let [kind, path, name] = words[..] else { panic!("{fact}") };
    let (list, field, seen) = match kind {
        "role" => ("roles", "name", "permissions"),
        "invitation" => ("invitations", "email", "role"),
        _ => ("users", "userId", "assignedRoles"),
    };
    let (_, all) = api.get(&format!("{path}/{list}")).await;
    let found = all.as_array().into_iter().flatten().find(|one| one[field] == name);
    let seen = found.map_or(Value::Null, |one| one[seen].clone());
    match (kind, seen) {
        ("member", Value::Array(roles)) => roles.iter().map(|role| role["id"].clone()).collect(),
        (_, seen) => seen,
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sigkill_loses_nobody_and_no_setting() {
    let dir = tempfile::tempdir().expect("temp dir");
    for attempt in 0..3 {
        let after = rand::rng().random_range(1..100);
        let serving = serve(dir.path()).await;
        let (told, mut acknowledgements) = mpsc::unbounded_channel();
        let mut workers = Vec::new();
        for n in 0..2 {
            let name = format!("n{attempt}{n}");
            serving.api.named(&name).await;
            workers.push(tokio::spawn(net(serving.api.with_key(&serving.api.key), name, told.clone())));
            workers.push(tokio::spawn(Host::new(&serving.api, told.clone()).await.work()));
        }
        drop(told);
        let witnesses = killed_after(after, serving, &mut acknowledgements, workers).await;
        let again = serve(dir.path()).await;
        for witness in witnesses {
            witness.compare(async |fact| look(&again.api, fact).await, after).await;
        }
        again.api.control("POST", "/reset", Value::Null).await;
        again.kill();
    }
}
