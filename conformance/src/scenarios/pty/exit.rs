use super::{EXIT_CONTROL, Terminal, create_connect};
use crate::prelude::*;

scenarios! { "pty";
    /// What is typed into a terminal comes back as its echo and its command's output, and after `exit` the server
    /// closes the connection: code 1011 and the exit code where it isn't 0. (observed; CreatePtySession, ConnectPtySession)
    echoes_and_reports_exit: Must, covers ["CreatePtySession", "ConnectPtySession"];

    /// An exit code of 0 closes with code 1000, and the reason says so in JSON. (observed; SDKs)
    exit_of_zero: Must, covers ["ConnectPtySession"];

    /// Every other one closes with 1011, and the reason has code and reason in JSON. (observed; SDKs: exitCode)
    exit_codes: Must, covers ["ConnectPtySession"];

    /// A deletion is told as 137, SIGKILL. (observed)
    exit_by_deletion: Must, covers ["ConnectPtySession", "DeletePtySession"];

    /// A client that asks for it gets the exit code in a frame, before the close and after all output. (SDKs:
    /// X-Daytona-Pty-Exit-Control)
    exit_frame_for_those_who_ask: Must, covers [], since "0.200", clients ">=0.190";

    /// A client that doesn't ask gets no such frame: older ones take it for an error. (SDKs before July 2026)
    no_exit_frame_for_others: Must, covers ["ConnectPtySession"];

    /// Everything that was written is shown before the end. (observed)
    output_comes_before_the_end: Must, covers ["ConnectPtySession"];

    /// Every client is told of the end. (observed)
    every_client_is_told: Must, covers ["ConnectPtySession"];

    /// Ctrl-C ends the program in the foreground, not the shell; Ctrl-D ends the shell. (observed)
    control_keys: Must, covers ["ConnectPtySession"];
}

async fn echoes_and_reports_exit(cx: Cx) -> Result {
    let (mut terminal, ..) = Terminal::new(&cx).await?;
    terminal.socket.send_text("echo $((6*7))-done; exit 5\n").await?;
    let (code, reason) = terminal.closed().await?;
    cx.check("output").contains(&terminal.text(), "42-done");
    cx.check("close-code").eq(code, 1011);
    cx.check("exit-code").contains(&reason, "\"exitCode\":5");
    Ok(())
}

async fn exit_of_zero(cx: Cx) -> Result {
    let (mut terminal, ..) = Terminal::new(&cx).await?;
    terminal.types("exit 0\n").await?;
    cx.check("close").eq(terminal.closed().await?, (1000, r#"{"exitCode":0}"#.to_owned()));
    Ok(())
}

async fn exit_codes(cx: Cx) -> Result {
    for (command, exit, why) in [
        ("exit 1", 1, "non-zero exit"),
        ("exit 5", 5, "non-zero exit"),
        ("exit 130", 130, "Ctrl+C"),
        ("exit 137", 137, "SIGKILL"),
        ("exit 143", 143, "SIGTERM"),
        ("exit 139", 139, "signal 11"),
        ("kill -9 $$", -1, "non-zero exit"),
    ] {
        let (mut terminal, ..) = Terminal::new(&cx).await?;
        terminal.types(&format!("{command}\n")).await?;
        let (code, reason) = terminal.closed().await?;
        cx.check(format!("code of {command}")).eq(code, 1011);
        let reason: Value = serde_json::from_str(&reason).unwrap_or_default();
        cx.check(format!("exit code of {command}")).eq(&reason["exitCode"], &json!(exit));
        cx.check(format!("reason of {command}")).should().eq(&reason["exitReason"], &json!(why));
    }
    Ok(())
}

async fn exit_by_deletion(cx: Cx) -> Result {
    let (mut terminal, sandbox, id) = Terminal::new(&cx).await?;
    terminal.types("echo re''ady; sleep 1000\n").await?;
    terminal.until("ready\r\n").await?;
    sandbox.delete(&format!("/process/pty/{id}")).send().await?.ok()?;
    cx.check("close").eq(terminal.closed().await?, (1011, r#"{"exitCode":137,"exitReason":"SIGKILL"}"#.to_owned()));
    Ok(())
}

async fn exit_frame_for_those_who_ask(cx: Cx) -> Result {
    let sandbox = cx.shared().await?;
    for (command, expected) in [
        ("exit 0", json!({"type": "control", "status": "exited", "exitCode": 0})),
        ("exit 5", json!({"type": "control", "status": "exited", "exitCode": 5, "exitReason": "non-zero exit"})),
    ] {
        let request = create_connect(&sandbox, &cx.name("pty")).protocols(&[EXIT_CONTROL]);
        let mut terminal = Terminal::open(request).await?;
        terminal.types(&format!("seq 3000; echo o''ver; {command}\n")).await?;
        while terminal.controls.len() < 2 && terminal.next().await? {}
        cx.check(format!("frame of {command}")).eq(terminal.controls.get(1), Some(&expected));
        cx.check(format!("output before {command}")).contains(&terminal.text(), "over\r\n");
        terminal.closed().await?;
        cx.check(format!("once for {command}")).eq(terminal.controls.len(), 2);
    }
    Ok(())
}

async fn no_exit_frame_for_others(cx: Cx) -> Result {
    let (mut terminal, ..) = Terminal::new(&cx).await?;
    terminal.types("exit 5\n").await?;
    terminal.closed().await?;
    cx.check("only-connected").eq(terminal.controls, vec![json!({"type": "control", "status": "connected"})]);
    Ok(())
}

async fn output_comes_before_the_end(cx: Cx) -> Result {
    let (mut terminal, ..) = Terminal::new(&cx).await?;
    terminal.types("seq 100000; exit\n").await?;
    let (code, _) = terminal.closed().await?;
    cx.check("close-code").eq(code, 1000);
    cx.check("last-line").contains(&terminal.text(), "\n99999\r\n100000\r\n");
    Ok(())
}

async fn every_client_is_told(cx: Cx) -> Result {
    let (mut one, sandbox, id) = Terminal::new(&cx).await?;
    let mut two = Terminal::connect(&sandbox, &id).await?;
    let mut three = Terminal::connect(&sandbox, &id).await?;
    two.types("exit 7\n").await?;
    for (index, terminal) in [&mut one, &mut two, &mut three].into_iter().enumerate() {
        let (code, reason) = terminal.closed().await?;
        cx.check(format!("close-code-{index}")).eq(code, 1011);
        cx.check(format!("reason-{index}")).contains(&reason, "\"exitCode\":7");
    }
    Ok(())
}

async fn control_keys(cx: Cx) -> Result {
    let (mut terminal, ..) = Terminal::new(&cx).await?;
    terminal.types("trap 'echo int''errupted' INT; echo re''ady; cat\n").await?;
    terminal.until("ready\r\n").await?;
    // Typed text comes back only when `cat` reads.
    terminal.types("echoed by cat\n").await?;
    terminal.until("echoed by cat\r\nechoed by cat\r\n").await?;
    terminal.types("\u{3}").await?;
    terminal.until("^C").await?;
    terminal.types_until("echo st''ill\n", "still\r\n").await?;
    terminal.types("\u{4}").await?;
    let (code, _) = terminal.closed().await?;
    cx.check("ended").that([1000, 1011].contains(&code), "an end with a code", code);
    Ok(())
}
