use super::{ask, write};
use crate::{client::Answer, prelude::*};

scenarios! { "files";
    /// A folder's entries come by name, hidden ones too, each told of as by itself; links to folders are folders, links to nothing are left out,
    /// and what is further down isn't there. (ListFiles; observed)
    list_is_sorted: Must, covers ["ListFiles", "GetFileInfo"];

    /// An empty folder is `[]`. (ListFiles; SDKs iterate over it)
    list_of_nothing_is_empty: Must, covers ["ListFiles"];

    /// Without a path, the work directory is listed. (observed)
    list_begins_at_the_work_directory: Must, covers ["ListFiles"];

    /// `/files` and `/files/` are the same. (observed)
    list_takes_a_slash: Should, covers ["ListFiles"];

    /// `depth` tells how many levels are listed, links are not descended; 0 and what is no number are 400. (ListFiles: `depth`)
    list_has_a_depth: Must, covers ["ListFiles"], since "0.200";

    /// A file can't be listed: 400. (observed)
    list_of_a_file_is_refused: Must, covers ["ListFiles"];

    /// Any name that a file system takes is listed as it is. (observed)
    list_has_any_name: Must, covers ["ListFiles"];

    /// A folder of thousands is listed whole. (ListFiles)
    list_of_thousands: Must, covers ["ListFiles"];
}

/// All that is told of a file, in a list as by itself.
const INFO: &[&str] =
    &["name", "path", "size", "mode", "permissions", "modTime", "modifiedAt", "isDir", "owner", "group"];

fn names(answer: &Answer) -> Result<Vec<String>> {
    Ok(answer.array("")?.iter().filter_map(|info| info["name"].as_str()).map(str::to_owned).collect())
}

async fn list_is_sorted(cx: Cx) -> Result {
    let sandbox = cx.shared().await?;
    let dir = cx.dir();
    for name in ["b", ".hidden", "a/inner", "C"] {
        write(&sandbox, &format!("{dir}/{name}"), "x").await?;
    }
    sandbox.output(&format!("cd '{dir}' && ln -s a to-a && ln -s nowhere dangling")).await?;
    let answer = ask(&sandbox, "", &dir).await?;
    cx.check("names").on(&answer).eq(names(&answer)?, vec![".hidden", "C", "a", "b", "to-a"]);
    for (index, is_dir) in [false, false, true, false, true].into_iter().enumerate() {
        cx.check(format!("is-dir-{index}")).json(&answer, &format!("/{index}/isDir"), is_dir);
    }
    sandbox.output(&format!("chmod 600 '{dir}/C' && touch -d 2001-02-03 '{dir}/C'")).await?;
    let answer = ask(&sandbox, "", &dir).await?;
    for (index, name) in [".hidden", "C", "a", "b"].into_iter().enumerate() {
        let info = ask(&sandbox, "/info", &format!("{dir}/{name}")).await?;
        cx.check_same(name, &answer, answer.at(&format!("/{index}")), &info.json, INFO);
    }
    Ok(())
}

async fn list_of_nothing_is_empty(cx: Cx) -> Result {
    let sandbox = cx.shared().await?;
    let dir = cx.dir();
    sandbox.output(&format!("mkdir '{dir}'")).await?;
    cx.check("empty").json(&ask(&sandbox, "", &dir).await?, "", json!([]));
    Ok(())
}

async fn list_begins_at_the_work_directory(cx: Cx) -> Result {
    let sandbox = cx.shared().await?;
    let work = sandbox.get("/work-dir").send().await?.ok()?.string("/dir")?;
    let name = cx.name("here");
    write(&sandbox, &format!("{work}/{name}"), "x").await?;
    for (id, request) in [("none", sandbox.get("/files")), ("empty", sandbox.get("/files").query("path", ""))] {
        let answer = request.send().await?;
        cx.check(id).on(&answer).that(names(&answer)?.contains(&name), "the work directory", answer.summary());
    }
    Ok(())
}

async fn list_takes_a_slash(cx: Cx) -> Result {
    let sandbox = cx.shared().await?;
    let dir = cx.dir();
    write(&sandbox, &format!("{dir}/f"), "x").await?;
    let answer = ask(&sandbox, "/", &dir).await?;
    cx.check("status").status(&answer, 200);
    cx.check("name").json(&answer, "/0/name", "f");
    Ok(())
}

async fn list_has_a_depth(cx: Cx) -> Result {
    let sandbox = cx.shared().await?;
    let dir = cx.dir();
    for name in ["a/inner/deep", "a/x", "b"] {
        write(&sandbox, &format!("{dir}/{name}"), "x").await?;
    }
    sandbox.output(&format!("cd '{dir}' && ln -s a link")).await?;
    let list = |depth: &str| sandbox.get("/files").query("path", &dir).query("depth", depth);
    for (depth, expected) in [
        ("1", &["a", "b", "link"][..]),
        ("2", &["a", "b", "inner", "link", "x"]),
        ("9", &["a", "b", "deep", "inner", "link", "x"]),
    ] {
        let answer = list(depth).send().await?;
        let mut names = names(&answer)?;
        names.sort();
        cx.check(format!("depth-{depth}")).on(&answer).eq(names, expected.to_vec());
    }
    for depth in ["0", "-1", "x"] {
        cx.check(format!("refused-{depth}")).status(&list(depth).send().await?, 400);
    }
    Ok(())
}

async fn list_of_a_file_is_refused(cx: Cx) -> Result {
    let sandbox = cx.shared().await?;
    let path = format!("{}/f", cx.dir());
    write(&sandbox, &path, "x").await?;
    cx.check("status").status(&ask(&sandbox, "", &path).await?, 400);
    Ok(())
}

async fn list_has_any_name(cx: Cx) -> Result {
    let sandbox = cx.shared().await?;
    let dir = cx.dir();
    let mut expected = vec![" a b ", "%41", "a+b&c=d", "q\"uo'te", "ünï 漢 🙂", "back\\slash", "new\nline", "<script>"];
    for name in &expected {
        let folder = sandbox.post("/files/folder").query("path", format!("{dir}/{name}")).query("mode", "755");
        cx.check(format!("made {name:?}")).status(&folder.send().await?, 201);
    }
    expected.sort_unstable();
    let answer = ask(&sandbox, "", &dir).await?;
    cx.check("names").on(&answer).eq(names(&answer)?, expected);
    Ok(())
}

async fn list_of_thousands(cx: Cx) -> Result {
    let sandbox = cx.shared().await?;
    let dir = cx.dir();
    sandbox.output(&format!("mkdir '{dir}' && cd '{dir}' && seq -f 'f%05g' 3000 | xargs touch")).await?;
    let answer = ask(&sandbox, "", &dir).await?;
    let names = names(&answer)?;
    cx.check("count").eq(names.len(), 3000);
    cx.check("sorted").that(names.is_sorted(), "sorted by name", "not sorted");
    Ok(())
}
