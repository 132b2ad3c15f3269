//! Uploads in parts, as SDKs send what is large or of unknown size.

use s3s::{
    S3Error, S3Request, S3Response, S3Result,
    crypto::{Checksum as _, Md5},
    dto::{Part as PartDto, *},
    s3_error,
};

use super::{
    operations::{Operations, checksum_headers, fits, refused, time},
    receive::{self, internal},
    told::told,
};
use crate::model::{
    hex,
    objects::{Blob, Object as Stored},
    uploads::{Part, Upload},
};

/// What S3 wants of every part but the last.
const LEAST: u64 = 5 << 20;
const MAX_PARTS: i32 = 10_000;
/// Rows of one page.
const PAGE: i32 = 1000;

pub(super) fn no_upload() -> S3Error {
    s3_error!(
        NoSuchUpload,
        "The specified upload does not exist. The upload ID may be invalid, or the upload may have been aborted or completed."
    )
}

/// The number of a part, if it is one.
pub(super) fn part_number(number: i32) -> S3Result<u32> {
    if (1..=MAX_PARTS).contains(&number) {
        return Ok(number.unsigned_abs());
    }
    Err(s3_error!(InvalidArgument, "Part number must be an integer between 1 and 10000, inclusive"))
}

impl Operations {
    /// Reading and writing directories is a blocking matter.
    pub(super) async fn blocking<T: Send + 'static>(
        &self,
        work: impl FnOnce(&std::sync::Arc<crate::model::ControlPlane>) -> T + Send + 'static,
    ) -> S3Result<T> {
        let cp = self.0.clone();
        let handle = tokio::runtime::Handle::current();
        let work = move || {
            // What it begins may wait for the clock.
            let _runtime = handle.enter();
            work(&cp)
        };
        tokio::task::spawn_blocking(work).await.map_err(internal)
    }

    pub(super) async fn find_upload(&self, id: &str, key: &str) -> S3Result<Upload> {
        let (id, key) = (id.to_owned(), key.to_owned());
        self.blocking(move |cp| cp.upload(&id, &key)).await?.ok_or_else(no_upload)
    }

    pub(super) async fn begin(&self, input: CreateMultipartUploadInput) -> S3Result<CreateMultipartUploadOutput> {
        let told = told!(input)?;
        let key = input.key.clone();
        let upload = self.blocking(move |cp| cp.begin_upload(key, told)).await?.map_err(internal)?;
        let upload = upload.ok_or_else(|| s3_error!(InvalidRequest, "There are too many uploads"))?;
        Ok(CreateMultipartUploadOutput {
            bucket: Some(input.bucket),
            key: Some(input.key),
            upload_id: Some(upload.id),
            ..Default::default()
        })
    }

    pub(super) async fn part(&self, req: S3Request<UploadPartInput>) -> S3Result<S3Response<UploadPartOutput>> {
        let input = req.input;
        let number = part_number(input.part_number)?;
        let upload = self.find_upload(&input.upload_id, &input.key).await?;
        let of = upload.clone();
        // Gone means that it was ended a moment ago.
        let file = self.blocking(move |cp| cp.new_part(&of)).await?.map_err(|_| no_upload())?.into_temp_path();
        let most = self.0.config().limits.object_size;
        let got = receive::receive(input.body, &file, &req.headers, req.trailing_headers, most).await?;
        let etag = got.etag.clone();
        self.blocking(move |cp| cp.keep_part(&upload, number, &etag, file)).await?.map_err(|_| no_upload())?;
        let output = UploadPartOutput { e_tag: Some(ETag::Strong(got.etag)), ..Default::default() };
        Ok(S3Response::with_headers(output, checksum_headers(&got.checksums)))
    }

    async fn parts_of(&self, upload: &Upload) -> S3Result<Vec<Part>> {
        let upload = upload.clone();
        self.blocking(move |cp| cp.parts(&upload)).await?.map_err(|_| no_upload())
    }

    pub(super) async fn parts(&self, input: ListPartsInput) -> S3Result<ListPartsOutput> {
        let upload = self.find_upload(&input.upload_id, &input.key).await?;
        let after = input.part_number_marker.unwrap_or(0);
        let most = input.max_parts.unwrap_or(PAGE).clamp(1, PAGE);
        let mut parts = self.parts_of(&upload).await?;
        parts.retain(|part| i64::from(part.number) > i64::from(after));
        let more = parts.len() > most.unsigned_abs() as usize;
        parts.truncate(most.unsigned_abs() as usize);
        let number = |part: &Part| i32::try_from(part.number).ok();
        let next = parts.last().and_then(number);
        let dto = |part: &Part| PartDto {
            e_tag: Some(ETag::Strong(part.etag.clone())),
            last_modified: Some(Timestamp::from(part.modified)),
            part_number: number(part),
            size: i64::try_from(part.size).ok(),
            ..Default::default()
        };
        Ok(ListPartsOutput {
            bucket: Some(input.bucket),
            key: Some(input.key),
            upload_id: Some(input.upload_id),
            part_number_marker: Some(after),
            next_part_number_marker: next.filter(|_| more),
            max_parts: Some(most),
            is_truncated: Some(more),
            parts: Some(parts.iter().map(dto).collect()),
            ..Default::default()
        })
    }

    /// All of them in one page: they are few.
    pub(super) async fn uploads(&self, input: ListMultipartUploadsInput) -> S3Result<ListMultipartUploadsOutput> {
        let prefix = input.prefix.clone().unwrap_or_default();
        let all = self.blocking(move |cp| cp.uploads(&prefix)).await?;
        let dto = |upload: Upload| MultipartUpload {
            initiated: Some(time(upload.initiated)),
            key: Some(upload.key),
            upload_id: Some(upload.id),
            ..Default::default()
        };
        Ok(ListMultipartUploadsOutput {
            bucket: Some(input.bucket),
            prefix: input.prefix,
            is_truncated: Some(false),
            uploads: Some(all.into_iter().map(dto).collect()),
            ..Default::default()
        })
    }

    pub(super) async fn complete(
        &self,
        input: CompleteMultipartUploadInput,
    ) -> S3Result<CompleteMultipartUploadOutput> {
        self.check_put(&input.key, input.if_match.as_ref(), input.if_none_match.as_ref())?;
        let upload = self.find_upload(&input.upload_id, &input.key).await?;
        let wanted = input.multipart_upload.and_then(|upload| upload.parts).unwrap_or_default();
        let parts = chosen(&self.parts_of(&upload).await?, &wanted)?;
        let size = parts.iter().map(|part| part.size).sum::<u64>();
        if size > self.0.config().limits.object_size as u64 {
            return Err(s3_error!(EntityTooLarge));
        }
        let etag = etag(&parts);
        let joined: std::io::Result<Blob> = self.blocking(move |cp| cp.join_parts(&parts)).await?;
        // A part may be gone by now.
        let blob =
            joined.map_err(
                |error| if error.kind() == std::io::ErrorKind::NotFound { no_upload() } else { internal(error) },
            )?;
        let modified = self.0.clock().now();
        let describe = |file| Stored {
            key: upload.key.clone(),
            file,
            size,
            etag,
            modified,
            checksums: Vec::new(),
            told: upload.told.clone(),
        };
        let fits = |old: Option<&Stored>| fits(old, input.if_match.as_ref(), input.if_none_match.as_ref());
        let object = self.0.put_object(blob, fits, describe).await.map_err(refused)?;
        self.blocking(move |cp| cp.end_upload(&upload)).await?;
        Ok(CompleteMultipartUploadOutput {
            bucket: Some(input.bucket),
            key: Some(input.key),
            e_tag: Some(ETag::Strong(object.etag.clone())),
            ..Default::default()
        })
    }

    pub(super) async fn abort(&self, input: AbortMultipartUploadInput) -> S3Result<AbortMultipartUploadOutput> {
        let upload = self.find_upload(&input.upload_id, &input.key).await?;
        self.blocking(move |cp| cp.end_upload(&upload)).await?;
        Ok(AbortMultipartUploadOutput::default())
    }
}

