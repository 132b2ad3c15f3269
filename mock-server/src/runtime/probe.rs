//! Which tier this machine allows: found out by building a throw-away sandbox, never by reading settings.

use std::{collections::BTreeMap, fs, io, os::fd::OwnedFd, path::Path};

use super::{
    Capability, Isolation, IsolationChoice, RuntimeConfig, RuntimeError,
    base::OverlaySpec,
    ctrl::AgentLink,
    descriptors, idmap,
    launch::{LaunchSpec, ZygoteConfig},
    manager::{blocking, prepare_dir, probe_agent},
    nursery::Nursery,
    surroundings,
    sys::fdpass,
    userns,
};

/// What the ids of throw-away sandboxes start with.
pub const PREFIX: &str = "probe-";

/// The outcome.
pub struct Chosen {
    pub isolation: Isolation,
    pub nursery: Nursery,
    pub why_not_better: Vec<String>,
    pub capabilities: BTreeMap<String, Capability>,
}

/// Tries the tiers from the best on and keeps the zygote of the first that works.
///
/// # Errors
/// Why no tier works, a line each, and the ways out.
pub async fn choose(config: &RuntimeConfig) -> Result<Chosen, RuntimeError> {
    let tiers = match config.isolation {
        IsolationChoice::Exactly(tier) => vec![tier],
        IsolationChoice::Auto => vec![Isolation::Root, Isolation::Subuid, Isolation::Single],
    };
    let mut why_not_better = Vec::new();
    for isolation in tiers {
        match try_tier(config, isolation).await {
            Ok((nursery, outbound)) => return Ok(Chosen::new(isolation, nursery, why_not_better, outbound)),
            Err(error) => why_not_better.push(format!("{isolation}: {error}{}", hint(config))),
        }
    }
    let ways = ways_out(config.isolation, nix::unistd::geteuid().is_root(), &forbidding(Path::new("/proc/sys")));
    let refused = || RuntimeError::Unavailable(format!("{REFUSED}\n  {}\n{ways}", why_not_better.join("\n  ")));
    if config.isolation != IsolationChoice::Auto {
        return Err(refused());
    }
    let Some(boundary) = surroundings::boundary() else { return Err(refused()) };
    let (nursery, outbound) = try_tier(config, Isolation::Process).await.map_err(|_| refused())?;
    let loud =
        format!("NOT ISOLATED: sandboxes are plain processes of this user, as {boundary} is a boundary of its own");
    tracing::warn!("{loud}");
    why_not_better.push(loud);
    Ok(Chosen::new(Isolation::Process, nursery, why_not_better, outbound))
}

/// What keeps every tier from working in many a container.
fn hint(config: &RuntimeConfig) -> &'static str {
    use nix::sys::statfs::{OVERLAYFS_SUPER_MAGIC, statfs};
    let overlay = statfs(&config.data_dir).is_ok_and(|fs| fs.filesystem_type() == OVERLAYFS_SUPER_MAGIC);
    let text =
        " (the data directory is on overlayfs, which can't hold sandboxes: give a volume or tmpfs with --data-dir)";
    if overlay { text } else { "" }
}

impl Chosen {
    fn new(isolation: Isolation, nursery: Nursery, why_not_better: Vec<String>, outbound: Capability) -> Chosen {
        let mut capabilities = surroundings::capabilities(isolation);
        capabilities.insert("secrets".to_owned(), surroundings::secrets(isolation, &outbound));
        capabilities.insert("outbound".to_owned(), outbound);
        Chosen { isolation, nursery, why_not_better, capabilities }
    }
}

const REFUSED: &str = "sandboxes can't be isolated here:";

/// What a person can do about it.
fn ways_out(choice: IsolationChoice, is_root: bool, settings: &[&str]) -> String {
    let for_ordinary = matches!(choice, IsolationChoice::Exactly(Isolation::Subuid | Isolation::Single));
    let mut ways = Vec::new();
    if is_root && for_ordinary {
        ways.push("leave --isolation out: for a server of root the tier is root".to_owned());
        ways.push("start the server as an ordinary user: sudo -u USER daytona-mock".to_owned());
    } else {
        if choice != IsolationChoice::Auto {
            ways.push("leave --isolation out: the best tier that works is taken".to_owned());
        }
        ways.push(if is_root { CONTAINER } else { AS_ROOT }.to_owned());
        match (settings, choice) {
            // What it lacks is a range, as the line above says.
            ([], IsolationChoice::Exactly(Isolation::Subuid)) => {}
            ([], _) => ways.push(NO_SETTING.to_owned()),
            (settings, _) => {
                ways.push(format!("let users make user namespaces: sudo sysctl -w {}", settings.join(" ")));
            }
        }
    }
    ways.push("give up isolation, so that sandboxes run as you and see your files: --isolation process".to_owned());
    format!("Any one of these helps:\n  - {}", ways.join(";\n  - "))
}

const AS_ROOT: &str = "run the server as root (sudo, or a container with --privileged)";
const CONTAINER: &str = "give the container --privileged";
const NO_SETTING: &str = "let users make user namespaces: no setting of this kernel forbids it, so a seccomp profile or a \
                          security module does (of a container: --security-opt seccomp=unconfined --security-opt \
                          apparmor=unconfined)";

/// Where a setting is, which values forbid something, what allows it.
type Setting = (&'static str, fn(u64) -> bool, &'static str);

