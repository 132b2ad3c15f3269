//! For people at a terminal, and for logs.

use std::io::{self, Write};

use crate::{
    count::count,
    judge::{Verdict, verdict::Ruled},
    plain::visible,
};

/// Rules that don't hold, each with what was seen and what to do, then the summary. Requests and output of the program have
/// whatever it wants in them: nothing of it moves the terminal.
pub fn write(out: &mut impl Write, verdict: &Verdict, verbose: bool) -> io::Result<()> {
    let mut text = Vec::new();
    told(&mut text, verdict, verbose)?;
    out.write_all(visible(&String::from_utf8_lossy(&text)).as_bytes())
}

fn told(out: &mut impl Write, verdict: &Verdict, verbose: bool) -> io::Result<()> {
    for rule in verdict.rules.iter().filter(|rule| verbose && rule.holds()) {
        let why = rule.allowed.as_deref().map(|why| format!(": {why}")).unwrap_or_default();
        writeln!(out, "{:<8} {}{why}", rule.word(), rule.id)?;
    }
    for rule in verdict.broken() {
        broken(out, rule)?;
    }
    let allowed = verdict.rules.iter().filter(|rule| rule.allowed.is_some()).count();
    if allowed > 0 {
        let are = if allowed == 1 { "is" } else { "are" };
        writeln!(out, "\n{} {are} broken as the contract allows", count(allowed, "rule"))?;
    }
    if verdict.lost > 0 {
        writeln!(out, "\nNOT SEEN: the journal had no room for {}", count(verdict.lost, "call"))?;
    }
    writeln!(out, "\nprogram  {} ({})", verdict.command, verdict.program)?;
    if !verdict.program_succeeded {
        let expected = verdict.expected_exit.as_deref().map(|code| format!(": the contract expects exit code {code}"));
        writeln!(out, "the program itself failed{}", expected.unwrap_or_default())?;
    }
    if verdict.unfinished {
        writeln!(out, "it didn't come to its end: what it would have done later isn't judged")?;
    }
    let (rules, calls) = (count(verdict.rules.len(), "rule"), count(verdict.calls, "call"));
    let took = verdict.took as f64 / 1000.0;
    writeln!(out, "{rules}, {calls}, {took:.1} s: {}", verdict.summary())?;
    if verdict.exit_code() == 2 {
        writeln!(out, "it asked the server for nothing: does it read DAYTONA_API_URL and DAYTONA_API_KEY?")?;
    }
    Ok(())
}

fn broken(out: &mut impl Write, rule: &Ruled) -> io::Result<()> {
    writeln!(out, "\n{} {}", rule.word(), rule.id)?;
    writeln!(out, "  rule  {}", rule.rule)?;
    for finding in &rule.findings {
        writeln!(out, "  seen  {}", finding.what)?;
        if let Some(fix) = &finding.fix {
            writeln!(out, "        instead: {fix}")?;
        }
        for call in &finding.calls {
            writeln!(out, "        {call}")?;
        }
    }
    writeln!(out, "  fix   {}", rule.fix)
}
