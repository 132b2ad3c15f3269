//! Proof that the suite can fail: servers that are wrong in one documented way each.
//!
//! A [`Mutant`] is a row of a const table. [`proxy`] stands between the suite and a good server and makes the mutant's
//! one change; the scenarios that judge what it touches must notice. What none notices is a hole in the suite, unless
//! its row says why it can't be seen.

pub mod edit;
mod proxy;
mod socket;
pub mod table;
mod trial;

pub use edit::{Answered, Asked};
pub use proxy::{Proxy, Server};
pub use socket::Flow;
pub use trial::{Summary, Trial, Verdict, try_all};

use tokio_tungstenite::tungstenite::Message;

use crate::{
    run::matches,
    scenario::{Class, Scenario},
    scenarios,
};

/// One way to be wrong.
#[derive(Clone, Copy, Debug)]
pub struct Mutant {
    /// Stable: `area/what_is_wrong`.
    pub id: &'static str,
    /// What is wrong, for people.
    pub what: &'static str,
    pub on: On,
    pub change: Change,
    /// Scenarios of class `alone` judge it, so nothing else may run.
    pub alone: bool,
    /// Why no scenario can notice it.
    pub survives: Option<&'static str>,
}

/// Which requests are changed, and who must notice.
#[derive(Clone, Copy, Debug)]
pub enum On {
    /// Requests of these operations; the scenarios that cover one of them.
    Operations(&'static [&'static str]),
    /// Requests of these operations; the scenarios with these ids (`*` and `?` as everywhere).
    Narrowed(&'static [&'static str], &'static [&'static str]),
    /// Requests with this in their path; the scenarios with these ids.
    Path(&'static str, &'static [&'static str]),
    /// Requests to what a preview URL leads to; the scenarios about previews.
    Previews,
}

/// What happens to them.
#[derive(Clone, Copy, Debug)]
pub enum Change {
    /// The request, before the server sees it.
    Request(fn(&mut Asked)),
    /// The server never hears of it: this is the answer (status and body, JSON where it isn't empty).
    Ignored(u16, &'static str),
    /// The answer.
    Answer(fn(&Asked, &mut Answered)),
    /// The first answer to a request is the answer to all like it.
    Stale,
    /// A WebSocket's messages to the client: what [`Flow::out`] gets is sent instead.
    Down(fn(&mut Flow, Message)),
    /// A WebSocket's messages to the server.
    Up(fn(&mut Flow, Message)),
}

impl Mutant {
    pub(crate) const fn new(id: &'static str, what: &'static str, on: On, change: Change) -> Self {
        Self { id, what, on, change, alone: false, survives: None }
    }

    pub(crate) const fn alone(self) -> Self {
        Self { alone: true, ..self }
    }

    /// For what a server may do or leave, and no scenario judges on purpose.
    pub(crate) const fn survives(self, why: &'static str) -> Self {
        Self { survives: Some(why), ..self }
    }

    /// The scenarios that should notice it.
    pub fn scenarios(&self) -> Vec<&'static Scenario> {
        let covers = |scenario: &Scenario, ids: &[&str]| scenario.covers.iter().any(|id| ids.contains(id));
        let named = |scenario: &Scenario, globs: &[&str]| globs.iter().any(|glob| matches(glob, scenario.id));
        let fits = |scenario: &&Scenario| match self.on {
            On::Operations(ids) => covers(scenario, ids),
            On::Narrowed(_, globs) | On::Path(_, globs) => named(scenario, globs),
            On::Previews => scenario.area() == "previews",
        };
        scenarios::all()
            .filter(fits)
            .filter(|scenario| !scenario.is(Class::Slow) && scenario.is(Class::Alone) == self.alone)
            .collect()
    }

    fn touches(&self, asked: &Asked) -> bool {
        match self.on {
            On::Operations(ids) | On::Narrowed(ids, _) => asked.operation.is_some_and(|id| ids.contains(&id)),
            On::Path(part, _) => !asked.preview && asked.path().contains(part),
            On::Previews => asked.preview,
        }
    }
}
