//! What git operations cost beside the same done by hand: `cargo bench -p daytona-mock --bench git`.

mod common;

use std::{path::Path, process::Command};

use common::{median, toolbox};

fn main() {
    let temp = tempfile::tempdir().expect("directory");
    let dir = temp.path();
    for d in 1..=100 {
        std::fs::create_dir_all(dir.join(format!("r/d{d}"))).expect("directory");
        for f in 1..=50 {
            std::fs::write(dir.join(format!("r/d{d}/f{f}.txt")), format!("{d} {f}\n")).expect("file");
        }
    }
    let repository = dir.join("r");
    by_hand(&repository, "init -q");
    by_hand(&repository, "add .");
    by_hand(&repository, "-c user.name=n -c user.email=n@x commit -qm first");
    let mut client = toolbox(dir);

    let status = "status --porcelain=v2 --branch --untracked-files=all";
    median("status, 5,000 files", 100, || client.get("/git/status?path=r"));
    median("by hand", 100, || by_hand(&repository, status));
    for f in 1..=50 {
        std::fs::write(repository.join(format!("d{f}/f{f}.txt")), "changed").expect("file");
        std::fs::write(repository.join(format!("d{f}/new.txt")), "new").expect("file");
    }
    median("status, 100 of them changed", 100, || client.get("/git/status?path=r"));
    median("by hand", 100, || by_hand(&repository, status));
    median("add a directory", 100, || client.post("/git/add", br#"{"path":"r","files":["d1"]}"#));
    median("by hand", 100, || by_hand(&repository, "add d1"));
    median("branches", 100, || client.get("/git/branches?path=r"));
    median("by hand", 100, || by_hand(&repository, "branch"));
}

fn by_hand(repository: &Path, command: &str) {
    let output = Command::new("git").arg("-C").arg(repository).args(command.split(' ')).output();
    assert!(output.expect("git runs").status.success(), "{command}");
}
