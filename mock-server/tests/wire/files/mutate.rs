use std::{
    fs,
    os::unix::fs::{MetadataExt, PermissionsExt, symlink},
};

use super::{refused, skip_as_root};
use crate::support::{Toolbox, open_toolbox as toolbox};

fn mode(tb: &Toolbox, name: &str) -> u32 {
    fs::metadata(tb.dir.join(name)).expect(name).mode() & 0o7777
}

#[tokio::test]
async fn folder_is_made_with_parents() {
    let tb = toolbox().await;
    let made = tb.post_files("/folder", &[("path", "a/b c/ü"), ("mode", "0700")]).await;
    assert_eq!((made.status().as_u16(), made.content_length()), (201, Some(0)));
    assert_eq!((mode(&tb, "a"), mode(&tb, "a/b c/ü")), (0o700, 0o700));
    let again = tb.post_files("/folder", &[("path", "a"), ("mode", "755")]).await;
    assert_eq!((again.status().as_u16(), mode(&tb, "a")), (201, 0o700));
    assert_eq!(tb.post_files("/folder", &[("path", &tb.path("plain"))]).await.status(), 201);
    assert_eq!(mode(&tb, "plain"), 0o755);
    assert_eq!(tb.post_files("/folder", &[("path", "special"), ("mode", "4755")]).await.status(), 201);
    assert_eq!(mode(&tb, "special"), 0o755);
}

#[tokio::test]
async fn folder_refusals() {
    let tb = toolbox().await;
    tb.write("file", "");
    for mode in ["999", "abc", "-1"] {
        refused(tb.post_files("/folder", &[("path", "x"), ("mode", mode)]).await, 400, "BAD_REQUEST").await;
    }
    let message = refused(tb.post_files("/folder", &[("mode", "755")]).await, 400, "BAD_REQUEST").await;
    assert_eq!(message, "bad request: path is required");
    for path in ["file", "file/below", "file/further/below"] {
        let message =
            refused(tb.post_files("/folder", &[("path", path), ("mode", "755")]).await, 400, "BAD_REQUEST").await;
        assert_eq!(message, "bad request: mkdir file: not a directory");
    }
    // Nothing is left of the parents when the last one is refused.
    let long = format!("new/{}", "x".repeat(300));
    refused(tb.post_files("/folder", &[("path", &long), ("mode", "755")]).await, 400, "BAD_REQUEST").await;
    assert!(!tb.dir.join("new").exists());
}

#[tokio::test]
async fn deletes() {
    let tb = toolbox().await;
    let file = tb.write("dir/file", "");
    symlink("dir", tb.dir.join("link")).expect("link");
    symlink("nowhere", tb.dir.join("dangling")).expect("link");
    for flag in ["1", "false", "TRUE", ""] {
        refused(tb.delete_files(&[("path", "dir"), ("recursive", flag)]).await, 400, "BAD_REQUEST").await;
    }
    refused(tb.delete_files(&[("path", "link")]).await, 400, "BAD_REQUEST").await;
    assert_eq!(tb.delete_files(&[("path", "link/"), ("recursive", "true")]).await.status(), 204);
    assert!(!tb.dir.join("link").exists() && tb.dir.join("dir/file").exists());
    assert_eq!(tb.delete_files(&[("path", "dangling")]).await.status(), 204);
    assert_eq!(tb.delete_files(&[("path", &file)]).await.status(), 204);
    tb.write("dir/sub/file", "");
    assert_eq!(tb.delete(&super::url("/", &[("path", "dir"), ("recursive", "true")])).await.status(), 204);
    assert!(!tb.dir.join("dir").exists());
}

#[tokio::test]
async fn delete_refusals() {
    let tb = toolbox().await;
    refused(tb.delete("/files").await, 400, "BAD_REQUEST").await;
    for params in [&[("path", "nope")][..], &[("path", "nope"), ("recursive", "true")]] {
        let message = refused(tb.delete_files(params).await, 404, "FILE_NOT_FOUND").await;
        assert_eq!(message, "stat nope: no such file or directory");
    }
    for root in ["/", "//", "/.", "/../"] {
        refused(tb.delete_files(&[("path", root), ("recursive", "true")]).await, 400, "BAD_REQUEST").await;
    }
}

#[tokio::test]
async fn what_the_system_forbids_is_400() {
    let tb = toolbox().await;
    if skip_as_root(&tb, "what_the_system_forbids_is_400") {
        return;
    }
    tb.write("locked/file", "");
    fs::set_permissions(tb.dir.join("locked"), PermissionsExt::from_mode(0o500)).expect("chmod");
    let message = refused(tb.delete_files(&[("path", "locked/file")]).await, 400, "BAD_REQUEST").await;
    assert_eq!(message, "bad request: remove locked/file: permission denied");
    fs::set_permissions(tb.dir.join("locked"), PermissionsExt::from_mode(0o700)).expect("chmod");
    let before = mode(&tb, "locked/file");
    let params = [("path", "locked/file"), ("mode", "0600"), ("owner", "root")];
    refused(tb.post_files("/permissions", &params).await, 400, "BAD_REQUEST").await;
    assert_eq!(mode(&tb, "locked/file"), before);
}

#[tokio::test]
async fn permissions_are_set() {
    let tb = toolbox().await;
    tb.write("f", "");
    let params = [("path", "f"), ("mode", "0640"), ("owner", "daytona"), ("group", "1000")];
    let set = tb.post_files("/permissions", &params).await;
    assert_eq!((set.status().as_u16(), set.content_length()), (200, Some(0)));
    assert_eq!(mode(&tb, "f"), 0o640);
    assert_eq!(tb.post_files("/permissions", &[("path", "f")]).await.status(), 200);
    assert_eq!(tb.post_files("/permissions", &[("path", "f"), ("mode", "7711")]).await.status(), 200);
    assert_eq!(mode(&tb, "f"), 0o711);
}

