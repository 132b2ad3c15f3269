//! Rules that hold for every input: proptest makes the inputs, shrinks what fails, and the report prints how to repeat
//! it.

use std::{
    cell::Cell,
    fmt::Debug,
    sync::Arc,
    time::{Duration, Instant},
};

use parking_lot::Mutex;
use proptest::{
    arbitrary::any,
    strategy::Strategy,
    test_runner::{Config, RngAlgorithm, TestCaseError, TestError, TestRng, TestRunner},
};
use rand::{Rng, SeedableRng, rngs::StdRng};
use tokio::runtime::Handle;
use tokio_util::sync::CancellationToken;

use crate::{
    context::Cx,
    stop::{Result, Stop},
};

/// Each step of shrinking is a handful of requests: what fails is made smaller for so long. Well below a scenario's time.
const SHRINK_FOR: Duration = Duration::from_secs(10);
/// Characters of an input, and of what came of it, that a report shows.
const MAX_SHOWN: usize = 700;

impl Cx {
    /// A verdict over many inputs: `holds` answers `None`, or what it got instead of `expected`. Its requests are in
    /// the log like all others; the scenario should be of class `Generated`.
    pub async fn law<S, F, Fut>(&self, id: &'static str, expected: &str, inputs: S, holds: F) -> Result
    where
        S: Strategy + Send + 'static,
        S::Value: Debug + Send,
        F: Fn(Cx, S::Value) -> Fut + Send + 'static,
        Fut: Future<Output = Result<Option<String>>>,
    {
        let (cases, seed) = self.cases();
        // Shrinking ends by time, below: proptest's own limits are told on standard error. The largest number means another.
        let config = Config { cases, max_shrink_iters: u32::MAX - 1, failure_persistence: None, ..Config::default() };
        let stopped: Arc<Mutex<Option<Stop>>> = Arc::default();
        let over = CancellationToken::new();
        // A scenario that is given up must not go on asking.
        let _over_when_dropped = over.clone().drop_guard();
        let (cx, stop, handle) = (self.clone(), stopped.clone(), Handle::current());
        let result = tokio::task::spawn_blocking(move || {
            let failed_at = Cell::new(None::<Instant>);
            TestRunner::new_with_rng(config, rng(id, seed)).run(&inputs, |input| {
                let is_small_enough = failed_at.get().is_some_and(|at| at.elapsed() >= SHRINK_FOR);
                if is_small_enough || over.is_cancelled() || stop.lock().is_some() {
                    return Ok(());
                }
                match handle.block_on(holds(cx.clone(), input)) {
                    Ok(None) => Ok(()),
                    Ok(Some(got)) => {
                        failed_at.set(failed_at.get().or_else(|| Some(Instant::now())));
                        Err(TestCaseError::fail(got))
                    }
                    Err(error) => {
                        *stop.lock() = Some(error);
                        Ok(())
                    }
                }
            })
        })
        .await?;
        // What failed before something else came between, while it shrank, is a failure all the same.
        if let (Some(stop), Ok(())) = (stopped.lock().take(), &result) {
            return Err(stop);
        }
        let repeat = format!("daytona-conformance run {} --seed {seed} --cases {cases}", self.scenario.id);
        let got = match result {
            Ok(()) => None,
            Err(TestError::Fail(reason, input)) => {
                let (input, reason) = (short(format!("{input:?}")), short(reason.to_string()));
                Some(format!("for the input {input}: {reason}; again: {repeat}"))
            }
            Err(TestError::Abort(reason)) => return Err(Stop::harness(format!("no inputs: {reason}"))),
        };
        self.check(id).give(got.is_none(), format!("{expected}, for {cases} inputs"), got.unwrap_or_default());
        Ok(())
    }
}

/// What stands behind it must be seen, too.
fn short(text: String) -> String {
    match text.char_indices().nth(MAX_SHOWN) {
        Some((at, _)) => format!("{}…", &text[..at]),
        None => text,
    }
}

/// Bytes of any kind, fewer than `most`. They shrink from both ends, each in a few steps, where those of a vector go one by one.
pub(crate) fn any_bytes(most: usize) -> impl Strategy<Value = Vec<u8>> {
    // The smaller the second, the more is left out at the front: nothing at all in most cases, to begin with.
    (0..most, 0..8 * most, any::<u64>()).prop_map(move |(end, front, seed)| {
        let mut bytes = vec![0; end];
        StdRng::seed_from_u64(seed).fill_bytes(&mut bytes);
        bytes.split_off(most.saturating_sub(front).min(end))
    })
}

/// Each law has inputs of its own, whichever order scenarios run in.
fn rng(id: &str, seed: u64) -> TestRng {
    let mut bytes = [0; 32];
    bytes[..8].copy_from_slice(&seed.to_le_bytes());
    for (at, byte) in id.bytes().enumerate() {
        bytes[8 + at % 24] = bytes[8 + at % 24].wrapping_mul(31).wrapping_add(byte);
    }
    TestRng::from_seed(RngAlgorithm::ChaCha, &bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_shrink_to_the_one_that_matters() {
        let config = Config { failure_persistence: None, ..Config::default() };
        for seed in 0..20 {
            let steps = Cell::new(0);
            let mut runner = TestRunner::new_with_rng(config.clone(), rng("bytes", seed));
            let result = runner.run(&any_bytes(3000), |bytes| {
                steps.set(steps.get() + 1);
                if bytes.contains(&b'e') { Err(TestCaseError::fail("an e")) } else { Ok(()) }
            });
            let Err(TestError::Fail(_, smallest)) = result else { panic!("no e in 256 inputs: {result:?}") };
            assert_eq!(smallest, b"e", "seed {seed}");
            assert!(steps.get() < 300, "seed {seed}: {} steps", steps.get());
        }
    }
}
