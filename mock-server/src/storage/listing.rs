//! Both generations of listings.

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use s3s::dto::*;

use super::operations::{Operations, time};
use crate::model::objects::{Listing, Page};

/// Keys in one page.
const MOST: i32 = 1000;

/// What `encoding-type=url` leaves as it is.
const PLAIN: &AsciiSet = &NON_ALPHANUMERIC.remove(b'/').remove(b'-').remove(b'_').remove(b'.').remove(b'~');

/// Texts as the client wants them.
struct Encoding(bool);

impl Encoding {
    fn of(asked: Option<&EncodingType>) -> Encoding {
        Encoding(asked.is_some_and(|kind| kind.as_str() == EncodingType::URL))
    }

    fn text(&self, text: &str) -> String {
        if self.0 { utf8_percent_encode(text, PLAIN).to_string() } else { text.to_owned() }
    }

    fn objects(&self, page: &Page) -> Vec<Object> {
        let object = |stored: &std::sync::Arc<crate::model::objects::Object>| Object {
            key: Some(self.text(&stored.key)),
            e_tag: Some(ETag::Strong(stored.etag.clone())),
            last_modified: Some(time(stored.modified)),
            size: i64::try_from(stored.size).ok(),
            storage_class: Some(ObjectStorageClass::from_static(ObjectStorageClass::STANDARD)),
            ..Default::default()
        };
        page.objects.iter().map(object).collect()
    }

    fn prefixes(&self, page: &Page) -> Vec<CommonPrefix> {
        page.prefixes.iter().map(|prefix| CommonPrefix { prefix: Some(self.text(prefix)) }).collect()
    }
}

impl Operations {
    fn page(&self, prefix: Option<&str>, delimiter: Option<&str>, after: &str, most: i32) -> Page {
        let (prefix, delimiter) = (prefix.unwrap_or_default(), delimiter.unwrap_or_default());
        let most = usize::try_from(most).unwrap_or_default();
        if most == 0 {
            return Page::default();
        }
        self.0.list_objects(&Listing { prefix, delimiter, after, most })
    }

    pub(super) fn list(&self, input: ListObjectsInput) -> ListObjectsOutput {
        let (encoding, most) =
            (Encoding::of(input.encoding_type.as_ref()), input.max_keys.unwrap_or(MOST).clamp(0, MOST));
        let after = input.marker.clone().unwrap_or_default();
        let page = self.page(input.prefix.as_deref(), input.delimiter.as_deref(), &after, most);
        ListObjectsOutput {
            name: Some(input.bucket),
            prefix: Some(encoding.text(input.prefix.as_deref().unwrap_or_default())),
            marker: Some(encoding.text(&after)),
            max_keys: Some(most),
            is_truncated: Some(page.next.is_some()),
            contents: Some(encoding.objects(&page)),
            common_prefixes: Some(encoding.prefixes(&page)),
            delimiter: input.delimiter.map(|delimiter| encoding.text(&delimiter)),
            next_marker: page.next.map(|next| encoding.text(&next)),
            encoding_type: input.encoding_type,
            ..Default::default()
        }
    }

    /// The continuation token is where the last page ended.
    pub(super) fn list_v2(&self, input: ListObjectsV2Input) -> ListObjectsV2Output {
        let (encoding, most) =
            (Encoding::of(input.encoding_type.as_ref()), input.max_keys.unwrap_or(MOST).clamp(0, MOST));
        let after = input.continuation_token.clone().max(input.start_after.clone()).unwrap_or_default();
        let page = self.page(input.prefix.as_deref(), input.delimiter.as_deref(), &after, most);
        ListObjectsV2Output {
            name: Some(input.bucket),
            prefix: Some(encoding.text(input.prefix.as_deref().unwrap_or_default())),
            max_keys: Some(most),
            key_count: i32::try_from(page.objects.len() + page.prefixes.len()).ok(),
            is_truncated: Some(page.next.is_some()),
            contents: Some(encoding.objects(&page)),
            common_prefixes: Some(encoding.prefixes(&page)),
            delimiter: input.delimiter.map(|delimiter| encoding.text(&delimiter)),
            start_after: input.start_after.map(|after| encoding.text(&after)),
            continuation_token: input.continuation_token,
            next_continuation_token: page.next,
            encoding_type: input.encoding_type,
            ..Default::default()
        }
    }
}
