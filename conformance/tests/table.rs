//! The table itself: what every scenario must have.

use std::collections::HashSet;

use daytona_conformance::scenarios;

#[test]
fn ids_are_unique_and_well_formed() {
    let mut seen = HashSet::new();
    for scenario in scenarios::all() {
        let (area, name) = scenario.id.split_once('/').expect("area/name");
        for part in [area, name] {
            assert!(!part.is_empty() && part.chars().all(|c| c.is_ascii_lowercase() || c == '_'), "{}", scenario.id);
        }
        assert!(seen.insert(scenario.id), "{} twice", scenario.id);
    }
}

/// Only where the official documents are at hand: they are not part of this repository.
#[test]
fn operations_are_those_of_the_documents() {
    let beside = concat!(env!("CARGO_MANIFEST_DIR"), "/../../shared/openapi").to_owned();
    let dir = std::env::var("DAYTONA_OPENAPI_DIR").unwrap_or(beside);
    let read = |name| std::fs::read_to_string(std::path::Path::new(&dir).join(name));
    let (Ok(api), Ok(toolbox)) = (read("api.json"), read("toolbox.json")) else {
        eprintln!("skipped: no documents in {dir}");
        return;
    };
    for operation in scenarios::all().flat_map(|s| s.covers) {
        let wanted = format!("\"{operation}\"");
        assert!(api.contains(&wanted) || toolbox.contains(&wanted), "no operation {operation} in the documents");
    }
}
