use std::os::unix::fs::symlink;

use serde_json::{Value, json as value};

use super::{json, refused};
use crate::support::{Toolbox, open_toolbox as toolbox};

async fn search(tb: &Toolbox, path: &str, pattern: &str) -> Value {
    json(tb.get_files("/search", &[("path", path), ("pattern", pattern)]).await).await["files"].clone()
}

async fn find(tb: &Toolbox, path: &str, pattern: &str) -> Value {
    json(tb.get_files("/find", &[("path", path), ("pattern", pattern)]).await).await
}

#[tokio::test]
async fn search_matches_base_names() {
    let tb = toolbox().await;
    for name in ["wd/a.txt", "wd/b/c.txt", "wd/b/d.py", "wd/z[.txt", "wd/.hidden.txt"] {
        tb.write(name, "");
    }
    symlink("b", tb.dir.join("wd/link.txt")).expect("link");
    let texts = value!(["wd/.hidden.txt", "wd/a.txt", "wd/b/c.txt", "wd/link.txt", "wd/z[.txt"]);
    assert_eq!(search(&tb, "wd", "*.txt").await, texts);
    assert_eq!(search(&tb, "./wd//", "*.txt").await, texts);
    assert_eq!(search(&tb, "wd", "[a-c].*").await, value!(["wd/a.txt", "wd/b/c.txt"]));
    assert_eq!(search(&tb, "wd", "?").await, value!(["wd/b"]));
    assert_eq!(search(&tb, "wd", "z\\[*").await, value!(["wd/z[.txt"]));
    assert_eq!(search(&tb, ".", "wd").await, value!(["wd"]));
    assert_eq!(search(&tb, ".", ".").await, value!(["."]));
    assert_eq!(search(&tb, "wd/a.txt", "*.txt").await, value!(["wd/a.txt"]));
    let absolute = tb.path("wd/b");
    assert_eq!(search(&tb, &absolute, "*").await, value!([absolute, tb.path("wd/b/c.txt"), tb.path("wd/b/d.py")]));
    for (path, pattern) in [("nope", "*"), ("wd", "["), ("wd", "b/*"), ("wd", "*.TXT"), ("wd", "*.{txt,py}")] {
        assert_eq!(search(&tb, path, pattern).await, value!([]), "{path} {pattern}");
    }
}

#[tokio::test]
async fn find_gives_lines() {
    let tb = toolbox().await;
    tb.write("src/a.txt", "one\r\nneedle <&> two\nthree needle needle\n");
    tb.write("src/b/c.txt", "no\nneedle");
    tb.write("src/binary", b"needle\0");
    tb.write("src/empty", "");
    tb.write("src/latin1", b"needle \xE9\n");
    tb.write("src/long", format!("needle\n{}\nneedle\n", "x".repeat(70_000)));
    symlink("a.txt", tb.dir.join("src/link")).expect("link");
    let hit = |file: &str, line: u32, content: &str| value!({"file": file, "line": line, "content": content});
    let all = value!([
        hit("src/a.txt", 2, "needle <&> two"),
        hit("src/a.txt", 3, "three needle needle"),
        hit("src/b/c.txt", 2, "needle"),
        hit("src/latin1", 1, "needle \u{fffd}"),
        hit("src/long", 1, "needle"),
    ]);
    assert_eq!(find(&tb, "src", "needle").await, all);
    let file = tb.path("src/a.txt");
    assert_eq!(find(&tb, &file, "one").await, value!([hit(&file, 1, "one")]));
    for (path, pattern) in [("nope", "x"), ("src", "Needle"), ("src", "n..dle"), ("src", "one\nneedle")] {
        assert_eq!(find(&tb, path, pattern).await, value!([]), "{path} {pattern}");
    }
    let raw = tb.get_files("/find", &[("path", "src/a.txt"), ("pattern", "two")]).await.text().await.expect("text");
    assert_eq!(raw, r#"[{"file":"src/a.txt","line":2,"content":"needle \u003c\u0026\u003e two"}]"#);
}

#[tokio::test]
async fn both_need_path_and_pattern() {
    let tb = toolbox().await;
    for operation in ["/search", "/find"] {
        for params in [&[][..], &[("path", ".")], &[("pattern", "x")], &[("path", "."), ("pattern", "")]] {
            refused(tb.get_files(operation, params).await, 400, "BAD_REQUEST").await;
        }
    }
}

#[tokio::test]
async fn replace_tells_of_every_file() {
    let tb = toolbox().await;
    tb.write("a", "x.x\nx");
    tb.write("b", "none");
    std::fs::create_dir(tb.dir.join("d")).expect("dir");
    std::os::unix::fs::symlink("a", tb.dir.join("link")).expect("link");
    let body = value!({"files": ["a", "b", "nope", "d", ""], "pattern": "x", "newValue": "<é>"});
    let results = json(tb.post("/files/replace", body).await).await;
    assert_eq!(
        results,
        value!([
            {"file": "a", "success": true},
            {"file": "b", "success": true},
            {"file": "nope", "success": false, "error": "open nope: no such file or directory"},
            {"file": "d", "success": false, "error": "read d: is a directory"},
            {"file": "", "success": false, "error": "open : no such file or directory"},
        ])
    );
    assert_eq!(std::fs::read_to_string(tb.dir.join("a")).expect("a"), "<é>.<é>\n<é>");
    let body = value!({"files": ["link"], "pattern": "<é>", "newValue": ""});
    assert_eq!(json(tb.post("/files/replace", body).await).await[0]["success"], true);
    assert_eq!(std::fs::read_to_string(tb.dir.join("a")).expect("a"), ".\n");
    let body = value!({"files": [], "pattern": "x", "newValue": "y"});
    assert_eq!(json(tb.post("/files/replace", body).await).await, value!([]));
}

#[tokio::test]
async fn replace_refusals() {
    let tb = toolbox().await;
    for body in [
        value!({"files": ["a"], "pattern": "x"}),
        value!({"files": ["a"], "pattern": "x", "newValue": null}),
        value!({"files": ["a"], "pattern": "", "newValue": "y"}),
        value!({"pattern": "x", "newValue": "y"}),
        value!({"files": "a", "pattern": "x", "newValue": "y"}),
        value!([]),
    ] {
        refused(tb.post("/files/replace", body).await, 400, "INVALID_REQUEST_BODY").await;
    }
    let garbage = tb.client.post(format!("{}/files/replace", tb.url)).body("nope").send().await.expect("answer");
    let message = refused(garbage, 400, "INVALID_REQUEST_BODY").await;
    assert_eq!(message, "invalid body request: invalid character 'o' in literal null (expecting 'u')");
}
