//! `COPY` and `ADD`: of the context, of other stages and images, of the network.

use std::{io, path::Path, time::SystemTime};

use parse_dockerfile::{Flag, Source as CopySource, UnescapedString};

use super::{
    archive,
    context::{Context, Source},
    fetch::{self, Fetched},
    instructions::{Builder, Stage, flag, only},
    lines::{Document, document, restored},
    machine::{Machine, Target},
    modes::Mode,
    run::absolute,
    words,
};

impl Builder<'_> {
    pub(super) async fn copy(
        &self,
        stage: &mut Stage,
        options: &[Flag<'_>],
        (sources, documents): (&[CopySource<'_>], &[Document]),
        dest: &UnescapedString<'_>,
        add: bool,
    ) -> Result<(), String> {
        only(options, if add { &["chown", "chmod", "link", "checksum"] } else { &["from", "chown", "chmod", "link"] })?;
        let dest = stage.word(dest)?;
        let path = absolute(&stage.config.work_dir, &dest);
        let owner = flag(options, "chown").map(|text| stage.text(text)).transpose()?;
        let mode = flag(options, "chmod").map(|text| stage.text(text)).transpose()?;
        mode.as_deref().map(str::parse::<Mode>).transpose()?;
        let is_dir = dest.ends_with('/') || dest == "." || dest.ends_with("/.") || sources.len() > 1;
        let plan = Plan { path, is_dir, owner, mode };
        if let Some(from) = flag(options, "from") {
            return self.copy_from(stage, from, sources, plan).await;
        }
        let mut parts = Parts { found: Vec::new(), fetched: Vec::new(), texts: Vec::new() };
        for source in sources {
            let path = plain(source)?;
            if let Some(text) = inline(stage, &path, documents)? {
                parts.texts.push(text);
                continue;
            }
            let name = stage.text(&path)?;
            if add && is_git(&name) {
                return Err(format!("ADD {name}: repositories can't be added; use RUN with git clone"));
            }
            if add && is_url(&name) {
                let checksum = flag(options, "checksum").map(|text| stage.text(text)).transpose()?;
                parts.fetched.push(self.fetch(&name, checksum.as_deref(), &plan).await?);
            } else {
                parts.found.extend(self.context.find(&name)?);
            }
        }
        self.copy_found(stage, parts, plan, add).await
    }

    /// A file of the network, before anything else is done: what it is names the layer.
    async fn fetch(&self, url: &str, checksum: Option<&str>, plan: &Plan) -> Result<Fetched, String> {
        let (build, parent) = (self.build, self.build.context.parent().unwrap_or(&self.build.context));
        let fetched = fetch::fetch(url, build.runtime.own_ports(), build.download, parent, &build.log).await?;
        fetch::check(&fetched, checksum)?;
        if plan.is_dir && fetched.name.is_empty() {
            return Err(format!("ADD {url}: there is no file name in it, and the target is a directory"));
        }
        Ok(fetched)
    }

    async fn copy_found(&self, stage: &mut Stage, parts: Parts, plan: Plan, add: bool) -> Result<(), String> {
        let Parts { found, fetched, texts } = parts;
        let digest = self.digest(&found)?;
        let files: Vec<String> = fetched.iter().map(|file| format!("{} {}", file.name, file.digest)).collect();
        let key = stage.next_key(&["COPY", &digest, &files.join("\0"), &format!("{texts:?} {plan:?} {add}")]);
        let layer = format!("b-{key}");
        if self.cached(stage, &layer, &key) {
            return Ok(());
        }
        let single_dir = found.len() == 1 && found[0].path.is_dir();
        let plan = Plan { is_dir: plan.is_dir || single_dir || found.len() > 1, ..plan };
        let machine = Machine::start(&self.build.runtime, &stage.root, Vec::new()).await?;
        let mut copied = Ok(());
        for source in &found {
            if copied.is_ok() {
                copied = self.put(&machine, source, &plan, add).await;
            }
        }
        for file in fetched {
            if copied.is_ok() {
                copied = put_fetched(&machine, file, &plan).await;
            }
        }
        for text in texts {
            if copied.is_ok() {
                copied = put_text(&machine, text, &plan).await;
            }
        }
        match copied {
            Ok(()) => self.keep(machine, stage, layer, key).await,
            Err(reason) => machine.end(None).await.and(Err(reason)),
        }
    }

    async fn put(&self, machine: &Machine, source: &Source, plan: &Plan, add: bool) -> Result<(), String> {
        let file = source.path.clone();
        if add && file.is_file() && is_archive(&file).await? {
            // What is in it comes with its own owners and modes.
            let target = Target { is_dir: true, mode: None, ..plan.target() };
            let unpressed = move || archive::open(&file)?.ok_or_else(|| io::Error::other("an archive no more"));
            return machine.put(&target, move |mut pipe| io::copy(&mut unpressed()?, &mut pipe).map(drop)).await;
        }
        let context = Context::open(&self.build.context).map_err(|error| error.to_string())?;
        let source = Source { path: file, name: source.name.clone() };
        let pack = move |pipe| {
            let mut out = tar::Builder::new(pipe);
            context.pack(&source, None, &mut out)?;
            out.into_inner().map(drop)
        };
        machine.put(&Target { owner: plan.owner.as_deref().or(Some("0:0")), ..plan.target() }, pack).await
    }

    /// `COPY --from=` a stage or an image.
    async fn copy_from(
        &self,
        stage: &mut Stage,
        from: &str,
        sources: &[CopySource<'_>],
        plan: Plan,
    ) -> Result<(), String> {
        let other = self.other(from).await?;
        let mut paths = Vec::new();
        for source in sources {
            let path = plain(source)?;
            if document(&path).is_some() {
                return Err("--from takes no here-document".into());
            }
            paths.push(absolute("/", &stage.text(&path)?));
        }
        let key = stage.next_key(&["COPY --from", &other.key, &paths.join("\0"), &format!("{plan:?}")]);
        let layer = format!("b-{key}");
        if self.cached(stage, &layer, &key) {
            return Ok(());
        }
        let source = Machine::start(&self.build.runtime, &other.root, Vec::new()).await?;
        let machine = Machine::start(&self.build.runtime, &stage.root, Vec::new()).await?;
        let copied = copy_between(&source, &machine, paths, plan).await;
        source.end(None).await?;
        match copied {
            Ok(()) => self.keep(machine, stage, layer, key).await,
            Err(reason) => machine.end(None).await.and(Err(reason)),
        }
    }
}

/// Where a `COPY` goes.
#[derive(Debug)]
struct Plan {
    path: String,
    is_dir: bool,
    owner: Option<String>,
    mode: Option<String>,
}

impl Plan {
    fn target(&self) -> Target<'_> {
        Target { path: &self.path, is_dir: self.is_dir, owner: self.owner.as_deref(), mode: self.mode.as_deref() }
    }
}

/// What there is to copy.
struct Parts {
    found: Vec<Source>,
    fetched: Vec<Fetched>,
    /// Files of the Dockerfile itself: their names and what is in them.
    texts: Vec<(String, String)>,
}

/// A source as it is written.
fn plain(source: &CopySource) -> Result<String, String> {
    match source {
        // The character at a line's end, if any, is the target's.
        CopySource::Path(path) => Ok(restored(&path.value, '\\')),
        _ => Err("this source is not supported".into()),
    }
}

/// The file that a source is the here-document of, if it is one: its name is the document's (BuildKit).
fn inline(stage: &Stage, source: &str, documents: &[Document]) -> Result<Option<(String, String)>, String> {
    let Some(begun) = document(source) else { return Ok(None) };
    let Some(document) = documents.iter().rev().find(|one| one.name == begun.name) else { return Ok(None) };
    let text = document.text();
    let text = if begun.expand { words::document(&text, &|name| stage.look_up(name))? } else { text };
    Ok(Some((document.name.clone(), text)))
}

/// Copies paths of one machine, which may be patterns, to another.
async fn copy_between(from: &Machine, to: &Machine, paths: Vec<String>, plan: Plan) -> Result<(), String> {
    let mut all = Vec::new();
    for path in paths {
        if path.contains(['*', '?', '[']) {
            all.extend(from.glob(&path).await?);
        } else {
            all.push(path);
        }
    }
    let plan = Plan { is_dir: plan.is_dir || all.len() > 1, ..plan };
    for path in &all {
        to.put_from(&plan.target(), from, path).await?;
    }
    Ok(())
}

async fn put_text(machine: &Machine, (name, text): (String, String), plan: &Plan) -> Result<(), String> {
    let new = New { name, mode: 0o644, size: text.len() as u64, modified: SystemTime::now() };
    put_file(machine, new, io::Cursor::new(text), plan).await
}

/// Readable by root alone, as container engines have it.
async fn put_fetched(machine: &Machine, fetched: Fetched, plan: &Plan) -> Result<(), String> {
    let file = fetched.file.reopen().map_err(|error| error.to_string())?;
    let size = file.metadata().map_err(|error| error.to_string())?.len();
    let name = if fetched.name.is_empty() { "file".to_owned() } else { fetched.name };
    let new = New { name, mode: 0o600, size, modified: fetched.modified };
    put_file(machine, new, file, plan).await
}

/// A file of no context.
struct New {
    name: String,
    mode: u32,
    size: u64,
    modified: SystemTime,
}

async fn put_file(
    machine: &Machine,
    new: New,
    content: impl io::Read + Send + 'static,
    plan: &Plan,
) -> Result<(), String> {
    let pack = move |pipe| {
        let mut header = tar::Header::new_gnu();
        header.set_mode(new.mode);
        header.set_uid(0);
        header.set_gid(0);
        header.set_size(new.size);
        header.set_mtime(new.modified.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_secs());
        let mut out = tar::Builder::new(pipe);
        out.append_data(&mut header, new.name, content)?;
        out.into_inner().map(drop)
    };
    machine.put(&Target { owner: plan.owner.as_deref().or(Some("0:0")), ..plan.target() }, pack).await
}

fn is_url(name: &str) -> bool {
    name.starts_with("http://") || name.starts_with("https://")
}

fn is_git(name: &str) -> bool {
    let bare = name.split('#').next().unwrap_or_default();
    name.starts_with("git@") || name.contains("://") && (!is_url(name) || bare.ends_with(".git"))
}

async fn is_archive(path: &Path) -> Result<bool, String> {
    let path = path.to_owned();
    let known = tokio::task::spawn_blocking(move || archive::open(&path).map(|archive| archive.is_some()));
    known.await.map_err(|error| error.to_string())?.map_err(|error| error.to_string())
}
