//! Instruction by instruction.

use std::collections::BTreeMap;

use parse_dockerfile::{ArgInstruction, Flag, Instruction, UnescapedString};
use sha2::{Digest, Sha256};

use super::{
    Build,
    context::{Context, Source},
    dockerfile::{argv, needed, prepare, run_argv, start_of, text_at},
    machine::{Machine, Target},
    run::{Mount, Mounts, absolute},
    words,
};
use crate::{
    images::ImageConfig,
    runtime::{NetworkPolicy, Root},
    toolbox::build::RunStep,
};

/// Instructions of one Dockerfile.
const MAX_STEPS: usize = 1_000;

/// What Docker sets for every build.
const PLATFORM: [(&str, &str); 4] =
    [("TARGETPLATFORM", ""), ("TARGETOS", "linux"), ("TARGETARCH", ""), ("BUILDPLATFORM", "")];

/// Lines with which the SDKs' `Image.debianSlim` begins. They need the network, and what they bring is a matter of
/// convenience: over a stand-in for an image they may fail.
const OPTIONAL: [&str; 3] =
    ["apt-get update", "apt-get install -y gcc gfortran build-essential", "pip install --upgrade pip"];

/// A stage as far as it is built.
#[derive(Clone)]
pub struct Stage {
    pub root: Root,
    pub config: ImageConfig,
    /// Values of `ARG`s.
    args: BTreeMap<String, String>,
    substitute: bool,
    /// What the next layer's name depends on.
    pub key: String,
}

pub async fn build(build: &Build, text: &str) -> Result<Root, String> {
    let text = &prepare(text);
    let file = parse_dockerfile::parse(text).map_err(|error| format!("the Dockerfile: {error}"))?;
    if file.instructions.len() > MAX_STEPS {
        return Err(format!("the Dockerfile has more than {MAX_STEPS} instructions"));
    }
    let escape = file.parser_directives.escape.as_ref().map_or('\\', |escape| escape.value.value);
    let needed = needed(&file);
    let total = file.instructions.len() - file.global_args().len();
    let mut global = platform();
    for arg in file.global_args() {
        declare(arg, &mut global, &BTreeMap::new(), &BTreeMap::new())?;
    }
    let context = Context::open(&build.context).map_err(|error| format!("the build context: {error}"))?;
    let mut builder = Builder { build, context, escape, global, stages: Vec::new(), step: 0, total };
    for (n, stage) in file.stages().enumerate() {
        if !needed[n] {
            builder.stages.push((None, None));
            continue;
        }
        let name = stage.from.as_.as_ref().map(|(_, name)| name.value.to_lowercase());
        builder.announce(text_at(text, &file, stage.from.from.span.start));
        let mut current = builder.from(&stage.from.image, &stage.from.options).await?;
        builder.triggers(&mut current).await?;
        for instruction in stage.instructions {
            let line = text_at(text, &file, start_of(instruction));
            builder.announce(line);
            builder.apply(&mut current, instruction, line).await?;
        }
        builder.stages.push((name, Some(current)));
    }
    let last = builder.stages.pop().and_then(|(_, stage)| stage);
    let last = last.ok_or("the Dockerfile has no FROM")?;
    Ok(Root { config: Some(last.config), ..last.root })
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

fn platform() -> BTreeMap<String, String> {
    let arch = if cfg!(target_arch = "aarch64") { "arm64" } else { "amd64" };
    let value = |name: &str, value: &str| match (name, value) {
        ("TARGETARCH", _) => arch.to_owned(),
        (_, "") => format!("linux/{arch}"),
        _ => value.to_owned(),
    };
    PLATFORM.iter().map(|(name, given)| ((*name).to_owned(), value(name, given))).collect()
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
        match value {
            Some(value) => drop(args.insert(name.to_owned(), value)),
            None => drop(args.remove(name)),
        }
    }
    Ok(())
}

