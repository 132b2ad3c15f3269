//! What must not be seen by others.

use std::sync::LazyLock;

use regex::Regex;
use serde_json::Value;

use super::rules;
use crate::judge::{Call, Evidence, Seen, shim::Kind};

rules! { "secrets";
    /// Secrets are no environment variables of a sandbox: whatever runs in it reads them. The real ones stay with the proxy.
    /// (CreateSandbox.secrets)
    are_not_in_the_environment: Should, fix "daytona.secret.create({ name, value }), then create({ secrets: { OPENAI_API_KEY: 'name' } })";
    /// Secrets are no part of a command: process lists, sessions and histories keep it. (ExecuteCommand)
    are_not_in_commands: Should, fix "pass them as env of the command, or as secrets of the sandbox";
    /// A URL with a preview token in it opens the sandbox to whoever reads the log. (getSignedPortPreviewUrl, getPortPreviewUrl)
    are_not_in_logged_urls: Must, fix "log the port; send the token of getPreviewLink() in the header x-daytona-preview-token, and expire signed URLs";
    /// The API key isn't printed. (DAYTONA_API_KEY)
    are_not_printed: Must, fix "log no configuration and no request headers";
}

/// What the journal writes where a secret was.
const REDACTED: &str = "<redacted>";

/// Parts of names for which the journal hides the whole value, whatever it is.
const HIDING: [&str; 9] = ["KEY", "TOKEN", "SECRET", "PASS", "PWD", "CREDENTIAL", "AUTH", "PRIVATE", "COOKIE"];
/// Last words of names whose values are secrets.
const SECRETS: [&str; 14] = [
    "APIKEY",
    "AUTH",
    "COOKIE",
    "CREDENTIAL",
    "CREDENTIALS",
    "KEY",
    "PASS",
    "PASSPHRASE",
    "PASSWD",
    "PASSWORD",
    "PWD",
    "SECRET",
    "SECRETS",
    "TOKEN",
];
/// Words after which nothing but a secret is meant, whatever else follows (`API_KEY_PROD`, `DB_PASSWORD_2`).
const VARIANTS: [&str; 12] =
    ["PROD", "PRODUCTION", "DEV", "STAGING", "TEST", "LIVE", "SANDBOX", "OLD", "NEW", "VALUE", "BASE64", "B64"];
/// Words before the last one which say that it is no secret: the key of a table, the number of something, a switch.
const HARMLESS: [&str; 44] = [
    "ALLOW",
    "APPLICATION",
    "BOS",
    "CACHE",
    "CONTEXT",
    "CONTINUATION",
    "DISABLE",
    "ENABLE",
    "EOS",
    "FIRST",
    "FOREIGN",
    "GROUP",
    "HASH",
    "HAS",
    "IDEMPOTENCY",
    "INDEX",
    "IS",
    "LOOKUP",
    "MASK",
    "MAX",
    "MIN",
    "NEXT",
    "NO",
    "OBJECT",
    "PAD",
    "PAGE",
    "PARTITION",
    "PRIMARY",
    "PUBLIC",
    "RANGE",
    "REQUIRE",
    "ROUTING",
    "ROW",
    "SECOND",
    "SHARD",
    "SINGLE",
    "SKIP",
    "SORT",
    "STOP",
    "TRANSLATION",
    "UNIQUE",
    "UNK",
    "USE",
    "WITH",
];

/// What hides it is its look, or a name that says that it is a secret. What only looks like such a name (`PWD`, `SORT_KEY`,
/// `AUTH_PROVIDER`, `TOKENS_PER_MINUTE`) has a value that the journal hides, and nobody knows.
fn is_hidden_secret(name: &str, value: &str) -> bool {
    let name = name.to_ascii_uppercase();
    let by_name = value == REDACTED && HIDING.iter().any(|part| name.contains(part));
    if !by_name {
        return value.contains(REDACTED);
    }
    let mut words: Vec<&str> =
        name.split(|c: char| !c.is_ascii_alphanumeric()).filter(|word| !word.is_empty()).collect();
    while words.len() > 1
        && words.last().is_some_and(|last| VARIANTS.contains(last) || last.bytes().all(|byte| byte.is_ascii_digit()))
    {
        words.pop();
    }
    let Some((last, before)) = words.split_last() else { return false };
    // The shell's own variable is the directory it is in.
    let directory = *last == "PWD" && before.is_empty();
    SECRETS.contains(last) && !directory && !before.iter().any(|word| HARMLESS.contains(word))
}

