//! Removes what runs left behind, and nothing else.

use std::time::Duration;

use serde_json::Value;

use crate::{
    client::Client,
    ledger::{RUN_LABEL, SUITE_LABEL},
    stop::Result,
};

/// Busy sandboxes are asked again for this long.
const PATIENCE: Duration = Duration::from_secs(30);

/// Which runs' leftovers.
#[derive(Clone, Debug)]
pub enum Which {
    Run(String),
    OlderThan(chrono::DateTime<chrono::Utc>),
}

/// Removes one thing by its path; gone already is as good.
pub(crate) async fn remove(client: &Client, path: &str) -> Result<(), String> {
    let deadline = tokio::time::Instant::now() + PATIENCE;
    loop {
        let answer = client.delete(path).unjudged().send().await.map_err(|stop| stop.to_string())?;
        match answer.status {
            200..300 | 404 => return Ok(()),
            // A change of state is under way.
            409 if answer["message"].as_str().is_some_and(|text| text.contains("state change in progress")) => {
                // It may be our own removal.
                let now = client.get(path).unjudged().send().await.map_err(|stop| stop.to_string())?;
                if now.status == 404 || matches!(now["state"].as_str(), Some("destroying" | "destroyed")) {
                    return Ok(());
                }
            }
            409 => {}
            // Its forks go at the same time.
            400 if answer["message"].as_str().is_some_and(|text| text.contains("active fork children")) => {}
            // Deleted volumes stay readable.
            400 if path.starts_with("/volumes/") => {
                let now = client.get(path).unjudged().send().await.map_err(|stop| stop.to_string())?;
                if matches!(now["state"].as_str(), Some("pending_delete" | "deleting" | "deleted")) {
                    return Ok(());
                }
            }
            _ => return Err(answer.summary()),
        }
        if tokio::time::Instant::now() >= deadline {
            return Err(answer.summary());
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

/// Removes the sandboxes that carry the suite's labels and are meant; returns what was removed and what resisted.
pub async fn sandboxes(client: &Client, which: &Which) -> Result<(Vec<String>, Vec<String>)> {
    let (mut removed, mut left) = (Vec::new(), Vec::new());
    let filter = match which {
        Which::Run(run) => serde_json::json!({ RUN_LABEL: run }),
        Which::OlderThan(_) => serde_json::json!({ SUITE_LABEL: "true" }),
    };
    let mut cursor: Option<String> = None;
    loop {
        let mut request = client.get("/sandbox").query("labels", &filter).query("limit", 100);
        if let Some(cursor) = &cursor {
            request = request.query("cursor", cursor);
        }
        let page = request.send().await?.ok()?;
        for sandbox in page.array("/items")?.iter().filter(|sandbox| is_meant(sandbox, which)) {
            let id = sandbox["id"].as_str().unwrap_or_default();
            match remove(client, &format!("/sandbox/{id}")).await {
                Ok(()) => removed.push(id.to_owned()),
                Err(why) => left.push(format!("{id}: {why}")),
            }
        }
        cursor = page["nextCursor"].as_str().map(str::to_owned);
        if cursor.is_none() {
            return Ok((removed, left));
        }
    }
}

/// Looked at again here, because a server may ignore a filter: nothing without the label is ever touched.
fn is_meant(sandbox: &Value, which: &Which) -> bool {
    let labels = &sandbox["labels"];
    let is_live = !matches!(sandbox["state"].as_str(), Some("destroying" | "destroyed"));
    is_live
        && labels[SUITE_LABEL] == "true"
        && sandbox["id"].as_str().is_some_and(|id| !id.is_empty())
        && match which {
            Which::Run(run) => labels[RUN_LABEL] == run.as_str(),
            Which::OlderThan(limit) => {
                let created =
                    sandbox["createdAt"].as_str().and_then(|at| at.parse::<chrono::DateTime<chrono::Utc>>().ok());
                labels[RUN_LABEL].is_string() && created.is_some_and(|created| created < *limit)
            }
        }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn nothing_without_the_label_is_meant() {
        let run = Which::Run("r1".to_owned());
        let old = Which::OlderThan("2026-01-02T00:00:00Z".parse().unwrap());
        let sandbox = |labels: Value| json!({"id": "x", "labels": labels, "createdAt": "2026-01-01T00:00:00.000Z"});
        let ours = sandbox(json!({"conformance": "true", "conformance-run": "r1"}));
        assert!(is_meant(&ours, &run) && is_meant(&ours, &old));
        for labels in [json!({}), json!(null), json!({"conformance": "true"}), json!({"conformance-run": "r1"})] {
            assert!(!is_meant(&sandbox(labels.clone()), &run), "{labels}");
            assert!(!is_meant(&sandbox(labels.clone()), &old), "{labels}");
        }
        let other = sandbox(json!({"conformance": "true", "conformance-run": "r2"}));
        assert!(!is_meant(&other, &run) && is_meant(&other, &old));
    }
}
