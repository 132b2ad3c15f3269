//! Previews and their links.

use super::prelude::*;

const fn preview(id: &'static str, what: &'static str, change: Change) -> Mutant {
    Mutant::new(id, what, On::Previews, change)
}

/// Changes the attributes of a preview's cookie.
fn cookie(a: &mut Answered, from: &str, to: &str) {
    let set = a.headers.get("set-cookie").and_then(|value| value.to_str().ok()).unwrap_or_default().to_owned();
    if set.contains("daytona-sandbox-auth-") {
        a.set_header("set-cookie", &set.replace(from, to));
    }
}

pub(super) const MUTANTS: &[Mutant] = &[
    preview(
        "previews/cookie-for-a-day",
        "a preview's cookie lasts for a day",
        Change::Answer(|_, a| {
            cookie(a, "Max-Age=3600", "Max-Age=86400");
        }),
    ),
    preview(
        "previews/cookie-for-scripts",
        "scripts may read a preview's cookie",
        Change::Answer(|_, a| {
            cookie(a, "; HttpOnly", "");
        }),
    ),
    answer("previews/link-without-token", "a link comes without its token", &["getPortPreviewUrl"], |_, a| {
        a.edit(|v| drop(remove(v, "/token")));
    }),
    answer("previews/link-of-another-sandbox", "a link names another sandbox", &["getPortPreviewUrl"], |_, a| {
        a.edit(|v| set(v, "/sandboxId", "00000000-0000-4000-8000-000000000000"));
    }),
    answer("previews/port-zero-is-fine", "links for ports that are none", &["getPortPreviewUrl"], |_, a| {
        a.restatus(400, 200);
    }),
    stale("previews/token-for-ever", "a restart leaves the preview token as it was", &["getPortPreviewUrl"]),
    stale("previews/one-signed-token", "every signed link has the same token", &["getSignedPortPreviewUrl"]),
    answer(
        "previews/signed-link-names-the-id",
        "a signed link has the sandbox's id in it",
        &["getSignedPortPreviewUrl"],
        |q, a| {
            a.edit(|v| string(v, "/url", |url| format!("{url}/?of={}", q.path())));
        },
    ),
    request("previews/signed-for-longer", "a signed link may live for days", &["getSignedPortPreviewUrl"], |q| {
        q.set_query("expiresInSeconds", Some("60"));
    }),
    ignored_in(
        "previews/signed-link-never-ends",
        "expiring a signed link does nothing",
        &["expireSignedPortPreviewUrl"],
        &["previews/signed_links_open_and_end"],
        200,
        "",
    ),
    answer("previews/expiry-only-once", "expiring twice is 404", &["expireSignedPortPreviewUrl"], |q, a| {
        if q.number > 0 {
            a.restatus(a.status.as_u16(), 404);
        }
    }),
    answer(
        "previews/lookup-of-any-port",
        "a signed token is for every port",
        &["getSandboxIdFromSignedPreviewUrlToken"],
        |_, a| {
            a.restatus(403, 200);
        },
    ),
    preview(
        "previews/private-is-open",
        "previews of private sandboxes open without credentials",
        Change::Request(|q| {
            if q.header("authorization").is_empty() {
                q.allow();
            }
        }),
    ),
    preview(
        "previews/dead-port-is-404",
        "a port where nothing listens is 404",
        Change::Answer(|_, a| a.restatus(502, 404)),
    ),
    preview(
        "previews/key-goes-inside",
        "the key reaches the program",
        Change::Request(|q| {
            let bearer = q.header("authorization").to_owned();
            if !bearer.is_empty() {
                q.set_header("x-leaked", &bearer);
            }
        }),
    ),
    preview(
        "previews/query-lost",
        "the query doesn't reach the program",
        Change::Request(|q| {
            let token = q.query("DAYTONA_SANDBOX_AUTH_KEY");
            q.target = q.path().to_owned();
            if token.is_some() {
                q.set_query("DAYTONA_SANDBOX_AUTH_KEY", token.as_deref());
            }
        }),
    ),
    preview(
        "previews/path-decoded",
        "paths are decoded on the way in",
        Change::Request(|q| q.target = q.target.replace("%C3%A9", "e")),
    ),
    preview("previews/body-lost", "request bodies don't reach the program", Change::Request(|q| q.body.clear())),
    preview(
        "previews/answer-headers-lost",
        "headers of the program's answers are lost",
        Change::Answer(|_, a| a.drop_header("x-echo")),
    ),
    preview(
        "previews/status-lost",
        "every answer of a program is 200",
        Change::Answer(|_, a| {
            a.restatus(404, 200);
            a.restatus(500, 200);
        }),
    ),
    preview(
        "previews/body-cut",
        "the last byte of answers is lost",
        Change::Answer(|_, a| a.bytes(|body| body.truncate(body.len().saturating_sub(1)))),
    ),
];
