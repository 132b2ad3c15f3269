//! The operations on objects and the bucket.

use std::{io::SeekFrom, sync::Arc};

use http::{HeaderMap, HeaderName, HeaderValue};
use s3s::{S3, S3Request, S3Response, S3Result, dto::*, s3_error};
use tokio::io::{AsyncReadExt, AsyncSeekExt};
use tokio_util::io::ReaderStream;

use super::{
    BUCKET, REGION,
    access::Owner,
    receive::{self, internal},
    told::{tell, told},
};
use crate::model::{ControlPlane, ErrorKind, ModelError, objects::Object as Stored};

/// A read of a file.
const PIECE: usize = 256 << 10;

/// The operations, as `s3s` calls them. Access was checked ([`super::access`]).
pub struct Operations(pub Arc<ControlPlane>);

pub(super) fn refused(error: ModelError) -> s3s::S3Error {
    match error.kind {
        ErrorKind::Internal | ErrorKind::Full => internal(error),
        // Somebody else put one meanwhile.
        ErrorKind::Conflict => s3_error!(PreconditionFailed),
        _ => s3_error!(InvalidRequest, "{error}"),
    }
}

pub(super) fn time(at: chrono::DateTime<chrono::Utc>) -> Timestamp {
    Timestamp::from(std::time::SystemTime::from(at))
}

/// `x-amz-checksum-*` of a whole object.
pub(super) fn checksum_headers(checksums: &[(String, String)]) -> HeaderMap {
    let header = |(name, sum): &(String, String)| {
        let name = HeaderName::try_from(format!("x-amz-checksum-{name}")).ok()?;
        Some((name, HeaderValue::from_str(sum).ok()?))
    };
    checksums.iter().filter_map(header).collect()
}

impl Operations {
    pub(super) fn find(&self, key: &str) -> S3Result<Arc<Stored>> {
        self.0.object(key).ok_or_else(|| s3_error!(NoSuchKey, "The specified key does not exist."))
    }

    /// Refuses to put what must be new, or the successor of something.
    pub(super) fn check_put(
        &self,
        key: &str,
        if_match: Option<&ETagCondition>,
        if_none_match: Option<&ETagCondition>,
    ) -> S3Result<()> {
        if fits(self.0.object(key).as_deref(), if_match, if_none_match) {
            return Ok(());
        }
        Err(s3_error!(PreconditionFailed))
    }

    /// An object and its bytes. One that is replaced in between is the new one.
    pub(super) async fn open(&self, key: &str) -> S3Result<(Arc<Stored>, tokio::fs::File)> {
        loop {
            let object = self.find(key)?;
            match tokio::fs::File::open(self.0.object_path(&object)).await {
                Ok(file) => return Ok((object, file)),
                Err(error) if self.0.object(key).is_some_and(|now| now.file == object.file) => {
                    return Err(internal(error));
                }
                Err(_) => {}
            }
        }
    }
}

/// Whether what there is may be replaced under these conditions.
pub(super) fn fits(
    old: Option<&Stored>,
    if_match: Option<&ETagCondition>,
    if_none_match: Option<&ETagCondition>,
) -> bool {
    let is = |condition: &ETagCondition| old.is_some_and(|old| matches(old, condition));
    if_match.is_none_or(is) && !if_none_match.is_some_and(is)
}

fn matches(object: &Stored, condition: &ETagCondition) -> bool {
    condition.as_etag().is_none_or(|tag| tag.value() == object.etag)
}

/// The four conditions of a read; those on tags win.
pub(super) fn check_read(
    object: &Stored,
    tags: (Option<&ETagCondition>, Option<&ETagCondition>),
    times: (Option<&Timestamp>, Option<&Timestamp>),
) -> S3Result<()> {
    // Times in headers have whole seconds.
    let modified =
        time(object.modified - chrono::Duration::nanoseconds(object.modified.timestamp_subsec_nanos().into()));
    let ((if_match, if_none_match), (since, until)) = (tags, times);
    let failed = match if_match {
        Some(condition) => !matches(object, condition),
        None => until.is_some_and(|until| modified > *until),
    };
    if failed {
        return Err(s3_error!(PreconditionFailed));
    }
    let unchanged = match if_none_match {
        Some(condition) => matches(object, condition),
        None => since.is_some_and(|since| modified <= *since),
    };
    if unchanged { Err(s3_error!(NotModified)) } else { Ok(()) }
}

