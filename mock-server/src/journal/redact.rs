//! Takes secrets out of what is kept: by the name of what holds them, and by their look wherever they are.

use std::{borrow::Cow, sync::LazyLock};

use http::{HeaderMap, HeaderName, header};
use regex::{Captures, Regex};
use serde_json::{Map, Value};

pub const REDACTED: &str = "<redacted>";

/// Parts of names, in lower case and without `-` and `_`, whose values are secrets.
const NAMES: [&str; 12] = [
    "password",
    "passwd",
    "passphrase",
    "secret",
    "token",
    "apikey",
    "authorization",
    "credential",
    "privatekey",
    "signingkey",
    "accesskey",
    "sshcommand",
];
/// The same for environment variables, which say it in fewer letters.
const VARIABLES: [&str; 9] = ["KEY", "TOKEN", "SECRET", "PASS", "PWD", "CREDENTIAL", "AUTH", "PRIVATE", "COOKIE"];
/// Fields that hold environment variables.
const ENVIRONMENTS: [&str; 3] = ["env", "envs", "envvars"];

/// Whether a variable's name says that it holds a secret.
pub fn is_secret_variable(name: &str) -> bool {
    let name = name.to_ascii_uppercase();
    VARIABLES.iter().any(|part| name.contains(part))
}

fn is_secret(name: &str) -> bool {
    let plain: String = name.chars().filter(|c| *c != '-' && *c != '_').flat_map(char::to_lowercase).collect();
    // A cursor is no secret, though some are called tokens.
    NAMES.iter().any(|part| plain.contains(part)) && !plain.starts_with("nextpage") && plain != "pagetoken"
}

/// Known forms of keys, what follows `Bearer`, passwords in URLs, and what commands set secret variables to (not to other
/// variables: `$TOKEN` tells nothing).
static FORMS: LazyLock<Regex> = LazyLock::new(|| {
    Regex::new(concat!(
        r"(?P<key>dtn_|(?-u:\b)(?:sk-|sk_|ghp_|gho_|ghs_|github_pat_|glpat-|xox[abp]-|AKIA|hf_|npm_|pypi-))[A-Za-z0-9_\-]{8,}",
        r"|(?-u:\b)eyJ[A-Za-z0-9_-]{8,}\.[A-Za-z0-9_-]+\.[A-Za-z0-9_-]*",
        r"|(?-u:\b)(?P<scheme>(?i:bearer|basic) )[A-Za-z0-9+/=_.~-]{8,}",
        r"|(?P<user>://)[^/\s:@]*:[^/\s@]+@",
        r"|(?P<parameter>[?&](?i:access_token|token|signature|x-amz-signature|x-amz-security-token|daytona_sandbox_auth_key|api_?key|password|secret)=)[^&\s]+",
        r"|(?P<assigned>(?-u:\b)(?:[A-Z0-9_]*(?:KEY|TOKEN|SECRET|PASS|_PWD|CREDENTIAL|AUTH|PRIVATE|COOKIE)[A-Z0-9_]*",
        r"|export [A-Za-z0-9_]*(?i:key|token|secret|pass|pwd|credential|auth|private|cookie)[A-Za-z0-9_]*)=)",
        r"(?:'[^']*'|\x22[^\x22]*\x22|[^\s;&|<>'\x22$][^\s;&|<>'\x22]*)",
        r"|(?P<preview>://\d{1,5}-)(?P<name>[a-z0-9_-]+)\.",
    ))
    .expect("a regex")
});

/// Text without what looks like a secret.
pub fn text(text: &str) -> Cow<'_, str> {
    FORMS.replace_all(text, |found: &Captures| {
        let group = |name| found.name(name).map(|group| group.as_str());
        if let (Some(before), Some(name)) = (group("preview"), group("name")) {
            return if is_id(name) { found[0].to_owned() } else { format!("{before}{REDACTED}.") };
        }
        let end = if group("user").is_some() { "@" } else { "" };
        let before = ["key", "scheme", "user", "parameter", "assigned"].into_iter().find_map(group).unwrap_or_default();
        format!("{before}{REDACTED}{end}")
    })
}