/// By these systems keep users from making user namespaces.
const SETTINGS: [Setting; 3] = [
    // Ubuntu
    (
        "kernel/apparmor_restrict_unprivileged_userns",
        |value| value != 0,
        "kernel.apparmor_restrict_unprivileged_userns=0",
    ),
    // older Debian
    ("kernel/unprivileged_userns_clone", |value| value == 0, "kernel.unprivileged_userns_clone=1"),
    // RHEL
    ("user/max_user_namespaces", |value| value == 0, "user.max_user_namespaces=15000"),
];

/// Those that do so here.
fn forbidding(sys: &Path) -> Vec<&'static str> {
    let forbids = |(path, forbids, _): &&Setting| {
        let value = fs::read_to_string(sys.join(path)).ok().and_then(|text| text.trim().parse().ok());
        value.is_some_and(forbids)
    };
    SETTINGS.iter().filter(forbids).map(|(_, _, mend)| *mend).collect()
}

/// The zygote of a tier that works, and whether its sandboxes get out.
async fn try_tier(config: &RuntimeConfig, isolation: Isolation) -> io::Result<(Nursery, Capability)> {
    let is_root = nix::unistd::geteuid().is_root();
    match isolation {
        Isolation::Root if !is_root => return Err(io::Error::other("the server does not run as root")),
        // The sandbox's user would be the host's uid 0: `core_pattern` and `sysrq-trigger` would be open to it.
        Isolation::Subuid | Isolation::Single if is_root => {
            return Err(io::Error::other("is for ordinary users, and the server runs as root"));
        }
        _ => {}
    }
    let nursery = Nursery::start(&config.binary, &zygote_config(config, isolation)?).await?;
    if isolation == Isolation::Process {
        let detail = "the host's network, without any policy".to_owned();
        return Ok((nursery, Capability { available: true, detail }));
    }
    let outbound = match build_one(config, isolation, &nursery).await? {
        Ok([wire, _]) => Capability { available: true, detail: super::net::describe(wire).into() },
        Err(reason) => Capability { available: false, detail: reason },
    };
    Ok((nursery, outbound))
}

/// What a zygote is told.
pub fn zygote_config(config: &RuntimeConfig, isolation: Isolation) -> io::Result<ZygoteConfig> {
    let (mount_dir, sandboxes) = (config.data_dir.join("m"), config.data_dir.join("sandboxes"));
    let layers = config.data_dir.join("layers");
    Ok(ZygoteConfig { isolation, mount_dir, sandboxes, layers, descriptors: descriptors::raise()? })
}

/// Builds a sandbox over an almost empty layer, and ends it.
async fn build_one(
    config: &RuntimeConfig,
    isolation: Isolation,
    nursery: &Nursery,
) -> io::Result<Result<[OwnedFd; 2], String>> {
    let id = format!("{PREFIX}{}", std::process::id());
    let (lower, dir) = (config.data_dir.join("probe"), config.data_dir.join("sandboxes").join(&id));
    let spec = LaunchSpec {
        isolation,
        idmap: idmap::map_for(isolation, (1000, 1000))?,
        dir: if isolation == Isolation::Root { format!("s/{id}").into() } else { dir.clone() },
        disks: 0,
        overlays: vec![OverlaySpec { target: "/".into(), lowers: vec![lower.clone()] }],
        binds: Vec::new(),
        volumes: Vec::new(),
        shifted: false,
        user: "probe".into(),
        authority: None,
        build: false,
        cpus: Vec::new(),
        memory: None,
        guard: false,
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
    let mut launched = nursery.launch(&spec, &theirs, &lock).await?;
    drop(theirs);
    let ready = AgentLink::new(ours)?.ready().await;
    launched.kill();
    let _ = (&mut launched.exit).await;
    userns::remove_tree(&config.binary, &spec.idmap, dir).await?;
    ready
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ways_out_fit_who_asks() {
        let ordinary = ways_out(IsolationChoice::Auto, false, &["a=1", "b=2"]);
        assert!(
            ordinary.contains("run the server as root") && ordinary.contains("sudo sysctl -w a=1 b=2"),
            "{ordinary}"
        );
        for tier in [Isolation::Subuid, Isolation::Single] {
            let root = ways_out(IsolationChoice::Exactly(tier), true, &[]);
            assert!(root.contains("leave --isolation out") && !root.contains("run the server as root"), "{root}");
        }
        assert!(ways_out(IsolationChoice::Auto, true, &[]).contains("give the container --privileged"));
        let subuid = ways_out(IsolationChoice::Exactly(Isolation::Subuid), false, &[]);
        assert!(subuid.contains("the best tier that works") && !subuid.contains("seccomp"), "{subuid}");
    }

    #[test]
    fn only_what_forbids_is_told() {
        let sys = tempfile::tempdir().expect("a directory");
        let write = |path: &str, text: &str| {
            let path = sys.path().join(path);
            fs::create_dir_all(path.parent().expect("a parent")).expect("made");
            fs::write(path, text).expect("written");
        };
        write("kernel/apparmor_restrict_unprivileged_userns", "1\n");
        write("user/max_user_namespaces", "95000\n");
        assert_eq!(forbidding(sys.path()), ["kernel.apparmor_restrict_unprivileged_userns=0"]);
        write("kernel/apparmor_restrict_unprivileged_userns", "0\n");
        write("user/max_user_namespaces", "0\n");
        assert_eq!(forbidding(sys.path()), ["user.max_user_namespaces=15000"]);
    }
}
