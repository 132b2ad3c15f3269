//! Secrets, and access by SSH.

use super::prelude::*;

const COME: Names = &["secrets/secrets_come_and_go"];
const KEPT: Names = &["secrets/secret_changes_are_kept"];
const PAGES: Names = &["secrets/secret_pages_continue"];
const HOLD: Names = &["secrets/sandboxes_hold_placeholders"];
const EGRESS: Names = &["secrets/values_go_to_their_hosts_alone"];
const OTHERS: Names = &["secrets/others_see_no_secrets"];
const MADE: Names = &["ssh/access_is_made_and_revoked"];
const CLOSED: Names = &["ssh/others_get_no_access"];

pub(super) const MUTANTS: &[Mutant] = &[
    answer_in("secrets/created-with-200", "a new secret is answered 200", &["createSecret"], COME, |_, a| {
        a.restatus(201, 200);
    }),
    answer_in("secrets/value-comes-back", "a new secret is told with its value", &["createSecret"], COME, |_, a| {
        a.edit(|v| put(v, "value", "conformance-secret-value"));
    }),
    answer_in("secrets/value-is-readable", "a secret's value can be read", &["getSecret"], COME, |_, a| {
        a.edit(|v| put(v, "value", "conformance-secret-value"));
    }),
    answer_in("secrets/value-is-listed", "pages show values", &["listSecretsPaginated"], COME, |_, a| {
        a.edit(|v| each(v, "/items", |secret| set(secret, "/description", "conformance-secret-value")));
        a.edit(|v| each(v, "/items", |secret| put(secret, "value", "conformance-secret-value")));
    }),
    answer_in("secrets/placeholder-is-the-name", "the placeholder is the name", &["createSecret"], COME, |_, a| {
        a.edit(|v| {
            let name = v["name"].clone();
            set(v, "/placeholder", name);
        });
    }),
    ignored_in("secrets/deletion-does-nothing", "a deleted secret is still there", &["deleteSecret"], COME, 204, ""),
    stale_in("secrets/list-is-stale", "the list of secrets never changes", &["listSecrets"], COME),
    request_in("secrets/name-filter-ignored", "`name` doesn't filter", &["listSecretsPaginated"], PAGES, |q| {
        q.set_query("name", None);
    }),
    answer_in("secrets/placeholder-changes", "each reading gives another one", &["getSecret"], KEPT, |q, a| {
        a.edit(|v| string(v, "/placeholder", |text| format!("{text}{}", q.number)));
    }),
    request_in("secrets/hosts-not-changed", "a change of hosts is dropped", &["updateSecret"], KEPT, |q| {
        q.edit(|v| drop(remove(v, "/hosts")));
    }),
    answer_in("secrets/change-forgets", "a change takes the description away", &["getSecret"], KEPT, |_, a| {
        a.edit(|v| put(v, "description", Value::Null));
    }),
    answer("secrets/double-name-is-fine", "two secrets have one name", &["createSecret"], |_, a| a.restatus(409, 201)),
    answer_in(
        "secrets/any-host",
        "hosts may be anything",
        &["createSecret", "updateSecret"],
        &["secrets/secret_input_is_validated"],
        |_, a| a.restatus(400, 201),
    ),
    answer_in(
        "secrets/unknown-is-400",
        "an unknown secret is 400",
        &["updateSecret", "deleteSecret"],
        &["secrets/unknown_secret_is_not_found"],
        |_, a| a.restatus(404, 400),
    ),
    request_in("secrets/cursor-ignored", "every page is the first one", &["listSecretsPaginated"], PAGES, |q| {
        q.set_query("cursor", None);
    }),
    request_in("secrets/order-ignored", "`order` is ignored", &["listSecretsPaginated"], PAGES, |q| {
        if q.query("order").as_deref() == Some("asc") {
            q.set_query("order", Some("desc"));
        }
    }),
    answer_in("secrets/total-of-the-page", "`total` counts the page", &["listSecretsPaginated"], PAGES, |_, a| {
        a.edit(|v| {
            let count = v["items"].as_array().map_or(0, Vec::len);
            set(v, "/total", count);
        });
    }),
    answer_in("secrets/limit-not-checked", "any limit is taken", &["listSecretsPaginated"], PAGES, |_, a| {
        a.restatus(400, 200);
    }),
    request_in("secrets/value-in-the-sandbox", "programs see the value itself", &["createSandbox"], HOLD, |q| {
        q.edit(|v| {
            if remove(v, "/secrets").is_some() {
                put(v, "env", json!({"FIRST": "conformance-secret-value"}));
            }
        });
    }),
    request_in("secrets/never-swapped", "no host gets the value", &["createSecret"], EGRESS, |q| {
        q.edit(|v| set(v, "/hosts", json!(["nowhere.example"])));
    }),
    request_in("secrets/swapped-for-everybody", "every host gets the value", &["createSecret"], EGRESS, |q| {
        q.edit(|v| set(v, "/hosts", json!([])));
    }),
    request_in("secrets/sets-are-merged", "another set is added to the first", &["updateSandboxSecrets"], HOLD, |q| {
        q.edit(|v| {
            if let Some(name) = v.pointer("/secrets/0/SECOND").cloned() {
                list(v, "/secrets", |secrets| secrets.push(json!({"FIRST": name})));
            }
        });
    }),
    request_in("secrets/never-detached", "an empty set changes nothing", &["updateSandboxSecrets"], HOLD, |q| {
        let is_empty = serde_json::from_slice::<Value>(&q.body).is_ok_and(|body| body["secrets"] == json!([]));
        if is_empty {
            q.method = hyper::Method::GET;
            q.target = q.path().trim_end_matches("/secrets").to_owned();
        }
    }),
    request_in(
        "secrets/unknown-ones-are-skipped",
        "a secret that there isn't is left out without a word",
        &["updateSandboxSecrets"],
        &["secrets/unknown_secrets_are_not_attached"],
        |q| q.edit(|v| set(v, "/secrets", json!([]))),
    ),
    request_in("secrets/others-list", "other organisations list secrets", &["listSecrets"], OTHERS, Asked::allow),
    request_in("secrets/others-read", "other organisations read a secret", &["getSecret"], OTHERS, Asked::allow),
    request_in("secrets/others-delete", "other organisations delete a secret", &["deleteSecret"], OTHERS, |q| {
        q.allow();
    }),
    answer_in("ssh/short-token", "a token has eight letters", &["createSshAccess"], MADE, |_, a| {
        a.edit(|v| string(v, "/token", |token| token.chars().take(8).collect()));
    }),
    answer_in("ssh/command-without-token", "the command doesn't name the token", &["createSshAccess"], MADE, |_, a| {
        a.edit(|v| {
            string(v, "/sshCommand", |command| {
                command.split_once('@').map_or(String::new(), |(_, host)| format!("ssh {host}"))
            });
        });
    }),
    request_in("ssh/revoking-does-nothing", "a revoked token stays valid", &["revokeSshAccess"], MADE, |q| {
        q.set_query("token", Some("nope"));
    }),
    answer_in("ssh/valid-for-another", "a token is valid for another sandbox", &["validateSshAccess"], MADE, |_, a| {
        a.edit(|v| set(v, "/sandboxId", "00000000-0000-4000-8000-000000000000"));
    }),
    answer("ssh/every-token-is-valid", "every token is valid", &["validateSshAccess"], |_, a| {
        a.edit(|v| set(v, "/valid", true));
    }),
    answer("ssh/no-token-is-valid", "no token is valid", &["validateSshAccess"], |_, a| {
        a.edit(|v| set(v, "/valid", false));
    }),
    request_in(
        "ssh/expiry-ignored",
        "`expiresInMinutes` is ignored",
        &["createSshAccess"],
        &["ssh/a_new_token_replaces_the_old_one"],
        |q| q.set_query("expiresInMinutes", None),
    ),
    request_in(
        "ssh/old-token-stays",
        "a new token is one more",
        &["validateSshAccess"],
        &["ssh/a_new_token_replaces_the_old_one"],
        |q| {
            // The second token is asked for last; what was told of it holds for the first one.
            q.set_query("token", Some("nope"));
        },
    ),
    request_in(
        "ssh/revoking-takes-all",
        "revoking one token ends every one",
        &["revokeSshAccess"],
        &["ssh/revoking_can_be_repeated"],
        |q| q.set_query("token", None),
    ),
    answer("ssh/expiry-not-checked", "an expiry that is no number is 200", &["createSshAccess"], |_, a| {
        a.restatus(400, 200);
    }),
    answer_in(
        "ssh/unknown-is-400",
        "an unknown sandbox is 400",
        &["createSshAccess", "revokeSshAccess"],
        &["ssh/unknown_sandbox_is_not_found"],
        |_, a| a.restatus(404, 400),
    ),
    request_in("ssh/others-get-in", "other organisations make access", &["createSshAccess"], CLOSED, Asked::allow),
    request_in("ssh/others-revoke", "other organisations revoke access", &["revokeSshAccess"], CLOSED, Asked::allow),
    answer_in(
        "ssh/only-started-ones",
        "a stopped sandbox is given no access",
        &["createSshAccess"],
        &["ssh/stopped_sandboxes_are_given_access"],
        |_, a| a.restatus(200, 400),
    ),
    request_in(
        "ssh/never-over",
        "access lasts for a day, whatever was told",
        &["createSshAccess"],
        &["ssh/access_expires"],
        |q| q.set_query("expiresInMinutes", Some("1440")),
    )
    .alone(),
];
