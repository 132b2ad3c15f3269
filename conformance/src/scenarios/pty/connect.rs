use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD};

use super::{EXIT_CONTROL, PATIENCE, Terminal, create_connect, info};
use crate::{
    client::{Answer, Dial, Message, WsRequest},
    prelude::*,
};

scenarios! { "pty";
    /// The first frame is text: a control message that says `connected`; everything that the terminal shows is binary.
    /// (observed; SDKs wait for it)
    first_frame_says_connected: Must, covers ["ConnectPtySession"];

    /// A terminal that isn't there: the upgrade succeeds, and a control message says why it is over. (observed; SDKs)
    connect_to_nothing: Must, covers ["ConnectPtySession"];

    /// Without a WebSocket there is nothing to connect: 400. (observed)
    connect_needs_a_websocket: Must, covers ["ConnectPtySession"];

    /// `create-connect` makes a terminal and connects to it, in one request. (SDKs since July 2026: createPty)
    create_connect_is_one_step: Must, covers [], since "0.200", clients ">=0.190";

    /// Missing or taken ids and bad sizes are refused before the upgrade, with the reason. (SDKs)
    create_connect_refusals: Must, covers [], since "0.200", clients ">=0.190";

    /// A shell that can't start is told of after the upgrade, with an error message and code 1011. (SDKs)
    create_connect_that_fails: Must, covers [], since "0.200", clients ">=0.190";

    /// Variables come in a sub-protocol, base64url of a JSON object. (SDKs: X-Daytona-Pty-Envs)
    create_connect_takes_variables: Must, covers [], since "0.200", clients ">=0.190";

    /// Variables that can't be read, or have impossible names, are 400. (SDKs)
    create_connect_checks_variables: Must, covers [], since "0.200", clients ">=0.190";

    /// The first sub-protocol that the client offered is selected, whichever it is. (Node's ws refuses anything else)
    first_protocol_is_selected: Must, covers ["ConnectPtySession"], since "0.200", clients ">=0.190";

    /// Where none is offered, none is selected. (RFC 6455)
    no_protocol_is_selected: Must, covers ["ConnectPtySession"];

    /// A client that leaves leaves the shell running; another one goes on with it. (observed)
    reconnect: Must, covers ["ConnectPtySession"];

    /// What was shown while nobody was connected isn't shown again. (observed)
    nothing_is_replayed: Must, covers ["ConnectPtySession"];

    /// Without a key nobody connects.
    connect_needs_a_key: Must, covers ["ConnectPtySession"];
}

async fn first_frame_says_connected(cx: Cx) -> Result {
    let (sandbox, id) = (cx.shared().await?, cx.name("pty"));
    super::create(&sandbox, json!({ "id": id })).send().await?.ok()?;
    let mut socket = sandbox.ws(&format!("/process/pty/{id}/connect")).connect().await?;
    let first = socket.next(PATIENCE).await?;
    let control: Value = match &first {
        Some(Message::Text(text)) => serde_json::from_str(text).unwrap_or_default(),
        _ => Value::Null,
    };
    cx.check("text").eq(control, json!({"type": "control", "status": "connected"}));
    socket.send_text("echo $((6*7))-shown\n").await?;
    let mut binary = true;
    let mut seen = Vec::new();
    while !String::from_utf8_lossy(&seen).contains("42-shown") {
        let Some(message) = socket.next(PATIENCE).await? else { break };
        binary &= matches!(message, Message::Binary(_));
        seen.extend_from_slice(&message.into_data());
    }
    cx.check("binary").that(binary, "binary frames", "another kind");
    cx.check("shown").contains(&String::from_utf8_lossy(&seen), "42-shown");
    Ok(())
}

async fn connect_to_nothing(cx: Cx) -> Result {
    let sandbox = cx.shared().await?;
    let mut terminal = Terminal::dial(sandbox.ws("/process/pty/nope/connect")).await?;
    let (code, reason) = terminal.closed().await?;
    let control = terminal.controls.first().cloned().unwrap_or_default();
    cx.check("status").eq(&control["status"], &json!("error"));
    cx.check("type").eq(&control["type"], &json!("control"));
    let error = "Failed to connect to PTY session: PTY session nope not found";
    cx.check("error").eq(&control["error"], &json!(error));
    cx.check("close-code").should().eq(code, 1011);
    cx.check("close-reason").should().eq(reason, error);
    Ok(())
}

