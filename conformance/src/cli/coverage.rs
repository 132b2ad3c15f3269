//! `coverage`.

use std::{
    io::{self, Write},
    process::ExitCode,
};

use super::{run::TargetArgs, written};
use crate::{
    contract::{self, Operation, Plane},
    run::{Plan, World},
    scenarios,
    stop::Result,
};

#[derive(clap::Args)]
pub(super) struct Args {
    #[command(flatten)]
    target: TargetArgs,
    /// Asks the target which operations it emulates, and lists only those.
    #[arg(long)]
    emulated: bool,
    /// Only what no scenario judges. With `--emulated`, exit code 1 if there is any.
    #[arg(long)]
    missing: bool,
}

pub(super) async fn coverage(args: Args) -> Result<ExitCode> {
    let emulated = if args.emulated { Some(emulated(args.target).await?) } else { None };
    let listed: Vec<&Operation> = contract::operations()
        .filter(|operation| emulated.as_ref().is_none_or(|ids| ids.iter().any(|id| id == operation.id)))
        .collect();
    let missing = listed.iter().filter(|operation| judges(operation).is_empty()).count();
    let code = written(write(&mut io::stdout().lock(), &listed, args.missing))?;
    Ok(if emulated.is_some() && args.missing && missing > 0 { ExitCode::from(1) } else { code })
}

async fn emulated(target: TargetArgs) -> Result<Vec<String>> {
    let (target, mock) = target.open().await?;
    let world = World::open(&Plan::default(), target).await?;
    let emulated =
        world.server.operations.iter().filter(|(_, emulated)| **emulated).map(|(id, _)| id.clone()).collect();
    if let Some(mock) = mock {
        mock.stop().await;
    }
    Ok(emulated)
}

fn judges(operation: &Operation) -> Vec<&'static str> {
    scenarios::all().filter(|scenario| scenario.covers.contains(&operation.id)).map(|scenario| scenario.id).collect()
}

/// By area: the first segment of the path.
fn write(out: &mut impl Write, listed: &[&Operation], only_missing: bool) -> io::Result<()> {
    let area = |operation: &Operation| {
        let plane = if operation.plane == Plane::Api { "api" } else { "toolbox" };
        format!("{plane}/{}", operation.path.split('/').nth(1).unwrap_or_default())
    };
    let mut areas: Vec<String> = listed.iter().map(|operation| area(operation)).collect();
    areas.sort();
    areas.dedup();
    let mut covered = 0;
    for name in areas {
        let of_area: Vec<_> = listed.iter().filter(|operation| area(operation) == name).collect();
        let judged = of_area.iter().filter(|operation| !judges(operation).is_empty()).count();
        covered += judged;
        if only_missing && judged == of_area.len() {
            continue;
        }
        writeln!(out, "{name}: {judged} of {}", of_area.len())?;
        for operation in of_area {
            let judges = judges(operation);
            if judges.is_empty() {
                writeln!(out, "  -  {}", operation.id)?;
            } else if !only_missing {
                writeln!(out, "  +  {}: {}", operation.id, judges.join(" "))?;
            }
        }
    }
    writeln!(out, "{covered} of {} operations have scenarios", listed.len())
}
