//! Checks of request bodies with the original's messages, in its order: by property, several joined with `, `.

use serde_json::{Map, Value};

use super::error::{ApiError, ApiResult};
use crate::model::{StringMap, keys::PERMISSIONS, names};

/// More of a resource nobody has.
const MOST: f64 = 65_536.0;

/// A body and what is wrong with it so far.
pub struct Checks<'a> {
    body: &'a Map<String, Value>,
    problems: Vec<String>,
}

impl<'a> Checks<'a> {
    pub fn new(body: &'a Map<String, Value>) -> Checks<'a> {
        Checks { body, problems: Vec::new() }
    }

    /// A property that is there and not null.
    pub fn given(&self, name: &str) -> Option<&'a Value> {
        self.body.get(name).filter(|value| !value.is_null())
    }

    pub fn problem(&mut self, text: impl Into<String>) {
        self.problems.push(text.into());
    }

    pub fn string(&mut self, name: &str) -> Option<String> {
        let value = self.given(name)?;
        if !value.is_string() {
            self.problem(format!("{name} must be a string"));
        }
        value.as_str().map(String::from)
    }

    /// A text where null isn't the same as absent.
    pub fn string_or_absent(&mut self, name: &str) -> Option<String> {
        if self.body.get(name).is_some_and(Value::is_null) {
            self.problem(format!("{name} must be a string"));
        }
        self.string(name)
    }

    /// A name that people see.
    pub fn name(&mut self, name: &str) -> Option<String> {
        let value = self.given(name)?;
        if !value.as_str().is_some_and(names::is_safe) {
            self.problem(format!("{name} must not contain HTML tags, URLs, or control characters"));
        }
        self.string(name)
    }

    pub fn boolean(&mut self, name: &str) -> Option<bool> {
        let value = self.given(name)?;
        if !value.is_boolean() {
            self.problem(format!("{name} must be a boolean value"));
        }
        value.as_bool()
    }

    /// An object; what is in it isn't checked (observed).
    pub fn object(&mut self, name: &str) -> Option<&'a Map<String, Value>> {
        let value = self.given(name)?;
        if !value.is_object() {
            self.problem(format!("{name} must be an object"));
        }
        value.as_object()
    }

    pub fn strings(&mut self, name: &str) -> StringMap {
        self.object(name).cloned().map(StringMap::from).unwrap_or_default()
    }

    /// A resource: a number from 0, at most `max`. Answers whether one is asked for.
    pub fn resource(&mut self, name: &str, max: Option<f64>) -> bool {
        let Some(value) = self.given(name) else { return false };
        let number = value.as_f64().unwrap_or(f64::NAN);
        // What is no number fails every check (observed).
        if let Some(max) = max.filter(|max| number.is_nan() || number > *max) {
            self.problem(format!("{name} must not be greater than {max}"));
        }
        if number.is_nan() || number < 0.0 {
            self.problem(format!("{name} must not be less than 0"));
        }
        if !value.is_number() {
            self.problem(format!("{name} must be a number conforming to the specified constraints"));
        }
        number > 0.0
    }

    /// A size: a whole number from 1. (The original takes a fraction and then resizes for ever.)
    pub fn size(&mut self, name: &str) -> Option<u32> {
        let value = self.given(name)?;
        let number = value.as_f64().unwrap_or(f64::NAN);
        if number.is_nan() || number < 1.0 {
            self.problem(format!("{name} must not be less than 1"));
        }
        if !value.is_number() {
            self.problem(format!("{name} must be a number conforming to the specified constraints"));
        } else if number.fract() != 0.0 {
            self.problem(format!("{name} must be an integer number"));
        } else if number > MOST {
            self.problem(format!("{name} must not be greater than {MOST}"));
        }
        (1.0..=MOST).contains(&number).then_some(number as u32)
    }

    /// Whole minutes. (The original fails with 500 where they aren't whole or too many.)
    pub fn minutes(&mut self, name: &str) -> Option<i32> {
        let value = self.given(name)?;
        let Some(number) = value.as_f64() else {
            self.problem(format!("{name} must be a number conforming to the specified constraints"));
            return None;
        };
        if number.fract() != 0.0 || !(f64::from(i32::MIN)..=f64::from(i32::MAX)).contains(&number) {
            self.problem(format!("{name} must be an integer number"));
            return None;
        }
        Some(number as i32)
    }

    /// Words from a list; a single text stands for a list of one (observed). Answers whether there is any.
    pub fn words(&mut self, name: &str, all: &[&str]) -> bool {
        let Some(value) = self.given(name) else { return false };
        let words = value.as_array().map_or(std::slice::from_ref(value), Vec::as_slice);
        if !words.iter().all(|word| word.as_str().is_some_and(|word| all.contains(&word))) {
            self.problem(format!("each value in {name} must be one of the following values: {}", all.join(", ")));
        }
        !words.is_empty()
    }

    /// `permissions`: a list of words that mean something.
    pub fn permissions(&mut self) -> Vec<String> {
        let items = self.given("permissions").and_then(Value::as_array);
        let known = |item: &Value| item.as_str().filter(|text| PERMISSIONS.contains(text)).map(String::from);
        let found: Option<Vec<String>> = items.and_then(|items| items.iter().map(known).collect());
        if found.is_none() {
            let all = PERMISSIONS.join(", ");
            self.problem(format!("each value in permissions must be one of the following values: {all}"));
        }
        if items.is_none() {
            self.problem("permissions must be an array");
        }
        found.unwrap_or_default()
    }

    /// 400 with every problem so far.
    pub fn finish(self) -> ApiResult<()> {
        if self.problems.is_empty() { Ok(()) } else { Err(ApiError::bad_request(self.problems.join(", "))) }
    }
}
