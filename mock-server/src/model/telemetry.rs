//! What started sandboxes used, from real samples: one a minute, and one whenever somebody asks. Kept in memory, whole
//! life each: when a series is full every other sample goes.

use std::{collections::HashMap, sync::Arc, time::Duration};

use chrono::{DateTime, Utc};
use futures_util::StreamExt;
use parking_lot::Mutex;

use super::{
    ControlPlane,
    sandbox::{Sandbox, State},
};
use crate::runtime;

/// Between two samples that nobody asked for.
const INTERVAL: Duration = Duration::from_secs(60);

/// Somebody who asks again sooner gets no new sample.
const FRESH: chrono::Duration = chrono::Duration::seconds(1);

/// How long a request may have been on its way.
const ABOUT: chrono::Duration = chrono::Duration::seconds(5);

/// How long a sandbox may take to say what it uses.
const PATIENCE: Duration = Duration::from_secs(5);

/// Sandboxes asked at once.
const PARALLEL: usize = 8;

/// The metrics, by the names that SDKs ask for, and the field of `GET /system/metrics` that each comes from.
pub const NAMES: [(&str, &str); 7] = [
    ("daytona.sandbox.cpu.utilization", "cpuUsedPct"),
    ("daytona.sandbox.cpu.limit", "cpuCount"),
    ("daytona.sandbox.memory.usage", "memUsed"),
    ("daytona.sandbox.memory.limit", "memTotal"),
    ("daytona.sandbox.memory.cache", "memCache"),
    ("daytona.sandbox.filesystem.usage", "diskUsed"),
    ("daytona.sandbox.filesystem.total", "diskTotal"),
];

/// What a sandbox used at a moment; values in the order of [`NAMES`].
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Sample {
    pub at: DateTime<Utc>,
    pub values: [f64; NAMES.len()],
}

/// Series of samples by sandbox, oldest first.
pub struct Samples {
    series: Mutex<HashMap<String, Vec<Sample>>>,
    most: usize,
}

impl Samples {
    pub fn new(most: usize) -> Samples {
        Samples { series: Mutex::default(), most: most.max(2) }
    }

    fn add(&self, id: &str, sample: Sample) {
        let mut all = self.series.lock();
        let series = all.entry(id.to_owned()).or_default();
        if series.len() >= self.most {
            let mut keep = false;
            series.retain(|_| {
                keep = !keep;
                keep
            });
        }
        series.push(sample);
    }

    fn is_fresh(&self, id: &str, now: DateTime<Utc>) -> bool {
        self.series.lock().get(id).and_then(|series| series.last()).is_some_and(|last| now - last.at < FRESH)
    }

    fn between(&self, id: &str, from: DateTime<Utc>, to: DateTime<Utc>) -> Vec<Sample> {
        let all = self.series.lock();
        all.get(id).into_iter().flatten().filter(|sample| (from..=to).contains(&sample.at)).copied().collect()
    }

    pub fn forget(&self, id: &str) {
        self.series.lock().remove(id);
    }
}

/// Runs until the control plane closes or is dropped.
pub async fn run(cp: std::sync::Weak<ControlPlane>) {
    loop {
        let Some(strong) = cp.upgrade() else { return };
        let (clock, closing) = (strong.clock().clone(), strong.closing.clone());
        drop(strong);
        tokio::select! {
            () = closing.cancelled() => return,
            () = clock.sleep(INTERVAL) => {}
        }
        let Some(strong) = cp.upgrade() else { return };
        strong.sample_all().await;
    }
}

impl ControlPlane {
    /// What a sandbox used in a span of time, oldest first. One that is started is asked, if the span ends about now: SDKs
    /// take their own time of asking for its end.
    pub async fn samples(&self, sandbox: &Sandbox, from: DateTime<Utc>, to: DateTime<Utc>) -> Vec<Sample> {
        let now = self.clock().now();
        if from <= now && now - to <= ABOUT && !self.samples.is_fresh(&sandbox.id, now) {
            self.sample(&sandbox.id, to).await;
        }
        self.samples.between(&sandbox.id, from, to)
    }

    async fn sample_all(&self) {
        let ids: Vec<String> = {
            let world = self.world.read();
            let started = world.sandboxes.values().filter(|entry| entry.running.is_some());
            started.map(|entry| entry.record.id.clone()).collect()
        };
        futures_util::stream::iter(ids)
            .for_each_concurrent(PARALLEL, |id| async move { self.sample(&id, DateTime::<Utc>::MAX_UTC).await })
            .await;
    }

    /// Asks a started sandbox; others are left alone. The sample counts for `at` if that is over.
    async fn sample(&self, id: &str, at: DateTime<Utc>) {
        let machine = {
            let world = self.world.read();
            let entry = world.sandboxes.get(id).filter(|entry| entry.record.state() == State::Started);
            entry.and_then(|entry| entry.running.clone())
        };
        let Some(machine) = machine else { return };
        let asked = tokio::time::timeout(PATIENCE, ask(&machine)).await;
        match asked.map_err(std::io::Error::from).flatten() {
            Ok(values) if self.world.read().sandboxes.contains_key(id) => {
                self.samples.add(id, Sample { at: self.clock().now().min(at), values });
            }
            Ok(_) => {}
            Err(error) => tracing::debug!(sandbox = id, %error, "doesn't say what it uses"),
        }
    }
}

async fn ask(machine: &Arc<runtime::Sandbox>) -> std::io::Result<[f64; NAMES.len()]> {
    let metrics = machine.get_json("/system/metrics").await?;
    Ok(NAMES.map(|(_, field)| metrics[field].as_f64().unwrap_or_default()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_series_keeps_its_whole_span() {
        let samples = Samples::new(4);
        let at = |seconds| DateTime::from_timestamp(seconds, 0).expect("a time");
        for second in 0..9 {
            samples.add("a", Sample { at: at(second), values: [second as f64; NAMES.len()] });
        }
        let kept: Vec<i64> = samples.between("a", at(0), at(99)).iter().map(|one| one.at.timestamp()).collect();
        assert!(kept.len() <= 4 && kept.first() == Some(&0) && kept.last() == Some(&8), "{kept:?}");
        assert_eq!(samples.between("a", at(8), at(8)).len(), 1);
        assert!(samples.is_fresh("a", at(8)) && !samples.is_fresh("a", at(9)));
        samples.forget("a");
        assert!(samples.between("a", at(0), at(99)).is_empty());
    }
}
