//! AT-SPI's bus, and what is asked there.

use std::time::Duration;

use atspi::{State, StateSet};
use serde::{Serialize, de::DeserializeOwned};
use zbus::{
    Connection,
    connection::Builder,
    zvariant::{OwnedObjectPath, OwnedValue, Type, Value},
};

use super::unavailable;
use crate::toolbox::{Ctx, ToolboxError};

/// For one answer of a program: one that hangs must not hang us.
const CALL_LIMIT: Duration = Duration::from_secs(2);

const ACCESSIBLE: &str = "org.a11y.atspi.Accessible";
const PROPERTIES: &str = "org.freedesktop.DBus.Properties";
/// The parent of all programs.
const REGISTRY: (&str, &str) = ("org.a11y.atspi.Registry", "/org/a11y/atspi/accessible/root");

/// Absolute coordinates.
const OF_SCREEN: u32 = 0;

/// A widget: who has it, and which it is there.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Node {
    pub owner: String,
    pub path: String,
}

impl Node {
    pub fn registry() -> Node {
        Node { owner: REGISTRY.0.into(), path: REGISTRY.1.into() }
    }

    /// `<owner>:<path>`, as in the API.
    pub fn id(&self) -> String {
        format!("{}:{}", self.owner, self.path)
    }

    /// 400 for what can't be an id.
    pub fn parse(id: &str) -> Result<Node, ToolboxError> {
        let bad = || ToolboxError::bad_request(format!("invalid node id {id:?}: expected <bus name>:<object path>"));
        let at = id.find(":/").ok_or_else(bad)?;
        let (owner, path) = (&id[..at], &id[at + 1..]);
        zbus::names::BusName::try_from(owner).map_err(|_| bad())?;
        zbus::zvariant::ObjectPath::try_from(path).map_err(|_| bad())?;
        Ok(Node { owner: owner.into(), path: path.into() })
    }
}

/// A connection to AT-SPI's bus.
pub struct Bus(Connection);

impl Bus {
    /// 503 where AT-SPI doesn't run.
    pub async fn connect(ctx: &Ctx) -> Result<Bus, ToolboxError> {
        let desktop = ctx.desktop();
        let packages =
            "dbus and at-spi2-core are needed (apt-get install -y dbus at-spi2-core), and computer use must be started";
        let address = desktop.session_bus().ok_or_else(|| unavailable(packages))?;
        let gone = |error: zbus::Error| unavailable(&format!("{error}; {packages}"));
        let session = dial(&address).await.map_err(gone)?;
        let status = ("org.a11y.Bus", "/org/a11y/bus");
        // Programs that ask first then tell of their widgets.
        let enabled = ("org.a11y.Status", "IsEnabled", Value::from(true));
        session.call_method(Some(status.0), status.1, Some(PROPERTIES), "Set", &enabled).await.map_err(gone)?;
        let reply = session.call_method(Some(status.0), status.1, Some("org.a11y.Bus"), "GetAddress", &()).await;
        let address: String = reply.and_then(|reply| reply.body().deserialize()).map_err(gone)?;
        Ok(Bus(dial(&address).await.map_err(gone)?))
    }

    /// Calls a method of a node.
    pub async fn call<A: Serialize + Type, R: DeserializeOwned + Type>(
        &self,
        node: &Node,
        interface: &str,
        method: &str,
        arguments: A,
    ) -> zbus::Result<R> {
        let destination = Some(node.owner.as_str());
        let reply = self.0.call_method(destination, node.path.as_str(), Some(interface), method, &arguments).await?;
        reply.body().deserialize()
    }

    async fn property(&self, node: &Node, interface: &str, name: &str) -> zbus::Result<OwnedValue> {
        self.call(node, PROPERTIES, "Get", (interface, name)).await
    }

    async fn text(&self, node: &Node, name: &str) -> String {
        let value = self.property(node, ACCESSIBLE, name).await;
        value.ok().and_then(|value| String::try_from(value).ok()).unwrap_or_default()
    }

    /// An error says that there is no such node.
    pub async fn role(&self, node: &Node) -> zbus::Result<String> {
        self.call(node, ACCESSIBLE, "GetRoleName", ()).await
    }

    pub async fn name(&self, node: &Node) -> String {
        self.text(node, "Name").await
    }

