//! Instruction by instruction.

use std::collections::BTreeMap;

use parse_dockerfile::{ArgInstruction, Dockerfile, Flag, Instruction, JsonOrStringArray, Spanned, UnescapedString};
use sha2::{Digest, Sha256};

use super::{
    Build,
    context::{Context, Source},
    dockerfile::{argv, needed, run_argv},
    lines::{Line, Prepared, prepare},
    machine::{Machine, Target},
    run::absolute,
    words,
};
use crate::{images::ImageConfig, runtime::Root};

/// Instructions of one Dockerfile.
const MAX_STEPS: usize = 1_000;

/// What Docker calls this machine.
const ARCH: &str = if cfg!(target_arch = "aarch64") { "arm64" } else { "amd64" };

/// Lines with which the SDKs' `Image.debianSlim` begins. They need the network, and what they bring is a matter of
/// convenience: over a stand-in for an image they may fail.
pub const OPTIONAL: [&str; 3] =
    ["apt-get update", "apt-get install -y gcc gfortran build-essential", "pip install --upgrade pip"];

/// A stage as far as it is built.
#[derive(Clone)]
pub struct Stage {
    pub root: Root,
    pub config: ImageConfig,
    /// Values of `ARG`s.
    pub args: BTreeMap<String, String>,
    pub substitute: bool,
    /// Whether `CMD` is this stage's own.
    has_cmd: bool,
    /// What the next layer's name depends on.
    pub key: String,
}

pub async fn build(build: &Build, text: &str) -> Result<Root, String> {
    let wrong = |reason: &dyn std::fmt::Display| format!("the Dockerfile: {reason}");
    let prepared = prepare(text).map_err(|reason| wrong(&reason))?;
    let file = parse(&prepared).map_err(|reason| wrong(&reason))?;
    let mut global = platform();
    for arg in file.global_args() {
        declare(arg, &mut global, &BTreeMap::new(), &BTreeMap::new())?;
    }
    let needed = needed(&file, &|name| global.get(name).cloned());
    let context = Context::open(&build.context).map_err(|error| format!("the build context: {error}"))?;
    let (first, escape) = (file.global_args().len(), prepared.escape);
    let total = file.instructions.len() - first;
    let mut builder = Builder { build, context, escape, global, stages: Vec::new(), step: 0, total };
    let mut lines = prepared.lines[first..].iter();
    for (n, stage) in file.stages().enumerate() {
        let lines: Vec<&Line> = lines.by_ref().take(1 + stage.instructions.len()).collect();
        if !needed[n] {
            builder.stages.push((None, None));
            continue;
        }
        let name = stage.from.as_.as_ref().map(|(_, name)| name.value.to_lowercase());
        builder.announce(&lines[0].written);
        let mut current = builder.from(&stage.from.image, &stage.from.options).await?;
        builder.triggers(&mut current).await?;
        for (instruction, line) in stage.instructions.iter().zip(&lines[1..]) {
            builder.announce(&line.written);
            builder.apply(&mut current, instruction, line).await?;
        }
        builder.stages.push((name, Some(current)));
    }
    let last = builder.stages.pop().and_then(|(_, stage)| stage);
    let last = last.ok_or("the Dockerfile has no FROM")?;
    Ok(Root { config: Some(last.config), ..last.root })
}

/// The instructions, one for each line.
fn parse(prepared: &Prepared) -> Result<Dockerfile<'_>, String> {
    let file = parse_dockerfile::parse(&prepared.text).map_err(|error| error.to_string())?;
    if file.instructions.len() > MAX_STEPS {
        return Err(format!("more than {MAX_STEPS} instructions"));
    }
    if file.instructions.len() != prepared.lines.len() {
        return Err("a line is not one instruction".into());
    }
    Ok(file)
}

pub struct Builder<'a> {
    pub build: &'a Build,
    pub context: Context,
    escape: char,
    global: BTreeMap<String, String>,
    /// By their order: name, and what was built, if it was needed.
    stages: Vec<(Option<String>, Option<Stage>)>,
    step: usize,
    total: usize,
}

