//! Which program speaks for which language.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
};

use crate::toolbox::{ToolboxError, process::shell};

/// A language of the SDKs' `LspLanguageId`, and its program.
#[derive(Debug, PartialEq, Eq)]
pub struct Language {
    pub id: &'static str,
    pub program: &'static str,
    pub args: &'static [&'static str],
    /// How a sandbox gets it. TypeScript 7 has no server that `typescript-language-server` could drive.
    pub install: &'static str,
    /// Where a project has its own, below it.
    local: &'static [&'static str],
}

const LANGUAGES: &[Language] = &[
    Language {
        id: "python",
        program: "pylsp",
        args: &[],
        install: "pip install python-lsp-server",
        local: &[".venv/bin", "venv/bin"],
    },
    script("typescript"),
    script("javascript"),
];

const fn script(id: &'static str) -> Language {
    Language {
        id,
        program: "typescript-language-server",
        args: &["--stdio"],
        install: "npm install -g typescript@5 typescript-language-server",
        local: &["node_modules/.bin"],
    }
}

/// What documents of the two script languages are called, by extension.
const DIALECTS: &[(&str, &str)] = &[
    ("ts", "typescript"),
    ("mts", "typescript"),
    ("cts", "typescript"),
    ("tsx", "typescriptreact"),
    ("js", "javascript"),
    ("mjs", "javascript"),
    ("cjs", "javascript"),
    ("jsx", "javascriptreact"),
];

impl Language {
    /// 400 for others.
    pub fn of(id: &str) -> Result<&'static Language, ToolboxError> {
        let unsupported = || ToolboxError::bad_request(format!("unsupported language: {id}"));
        LANGUAGES.iter().find(|language| language.id == id).ok_or_else(unsupported)
    }

    /// The program: on `PATH`, where pip and npm put things for a user, or the project's own. 500 when there is none,
    /// with the command that mends it.
    pub fn find(&self, env: &BTreeMap<String, String>, project: &Path) -> Result<PathBuf, ToolboxError> {
        let home = env.get("HOME").map(|home| Path::new(home).join(".local/bin"));
        let places: Vec<PathBuf> = home.into_iter().chain(self.local.iter().map(|dir| project.join(dir))).collect();
        let elsewhere = std::env::join_paths(places).ok().and_then(|paths| paths.into_string().ok());
        let also = elsewhere.map(|paths| BTreeMap::from([("PATH".to_owned(), paths)]));
        shell::find_program(self.program, env).or_else(|| shell::find_program(self.program, &also?)).ok_or_else(|| {
            ToolboxError::internal(format!("{} is not installed in this sandbox: {}", self.program, self.install))
        })
    }

    /// The protocol's name for a document.
    pub fn of_document(&self, path: &Path) -> &'static str {
        let extension = path.extension().and_then(|extension| extension.to_str()).unwrap_or_default();
        let dialect = DIALECTS.iter().find(|(known, _)| *known == extension).map(|(_, name)| *name);
        dialect.filter(|_| self.id != "python").unwrap_or(self.id)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn programs_are_found_or_named() {
        let project = tempfile::tempdir().expect("a directory");
        let env = BTreeMap::from([("PATH".to_owned(), "/nowhere".to_owned())]);
        let python = Language::of("python").expect("known");
        let message = python.find(&env, project.path()).expect_err("none").message;
        assert!(
            message.ends_with("pylsp is not installed in this sandbox: pip install python-lsp-server"),
            "{message}"
        );
        let own = project.path().join(".venv/bin/pylsp");
        std::fs::create_dir_all(own.parent().expect("a directory")).expect("made");
        std::fs::write(&own, "").expect("written");
        std::fs::set_permissions(&own, std::os::unix::fs::PermissionsExt::from_mode(0o755)).expect("mode");
        assert_eq!(python.find(&env, project.path()), Ok(own));
        assert_eq!(Language::of("go").expect_err("unknown").message, "bad request: unsupported language: go");
    }

    #[test]
    fn dialects() {
        let named = |id: &str, path: &str| Language::of(id).expect("known").of_document(Path::new(path));
        assert_eq!(named("typescript", "a/b.tsx"), "typescriptreact");
        assert_eq!(named("javascript", "b.ts"), "typescript");
        assert_eq!(named("javascript", "b"), "javascript");
        assert_eq!(named("python", "b.js"), "python");
    }
}
