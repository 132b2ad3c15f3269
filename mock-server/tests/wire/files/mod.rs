//! `/files/*`: every operation, its success and each documented failure.

mod bulk;
mod download;
mod find;
mod info;
mod lending;
mod mutate;
mod upload;

use reqwest::{Response, StatusCode};
use serde_json::Value;

use crate::support::Toolbox;

/// `/files/<operation>?…` with the parameters encoded.
fn url(operation: &str, params: &[(&str, &str)]) -> String {
    let params: Vec<String> = params
        .iter()
        .map(|(name, value)| {
            format!("{name}={}", percent_encoding::utf8_percent_encode(value, percent_encoding::NON_ALPHANUMERIC))
        })
        .collect();
    format!("/files{operation}?{}", params.join("&"))
}

impl Toolbox {
    /// An absolute path inside.
    fn path(&self, name: &str) -> String {
        self.home.join(name).to_str().expect("UTF-8").to_owned()
    }

    fn write(&self, name: &str, contents: impl AsRef<[u8]>) -> String {
        let path = self.dir.join(name);
        std::fs::create_dir_all(path.parent().expect("parent")).expect("directories");
        std::fs::write(&path, contents).expect("write");
        self.path(name)
    }

    async fn get_files(&self, operation: &str, params: &[(&str, &str)]) -> Response {
        self.get(&url(operation, params)).await
    }

    async fn post_files(&self, operation: &str, params: &[(&str, &str)]) -> Response {
        self.client.post(format!("{}{}", self.url, url(operation, params))).send().await.expect("answer")
    }

    async fn delete_files(&self, params: &[(&str, &str)]) -> Response {
        self.delete(&url("", params)).await
    }
}

/// Checks the envelope and gives its message.
async fn refused(response: Response, status: u16, code: &str) -> String {
    let path = operation_path(response.url().path());
    let actual = response.status();
    let text = response.text().await.expect("text");
    assert_eq!(actual, StatusCode::from_u16(status).expect("status"), "{text}");
    let body: Value = serde_json::from_str(&text).expect("an envelope");
    assert_eq!(body["statusCode"], status);
    assert_eq!(body["code"], code, "{text}");
    assert_eq!(body["source"], "DAYTONA_DAEMON");
    assert_eq!(body["path"], path);
    assert!(body["method"].is_string() && body["timestamp"].is_string());
    body["message"].as_str().expect("message").to_owned()
}

async fn json(response: Response) -> Value {
    assert_eq!(response.status(), 200);
    assert_eq!(response.headers()["content-type"], "application/json; charset=utf-8");
    response.json().await.expect("JSON")
}

/// A path as the agent knows it: without `/toolbox/{id}`.
fn operation_path(path: &str) -> String {
    path.splitn(4, '/').nth(3).map(|rest| format!("/{rest}")).expect("a toolbox's path")
}

/// In tier process a sandbox of root's server is root, whom no file mode stops.
fn skip_as_root(tb: &Toolbox, test: &str) -> bool {
    let root = !tb.dir.starts_with("/proc") && nix::unistd::geteuid().is_root();
    if root {
        println!("skipped: {test}: commands run as root");
    }
    root
}
