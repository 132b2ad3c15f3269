use std::os::unix::fs::{PermissionsExt, symlink};

use serde_json::{Value, json as value};

use super::{json, refused, skip_as_root};
use crate::support::open_toolbox as toolbox;

#[tokio::test]
async fn info_has_every_field() {
    let tb = toolbox().await;
    let path = tb.write("a.txt", "hello world\n");
    std::fs::set_permissions(tb.dir.join("a.txt"), PermissionsExt::from_mode(0o644)).expect("chmod");
    let info = json(tb.get_files("/info", &[("path", &path)]).await).await;
    assert_eq!(info["name"], "a.txt");
    assert_eq!(info["path"], path);
    assert_eq!(info["size"], 12);
    assert_eq!(info["mode"], "-rw-r--r--");
    assert_eq!(info["permissions"], "0644");
    assert_eq!(info["isDir"], false);
    assert_eq!((&info["owner"], &info["group"]), (&value!("1000"), &value!("1000")));
    let modified = info["modifiedAt"].as_str().expect("modifiedAt");
    chrono::DateTime::parse_from_rfc3339(modified).expect("RFC 3339");
    assert!(info["modTime"].as_str().expect("modTime").starts_with(&modified[..10]));
}

#[tokio::test]
async fn info_knows_relative_paths_links_and_special_files() {
    let tb = toolbox().await;
    let path = tb.write("d/real", "123");
    symlink("d/real", tb.dir.join("link")).expect("link");
    let relative = json(tb.get_files("/info", &[("path", "d/../d/real")]).await).await;
    assert_eq!((&relative["name"], &relative["path"]), (&value!("real"), &value!(path)));
    let link = json(tb.get_files("/info", &[("path", "link")]).await).await;
    assert_eq!((&link["name"], &link["size"]), (&value!("link"), &value!(3)));
    let null = json(tb.get_files("/info", &[("path", "/dev/null")]).await).await;
    assert_eq!(null["mode"], "Dcrw-rw-rw-");
    assert_eq!(json(tb.get_files("/info", &[("path", "/")]).await).await["name"], "/");
    std::fs::set_permissions(tb.dir.join("d"), PermissionsExt::from_mode(0o1777)).expect("chmod");
    let sticky = json(tb.get_files("/info", &[("path", "d")]).await).await;
    assert_eq!((&sticky["mode"], &sticky["permissions"]), (&value!("dtrwxrwxrwx"), &value!("0777")));
}

#[tokio::test]
async fn info_refusals() {
    let tb = toolbox().await;
    let file = tb.write("file", "");
    symlink("nowhere", tb.dir.join("dangling")).expect("link");
    let message = refused(tb.get("/files/info").await, 400, "BAD_REQUEST").await;
    assert_eq!(message, "bad request: path is required");
    refused(tb.get("/files/info?path=").await, 400, "BAD_REQUEST").await;
    let missing = tb.path("nope");
    let message = refused(tb.get_files("/info", &[("path", &missing)]).await, 404, "FILE_NOT_FOUND").await;
    assert_eq!(message, format!("stat {missing}: no such file or directory"));
    let message = refused(tb.get_files("/info", &[("path", "dangling")]).await, 404, "FILE_NOT_FOUND").await;
    assert_eq!(message, "stat dangling: no such file or directory");
    let below = format!("{file}/x");
    let message = refused(tb.get_files("/info", &[("path", &below)]).await, 400, "BAD_REQUEST").await;
    assert_eq!(message, format!("bad request: stat {below}: not a directory"));
    let long = "x".repeat(300);
    let message = refused(tb.get_files("/info", &[("path", &long)]).await, 400, "BAD_REQUEST").await;
    assert!(message.ends_with("file name too long"), "{message}");
    refused(tb.get("/files/info?path=a%00b").await, 400, "BAD_REQUEST").await;
    refused(tb.get_files("/info", &[("path", "~/x")]).await, 404, "FILE_NOT_FOUND").await;
}

