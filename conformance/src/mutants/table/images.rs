//! What images come from: the registry that clients push to, and Dockerfiles.

use super::prelude::*;
use crate::mutants::{Answered, Asked};

const ACCESS: &str = "getTransientPushAccess";
const GIVEN: Names = &["registries/push_access_is_given"];
const PUSHED: Names = &["registries/what_is_pushed_is_there"];

/// Answers of the registry itself, so no operation of the contract.
const fn pushed(id: &'static str, what: &'static str, part: &'static str, change: fn(&Asked, &mut Answered)) -> Mutant {
    Mutant::new(id, what, On::Path(part, PUSHED), Change::Answer(change))
}

const BUILT: Names = &["snapshots/dockerfiles_mean_what_they_say"];

fn dockerfile(q: &mut Asked, change: impl FnOnce(&str) -> String) {
    q.edit(|v| string(v, "/buildInfo/dockerfileContent", change));
}

pub(super) const MUTANTS: &[Mutant] = &[
    answer_in("registries/push-with-scheme", "the registry's name has a scheme", &[ACCESS], GIVEN, |_, a| {
        a.edit(|v| string(v, "/registryUrl", |host| format!("https://{host}")));
    }),
    answer_in("registries/push-is-over", "access to push ended long ago", &[ACCESS], GIVEN, |_, a| {
        a.edit(|v| set(v, "/expiresAt", "2020-01-01T00:00:00.000Z"));
    }),
    request_in(
        "registries/any-key-pushes",
        "a key without rights gets access to push",
        &[ACCESS],
        &["registries/push_access_needs_a_permission"],
        Asked::allow,
    ),
    request_in("registries/one-project-for-all", "everybody has the same access to push", &[ACCESS], PUSHED, |q| {
        q.allow();
    }),
    pushed("registries/any-digest", "a blob needn't be what its digest says", "/blobs/uploads", |_, a| {
        a.restatus(400, 201);
    }),
    pushed("registries/tag-forgotten", "a tag that was pushed is unknown", "/manifests/1.0", |_, a| {
        a.restatus(200, 404);
    }),
    pushed("registries/another-digest", "a manifest has another digest", "/manifests/", |_, a| {
        a.set_header("docker-content-digest", "sha256:0");
    }),
    pushed("registries/manifest-is-changed", "a manifest is given back in other words", "/manifests/", |_, a| {
        a.text(|text| text.replace("schemaVersion", "version"));
    }),
    pushed("registries/blob-is-cut", "a blob loses its end", "/blobs/sha256:", |_, a| a.bytes(|b| b.truncate(9))),
    pushed("registries/anything-is-there", "an unknown tag is found", "/manifests/2.0", |_, a| a.restatus(404, 200)),
    pushed("registries/any-secret", "a wrong secret opens the registry", "/v2/", |_, a| a.restatus(401, 200)),
    request_in(
        "snapshots/stages-not-copied",
        "what comes of another stage is not there",
        &["createSnapshot"],
        BUILT,
        |q| {
            dockerfile(q, |text| text.replace("COPY --from=maker /out/made.txt /made.txt", "RUN touch /made.txt"));
        },
    ),
    request_in("snapshots/args-are-empty", "an argument's default is dropped", &["createSnapshot"], BUILT, |q| {
        dockerfile(q, |text| text.replace("=default", "="));
    }),
    request_in("snapshots/workdir-ignored", "the work directory is always /", &["createSnapshot"], BUILT, |q| {
        dockerfile(q, |text| {
            text.replace("WORKDIR /srv/app", "RUN mkdir -p /srv/app").replace("RUN pwd > ", "RUN pwd > /srv/app/")
        });
    }),
    request_in(
        "snapshots/half-a-heredoc",
        "of a here-document the first line is run",
        &["createSnapshot"],
        BUILT,
        |q| {
            dockerfile(q, |text| text.replace("echo second >> lines.txt\n", ""));
        },
    ),
    request_in("snapshots/always-root", "a build's commands are root's", &["createSnapshot"], BUILT, |q| {
        dockerfile(q, |text| text.replace("USER nobody\n", ""));
    }),
    request_in(
        "snapshots/variables-unexpanded",
        "an image's variables are kept as they are written",
        &["createSnapshot"],
        BUILT,
        |q| {
            dockerfile(q, |text| text.replace("${BASE:-nothing}", "\\${BASE:-nothing}"));
        },
    ),
];
