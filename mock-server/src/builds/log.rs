//! A build's log: a file that grows, and readers that follow it.

use std::{
    fs::File,
    io::{self, Write},
    path::{Path, PathBuf},
    sync::Arc,
};

use bytes::Bytes;
use futures_util::{Stream, stream};
use parking_lot::Mutex;
use tokio::{
    io::{AsyncReadExt, AsyncSeekExt},
    sync::watch,
};

/// Read at once.
const PIECE: usize = 32 << 10;

/// A line that is longer is shown before it ends.
const LONG_LINE: u64 = 8 << 10;

#[derive(Clone, Copy, Debug, Default)]
struct Length {
    bytes: u64,
    done: bool,
}

/// The log of a build that is under way.
pub struct BuildLog {
    path: PathBuf,
    /// With the bytes written to it.
    file: Mutex<(File, u64)>,
    length: watch::Sender<Length>,
    /// What is beyond is left out.
    limit: u64,
}

impl BuildLog {
    /// Makes the file anew.
    pub fn create(path: &Path, limit: usize) -> io::Result<Arc<BuildLog>> {
        if let Some(parent) = path.parent() {
            std::fs::create_dir_all(parent)?;
        }
        let file = Mutex::new((File::create(path)?, 0));
        let (length, limit) = (watch::channel(Length::default()).0, limit as u64);
        Ok(Arc::new(BuildLog { path: path.to_owned(), file, length, limit }))
    }

    pub fn line(&self, text: &str) {
        self.write(format!("{text}\n").as_bytes());
    }

    /// Adds output as it is. A full disk costs the log, not the build.
    pub fn write(&self, bytes: &[u8]) {
        let mut file = self.file.lock();
        let (file, written) = &mut *file;
        let taken = &bytes[..self.limit.saturating_sub(*written).min(bytes.len() as u64) as usize];
        if taken.is_empty() || file.write_all(taken).is_err() {
            return;
        }
        let before = *written;
        *written += taken.len() as u64;
        // Readers get whole lines: SDKs hand each piece to a callback that takes it for some.
        let line_end = memchr::memrchr2(b'\n', b'\r', taken).map(|end| before + end as u64 + 1);
        let shown = line_end.or_else(|| (*written - self.length.borrow().bytes > LONG_LINE).then_some(*written));
        if let Some(shown) = shown {
            self.length.send_modify(|length| length.bytes = shown);
        }
    }

    /// Nothing comes any more.
    pub fn finish(&self) {
        let written = self.file.lock().1;
        self.length.send_replace(Length { bytes: written, done: true });
    }

    /// Everything so far; with `follow` also what comes, to the end.
    pub fn read(&self, follow: bool) -> impl Stream<Item = io::Result<Bytes>> + Send + use<> {
        let length = self.length.subscribe();
        stream::try_unfold((None, self.path.clone(), length, 0), move |(file, path, mut length, at)| async move {
            let mut file = match file {
                Some(file) => file,
                None => tokio::fs::File::open(&path).await?,
            };
            let known = if follow {
                // An end that nobody announces is one, too.
                let wanted = |length: &Length| length.bytes > at || length.done;
                length.wait_for(wanted).await.map_or(Length { done: true, bytes: at }, |length| *length)
            } else {
                *length.borrow_and_update()
            };
            if known.bytes <= at {
                return Ok(None);
            }
            file.seek(io::SeekFrom::Start(at)).await?;
            let mut piece = vec![0; PIECE.min((known.bytes - at) as usize)];
            let count = file.read(&mut piece).await?;
            let more = (known.bytes - at) as usize > count;
            let whole = memchr::memrchr(b'\n', &piece[..count]).filter(|_| more).map_or(count, |end| end + 1);
            piece.truncate(whole);
            let count = whole;
            let next = (count > 0).then(|| (Bytes::from(piece), (Some(file), path, length, at + count as u64)));
            Ok(next)
        })
    }
}

#[cfg(test)]
mod tests {
    use futures_util::TryStreamExt;

    use super::*;

    #[tokio::test]
    async fn followers_see_everything_and_the_end() {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let log = BuildLog::create(&dir.path().join("a/log"), 12).expect("a log");
        log.line("one");
        let follower = tokio::spawn(log.read(true).try_collect::<Vec<_>>());
        tokio::task::yield_now().await;
        log.line("two");
        assert_eq!(log.read(false).try_collect::<Vec<_>>().await.expect("read").concat(), b"one\ntwo\n");
        log.write(b"thr");
        assert_eq!(log.read(false).try_collect::<Vec<_>>().await.expect("read").concat(), b"one\ntwo\n");
        log.line("ee is too long");
        log.finish();
        let all = follower.await.expect("ends").expect("read").concat();
        assert_eq!(all, b"one\ntwo\nthre");
    }
}
