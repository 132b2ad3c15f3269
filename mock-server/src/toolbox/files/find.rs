//! `FindInFiles`: lines that contain a text.

use std::{
    fs::OpenOptions,
    io::{self, Read},
    os::unix::fs::OpenOptionsExt,
    path::Path,
    sync::atomic::{AtomicUsize, Ordering},
};

use axum::{extract::State, response::IntoResponse};
use memchr::memmem::Finder;
use parking_lot::Mutex;
use serde::Serialize;

use super::{
    Gone, cancellable,
    walk::{Shown, Walk},
};
use crate::limits;
use crate::toolbox::{Ctx, ToolboxError, json::GoJson, params::Params};

/// A longer line ends its file, silently (observed).
const MAX_LINE: usize = 64 << 10;
/// A NUL among the first bytes makes a file binary (observed).
const SNIFFED: usize = 512;
const BUFFER: usize = 256 << 10;
/// Threads that read files; most of the time goes into opening them.
const READERS: usize = 2;

/// `Match` of the contract.
#[derive(Debug, PartialEq, Serialize)]
pub struct Match {
    file: String,
    line: usize,
    content: String,
}

/// `FindInFiles`: literal and case-sensitive; regular text files at or below `path`, no links.
pub async fn find(State(ctx): State<Ctx>, params: Params) -> Result<impl IntoResponse, ToolboxError> {
    let root = params.path(&ctx, "path")?;
    let pattern = params.required("pattern")?.to_vec();
    let matches = cancellable(move |gone| {
        let search = Search {
            shown: Shown::new(&root.real, &root.given),
            walk: Mutex::new(Walk::new(&root.real).enumerate()),
            finder: Finder::new(&pattern),
            count: AtomicUsize::new(0),
            gone,
        };
        let readers = if root.real.is_dir() { READERS } else { 1 };
        search.run(readers)
    });
    let matches = matches.await?;
    if matches.len() > limits::inside().entries {
        return Err(ToolboxError::bad_request(format!("more than {} lines match", limits::inside().entries)));
    }
    Ok(GoJson(matches))
}

/// Lets this thread run on every processor. A sandbox's own programs run on as many as it asked for, but that would be no
/// help here.
fn spread() {
    use nix::sched::{CpuSet, sched_setaffinity};
    let mut all = CpuSet::new();
    for cpu in 0..CpuSet::count() {
        let _ = all.set(cpu);
    }
    // Where that is refused it is merely slower.
    let _ = sched_setaffinity(nix::unistd::Pid::from_raw(0), &all);
}

struct Search<'a> {
    shown: Shown,
    walk: Mutex<std::iter::Enumerate<Walk>>,
    finder: Finder<'a>,
    count: AtomicUsize,
    gone: &'a Gone,
}

impl Search<'_> {
    /// Several readers take files off one walk; the order of the walk is the order of the answer.
    fn run(&self, readers: usize) -> Vec<Match> {
        let mut found = std::thread::scope(|scope| {
            let help = || {
                spread();
                self.read_files()
            };
            let others: Vec<_> = (1..readers).map(|_| scope.spawn(help)).collect();
            let mut found = self.read_files();
            for other in others {
                found.extend(other.join().expect("a reader doesn't panic"));
            }
            found
        });
        found.sort_by_key(|(index, _)| *index);
        found.into_iter().flat_map(|(_, matches)| matches).collect()
    }

    fn read_files(&self) -> Vec<(usize, Vec<Match>)> {
        let mut found = Vec::new();
        let mut buffer = vec![0; BUFFER];
        while let Some((index, path)) = self.next_file() {
            let mut lines = Vec::new();
            // What can't be read is skipped, with what was found before (observed).
            _ = self.read_file(&path, &mut buffer, &mut lines);
            if lines.is_empty() {
                continue;
            }
            self.count.fetch_add(lines.len(), Ordering::Relaxed);
            let file = self.shown.path(&path);
            let matches = lines.into_iter().map(|(line, content)| Match { file: file.clone(), line, content });
            found.push((index, matches.collect()));
        }
        found
    }

    fn next_file(&self) -> Option<(usize, std::path::PathBuf)> {
        if self.gone.is_set() || self.count.load(Ordering::Relaxed) > limits::inside().entries {
            return None;
        }
        let mut walk = self.walk.lock();
        walk.find(|(_, found)| found.kind.is_file()).map(|(index, found)| (index, found.path))
    }

    fn read_file(&self, path: &Path, buffer: &mut [u8], lines: &mut Vec<(usize, String)>) -> io::Result<()> {
        let mut file = OpenOptions::new().read(true).custom_flags(libc::O_NONBLOCK | libc::O_NOFOLLOW).open(path)?;
        let (mut kept, mut line) = (0, 1);
        loop {
            let read = fill(&mut file, &mut buffer[kept..])?;
            let (filled, ended) = (kept + read, kept + read < buffer.len());
            if line == 1 && kept == 0 && memchr::memchr(0, &buffer[..filled.min(SNIFFED)]).is_some() {
                return Ok(());
            }
            let text = &buffer[..filled];
            let whole = if ended { filled } else { memchr::memrchr(b'\n', text).map_or(0, |at| at + 1) };
            let usable = before_long_line(&text[..whole]);
            self.scan(&text[..usable], &mut line, lines);
            kept = filled - whole;
            let full = self.gone.is_set() || lines.len() > limits::inside().entries;
            if ended || full || usable < whole || kept >= MAX_LINE {
                return Ok(());
            }
            buffer.copy_within(whole..filled, 0);
        }
    }

    /// Lines of `text` with the pattern in them; `line` is the number of its first and, at the end, of the one after it.
    fn scan(&self, text: &[u8], line: &mut usize, lines: &mut Vec<(usize, String)>) {
        let mut at = 0;
        while let Some(hit) = self.finder.find(&text[at..]).map(|hit| at + hit) {
            let start = memchr::memrchr(b'\n', &text[at..hit]).map_or(at, |newline| at + newline + 1);
            let newline = memchr::memchr(b'\n', &text[hit..]).map(|newline| hit + newline);
            let end = newline.unwrap_or(text.len());
            *line += memchr::memchr_iter(b'\n', &text[at..start]).count();
            let content = text[start..end].strip_suffix(b"\r").unwrap_or(&text[start..end]);
            // A pattern over the end of its line is no match.
            if hit + self.finder.needle().len() <= start + content.len() {
                lines.push((*line, String::from_utf8_lossy(content).into_owned()));
            }
            *line += usize::from(newline.is_some());
            at = newline.map_or(text.len(), |newline| newline + 1);
        }
        *line += memchr::memchr_iter(b'\n', &text[at..]).count();
    }
}

