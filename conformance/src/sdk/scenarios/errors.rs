//! What the caller is told of an error of the server.

use serde_json::{Value, json};

use super::scenarios;
use crate::{
    sdk::{
        Cx, Thrown,
        context::{PATIENCE, Shown},
    },
    stop::Result,
};

scenarios! { "errors";
    /// A 400 is told with its status, the server's message and a class of its own. (DaytonaValidationError)
    status_400: Must;
    /// A 401 is told with its status, the server's message and a class of its own. (DaytonaAuthenticationError)
    status_401: Must;
    /// A 403 is told with its status, the server's message and a class of its own. (DaytonaAuthorizationError)
    status_403: Must;
    /// A 404 is told with its status, the server's message and a class of its own. (DaytonaNotFoundError)
    status_404: Must;
    /// A 408 is told with its status, the server's message and a class of its own. (DaytonaTimeoutError)
    status_408: Must;
    /// A 409 is told with its status, the server's message and a class of its own. (DaytonaConflictError)
    status_409: Must;
    /// A 422 is told with its status, the server's message and a class of its own. (DaytonaUnprocessableEntityError)
    status_422: Must;
    /// A 429 is told with its status, the server's message and a class of its own. (DaytonaRateLimitError)
    status_429: Must;
    /// A 500 is told with its status, the server's message and a class of its own. (DaytonaInternalServerError)
    status_500: Must;
    /// A 502 is told with its status, the server's message and a class of its own. (DaytonaBadGatewayError)
    status_502: Must;
    /// The caller of a 429 can read when to come back: the headers are with the error. (Retry-After-*; DaytonaError.headers)
    rate_limit_says_when: Must;
    /// The machine-readable code of the toolbox is a member of the error. (DaytonaError.code)
    code_is_told: Must;
    /// A file that isn't there is told from a sandbox that isn't there. (FILE_NOT_FOUND, DaytonaFileNotFoundError)
    missing_file: Should;
    /// A page of a proxy instead of JSON is told as the status that it came with, not as a syntax error. (502 with HTML)
    not_json: Must;
    /// A 404 has the same class and status whichever way it comes: a download, an upload, a followed log. (DaytonaNotFoundError)
    same_class_everywhere: Must;
    /// The refusal of a WebSocket is told with its status. (GetSessionCommandLogs, 404)
    refused_socket: Should;
    /// Nobody at home is told as an error of the connection, which has no status. (DaytonaConnectionError)
    nobody_there: Must;
}

/// No status that the documents know: what the SDK makes of it is its most general error.
const UNKNOWN: u16 = 418;

async fn status(cx: Cx, status: u16) -> Result {
    cx.connect().await?;
    let sandbox = cx.sandbox().await?;
    let get = json!({"sandbox": sandbox});
    let execute = json!({"sandbox": sandbox, "command": "true"});
    for (plane, operation, op, args) in
        [("api", "getSandbox", "get", get), ("toolbox", "ExecuteCommand", "execute", execute)]
    {
        let general = refused(&cx, operation, UNKNOWN, op, &args).await?;
        let told = refused(&cx, operation, status, op, &args).await?;
        cx.check(format!("{plane}-throws")).that(told.is_some(), "an error", &told);
        let (Some(told), Some(general)) = (told, general) else { continue };
        cx.check(format!("{plane}-status")).eq(told.status, Some(status));
        cx.check(format!("{plane}-message")).contains(&told.message, "rehearsed by the suite");
        cx.check(format!("{plane}-class")).that(
            told.class != general.class,
            &format!("another class than that of {UNKNOWN}"),
            &told.class,
        );
    }
    Ok(())
}

/// What the SDK throws when an operation is answered with a status.
async fn refused(cx: &Cx, operation: &str, status: u16, op: &str, args: &Value) -> Result<Option<Thrown>> {
    let effect = json!({"type": "status", "status": status, "message": "rehearsed by the suite"});
    cx.world.fault(json!({"match": {"operation": operation}, "effect": effect})).await?;
    let told = cx.call(op, args.clone()).await?;
    cx.world.mend().await?;
    Ok(told.thrown().cloned())
}

/// A scenario for each status: what holds is the same for all.
macro_rules! statuses {
    ($($name:ident $code:literal),*) => { $(async fn $name(cx: Cx) -> Result { status(cx, $code).await })* };
}

statuses! { status_400 400, status_401 401, status_403 403, status_404 404, status_408 408, status_409 409, status_422 422, status_429 429, status_500 500, status_502 502 }

async fn rate_limit_says_when(cx: Cx) -> Result {
    cx.connect().await?;
    let effect = json!({"type": "rateLimited", "retryAfter": 1, "limit": "sandbox-create"});
    cx.world.fault(json!({"match": {"operation": "createSandbox"}, "effect": effect})).await?;
    if let Some(told) = cx.throws("throws", "create", json!({})).await? {
        let after = told.headers.get("retry-after-sandbox-create");
        cx.check("retry-after").eq(after.map(String::as_str), Some("1"));
    }
    Ok(())
}

