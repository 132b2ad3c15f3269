//! Entries as an HTTP archive (HAR 1.2), which browsers' developer tools open. What only the journal knows is in fields
//! that start with `_`, as the format wants it.

use serde_json::{Map, Value, json};

use super::Kept;

/// The archive of these entries.
pub fn archive(entries: &[std::sync::Arc<Kept>]) -> Value {
    let entries: Vec<Value> =
        entries.iter().filter_map(|kept| serde_json::from_str(&kept.json).ok()).map(entry).collect();
    json!({"log": {
        "version": "1.2",
        "creator": {"name": "daytona-mock", "version": env!("CARGO_PKG_VERSION")},
        "entries": entries,
    }})
}

fn entry(entry: Value) -> Value {
    let text = |name: &str| entry[name].as_str().unwrap_or_default();
    let time = |name: &str| entry["timing"][name].as_f64().unwrap_or(0.0);
    let query = entry["query"].as_str().map_or_else(String::new, |query| format!("?{query}"));
    let pairs = form_urlencoded::parse(text("query").as_bytes());
    let pairs: Vec<Value> = pairs.map(|(name, value)| json!({"name": name, "value": value})).collect();
    let status = entry["status"].as_u64().unwrap_or(0);
    let reason = u16::try_from(status).ok().and_then(|status| http::StatusCode::from_u16(status).ok());
    let scheme = if entry["secure"] == true { "https" } else { "http" };
    let (request, response) = (&entry["request"], &entry["response"]);
    let mut sent = json!({
        "method": text("method"),
        "url": format!("{scheme}://{}{}{query}", text("host"), text("path")),
        "httpVersion": "HTTP/1.1",
        "cookies": [],
        "headers": headers(request),
        "queryString": pairs,
        "headersSize": -1,
        "bodySize": request["bytes"],
    });
    if let Some(body) = body(request) {
        sent["postData"] = json!({"mimeType": kind(request), "text": body});
    }
    // Where no answer came, all of it was waiting.
    let first = entry["timing"]["firstByteMs"].as_f64().unwrap_or_else(|| time("endMs"));
    json!({
        "startedDateTime": text("at"),
        "time": time("endMs").max(first),
        "request": sent,
        "response": {
            "status": status,
            "statusText": reason.and_then(|status| status.canonical_reason()).unwrap_or_default(),
            "httpVersion": "HTTP/1.1",
            "cookies": [],
            "headers": headers(response),
            "content": content(response),
            "redirectURL": response["headers"]["location"].as_str().unwrap_or_default(),
            "headersSize": -1,
            "bodySize": response["bytes"].as_i64().unwrap_or(-1),
        },
        "cache": {},
        "timings": {"send": 0, "wait": first, "receive": (time("endMs") - first).max(0.0)},
        "_operationId": entry["operationId"],
        "_websocket": entry["websocket"],
        "_violations": entry["violations"],
        "_faults": entry["faults"],
    })
}

fn headers(message: &Value) -> Vec<Value> {
    let none = Map::new();
    let all = message["headers"].as_object().unwrap_or(&none);
    all.iter().map(|(name, value)| json!({"name": name, "value": value})).collect()
}

fn kind(message: &Value) -> &str {
    message["headers"]["content-type"].as_str().unwrap_or_default()
}

fn content(message: &Value) -> Value {
    let mut content = json!({"size": message["bytes"].as_u64().unwrap_or(0), "mimeType": kind(message)});
    if let Some(body) = body(message) {
        content["text"] = Value::String(body);
    }
    content
}

fn body(message: &Value) -> Option<String> {
    let text = message["bodyText"].as_str().map(str::to_owned);
    text.or_else(|| message.get("body").map(Value::to_string))
}
