//! Listing sandboxes: filters, orders, pages. Answered from memory; an organisation of thousands takes milliseconds.

use std::{cmp::Ordering, sync::Arc};

use base64::{Engine, engine::general_purpose::STANDARD};
use chrono::{DateTime, SecondsFormat, Utc};
use serde_json::{Map, Value, json};

use super::{
    ControlPlane,
    error::ModelError,
    sandbox::{Sandbox, State},
};

/// An inclusive range; `None` is open.
#[derive(Clone, Copy, Debug)]
pub struct Range<T> {
    pub from: Option<T>,
    pub to: Option<T>,
}

impl<T> Default for Range<T> {
    fn default() -> Self {
        Range { from: None, to: None }
    }
}

impl<T: PartialOrd> Range<T> {
    fn contains(&self, value: &T) -> bool {
        self.from.as_ref().is_none_or(|from| value >= from) && self.to.as_ref().is_none_or(|to| value <= to)
    }

    fn is_open(&self) -> bool {
        self.from.is_none() && self.to.is_none()
    }
}

/// Which sandboxes; the default is all that a list shows.
#[derive(Clone, Debug, Default)]
pub struct Filter {
    /// Case-insensitive prefix, `%` and `_` as in SQL (observed).
    pub id: String,
    /// Like `id`.
    pub name: String,
    /// Wanted labels.
    pub labels: Map<String, Value>,
    /// Derived states; empty is any.
    pub states: Vec<State>,
    pub snapshots: Vec<String>,
    pub regions: Vec<String>,
    pub classes: Vec<String>,
    pub cpu: Range<u32>,
    pub memory: Range<u32>,
    pub disk: Range<u32>,
    pub public: Option<bool>,
    pub recoverable: Option<bool>,
    pub created: Range<DateTime<Utc>>,
    pub last_event: Range<DateTime<Utc>>,
    pub auto_destroy: Range<DateTime<Utc>>,
    pub include_errored_deleted: bool,
    /// Those that wait in warm pools, too.
    pub include_warm: bool,
}

impl Filter {
    fn matches(&self, sandbox: &Sandbox) -> bool {
        let any = |wanted: &[String], value: &str| wanted.is_empty() || wanted.iter().any(|w| w == value);
        // Between the event and its going (observed: destroyed ones never appear).
        sandbox.state() != State::Destroyed
            && (self.include_errored_deleted || !sandbox.phase().is_errored_deleted())
            && (self.include_warm || sandbox.warm_pool_id.is_none())
            && (self.states.is_empty() || self.states.contains(&sandbox.phase().listed()))
            && sandbox.labels.contains(&self.labels)
            && is_like(&self.name, &sandbox.name)
            && is_like(&self.id, &sandbox.id)
            && any(&self.snapshots, sandbox.snapshot.as_deref().unwrap_or_default())
            && any(&self.regions, &sandbox.target)
            && any(&self.classes, sandbox.class.as_str())
            && self.cpu.contains(&sandbox.cpu)
            && self.memory.contains(&sandbox.memory)
            && self.disk.contains(&sandbox.disk)
            && self.public.is_none_or(|public| public == sandbox.public)
            && self.recoverable.is_none_or(|recoverable| recoverable == sandbox.recoverable)
            && self.created.contains(&sandbox.created_at)
            && self.last_event.contains(&sandbox.last_activity_at)
            && (self.auto_destroy.is_open()
                || sandbox.auto_destroy_at.is_some_and(|at| self.auto_destroy.contains(&at)))
    }
}

