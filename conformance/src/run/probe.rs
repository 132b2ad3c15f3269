//! Finds out what a server is and offers.

use serde_json::Value;

use super::world::Server;
use crate::{
    client::Client,
    context::Cx,
    scenario::Capability,
    stop::{Result, Stop},
};

/// Version and kind of the server; an error where there is none, or the key isn't accepted.
pub(super) async fn server(client: &Client) -> Result<Server> {
    let no_server = |stop: Stop| Stop::harness(format!("no Daytona API at {}: {stop}", client.base()));
    let config = client.get("/config").unjudged().send().await.map_err(no_server)?;
    let header = config.header("x-daytona-api-version");
    let version = if header.is_empty() { config["version"].as_str().unwrap_or_default() } else { header };
    if !config.is_ok() || version.is_empty() {
        let summary = config.summary();
        return Err(Stop::harness(format!("no Daytona API at {}: /config answered {summary}", client.base())));
    }
    let list = client.get("/sandbox").query("limit", 1).unjudged().send().await.map_err(no_server)?;
    if matches!(list.status, 401 | 403) {
        return Err(Stop::harness(format!("the key is not accepted: {}", list.summary())));
    }
    let mock = Some(config["mock"].clone()).filter(Value::is_object);
    let mut server = Server { version: version.to_owned(), mock, ..Server::default() };
    if server.mock.is_some() {
        let root = client.at(client.base().trim_end_matches("/api"), None);
        let published = root.get("/__control/operations").send().await.map_err(no_server)?;
        for operation in published.json.as_array().into_iter().flatten() {
            if let (Some(id), Some(emulated)) = (operation["operationId"].as_str(), operation["emulated"].as_bool()) {
                server.operations.insert(id.to_owned(), emulated);
            }
        }
    }
    Ok(server)
}

/// A server that can't be asked doesn't offer it.
pub(super) async fn offers(cx: &Cx, capability: Capability) -> Result<bool> {
    match find_out(cx, capability).await {
        Err(Stop::NotRun(why)) => Err(Stop::NotRun(why)),
        found => Ok(found.unwrap_or(false)),
    }
}

async fn find_out(cx: &Cx, capability: Capability) -> Result<bool> {
    Ok(match capability {
        Capability::ApiKeys => cx.get("/api-keys").send().await?.is_ok(),
        Capability::SecondAccount => {
            cx.world.target.second_key.is_some() || cx.root().get("/__control/operations").send().await?.is_ok()
        }
        Capability::Operators => cx.root().get("/__control/organization").send().await?.is_ok(),
        Capability::Clock => cx.root().get("/__control/clock").send().await?.is_ok(),
        Capability::Events => {
            let polling = cx.get("/socket.io/").query("EIO", 4).query("transport", "polling").send().await?;
            !matches!(polling.status, 404 | 501)
        }
        Capability::Previews => {
            let sandbox = cx.shared().await?;
            let link = sandbox.op(reqwest::Method::GET, "/ports/3000/preview-url").send().await?;
            let url = reqwest::Url::parse(&link.string("/url")?).map_err(Stop::untestable)?;
            let host = url.host_str().unwrap_or_default();
            tokio::net::lookup_host((host, url.port_or_known_default().unwrap_or(443))).await.is_ok()
        }
        Capability::OldToolbox => {
            let answer = cx.get("/toolbox/no-such-sandbox/toolbox/project-dir").unjudged().send().await?;
            answer["message"].as_str().is_some_and(|message| !message.starts_with("Cannot"))
        }
    })
}

/// `0.205.1` → (0, 205, 1); later parts that aren't numbers count as 0. A server that gives no release (`dev`, `v0.0.0-dev`)
/// is built of the newest sources: every rule of today is for it.
pub(crate) fn version(text: &str) -> (u32, u32, u32) {
    let mut parts = text.trim_start_matches('v').split(['.', '-', '+']).map(str::parse::<u32>);
    let Some(Ok(major)) = parts.next() else { return NEWEST };
    let mut next = || parts.next().and_then(Result::ok).unwrap_or(0);
    match (major, next(), next()) {
        (0, 0, 0) => NEWEST,
        release => release,
    }
}

/// See [`version`].
const NEWEST: (u32, u32, u32) = (u32::MAX, u32::MAX, u32::MAX);

#[cfg(test)]
mod tests {
    use super::version;

    #[test]
    fn versions_are_ordered() {
        assert!(version("0.190") < version("0.205.1"));
        assert!(version("0.200") <= version("v0.200.0-alpha"));
        assert!(version("1") > version("0.999.9"));
    }

    #[test]
    fn a_version_that_is_no_release_is_the_newest() {
        for text in ["dev", "v0.0.0-dev", "0.0.0", "", "main", "v"] {
            assert!(version(text) > version("999.0"), "{text}");
        }
    }
}
