//! Which requests, and which sandboxes, a fault is about, and when it acts.

use serde::{Deserialize, Serialize};

use super::{effect::Effect, reach};
use crate::{
    journal::Plane,
    strict::{check_operation, is_meant},
};

const METHODS: [&str; 7] = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"];

/// A value or a list of them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum OneOrMany {
    One(String),
    Many(Vec<String>),
}

impl OneOrMany {
    pub fn all(&self) -> &[String] {
        match self {
            OneOrMany::One(one) => std::slice::from_ref(one),
            OneOrMany::Many(many) => many,
        }
    }

    fn has(&self, wanted: impl Fn(&str) -> bool) -> bool {
        self.all().iter().any(|one| wanted(one))
    }
}

/// What must hold; what is left out always does.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Matcher {
    /// operationIds; `*` at the end stands for anything.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub operation: Option<OneOrMany>,
    /// Id or name of a sandbox.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sandbox: Option<OneOrMany>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub method: Option<OneOrMany>,
    /// Of the request; `*` at the end stands for anything.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub path: Option<OneOrMany>,
    /// `api`, `toolbox`, `preview`, `events`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub plane: Option<Plane>,
    /// A part of `X-Daytona-Source` or `User-Agent`, in any case.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sdk: Option<OneOrMany>,
}

/// What a request is, for matchers.
#[derive(Clone, Debug)]
pub struct Facts<'a> {
    pub operation: Option<&'static str>,
    pub plane: Plane,
    pub method: &'a str,
    pub path: &'a str,
    /// As the request named it.
    pub sandbox: Option<&'a str>,
    /// The id and name of that sandbox, if there is one.
    pub known: Option<(&'a str, &'a str)>,
    pub source: &'a str,
    pub user_agent: &'a str,
    pub upgrade: bool,
    /// It is answered already: only its frames can still be bent (Socket.IO, whose clients say late who they are).
    pub late: bool,
}

impl Matcher {
    /// A name that nothing has would make a rule that never acts.
    fn check(&self) -> Result<(), String> {
        for (name, values) in [
            ("operation", &self.operation),
            ("sandbox", &self.sandbox),
            ("method", &self.method),
            ("path", &self.path),
            ("sdk", &self.sdk),
        ] {
            if values.as_ref().is_some_and(|values| values.all().is_empty()) {
                return Err(format!("an empty list of {name} fits nothing"));
            }
            let inside = |one: &&str| one.strip_suffix('*').unwrap_or(one).contains('*');
            if let Some(one) = values.iter().flat_map(|values| values.all()).map(|one| one.as_ref()).find(inside) {
                return Err(format!("{name} {one}: * stands for anything at the end only"));
            }
        }
        self.operation.iter().flat_map(OneOrMany::all).try_for_each(|name| check_operation(name))?;
        let odd = |method: &&String| !METHODS.iter().any(|known| known.eq_ignore_ascii_case(method));
        match self.method.iter().flat_map(OneOrMany::all).find(odd) {
            Some(method) => Err(format!("method must be one of {}, not {method}", METHODS.join(", "))),
            None => Ok(()),
        }
    }

    /// Whether a request is meant.
    pub fn fits(&self, facts: &Facts) -> bool {
        let names = [facts.sandbox, facts.known.map(|known| known.0), facts.known.map(|known| known.1)];
        let named = |wanted: &OneOrMany| wanted.has(|wanted| names.contains(&Some(wanted)));
        self.sandbox.as_ref().is_none_or(named) && self.fits_request(facts)
    }

    /// The same, whichever sandbox it is about.
    pub fn fits_request(&self, facts: &Facts) -> bool {
        let one = |wanted: &Option<OneOrMany>, fits: &dyn Fn(&str) -> bool| {
            wanted.as_ref().is_none_or(|wanted| wanted.has(fits))
        };
        let sdk = |wanted: &str| {
            let wanted = wanted.to_ascii_lowercase();
            [facts.source, facts.user_agent].iter().any(|own| own.to_ascii_lowercase().contains(&wanted))
        };
        self.plane.is_none_or(|plane| plane == facts.plane)
            && one(&self.operation, &|wanted| facts.operation.is_some_and(|operation| is_meant(wanted, operation)))
            && one(&self.method, &|wanted| wanted.eq_ignore_ascii_case(facts.method))
            && one(&self.path, &|wanted| is_meant(wanted, facts.path))
            && one(&self.sdk, &sdk)
    }

