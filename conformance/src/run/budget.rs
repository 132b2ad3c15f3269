//! Counts what a run uses up.

use parking_lot::Mutex;
use tokio::time::Instant;

use super::plan::Budget;
use crate::count::count;
use crate::stop::{Result, Stop};

/// What is used so far.
pub struct Spent {
    budget: Budget,
    state: Mutex<State>,
}

struct State {
    made: u32,
    alive: u32,
    minutes: f64,
    since: Instant,
}

impl Spent {
    pub fn new(budget: Budget) -> Self {
        Self { budget, state: Mutex::new(State { made: 0, alive: 0, minutes: 0.0, since: Instant::now() }) }
    }

    /// Is there room for one sandbox more?
    pub fn has_room(&self) -> Result {
        self.check(&mut self.state.lock())
    }

    /// One sandbox more, if the budget has it.
    pub fn take_sandbox(&self) -> Result {
        let mut state = self.state.lock();
        self.check(&mut state)?;
        state.made += 1;
        state.alive += 1;
        Ok(())
    }

    fn check(&self, state: &mut State) -> Result {
        state.settle(Instant::now());
        if self.budget.max_sandboxes.is_some_and(|most| state.made >= most) {
            return Err(Stop::not_run(format!("the budget of {} is used up", count(state.made, "sandbox"))));
        }
        self.check_minutes(state)
    }

    /// Is there time for work in a sandbox that there is already?
    pub fn has_time(&self) -> Result {
        let mut state = self.state.lock();
        state.settle(Instant::now());
        self.check_minutes(&state)
    }

    fn check_minutes(&self, state: &State) -> Result {
        match self.budget.max_minutes.filter(|most| state.minutes >= *most) {
            Some(most) => {
                let used = format!("{:.2} of {most}", state.minutes);
                Err(Stop::not_run(format!("the budget of sandbox minutes is used up: {used}")))
            }
            None => Ok(()),
        }
    }

    /// The server refused to make the last one that was taken.
    pub fn not_made(&self) {
        let mut state = self.state.lock();
        state.settle(Instant::now());
        state.made = state.made.saturating_sub(1);
        state.alive = state.alive.saturating_sub(1);
    }

    /// So many of them are gone.
    pub fn gone(&self, count: u32) {
        let mut state = self.state.lock();
        state.settle(Instant::now());
        state.alive = state.alive.saturating_sub(count);
    }

    /// Sandboxes made, and minutes that they have lived.
    pub fn spent(&self) -> (u32, f64) {
        let mut state = self.state.lock();
        state.settle(Instant::now());
        (state.made, state.minutes)
    }
}

impl State {
    /// Counts what has lived until now.
    fn settle(&mut self, now: Instant) {
        self.minutes += f64::from(self.alive) * now.duration_since(self.since).as_secs_f64() / 60.0;
        self.since = now;
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn a_budget_ends() {
        let spent = Spent::new(Budget { max_sandboxes: Some(2), ..Budget::default() });
        assert!(spent.take_sandbox().is_ok() && spent.take_sandbox().is_ok());
        spent.not_made();
        assert!(spent.take_sandbox().is_ok());
        spent.gone(2);
        assert!(matches!(spent.take_sandbox(), Err(Stop::NotRun(_))));
        assert_eq!(spent.spent().0, 2);
    }

    #[test]
    fn minutes_end_too() {
        let spent = Spent::new(Budget { max_minutes: Some(5.0), ..Budget::default() });
        // As if it had begun so long ago.
        let after = |minutes: u64| spent.state.lock().since -= Duration::from_secs(60 * minutes);
        assert!(spent.take_sandbox().is_ok() && spent.take_sandbox().is_ok());
        after(2);
        assert_eq!(spent.spent().1.floor(), 4.0, "two of them, two minutes");
        spent.not_made();
        assert!(spent.has_room().is_ok() && spent.has_time().is_ok());
        after(1);
        assert!(matches!(spent.has_time(), Err(Stop::NotRun(_))), "nothing begins in those that still live");
        assert!(matches!(spent.take_sandbox(), Err(Stop::NotRun(_))), "{:?}", spent.spent());
        spent.gone(1);
        after(60);
        assert_eq!(spent.spent().1.floor(), 5.0, "what is gone doesn't count");
    }
}
