//! Records under `fixtures/recorded`: readable, with their provenance, and good as a side of `diff`.

use std::{path::PathBuf, process::Command};

use daytona_conformance::transcript::Transcript;

fn records() -> Vec<PathBuf> {
    let dir = concat!(env!("CARGO_MANIFEST_DIR"), "/../fixtures/recorded");
    let files = std::fs::read_dir(dir).expect("records are part of the repository").map(|file| file.unwrap().path());
    files.filter(|path| path.extension().is_some_and(|extension| extension == "json")).collect()
}

/// Exit code and output of `diff`.
fn diff(left: &str, right: &str) -> (i32, String) {
    let program = env!("CARGO_BIN_EXE_daytona-conformance");
    let done = Command::new(program).args(["diff", "--left", left, "--right", right]).output().expect("it runs");
    (done.status.code().expect("no signal"), String::from_utf8_lossy(&done.stdout).into_owned())
}

#[test]
fn records_say_where_they_come_from_and_have_no_secret() {
    assert!(!records().is_empty());
    for path in records() {
        let record = Transcript::read(&path).unwrap();
        assert!(!record.server_version.is_empty() && !record.suite_version.is_empty(), "{}", path.display());
        assert_eq!(record.recorded_at.len(), "2026-01-31".len(), "{}", path.display());
        assert!(record.scenarios.len() > 100, "{}", path.display());
        let text = std::fs::read_to_string(&path).unwrap();
        assert!(!text.contains("dtn_0") && !text.contains("127.0.0.1:"), "{}: a key or a host", path.display());
    }
}

#[test]
fn a_record_is_a_side_of_diff() {
    for path in records() {
        let path = path.to_str().unwrap();
        let (code, told) = diff(path, path);
        assert_eq!(code, 0, "{told}");
        assert!(told.contains("0 differences"), "{told}");
        let changed = tempfile::NamedTempFile::with_suffix(".json").unwrap();
        let text = std::fs::read_to_string(path).unwrap();
        std::fs::write(changed.path(), text.replace("Invalid credentials", "Go away")).unwrap();
        let (code, told) = diff(path, changed.path().to_str().unwrap());
        assert_eq!(code, 1, "{told}");
        assert!(told.contains("Invalid credentials") && told.contains("Go away"), "{told}");
    }
}
