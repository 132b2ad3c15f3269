//! What the shims saw: calls that never became a request, because the SDK has no such member or got no argument.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::LazyLock,
};

use regex::Regex;

use super::{deviations::is_an_sdks, rules};
use crate::judge::{
    Evidence, Seen,
    shim::{Kind, Misuse},
};

rules! { "sdk";
    /// A program uses members that the SDK has; others are `undefined` in JavaScript and raise AttributeError in Python, and
    /// whoever catches that goes on without what the call was for. (the SDKs' declarations)
    has_the_member: Must, fix "compile against the SDK's types, without `as any`, and let the error reach the caller";
    /// Arguments that a method needs are given. (the SDKs' declarations)
    gets_its_arguments: Must, fix "compile against the SDK's types, without `as any`, and let the error reach the caller";
    /// Arguments have values that the SDK takes (CodeLanguage: python, typescript, javascript), and parameters fields that it has:
    /// Python drops others in silence. (CreateSandboxFromSnapshotParams)
    gets_valid_arguments: Must, fix "map what you offer to what the SDK has, and refuse the rest where it is chosen";
}

/// What belongs to an image, not to a snapshot.
pub const RESOURCES: [&str; 5] = ["resources", "cpu", "memory", "disk", "gpu"];

pub fn of(evidence: &Evidence, kind: Kind, what: impl Fn(&Misuse) -> String) -> Vec<Seen> {
    told(evidence, |misuse| misuse.kind == kind, what)
}

/// Each place once.
fn told(evidence: &Evidence, wanted: impl Fn(&Misuse) -> bool, what: impl Fn(&Misuse) -> String) -> Vec<Seen> {
    let mut all: Vec<Seen> = Vec::new();
    for misuse in evidence.misuses.iter().filter(|misuse| wanted(misuse)) {
        let at = misuse.at.as_deref().map(|at| format!(", at {at}")).unwrap_or_default();
        let mut seen = Seen::new(format!("{}{at}", what(misuse)), []);
        seen.fix = misuse.instead.clone();
        if !all.contains(&seen) {
            all.push(seen);
        }
    }
    all
}

/// Fields with such names that a model doesn't have.
pub fn dropped(evidence: &Evidence, named: impl Fn(&str) -> bool) -> Vec<Seen> {
    let wanted = |misuse: &Misuse| misuse.kind == Kind::Dropped && named(&misuse.name);
    told(evidence, wanted, |misuse| format!("{} has no `{}`: it was dropped", misuse.on, misuse.name))
}

fn has_the_member(evidence: &Evidence) -> Vec<Seen> {
    let mut all = of(evidence, Kind::Member, |misuse| format!("{} has no `{}`", misuse.on, misuse.name));
    all.extend(printed(evidence));
    all
}

/// What JavaScript and Python say of a member that isn't there, with what the program calls the thing, or the class. For programs
/// in which nobody listens: bundled ones, and others that load the SDK in a way of their own.
static SAID: LazyLock<Regex> = LazyLock::new(|| {
    let text = r"\b((?:[A-Za-z_$][\w$]*\.)+)([A-Za-z_$][\w$]*) is not a function|'(?:Async)?(PtyHandle|Sandbox|Process|FileSystem|Daytona|Git)' object has no attribute '(\w+)'";
    Regex::new(text).expect("a regex")
});

/// The names that nobody has, by class; see `judge/shim/wrong.json`.
static WRONG: LazyLock<BTreeMap<String, BTreeMap<String, Vec<String>>>> =
    LazyLock::new(|| serde_json::from_str(include_str!("../shim/wrong.json")).expect("a table of names"));

/// The class of something that a program calls so; only names that leave no doubt.
fn class(receiver: &str) -> Option<&'static str> {
    let mut parts = receiver.trim_end_matches('.').rsplit('.').map(str::to_ascii_lowercase);
    let (last, before) = (parts.next()?, parts.next().unwrap_or_default());
    let in_sandbox = before.ends_with("sandbox");
    match &*last {
        "process" if in_sandbox => Some("Process"),
        "fs" if in_sandbox => Some("FileSystem"),
        "git" if in_sandbox => Some("Git"),
        name if name.ends_with("sandbox") => Some("Sandbox"),
        name if name.ends_with("pty") || name.ends_with("ptyhandle") => Some("PtyHandle"),
        "daytona" | "daytonaclient" => Some("Daytona"),
        _ => None,
    }
}

