use crate::prelude::*;

scenarios! { "process";
    /// A command's output and its exit code are answered with status 200, whatever the exit code is. (ExecuteCommand)
    exit_code_is_not_an_error: Must, covers ["ExecuteCommand"];
}

async fn exit_code_is_not_an_error(cx: Cx) -> Result {
    let answer = cx.shared().await?.exec("echo out; exit 3").await?;
    cx.check("status").status(&answer, 200);
    cx.check("exit-code").json(&answer, "/exitCode", 3);
    cx.check("output").json(&answer, "/result", "out\n");
    Ok(())
}
