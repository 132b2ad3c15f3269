use super::{ask, needs_a_plain_user, write};
use crate::{client::Request, prelude::*};

scenarios! { "files";
    /// A folder is made with those above it and with the mode asked for; one that is there stays as it is. (CreateFolder)
    folder_is_made_with_parents: Must, covers ["CreateFolder"];

    /// A mode that isn't octal, and a path through a file, are 400, and nothing is made. (CreateFolder; observed)
    folder_refusals: Must, covers ["CreateFolder"];

    /// A file is deleted: 204, and it is gone. (DeleteFile)
    delete_removes_a_file: Must, covers ["DeleteFile"];

    /// A folder needs `recursive=true`, in exactly these letters. (DeleteFile; observed)
    delete_of_a_folder_is_asked_for: Must, covers ["DeleteFile"];

    /// Of a link to a folder only the link is deleted. (observed)
    delete_spares_what_a_link_leads_to: Must, covers ["DeleteFile"];

    /// What the system forbids is refused, and the file stays. (observed)
    delete_refused_by_the_system: Must, covers ["DeleteFile"];

    /// Files and folders move, and what was there is there under the new name only. (MoveFile)
    move_renames: Must, covers ["MoveFile"];

    /// Both names are needed; a missing source or a missing folder above the destination is 404. (MoveFile; observed)
    move_needs_both_ends: Must, covers ["MoveFile"];

    /// What is there is never overwritten: 409. (MoveFile; observed)
    move_does_not_overwrite: Must, covers ["MoveFile"];

    /// A folder can't move into itself, and is whole afterwards.
    move_into_itself_is_refused: Should, covers ["MoveFile"], since "0.200";

    /// Mode, owner and group are set, by name or number; nothing given changes nothing. (SetFilePermissions; observed)
    permissions_are_set: Must, covers ["SetFilePermissions"];

    /// Modes that aren't octal, and users and groups that nobody knows, are 400. (SetFilePermissions; observed)
    permission_refusals: Must, covers ["SetFilePermissions"];

    /// A plain user can't give files away: 400. (observed)
    ownership_is_the_systems: Must, covers ["SetFilePermissions"];
}

fn folder(sandbox: &Sandbox, path: &str, mode: &str) -> Request {
    sandbox.post("/files/folder").query("path", path).query("mode", mode)
}

fn delete(sandbox: &Sandbox, path: &str) -> Request {
    sandbox.delete("/files").query("path", path)
}

fn rename(sandbox: &Sandbox, from: &str, to: &str) -> Request {
    sandbox.post("/files/move").query("source", from).query("destination", to)
}

async fn mode(sandbox: &Sandbox, path: &str) -> Result<String> {
    Ok(sandbox.output(&format!("stat -c %a '{path}'")).await?.trim().to_owned())
}

async fn folder_is_made_with_parents(cx: Cx) -> Result {
    let sandbox = cx.shared().await?;
    let dir = cx.dir();
    let made = folder(&sandbox, &format!("{dir}/a/b c/ü"), "0700").send().await?;
    cx.check("status").status(&made, 201);
    cx.check("mode").eq(mode(&sandbox, &format!("{dir}/a/b c/ü")).await?, "700");
    let again = folder(&sandbox, &format!("{dir}/a/b c/ü"), "755").send().await?;
    cx.check("again").status(&again, 201);
    cx.check("mode-kept").eq(mode(&sandbox, &format!("{dir}/a/b c/ü")).await?, "700");
    let default = sandbox.post("/files/folder").query("path", format!("{dir}/plain")).send().await?;
    cx.check("default").status(&default, 201);
    cx.check("default-mode").eq(mode(&sandbox, &format!("{dir}/plain")).await?, "755");
    Ok(())
}

async fn folder_refusals(cx: Cx) -> Result {
    let sandbox = cx.shared().await?;
    let dir = cx.dir();
    write(&sandbox, &format!("{dir}/file"), "x").await?;
    for mode in ["999", "abc", "-1"] {
        let answer = folder(&sandbox, &format!("{dir}/new"), mode).send().await?;
        cx.check(format!("mode-{mode}")).status(&answer, 400);
    }
    for (id, path) in [("file", "file"), ("below-a-file", "file/below")] {
        cx.check(id).status(&folder(&sandbox, &format!("{dir}/{path}"), "755").send().await?, 400);
    }
    cx.check("nothing-made").status(&ask(&sandbox, "/info", &format!("{dir}/new")).await?, 404);
    Ok(())
}

