//! multipart/form-data as SDKs send it. Made here, so that scenarios can also make wrong ones.

use bytes::Bytes;

/// A form in the making.
#[derive(Clone, Debug, Default)]
pub struct Form {
    body: Vec<u8>,
}

impl Form {
    /// The boundary between the parts.
    pub const BOUNDARY: &'static str = "conformance-5d1f0e7c";

    pub fn new() -> Self {
        Self::default()
    }

    /// A part with text.
    pub fn text(self, name: &str, value: &str) -> Self {
        self.part(&format!("form-data; name=\"{name}\""), None, value.as_bytes())
    }

    /// A part with a file.
    pub fn file(self, name: &str, file_name: &str, bytes: &[u8]) -> Self {
        let file_name = file_name.replace('"', "%22");
        let disposition = format!("form-data; name=\"{name}\"; filename=\"{file_name}\"");
        self.part(&disposition, Some("application/octet-stream"), bytes)
    }

    /// A part with any head.
    pub fn part(mut self, disposition: &str, content_type: Option<&str>, bytes: &[u8]) -> Self {
        let boundary = Self::BOUNDARY;
        self.body.extend(format!("--{boundary}\r\nContent-Disposition: {disposition}\r\n").bytes());
        if let Some(content_type) = content_type {
            self.body.extend(format!("Content-Type: {content_type}\r\n").bytes());
        }
        self.body.extend(b"\r\n");
        self.body.extend(bytes);
        self.body.extend(b"\r\n");
        self
    }

    pub(super) fn content_type() -> String {
        format!("multipart/form-data; boundary={}", Self::BOUNDARY)
    }

    pub(super) fn finish(mut self) -> Bytes {
        self.body.extend(format!("--{}--\r\n", Self::BOUNDARY).bytes());
        self.body.into()
    }
}
