//! What can be set, and what time does.

use super::prelude::*;

/// Scenarios that turn the clock.
const fn alone(id: &'static str, what: &'static str, scenario: Names, change: fn(&mut Asked)) -> Mutant {
    request_in(id, what, &["createSandbox"], scenario, change).alone()
}

pub(super) const MUTANTS: &[Mutant] = &[
    request("settings/labels-are-merged", "new labels are added to the old ones", &["replaceLabels"], |q| {
        q.edit(|v| {
            if let Some(labels) = v.pointer_mut("/labels") {
                put(labels, "old", "still here");
            }
        });
    }),
    answer(
        "settings/labels-answered-bare",
        "the answer to new labels is without `labels`",
        &["replaceLabels"],
        |_, a| {
            a.edit(|v| {
                let labels = remove(v, "/labels").unwrap_or_default();
                *v = labels;
            });
        },
    ),
    request("settings/labels-lose-letters", "labels are kept as ASCII", &["replaceLabels"], |q| {
        q.text(|text| text.chars().filter(char::is_ascii).collect());
    }),
    request_in(
        "settings/autostop-not-set",
        "an auto-stop interval is answered and not set",
        &["setAutostopInterval"],
        &["settings/intervals_are_set"],
        |q| q.target = q.target.rsplit_once('/').map_or(String::new(), |(path, _)| format!("{path}/15")),
    ),
    answer("settings/negative-interval-is-fine", "a negative interval is 200", &["setAutostopInterval"], |_, a| {
        a.restatus(400, 200);
    }),
    request("settings/public-is-the-opposite", "`public/true` closes previews", &["updatePublicStatus"], |q| {
        q.target = if q.target.ends_with("/true") {
            q.target.replace("/true", "/false")
        } else {
            q.target.replace("/false", "/true")
        };
    }),
    answer_in(
        "settings/activity-does-not-move",
        "`lastActivityAt` never moves",
        &["getSandbox"],
        &["settings/activity_is_told"],
        |_, a| a.edit(|v| set(v, "/lastActivityAt", "2026-01-01T00:00:00.000Z")),
    ),
    answer_in(
        "settings/block-and-list-together",
        "a network list leaves the block in force",
        &["getSandbox"],
        &["settings/network_settings_replace_each_other"],
        |_, a| {
            a.edit(|v| {
                if v["networkAllowList"].is_string() {
                    set(v, "/networkBlockAll", true);
                }
            });
        },
    ),
    answer("settings/networks-not-checked", "bad network settings are 200", &["updateNetworkSettings"], |_, a| {
        a.restatus(400, 200);
    }),
    request_in(
        "settings/ttl-not-set",
        "a time to live is answered and not set",
        &["setTtl"],
        &["settings/time_to_live"],
        |q| {
            q.target = q.target.rsplit_once('/').map_or(String::new(), |(path, _)| format!("{path}/0"));
        },
    ),
    answer(
        "settings/auto-pause-for-containers",
        "a container takes an auto-pause",
        &["setAutoPauseInterval"],
        |_, a| {
            a.restatus(400, 200);
            a.restatus(422, 200);
        },
    ),
    answer(
        "settings/toolbox-url-of-the-sandbox",
        "the toolbox's URL has the sandbox's id",
        &["getToolboxProxyUrl"],
        |_, a| {
            a.edit(|v| string(v, "/url", |url| format!("{url}/id")));
        },
    ),
    answer(
        "settings/no-build-logs-is-200",
        "a sandbox that wasn't built has build logs",
        &["getBuildLogsUrl"],
        |_, a| {
            a.restatus(404, 200);
        },
    ),
    alone("settings/auto-stop-never", "sandboxes don't stop by themselves", &["settings/auto_stop"], |q| {
        q.edit(|v| set(v, "/autoStopInterval", 0));
    }),
    alone("settings/auto-delete-never", "sandboxes aren't deleted by themselves", &["settings/auto_delete"], |q| {
        q.edit(|v| set(v, "/autoDeleteInterval", -1));
    }),
    alone("settings/ttl-never", "a time to live doesn't end a sandbox", &["settings/ttl_ends_it"], |q| {
        q.edit(|v| drop(remove(v, "/ttlMinutes")));
    }),
    alone("settings/zero-stops", "interval 0 is an interval", &["settings/zero_never_stops"], |q| {
        q.edit(|v| set(v, "/autoStopInterval", 1));
    }),
    answer_in(
        "settings/telemetry-without-window",
        "telemetry needs no window",
        &["getSandboxMetrics", "getSandboxLogs", "getSandboxTraces"],
        &["settings/telemetry_needs_a_window"],
        |_, a| a.restatus(400, 200),
    ),
    answer_in(
        "settings/no-spans-is-404",
        "a trace without spans is 404",
        &["getSandboxTraceSpans"],
        &["settings/telemetry_needs_a_window"],
        |_, a| a.restatus(200, 404),
    ),
    request_in(
        "settings/metrics-of-any-time",
        "the window of metrics is ignored",
        &["getSandboxMetrics"],
        &["settings/metrics_are_within_the_window"],
        |q| {
            q.set_query("from", Some("1970-01-01T00:00:00Z"));
            q.set_query("to", Some("2100-01-01T00:00:00Z"));
        },
    ),
    request_in(
        "settings/metrics-of-any-name",
        "`metricNames` doesn't filter",
        &["getSandboxMetrics"],
        &["settings/metrics_are_within_the_window"],
        |q| q.set_query("metricNames", None),
    ),
    answer("settings/no-build-is-200", "a sandbox that wasn't built has logs", &["getBuildLogs"], |_, a| {
        a.restatus(404, 200);
    }),
    request_in(
        "settings/autodelete-not-set",
        "an auto-delete interval is answered and not set",
        &["setAutoDeleteInterval"],
        &["settings/intervals_are_set"],
        |q| q.target = q.target.rsplit_once('/').map_or(String::new(), |(path, _)| format!("{path}/30")),
    ),
    answer_in(
        "settings/autoarchive-not-clamped",
        "an auto-archive interval isn't bounded",
        &["getSandbox"],
        &["settings/intervals_are_set"],
        |_, a| {
            a.edit(|v| {
                if v["autoArchiveInterval"] == 43200 {
                    set(v, "/autoArchiveInterval", 99999);
                }
            });
        },
    ),
    answer_in(
        "settings/activity-needs-an-id",
        "activity is told by id only",
        &["updateLastActivity"],
        &["settings/activity_is_told"],
        |q, a| {
            if q.target.contains("/conformance-") {
                for status in [200, 201, 204] {
                    a.restatus(status, 404);
                }
            }
        },
    ),
    answer_in(
        "settings/domains-not-kept",
        "allowed domains are answered and not kept",
        &["getSandbox"],
        &["settings/network_settings_replace_each_other"],
        |_, a| a.edit(|v| put(v, "domainAllowList", Value::Null)),
    ),
    request_in(
        "settings/network-not-opened",
        "an empty list of domains changes nothing",
        &["updateNetworkSettings"],
        &["settings/network_settings_replace_each_other"],
        |q| {
            q.edit(|v| {
                if v["domainAllowList"] == "" {
                    remove(v, "/domainAllowList");
                }
            })
        },
    ),
    answer_in(
        "settings/negative-archive-is-fine",
        "a negative auto-archive interval is 200",
        &["setAutoArchiveInterval"],
        &["settings/intervals_are_set"],
        |_, a| a.restatus(400, 200),
    ),
];
