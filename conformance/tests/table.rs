//! The tables themselves: what every scenario and every mutant must have.

use std::collections::HashSet;

use daytona_conformance::{
    contract,
    mutants::{self, On},
    scenario::Class,
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

/// A new area comes with mutants of its own.
#[test]
fn every_area_has_mutants() {
    // What takes minutes is in no trial.
    let quick = scenarios::all().filter(|scenario| !scenario.is(Class::Slow));
    let all: HashSet<&str> = quick.map(|scenario| scenario.area()).collect();
    let tried: HashSet<&str> = mutants::table::all().filter_map(|mutant| mutant.id.split('/').next()).collect();
    let without: Vec<&&str> = all.difference(&tried).collect();
    assert!(without.is_empty(), "no mutants for {without:?}: src/mutants/table");
    let unknown: Vec<&&str> = tried.difference(&all).collect();
    assert!(unknown.is_empty(), "mutants of areas that there aren't: {unknown:?}");
}

/// What no mutant touches may be judged by nobody: almost every operation with a scenario has one.
#[test]
fn almost_every_operation_has_a_mutant() {
    let covered: HashSet<&str> = scenarios::all().flat_map(|scenario| scenario.covers).copied().collect();
    let touched: HashSet<&str> = mutants::table::all()
        .flat_map(|mutant| match mutant.on {
            On::Operations(ids) | On::Narrowed(ids, _) => ids,
            On::Path(..) | On::Previews => &[],
        })
        .copied()
        .collect();
    let mut without: Vec<&&str> = covered.difference(&touched).collect();
    without.sort();
    println!("without a mutant: {without:?}");
    assert!(without.len() * 20 <= covered.len(), "{} of {} have none: {without:?}", without.len(), covered.len());
}
