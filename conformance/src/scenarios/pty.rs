use crate::prelude::*;

scenarios! { "pty";
    /// What is typed into a terminal comes back as its echo and its command's output, and after `exit` the server
    /// closes the connection: code 1011 and the exit code where it isn't 0. (observed; CreatePtySession, ConnectPtySession)
    echoes_and_reports_exit: Must, covers ["CreatePtySession", "ConnectPtySession"];
}

const WITHIN: Duration = Duration::from_secs(15);

async fn echoes_and_reports_exit(cx: Cx) -> Result {
    let sandbox = cx.shared().await?;
    let id = cx.name("pty");
    let size = json!({"id": id, "cols": 80, "rows": 24});
    let created = sandbox.post("/process/pty").json(size).send().await?;
    cx.check("created").status(&created, 201);
    let mut socket = sandbox.ws(&format!("/process/pty/{id}/connect")).connect().await?;
    socket.send_text("echo $((6*7))-done; exit 5\n").await?;
    let output = socket.bytes_until(WITHIN, |seen| seen.windows(7).any(|part| part == b"42-done")).await?;
    cx.check("output").contains(&String::from_utf8_lossy(&output), "42-done");
    let (code, reason) = socket.closed(WITHIN).await?;
    cx.check("close-code").eq(code, 1011);
    cx.check("exit-code").contains(&reason, "\"exitCode\":5");
    Ok(())
}
