//! The flat payloads that endpoints get (`control-plane.md` 12).

use chrono::{DateTime, SecondsFormat, Utc};
use serde_json::{Value, json};

use crate::model::{EventKind, ModelEvent};

fn time(at: DateTime<Utc>) -> String {
    at.to_rfc3339_opts(SecondsFormat::Millis, true)
}

/// What is told of an event that endpoints can be told of.
pub fn of(event: &ModelEvent, now: DateTime<Utc>) -> Value {
    let sandbox = &event.sandbox;
    let mut payload = json!({
        "event": event.name(),
        "timestamp": time(now),
        "id": sandbox.id,
        "organizationId": event.organization_id(),
    });
    let more = match event.kind {
        EventKind::Created => json!({
            "state": sandbox.state(),
            "sandboxClass": sandbox.class,
            "createdAt": time(sandbox.created_at),
        }),
        EventKind::State { old, new } => {
            json!({"oldState": old, "newState": new, "updatedAt": time(sandbox.updated_at)})
        }
        EventKind::DesiredState { .. } => Value::Null,
    };
    if let (Value::Object(payload), Value::Object(more)) = (&mut payload, more) {
        payload.extend(more);
    }
    payload
}