async fn connect_needs_a_websocket(cx: Cx) -> Result {
    let (terminal, sandbox, id) = Terminal::new(&cx).await?;
    let answer = sandbox.get(&format!("/process/pty/{id}/connect")).send().await?;
    cx.check("status").status(&answer, 400);
    drop(terminal);
    Ok(())
}

async fn create_connect_is_one_step(cx: Cx) -> Result {
    let (sandbox, id) = (cx.shared().await?, cx.name("pty"));
    let request = sandbox.ws("/process/pty/create-connect").query("id", &id).query("cols", 101).query("rows", 31);
    let mut terminal = Terminal::open(request.query("cwd", "/tmp")).await?;
    terminal.types("echo \"[$(pwd)] [$(stty size)]\"\n").await?;
    terminal.until("[31 101]").await?;
    cx.check("shown").contains(&terminal.text(), "[/tmp] [31 101]");
    let told = info(&sandbox, &id).await?;
    cx.check("told").json(&told, "/cols", 101);
    cx.check("active").json(&told, "/active", true);
    terminal.types("exit 3\n").await?;
    let (code, reason) = terminal.closed().await?;
    cx.check("close-code").eq(code, 1011);
    cx.check("close-reason").contains(&reason, "\"exitCode\":3");
    Ok(())
}

/// Dials where a refusal is expected.
async fn refused(cx: &Cx, id: &str, request: WsRequest) -> Result<Option<Answer>> {
    match request.dial().await? {
        Dial::Refused(answer) => Ok(Some(*answer)),
        Dial::Open(_) => {
            cx.check(id.to_owned()).that(false, "an answer without an upgrade", "an open WebSocket");
            Ok(None)
        }
    }
}

async fn create_connect_refusals(cx: Cx) -> Result {
    let (taken, sandbox, id) = Terminal::new(&cx).await?;
    let new = cx.name("new");
    let path = || sandbox.ws("/process/pty/create-connect");
    for (name, request, status, message) in [
        ("no-id", path(), 400, "session ID is required (query param 'id')".to_owned()),
        ("taken", path().query("id", &id), 409, format!("PTY session with ID '{id}' already exists")),
        (
            "cols",
            path().query("id", &new).query("cols", "x"),
            400,
            "cols must be an integer between 0 and 65535".into(),
        ),
        (
            "rows",
            path().query("id", &new).query("rows", "-1"),
            400,
            "rows must be an integer between 0 and 65535".into(),
        ),
        (
            "large",
            path().query("id", &new).query("cols", 1001).query("rows", 1),
            400,
            "cols and rows must be less than 1000".into(),
        ),
    ] {
        let Some(answer) = refused(&cx, name, request).await? else { continue };
        cx.check(name).status(&answer, status);
        cx.check(format!("{name}-message")).should().json(&answer, "/message", message);
    }
    cx.check("nothing-made").status(&info(&sandbox, &new).await?, 404);
    drop(taken);
    Ok(())
}

async fn create_connect_that_fails(cx: Cx) -> Result {
    let (sandbox, id) = (cx.shared().await?, cx.name("pty"));
    let mut terminal = Terminal::dial(create_connect(&sandbox, &id).query("cwd", "/no/such")).await?;
    let (code, reason) = terminal.closed().await?;
    let control = terminal.controls.first().cloned().unwrap_or_default();
    cx.check("status").eq(&control["status"], &json!("error"));
    cx.check("error").contains(control["error"].as_str().unwrap_or_default(), "Failed to start PTY session: ");
    cx.check("close-code").eq(code, 1011);
    cx.check("close-reason").should().contains(&reason, "Failed to start PTY session: ");
    cx.check("nothing-made").status(&info(&sandbox, &id).await?, 404);
    Ok(())
}

fn envs(json: &str) -> String {
    format!("X-Daytona-Pty-Envs~{}", BASE64_URL_SAFE_NO_PAD.encode(json))
}