fn are_not_in_the_environment(evidence: &Evidence) -> Vec<Seen> {
    let hidden = |environment: &Value| -> Vec<String> {
        let pairs = environment.as_object().into_iter().flatten();
        pairs
            .filter(|(name, value)| value.as_str().is_some_and(|value| is_hidden_secret(name, value)))
            .map(|(name, _)| name.clone())
            .collect()
    };
    let tell = |call: &Call| {
        let body = &call.request.body;
        let names = if call.is(&["createSandbox"]) { hidden(&body["env"]) } else { Vec::new() };
        (!names.is_empty()).then(|| {
            Seen::new(format!("a sandbox was created with {} in its environment", names.join(", ")), [call.id])
        })
    };
    evidence.calls.iter().filter_map(tell).collect()
}

fn are_not_in_commands(evidence: &Evidence) -> Vec<Seen> {
    let commands = evidence.calls.iter().filter(|call| call.is(&["ExecuteCommand", "SessionExecuteCommand"]));
    let bare =
        commands.filter(|call| call.request.body["command"].as_str().is_some_and(|text| text.contains(REDACTED)));
    bare.map(|call| {
        let command = call.request.body["command"].as_str().unwrap_or_default();
        let cut: String = command.chars().take(120).collect();
        Seen::new(format!("a command has a secret in it: {cut}"), [call.id])
    })
    .collect()
}

/// `{port}-{token}.host`, and the query parameter of previews. A UUID in the host's place is a sandbox's id and opens nothing.
static PREVIEW: LazyLock<Regex> = LazyLock::new(|| {
    let text = r"https?://(\d{1,5})-([a-z0-9_-]{8,})\.[^\s/]+|DAYTONA_SANDBOX_AUTH_KEY=[^\s&]+";
    Regex::new(text).expect("a regex")
});

