use super::{LONG, get, post, start};
use crate::{client::Answer, prelude::*};

scenarios! { "computer_use";
    /// The tree of a program has its widgets, with roles, names and where they are. (GetAccessibilityTree,
    /// FindAccessibilityNodes)
    tree_has_widgets: Must, covers ["GetAccessibilityTree", "FindAccessibilityNodes"], since "0.200";

    /// Widgets take the focus, a value, and do what they can do. (FocusAccessibilityNode, SetAccessibilityNodeValue,
    /// InvokeAccessibilityNode)
    widgets_are_used: Must,
        covers ["FocusAccessibilityNode", "SetAccessibilityNodeValue", "InvokeAccessibilityNode"], since "0.200";

    /// Scopes, patterns and ids that can't be are 400; nodes that aren't there 404. (observed)
    accessibility_requests_are_checked: Must,
        covers [
            "GetAccessibilityTree", "FindAccessibilityNodes", "FocusAccessibilityNode", "InvokeAccessibilityNode",
            "SetAccessibilityNodeValue",
        ],
        since "0.200";
}

const FORM: &str = r#"
import sys, gi
gi.require_version("Gtk", "3.0")
from gi.repository import Gtk
window = Gtk.Window(title="Form")
box = Gtk.Box(orientation=Gtk.Orientation.VERTICAL)
entry, button = Gtk.Entry(), Gtk.Button(label="Go")
button.connect("clicked", lambda _: open("said", "w").write(entry.get_text()))
box.add(entry); box.add(button); window.add(box); window.show_all()
Gtk.main()
"#;

/// A form that tells of itself.
async fn form(cx: &Cx, sandbox: &Sandbox) -> Result {
    start(sandbox).await?;
    let can = sandbox.exec("/usr/bin/python3 -c 'import gi; gi.require_version(\"Gtk\", \"3.0\")'").await?.ok()?;
    if can["exitCode"] != 0 {
        return Err(Stop::not_applicable("GTK for Python in sandboxes"));
    }
    sandbox.upload("form.py", FORM.as_bytes()).await?.ok()?;
    sandbox.exec("DISPLAY=${DISPLAY:-:0} setsid /usr/bin/python3 form.py >form.log 2>&1 </dev/null &").await?.ok()?;
    available(&get(sandbox, "a11y/tree?scope=all&maxDepth=1").await?)?;
    find(cx, sandbox, json!({"scope": "all", "name": "Go"})).await.map(drop)
}

fn available(answer: &Answer) -> Result {
    match answer.status {
        503 => Err(Stop::not_applicable(format!("accessibility: {}", answer["message"]))),
        _ => Ok(()),
    }
}

/// The first node that fits, once there is one.
async fn find(cx: &Cx, sandbox: &Sandbox, what: Value) -> Result<Value> {
    cx.eventually("a node", LONG, || async {
        let found = post(sandbox, "a11y/find", what.clone()).await?;
        available(&found)?;
        Ok(found.at("/matches/0").as_object().cloned().map(Value::Object))
    })
    .await
}

async fn tree_has_widgets(cx: Cx) -> Result {
    let sandbox = cx.sandbox().await?;
    form(&cx, &sandbox).await?;
    let all = get(&sandbox, "a11y/tree?scope=all").await?;
    cx.check("tree").status(&all, 200);
    cx.check("button").on(&all).contains(&all["root"].to_string(), "\"name\":\"Go\"");
    cx.check("whole").json(&all, "/truncated", false);
    let root = get(&sandbox, "a11y/tree?scope=all&maxDepth=0").await?;
    let children = root.at("/root/children").as_array().map_or(0, Vec::len);
    cx.check("root-only").on(&root).eq(children, 0);
    let button = find(&cx, &sandbox, json!({"scope": "all", "name": "Go", "nameMatch": "exact"})).await?;
    cx.check("role").contains(button["role"].as_str().unwrap_or_default(), "button");
    let wide = button["bounds"]["width"].as_i64().unwrap_or_default() > 0;
    cx.check("bounds").that(wide, "a node with a size", &button["bounds"]);
    let none = post(&sandbox, "a11y/find", json!({"scope": "all", "name": "no such name"})).await?;
    cx.check("none").on(&none).eq(none.at("/matches").as_array().map_or(0, Vec::len), 0);
    Ok(())
}

async fn widgets_are_used(cx: Cx) -> Result {
    let sandbox = cx.sandbox().await?;
    form(&cx, &sandbox).await?;
    let entry = find(&cx, &sandbox, json!({"scope": "all", "role": "text"})).await?;
    let set = json!({"id": entry["id"], "value": "Ada"});
    cx.check("value").status(&post(&sandbox, "a11y/node/value", set).await?, 200);
    let button = find(&cx, &sandbox, json!({"scope": "all", "name": "Go"})).await?;
    cx.check("focus").status(&post(&sandbox, "a11y/node/focus", json!({"id": button["id"]})).await?, 200);
    let wrong = json!({"id": button["id"], "action": "no such action"});
    cx.check("wrong-action").status(&post(&sandbox, "a11y/node/invoke", wrong).await?, 400);
    cx.check("invoke").status(&post(&sandbox, "a11y/node/invoke", json!({"id": button["id"]})).await?, 200);
    let said = cx
        .eventually("what was entered", LONG, || async {
            let said = sandbox.output("cat said 2>/dev/null || true").await?;
            Ok((!said.is_empty()).then_some(said))
        })
        .await?;
    cx.check("said").eq(said, "Ada");
    Ok(())
}

async fn accessibility_requests_are_checked(cx: Cx) -> Result {
    let sandbox = cx.shared().await?;
    start(&sandbox).await?;
    let bad = get(&sandbox, "a11y/tree?scope=everything").await?;
    available(&bad)?;
    cx.check("scope").status(&bad, 400);
    cx.check("no-pid").status(&get(&sandbox, "a11y/tree?scope=pid").await?, 400);
    let pattern = json!({"scope": "all", "name": "(", "nameMatch": "regex"});
    cx.check("pattern").status_in(&post(&sandbox, "a11y/find", pattern).await?, &[400, 404]);
    for operation in ["focus", "invoke", "value"] {
        let path = format!("a11y/node/{operation}");
        cx.check(format!("{operation}-no-id")).status(&post(&sandbox, &path, json!({})).await?, 400);
        let gone = json!({"id": ":1.99999:/org/a11y/atspi/accessible/1", "value": "x"});
        cx.check(format!("{operation}-gone")).status(&post(&sandbox, &path, gone).await?, 404);
    }
    Ok(())
}
