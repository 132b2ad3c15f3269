//! The recordings of a sandbox: those that go on, those that ended since it started, and files from before.

use std::{
    collections::HashMap,
    path::{Path, PathBuf},
    sync::Arc,
    time::SystemTime,
};

use axum::http::StatusCode;
use chrono::{DateTime, Utc};
use parking_lot::Mutex;
use tokio::task::spawn_blocking;

use super::{
    Recording,
    recorder::{End, Recorder},
};
use crate::{
    limits,
    toolbox::{Ctx, ToolboxError, error::timestamp, go_errors},
};

/// One for each agent.
#[derive(Default)]
pub struct Recordings {
    known: Mutex<HashMap<String, Arc<Known>>>,
    /// One start at a time.
    starting: tokio::sync::Mutex<()>,
}

/// A recording of this run of the sandbox.
struct Known {
    recording: Recording,
    began: DateTime<Utc>,
    path: PathBuf,
    recorder: Recorder,
    ended: Mutex<Option<(DateTime<Utc>, End)>>,
}

impl Recordings {
    /// Where they are: `DAYTONA_RECORDINGS_DIR`, or a directory at home.
    pub fn directory(ctx: &Ctx) -> PathBuf {
        let given = ctx.env().get("DAYTONA_RECORDINGS_DIR").filter(|dir| !dir.is_empty()).map(|dir| ctx.resolve(dir));
        given.unwrap_or_else(|| ctx.config().home.join(".daytona/recordings"))
    }

    pub async fn start(&self, ctx: &Ctx, ffmpeg: PathBuf, label: &str) -> Result<Recording, ToolboxError> {
        let _one_at_a_time = self.starting.lock().await;
        let most = limits::inside().recordings;
        if self.active().len() >= most {
            return Err(ToolboxError::bad_request(format!("no more than {most} recordings at once")));
        }
        let display = ctx
            .desktop()
            .display_name()
            .ok_or_else(|| ToolboxError::internal("there is no screen to record: start computer use first"))?;
        let (began, id, dir) = (Utc::now(), uuid::Uuid::new_v4().to_string(), Self::directory(ctx));
        let file_name = format!("{id}_{label}_{}.mp4", began.format("%Y%m%d_%H%M%S"));
        let path = dir.join(&file_name);
        let failed = |error: std::io::Error| ToolboxError::internal(go_errors::text(&error));
        tokio::fs::create_dir_all(&dir).await.map_err(failed)?;
        let started = Recorder::start(ffmpeg, &display, &path, ctx.env()).await;
        let recorder = match started {
            Ok(recorder) => recorder,
            Err(error) => {
                _ = tokio::fs::remove_file(&path).await;
                return Err(failed(error));
            }
        };
        let recording = Recording {
            id: id.clone(),
            file_name,
            file_path: path.to_string_lossy().into_owned(),
            start_time: timestamp(began),
            end_time: None,
            status: "recording",
            duration_seconds: None,
            size_bytes: None,
        };
        let known = Known { recording: recording.clone(), began, path, recorder, ended: Mutex::default() };
        self.known.lock().insert(id, Arc::new(known));
        Ok(recording)
    }

    /// 404 for one that doesn't go on and isn't known.
    pub async fn stop(&self, id: &str) -> Result<Recording, ToolboxError> {
        let known = self.known.lock().get(id).cloned().ok_or_else(not_found)?;
        if let Some(end) = known.recorder.stop().await {
            known.ended.lock().get_or_insert_with(|| (Utc::now(), end));
        }
        Ok(known.now())
    }

    /// Before the screen goes.
    pub async fn stop_all(&self) {
        futures_util::future::join_all(self.active().iter().map(|known| self.stop(&known.recording.id))).await;
    }

    fn active(&self) -> Vec<Arc<Known>> {
        self.known.lock().values().filter(|known| known.now().status == "recording").cloned().collect()
    }