async fn code_is_told(cx: Cx) -> Result {
    cx.connect().await?;
    let sandbox = cx.sandbox().await?;
    let args = json!({"sandbox": sandbox, "command": "true"});
    let effect = json!({"type": "status", "status": 409, "message": "rehearsed", "code": "REHEARSED_CODE"});
    cx.world.fault(json!({"match": {"operation": "ExecuteCommand"}, "effect": effect})).await?;
    if let Some(told) = cx.throws("throws", "execute", args).await? {
        cx.check("code").eq(told.code.as_deref(), Some("REHEARSED_CODE"));
    }
    Ok(())
}

async fn missing_file(cx: Cx) -> Result {
    cx.connect().await?;
    let sandbox = cx.sandbox().await?;
    let file = cx.throws("throws", "download", json!({"sandbox": sandbox, "path": "no/such/file"})).await?;
    let other = cx.throws("sandbox-throws", "get", json!({"sandbox": "no-such-sandbox"})).await?;
    if let (Some(file), Some(other)) = (file, other) {
        cx.check("status").eq(file.status, Some(404));
        cx.check("class").ne(&file.class, &other.class);
        cx.check("names-it").contains(&file.message, "no/such/file");
    }
    Ok(())
}

async fn not_json(cx: Cx) -> Result {
    cx.connect().await?;
    let sandbox = cx.sandbox().await?;
    let page = "<html><body><h1>502 Bad Gateway</h1></body></html>";
    let effect = json!({"type": "status", "status": 502, "body": page, "headers": {"content-type": "text/html"}});
    cx.world.fault(json!({"match": {"operation": ["getSandbox", "ExecuteCommand"]}, "effect": effect})).await?;
    for (plane, op, args) in [
        ("api", "get", json!({"sandbox": sandbox})),
        ("toolbox", "execute", json!({"sandbox": sandbox, "command": "true"})),
    ] {
        let told = cx.call(op, args).await?;
        let status = told.thrown().and_then(|thrown| thrown.status);
        cx.check(format!("{plane}-status")).that(status == Some(502), "an error with status 502", Shown(&told));
    }
    Ok(())
}

async fn same_class_everywhere(cx: Cx) -> Result {
    cx.connect().await?;
    let sandbox = cx.sandbox().await?;
    let effect = json!({"type": "status", "status": 404, "message": "rehearsed", "code": "NOT_FOUND"});
    let operations = ["ExecuteCommand", "UploadFile", "UploadFiles", "DownloadFile", "DownloadFiles", "CreateSession"];
    cx.world.fault(json!({"match": {"operation": operations}, "effect": effect})).await?;
    let Some(usual) = cx.throws("throws", "execute", json!({"sandbox": sandbox, "command": "true"})).await? else {
        return Ok(());
    };
    for (op, args) in [
        ("upload", json!({"path": "a", "base64": "YQ=="})),
        ("upload", json!({"path": "a", "base64": "YQ==", "stream": true})),
        ("download", json!({"path": "a"})),
        ("download", json!({"path": "a", "stream": true})),
        ("session.create", json!({"session": "s"})),
    ] {
        let streamed = if args["stream"] == true { "-stream" } else { "" };
        let mut args = args;
        args["sandbox"] = json!(sandbox);
        let told = match cx.call(op, args).await {
            // An SDK may have only one of the ways.
            Err(crate::stop::Stop::NotApplicable(_)) => continue,
            told => told?,
        };
        let is = told.thrown().map(|thrown| (thrown.class.as_str(), thrown.status));
        let wanted = (usual.class.as_str(), usual.status);
        cx.check(format!("{op}{streamed}")).that(is == Some(wanted), &format!("{wanted:?}"), Shown(&told));
    }
    Ok(())
}

async fn refused_socket(cx: Cx) -> Result {
    cx.connect().await?;
    let sandbox = cx.sandbox().await?;
    let args = json!({"sandbox": sandbox, "session": "none", "command": "none"});
    let told = cx.call("session.logs.follow", args).await?;
    let status = told.thrown().and_then(|thrown| thrown.status);
    cx.check("throws").that(told.thrown().is_some(), "an error", Shown(&told));
    cx.check("status").that(status == Some(404), "an error with status 404", Shown(&told));
    Ok(())
}

async fn nobody_there(cx: Cx) -> Result {
    let listener = std::net::TcpListener::bind("127.0.0.1:0")?;
    let url = format!("http://{}/api", listener.local_addr()?);
    drop(listener);
    cx.connect_with(json!({"apiUrl": url, "polling": true})).await?;
    let told = cx.call_within("get", json!({"sandbox": "any"}), PATIENCE).await?;
    cx.check("throws").that(told.thrown().is_some(), "an error", Shown(&told));
    if let Some(thrown) = told.thrown() {
        cx.check("status").eq(thrown.status, None);
        cx.connect().await?;
        let general = refused(&cx, "getSandbox", UNKNOWN, "get", &json!({"sandbox": "any"})).await?;
        let general = general.map(|general| general.class).unwrap_or_default();
        cx.check("class").that(thrown.class != general, "another class than that of an answer", &thrown.class);
    }
    Ok(())
}