/// What Docker sets for every build (Dockerfile reference, "Automatic platform ARGs in the global scope").
fn platform() -> BTreeMap<String, String> {
    let whole = format!("linux/{ARCH}");
    let of = |name: &str| {
        [("PLATFORM", whole.as_str()), ("OS", "linux"), ("ARCH", ARCH), ("VARIANT", "")]
            .map(|(part, value)| (format!("{name}{part}"), value.to_owned()))
    };
    of("TARGET").into_iter().chain(of("BUILD")).collect()
}

pub fn flag<'a>(options: &'a [Flag], name: &str) -> Option<&'a str> {
    let found = options.iter().find(|option| option.name.value == name)?;
    Some(found.value.as_ref().map_or("", |value| &value.value))
}

/// Refuses options that would change what is built.
pub fn only(options: &[Flag], known: &[&str]) -> Result<(), String> {
    match options.iter().find(|option| !known.contains(&&*option.name.value)) {
        Some(other) => Err(format!("--{} is not supported", other.name.value)),
        None => Ok(()),
    }
}

/// `ARG name[=default] …`
fn declare(
    arg: &ArgInstruction,
    args: &mut BTreeMap<String, String>,
    env: &BTreeMap<String, String>,
    global: &BTreeMap<String, String>,
) -> Result<(), String> {
    for text in words::split(&arg.arguments.value) {
        let (name, default) = text.split_once('=').map_or((text.as_str(), None), |(name, value)| (name, Some(value)));
        let known = args.clone();
        let look_up = |name: &str| env.get(name).or_else(|| known.get(name)).cloned();
        let value = match (default, global.get(name)) {
            (Some(default), _) => Some(words::word(default, &look_up)?),
            (None, given) => given.cloned(),
        };
        // Without a value, what a stage below said still holds (BuildKit).
        if let Some(value) = value {
            args.insert(name.to_owned(), value);
        }
    }
    Ok(())
}

/// `ONBUILD instruction`: kept for whoever builds on this.
fn leave(stage: &mut Stage, instruction: &Instruction, line: &Line) -> Result<(), String> {
    if matches!(instruction, Instruction::From(_) | Instruction::Maintainer(_) | Instruction::Onbuild(_)) {
        return Err("this instruction can't be a build trigger".into());
    }
    let whole = line.whole();
    let (_, trigger) = whole.split_at_checked("ONBUILD".len()).ok_or("no instruction")?;
    stage.config.on_build.push(trigger.trim().to_owned());
    Ok(())
}

impl Stage {
    pub fn look_up(&self, name: &str) -> Option<String> {
        self.config.env.get(name).or_else(|| self.args.get(name)).cloned()
    }

    /// The same for what isn't parsed yet.
    pub fn text(&self, text: &str) -> Result<String, String> {
        words::word(text, &|name| self.look_up(name))
    }

    pub fn word(&self, text: &UnescapedString) -> Result<String, String> {
        words::word(&text.value, &|name| self.look_up(name))
    }

    fn shell(&self) -> Vec<String> {
        if self.config.shell.is_empty() { vec!["/bin/sh".into(), "-c".into()] } else { self.config.shell.clone() }
    }

    /// The name of the layer that this makes of the stage so far.
    pub fn next_key(&self, parts: &[&str]) -> String {
        let mut hash = Sha256::new();
        // Another number: what earlier versions made isn't used any more.
        hash.update("2");
        let config = serde_json::to_string(&(&self.config, &self.args)).expect("plain data");
        for part in [self.key.as_str(), &config].iter().chain(parts) {
            hash.update((part.len() as u64).to_le_bytes());
            hash.update(part);
        }
        hash.finalize().iter().take(20).map(|byte| format!("{byte:02x}")).collect()
    }
}

