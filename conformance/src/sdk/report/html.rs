//! One page with everything in it: no script, no other file, nothing fetched.

use std::fmt::Write;

use super::{Comparison, counts, result};
use crate::{
    report::html::{escape, prose},
    scenario::Level,
    sdk::run::{Column, Outcome, Result},
};

/// Writing to a string can't fail.
macro_rules! put { ($page:expr, $($text:tt)*) => { _ = writeln!($page, $($text)*) }; }

/// The page.
pub fn to_string(comparison: &Comparison) -> String {
    let mut page = String::with_capacity(64 * 1024);
    let css = include_str!("../../report/html.css");
    put!(page, "<!doctype html><html lang=\"en\"><head><meta charset=\"utf-8\">");
    put!(page, "<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">");
    put!(page, "<title>Daytona SDKs</title><style>{css}</style></head><body><h1>Daytona SDKs</h1>");
    put!(
        page,
        "<div class=\"dim\">{}, {:.1} s, {} scenarios, suite {}</div><ul>",
        comparison.started_at.format("%Y-%m-%d %H:%M UTC"),
        comparison.took as f64 / 1000.0,
        comparison.scenarios.len(),
        comparison.suite_version
    );
    for sdk in &comparison.sdks {
        let (name, package) = (escape(&sdk.name), escape(&format!("{} {}", sdk.driver.sdk, sdk.driver.version)));
        put!(page, "<li><b>{name}</b>: <code>{package}</code>, {}: {}</li>", escape(&sdk.driver.language), counts(sdk));
    }
    put!(page, "</ul>");
    table(&mut page, comparison);
    for (at, sdk) in comparison.sdks.iter().enumerate() {
        findings(&mut page, comparison, at, sdk);
    }
    put!(page, "</body></html>");
    page
}

fn table(page: &mut String, comparison: &Comparison) {
    put!(page, "<table><tr><th>scenario</th><th></th>");
    for sdk in &comparison.sdks {
        put!(page, "<th>{}</th>", escape(&sdk.name));
    }
    put!(page, "</tr>");
    for scenario in &comparison.scenarios {
        let level = if scenario.level == Level::Must { "must" } else { "should" };
        put!(page, "<tr><td><code>{}</code><br>{}</td><td>{level}</td>", scenario.id, prose(&scenario.text()));
        for (at, sdk) in comparison.sdks.iter().enumerate() {
            match result(sdk, scenario.id) {
                Some(result) if shown(result) => {
                    let (class, word) = (class(result.outcome), result.outcome.word());
                    put!(
                        page,
                        "<td class=\"{class}\"><a class=\"{class}\" href=\"#{}\">{word}</a></td>",
                        anchor(at, result)
                    );
                }
                Some(result) => {
                    let why = escape(result.why.as_deref().unwrap_or_default());
                    put!(
                        page,
                        "<td class=\"{}\" title=\"{why}\">{}</td>",
                        class(result.outcome),
                        result.outcome.word()
                    );
                }
                None => put!(page, "<td></td>"),
            }
        }
        put!(page, "</tr>");
    }
    put!(page, "</table>");
}

fn findings(page: &mut String, comparison: &Comparison, at: usize, sdk: &Column) {
    let found: Vec<&Result> = sdk.results.iter().filter(|result| shown(result)).collect();
    if found.is_empty() {
        return;
    }
    put!(page, "<h2>{}</h2>", escape(&sdk.name));
    for result in found {
        let (class, word) = (class(result.outcome), result.outcome.word());
        put!(page, "<div class=\"failure {class}\" id=\"{}\">", anchor(at, result));
        put!(page, "<h3><span class=\"tag {class}\">{word}</span>{}</h3>", result.id);
        if let Some(scenario) = comparison.scenarios.iter().find(|scenario| scenario.id == result.id) {
            put!(page, "<p>{}</p>", prose(&scenario.text()));
        }
        if let Some(why) = &result.why {
            put!(page, "<p>{}</p>", escape(why));
        }
        for check in result.checks.iter().filter(|check| !check.passed) {
            put!(page, "<dl class=\"check\"><dt>check</dt><dd><code>{}</code></dd>", escape(&check.id));
            put!(page, "<dt>expected</dt><dd>{}</dd>", escape(&check.expected));
            put!(page, "<dt>got</dt><dd>{}</dd></dl>", escape(&check.got));
        }
        for (title, lines) in [("driver", &result.said), ("requests", &result.calls)] {
            if !lines.is_empty() {
                put!(page, "<details><summary>{title}</summary><pre>{}</pre></details>", escape(&lines.join("\n")));
            }
        }
        put!(page, "</div>");
    }
}

fn shown(result: &Result) -> bool {
    !matches!(result.outcome, Outcome::Pass | Outcome::NotApplicable)
}

fn anchor(at: usize, result: &Result) -> String {
    format!("{at}-{}", result.id.replace('/', "-"))
}

fn class(outcome: Outcome) -> &'static str {
    match outcome {
        Outcome::Pass => "pass",
        Outcome::Fail => "fail",
        Outcome::Warn => "warn",
        Outcome::NotApplicable => "not-applicable",
        Outcome::Untestable => "untestable",
    }
}
