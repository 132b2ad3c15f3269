//! Which tier this machine allows: found out by building a throw-away sandbox, never by reading settings.

use std::{collections::BTreeMap, fs, io};

use super::{
    Capability, Isolation, IsolationChoice, RuntimeConfig, RuntimeError,
    base::OverlaySpec,
    ctrl::AgentLink,
    idmap,
    launch::{LaunchSpec, ZygoteConfig},
    manager::{blocking, prepare_dir, probe_agent},
    nursery::Nursery,
    sys::fdpass,
    userns,
};

/// The outcome.
pub struct Chosen {
    pub isolation: Isolation,
    pub nursery: Nursery,
    pub why_not_better: Vec<String>,
    pub capabilities: BTreeMap<String, Capability>,
}

/// Tries the tiers from the best on and keeps the zygote of the first that works.
pub async fn choose(config: &RuntimeConfig) -> Result<Chosen, RuntimeError> {
    let tiers = match config.isolation {
        IsolationChoice::Exactly(tier) => vec![tier],
        IsolationChoice::Auto => vec![Isolation::Root, Isolation::Subuid, Isolation::Single],
    };
    let mut why_not_better = Vec::new();
    for isolation in tiers {
        match try_tier(config, isolation).await {
            Ok(nursery) => {
                return Ok(Chosen { isolation, nursery, why_not_better, capabilities: BTreeMap::new() });
            }
            Err(error) => why_not_better.push(format!("{isolation}: {error}")),
        }
    }
    Err(RuntimeError::Unavailable(format!("this machine can't isolate sandboxes: {}", why_not_better.join("; "))))
}

async fn try_tier(config: &RuntimeConfig, isolation: Isolation) -> io::Result<Nursery> {
    let is_root = nix::unistd::geteuid().is_root();
    match isolation {
        Isolation::Root if !is_root => return Err(io::Error::other("the server does not run as root")),
        // The sandbox's user would be the host's uid 0: `core_pattern` and `sysrq-trigger` would be open to it.
        Isolation::Subuid | Isolation::Single if is_root => {
            return Err(io::Error::other("is for ordinary users, and the server runs as root"));
        }
        _ => {}
    }
    let zygote =
        ZygoteConfig { isolation, mount_dir: config.data_dir.join("m"), sandboxes: config.data_dir.join("sandboxes") };
    let nursery = Nursery::start(&config.binary, &zygote).await?;
    if isolation != Isolation::Process {
        build_one(config, isolation, &nursery).await?;
    }
    Ok(nursery)
}

/// What a zygote is told.
pub fn zygote_config(config: &RuntimeConfig, isolation: Isolation) -> ZygoteConfig {
    let (mount_dir, sandboxes) = (config.data_dir.join("m"), config.data_dir.join("sandboxes"));
    ZygoteConfig { isolation, mount_dir, sandboxes }
}

/// Builds a sandbox over an almost empty layer, and ends it.
async fn build_one(config: &RuntimeConfig, isolation: Isolation, nursery: &Nursery) -> io::Result<()> {
    let id = format!("probe-{}", std::process::id());
    let (lower, dir) = (config.data_dir.join("probe"), config.data_dir.join("sandboxes").join(&id));
    let spec = LaunchSpec {
        isolation,
        idmap: idmap::map_for(isolation, (1000, 1000))?,
        dir: if isolation == Isolation::Root { format!("s/{id}").into() } else { dir.clone() },
        overlays: vec![OverlaySpec { target: "/".into(), lowers: vec![lower.clone()] }],
        binds: Vec::new(),
        shifted: false,
        user: "probe".into(),
        agent: probe_agent(&id),
    };
    let lock = blocking({
        let dir = dir.clone();
        move || {
            fs::create_dir_all(lower.join("etc"))?;
            fs::write(lower.join("etc/passwd"), "probe:x:1000:1000::/:/bin/sh\n")?;
            prepare_dir(&dir, isolation)
        }
    })
    .await?;
    let (ours, theirs) = fdpass::pair()?;
    let mut launched = nursery.launch(&spec, theirs, &lock).await?;
    let ready = AgentLink::new(ours)?.ready().await;
    launched.kill();
    let _ = (&mut launched.exit).await;
    userns::remove_tree(&config.binary, &spec.idmap, dir).await?;
    ready.map(drop)
}
