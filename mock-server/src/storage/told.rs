//! Headers that an object has because its writer sent them, with it or with a copy of it.

use s3s::{
    S3Result,
    dto::{Timestamp, TimestampFormat},
    s3_error,
};

use crate::model::objects::Told;

/// Bytes of `x-amz-meta-*`, names and values, as S3 bounds them.
const METADATA: usize = 2 << 10;
/// And of the other headers together.
const HEADERS: usize = 8 << 10;

/// [`Told`] of an input that writes an object, or why it can't be kept.
macro_rules! told {
    ($input:expr) => {
        $crate::storage::told::checked($crate::model::objects::Told {
            content_type: $input.content_type.clone(),
            cache_control: $input.cache_control.clone(),
            content_disposition: $input.content_disposition.clone(),
            content_encoding: $input.content_encoding.clone(),
            content_language: $input.content_language.clone(),
            expires: $input.expires.as_ref().and_then($crate::storage::told::written),
            metadata: $input.metadata.clone().into_iter().flatten().collect(),
        })
    };
}

/// Puts [`Told`] into an output that reads an object.
macro_rules! tell {
    ($output:expr, $told:expr) => {
        $output.content_type = $told.content_type.clone();
        $output.cache_control = $told.cache_control.clone();
        $output.content_disposition = $told.content_disposition.clone();
        $output.content_encoding = $told.content_encoding.clone();
        $output.content_language = $told.content_language.clone();
        $output.expires = $told.expires.as_deref().and_then($crate::storage::told::read);
        $output.metadata = Some($told.metadata.iter().cloned().collect());
    };
}

pub(super) use {tell, told};

/// Within bounds, in one order, and without what was the transfer's alone.
pub fn checked(mut told: Told) -> S3Result<Told> {
    told.metadata.sort();
    let length = |pairs: &[(String, String)]| pairs.iter().map(|(name, value)| name.len() + value.len()).sum::<usize>();
    if length(&told.metadata) > METADATA {
        return Err(s3_error!(MetadataTooLarge));
    }
    told.content_encoding = told.content_encoding.as_deref().and_then(lasting);
    let headers = [
        &told.content_type,
        &told.cache_control,
        &told.content_disposition,
        &told.content_encoding,
        &told.content_language,
    ];
    if headers.into_iter().flatten().map(String::len).sum::<usize>() > HEADERS {
        return Err(s3_error!(InvalidRequest, "The object's headers are too large"));
    }
    Ok(told)
}

/// `aws-chunked` is how the request was sent; the rest is what the object is.
fn lasting(encoding: &str) -> Option<String> {
    let all =
        encoding.split(',').map(str::trim).filter(|one| !one.is_empty() && !one.eq_ignore_ascii_case("aws-chunked"));
    let kept: Vec<&str> = all.collect();
    (!kept.is_empty()).then(|| kept.join(","))
}

/// A date as HTTP writes it.
pub fn written(at: &Timestamp) -> Option<String> {
    let mut text = Vec::new();
    at.format(TimestampFormat::HttpDate, &mut text).ok()?;
    String::from_utf8(text).ok()
}

pub fn read(text: &str) -> Option<Timestamp> {
    Timestamp::parse(TimestampFormat::HttpDate, text).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn encodings_of_the_transfer_are_not_kept() {
        assert_eq!(lasting("aws-chunked"), None);
        assert_eq!(lasting("gzip, aws-chunked").as_deref(), Some("gzip"));
        assert_eq!(lasting("br,gzip").as_deref(), Some("br,gzip"));
    }

    #[test]
    fn dates_come_back() {
        let text = "Sun, 06 Nov 1994 08:49:37 GMT";
        assert_eq!(read(text).as_ref().and_then(written).as_deref(), Some(text));
        assert_eq!(read("soon"), None);
    }

    #[test]
    fn metadata_is_bounded() {
        let told = |length| Told { metadata: vec![("a".into(), "b".repeat(length))], ..Told::default() };
        assert!(checked(told(METADATA - 1)).is_ok() && checked(told(METADATA)).is_err());
    }
}