#[tokio::test]
async fn permission_refusals() {
    let tb = toolbox().await;
    tb.write("f", "");
    let before = mode(&tb, "f");
    refused(tb.post_files("/permissions", &[("mode", "644")]).await, 400, "BAD_REQUEST").await;
    refused(tb.post_files("/permissions", &[("path", "nope"), ("mode", "644")]).await, 404, "FILE_NOT_FOUND").await;
    refused(tb.post_files("/permissions", &[("path", "f"), ("mode", "8")]).await, 400, "BAD_REQUEST").await;
    for who in ["owner", "group"] {
        let params = [("path", "f"), ("mode", "0600"), (who, "no-such-name")];
        refused(tb.post_files("/permissions", &params).await, 400, "BAD_REQUEST").await;
        assert_eq!(mode(&tb, "f"), before, "refused, so nothing changed");
    }
}

#[tokio::test]
async fn moves() {
    let tb = toolbox().await;
    tb.write("a", "contents");
    tb.write("dir/inner", "");
    symlink("nowhere", tb.dir.join("dangling")).expect("link");
    let moved = tb.post_files("/move", &[("source", "a"), ("destination", &tb.path("dir/é b"))]).await;
    assert_eq!((moved.status().as_u16(), moved.content_length()), (200, Some(0)));
    assert_eq!(fs::read(tb.dir.join("dir/é b")).expect("moved"), b"contents");
    assert_eq!(tb.post_files("/move", &[("source", "dir/"), ("destination", "dir2/")]).await.status(), 200);
    assert!(tb.dir.join("dir2/inner").exists() && !tb.dir.join("dir").exists());
    assert_eq!(tb.post_files("/move", &[("source", "dangling"), ("destination", "still")]).await.status(), 200);
    assert_eq!(fs::read_link(tb.dir.join("still")).expect("link").to_str(), Some("nowhere"));
}

#[tokio::test]
async fn moves_across_file_systems() {
    let tb = toolbox().await;
    let other = format!("/dev/shm/{}", uuid::Uuid::new_v4());
    if tb.run(&format!("mkdir {other} && stat -c %d {other} . | uniq | wc -l")).await != "2\n" {
        return println!("skipped: moves_across_file_systems: one file system");
    }
    tb.write("dir/script", "#!/bin/sh");
    fs::set_permissions(tb.dir.join("dir/script"), PermissionsExt::from_mode(0o750)).expect("chmod");
    let params = [("source", "dir"), ("destination", &*format!("{other}/dir"))];
    assert_eq!(tb.post_files("/move", &params).await.status(), 200);
    assert!(!tb.dir.join("dir").exists());
    assert_eq!(tb.run(&format!("stat -c %a {other}/dir/script; rm -r {other}")).await, "750\n");
}

#[tokio::test]
async fn move_refusals() {
    let tb = toolbox().await;
    tb.write("a", "a");
    tb.write("dir/b", "b");
    for params in [&[("source", "a")][..], &[("destination", "b")], &[("source", ""), ("destination", "b")]] {
        refused(tb.post_files("/move", params).await, 400, "BAD_REQUEST").await;
    }
    let missing = [("source", "nope"), ("destination", "b")];
    let message = refused(tb.post_files("/move", &missing).await, 404, "FILE_NOT_FOUND").await;
    assert_eq!(message, "stat nope: no such file or directory");
    refused(tb.post_files("/move", &[("source", "a"), ("destination", "nope/b")]).await, 404, "FILE_NOT_FOUND").await;
    for existing in ["dir/b", "dir", "a"] {
        refused(tb.post_files("/move", &[("source", "a"), ("destination", existing)]).await, 409, "CONFLICT").await;
    }
    refused(tb.post_files("/move", &[("source", "dir"), ("destination", "dir/inside")]).await, 400, "BAD_REQUEST")
        .await;
    assert_eq!(fs::read(tb.dir.join("dir/b")).expect("kept"), b"b");
}

#[tokio::test]
async fn a_refused_deletion_deletes_nothing() {
    let tb = toolbox().await;
    tb.write("keep/below/file", "");
    for path in [".", "./", "keep/.", "keep//.", "keep/./", "keep/below/.."] {
        let answer = tb.delete_files(&[("path", path), ("recursive", "true")]).await;
        let message = refused(answer, 400, "BAD_REQUEST").await;
        assert!(message.ends_with("invalid argument"), "{path}: {message}");
        assert!(tb.dir.join("keep/below/file").exists(), "{path}");
    }
    if !skip_as_root(&tb, "a_refused_deletion_deletes_nothing") {
        fs::set_permissions(tb.dir.join("keep"), fs::Permissions::from_mode(0o555)).expect("locked");
        let answer = tb.delete_files(&[("path", "keep/below"), ("recursive", "true")]).await;
        refused(answer, 400, "BAD_REQUEST").await;
        assert!(tb.dir.join("keep/below/file").exists());
        fs::set_permissions(tb.dir.join("keep"), fs::Permissions::from_mode(0o755)).expect("unlocked");
    }
    assert_eq!(tb.delete_files(&[("path", "keep/below/"), ("recursive", "true")]).await.status(), 204);
    assert_eq!(tb.delete_files(&[("path", "./keep"), ("recursive", "true")]).await.status(), 204);
}
