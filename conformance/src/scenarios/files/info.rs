use super::{ask, needs_a_plain_user, write};
use crate::prelude::*;

scenarios! { "files";
    /// What is told of a file: base name, size, mode as text and as four octal digits, owner and group as numbers in
    /// text, and two times that agree. (GetFileInfo; observed)
    info_describes_a_file: Must, covers ["GetFileInfo"];

    /// The whole path is told too. (GetFileInfo: `path`)
    info_has_the_path: Should, covers ["GetFileInfo"], since "0.200";

    /// A folder is `isDir` and its mode begins with `d`. (GetFileInfo; observed)
    info_describes_a_folder: Must, covers ["GetFileInfo"];

    /// Of a link the target is described, under the link's name; a link to nothing is not found. (observed)
    info_follows_links: Must, covers ["GetFileInfo"];

    /// Set-id and sticky bits stand before the mode, `permissions` leaves them out; pipes and devices have letters of
    /// their own. (observed)
    info_of_special_files: Should, covers ["GetFileInfo"];

    /// Relative paths start at the work directory, `.` and `..` are resolved, `~` and `$HOME` are plain names. (observed)
    paths_are_those_of_the_system: Must, covers ["GetFileInfo"];

    /// Without a path there is nothing to answer: 400. (GetFileInfo, DownloadFile, DeleteFile, CreateFolder)
    path_is_required: Must, covers ["GetFileInfo", "DownloadFile", "DeleteFile", "CreateFolder", "SetFilePermissions"];

    /// A file that does not exist is answered 404 with the code `FILE_NOT_FOUND`, whatever is asked about it.
    /// (DownloadFile, GetFileInfo, ListFiles)
    missing_file_is_not_found: Must, covers ["DownloadFile", "GetFileInfo", "ListFiles", "DeleteFile"], since "0.200";

    /// What is below a folder that may not be entered is 403 with the code `FILE_ACCESS_DENIED`. (observed; SDKs:
    /// FileAccessDenied)
    closed_folders_are_forbidden: Must, covers ["GetFileInfo", "ListFiles", "DownloadFile"], since "0.200";

    /// A path that can't be is 400: below a file, or with a name longer than names are. (observed)
    impossible_paths_are_bad_requests: Must, covers ["GetFileInfo", "DownloadFile"];
}

async fn info_describes_a_file(cx: Cx) -> Result {
    let sandbox = cx.shared().await?;
    let path = format!("{}/a.txt", cx.dir());
    write(&sandbox, &path, "hello world\n").await?;
    sandbox.output(&format!("chmod 640 '{path}'")).await?;
    let answer = ask(&sandbox, "/info", &path).await?;
    cx.check("status").status(&answer, 200);
    cx.check("name").json(&answer, "/name", "a.txt");
    cx.check("size").json(&answer, "/size", 12);
    cx.check("mode").json(&answer, "/mode", "-rw-r-----");
    cx.check("permissions").json(&answer, "/permissions", "0640");
    cx.check("is-dir").json(&answer, "/isDir", false);
    let ids = sandbox.output(&format!("stat -c '%u %g' '{path}'")).await?;
    let (owner, group) = ids.trim().split_once(' ').unwrap_or_default();
    cx.check("owner").json(&answer, "/owner", owner);
    cx.check("group").json(&answer, "/group", group);
    let modified = chrono::DateTime::parse_from_rfc3339(&answer.string("/modifiedAt")?);
    let seconds: i64 = sandbox.output(&format!("stat -c %Y '{path}'")).await?.trim().parse().unwrap_or_default();
    let told = modified.map(|time| time.timestamp()).unwrap_or_default();
    cx.check("modified-at").on(&answer).eq(told, seconds);
    let text = answer.string("/modTime")?;
    let expected =
        chrono::DateTime::from_timestamp(seconds, 0).map(|time| time.format("%Y-%m-%d %H:%M:%S").to_string());
    cx.check("mod-time").on(&answer).that(
        expected.is_some_and(|start| text.starts_with(&start)) && text.ends_with("+0000 UTC"),
        "the same time as `2026-11-23 21:44:23.305941077 +0000 UTC`",
        text,
    );
    Ok(())
}

