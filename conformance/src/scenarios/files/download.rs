use super::{noise, write};
use crate::{client::Request, prelude::*};

scenarios! { "files";
    /// A download is `application/octet-stream` with its length, a file name in both forms, and a date. (DownloadFile; observed)
    download_has_headers: Must, covers ["DownloadFile"];

    /// Names that aren't Latin-1 are there in `filename*`, quotes and backslashes are escaped. (observed; RFC 6266)
    download_names_files: Must, covers ["DownloadFile"];

    /// A range is answered 206 with exactly its bytes; one beyond the end 416. (observed; RFC 9110)
    download_takes_ranges: Must, covers ["DownloadFile"];

    /// Several ranges come as `multipart/byteranges`. (RFC 9110)
    download_takes_several_ranges: Should, covers ["DownloadFile"];

    /// What has not changed since is 304. (RFC 9110)
    download_takes_conditions: Should, covers ["DownloadFile"];

    /// A folder can't be downloaded: 400. (DownloadFile; observed)
    download_of_a_folder_is_refused: Must, covers ["DownloadFile"];

    /// What never ends, or would wait for ever, is refused: devices and pipes.
    download_of_special_files_is_refused: Should, covers ["DownloadFile"], since "0.200";

    /// A reader that takes its time gets every byte. (observed)
    download_waits_for_slow_readers: Must, covers ["DownloadFile"], classes [Racing];

    /// A reader that goes away in the middle disturbs nobody. (observed)
    download_survives_leavers: Must, covers ["DownloadFile"];

    /// Thirty megabytes come back as they are on the disk. (DownloadFile)
    download_of_a_large_file: Must, covers ["DownloadFile"];
}

fn download(sandbox: &Sandbox, path: &str) -> Request {
    sandbox.get("/files/download").query("path", path)
}

/// Makes a file of random bytes inside.
async fn fill(sandbox: &Sandbox, path: &str, size: u32) -> Result {
    let made = format!("mkdir -p \"$(dirname '{path}')\" && head -c {size} /dev/urandom >'{path}'");
    sandbox.output(&made).await?;
    Ok(())
}

async fn download_has_headers(cx: Cx) -> Result {
    let (sandbox, path) = (cx.shared().await?, format!("{}/a b.txt", cx.dir()));
    write(&sandbox, &path, "0123456789").await?;
    let answer = download(&sandbox, &path).send().await?;
    cx.check("status").status(&answer, 200);
    cx.check("type").on(&answer).eq(answer.header("content-type"), "application/octet-stream");
    cx.check("length").on(&answer).eq(answer.header("content-length"), "10");
    cx.check("ranges").on(&answer).eq(answer.header("accept-ranges"), "bytes");
    let disposition = answer.header("content-disposition");
    cx.check("disposition").on(&answer).eq(disposition, "attachment; filename=\"a b.txt\"; filename*=utf-8''a%20b.txt");
    let date = chrono::DateTime::parse_from_rfc2822(answer.header("last-modified"));
    cx.check("date").on(&answer).that(date.is_ok(), "a date", answer.header("last-modified"));
    cx.check("request-id").on(&answer).that(
        uuid::Uuid::try_parse(answer.header("x-request-id")).is_ok(),
        "a UUID",
        answer.header("x-request-id"),
    );
    Ok(())
}

async fn download_names_files(cx: Cx) -> Result {
    let (sandbox, dir) = (cx.shared().await?, cx.dir());
    for (id, name, expected) in [
        ("unicode", "漢🙂", "filename*=utf-8''%E6%BC%A2%F0%9F%99%82"),
        ("quote", "q\"x", "filename=\"q\\\"x\"; filename*=utf-8''q%22x"),
        ("backslash", "b\\x", "filename=\"b\\\\x\""),
    ] {
        let path = format!("{dir}/{name}");
        let sent = sandbox.post("/files/upload").query("path", &path);
        sent.form(crate::client::Form::new().file("file", "f", b"x")).send().await?.ok()?;
        let answer = download(&sandbox, &path).send().await?;
        let disposition = answer.headers.get("content-disposition").map(|value| value.as_bytes()).unwrap_or_default();
        cx.check(id).on(&answer).contains(&String::from_utf8_lossy(disposition), expected);
    }
    Ok(())
}

async fn download_takes_ranges(cx: Cx) -> Result {
    let (sandbox, path) = (cx.shared().await?, format!("{}/f", cx.dir()));
    let bytes = noise(100_000, 3);
    sandbox.upload(&path, &bytes).await?.ok()?;
    for (range, from, to) in [
        ("bytes=0-0", 0, 1),
        ("bytes=10-19", 10, 20),
        ("bytes=99990-", 99_990, 100_000),
        ("bytes=-5", 99_995, 100_000),
        ("bytes=50000-999999", 50_000, 100_000),
    ] {
        let answer = download(&sandbox, &path).header("Range", range).send().await?;
        cx.check(format!("status {range}")).status(&answer, 206);
        let told = answer.header("content-range");
        cx.check(format!("range {range}")).on(&answer).eq(told, format!("bytes {from}-{}/100000", to - 1));
        cx.check(format!("bytes {range}")).on(&answer).that(
            answer.body == bytes[from..to],
            "the range",
            answer.body.len(),
        );
    }
    let beyond = download(&sandbox, &path).header("Range", "bytes=100000-").send().await?;
    cx.check("beyond").status(&beyond, 416);
    cx.check("beyond-size").on(&beyond).eq(beyond.header("content-range"), "bytes */100000");
    let other = download(&sandbox, &path).header("Range", "lines=1-2").send().await?;
    cx.check("other-unit").status_in(&other, &[200, 416]);
    Ok(())
}