/// Those that are asked for.
fn attributes(object: &Stored, wanted: &[ObjectAttributes]) -> GetObjectAttributesOutput {
    // They may come in one header with commas.
    let wants = |name: &str| wanted.iter().any(|one| one.as_str().split(',').any(|one| one.trim() == name));
    let parts = object.etag.split_once('-').and_then(|(_, count)| count.parse().ok());
    let parts = parts.map(|count| GetObjectAttributesParts { total_parts_count: Some(count), ..Default::default() });
    GetObjectAttributesOutput {
        e_tag: wants(ObjectAttributes::ETAG).then(|| ETag::Strong(object.etag.clone())),
        object_size: i64::try_from(object.size).ok().filter(|_| wants(ObjectAttributes::OBJECT_SIZE)),
        checksum: Some(checksum(&object.checksums))
            .filter(|_| wants(ObjectAttributes::CHECKSUM) && !object.checksums.is_empty()),
        object_parts: parts.filter(|_| wants(ObjectAttributes::OBJECT_PARTS)),
        storage_class: wants(ObjectAttributes::STORAGE_CLASS)
            .then(|| StorageClass::from_static(StorageClass::STANDARD)),
        last_modified: Some(time(object.modified)),
        ..Default::default()
    }
}

pub(super) fn checksum(sums: &[(String, String)]) -> Checksum {
    let of = |name: &str| sums.iter().find(|(own, _)| own == name).map(|(_, sum)| sum.clone());
    Checksum {
        checksum_crc32: of("crc32"),
        checksum_crc32c: of("crc32c"),
        checksum_crc64nvme: of("crc64nvme"),
        checksum_sha1: of("sha1"),
        checksum_sha256: of("sha256"),
        ..Default::default()
    }
}

#[async_trait::async_trait]
impl S3 for Operations {
    /// As old as the organisation: clients want a date.
    async fn list_buckets(&self, req: S3Request<ListBucketsInput>) -> S3Result<S3Response<ListBucketsOutput>> {
        let owner = Owner::of(&req.extensions)?;
        let since = self.0.organization(owner.organization()).map(|own| time(own.created_at));
        let bucket = Bucket { name: Some(BUCKET.into()), creation_date: since, ..Default::default() };
        Ok(S3Response::new(ListBucketsOutput { buckets: Some(vec![bucket]), ..Default::default() }))
    }

    async fn head_bucket(&self, _: S3Request<HeadBucketInput>) -> S3Result<S3Response<HeadBucketOutput>> {
        Ok(S3Response::new(HeadBucketOutput { bucket_region: Some(REGION.into()), ..Default::default() }))
    }

    /// Empty: `us-east-1`.
    async fn get_bucket_location(
        &self,
        _: S3Request<GetBucketLocationInput>,
    ) -> S3Result<S3Response<GetBucketLocationOutput>> {
        Ok(S3Response::new(GetBucketLocationOutput::default()))
    }

    async fn list_objects(&self, req: S3Request<ListObjectsInput>) -> S3Result<S3Response<ListObjectsOutput>> {
        Ok(S3Response::new(self.list(req.input)))
    }

    async fn list_objects_v2(&self, req: S3Request<ListObjectsV2Input>) -> S3Result<S3Response<ListObjectsV2Output>> {
        Ok(S3Response::new(self.list_v2(req.input)))
    }

    async fn head_object(&self, req: S3Request<HeadObjectInput>) -> S3Result<S3Response<HeadObjectOutput>> {
        let input = req.input;
        let object = self.find(&input.key)?;
        check_read(
            &object,
            (input.if_match.as_ref(), input.if_none_match.as_ref()),
            (input.if_modified_since.as_ref(), input.if_unmodified_since.as_ref()),
        )?;
        let sums = if input.checksum_mode.is_some() { checksum_headers(&object.checksums) } else { HeaderMap::new() };
        let mut output = HeadObjectOutput {
            accept_ranges: Some("bytes".into()),
            content_length: i64::try_from(object.size).ok(),
            e_tag: Some(ETag::Strong(object.etag.clone())),
            last_modified: Some(time(object.modified)),
            ..Default::default()
        };
        tell!(output, object.told);
        Ok(S3Response::with_headers(output, sums))
    }

    async fn get_object(&self, req: S3Request<GetObjectInput>) -> S3Result<S3Response<GetObjectOutput>> {
        let input = req.input;
        let (object, mut file) = self.open(&input.key).await?;
        check_read(
            &object,
            (input.if_match.as_ref(), input.if_none_match.as_ref()),
            (input.if_modified_since.as_ref(), input.if_unmodified_since.as_ref()),
        )?;
        let part = input.range.map(|range| range.check(object.size)).transpose()?;
        let content_range = part.as_ref().map(|part| format!("bytes {}-{}/{}", part.start, part.end - 1, object.size));
        let whole = part.is_none();
        let part = part.unwrap_or(0..object.size);
        file.seek(SeekFrom::Start(part.start)).await.map_err(internal)?;
        let length = part.end - part.start;
        let body = ReaderStream::with_capacity(file.take(length), PIECE);
        let sums = input.checksum_mode.is_some() && whole;
        let sums = if sums { checksum_headers(&object.checksums) } else { HeaderMap::new() };
        let mut output = GetObjectOutput {
            accept_ranges: Some("bytes".into()),
            body: Some(StreamingBlob::wrap(body)),
            content_length: i64::try_from(length).ok(),
            content_range,
            e_tag: Some(ETag::Strong(object.etag.clone())),
            last_modified: Some(time(object.modified)),
            ..Default::default()
        };
        tell!(output, object.told);
        Ok(S3Response::with_headers(output, sums))
    }

