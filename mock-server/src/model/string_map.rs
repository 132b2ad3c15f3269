//! `env` and `labels`: text by text, in the order in which answers carry them.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

/// Sorted as observed: shorter names first, then byte order. Values are always text on the wire: the contract says so
/// and the Python and Go models refuse anything else, so other JSON that a client stores is kept as its text.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "Map<String, Value>", into = "Map<String, Value>")]
pub struct StringMap(Vec<(String, String)>);

impl StringMap {
    pub fn get(&self, name: &str) -> Option<&String> {
        let found = self.0.binary_search_by(|(n, _)| order(n, name));
        found.ok().map(|i| &self.0[i].1)
    }

    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0.iter().map(|(n, v)| (n.as_str(), v.as_str()))
    }

    pub fn remove(&mut self, name: &str) {
        self.0.retain(|(n, _)| n != name);
    }

    /// Whether every wanted pair is here (`labels` filters); a wanted value that isn't text never is (observed).
    pub fn contains(&self, wanted: &Map<String, Value>) -> bool {
        wanted.iter().all(|(name, value)| self.get(name).is_some_and(|v| value.as_str() == Some(v)))
    }
}

fn order(a: &str, b: &str) -> std::cmp::Ordering {
    (a.len(), a).cmp(&(b.len(), b))
}

impl From<Map<String, Value>> for StringMap {
    fn from(map: Map<String, Value>) -> StringMap {
        let text = |value| match value {
            Value::String(text) => text,
            other => other.to_string(),
        };
        let mut pairs: Vec<_> = map.into_iter().map(|(name, value)| (name, text(value))).collect();
        pairs.sort_by(|a, b| order(&a.0, &b.0));
        StringMap(pairs)
    }
}

impl From<StringMap> for Map<String, Value> {
    fn from(map: StringMap) -> Self {
        map.0.into_iter().map(|(name, value)| (name, Value::String(value))).collect()
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn map(value: Value) -> StringMap {
        serde_json::from_value(value).expect("a map")
    }

    #[test]
    fn order_and_text_values() {
        let m = map(json!({"bb": "2", "a": 1, "c": true, "ab": "x"}));
        assert_eq!(serde_json::to_string(&m).expect("JSON"), r#"{"a":"1","c":"true","ab":"x","bb":"2"}"#);
        assert_eq!(m.get("ab").map(String::as_str), Some("x"));
        assert_eq!(m.get("zz"), None);
    }

    #[test]
    fn containment() {
        let m = map(json!({"grp": "x", "n": "1"}));
        let contains = |wanted: Value| m.contains(wanted.as_object().expect("object"));
        assert!(contains(json!({})) && contains(json!({"grp": "x"})) && contains(json!({"n": "1", "grp": "x"})));
        assert!(!contains(json!({"n": 1})) && !contains(json!({"grp": "y"})) && !contains(json!({"other": "x"})));
    }
}
