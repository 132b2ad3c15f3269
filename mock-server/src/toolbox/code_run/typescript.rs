//! TypeScript with nothing but Node on the base: types are stripped and enums, namespaces, parameter properties,
//! (legacy) decorators, `import =` and `using` lowered here, then Node runs the result as an ES module.
//!
//! Always an ES module, because `import` and top-level `await` have to work, and because Node applies source maps to
//! modules on stdin, but not to CommonJS there; `require`, `module` and the like are defined when they are used.
//! Types are not checked.

use std::{fmt::Write, io, path::Path};

use oxc_allocator::Allocator;
use oxc_codegen::{Codegen, CodegenOptions};
use oxc_parser::Parser;
use oxc_semantic::{Scoping, SemanticBuilder};
use oxc_span::SourceType;
use oxc_transformer::{
    DecoratorOptions, ES2026Options, EnvOptions, HelperLoaderMode, HelperLoaderOptions, Module, TransformOptions,
    Transformer,
};
use tokio::{io::AsyncReadExt, net::unix::pipe};

use super::Program;
use crate::runtime::sys::worker::{self, Limits};

/// How the source is called in error messages and stack traces.
const NAME: &str = "code.ts";

/// How ts-node begins its complaints.
const FAILURE: &str = "TSError: ⨯ Unable to compile TypeScript:\n";

/// Child processes inherit none of it: `--input-type` would make them refuse their files.
const FLAGS: [&str; 5] =
    ["--enable-source-maps", "--input-type=module", "--import", "data:text/javascript,process.execArgv.length=0", "-"];

/// First byte of what the compiling process answers.
const OK: u8 = 0;
const FAILED: u8 = 1;

/// What lowered code calls: decorators and `using`.
const HELPERS: &str = include_str!("helpers.js");

/// Names that CommonJS provides, and what stands for them in a module.
const COMMON_JS: [(&str, &str); 5] = [
    ("require", "const require = Object.assign(__createRequire(process.cwd() + '/code.ts'), {main: __module});"),
    ("module", "const module = __module;"),
    ("exports", "const exports = __module.exports;"),
    ("__filename", "const __filename = process.cwd() + '/code.ts';"),
    ("__dirname", "const __dirname = process.cwd();"),
];

/// Stack for a source: syntax nests at most once a byte, and a level took 3.3 KiB at most in all shapes tried.
const STACK_PER_BYTE: usize = 4 << 10;
const STACK: std::ops::RangeInclusive<usize> = 4 << 20..=512 << 20;
/// `a.b<a.b<…` takes quadratic time and memory to parse.
const MEMORY: u64 = 512 << 20;
const SECONDS: u64 = 20;

/// A program that Node can run, or what a compiler would have printed. The compilation runs in a process of its own:
/// whatever the source makes of stack, memory and time, this process goes on.
pub async fn program(source: String) -> Result<Program, String> {
    let limits = Limits {
        stack: (source.len() * STACK_PER_BYTE).clamp(*STACK.start(), *STACK.end()),
        memory: MEMORY,
        seconds: SECONDS,
    };
    let encode = move || match to_javascript(&source) {
        Ok(code) => [&[OK], code.as_bytes()].concat(),
        Err(complaint) => [&[FAILED], complaint.as_bytes()].concat(),
    };
    let answer = compile(limits, encode).await.map_err(|error| format!("{FAILURE}{NAME} - error: {error}\n"))?;
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    match answer.split_first() {
        Some((&OK, code)) => Ok(Program { names: &["node"], flags: &FLAGS, stdin: text(code) }),
        Some((_, complaint)) => Err(text(complaint)),
        None => Err(format!("{FAILURE}{NAME} - error: The source is too large or nests too deeply.\n")),
    }
}

/// A program that prints this and fails.
pub fn complaining(complaint: &str) -> Program {
    let text = serde_json::Value::from(complaint);
    Program { names: &["node"], flags: &FLAGS, stdin: format!("process.stderr.write({text}); process.exitCode = 1;\n") }
}

async fn compile(limits: Limits, work: impl FnOnce() -> Vec<u8> + Send + 'static) -> io::Result<Vec<u8>> {
    let (process, output) = worker::spawn(limits, work)?;
    let mut answer = Vec::new();
    pipe::Receiver::from_owned_fd(output)?.read_to_end(&mut answer).await?;
    process.wait();
    Ok(answer)
}