/// A sandbox's id opens nothing; a signed token does.
fn is_id(name: &str) -> bool {
    uuid::Uuid::try_parse(name).is_ok()
}

/// A query, without its `?`.
pub fn query(query: &str) -> String {
    text(&format!("?{query}"))[1..].to_owned()
}

/// `{port}-{signed token}.domain` opens a sandbox.
pub fn host(host: &str) -> String {
    text(&format!("://{host}"))[3..].to_owned()
}

/// A path, whose parameters have names in `template`: `…/signed-preview-url/{token}/expire`.
pub fn path(template: &str, path: &str) -> String {
    let parts = template.split('/').zip(path.split('/'));
    let secret = |own: &str| own.starts_with('{') && own.to_ascii_lowercase().contains("token");
    parts.map(|(own, part)| if secret(own) { REDACTED } else { part }).collect::<Vec<_>>().join("/")
}

/// Headers by name, several values of one joined.
pub fn headers(headers: &HeaderMap) -> Map<String, Value> {
    let mut all = Map::new();
    for name in headers.keys() {
        let values = headers.get_all(name).iter();
        let values: Vec<String> =
            values.map(|value| header(name, &String::from_utf8_lossy(value.as_bytes()))).collect();
        all.insert(name.as_str().to_owned(), Value::String(values.join(", ")));
    }
    all
}

fn header(name: &HeaderName, value: &str) -> String {
    match *name {
        header::AUTHORIZATION | header::PROXY_AUTHORIZATION => match value.split_once(' ') {
            Some((scheme, _)) => format!("{scheme} {REDACTED}"),
            None => REDACTED.into(),
        },
        header::COOKIE | header::SET_COOKIE => REDACTED.into(),
        // What can't be a header is one of these: `X-Daytona-Pty-Envs~…`.
        header::SEC_WEBSOCKET_PROTOCOL => {
            let one = |one: &str| match one.trim().split_once('~') {
                Some((name, _)) if name.to_ascii_lowercase().contains("env") => format!("{name}~{REDACTED}"),
                _ => one.trim().to_owned(),
            };
            value.split(',').map(one).collect::<Vec<_>>().join(", ")
        }
        header::HOST => host(value),
        _ if is_secret(name.as_str()) => REDACTED.into(),
        _ => text(value).into_owned(),
    }
}

