//! Files up and down.

use serde_json::json;

use super::scenarios;
use crate::{
    sdk::{
        Cx,
        context::{PATIENCE, Shown},
    },
    stop::{Result, Stop},
};

scenarios! { "files";
    /// Every byte arrives as it is, both ways. (UploadFile, DownloadFile)
    bytes: Must;
    /// A large file isn't read into memory to be sent. (uploadFileStream, upload_file_stream)
    upload_is_streamed: Must;
    /// A large file isn't collected in memory to be saved. (downloadFile with a local path)
    download_is_streamed: Must;
    /// A download that is cut off is told; half a file isn't taken for a whole one. (DownloadFile, DownloadFiles)
    cut_download_is_told: Must;
    /// A disk that is full is told with the server's message. (UploadFiles, 400)
    full_disk_is_told: Must;
    /// An empty file is a file. (UploadFile, DownloadFile)
    empty: Must;
}

const LARGE: u64 = 96 << 20;
/// Buffers of sockets and pipes, and what the collector hasn't collected.
const ROOM: u64 = 64 << 20;

async fn bytes(cx: Cx) -> Result {
    use base64::Engine;
    cx.connect().await?;
    let sandbox = cx.sandbox().await?;
    let all: Vec<u8> = (0..=255).chain(*b"\r\n--boundary\r\n\0").collect();
    let encoded = base64::engine::general_purpose::STANDARD.encode(all);
    cx.call("upload", json!({"sandbox": sandbox, "path": "all.bin", "base64": encoded})).await?.ok()?;
    let told = cx.call("download", json!({"sandbox": sandbox, "path": "all.bin"})).await?;
    cx.check("same").eq(told.field("base64"), json!(encoded));
    let size = cx.inside(&sandbox, "wc -c < all.bin").await?;
    cx.check("size").eq(size.trim(), "271");
    Ok(())
}

/// How much memory a call took at most, beyond what was there.
async fn grown(cx: &Cx, op: &str, args: serde_json::Value) -> Result<u64> {
    let cannot = || Stop::not_applicable("this machine's kernel doesn't say how much memory a process had");
    if !cx.driver.reset_peak() {
        return Err(cannot());
    }
    let before = cx.driver.peak().ok_or_else(cannot)?;
    cx.call_within(op, args, PATIENCE * 3).await?.ok()?;
    Ok(cx.driver.peak().ok_or_else(cannot)?.saturating_sub(before))
}

async fn upload_is_streamed(cx: Cx) -> Result {
    cx.connect().await?;
    let sandbox = cx.sandbox().await?;
    let file = tempfile::NamedTempFile::new()?;
    file.as_file().set_len(LARGE)?;
    let args = json!({"sandbox": sandbox, "path": "large.bin", "file": file.path(), "stream": true});
    let grown = grown(&cx, "upload", args).await?;
    cx.check("memory").that(grown < ROOM, "less than 64 MiB for 96 MiB", format!("{} MiB", grown >> 20));
    let size = cx.inside(&sandbox, "wc -c < large.bin; rm large.bin").await?;
    cx.check("size").eq(size.trim(), LARGE.to_string().as_str());
    Ok(())
}

async fn download_is_streamed(cx: Cx) -> Result {
    cx.connect().await?;
    let sandbox = cx.sandbox().await?;
    cx.inside(&sandbox, &format!("head -c {LARGE} /dev/zero > large.bin")).await?;
    let directory = tempfile::tempdir()?;
    let file = directory.path().join("large.bin");
    let grown = grown(&cx, "download", json!({"sandbox": sandbox, "path": "large.bin", "file": file})).await?;
    cx.check("memory").that(grown < ROOM, "less than 64 MiB for 96 MiB", format!("{} MiB", grown >> 20));
    cx.check("size").eq(file.metadata().map(|data| data.len()).ok(), Some(LARGE));
    Ok(())
}

async fn cut_download_is_told(cx: Cx) -> Result {
    cx.connect().await?;
    let sandbox = cx.sandbox().await?;
    cx.inside(&sandbox, "head -c 300000 /dev/zero > a.bin").await?;
    let operations = ["DownloadFile", "DownloadFiles"];
    let effect = json!({"type": "truncate", "bytes": 100_000});
    cx.world.fault(json!({"match": {"operation": operations}, "effect": effect})).await?;
    let directory = tempfile::tempdir()?;
    for (check, more) in [
        ("memory", json!({})),
        ("file", json!({"file": directory.path().join("a.bin")})),
        ("stream", json!({"stream": true})),
    ] {
        let mut args = json!({"sandbox": sandbox, "path": "a.bin"});
        args.as_object_mut().expect("an object").extend(more.as_object().cloned().unwrap_or_default());
        let told = match cx.call_within("download", args, PATIENCE).await {
            Err(Stop::NotApplicable(_)) => continue,
            told => told?,
        };
        // The bytes themselves would fill the report.
        let got = told.field("bytes");
        let shown = if told.returned() { format!("it returned {got} bytes") } else { told.to_string() };
        cx.check(check).that(told.thrown().is_some(), "an error", shown);
    }
    Ok(())
}

async fn full_disk_is_told(cx: Cx) -> Result {
    cx.connect().await?;
    let sandbox = cx.sandbox().await?;
    cx.world.fault(json!({"effect": {"type": "diskFull"}})).await?;
    let told = cx.call("upload", json!({"sandbox": sandbox, "path": "a", "base64": "YQ=="})).await?;
    let message = told.thrown().map(|thrown| thrown.message.clone()).unwrap_or_default();
    cx.check("throws").that(told.thrown().is_some(), "an error", Shown(&told));
    cx.check("message").contains(&message, "no space left on device");
    Ok(())
}

async fn empty(cx: Cx) -> Result {
    cx.connect().await?;
    let sandbox = cx.sandbox().await?;
    cx.call("upload", json!({"sandbox": sandbox, "path": "none", "base64": ""})).await?.ok()?;
    let told = cx.call("download", json!({"sandbox": sandbox, "path": "none"})).await?;
    cx.check("bytes").that(told.field("bytes") == 0, "no bytes", Shown(&told));
    Ok(())
}
