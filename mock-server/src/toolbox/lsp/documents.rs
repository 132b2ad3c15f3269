//! Documents as requests name them: `file://` and a path, mostly not encoded. The SDKs say that it may be relative to the
//! project, and show it relative to the work directory: whichever is there.

use std::path::{Path, PathBuf};

use percent_encoding::{AsciiSet, CONTROLS, percent_decode_str, utf8_percent_encode};

use crate::toolbox::{Ctx, ToolboxError};

/// What a path in a URI is encoded for.
const PATH: &AsciiSet = &CONTROLS
    .add(b' ')
    .add(b'"')
    .add(b'#')
    .add(b'%')
    .add(b'<')
    .add(b'>')
    .add(b'?')
    .add(b'[')
    .add(b'\\')
    .add(b']')
    .add(b'^')
    .add(b'`')
    .add(b'{')
    .add(b'|')
    .add(b'}');

/// The file that a request's `uri` means. 400 for what isn't text.
pub async fn path_of(ctx: &Ctx, project: &Path, uri: &str) -> Result<PathBuf, ToolboxError> {
    let given = uri.strip_prefix("file://").unwrap_or(uri);
    if given.is_empty() || given.contains('\0') {
        return Err(ToolboxError::bad_request("invalid uri"));
    }
    // SDKs don't encode; but a URI of an answer, which is encoded, may come back.
    let decoded = percent_decode_str(given).decode_utf8_lossy();
    for given in [given, &decoded] {
        let candidates = if given.starts_with('/') {
            vec![ctx.resolve(given)]
        } else {
            vec![project.join(given), ctx.resolve(given)]
        };
        for candidate in candidates {
            if tokio::fs::metadata(&candidate).await.is_ok() {
                return Ok(candidate);
            }
        }
    }
    Ok(if given.starts_with('/') { ctx.resolve(given) } else { project.join(given) })
}

/// As language servers want it.
pub fn uri_of(path: &Path) -> String {
    format!("file://{}", utf8_percent_encode(&path.to_string_lossy(), PATH))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn uris_are_encoded() {
        assert_eq!(uri_of(Path::new("/a b/ü#1.py")), "file:///a%20b/%C3%BC%231.py");
        assert_eq!(uri_of(Path::new("/a/b-c_d.e~f@g")), "file:///a/b-c_d.e~f@g");
    }
}
