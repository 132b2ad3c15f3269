//! Files: what is told of them, what is changed, what goes in and out.

use super::prelude::*;

pub(super) const MUTANTS: &[Mutant] = &[
    answer("files/size-off-by-one", "a file is one byte larger", &["GetFileInfo"], |_, a| {
        a.edit(|v| {
            let size = v["size"].as_u64().unwrap_or_default();
            set(v, "/size", size + 1);
        });
    }),
    answer("files/mode-without-type", "the mode has no letter for the kind", &["GetFileInfo"], |_, a| {
        a.edit(|v| string(v, "/mode", |mode| mode.chars().skip(1).collect()));
    }),
    answer("files/permissions-of-three-digits", "permissions have three digits", &["GetFileInfo"], |_, a| {
        a.edit(|v| string(v, "/permissions", |mode| mode.trim_start_matches('0').to_owned()));
    }),
    answer("files/owner-as-number", "the owner is a number", &["GetFileInfo"], |_, a| {
        a.edit(|v| {
            let number = v["owner"].as_str().and_then(|text| text.parse::<u32>().ok()).unwrap_or_default();
            set(v, "/owner", number);
        });
    }),
    answer("files/times-do-not-move", "every file is of the same time", &["GetFileInfo"], |_, a| {
        a.edit(|v| set(v, "/modTime", "2026-01-01 00:00:00 +0000 UTC"));
    }),
    answer(
        "files/missing-is-400",
        "a file that isn't there is 400",
        &["GetFileInfo", "DownloadFile", "DeleteFile"],
        |_, a| {
            a.restatus(404, 400);
        },
    ),
    answer("files/code-in-lower-case", "error codes are in lower case", &["GetFileInfo", "ListFiles"], |_, a| {
        a.edit_error(|v| string(v, "/code", str::to_lowercase));
    }),
    answer("files/forbidden-is-404", "what may not be entered is 404", &["GetFileInfo", "ListFiles"], |_, a| {
        a.restatus(403, 404);
    }),
    answer("files/list-unsorted", "lists are in reverse order", &["ListFiles"], |_, a| {
        a.edit(|v| list(v, "", |items| items.reverse()));
    }),
    answer("files/hidden-left-out", "lists leave out hidden files", &["ListFiles"], |_, a| {
        a.edit(|v| {
            list(v, "", |items| items.retain(|item| !item["name"].as_str().is_some_and(|n| n.starts_with('.'))))
        });
    }),
    answer("files/list-doubled", "every entry is listed twice", &["ListFiles"], |_, a| {
        a.edit(|v| list(v, "", |items| *items = items.iter().flat_map(|item| [item.clone(), item.clone()]).collect()));
    }),
    answer("files/list-of-a-thousand", "lists end after a thousand", &["ListFiles"], |_, a| {
        a.edit(|v| list(v, "", |items| items.truncate(1000)));
    }),
    answer("files/empty-list-is-null", "an empty folder is `null`", &["ListFiles"], |_, a| {
        a.text(|text| if text.trim() == "[]" { "null".to_owned() } else { text.to_owned() });
    }),
    request("files/depth-ignored", "`depth` is ignored", &["ListFiles"], |q| q.set_query("depth", None)),
    request_in(
        "files/folder-mode-ignored",
        "a folder's mode is ignored",
        &["CreateFolder"],
        &["files/folder_is_made_with_parents"],
        |q| {
            q.set_query("mode", Some("755"));
        },
    ),
    answer("files/folder-made-with-200", "a new folder is 200", &["CreateFolder"], |_, a| a.restatus(201, 200)),
    ignored_in(
        "files/delete-does-nothing",
        "a deletion is answered and not done",
        &["DeleteFile"],
        &["files/delete*"],
        204,
        "",
    ),
    request("files/delete-is-recursive", "a folder is deleted without being asked", &["DeleteFile"], |q| {
        q.set_query("recursive", Some("true"));
    }),
    ignored_in("files/move-does-nothing", "a move is answered and not done", &["MoveFile"], &["files/move*"], 200, ""),
    answer("files/move-conflict-is-400", "a name that is taken is 400", &["MoveFile"], |_, a| a.restatus(409, 400)),
    ignored_in(
        "files/permissions-not-set",
        "permissions are answered and not set",
        &["SetFilePermissions"],
        &["files/permissions_are_set"],
        200,
        "",
    ),
    answer("files/bad-mode-is-fine", "any mode is 200", &["SetFilePermissions"], |_, a| a.restatus(400, 200)),
    request_in(
        "files/upload-loses-the-last-byte",
        "an upload loses its last byte",
        &["UploadFile"],
        &["files/upload*"],
        |q| {
            if !q.header("content-type").starts_with("multipart/") {
                q.body.pop();
            }
        },
    ),
    request_in(
        "files/upload-turns-lines",
        "uploads turn line ends",
        &["UploadFile", "UploadFiles"],
        &["files/upload_equals_download", "files/upload_creates_parents"],
        |q| {
            if !q.header("content-type").starts_with("multipart/") {
                q.body.iter_mut().filter(|byte| **byte == b'\r').for_each(|byte| *byte = b'\n');
            } else if let Some(at) = q.body.windows(4).rposition(|part| part == b"\r\n--").filter(|at| *at > 0) {
                q.body[at - 1] ^= 1;
            }
        },
    ),
    answer("files/upload-without-size", "uploads don't tell the sizes", &["UploadFiles"], |_, a| {
        a.edit(|v| each(v, "/files", |file| drop(remove(file, "/bytes"))));
    }),
    answer("files/bad-upload-is-200", "a file that fails is 200", &["UploadFiles"], |_, a| a.restatus(400, 200)),
    answer("files/upload-errors-lost", "nobody says why a file failed", &["UploadFiles"], |_, a| {
        a.edit_error(|v| set(v, "/errors", json!([])));
    }),
    answer("files/download-loses-the-end", "a download loses its last byte", &["DownloadFile"], |_, a| {
        a.bytes(|body| body.truncate(body.len().saturating_sub(1)));
    }),
    answer("files/download-is-text", "a download is decoded as text", &["DownloadFile"], |_, a| {
        a.bytes(|body| *body = String::from_utf8_lossy(body).into_owned().into_bytes());
    }),
    answer("files/download-has-no-name", "a download doesn't say the file's name", &["DownloadFile"], |_, a| {
        a.drop_header("content-disposition");
    }),
    answer("files/download-of-another-type", "a download says what it guesses to be", &["DownloadFile"], |_, a| {
        if a.is_ok() {
            a.set_header("content-type", "text/plain");
        }
    }),
    request("files/ranges-ignored", "`Range` is ignored", &["DownloadFile"], |q| {
        q.headers.remove("range");
    }),
    answer("files/range-off-by-one", "`Content-Range` counts from 1", &["DownloadFile"], |_, a| {
        let told = a.headers.get("content-range").and_then(|value| value.to_str().ok()).unwrap_or_default();
        let numbers: Vec<u64> = told.split(|c: char| !c.is_ascii_digit()).filter_map(|n| n.parse().ok()).collect();
        if let [from, to, size] = numbers[..] {
            a.set_header("content-range", &format!("bytes {}-{}/{size}", from + 1, to + 1));
        }
    }),
    request("files/conditions-ignored", "`If-Modified-Since` is ignored", &["DownloadFile"], |q| {
        q.headers.remove("if-modified-since");
        q.headers.remove("if-none-match");
    }),
    answer("files/folder-downloads", "a folder is downloaded as nothing", &["DownloadFile"], |_, a| {
        a.restatus(400, 200)
    }),
    answer("files/large-downloads-break-off", "the connection ends in a large file", &["DownloadFile"], |_, a| {
        a.breaks_off = a.body.len() > 1 << 20;
    }),
    request("files/bulk-order-lost", "parts come in another order", &["DownloadFiles"], |q| {
        q.edit(|v| list(v, "/paths", |paths| paths.reverse()));
    }),
    answer("files/bulk-errors-are-files", "what can't be read is a part like a file", &["DownloadFiles"], |_, a| {
        a.text(|text| text.replace("name=\"error\"", "name=\"file\""));
    }),
    answer("files/bulk-boundary-changes", "each answer has another boundary", &["DownloadFiles"], |_, a| {
        a.set_header("content-type", "multipart/form-data; boundary=another");
    }),
    answer("files/bulk-never-ends", "the last boundary is missing", &["DownloadFiles"], |_, a| {
        a.bytes(|body| body.truncate(body.len().saturating_sub(6)));
    }),
];
