//! Query parameters as bytes: file names need not be UTF-8.

use std::{
    borrow::Cow,
    convert::Infallible,
    ffi::OsStr,
    os::unix::ffi::OsStrExt,
    path::{Path, PathBuf},
};

use axum::{extract::FromRequestParts, http::request::Parts};
use percent_encoding::percent_decode;

use super::{Ctx, ToolboxError, files::Named};

/// The decoded query of a request. Of repeated parameters the first counts.
pub struct Params(Vec<(Vec<u8>, Vec<u8>)>);

impl<S: Send + Sync> FromRequestParts<S> for Params {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Infallible> {
        Ok(Params::parse(parts.uri.query().unwrap_or_default()))
    }
}

impl Params {
    fn parse(query: &str) -> Params {
        let decode = |text: &str| -> Vec<u8> {
            match text.contains('+') {
                true => percent_decode(text.replace('+', " ").as_bytes()).collect(),
                false => percent_decode(text.as_bytes()).collect(),
            }
        };
        let pairs = query.split('&').filter(|pair| !pair.is_empty()).map(|pair| {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            (decode(name), decode(value))
        });
        Params(pairs.collect())
    }

    /// A parameter that is there and not empty.
    pub fn bytes(&self, name: &str) -> Option<&[u8]> {
        let first = self.0.iter().find(|(key, _)| key == name.as_bytes());
        first.map(|(_, value)| value.as_slice()).filter(|value| !value.is_empty())
    }

    pub fn text(&self, name: &str) -> Option<Cow<'_, str>> {
        self.bytes(name).map(String::from_utf8_lossy)
    }

    /// 400 `bad request: <name> is required` when it is missing or empty.
    pub fn required(&self, name: &str) -> Result<&[u8], ToolboxError> {
        self.bytes(name).ok_or_else(|| ToolboxError::bad_request(format!("{name} is required")))
    }

    pub fn path(&self, ctx: &Ctx, name: &str) -> Result<Named, ToolboxError> {
        Ok(Named::new(ctx, Path::new(OsStr::from_bytes(self.required(name)?))))
    }

    pub fn path_or(&self, ctx: &Ctx, name: &str, default: &str) -> Named {
        let given = self.bytes(name).map_or_else(|| PathBuf::from(default), |path| OsStr::from_bytes(path).into());
        Named::new(ctx, &given)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn decodes_bytes() {
        let params = Params::parse("path=a+b%2Fc%FF&path=second&empty=&flag&&q=%zz%e4%bd%a0");
        assert_eq!(params.bytes("path"), Some(&b"a b/c\xFF"[..]));
        assert_eq!(params.bytes("empty"), None);
        assert_eq!(params.bytes("flag"), None);
        assert_eq!(params.text("q").as_deref(), Some("%zz你"));
        assert!(params.required("flag").is_err());
    }
}
