//! A world from a file: snapshots, volumes and sandboxes with their labels, variables and files, and secrets, as JSON or
//! YAML. They are made in that order.
//!
//! ```yaml
//! snapshots:
//!   - {name: tools, dockerfile: "FROM debian:12\nRUN echo 1 >/v"}   # or image: NAME
//! volumes:
//!   - name: data
//!     files: {set/one.txt: "1\n"}
//! secrets:
//!   - {name: TOKEN, value: abc, description: of the API, hosts: [api.example.com]}
//! sandboxes:
//!   - name: web
//!     snapshot: tools            # left out: the default one
//!     labels: {team: a}
//!     env: {MODE: test}
//!     public: true
//!     volumes: [{name: data, mountPath: /home/daytona/data}]   # also subpath
//!     secrets: {API_TOKEN: TOKEN}  # variable: name of the secret
//!     autoStopInterval: 0        # also autoArchiveInterval, autoDeleteInterval, ttlMinutes, user
//!     files:                     # below its work directory (often /home/daytona) unless absolute; folders are made
//!       app/main.py: "print(1)\n"
//!       logo.png: {base64: iVBORw0=}
//!     run: ["pip --version"]     # must exit with 0
//!     state: stopped             # left out: started
//! ```

mod inside;

use std::{collections::BTreeMap, sync::Arc};

use base64::{Engine, prelude::BASE64_STANDARD};
use serde::Deserialize;
use serde_json::{Value, json};

use crate::{
    model::{
        Class, ControlPlane, Identity, MadeOf, ModelError, Mount, NewSandbox, NewSnapshot, REGION, State, StringMap,
        secrets::{self, SecretChange},
    },
    yaml,
};

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Seed {
    pub snapshots: Vec<SeedSnapshot>,
    pub volumes: Vec<SeedVolume>,
    pub secrets: Vec<SeedSecret>,
    pub sandboxes: Vec<SeedSandbox>,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct SeedSnapshot {
    pub name: String,
    #[serde(default)]
    pub image: Option<String>,
    #[serde(default)]
    pub dockerfile: Option<String>,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct SeedVolume {
    pub name: String,
    /// Relative to the volume.
    #[serde(default)]
    pub files: BTreeMap<String, Content>,
}

/// Without `Debug` of its value, which is in no log.
#[derive(Clone, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct SeedSecret {
    pub name: String,
    pub value: String,
    #[serde(default)]
    pub description: Option<String>,
    #[serde(default)]
    pub hosts: Vec<String>,
}

impl std::fmt::Debug for SeedSecret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SeedSecret").field("name", &self.name).finish_non_exhaustive()
    }
}

/// Where a sandbox has a volume.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct SeedMount {
    /// Of the volume.
    pub name: String,
    pub mount_path: String,
    #[serde(default)]
    pub subpath: Option<String>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct SeedSandbox {
    pub name: Option<String>,
    pub snapshot: Option<String>,
    pub user: Option<String>,
    pub labels: StringMap,
    pub env: StringMap,
    pub public: bool,
    pub auto_stop_interval: Option<i32>,
    pub auto_archive_interval: Option<i32>,
    pub auto_delete_interval: Option<i32>,
    pub ttl_minutes: Option<i32>,
    pub volumes: Vec<SeedMount>,
    pub secrets: BTreeMap<String, String>,
    pub files: BTreeMap<String, Content>,
    pub run: Vec<String>,
    pub state: Wanted,
}

impl Content {
    fn bytes(self) -> Result<Vec<u8>, String> {
        match self {
            Content::Text(text) => Ok(text.into_bytes()),
            Content::Bytes { base64 } => BASE64_STANDARD.decode(base64).map_err(|error| format!("base64: {error}")),
        }
    }
}

/// What is in a file.
#[derive(Clone, Debug, Deserialize)]
#[serde(untagged)]
pub enum Content {
    Text(String),
    Bytes { base64: String },
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Wanted {
    #[default]
    Started,
    Stopped,
}

/// Why a seed wasn't sown. What was made before is gone again.
#[derive(Debug, thiserror::Error)]
#[error("{what}: {reason}")]
pub struct SeedError {
    /// `sandboxes[1] (web)`
    pub what: String,
    pub reason: String,
}

impl Seed {
    /// Reads JSON or YAML (of which JSON is a part). The error says where it is wrong.
    pub fn parse(text: &str) -> Result<Seed, String> {
        yaml::read(text)
    }

