//! The toolbox itself: version, directories, environment, ports, its proxy, its errors, its old path.

use super::prelude::*;

const fn proxied(id: &'static str, what: &'static str, change: Change) -> Mutant {
    Mutant::new(id, what, On::Path("/proxy/", &["machine/proxy*"]), change)
}

const fn old(id: &'static str, what: &'static str, change: Change) -> Mutant {
    Mutant::new(id, what, On::Path("/api/toolbox/", &["old_path/*"]), change)
}

pub(super) const MUTANTS: &[Mutant] = &[
    answer("machine/version-renamed", "the version is called `v`", &["GetVersion"], |_, a| {
        a.edit(|v| rename(v, "/version", "v"));
    }),
    answer("machine/work-dir-is-root", "the work directory is told as `/`", &["GetWorkDir"], |_, a| {
        a.edit(|v| set(v, "/dir", "/"));
    }),
    answer("machine/request-id-missing", "answers have no `X-Request-Id`", &["GetVersion"], |_, a| {
        a.drop_header("x-request-id");
    }),
    answer(
        "machine/request-id-always-the-same",
        "every answer has the same `X-Request-Id`",
        &["GetVersion"],
        |_, a| {
            a.set_header("x-request-id", "00000000-0000-4000-8000-000000000000");
        },
    ),
    answer("machine/init-once", "a second token is refused", &["Initialize"], |q, a| {
        if q.number > 0 {
            a.restatus(200, 409);
        }
    }),
    request_in(
        "machine/unset-ignored",
        "variables are never unset",
        &["UpdateEnv"],
        &["machine/env_is_for_new_processes"],
        |q| {
            q.edit(|v| drop(remove(v, "/unset")));
        },
    ),
    request("machine/unset-prefix-ignored", "`unsetValuePrefix` is ignored", &["UpdateEnv"], |q| {
        q.edit(|v| drop(remove(v, "/unsetValuePrefix")));
    }),
    request("machine/values-trimmed", "values of variables lose their white space", &["UpdateEnv"], |q| {
        q.edit(|v| {
            if let Some(Value::Object(set)) = v.pointer_mut("/set") {
                for value in set.values_mut() {
                    *value = value.as_str().unwrap_or_default().replace(' ', "").into();
                }
            }
        });
    }),
    answer("machine/metrics-in-kilobytes", "the memory used is told in bits", &["GetSystemMetrics"], |_, a| {
        a.edit(|v| {
            let used = v["memUsed"].as_f64().unwrap_or_default();
            set(v, "/memUsed", used * 1e6);
        });
    }),
    answer("machine/metrics-of-yesterday", "measurements are of yesterday", &["GetSystemMetrics"], |_, a| {
        a.edit(|v| {
            let at = v["timestampUnix"].as_f64().unwrap_or_default();
            set(v, "/timestampUnix", at - 86_400.0);
        });
    }),
    answer("machine/ports-never-in-use", "no port is ever in use", &["IsPortInUse"], |_, a| {
        a.edit(|v| set(v, "/isInUse", false));
    }),
    answer("machine/ports-not-listed", "the list of ports is empty", &["GetPorts"], |_, a| {
        a.edit(|v| set(v, "/ports", json!([])));
    }),
    answer("machine/any-port", "ports outside 3000 to 9999 are fine", &["IsPortInUse"], |_, a| a.restatus(400, 200)),
    answer("machine/errors-without-source", "errors don't say their source", &["GetFileInfo"], |_, a| {
        a.edit_error(|v| drop(remove(v, "/source")));
    }),
    answer("machine/errors-without-method", "errors don't say the method", &["GetFileInfo"], |_, a| {
        a.edit_error(|v| drop(remove(v, "/method")));
    }),
    answer("machine/json-not-escaped", "`<` and `&` aren't escaped in JSON", &["ExecuteCommand"], |_, a| {
        a.text(|text| text.replace("\\u003c", "<").replace("\\u0026", "&"));
    }),
    Mutant::new(
        "machine/unknown-path-is-json",
        "what no route takes is 404 in JSON",
        On::Path("/toolbox/", &["machine/unknown_paths_are_plain"]),
        Change::Answer(|_, a| {
            if a.status == 404 {
                a.set_header("content-type", "application/json");
                a.body = b"{}".to_vec();
            }
        }),
    ),
    Mutant::new(
        "machine/slash-redirects-elsewhere",
        "a slash too many redirects to the server's root",
        On::Path("/toolbox/", &["machine/slashes_are_redirected"]),
        Change::Answer(|_, a| {
            if a.status.is_redirection() {
                a.set_header("location", "/elsewhere");
            }
        }),
    ),
    proxied(
        "machine/proxy-method-lost",
        "the proxy sends everything as GET",
        Change::Request(|q| {
            q.method = hyper::Method::GET;
        }),
    ),
    proxied("machine/proxy-body-lost", "the proxy drops bodies", Change::Request(|q| q.body.clear())),
    proxied(
        "machine/proxy-header-lost",
        "the proxy drops headers of answers",
        Change::Answer(|_, a| {
            a.drop_header("x-own");
        }),
    ),
    proxied(
        "machine/proxy-leaks-the-key",
        "the proxy hands the key on",
        Change::Request(|q| {
            let bearer = q.header("authorization").to_owned();
            q.set_header("x-leaked", &bearer);
        }),
    ),
    proxied(
        "machine/proxy-dead-port-is-404",
        "a port where nothing listens is 404",
        Change::Answer(|_, a| {
            a.restatus(502, 404);
        }),
    ),
    old("old_path/not-there", "the old path is 404", Change::Answer(|_, a| a.restatus(200, 404))),
    old(
        "old_path/other-directory",
        "the old path tells another work directory",
        Change::Answer(|q, a| {
            if q.path().ends_with("dir") {
                a.edit(|v| set(v, "/dir", "/elsewhere"));
            }
        }),
    ),
    old(
        "old_path/commands-in-a-shell",
        "old clients' commands are given to a shell",
        Change::Request(|q| {
            q.edit(|v| string(v, "/command", |command| format!("sh -c {:?}", command.replace('$', "\\$"))));
        }),
    ),
    answer("machine/home-is-root", "the home directory is told as `/root`", &["GetUserHomeDir"], |_, a| {
        a.edit(|v| set(v, "/dir", "/root"));
    }),
    request_in(
        "laws/values-end-at-a-quote",
        "a variable's value ends before its first quotation mark",
        &["UpdateEnv"],
        &["laws/variables_reach_programs"],
        |q| {
            q.edit(|v| {
                string(v, "/set/LAW", |value| value.split(['\'', '"']).next().unwrap_or_default().to_owned());
            });
        },
    ),
    Mutant::new(
        "laws/pieces-overtake",
        "every fifth piece that is typed into a terminal overtakes the one before",
        On::Narrowed(&["ConnectPtySession"], &["laws/terminal_input_keeps_its_order"]),
        Change::Up(|flow, message| {
            if !message.is_close() && flow.number % 5 == 3 && flow.held.is_empty() {
                flow.held.push(message);
            } else {
                flow.pass(message);
                let mut held = std::mem::take(&mut flow.held);
                flow.out.append(&mut held);
            }
        }),
    ),
    answer_in(
        "laws/full-pages-lose-one",
        "a page that is full lacks its last",
        &["listSandboxes"],
        &["laws/any_page_size_partitions"],
        |q, a| {
            // Whatever the inputs of a run, some are such pages.
            let limit = q.query("limit").and_then(|limit| limit.parse().ok()).unwrap_or(0);
            a.edit(|v| {
                list(v, "/items", |items| {
                    if items.len() == limit {
                        items.pop();
                    }
                })
            });
        },
    ),
    answer(
        "lsp/answers-without-a-start",
        "nothing needs to be started",
        &["Completions", "DocumentSymbols"],
        |_, a| {
            a.restatus(400, 200);
        },
    ),
    answer("lsp/opens-without-a-start", "files are opened where nothing runs", &["DidOpen", "DidClose"], |_, a| {
        a.restatus(400, 200);
    }),
    answer("lsp/any-language", "every language has a server", &["Start"], |_, a| a.restatus(400, 200)),
    answer("lsp/workspace-without-a-start", "a workspace is searched unasked", &["WorkspaceSymbols"], |_, a| {
        a.restatus(400, 200);
    }),
    answer_in("lsp/stop-of-nothing", "what never ran is stopped", &["Stop"], &["lsp/input_is_validated"], |_, a| {
        a.restatus(400, 200);
        a.restatus(500, 200);
    }),
];
