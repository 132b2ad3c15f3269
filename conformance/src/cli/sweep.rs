//! `sweep`.

use std::{
    path::{Path, PathBuf},
    process::ExitCode,
};

use super::run::TargetArgs;
use crate::{
    client::Client,
    ledger,
    run::{Plan, Target, World},
    stop::{Result, Stop},
    sweep::{self, Which},
};

#[derive(clap::Args)]
#[group(id = "which", required = true, multiple = false)]
struct WhichArgs {
    /// The id that the run's summary gave.
    #[arg(long)]
    run: Option<String>,
    /// Whatever is older: `30m`, `2h`, `1d`.
    #[arg(long, value_parser = age)]
    older_than: Option<chrono::TimeDelta>,
}

#[derive(clap::Args)]
pub(super) struct Args {
    #[command(flatten)]
    target: TargetArgs,
    #[command(flatten)]
    which: WhichArgs,
}

fn age(text: &str) -> Result<chrono::TimeDelta, String> {
    let wrong = || "a number with s, m, h or d is needed".to_owned();
    let (number, unit) = text.split_at(text.len().saturating_sub(1));
    let number: i64 = number.parse().map_err(|_| wrong())?;
    let seconds = match unit {
        "s" => 1,
        "m" => 60,
        "h" => 3600,
        "d" => 86_400,
        _ => return Err(wrong()),
    };
    number.checked_mul(seconds).and_then(chrono::TimeDelta::try_seconds).ok_or_else(wrong)
}

pub(super) async fn sweep(args: Args) -> Result<ExitCode> {
    let which = match (args.which.run, args.which.older_than) {
        (Some(run), _) => Which::Run(run),
        (None, Some(age)) => Which::OlderThan(chrono::Utc::now() - age),
        (None, None) => return Err(Stop::harness("--run or --older-than")),
    };
    let (target, _mock) = args.target.open().await?;
    let second_key = target.second_key.clone();
    // One that keeps no ledger of its own.
    let client = World::open(&Plan::default(), Target { private: true, ..target }).await?.client();
    let (mut removed, mut left) = sweep::sandboxes(&client, &which).await?;
    if let Some(key) = second_key {
        let (also_removed, also_left) = sweep::sandboxes(&client.with_key(&key), &which).await?;
        removed.extend(also_removed);
        left.extend(also_left);
    }
    for file in ledgers(&which)? {
        from_ledger(&client, &file, &mut removed, &mut left).await?;
    }
    for id in &removed {
        println!("removed {id}");
    }
    for why in &left {
        eprintln!("LEFT {why}");
    }
    println!("{} removed, {} left", removed.len(), left.len());
    Ok(ExitCode::from(u8::from(!left.is_empty())))
}

/// What has no labels is known from the ledgers; a ledger with nothing left goes away.
async fn from_ledger(client: &Client, file: &Path, removed: &mut Vec<String>, left: &mut Vec<String>) -> Result {
    let text = std::fs::read_to_string(file)?;
    let entries = ledger::left(&text);
    let mut clean = true;
    for entry in entries {
        // Another account's: its own sweep will come.
        if entry.api_url != client.base() {
            clean = false;
            continue;
        }
        match sweep::remove(client, &entry.path).await {
            Ok(()) => removed.push(entry.path),
            Err(why) => {
                clean = false;
                left.push(format!("{}: {why}", entry.path));
            }
        }
    }
    if clean {
        std::fs::remove_file(file)?;
    }
    Ok(())
}

fn ledgers(which: &Which) -> Result<Vec<PathBuf>> {
    let dir = ledger::directory()?;
    match which {
        Which::Run(run) => {
            let plain = run.chars().all(|c| c.is_ascii_alphanumeric());
            let file = dir.join(format!("{run}.jsonl"));
            Ok(if plain && file.is_file() { vec![file] } else { Vec::new() })
        }
        Which::OlderThan(limit) => {
            let Ok(files) = std::fs::read_dir(dir) else { return Ok(Vec::new()) };
            let is_old = |file: &std::fs::DirEntry| {
                let changed = file.metadata().and_then(|data| data.modified()).ok();
                changed.is_some_and(|changed| chrono::DateTime::<chrono::Utc>::from(changed) < *limit)
            };
            Ok(files.filter_map(Result::ok).filter(is_old).map(|file| file.path()).collect())
        }
    }
}