    /// Makes everything in it, in order, in the world of `owner`, or nothing. Answers names and ids.
    pub async fn sow(self, cp: &Arc<ControlPlane>, owner: &Identity) -> Result<Value, SeedError> {
        let mut row = Row { cp: cp.clone(), owner: owner.clone(), made: Vec::new() };
        let sown = async move {
            match self.sow_into(&mut row).await {
                Ok(()) => Ok(row.answer()),
                Err(error) => Err((row.undo().await, error).1),
            }
        };
        // A client that leaves doesn't leave half of it.
        let gone = |error: tokio::task::JoinError| SeedError { what: "the seed".into(), reason: error.to_string() };
        tokio::spawn(sown).await.unwrap_or_else(|error| Err(gone(error)))
    }

    async fn sow_into(self, row: &mut Row) -> Result<(), SeedError> {
        for (n, snapshot) in self.snapshots.into_iter().enumerate() {
            let what = format!("snapshots[{n}] ({})", snapshot.name);
            snapshot.sow(row).await.map_err(|reason| SeedError { what, reason })?;
        }
        for (n, volume) in self.volumes.into_iter().enumerate() {
            let what = format!("volumes[{n}] ({})", volume.name);
            volume.sow(row).await.map_err(|reason| SeedError { what, reason })?;
        }
        for (n, secret) in self.secrets.into_iter().enumerate() {
            let what = format!("secrets[{n}] ({})", secret.name);
            secret.sow(row).await.map_err(|reason| SeedError { what, reason })?;
        }
        for (n, sandbox) in self.sandboxes.into_iter().enumerate() {
            let what = format!("sandboxes[{n}] ({})", sandbox.name.as_deref().unwrap_or("unnamed"));
            sandbox.sow(row).await.map_err(|reason| SeedError { what, reason })?;
        }
        Ok(())
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Sort {
    Snapshot,
    Volume,
    Secret,
    Sandbox,
}

/// What a seed has made so far, and where.
struct Row {
    cp: Arc<ControlPlane>,
    owner: Identity,
    /// With id and name.
    made: Vec<(Sort, String, String)>,
}

impl Row {
    fn note(&mut self, sort: Sort, id: &str, name: &str) {
        self.made.push((sort, id.to_owned(), name.to_owned()));
    }

    fn answer(&self) -> Value {
        let of = |sort: Sort| -> Vec<Value> {
            let all = self.made.iter().filter(|(is, ..)| *is == sort);
            all.map(|(_, id, name)| json!({"id": id, "name": name})).collect()
        };
        json!({
            "snapshots": of(Sort::Snapshot),
            "volumes": of(Sort::Volume),
            "secrets": of(Sort::Secret),
            "sandboxes": of(Sort::Sandbox),
        })
    }

    /// Newest first: sandboxes hold the others.
    async fn undo(self) {
        for (sort, id, name) in self.made.into_iter().rev() {
            let done = match sort {
                Sort::Snapshot => {
                    self.cp.forget_snapshot(&id).await;
                    Ok(())
                }
                Sort::Volume => self.cp.wipe_volume(&self.owner.organization_id, &id).await,
                Sort::Secret => self.cp.remove_secret(&self.owner.organization_id, &id).await,
                Sort::Sandbox => self.cp.clone().wipe(id).await,
            };
            if let Err(error) = done {
                tracing::warn!(name, reason = error.message, "what a failed seed made could not be removed");
            }
        }
    }
}

impl SeedSnapshot {
    async fn sow(self, row: &mut Row) -> Result<(), String> {
        let made_of = match (self.image, self.dockerfile) {
            (Some(image), None) => MadeOf::Image(image),
            (None, Some(dockerfile)) => MadeOf::Build { dockerfile, context_hashes: Vec::new() },
            _ => return Err("one of image and dockerfile is needed".into()),
        };
        let new = NewSnapshot {
            name: self.name,
            made_of,
            entrypoint: None,
            region: REGION.into(),
            cpu: None,
            memory: None,
            disk: None,
            class: Class::default(),
        };
        let made = row.cp.create_snapshot_whole(&row.owner, new).await.map_err(|error| error.message)?;
        row.note(Sort::Snapshot, &made.id, &made.name);
        made.error_reason.clone().map_or(Ok(()), Err)
    }
}

impl SeedVolume {
    async fn sow(self, row: &mut Row) -> Result<(), String> {
        let made = row.cp.create_volume(&row.owner, self.name).await.map_err(|error| error.message)?;
        row.note(Sort::Volume, &made.id, &made.name);
        for (path, content) in self.files {
            let bytes = content.bytes().map_err(|reason| format!("{path}: {reason}"))?;
            let written = row.cp.runtime().write_to_volume(&made.id, path.clone().into(), bytes).await;
            written.map_err(|error| format!("{path}: {error}"))?;
        }
        Ok(())
    }
}

impl SeedSecret {
    async fn sow(self, row: &mut Row) -> Result<(), String> {
        if !secrets::is_name(&self.name) {
            return Err("a name has letters, digits, _ and -, and begins with a letter or _".into());
        }
        if let Some(host) = self.hosts.iter().find(|host| !secrets::is_host(host)) {
            return Err(format!("{host} is no host name"));
        }
        let new = SecretChange {
            value: Some(self.value),
            description: self.description,
            hosts: Some(self.hosts.iter().map(|host| host.to_lowercase()).collect()),
        };
        let made = row.cp.add_secret(&row.owner.organization_id, self.name, new).await;
        let made = made.map_err(|error| error.message)?;
        row.note(Sort::Secret, &made.id, &made.name);
        Ok(())
    }
}

impl SeedMount {
    fn mount(self) -> Mount {
        Mount { volume_id: self.name, mount_path: self.mount_path, subpath: self.subpath }
    }
}

impl SeedSandbox {
    async fn sow(self, row: &mut Row) -> Result<(), String> {
        let new = NewSandbox {
            name: self.name,
            snapshot: self.snapshot,
            user: self.user,
            env: self.env,
            labels: self.labels,
            public: self.public,
            auto_stop_interval: self.auto_stop_interval,
            auto_archive_interval: self.auto_archive_interval,
            auto_delete_interval: self.auto_delete_interval,
            ttl_minutes: self.ttl_minutes,
            volumes: self.volumes.into_iter().map(SeedMount::mount).collect(),
            secrets: self.secrets.into_iter().collect(),
            ..NewSandbox::default()
        };
        let text = |error: ModelError| error.message;
        let cp = row.cp.clone();
        let record = cp.draft(&row.owner, new).map_err(text)?;
        // Where it fails it may be there, in state error.
        let drafted = (record.id.clone(), record.name.clone());
        let created = cp.create(record).await;
        let (id, name) = created.as_ref().map_or(drafted, |made| (made.id.clone(), made.name.clone()));
        row.note(Sort::Sandbox, &id, &name);
        created.map_err(text)?;
        let target = cp.toolbox_target(&id).and_then(|target| target.running);
        let machine = target.ok_or("it is not started, so nothing can be put into it")?;
        for (path, content) in self.files {
            let bytes = content.bytes().map_err(|reason| format!("{path}: {reason}"))?;
            inside::write(&machine, &path, bytes).await.map_err(|reason| format!("{path}: {reason}"))?;
        }
        for command in self.run {
            inside::run(&machine, &command).await.map_err(|reason| format!("{command}: {reason}"))?;
        }
        let sandbox = cp.find(&row.owner.organization_id, &id).map_err(text)?;
        if self.state == Wanted::Stopped && sandbox.state() == State::Started {
            cp.stop_whole(&sandbox).await.map_err(text)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn yaml_and_json_are_read_and_mistakes_are_named() {
        let yaml = "snapshots:\n  - {name: s, image: 'debian:12'}\nsandboxes:\n  - name: a\n    labels: {x: 'y'}\n    files:\n      a.txt: |\n        one\n      b: {base64: AAE=}\n    state: stopped\n";
        let seed = Seed::parse(yaml).expect("a seed");
        assert_eq!(
            (seed.snapshots[0].name.as_str(), seed.sandboxes[0].labels.get("x").map(String::as_str)),
            ("s", Some("y"))
        );
        assert!(matches!(&seed.sandboxes[0].files["a.txt"], Content::Text(text) if text == "one\n"));
        assert!(matches!(&seed.sandboxes[0].files["b"], Content::Bytes { base64 } if base64 == "AAE="));
        assert_eq!(seed.sandboxes[0].state, Wanted::Stopped);
        let json = r#"{"sandboxes": [{"name": "a", "autoStopInterval": 0}]}"#;
        assert_eq!(Seed::parse(json).expect("a seed").sandboxes[0].auto_stop_interval, Some(0));
        assert!(Seed::parse("sandbox: []").expect_err("refused").contains("sandbox"));
        assert!(Seed::parse("sandboxes: [{lables: {}}]").expect_err("refused").contains("lables"));
    }

    proptest! {
        #[test]
        fn any_text_is_read_or_refused(text in "[ -~\n]{0,200}") {
            drop(Seed::parse(&text));
        }
    }
}