/// The module that Node can run, or the complaints about the source, one a line with line and column.
fn to_javascript(source: &str) -> Result<String, String> {
    // Same length, so that positions stay.
    let hashbang = source.strip_prefix("#!").map(|rest| format!("//{rest}"));
    let source = hashbang.as_deref().unwrap_or(source);
    let allocator = Allocator::default();
    let parsed = Parser::new(&allocator, source, SourceType::ts()).parse();
    complain(source, &parsed.errors)?;
    let mut program = parsed.program;
    let semantic = SemanticBuilder::new().with_check_syntax_error(true).with_excess_capacity(2.0).build(&program);
    complain(source, &semantic.errors)?;
    let scoping = semantic.semantic.into_scoping();
    let transformed =
        Transformer::new(&allocator, Path::new(NAME), &options()).build_with_scoping(scoping, &mut program);
    complain(source, &transformed.errors)?;
    // `import x = require(…)` has become a `require` by now.
    let common_js = common_js_names(&transformed.scoping);
    let printer = CodegenOptions { source_map_path: Some(NAME.into()), ..CodegenOptions::default() };
    let printed = Codegen::new().with_options(printer).with_scoping(Some(transformed.scoping)).build(&program);
    let map = printed.map.map(|map| format!("\n//# sourceMappingURL={}\n", map.to_data_url())).unwrap_or_default();
    Ok(format!("{}{}{map}", prelude(&common_js, &printed.code), printed.code))
}

fn options() -> TransformOptions {
    let mut env = EnvOptions { module: Module::CommonJS, ..EnvOptions::default() };
    env.es2026 = ES2026Options { explicit_resource_management: true };
    TransformOptions {
        env,
        decorator: DecoratorOptions { legacy: true, emit_decorator_metadata: false },
        helper_loader: HelperLoaderOptions { mode: HelperLoaderMode::External, ..HelperLoaderOptions::default() },
        ..TransformOptions::default()
    }
}

fn common_js_names(scoping: &Scoping) -> Vec<&'static str> {
    let unresolved = scoping.root_unresolved_references();
    let names = COMMON_JS.iter().filter(|(name, _)| unresolved.contains_key(*name));
    names.map(|(_, definition)| *definition).collect()
}

/// On the line of the first statement, so that the source map's lines stay right.
fn prelude(common_js: &[&str], code: &str) -> String {
    let mut prelude = String::new();
    if code.contains("babelHelpers.") {
        prelude.extend(HELPERS.lines().map(str::trim_start));
    }
    if !common_js.is_empty() {
        prelude
            .push_str("import {createRequire as __createRequire} from 'node:module';const __module = {exports: {}};");
        prelude.extend(common_js.iter().copied());
    }
    prelude
}

fn complain(source: &str, errors: &[oxc_diagnostics::OxcDiagnostic]) -> Result<(), String> {
    if errors.is_empty() {
        return Ok(());
    }
    let mut text = FAILURE.to_owned();
    for error in errors {
        let offset = error.labels.as_ref().and_then(|labels| labels.first()).map_or(0, |label| label.offset());
        let (line, column) = position(source, offset);
        // Writing to a `String` can't fail.
        let _ = writeln!(text, "{NAME}:{line}:{column} - error: {}", error.message);
    }
    Err(text)
}

/// Line and column from 1, the column in UTF-16 units as TypeScript counts.
fn position(source: &str, offset: usize) -> (usize, usize) {
    let before = source.get(..offset).unwrap_or(source);
    let line_start = before.rfind('\n').map_or(0, |at| at + 1);
    (before.matches('\n').count() + 1, before[line_start..].encode_utf16().count() + 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn types_go_and_typescript_only_syntax_is_lowered() {
        let code = to_javascript("enum E { A = 1 }\nlet x: number = E.A as number; console.log(x!)").expect("compiles");
        assert!(!code.contains("number ="), "{code}");
        assert!(code.contains("sourceMappingURL=data:"));
        let imports = "import { A } from 'a'; import type { B } from 'b'; let x: A | B; import { c } from 'c'; c()";
        let code = to_javascript(imports).expect("compiles");
        assert!(!code.contains("'a'") && !code.contains("\"a\"") && !code.contains("\"b\""), "{code}");
        assert!(code.contains("\"c\""), "{code}");
    }

    #[test]
    fn common_js_names_are_defined_only_when_missing() {
        assert!(to_javascript("require('fs')").expect("compiles").starts_with("import {createRequire"));
        let own = "import { createRequire } from 'module'; const require = createRequire('/'); require('fs')";
        assert!(!to_javascript(own).expect("compiles").contains("__createRequire"));
        assert!(!to_javascript("console.log(1)").expect("compiles").contains("createRequire"));
    }

    #[test]
    fn complaints_name_line_and_column() {
        let complaint = to_javascript("let a = 1;\nlet é = '😀', y: = 3;").expect_err("broken");
        assert!(complaint.starts_with(FAILURE), "{complaint}");
        assert!(complaint.contains("\ncode.ts:2:18 - error: "), "{complaint}");
        assert!(to_javascript("let a; let a;").expect_err("twice").contains("code.ts:1:5 - error: "));
    }
}
