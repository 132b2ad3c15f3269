//! What somebody meant who wrote something that there is not.

use super::{body::text_fits, contract::Shape};

/// Other spellings of fields, of the SDKs of this or another language and of other APIs, which nothing else here finds.
const SPELLINGS: [(&str, &[&str]); 9] = [
    ("cmd", &["command"]),
    ("script", &["command", "code"]),
    ("columns", &["cols"]),
    ("envvars", &["env", "envs"]),
    ("environment", &["env", "envs"]),
    ("environmentvariables", &["env", "envs"]),
    ("workdir", &["cwd"]),
    ("workingdirectory", &["cwd"]),
    ("image", &["imageName", "snapshot"]),
];
/// A beginning or a word that is shorter says nothing.
const SAYS_SOMETHING: usize = 3;

/// Without what differs between languages' spellings.
fn plain(name: &str) -> String {
    name.to_ascii_lowercase().replace(['_', '-'], "")
}

/// The known name that was meant, if one is near enough.
pub fn nearest<'a>(name: &str, known: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    let given = plain(name);
    let all = known.map(|known| (strsim::damerau_levenshtein(&plain(known), &given), known));
    all.min_by_key(|(far, _)| *far).filter(|(far, known)| *far * 3 <= known.len().max(3)).map(|(_, known)| known)
}

/// The field or parameter that was meant: one that is `missing` rather than another.
pub fn field<'a>(name: &str, missing: &[&'a str], known: &[&'a str]) -> Option<&'a str> {
    let given = plain(name);
    let other = SPELLINGS.iter().find(|(other, _)| *other == given);
    let other = other.and_then(|(_, meant)| known.iter().copied().find(|known| meant.contains(known)));
    let same = || known.iter().copied().find(|known| plain(known) == given);
    let near = |names: &[&'a str]| nearest(name, names.iter().copied());
    let begins = |names: &[&'a str]| shortest(names, |known| begins(known, &given));
    let word = |names: &[&'a str]| shortest(names, |known| words(name).iter().any(|word| word == known));
    other
        .or_else(same)
        .or_else(|| near(missing))
        .or_else(|| begins(missing))
        .or_else(|| near(known))
        .or_else(|| begins(known))
        .or_else(|| word(missing))
        .or_else(|| word(known))
}

fn shortest<'a>(names: &[&'a str], fits: impl Fn(&str) -> bool) -> Option<&'a str> {
    names.iter().copied().filter(|known| fits(&plain(known))).min_by_key(|known| known.len())
}

/// Whether one begins with the other.
pub fn begins(one: &str, other: &str) -> bool {
    one.len().min(other.len()) >= SAYS_SOMETHING && (one.starts_with(other) || other.starts_with(one))
}

/// `sandboxName` and `sandbox_name` have `name`.
fn words(name: &str) -> Vec<String> {
    let mut all = vec![String::new()];
    let mut small = false;
    for c in name.chars() {
        if !c.is_ascii_alphanumeric() || c.is_ascii_uppercase() && small {
            all.push(String::new());
        }
        small = c.is_ascii_lowercase();
        if let Some(last) = all.last_mut().filter(|_| c.is_ascii_alphanumeric()) {
            last.push(c.to_ascii_lowercase());
        }
    }
    all.retain(|word| word.len() >= SAYS_SOMETHING);
    all
}

/// The value that a text was meant to be: `True`, `started ` or `"5"` are others' spellings of one.
pub fn value(shape: &Shape, text: &str) -> Option<String> {
    let plain = text.trim().trim_matches(['"', '\'']);
    match shape {
        Shape::Bool => nearest(plain, ["true", "false"].into_iter()).map(str::to_owned),
        Shape::Integer | Shape::Number => text_fits(shape, plain).then(|| plain.to_owned()),
        Shape::Words(words) => nearest(plain, words.iter().copied()).map(str::to_owned),
        Shape::List(of) | Shape::Nullable(of) => value(of, text),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn other_spellings_are_known() {
        let execute = ["command", "cwd", "envs", "timeout"];
        for (given, missing, known, meant) in [
            ("cmd", &["command"][..], &execute[..], Some("command")),
            ("comand", &["command"], &execute, Some("command")),
            ("workDir", &[], &execute, Some("cwd")),
            ("timeout_seconds", &[], &execute, Some("timeout")),
            ("envVars", &[], &["name", "env"], Some("env")),
            ("env_vars", &[], &["name", "env"], Some("env")),
            ("autoStop", &[], &["autoStopInterval", "autoArchiveInterval"], Some("autoStopInterval")),
            ("columns", &["cols", "rows"], &["cols", "rows"], Some("cols")),
            ("rowz", &[], &["cols", "rows"], Some("rows")),
            ("dockerfile", &["dockerfileContent"], &["dockerfileContent", "contextHashes"], Some("dockerfileContent")),
            ("sandboxName", &[], &["name", "env"], Some("name")),
            ("image", &["name"], &["name", "imageName"], Some("imageName")),
            ("zebra", &["command"], &execute, None),
        ] {
            assert_eq!(field(given, missing, known), meant, "{given}");
        }
    }

    proptest! {
        #[test]
        fn any_name_has_a_hint_or_none(name in ".{0,20}", known in "[a-zA-Z]{0,12}") {
            let all = [known.as_str()];
            prop_assert!(field(&name, &all, &all).is_none_or(|meant| meant == known));
        }
    }
}
