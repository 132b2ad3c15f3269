use reqwest::Method;
use serde_json::Value;

use crate::{
    context::{Cx, HarnessError},
    scenario::scenarios,
};

scenarios! { "auth";
    /// The server's configuration is readable without a key, and says which version it is and where toolboxes are.
    config_needs_no_key: Must, since "0.190", needs [], covers ["ConfigController_getConfig"];

    /// A request without a key, or with an unknown one, is answered 401 `Invalid credentials` in the API's envelope,
    /// before anything is said about what it asked for.
    unknown_key_is_refused: Must, since "0.190", needs [], covers ["listSandboxes", "getSandbox"];
}

async fn config_needs_no_key(cx: &mut Cx) -> Result<(), HarnessError> {
    let answer = cx.send(Method::GET, &format!("{}/config", cx.api_url()), None, None).await?;
    cx.check("status", answer.status().as_u16(), 200);
    let config: Value = answer.json().await?;
    for (id, field) in [("version", "version"), ("toolbox-url", "proxyToolboxUrl"), ("snapshot", "defaultSnapshot")] {
        cx.check(id, config[field].is_string(), true);
    }
    Ok(())
}

async fn unknown_key_is_refused(cx: &mut Cx) -> Result<(), HarnessError> {
    let list = format!("{}/sandbox", cx.api_url());
    let one = format!("{list}/no-such-sandbox");
    for (id, url, key) in [("list-no-key", &list, None), ("list-unknown", &list, Some("x")), ("get", &one, Some("x"))] {
        let answer = cx.send(Method::GET, url, None, key).await?;
        let status = answer.status().as_u16();
        let body: Value = answer.json().await?;
        cx.check(id, (status, body["message"].as_str()), (401, Some("Invalid credentials")));
    }
    Ok(())
}
