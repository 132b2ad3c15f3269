//! Whether a rule can ever act. One that certainly can't is refused with what it could act on, rather than kept silent.

use super::{
    effect::{Effect, Hold, METERED, WRITERS},
    rule::{Matcher, OneOrMany},
};
use crate::{journal::Plane, strict::meant_operations};

/// Operations of the toolbox that become WebSockets (the contract's 101s, `Process.ts`, `CodeInterpreter.ts`).
const SOCKETS: [&str; 4] =
    ["ConnectPtySession", "ExecuteInterpreterCode", "GetSessionCommandLogs", "GetEntrypointLogs"];
const LAUNCHING: [&str; 4] = ["createSandbox", "forkSandbox", "startSandbox", "recoverSandbox"];
const BUILDING: [&str; 2] = ["createSandbox", "createSnapshot"];

/// What an effect acts on, besides what a matcher says.
struct Reach {
    planes: &'static [Plane],
    /// Empty: any, and what is no operation.
    operations: &'static [&'static str],
    /// Only what is asked of a sandbox.
    of_sandbox: bool,
}

/// # Errors
/// What the rule could be about instead.
pub fn check(matcher: &Matcher, effect: &Effect) -> Result<(), String> {
    let by_name = matcher.operation.as_ref().map(OneOrMany::all);
    let reach = reach(effect, by_name.is_some());
    let what = reach.say();
    let name = serde_json::to_value(effect).ok().and_then(|json| Some(json["type"].as_str()?.to_owned()));
    let name = name.unwrap_or_default();
    if let Some(plane) = matcher.plane.filter(|plane| !reach.planes.contains(plane)) {
        return Err(format!("{name} never acts on plane {}: it acts on {what}", plane.name()));
    }
    if by_name.is_none() && reach.operations.is_empty() {
        return Ok(());
    }
    let fits = |(plane, method): (Plane, &str)| {
        let methods = matcher.method.as_ref().map(OneOrMany::all);
        let is = |wanted: &String| {
            wanted.eq_ignore_ascii_case(method) || method == "GET" && wanted.eq_ignore_ascii_case("HEAD")
        };
        // Some of the API have a way of their own at the server.
        let same = |own: Plane| own == plane || own == Plane::Server && plane == Plane::Api;
        matcher.plane.is_none_or(same) && methods.is_none_or(|methods| methods.iter().any(is))
    };
    let any = ["*".to_owned()];
    let named = by_name.unwrap_or(&any).iter().flat_map(|name| meant_operations(name));
    let possible: Vec<_> = named.filter(|(plane, _, method, _)| fits((*plane, method))).collect();
    if possible.is_empty() {
        return Err("no operation fits all that match says: its plane and method are others".into());
    }
    if possible.iter().any(|(plane, id, _, path)| reach.has(*plane, id, path)) {
        return Ok(());
    }
    match by_name {
        Some(names) => Err(format!("{name} never acts on {}: it acts on {what}", names.join(", "))),
        None => Err(format!("{name} never acts on what match says: it acts on {what}")),
    }
}

impl Reach {
    fn has(&self, plane: Plane, id: &str, path: &str) -> bool {
        let named = plane == Plane::Toolbox || path.starts_with("/sandbox/{");
        self.planes.contains(&plane)
            && (self.operations.is_empty() || self.operations.contains(&id))
            && (named || !self.of_sandbox)
    }

    fn say(&self) -> String {
        let planes = || self.planes.iter().map(|plane| plane.name()).collect::<Vec<_>>().join(", ");
        match (self.operations, self.of_sandbox) {
            ([], false) => format!("plane {}", planes()),
            ([], true) => format!("requests of plane {} that name a sandbox", planes()),
            (operations, _) => operations.join(", "),
        }
    }
}

const ALL: &[Plane] = &[Plane::Api, Plane::Toolbox, Plane::Preview, Plane::Events, Plane::Server];
const API: &[Plane] = &[Plane::Api];