/// SQL's `text ILIKE pattern || '%'`.
pub fn is_like(pattern: &str, text: &str) -> bool {
    if !pattern.contains(['%', '_']) {
        return text.get(..pattern.len()).is_some_and(|head| head.eq_ignore_ascii_case(pattern))
            || text.to_lowercase().starts_with(&pattern.to_lowercase());
    }
    let pattern: Vec<char> = pattern.to_lowercase().chars().chain(['%']).collect();
    let text: Vec<char> = text.to_lowercase().chars().collect();
    let (mut p, mut t) = (0, 0);
    // Where to go on after the last `%` when what follows it didn't fit: never more than pattern × text steps.
    let mut retry: Option<(usize, usize)> = None;
    while t < text.len() {
        match pattern.get(p) {
            Some('%') => {
                retry = Some((p + 1, t));
                p += 1;
            }
            Some(&c) if c == '_' || c == text[t] => (p, t) = (p + 1, t + 1),
            _ => {
                let Some((after, from)) = retry else { return false };
                retry = Some((after, from + 1));
                (p, t) = (after, from + 1);
            }
        }
    }
    pattern[p..].iter().all(|c| *c == '%')
}

/// What a list is sorted by. Ties are broken by id, in the same direction (observed).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SortBy {
    Id,
    Name,
    State,
    Snapshot,
    Region,
    Cpu,
    Memory,
    Disk,
    Created,
    Updated,
    LastActivity,
}

/// A sort key; of one variant within a list.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Key<'a> {
    Number(i64),
    Text(&'a str),
}

impl SortBy {
    fn key(self, sandbox: &Sandbox) -> Key<'_> {
        let millis = |at: DateTime<Utc>| Key::Number(at.timestamp_millis());
        match self {
            SortBy::Id => Key::Text(&sandbox.id),
            SortBy::Name => Key::Text(&sandbox.name),
            SortBy::State => Key::Number(State::ALL.iter().position(|s| *s == sandbox.state()).unwrap_or(0) as i64),
            SortBy::Snapshot => Key::Text(sandbox.snapshot.as_deref().unwrap_or_default()),
            SortBy::Region => Key::Text(&sandbox.target),
            SortBy::Cpu => Key::Number(sandbox.cpu.into()),
            SortBy::Memory => Key::Number(sandbox.memory.into()),
            SortBy::Disk => Key::Number(sandbox.disk.into()),
            SortBy::Created => millis(sandbox.created_at),
            SortBy::Updated => millis(sandbox.updated_at),
            SortBy::LastActivity => millis(sandbox.last_activity_at),
        }
    }

    fn is_time(self) -> bool {
        matches!(self, SortBy::Created | SortBy::Updated | SortBy::LastActivity)
    }
}

/// The order of a list.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sort {
    pub by: SortBy,
    pub descending: bool,
}

impl Sort {
    fn compare(self, a: (&Key, &str), b: (&Key, &str)) -> Ordering {
        let order = a.cmp(&b);
        if self.descending { order.reverse() } else { order }
    }
}

/// A page that a cursor continues.
#[derive(Debug)]
pub struct CursorPage {
    pub items: Vec<Arc<Sandbox>>,
    /// There is another page behind it.
    pub next: Option<String>,
}

/// A numbered page.
#[derive(Debug)]
pub struct NumberedPage {
    pub items: Vec<Arc<Sandbox>>,
    /// On all pages.
    pub total: usize,
}

impl ControlPlane {
    /// A page behind `cursor` (empty: the first one). 400 for a cursor that this server didn't make.
    pub fn list(
        &self,
        org: &str,
        filter: &Filter,
        sort: Sort,
        cursor: &str,
        limit: usize,
    ) -> Result<CursorPage, ModelError> {
        let mut items = self.matching(org, filter);
        if !cursor.is_empty() {
            let invalid = || ModelError::bad_request(format!("Invalid cursor provided: {cursor}"));
            let (value, id) = parse_cursor(cursor, sort.by).ok_or_else(invalid)?;
            let after = match &value {
                Value::String(text) => Key::Text(text),
                number => Key::Number(number.as_i64().ok_or_else(invalid)?),
            };
            items.retain(|s| sort.compare((&sort.by.key(s), &s.id), (&after, &id)) == Ordering::Greater);
        }
        sort_by(&mut items, sort);
        let more = items.len() > limit;
        items.truncate(limit);
        let next = items.last().filter(|_| more).map(|last| make_cursor(last, sort.by));
        Ok(CursorPage { items, next })
    }

