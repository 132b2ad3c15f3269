//! One ffmpeg that records the screen.
//!
//! It writes in fragments, so what was recorded when everything is killed can be played. At its end the file is written
//! once more, without copying a picture, as one that players can search in.

use std::{
    collections::BTreeMap,
    io,
    os::unix::process::CommandExt,
    path::{Path, PathBuf},
    process::Stdio,
    time::Duration,
};

use tokio::{
    io::{AsyncBufReadExt, AsyncWriteExt, BufReader, Lines},
    process::{ChildStderr, ChildStdin, ChildStdout},
    sync::watch,
    time::timeout,
};
use tokio_util::sync::CancellationToken;

use crate::toolbox::process::{group::Group, tail::tail};

/// Pictures a second.
const RATE: &str = "25";
/// For the first picture.
const START_LIMIT: Duration = Duration::from_secs(20);
/// For writing what is left.
const STOP_LIMIT: Duration = Duration::from_secs(20);
const MAX_WORDS: usize = 2048;

/// A recording that goes on.
pub struct Recorder {
    stop: CancellationToken,
    ended: watch::Receiver<Option<End>>,
}

/// How a recording ended.
#[derive(Clone, Debug, PartialEq)]
pub struct End {
    pub playable: bool,
    pub seconds: f64,
    /// The last words of ffmpeg.
    pub said: String,
}

impl Recorder {
    /// Returns when the first picture is taken.
    pub async fn start(
        ffmpeg: PathBuf,
        display: &str,
        file: &Path,
        mut env: BTreeMap<String, String>,
    ) -> io::Result<Recorder> {
        env.insert("DISPLAY".into(), display.into());
        let mut command = std::process::Command::new(&ffmpeg);
        command.args(arguments(display)).arg(file).env_clear().envs(&env).process_group(0);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = tokio::process::Command::from(command).spawn()?;
        let words = tokio::spawn(last_words(child.stderr.take()));
        let (stdin, stdout) = (child.stdin.take(), child.stdout.take());
        let mut group = Group::new(child);
        let mut progress = Progress::new(stdout);
        if !matches!(timeout(START_LIMIT, progress.first()).await, Ok(true)) {
            group.kill();
            _ = group.child().wait().await;
            return Err(io::Error::other(format!("ffmpeg: {}", words.await.unwrap_or_default())));
        }
        let (sender, ended) = watch::channel(None);
        let stop = CancellationToken::new();
        let (asked, file) = (stop.clone(), file.to_owned());
        tokio::spawn(async move {
            record(&mut group, stdin, &mut progress, &asked).await;
            let said = words.await.unwrap_or_default();
            let playable = finish(&ffmpeg, &file, &env).await.is_ok();
            sender.send_replace(Some(End { playable, seconds: progress.seconds, said }));
        });
        Ok(Recorder { stop, ended })
    }

    /// How it ended, if it has.
    pub fn end(&self) -> Option<End> {
        self.ended.borrow().clone()
    }

    /// Ends it, and waits until the file is complete.
    pub async fn stop(&self) -> Option<End> {
        self.stop.cancel();
        self.ended.clone().wait_for(Option::is_some).await.ok().and_then(|end| end.clone())
    }
}

fn arguments(display: &str) -> Vec<&str> {
    let input = ["-f", "x11grab", "-framerate", RATE, "-i", display];
    // H.264 with half as many colours as pixels wants even sides.
    let picture = ["-vf", "crop=trunc(iw/2)*2:trunc(ih/2)*2", "-pix_fmt", "yuv420p"];
    let codec = ["-c:v", "libx264", "-preset", "ultrafast", "-crf", "23", "-g", "50"];
    let file = ["-movflags", "+frag_keyframe+empty_moov+default_base_moof", "-f", "mp4"];
    let telling =
        ["-hide_banner", "-loglevel", "error", "-nostats", "-stats_period", "0.1", "-progress", "pipe:1", "-y"];
    [&telling[..], &input, &picture, &codec, &file].concat()
}

/// Until it ends, by itself or because it was asked to.
async fn record(group: &mut Group, stdin: Option<ChildStdin>, progress: &mut Progress, asked: &CancellationToken) {
    if asked.run_until_cancelled(progress.all()).await.is_none() {
        if let Some(mut stdin) = stdin {
            _ = stdin.write_all(b"q").await;
        }
        _ = timeout(STOP_LIMIT, progress.all()).await;
    }
    _ = timeout(STOP_LIMIT, group.child().wait()).await;
    group.kill();
    _ = group.child().wait().await;
}

/// Writes the file once more, with its table of contents in front. What isn't a film stays as it is.
async fn finish(ffmpeg: &Path, file: &Path, env: &BTreeMap<String, String>) -> io::Result<()> {
    let whole = file.with_extension("mp4.part");
    let mut command = std::process::Command::new(ffmpeg);
    command.args(["-hide_banner", "-loglevel", "error", "-nostdin", "-y", "-i"]).arg(file);
    command.args(["-c", "copy", "-movflags", "+faststart", "-f", "mp4"]).arg(&whole);
    command.env_clear().envs(env).process_group(0).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    let mut group = Group::new(tokio::process::Command::from(command).spawn()?);
    let done = timeout(STOP_LIMIT, group.child().wait()).await.map_err(io::Error::other)??;
    if done.success() {
        return tokio::fs::rename(&whole, file).await;
    }
    _ = tokio::fs::remove_file(&whole).await;
    Err(io::Error::other("not a film"))
}

/// What ffmpeg tells of how far it is.
struct Progress {
    lines: Option<Lines<BufReader<ChildStdout>>>,
    frames: u64,
    seconds: f64,
}

impl Progress {
    fn new(stdout: Option<ChildStdout>) -> Progress {
        Progress { lines: stdout.map(|stdout| BufReader::new(stdout).lines()), frames: 0, seconds: 0.0 }
    }

    /// False when it ends before the first picture.
    async fn first(&mut self) -> bool {
        while self.frames == 0 {
            if !self.line().await {
                return false;
            }
        }
        true
    }

    async fn all(&mut self) {
        while self.line().await {}
    }

    async fn line(&mut self) -> bool {
        let Some(lines) = &mut self.lines else { return false };
        let Ok(Some(line)) = lines.next_line().await else { return false };
        self.read(&line);
        true
    }

    fn read(&mut self, line: &str) {
        match line.split_once('=') {
            Some(("frame", frames)) => self.frames = frames.trim().parse().unwrap_or(self.frames),
            Some(("out_time_us", time)) => {
                self.seconds = time.trim().parse::<u64>().map_or(self.seconds, |time| time as f64 / 1e6);
            }
            _ => {}
        }
    }
}

async fn last_words(stderr: Option<ChildStderr>) -> String {
    let mut said = Vec::new();
    tail(stderr, MAX_WORDS, &mut said).await;
    String::from_utf8_lossy(&said).trim().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn progress_is_read() {
        let mut progress = Progress::new(None);
        for line in ["frame=12", "out_time_us=1500000", "out_time_us=N/A", "speed=1x", "nonsense"] {
            progress.read(line);
        }
        assert_eq!((progress.frames, progress.seconds), (12, 1.5));
    }
}
