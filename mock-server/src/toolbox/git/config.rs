//! `GET` and `POST /git/config`, `POST /git/config/user`, `POST /git/credentials`.

use axum::{
    extract::{Request, State},
    http::StatusCode,
    response::IntoResponse,
};
use serde::Deserialize;
use serde_json::json;

use super::{
    Params,
    command::{Call, Git},
    errors, plain, read,
    repository::Repository,
};
use crate::toolbox::{
    Ctx, ToolboxError,
    body::{Field, JsonBody, Kind},
    json::GoJson,
};

const HOST: &str = "github.com";
const PROTOCOL: &str = "https";

/// Which of git's configuration files.
enum Scope {
    Global,
    System,
    Local(Repository),
}

impl Scope {
    /// Global when nothing is said. 400 for others, and for local without a path; 404 when that is no repository.
    async fn of(call: &Call, scope: &str, path: &str) -> Result<Scope, ToolboxError> {
        match scope {
            "" | "global" => Ok(Scope::Global),
            "system" => Ok(Scope::System),
            "local" if path.is_empty() => Err(ToolboxError::bad_request("path is required when scope is local")),
            "local" => Ok(Scope::Local(Repository::open(&call.ctx, path).await?)),
            other => Err(ToolboxError::bad_request(format!("invalid scope: {other}"))),
        }
    }

    fn git<'a>(&self, call: &'a Call) -> Git<'a> {
        match self {
            Scope::Global => call.git(["config", "--global"]).cwd("/".as_ref()),
            Scope::System => call.git(["config", "--system"]).cwd("/".as_ref()),
            Scope::Local(repository) => call.git(["config", "--local"]).at(repository),
        }
    }
}

/// `section.name` or `section.sub.name`, as git takes them.
fn check_key(key: &str) -> Result<(), ToolboxError> {
    let word = |text: &str| !text.is_empty() && text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-');
    let good = key.split_once('.').is_some_and(|(section, rest)| {
        let name = rest.rsplit('.').next().unwrap_or_default();
        word(section) && word(name) && name.starts_with(|c: char| c.is_ascii_alphabetic())
    });
    match good && !key.starts_with('-') && !key.contains(['\n', '\0']) {
        true => Ok(()),
        false => Err(ToolboxError::bad_request(format!("invalid config key: {key}"))),
    }
}

/// `GetGitConfig`: 200 `{"value"}`, null when it isn't set at this scope.
pub async fn get(State(ctx): State<Ctx>, params: Params) -> Result<impl IntoResponse, ToolboxError> {
    let text = |name| params.text(name).unwrap_or_default().into_owned();
    let (key, scope, path) = (text("key"), text("scope"), text("path"));
    params.required("key")?;
    check_key(&key)?;
    Call::run(ctx, async move |call| {
        let output = Scope::of(&call, &scope, &path).await?.git(&call).args(["--null", "--get", &key]).run().await?;
        let value = match output.code {
            0 => Some(String::from_utf8_lossy(&output.stdout).trim_end_matches('\0').to_owned()),
            // Not set; or there is no such file yet.
            1 => None,
            _ => return Err(errors::of(&output.stderr)),
        };
        Ok(GoJson(json!({"value": value})))
    })
    .await
}

/// `GitSetConfigRequest` of the contract.
#[derive(Default, Deserialize)]
#[serde(default)]
struct GitSetConfigRequest {
    key: String,
    value: String,
    scope: String,
    path: String,
}

impl JsonBody for GitSetConfigRequest {
    const NAME: &'static str = "GitSetConfigRequest";
    const FIELDS: &'static [Field] = &[
        Field::required("key", "Key", Kind::Str),
        Field::required("value", "Value", Kind::StrPtr),
        Field::optional("scope", "Scope", Kind::Str),
        Field::optional("path", "Path", Kind::Str),
    ];
}

