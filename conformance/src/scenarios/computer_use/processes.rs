use super::{LONG, get, post, start};
use crate::prelude::*;

scenarios! { "computer_use";
    /// A start tells of the processes, which run then; a second start changes nothing. (StartComputerUse,
    /// GetComputerUseSystemStatus, GetComputerUseStatus, GetProcessStatus; SDK ComputerUse)
    processes_start: Must,
        covers ["StartComputerUse", "GetComputerUseSystemStatus", "GetComputerUseStatus", "GetProcessStatus"],
        since "0.200";

    /// A process tells what it said, and can be restarted. (GetProcessLogs, GetProcessErrors, RestartProcess)
    processes_tell_and_restart: Must, covers ["GetProcessLogs", "GetProcessErrors", "RestartProcess"], since "0.200";

    /// A process that there isn't is refused. (GetProcessStatus, RestartProcess; observed)
    unknown_processes_are_refused: Must,
        covers ["GetProcessStatus", "GetProcessLogs", "GetProcessErrors", "RestartProcess"], since "0.200";

    /// Where there is no X server, every operation of the desktop is 503 and says why, before it looks at anything else;
    /// recordings are listed all the same. (StartComputerUse, StopComputerUse, GetComputerUseSystemStatus,
    /// GetComputerUseStatus; observed)
    nothing_without_an_x_server: Must,
        covers [
            "StartComputerUse", "StopComputerUse", "GetComputerUseSystemStatus", "GetComputerUseStatus", "ListRecordings",
        ],
        since "0.200";

    /// After a stop nothing runs, and there is no screen to be seen or asked about; it can be started again.
    /// (StopComputerUse)
    processes_stop: Must, covers ["StopComputerUse", "GetDisplayInfo", "GetWindows", "GetMousePosition"], since "0.200";

    /// An X server that dies is started again. (StartComputerUse: autoRestart)
    dead_server_comes_back: Should, covers ["StartComputerUse", "TakeScreenshot"], since "0.200";
}

async fn processes_start(cx: Cx) -> Result {
    let sandbox = cx.shared().await?;
    let started = start(&sandbox).await?;
    cx.check("status").status(&started, 200);
    cx.check("message").json(&started, "/message", "Computer use processes started successfully");
    let xvfb = started.at("/status/xvfb").clone();
    cx.check("running").on(&started).that(xvfb["running"] == true, "xvfb is running", &xvfb);
    let again = start(&sandbox).await?;
    cx.check("same").on(&again).eq(again.at("/status/xvfb/pid"), &xvfb["pid"]);
    for path in ["status", "process-status"] {
        let status = get(&sandbox, path).await?;
        let known = ["active", "partial"].iter().any(|known| status["status"] == *known);
        cx.check(path).on(&status).that(known, "active or partial", &status["status"]);
    }
    let one = get(&sandbox, "process/xvfb/status").await?;
    cx.check("one").on(&one).eq(one.json.clone(), json!({"processName": "xvfb", "running": true}));
    Ok(())
}

async fn processes_tell_and_restart(cx: Cx) -> Result {
    let sandbox = cx.sandbox().await?;
    let before = start(&sandbox).await?;
    for (path, field) in [("logs", "logs"), ("errors", "errors")] {
        let told = get(&sandbox, &format!("process/xfce4/{path}")).await?;
        cx.check(path).status(&told, 200);
        cx.check(format!("{path}-text")).on(&told).that(told[field].is_string(), "a text", &told.json);
    }
    let restarted = post(&sandbox, "process/xfce4/restart", json!({})).await?;
    cx.check("restart").status(&restarted, 200);
    cx.check("message").json(&restarted, "/message", "Process xfce4 restarted successfully");
    let after = start(&sandbox).await?;
    let pid = "/status/xfce4/pid";
    cx.check("another").on(&after).that(after.at(pid) != before.at(pid), "another process", after.at(pid));
    Ok(())
}

async fn unknown_processes_are_refused(cx: Cx) -> Result {
    let sandbox = cx.shared().await?;
    start(&sandbox).await?;
    // 503 and 400 up to 0.190.
    for told in ["status", "logs", "errors"] {
        let answer = get(&sandbox, &format!("process/nosuch/{told}")).await?;
        cx.check(told).status_in(&answer, &[400, 404, 500, 503]);
    }
    cx.check("restart").status_in(&post(&sandbox, "process/nosuch/restart", json!({})).await?, &[400, 404, 500, 503]);
    Ok(())
}

async fn nothing_without_an_x_server(cx: Cx) -> Result {
    let sandbox = cx.sandbox().await?;
    let nowhere = json!({"set": {"PATH": "/nowhere"}});
    sandbox.post("/env").json(nowhere).send().await?.ok()?;
    let shown = get(&sandbox, "display/info").await?;
    if shown.status != 503 {
        return Err(Stop::not_applicable("a sandbox without an X server"));
    }
    for asked in ["status", "process-status"] {
        let answer = get(&sandbox, asked).await?;
        cx.check(asked).status(&answer, 503);
        let said = answer["message"].as_str().unwrap_or_default();
        cx.check(format!("{asked}-message")).on(&answer).contains(said, "not available");
    }
    for operation in ["start", "stop"] {
        let answer = post(&sandbox, operation, json!({})).await?;
        cx.check(operation).status(&answer, 503);
        let said = answer["message"].as_str().unwrap_or_default();
        cx.check(format!("{operation}-message")).on(&answer).contains(said, "not available");
    }
    cx.check("invalid").status(&post(&sandbox, "mouse/move", json!({"x": "a"})).await?, 503);
    cx.check("recordings").status(&get(&sandbox, "recordings").await?, 200);
    Ok(())
}

async fn processes_stop(cx: Cx) -> Result {
    let sandbox = cx.sandbox().await?;
    start(&sandbox).await?;
    let stopped = post(&sandbox, "stop", json!({})).await?;
    cx.check("status").status(&stopped, 200);
    cx.check("message").json(&stopped, "/message", "Computer use processes stopped successfully");
    cx.check("down").on(&stopped).that(stopped.at("/status/xvfb/running") == false, "xvfb is down", &stopped["status"]);
    cx.check("inactive").json(&get(&sandbox, "status").await?, "/status", "inactive");
    cx.check("no-screen").status_in(&get(&sandbox, "screenshot").await?, &[400, 500, 503]);
    for asked in ["display/info", "display/windows", "mouse/position"] {
        cx.check(asked).status_in(&get(&sandbox, asked).await?, &[400, 500, 503]);
    }
    start(&sandbox).await?;
    cx.check("screen").status(&get(&sandbox, "screenshot").await?, 200);
    Ok(())
}

async fn dead_server_comes_back(cx: Cx) -> Result {
    let sandbox = cx.sandbox().await?;
    let before = start(&sandbox).await?;
    let pid = before.at("/status/xvfb/pid").as_u64().unwrap_or_default();
    if pid < 2 {
        return Err(Stop::untestable("no process id of xvfb"));
    }
    sandbox.exec(&format!("kill -9 {pid}")).await?.ok()?;
    let seen = cx
        .eventually("a screen again", LONG, || async {
            let seen = get(&sandbox, "screenshot").await?;
            Ok(seen.is_ok().then_some(seen))
        })
        .await?;
    cx.check("seen").status(&seen, 200);
    let after = start(&sandbox).await?;
    cx.check("another").on(&after).that(
        after.at("/status/xvfb/pid") != pid,
        "another process",
        after.at("/status/xvfb"),
    );
    Ok(())
}
