//! Acting on a node.

use axum::{extract::Request, response::IntoResponse};
use serde::Deserialize;
use serde_json::json;
use zbus::zvariant::Value;

use super::bus::{Bus, Node, trouble};
use crate::toolbox::{
    Ctx, ToolboxError,
    body::{self, Field, JsonBody, Kind},
    computer_use::request::Screen,
    json::GoJson,
};

const ACTION: &str = "org.a11y.atspi.Action";
const COMPONENT: &str = "org.a11y.atspi.Component";
const EDITABLE_TEXT: &str = "org.a11y.atspi.EditableText";
const VALUE: &str = "org.a11y.atspi.Value";

/// `AccessibilityNodeRequest`, `AccessibilityInvokeRequest` and `AccessibilitySetValueRequest` of the contract.
#[derive(Default, Deserialize)]
#[serde(default)]
struct AccessibilityRequest {
    id: String,
    action: String,
    value: String,
}

impl JsonBody for AccessibilityRequest {
    const NAME: &'static str = "AccessibilityNodeRequest";
    const FIELDS: &'static [Field] = &[
        Field::required("id", "ID", Kind::Str),
        Field::optional("action", "Action", Kind::Str),
        Field::optional("value", "Value", Kind::Str),
    ];
}

/// A node that is there, and what it can do.
struct Target {
    bus: Bus,
    node: Node,
    interfaces: Vec<String>,
    request: AccessibilityRequest,
}

impl Target {
    async fn of(ctx: &Ctx, request: Request) -> Result<Target, ToolboxError> {
        let bus = Bus::connect(ctx).await?;
        let read = body::read(request).await.and_then(|bytes| body::parse(&bytes));
        let request: AccessibilityRequest = read.map_err(ToolboxError::bad_request)?;
        let node = Node::parse(&request.id)?;
        let interfaces = bus.interfaces(&node).await.map_err(|error| trouble(error, &node))?;
        Ok(Target { bus, node, interfaces, request })
    }

    fn can(&self, interface: &str) -> bool {
        self.interfaces.iter().any(|own| own == interface)
    }

    /// Calls a method that says whether it did anything.
    async fn done<A: serde::Serialize + zbus::zvariant::Type>(
        &self,
        interface: &str,
        method: &str,
        arguments: A,
    ) -> Result<(), ToolboxError> {
        let done = self.bus.call::<_, bool>(&self.node, interface, method, arguments).await;
        match done.map_err(|error| trouble(error, &self.node))? {
            true => Ok(()),
            false => Err(ToolboxError::bad_request(format!("the node refused {method}"))),
        }
    }
}

/// `FocusAccessibilityNode`: 200 `{}`.
pub async fn focus(Screen(ctx): Screen, request: Request) -> Result<impl IntoResponse, ToolboxError> {
    let target = Target::of(&ctx, request).await?;
    if !target.can(COMPONENT) {
        return Err(ToolboxError::bad_request("the node can't have the focus"));
    }
    target.done(COMPONENT, "GrabFocus", ()).await?;
    Ok(GoJson(json!({})))
}

/// `InvokeAccessibilityNode`: 200 `{}`. The first action where none is named.
pub async fn invoke(Screen(ctx): Screen, request: Request) -> Result<impl IntoResponse, ToolboxError> {
    let target = Target::of(&ctx, request).await?;
    let actions = if target.can(ACTION) { target.bus.actions(&target.node).await } else { Vec::new() };
    let wanted = target.request.action.to_lowercase();
    let index = match wanted.as_str() {
        "" => (!actions.is_empty()).then_some(0),
        wanted => actions.iter().position(|action| action.to_lowercase() == wanted),
    };
    let index = index.and_then(|index| i32::try_from(index).ok()).ok_or_else(|| {
        ToolboxError::bad_request(format!("the node has no action {:?}: it has {actions:?}", target.request.action))
    })?;
    target.done(ACTION, "DoAction", index).await?;
    Ok(GoJson(json!({})))
}

/// `SetAccessibilityNodeValue`: 200 `{}`. As text where it can be edited, else as a number.
pub async fn set_value(Screen(ctx): Screen, request: Request) -> Result<impl IntoResponse, ToolboxError> {
    let target = Target::of(&ctx, request).await?;
    let value = target.request.value.as_str();
    if target.can(EDITABLE_TEXT) {
        target.done(EDITABLE_TEXT, "SetTextContents", value).await?;
    } else if target.can(VALUE) {
        let number: f64 =
            value.trim().parse().map_err(|_| ToolboxError::bad_request(format!("{value:?} is not a number")))?;
        let set = (VALUE, "CurrentValue", Value::from(number));
        let done = target.bus.call::<_, ()>(&target.node, "org.freedesktop.DBus.Properties", "Set", set).await;
        done.map_err(ToolboxError::internal)?;
    } else {
        return Err(ToolboxError::bad_request("the node has no value that can be set"));
    }
    Ok(GoJson(json!({})))
}
