//! The accessibility tree of a real program.

use serde_json::{Value, json};

use super::{Desk, desk, refused};
use crate::support::eventually;

async fn find(desk: &Desk, what: Value) -> Vec<Value> {
    desk.ok("a11y/find", what).await["matches"].as_array().expect("a list").clone()
}

async fn one(desk: &Desk, what: Value) -> Value {
    eventually(&what.to_string(), async || find(desk, what.clone()).await.first().cloned()).await
}

/// All nodes of a tree.
fn nodes(node: &Value) -> Vec<&Value> {
    let children = node["children"].as_array().into_iter().flatten();
    std::iter::once(node).chain(children.flat_map(nodes)).collect()
}

#[tokio::test]
async fn a_dialog_is_read_and_filled_in() {
    let Some(desk) = desk().await else { return };
    let nobody = refused(desk.tb.get("/computeruse/a11y/tree").await, 404).await;
    assert_eq!(nobody.0, "NOT_FOUND");
    desk.form("Form", "entry", "said").await;

    let entry = one(&desk, json!({"scope": "all", "role": "text", "states": ["focused", "EDITABLE"]})).await;
    assert!(entry["bounds"]["width"].as_i64().expect("a number") > 50, "{entry}");
    let tree = desk.get("a11y/tree").await;
    assert_eq!((&tree["truncated"], &tree["root"]["role"]), (&json!(false), &json!("application")));
    let all = nodes(&tree["root"]);
    assert!(all.iter().any(|node| node["id"] == entry["id"]), "{tree}");
    let shallow = desk.get("a11y/tree?scope=all&maxDepth=0").await;
    assert!(shallow["root"]["children"].is_null(), "{shallow}");
    let pid: u32 = desk.tb.run("cat said.pid").await.trim().parse().expect("a number");
    let own = desk.get(&format!("a11y/tree?scope=pid&pid={pid}&maxDepth=1")).await;
    assert_eq!((&own["root"]["id"], &own["root"]["children"][0]["name"]), (&tree["root"]["id"], &json!("Form")));

    desk.ok("a11y/node/value", json!({"id": entry["id"], "value": "Ada é漢"})).await;
    let buttons = find(&desk, json!({"scope": "pid", "pid": pid, "role": "button"})).await;
    assert_eq!(buttons.len(), 1, "{buttons:?}");
    let ok = one(&desk, json!({"role": "push button", "name": "^OK$", "nameMatch": "regex"})).await;
    desk.ok("a11y/node/focus", json!({"id": ok["id"]})).await;
    one(&desk, json!({"role": "push button", "states": ["focused"], "name": "OK", "nameMatch": "substring"})).await;
    let wrong = refused(desk.post("a11y/node/invoke", json!({"id": ok["id"], "action": "dance"})).await, 400).await;
    assert_eq!(wrong.0, "BAD_REQUEST");
    desk.ok("a11y/node/invoke", json!({"id": ok["id"]})).await;
    assert_eq!(desk.said("said").await, "Ada é漢\n");
    eventually("gone", async || {
        let gone = desk.post("a11y/node/focus", json!({"id": ok["id"]})).await;
        (gone.status() == 404).then_some(())
    })
    .await;
}

#[tokio::test]
async fn numbers_are_set_and_requests_checked() {
    let Some(desk) = desk().await else { return };
    desk.form("Scale", "scale", "said").await;
    let slider = one(&desk, json!({"scope": "all", "role": "slider"})).await;
    let bad = refused(desk.post("a11y/node/value", json!({"id": slider["id"], "value": "much"})).await, 400).await;
    assert_eq!(bad.0, "BAD_REQUEST");
    desk.ok("a11y/node/value", json!({"id": slider["id"], "value": "42"})).await;
    let ok = one(&desk, json!({"scope": "all", "role": "push button", "name": "OK", "nameMatch": "substring"})).await;
    let no_value = refused(desk.post("a11y/node/value", json!({"id": ok["id"], "value": "1"})).await, 400).await;
    assert_eq!(no_value.0, "BAD_REQUEST");
    desk.ok("a11y/node/invoke", json!({"id": ok["id"]})).await;
    assert_eq!(desk.said("said").await, "42\n");

    for body in [
        json!({"scope": "everything"}),
        json!({"scope": "pid"}),
        json!({"name": "(", "nameMatch": "regex"}),
        json!({"limit": -1}),
        json!({"states": 1}),
    ] {
        assert_eq!(refused(desk.post("a11y/find", body).await, 400).await.0, "BAD_REQUEST");
    }
    for operation in ["focus", "invoke", "value"] {
        let operation = format!("a11y/node/{operation}");
        assert_eq!(refused(desk.post(&operation, json!({})).await, 400).await.0, "BAD_REQUEST");
        assert_eq!(refused(desk.post(&operation, json!({"id": "x"})).await, 400).await.0, "BAD_REQUEST");
        let gone = json!({"id": ":1.999:/org/a11y/atspi/accessible/1"});
        assert_eq!(refused(desk.post(&operation, gone).await, 404).await.0, "NOT_FOUND");
    }
    let missing = refused(desk.tb.get("/computeruse/a11y/tree?scope=pid&pid=999999").await, 404).await;
    assert_eq!(missing.0, "NOT_FOUND");
}