    /// Whether a sandbox is meant, whatever was asked of it.
    pub fn fits_sandbox(&self, id: &str, name: &str) -> bool {
        self.sandbox.as_ref().is_none_or(|wanted| wanted.has(|wanted| wanted == id || wanted == name))
    }

    /// It says more than which sandbox.
    pub fn is_about_requests(&self) -> bool {
        *self != Matcher { sandbox: self.sandbox.clone(), ..Matcher::default() }
    }

    /// It says nothing but which sandbox.
    pub fn is_only_sandbox(&self) -> bool {
        !self.is_about_requests() && self.sandbox.is_some()
    }
}

/// The n-th of what matches: a number from 1, or a span of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Nth {
    Exactly(u64),
    Span {
        #[serde(default = "first")]
        from: u64,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        to: Option<u64>,
    },
}

fn first() -> u64 {
    1
}

/// A fault as somebody asks for it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Rule {
    #[serde(default, rename = "match")]
    pub matcher: Matcher,
    /// Which of the matching ones; default: all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub nth: Option<Nth>,
    /// It acts at most so often.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub times: Option<u64>,
    /// From 0 to 1: which of those, by chance.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub probability: Option<f64>,
    /// The same seed gives the same choices, in the order of the requests.
    #[serde(default)]
    pub seed: u64,
    pub effect: Effect,
}

impl Rule {
    pub fn check(&self) -> Result<(), String> {
        self.matcher.check()?;
        if self.times == Some(0) {
            return Err("times counts from 1".into());
        }
        if self.probability.is_some_and(|chance| !(0.0..=1.0).contains(&chance)) {
            return Err("probability must be from 0 to 1".into());
        }
        match self.nth {
            Some(Nth::Exactly(0)) => return Err("nth counts from 1".into()),
            Some(Nth::Span { from, to }) if from == 0 || to.is_some_and(|to| to < from) => {
                return Err("nth must be a number from 1, or {from, to} with 1 <= from <= to".into());
            }
            _ => {}
        }
        reach::check(&self.matcher, &self.effect)?;
        self.effect.check()
    }

    /// Whether it acts on the `seen`-th that matches (from 1), after it has acted `hits` times.
    pub fn acts(&self, seen: u64, hits: u64) -> bool {
        let counted = match self.nth {
            None => true,
            Some(Nth::Exactly(n)) => seen == n,
            Some(Nth::Span { from, to }) => seen >= from && to.is_none_or(|to| seen <= to),
        };
        counted
            && self.times.is_none_or(|times| hits < times)
            && self.probability.is_none_or(|chance| unit(self.seed, seen) < chance)
    }
}

