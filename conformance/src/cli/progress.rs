//! A line that tells how far a run is. Silent where nobody watches.

use std::time::Duration;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use parking_lot::Mutex;

use crate::{report::Outcome, run::Event};

/// Fed with events.
pub(super) struct Progress {
    bar: ProgressBar,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    running: Vec<&'static str>,
    failed: usize,
    warned: usize,
}

impl Progress {
    pub fn new(shown: bool) -> Self {
        let target = if shown { ProgressDrawTarget::stderr() } else { ProgressDrawTarget::hidden() };
        let bar = ProgressBar::with_draw_target(None, target);
        let style = ProgressStyle::with_template("{bar:24} {pos}/{len}, {eta} left, {prefix}{wide_msg}");
        bar.set_style(style.expect("the template is a constant"));
        if shown {
            bar.enable_steady_tick(Duration::from_millis(200));
        }
        Self { bar, state: Mutex::default() }
    }

    pub fn tell(&self, event: &Event) {
        let mut state = self.state.lock();
        match event {
            Event::Begin(count) => self.bar.set_length(*count as u64),
            Event::Started(scenario) => state.running.push(scenario.id),
            Event::Finished(report) => {
                state.running.retain(|id| *id != report.id);
                state.failed += usize::from(report.outcome.is_failure());
                state.warned += usize::from(report.outcome == Outcome::Warn);
                self.bar.inc(1);
            }
        }
        self.bar.set_prefix(format!("{} failed, {} warnings ", state.failed, state.warned));
        self.bar.set_message(state.running.last().copied().unwrap_or_default());
    }

    pub fn clear(&self) {
        self.bar.finish_and_clear();
    }
}
