//! Entries as lines of JSON below `<data>/journal`: a file per world, `<organisation>.jsonl`, and the one before it,
//! `<organisation>.1.jsonl`. What belongs to nobody is in `nobody.jsonl`.

use std::{
    collections::HashMap,
    fs::{self, OpenOptions},
    io::{self, Write},
    os::unix::fs::{DirBuilderExt, OpenOptionsExt},
    path::PathBuf,
};

use super::{Kept, Scope, memory::NOBODY};

/// Bytes that wait to be written.
const PENDING: usize = 1 << 20;

pub struct Disk {
    directory: PathBuf,
    /// A file that has more bytes makes room for the next one.
    most: usize,
    pending: HashMap<String, String>,
    waiting: usize,
    made: bool,
    failed: bool,
}

impl Disk {
    pub fn new(directory: PathBuf, most: usize) -> Disk {
        Disk { directory, most, pending: HashMap::new(), waiting: 0, made: false, failed: false }
    }

    pub fn write(&mut self, kept: &Kept) {
        let lines = self.pending.entry(kept.world().to_owned()).or_default();
        lines.push_str(&kept.json);
        lines.push('\n');
        self.waiting += kept.json.len() + 1;
        if self.waiting > PENDING {
            self.flush();
        }
    }

    /// Writes what waits. A disk that is full loses lines, said once.
    pub fn flush(&mut self) {
        if self.waiting == 0 {
            return;
        }
        self.waiting = 0;
        for (world, lines) in std::mem::take(&mut self.pending) {
            match self.append(&world, &lines) {
                Ok(()) => self.failed = false,
                Err(error) if !std::mem::replace(&mut self.failed, true) => {
                    tracing::warn!(%error, directory = %self.directory.display(), "the journal can't be written");
                }
                Err(_) => {}
            }
        }
    }

    fn append(&mut self, world: &str, lines: &str) -> io::Result<()> {
        if !self.made {
            fs::DirBuilder::new().recursive(true).mode(0o700).create(&self.directory)?;
            self.made = true;
        }
        let [now, before] = self.files(world);
        let mut file = OpenOptions::new().append(true).create(true).mode(0o600).open(&now)?;
        file.write_all(lines.as_bytes())?;
        if file.metadata()?.len() > self.most as u64 {
            fs::rename(&now, before)?;
        }
        Ok(())
    }

    fn files(&self, world: &str) -> [PathBuf; 2] {
        let name = if world == NOBODY { "nobody" } else { world };
        [self.directory.join(format!("{name}.jsonl")), self.directory.join(format!("{name}.1.jsonl"))]
    }

    pub fn clear(&mut self, scope: &Scope) {
        let gone: Vec<PathBuf> = match scope {
            Scope::World(world) => {
                self.waiting -= self.pending.remove(world).map_or(0, |lines| lines.len());
                self.files(world).into()
            }
            Scope::All => {
                self.pending.clear();
                self.waiting = 0;
                let all = fs::read_dir(&self.directory).into_iter().flatten().flatten();
                all.map(|entry| entry.path()).collect()
            }
        };
        for path in gone {
            // Most worlds have only one, or none.
            _ = fs::remove_file(path);
        }
    }
}
