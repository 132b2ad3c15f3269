//! `mutants`.

use std::{
    io::{self, Write},
    process::ExitCode,
    str::FromStr,
};

use super::written;
use crate::{
    count::count,
    mock::Mock,
    mutants::{self, Mutant, Summary, Trial, Verdict},
    run::matches,
    stop::{Result, Stop},
};

/// A run of all mutants must kill so many of a hundred.
const ENOUGH: f64 = 95.0;

#[derive(clap::Args)]
pub(super) struct Args {
    /// Mutants by id: `*` is any text, `?` any character. None: all.
    globs: Vec<String>,
    /// Only a part of them: `2/5` is the second fifth. Parts have mutants of every area.
    #[arg(long, value_name = "N/OF")]
    part: Option<Part>,
    /// Mutants at the same time.
    #[arg(long, short, default_value_t = 6)]
    jobs: usize,
    /// Lists them, and runs nothing.
    #[arg(long)]
    list: bool,
    /// Prints those that were killed, too.
    #[arg(long, short)]
    verbose: bool,
}

#[derive(Clone, Copy)]
struct Part {
    number: usize,
    of: usize,
}

impl FromStr for Part {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let parts = text.split_once('/').and_then(|(number, of)| Some((number.parse().ok()?, of.parse().ok()?)));
        let part = parts.map(|(number, of)| Part { number, of });
        part.filter(|part| (1..=part.of).contains(&part.number)).ok_or_else(|| "1/5 to 5/5 or so is needed".to_owned())
    }
}

/// 0: as the table says, and enough are killed. 1: not so.
pub(super) async fn mutants(args: Args) -> Result<ExitCode> {
    let chosen = args.chosen();
    if chosen.is_empty() {
        return Err(Stop::harness("no mutant fits"));
    }
    if args.list {
        return written(list(&mut io::stdout().lock(), &chosen));
    }
    let mock = Mock::start_complete().await?;
    let summary = mutants::try_all(chosen, args.jobs, &mock, |trial| tell(trial, args.verbose)).await;
    mock.stop().await;
    let summary = summary?;
    let surprises = summary.surprises().len();
    written(conclude(&mut io::stdout().lock(), &summary))?;
    Ok(ExitCode::from(u8::from(surprises > 0 || args.is_whole() && summary.percent() < ENOUGH)))
}

impl Args {
    fn chosen(&self) -> Vec<&'static Mutant> {
        let named = |mutant: &&Mutant| self.globs.is_empty() || self.globs.iter().any(|glob| matches(glob, mutant.id));
        let all = mutants::table::all().filter(named).enumerate();
        all.filter(|(at, _)| self.part.is_none_or(|part| at % part.of == part.number - 1)).map(|(_, m)| m).collect()
    }

    fn is_whole(&self) -> bool {
        self.globs.is_empty() && self.part.is_none()
    }
}

fn list(out: &mut impl Write, mutants: &[&Mutant]) -> io::Result<()> {
    for mutant in mutants {
        writeln!(out, "{}  {} ({})", mutant.id, mutant.what, count(mutant.scenarios().len(), "scenario"))?;
        if let Some(why) = mutant.survives {
            writeln!(out, "    survives: {why}")?;
        }
    }
    writeln!(out, "{} mutants", mutants.len())
}

fn tell(trial: &Trial, verbose: bool) {
    let Mutant { id, what, survives, .. } = trial.mutant;
    let seconds = trial.took.as_secs_f64();
    match (&trial.verdict, survives) {
        (Verdict::Killed(by), None) if verbose => println!("killed  {id}  by {by} ({seconds:.1} s)"),
        (Verdict::Killed(_), None) => {}
        (Verdict::Killed(by), Some(_)) => println!("FAIL  {id} was to survive, and was killed by {by}"),
        (Verdict::Survived, Some(why)) => println!("survived  {id}: {what}. Why: {why}"),
        (Verdict::Survived, None) => println!("FAIL  {id} survived: {what} ({seconds:.1} s)"),
        (Verdict::NotApplicable(why), _) => println!("SKIPPED  {id}: {why}"),
        (Verdict::NeverApplied, _) => println!("FAIL  {id} changed nothing: {what} ({seconds:.1} s)"),
        (Verdict::Spoilt(why), _) => println!("FAIL  {id} was no trial: {why} ({seconds:.1} s)"),
    }
}

fn conclude(out: &mut impl Write, summary: &Summary) -> io::Result<()> {
    let mut slow: Vec<&Trial> = summary.trials.iter().collect();
    slow.sort_by_key(|trial| std::cmp::Reverse(trial.took));
    let slow: Vec<String> =
        slow.iter().take(3).map(|trial| format!("{} {:.0} s", trial.mutant.id, trial.took.as_secs_f64())).collect();
    writeln!(out, "slowest: {}", slow.join(", "))?;
    let killed = summary.killed();
    let skipped = summary.trials.len() - summary.tried();
    if skipped > 0 {
        writeln!(out, "{skipped} need what this machine doesn't have")?;
    }
    writeln!(out, "{killed} killed of {} mutants: {:.1} %", summary.tried(), summary.percent())
}
