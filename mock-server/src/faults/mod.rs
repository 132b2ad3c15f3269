//! Failures on demand: rules that say which requests and sandboxes go wrong, and how. They belong to a world, live in
//! memory only, and go with its reset. What acts on requests is carried out by the gateway, what acts on sandboxes by
//! the model; both ask here.

pub mod effect;
pub mod origin;
mod reach;
pub mod rule;

use std::{
    collections::HashMap,
    sync::{
        Arc,
        atomic::{AtomicU64, AtomicUsize, Ordering},
    },
    time::Duration,
};

use parking_lot::Mutex;
use serde_json::{Value, json};
use tokio::sync::watch;

use self::effect::Stage;
pub use self::{
    effect::{Effect, Hold},
    rule::{Facts, Matcher, Rule},
};
use crate::model::Clock;

/// Faults of one world.
const MOST: usize = 1000;

/// Every fault of a server.
#[derive(Default)]
pub struct Faults {
    /// How many there are, so that who asks without need pays one load.
    count: AtomicUsize,
    ids: AtomicU64,
    worlds: Mutex<HashMap<String, Vec<Arc<Fault>>>>,
}

/// A rule at work.
pub struct Fault {
    pub id: String,
    pub rule: Rule,
    counts: Mutex<Counts>,
    state: watch::Sender<State>,
}

/// A transition that a fault holds.
pub struct Held {
    fault: Arc<Fault>,
    /// How often the sandbox was asked for before the transition began.
    polls_before: u64,
}

#[derive(Clone, Copy, Default)]
struct Counts {
    seen: u64,
    hits: u64,
}

#[derive(Clone, Default)]
struct State {
    /// Released, or removed: nothing waits for it any more.
    over: bool,
    /// How often each sandbox was asked for.
    polls: HashMap<String, u64>,
}

impl Faults {
    /// Whether there is none at all.
    pub fn is_idle(&self) -> bool {
        self.count.load(Ordering::Relaxed) == 0
    }

    /// Puts a rule to work. The error says what is wrong with it.
    pub fn add(&self, world: &str, rule: Rule) -> Result<Arc<Fault>, String> {
        rule.check()?;
        let id = format!("fault-{}", self.ids.fetch_add(1, Ordering::Relaxed) + 1);
        let fault = Arc::new(Fault { id, rule, counts: Mutex::default(), state: watch::channel(State::default()).0 });
        let mut worlds = self.worlds.lock();
        let all = worlds.entry(world.to_owned()).or_default();
        if all.len() >= MOST {
            return Err(format!("there are {MOST} faults, which is the most"));
        }
        all.push(fault.clone());
        self.count.fetch_add(1, Ordering::Relaxed);
        Ok(fault)
    }

    /// Those of a world, oldest first.
    pub fn list(&self, world: &str) -> Vec<Arc<Fault>> {
        self.worlds.lock().get(world).cloned().unwrap_or_default()
    }

    pub fn get(&self, world: &str, id: &str) -> Option<Arc<Fault>> {
        self.list(world).into_iter().find(|fault| fault.id == id)
    }

    /// Takes one away; what it held goes on. False if there is none of this id.
    pub fn remove(&self, world: &str, id: &str) -> bool {
        self.take(world, |fault| fault.id == id) > 0
    }

    /// Takes all of a world away.
    pub fn clear(&self, world: &str) {
        self.take(world, |_| true);
    }

    fn take(&self, world: &str, which: impl Fn(&Fault) -> bool) -> usize {
        let mut worlds = self.worlds.lock();
        let Some(all) = worlds.get_mut(world) else { return 0 };
        let gone: Vec<Arc<Fault>> = all.extract_if(.., |fault| which(fault)).collect();
        if all.is_empty() {
            worlds.remove(world);
        }
        self.count.fetch_sub(gone.len(), Ordering::Relaxed);
        gone.iter().for_each(|fault| fault.release());
        gone.len()
    }

    /// The faults that act on a request, oldest first, up to one that answers it: those behind have only seen it. Each is
    /// counted.
    pub fn acting(&self, world: &str, facts: &Facts) -> Vec<Arc<Fault>> {
        let suits = |fault: &Arc<Fault>| {
            let rule = &fault.rule;
            // That one killed when it was made.
            let done = rule.effect == (Effect::Die {}) && rule.matcher.is_only_sandbox();
            !done && rule.effect.suits(facts) && rule.matcher.fits(facts)
        };
        let mut answered = false;
        let mut acts = |fault: &Arc<Fault>| {
            let acts = fault.acts(answered);
            answered |= acts && fault.rule.effect.answers();
            acts
        };
        self.list(world).into_iter().filter(suits).filter(|fault| acts(fault)).collect()
    }

