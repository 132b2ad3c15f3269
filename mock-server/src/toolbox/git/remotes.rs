//! `GET` and `POST /git/remotes`.

use axum::{
    extract::{Request, State},
    http::StatusCode,
    response::IntoResponse,
};
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::{
    Params,
    command::Call,
    errors, plain, read,
    repository::Repository,
    secrets::{self, quoted},
    url::without_password,
};
use crate::toolbox::{
    Ctx, ToolboxError,
    body::{Field, JsonBody, Kind},
    go_errors,
    json::GoJson,
};

/// `GitRemote` of the contract.
#[derive(Serialize)]
struct GitRemote {
    name: String,
    /// Without its password.
    url: String,
}

/// `ListRemotes`: 200 `{"remotes": […]}`, sorted by name.
pub async fn list(State(ctx): State<Ctx>, params: Params) -> Result<impl IntoResponse, ToolboxError> {
    let path = super::path(&params)?;
    Call::run(ctx, async move |call| {
        let repository = Repository::open(&call.ctx, &path).await?;
        // Not `git remote -v`: that shows where rules for mirrors lead to.
        let command = ["config", "--local", "--null", "--get-regexp", r"^remote\..*\.url$"];
        let output = call.git(command).at(&repository).run().await?;
        if !output.ok && !output.stderr.is_empty() {
            return Err(errors::of(&output.stderr));
        }
        let text = String::from_utf8_lossy(&output.stdout);
        let remote = |entry: &str| {
            let (key, url) = entry.split_once('\n')?;
            let name = key.strip_prefix("remote.")?.strip_suffix(".url")?;
            Some(GitRemote { name: name.into(), url: without_password(url) })
        };
        let mut remotes: Vec<GitRemote> = text.split('\0').filter_map(remote).collect();
        remotes.sort_by(|a, b| a.name.cmp(&b.name));
        // Of several addresses the first is fetched from.
        remotes.dedup_by(|later, first| later.name == first.name);
        Ok(GoJson(json!({"remotes": remotes})))
    })
    .await
}

/// `GitAddRemoteRequest` of the contract.
#[derive(Default, Deserialize)]
#[serde(default)]
struct GitAddRemoteRequest {
    path: String,
    name: String,
    url: String,
    fetch: bool,
    overwrite: bool,
}

impl JsonBody for GitAddRemoteRequest {
    const NAME: &'static str = "GitAddRemoteRequest";
    const FIELDS: &'static [Field] = &[
        Field::required("path", "Path", Kind::Str),
        Field::required("name", "Name", Kind::Str),
        Field::required("url", "URL", Kind::Str),
        Field::optional("fetch", "Fetch", Kind::Bool),
        Field::optional("overwrite", "Overwrite", Kind::Bool),
    ];
}

/// `AddRemote`: 201. 409 when there is one of this name, unless it may be overwritten. When it can't be fetched, the
/// configuration is as before, and so are the branches that are known of it.
pub async fn add(State(ctx): State<Ctx>, body: Request) -> Result<impl IntoResponse, ToolboxError> {
    let GitAddRemoteRequest { path, name, url, fetch, overwrite } = read(body).await?;
    plain("remote name", &name)?;
    Call::run(ctx, async move |call| {
        let repository = Repository::open(&call.ctx, &path).await?;
        let remote = secrets::remote(&call, &url, None).await?;
        let _lock = repository.lock().await;
        let known = url_of(&call, &repository, &name).await?.is_some();
        if known && !overwrite {
            return Err(ToolboxError::conflict("remote already exists"));
        }
        let config = config_path(&call, &repository).await?;
        let branches = if known { tracking(&call, &repository, &name).await? } else { String::new() };
        let before = tokio::fs::read(&config).await.map_err(|e| errors::raw(go_errors::text(&e)))?;
        let added = async {
            if known {
                call.git(["remote", "remove", "--", &name]).at(&repository).text().await?;
            }
            call.git(["remote", "add", "--", &name, &remote.url]).at(&repository).text().await?;
            if remote.url != remote.given {
                set_url(&call, &repository, &name, &remote.given).await?;
            }
            if fetch {
                let git = call.git(["fetch", "--quiet", "--", &name]).at(&repository);
                git.network(remote.secrets.as_ref()).text().await?;
            }
            Ok(StatusCode::CREATED)
        };
        let added = added.await;
        if added.is_err() {
            tokio::fs::write(&config, before).await.map_err(|e| errors::raw(go_errors::text(&e)))?;
            call.git(["update-ref", "--stdin"]).at(&repository).stdin(branches).text().await?;
        }
        added
    })
    .await
}

