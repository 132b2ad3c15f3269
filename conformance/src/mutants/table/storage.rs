//! Volumes, object storage, and snapshots made of both.

use super::prelude::*;

const READY: Names = &["volumes/a_volume_becomes_ready"];
const DELETED: Names = &["volumes/deleted_is_gone_and_remembered"];
const SHARED: Names = &["volumes/sandboxes_share_a_volume"];
const USED: Names = &["volumes/used_is_kept"];
const PERMISSIONS: Names = &["volumes/permissions_are_needed"];
const OTHERS: Names = &["volumes/others_see_nothing"];
const ACCESS: Names = &["object_storage/push_access_is_given"];

/// Requests for the objects themselves: S3, so no operation of the contract.
const fn object(id: &'static str, what: &'static str, scenarios: Names, change: Change) -> Mutant {
    Mutant::new(id, what, On::Path("/context.tar", scenarios), change)
}

pub(super) const MUTANTS: &[Mutant] = &[
    answer_in("volumes/created-with-201", "a new volume is answered 201", &["createVolume"], READY, |_, a| {
        a.restatus(200, 201);
    }),
    answer_in("volumes/ready-at-once", "a new volume is said to be ready", &["createVolume"], READY, |_, a| {
        a.edit(|v| set(v, "/state", "ready"));
    }),
    answer_in("volumes/not-listed", "the list of volumes is empty", &["listVolumes"], READY, |_, a| {
        a.edit(|v| *v = json!([]));
    }),
    answer_in("volumes/used-before", "a new volume was used already", &["getVolume"], READY, |_, a| {
        a.edit(|v| put(v, "lastUsedAt", "2026-01-01T00:00:00.000Z"));
    }),
    request_in("volumes/deleted-are-listed", "the list has deleted volumes", &["listVolumes"], DELETED, |q| {
        q.set_query("includeDeleted", Some("true"));
    }),
    request_in("volumes/deleted-are-forgotten", "`includeDeleted` is ignored", &["listVolumes"], DELETED, |q| {
        q.set_query("includeDeleted", None);
    }),
    answer_in("volumes/deleted-keep-their-name", "a deleted volume keeps its name", &["getVolume"], DELETED, |_, a| {
        a.edit(|v| string(v, "/name", |name| name.trim_end_matches("-deleted").to_owned()));
    }),
    answer_in("volumes/deleted-twice", "a volume can be deleted again", &["deleteVolume"], DELETED, |_, a| {
        a.restatus(400, 200);
    }),
    answer("volumes/name-taken-is-409", "a name that is taken is 409", &["createVolume"], |_, a| a.restatus(400, 409)),
    answer_in(
        "volumes/unknown-says-volume",
        "an unknown volume has another message",
        &["getVolume", "deleteVolume"],
        &["volumes/unknown_volume_is_not_found"],
        |_, a| a.edit_error(|v| set(v, "/message", "Volume not found")),
    ),
    request_in(
        "volumes/mounts-not-checked",
        "whatever is to be mounted, the sandbox is made",
        &["createSandbox"],
        &["volumes/mounts_are_checked"],
        |q| q.edit(|v| drop(remove(v, "/volumes"))),
    ),
    answer_in(
        "volumes/paths-in-other-words",
        "a bad path is refused with another message",
        &["createSandbox"],
        &["volumes/mounts_are_checked"],
        |_, a| {
            a.edit_error(|v| {
                string(v, "/message", |text| text.replace("cannot contain consecutive slashes", "has `//`"))
            })
        },
    ),
    request_in("volumes/subpath-ignored", "`subpath` of a mount is ignored", &["createSandbox"], SHARED, |q| {
        q.edit(|v| each(v, "/volumes", |mount| drop(remove(mount, "/subpath"))));
    }),
    request_in("volumes/nothing-mounted", "a sandbox has a directory of its own", &["createSandbox"], SHARED, |q| {
        q.edit(|v| drop(remove(v, "/volumes")));
    }),
    answer_in("volumes/mounts-not-told", "a sandbox doesn't tell its volumes", &["getSandbox"], SHARED, |_, a| {
        a.edit(|v| set(v, "/volumes", json!([])));
    }),
    answer_in("volumes/never-used", "`lastUsedAt` stays null", &["getVolume"], SHARED, |_, a| {
        a.edit(|v| put(v, "lastUsedAt", Value::Null));
    }),
    answer_in("volumes/used-ones-go", "a volume in use is deleted", &["deleteVolume"], USED, |_, a| {
        a.restatus(409, 200);
    }),
    answer_in("volumes/user-not-named", "the refusal doesn't say who uses it", &["deleteVolume"], USED, |_, a| {
        a.edit_error(|v| string(v, "/message", |text| text.split(" (e.g.").next().unwrap_or_default().to_owned()));
    }),
    request_in("volumes/any-key-lists", "a key without rights lists volumes", &["listVolumes"], PERMISSIONS, |q| {
        q.allow();
    }),
    request_in("volumes/any-key-creates", "a key without rights makes volumes", &["createVolume"], PERMISSIONS, |q| {
        q.allow();
    }),
    request_in("volumes/any-key-deletes", "a key without rights deletes them", &["deleteVolume"], PERMISSIONS, |q| {
        q.allow();
    }),
    request_in("volumes/others-read", "other organisations read a volume", &["getVolume"], OTHERS, Asked::allow),
    request_in("volumes/others-delete", "other organisations delete a volume", &["deleteVolume"], OTHERS, Asked::allow),
    answer_in("volumes/others-mount", "other organisations mount a volume", &["createSandbox"], OTHERS, |_, a| {
        a.restatus(404, 200);
    }),
    answer_in("object_storage/no-token", "access has no session token", &["getPushAccess"], ACCESS, |_, a| {
        a.edit(|v| set(v, "/sessionToken", ""));
    }),
    answer_in("object_storage/no-scheme", "the storage's address has no scheme", &["getPushAccess"], ACCESS, |_, a| {
        a.edit(|v| string(v, "/storageUrl", |url| url.split("://").nth(1).unwrap_or_default().to_owned()));
    }),
    answer_in("object_storage/secret-renamed", "the secret is `secretKey`", &["getPushAccess"], ACCESS, |_, a| {
        a.edit(|v| rename(v, "/secret", "secretKey"));
    }),
    request_in(
        "object_storage/any-key-pushes",
        "a key without rights gets access",
        &["getPushAccess"],
        &["object_storage/permissions_are_needed"],
        Asked::allow,
    ),
    request_in(
        "object_storage/one-for-all",
        "every organisation gets the same access",
        &["getPushAccess"],
        &["object_storage/strangers_are_denied"],
        Asked::allow,
    ),
    object(
        "object_storage/strangers-read",
        "credentials of others open an object",
        &["object_storage/strangers_are_denied"],
        Change::Answer(|_, a| a.restatus(403, 200)),
    ),
    object(
        "object_storage/etag-of-nothing",
        "every object has the same ETag",
        &["object_storage/objects_come_and_go"],
        Change::Answer(|_, a| a.set_header("etag", "\"d41d8cd98f00b204e9800998ecf8427e\"")),
    ),
    object(
        "object_storage/ranges-ignored",
        "a range is answered with the whole object",
        &["object_storage/objects_come_and_go"],
        Change::Request(|q| drop(q.headers.remove("range"))),
    ),
    object(
        "object_storage/deleted-is-there",
        "a deleted object is still there",
        &["object_storage/objects_come_and_go"],
        Change::Answer(|q, a| {
            if q.method == hyper::Method::GET {
                a.restatus(404, 200);
            }
        }),
    ),
    Mutant::new(
        "object_storage/list-is-empty",
        "no object is listed",
        On::Path("/", &["object_storage/objects_come_and_go"]),
        Change::Answer(|q, a| {
            if q.query("list-type").is_some() {
                a.text(|text| text.replace("<Key>", "<Name>").replace("</Key>", "</Name>"));
            }
        }),
    ),
    object(
        "object_storage/part-lost",
        "the last part of an object is lost",
        &["object_storage/parts_become_an_object"],
        Change::Request(|q| {
            // Of the list that completes the upload.
            q.text(|text| match text.match_indices("<Part>").nth(1) {
                Some((at, _)) => format!("{}</CompleteMultipartUpload>", &text[..at]),
                None => text.to_owned(),
            });
        }),
    ),
    object(
        "object_storage/there-before-it-is-complete",
        "an object is there before its last part",
        &["object_storage/parts_become_an_object"],
        Change::Answer(|_, a| a.restatus(404, 200)),
    ),
    request_in(
        "object_storage/context-ignored",
        "a build has no files of its context",
        &["createSnapshot"],
        &["object_storage/a_context_is_built"],
        |q| q.edit(|v| drop(remove(v, "/buildInfo/contextHashes"))),
    ),
    answer_in(
        "object_storage/missing-context-is-fine",
        "a build without its context succeeds",
        &["getSnapshot"],
        &["object_storage/a_missing_context_fails"],
        |_, a| {
            a.edit(|v| {
                if v["state"] == "error" || v["state"] == "build_failed" {
                    set(v, "/state", "active");
                }
            });
        },
    ),
    answer_in(
        "object_storage/missing-context-without-reason",
        "a build without its context fails without a reason",
        &["getSnapshot"],
        &["object_storage/a_missing_context_fails"],
        |_, a| a.edit(|v| set(v, "/errorReason", Value::Null)),
    ),
    answer_in(
        "snapshots/log-not-there",
        "a build has no old build log",
        &["getSnapshotBuildLogs"],
        &["snapshots/a_dockerfile_is_built"],
        |_, a| a.restatus(200, 404),
    ),
    answer("snapshots/activated-twice", "what is active can be activated", &["activateSnapshot"], |_, a| {
        a.restatus(400, 200)
    }),
    request_in(
        "snapshots/another-name",
        "a snapshot of a sandbox gets another name",
        &["createSandboxSnapshot"],
        &["snapshots/a_sandbox_is_kept"],
        |q| q.edit(|v| string(v, "/name", |name| format!("{name}-copy"))),
    ),
    answer_in("volumes/by-name-is-another", "a name leads to another id", &["getVolumeByName"], READY, |_, a| {
        a.edit(|v| set(v, "/id", "00000000-0000-4000-8000-000000000000"));
    }),
];