    pub async fn description(&self, node: &Node) -> String {
        self.text(node, "Description").await
    }

    pub async fn children(&self, node: &Node) -> Vec<Node> {
        let children = self.call::<_, Vec<(String, OwnedObjectPath)>>(node, ACCESSIBLE, "GetChildren", ()).await;
        let children = children.unwrap_or_default().into_iter();
        let children = children.map(|(owner, path)| Node { owner, path: path.as_str().to_owned() });
        children.filter(|child| child.path != "/org/a11y/atspi/null" && !child.owner.is_empty()).collect()
    }

    pub async fn states(&self, node: &Node) -> Vec<&'static str> {
        let words = self.call::<_, Vec<u32>>(node, ACCESSIBLE, "GetState", ()).await.unwrap_or_default();
        let bits = words.iter().take(2).rev().fold(0_u64, |bits, &word| bits << 32 | u64::from(word));
        state_names(bits)
    }

    pub async fn interfaces(&self, node: &Node) -> zbus::Result<Vec<String>> {
        self.call(node, ACCESSIBLE, "GetInterfaces", ()).await
    }

    /// Left, top, width, height on the screen.
    pub async fn extents(&self, node: &Node) -> Option<(i32, i32, i32, i32)> {
        self.call(node, "org.a11y.atspi.Component", "GetExtents", OF_SCREEN).await.ok()
    }

    /// Names of what can be done with it.
    pub async fn actions(&self, node: &Node) -> Vec<String> {
        let actions = self.call::<_, Vec<(String, String, String)>>(node, "org.a11y.atspi.Action", "GetActions", ());
        actions.await.unwrap_or_default().into_iter().map(|(name, ..)| name).collect()
    }

    /// The process that a program's name on the bus belongs to.
    pub async fn process(&self, node: &Node) -> Option<u32> {
        let bus = Node { owner: "org.freedesktop.DBus".into(), path: "/org/freedesktop/DBus".into() };
        self.call(&bus, "org.freedesktop.DBus", "GetConnectionUnixProcessID", node.owner.as_str()).await.ok()
    }
}

async fn dial(address: &str) -> zbus::Result<Connection> {
    let connecting = Builder::address(address)?.method_timeout(CALL_LIMIT).build();
    match tokio::time::timeout(CALL_LIMIT, connecting).await {
        Ok(connected) => connected,
        Err(_) => Err(zbus::Error::Failure("the bus doesn't answer".into())),
    }
}

fn state_names(bits: u64) -> Vec<&'static str> {
    // One by one: newer programs have states that we don't know.
    let known = (0..64).filter(|bit| bits >> bit & 1 == 1).filter_map(|bit| StateSet::from_bits(1 << bit).ok());
    known.flat_map(StateSet::iter).map(|state: State| state.to_static_str()).collect()
}

/// What a call of a node's method failed of, for clients.
pub fn trouble(error: zbus::Error, node: &Node) -> ToolboxError {
    let not_there = match &error {
        zbus::Error::MethodError(name, ..) => {
            let missing = ["UnknownObject", "UnknownMethod", "UnknownInterface", "ServiceUnknown", "NameHasNoOwner"];
            missing.iter().any(|end| name.as_str().ends_with(end))
        }
        _ => false,
    };
    match not_there {
        true => {
            let message = format!("accessibility node {} not found", node.id());
            ToolboxError::not_found(message)
        }
        false => ToolboxError::internal(error),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn ids_go_both_ways() {
        let node = Node::parse(":1.5:/org/a11y/atspi/accessible/12").expect("an id");
        assert_eq!((node.owner.as_str(), node.path.as_str()), (":1.5", "/org/a11y/atspi/accessible/12"));
        assert_eq!(Node::parse(&node.id()).expect("an id"), node);
        for bad in ["", ":", ":/", "x", ":1.5", ":1.5:/a//b", "a b:/c", "/a:/b"] {
            assert!(Node::parse(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn states_have_names() {
        assert_eq!(state_names(1 << 1 | 1 << 63), ["active"]);
        assert_eq!(state_names(0), Vec::<&str>::new());
    }

    proptest! {
        #[test]
        fn any_text_is_answered(id in ".{0,24}") {
            _ = Node::parse(&id);
        }
    }
}
