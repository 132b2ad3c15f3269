//! Bodies on their way to a file: bounded, digested, compared with every checksum that the client sent.

use std::path::Path;

use base64::{Engine, engine::general_purpose::STANDARD};
use futures_util::StreamExt;
use http::HeaderMap;
use s3s::{
    S3Error, S3Result, TrailingHeaders,
    checksum::ChecksumHasher,
    crypto::{Checksum as _, Md5},
    dto::{Checksum, StreamingBlob},
    s3_error,
};
use tokio::io::AsyncWriteExt;

use crate::model::hex;

/// Algorithms of `x-amz-checksum-*`.
const ALGORITHMS: [&str; 5] = ["crc32", "crc32c", "crc64nvme", "sha1", "sha256"];

/// What was received, and was what the client meant.
#[derive(Debug)]
pub struct Received {
    /// Bytes.
    pub size: u64,
    /// MD5 in hex.
    pub etag: String,
    /// Algorithm and Base64.
    pub checksums: Vec<(String, String)>,
}

/// Writes a body of at most `most` bytes to a file. `headers` and `trailers` say what it should be.
pub async fn receive(
    body: Option<StreamingBlob>,
    file: &Path,
    headers: &HeaderMap,
    trailers: Option<TrailingHeaders>,
    most: usize,
) -> S3Result<Received> {
    let mut body = body.ok_or_else(|| s3_error!(IncompleteBody))?;
    let wanted: Vec<&str> = ALGORITHMS.into_iter().filter(|name| is_announced(headers, name)).collect();
    let (mut hasher, mut md5) = (hasher(&wanted), Md5::new());
    let mut file = tokio::fs::OpenOptions::new().write(true).open(file).await.map_err(internal)?;
    let (mut size, most) = (0, most as u64);
    while let Some(piece) = body.next().await {
        let piece = piece.map_err(broken)?;
        size += piece.len() as u64;
        if size > most {
            return Err(s3_error!(EntityTooLarge));
        }
        md5.update(&piece);
        hasher.update(&piece);
        file.write_all(&piece).await.map_err(internal)?;
    }
    file.flush().await.map_err(internal)?;
    let md5 = md5.finalize();
    if let Some(said) = headers.get("content-md5")
        && said.as_bytes() != STANDARD.encode(md5).as_bytes()
    {
        return Err(s3_error!(BadDigest, "The Content-MD5 you specified did not match what we received."));
    }
    let trailers = trailers.and_then(|trailers| trailers.take());
    let got = hasher.finalize();
    let check = |name: &str| {
        let (header, sum) = (format!("x-amz-checksum-{name}"), of(&got, name).unwrap_or_default().to_owned());
        let said = headers.get(&header).or_else(|| trailers.as_ref()?.get(&header));
        match said {
            Some(said) if said.as_bytes() != sum.as_bytes() => {
                Err(s3_error!(BadDigest, "The {name} you specified did not match what we received."))
            }
            _ => Ok((name.to_owned(), sum)),
        }
    };
    let checksums = wanted.into_iter().map(check).collect::<S3Result<_>>()?;
    Ok(Received { size, etag: hex(&md5), checksums })
}

/// Whether a checksum comes before or after the body.
fn is_announced(headers: &HeaderMap, name: &str) -> bool {
    let header = format!("x-amz-checksum-{name}");
    let announced = headers.get_all("x-amz-trailer").iter().filter_map(|value| value.to_str().ok());
    headers.contains_key(&header)
        || announced.flat_map(|value| value.split(',')).any(|value| value.trim().eq_ignore_ascii_case(&header))
}

fn hasher(names: &[&str]) -> ChecksumHasher {
    let mut hasher = ChecksumHasher::default();
    for name in names {
        match *name {
            "crc32" => hasher.crc32 = Some(Default::default()),
            "crc32c" => hasher.crc32c = Some(Default::default()),
            "crc64nvme" => hasher.crc64nvme = Some(Default::default()),
            "sha1" => hasher.sha1 = Some(Default::default()),
            _ => hasher.sha256 = Some(Default::default()),
        }
    }
    hasher
}

fn of<'a>(sums: &'a Checksum, name: &str) -> Option<&'a str> {
    let sum = match name {
        "crc32" => &sums.checksum_crc32,
        "crc32c" => &sums.checksum_crc32c,
        "crc64nvme" => &sums.checksum_crc64nvme,
        "sha1" => &sums.checksum_sha1,
        _ => &sums.checksum_sha256,
    };
    sum.as_deref()
}

/// The client's fault: cut off, or not what it signed.
fn broken(error: Box<dyn std::error::Error + Send + Sync>) -> S3Error {
    match error.downcast::<S3Error>() {
        Ok(error) => *error,
        Err(error) => {
            tracing::debug!(%error, "an upload broke off");
            s3_error!(IncompleteBody)
        }
    }
}

/// Ours.
pub fn internal(error: impl std::fmt::Display) -> S3Error {
    tracing::error!(%error, "object storage");
    s3_error!(InternalError)
}