/// The parts that make the object: named in order, there, and all but the last large enough.
fn chosen(there: &[Part], wanted: &[CompletedPart]) -> S3Result<Vec<Part>> {
    let mut parts: Vec<Part> = Vec::new();
    if wanted.is_empty() {
        return Err(s3_error!(MalformedXML, "You must specify at least one part"));
    }
    for want in wanted {
        let number = want.part_number.and_then(|number| u32::try_from(number).ok()).unwrap_or(0);
        if parts.last().is_some_and(|last| last.number >= number) {
            return Err(s3_error!(InvalidPartOrder));
        }
        let tag = want.e_tag.as_ref().map(ETag::value);
        let found = there.iter().find(|part| part.number == number && tag.is_none_or(|tag| tag == part.etag));
        parts.push(found.cloned().ok_or_else(|| s3_error!(InvalidPart, "Part {number} wasn't uploaded like this"))?);
    }
    match parts.iter().rev().skip(1).any(|part| part.size < LEAST) {
        true => Err(s3_error!(EntityTooSmall)),
        false => Ok(parts),
    }
}

/// MD5 of the parts' MD5s, and how many they are.
fn etag(parts: &[Part]) -> String {
    let mut md5 = Md5::new();
    for part in parts {
        let digits = part.etag.as_bytes().chunks(2);
        let bytes = digits.filter_map(|pair| u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok());
        md5.update(&bytes.collect::<Vec<u8>>());
    }
    format!("{}-{}", hex(&md5.finalize()), parts.len())
}
