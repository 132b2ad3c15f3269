//! Rules that hold for every input: proptest makes the inputs, shrinks what fails, and the report prints how to repeat
//! it.

use std::{fmt::Debug, sync::Arc};

use parking_lot::Mutex;
use proptest::{
    strategy::Strategy,
    test_runner::{Config, RngAlgorithm, TestCaseError, TestError, TestRng, TestRunner},
};
use tokio::runtime::Handle;
use tokio_util::sync::CancellationToken;

use crate::{
    context::Cx,
    stop::{Result, Stop},
};

/// Each step of shrinking is a handful of requests.
const MAX_SHRINK_STEPS: u32 = 100;

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
        let config =
            Config { cases, max_shrink_iters: MAX_SHRINK_STEPS, failure_persistence: None, ..Config::default() };
        let stopped: Arc<Mutex<Option<Stop>>> = Arc::default();
        let over = CancellationToken::new();
        // A scenario that is given up must not go on asking.
        let _over_when_dropped = over.clone().drop_guard();
        let (cx, stop, handle) = (self.clone(), stopped.clone(), Handle::current());
        let result = tokio::task::spawn_blocking(move || {
            TestRunner::new_with_rng(config, rng(id, seed)).run(&inputs, |input| {
                if over.is_cancelled() || stop.lock().is_some() {
                    return Ok(());
                }
                match handle.block_on(holds(cx.clone(), input)) {
                    Ok(None) => Ok(()),
                    Ok(Some(got)) => Err(TestCaseError::fail(got)),
                    Err(error) => {
                        *stop.lock() = Some(error);
                        Ok(())
                    }
                }
            })
        })
        .await?;
        if let Some(stop) = stopped.lock().take() {
            return Err(stop);
        }
        let repeat = format!("daytona-conformance run {} --seed {seed} --cases {cases}", self.scenario.id);
        let got = match result {
            Ok(()) => None,
            Err(TestError::Fail(reason, input)) => Some(format!("{reason}, for the input {input:?}; again: {repeat}")),
            Err(TestError::Abort(reason)) => return Err(Stop::harness(format!("no inputs: {reason}"))),
        };
        self.check(id).that(got.is_none(), &format!("{expected}, for {cases} inputs"), got.unwrap_or_default());
        Ok(())
    }
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
