use crate::prelude::*;

scenarios! { "auth";
    /// The server's configuration is readable without a key, and says which version it is and where toolboxes are.
    /// SDKs ask for it before anything else. (ConfigController_getConfig)
    config_needs_no_key: Must, covers ["ConfigController_getConfig"];

    /// A request without a key, or with an unknown one, is answered 401 `Invalid credentials` in the API's envelope,
    /// before anything is said about what it asked for. (observed)
    unknown_key_is_refused: Must, covers ["listSandboxes", "getSandbox"];
}

async fn config_needs_no_key(cx: Cx) -> Result {
    let config = cx.get("/config").no_key().send().await?;
    cx.check("status").status(&config, 200);
    for field in ["version", "proxyToolboxUrl", "defaultSnapshot"] {
        cx.check(field).on(&config).that(config[field].is_string(), "a string", &config[field]);
    }
    Ok(())
}

async fn unknown_key_is_refused(cx: Cx) -> Result {
    for path in ["/sandbox", "/sandbox/no-such-sandbox"] {
        let answer = cx.get(path).no_key().send().await?;
        cx.check(format!("no-key {path}")).error(&answer, 401, "Invalid credentials");
        let answer = cx.get(path).key("dtn_0000000000000000").send().await?;
        cx.check(format!("unknown-key {path}")).error(&answer, 401, "Invalid credentials");
    }
    Ok(())
}
