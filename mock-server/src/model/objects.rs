//! Objects of the object storage: build contexts that clients upload. Records are in the store, so listing is a walk over
//! memory and a replaced object is replaced at once; bytes are in files whose names are ours, whatever a key says.

use std::{
    io,
    ops::Bound,
    path::{Path, PathBuf},
    sync::Arc,
};

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

use super::{
    ControlPlane,
    error::ModelError,
    store::{Kind, Write},
    tokens,
};

/// An object as the store keeps it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Object {
    /// `<organisation>/<anything>`.
    pub key: String,
    /// Name of its file.
    pub file: String,
    /// Bytes.
    pub size: u64,
    /// Without quotes: MD5 in hex, of the parts' with their number if it came in parts.
    pub etag: String,
    pub modified: DateTime<Utc>,
    /// Checksums that the client sent and that were right: algorithm and Base64.
    #[serde(default)]
    pub checksums: Vec<(String, String)>,
    #[serde(flatten)]
    pub told: Told,
}

/// What the writer of an object tells its readers, word for word.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Told {
    pub content_type: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cache_control: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub content_disposition: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub content_encoding: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub content_language: Option<String>,
    /// As HTTP writes dates.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub expires: Option<String>,
    /// `x-amz-meta-*`.
    pub metadata: Vec<(String, String)>,
}

/// A file that is becoming an object. It goes with the value unless it became one.
#[derive(Debug)]
pub struct Blob {
    name: String,
    path: tempfile::TempPath,
}

impl Blob {
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// What a record calls its file.
    pub(super) fn name(&self) -> &str {
        &self.name
    }

    /// From here on it is an object's; if keeping fails the object has no bytes, which readers are told.
    pub(super) fn keep(self) {
        if let Err(error) = self.path.keep() {
            tracing::error!(%error, "an object's file could not be kept");
        }
    }
}

/// What is in a page of a listing.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Page {
    pub objects: Vec<Arc<Object>>,
    /// What lies between the prefix and the next delimiter, with both, once each.
    pub prefixes: Vec<String>,
    /// Where the next page starts, if there is one.
    pub next: Option<String>,
}

/// What to list.
#[derive(Clone, Copy, Debug)]
pub struct Listing<'a> {
    pub prefix: &'a str,
    /// Empty: nothing is rolled up.
    pub delimiter: &'a str,
    /// Only what comes after it.
    pub after: &'a str,
    pub most: usize,
}

impl Listing<'_> {
    /// The prefix that a key is rolled up to, if it is.
    fn rolled<'k>(&self, key: &'k str) -> Option<&'k str> {
        let rest = &key[self.prefix.len()..];
        let at = rest.find(self.delimiter).filter(|_| !self.delimiter.is_empty())?;
        Some(&key[..self.prefix.len() + at + self.delimiter.len()])
    }

    /// Takes from `objects` in order of their keys.
    fn page(&self, objects: &std::collections::BTreeMap<String, Arc<Object>>) -> Page {
        let mut page = Page::default();
        let mut last: Option<&str> = None;
        let start = if self.after >= self.prefix { Bound::Excluded(self.after) } else { Bound::Included(self.prefix) };
        let within = objects.range::<str, _>((start, Bound::Unbounded));
        for (key, object) in within.take_while(|(key, _)| key.starts_with(self.prefix)) {
            let rolled = self.rolled(key);
            // The page before ended with it, or this one has it already.
            if rolled.is_some_and(|prefix| prefix <= self.after || last == Some(prefix)) {
                continue;
            }
            if page.objects.len() + page.prefixes.len() >= self.most {
                page.next = last.map(str::to_owned);
                break;
            }
            last = Some(rolled.unwrap_or(key));
            match rolled {
                Some(prefix) => page.prefixes.push(prefix.to_owned()),
                None => page.objects.push(object.clone()),
            }
        }
        page
    }
}

fn owner(key: &str) -> &str {
    key.split('/').next().unwrap_or_default()
}

impl ControlPlane {
    pub fn object(&self, key: &str) -> Option<Arc<Object>> {
        self.world.read().objects.get(key).cloned()
    }

    /// The file of an object, for who reads it.
    pub fn object_path(&self, object: &Object) -> PathBuf {
        self.objects_dir().join(&object.file)
    }

    pub fn list_objects(&self, listing: &Listing<'_>) -> Page {
        listing.page(&self.world.read().objects)
    }

    fn objects_dir(&self) -> PathBuf {
        self.config().data_dir.join("objects")
    }

    /// An empty file to fill. Blocking, but short.
    pub fn new_blob(&self) -> io::Result<Blob> {
        let dir = self.objects_dir();
        std::fs::create_dir_all(&dir)?;
        let name = tokens::uuid();
        let path = dir.join(&name);
        std::fs::File::create_new(&path)?;
        Ok(Blob { name, path: tempfile::TempPath::try_from_path(path)? })
    }

