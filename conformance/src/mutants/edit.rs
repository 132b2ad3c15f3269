//! Requests and answers as mutants change them.

use std::sync::Arc;

use hyper::{
    HeaderMap, Method, StatusCode,
    header::{AUTHORIZATION, HeaderName, HeaderValue},
};
use serde_json::Value;

/// A request. Its body is only there where a mutant changes requests.
#[derive(Clone, Debug, PartialEq)]
pub struct Asked {
    pub method: Method,
    /// Path and query.
    pub target: String,
    pub headers: HeaderMap,
    pub body: Vec<u8>,
    /// The operation of the contract.
    pub operation: Option<&'static str>,
    /// It came to what a preview URL leads to.
    pub preview: bool,
    /// How many the mutant touched before.
    pub number: usize,
    /// A key that the server takes.
    pub key: Arc<str>,
}

/// An answer.
#[derive(Clone, Debug, PartialEq)]
pub struct Answered {
    pub status: StatusCode,
    pub headers: HeaderMap,
    pub body: Vec<u8>,
    /// The connection ends after half of the body.
    pub breaks_off: bool,
}

impl Asked {
    pub fn path(&self) -> &str {
        self.target.split('?').next().unwrap_or_default()
    }

    /// The value of a query parameter, decoded.
    pub fn query(&self, name: &str) -> Option<String> {
        let (_, query) = self.target.split_once('?')?;
        let pairs = reqwest::Url::parse(&format!("http://h/?{query}")).ok()?;
        pairs.query_pairs().find(|(known, _)| known == name).map(|(_, value)| value.into_owned())
    }

    /// Removes a query parameter, and sets it if there is a value.
    pub fn set_query(&mut self, name: &str, value: Option<&str>) {
        let (path, query) = self.target.split_once('?').unwrap_or((&self.target, ""));
        let others = query.split('&').filter(|pair| !pair.is_empty() && pair.split('=').next() != Some(name));
        let mut pairs: Vec<String> = others.map(str::to_owned).collect();
        pairs.extend(value.map(|value| format!("{name}={value}")));
        let mark = if pairs.is_empty() { "" } else { "?" };
        self.target = format!("{path}{mark}{}", pairs.join("&"));
    }

    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default()
    }

    pub fn set_header(&mut self, name: &'static str, value: &str) {
        self.headers.insert(HeaderName::from_static(name), HeaderValue::from_str(value).expect("a header's value"));
    }

    /// Makes it one that the server takes, whoever sent it.
    pub fn allow(&mut self) {
        let bearer = format!("Bearer {}", self.key);
        self.headers.insert(AUTHORIZATION, bearer.parse().expect("a key is a header's value"));
    }

    /// Changes the body, where it is JSON.
    pub fn edit(&mut self, change: impl FnOnce(&mut Value)) {
        edit(&mut self.body, change);
    }

    /// Changes the body as text, where it is text.
    pub fn text(&mut self, change: impl FnOnce(&str) -> String) {
        text(&mut self.body, change);
    }
}

impl Answered {
    pub fn is_ok(&self) -> bool {
        self.status.is_success()
    }

    /// Another status instead of this one.
    pub fn restatus(&mut self, from: u16, to: u16) {
        if self.status == from {
            self.status = StatusCode::from_u16(to).expect("a status");
        }
    }

    /// Changes a good answer, where it is JSON.
    pub fn edit(&mut self, change: impl FnOnce(&mut Value)) {
        if self.is_ok() {
            edit(&mut self.body, change);
        }
    }

    /// Changes an error, where it is JSON.
    pub fn edit_error(&mut self, change: impl FnOnce(&mut Value)) {
        if !self.is_ok() {
            edit(&mut self.body, change);
        }
    }

    /// Changes the body of a good answer as text.
    pub fn text(&mut self, change: impl FnOnce(&str) -> String) {
        if self.is_ok() {
            text(&mut self.body, change);
        }
    }

    /// Changes the bytes of a good answer.
    pub fn bytes(&mut self, change: impl FnOnce(&mut Vec<u8>)) {
        if self.is_ok() {
            change(&mut self.body);
        }
    }

    pub fn drop_header(&mut self, name: &str) {
        self.headers.remove(name);
    }

    pub fn set_header(&mut self, name: &'static str, value: &str) {
        self.headers.insert(HeaderName::from_static(name), HeaderValue::from_str(value).expect("a header's value"));
    }
}

fn edit(body: &mut Vec<u8>, change: impl FnOnce(&mut Value)) {
    let Ok(mut value) = serde_json::from_slice::<Value>(body) else { return };
    let before = value.clone();
    change(&mut value);
    // What isn't changed keeps its spelling.
    if value != before {
        *body = value.to_string().into_bytes();
    }
}

fn text(body: &mut Vec<u8>, change: impl FnOnce(&str) -> String) {
    if let Ok(before) = std::str::from_utf8(body) {
        *body = change(before).into_bytes();
    }
}

/// Removes what the pointer leads to.
pub fn remove(value: &mut Value, pointer: &str) -> Option<Value> {
    let (parent, name) = pointer.rsplit_once('/')?;
    match value.pointer_mut(parent)? {
        Value::Object(fields) => fields.shift_remove(name),
        Value::Array(items) => name.parse().ok().filter(|at| *at < items.len()).map(|at| items.remove(at)),
        _ => None,
    }
}

/// Gives a field another name.
pub fn rename(value: &mut Value, pointer: &str, name: &str) {
    let parent = pointer.rsplit_once('/').map_or("", |(parent, _)| parent).to_owned();
    if let Some(moved) = remove(value, pointer)
        && let Some(Value::Object(fields)) = value.pointer_mut(&parent)
    {
        fields.insert(name.to_owned(), moved);
    }
}

/// Sets what is there.
pub fn set(value: &mut Value, pointer: &str, new: impl Into<Value>) {
    if let Some(old) = value.pointer_mut(pointer) {
        *old = new.into();
    }
}

/// Sets a field, whether it is there or not.
pub fn put(value: &mut Value, name: &str, new: impl Into<Value>) {
    if let Value::Object(fields) = value {
        fields.insert(name.to_owned(), new.into());
    }
}

/// Changes a string that is there.
pub fn string(value: &mut Value, pointer: &str, change: impl FnOnce(&str) -> String) {
    if let Some(Value::String(text)) = value.pointer_mut(pointer) {
        *text = change(text);
    }
}

/// Changes a list that is there.
pub fn list(value: &mut Value, pointer: &str, change: impl FnOnce(&mut Vec<Value>)) {
    if let Some(Value::Array(items)) = value.pointer_mut(pointer) {
        change(items);
    }
}

/// Changes each item of a list.
pub fn each(value: &mut Value, pointer: &str, change: impl Fn(&mut Value)) {
    list(value, pointer, |items| items.iter_mut().for_each(change));
}

/// Exchanges two fields.
pub fn swap(value: &mut Value, one: &str, other: &str) {
    if let Value::Object(fields) = value
        && let (Some(first), Some(second)) = (fields.get(one).cloned(), fields.get(other).cloned())
    {
        fields.insert(one.to_owned(), second);
        fields.insert(other.to_owned(), first);
    }
}
