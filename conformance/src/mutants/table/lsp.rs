//! Language servers.

use super::prelude::*;

const ANSWERS: Names = &["lsp/answers_about_a_project"];
const DOCUMENTS: Names = &["lsp/documents_are_as_they_were_opened"];

pub(super) const MUTANTS: &[Mutant] = &[
    answer(
        "lsp/stopped-answers",
        "a language server answers without being started",
        &["Completions", "DocumentSymbols"],
        |_, a| {
            a.restatus(400, 200);
        },
    ),
    answer("lsp/any-language-starts", "any language starts", &["Start"], |_, a| a.restatus(400, 200)),
    ignored_in("lsp/opened-and-not-read", "an opened document isn't taken in", &["DidOpen"], DOCUMENTS, 200, ""),
    ignored_in("lsp/never-closed", "a closed document stays open", &["DidClose"], DOCUMENTS, 200, ""),
    ignored_in(
        "lsp/never-stopped",
        "a stopped server goes on",
        &["Stop"],
        &["lsp/answers_about_a_project", "lsp/projects_have_their_own_servers"],
        200,
        "",
    ),
    request_in("lsp/one-server-for-all", "every stop is of another project", &["Stop"], ANSWERS, |q| {
        q.edit(|v| string(v, "/pathToProject", |path| format!("{path}/none")));
    }),
    answer_in("lsp/symbols-at-the-end", "every symbol is one line lower", &["DocumentSymbols"], ANSWERS, |_, a| {
        a.edit(|v| {
            each(v, "", |symbol| {
                let line = symbol.pointer("/location/range/start/line").and_then(Value::as_u64).unwrap_or_default();
                set(symbol, "/location/range/start/line", line + 1);
            });
        });
    }),
    answer_in("lsp/no-symbols", "a document has no symbols", &["DocumentSymbols"], ANSWERS, |_, a| {
        a.edit(|v| list(v, "", Vec::clear));
    }),
    request_in(
        "lsp/position-ignored",
        "completions are those of the first character",
        &["Completions"],
        ANSWERS,
        |q| {
            q.edit(|v| set(v, "/position", json!({"line": 0, "character": 0})));
        },
    ),
    answer_in("lsp/items-renamed", "completions are called `completions`", &["Completions"], ANSWERS, |_, a| {
        a.edit(|v| rename(v, "/items", "completions"));
    }),
    answer_in("lsp/workspace-is-501", "symbols of a project are 501", &["WorkspaceSymbols"], ANSWERS, |_, a| {
        a.restatus(200, 501);
        a.restatus(400, 501);
    }),
    answer_in("lsp/start-with-201", "a started server is 201", &["Start"], ANSWERS, |_, a| a.restatus(200, 201)),
    answer("lsp/uri-not-needed", "a document without its name is opened", &["DidOpen", "DidClose"], |_, a| {
        a.restatus(400, 200);
    }),
];
