//! Keys, organisations, and what is open to whom.

use super::prelude::*;

pub(super) const MUTANTS: &[Mutant] = &[
    request("auth/no-key-is-fine", "the API answers without a key", &["listSandboxes", "getSandbox"], |q| {
        if q.header("authorization").is_empty() {
            q.allow();
        }
    }),
    request("auth/any-key-is-fine", "the API takes any key", &["listSandboxes"], |q| {
        if !q.header("authorization").is_empty() {
            q.allow();
        }
    }),
    request("auth/basic-is-fine", "a key counts with the scheme Basic", &["listSandboxes"], |q| {
        if q.header("authorization").starts_with("Basic ") {
            q.allow();
        }
    }),
    request("auth/x-api-key-is-fine", "a key counts in `X-Api-Key`", &["listSandboxes"], |q| {
        if !q.header("x-api-key").is_empty() {
            q.allow();
        }
    }),
    answer("auth/refused-with-403", "a wrong key is 403 instead of 401", &["listSandboxes"], |_, a| {
        a.restatus(401, 403)
    }),
    answer("auth/refused-in-other-words", "a wrong key is refused with `Unauthorized`", &["getSandbox"], |_, a| {
        if a.status == 401 {
            a.edit_error(|v| set(v, "/message", "Unauthorized"));
        }
    }),
    request_in(
        "auth/organisations-are-mixed",
        "sandboxes of other organisations are readable",
        &["getSandbox"],
        &["auth/other_organization_sees_nothing"],
        Asked::allow,
    ),
    request_in(
        "auth/lists-show-others",
        "lists have the sandboxes of other organisations",
        &["listSandboxes"],
        &["auth/other_organization_sees_nothing"],
        Asked::allow,
    ),
    request_in(
        "auth/others-may-change",
        "labels of another organisation's sandboxes can be replaced",
        &["replaceLabels"],
        &["auth/other_organization_sees_nothing"],
        Asked::allow,
    ),
    answer_in(
        "auth/hidden-is-403",
        "what belongs to others is 403 instead of 404",
        &["startSandbox"],
        &["auth/other_organization_sees_nothing"],
        |_, a| a.restatus(404, 403),
    ),
    request("auth/toolbox-is-open", "the toolbox answers without a key", &["GetVersion", "ListFiles"], |q| {
        if q.header("authorization").is_empty() {
            q.allow();
        }
    }),
    request_in(
        "auth/toolbox-takes-any-key",
        "the toolbox runs commands for any key",
        &["ExecuteCommand"],
        &["auth/toolbox_of_others_is_closed"],
        Asked::allow,
    ),
    request("auth/preview-token-refused", "the toolbox doesn't know preview tokens", &["GetVersion"], |q| {
        q.headers.remove("x-daytona-preview-token");
        q.set_query("DAYTONA_SANDBOX_AUTH_KEY", None);
    }),
    answer("auth/config-needs-a-key", "the configuration needs a key", &["ConfigController_getConfig"], |q, a| {
        if q.header("authorization").is_empty() {
            a.restatus(200, 401);
        }
    }),
    answer("api_keys/value-is-listed", "lists show the whole value of a key", &["listApiKeys"], |q, a| {
        a.edit(|v| each(v, "", |key| set(key, "/value", &*q.key)));
    }),
    answer("api_keys/prefix-missing", "a new key's value has no `dtn_`", &["createApiKey"], |_, a| {
        a.edit(|v| string(v, "/value", |value| value.replacen("dtn_", "", 1)));
    }),
    answer("api_keys/created-with-200", "a new key is answered 200", &["createApiKey"], |_, a| a.restatus(201, 200)),
    ignored_in(
        "api_keys/deletion-is-forgotten",
        "a deleted key still works",
        &["deleteApiKey"],
        &["api_keys/deleted_key_is_refused_at_once"],
        204,
        "",
    ),
    request("api_keys/never-expires", "`expiresAt` of a key is ignored", &["createApiKey"], |q| {
        q.edit(|v| drop(remove(v, "/expiresAt")));
    }),
    request_in(
        "api_keys/permissions-ignored",
        "a key may do everything",
        &["createApiKey"],
        &["api_keys/permissions_are_enforced", "api_keys/writing_is_not_deleting"],
        |q| {
            q.edit(|v| set(v, "/permissions", json!(["write:sandboxes", "delete:sandboxes"])));
        },
    ),
    answer("api_keys/double-name-is-400", "a name that is taken is 400", &["createApiKey"], |_, a| {
        a.restatus(409, 400)
    }),
    request_in(
        "api_keys/deleting-is-writing",
        "a key that may write may delete",
        &["deleteSandbox"],
        &["api_keys/writing_is_not_deleting"],
        Asked::allow,
    ),
    answer(
        "api_keys/current-shows-others",
        "the current key is told with another name",
        &["getCurrentApiKey"],
        |_, a| {
            a.edit(|v| set(v, "/name", "another"));
        },
    ),
    request("signing/signature-not-checked", "any signature opens a file", &["DownloadFile"], |q| {
        if q.query("signature").is_some() {
            q.set_query("signature", None);
            q.set_query("expires", None);
            q.allow();
        }
    }),
    request("signing/unsigned-is-fine", "files are readable without a key or signature", &["DownloadFile"], |q| {
        if q.header("authorization").is_empty() && q.query("signature").is_none() {
            q.allow();
        }
    }),
    request_in(
        "signing/expiry-not-checked",
        "a signed URL works after its time",
        &["DownloadFile"],
        &["signing/expiry_is_checked"],
        |q| {
            let over = q.query("expires").and_then(|text| text.parse::<i64>().ok());
            if over.is_some_and(|at| at > 0) {
                q.set_query("signature", None);
                q.set_query("expires", None);
                q.allow();
            }
        },
    ),
    request_in(
        "signing/method-not-checked",
        "a signature for downloading uploads",
        &["UploadFile"],
        &["signing/signature_is_checked"],
        Asked::allow,
    ),
    request_in(
        "signing/other-operations-open",
        "a signature for downloading opens `GetFileInfo`",
        &["GetFileInfo"],
        &["signing/signature_is_checked"],
        Asked::allow,
    ),
    answer("signing/key-is-json", "the signing key is a JSON string", &["getSandboxSigningKey"], |_, a| {
        a.text(|key| format!("\"{key}\""));
    }),
    answer("signing/key-changes", "each reading gives another key", &["getSandboxSigningKey"], |q, a| {
        a.text(|key| format!("{}{key}", q.number % 10));
    }),
    ignored_in(
        "signing/rotation-does-nothing",
        "rotating leaves the old key in force",
        &["rotateSigningKey"],
        &["signing/rotation_ends_old_urls"],
        200,
        "",
    ),
    Mutant::new(
        "events/anybody-listens",
        "the event socket takes any token",
        On::Path("/socket.io/", &["events/connecting_needs_a_key"]),
        Change::Down(|flow, message| {
            flow.edit(message, |bytes| if bytes.starts_with(b"44") { b"40{\"sid\":\"x\"}".to_vec() } else { bytes });
        }),
    ),
    Mutant::new(
        "events/one-is-lost",
        "every third event is lost",
        On::Path("/socket.io/", &["events/states_are_told_in_order"]),
        Change::Down(|flow, message| {
            let is_event = message.to_text().is_ok_and(|text| text.starts_with("42"));
            if !is_event || flow.number % 3 != 2 {
                flow.pass(message);
            }
        }),
    ),
    Mutant::new(
        "events/states-swapped",
        "`oldState` and `newState` are exchanged",
        On::Path("/socket.io/", &["events/states_are_told_in_order"]),
        Change::Down(|flow, message| {
            flow.edit(message, |bytes| {
                let text = String::from_utf8_lossy(&bytes).into_owned();
                let text = text.replace("\"oldState\"", "\"x\"").replace("\"newState\"", "\"oldState\"");
                text.replace("\"x\"", "\"newState\"").into_bytes()
            });
        }),
    ),
    Mutant::new(
        "events/reach-everybody",
        "events reach other organisations",
        On::Path("/socket.io/", &["events/events_stay_in_their_organization"]),
        Change::Down(|flow, message| {
            if message.to_text().is_ok_and(|text| text.starts_with("42")) && flow.kept.is_empty() {
                flow.kept.push(message.clone());
                flow.pass(Message::text(r#"42["sandbox.created",{"id":"somebody-elses"}]"#));
            }
            flow.pass(message);
        }),
    ),
    answer("api_keys/value-is-read", "a key is read with its whole value", &["getApiKey"], |q, a| {
        a.edit(|v| set(v, "/value", &*q.key));
    }),
    answer("api_keys/unknown-user-is-403", "an unknown user's key is 403", &["deleteApiKeyForUser"], |_, a| {
        a.restatus(404, 403);
    }),
    request_in(
        "api_keys/permissions-grow",
        "a key gives more than it has",
        &["createApiKey"],
        &["api_keys/permissions_do_not_grow"],
        Asked::allow,
    ),
    answer_in(
        "auth/shared-regions-need-a-key",
        "the shared regions are told to keys only",
        &["listSharedRegions"],
        &["auth/*"],
        |q, a| {
            if q.header("authorization").is_empty() {
                a.restatus(200, 401);
            }
        },
    ),
];