    /// Makes a file an object, in the place of an older one of that key. `describe` gets the file's name. 409 if `fits`
    /// doesn't want what is replaced.
    pub async fn put_object(
        &self,
        blob: Blob,
        fits: impl FnOnce(Option<&Object>) -> bool,
        describe: impl FnOnce(String) -> Object,
    ) -> Result<Arc<Object>, ModelError> {
        let turn = self.store.turn().await;
        let object = Arc::new(describe(blob.name.clone()));
        let (count, old) = {
            let world = self.world.read();
            let own = format!("{}/", owner(&object.key));
            let own = world.objects.range(own.clone()..).take_while(|(key, _)| key.starts_with(&own));
            (own.count(), world.objects.get(&object.key).cloned())
        };
        if !fits(old.as_deref()) {
            return Err(ModelError::conflict("The object is another one by now"));
        }
        if old.is_none() && count >= self.config().limits.objects {
            return Err(ModelError::bad_request("The organization has too many objects"));
        }
        let write = Write::Put {
            kind: Kind::Object,
            key: object.key.clone(),
            organization: owner(&object.key).to_owned(),
            record: serde_json::to_string(&*object).expect("an object is JSON"),
        };
        let (world, added) = (self.world.clone(), object.clone());
        let apply = move || {
            blob.keep();
            world.write().objects.insert(added.key.clone(), added);
        };
        turn.commit(vec![write], apply).wait().await?;
        if let Some(old) = old {
            self.discard_object(&old);
        }
        Ok(object)
    }

    /// Removes an object; there may be none.
    pub async fn remove_object(&self, key: &str) -> Result<(), ModelError> {
        let turn = self.store.turn().await;
        let Some(object) = self.object(key) else { return Ok(()) };
        let (world, gone) = (self.world.clone(), key.to_owned());
        let write = Write::Delete { kind: Kind::Object, key: key.to_owned() };
        turn.commit(vec![write], move || drop(world.write().objects.remove(&gone))).wait().await?;
        self.discard_object(&object);
        Ok(())
    }

    /// Who reads it still can; what can't be removed is at the next start. While its world is saved it waits for that, but
    /// who asked doesn't.
    fn discard_object(&self, object: &Object) {
        let (kept, path) = (self.kept.of(owner(&object.key)), self.object_path(object));
        let remove = move || {
            if let Err(error) = std::fs::remove_file(path) {
                tracing::warn!(%error, "an object's file could not be removed");
            }
        };
        match kept.clone().try_read_owned() {
            Ok(_may) => remove(),
            Err(_) => drop(tokio::spawn(async move {
                let _may = kept.read().await;
                remove();
            })),
        }
    }

    /// Forgets the objects of an organisation.
    pub(super) async fn wipe_objects(&self, organization_id: &str) {
        let prefix = format!("{organization_id}/");
        let listing = Listing { prefix: &prefix, delimiter: "", after: "", most: usize::MAX };
        for object in self.list_objects(&listing).objects {
            if let Err(error) = self.remove_object(&object.key).await {
                tracing::warn!(%error, "an object could not be removed");
            }
        }
    }

    /// Removes files that no object names: what was being uploaded when the server was killed.
    pub(super) fn tidy_objects(&self) {
        let names = std::fs::read_dir(self.objects_dir()).into_iter().flatten().flatten();
        let world = self.world.read();
        let known: std::collections::HashSet<&str> =
            world.objects.values().map(|object| object.file.as_str()).collect();
        for entry in names.filter(|entry| !entry.file_name().to_str().is_some_and(|name| known.contains(name))) {
            _ = std::fs::remove_file(entry.path());
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, BTreeSet};

    use proptest::prelude::*;

    use super::*;

    fn objects(keys: &BTreeSet<String>) -> BTreeMap<String, Arc<Object>> {
        let object = |key: &String| Object {
            key: key.clone(),
            file: String::new(),
            size: 0,
            etag: String::new(),
            modified: DateTime::UNIX_EPOCH,
            checksums: Vec::new(),
            told: Told::default(),
        };
        keys.iter().map(|key| (key.clone(), Arc::new(object(key)))).collect()
    }

    #[test]
    fn records_of_older_servers_are_read() {
        let old = r#"{"key":"o/k","file":"f","size":1,"etag":"e","modified":"2026-01-01T00:00:00Z",
            "contentType":"text/plain","metadata":[["who","me"]]}"#;
        let object: Object = serde_json::from_str(old).expect("a record");
        let told = Told {
            content_type: Some("text/plain".into()),
            metadata: vec![("who".into(), "me".into())],
            ..Told::default()
        };
        assert_eq!((object.key.as_str(), &object.told), ("o/k", &told));
        let again: Object = serde_json::from_str(&serde_json::to_string(&object).expect("JSON")).expect("a record");
        assert_eq!(again, object);
    }

    proptest! {
        /// However pages are cut, everything comes once, in order.
        #[test]
        fn pages_add_up(
            keys in prop::collection::btree_set("[ab/]{1,6}", 0..30),
            prefix in "[ab/]{0,2}",
            delimiter in prop::sample::select(vec!["", "/", "ab"]),
            most in 1_usize..5,
        ) {
            let all = objects(&keys);
            let mut expected = BTreeSet::new();
            for key in keys.iter().filter(|key| key.starts_with(&prefix)) {
                let at = key[prefix.len()..].find(delimiter).filter(|_| !delimiter.is_empty());
                expected.insert(at.map_or(key.clone(), |at| key[..prefix.len() + at + delimiter.len()].to_owned()));
            }
            let (mut got, mut after) = (Vec::new(), String::new());
            loop {
                let page = Listing { prefix: &prefix, delimiter, after: &after, most }.page(&all);
                let mut names: Vec<String> = page.objects.iter().map(|object| object.key.clone()).collect();
                names.extend(page.prefixes.iter().cloned());
                names.sort();
                prop_assert!(names.len() <= most);
                got.extend(names);
                match page.next {
                    Some(next) => after = next,
                    None => break,
                }
            }
            prop_assert_eq!(got, expected.into_iter().collect::<Vec<_>>());
        }
    }
}
