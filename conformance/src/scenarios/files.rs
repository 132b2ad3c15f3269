use crate::prelude::*;

scenarios! { "files";
    /// An upload creates the folders above it, and what comes back is what was sent, byte for byte. (UploadFiles)
    upload_creates_parents: Must, covers ["UploadFiles", "DownloadFile"];

    /// A file that does not exist is answered 404 with the code `FILE_NOT_FOUND`, whatever is asked about it.
    /// (DownloadFile, GetFileInfo)
    missing_file_is_not_found: Must, covers ["DownloadFile", "GetFileInfo"], since "0.200";
}

async fn upload_creates_parents(cx: Cx) -> Result {
    let sandbox = cx.shared().await?;
    let path = format!("{}/new/every byte.bin", cx.dir());
    let bytes: Vec<u8> = (0..=255).collect();
    let answer = sandbox.upload(&path, &bytes).await?;
    cx.check("uploaded").status(&answer, 200);
    let answer = sandbox.download(&path).await?;
    cx.check("downloaded").status(&answer, 200);
    cx.check("same-bytes").on(&answer).that(answer.body == bytes, "all 256 bytes", answer.body.len());
    Ok(())
}

async fn missing_file_is_not_found(cx: Cx) -> Result {
    let sandbox = cx.shared().await?;
    for (id, path) in [("download", "/files/download"), ("info", "/files/info")] {
        let answer = sandbox.get(path).query("path", "no/such/file").send().await?;
        cx.check(id).status(&answer, 404);
        cx.check(format!("{id}-code")).json(&answer, "/code", "FILE_NOT_FOUND");
    }
    Ok(())
}
