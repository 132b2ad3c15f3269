//! YAML as its version 1.2 has it (core schema): `y`, `no` and `on` are texts, only `true` and `false` are flags.

use serde::de::DeserializeOwned;

/// Reads a document, or JSON, which is one. The error says where it is wrong.
pub fn read<T: DeserializeOwned>(text: &str) -> Result<T, String> {
    let options = serde_saphyr::options! { strict_booleans: true };
    serde_saphyr::from_str_with_options(text, options).map_err(|error| error.to_string())
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    #[test]
    fn only_true_and_false_are_flags() {
        let read: Value = read("{a: y, b: no, c: On, d: true, e: False, f: \"true\", g: 1}").expect("YAML");
        assert_eq!(read, json!({"a": "y", "b": "no", "c": "On", "d": true, "e": false, "f": "true", "g": 1}));
        assert!(super::read::<Value>("{a: [").is_err());
    }
}