/// `ONBUILD instruction`: kept for whoever builds on this.
fn leave(stage: &mut Stage, instruction: &Instruction, line: &str) -> Result<(), String> {
    if matches!(instruction, Instruction::From(_) | Instruction::Maintainer(_) | Instruction::Onbuild(_)) {
        return Err("this instruction can't be a build trigger".into());
    }
    let (_, trigger) = line.trim_start().split_at_checked("ONBUILD".len()).ok_or("no instruction")?;
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
        let name = words::word(&image.value, &|name| self.global.get(name).cloned())?;
        if let Some(stage) = self.stage(&name) {
            return Ok(Stage { args: BTreeMap::new(), ..stage.clone() });
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
        Ok(Stage { root, config, args: BTreeMap::new(), substitute: false, key })
    }

    pub async fn image(&self, name: &str) -> Result<Stage, String> {
        let base = (self.build.bases)(name.to_owned()).await?;
        let config = base.root.config.clone().unwrap_or_default();
        let digest = base.root.image.as_ref().map(|image| image.digest.clone());
        let key = digest.unwrap_or_else(|| format!("base {}", self.build.runtime.base_key()));
        Ok(Stage { root: base.root, config, args: BTreeMap::new(), substitute: base.substitute, key })
    }

    /// What the base's `ONBUILD` lines left, as if it stood behind `FROM`; once, as they are not the new image's.
    async fn triggers(&mut self, stage: &mut Stage) -> Result<(), String> {
        let triggers = std::mem::take(&mut stage.config.on_build);
        if triggers.is_empty() {
            return Ok(());
        }
        let text = &prepare(&format!("FROM scratch\n{}\n", triggers.join("\n")));
        let file = parse_dockerfile::parse(text).map_err(|error| format!("ONBUILD of the base: {error}"))?;
        if file.instructions.len() > MAX_STEPS {
            return Err(format!("the base has more than {MAX_STEPS} build triggers"));
        }
        for instruction in &file.instructions[1..] {
            let line = text_at(text, &file, start_of(instruction));
            self.build.log.line(&format!("Build trigger of the base : {}", line.trim_end()));
            self.apply(stage, instruction, line).await?;
        }
        Ok(())
    }

    /// Does what an instruction says, of which `line` is the text.
    async fn apply(&mut self, stage: &mut Stage, instruction: &Instruction<'_>, line: &str) -> Result<(), String> {
        let done = match instruction {
            Instruction::Onbuild(trigger) => leave(stage, &trigger.instruction, line),
            other => self.act(stage, other).await,
        };
        done.map_err(|reason| format!("{}: {reason}", line.lines().next().unwrap_or_default()))
    }

    async fn act(&mut self, stage: &mut Stage, instruction: &Instruction<'_>) -> Result<(), String> {
        match instruction {
            Instruction::Run(run) => {
                only(&run.options, &["mount", "network", "security"])?;
                let argv = run_argv(run, &stage.shell(), self.escape);
                self.run(stage, argv, &run.options).await
            }
            Instruction::Copy(copy) => self.copy(stage, &copy.options, &copy.src, &copy.dest, false).await,
            Instruction::Add(add) => self.copy(stage, &add.options, &add.src, &add.dest, true).await,
            Instruction::Workdir(dir) => {
                let path = absolute(&stage.config.work_dir, &stage.word(&dir.arguments)?);
                stage.config.work_dir = path.clone();
                self.make_dir(stage, &path).await
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
                stage.config.cmd.clear();
            }
            Instruction::Cmd(cmd) => stage.config.cmd = argv(&cmd.arguments, &stage.shell(), self.escape),
            // Nothing in a sandbox depends on these.
            Instruction::Expose(_) | Instruction::Maintainer(_) | Instruction::Stopsignal(_) => {}
            Instruction::Healthcheck(_) => self.build.log.line("warning: HEALTHCHECK has no effect in a sandbox"),
            Instruction::Volume(_) => self.build.log.line("warning: VOLUME makes no volume in a sandbox"),
            Instruction::From(_) => return Err("FROM in the middle of a stage".into()),
            _ => return Err("this instruction is not supported".into()),
        }
        Ok(())
    }

    async fn run(&self, stage: &mut Stage, argv: Vec<String>, options: &[Flag<'_>]) -> Result<(), String> {
        let mounts: Vec<&str> = options
            .iter()
            .filter(|o| o.name.value == "mount")
            .filter_map(|o| Some(&*o.value.as_ref()?.value))
            .collect();
        let text = argv.join("\0");
        let network = flag(options, "network").unwrap_or_default();
        let shown = self.mounted(&mounts)?;
        let key = stage.next_key(&[&["RUN", network, &text].concat(), &mounts.join("\0"), &shown]);
        let layer = format!("b-{key}");
        if self.cached(stage, &layer, &key) {
            return Ok(());
        }
        let prepared = self.mounts(stage, &mounts).await?;
        let mut env = self.build.env.clone();
        env.extend(stage.args.clone());
        env.extend(stage.config.env.clone());
        env.entry("PATH".into()).or_insert_with(|| crate::runtime::base::DEFAULT_PATH.into());
        let user = if stage.config.user.is_empty() { "root" } else { &stage.config.user };
        let step = RunStep { argv, env, cwd: stage.config.work_dir.clone(), user: user.to_owned() };
        let block_all = network == "none";
        let network = NetworkPolicy { block_all, ..NetworkPolicy::default() };
        let machine = Machine::start_with(&self.build.runtime, &stage.root, prepared.binds.clone(), network).await?;
        let code = match machine.run(&step, &self.build.log).await {
            Ok(code) => code,
            Err(reason) => return machine.end(None).await.and(Err(reason)),
        };
        let command = step.argv.last().map(String::as_str).unwrap_or_default();
        let optional = stage.substitute && OPTIONAL.contains(&command);
        if code != 0 && !optional {
            machine.end(None).await?;
            return Err(format!("the command returned a non-zero code: {code}"));
        }
        if code != 0 {
            self.build.log.line(&format!("warning: code {code}; going on, as the base only stands in for the image"));
        }
        self.keep(machine, stage, layer, key).await
    }

    async fn mounts(&self, stage: &Stage, mounts: &[&str]) -> Result<Mounts, String> {
        let mut prepared = Mounts::default();
        for mount in mounts {
            let mount = Mount::parse(mount, &stage.config.work_dir, &|name| stage.look_up(name))?;
            match mount.from.clone() {
                Some(from) if mount.kind == "bind" => {
                    let other = self.other(&from).await?;
                    prepared.copy_from(self.build, &mount, &other.root).await?;
                }
                _ => prepared.add(self.build, &mount)?,
            }
        }
        Ok(prepared)
    }

    /// A stage that was built, else an image.
    pub async fn other(&self, name: &str) -> Result<Stage, String> {
        match self.stage(name) {
            Some(other) => Ok(other.clone()),
            None => self.image(name).await,
        }
    }

    /// What a bind from the context shows, so that other content is another step.
    fn mounted(&self, mounts: &[&str]) -> Result<String, String> {
        if !mounts.iter().any(|mount| !mount.contains("type=") || mount.contains("type=bind")) {
            return Ok(String::new());
        }
        // Of the stages that are shown, too: a number or a name alone doesn't say what was built.
        let stages = mounts.iter().flat_map(|mount| mount.split(',')).filter_map(|word| word.strip_prefix("from="));
        let keys = stages.filter_map(|name| self.stage(name)).map(|stage| stage.key.as_str());
        let keys: Vec<&str> = keys.collect();
        let all = self.context.find(".")?;
        Ok(format!("{}{}", self.digest(&all)?, keys.join(" ")))
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

    async fn make_dir(&self, stage: &mut Stage, path: &str) -> Result<(), String> {
        let key = stage.next_key(&["WORKDIR", path]);
        let layer = format!("b-{key}");
        if self.cached(stage, &layer, &key) {
            return Ok(());
        }
        let machine = Machine::start(&self.build.runtime, &stage.root, Vec::new()).await?;
        let target = Target { path, is_dir: true, owner: None, mode: None };
        let empty = |pipe| tar::Builder::new(pipe).into_inner().map(drop);
        match machine.put(&target, empty).await {
            Ok(()) => self.keep(machine, stage, layer, key).await,
            Err(reason) => machine.end(None).await.and(Err(reason)),
        }
    }
}
