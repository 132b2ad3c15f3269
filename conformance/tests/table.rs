//! The tables themselves: what every scenario and every mutant must have.

use std::collections::HashSet;

use daytona_conformance::{
    contract,
    mutants::{self, On},
    scenarios,
};

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

#[test]
fn mutants_are_well_formed_and_many() {
    let mut seen = HashSet::new();
    for mutant in mutants::table::all() {
        let (area, name) = mutant.id.split_once('/').expect("area/name");
        assert!(!area.is_empty() && !name.is_empty() && !mutant.what.is_empty(), "{}", mutant.id);
        assert!(seen.insert(mutant.id), "{} twice", mutant.id);
        assert!(!mutant.scenarios().is_empty(), "{}: no scenario judges it", mutant.id);
        if let On::Operations(ids) | On::Narrowed(ids, _) = mutant.on {
            for id in ids {
                assert!(contract::operation(id).is_some(), "{}: no operation {id}", mutant.id);
            }
        }
    }
    assert!(seen.len() >= 120, "{} mutants", seen.len());
}

/// New areas come first and their mutants soon after: most must have some, and those that don't are named.
#[test]
fn most_areas_have_mutants() {
    let all: HashSet<&str> = scenarios::all().map(|scenario| scenario.area()).collect();
    let tried: HashSet<&str> =
        mutants::table::all().flat_map(|mutant| mutant.scenarios()).map(|scenario| scenario.area()).collect();
    let without: Vec<&&str> = all.difference(&tried).collect();
    println!("no mutants yet for {without:?}: src/mutants/table");
    assert!(without.len() * 4 <= all.len(), "no mutants for {without:?}");
}
