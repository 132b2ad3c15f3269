//! For people at a terminal, and for logs.

use std::{
    collections::BTreeMap,
    io::{self, Write},
};

use super::{Outcome, Report, ScenarioReport};
use crate::client::Exchange;
use crate::count::count;

/// Lines of a body that are shown.
const MAX_BODY_LINES: usize = 12;

/// Failures with rule, expected, got and exchange, then the summary.
pub fn write(out: &mut impl Write, report: &Report, verbose: bool) -> io::Result<()> {
    for scenario in report.failures() {
        failure(out, scenario)?;
    }
    for scenario in report.scenarios.iter().filter(|scenario| verbose && !scenario.outcome.shows_exchanges()) {
        let reason = scenario.reason.as_deref().map(|reason| format!(": {reason}")).unwrap_or_default();
        writeln!(
            out,
            "{:<10} {} ({} checks, {} ms){reason}",
            scenario.outcome.word(),
            scenario.id,
            scenario.checks.len(),
            scenario.took
        )?;
    }
    beyond(out, report, verbose)?;
    summary(out, report)
}

/// Fields that the contract doesn't have.
fn beyond(out: &mut impl Write, report: &Report, verbose: bool) -> io::Result<()> {
    let fields: usize = report.beyond().map(|row| row.undeclared.len()).sum();
    if fields == 0 {
        return Ok(());
    }
    let more = if verbose { ":" } else { " (listed with --verbose, and by reports)" };
    writeln!(out, "\n{fields} fields of answers are not in the contract, which is no verdict{more}")?;
    for row in report.beyond().filter(|_| verbose) {
        let fields: Vec<&str> = row.undeclared.iter().map(String::as_str).collect();
        writeln!(out, "  {}: {}", row.operation, plain(&fields.join(" ")))?;
    }
    Ok(())
}

fn failure(out: &mut impl Write, scenario: &ScenarioReport) -> io::Result<()> {
    writeln!(out, "\n{} {}", scenario.outcome.word(), scenario.id)?;
    writeln!(out, "  rule      {}", scenario.rule)?;
    if let Some(reason) = &scenario.reason {
        writeln!(out, "  because   {}", plain(reason))?;
    }
    for check in scenario.failed() {
        let accepted = if scenario.accepted.contains(&check.id) { " (accepted by the baseline)" } else { "" };
        writeln!(out, "  check     {}:{}{accepted}", scenario.id, check.id)?;
        writeln!(out, "  expected  {}", plain(&check.expected))?;
        writeln!(out, "  got       {}", plain(&check.got))?;
        if let Some(exchange) = check.exchange.and_then(|number| scenario.exchanges.get(number)) {
            show(out, exchange)?;
        }
    }
    // Without a check, the last exchange is where it ended.
    if let (None, Some(last)) = (scenario.failed().next(), scenario.exchanges.last()) {
        show(out, last)?;
    }
    attempts(out, scenario)
}

/// What a server says must not move anybody's cursor.
fn plain(text: &str) -> String {
    let is_odd = |c: char| c.is_control() && c != '\n' && c != '\t';
    text.chars().fold(String::with_capacity(text.len()), |mut plain, c| {
        if is_odd(c) {
            plain.extend(c.escape_default())
        } else {
            plain.push(c)
        }
        plain
    })
}

fn attempts(out: &mut impl Write, scenario: &ScenarioReport) -> io::Result<()> {
    for (number, attempt) in scenario.earlier_attempts.iter().enumerate() {
        writeln!(out, "  attempt {} {}: {}", number + 1, attempt.outcome.word(), attempt.told())?;
    }
    Ok(())
}

fn show(out: &mut impl Write, exchange: &Exchange) -> io::Result<()> {
    writeln!(out, "    > {} {}", exchange.method, exchange.url)?;
    for (name, value) in &exchange.request_headers {
        writeln!(out, "    > {name}: {value}")?;
    }
    body(out, '>', exchange.request_body.as_deref())?;
    match (exchange.status, &exchange.error) {
        (Some(status), _) => writeln!(out, "    < {status} ({} ms)", exchange.took)?,
        (None, error) => writeln!(out, "    < no answer: {}", error.as_deref().unwrap_or("?"))?,
    }
    for (name, value) in &exchange.answer_headers {
        writeln!(out, "    < {name}: {}", plain(value))?;
    }
    body(out, '<', exchange.answer_body.as_deref())?;
    for frame in exchange.frames.iter().take(20) {
        let direction = if frame.sent { '>' } else { '<' };
        writeln!(out, "    {direction} {}: {:?}", frame.kind, frame.content)?;
    }
    Ok(())
}

fn body(out: &mut impl Write, direction: char, body: Option<&str>) -> io::Result<()> {
    let Some(body) = body else { return Ok(()) };
    for line in body.lines().take(MAX_BODY_LINES) {
        let cut: String = line.chars().take(400).collect();
        writeln!(out, "    {direction} {}", plain(&cut))?;
    }
    Ok(())
}

fn summary(out: &mut impl Write, report: &Report) -> io::Result<()> {
    let missing: Vec<&ScenarioReport> =
        report.scenarios.iter().filter(|scenario| scenario.outcome == Outcome::NotApplicable).collect();
    if !missing.is_empty() {
        writeln!(out, "\nnot applicable:")?;
        for scenario in missing {
            writeln!(out, "  {}: {}", scenario.id, scenario.reason.as_deref().unwrap_or_default())?;
        }
    }
    let mut not_run = BTreeMap::new();
    for scenario in report.scenarios.iter().filter(|scenario| scenario.outcome == Outcome::NotRun) {
        *not_run.entry(scenario.reason.as_deref().unwrap_or_default()).or_insert(0) += 1;
    }
    for (why, count) in not_run {
        writeln!(out, "\nnot run: {count}, because: {why}")?;
    }
    for scenario in report.flaky() {
        writeln!(out, "\nFLAKY: {} passed at attempt {}", scenario.id, scenario.earlier_attempts.len() + 1)?;
        attempts(out, scenario)?;
    }
    for stale in &report.stale {
        writeln!(out, "\nSTALE: the baseline accepts {stale}, which does not fail any more")?;
    }
    for left in &report.left_behind {
        writeln!(out, "\nLEFT BEHIND: {left}")?;
    }
    let accepted: usize = report.scenarios.iter().map(|scenario| scenario.accepted.len()).sum();
    if accepted > 0 {
        writeln!(out, "\n{accepted} failed checks are accepted by the baseline")?;
    }
    let counts: Vec<String> = Outcome::ALL
        .iter()
        .filter(|outcome| report.count(**outcome) > 0)
        .map(|outcome| format!("{} {}", report.count(*outcome), outcome.word()))
        .collect();
    let partial = if report.partial { " (the run did not finish)" } else { "" };
    writeln!(out, "\nserver {} version {}", report.server.api_url, report.server.version)?;
    writeln!(
        out,
        "{}: {}{partial}; {}, {}, {:.1} s, run {}, seed {}",
        count(report.scenarios.len(), "scenario"),
        counts.join(", "),
        count(report.checks, "check"),
        count(report.sandboxes, "sandbox"),
        report.took as f64 / 1000.0,
        report.run,
        report.seed
    )
}

#[cfg(test)]
mod tests {
    use super::plain;

    #[test]
    fn nothing_of_a_server_moves_the_cursor() {
        assert_eq!(plain("a\u{1b}[2J\r\u{9b}b\n\tü"), "a\\u{1b}[2J\\r\\u{9b}b\n\tü");
    }
}