/// `SetGitConfig`: 200; of several values of this name one is left.
pub async fn set(State(ctx): State<Ctx>, body: Request) -> Result<impl IntoResponse, ToolboxError> {
    let GitSetConfigRequest { key, value, scope, path } = read(body).await?;
    check_key(&key)?;
    Call::run(ctx, async move |call| {
        let scope = Scope::of(&call, &scope, &path).await?;
        store(&call, &scope, &key, &value).await?;
        Ok(StatusCode::OK)
    })
    .await
}

async fn store(call: &Call, scope: &Scope, key: &str, value: &str) -> Result<(), ToolboxError> {
    if value.contains('\0') {
        return Err(ToolboxError::bad_request("invalid config value"));
    }
    let output = scope.git(call).args(["--replace-all", "--", key, value]).run().await?;
    match output.ok {
        true => Ok(()),
        false => Err(errors::of(&output.stderr)),
    }
}

/// `GitConfigureUserRequest` of the contract.
#[derive(Default, Deserialize)]
#[serde(default)]
struct GitConfigureUserRequest {
    name: String,
    email: String,
    scope: String,
    path: String,
}

impl JsonBody for GitConfigureUserRequest {
    const NAME: &'static str = "GitConfigureUserRequest";
    const FIELDS: &'static [Field] = &[
        Field::required("name", "Name", Kind::Str),
        Field::required("email", "Email", Kind::Str),
        Field::optional("scope", "Scope", Kind::Str),
        Field::optional("path", "Path", Kind::Str),
    ];
}

/// `ConfigureUser`: 200.
pub async fn user(State(ctx): State<Ctx>, body: Request) -> Result<impl IntoResponse, ToolboxError> {
    let GitConfigureUserRequest { name, email, scope, path } = read(body).await?;
    Call::run(ctx, async move |call| {
        let scope = Scope::of(&call, &scope, &path).await?;
        store(&call, &scope, "user.name", &name).await?;
        store(&call, &scope, "user.email", &email).await?;
        Ok(StatusCode::OK)
    })
    .await
}

/// `GitAuthenticateRequest` of the contract.
#[derive(Default, Deserialize)]
#[serde(default)]
struct GitAuthenticateRequest {
    username: String,
    password: String,
    host: String,
    protocol: String,
}

impl JsonBody for GitAuthenticateRequest {
    const NAME: &'static str = "GitAuthenticateRequest";
    const FIELDS: &'static [Field] = &[
        Field::required("username", "Username", Kind::Str),
        Field::required("password", "Password", Kind::Str),
        Field::optional("host", "Host", Kind::Str),
        Field::optional("protocol", "Protocol", Kind::Str),
    ];
}

/// `Authenticate`: 200. `credential.helper=store` for the user, and the credentials in its file, as everybody who calls
/// it is told.
pub async fn credentials(State(ctx): State<Ctx>, body: Request) -> Result<impl IntoResponse, ToolboxError> {
    let GitAuthenticateRequest { username, password, host, protocol } = read(body).await?;
    let or = |text: String, default: &str| if text.is_empty() { default.to_owned() } else { text };
    let (host, protocol) = (or(host, HOST), or(protocol, PROTOCOL));
    for (what, text) in [("host", &host), ("protocol", &protocol), ("username", &username), ("password", &password)] {
        plain(what, text.trim_start_matches('-'))?;
    }
    Call::run(ctx, async move |call| {
        let lines = format!("protocol={protocol}\nhost={host}\nusername={username}\npassword={password}\n\n");
        call.git(["credential-store", "store"]).cwd("/".as_ref()).stdin(lines).text().await?;
        store(&call, &Scope::Global, "credential.helper", "store").await?;
        Ok(StatusCode::OK)
    })
    .await
}

#[cfg(test)]
mod tests {
    use super::check_key;

    #[test]
    fn keys() {
        for good in ["user.name", "url.https://x/y.insteadOf", "a.b c.d", "core.x-y"] {
            assert!(check_key(good).is_ok(), "{good}");
        }
        for bad in ["", "name", ".name", "user.", "a b.c", "user.na me", "-user.name", "user.1x", "a.b\nc.d"] {
            assert!(check_key(bad).is_err(), "{bad}");
        }
    }
}
