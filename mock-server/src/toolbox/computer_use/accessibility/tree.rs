//! Reading the tree.

use std::collections::HashSet;

use axum::response::IntoResponse;
use futures_util::{StreamExt, stream};
use serde::Serialize;
use serde_json::json;

use super::bus::{Bus, Node, trouble};
use crate::{
    limits,
    toolbox::{
        Ctx, ToolboxError,
        computer_use::{
            display::Display,
            request::{Screen, integer},
        },
        json::GoJson,
        params::Params,
    },
};

/// No tree is deeper.
const MAX_DEPTH: usize = 100;
/// Nodes asked at the same time.
const AT_ONCE: usize = 32;

/// `AccessibilityNode` of the contract.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Described {
    pub id: String,
    pub role: String,
    pub name: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub description: String,
    pub bounds: Bounds,
    pub states: Vec<&'static str>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub actions: Vec<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub children: Vec<Described>,
}

/// `AccessibilityBounds` of the contract.
#[derive(Clone, Copy, Debug, Default, Serialize)]
pub struct Bounds {
    pub x: i32,
    pub y: i32,
    pub width: i32,
    pub height: i32,
}

/// Whose widgets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scope {
    Focused,
    Process(u32),
    All,
}

impl Scope {
    /// 400 for others.
    pub fn of(name: &str, pid: Option<i64>) -> Result<Scope, ToolboxError> {
        match name {
            "" | "focused" => Ok(Scope::Focused),
            "all" => Ok(Scope::All),
            "pid" => match pid.and_then(|pid| u32::try_from(pid).ok()).filter(|&pid| pid > 0) {
                Some(pid) => Ok(Scope::Process(pid)),
                None => Err(ToolboxError::bad_request("scope pid needs a pid")),
            },
            other => {
                let message = format!("invalid scope {other:?}: expected focused, pid or all");
                Err(ToolboxError::bad_request(message))
            }
        }
    }

    /// 404 where nobody has any. The focus is where X says it is: hidden windows of programs may be active, too.
    pub async fn root(self, ctx: &Ctx, bus: &Bus) -> Result<Node, ToolboxError> {
        let registry = Node::registry();
        let process = match self {
            Scope::All => return Ok(registry),
            Scope::Process(pid) => Some(pid),
            Scope::Focused => ctx.desktop().ask(Display::active_process).await?,
        };
        for program in bus.children(&registry).await {
            if process.is_some() && bus.process(&program).await == process {
                return Ok(program);
            }
        }
        let whose = match self {
            Scope::Process(pid) => format!("process {pid} has no accessible root"),
            _ => "no accessible application has the focus".into(),
        };
        Err(ToolboxError::not_found(whose))
    }
}

/// `GetAccessibilityTree`.
pub async fn tree(Screen(ctx): Screen, params: Params) -> Result<impl IntoResponse, ToolboxError> {
    let bus = Bus::connect(&ctx).await?;
    let pid = integer(&params, "pid")?;
    let scope = Scope::of(&params.text("scope").unwrap_or_default(), pid.map(Into::into))?;
    let depth = integer(&params, "maxDepth")?.unwrap_or(-1);
    let depth = usize::try_from(depth).unwrap_or(MAX_DEPTH).min(MAX_DEPTH);
    let root = scope.root(&ctx, &bus).await?;
    let read = read(&bus, &root, depth).await?;
    Ok(GoJson(json!({"root": read.assembled(), "truncated": read.truncated})))
}

/// Nodes, parents before children.
pub struct Read {
    pub nodes: Vec<Described>,
    /// Of each but the first, its parent.
    parents: Vec<usize>,
    /// Whether there would have been more.
    pub truncated: bool,
}

/// Reads a tree level by level.
pub async fn read(bus: &Bus, root: &Node, depth: usize) -> Result<Read, ToolboxError> {
    bus.role(root).await.map_err(|error| trouble(error, root))?;
    let most = limits::inside().accessibility_nodes;
    let mut seen = HashSet::from([root.clone()]);
    let mut read = Read { nodes: Vec::new(), parents: Vec::new(), truncated: false };
    let mut level = vec![(0, root.clone())];
    for left in (0..=depth).rev() {
        let asked = stream::iter(level).map(|(parent, node)| async move {
            let children = if left > 0 { bus.children(&node).await } else { Vec::new() };
            (parent, describe(bus, &node).await, children)
        });
        let described: Vec<_> = asked.buffered(AT_ONCE).collect().await;
        level = Vec::new();
        for (parent, node, children) in described {
            let own = read.nodes.len();
            read.nodes.push(node);
            read.parents.push(parent);
            // Programs may lie: nothing is read twice.
            level.extend(children.into_iter().filter(|child| seen.insert(child.clone())).map(|child| (own, child)));
        }
        let room = most.saturating_sub(read.nodes.len());
        read.truncated |= level.len() > room;
        level.truncate(room);
    }
    Ok(read)
}

async fn describe(bus: &Bus, node: &Node) -> Described {
    let (role, name, description, states, interfaces) =
        tokio::join!(bus.role(node), bus.name(node), bus.description(node), bus.states(node), bus.interfaces(node),);
    let interfaces = interfaces.unwrap_or_default();
    let has = |interface: &str| interfaces.iter().any(|own| own.ends_with(interface));
    let (x, y, width, height) =
        if has(".Component") { bus.extents(node).await.unwrap_or_default() } else { Default::default() };
    let actions = if has(".Action") { bus.actions(node).await } else { Vec::new() };
    let role = role.unwrap_or_default();
    let bounds = Bounds { x, y, width, height };
    Described { id: node.id(), role, name, description, bounds, states, actions, children: Vec::new() }
}

impl Read {
    /// As a tree.
    fn assembled(&self) -> Described {
        let mut nodes = self.nodes.clone();
        // From behind, so that each has all of its own when it goes to its parent.
        for own in (1..nodes.len()).rev() {
            let node = std::mem::take(&mut nodes[own]);
            nodes[self.parents[own]].children.push(node);
        }
        let mut root = std::mem::take(&mut nodes[0]);
        root.in_order();
        root
    }
}

impl Described {
    fn in_order(&mut self) {
        self.children.reverse();
        self.children.iter_mut().for_each(Described::in_order);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn levels_become_a_tree() {
        let node = |id: &str| Described { id: id.into(), ..Described::default() };
        let nodes = ["a", "b", "c", "ba", "bb", "ca"].map(node).into();
        let tree = Read { nodes, parents: vec![0, 0, 0, 1, 1, 2], truncated: false }.assembled();
        let shown = |node: &Described| node.children.iter().map(|child| child.id.clone()).collect::<Vec<_>>();
        assert_eq!(
            (shown(&tree), shown(&tree.children[0])),
            (vec!["b".into(), "c".into()], vec!["ba".into(), "bb".into()])
        );
    }

    #[test]
    fn scopes() {
        assert_eq!(Scope::of("", None).expect("one"), Scope::Focused);
        assert_eq!(Scope::of("pid", Some(7)).expect("one"), Scope::Process(7));
        assert_eq!(Scope::of("pid", None).expect_err("none").code, "BAD_REQUEST");
        assert_eq!(Scope::of("x", None).expect_err("none").code, "BAD_REQUEST");
    }
}