async fn info_has_the_path(cx: Cx) -> Result {
    let sandbox = cx.shared().await?;
    let path = format!("{}/sub/a.txt", cx.dir());
    write(&sandbox, &path, "x").await?;
    cx.check("path").json(&ask(&sandbox, "/info", &path).await?, "/path", path.as_str());
    Ok(())
}

async fn info_describes_a_folder(cx: Cx) -> Result {
    let sandbox = cx.shared().await?;
    let dir = cx.dir();
    sandbox.output(&format!("mkdir -m 750 '{dir}'")).await?;
    let answer = ask(&sandbox, "/info", &dir).await?;
    cx.check("is-dir").json(&answer, "/isDir", true);
    cx.check("mode").json(&answer, "/mode", "drwxr-x---");
    cx.check("permissions").json(&answer, "/permissions", "0750");
    let slash = ask(&sandbox, "/info", &format!("{dir}/")).await?;
    cx.check("slash-at-the-end").json(&slash, "/isDir", true);
    cx.check("root").json(&ask(&sandbox, "/info", "/").await?, "/name", "/");
    Ok(())
}

async fn info_follows_links(cx: Cx) -> Result {
    let sandbox = cx.shared().await?;
    let dir = cx.dir();
    write(&sandbox, &format!("{dir}/target"), "123").await?;
    sandbox.output(&format!("cd '{dir}' && ln -s target link && ln -s . folder && ln -s nowhere dangling")).await?;
    let link = ask(&sandbox, "/info", &format!("{dir}/link")).await?;
    cx.check("name").json(&link, "/name", "link");
    cx.check("size").json(&link, "/size", 3);
    cx.check("mode").on(&link).that(
        link["mode"].as_str().is_some_and(|mode| mode.starts_with('-')),
        "a file",
        &link["mode"],
    );
    cx.check("folder").json(&ask(&sandbox, "/info", &format!("{dir}/folder")).await?, "/isDir", true);
    cx.check("dangling").status(&ask(&sandbox, "/info", &format!("{dir}/dangling")).await?, 404);
    Ok(())
}

async fn info_of_special_files(cx: Cx) -> Result {
    let sandbox = cx.shared().await?;
    let dir = cx.dir();
    let make =
        "touch setuid setgid && chmod 4755 setuid && chmod 2755 setgid && mkdir -m 1777 sticky && mkfifo -m 600 pipe";
    sandbox.output(&format!("mkdir '{dir}' && cd '{dir}' && {make}")).await?;
    for (name, mode, permissions) in [
        ("setuid", "urwxr-xr-x", "0755"),
        ("setgid", "grwxr-xr-x", "0755"),
        ("sticky", "dtrwxrwxrwx", "0777"),
        ("pipe", "prw-------", "0600"),
    ] {
        let answer = ask(&sandbox, "/info", &format!("{dir}/{name}")).await?;
        cx.check(format!("{name}-mode")).json(&answer, "/mode", mode);
        cx.check(format!("{name}-permissions")).json(&answer, "/permissions", permissions);
    }
    cx.check("device").json(&ask(&sandbox, "/info", "/dev/null").await?, "/mode", "Dcrw-rw-rw-");
    Ok(())
}

