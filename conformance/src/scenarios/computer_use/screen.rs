use base64::{Engine, engine::general_purpose::STANDARD};

use super::{get, open_window, start};
use crate::{client::Answer, prelude::*};

scenarios! { "computer_use";
    /// A screenshot is a PNG of the whole display in base64; the cursor's position is 0, 0 unless it is shown.
    /// (TakeScreenshot; observed)
    screenshot_is_the_display: Must, covers ["TakeScreenshot", "GetDisplayInfo"], since "0.200";

    /// A region has the size that was asked for. (TakeRegionScreenshot)
    region_has_its_size: Must, covers ["TakeRegionScreenshot"], since "0.200";

    /// A compressed screenshot says how large it is, and can be JPEG, and smaller. (TakeCompressedScreenshot,
    /// TakeCompressedRegionScreenshot)
    screenshots_are_compressed: Must, covers ["TakeCompressedScreenshot", "TakeCompressedRegionScreenshot"], since "0.200";

    /// Bad parameters of screenshots are 400. (TakeRegionScreenshot, TakeCompressedScreenshot; observed)
    screenshot_parameters_are_checked: Must,
        covers ["TakeScreenshot", "TakeRegionScreenshot", "TakeCompressedScreenshot", "TakeCompressedRegionScreenshot"],
        since "0.200";

    /// An open window is listed with its title and where it is. (GetWindows)
    windows_are_listed: Must, covers ["GetWindows"], since "0.200";
}

/// The bytes of a screenshot.
fn file(answer: &Answer) -> Result<Vec<u8>> {
    let text = answer.string("/screenshot")?;
    STANDARD.decode(&text).map_err(|error| Stop::untestable(format!("the screenshot isn't base64: {error}")))
}

/// Width and height of a PNG, from its header.
fn png_size(file: &[u8]) -> Option<(u32, u32)> {
    let number = |at: usize| Some(u32::from_be_bytes(file.get(at..at + 4)?.try_into().ok()?));
    file.starts_with(b"\x89PNG\r\n\x1a\n").then_some(())?;
    Some((number(16)?, number(20)?))
}

fn is_jpeg(file: &[u8]) -> bool {
    file.starts_with(&[0xff, 0xd8, 0xff])
}

async fn display(sandbox: &Sandbox) -> Result<(u32, u32)> {
    let info = get(sandbox, "display/info").await?.ok()?;
    let length = |name: &str| info.at(&format!("/displays/0/{name}")).as_u64().unwrap_or_default() as u32;
    Ok((length("width"), length("height")))
}

async fn screenshot_is_the_display(cx: Cx) -> Result {
    let sandbox = cx.shared().await?;
    start(&sandbox).await?;
    let size = display(&sandbox).await?;
    cx.check("has-size").that(size.0 > 0 && size.1 > 0, "a display with a size", size);
    let plain = get(&sandbox, "screenshot").await?;
    cx.check("status").status(&plain, 200);
    cx.check("size").on(&plain).eq(png_size(&file(&plain)?), Some(size));
    cx.check("no-cursor").json(&plain, "/cursorPosition", json!({"x": 0, "y": 0}));
    let with = get(&sandbox, "screenshot?showCursor=true").await?;
    cx.check("with-cursor").on(&with).eq(png_size(&file(&with)?), Some(size));
    cx.check("cursor").on(&with).that(with.at("/cursorPosition/x").is_i64(), "a position", with.at("/cursorPosition"));
    Ok(())
}

async fn region_has_its_size(cx: Cx) -> Result {
    let sandbox = cx.shared().await?;
    start(&sandbox).await?;
    let part = get(&sandbox, "screenshot/region?x=10&y=20&width=120&height=50").await?;
    cx.check("status").status(&part, 200);
    cx.check("size").on(&part).eq(png_size(&file(&part)?), Some((120, 50)));
    Ok(())
}

async fn screenshots_are_compressed(cx: Cx) -> Result {
    let sandbox = cx.shared().await?;
    start(&sandbox).await?;
    let (width, height) = display(&sandbox).await?;
    let half = get(&sandbox, "screenshot/compressed?scale=0.5").await?;
    cx.check("status").status(&half, 200);
    cx.check("half").on(&half).eq(png_size(&file(&half)?), Some((width / 2, height / 2)));
    cx.check("bytes").json(&half, "/sizeBytes", file(&half)?.len());
    let jpeg = get(&sandbox, "screenshot/compressed?format=jpeg&quality=60").await?;
    cx.check("jpeg").on(&jpeg).that(is_jpeg(&file(&jpeg)?), "a JPEG file", jpeg["sizeBytes"].clone());
    let part = get(&sandbox, "screenshot/region/compressed?x=0&y=0&width=80&height=40&scale=0.5").await?;
    cx.check("region-status").status(&part, 200);
    cx.check("region").on(&part).eq(png_size(&file(&part)?), Some((40, 20)));
    Ok(())
}

async fn screenshot_parameters_are_checked(cx: Cx) -> Result {
    let sandbox = cx.shared().await?;
    start(&sandbox).await?;
    for (id, query) in [
        ("cursor", "screenshot?showCursor=maybe"),
        ("no-x", "screenshot/region?y=0&width=1&height=1"),
        ("no-width", "screenshot/region?x=0&y=0&width=0&height=1"),
        ("quality", "screenshot/compressed?quality=101"),
        ("scale", "screenshot/compressed?scale=1.5"),
        ("region-scale", "screenshot/region/compressed?x=0&y=0&width=1&height=1&scale=0"),
    ] {
        cx.check(id).status(&get(&sandbox, query).await?, 400);
    }
    Ok(())
}

async fn windows_are_listed(cx: Cx) -> Result {
    let sandbox = cx.sandbox().await?;
    start(&sandbox).await?;
    open_window(&cx, &sandbox).await?;
    let listed = cx
        .eventually("a window", super::LONG, || async {
            let listed = get(&sandbox, "display/windows").await?;
            let found = listed.array("/windows")?.iter().any(|window| window["title"] == "Conformance");
            Ok(found.then_some(listed))
        })
        .await?;
    let window = listed.array("/windows")?.iter().find(|window| window["title"] == "Conformance").cloned();
    let window = window.unwrap_or_default();
    cx.check("size").on(&listed).eq((window["width"].as_u64(), window["height"].as_u64()), (Some(320), Some(160)));
    Ok(())
}
