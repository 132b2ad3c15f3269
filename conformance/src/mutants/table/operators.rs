//! What operators do to organisations, and what endpoints of webhooks are told.

use super::prelude::*;

const SUSPENDED: Names = &["operators/suspended_ones_make_nothing"];
const RESTRICTED: Names = &["operators/restricted_networks_stay"];
const QUOTAS: Names = &["operators/quotas_say_what_is_exceeded"];
const MAXIMA: Names = &["operators/sandboxes_have_their_own_maximum"];
const SIGNED: Names = &["webhooks/deliveries_are_signed_and_in_order"];
const CHOSEN: Names = &["webhooks/deliveries_are_chosen"];
const AGAIN: Names = &["webhooks/deliveries_come_again"];

fn said(a: &mut Answered, from: &str, to: &str) {
    a.edit_error(|v| string(v, "/message", |text| text.replace(from, to)));
}

pub(super) const MUTANTS: &[Mutant] = &[
    Mutant::new(
        "operators/nothing-is-suspended",
        "a suspended organisation goes on",
        On::Path("/__control/organization", SUSPENDED),
        Change::Request(|q| q.edit(|v| drop(remove(v, "/suspended")))),
    ),
    answer_in("operators/no-reason", "a suspension says no reason", &["startSandbox"], SUSPENDED, |_, a| {
        said(a, ": unpaid", "");
    }),
    answer_in("operators/suspended-is-400", "a suspension is 400", &["createSandbox"], SUSPENDED, |_, a| {
        a.restatus(403, 400);
    }),
    answer_in(
        "operators/suspended-makes-snapshots",
        "a suspended organisation makes snapshots",
        &["createSnapshot"],
        SUSPENDED,
        |_, a| a.restatus(403, 200),
    ),
    answer_in(
        "operators/suspended-cannot-stop",
        "a suspended organisation can't stop what it has",
        &["stopSandbox"],
        SUSPENDED,
        |q, a| {
            if q.number > 0 {
                a.restatus(200, 403);
            }
        },
    ),
    Mutant::new(
        "operators/suspended-for-ever",
        "a suspension never ends",
        On::Path("/__control/organization", SUSPENDED),
        Change::Request(|q| {
            q.edit(|v| {
                if v["suspended"] == false {
                    drop(remove(v, "/suspended"));
                }
            });
        }),
    ),
    Mutant::new(
        "operators/networks-are-free",
        "a restricted network can be opened",
        On::Path("/__control/organization", RESTRICTED),
        Change::Request(|q| q.edit(|v| drop(remove(v, "/limitedNetworkEgress")))),
    ),
    answer_in(
        "operators/restriction-unexplained",
        "a restricted network is refused in a word",
        &["updateNetworkSettings"],
        RESTRICTED,
        |_, a| a.edit_error(|v| set(v, "/message", "Restricted")),
    ),
    Mutant::new(
        "operators/no-quotas",
        "nobody looks at quotas",
        On::Path("/__control/organization", &["operators/*"]),
        Change::Request(|q| q.edit(|v| drop(remove(v, "/quota")))),
    ),
    answer_in("operators/quota-is-403", "what exceeds a quota is 403", &["createSandbox"], QUOTAS, |_, a| {
        a.restatus(400, 403);
    }),
    answer_in("operators/quota-without-number", "a quota isn't told", &["createSandbox"], QUOTAS, |_, a| {
        said(a, " Maximum allowed: 1.", "");
    }),
    answer_in("operators/no-way-to-more", "nobody says where to get more", &["startSandbox"], QUOTAS, |_, a| {
        said(a, "\n", " ");
    }),
    answer_in("operators/resized-beyond", "a resize exceeds a maximum", &["resizeSandbox"], QUOTAS, |_, a| {
        a.restatus(400, 200);
    }),
    answer_in("operators/snapshots-unlimited", "snapshots have no quota", &["createSnapshot"], QUOTAS, |_, a| {
        a.restatus(400, 200)
    }),
    answer_in("operators/volumes-unlimited", "volumes have no quota", &["createVolume"], QUOTAS, |_, a| {
        a.restatus(400, 200);
    }),
    answer_in("operators/maximum-in-other-units", "a maximum is told in MB", &["createSandbox"], MAXIMA, |_, a| {
        said(a, "GB", "MB");
    }),
    Mutant::new(
        "webhooks/signed-with-another",
        "deliveries are signed with another secret than was told",
        On::Path("/__control/webhooks", SIGNED),
        Change::Answer(|_, a| a.edit(|v| set(v, "/secret", "whsec_AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"))),
    ),
    Mutant::new(
        "webhooks/half-is-told",
        "endpoints are told of creations only",
        On::Path("/__control/webhooks", SIGNED),
        Change::Request(|q| q.edit(|v| put(v, "eventTypes", json!(["sandbox.created"])))),
    ),
    Mutant::new(
        "webhooks/everything-is-told",
        "endpoints are told what they didn't ask for",
        On::Path("/__control/webhooks", CHOSEN),
        Change::Request(|q| q.edit(|v| put(v, "eventTypes", json!([])))),
    ),
    Mutant::new(
        "webhooks/deleted-ones-are-told",
        "a deleted endpoint is told more",
        On::Path("/__control/webhooks/", CHOSEN),
        Change::Ignored(204, ""),
    ),
    Mutant::new(
        "webhooks/never-again",
        "what an endpoint doesn't take is lost",
        On::Path("/__control/clock", AGAIN),
        Change::Ignored(200, "{}"),
    )
    .alone(),
    Mutant::new(
        "webhooks/again-too-soon",
        "what an endpoint doesn't take is told again at once",
        On::Path("/__control/clock", AGAIN),
        Change::Request(|q| {
            q.edit(|v| {
                if v["advance"] == 4 {
                    set(v, "/advance", 60);
                }
            });
        }),
    )
    .alone(),
];