/// Whether bodies at this path hold values of secrets.
pub fn is_vault(path: &str) -> bool {
    path.strip_prefix("/api/secret").is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

/// A JSON body of a request or answer at this path.
pub fn json(value: &mut Value, path: &str) {
    if is_vault(path)
        && let Some(value) = value.get_mut("value")
    {
        *value = Value::String(REDACTED.into());
    }
    // Their answers are nothing but a secret.
    let whole =
        path.contains("/signing-key") || path.ends_with("/push-access") || path.ends_with("/registry-push-access");
    clean(value, false, whole);
}

fn clean(value: &mut Value, is_environment: bool, whole: bool) {
    match value {
        Value::String(string) => {
            let clean = match text(string) {
                Cow::Owned(clean) => Some(clean),
                Cow::Borrowed(_) => None,
            };
            if let Some(clean) = clean {
                *string = clean;
            }
        }
        Value::Array(items) => items.iter_mut().for_each(|item| clean(item, is_environment, whole)),
        Value::Object(fields) => {
            for (name, field) in fields {
                let secret = whole || is_secret(name) || is_environment && is_secret_variable(name);
                match field {
                    Value::String(_) | Value::Number(_) if secret => *field = Value::String(REDACTED.into()),
                    _ => clean(field, ENVIRONMENTS.contains(&name.to_ascii_lowercase().as_str()), whole),
                }
            }
        }
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    #[test]
    fn secrets_go_by_their_look() {
        let cases = [
            ("curl -H 'Authorization: Bearer abcdefgh12'", "curl -H 'Authorization: Bearer <redacted>'"),
            ("export K=dtn_0123456789abcdef", "export K=dtn_<redacted>"),
            ("git clone https://me:pw@example.com/r.git", "git clone https://<redacted>@example.com/r.git"),
            ("export TOKEN=abc123secret; echo hi", "export TOKEN=<redacted>; echo hi"),
            ("API_KEY='a b' DB_PWD=\"c\" MODE=x run", "API_KEY=<redacted> DB_PWD=<redacted> MODE=x run"),
            ("export my_token=abc && A_TOKEN=$TOKEN b", "export my_token=<redacted> && A_TOKEN=$TOKEN b"),
            ("PWD=/home/daytona author=me keys=3", "PWD=/home/daytona author=me keys=3"),
            ("/a?x=1&signature=v1_abc&y=2", "/a?x=1&signature=<redacted>&y=2"),
            ("http://3000-abcdefgh12345678.localhost:1/x", "http://3000-<redacted>.localhost:1/x"),
            (
                "http://3000-2b0f3ee9-9e0c-4d8e-8a50-6f0f5f0a7c11.localhost/",
                "http://3000-2b0f3ee9-9e0c-4d8e-8a50-6f0f5f0a7c11.localhost/",
            ),
            ("the task-force, http://localhost:3000/a-b.c", "the task-force, http://localhost:3000/a-b.c"),
        ];
        for (given, clean) in cases {
            assert_eq!(text(given), clean);
        }
        assert_eq!(query("access_token=abc&limit=2"), "access_token=<redacted>&limit=2");
        assert_eq!(host("80-abcdefgh12345678.localhost:3986"), "80-<redacted>.localhost:3986");
        let template = "/sandbox/{sandboxIdOrName}/ports/{port}/signed-preview-url/{token}/expire";
        assert_eq!(
            path(template, "/sandbox/a/ports/1/signed-preview-url/s/expire"),
            "/sandbox/a/ports/1/signed-preview-url/<redacted>/expire"
        );
    }

    #[test]
    fn secrets_go_by_their_name() {
        let mut body = json!({
            "name": "a", "env": {"OPENAI_API_KEY": "x", "MODE": "fast", "N": "1"}, "password": "p", "nextPageToken": "c",
            "items": [{"authToken": "t", "n": 1}], "secrets": {"A": "by-name"},
        });
        json(&mut body, "/api/sandbox");
        let clean = json!({
            "name": "a", "env": {"OPENAI_API_KEY": REDACTED, "MODE": "fast", "N": "1"}, "password": REDACTED,
            "nextPageToken": "c", "items": [{"authToken": REDACTED, "n": 1}], "secrets": {"A": "by-name"},
        });
        assert_eq!(body, clean);
        for (path, kept) in [("/api/secret", REDACTED), ("/api/secret/x", REDACTED), ("/api/secrets", "v")] {
            let mut body = json!({"name": "a", "value": "v"});
            json(&mut body, path);
            assert_eq!(body, json!({"name": "a", "value": kept}), "{path}");
        }
    }

    #[test]
    fn headers_lose_credentials() {
        let mut given = HeaderMap::new();
        for (name, value) in [
            ("authorization", "Bearer k"),
            ("cookie", "a=b"),
            ("x-daytona-preview-token", "t"),
            ("sec-websocket-protocol", "X-Daytona-Pty-Envs~e30, X-Daytona-SDK-Version~1"),
            ("accept", "*/*"),
        ] {
            given.insert(HeaderName::from_static(name), value.parse().expect("a value"));
        }
        let clean = json!({
            "authorization": "Bearer <redacted>", "cookie": REDACTED, "x-daytona-preview-token": REDACTED,
            "sec-websocket-protocol": "X-Daytona-Pty-Envs~<redacted>, X-Daytona-SDK-Version~1", "accept": "*/*",
        });
        assert_eq!(Value::Object(headers(&given)), clean);
    }

    proptest! {
        /// No key of this server's form is left, whatever is around it.
        #[test]
        fn no_key_passes(before in ".{0,20}", key in "[0-9a-f]{64}", after in ".{0,20}") {
            let given = format!("{before}dtn_{key}{after}");
            let clean = text(&given);
            prop_assert!(!clean.contains(&key), "{}", clean);
        }
    }
}
