//! For people at a terminal, and for logs.

use std::io::{self, Write};

use super::{Comparison, counts, result};
use crate::{
    plain::visible,
    sdk::run::{Column, Outcome, Result},
};

/// What doesn't hold, with what was expected and what came; then the table, then the counts. What SDKs say moves no terminal.
pub fn write(out: &mut impl Write, comparison: &Comparison, verbose: bool) -> io::Result<()> {
    let mut text = Vec::new();
    told(&mut text, comparison, verbose)?;
    out.write_all(visible(&String::from_utf8_lossy(&text)).as_bytes())
}

fn told(out: &mut impl Write, comparison: &Comparison, verbose: bool) -> io::Result<()> {
    for sdk in &comparison.sdks {
        for result in &sdk.results {
            if verbose || !matches!(result.outcome, Outcome::Pass | Outcome::NotApplicable) {
                details(out, comparison, sdk, result)?;
            }
        }
    }
    table(out, comparison)?;
    for sdk in &comparison.sdks {
        let driver = &sdk.driver;
        writeln!(out, "{}: {} {} ({}): {}", sdk.name, driver.sdk, driver.version, driver.language, counts(sdk))?;
    }
    writeln!(out, "{} scenarios, {:.1} s", comparison.scenarios.len(), comparison.took as f64 / 1000.0)
}

fn details(out: &mut impl Write, comparison: &Comparison, sdk: &Column, result: &Result) -> io::Result<()> {
    writeln!(out, "\n{} {} ({})", result.outcome.word(), result.id, sdk.name)?;
    if let Some(scenario) = comparison.scenarios.iter().find(|scenario| scenario.id == result.id) {
        writeln!(out, "  rule      {}", scenario.text())?;
    }
    if let Some(why) = &result.why {
        writeln!(out, "  why       {why}")?;
    }
    for check in result.checks.iter().filter(|check| !check.passed) {
        writeln!(out, "  {}\n  expected  {}\n  got       {}", check.id, check.expected, check.got)?;
    }
    Ok(())
}

fn table(out: &mut impl Write, comparison: &Comparison) -> io::Result<()> {
    let width = comparison.scenarios.iter().map(|scenario| scenario.id.len()).max().unwrap_or_default();
    let cell = |sdk: &Column| sdk.name.len().max(10);
    write!(out, "\n{:width$}", "")?;
    for sdk in &comparison.sdks {
        write!(out, "  {:1$}", sdk.name, cell(sdk))?;
    }
    writeln!(out)?;
    for scenario in &comparison.scenarios {
        write!(out, "{:width$}", scenario.id)?;
        for sdk in &comparison.sdks {
            let word = result(sdk, scenario.id).map_or("", |result| result.outcome.word());
            write!(out, "  {word:0$}", cell(sdk))?;
        }
        writeln!(out)?;
    }
    writeln!(out)
}