/// Reads until the buffer is full or the file ends.
fn fill(file: &mut impl Read, buffer: &mut [u8]) -> io::Result<usize> {
    let mut filled = 0;
    while filled < buffer.len() {
        match file.read(&mut buffer[filled..]) {
            Ok(0) => break,
            Ok(read) => filled += read,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(filled)
}

/// How much of a text comes before its first line of [`MAX_LINE`] bytes or more.
fn before_long_line(text: &[u8]) -> usize {
    let mut start = 0;
    while text.len() - start >= MAX_LINE {
        match memchr::memrchr(b'\n', &text[start..start + MAX_LINE]) {
            Some(newline) => start += newline + 1,
            None => return start,
        }
    }
    text.len()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(contents: &[u8], pattern: &str) -> Vec<(usize, String)> {
        let dir = tempfile::tempdir().expect("dir");
        std::fs::write(dir.path().join("f"), contents).expect("write");
        let gone = Gone(Default::default());
        let search = Search {
            shown: Shown::new(dir.path(), Path::new(".")),
            walk: Mutex::new(Walk::new(dir.path()).enumerate()),
            finder: Finder::new(pattern.as_bytes()),
            count: AtomicUsize::new(0),
            gone: &gone,
        };
        let found = search.run(2);
        assert!(found.iter().all(|found| found.file == "f"));
        found.into_iter().map(|found| (found.line, found.content)).collect()
    }

    /// Line by line, as the rules are written.
    fn reference(contents: &[u8], pattern: &str) -> Vec<(usize, String)> {
        if contents.iter().take(SNIFFED).any(|byte| *byte == 0) {
            return Vec::new();
        }
        let all = contents.split(|byte| *byte == b'\n').enumerate().take_while(|(_, line)| line.len() < MAX_LINE);
        all.map(|(index, line)| (index + 1, line.strip_suffix(b"\r").unwrap_or(line)))
            .map(|(line, content)| (line, String::from_utf8_lossy(content).into_owned()))
            .filter(|(_, content)| content.contains(pattern))
            .collect()
    }

    #[test]
    fn the_rules() {
        assert_eq!(lines(b"a\nxnx\r\n\nxx", "x"), [(2, "xnx".into()), (4, "xx".into())]);
        assert_eq!(lines(b"a\0x", "x"), []);
        assert_eq!(lines(b"", "x"), []);
        assert_eq!(lines(b"a\nb\n", "a\nb"), []);
        assert_eq!(lines(b"ax\r\n", "x\r"), []);
        let mut late_nul = vec![b'x'; 600];
        late_nul.push(0);
        assert_eq!(lines(&late_nul, "xx").len(), 1);
    }

    #[test]
    fn like_the_definition_across_buffers() {
        for long in [100, MAX_LINE - 1, MAX_LINE, MAX_LINE + 1] {
            let mut contents = Vec::new();
            for index in 0..60_000 {
                contents.extend_from_slice(format!("line {index} needle\n").as_bytes());
                if index == 40_000 {
                    contents.extend(std::iter::repeat_n(b'y', long));
                    contents.extend_from_slice(b"\n");
                }
            }
            contents.extend_from_slice(b"needle at the end");
            for pattern in ["needle", "7 needle", "yy"] {
                assert!(lines(&contents, pattern) == reference(&contents, pattern), "{pattern} {long}");
            }
        }
    }

    proptest::proptest! {
        #[test]
        fn like_the_definition(text in "[ab\r\n]{0,60}", pattern in "[ab\r\n]{1,3}") {
            proptest::prop_assert_eq!(lines(text.as_bytes(), &pattern), reference(text.as_bytes(), &pattern));
        }
    }
}
