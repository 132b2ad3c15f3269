//! Archives, sizes, links, and what only virtual machines can.

use super::prelude::*;

const KEEP: Names = &["archives/archive_and_restore_keep_files"];
const GROW: Names = &["resizes/started_ones_grow"];
const CHANGE: Names = &["resizes/stopped_ones_change"];
const RULES: Names = &["resizes/rules_are_told"];
const LINKED: Names = &["linked/names_resolve_both_ways"];
const LINKS: Names = &["linked/links_are_checked"];
const CLASSES: Names = &["machines/class_comes_from_the_snapshot"];
const MEMORY: Names = &["machines/pause_keeps_memory"];
const PAUSED: Names = &["machines/paused_ones_refuse"];
const INTERVALS: Names = &["machines/auto_pause_excludes_auto_stop"];
const FORK: Names = &["machines/fork_copies_files"];
const FAMILY: Names = &["machines/family_is_told"];

pub(super) const MUTANTS: &[Mutant] = &[
    answer_in("machines/hidden", "no snapshot is said to be of a machine", &["getAllSnapshots"], CLASSES, |_, a| {
        a.edit(|v| {
            each(v, "/items", |item| {
                set(item, "/general", false);
                set(item, "/sandboxClass", "container");
            });
        });
    }),
    answer_in("archives/archived-at-once", "archiving is answered as done", &["archiveSandbox"], KEEP, |_, a| {
        a.edit(|v| set(v, "/state", "archived"));
    }),
    answer_in("archives/no-backup", "an archived sandbox has no backup", &["getSandbox"], KEEP, |_, a| {
        a.edit(|v| {
            if v["state"] == "archived" {
                set(v, "/backupState", "None");
            }
        });
    }),
    answer_in("archives/runner-kept", "an archived sandbox is on a runner", &["getSandbox"], KEEP, |_, a| {
        a.edit(|v| {
            if v["state"] == "archived" {
                put(v, "runnerId", "00000000-0000-4000-8000-000000000000");
            }
        });
    }),
    answer_in("archives/links-are-copies", "hard links come back as copies", &["ExecuteCommand"], KEEP, |_, a| {
        a.text(|text| text.replace("751 2", "751 1"));
    }),
    answer_in("archives/directories-lost", "empty directories don't come back", &["ExecuteCommand"], KEEP, |_, a| {
        a.text(|text| text.replace("a/b\\n", ""));
    }),
    answer_in(
        "archives/started-at-once",
        "the start of an archived sandbox is answered as done",
        &["startSandbox"],
        &["archives/start_answers_before_the_restoration"],
        |_, a| a.edit(|v| set(v, "/state", "started")),
    ),
    answer_in(
        "archives/started-ones-too",
        "a started sandbox is archived",
        &["archiveSandbox"],
        &["archives/only_stopped_ones"],
        |_, a| a.restatus(400, 200),
    ),
    answer_in(
        "archives/no-way-back",
        "a start while it is archived is refused",
        &["startSandbox"],
        &["archives/start_or_delete_ends_it"],
        |_, a| a.restatus(200, 409),
    ),
    answer_in(
        "archives/archived-ones-grow",
        "an archived sandbox is resized",
        &["resizeSandbox"],
        &["archives/archived_ones_refuse"],
        |_, a| a.restatus(400, 200),
    ),
    answer_in(
        "archives/no-links",
        "an archived sandbox has no preview links",
        &["getPortPreviewUrl"],
        &["archives/archived_ones_refuse"],
        |_, a| a.restatus(200, 400),
    ),
    answer_in("resizes/done-at-once", "a resize is answered with the new numbers", &["resizeSandbox"], GROW, |_, a| {
        a.edit(|v| {
            let cpu = v["cpu"].as_f64().unwrap_or_default();
            set(v, "/cpu", cpu + 1.0);
        });
    }),
    answer_in("resizes/answers-started", "a resize is answered as `started`", &["resizeSandbox"], GROW, |_, a| {
        a.edit(|v| set(v, "/state", "started"));
    }),
    answer_in("resizes/nothing-grows", "the numbers stay as they were", &["getSandbox"], GROW, |_, a| {
        a.edit(|v| set(v, "/cpu", 1));
    }),
    request_in("resizes/disk-ignored", "`disk` of a resize is ignored", &["resizeSandbox"], CHANGE, |q| {
        q.edit(|v| drop(remove(v, "/disk")));
    }),
    answer_in("resizes/stopped-ones-start", "a resize starts what is stopped", &["resizeSandbox"], CHANGE, |_, a| {
        a.edit(|v| {
            if v["desiredState"] == "stopped" {
                set(v, "/desiredState", "started");
            }
        });
    }),
    answer_in("resizes/everything-goes", "what can't be is answered 200", &["resizeSandbox"], RULES, |_, a| {
        a.restatus(400, 200);
    }),
    answer_in("resizes/memory-shrinks", "memory shrinks while it is used", &["resizeSandbox"], RULES, |_, a| {
        if String::from_utf8_lossy(&a.body).contains("decrease memory") {
            a.restatus(400, 200);
        }
    }),
    answer_in("linked/link-not-told", "a linked sandbox doesn't say so", &["getSandbox"], LINKED, |_, a| {
        a.edit(|v| put(v, "linkedSandboxId", Value::Null));
    }),
    request_in("linked/names-unknown", "the other's name doesn't resolve", &["ExecuteCommand"], LINKED, |q| {
        q.edit(|v| string(v, "/command", |command| command.replace("http://conformance", "http://x-conformance")));
    }),
    answer_in("linked/lasting-ones", "a lasting sandbox is linked", &["createSandbox"], LINKS, |_, a| {
        a.restatus(400, 200);
    }),
    answer_in("linked/unknown-is-400", "a link to nothing is 400", &["createSandbox"], LINKS, |_, a| {
        a.restatus(404, 400);
    }),
    request_in("linked/chains", "links can be chained", &["createSandbox"], LINKS, |q| {
        if q.number == 4 {
            q.edit(|v| drop(remove(v, "/linkedSandbox")));
        }
    }),
    answer_in(
        "machines/class-not-taken-over",
        "a machine's sandbox is told as a container",
        &["createSandbox"],
        &["machines/class_comes_from_the_snapshot"],
        |_, a| a.edit(|v| set(v, "/sandboxClass", "container")),
    ),
    answer_in(
        "machines/stops-instead",
        "an idle machine stops instead of pausing",
        &["createSandbox"],
        &["machines/class_comes_from_the_snapshot"],
        |_, a| a.edit(|v| swap(v, "autoStopInterval", "autoPauseInterval")),
    ),
    answer_in(
        "machines/pause-answers-started",
        "a pause is answered as `started`",
        &["pauseSandbox"],
        MEMORY,
        |_, a| {
            a.edit(|v| set(v, "/state", "started"));
        },
    ),
    answer_in("machines/paused-ones-run", "a paused machine runs commands", &["ExecuteCommand"], MEMORY, |_, a| {
        a.restatus(400, 200);
    }),
    request_in("machines/memory-lost", "a pause forgets the memory", &["SessionExecuteCommand"], MEMORY, |q| {
        q.edit(|v| string(v, "/command", |command| command.replace("KEPT=memory", "KEPT=")));
    }),
    answer_in("machines/paused-twice", "what is paused can be paused", &["pauseSandbox"], PAUSED, |_, a| {
        a.restatus(400, 200);
    }),
    answer_in("machines/paused-ones-fork", "what is paused can be forked", &["forkSandbox"], PAUSED, |_, a| {
        a.restatus(400, 200);
    }),
    answer_in("machines/paused-is-stopped", "a paused machine is told as stopped", &["getSandbox"], PAUSED, |q, a| {
        if q.number > 1 {
            a.edit(|v| {
                if v["state"] == "paused" {
                    set(v, "/state", "stopped");
                }
            });
        }
    }),
    answer_in(
        "machines/both-intervals",
        "auto-stop and auto-pause are both on",
        &["createSandbox"],
        INTERVALS,
        |_, a| {
            a.restatus(400, 200);
        },
    ),
    answer_in(
        "machines/pause-on-top",
        "auto-pause comes on top of auto-stop",
        &["setAutoPauseInterval"],
        INTERVALS,
        |_, a| {
            a.restatus(400, 200);
        },
    ),
    answer_in("machines/fork-is-empty", "a fork has none of the files", &["DownloadFile"], FORK, |q, a| {
        if q.number == 0 {
            a.restatus(200, 404);
        }
    }),
    answer_in("machines/fork-shares-files", "a fork and its origin have one disk", &["DownloadFile"], FORK, |q, a| {
        if q.number > 0 {
            a.bytes(|bytes| *bytes = b"fork".to_vec());
        }
    }),
    answer_in("machines/fork-without-labels", "a fork has no labels", &["forkSandbox"], FORK, |_, a| {
        a.edit(|v| set(v, "/labels", json!({"conformance": "true"})));
    }),
    request_in("machines/fork-name-ignored", "a fork's name is ignored", &["forkSandbox"], FORK, |q| {
        q.edit(|v| drop(remove(v, "/name")));
    }),
    answer_in("machines/no-forks", "a machine has no forks", &["getSandboxForks"], FAMILY, |_, a| {
        a.edit(|v| *v = json!([]));
    }),
    answer_in("machines/oldest-last", "the oldest ancestor comes last", &["getSandboxAncestors"], FAMILY, |_, a| {
        a.edit(|v| list(v, "", |all| all.reverse()));
    }),
    answer_in("machines/own-parent", "a fork is its own parent", &["getSandboxParent"], FAMILY, |q, a| {
        let own = q.path().split('/').nth(3).unwrap_or_default().to_owned();
        a.edit(|v| set(v, "/id", own));
    }),
    answer_in(
        "machines/parents-go-first",
        "who has forks is deleted",
        &["deleteSandbox"],
        &["machines/parents_outlive_forks"],
        |_, a| a.restatus(400, 200),
    ),
    answer_in(
        "machines/stopped-ones-fork",
        "a stopped machine is forked",
        &["forkSandbox"],
        &["machines/fork_refuses"],
        |_, a| a.restatus(400, 200),
    ),
    answer_in(
        "machines/fork-takes-a-name",
        "a fork gets a name that is taken",
        &["forkSandbox"],
        &["machines/fork_refuses"],
        |_, a| a.restatus(409, 200),
    ),
];