/// A number from 0 to below 1 that depends on nothing but these two (SplitMix64).
fn unit(seed: u64, n: u64) -> f64 {
    let mut z = seed.wrapping_add(n.wrapping_mul(0x9e37_79b9_7f4a_7c15));
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    ((z ^ (z >> 31)) >> 11) as f64 / (1u64 << 53) as f64
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::{Value, json};

    use super::*;

    fn facts() -> Facts<'static> {
        Facts {
            operation: Some("createSandbox"),
            plane: Plane::Api,
            method: "POST",
            path: "/api/sandbox",
            sandbox: Some("n"),
            known: Some(("id", "n")),
            source: "sdk-python",
            user_agent: "x/1",
            upgrade: false,
            late: false,
        }
    }

    fn matcher(value: Value) -> Matcher {
        serde_json::from_value(value).expect("a matcher")
    }

    #[test]
    fn what_is_said_must_hold() {
        for fits in [
            json!({}),
            json!({"operation": "createSandbox"}),
            json!({"operation": ["x", "create*"], "method": "post", "path": "/api/*", "plane": "api"}),
            json!({"sandbox": "id"}),
            json!({"sandbox": ["n"], "sdk": "PYTHON"}),
            json!({"sdk": ["x/1"]}),
        ] {
            assert!(matcher(fits.clone()).fits(&facts()), "{fits}");
        }
        for silent in [
            json!({"operation": "create"}),
            json!({"operation": []}),
            json!({"sandbox": "other"}),
            json!({"method": "GET"}),
            json!({"path": "/api"}),
            json!({"plane": "toolbox"}),
            json!({"sdk": "typescript"}),
        ] {
            assert!(!matcher(silent.clone()).fits(&facts()), "{silent}");
        }
        assert!(serde_json::from_value::<Matcher>(json!({"operations": "x"})).is_err());
    }

    fn rule(extra: Value) -> Rule {
        let mut rule = json!({"effect": {"type": "hang"}});
        rule.as_object_mut().expect("an object").extend(extra.as_object().expect("an object").clone());
        serde_json::from_value(rule).expect("a rule")
    }

    #[test]
    fn counts_and_chances() {
        let acting = |rule: &Rule| {
            let mut hits = 0;
            let acts = |n: &u64| {
                let acts = rule.acts(*n, hits);
                hits += u64::from(acts);
                acts
            };
            (1..=10).filter(acts).collect::<Vec<u64>>()
        };
        assert_eq!(acting(&rule(json!({"nth": 3}))), [3]);
        assert_eq!(acting(&rule(json!({"nth": {"from": 2, "to": 4}}))), [2, 3, 4]);
        assert_eq!(acting(&rule(json!({"nth": {"from": 9}}))), [9, 10]);
        assert_eq!(acting(&rule(json!({"times": 2}))), [1, 2]);
        assert!(acting(&rule(json!({"probability": 0}))).is_empty());
        assert_eq!(acting(&rule(json!({"probability": 1}))).len(), 10);
        for bad in [
            json!({"nth": 0}),
            json!({"nth": {"from": 3, "to": 2}}),
            json!({"probability": 1.5}),
            json!({"times": 0}),
            json!({"match": {"operation": "createSandbx"}}),
            json!({"match": {"operation": ["createSandbox", "Nothing*"]}}),
            json!({"match": {"operation": []}}),
            json!({"match": {"method": "FETCH"}}),
        ] {
            assert!(rule(bad.clone()).check().is_err(), "{bad}");
        }
    }

    proptest! {
        /// Chances are kept about, and the same each time.
        #[test]
        fn chances_are_what_they_say(chance in 0.0f64..=1.0, seed: u64) {
            let rule = rule(json!({"probability": chance, "seed": seed}));
            let acts: Vec<bool> = (1..=4000).map(|n| rule.acts(n, 0)).collect();
            let share = acts.iter().filter(|acts| **acts).count() as f64 / 4000.0;
            prop_assert!((share - chance).abs() < 0.05, "{share} of {chance}");
            prop_assert_eq!(acts, (1..=4000).map(|n| rule.acts(n, 0)).collect::<Vec<bool>>());
        }

        /// A matcher made of a request's own facts fits it; one thing changed, it doesn't.
        #[test]
        fn own_facts_fit(path in "/[a-z/]{0,20}", method in "[A-Z]{1,7}", sandbox in "[a-z0-9-]{1,20}", cut in 0usize..20) {
            let facts = Facts { path: &path, method: &method, sandbox: Some(&sandbox), known: None, ..facts() };
            let start = format!("{}*", &path[..cut.min(path.len())]);
            let own = json!({"path": [&start], "method": method.to_lowercase(), "sandbox": &sandbox, "operation": "create*"});
            prop_assert!(matcher(own.clone()).fits(&facts));
            for (name, other) in [("path", "/1*"), ("method", "1"), ("sandbox", "1 "), ("operation", "1*")] {
                let mut changed = own.clone();
                changed[name] = json!(other);
                prop_assert!(!matcher(changed).fits(&facts), "{}", name);
            }
        }

        #[test]
        fn any_matcher_is_decided(operation in ".{0,10}", path in ".{0,10}", sdk in ".{0,10}") {
            matcher(json!({"operation": operation, "path": path, "sdk": sdk})).fits(&facts());
        }
    }
}
