//! What every test needs: a toolbox of its own to talk to.

use std::path::PathBuf;

use daytona_mock::toolbox::{AgentConfig, Ctx, routes};

/// A sandbox's toolbox, reached over HTTP.
pub struct Toolbox {
    /// Base URL without a trailing slash.
    pub url: String,
    pub client: reqwest::Client,
    /// An absolute directory inside the sandbox that this test may fill.
    pub dir: PathBuf,
    _temp: tempfile::TempDir,
}

/// A fresh toolbox. (For now served in this process; goes through the whole server once it is assembled.)
pub async fn toolbox() -> Toolbox {
    let temp = tempfile::tempdir().expect("temp dir");
    let dir = temp.path().to_path_buf();
    let env = [("PATH", "/usr/local/bin:/usr/bin:/bin"), ("HOME", dir.to_str().expect("utf-8"))];
    let config = AgentConfig {
        sandbox_id: uuid::Uuid::new_v4().to_string(),
        env: env.into_iter().map(|(k, v)| (k.to_owned(), v.to_owned())).collect(),
        home: dir.clone(),
        work_dir: dir.clone(),
        fake_root: None,
        version: "0.205.1".into(),
    };
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("bind");
    let url = format!("http://{}", listener.local_addr().expect("address"));
    tokio::spawn(async move { axum::serve(listener, routes(Ctx::new(config))).await });
    Toolbox { url, client: reqwest::Client::new(), dir, _temp: temp }
}

impl Toolbox {
    pub async fn get(&self, path: &str) -> reqwest::Response {
        self.client.get(format!("{}{path}", self.url)).send().await.expect("answer")
    }

    pub async fn post(&self, path: &str, body: serde_json::Value) -> reqwest::Response {
        self.client.post(format!("{}{path}", self.url)).json(&body).send().await.expect("answer")
    }

    pub async fn delete(&self, path: &str) -> reqwest::Response {
        self.client.delete(format!("{}{path}", self.url)).send().await.expect("answer")
    }
}

impl Toolbox {
    /// Runs a command, which must exit with 0; its output.
    pub async fn run(&self, command: &str) -> String {
        let res = self.post("/process/execute", serde_json::json!({"command": command})).await;
        assert_eq!(res.status(), 200);
        let body: serde_json::Value = res.json().await.expect("JSON");
        assert_eq!(body["exitCode"], 0, "{body}");
        body["result"].as_str().expect("text").to_owned()
    }
}
