//! Creation, states and their changes.

use super::prelude::*;

/// The sandbox is answered as it is, and nothing is done to it.
fn only_read(asked: &mut Asked) {
    asked.method = hyper::Method::GET;
    asked.target = asked.path().trim_end_matches("/stop").to_owned();
}

pub(super) const MUTANTS: &[Mutant] = &[
    answer("create/answered-with-201", "a new sandbox is answered 201", &["createSandbox"], |_, a| {
        a.restatus(200, 201)
    }),
    answer("create/state-is-unknown", "a new sandbox is in an undocumented state", &["createSandbox"], |_, a| {
        a.edit(|v| set(v, "/state", "warming"));
    }),
    answer(
        "create/desired-state-missing",
        "a sandbox doesn't say which state is wanted",
        &["createSandbox"],
        |_, a| {
            a.edit(|v| drop(remove(v, "/desiredState")));
        },
    ),
    answer("create/cpu-as-text", "the number of CPUs is text", &["createSandbox"], |_, a| {
        a.edit(|v| set(v, "/cpu", "1"));
    }),
    answer("create/time-without-zone", "times have no zone", &["createSandbox"], |_, a| {
        a.edit(|v| string(v, "/createdAt", |time| time.replace('Z', "")));
    }),
    answer("create/labels-renamed", "labels are called `tags`", &["createSandbox"], |_, a| {
        a.edit(|v| rename(v, "/labels", "tags"));
    }),
    request("create/labels-dropped", "labels of a creation are dropped", &["createSandbox"], |q| {
        q.edit(|v| drop(remove(v, "/labels")));
    }),
    request("create/environment-dropped", "variables of a creation are dropped", &["createSandbox"], |q| {
        q.edit(|v| drop(remove(v, "/env")));
    }),
    request("create/name-dropped", "names of a creation are dropped", &["createSandbox"], |q| {
        q.edit(|v| drop(remove(v, "/name")));
    }),
    request("create/public-dropped", "`public` of a creation is dropped", &["createSandbox"], |q| {
        q.edit(|v| drop(remove(v, "/public")));
    }),
    request_in(
        "create/names-twice",
        "a name that is taken gets another number",
        &["createSandbox"],
        &["create/names_are_unique"],
        |q| {
            let number = q.number;
            q.edit(|v| string(v, "/name", |name| format!("{name}{number}")));
        },
    ),
    answer("create/conflict-is-400", "a name that is taken is 400", &["createSandbox"], |_, a| a.restatus(409, 400)),
    answer("create/unknown-snapshot-is-404", "an unknown snapshot is 404", &["createSandbox"], |_, a| {
        if String::from_utf8_lossy(&a.body).contains("napshot") {
            a.restatus(400, 404);
        }
    }),
    answer(
        "create/validation-in-other-words",
        "messages about bad fields have a full stop",
        &["createSandbox"],
        |_, a| {
            if a.status == 400 {
                a.edit_error(|v| string(v, "/message", |text| format!("{text}.")));
            }
        },
    ),
    answer("create/unknown-fields-refused", "fields that nobody knows are refused", &["createSandbox"], |q, a| {
        if q.number > 0 {
            a.restatus(200, 400);
        }
    }),
    answer("create/found-by-prefix", "half an id finds a sandbox", &["getSandbox"], |_, a| a.restatus(404, 200)),
    stale("lifecycle/state-is-stale", "a sandbox is always told as it was first", &["getSandbox"]),
    answer("lifecycle/toolbox-url-missing", "a sandbox doesn't say where its toolbox is", &["getSandbox"], |_, a| {
        a.edit(|v| drop(remove(v, "/toolboxProxyUrl")));
    }),
    answer("lifecycle/unknown-is-400", "an unknown sandbox is 400", &["startSandbox", "stopSandbox"], |_, a| {
        a.restatus(404, 400);
    }),
    answer_in(
        "lifecycle/unknown-with-quotes",
        "the message about an unknown sandbox quotes its name",
        &["stopSandbox"],
        &["lifecycle/unknown_sandbox_is_not_found"],
        |_, a| a.edit_error(|v| string(v, "/message", |text| text.replace("name ", "name \""))),
    ),
    answer("lifecycle/stop-answers-started", "stop answers the state before", &["stopSandbox"], |_, a| {
        a.edit(|v| set(v, "/state", "started"));
    }),
    answer(
        "lifecycle/start-answers-starting",
        "start answers `starting` where it is done",
        &["startSandbox"],
        |_, a| {
            a.edit(|v| set(v, "/state", "starting"));
        },
    ),
    request_in(
        "lifecycle/stop-does-nothing",
        "stop is answered and not done",
        &["stopSandbox"],
        &["lifecycle/stop_and_start_keep_files"],
        only_read,
    ),
    answer_in(
        "lifecycle/second-stop-is-fine",
        "stopping what is stopped is 200",
        &["stopSandbox"],
        &["lifecycle/illegal_when_stopped", "lifecycle/one_of_many_stops_wins"],
        |_, a| {
            a.restatus(400, 200);
            a.restatus(409, 200);
        },
    ),
    answer("lifecycle/pause-is-501", "pausing what can't be paused is 501", &["pauseSandbox"], |_, a| {
        a.restatus(422, 501)
    }),
    answer("lifecycle/recover-is-409", "recovering what isn't broken is 409", &["recoverSandbox"], |_, a| {
        a.restatus(400, 409);
    }),
    answer("lifecycle/fork-in-other-words", "forking is refused with another message", &["forkSandbox"], |_, a| {
        a.edit_error(|v| set(v, "/message", "Not supported"));
    }),
    answer_in(
        "lifecycle/state-of-a-table-gone-wrong",
        "a sandbox that is stopped is told as `pausing`",
        &["getSandbox"],
        &["lifecycle/any_sequence_stays_in_the_table"],
        |_, a| {
            a.edit(|v| {
                if v["state"] == "stopped" {
                    set(v, "/state", "pausing");
                }
            });
        },
    ),
    request_in(
        "lifecycle/delete-does-nothing",
        "a deletion is answered and not done",
        &["deleteSandbox"],
        &["lifecycle/delete*", "lifecycle/one_of_many_deletes_wins"],
        only_read,
    ),
    answer(
        "lifecycle/delete-keeps-the-name",
        "a sandbox that is destroyed keeps its name",
        &["deleteSandbox"],
        |_, a| {
            a.edit(|v| string(v, "/name", |name| name.replace("DESTROYED_", "")));
        },
    ),
    answer_in(
        "lifecycle/every-delete-wins",
        "each of several deletes is 200",
        &["deleteSandbox"],
        &["lifecycle/one_of_many_deletes_wins"],
        |_, a| {
            a.restatus(404, 200);
            a.restatus(409, 200);
        },
    ),
    answer_in(
        "lifecycle/destroyed-is-listed",
        "a deleted sandbox is found by its id",
        &["getSandbox"],
        &["lifecycle/delete_goes_through_destroying"],
        |_, a| a.restatus(404, 410),
    ),
    request_in(
        "lifecycle/ephemeral-stays",
        "interval 0 doesn't delete on stop",
        &["createSandbox"],
        &["lifecycle/ephemeral_is_gone_after_stop"],
        |q| q.edit(|v| set(v, "/autoDeleteInterval", 60)),
    ),
    answer_in(
        "lifecycle/stopped-toolbox-is-502",
        "the toolbox of a stopped sandbox is 502",
        &["ExecuteCommand"],
        &["lifecycle/toolbox_of_a_stopped_sandbox"],
        |_, a| a.restatus(400, 502),
    ),
    answer("lifecycle/forks-are-null", "no forks are `null` instead of `[]`", &["getSandboxForks"], |_, a| {
        a.text(|_| "null".to_owned());
    }),
    answer("lifecycle/orphan-is-400", "no parent is 400", &["getSandboxParent"], |_, a| a.restatus(404, 400)),
    answer("lifecycle/backup-stops", "a backup says that the sandbox is stopped", &["createBackup"], |_, a| {
        a.edit(|v| set(v, "/state", "stopped"));
    }),
    answer_in(
        "lifecycle/ancestors-are-null",
        "no ancestors are `null` instead of `[]`",
        &["getSandboxAncestors"],
        &["lifecycle/no_family"],
        |_, a| a.text(|_| "null".to_owned()),
    ),
];
