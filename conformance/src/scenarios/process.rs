use serde_json::{Value, json};

use crate::{
    context::{Cx, HarnessError},
    scenario::scenarios,
};

scenarios! { "process";
    /// A command's output and its exit code are answered with status 200, whatever the exit code is.
    exit_code_is_not_an_error: Must, since "0.190", needs [Sandboxes], covers ["ExecuteCommand"];
}

async fn exit_code_is_not_an_error(cx: &mut Cx) -> Result<(), HarnessError> {
    let toolbox = cx.toolbox().await?;
    let answer = toolbox.post("/process/execute", json!({ "command": "echo out; exit 3" })).await?;
    cx.check("status", answer.status().as_u16(), 200);
    let body: Value = answer.json().await?;
    cx.check("exit-code", body["exitCode"].as_i64(), Some(3));
    cx.check("output", body["result"].as_str(), Some("out\n"));
    Ok(())
}
