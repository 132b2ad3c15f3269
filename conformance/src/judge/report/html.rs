//! One page with everything in it: no script, no other file, nothing fetched.

use std::fmt::Write;

use crate::{
    count::count,
    judge::{Verdict, verdict::Ruled},
    report::html::{escape, prose},
    scenario::Level,
};

/// Writing to a string can't fail.
macro_rules! put { ($page:expr, $($text:tt)*) => { _ = writeln!($page, $($text)*) }; }

/// The page.
pub fn to_string(verdict: &Verdict) -> String {
    let mut page = String::with_capacity(32 * 1024);
    head(&mut page, verdict);
    for rule in verdict.broken() {
        broken(&mut page, rule);
    }
    put!(page, "<h2>Rules</h2><table><tr><th>rule</th><th>level</th><th></th><th>says</th></tr>");
    for rule in &verdict.rules {
        let (id, says, level) = (escape(&rule.id), prose(&rule.rule), level(rule.level));
        put!(
            page,
            "<tr><td><code>{id}</code></td><td>{level}</td><td class=\"{}\">{}</td><td>{says}</td></tr>",
            class(rule),
            rule.word()
        );
    }
    put!(page, "</table></body></html>");
    page
}

fn head(page: &mut String, verdict: &Verdict) {
    let (css, summary) = (include_str!("../../report/html.css"), escape(&verdict.summary()));
    put!(page, "<!doctype html><html lang=\"en\"><head><meta charset=\"utf-8\">");
    put!(page, "<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">");
    put!(page, "<title>Daytona client: {summary}</title><style>{css}</style></head><body><h1>Daytona client</h1>");
    let (command, program) = (escape(&verdict.command), escape(&verdict.program));
    let at = verdict.started_at.format("%Y-%m-%d %H:%M UTC");
    let took = verdict.took as f64 / 1000.0;
    put!(
        page,
        "<div class=\"dim\"><code>{command}</code>: {program}<br>{at}, {took:.1} s, {}, suite {}</div>",
        count(verdict.calls, "call"),
        verdict.suite_version
    );
    let bad = if verdict.exit_code() == 0 { "" } else { " bad" };
    put!(page, "<div class=\"verdict{bad}\">{summary}</div>");
    if !verdict.program_succeeded {
        let expected = verdict.expected_exit.as_deref().map(|code| format!("; the contract expects exit code {code}"));
        put!(
            page,
            "<p class=\"bad\">The program itself failed: {program}{}</p>",
            escape(&expected.unwrap_or_default())
        );
    }
    if verdict.unfinished {
        put!(page, "<p>It didn't come to its end: what it would have done later isn't judged.</p>");
    }
    if verdict.lost > 0 {
        put!(page, "<p class=\"bad\">The journal had no room for {}.</p>", count(verdict.lost, "call"));
    }
}

fn broken(page: &mut String, rule: &Ruled) {
    put!(
        page,
        "<div class=\"failure {}\"><h3><span class=\"tag {0}\">{}</span>{}</h3>",
        class(rule),
        rule.word(),
        escape(&rule.id)
    );
    put!(page, "<p>{}</p>", prose(&rule.rule));
    for finding in &rule.findings {
        put!(page, "<dl class=\"check\"><dt>seen</dt><dd>{}</dd>", prose(&finding.what));
        if let Some(fix) = &finding.fix {
            put!(page, "<dt>instead</dt><dd><code>{}</code></dd>", escape(fix));
        }
        put!(page, "</dl>");
        if !finding.calls.is_empty() {
            put!(page, "<pre>{}</pre>", escape(&finding.calls.join("\n")));
        }
    }
    put!(page, "<p><b>Fix</b> <code>{}</code></p></div>", escape(&rule.fix));
}

fn class(rule: &Ruled) -> &'static str {
    match rule.word() {
        "FAIL" => "fail",
        "WARN" => "warn",
        "allowed" => "not-applicable",
        _ => "pass",
    }
}

fn level(level: Level) -> &'static str {
    if level == Level::Must { "must" } else { "should" }
}
