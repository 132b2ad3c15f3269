use reqwest::Method;

use crate::{client::Answer, prelude::*};

scenarios! { "resizes";
    /// A started sandbox gets more processors and memory: `resizing` with the old numbers, then `started` with the new
    /// ones. (resizeSandbox; observed)
    started_ones_grow: Must, covers ["resizeSandbox"];

    /// A stopped one can have less, and a larger disk. (resizeSandbox; observed)
    stopped_ones_change: Must, covers ["resizeSandbox"];

    /// The rules in their order: body, no change, disk while started, fewer processors, less memory, smaller disk.
    /// (observed)
    rules_are_told: Must, covers ["resizeSandbox"];
}

async fn resize(sandbox: &Sandbox, body: Value) -> Result<Answer> {
    sandbox.op(Method::POST, "/resize").json(body).send().await
}

async fn started_ones_grow(cx: Cx) -> Result {
    let sandbox = cx.sandbox().await?;
    let number = |field: &str| sandbox.created[field].as_f64().unwrap_or(1.0);
    let (cpu, memory) = (number("cpu"), number("memory"));
    let answer = resize(&sandbox, json!({"cpu": cpu + 1.0, "memory": memory + 1.0})).await?;
    cx.check("accepted").status(&answer, 200);
    cx.check("resizing").json(&answer, "/state", "resizing");
    cx.check("old").on(&answer).eq(answer["cpu"].as_f64(), Some(cpu));
    let now = sandbox.wait_for("started").await?;
    cx.check("new").on(&now).eq(now["cpu"].as_f64(), Some(cpu + 1.0));
    cx.check("new-memory").on(&now).eq(now["memory"].as_f64(), Some(memory + 1.0));
    cx.check("same-disk").on(&now).eq(&now["disk"], &sandbox.created["disk"]);
    Ok(())
}

async fn stopped_ones_change(cx: Cx) -> Result {
    let sandbox = cx.sandbox().await?;
    let disk = sandbox.created["disk"].as_f64().unwrap_or(3.0);
    resize(&sandbox, json!({"cpu": 2})).await?.ok()?;
    sandbox.wait_for("started").await?;
    sandbox.stop().await?;
    let answer = resize(&sandbox, json!({"cpu": 1, "disk": disk + 1.0})).await?;
    cx.check("accepted").status(&answer, 200);
    cx.check("desired").json(&answer, "/desiredState", "stopped");
    let now = sandbox.wait_for("stopped").await?;
    cx.check("fewer").on(&now).eq(now["cpu"].as_f64(), Some(1.0));
    cx.check("larger").on(&now).eq(now["disk"].as_f64(), Some(disk + 1.0));
    Ok(())
}

async fn rules_are_told(cx: Cx) -> Result {
    let sandbox = cx.sandbox().await?;
    let none = "No resource changes specified - sandbox is already at the desired configuration";
    let disk = "Disk resize can only be performed on a stopped sandbox";
    for (id, body, message) in [
        ("empty", json!({}), none),
        ("same", json!({"cpu": sandbox.created["cpu"]}), none),
        ("zero", json!({"cpu": 0}), "cpu must not be less than 1"),
        ("memory-zero", json!({"memory": 0}), "memory must not be less than 1"),
        ("larger-disk", json!({"disk": 9}), disk),
        ("smaller-disk", json!({"disk": 1}), disk),
    ] {
        cx.check(id).error(&resize(&sandbox, body).await?, 400, message);
    }
    resize(&sandbox, json!({"cpu": 2, "memory": 2})).await?.ok()?;
    sandbox.wait_for("started").await?;
    let fewer = "Sandbox must be in stopped state to decrease the number of CPU cores";
    cx.check("fewer").error(&resize(&sandbox, json!({"cpu": 1, "memory": 1})).await?, 400, fewer);
    let less = "Sandbox must be in stopped state to decrease memory";
    cx.check("less").error(&resize(&sandbox, json!({"memory": 1})).await?, 400, less);
    sandbox.stop().await?;
    let smaller = "Sandbox disk size cannot be decreased";
    cx.check("smaller").error(&resize(&sandbox, json!({"disk": 1})).await?, 400, smaller);
    Ok(())
}
