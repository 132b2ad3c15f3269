//! What answers carry beyond the contract: never a verdict. Newer servers say more, and so they should; but clients that are
//! generated from the contract don't see it, and strict ones refuse it. A misspelt optional field shows up here, too.

use std::collections::BTreeSet;

use serde_json::Value;

use super::{Kind, Plane, Shape};

/// More of one answer than this says nothing new.
const MAX_FIELDS: usize = 60;

/// Fields of `value` that `shape` doesn't declare, for example `items[].kvm`; the keys of a map are `*`. What such a field holds
/// is not looked into.
pub fn undeclared(plane: Plane, shape: &Shape, value: &Value) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    walk(plane, "", shape, value, &mut found);
    found
}

fn walk(plane: Plane, at: &str, shape: &Shape, value: &Value, found: &mut BTreeSet<String>) {
    match (&shape.kind, value) {
        (Kind::Array(item), Value::Array(items)) => {
            items.iter().for_each(|value| walk(plane, &format!("{at}[]"), item, value, found));
        }
        (Kind::Map(item), Value::Object(entries)) => {
            entries.values().for_each(|value| walk(plane, &below(at, "*"), item, value, found));
        }
        (Kind::Object(fields), Value::Object(entries)) => {
            for (name, value) in entries {
                let at = below(at, name);
                match fields.iter().find(|field| field.name == name) {
                    Some(field) => walk(plane, &at, &field.shape, value, found),
                    None if found.len() < MAX_FIELDS => _ = found.insert(at),
                    None => {}
                }
            }
        }
        (Kind::Named(name), _) => {
            if let Some(named) = plane.contract().types.get(name) {
                walk(plane, at, named, value, found);
            }
        }
        _ => {}
    }
}

fn below(at: &str, name: &str) -> String {
    if at.is_empty() { name.to_owned() } else { format!("{at}.{name}") }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::contract::parse;

    #[test]
    fn fields_are_named_once_wherever_they_are() {
        let contract = parse::parse(Plane::Api, "type T = { a: [{ b?: string }], m: <{ n: bool }>, any: any }");
        let of = |value| {
            let found = undeclared(Plane::Api, &contract.types["T"], &value);
            found.into_iter().collect::<Vec<_>>()
        };
        assert_eq!(of(json!({"a": [{"b": "x"}, {}], "m": {"k": {"n": true}}, "any": {"x": 1}})), Vec::<String>::new());
        let more = json!({"a": [{"c": 1}, {"c": 2, "d": {"e": 1}}], "m": {"k": {"o": 1}, "l": {"o": 1}}, "z": null});
        assert_eq!(of(more), ["a[].c", "a[].d", "m.*.o", "z"]);
        assert_eq!(of(json!("no object")), Vec::<String>::new());
    }

    #[test]
    fn a_flood_of_fields_is_cut() {
        let contract = parse::parse(Plane::Api, "type T = { a: string }");
        let flood: serde_json::Map<String, Value> = (0..1000).map(|n| (format!("x{n}"), Value::Null)).collect();
        assert_eq!(undeclared(Plane::Api, &contract.types["T"], &Value::Object(flood)).len(), MAX_FIELDS);
    }
}