#[tokio::test]
async fn closed_directories_are_403() {
    let tb = toolbox().await;
    if skip_as_root(&tb, "closed_directories_are_403") {
        return;
    }
    tb.write("closed/file", "");
    std::fs::set_permissions(tb.dir.join("closed"), PermissionsExt::from_mode(0o0)).expect("chmod");
    for (operation, path) in [("/info", "closed/file"), ("", "closed"), ("/download", "closed/file")] {
        refused(tb.get_files(operation, &[("path", path)]).await, 403, "FILE_ACCESS_DENIED").await;
    }
    std::fs::set_permissions(tb.dir.join("closed"), PermissionsExt::from_mode(0o700)).expect("chmod");
}

fn names(listing: &Value) -> Vec<&str> {
    listing.as_array().expect("array").iter().map(|info| info["name"].as_str().expect("name")).collect()
}

#[tokio::test]
async fn lists_by_name() {
    let tb = toolbox().await;
    for name in ["b", ".hidden", "a/inner/deep", "ünï 漢"] {
        tb.write(name, "x");
    }
    symlink("nowhere", tb.dir.join("dangling")).expect("link");
    symlink("a", tb.dir.join("to-a")).expect("link");
    let root = tb.path("");
    for path in [root.as_str(), ".", ""] {
        for slash in ["", "/"] {
            let listing = json(tb.get_files(slash, &[("path", path)]).await).await;
            assert_eq!(names(&listing), [".hidden", "a", "b", "to-a", "ünï 漢"]);
            assert_eq!(listing[3]["isDir"], true);
            assert_eq!(listing[1]["path"], tb.path("a"));
        }
    }
    tb.post_files("/folder", &[("path", "empty"), ("mode", "755")]).await;
    assert_eq!(json(tb.get_files("", &[("path", "empty")]).await).await, value!([]));
}

#[tokio::test]
async fn lists_to_a_depth() {
    let tb = toolbox().await;
    for name in ["a/inner/deep", "a/x", "b"] {
        tb.write(name, "x");
    }
    symlink("a", tb.dir.join("link")).expect("link");
    for (depth, expected) in [
        ("1", &["a", "b", "link"][..]),
        ("2", &["a", "inner", "x", "b", "link"]),
        ("3", &["a", "inner", "deep", "x", "b", "link"]),
        ("4000000000", &["a", "inner", "deep", "x", "b", "link"]),
    ] {
        let listing = json(tb.get_files("", &[("depth", depth)]).await).await;
        assert_eq!(names(&listing), expected);
    }
    let listing = json(tb.get_files("", &[("depth", "3")]).await).await;
    assert_eq!(listing[2]["path"], tb.path("a/inner/deep"));
    for depth in ["0", "-1", "x", "1.5"] {
        refused(tb.get_files("", &[("depth", depth)]).await, 400, "BAD_REQUEST").await;
    }
}

#[tokio::test]
async fn list_refusals() {
    let tb = toolbox().await;
    let file = tb.write("file", "");
    let message = refused(tb.get_files("", &[("path", "nope")]).await, 404, "FILE_NOT_FOUND").await;
    assert_eq!(message, "open nope: no such file or directory");
    refused(tb.get_files("", &[("path", &file)]).await, 400, "BAD_REQUEST").await;
}

#[tokio::test]
async fn old_strict_go_clients_get_no_new_fields() {
    let tb = toolbox().await;
    tb.write("f", "");
    let ask = async |version: &str| {
        let request = tb.client.get(format!("{}/files/info?path=f", tb.url)).header("X-Daytona-Source", "sdk-go");
        json(request.header("X-Daytona-SDK-Version", version).send().await.expect("answer")).await
    };
    let old = ask("0.187.0").await;
    assert!(old.get("path").is_none() && old.get("modifiedAt").is_none());
    assert!(ask("0.188.0").await["path"].is_string());
}