impl Builder<'_> {
    fn announce(&mut self, text: &str) {
        self.step += 1;
        self.build.log.line(&format!("Step {}/{} : {}", self.step, self.total, text.trim_end()));
    }

    pub fn stage(&self, name: &str) -> Option<&Stage> {
        let wanted = name.to_lowercase();
        let by_name = self.stages.iter().rev().find(|(own, _)| own.as_deref() == Some(&wanted));
        let by_number = || self.stages.get(name.parse::<usize>().ok()?);
        by_name.or_else(by_number)?.1.as_ref()
    }

    async fn from(&self, image: &UnescapedString<'_>, options: &[Flag<'_>]) -> Result<Stage, String> {
        only(options, &["platform"])?;
        let global = |name: &str| self.global.get(name).cloned();
        let name = words::word(&image.value, &global)?;
        if let Some(stage) = self.stage(&name) {
            return Ok(Stage { has_cmd: false, ..stage.clone() });
        }
        let platform = words::word(flag(options, "platform").unwrap_or_default(), &global)?;
        let own = ["linux", ARCH, if ARCH == "amd64" { "x86_64" } else { "aarch64" }];
        if !platform.split('/').take(2).all(|part| part.is_empty() || own.contains(&part)) {
            let line = format!("warning: --platform={platform}: this machine builds for linux/{ARCH}");
            self.build.log.line(&line);
        }
        if name == "scratch" {
            return self.scratch().await;
        }
        self.image(&name).await
    }

    /// What runs in a sandbox of it has to be copied there, a shell first of all.
    async fn scratch(&self) -> Result<Stage, String> {
        let runtime = &self.build.runtime;
        let image = runtime.image_store().scratch().map_err(|error| error.to_string())?;
        runtime.unpack(&image).await.map_err(|error| error.to_string())?;
        let (key, config) = (image.digest.clone(), image.config.clone());
        let root = Root { image: Some(image), config: Some(config.clone()), ..Root::default() };
        Ok(Stage { root, config, args: BTreeMap::new(), substitute: false, has_cmd: false, key })
    }

    pub async fn image(&self, name: &str) -> Result<Stage, String> {
        let base = (self.build.bases)(name.to_owned()).await?;
        let config = base.root.config.clone().unwrap_or_default();
        let digest = base.root.image.as_ref().map(|image| image.digest.clone());
        let key = digest.unwrap_or_else(|| format!("base {}", self.build.runtime.base_key()));
        let substitute = base.substitute;
        Ok(Stage { root: base.root, config, args: BTreeMap::new(), substitute, has_cmd: false, key })
    }

    /// What the base's `ONBUILD` lines left, as if it stood behind `FROM`; once, as they are not the new image's.
    async fn triggers(&mut self, stage: &mut Stage) -> Result<(), String> {
        let triggers = std::mem::take(&mut stage.config.on_build);
        if triggers.is_empty() {
            return Ok(());
        }
        let wrong = |reason: &dyn std::fmt::Display| format!("ONBUILD of the base: {reason}");
        let prepared = prepare(&format!("FROM scratch\n{}\n", triggers.join("\n"))).map_err(|reason| wrong(&reason))?;
        let file = parse(&prepared).map_err(|reason| wrong(&reason))?;
        for (instruction, line) in file.instructions.iter().zip(&prepared.lines).skip(1) {
            self.build.log.line(&format!("Build trigger of the base : {}", line.written));
            self.apply(stage, instruction, line).await?;
        }
        Ok(())
    }

    /// Does what an instruction says, which stands in `line`.
    async fn apply(&mut self, stage: &mut Stage, instruction: &Instruction<'_>, line: &Line) -> Result<(), String> {
        let done = match instruction {
            Instruction::Onbuild(trigger) => leave(stage, &trigger.instruction, line),
            other => self.act(stage, other, line).await,
        };
        done.map_err(|reason| format!("{}: {reason}", line.written.lines().next().unwrap_or_default()))
    }

    async fn act(&mut self, stage: &mut Stage, instruction: &Instruction<'_>, line: &Line) -> Result<(), String> {
        match instruction {
            Instruction::Run(run) => {
                let argv = run_argv(run, &line.documents, &stage.shell(), self.escape);
                self.run(stage, argv, &run.options).await
            }
            Instruction::Copy(copy) => {
                let what = (copy.src.as_slice(), line.documents.as_slice());
                self.copy(stage, &copy.options, what, &copy.dest, false).await
            }
            Instruction::Add(add) => {
                let what = (add.src.as_slice(), line.documents.as_slice());
                self.copy(stage, &add.options, what, &add.dest, true).await
            }
            Instruction::Workdir(dir) => {
                let path = absolute(&stage.config.work_dir, &stage.word(&dir.arguments)?);
                stage.config.work_dir = path.clone();
                // Of the user, if there is none yet (BuildKit).
                let owner = Some(stage.config.user.clone()).filter(|user| !user.is_empty());
                self.make_dir(stage, &path, owner).await
            }
            Instruction::Volume(volume) => {
                self.build.log.line("warning: VOLUME makes a directory, no volume, in a sandbox");
                let (JsonOrStringArray::String(paths) | JsonOrStringArray::Json(Spanned { value: paths, .. })) =
                    &volume.arguments;
                for path in paths {
                    let path = absolute("/", &stage.word(path)?);
                    self.make_dir(stage, &path, None).await?;
                }
                Ok(())
            }
            other => self.configure(stage, other),
        }
    }

    /// What only changes how the image's programs run.
    fn configure(&self, stage: &mut Stage, instruction: &Instruction) -> Result<(), String> {
        match instruction {
            Instruction::Env(env) => {
                let pairs = words::pairs(&env.arguments.value, &|name| stage.look_up(name))?;
                stage.config.env.extend(pairs);
            }
            Instruction::Label(label) => {
                let pairs = words::pairs(&label.arguments.value, &|name| stage.look_up(name))?;
                stage.config.labels.extend(pairs);
            }
            Instruction::Arg(arg) => {
                declare(arg, &mut stage.args, &stage.config.env, &self.global)?;
            }
            Instruction::User(user) => stage.config.user = stage.word(&user.arguments)?,
            Instruction::Shell(shell) => {
                stage.config.shell = shell.arguments.iter().map(|word| word.value.to_string()).collect();
            }
            Instruction::Entrypoint(entrypoint) => {
                stage.config.entrypoint = argv(&entrypoint.arguments, &stage.shell(), self.escape);
                // Only what was inherited goes.
                if !stage.has_cmd {
                    stage.config.cmd.clear();
                }
            }
            Instruction::Cmd(cmd) => {
                stage.config.cmd = argv(&cmd.arguments, &stage.shell(), self.escape);
                stage.has_cmd = true;
            }
            // Nothing in a sandbox depends on these.
            Instruction::Expose(_) | Instruction::Maintainer(_) | Instruction::Stopsignal(_) => {}
            Instruction::Healthcheck(_) => self.build.log.line("warning: HEALTHCHECK has no effect in a sandbox"),
            Instruction::From(_) => return Err("FROM in the middle of a stage".into()),
            _ => return Err("this instruction is not supported".into()),
        }
        Ok(())
    }

    /// A stage that was built, else an image.
    pub async fn other(&self, name: &str) -> Result<Stage, String> {
        match self.stage(name) {
            Some(other) => Ok(other.clone()),
            None => self.image(name).await,
        }
    }

    pub fn digest(&self, sources: &[Source]) -> Result<String, String> {
        let mut hash = Sha256::new();
        for source in sources {
            self.context.digest(source, &mut hash).map_err(|error| format!("{}: {error}", source.name))?;
        }
        Ok(hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect())
    }

    pub fn cached(&self, stage: &mut Stage, layer: &str, key: &str) -> bool {
        let cached = self.build.runtime.has_own_layer(layer);
        if cached {
            self.build.log.line(" ---> Using cache");
            stage.root.layers.push(layer.to_owned());
            stage.key = key.to_owned();
        }
        cached
    }

    pub async fn keep(&self, machine: Machine, stage: &mut Stage, layer: String, key: String) -> Result<(), String> {
        machine.end(Some(&layer)).await?;
        stage.root.layers.push(layer);
        stage.key = key;
        Ok(())
    }

    async fn make_dir(&self, stage: &mut Stage, path: &str, owner: Option<String>) -> Result<(), String> {
        let key = stage.next_key(&["WORKDIR", path, owner.as_deref().unwrap_or_default()]);
        let layer = format!("b-{key}");
        if self.cached(stage, &layer, &key) {
            return Ok(());
        }
        let machine = Machine::start(&self.build.runtime, &stage.root, Vec::new()).await?;
        let target = Target { path, is_dir: true, owner: owner.as_deref(), mode: None };
        let empty = |pipe| tar::Builder::new(pipe).into_inner().map(drop);
        match machine.put(&target, empty).await {
            Ok(()) => self.keep(machine, stage, layer, key).await,
            Err(reason) => machine.end(None).await.and(Err(reason)),
        }
    }
}
