//! What a run writes.

use serde_json::{Value, json};

use super::{PLAIN, Program, WITH_SANDBOX, lacking};

#[test]
fn a_report_is_five_files_and_nothing_is_fetched_by_the_page() {
    let program = Program::of(&lacking());
    let (code, printed, told) = program.run(&["run", PLAIN, "auth/no_key*", "--report", &program.arg("out")]);
    assert_eq!(code, 1, "{told}");
    assert_eq!(told, "", "no progress where nobody watches");
    for part in ["rule      ", "check     auth/config_needs_no_key:", "expected  ", "got       ", "> GET http", "< 200"]
    {
        assert!(printed.contains(part), "{part} in {printed}");
    }
    let file = |name: &str| std::fs::read_to_string(program.path("out").join(name)).unwrap();
    let page = file("report.html");
    assert!(page.starts_with("<!doctype html>") && page.ends_with("</html>\n"));
    for outside in ["<script", "<link", "<img", "src=", "@import", "url("] {
        assert!(!page.contains(outside), "{outside} in the page");
    }
    let at = |text: &str| page.find(text).unwrap_or_else(|| panic!("{text} in the page"));
    assert!(at("Failures and warnings") < at("Scenarios by area"), "failures first");
    assert!(at("<details") > 0 && at("Coverage") > 0);
    let junit = quick_junit::Report::deserialize_from_str(&file("junit.xml")).expect("JUnit");
    assert_eq!(junit.test_suites[0].name.as_str(), "auth");
    assert_eq!(junit.test_suites[0].test_cases.len(), junit.tests);
    let totals = program.report("out")["totals"].clone();
    let failed = totals["FAIL"].as_u64().unwrap() + totals["UNTESTABLE"].as_u64().unwrap();
    assert!(failed > 0 && junit.failures as u64 == failed, "{} of {totals}", junit.failures);
    let badge: Value = serde_json::from_str(&file("badge.json")).unwrap();
    assert_eq!((&badge["schemaVersion"], &badge["color"]), (&json!(1), &json!("#c0362c")));
    let (message, picture) = (badge["message"].as_str().unwrap(), file("badge.svg"));
    assert!(picture.starts_with("<svg ") && picture.contains(message), "{message} in {picture}");
}

/// Every name in the JSON of a value.
pub(super) fn names(value: &Value, found: &mut Vec<String>) {
    match value {
        Value::Array(items) => items.iter().for_each(|item| names(item, found)),
        Value::Object(fields) => fields.iter().for_each(|(name, value)| {
            found.push(name.clone());
            // Keyed by outcome, and as the server says it.
            if !matches!(name.as_str(), "totals" | "mock") {
                names(value, found);
            }
        }),
        _ => {}
    }
}

#[test]
fn every_field_of_the_json_is_documented() {
    let program = Program::of(&lacking());
    let report = program.arg("out");
    program.run(&["run", PLAIN, WITH_SANDBOX, "--retry-flaky", "1", "--keep-exchanges", "--report", &report]);
    let mut found = Vec::new();
    names(&program.report("out"), &mut found);
    names(&serde_json::from_str(&program.run(&["list", "--json"]).1).unwrap(), &mut found);
    let described = include_str!("../../report.md");
    found.sort();
    found.dedup();
    assert!(found.len() > 40, "{found:?}");
    for name in found {
        assert!(described.contains(&format!("`{name}`")) || described.contains(&format!("`{name}?`")), "{name}");
    }
}

/// A published schema, closed: what it doesn't have is wrong, too.
fn closed(schema: &str) -> Value {
    fn close(schema: &mut Value) {
        match schema {
            Value::Array(all) => all.iter_mut().for_each(close),
            Value::Object(fields) => {
                if fields.contains_key("properties") {
                    fields.insert("additionalProperties".to_owned(), json!(false));
                }
                fields.values_mut().for_each(close);
            }
            _ => {}
        }
    }
    let mut schema = serde_json::from_str(schema).expect("JSON");
    close(&mut schema);
    schema
}

/// Whether a report is as the schema says; else why not.
fn fits(report: &Value) -> Result<(), String> {
    fits_schema(include_str!("../../report.schema.json"), report)
}

/// The same for another schema.
pub(super) fn fits_schema(schema: &str, report: &Value) -> Result<(), String> {
    let (mut compiler, mut schemas) = (boon::Compiler::new(), boon::Schemas::new());
    compiler.enable_format_assertions();
    compiler.add_resource("report.schema.json", closed(schema)).expect("a schema");
    let index = compiler.compile("report.schema.json", &mut schemas).expect("a schema");
    schemas.validate(report, index).map_err(|error| format!("{error:#}"))
}

#[test]
fn reports_are_as_the_schema_says() {
    let program = Program::of(&lacking());
    let accepted = program.arg("accepted.txt");
    std::fs::write(&accepted, format!("{PLAIN}:shape:ConfigController_getConfig\n{PLAIN}:status\n")).unwrap();
    let (report, seed) = (program.arg("out"), ["--seed", "18446744073709551615"]);
    let mut seen = Vec::new();
    for more in [
        &["--retry-flaky", "1"][..],
        &["--keep-exchanges", "auth/no_key*"],
        &["--baseline", &accepted],
        &["--max-sandboxes", "0", "--fail-fast", "--jobs", "1"],
    ] {
        let arguments =
            [&["run", PLAIN, WITH_SANDBOX, "--timeout", "5", "--report", &report][..], &seed, more].concat();
        _ = std::fs::remove_dir_all(&report);
        let (_, _, told) = program.run(&arguments);
        assert_eq!(told, "", "{more:?}");
        let report = program.report("out");
        fits(&report).unwrap_or_else(|why| panic!("{more:?}: {why}"));
        let outcomes = report["scenarios"].as_array().unwrap().iter().map(|one| one["outcome"].clone());
        seen.extend(outcomes.map(|outcome| outcome.to_string()));
    }
    for outcome in ["\"fail\"", "\"not-run\""] {
        assert!(seen.iter().any(|one| one == outcome), "{outcome} among {seen:?}");
    }
}

#[test]
fn the_schema_refuses_what_is_no_report() {
    let program = Program::of(&lacking());
    program.run(&["run", PLAIN, "--report", &program.arg("out")]);
    let good = program.report("out");
    fits(&good).expect("as it is written");
    for (at, value) in [
        ("/schema", json!(2)),
        ("/took", json!(-1)),
        ("/startedAt", json!("yesterday")),
        ("/scenarios/0/outcome", json!("passed")),
        ("/scenarios/0/checks/0/exchange", json!("first")),
        ("/scenarios/0/exchanges/0/status", json!("200")),
        ("/server", json!({"apiUrl": "", "version": "", "key": ""})),
    ] {
        let mut bad = good.clone();
        *bad.pointer_mut(at).unwrap_or_else(|| panic!("{at} in {good}")) = value;
        assert!(fits(&bad).is_err(), "{at}");
    }
}