async fn download_takes_several_ranges(cx: Cx) -> Result {
    let (sandbox, path) = (cx.shared().await?, format!("{}/f", cx.dir()));
    write(&sandbox, &path, "0123456789abcdef").await?;
    let answer = download(&sandbox, &path).header("Range", "bytes=0-2,10-12").send().await?;
    cx.check("status").status(&answer, 206);
    let kind = answer.header("content-type");
    cx.check("type").on(&answer).that(kind.starts_with("multipart/byteranges"), "multipart/byteranges", kind);
    for part in ["bytes 0-2/16", "bytes 10-12/16", "\r\n\r\n012\r\n", "\r\n\r\nabc\r\n"] {
        cx.check(format!("part {part:?}")).on(&answer).contains(&answer.text(), part);
    }
    Ok(())
}

async fn download_takes_conditions(cx: Cx) -> Result {
    let (sandbox, path) = (cx.shared().await?, format!("{}/f", cx.dir()));
    write(&sandbox, &path, "0123456789").await?;
    let date = download(&sandbox, &path).send().await?.ok()?.header("last-modified").to_owned();
    let same = download(&sandbox, &path).header("If-Modified-Since", &date).send().await?;
    cx.check("unchanged").status(&same, 304);
    let changed = download(&sandbox, &path).header("If-Modified-Since", "Sun, 06 Nov 1994 08:49:37 GMT").send().await?;
    cx.check("changed").status(&changed, 200);
    cx.check("content").on(&changed).eq(changed.text(), "0123456789");
    Ok(())
}

async fn download_of_a_folder_is_refused(cx: Cx) -> Result {
    let (sandbox, dir) = (cx.shared().await?, cx.dir());
    write(&sandbox, &format!("{dir}/f"), "x").await?;
    cx.check("status").status(&download(&sandbox, &dir).send().await?, 400);
    Ok(())
}

async fn download_of_special_files_is_refused(cx: Cx) -> Result {
    let (sandbox, dir) = (cx.shared().await?, cx.dir());
    sandbox.output(&format!("mkdir '{dir}' && mkfifo '{dir}/pipe'")).await?;
    cx.check("pipe").status(&download(&sandbox, &format!("{dir}/pipe")).send().await?, 400);
    cx.check("device").status(&download(&sandbox, "/dev/zero").send().await?, 400);
    Ok(())
}

async fn download_waits_for_slow_readers(cx: Cx) -> Result {
    let (sandbox, path) = (cx.shared().await?, format!("{}/f", cx.dir()));
    fill(&sandbox, &path, 20_000_000).await?;
    let mut open = download(&sandbox, &path).open().await?;
    cx.check("status").eq(open.status, 200);
    let first = open.chunk(Duration::from_secs(10)).await?.map_or(0, |chunk| chunk.len());
    // Others are served while this one waits.
    cx.check("others").status(&download(&sandbox, &path).header("Range", "bytes=0-9").send().await?, 206);
    cx.check("others-run").json(&sandbox.exec("echo free").await?, "/result", "free\n");
    let mut size = first;
    while let Some(chunk) = open.chunk(Duration::from_secs(10)).await? {
        size += chunk.len();
    }
    cx.check("every-byte").eq(size, 20_000_000);
    Ok(())
}

async fn download_survives_leavers(cx: Cx) -> Result {
    let (sandbox, path) = (cx.shared().await?, format!("{}/f", cx.dir()));
    fill(&sandbox, &path, 20_000_000).await?;
    for _ in 0..8 {
        let mut open = download(&sandbox, &path).open().await?;
        open.chunk(Duration::from_secs(10)).await?;
    }
    let whole = download(&sandbox, &path).send().await?;
    cx.check("whole").eq(whole.body.len(), 20_000_000);
    Ok(())
}

async fn download_of_a_large_file(cx: Cx) -> Result {
    let (sandbox, path) = (cx.shared().await?, format!("{}/f", cx.dir()));
    fill(&sandbox, &path, 30_000_000).await?;
    let answer = download(&sandbox, &path).send().await?;
    use sha2::{Digest, Sha256};
    let sum: String = Sha256::digest(&answer.body).iter().map(|byte| format!("{byte:02x}")).collect();
    let inside = sandbox.output(&format!("sha256sum <'{path}'")).await?;
    cx.check("length").eq(answer.header("content-length"), "30000000");
    cx.check("sum").eq(sum.as_str(), inside.split_whitespace().next().unwrap_or_default());
    Ok(())
}