async fn delete_removes_a_file(cx: Cx) -> Result {
    let sandbox = cx.shared().await?;
    let path = format!("{}/a b.txt", cx.dir());
    write(&sandbox, &path, "x").await?;
    let answer = delete(&sandbox, &path).send().await?;
    cx.check("status").status(&answer, 204);
    cx.check("gone").status(&ask(&sandbox, "/info", &path).await?, 404);
    cx.check("again").status(&delete(&sandbox, &path).send().await?, 404);
    let python = format!("{}/with-flag", cx.dir());
    write(&sandbox, &python, "x").await?;
    let answer = delete(&sandbox, &python).query("recursive", "false").send().await?;
    cx.check("recursive-false").status(&answer, 204);
    Ok(())
}

async fn delete_of_a_folder_is_asked_for(cx: Cx) -> Result {
    let sandbox = cx.shared().await?;
    let dir = cx.dir();
    write(&sandbox, &format!("{dir}/sub/file"), "x").await?;
    cx.check("plain").status(&delete(&sandbox, &dir).send().await?, 400);
    for flag in ["1", "false", "TRUE"] {
        let answer = delete(&sandbox, &dir).query("recursive", flag).send().await?;
        cx.check(format!("recursive-{flag}")).status(&answer, 400);
    }
    cx.check("kept").status(&ask(&sandbox, "/info", &format!("{dir}/sub/file")).await?, 200);
    cx.check("true").status(&delete(&sandbox, &dir).query("recursive", "true").send().await?, 204);
    cx.check("gone").status(&ask(&sandbox, "/info", &dir).await?, 404);
    Ok(())
}

async fn delete_spares_what_a_link_leads_to(cx: Cx) -> Result {
    let sandbox = cx.shared().await?;
    let dir = cx.dir();
    write(&sandbox, &format!("{dir}/target/file"), "kept").await?;
    sandbox.output(&format!("cd '{dir}' && ln -s target link")).await?;
    let link = format!("{dir}/link");
    cx.check("plain").status(&delete(&sandbox, &link).send().await?, 400);
    cx.check("recursive").status(&delete(&sandbox, &link).query("recursive", "true").send().await?, 204);
    cx.check("link-gone").status(&ask(&sandbox, "/info", &link).await?, 404);
    cx.check("target-kept").eq(sandbox.download(&format!("{dir}/target/file")).await?.text(), "kept");
    Ok(())
}

async fn delete_refused_by_the_system(cx: Cx) -> Result {
    let sandbox = cx.shared().await?;
    needs_a_plain_user(&sandbox).await?;
    let dir = cx.dir();
    write(&sandbox, &format!("{dir}/locked/file"), "kept").await?;
    sandbox.output(&format!("chmod 500 '{dir}/locked'")).await?;
    let answer = delete(&sandbox, &format!("{dir}/locked/file")).send().await?;
    cx.check("status").status_in(&answer, &[400, 403]);
    cx.check("kept").status(&ask(&sandbox, "/info", &format!("{dir}/locked/file")).await?, 200);
    sandbox.output(&format!("chmod 700 '{dir}/locked'")).await?;
    Ok(())
}

async fn move_renames(cx: Cx) -> Result {
    let sandbox = cx.shared().await?;
    let dir = cx.dir();
    write(&sandbox, &format!("{dir}/a"), "contents").await?;
    write(&sandbox, &format!("{dir}/sub/inner"), "inner").await?;
    let moved = rename(&sandbox, &format!("{dir}/a"), &format!("{dir}/sub/é b")).send().await?;
    cx.check("file").status(&moved, 200);
    cx.check("content").eq(sandbox.download(&format!("{dir}/sub/é b")).await?.text(), "contents");
    cx.check("old-gone").status(&ask(&sandbox, "/info", &format!("{dir}/a")).await?, 404);
    cx.check("folder").status(&rename(&sandbox, &format!("{dir}/sub"), &format!("{dir}/sub2")).send().await?, 200);
    cx.check("inner").eq(sandbox.download(&format!("{dir}/sub2/inner")).await?.text(), "inner");
    cx.check("old-folder-gone").status(&ask(&sandbox, "/info", &format!("{dir}/sub")).await?, 404);
    Ok(())
}

