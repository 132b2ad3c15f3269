//! No secret gets into a report.

use std::sync::Arc;

use parking_lot::RwLock;
use serde_json::Value;

const REDACTED: &str = "[redacted]";
/// Headers whose value is a credential.
const HEADERS: &[&str] = &["authorization", "x-daytona-preview-token", "cookie", "set-cookie", "x-amz-security-token"];
/// JSON fields whose value is a credential.
const FIELDS: &[&str] =
    &["token", "secret", "sessionToken", "accessKey", "password", "value", "apiKey", "sshCommand", "signingKey"];
/// Operations whose answer is a credential as a whole.
const ANSWERS: &[&str] = &["getSandboxSigningKey", "rotateSigningKey", "getSigningKey"];
/// Shorter strings are no credentials, and taking them out would make reports unreadable.
const SHORTEST: usize = 12;

/// The credentials seen so far: the run's own, and those in answers.
#[derive(Clone, Default)]
pub struct Secrets(Arc<RwLock<Vec<String>>>);

impl Secrets {
    /// From now on taken out of whatever is recorded.
    pub fn add(&self, secret: &str) {
        let known = |secrets: &Vec<String>| secrets.iter().any(|known| known == secret);
        if secret.len() >= SHORTEST && !known(&self.0.read()) {
            self.0.write().push(secret.to_owned());
        }
    }

    /// Learns the credentials of an answer to an operation.
    pub(super) fn learn_from(&self, operation: Option<&str>, body: &[u8], json: &Value) {
        self.learn(json);
        if let (true, Ok(text)) = (operation.is_some_and(|id| ANSWERS.contains(&id)), std::str::from_utf8(body)) {
            self.add(text.trim());
        }
    }

    fn learn(&self, value: &Value) {
        match value {
            Value::Array(items) => items.iter().for_each(|item| self.learn(item)),
            Value::Object(fields) => {
                for (name, value) in fields {
                    match value {
                        Value::String(secret) if FIELDS.contains(&name.as_str()) => self.add(secret),
                        other => self.learn(other),
                    }
                }
            }
            _ => {}
        }
    }

    /// The text without any credential that is known.
    pub fn text(&self, text: &str) -> String {
        let mut text = text.to_owned();
        for secret in self.0.read().iter() {
            if text.contains(secret.as_str()) {
                text = text.replace(secret.as_str(), REDACTED);
            }
        }
        text
    }

    /// A URL without its signature, which opens a file as a key does.
    pub(super) fn url(&self, url: &str) -> String {
        let url = self.text(url);
        let Some((before, signature)) = url.split_once("signature=") else { return url };
        let rest = signature.find('&').map_or("", |at| &signature[at..]);
        format!("{before}signature={REDACTED}{rest}")
    }

    pub(super) fn header(&self, name: &str, value: &str) -> String {
        if HEADERS.contains(&name.to_ascii_lowercase().as_str()) {
            let scheme = value.split_once(' ').map_or("", |(scheme, _)| scheme);
            return format!("{scheme} {REDACTED}").trim_start().to_owned();
        }
        self.text(value)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_was_learned_is_gone_everywhere() {
        let secrets = Secrets::default();
        secrets.add("dtn_0123456789abcdef");
        secrets.learn(&json!({"items": [{"token": "tokentokentoken"}], "name": "not-a-secret-at-all"}));
        let text = secrets.text("dtn_0123456789abcdef ?t=tokentokentoken not-a-secret-at-all");
        assert_eq!(text, "[redacted] ?t=[redacted] not-a-secret-at-all");
        assert_eq!(secrets.header("Authorization", "Bearer x"), "Bearer [redacted]");
        assert_eq!(secrets.header("X-Other", "x"), "x");
        assert_eq!(secrets.url("http://h/?a=1&signature=v1_abc&b=2"), "http://h/?a=1&signature=[redacted]&b=2");
        secrets.learn_from(Some("rotateSigningKey"), b"a-signing-key-as-text", &Value::Null);
        assert_eq!(secrets.text("a-signing-key-as-text"), "[redacted]");
    }
}
