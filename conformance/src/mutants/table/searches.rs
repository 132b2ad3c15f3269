//! Searches in files, and what replaces.

use super::prelude::*;

pub(super) const MUTANTS: &[Mutant] = &[
    answer("files/search-unsorted", "found paths come in reverse order", &["SearchFiles"], |_, a| {
        a.edit(|v| list(v, "/files", |files| files.reverse()));
    }),
    answer("files/search-relative", "found paths are relative", &["SearchFiles"], |_, a| {
        a.edit(|v| each(v, "/files", |file| string(file, "", |path| path.trim_start_matches('/').to_owned())));
    }),
    answer("files/search-of-nothing-is-null", "nothing found is `null`", &["SearchFiles"], |_, a| {
        a.edit(|v| {
            if v["files"] == json!([]) {
                set(v, "/files", Value::Null);
            }
        });
    }),
    request("files/search-is-literal", "a pattern's `*` is a letter", &["SearchFiles"], |q| {
        q.target = q.target.replace('*', "x").replace("%2A", "x");
    }),
    answer("files/find-from-zero", "lines are counted from 0", &["FindInFiles"], |_, a| {
        a.edit(|v| {
            each(v, "", |found| {
                let line = found["line"].as_u64().unwrap_or_default();
                set(found, "/line", line.saturating_sub(1));
            });
        });
    }),
    answer("files/find-first-only", "only the first line is found", &["FindInFiles"], |_, a| {
        a.edit(|v| list(v, "", |found| found.truncate(1)));
    }),
    answer("files/find-trims-lines", "found lines are trimmed", &["FindInFiles"], |_, a| {
        a.edit(|v| each(v, "", |found| string(found, "/content", |line| line.trim().to_owned())));
    }),
    answer(
        "files/replace-succeeds-always",
        "a file that can't be changed is said to be",
        &["ReplaceInFiles"],
        |_, a| {
            a.edit(|v| each(v, "", |file| set(file, "/success", true)));
        },
    ),
    ignored("files/replace-does-nothing", "a replacement is answered and not done", &["ReplaceInFiles"], 200, "[]"),
    answer("files/replace-of-nothing-is-fine", "an empty pattern is 200", &["ReplaceInFiles"], |_, a| {
        a.restatus(400, 200)
    }),
];
