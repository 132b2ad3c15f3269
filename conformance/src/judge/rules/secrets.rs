//! What must not be seen by others.

use std::sync::LazyLock;

use regex::Regex;
use serde_json::Value;

use super::rules;
use crate::judge::{Call, Evidence, Seen};

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

fn are_not_in_the_environment(evidence: &Evidence) -> Vec<Seen> {
    let hidden = |environment: &Value| -> Vec<String> {
        let pairs = environment.as_object().into_iter().flatten();
        pairs
            .filter(|(_, value)| value.as_str().is_some_and(|value| value.contains(REDACTED)))
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

fn are_not_in_logged_urls(evidence: &Evidence) -> Vec<Seen> {
    let tokens = PREVIEW.captures_iter(&evidence.output).filter_map(|found| match found.get(2) {
        Some(name) if uuid::Uuid::try_parse(name.as_str()).is_ok() => None,
        Some(_) => Some(format!("the output has a signed URL of port {}", &found[1])),
        None => Some("the output has a preview URL with its token in the query".to_owned()),
    });
    let mut all: Vec<String> = tokens.collect();
    all.sort_unstable();
    all.dedup();
    all.into_iter().map(|what| Seen::new(what, [])).collect()
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
        acts(are_not_in_the_environment, &with(json!({"OPENAI_API_KEY": REDACTED})), &with(json!({"MODE": "fast"})));
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
    fn the_key_is_not_printed() {
        acts(are_not_printed, &said("{ apiKey: 'dtn_k' }"), &said("dtn_"));
    }
}
