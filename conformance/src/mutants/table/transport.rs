//! Routes, headers and envelopes.

use super::prelude::*;

const EVERYWHERE: Names = &["transport/*"];
const HEALTH: Names = &["HealthController_live"];
const HEADERS: Names = &["transport/health_has_the_usual_headers"];

pub(super) const MUTANTS: &[Mutant] = &[
    answer(
        "transport/version-header-missing",
        "no `X-Daytona-Api-Version`",
        &["listSandboxes", "HealthController_live"],
        |_, a| a.drop_header("x-daytona-api-version"),
    ),
    Mutant::new(
        "transport/unknown-route-is-empty",
        "unknown routes are answered 404 without a body",
        On::Path("/api/", &["transport/unknown_route_names_itself"]),
        Change::Answer(|_, a| {
            if String::from_utf8_lossy(&a.body).contains("\"Cannot ") {
                a.body.clear();
            }
        }),
    ),
    Mutant::new(
        "transport/unknown-method-is-405",
        "a method that a route doesn't have is 405",
        On::Path("/api/sandbox", &["transport/unknown_route_names_itself"]),
        Change::Answer(|q, a| {
            if q.method == hyper::Method::PATCH {
                a.restatus(404, 405);
            }
        }),
    ),
    answer("transport/bad-json-is-422", "a body that is no JSON is 422", &["createSandbox"], |_, a| {
        if String::from_utf8_lossy(&a.body).contains("Invalid JSON") {
            a.restatus(400, 422);
        }
    }),
    answer_in("transport/health-without-etag", "health has no ETag", HEALTH, HEADERS, |_, a| a.drop_header("etag")),
    answer_in("transport/health-without-vary", "health doesn't vary by origin", HEALTH, HEADERS, |_, a| {
        a.drop_header("vary");
    }),
    answer_in("transport/health-without-charset", "health doesn't say its charset", HEALTH, HEADERS, |_, a| {
        a.set_header("content-type", "application/json");
    }),
    answer_in(
        "transport/no-etag",
        "JSON answers have no ETag",
        &["ConfigController_getConfig"],
        &["transport/etag_is_honoured"],
        |_, a| a.drop_header("etag"),
    ),
    request_in(
        "transport/etag-ignored",
        "`If-None-Match` is ignored",
        &["ConfigController_getConfig"],
        &["transport/etag_is_honoured"],
        |q| {
            q.headers.remove("if-none-match");
        },
    ),
    Mutant::new(
        "transport/case-counts",
        "paths are only found in their own case",
        On::Path("/HEALTH", EVERYWHERE),
        Change::Ignored(404, r#"{"statusCode":404,"message":"Cannot GET /api/HEALTH","error":"Not Found"}"#),
    ),
    Mutant::new(
        "transport/cors-any-origin",
        "a preflight is answered with `*` instead of the origin",
        On::Path("/api/config", &["transport/preflight_is_answered"]),
        Change::Answer(|_, a| {
            if a.headers.contains_key("access-control-allow-origin") {
                a.set_header("access-control-allow-origin", "*");
            }
        }),
    ),
    Mutant::new(
        "transport/cors-forgets-headers",
        "a preflight allows no headers",
        On::Path("/api/sandbox", &["transport/preflight_is_answered"]),
        Change::Answer(|_, a| a.drop_header("access-control-allow-headers")),
    ),
    answer("transport/json-as-text", "JSON is sent as plain text", &["getSandbox", "listVolumes"], |_, a| {
        a.set_header("content-type", "text/plain; charset=utf-8");
    }),
    answer("transport/errors-as-pages", "errors are sent as HTML", &["getSandbox"], |_, a| {
        if !a.is_ok() {
            a.set_header("content-type", "text/html");
        }
    }),
    answer("transport/envelope-without-path", "errors don't say their path", &["getSandbox"], |_, a| {
        a.edit_error(|v| drop(remove(v, "/path")));
    }),
    answer("transport/envelope-message-renamed", "errors say `msg` instead of `message`", &["getSandbox"], |_, a| {
        a.edit_error(|v| rename(v, "/message", "msg"));
    }),
    answer("transport/envelope-status-as-text", "errors have their status as text", &["getSandbox"], |_, a| {
        a.edit_error(|v| set(v, "/statusCode", "404"));
    }),
    answer("transport/error-text-in-lower-case", "error messages are in lower case", &["getSandbox"], |_, a| {
        a.edit_error(|v| string(v, "/message", str::to_lowercase));
    }),
    answer_in(
        "transport/fails-under-load",
        "every seventh request is answered 503",
        &["listSandboxes"],
        &["transport/fifty_requests_at_once"],
        |q, a| {
            if q.number % 7 == 6 {
                a.restatus(200, 503);
            }
        },
    ),
    answer_in(
        "transport/answer-breaks-off",
        "the connection ends in the middle of an answer",
        &["getSandbox"],
        &["lifecycle/*"],
        |_, a| a.breaks_off = a.is_ok(),
    ),
    answer_in(
        "transport/no-charset",
        "JSON answers don't name their character set",
        &["listSandboxes"],
        EVERYWHERE,
        |_, a| a.set_header("content-type", "application/json"),
    )
    .survives("JSON is UTF-8 by its own rule, so no client can tell"),
];