    /// 500 for a directory that can't be read; one that isn't there has no recordings.
    pub async fn list(&self, ctx: &Ctx) -> Result<Vec<Recording>, ToolboxError> {
        let dir = Self::directory(ctx);
        let files = spawn_blocking(move || files(&dir)).await.map_err(ToolboxError::internal)?;
        let files =
            files.map_err(|error| ToolboxError::internal(format!("recordings: {}", go_errors::text(&error))))?;
        let known: HashMap<_, _> = self.known.lock().clone();
        let mut all: Vec<Recording> = known.values().map(|known| known.now()).collect();
        all.extend(files.into_iter().filter(|file| !known.contains_key(&file.id)));
        all.sort_by(|a, b| b.start_time.cmp(&a.start_time));
        all.truncate(limits::inside().entries);
        Ok(all)
    }

    pub async fn get(&self, ctx: &Ctx, id: &str) -> Result<Recording, ToolboxError> {
        let known = self.known.lock().get(id).cloned();
        match known {
            Some(known) => Ok(known.now()),
            None => self.list(ctx).await?.into_iter().find(|recording| recording.id == id).ok_or_else(not_found),
        }
    }

    pub async fn delete(&self, ctx: &Ctx, id: &str) -> Result<(), ToolboxError> {
        let recording = self.get(ctx, id).await?;
        if recording.status == "recording" {
            let message = "conflict: cannot delete an active recording, stop it first";
            return Err(ToolboxError::new(StatusCode::CONFLICT, "RECORDING_STILL_ACTIVE", message));
        }
        self.known.lock().remove(id);
        match tokio::fs::remove_file(&recording.file_path).await {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                Err(ToolboxError::internal(go_errors::text(&error)))
            }
            _ => Ok(()),
        }
    }
}

impl Known {
    fn now(&self) -> Recording {
        let mut ended = self.ended.lock();
        if ended.is_none() {
            *ended = self.recorder.end().map(|end| (Utc::now(), end));
        }
        let Some((at, end)) = &*ended else { return self.recording.clone() };
        Recording {
            end_time: Some(timestamp((*at).max(self.began))),
            status: if end.playable { "completed" } else { "failed" },
            duration_seconds: Some(end.seconds),
            size_bytes: std::fs::metadata(&self.path).ok().map(|about| about.len()),
            ..self.recording.clone()
        }
    }
}

fn not_found() -> ToolboxError {
    ToolboxError::not_found("recording not found")
}

/// What recordings are in a directory, by their names: `<uuid>_<label>_<date>_<time>.mp4`.
fn files(dir: &Path) -> std::io::Result<Vec<Recording>> {
    let entries = match std::fs::read_dir(dir) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries?,
    };
    let found = entries.flatten().filter_map(|entry| {
        let file_name = entry.file_name().into_string().ok()?;
        let id = id_of(&file_name)?.to_owned();
        let about = std::fs::symlink_metadata(entry.path()).ok().filter(std::fs::Metadata::is_file)?;
        let time = timestamp(about.modified().unwrap_or(SystemTime::UNIX_EPOCH).into());
        Some(Recording {
            id,
            file_path: entry.path().to_string_lossy().into_owned(),
            file_name,
            start_time: time.clone(),
            end_time: Some(time),
            status: "completed",
            duration_seconds: None,
            size_bytes: Some(about.len()),
        })
    });
    Ok(found.collect())
}

/// The id in the name of a recording's file; `None` for other files.
pub fn id_of(file_name: &str) -> Option<&str> {
    let (id, rest) = file_name.split_once('_')?;
    (uuid::Uuid::try_parse(id).is_ok() && id.len() == 36 && rest.ends_with(".mp4")).then_some(id)
}

#[cfg(test)]
mod tests {
    use super::id_of;

    #[test]
    fn names_of_recordings() {
        let id = "7f1c1f0e-2a55-4b8e-9d0c-0a1b2c3d4e5f";
        assert_eq!(id_of(&format!("{id}_my_run_20261128_120000.mp4")), Some(id));
        for other in [format!("{id}_x.mp4.part"), format!("{id}.mp4"), "a_b.mp4".into(), "../x_y.mp4".into()] {
            assert_eq!(id_of(&other), None);
        }
    }
}