/// What is known of a remote's branches, for `update-ref --stdin`. Its HEAD only points to one of them.
async fn tracking(call: &Call, repository: &Repository, name: &str) -> Result<String, ToolboxError> {
    let format = "--format=%(if)%(symref)%(then)%(else)update %(refname) %(objectname)%(end)";
    let below = format!("refs/remotes/{name}/");
    let output = call.git(["for-each-ref", format, &below]).at(repository).text().await?;
    let lines = String::from_utf8_lossy(&output);
    Ok(lines.lines().filter(|line| !line.is_empty()).map(|line| format!("{line}\n")).collect())
}

/// Where a remote of this name is, as it was written.
pub async fn url_of(call: &Call, repository: &Repository, name: &str) -> Result<Option<String>, ToolboxError> {
    let command = ["config", "--null", "--get-all", &format!("remote.{name}.url")];
    let output = call.git(command).at(repository).run().await?;
    let text = String::from_utf8_lossy(&output.stdout);
    Ok(text.split('\0').next().filter(|url| output.ok && !url.is_empty()).map(str::to_owned))
}

/// Writes a remote's address, which holds a password and so can't be an argument, over the one that git just wrote.
pub async fn set_url(call: &Call, repository: &Repository, name: &str, url: &str) -> Result<(), ToolboxError> {
    let config = config_path(call, repository).await?;
    let failed = |e: std::io::Error| errors::raw(go_errors::text(&e));
    let text = tokio::fs::read_to_string(&config).await.map_err(failed)?;
    let changed =
        with_url(&text, name, url).ok_or_else(|| errors::raw("git's configuration is not as it was written"))?;
    tokio::fs::write(&config, changed).await.map_err(failed)
}

async fn config_path(call: &Call, repository: &Repository) -> Result<std::path::PathBuf, ToolboxError> {
    let output = call.git(["rev-parse", "--git-path", "config"]).at(repository).text().await?;
    Ok(repository.path.join(String::from_utf8_lossy(&output).trim_end_matches('\n')))
}

/// The configuration with another address in the section `[remote "name"]`.
fn with_url(config: &str, name: &str, url: &str) -> Option<String> {
    let section = format!("[remote {}]\n", quoted(name));
    let start = config.rfind(&section)? + section.len();
    let url_line = start + config[start..].find("\turl = ")?;
    let end = url_line + config[url_line..].find('\n')?;
    (!config[start..url_line].contains("\n["))
        .then(|| format!("{}\turl = {}{}", &config[..url_line], quoted(url), &config[end..]))
}

#[cfg(test)]
mod tests {
    use super::with_url;

    #[test]
    fn the_right_address_is_written() {
        let config = "[core]\n\tbare = false\n[remote \"a\"]\n\turl = https://h/a\n\tfetch = x\n[remote \"b\"]\n\turl = https://h/b\n";
        let changed = with_url(config, "a", "https://u:p\"w@h/a").expect("there");
        assert_eq!(changed, config.replace("url = https://h/a\n", "url = \"https://u:p\\\"w@h/a\"\n"));
        assert_eq!(with_url(config, "c", "x"), None);
        assert_eq!(with_url("[remote \"a\"]\n\tfetch = x\n[remote \"b\"]\n\turl = y\n", "a", "x"), None);
    }
}