fn printed(evidence: &Evidence) -> Vec<Seen> {
    // What a program says that uses no SDK is about something else.
    if !evidence.calls.iter().any(is_an_sdks) {
        return Vec::new();
    }
    let heard = |name: &str| evidence.misuses.iter().any(|misuse| misuse.kind == Kind::Member && misuse.name == name);
    let said = SAID.captures_iter(&evidence.output).filter_map(|found| {
        let part = |number| found.get(number).map(|part: regex::Match| part.as_str());
        let (class, name, language) = match (part(1), part(2)) {
            (Some(receiver), Some(name)) => (class(receiver)?, name, 0),
            _ => (part(3)?, part(4)?, 1),
        };
        let instead = WRONG.get(class)?.get(name)?.get(language).cloned();
        (!heard(name)).then(|| (format!("{class} has no `{name}`, as the output says"), instead))
    });
    let said: BTreeSet<(String, Option<String>)> = said.collect();
    said.into_iter().map(|(what, fix)| Seen { fix, ..Seen::new(what, []) }).collect()
}

fn gets_its_arguments(evidence: &Evidence) -> Vec<Seen> {
    of(evidence, Kind::Argument, |misuse| {
        format!(
            "{}.{}() was called without {}",
            misuse.on,
            misuse.name,
            misuse.argument.as_deref().unwrap_or("arguments")
        )
    })
}

fn gets_valid_arguments(evidence: &Evidence) -> Vec<Seen> {
    let mut all = of(evidence, Kind::Value, |misuse| {
        let given = misuse.argument.as_deref().unwrap_or("a wrong value");
        format!("{}.{}() was called with {given}", misuse.on, misuse.name)
    });
    all.extend(dropped(evidence, |name| !RESOURCES.contains(&name)));
    all
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::judge::rules::tests::{acts, run};

    fn saw(line: &str) -> Evidence {
        Evidence { misuses: crate::judge::shim::parse(line), ..Evidence::default() }
    }

    const MEMBER: &str =
        r#"{"kind":"member","on":"PtyHandle","name":"write","instead":"sendInput(data)","at":"a.mjs:3:5"}"#;
    const ARGUMENT: &str = r#"{"kind":"argument","on":"Process","name":"createPty","argument":"options"}"#;
    const VALUE: &str = r#"{"kind":"value","on":"Daytona","name":"create","argument":"language: 'go'"}"#;

    #[test]
    fn members_are_named_with_the_right_one() {
        let found = acts(has_the_member, &saw(MEMBER), &saw(ARGUMENT));
        assert_eq!(found[0].what, "PtyHandle has no `write`, at a.mjs:3:5");
        assert_eq!(found[0].fix.as_deref(), Some("sendInput(data)"));
    }

    #[test]
    fn members_are_found_in_the_output_where_nobody_listens() {
        let with = |source: Option<&str>, output: &str| {
            let call = json!({"plane": "api", "operationId": "createSandbox", "client": {"source": source}});
            Evidence { output: output.to_owned(), ..run([call]) }
        };
        let said = |output: &str| with(Some("typescript-sdk"), output);
        let silent = said(
            "TypeError: socket.write is not a function\nfs.readFile is not a function\nprocess.exec is not a function\n\
            pty.sendInput is not a function\n'Box' object has no attribute 'run'",
        );
        let found = acts(has_the_member, &said("failed: TypeError: this.pty.write is not a function"), &silent);
        assert_eq!(found[0].what, "PtyHandle has no `write`, as the output says");
        assert_eq!(found[0].fix.as_deref(), Some("sendInput(data)"));
        for output in ["sandbox.process.exec is not a function", "'AsyncSandbox' object has no attribute 'filesystem'"]
        {
            acts(has_the_member, &said(output), &with(None, output));
        }
        // Heard of already.
        let heard = Evidence { misuses: crate::judge::shim::parse(MEMBER), ..said("pty.write is not a function") };
        assert_eq!(has_the_member(&heard).len(), 1);
    }

    #[test]
    fn missing_arguments_are_named() {
        let found = acts(gets_its_arguments, &saw(ARGUMENT), &saw(VALUE));
        assert_eq!(found[0].what, "Process.createPty() was called without options");
    }

    #[test]
    fn wrong_values_are_named() {
        let found = acts(gets_valid_arguments, &saw(VALUE), &saw(MEMBER));
        assert!(found[0].what.ends_with("with language: 'go'"));
        let dropped = |name: &str| {
            saw(&format!(r#"{{"kind":"dropped","on":"CreateSandboxFromSnapshotParams","name":"{name}"}}"#))
        };
        let found = acts(gets_valid_arguments, &dropped("auto_stop"), &dropped("resources"));
        assert_eq!(found[0].what, "CreateSandboxFromSnapshotParams has no `auto_stop`: it was dropped");
    }

    #[test]
    fn the_same_place_is_told_once() {
        assert_eq!(has_the_member(&saw(&format!("{MEMBER}\n{MEMBER}"))).len(), 1);
    }
}
