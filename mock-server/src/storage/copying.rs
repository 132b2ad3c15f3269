//! Objects and parts that are made of other objects, without going through the client.

use std::{
    fs::{File, OpenOptions},
    io::{self, Read, Seek, SeekFrom, Write},
    ops::Range as Span,
    path::Path,
    sync::Arc,
};

use s3s::{
    S3Request, S3Result,
    crypto::{Checksum as _, Md5},
    dto::*,
    s3_error,
};

use super::{
    BUCKET,
    access::Owner,
    multipart::{no_upload, part_number},
    operations::{Operations, check_read, checksum, refused, time},
    receive::internal,
    told::told,
};
use crate::model::{hex, objects::Object as Stored};

/// Read at once.
const PIECE: usize = 256 << 10;

/// What a copy's source must be like.
type Conditions<'a> =
    ((Option<&'a ETagCondition>, Option<&'a ETagCondition>), (Option<&'a Timestamp>, Option<&'a Timestamp>));

impl Operations {
    /// The source of a copy, which must be the caller's own.
    async fn source(
        &self,
        owner: &Owner,
        source: &CopySource,
        conditions: Conditions<'_>,
    ) -> S3Result<(Arc<Stored>, File)> {
        let CopySource::Bucket { bucket, key, version_id } = source else {
            return Err(s3_error!(InvalidArgument, "Copy Source must mention the source bucket and key"));
        };
        if &**bucket != BUCKET {
            return Err(s3_error!(AccessDenied, "Access Denied"));
        }
        owner.must_own(key)?;
        // There are no versions but the only one.
        if version_id.as_deref().is_some_and(|id| id != "null") {
            return Err(s3_error!(NoSuchVersion));
        }
        let (object, file) = self.open(key).await?;
        check_read(&object, conditions.0, conditions.1).map_err(|_| s3_error!(PreconditionFailed))?;
        Ok((object, file.into_std().await))
    }

    /// The same bytes under another key, or under the same one with other headers.
    pub(super) async fn copy(&self, req: S3Request<CopyObjectInput>) -> S3Result<CopyObjectOutput> {
        let owner = Owner::of(&req.extensions)?;
        let input = req.input;
        let conditions = (
            (input.copy_source_if_match.as_ref(), input.copy_source_if_none_match.as_ref()),
            (input.copy_source_if_modified_since.as_ref(), input.copy_source_if_unmodified_since.as_ref()),
        );
        let (source, file) = self.source(&owner, &input.copy_source, conditions).await?;
        let replaces = input.metadata_directive.as_ref().is_some_and(|one| one.as_str() == MetadataDirective::REPLACE);
        if !replaces && source.key == input.key {
            return Err(s3_error!(
                InvalidRequest,
                "This copy request is illegal because it is trying to copy an object to itself without changing the \
                 object's metadata, storage class, website redirect location or encryption attributes."
            ));
        }
        let told = if replaces { told!(input)? } else { source.told.clone() };
        let blob = self.0.new_blob().map_err(internal)?;
        let (target, size) = (blob.path().to_owned(), source.size);
        let etag = self.blocking(move |_| copy(file, 0..size, &target)).await?.map_err(internal)?;
        let modified = self.0.clock().now();
        let describe =
            |file| Stored { key: input.key, file, size, etag, modified, checksums: source.checksums.clone(), told };
        let made = self.0.put_object(blob, |_| true, describe).await.map_err(refused)?;
        let sums = checksum(&made.checksums);
        let result = CopyObjectResult {
            e_tag: Some(ETag::Strong(made.etag.clone())),
            last_modified: Some(time(made.modified)),
            checksum_crc32: sums.checksum_crc32,
            checksum_crc32c: sums.checksum_crc32c,
            checksum_crc64nvme: sums.checksum_crc64nvme,
            checksum_sha1: sums.checksum_sha1,
            checksum_sha256: sums.checksum_sha256,
            ..Default::default()
        };
        Ok(CopyObjectOutput { copy_object_result: Some(result), ..Default::default() })
    }

    /// A part of an upload, made of an object or of a range of its bytes.
    pub(super) async fn copy_part(&self, req: S3Request<UploadPartCopyInput>) -> S3Result<UploadPartCopyOutput> {
        let owner = Owner::of(&req.extensions)?;
        let input = req.input;
        let number = part_number(input.part_number)?;
        let upload = self.find_upload(&input.upload_id, &input.key).await?;
        let conditions = (
            (input.copy_source_if_match.as_ref(), input.copy_source_if_none_match.as_ref()),
            (input.copy_source_if_modified_since.as_ref(), input.copy_source_if_unmodified_since.as_ref()),
        );
        let (source, file) = self.source(&owner, &input.copy_source, conditions).await?;
        let invalid =
            || s3_error!(InvalidArgument, "The x-amz-copy-source-range value must be of the form bytes=first-last");
        let span = match input.copy_source_range.as_deref() {
            Some(text) => Range::parse(text).map_err(|_| invalid())?.check(source.size).map_err(|_| invalid())?,
            None => 0..source.size,
        };
        let etag = self
            .blocking(move |cp| {
                let target = cp.new_part(&upload)?.into_temp_path();
                let etag = copy(file, span, &target)?;
                cp.keep_part(&upload, number, &etag, target)?;
                Ok(etag)
            })
            .await?
            .map_err(|error: io::Error| match error.kind() {
                // Ended meanwhile.
                io::ErrorKind::NotFound => no_upload(),
                _ => internal(error),
            })?;
        let now = time(self.0.clock().now());
        let result = CopyPartResult { e_tag: Some(ETag::Strong(etag)), last_modified: Some(now), ..Default::default() };
        Ok(UploadPartCopyOutput { copy_part_result: Some(result), ..Default::default() })
    }
}

/// Copies bytes of a file into another one that is there; their MD5 in hex.
fn copy(mut from: File, span: Span<u64>, to: &Path) -> io::Result<String> {
    let mut to = OpenOptions::new().write(true).open(to)?;
    from.seek(SeekFrom::Start(span.start))?;
    let mut from = from.take(span.end - span.start);
    let (mut md5, mut piece) = (Md5::new(), vec![0; PIECE]);
    loop {
        let count = from.read(&mut piece)?;
        if count == 0 {
            return Ok(hex(&md5.finalize()));
        }
        md5.update(&piece[..count]);
        to.write_all(&piece[..count])?;
    }
}