async fn create_connect_takes_variables(cx: Cx) -> Result {
    let (sandbox, id) = (cx.shared().await?, cx.name("pty"));
    let envs = envs(r#"{"GREETING":"hi there ünï","EMPTY":""}"#);
    let mut terminal = Terminal::open(create_connect(&sandbox, &id).protocols(&[&envs, EXIT_CONTROL])).await?;
    cx.check("selected").eq(terminal.socket.protocol.as_deref(), Some(&*envs));
    terminal.types("echo \"[$GREETING] [${EMPTY-unset}]\"\n").await?;
    terminal.until("] []\r\n").await?;
    cx.check("shown").contains(&terminal.text(), "[hi there ünï] []");
    cx.check("told").json(&info(&sandbox, &id).await?, "/envs/GREETING", "hi there ünï");
    Ok(())
}

async fn create_connect_checks_variables(cx: Cx) -> Result {
    let (sandbox, id) = (cx.shared().await?, cx.name("pty"));
    for (name, token) in [
        ("no-base64", "X-Daytona-Pty-Envs~%".to_owned()),
        ("no-json", envs("no json")),
        ("a-list", envs("[]")),
        ("a-number", envs(r#"{"A":1}"#)),
        ("empty-name", envs(r#"{"":"1"}"#)),
        ("equals-sign", envs(r#"{"A=B":"1"}"#)),
        ("nul", envs(r#"{"A\u0000":"1"}"#)),
    ] {
        let Some(answer) = refused(&cx, name, create_connect(&sandbox, &id).protocols(&[&token])).await? else {
            continue;
        };
        cx.check(name).status(&answer, 400);
        cx.check(format!("{name}-message"))
            .should()
            .contains(answer["message"].as_str().unwrap_or_default(), "invalid envs subprotocol: ");
    }
    cx.check("nothing-made").status(&info(&sandbox, &id).await?, 404);
    Ok(())
}

async fn first_protocol_is_selected(cx: Cx) -> Result {
    let (first, sandbox, id) = Terminal::new(&cx).await?;
    let version = "X-Daytona-SDK-Version~0.216.0";
    let envs = envs("{}");
    // Orders of the alphabet and against it.
    for (index, offered) in
        [[EXIT_CONTROL, version], [version, EXIT_CONTROL], [&envs, EXIT_CONTROL], [EXIT_CONTROL, &envs]]
            .into_iter()
            .enumerate()
    {
        let request = sandbox.ws(&format!("/process/pty/{id}/connect")).protocols(&offered);
        let terminal = Terminal::open(request).await?;
        cx.check(format!("connect-{index}")).eq(terminal.socket.protocol.as_deref(), Some(offered[0]));
        let request = create_connect(&sandbox, &format!("{id}-{index}")).protocols(&offered);
        let terminal = Terminal::open(request).await?;
        cx.check(format!("create-{index}")).eq(terminal.socket.protocol.as_deref(), Some(offered[0]));
    }
    drop(first);
    Ok(())
}

async fn no_protocol_is_selected(cx: Cx) -> Result {
    let (terminal, ..) = Terminal::new(&cx).await?;
    cx.check("none").eq(terminal.socket.protocol.as_deref(), None);
    Ok(())
}

async fn reconnect(cx: Cx) -> Result {
    let (mut terminal, sandbox, id) = Terminal::new(&cx).await?;
    terminal.types("mine=kept; echo re''ady\n").await?;
    terminal.until("ready").await?;
    drop(terminal);
    for _ in 0..3 {
        let mut terminal = Terminal::connect(&sandbox, &id).await?;
        terminal.types("echo \"<$mine>\"\n").await?;
        terminal.until("<kept>").await?;
        terminal.socket.close(1000, "bye").await?;
    }
    cx.check("active").json(&info(&sandbox, &id).await?, "/active", true);
    Ok(())
}

async fn nothing_is_replayed(cx: Cx) -> Result {
    let (mut terminal, sandbox, id) = Terminal::new(&cx).await?;
    terminal.types("echo ear''lier\n").await?;
    terminal.until("earlier\r\n").await?;
    let mut late = Terminal::connect(&sandbox, &id).await?;
    late.types("echo la''ter\n").await?;
    late.until("later\r\n").await?;
    cx.check("only-later").that(!late.text().contains("earlier"), "only what was shown since", late.text());
    Ok(())
}

async fn connect_needs_a_key(cx: Cx) -> Result {
    let (terminal, sandbox, id) = Terminal::new(&cx).await?;
    for (name, request) in [
        ("none", sandbox.ws(&format!("/process/pty/{id}/connect")).no_key()),
        ("wrong", sandbox.ws(&format!("/process/pty/{id}/connect")).header("Authorization", "Bearer wrong")),
    ] {
        let Some(answer) = refused(&cx, name, request).await? else { continue };
        cx.check(name).status(&answer, 401);
    }
    drop(terminal);
    Ok(())
}
