//! TypeScript with nothing but Node on the base: types are stripped and enums, namespaces, parameter properties,
//! (legacy) decorators, `import =` and `using` lowered here, then Node runs the result as an ES module.
//!
//! Always an ES module, because `import` and top-level `await` have to work, and because Node applies source maps to
//! modules on stdin, but not to CommonJS there; `require`, `module` and the like are defined when they are used.
//! Types are not checked.

use std::{fmt::Write, path::Path};

use oxc_allocator::Allocator;
use oxc_codegen::{Codegen, CodegenOptions};
use oxc_parser::Parser;
use oxc_semantic::{Scoping, SemanticBuilder};
use oxc_span::SourceType;
use oxc_transformer::{
    DecoratorOptions, ES2026Options, EnvOptions, HelperLoaderMode, HelperLoaderOptions, Module, TransformOptions,
    Transformer,
};

/// How the source is called in error messages and stack traces.
const NAME: &str = "code.ts";

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

/// The module that Node can run, or the complaints about the source, one a line with line and column.
pub fn to_javascript(source: &str) -> Result<String, String> {
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
    let common_js = common_js_names(&scoping);
    let transformed =
        Transformer::new(&allocator, Path::new(NAME), &options()).build_with_scoping(scoping, &mut program);
    complain(source, &transformed.errors)?;
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
        prelude.extend(HELPERS.lines().map(|line| line.split_once("// ").map_or(line, |(code, _)| code).trim_start()));
    }
    if !common_js.is_empty() {
        prelude.push_str("import {createRequire as __createRequire} from 'node:module';const __module = {exports: {}};");
        prelude.extend(common_js.iter().copied());
    }
    prelude
}

fn complain(source: &str, errors: &[oxc_diagnostics::OxcDiagnostic]) -> Result<(), String> {
    if errors.is_empty() {
        return Ok(());
    }
    let mut text = "TSError: ⨯ Unable to compile TypeScript:\n".to_owned();
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
    let before = &source[..source.floor_char_boundary(offset)];
    let line_start = before.rfind('\n').map_or(0, |at| at + 1);
    (before.matches('\n').count() + 1, before[line_start..].encode_utf16().count() + 1)
}
