//! Listens inside the program: for Node through `NODE_OPTIONS=--require`, for Python through `sitecustomize`. What they see are
//! uses of members that the SDK doesn't have and of methods without what they need, which end in an error before any
//! request. They change nothing: the same error is thrown.

use std::{ffi::OsString, path::Path};

use serde::Deserialize;

use crate::stop::Result;

/// The file that the shims write to.
const FILE: &str = "DAYTONA_CONFORMANCE_MISUSES";

/// A use that can't be right.
#[derive(Clone, Debug, Deserialize)]
pub struct Misuse {
    pub kind: Kind,
    /// The class.
    pub on: String,
    pub name: String,
    /// What was left out, or what was wrong.
    pub argument: Option<String>,
    /// The right one.
    pub instead: Option<String>,
    /// `file:line:column` in the program.
    pub at: Option<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// The SDK has no such member.
    Member,
    /// An argument is missing.
    Argument,
    /// An argument has a value that isn't one.
    Value,
    /// An argument was left to a default, which goes over the wire as if it had been given.
    Default,
    /// A field that isn't there was given, and dropped in silence (Python's models and create() of the TypeScript SDK do that).
    Dropped,
    /// No misuse: a token that the program was given, which the journal doesn't have.
    Token,
}

/// The shims in a directory of their own, which goes with this.
pub struct Shim(tempfile::TempDir);

impl Shim {
    pub fn new() -> Result<Self> {
        let dir = tempfile::Builder::new().prefix("daytona-conformance-").tempdir()?;
        let files = [
            ("node.cjs", include_str!("shim/node.cjs")),
            ("node-hooks.mjs", include_str!("shim/node-hooks.mjs")),
            ("wrong.json", include_str!("shim/wrong.json")),
            ("sitecustomize.py", include_str!("shim/sitecustomize.py")),
        ];
        for (name, text) in files {
            std::fs::write(dir.path().join(name), text)?;
        }
        Ok(Self(dir))
    }

    /// The variables that make Node and Python load them; what the caller had in them stays.
    pub fn environment(&self) -> Vec<(&'static str, Option<OsString>)> {
        let dir = self.0.path();
        let join = |first: OsString, between: &str, name: &str| match std::env::var_os(name) {
            Some(own) if !own.is_empty() => [first, between.into(), own].into_iter().collect(),
            _ => first,
        };
        let require = format!("--require \"{}\"", dir.join("node.cjs").display());
        vec![
            (FILE, Some(self.file().into())),
            ("NODE_OPTIONS", Some(join(require.into(), " ", "NODE_OPTIONS"))),
            ("PYTHONPATH", Some(join(dir.into(), ":", "PYTHONPATH"))),
        ]
    }

    fn file(&self) -> std::path::PathBuf {
        self.0.path().join("misuses.jsonl")
    }

    /// What they saw.
    pub fn misuses(&self) -> Vec<Misuse> {
        read(&self.file())
    }
}

fn read(file: &Path) -> Vec<Misuse> {
    parse(&String::from_utf8_lossy(&std::fs::read(file).unwrap_or_default()))
}

