//! The part of an image's configuration that sandboxes care about.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// What an image says about the programs in it (`config` of the OCI image specification).
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ImageConfig {
    pub env: BTreeMap<String, String>,
    /// Name or number, maybe with `:group`; empty is root.
    pub user: String,
    /// Absolute; `/` if the image doesn't say.
    pub work_dir: String,
    pub entrypoint: Vec<String>,
    pub cmd: Vec<String>,
    pub labels: BTreeMap<String, String>,
    /// The shell of `RUN` lines in their shell form; empty is `/bin/sh -c`.
    pub shell: Vec<String>,
    /// Instructions of `ONBUILD`, for whoever builds on it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub on_build: Vec<String>,
}

/// The file as it is in the registry.
#[derive(Deserialize)]
pub(super) struct ConfigFile {
    #[serde(default)]
    config: Option<Container>,
    rootfs: RootFs,
    #[serde(default)]
    pub os: String,
    #[serde(default)]
    pub architecture: String,
}

#[derive(Deserialize)]
struct RootFs {
    #[serde(default)]
    diff_ids: Option<Vec<String>>,
}

/// Go writes `null` for what is empty.
#[derive(Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
struct Container {
    env: Option<Vec<String>>,
    user: Option<String>,
    working_dir: Option<String>,
    entrypoint: Option<Vec<String>>,
    cmd: Option<Vec<String>>,
    labels: Option<BTreeMap<String, String>>,
    shell: Option<Vec<String>>,
    on_build: Option<Vec<String>>,
}

impl ConfigFile {
    /// The digests of the unpacked layers, lowest first.
    pub fn diff_ids(&self) -> &[String] {
        self.rootfs.diff_ids.as_deref().unwrap_or_default()
    }

    pub fn into_config(self) -> ImageConfig {
        let config = self.config.unwrap_or_default();
        let env = config.env.unwrap_or_default();
        let env = env.iter().filter_map(|pair| pair.split_once('='));
        ImageConfig {
            env: env.map(|(name, value)| (name.to_owned(), value.to_owned())).collect(),
            user: config.user.unwrap_or_default(),
            work_dir: config.working_dir.filter(|dir| dir.starts_with('/')).unwrap_or_else(|| "/".into()),
            entrypoint: config.entrypoint.unwrap_or_default(),
            cmd: config.cmd.unwrap_or_default(),
            labels: config.labels.unwrap_or_default(),
            shell: config.shell.unwrap_or_default(),
            on_build: config.on_build.unwrap_or_default(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nulls_are_empty() {
        let text = r#"{"os":"linux","architecture":"amd64","rootfs":{"type":"layers","diff_ids":null},
            "config":{"Env":["A=b=c","broken"],"User":null,"WorkingDir":"","Cmd":null,"Entrypoint":["x"]}}"#;
        let file: ConfigFile = serde_json::from_str(text).expect("a config");
        assert!(file.diff_ids().is_empty());
        let config = file.into_config();
        assert_eq!(config.env, BTreeMap::from([("A".into(), "b=c".into())]));
        assert_eq!((config.work_dir.as_str(), config.entrypoint.len(), config.cmd.len()), ("/", 1, 0));
    }
}