    async fn put_object(&self, req: S3Request<PutObjectInput>) -> S3Result<S3Response<PutObjectOutput>> {
        let input = req.input;
        self.check_put(&input.key, input.if_match.as_ref(), input.if_none_match.as_ref())?;
        let told = told!(input)?;
        let blob = self.0.new_blob().map_err(internal)?;
        let most = self.0.config().limits.object_size;
        let got = receive::receive(input.body, blob.path(), &req.headers, req.trailing_headers, most).await?;
        let modified = self.0.clock().now();
        let describe = |file| Stored {
            key: input.key,
            file,
            size: got.size,
            etag: got.etag,
            modified,
            checksums: got.checksums,
            told,
        };
        let fits = |old: Option<&Stored>| fits(old, input.if_match.as_ref(), input.if_none_match.as_ref());
        let object = self.0.put_object(blob, fits, describe).await.map_err(refused)?;
        let output = PutObjectOutput { e_tag: Some(ETag::Strong(object.etag.clone())), ..Default::default() };
        Ok(S3Response::with_headers(output, checksum_headers(&object.checksums)))
    }

    async fn delete_object(&self, req: S3Request<DeleteObjectInput>) -> S3Result<S3Response<DeleteObjectOutput>> {
        self.0.remove_object(&req.input.key).await.map_err(refused)?;
        Ok(S3Response::new(DeleteObjectOutput::default()))
    }

    async fn delete_objects(&self, req: S3Request<DeleteObjectsInput>) -> S3Result<S3Response<DeleteObjectsOutput>> {
        let owner = Owner::of(&req.extensions)?;
        let quiet = req.input.delete.quiet == Some(true);
        let (mut deleted, mut errors) = (Vec::new(), Vec::new());
        for ObjectIdentifier { key, .. } in req.input.delete.objects {
            let done = match owner.must_own(&key) {
                Ok(()) => self.0.remove_object(&key).await.map_err(refused),
                Err(error) => Err(error),
            };
            match done {
                Ok(()) => deleted.push(DeletedObject { key: Some(key), ..Default::default() }),
                Err(error) => errors.push(Error {
                    code: Some(error.code().as_str().to_owned()),
                    key: Some(key),
                    message: error.message().map(str::to_owned),
                    ..Default::default()
                }),
            }
        }
        let deleted = (!quiet).then_some(deleted);
        Ok(S3Response::new(DeleteObjectsOutput { deleted, errors: Some(errors), ..Default::default() }))
    }

    async fn copy_object(&self, req: S3Request<CopyObjectInput>) -> S3Result<S3Response<CopyObjectOutput>> {
        self.copy(req).await.map(S3Response::new)
    }

    async fn get_object_attributes(
        &self,
        req: S3Request<GetObjectAttributesInput>,
    ) -> S3Result<S3Response<GetObjectAttributesOutput>> {
        let object = self.find(&req.input.key)?;
        Ok(S3Response::new(attributes(&object, &req.input.object_attributes)))
    }

    async fn upload_part_copy(
        &self,
        req: S3Request<UploadPartCopyInput>,
    ) -> S3Result<S3Response<UploadPartCopyOutput>> {
        self.copy_part(req).await.map(S3Response::new)
    }

    async fn create_multipart_upload(
        &self,
        req: S3Request<CreateMultipartUploadInput>,
    ) -> S3Result<S3Response<CreateMultipartUploadOutput>> {
        self.begin(req.input).await.map(S3Response::new)
    }

    async fn upload_part(&self, req: S3Request<UploadPartInput>) -> S3Result<S3Response<UploadPartOutput>> {
        self.part(req).await
    }

    async fn list_parts(&self, req: S3Request<ListPartsInput>) -> S3Result<S3Response<ListPartsOutput>> {
        self.parts(req.input).await.map(S3Response::new)
    }

    async fn list_multipart_uploads(
        &self,
        req: S3Request<ListMultipartUploadsInput>,
    ) -> S3Result<S3Response<ListMultipartUploadsOutput>> {
        self.uploads(req.input).await.map(S3Response::new)
    }

    async fn complete_multipart_upload(
        &self,
        req: S3Request<CompleteMultipartUploadInput>,
    ) -> S3Result<S3Response<CompleteMultipartUploadOutput>> {
        self.complete(req.input).await.map(S3Response::new)
    }

    async fn abort_multipart_upload(
        &self,
        req: S3Request<AbortMultipartUploadInput>,
    ) -> S3Result<S3Response<AbortMultipartUploadOutput>> {
        self.abort(req.input).await.map(S3Response::new)
    }
}