fn reach(effect: &Effect, by_name: bool) -> Reach {
    let of = |planes, operations| Reach { planes, operations, of_sandbox: false };
    match effect {
        Effect::DiskFull {} => of(&[Plane::Toolbox], &WRITERS),
        Effect::Quota { .. } => of(API, &METERED),
        Effect::Unreachable {} => of(&[Plane::Toolbox], &[]),
        Effect::RateLimited { .. } => of(API, &[]),
        // Those of previews and events have no names.
        Effect::WebsocketClose { .. } if by_name => of(&[Plane::Toolbox], &SOCKETS),
        Effect::WebsocketClose { .. } => of(&[Plane::Toolbox, Plane::Preview, Plane::Events], &[]),
        Effect::Slow { state, .. } => of(API, begun_by(*state)),
        Effect::StartFailure { .. } => of(API, &LAUNCHING),
        Effect::BuildFailure { .. } => of(API, &BUILDING),
        Effect::Die {} => {
            Reach { planes: &[Plane::Api, Plane::Toolbox, Plane::Preview], operations: &[], of_sandbox: true }
        }
        _ => of(ALL, &[]),
    }
}

/// The operations that begin a transition.
fn begun_by(state: Hold) -> &'static [&'static str] {
    match state {
        Hold::Creating => &["createSandbox", "forkSandbox"],
        Hold::Starting | Hold::Restoring => &["startSandbox", "recoverSandbox"],
        Hold::Stopping => &["stopSandbox"],
        // Of an ephemeral one.
        Hold::Destroying => &["deleteSandbox", "stopSandbox"],
        Hold::Archiving => &["archiveSandbox"],
        Hold::Pausing => &["pauseSandbox"],
        Hold::Resuming => &["startSandbox"],
        Hold::Resizing => &["resizeSandbox"],
        Hold::Forking => &["forkSandbox"],
        Hold::Snapshotting => &["createSandboxSnapshot"],
        Hold::BuildingSnapshot => &BUILDING,
        Hold::PullingSnapshot => &["createSnapshot"],
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn checked(matcher: Value, effect: Value) -> Result<(), String> {
        let (matcher, effect) = (serde_json::from_value(matcher), serde_json::from_value(effect));
        check(&matcher.expect("a matcher"), &effect.expect("an effect"))
    }

    #[test]
    fn what_can_never_act_is_told() {
        let slow = |state: &str| json!({"type": "slow", "state": state});
        for (matcher, effect, part) in [
            (
                json!({"operation": "getSandbox"}),
                json!({"type": "diskFull"}),
                "never acts on getSandbox: it acts on UploadFile",
            ),
            (
                json!({"plane": "toolbox"}),
                json!({"type": "rateLimited"}),
                "never acts on plane toolbox: it acts on plane api",
            ),
            (json!({"operation": "createSandbox"}), json!({"type": "websocketClose"}), "it acts on ConnectPtySession"),
            (json!({"plane": "api"}), json!({"type": "unreachable"}), "it acts on plane toolbox"),
            (json!({"operation": "listSandboxes"}), json!({"type": "die"}), "that name a sandbox"),
            (json!({"operation": "createSandbox"}), json!({"type": "die"}), "that name a sandbox"),
            (
                json!({"operation": "createSandbox"}),
                slow("stopping"),
                "slow never acts on createSandbox: it acts on stopSandbox",
            ),
            (json!({"method": "GET"}), slow("creating"), "never acts on what match says"),
            (json!({"operation": "getSandbox", "plane": "toolbox"}), json!({"type": "hang"}), "no operation fits"),
            (json!({"operation": "getSandbox", "method": "PUT"}), json!({"type": "hang"}), "no operation fits"),
        ] {
            let refusal = checked(matcher.clone(), effect.clone()).expect_err("refused");
            assert!(refusal.contains(part), "{matcher} {effect}: {refusal}");
        }
        for (matcher, effect) in [
            (json!({}), json!({"type": "diskFull"})),
            (json!({"operation": "*"}), json!({"type": "die"})),
            (json!({"sdk": "python"}), slow("creating")),
            (json!({"operation": ["getSandbox", "createSandbox"]}), slow("building_snapshot")),
            (json!({"method": "HEAD", "operation": "getSandbox"}), json!({"type": "hang"})),
            (json!({"plane": "preview"}), json!({"type": "websocketClose"})),
            (json!({"plane": "server"}), json!({"type": "status", "status": 500})),
        ] {
            assert_eq!(checked(matcher.clone(), effect.clone()), Ok(()), "{matcher} {effect}");
        }
    }
}
