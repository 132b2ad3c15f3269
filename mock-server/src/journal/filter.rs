//! Which entries somebody wants: a query string's parameters, all of which must fit. Knows only names and values.

use super::Kept;
use crate::strict::{check_operation, is_meant};

/// What must hold of an entry; empty lists allow everything.
#[derive(Clone, Debug, Default)]
pub struct Filter {
    /// Revisions above it.
    pub since: u64,
    /// `*` at the end stands for anything, as in faults.
    operations: Vec<String>,
    statuses: Vec<Statuses>,
    methods: Vec<String>,
    planes: Vec<String>,
    sandboxes: Vec<String>,
    keys: Vec<String>,
    sources: Vec<String>,
    /// Beginnings of paths.
    paths: Vec<String>,
    violations: Option<bool>,
    faults: Option<bool>,
    open: Option<bool>,
}

/// `200`, `4xx`, `400-499`, `none` (no answer).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Statuses {
    None,
    Range(u16, u16),
}

/// The parameters that [`Filter::set`] knows, for its refusals and its caller.
pub const NAMES: [&str; 12] = [
    "operation",
    "status",
    "method",
    "plane",
    "sandbox",
    "key",
    "sdk",
    "path",
    "violations",
    "faults",
    "open",
    "since",
];

const PLANES: [&str; 5] = ["api", "toolbox", "preview", "events", "server"];

impl Filter {
    /// Adds a parameter: values are separated by commas. The error says what would have been right.
    pub fn set(&mut self, name: &str, value: &str) -> Result<(), String> {
        let values = || value.split(',').map(str::trim).filter(|value| !value.is_empty()).map(str::to_owned);
        match name {
            "operation" => {
                // A misspelt one would be waited for in vain.
                values().try_for_each(|name| check_operation(&name))?;
                self.operations.extend(values());
            }
            "method" => self.methods.extend(values().map(|method| method.to_ascii_uppercase())),
            "plane" => {
                for value in values() {
                    if !PLANES.contains(&value.as_str()) {
                        return Err(format!("plane must be one of {}, not {value}", PLANES.join(", ")));
                    }
                    self.planes.push(value);
                }
            }
            "sandbox" => self.sandboxes.extend(values()),
            "key" => self.keys.extend(values()),
            "sdk" => self.sources.extend(values()),
            "path" => self.paths.extend(values()),
            "violations" => self.violations = Some(yes(name, value)?),
            "faults" => self.faults = Some(yes(name, value)?),
            "open" => self.open = Some(yes(name, value)?),
            "since" => self.since = value.parse().map_err(|_| format!("since must be a revision, not {value}"))?,
            "status" => {
                for value in values() {
                    let form = || format!("status must be such as 404, 4xx, 500-599, failed or none, not {value}");
                    self.statuses.push(statuses(&value).ok_or_else(form)?);
                }
            }
            _ => return Err(format!("there is no filter {name}, but {}", NAMES.join(", "))),
        }
        Ok(())
    }

    pub fn matches(&self, entry: &Kept) -> bool {
        let one = |wanted: &[String], is: Option<&str>| {
            wanted.is_empty() || is.is_some_and(|is| wanted.iter().any(|wanted| wanted.eq_ignore_ascii_case(is)))
        };
        let flag = |wanted: Option<bool>, is: bool| wanted.is_none_or(|wanted| wanted == is);
        let status = |wanted: &Statuses| match (wanted, entry.status) {
            (Statuses::None, is) => is.is_none(),
            (Statuses::Range(from, to), is) => is.is_some_and(|is| (*from..=*to).contains(&is)),
        };
        let operation = |is: &str| self.operations.iter().any(|wanted| is_meant(wanted, is));
        let source = entry.source.to_ascii_lowercase();
        entry.revision > self.since
            && (self.operations.is_empty() || entry.operation.is_some_and(operation))
            && one(&self.methods, Some(&entry.method))
            && one(&self.planes, Some(entry.plane.name()))
            && one(&self.sandboxes, entry.sandbox.as_deref())
            && one(&self.keys, entry.key_name.as_deref())
            && (self.statuses.is_empty() || self.statuses.iter().any(status))
            && (self.sources.is_empty() || self.sources.iter().any(|own| source.contains(&own.to_ascii_lowercase())))
            && (self.paths.is_empty() || self.paths.iter().any(|path| entry.path.starts_with(path.as_str())))
            && flag(self.violations, entry.violations)
            && flag(self.faults, entry.faults)
            && flag(self.open, entry.open)
    }
}

fn yes(name: &str, value: &str) -> Result<bool, String> {
    value.parse().map_err(|_| format!("{name} must be true or false, not {value}"))
}

fn statuses(text: &str) -> Option<Statuses> {
    match text {
        "none" => return Some(Statuses::None),
        "failed" => return Some(Statuses::Range(400, 599)),
        _ => {}
    }
    if let Some(class) = text.strip_suffix("xx") {
        let class: u16 = class.parse().ok().filter(|class| (1..=5).contains(class))?;
        return Some(Statuses::Range(class * 100, class * 100 + 99));
    }
    let (from, to) = text.split_once('-').unwrap_or((text, text));
    let number = |text: &str| text.parse().ok().filter(|number| (100..=599).contains(number));
    Some(Statuses::Range(number(from)?, number(to)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn statuses_are_parsed() {
        assert_eq!(statuses("404"), Some(Statuses::Range(404, 404)));
        assert_eq!(statuses("4xx"), Some(Statuses::Range(400, 499)));
        assert_eq!(statuses("500-504"), Some(Statuses::Range(500, 504)));
        assert_eq!(statuses("none"), Some(Statuses::None));
        for bad in ["", "xx", "9xx", "0", "40x", "a-b", "99999"] {
            assert_eq!(statuses(bad), None, "{bad}");
        }
    }

    #[test]
    fn unknown_parameters_are_named() {
        let mut filter = Filter::default();
        assert!(filter.set("operations", "a").expect_err("refused").contains("operation, status"));
        assert!(filter.set("open", "maybe").is_err());
        assert!(filter.set("operation", "getSandbx").expect_err("refused").contains("did you mean getSandbox?"));
        assert_eq!(filter.set("operation", "create*,getSandbox"), Ok(()));
        assert_eq!(filter.set("status", "4xx,none"), Ok(()));
    }
}