    /// Page `page` (from 1) of `limit` sandboxes.
    pub fn list_page(&self, org: &str, filter: &Filter, sort: Sort, page: usize, limit: usize) -> NumberedPage {
        let mut items = self.matching(org, filter);
        sort_by(&mut items, sort);
        let total = items.len();
        let items = items.into_iter().skip((page - 1).saturating_mul(limit)).take(limit).collect();
        NumberedPage { items, total }
    }

    fn matching(&self, organization_id: &str, filter: &Filter) -> Vec<Arc<Sandbox>> {
        let world = self.world.read();
        let Some(tenant) = world.tenants.get(organization_id) else { return Vec::new() };
        let records = tenant.ids.iter().filter_map(|id| world.sandboxes.get(id)).map(|entry| &entry.record);
        records.filter(|record| filter.matches(record)).cloned().collect()
    }
}

fn sort_by(items: &mut [Arc<Sandbox>], sort: Sort) {
    items.sort_unstable_by(|a, b| sort.compare((&sort.by.key(a), &a.id), (&sort.by.key(b), &b.id)));
}

fn make_cursor(last: &Sandbox, by: SortBy) -> String {
    let value = match by.key(last) {
        Key::Text(text) => json!(text),
        Key::Number(millis) if by.is_time() => {
            let time = DateTime::from_timestamp_millis(millis).unwrap_or_default();
            json!(time.to_rfc3339_opts(SecondsFormat::Millis, true))
        }
        Key::Number(number) => json!(number),
    };
    STANDARD.encode(json!({"sortValue": value, "id": last.id}).to_string())
}

/// The sort value (times as milliseconds) and id of a cursor.
fn parse_cursor(cursor: &str, by: SortBy) -> Option<(Value, String)> {
    let text = STANDARD.decode(cursor).ok()?;
    let mut cursor: Map<String, Value> = serde_json::from_slice(&text).ok()?;
    let id = cursor.get("id")?.as_str()?.to_owned();
    let value = cursor.remove("sortValue")?;
    let value =
        if by.is_time() { json!(value.as_str()?.parse::<DateTime<Utc>>().ok()?.timestamp_millis()) } else { value };
    let is_text = matches!(by, SortBy::Id | SortBy::Name | SortBy::Snapshot | SortBy::Region);
    (value.is_string() == is_text).then_some((value, id))
}

/// A cursor behind the item with this sort key and id, for lists that sort by text.
pub(super) fn close_cursor(key: &str, id: &str) -> String {
    STANDARD.encode(json!({"sortValue": key, "id": id}).to_string())
}

/// The sort key and id of such a cursor.
pub(super) fn open_cursor(cursor: &str) -> Option<(String, String)> {
    let cursor: Map<String, Value> = serde_json::from_slice(&STANDARD.decode(cursor).ok()?).ok()?;
    let text = |name| cursor.get(name)?.as_str().map(str::to_owned);
    Some((text("sortValue")?, text("id")?))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn like() {
        for (pattern, text) in
            [("", "x"), ("Ab", "aBc"), ("%", ""), ("_b", "abc"), ("a%c", "abxc"), ("%b%", "ab"), ("É", "été")]
        {
            assert!(is_like(pattern, text), "{pattern:?} {text:?}");
        }
        for (pattern, text) in [("b", "abc"), ("_", ""), ("a%d", "abc"), ("abcd", "abc")] {
            assert!(!is_like(pattern, text), "{pattern:?} {text:?}");
        }
    }

    proptest! {
        #[test]
        fn any_pattern_ends(pattern in "[a%_]{0,40}", text in "a{0,200}b?") {
            let _ = is_like(&pattern, &text);
        }

        #[test]
        fn any_cursor_is_read_or_refused(cursor in ".{0,100}", by in prop::sample::select(vec![SortBy::Cpu, SortBy::Name, SortBy::Created])) {
            let _ = parse_cursor(&cursor, by);
            let _ = parse_cursor(&STANDARD.encode(&cursor), by);
        }
    }
}