/// A token beside its name, as answers and most programs print it.
static TOKEN: LazyLock<Regex> = LazyLock::new(|| {
    // 32 characters, of which one is no digit of a hash.
    Regex::new(r#"(?i)\btoken\W{1,5}([a-z0-9_-]{32})(?:[^a-z0-9_-]|$)"#).expect("a regex")
});

fn are_not_in_logged_urls(evidence: &Evidence) -> Vec<Seen> {
    let tokens = PREVIEW.captures_iter(&evidence.output).filter_map(|found| match found.get(2) {
        Some(name) if uuid::Uuid::try_parse(name.as_str()).is_ok() => None,
        Some(_) => Some(format!("the output has a signed URL of port {}", &found[1])),
        None => Some("the output has a preview URL with its token in the query".to_owned()),
    });
    let mut all: Vec<String> = tokens.collect();
    all.extend(signed_urls(evidence));
    all.extend(printed_token(evidence));
    all.sort_unstable();
    all.dedup();
    all.into_iter().map(|what| Seen::new(what, [])).collect()
}

/// Where `*.localhost` doesn't resolve a signed URL has a port of its own instead of a token, and whoever knows it comes in.
fn signed_urls(evidence: &Evidence) -> impl Iterator<Item = String> {
    let signed = evidence.calls.iter().filter(|call| call.is(&["getSignedPortPreviewUrl"]));
    let printed = signed.filter(|call| {
        let url = call.answered("url").filter(|url| !url.contains(REDACTED));
        // A longer number is another port.
        let ends = |rest: &str| !rest.starts_with(|c: char| c.is_ascii_digit());
        url.is_some_and(|url| evidence.output.split(url).skip(1).any(ends))
    });
    printed.map(|call| format!("the output has a signed URL of port {}", call.after("ports").unwrap_or_default()))
}

/// The listeners heard of the tokens that the SDK returned; of others it is known that there were some, and their form.
fn printed_token(evidence: &Evidence) -> Option<String> {
    let given = evidence.misuses.iter().filter(|heard| heard.kind == Kind::Token);
    let printed = |token: &str| token.len() >= 8 && evidence.output.contains(token);
    let links = ["getPortPreviewUrl", "getSignedPortPreviewUrl"];
    let known = given.filter_map(|heard| heard.argument.as_deref()).any(printed);
    let likely = || {
        let hash = |token: &str| token.chars().all(|c| c.is_ascii_hexdigit());
        evidence.calls.iter().any(|call| call.is(&links))
            && TOKEN.captures_iter(&evidence.output).any(|found| !hash(&found[1]))
    };
    (known || likely()).then(|| "the output has a preview's token".to_owned())
}

fn are_not_printed(evidence: &Evidence) -> Vec<Seen> {
    let printed = !evidence.api_key.is_empty() && evidence.output.contains(&evidence.api_key);
    if printed { vec![Seen::new("the program's output has the API key in it", [])] } else { Vec::new() }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::judge::rules::tests::{acts, run};

    fn said(text: &str) -> Evidence {
        Evidence { output: text.to_owned(), api_key: "dtn_k".to_owned(), ..Evidence::default() }
    }

    #[test]
    fn variables_are_no_secrets() {
        let with =
            |env| run([json!({"plane": "api", "operationId": "createSandbox", "request": {"body": {"env": env}}})]);
        let right = with(json!({"MODE": "fast", "PASSWORD_MIN_LENGTH": REDACTED, "TOKEN_LIMIT": REDACTED,
            "PUBLIC_KEY_PATH": REDACTED, "MAX_TOKENS": REDACTED, "AUTHOR": REDACTED, "KEYBOARD": REDACTED,
            "PWD": REDACTED, "OLDPWD": REDACTED, "AUTH_PROVIDER": REDACTED, "SORT_KEY": REDACTED, "PRIMARY_KEY": REDACTED,
            "CACHE_KEY": REDACTED, "TOKENS_PER_MINUTE": REDACTED, "SESSION_COOKIE_SECURE": REDACTED,
            "SECRET_MANAGER": REDACTED, "AUTH_DISABLED": REDACTED, "PASS_RATE": REDACTED, "REQUIRE_AUTH": REDACTED,
            "GOOGLE_APPLICATION_CREDENTIALS": REDACTED, "EOS_TOKEN": REDACTED}));
        for (name, value) in [
            ("OPENAI_API_KEY", REDACTED),
            ("github_token", REDACTED),
            ("DB_PASSWORD_2", REDACTED),
            ("STRIPE_KEY_PROD", REDACTED),
            ("API_KEY", REDACTED),
            ("MYSQL_PWD", REDACTED),
            ("JWT_SECRET", REDACTED),
            ("DATABASE_URL", "postgres://<redacted>@h/db"),
            // By its look.
            ("LIMIT", REDACTED),
        ] {
            acts(are_not_in_the_environment, &with(json!({name: value})), &right);
        }
    }

    #[test]
    fn commands_have_no_secrets() {
        let with = |command: &str| {
            run([
                json!({"plane": "toolbox", "operationId": "ExecuteCommand", "request": {"body": {"command": command}}}),
            ])
        };
        acts(are_not_in_commands, &with("TOKEN=ghp_<redacted> gh pr list"), &with("ls"));
    }

    #[test]
    fn tokens_of_previews_are_not_logged() {
        let right = said("http://3000-84cd3f3a-0000-4000-8000-000000000000.localhost:3986/ is up");
        acts(are_not_in_logged_urls, &said("up at http://3000-abcdefgh12345.localhost:3986/"), &right);
        acts(are_not_in_logged_urls, &said("curl http://h/?DAYTONA_SANDBOX_AUTH_KEY=x"), &right);
    }

    #[test]
    fn a_signed_url_may_be_a_port_and_a_token_a_word() {
        let after = |operation: &str, output: &str| {
            let answer = json!({"plane": "api", "operationId": operation, "status": 200, "path": "/api/sandbox/s/ports/3000/x",
                "response": {"body": {"url": "http://127.0.0.1:4107", "token": REDACTED}}});
            Evidence { output: output.to_owned(), ..run([answer]) }
        };
        let (signed, plain) = ("getSignedPortPreviewUrl", "getPortPreviewUrl");
        let right = after(plain, "up at http://127.0.0.1:4107/");
        let found = acts(are_not_in_logged_urls, &after(signed, "up at http://127.0.0.1:4107/"), &right);
        assert_eq!(found[0].what, "the output has a signed URL of port 3000");
        assert_eq!(are_not_in_logged_urls(&after(signed, "up at http://127.0.0.1:41075/")), []);
        let token = "o9iyxam0gdlv6-bu1lpkxnjllyk6fi22";
        let heard = format!(r#"{{"kind":"token","on":"Sandbox","name":"getPreviewLink","argument":"{token}"}}"#);
        let with =
            |output: String| Evidence { misuses: crate::judge::shim::parse(&heard), output, ..Evidence::default() };
        acts(are_not_in_logged_urls, &with(format!("link http://h {token}")), &with("link".to_owned()));
        let hash = after(plain, "token: 0123456789abcdef0123456789abcdef");
        acts(are_not_in_logged_urls, &after(plain, &format!(r#"{{"token":"{token}"}}"#)), &hash);
    }

    #[test]
    fn the_key_is_not_printed() {
        acts(are_not_printed, &said("{ apiKey: 'dtn_k' }"), &said("dtn_"));
    }
}
