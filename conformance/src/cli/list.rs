//! `list` and `explain`.

use std::{
    io::{self, Write},
    process::ExitCode,
};

use crate::{
    cli::written,
    contract,
    count::count,
    run::matches,
    scenario::Scenario,
    scenarios,
    stop::{Result, Stop},
};

#[derive(clap::Args)]
pub(super) struct Args {
    /// Only ids that fit: `*` is any text, `?` any character.
    globs: Vec<String>,
    /// One JSON array instead of text.
    #[arg(long)]
    json: bool,
}

#[derive(clap::Args)]
pub(super) struct ExplainArgs {
    /// `area/scenario`, or `area/scenario:check`.
    id: String,
}

pub(super) fn list(args: &Args) -> Result<ExitCode> {
    let fits = |scenario: &&Scenario| args.globs.is_empty() || args.globs.iter().any(|glob| matches(glob, scenario.id));
    let chosen: Vec<&Scenario> = scenarios::all().filter(fits).collect();
    if chosen.is_empty() {
        return Err(Stop::harness("no scenario fits"));
    }
    let mut out = io::stdout().lock();
    written(if args.json { list_json(&mut out, &chosen) } else { list_text(&mut out, &chosen) })
}

fn list_json(out: &mut impl Write, chosen: &[&Scenario]) -> io::Result<()> {
    serde_json::to_writer_pretty(&mut *out, chosen)?;
    writeln!(out)
}

fn list_text(out: &mut impl Write, chosen: &[&Scenario]) -> io::Result<()> {
    for scenario in chosen {
        writeln!(out, "{}  {:?}, covers {}", scenario.id, scenario.level, scenario.covers.join(" "))?;
        writeln!(out, "    {}", scenario.rule_text())?;
    }
    writeln!(out, "{}", count(chosen.len(), "scenario"))
}

pub(super) fn explain(args: &ExplainArgs) -> Result<ExitCode> {
    let id = args.id.split(':').next().unwrap_or_default();
    let unknown = || {
        let near: Vec<&str> = scenarios::all().map(|s| s.id).filter(|known| known.contains(id)).take(5).collect();
        let hint = if near.is_empty() { String::new() } else { format!("; did you mean {}?", near.join(", ")) };
        Stop::harness(format!("no scenario {id}{hint}"))
    };
    let scenario = scenarios::all().find(|scenario| scenario.id == id).ok_or_else(unknown)?;
    written(explain_text(&mut io::stdout().lock(), scenario))
}

fn explain_text(out: &mut impl Write, scenario: &Scenario) -> io::Result<()> {
    writeln!(out, "{}\n\n{}\n", scenario.id, scenario.rule_text())?;
    writeln!(out, "level     {:?}", scenario.level)?;
    let until = scenario.until.map(|until| format!(", before {until}")).unwrap_or_default();
    writeln!(out, "servers   since {}{until}", scenario.since)?;
    if let Some(clients) = scenario.clients {
        writeln!(out, "clients   {clients}")?;
    }
    if !scenario.needs.is_empty() {
        writeln!(out, "needs     {:?}", scenario.needs)?;
    }
    if !scenario.classes.is_empty() {
        writeln!(out, "classes   {:?}", scenario.classes)?;
    }
    for operation in scenario.covers.iter().filter_map(|id| contract::operation(id)) {
        writeln!(out, "judges    {} ({} {})", operation.id, operation.method, operation.path)?;
    }
    writeln!(out, "\nrun it    daytona-conformance run {} --target mock --verbose", scenario.id)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_lists_have_every_scenario_and_each_can_be_explained() {
        let all: Vec<&Scenario> = scenarios::all().collect();
        let (mut json, mut text) = (Vec::new(), Vec::new());
        list_json(&mut json, &all).unwrap();
        list_text(&mut text, &all).unwrap();
        let rows: Vec<serde_json::Value> = serde_json::from_slice(&json).unwrap();
        let text = String::from_utf8(text).unwrap();
        assert_eq!(rows.len(), all.len());
        for scenario in all {
            assert!(text.contains(scenario.id), "{} is missing in the text", scenario.id);
            explain_text(&mut Vec::new(), scenario).unwrap();
        }
    }
}
