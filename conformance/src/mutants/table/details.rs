//! Lies about a detail: nothing is missing, and only a comparison with another answer, or with what was asked, shows them.

use super::prelude::*;

const LONG_AGO: &str = "1970-01-01T00:00:00.000Z";
const DEFAULTS: Names = &["create/defaults"];
const ANSWERS: Names = &["lifecycle/answers_name_the_new_state"];
const ITEMS: Names = &["lists/items_say_what_a_read_says", "lists/states_filter"];
const ORDER: Names = &["lists/order_is_by_value"];
const UPGRADES: Names = &["auth/every_toolbox_operation_needs_a_key"];
const PAGES: Names = &["catalogue/snapshots_are_listed", "snapshots/a_sandbox_is_kept"];
const STEP: Names = &["git/pull_and_push_keep_in_step"];

const fn preview(id: &'static str, what: &'static str, change: Change) -> Mutant {
    Mutant::new(id, what, On::Previews, change)
}

pub(super) const MUTANTS: &[Mutant] = &[
    answer(
        "transport/error-path-without-query",
        "errors name the path without its query",
        &["listSandboxes"],
        |_, a| {
            a.edit_error(|v| string(v, "/path", |path| path.split('?').next().unwrap_or_default().to_owned()));
        },
    ),
    answer("transport/errors-of-1970", "errors are of 1970", &["getSandbox"], |_, a| {
        a.edit_error(|v| set(v, "/timestamp", LONG_AGO));
    }),
    answer_in("create/memory-in-megabytes", "a read tells memory in MiB", &["getSandbox"], DEFAULTS, |_, a| {
        a.edit(|v| {
            let memory = v["memory"].as_u64().unwrap_or_default();
            set(v, "/memory", memory * 1024);
        });
    }),
    answer_in("create/foreign-toolbox", "a read has another toolbox", &["getSandbox"], DEFAULTS, |_, a| {
        a.edit(|v| set(v, "/toolboxProxyUrl", "https://proxy.example/toolbox"));
    }),
    answer_in("create/no-daemon", "a started sandbox has no daemon's version", &["getSandbox"], DEFAULTS, |_, a| {
        a.edit(|v| set(v, "/daemonVersion", Value::Null));
    }),
    answer_in("create/of-1970", "a sandbox is of 1970", &["createSandbox", "getSandbox"], DEFAULTS, |_, a| {
        a.edit(|v| set(v, "/createdAt", LONG_AGO));
    }),
    request("create/default-for-everybody", "`snapshot` is ignored", &["createSandbox"], |q| {
        q.edit(|v| drop(remove(v, "/snapshot")));
    }),
    request("create/variables-trimmed", "blanks at the ends of variables are lost", &["createSandbox"], |q| {
        q.edit(|v| string(v, "/env/BLANKS", |text| text.trim().to_owned()));
    }),
    answer_in("lifecycle/stop-wants-started", "a stop's answer wants `started`", &["stopSandbox"], ANSWERS, |_, a| {
        a.edit(|v| set(v, "/desiredState", "started"));
    }),
    answer_in("lifecycle/start-loses-labels", "a start's answer has no labels", &["startSandbox"], ANSWERS, |_, a| {
        a.edit(|v| set(v, "/labels", json!({})));
    }),
    answer_in("lifecycle/never-updated", "`updatedAt` stays `createdAt`", &["getSandbox"], ANSWERS, |_, a| {
        a.edit(|v| {
            let created = v["createdAt"].clone();
            set(v, "/updatedAt", created);
        });
    }),
    answer_in("lists/items-always-started", "every item is started", &["listSandboxes"], ITEMS, |_, a| {
        a.edit(|v| each(v, "/items", |item| set(item, "/state", "started")));
    }),
    answer_in("lists/items-of-99-cpus", "every item has 99 cpus", &["listSandboxes"], ITEMS, |_, a| {
        a.edit(|v| each(v, "/items", |item| set(item, "/cpu", 99)));
    }),
    request_in("lists/cpu-is-name", "sorting by cpu sorts by name", &["listSandboxes"], ORDER, |q| {
        if q.query("sort").as_deref() == Some("cpu") {
            q.set_query("sort", Some("name"));
        }
    }),
    request_in("lists/default-is-name", "without an order, names count", &["listSandboxes"], ORDER, |q| {
        if q.query("sort").is_none() {
            q.set_query("sort", Some("name"));
            q.set_query("order", Some("asc"));
        }
    }),
    request("lists/disk-filter-ignored", "`minDiskGiB` doesn't filter", &["listSandboxes"], |q| {
        q.set_query("minDiskGiB", None);
    }),
    request("lists/end-filter-ignored", "`autoDestroyAtBefore` doesn't filter", &["listSandboxes"], |q| {
        q.set_query("autoDestroyAtBefore", None);
    }),
    answer("settings/interval-answered-late", "the answer has the old interval", &["setAutostopInterval"], |_, a| {
        a.edit(|v| set(v, "/autoStopInterval", 15));
    }),
    answer("settings/activity-is-200", "told activity is answered 200", &["updateLastActivity"], |_, a| {
        a.restatus(201, 200);
    }),
    request_in(
        "previews/expiry-ignored",
        "every signed link lives for ten minutes",
        &["getSignedPortPreviewUrl"],
        &["previews/signed_links_open_and_end"],
        |q| q.set_query("expiresInSeconds", Some("600")),
    ),
    preview("previews/trailing-byte", "a byte too many", Change::Answer(|_, a| a.bytes(|bytes| bytes.push(b'\n')))),
    preview(
        "previews/cookies-are-lost",
        "cookies don't reach the program",
        Change::Request(|q| drop(q.headers.remove("cookie"))),
    ),
    preview("previews/no-websockets", "nothing is upgraded", Change::Request(|q| drop(q.headers.remove("upgrade")))),
    request_in(
        "auth/websockets-need-no-key",
        "who wants a WebSocket needs no key",
        &["GetSessionCommandLogs", "ConnectPtySession"],
        UPGRADES,
        |q| {
            if q.headers.contains_key("upgrade") {
                q.allow();
            }
        },
    ),
    answer("files/list-without-sizes", "every file in a list is empty", &["ListFiles"], |_, a| {
        a.edit(|v| each(v, "", |item| set(item, "/size", 0)));
    }),
    answer("pty/of-1970", "a terminal is of 1970", &["GetPtySession", "ListPtySessions"], |_, a| {
        a.edit(|v| {
            set(v, "/createdAt", LONG_AGO);
            each(v, "/sessions", |one| set(one, "/createdAt", LONG_AGO));
        });
    }),
    down(
        "interpreter/chunks-are-binary",
        "chunks come in binary frames",
        &["ExecuteInterpreterCode"],
        |flow, message| {
            flow.pass(if message.is_text() { Message::binary(message.into_data()) } else { message });
        },
    ),
    answer_in("git/never-behind", "a branch is never behind", &["GetStatus"], STEP, |_, a| {
        a.edit(|v| set(v, "/behind", 0));
    }),
    answer_in("git/oldest-first", "the history begins with the oldest", &["GetCommitHistory"], STEP, |_, a| {
        a.edit(|v| list(v, "", |commits| commits.reverse()));
    }),
    request("git/push-what-is-there", "`branch` of a push is ignored", &["PushChanges"], |q| {
        q.edit(|v| drop(remove(v, "/branch")));
    }),
    answer("machine/disk-is-full", "no disk is free", &["GetSystemMetrics"], |_, a| a.edit(|v| set(v, "/diskFree", 0))),
    answer_in("snapshots/general-first", "those that everybody has come first", &["getAllSnapshots"], PAGES, |_, a| {
        a.edit(|v| list(v, "/items", |items| items.reverse()));
    }),
    answer_in("snapshots/one-page", "all is one page", &["getAllSnapshots"], PAGES, |_, a| {
        a.edit(|v| set(v, "/totalPages", 7));
    }),
    answer("volumes/listed-by-id", "the list has ids for names", &["listVolumes"], |_, a| {
        a.edit(|v| {
            each(v, "", |volume| {
                let id = volume["id"].clone();
                set(volume, "/name", id);
            });
        });
    }),
    answer("registries/internal", "a registry is an internal one", &["createRegistry", "getRegistry"], |_, a| {
        a.edit(|v| set(v, "/registryType", "internal"));
    }),
    request("secrets/new-value-lost", "a changed value is dropped", &["updateSecret"], |q| {
        q.edit(|v| drop(remove(v, "/value")));
    }),
    answer("api_keys/listed-without-permissions", "listed keys have no permissions", &["listApiKeys"], |_, a| {
        a.edit(|v| each(v, "", |key| set(key, "/permissions", json!([]))));
    }),
    Mutant::new(
        "events/in-binary-frames",
        "events come in binary frames",
        On::Path("/socket.io/", &["events/states_are_told_in_order"]),
        Change::Down(|flow, message| {
            flow.pass(if message.is_text() { Message::binary(message.into_data()) } else { message });
        }),
    ),
    Mutant::new(
        "events/wishes-are-lost",
        "what is wanted is not told",
        On::Path("/socket.io/", &["events/states_are_told_in_order"]),
        Change::Down(|flow, message| {
            if !message.to_text().is_ok_and(|text| text.contains("desired-state.updated")) {
                flow.pass(message);
            }
        }),
    ),
];
