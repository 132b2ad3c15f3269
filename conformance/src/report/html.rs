//! One page with everything in it: no script, no other file, nothing fetched.

use std::fmt::Write;

use super::{Covered, Outcome, Report, ScenarioReport};
use crate::{check::Check, client::Exchange, contract::Plane, count::count};

/// Exchanges shown for a scenario, beside those of failed checks.
const MAX_EXCHANGES: usize = 40;

/// The page.
pub fn to_string(report: &Report) -> String {
    let mut page = String::with_capacity(256 * 1024);
    head(&mut page, report);
    failures(&mut page, report);
    flaky(&mut page, report);
    areas(&mut page, report);
    coverage(&mut page, report);
    beyond(&mut page, report);
    not_applicable(&mut page, report);
    page.push_str("</body></html>\n");
    page
}

/// Writing to a string can't fail.
macro_rules! put { ($page:expr, $($text:tt)*) => { _ = writeln!($page, $($text)*) }; }

fn head(page: &mut String, report: &Report) {
    let (bad, verdict) = verdict(report);
    let css = include_str!("html.css");
    put!(page, "<!doctype html><html lang=\"en\"><head><meta charset=\"utf-8\">");
    put!(page, "<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">");
    put!(page, "<title>Daytona conformance: {verdict}</title><style>{css}</style></head><body>");
    put!(page, "<h1>Daytona conformance</h1>");
    let mock = report.server.mock.as_ref().and_then(|mock| mock["version"].as_str());
    let mock = mock.map(|version| format!(", daytona-mock {}", escape(version))).unwrap_or_default();
    put!(
        page,
        "<div class=\"dim\"><code>{}</code>, API version {}{mock}<br>{}, {:.1} s, suite {}, run {}, seed {}</div>",
        escape(&report.server.api_url),
        escape(&report.server.version),
        report.started_at.format("%Y-%m-%d %H:%M UTC"),
        report.took as f64 / 1000.0,
        report.suite_version,
        report.run,
        report.seed
    );
    put!(page, "<div class=\"verdict{}\">{verdict}</div>", if bad { " bad" } else { "" });
    bar(page, report);
    put!(page, "<ul class=\"counts\">");
    for outcome in Outcome::ALL {
        let count = report.count(outcome);
        if count > 0 {
            put!(page, "<li class=\"{}\"><b>{count}</b>{}</li>", class(outcome), outcome.word());
        }
    }
    put!(page, "<li><b>{}</b>checks</li><li><b>{}</b>sandboxes</li></ul>", report.checks, report.sandboxes);
    for stale in &report.stale {
        put!(
            page,
            "<p class=\"bad\">The baseline accepts <code>{}</code>, which doesn’t fail any more.</p>",
            escape(stale)
        );
    }
    for left in &report.left_behind {
        put!(page, "<p class=\"bad\">Left behind: <code>{}</code></p>", escape(left));
    }
}

fn verdict(report: &Report) -> (bool, String) {
    let failed = report.scenarios.iter().filter(|scenario| scenario.outcome.is_failure()).count();
    let warnings = match report.count(Outcome::Warn) {
        0 => String::new(),
        1 => ", 1 warning".to_owned(),
        many => format!(", {many} warnings"),
    };
    let partial = if report.partial { " (the run did not finish)" } else { "" };
    let text = match failed {
        0 if report.scenarios.is_empty() => "nothing was judged".to_owned(),
        0 => format!("every MUST holds{warnings}{partial}"),
        failed => format!("{failed} of {} failed{warnings}{partial}", count(report.scenarios.len(), "scenario")),
    };
    (report.exit_code() != 0, text)
}

fn bar(page: &mut String, report: &Report) {
    let total = report.scenarios.len().max(1) as f64;
    put!(page, "<div class=\"bar\" role=\"img\" aria-label=\"outcomes\">");
    for outcome in Outcome::ALL {
        let share = report.count(outcome) as f64 / total * 100.0;
        if share > 0.0 {
            put!(page, "<i class=\"{}\" style=\"width:{share:.2}%\"></i>", class(outcome));
        }
    }
    put!(page, "</div>");
}

fn failures(page: &mut String, report: &Report) {
    let failures = report.failures();
    if failures.is_empty() {
        return;
    }
    put!(page, "<h2>Failures and warnings</h2>");
    for scenario in failures {
        let (class, word, id) = (class(scenario.outcome), scenario.outcome.word(), escape(&scenario.id));
        put!(page, "<section class=\"failure {class}\" id=\"{id}\">");
        put!(page, "<h3><span class=\"tag {class}\">{word}</span><code>{id}</code></h3>");
        put!(page, "<p>{}</p>", prose(&scenario.rule));
        if let Some(reason) = &scenario.reason {
            put!(page, "<p class=\"dim\">because: {}</p>", escape(reason));
        }
        for check in scenario.failed() {
            failed_check(page, scenario, check);
        }
        for (number, attempt) in scenario.earlier_attempts.iter().enumerate() {
            let word = attempt.outcome.word();
            put!(page, "<p class=\"dim\">attempt {}: {word} {}</p>", number + 1, escape(&attempt.told()));
        }
        all_exchanges(page, scenario);
        put!(page, "</section>");
    }
}

fn flaky(page: &mut String, report: &Report) {
    if report.flaky().next().is_none() {
        return;
    }
    put!(page, "<h2>Passed at another attempt</h2><table>");
    for scenario in report.flaky() {
        let told = scenario.earlier_attempts.iter().map(|one| format!("{} {}", one.outcome.word(), one.told()));
        let told: Vec<String> = told.collect();
        put!(page, "<tr><td><code>{}</code></td><td>{}</td></tr>", escape(&scenario.id), escape(&told.join("; then ")));
    }
    put!(page, "</table>");
}

fn failed_check(page: &mut String, scenario: &ScenarioReport, check: &Check) {
    let accepted = if scenario.accepted.contains(&check.id) { " (accepted by the baseline)" } else { "" };
    put!(page, "<dl class=\"check\"><dt>check</dt><dd><code>{}</code>{accepted}</dd>", escape(&check.id));
    put!(page, "<dt>expected</dt><dd>{}</dd><dt>got</dt><dd>{}</dd></dl>", escape(&check.expected), escape(&check.got));
    if let Some(shown) = check.exchange.and_then(|number| scenario.exchanges.get(number)) {
        put!(page, "<details><summary class=\"dim\">the exchange</summary>");
        exchange(page, shown);
        put!(page, "</details>");
    }
}

fn all_exchanges(page: &mut String, scenario: &ScenarioReport) {
    if scenario.exchanges.is_empty() {
        return;
    }
    let (count, id) = (scenario.exchanges.len(), scenario.outcome.word());
    put!(page, "<details data-outcome=\"{id}\"><summary class=\"dim\">all {count} exchanges</summary>");
    let skipped = count.saturating_sub(MAX_EXCHANGES);
    if skipped > 0 {
        put!(page, "<p class=\"dim\">The first {skipped} are left out here; the JSON report has them.</p>");
    }
    for shown in &scenario.exchanges[skipped..] {
        exchange(page, shown);
    }
    put!(page, "</details>");
}

fn exchange(page: &mut String, shown: &Exchange) {
    put!(page, "<pre>{} {}", escape(&shown.method), escape(&shown.url));
    lines(page, &shown.request_headers, shown.request_body.as_deref());
    match (shown.status, &shown.error) {
        (Some(status), _) => put!(page, "\n<b>{status}</b> after {} ms", shown.took),
        (None, error) => put!(page, "\n<b>no answer</b>: {}", escape(error.as_deref().unwrap_or("?"))),
    }
    lines(page, &shown.answer_headers, shown.answer_body.as_deref());
    for frame in &shown.frames {
        put!(page, "{} {} {}", if frame.sent { "→" } else { "←" }, frame.kind, escape(&frame.content));
    }
    put!(page, "</pre>");
}

fn lines(page: &mut String, headers: &[(String, String)], body: Option<&str>) {
    for (name, value) in headers {
        put!(page, "<span class=\"dim\">{}: {}</span>", escape(name), escape(value));
    }
    if let Some(body) = body {
        put!(page, "{}", escape(body));
    }
}

fn areas(page: &mut String, report: &Report) {
    let mut areas: Vec<&str> = report.scenarios.iter().map(|scenario| scenario.area).collect();
    areas.dedup();
    put!(page, "<h2>Scenarios by area</h2>");
    for area in areas {
        let of_area: Vec<_> = report.scenarios.iter().filter(|scenario| scenario.area == area).collect();
        let passed = of_area.iter().filter(|scenario| scenario.outcome == Outcome::Pass).count();
        put!(
            page,
            "<details><summary><b>{area}</b> <span class=\"dim\">{passed} of {} pass</span></summary><table>",
            of_area.len()
        );
        for scenario in of_area {
            let (class, word) = (class(scenario.outcome), scenario.outcome.word());
            put!(
                page,
                "<tr><td class=\"{class}\">{word}</td><td><code>{}</code><br><span class=\"dim\">{}</span></td>\
                 <td class=\"number\">{} checks</td><td class=\"number\">{} ms</td></tr>",
                escape(&scenario.id),
                prose(&scenario.rule),
                scenario.checks.len(),
                scenario.took
            );
        }
        put!(page, "</table></details>");
    }
}

/// By the first segment of the operation's path: what the server offers, where it says so.
fn coverage(page: &mut String, report: &Report) {
    let offered: Vec<&Covered> = report.coverage.iter().filter(|row| row.emulated.unwrap_or(true)).collect();
    let mut groups: Vec<(Plane, &str)> = offered.iter().map(|row| (row.plane, row.area())).collect();
    groups.sort_by_key(|(plane, area)| (*plane == Plane::Toolbox, *area));
    groups.dedup();
    let judged = offered.iter().filter(|row| !row.scenarios.is_empty()).count();
    put!(page, "<h2>Coverage <span class=\"dim\">{judged} of {} operations</span></h2>", offered.len());
    put!(page, "<table><tr><th>operations</th><th class=\"number\">judged</th><th class=\"number\">answers 2xx</th>");
    put!(page, "<th class=\"number\">refusals</th><th>not judged</th></tr>");
    for (plane, area) in groups {
        let rows: Vec<_> = offered.iter().filter(|row| row.plane == plane && row.area() == area).collect();
        let missing: Vec<_> = rows.iter().filter(|row| row.scenarios.is_empty()).map(|row| row.operation).collect();
        let (good, bad) = rows.iter().fold((0, 0), |sum, row| (sum.0 + row.succeeded, sum.1 + row.refused));
        let plane = if plane == Plane::Api { "api" } else { "toolbox" };
        put!(
            page,
            "<tr><td>{plane}/{area}</td><td class=\"number\">{} of {}</td><td class=\"number\">{good}</td>\
             <td class=\"number\">{bad}</td><td class=\"missing\">{}</td></tr>",
            rows.len() - missing.len(),
            rows.len(),
            missing.join(", ")
        );
    }
    put!(page, "</table>");
}

/// Fields that the contract doesn't have.
fn beyond(page: &mut String, report: &Report) {
    let fields: usize = report.beyond().map(|row| row.undeclared.len()).sum();
    if fields == 0 {
        return;
    }
    put!(page, "<h2>Beyond the contract <span class=\"dim\">{fields} fields</span></h2>");
    put!(
        page,
        "<p class=\"dim\">Answers had fields that the contract doesn’t declare. That is no verdict: newer servers"
    );
    put!(page, "say more. Clients generated from the contract don’t see them, and a misspelt field shows up here.</p>");
    put!(page, "<details><summary>the fields, by operation</summary><table>");
    for row in report.beyond() {
        let fields: Vec<String> =
            row.undeclared.iter().map(|field| format!("<code>{}</code>", escape(field))).collect();
        put!(page, "<tr><td><code>{}</code></td><td>{}</td></tr>", row.operation, fields.join(" "));
    }
    put!(page, "</table></details>");
}

fn not_applicable(page: &mut String, report: &Report) {
    let missing: Vec<_> =
        report.scenarios.iter().filter(|scenario| scenario.outcome == Outcome::NotApplicable).collect();
    if missing.is_empty() {
        return;
    }
    put!(page, "<h2>Not applicable here</h2><table>");
    for scenario in missing {
        let why = escape(scenario.reason.as_deref().unwrap_or_default());
        put!(page, "<tr><td><code>{}</code></td><td>{why}</td></tr>", escape(&scenario.id));
    }
    put!(page, "</table>");
}

fn class(outcome: Outcome) -> &'static str {
    match outcome {
        Outcome::Fail => "fail",
        Outcome::Untestable => "untestable",
        Outcome::Error => "error",
        Outcome::Warn => "warn",
        Outcome::Pass => "pass",
        Outcome::NotApplicable => "not-applicable",
        Outcome::NotRun => "not-run",
    }
}

/// A rule: what is between backquotes is code.
pub(crate) fn prose(text: &str) -> String {
    let parts = text.split('`').enumerate();
    parts.map(|(at, part)| if at % 2 == 1 { format!("<code>{}</code>", escape(part)) } else { escape(part) }).collect()
}

pub(crate) fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            // Terminals' control characters would be invisible, or no HTML at all.
            c if c.is_control() && c != '\n' && c != '\t' => escaped.push('�'),
            c => escaped.push(c),
        }
    }
    escaped
}

#[cfg(test)]
mod tests {
    use super::escape;

    #[test]
    fn nothing_of_a_server_becomes_markup() {
        assert_eq!(escape("<script>\"&\u{1b}[1m"), "&lt;script&gt;&quot;&amp;�[1m");
    }
}
