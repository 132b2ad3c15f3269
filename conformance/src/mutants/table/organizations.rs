//! Organisations: members, roles, invitations, settings, usage.

use super::prelude::*;

const COME: Names = &["organizations/organizations_come_and_go"];
const PERSONAL: Names = &["organizations/personal_organization_stays"];
const STRANGERS: Names = &["organizations/strangers_are_turned_away"];
const ROLES: Names = &["organizations/roles_come_and_go"];
const ACCEPTED: Names = &["organizations/invitations_are_accepted"];
const SETTLED: Names = &["organizations/invitations_are_settled"];
const MEMBERS: Names = &["organizations/members_come_and_go"];
const SETTINGS: Names = &["organizations/settings_are_kept"];
const USAGE: Names = &["organizations/usage_counts_what_runs"];

pub(super) const MUTANTS: &[Mutant] = &[
    answer_in("organizations/created-with-200", "a new one is answered 200", &["createOrganization"], COME, |_, a| {
        a.restatus(201, 200);
    }),
    answer_in("organizations/new-ones-are-personal", "a new one is personal", &["createOrganization"], COME, |_, a| {
        a.edit(|v| set(v, "/personal", true));
    }),
    ignored_in(
        "organizations/deletion-does-nothing",
        "a deleted one is still there",
        &["deleteOrganization"],
        COME,
        204,
        "",
    ),
    stale_in("organizations/list-is-stale", "the list never changes", &["listOrganizations"], COME),
    answer_in(
        "organizations/region-set-twice",
        "the default region is set again and again",
        &["setOrganizationDefaultRegion"],
        COME,
        |_, a| a.restatus(409, 204),
    ),
    answer("organizations/any-name", "any name is taken", &["createOrganization"], |_, a| a.restatus(400, 201)),
    answer("organizations/any-region", "a region that there isn't is 400", &["createOrganization"], |_, a| {
        a.restatus(404, 400);
    }),
    answer_in(
        "organizations/personal-one-goes",
        "the personal one is said to be deleted",
        &["deleteOrganization"],
        PERSONAL,
        |_, a| a.restatus(403, 204),
    ),
    answer_in("organizations/owner-leaves", "the only owner may leave", &["leaveOrganization"], PERSONAL, |_, a| {
        a.restatus(403, 204);
    }),
    answer_in(
        "organizations/personal-one-invites",
        "the personal one takes members",
        &["createOrganizationInvitation"],
        PERSONAL,
        |_, a| a.restatus(403, 201),
    ),
    answer_in(
        "organizations/another-user",
        "a key is told another user",
        &["getAuthenticatedUser"],
        PERSONAL,
        |_, a| {
            a.edit(|v| set(v, "/id", "somebody-else"));
        },
    ),
    answer_in(
        "organizations/strangers-look-for-one",
        "strangers are told that there is none",
        &["getOrganization", "listOrganizationMembers", "listOrganizationRoles"],
        STRANGERS,
        |_, a| a.restatus(403, 404),
    ),
    answer_in(
        "organizations/strangers-invite",
        "strangers may invite",
        &["createOrganizationInvitation"],
        STRANGERS,
        |_, a| a.restatus(403, 201),
    ),
    answer_in(
        "organizations/strangers-set-telemetry",
        "strangers' telemetry settings are taken",
        &["updateOrganizationOtelConfig"],
        STRANGERS,
        |_, a| a.restatus(403, 204),
    ),
    answer_in(
        "organizations/no-global-roles",
        "the global roles aren't listed",
        &["listOrganizationRoles"],
        ROLES,
        |_, a| a.edit(|v| list(v, "", |roles| roles.retain(|role| role["isGlobal"] != true))),
    ),
    request_in(
        "organizations/role-keeps-its-permissions",
        "a role's new permissions are dropped",
        &["updateOrganizationRole"],
        ROLES,
        |q| q.edit(|v| list(v, "/permissions", |permissions| permissions.truncate(1))),
    ),
    ignored_in(
        "organizations/role-stays",
        "a deleted role is still there",
        &["deleteOrganizationRole"],
        ROLES,
        204,
        "",
    ),
    answer_in(
        "organizations/role-for-nothing",
        "a role without permissions is made",
        &["createOrganizationRole"],
        ROLES,
        |_, a| a.restatus(400, 201),
    ),
    answer_in(
        "organizations/invited-twice",
        "a second invitation to one address is fine",
        &["createOrganizationInvitation"],
        ACCEPTED,
        |_, a| a.restatus(409, 201),
    ),
    answer_in(
        "organizations/invitations-not-listed",
        "the list of invitations is empty",
        &["listOrganizationInvitations"],
        ACCEPTED,
        |_, a| a.edit(|v| *v = json!([])),
    ),
    answer_in(
        "organizations/invitation-does-not-arrive",
        "who is invited isn't told",
        &["listOrganizationInvitationsForAuthenticatedUser"],
        ACCEPTED,
        |_, a| a.edit(|v| *v = json!([])),
    ),
    answer_in(
        "organizations/invitations-not-counted",
        "the number of invitations is 0",
        &["getOrganizationInvitationsCountForAuthenticatedUser"],
        ACCEPTED,
        |_, a| a.text(|_| "0".to_owned()),
    ),
    answer_in(
        "organizations/accepted-twice",
        "an accepted invitation can be accepted again",
        &["acceptOrganizationInvitation"],
        ACCEPTED,
        |_, a| a.restatus(403, 200),
    ),
    answer_in(
        "organizations/anyone-accepts",
        "an invitation can be accepted by who isn't invited",
        &["acceptOrganizationInvitation"],
        ACCEPTED,
        |q, a| {
            if q.number == 0 {
                a.restatus(403, 201);
                a.restatus(404, 201);
            }
        },
    ),
    answer_in(
        "organizations/members-not-told",
        "the list of members has only the owner",
        &["listOrganizationMembers"],
        ACCEPTED,
        |_, a| a.edit(|v| list(v, "", |members| members.truncate(1))),
    ),
    request_in(
        "organizations/declining-accepts",
        "who declines is a member",
        &["declineOrganizationInvitation"],
        SETTLED,
        |q| q.target = q.target.replace("/decline", "/accept"),
    ),
    request_in(
        "organizations/invitation-keeps-its-role",
        "an invitation's new role is dropped",
        &["updateOrganizationInvitation"],
        SETTLED,
        |q| q.edit(|v| set(v, "/role", "member")),
    ),
    answer_in(
        "organizations/cancelled-twice",
        "a cancelled invitation can be cancelled again",
        &["cancelOrganizationInvitation"],
        SETTLED,
        |_, a| a.restatus(403, 204),
    ),
    request_in(
        "organizations/members-promote-themselves",
        "members may change their own access",
        &["updateAccessForOrganizationMember"],
        MEMBERS,
        Asked::allow,
    ),
    answer_in(
        "organizations/owners-change-themselves",
        "owners may change their own access",
        &["updateAccessForOrganizationMember"],
        MEMBERS,
        |q, a| {
            if q.number > 1 {
                a.restatus(403, 200);
            }
        },
    ),
    ignored_in(
        "organizations/removed-stay-in",
        "who is removed is still a member",
        &["deleteOrganizationMember"],
        MEMBERS,
        204,
        "",
    ),
    ignored_in("organizations/nobody-leaves", "who leaves is still a member", &["leaveOrganization"], MEMBERS, 204, ""),
    request_in(
        "organizations/telemetry-elsewhere",
        "telemetry goes to another address than was set",
        &["updateOrganizationOtelConfig"],
        SETTINGS,
        |q| {
            q.edit(|v| {
                if v["endpoint"].is_string() {
                    set(v, "/endpoint", "http://elsewhere.example:4318");
                }
            });
        },
    ),
    ignored_in(
        "organizations/telemetry-stays",
        "telemetry settings can't be deleted",
        &["deleteOrganizationOtelConfig"],
        SETTINGS,
        204,
        "",
    ),
    request_in(
        "organizations/warning-is-the-opposite",
        "the preview warning is switched the other way",
        &["updateOrganizationPreviewWarning"],
        SETTINGS,
        |q| q.edit(|v| set(v, "/previewWarningEnabled", false)),
    ),
    request_in(
        "organizations/experiments-are-merged",
        "experimental settings keep what was there",
        &["updateExperimentalConfig"],
        SETTINGS,
        |q| q.edit(|v| put(v, "old", true)),
    ),
    stale_in(
        "organizations/usage-is-stale",
        "the usage overview never changes",
        &["getOrganizationUsageOverview"],
        USAGE,
    )
    .alone(),
    answer_in(
        "organizations/no-classes",
        "no class of sandboxes is available",
        &["listAvailableSandboxClasses"],
        USAGE,
        |_, a| a.edit(|v| *v = json!([])),
    )
    .alone(),
];
