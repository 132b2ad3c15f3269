//! Counts what a run uses up.

use parking_lot::Mutex;
use tokio::time::Instant;

use super::plan::Budget;
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
        state.settle();
        if self.budget.max_sandboxes.is_some_and(|most| state.made >= most) {
            return Err(Stop::not_run(format!("the budget of {} sandboxes is used up", state.made)));
        }
        if self.budget.max_minutes.is_some_and(|most| state.minutes >= most) {
            return Err(Stop::not_run(format!("the budget of sandbox minutes is used up: {:.1}", state.minutes)));
        }
        Ok(())
    }

    /// The server refused to make the last one that was taken.
    pub fn not_made(&self) {
        let mut state = self.state.lock();
        state.settle();
        state.made = state.made.saturating_sub(1);
        state.alive = state.alive.saturating_sub(1);
    }

    /// So many of them are gone.
    pub fn gone(&self, count: u32) {
        let mut state = self.state.lock();
        state.settle();
        state.alive = state.alive.saturating_sub(count);
    }

    /// Sandboxes made, and minutes that they have lived.
    pub fn spent(&self) -> (u32, f64) {
        let mut state = self.state.lock();
        state.settle();
        (state.made, state.minutes)
    }
}

impl State {
    fn settle(&mut self) {
        let now = Instant::now();
        self.minutes += f64::from(self.alive) * now.duration_since(self.since).as_secs_f64() / 60.0;
        self.since = now;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_budget_ends() {
        let spent = Spent::new(Budget { max_sandboxes: Some(2), ..Budget::default() });
        assert!(spent.take_sandbox().is_ok() && spent.take_sandbox().is_ok());
        spent.not_made();
        assert!(spent.take_sandbox().is_ok());
        spent.gone(2);
        assert!(matches!(spent.take_sandbox(), Err(Stop::NotRun(_))));
        assert_eq!(spent.spent().0, 2);
    }

    #[tokio::test]
    async fn minutes_end_too() {
        let spent = Spent::new(Budget { max_minutes: Some(0.001), ..Budget::default() });
        assert!(spent.take_sandbox().is_ok() && spent.take_sandbox().is_ok());
        spent.not_made();
        tokio::time::sleep(std::time::Duration::from_millis(65)).await;
        assert!(matches!(spent.take_sandbox(), Err(Stop::NotRun(_))), "{:?}", spent.spent());
        let used = spent.spent().1;
        spent.gone(1);
        tokio::time::sleep(std::time::Duration::from_millis(5)).await;
        assert!(spent.spent().1 < used + 0.000_08, "what is gone doesn't count");
    }
}
