//! A badge for a README: an SVG, and the JSON that shields.io reads.

use serde_json::json;

use super::{Outcome, Report};

/// Width of a character of the badge's font, about.
const CHARACTER: usize = 7;

fn message(report: &Report) -> (String, &'static str) {
    let judged =
        report.scenarios.iter().filter(|s| !matches!(s.outcome, Outcome::NotApplicable | Outcome::NotRun)).count();
    let good = report.count(Outcome::Pass) + report.count(Outcome::Warn);
    let colour = match (judged, report.exit_code()) {
        (0, _) => "#9f9f9f",
        (_, 0) if report.count(Outcome::Warn) > 0 => "#97ca00",
        (_, 0) => "#1a7f4b",
        _ => "#c0362c",
    };
    (format!("{good}/{judged}"), colour)
}

/// <https://shields.io/badges/endpoint-badge>
pub fn to_json(report: &Report) -> String {
    let (message, color) = message(report);
    json!({"schemaVersion": 1, "label": "daytona conformance", "message": message, "color": color}).to_string() + "\n"
}

/// A picture of the same.
pub fn to_svg(report: &Report) -> String {
    let (message, colour) = message(report);
    let label = "daytona conformance";
    let (left, right) = (label.len() * CHARACTER + 4, message.len() * CHARACTER + 14);
    let (width, label_x, message_x) = (left + right, left / 2, left + right / 2);
    format!(
        r##"<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="20" role="img" aria-label="{label}: {message}">
<title>{label}: {message}</title>
<clipPath id="r"><rect width="{width}" height="20" rx="3"/></clipPath>
<g clip-path="url(#r)"><rect width="{left}" height="20" fill="#444"/><rect x="{left}" width="{right}" height="20" fill="{colour}"/></g>
<g fill="#fff" text-anchor="middle" font-family="Verdana,DejaVu Sans,sans-serif" font-size="11">
<text x="{label_x}" y="14">{label}</text><text x="{message_x}" y="14">{message}</text></g></svg>
"##
    )
}