    /// Notes that a sandbox was asked for.
    pub fn polled(&self, world: &str, sandbox_id: &str) {
        for fault in self.list(world) {
            if matches!(fault.rule.effect, Effect::Slow { polls: Some(_), .. }) {
                fault.state.send_modify(|state| *state.polls.entry(sandbox_id.to_owned()).or_default() += 1);
            }
        }
    }

    /// What holds a sandbox's transition that begins now. Each is counted.
    pub fn holding(&self, world: &str, id: &str, name: &str, hold: Hold) -> Vec<Held> {
        let holds = |effect: &Effect| matches!(effect, Effect::Slow { state, .. } if *state == hold);
        let held = self.about(world, id, name, holds).into_iter();
        held.map(|fault| Held { polls_before: fault.polls(id), fault }).collect()
    }

    /// Why a launch is to fail.
    pub fn start_failure(&self, world: &str, id: &str, name: &str) -> Option<String> {
        let failing = self.about(world, id, name, |effect| matches!(effect, Effect::StartFailure { .. }));
        failing.first().and_then(|fault| fault.reason())
    }

    /// Why a build is to fail.
    pub fn build_failure(&self, world: &str, id: &str, name: &str) -> Option<String> {
        let failing = self.about(world, id, name, |effect| matches!(effect, Effect::BuildFailure { .. }));
        failing.first().and_then(|fault| fault.reason())
    }

    fn about(&self, world: &str, id: &str, name: &str, is: impl Fn(&Effect) -> bool) -> Vec<Arc<Fault>> {
        if self.is_idle() {
            return Vec::new();
        }
        let request = origin::current();
        let facts = request.as_ref().map(|request| Facts::of(request, None, false));
        let meant = |fault: &Arc<Fault>| {
            let (effect, matcher) = (&fault.rule.effect, &fault.rule.matcher);
            let begun = !matcher.is_about_requests() || facts.as_ref().is_some_and(|facts| matcher.fits_request(facts));
            effect.stage() == Stage::Lifecycle && is(effect) && matcher.fits_sandbox(id, name) && begun
        };
        let all = self.list(world).into_iter().filter(meant);
        let acting: Vec<Arc<Fault>> = all.filter(|fault| !fault.is_over() && fault.acts(false)).collect();
        if let Some(request) = &request {
            acting.iter().for_each(|fault| origin::note(request, &fault.id));
        }
        acting
    }
}

impl Fault {
    /// Counts one that matches; whether the fault acts on it. One that comes too late for that only sees it.
    fn acts(&self, only_sees: bool) -> bool {
        let mut counts = self.counts.lock();
        counts.seen += 1;
        let acts = !only_sees && self.rule.acts(counts.seen, counts.hits);
        counts.hits += u64::from(acts);
        acts
    }

    /// Counts one that it acted on without a request.
    pub fn hit(&self) {
        self.acts(false);
    }

    fn reason(&self) -> Option<String> {
        match &self.rule.effect {
            Effect::StartFailure { reason } | Effect::BuildFailure { reason } => Some(reason.clone()),
            _ => None,
        }
    }

    /// Lets go what it holds, now and later.
    pub fn release(&self) {
        self.state.send_modify(|state| state.over = true);
    }

    fn is_over(&self) -> bool {
        self.state.borrow().over
    }

    /// Whether what it acts on has no answer until it is released.
    pub fn hangs(&self) -> bool {
        matches!(self.rule.effect, Effect::Hang {})
    }

    /// Until it is released or removed.
    pub async fn released(&self) {
        // The sender is this fault's own, so it can't be gone.
        _ = self.state.subscribe().wait_for(|state| state.over).await;
    }

    fn polls(&self, sandbox_id: &str) -> u64 {
        self.state.borrow().polls.get(sandbox_id).copied().unwrap_or(0)
    }

    /// Id, rule, and how often it matched (`seen`) and acted (`hits`).
    pub fn json(&self) -> Value {
        let counts = *self.counts.lock();
        let mut value = json!({"id": self.id, "seen": counts.seen, "hits": counts.hits, "released": self.is_over()});
        if let (Value::Object(all), Ok(Value::Object(rule))) = (&mut value, serde_json::to_value(&self.rule)) {
            all.extend(rule);
        }
        value
    }
}