async fn move_needs_both_ends(cx: Cx) -> Result {
    let sandbox = cx.shared().await?;
    let dir = cx.dir();
    let file = format!("{dir}/a");
    write(&sandbox, &file, "x").await?;
    let request = || sandbox.post("/files/move");
    cx.check("no-destination").status(&request().query("source", &file).send().await?, 400);
    cx.check("no-source").status(&request().query("destination", format!("{dir}/b")).send().await?, 400);
    cx.check("empty").status(&rename(&sandbox, "", &file).send().await?, 400);
    cx.check("missing").status(&rename(&sandbox, &format!("{dir}/nope"), &format!("{dir}/b")).send().await?, 404);
    cx.check("no-folder").status(&rename(&sandbox, &file, &format!("{dir}/nope/b")).send().await?, 404);
    cx.check("kept").status(&ask(&sandbox, "/info", &file).await?, 200);
    Ok(())
}

async fn move_does_not_overwrite(cx: Cx) -> Result {
    let sandbox = cx.shared().await?;
    let dir = cx.dir();
    write(&sandbox, &format!("{dir}/a"), "a").await?;
    write(&sandbox, &format!("{dir}/b"), "b").await?;
    write(&sandbox, &format!("{dir}/folder/f"), "f").await?;
    for to in ["b", "folder"] {
        let answer = rename(&sandbox, &format!("{dir}/a"), &format!("{dir}/{to}")).send().await?;
        cx.check(format!("onto-{to}")).status(&answer, 409);
    }
    cx.check("b-kept").eq(sandbox.download(&format!("{dir}/b")).await?.text(), "b");
    cx.check("a-kept").eq(sandbox.download(&format!("{dir}/a")).await?.text(), "a");
    Ok(())
}

async fn move_into_itself_is_refused(cx: Cx) -> Result {
    let sandbox = cx.shared().await?;
    let dir = cx.dir();
    write(&sandbox, &format!("{dir}/d/file"), "kept").await?;
    let answer = rename(&sandbox, &format!("{dir}/d"), &format!("{dir}/d/inside")).send().await?;
    cx.check("status").status(&answer, 400);
    cx.check("kept").eq(sandbox.download(&format!("{dir}/d/file")).await?.text(), "kept");
    Ok(())
}

async fn permissions_are_set(cx: Cx) -> Result {
    let sandbox = cx.shared().await?;
    let path = format!("{}/f", cx.dir());
    write(&sandbox, &path, "x").await?;
    let set = || sandbox.post("/files/permissions").query("path", &path);
    cx.check("mode").status(&set().query("mode", "0741").send().await?, 200);
    cx.check("mode-set").eq(mode(&sandbox, &path).await?, "741");
    cx.check("nothing").status(&set().send().await?, 200);
    cx.check("nothing-set").eq(mode(&sandbox, &path).await?, "741");
    let own = sandbox.output("id -un; id -gn; id -u; id -g").await?;
    let own: Vec<&str> = own.lines().collect();
    if let [user, group, uid, gid] = own[..] {
        cx.check("names").status(&set().query("owner", user).query("group", group).send().await?, 200);
        cx.check("numbers").status(&set().query("owner", uid).query("group", gid).send().await?, 200);
        cx.check("owner-kept").json(&ask(&sandbox, "/info", &path).await?, "/owner", uid);
    }
    // Bits beyond the nine are left out.
    cx.check("special").should().status(&set().query("mode", "4755").send().await?, 200);
    cx.check("special-set").should().eq(mode(&sandbox, &path).await?, "755");
    Ok(())
}

async fn permission_refusals(cx: Cx) -> Result {
    let sandbox = cx.shared().await?;
    let path = format!("{}/f", cx.dir());
    write(&sandbox, &path, "x").await?;
    let before = mode(&sandbox, &path).await?;
    for (id, name, value) in [
        ("not-octal", "mode", "8"),
        ("no-number", "mode", "rwx"),
        ("unknown-user", "owner", "no-such-user"),
        ("unknown-group", "group", "no-such-group"),
    ] {
        let answer = sandbox.post("/files/permissions").query("path", &path).query(name, value).send().await?;
        cx.check(id).status(&answer, 400);
    }
    cx.check("unchanged").eq(mode(&sandbox, &path).await?, before);
    Ok(())
}

async fn ownership_is_the_systems(cx: Cx) -> Result {
    let sandbox = cx.shared().await?;
    needs_a_plain_user(&sandbox).await?;
    let path = format!("{}/f", cx.dir());
    write(&sandbox, &path, "x").await?;
    let answer = sandbox.post("/files/permissions").query("path", &path).query("owner", "root").send().await?;
    cx.check("status").status_in(&answer, &[400, 403]);
    let owner = sandbox.output(&format!("stat -c %U '{path}'")).await?;
    cx.check("kept").ne(owner.trim(), "root");
    Ok(())
}
