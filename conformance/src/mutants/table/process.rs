//! Commands and code that run to their end.

use super::prelude::*;

const EXECUTE: Names = &["ExecuteCommand"];
const CODE: Names = &["CodeRun"];

pub(super) const MUTANTS: &[Mutant] = &[
    answer("process/exit-code-zero", "every exit code is 0", EXECUTE, |_, a| a.edit(|v| set(v, "/exitCode", 0))),
    answer("process/exit-code-is-one", "every failure is exit code 1", EXECUTE, |_, a| {
        a.edit(|v| {
            if v["exitCode"] != 0 {
                set(v, "/exitCode", 1);
            }
        });
    }),
    answer("process/failure-is-an-error", "a failing command is status 400", EXECUTE, |_, a| {
        let text = String::from_utf8_lossy(&a.body).into_owned();
        if !text.contains("\"exitCode\":0") {
            a.restatus(200, 400);
        }
    }),
    answer("process/result-renamed", "the output is called `output`", EXECUTE, |_, a| {
        a.edit(|v| rename(v, "/result", "output"));
    }),
    answer("process/last-line-lost", "the last line of output is lost", EXECUTE, |_, a| {
        a.edit(|v| {
            string(v, "/result", |text| {
                let lines: Vec<&str> = text.split_inclusive('\n').collect();
                lines[..lines.len().saturating_sub(1)].concat()
            });
        });
    }),
    answer("process/output-trimmed", "output loses the white space at its end", EXECUTE, |_, a| {
        a.edit(|v| string(v, "/result", |text| text.trim_end().to_owned()));
    }),
    answer("process/output-cut", "output is cut after a megabyte", EXECUTE, |_, a| {
        a.edit(|v| string(v, "/result", |text| text.chars().take(1 << 20).collect()));
    }),
    answer("process/output-is-ascii", "output loses what isn't ASCII", EXECUTE, |_, a| {
        a.edit(|v| string(v, "/result", |text| text.replace(|c: char| !c.is_ascii(), "?")));
    }),
    request("process/stderr-lost", "only standard output is answered", EXECUTE, |q| {
        q.edit(|v| string(v, "/command", |command| command.replace(">&2", ">/dev/null")));
    }),
    request("process/cwd-ignored", "`cwd` is ignored", EXECUTE, |q| q.edit(|v| drop(remove(v, "/cwd")))),
    request("process/envs-ignored", "`envs` is ignored", EXECUTE, |q| q.edit(|v| drop(remove(v, "/envs")))),
    request_in("process/timeout-ignored", "`timeout` is ignored", EXECUTE, &["process/time_limit_kills"], |q| {
        q.edit(|v| drop(remove(v, "/timeout")))
    }),
    answer("process/timeout-is-504", "a command whose time is over is 504", EXECUTE, |_, a| a.restatus(408, 504)),
    answer("process/timeout-code-renamed", "a command whose time is over has another code", EXECUTE, |_, a| {
        if a.status == 408 {
            a.edit_error(|v| set(v, "/code", "TIMEOUT"));
        }
    }),
    request("process/runs-as-root", "commands run as root", EXECUTE, |q| {
        q.edit(|v| {
            string(v, "/command", |command| format!("sudo -E sh <<'AS-ROOT'\n{command}\nAS-ROOT"));
        });
    }),
    request("process/no-shell", "commands aren't given to a shell", EXECUTE, |q| {
        q.edit(|v| string(v, "/command", |command| command.replace('|', "\\|").replace(';', "\\;")));
    }),
    request("process/empty-command-runs", "an empty command is 200", EXECUTE, |q| {
        q.edit(|v| {
            if v["command"].as_str().is_none_or(|command| command.trim().is_empty()) {
                put(v, "command", "true");
            }
        });
    }),
    answer_in(
        "process/one-at-a-time",
        "a command's files are only there after a while",
        &["DownloadFile"],
        &["process/shares_the_disk"],
        |q, a| {
            if q.number == 0 {
                a.restatus(200, 404);
            }
        },
    ),
    answer("code_run/exit-code-lost", "an exception is exit code 0", CODE, |_, a| a.edit(|v| set(v, "/exitCode", 0))),
    answer("code_run/exception-is-an-error", "an exception is status 500", CODE, |_, a| {
        if String::from_utf8_lossy(&a.body).contains("\"exitCode\":1") {
            a.restatus(200, 500);
        }
    }),
    answer("code_run/charts-lost", "there are no charts", CODE, |_, a| a.edit(|v| drop(remove(v, "/artifacts")))),
    answer("code_run/charts-without-title", "charts have no title", CODE, |_, a| {
        a.edit(|v| each(v, "/artifacts/charts", |chart| drop(remove(chart, "/title"))));
    }),
    request("code_run/always-python", "every language is Python", CODE, |q| {
        q.edit(|v| set(v, "/language", "python"));
    }),
    request("code_run/arguments-lost", "`argv` is ignored", CODE, |q| q.edit(|v| drop(remove(v, "/argv")))),
    request("code_run/variables-lost", "`envs` is ignored", CODE, |q| q.edit(|v| drop(remove(v, "/envs")))),
    request_in("code_run/timeout-ignored", "`timeout` is ignored", CODE, &["code_run/time_limit_kills"], |q| {
        q.edit(|v| drop(remove(v, "/timeout")))
    }),
    answer("code_run/unknown-language-in-other-words", "an unknown language has another message", CODE, |_, a| {
        a.edit_error(|v| string(v, "/message", |text| text.replace("unsupported", "unknown")));
    }),
];
