//! What servers answer, as the toolbox answers it.

use serde_json::{Map, Value, json};

/// Symbols that one answer holds at most; trees are cut at [`MAX_DEPTH`].
const MAX_DEPTH: usize = 64;

/// `[]LspSymbol` of the contract, from `SymbolInformation[]`, `DocumentSymbol[]` or null.
pub fn symbols(answer: &Value, uri: &str) -> Value {
    let mut found = Vec::new();
    flatten(answer, uri, 0, &mut found);
    Value::Array(found)
}

fn flatten(symbols: &Value, uri: &str, depth: usize, found: &mut Vec<Value>) {
    for symbol in symbols.as_array().into_iter().flatten() {
        let location = match symbol.get("location") {
            Some(location) => json!({"range": range(&location["range"]), "uri": text(&location["uri"])}),
            None => json!({"range": range(&symbol["range"]), "uri": uri}),
        };
        found.push(json!({"kind": number(&symbol["kind"]), "location": location, "name": text(&symbol["name"])}));
        if depth < MAX_DEPTH {
            flatten(&symbol["children"], uri, depth + 1, found);
        }
    }
}

fn range(range: &Value) -> Value {
    let position =
        |position: &Value| json!({"character": number(&position["character"]), "line": number(&position["line"])});
    json!({"end": position(&range["end"]), "start": position(&range["start"])})
}

/// `CompletionList` of the contract, from `CompletionList`, `CompletionItem[]` or null.
pub fn completions(answer: &Value) -> Value {
    let items = answer.as_array().or_else(|| answer["items"].as_array());
    let items: Vec<Value> = items.into_iter().flatten().map(completion).collect();
    json!({"isIncomplete": answer["isIncomplete"].as_bool().unwrap_or(false), "items": items})
}

fn completion(item: &Value) -> Value {
    let mut kept = Map::from_iter([("label".to_owned(), text(&item["label"]))]);
    if let Some(kind) = item["kind"].as_i64() {
        kept.insert("kind".into(), kind.into());
    }
    for name in ["detail", "sortText", "filterText", "insertText"] {
        if let Some(value) = item[name].as_str() {
            kept.insert(name.into(), value.into());
        }
    }
    if let Some(documentation) = documentation(&item["documentation"]) {
        kept.insert("documentation".into(), documentation);
    }
    Value::Object(kept)
}

/// `MarkupContent`, of text too: the contract has an object here, and Python SDKs refuse anything else.
fn documentation(value: &Value) -> Option<Value> {
    match value {
        Value::String(text) => Some(json!({"kind": "plaintext", "value": text})),
        Value::Object(_) => Some(value.clone()),
        _ => None,
    }
}

fn number(value: &Value) -> Value {
    value.as_i64().unwrap_or_default().into()
}

fn text(value: &Value) -> Value {
    value.as_str().unwrap_or_default().into()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn both_kinds_of_symbols() {
        let range = json!({"start": {"line": 1, "character": 2}, "end": {"line": 3, "character": 4}});
        let flat =
            json!([{"name": "f", "kind": 12, "containerName": "x", "location": {"uri": "file:///a", "range": range}}]);
        let location = |uri: &str| json!({"range": {"end": {"character": 4, "line": 3}, "start": {"character": 2, "line": 1}}, "uri": uri});
        assert_eq!(symbols(&flat, "u"), json!([{"kind": 12, "location": location("file:///a"), "name": "f"}]));
        let tree = json!([{"name": "C", "kind": 5, "range": range, "selectionRange": range, "children": [
            {"name": "m", "kind": 6, "range": range}]}]);
        let expected = json!([{"kind": 5, "location": location("u"), "name": "C"}, {"kind": 6, "location": location("u"), "name": "m"}]);
        assert_eq!(symbols(&tree, "u"), expected);
        assert_eq!(symbols(&Value::Null, "u"), json!([]));
    }

    #[test]
    fn both_kinds_of_completions() {
        let item = json!({"label": "x", "kind": 6, "detail": null, "insertText": "x()", "data": {"big": 1}, "documentation": {"kind": "markdown", "value": "d"}});
        let kept =
            json!({"label": "x", "kind": 6, "insertText": "x()", "documentation": {"kind": "markdown", "value": "d"}});
        assert_eq!(completions(&json!([item])), json!({"isIncomplete": false, "items": [kept]}));
        assert_eq!(
            completions(&json!({"isIncomplete": true, "items": [item]})),
            json!({"isIncomplete": true, "items": [kept]})
        );
        let told =
            completions(&json!([{"label": "x", "documentation": "as text"}, {"label": "y", "documentation": 1}]));
        let text = json!({"kind": "plaintext", "value": "as text"});
        assert_eq!(told["items"], json!([{"label": "x", "documentation": text}, {"label": "y"}]));
        assert_eq!(completions(&Value::Null), json!({"isIncomplete": false, "items": []}));
    }

    fn any_json() -> impl Strategy<Value = Value> {
        let leaf =
            prop_oneof![Just(Value::Null), any::<i64>().prop_map(Value::from), "\\PC{0,5}".prop_map(Value::from)];
        let key = prop_oneof![
            "[a-z]{1,3}",
            Just("items".to_owned()),
            Just("documentation".to_owned()),
            Just("location".to_owned()),
            Just("children".to_owned())
        ];
        leaf.prop_recursive(4, 32, 4, move |inner| {
            let list = prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from);
            prop_oneof![
                list,
                prop::collection::btree_map(key.clone(), inner, 0..4)
                    .prop_map(|map| Value::Object(map.into_iter().collect()))
            ]
        })
    }

    proptest! {
        #[test]
        fn any_answer_keeps_the_shape(answer in any_json()) {
            for symbol in symbols(&answer, "u").as_array().expect("a list") {
                prop_assert!(symbol["kind"].is_i64() && symbol["location"]["range"]["end"]["line"].is_i64());
            }
            for item in completions(&answer)["items"].as_array().expect("a list") {
                prop_assert!(item["label"].is_string());
                prop_assert!(item.get("documentation").is_none_or(Value::is_object));
            }
        }
    }
}