async fn paths_are_those_of_the_system(cx: Cx) -> Result {
    let sandbox = cx.shared().await?;
    let work = sandbox.get("/work-dir").send().await?.ok()?.string("/dir")?;
    let name = cx.name("relative");
    sandbox.output(&format!("mkdir '{work}/{name}' && printf 12345 >'{work}/{name}/f'")).await?;
    for (id, path) in [
        ("relative", format!("{name}/f")),
        ("dots", format!("./{name}/../{name}/./f")),
        ("absolute", format!("{work}/{name}/f")),
        ("slashes", format!("{work}//{name}///f")),
    ] {
        cx.check(id).json(&ask(&sandbox, "/info", &path).await?, "/size", 5);
    }
    for (id, path) in [("tilde", format!("~/{name}/f")), ("variable", format!("$HOME/{name}/f"))] {
        cx.check(id).status(&ask(&sandbox, "/info", &path).await?, 404);
    }
    Ok(())
}

async fn path_is_required(cx: Cx) -> Result {
    let sandbox = cx.shared().await?;
    for (id, request) in [
        ("info", sandbox.get("/files/info")),
        ("info-empty", sandbox.get("/files/info").query("path", "")),
        ("download", sandbox.get("/files/download")),
        ("delete", sandbox.delete("/files")),
        ("folder", sandbox.post("/files/folder").query("mode", "0755")),
        ("permissions", sandbox.post("/files/permissions").query("mode", "0644")),
    ] {
        let answer = request.send().await?;
        cx.check(id).status(&answer, 400);
        cx.check(format!("{id}-code")).should().json(&answer, "/code", "BAD_REQUEST");
    }
    Ok(())
}

async fn missing_file_is_not_found(cx: Cx) -> Result {
    let sandbox = cx.shared().await?;
    let path = format!("{}/no/such/file", cx.dir());
    for (id, request) in [
        ("download", sandbox.get("/files/download")),
        ("info", sandbox.get("/files/info")),
        ("list", sandbox.get("/files")),
        ("delete", sandbox.delete("/files")),
        ("delete-recursive", sandbox.delete("/files").query("recursive", "true")),
        ("permissions", sandbox.post("/files/permissions").query("mode", "0644")),
    ] {
        let answer = request.query("path", &path).send().await?;
        cx.check(id).status(&answer, 404);
        cx.check(format!("{id}-code")).json(&answer, "/code", "FILE_NOT_FOUND");
        cx.check(format!("{id}-source")).json(&answer, "/source", "DAYTONA_DAEMON");
    }
    Ok(())
}

async fn closed_folders_are_forbidden(cx: Cx) -> Result {
    let sandbox = cx.shared().await?;
    needs_a_plain_user(&sandbox).await?;
    let dir = cx.dir();
    write(&sandbox, &format!("{dir}/closed/file"), "x").await?;
    write(&sandbox, &format!("{dir}/unreadable"), "x").await?;
    sandbox.output(&format!("chmod 000 '{dir}/closed' '{dir}/unreadable'")).await?;
    for (id, operation, path) in [
        ("info", "/info", "closed/file"),
        ("list", "", "closed"),
        ("download", "/download", "closed/file"),
        ("download-unreadable", "/download", "unreadable"),
    ] {
        let answer = ask(&sandbox, operation, &format!("{dir}/{path}")).await?;
        cx.check(id).status(&answer, 403);
        cx.check(format!("{id}-code")).json(&answer, "/code", "FILE_ACCESS_DENIED");
    }
    sandbox.output(&format!("chmod 700 '{dir}/closed'")).await?;
    Ok(())
}

async fn impossible_paths_are_bad_requests(cx: Cx) -> Result {
    let sandbox = cx.shared().await?;
    let dir = cx.dir();
    write(&sandbox, &format!("{dir}/file"), "x").await?;
    let paths = [("below-a-file", format!("{dir}/file/below")), ("long-name", format!("{dir}/{}", "x".repeat(300)))];
    for (id, path) in paths {
        cx.check(format!("info-{id}")).status(&ask(&sandbox, "/info", &path).await?, 400);
        cx.check(format!("download-{id}")).should().status(&ask(&sandbox, "/download", &path).await?, 400);
    }
    Ok(())
}
