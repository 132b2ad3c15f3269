//! `COPY` and `ADD`: of the context, of other stages and images, of the network.

use std::{fs, io, path::Path};

use parse_dockerfile::{Flag, Source as CopySource, UnescapedString};

use super::{
    context::{Context, Source},
    fetch::{self, Fetched},
    instructions::{Builder, Stage, flag, only},
    machine::{Machine, Target},
    run::absolute,
};

impl Builder<'_> {
    pub(super) async fn copy(
        &self,
        stage: &mut Stage,
        options: &[Flag<'_>],
        sources: &[CopySource<'_>],
        dest: &UnescapedString<'_>,
        add: bool,
    ) -> Result<(), String> {
        only(options, if add { &["chown", "chmod", "link", "checksum"] } else { &["from", "chown", "chmod", "link"] })?;
        let dest = stage.word(dest)?;
        let path = absolute(&stage.config.work_dir, &dest);
        let owner = flag(options, "chown").map(|text| stage.text(text)).transpose()?;
        let mode = flag(options, "chmod").map(|text| stage.text(text)).transpose()?;
        let is_dir = dest.ends_with('/') || dest == "." || sources.len() > 1;
        let plan = Plan { path, is_dir, owner, mode };
        if let Some(from) = flag(options, "from") {
            return self.copy_from(stage, from, sources, plan).await;
        }
        let (mut found, mut fetched, mut documents) = (Vec::new(), Vec::new(), Vec::new());
        for source in sources {
            match source {
                CopySource::Path(path) => {
                    let name = stage.word(path)?;
                    if add && is_git(&name) {
                        return Err(format!("ADD {name}: repositories can't be added; use RUN with git clone"));
                    }
                    if add && is_url(&name) {
                        let checksum = flag(options, "checksum").map(|text| stage.text(text)).transpose()?;
                        fetched.push(self.fetch(&name, checksum.as_deref(), &plan).await?);
                    } else {
                        found.extend(self.context.find(&name)?);
                    }
                }
                CopySource::HereDoc(document) => {
                    let value = document.value.to_string();
                    documents.push(if document.expand { stage.text(&value)? } else { value });
                }
                _ => return Err("this source is not supported".into()),
            }
        }
        self.copy_found(stage, Parts { found, fetched, documents }, plan, add).await
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
        let Parts { found, fetched, documents } = parts;
        let digest = self.digest(&found)?;
        let files: Vec<String> = fetched.iter().map(|file| format!("{} {}", file.name, file.digest)).collect();
        let texts = documents.join("\0");
        let key = stage.next_key(&["COPY", &digest, &files.join("\0"), &texts, &format!("{plan:?} {add}")]);
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
        for text in documents {
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
        if add && file.is_file() && is_archive(&source.name) {
            // What is in it comes with its own owners.
            let target = Target { is_dir: true, ..plan.target() };
            return machine
                .put(&target, move |mut pipe| io::copy(&mut open_archive(&file)?, &mut pipe).map(drop))
                .await;
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
            let CopySource::Path(path) = source else { return Err("--from takes no here-document".into()) };
            paths.push(absolute("/", &stage.word(path)?));
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
    documents: Vec<String>,
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

async fn put_text(machine: &Machine, text: String, plan: &Plan) -> Result<(), String> {
    put_file(machine, ("heredoc".to_owned(), 0o644, text.len() as u64), io::Cursor::new(text), plan).await
}

/// Readable by root alone, as container engines have it.
async fn put_fetched(machine: &Machine, fetched: Fetched, plan: &Plan) -> Result<(), String> {
    let file = fetched.file.reopen().map_err(|error| error.to_string())?;
    let size = file.metadata().map_err(|error| error.to_string())?.len();
    let name = if fetched.name.is_empty() { "file".to_owned() } else { fetched.name };
    put_file(machine, (name, 0o600, size), file, plan).await
}

async fn put_file(
    machine: &Machine,
    (name, mode, size): (String, u32, u64),
    content: impl io::Read + Send + 'static,
    plan: &Plan,
) -> Result<(), String> {
    let pack = move |pipe| {
        let mut header = tar::Header::new_gnu();
        header.set_mode(mode);
        header.set_uid(0);
        header.set_gid(0);
        header.set_size(size);
        let mut out = tar::Builder::new(pipe);
        out.append_data(&mut header, name, content)?;
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

fn is_archive(name: &str) -> bool {
    [".tar", ".tar.gz", ".tgz", ".tar.zst"].iter().any(|end| name.ends_with(end))
}

fn open_archive(path: &Path) -> io::Result<Box<dyn io::Read>> {
    let file = io::BufReader::new(fs::File::open(path)?);
    let name = path.to_string_lossy();
    Ok(match () {
        () if name.ends_with("gz") => Box::new(flate2::bufread::MultiGzDecoder::new(file)),
        () if name.ends_with("zst") => Box::new(zstd::Decoder::with_buffer(file)?),
        () => Box::new(file),
    })
}
