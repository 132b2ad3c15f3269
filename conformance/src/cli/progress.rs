//! A line that tells how far a run is. Silent where nobody watches.

use std::{fmt, time::Duration};

use console::Term;
use indicatif::{HumanDuration, ProgressBar, ProgressDrawTarget, ProgressState, ProgressStyle};
use parking_lot::Mutex;

use crate::{report::Outcome, run::Event};

/// Columns; narrower terminals get no bar.
const ROOM_FOR_A_BAR: u16 = 72;
const WIDE: &str = "{bar:16} {pos}/{len}{left}{prefix}  {wide_msg}";
const NARROW: &str = "{pos}/{len}{left}{prefix}  {wide_msg}";

/// Fed with events.
pub(super) struct Progress {
    bar: ProgressBar,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    is_wide: Option<bool>,
    running: Vec<&'static str>,
    finished: usize,
    count: usize,
    failed: usize,
    warned: usize,
}

impl Progress {
    pub fn new(shown: bool) -> Self {
        let target = if shown { ProgressDrawTarget::stderr() } else { ProgressDrawTarget::hidden() };
        let style = ProgressStyle::with_template("{wide_msg}").expect("the template is a constant");
        let bar =
            ProgressBar::with_draw_target(None, target).with_style(style).with_message("getting to know the server");
        if shown {
            bar.enable_steady_tick(Duration::from_millis(200));
        }
        Self { bar, state: Mutex::default() }
    }

    pub fn tell(&self, event: &Event) {
        let mut state = self.state.lock();
        match event {
            Event::Begin(count) => {
                state.count = *count;
                self.bar.set_length(*count as u64);
            }
            Event::Started(scenario) => state.running.push(scenario.id),
            Event::Finished(report) => {
                state.running.retain(|id| *id != report.id);
                state.finished += 1;
                state.failed += usize::from(report.outcome.is_failure());
                state.warned += usize::from(report.outcome == Outcome::Warn);
                self.bar.inc(1);
            }
        }
        // It may have been made wider or narrower meanwhile.
        let is_wide = Term::stderr().size().1 >= ROOM_FOR_A_BAR;
        if state.is_wide.replace(is_wide) != Some(is_wide) {
            self.bar.set_style(style(is_wide));
        }
        self.bar.set_prefix(state.counts());
        self.bar.set_message(state.now());
    }

    /// Prints a line above it.
    pub fn say(&self, line: &str) {
        self.bar.suspend(|| eprintln!("{line}"));
    }

    pub fn clear(&self) {
        self.bar.finish_and_clear();
    }
}

impl State {
    /// What has gone wrong so far, if anything has.
    fn counts(&self) -> String {
        let told = |count: usize, what: &str| if count > 0 { format!(", {count} {what}") } else { String::new() };
        told(self.failed, "failed") + &told(self.warned, "warned")
    }

    /// What has run longest: the others are soon over.
    fn now(&self) -> &'static str {
        let is_over = self.finished == self.count;
        self.running.first().copied().unwrap_or(if is_over { "cleaning up" } else { "" })
    }
}

fn style(is_wide: bool) -> ProgressStyle {
    let left = |state: &ProgressState, line: &mut dyn fmt::Write| {
        // Before the first has ended nobody knows.
        if state.pos() > 0 {
            _ = write!(line, ", {:#} left", HumanDuration(state.eta()));
        }
    };
    let template = if is_wide { WIDE } else { NARROW };
    ProgressStyle::with_template(template).expect("the template is a constant").with_key("left", left)
}