impl Held {
    /// Until the transition of that sandbox may go on.
    pub async fn passed(&self, clock: &Clock, sandbox_id: &str) {
        let Effect::Slow { seconds, polls, .. } = &self.fault.rule.effect else { return };
        let mut state = self.fault.state.subscribe();
        let count = |state: &State| state.polls.get(sandbox_id).copied().unwrap_or(0);
        let before = self.polls_before;
        let let_go = state.wait_for(|state| state.over || polls.is_some_and(|most| count(state) - before >= most));
        let time = async {
            match seconds {
                Some(seconds) => clock.sleep(Duration::from_secs_f64(*seconds)).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            _ = let_go => {}
            () = time => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rule(value: Value) -> Rule {
        serde_json::from_value(value).expect("a rule")
    }

    fn facts() -> Facts<'static> {
        Facts {
            operation: Some("getSandbox"),
            plane: crate::journal::Plane::Api,
            method: "GET",
            path: "/api/sandbox/x",
            sandbox: Some("x"),
            known: None,
            source: "",
            user_agent: "",
            upgrade: false,
            late: false,
        }
    }

    #[test]
    fn faults_act_in_their_world_and_are_counted() {
        let faults = Faults::default();
        assert!(faults.is_idle());
        let fault = faults.add("a", rule(json!({"nth": 2, "effect": {"type": "hang"}}))).expect("added");
        let acting = |world: &str| faults.acting(world, &facts()).len();
        assert_eq!([acting("a"), acting("a"), acting("a"), acting("b")], [0, 1, 0, 0]);
        let shown = fault.json();
        assert_eq!((&shown["seen"], &shown["hits"], &shown["nth"]), (&json!(3), &json!(1), &json!(2)));
        assert!(!faults.remove("b", &fault.id) && faults.remove("a", &fault.id));
        assert!(faults.is_idle() && fault.is_over());
    }

    #[test]
    fn what_is_answered_is_only_seen_by_later_faults() {
        let faults = Faults::default();
        for effect in [json!({"type": "delay", "seconds": 0}), json!({"type": "status", "status": 500})] {
            faults.add("a", rule(json!({"times": 1, "effect": effect}))).expect("added");
        }
        let later = faults.add("a", rule(json!({"times": 1, "effect": {"type": "truncate"}}))).expect("added");
        let acting = || faults.acting("a", &facts()).iter().map(|fault| fault.id.clone()).collect::<Vec<_>>();
        assert_eq!(acting(), ["fault-1", "fault-2"]);
        assert_eq!((&later.json()["seen"], &later.json()["hits"]), (&json!(1), &json!(0)));
        assert_eq!(acting(), ["fault-3"]);
        assert!(acting().is_empty());
    }

    #[tokio::test]
    async fn a_held_transition_goes_on_by_time_by_polls_or_when_released() {
        let clock = Clock::default();
        clock.freeze();
        let held = |rule_text: Value| {
            let faults = Arc::new(Faults::default());
            faults.add("a", rule(rule_text)).expect("added");
            let mut holding = faults.holding("a", "x", "n", Hold::Creating);
            (faults, holding.pop().expect("it holds"))
        };
        let wait = |held: Held| {
            let clock = clock.clone();
            tokio::spawn(async move { held.passed(&clock, "x").await })
        };
        let (_, fault) = held(json!({"effect": {"type": "slow", "state": "creating", "seconds": 60}}));
        let waiting = wait(fault);
        tokio::task::yield_now().await;
        assert!(!waiting.is_finished());
        clock.advance(Duration::from_secs(60));
        waiting.await.expect("by time");

        let (faults, fault) = held(json!({"effect": {"type": "slow", "state": "creating", "polls": 2}}));
        // It counts from its beginning, whenever somebody begins to wait.
        faults.polled("a", "x");
        let waiting = wait(fault);
        faults.polled("a", "y");
        tokio::task::yield_now().await;
        assert!(!waiting.is_finished());
        faults.polled("a", "x");
        waiting.await.expect("by polls");

        let (faults, fault) = held(json!({"match": {"sandbox": "n"}, "effect": {"type": "slow", "state": "creating"}}));
        let waiting = wait(fault);
        tokio::task::yield_now().await;
        faults.clear("a");
        waiting.await.expect("released");
        assert!(faults.holding("a", "x", "n", Hold::Creating).is_empty());
    }
}