/// One JSON object a line; the last one may be cut off.
pub fn parse(lines: &str) -> Vec<Misuse> {
    lines.lines().filter_map(|line| serde_json::from_str(line).ok()).collect()
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::*;

    /// Runs a program with and without the shims; both must say the same.
    fn heard(dir: &Path, program: &str, file: &str) -> Vec<Misuse> {
        let run = |shim: Option<&Shim>| {
            let mut command = Command::new(program);
            command.arg(file).current_dir(dir);
            for (name, value) in shim.map(Shim::environment).unwrap_or_default() {
                command.env(name, value.unwrap_or_default());
            }
            let output = command.output().expect("node and python3 are needed here");
            (output.status.code(), String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned())
        };
        let shim = Shim::new().unwrap();
        assert_eq!(run(Some(&shim)), run(None), "{file}");
        shim.misuses()
    }

    fn files(files: &[(&str, &str)]) -> tempfile::TempDir {
        let dir = tempfile::tempdir().unwrap();
        for (name, text) in files {
            let file = dir.path().join(name);
            std::fs::create_dir_all(file.parent().unwrap()).unwrap();
            std::fs::write(file, text).unwrap();
        }
        dir
    }

    fn told(misuses: &[Misuse]) -> Vec<String> {
        misuses.iter().map(|one| format!("{}.{} {}", one.on, one.name, one.at.as_deref().unwrap_or("?"))).collect()
    }

    const MODULE: &str =
        "export class PtyHandle { sendInput(data) {} }\nexport class Process { async createPty(o) { return o.id } }\n";
    const ESM: &str = "import { PtyHandle, Process } from '@daytona/sdk'\nconst pty = new PtyHandle()\n\
        try { pty.write('x') } catch (e) { console.log(e.message, 'write' in pty) }\n\
        await new Process().createPty().catch((e) => console.log(e.message))\nnew Process().createPty({ id: 'a', cols: 80, rows: 24, onData() {} })\n";

    #[test]
    fn node_modules_are_listened_to() {
        let package =
            r#"{"name": "@daytona/sdk", "exports": {"import": "./esm/index.js", "require": "./cjs/index.js"}}"#;
        let cjs = MODULE.replace("export class", "exports.PtyHandle = class PtyHandle {}; exports.Process = class");
        let cjs = cjs.lines().nth(1).unwrap().to_owned();
        let required = ESM.replace(
            "import { PtyHandle, Process } from '@daytona/sdk'",
            "const { PtyHandle, Process } = require('@daytona/sdk')",
        );
        let required = required.replace("await new", "new");
        let dir = files(&[
            ("node_modules/@daytona/sdk/package.json", package),
            ("node_modules/@daytona/sdk/esm/package.json", r#"{"type": "module"}"#),
            ("node_modules/@daytona/sdk/esm/index.js", MODULE),
            ("node_modules/@daytona/sdk/cjs/index.js", &cjs),
            ("a.mjs", ESM),
            ("a.cjs", &required),
        ]);
        for file in ["a.mjs", "a.cjs"] {
            let told = told(&heard(dir.path(), "node", file));
            assert_eq!(told.len(), 2, "{told:?}");
            assert!(told[0].starts_with(&format!("PtyHandle.write {file}:3")), "{told:?}");
            assert!(told[1].starts_with(&format!("Process.createPty {file}:4")), "{told:?}");
        }
    }

    #[test]
    fn python_is_listened_to() {
        let dir = files(&[
            ("daytona/__init__.py", ""),
            ("daytona/pty.py", "class PtyHandle:\n    def send_input(self, data): pass\n"),
            (
                "a.py",
                "from daytona.pty import PtyHandle\npty = PtyHandle()\nfor f in (lambda: pty.write('x'), lambda: pty.send_input(), lambda: pty.other):\n\
                 \x20   try:\n        f()\n    except Exception as e:\n        print(type(e), e)\npty.send_input('x')\n",
            ),
        ]);
        let told = told(&heard(dir.path(), "python3", "a.py"));
        assert_eq!(told, ["PtyHandle.write a.py:3", "PtyHandle.send_input a.py:3"]);
    }

    const PARAMS: &str = "class Field:\n    alias = None\nclass CreateSandboxFromSnapshotParams:\n    model_fields = {'snapshot': Field()}\n\
        \x20   def __init__(self, **given): self.snapshot = given.get('snapshot')\n";
    const PROCESS: &str = "class Process:\n    def create_pty_session(self, id, pty_size=None): return id\n\
        class Sandbox:\n    async def get_preview_link(self, port): return Link()\nclass Link:\n    token = 'tok'\n";
    const USES: &str = "import asyncio\nfrom daytona.params import *\nfrom daytona.process import *\n\
        print(CreateSandboxFromSnapshotParams(snapshot='s', resources=2).snapshot, CreateSandboxFromSnapshotParams(snapshot='t').snapshot)\n\
        print(Process().create_pty_session('a'), Process().create_pty_session('b', pty_size=1))\n\
        print(asyncio.run(Sandbox().get_preview_link(1)).token)\n";

    #[test]
    fn what_goes_over_the_wire_otherwise_is_heard_in_python() {
        let dir = files(&[
            ("daytona/__init__.py", ""),
            ("daytona/params.py", PARAMS),
            ("daytona/process.py", PROCESS),
            ("a.py", USES),
        ]);
        let heard = heard(dir.path(), "python3", "a.py");
        let kinds: Vec<_> = heard.iter().map(|one| (one.kind, one.name.as_str(), one.argument.as_deref())).collect();
        let dropped = (Kind::Dropped, "resources", None);
        let size = (Kind::Default, "create_pty_session", Some("pty_size"));
        assert_eq!(kinds, [dropped, size, (Kind::Token, "get_preview_link", Some("tok"))]);
    }

    #[test]
    fn what_goes_over_the_wire_otherwise_is_heard_in_node() {
        let sdk = "exports.Process = class Process { async createPty(o) { return o.id } }\n\
            exports.Sandbox = class Sandbox { async getPreviewLink(port) { return { port, token: 'tok' } } }\n";
        let uses = "const { Process, Sandbox } = require('@daytona/sdk')\nconst onData = () => {}\n\
            new Process().createPty({ id: 'a', onData, rows: 1 })\nnew Process().createPty({ id: 'b', onData, rows: 1, cols: 1 })\n\
            new Sandbox().getPreviewLink(1).then((link) => console.log(link))\n";
        let dir = files(&[
            ("node_modules/@daytona/sdk/package.json", r#"{"name": "@daytona/sdk", "main": "cjs/index.js"}"#),
            ("node_modules/@daytona/sdk/cjs/index.js", sdk),
            ("a.cjs", uses),
        ]);
        let heard = heard(dir.path(), "node", "a.cjs");
        let kinds: Vec<_> = heard.iter().map(|one| (one.kind, one.name.as_str(), one.argument.as_deref())).collect();
        let size = (Kind::Default, "createPty", Some("cols"));
        let token = (Kind::Token, "getPreviewLink", Some("tok"));
        assert_eq!(kinds, [size, token]);
    }

    const CREATE: &str = "exports.Daytona = class Daytona {\n\
        async create(params) { const labels = params.labels; return { labels, env: params.envVars, stop: params.autoStopInterval, user: params.user,\n\
        from: 'snapshot' in params ? params.snapshot : undefined } }\n\
        list() { return (async function* () { yield 1 })() } }\n\
        exports.FileSystem = class FileSystem { async uploadFile(file, remotePath) { return String(file) } }\n\
        exports.Process = class Process { async executeCommand(command) { return { exitCode: 0, result: command } } }\n";

    /// What these lines are heard to do with an SDK that does little.
    fn heard_of(lines: &str) -> Vec<(Kind, String, String)> {
        let uses = format!(
            "const {{ Daytona, FileSystem, Process }} = require('@daytona/sdk')\nvoid (async () => {{\n{lines}\n}})()\n"
        );
        let dir = files(&[
            ("node_modules/@daytona/sdk/package.json", r#"{"name": "@daytona/sdk", "main": "cjs/index.js"}"#),
            ("node_modules/@daytona/sdk/cjs/index.js", CREATE),
            ("a.cjs", &uses),
        ]);
        heard(dir.path(), "node", "a.cjs").into_iter().map(|one| (one.kind, one.on, one.name)).collect()
    }

    #[test]
    fn fields_that_create_drops_are_heard_in_node() {
        let dropped = |name: &str| (Kind::Dropped, "CreateSandboxFromSnapshotParams".to_owned(), name.to_owned());
        let wrong =
            "console.log(await new Daytona().create({ labels: {}, env: { A: '1' }, autoStop: 30, lables: {} }))";
        assert_eq!(heard_of(wrong), [dropped("env"), dropped("autoStop"), dropped("lables")]);
        // What a program keeps in its object for itself is its own.
        let right = "console.log(await new Daytona().create({ labels: {}, snapshot: 's', envVars: {}, projectId: 7, userId: 1, env: undefined }))";
        assert_eq!(heard_of(right), []);
    }

    #[test]
    fn members_of_answers_and_promises_are_heard_in_node() {
        let wrong = "const done = await new Process().executeCommand('ls')\nconsole.log(done.stdout)\n\n\n\nconst { result } = done\n\
            console.log(new Process().executeCommand('ls').result, (await new Daytona().list()).items, result)\n\n\n\nconsole.log(done.exit_code)";
        let names: Vec<_> = heard_of(wrong).into_iter().map(|(kind, _, name)| (kind, name)).collect();
        assert_eq!(names, ["stdout", "result", "items", "exit_code"].map(|name| (Kind::Member, name.to_owned())));
        // Nothing of it is seen from outside: the tests compare what is printed with what is printed without.
        let right = "const done = await new Process().executeCommand('ls')\nconsole.log(done.stdout ?? done.result, done, JSON.stringify(done), { ...done })\n\
            const promise = new Process().executeCommand('ls')\nconsole.log(promise instanceof Promise, promise, await promise, structuredClone(done))\n\
            require('node:assert').deepStrictEqual(done, { exitCode: 0, result: 'ls' })\nfor await (const one of new Daytona().list()) console.log(one)";
        assert_eq!(heard_of(right), []);
    }

    #[test]
    fn exchanged_arguments_are_heard_in_node() {
        let wrong = heard_of("await new FileSystem().uploadFile('/tmp/a.txt', Buffer.from('x'))");
        assert_eq!(wrong, [(Kind::Value, "FileSystem".to_owned(), "uploadFile".to_owned())]);
        assert_eq!(heard_of("await new FileSystem().uploadFile(Buffer.from('x'), '/tmp/a.txt')"), []);
    }

    /// Jest's runtime loads modules by itself, into a world with an Object of its own.
    #[test]
    fn what_jest_loads_is_listened_to() {
        let runtime = "const vm = require('node:vm'), fs = require('node:fs')\nexports.default = class Runtime {\n\
            requireModule(from, name) {\nconst exports = {}\n\
            vm.runInNewContext(fs.readFileSync(require.resolve(name), 'utf8'), { exports })\nreturn exports } }\n";
        let uses = "const Runtime = require('jest-runtime').default\n\
            const { PtyHandle } = new Runtime().requireModule(__filename, '@daytona/sdk')\n\
            try { new PtyHandle().write('x') } catch (e) { console.log(e.message) }\n";
        let dir = files(&[
            ("node_modules/@daytona/sdk/package.json", r#"{"name": "@daytona/sdk", "main": "cjs/index.js"}"#),
            ("node_modules/@daytona/sdk/cjs/index.js", "exports.PtyHandle = class PtyHandle { sendInput(data) {} }\n"),
            ("node_modules/jest-runtime/package.json", r#"{"name": "jest-runtime", "main": "index.js"}"#),
            ("node_modules/jest-runtime/index.js", runtime),
            ("a.cjs", uses),
        ]);
        assert_eq!(told(&heard(dir.path(), "node", "a.cjs")), ["PtyHandle.write a.cjs:3:23"]);
    }

    #[test]
    fn models_of_a_programs_own_keep_their_fields() {
        let params = "class Field:\n    alias = None\nclass CreateSandboxFromSnapshotParams:\n    model_fields = {'snapshot': Field()}\n\
            \x20   def __init__(self, **given): self.given = given\n\
            class ExecuteResponse:\n    result = 'r'\n";
        let uses = "from daytona.params import *\nclass Own(CreateSandboxFromSnapshotParams):\n\
            \x20   model_fields = {**CreateSandboxFromSnapshotParams.model_fields, 'project': Field()}\nclass Open(Own):\n    model_config = {'extra': 'allow'}\n\
            print(Own(project='x').given, Open(other=1).given, Own(cpu=1).given)\ndone = ExecuteResponse()\n\
            print(hasattr(done, 'stdout'), getattr(done, 'stdout', done.result))\ntry:\n    done.stdout\nexcept AttributeError as e: print(e)\n";
        let dir = files(&[("daytona/__init__.py", ""), ("daytona/params.py", params), ("a.py", uses)]);
        let told = told(&heard(dir.path(), "python3", "a.py"));
        assert_eq!(told, ["CreateSandboxFromSnapshotParams.cpu a.py:6", "ExecuteResponse.stdout a.py:10"]);
    }

    #[test]
    fn a_line_cut_off_is_left_out() {
        let whole = r#"{"kind":"member","on":"A","name":"b"}"#;
        assert_eq!(parse(&format!("{whole}\n{}", &whole[..20])).len(), 1);
    }
}
