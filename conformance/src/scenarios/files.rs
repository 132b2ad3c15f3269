use crate::{
    context::{Cx, HarnessError},
    scenario::scenarios,
};

scenarios! { "files";
    /// An upload creates the folders above it, and what comes back is what was sent, byte for byte.
    upload_creates_parents: Must, since "0.190", needs [Sandboxes, Files], covers ["UploadFiles", "DownloadFile"];

    /// A file that does not exist is answered 404, whatever is asked about it.
    missing_file_is_not_found: Must, since "0.190", needs [Sandboxes, Files], covers ["DownloadFile", "GetFileInfo"];
}

async fn upload_creates_parents(cx: &mut Cx) -> Result<(), HarnessError> {
    let toolbox = cx.toolbox().await?;
    let bytes: Vec<u8> = (0..=255).collect();
    let answer = toolbox.upload("new/folder/every byte.bin", &bytes).await?;
    cx.check("uploaded", answer.status().as_u16(), 200);
    let answer = toolbox.get("/files/download", &[("path", "new/folder/every byte.bin")]).await?;
    cx.check("downloaded", answer.status().as_u16(), 200);
    cx.check("same-bytes", answer.bytes().await?.as_ref() == bytes, true);
    Ok(())
}

async fn missing_file_is_not_found(cx: &mut Cx) -> Result<(), HarnessError> {
    let toolbox = cx.toolbox().await?;
    for (id, path) in [("download", "/files/download"), ("info", "/files/info")] {
        let answer = toolbox.get(path, &[("path", "no/such/file")]).await?;
        cx.check(id, answer.status().as_u16(), 404);
    }
    Ok(())
}
