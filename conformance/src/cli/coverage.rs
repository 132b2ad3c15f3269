//! `coverage`.

use std::{
    io::{self, Write},
    path::{Path, PathBuf},
    process::ExitCode,
};

use serde_json::Value;

use super::{run::TargetArgs, written};
use crate::{
    contract::{self, Operation, Plane},
    run::{Plan, World},
    scenarios,
    stop::{Result, Stop},
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
    /// A `report.json`: lists what its server emulates and the run never saw succeed, or never saw refused. Exit code 1
    /// if there is any that can be.
    #[arg(long, value_name = "FILE", conflicts_with_all = ["emulated", "missing"])]
    ran: Option<PathBuf>,
}

/// Operations that a run can't see succeed: why. One that did succeed is an error.
const NEVER_GOOD: &[(&str, &str)] = &[
    ("recoverSandbox", "nothing breaks in a way that can be recovered"),
    ("deleteApiKeyForUser", "keys of users belong to people who sign in"),
    ("getBuildLogs", "sandboxes of snapshots weren't built"),
    ("getBuildLogsUrl", "sandboxes of snapshots weren't built"),
    ("setOrganizationDefaultRegion", "organisations are made with a region, and it is set once"),
    ("isSandboxPublic", "for the product's own proxy"),
    ("isPreviewWarningEnabled", "for the product's own proxy"),
    ("isValidAuthToken", "for the product's own proxy"),
    ("getSigningKey", "for the product's own proxy"),
    ("HealthController_check", "for whoever runs the product"),
];

/// Operations that nobody is refused.
const NEVER_REFUSED: &[&str] = &[
    "ConfigController_getConfig",
    "HealthController_live",
    "HealthController_check",
    "listSharedRegions",
    "getAuditScenarios",
];

pub(super) async fn coverage(args: Args) -> Result<ExitCode> {
    if let Some(file) = &args.ran {
        return ran(file);
    }
    let emulated = if args.emulated { Some(emulated(args.target).await?) } else { None };
    let listed: Vec<&Operation> = contract::operations()
        .filter(|operation| emulated.as_ref().is_none_or(|ids| ids.iter().any(|id| id == operation.id)))
        .collect();
    let missing = listed.iter().filter(|operation| judges(operation).is_empty()).count();
    let code = written(write(&mut io::stdout().lock(), &listed, args.missing))?;
    Ok(if emulated.is_some() && args.missing && missing > 0 { ExitCode::from(1) } else { code })
}

/// What a run left out, by its report.
fn ran(file: &Path) -> Result<ExitCode> {
    let wrong = |why: String| Stop::harness(format!("{}: {why}", file.display()));
    let text = std::fs::read_to_string(file).map_err(|error| wrong(error.to_string()))?;
    let report: Value = serde_json::from_str(&text).map_err(|error| wrong(error.to_string()))?;
    let rows = report["coverage"].as_array().ok_or_else(|| wrong("no report of a run".to_owned()))?;
    let elsewhere = not_applicable(&report);
    let (mut count, mut lacking) = (0, Vec::new());
    for row in rows.iter().filter(|row| row["emulated"] == true) {
        count += 1;
        let id = row["operation"].as_str().unwrap_or_default();
        let (good, excused) = (row["succeeded"] != 0, NEVER_GOOD.iter().any(|(known, _)| *known == id));
        lacking.extend((good && excused).then(|| format!("{id} succeeded, and was said never to")));
        lacking.extend((!good && !excused && !elsewhere.contains(&id)).then(|| format!("{id} never succeeded")));
        lacking
            .extend((row["refused"] == 0 && !NEVER_REFUSED.contains(&id)).then(|| format!("{id} was never refused")));
    }
    let mut out = io::stdout().lock();
    lacking.iter().try_for_each(|line| writeln!(out, "FAIL  {line}"))?;
    writeln!(out, "{count} emulated operations, {} gaps in what a run saw of them", lacking.len())?;
    Ok(ExitCode::from(u8::from(!lacking.is_empty())))
}

/// Operations of scenarios that weren't applicable: who can't have a language server can't see one succeed.
fn not_applicable(report: &Value) -> Vec<&str> {
    let scenarios = report["scenarios"].as_array().into_iter().flatten();
    let left_out = scenarios.filter(|scenario| scenario["outcome"] == "not-applicable");
    left_out
        .flat_map(|scenario| scenario["covers"].as_array().into_iter().flatten())
        .filter_map(Value::as_str)
        .collect()
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
