//! Lists of sandboxes: by cursor (SDKs from 0.180), by page (0.104 on), and the bare array of the oldest.

use std::sync::Arc;

use axum::extract::State;
use http::{HeaderMap, header};
use serde::Serialize;
use serde_json::{Map, Value};

use super::{
    auth::{Caller, Client},
    dto::{Full, Item, Shape},
    error::{ApiError, ApiResult, ok},
    query::Query,
};
use crate::model::{
    ControlPlane, Sandbox, State as SandboxState,
    list::{Filter, Range, Sort, SortBy},
};

/// Of pages; the default is 100.
const MAX_LIMIT: u32 = 200;

/// The filter values of `states`, in their observed order: all but `destroyed`.
const STATES: [(&str, SandboxState); 21] = {
    use SandboxState as S;
    [
        ("creating", S::Creating),
        ("restoring", S::Restoring),
        ("destroying", S::Destroying),
        ("started", S::Started),
        ("stopped", S::Stopped),
        ("starting", S::Starting),
        ("stopping", S::Stopping),
        ("error", S::Error),
        ("build_failed", S::BuildFailed),
        ("pending_build", S::PendingBuild),
        ("building_snapshot", S::BuildingSnapshot),
        ("unknown", S::Unknown),
        ("pulling_snapshot", S::PullingSnapshot),
        ("archived", S::Archived),
        ("archiving", S::Archiving),
        ("resizing", S::Resizing),
        ("snapshotting", S::Snapshotting),
        ("forking", S::Forking),
        ("pausing", S::Pausing),
        ("paused", S::Paused),
        ("resuming", S::Resuming),
    ]
};

const CLASSES: [(&str, &str); 4] =
    [("linux-vm", "linux-vm"), ("container", "container"), ("android", "android"), ("windows", "windows")];

const ORDERS: [(&str, bool); 2] = [("asc", false), ("desc", true)];

const SORTS: [(&str, SortBy); 6] = [
    ("name", SortBy::Name),
    ("cpu", SortBy::Cpu),
    ("memoryGib", SortBy::Memory),
    ("diskGib", SortBy::Disk),
    ("lastActivityAt", SortBy::LastActivity),
    ("createdAt", SortBy::Created),
];

const PAGE_SORTS: [(&str, SortBy); 8] = [
    ("id", SortBy::Id),
    ("name", SortBy::Name),
    ("state", SortBy::State),
    ("snapshot", SortBy::Snapshot),
    ("region", SortBy::Region),
    ("updatedAt", SortBy::Updated),
    ("createdAt", SortBy::Created),
    ("lastActivityAt", SortBy::LastActivity),
];

/// `listSandboxes`.
pub async fn list(
    State(cp): State<Arc<ControlPlane>>,
    caller: Caller,
    client: Client,
    headers: HeaderMap,
    mut query: Query,
) -> ApiResult {
    if wants_array(&headers) {
        return bare_array(&cp, &caller, &client, query);
    }
    let cursor = query.text("cursor");
    let limit = query.number("limit", Some(MAX_LIMIT), true).unwrap_or(100);
    let filter = filter(&mut query, "regionIds")?;
    let sort = sort(&mut query, &SORTS, SortBy::LastActivity);
    query.check()?;
    let page = cp.list(caller.organization(), &filter, sort, &cursor, limit as usize)?;
    let seen: Vec<Arc<Sandbox>> = page.items.iter().map(|sandbox| client.view(sandbox)).collect();
    let items = seen.iter().map(|sandbox| Item { sandbox, origin: &client.origin }).collect();
    Ok(ok(&CursorPage { items, next_cursor: page.next }))
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct CursorPage<'a> {
    items: Vec<Item<'a>>,
    next_cursor: Option<String>,
}

/// `listSandboxesPaginated_deprecated`.
pub async fn paginated(
    State(cp): State<Arc<ControlPlane>>,
    caller: Caller,
    client: Client,
    mut query: Query,
) -> ApiResult {
    let page = query.page();
    let limit = query.number("limit", Some(MAX_LIMIT), true).unwrap_or(100);
    let filter = filter(&mut query, "regions")?;
    let sort = sort(&mut query, &PAGE_SORTS, SortBy::Created);
    query.check()?;
    let found =
        cp.list_page(caller.organization(), &filter, sort, usize::try_from(page).unwrap_or(usize::MAX), limit as usize);
    let seen: Vec<Arc<Sandbox>> = found.items.iter().map(|sandbox| client.view(sandbox)).collect();
    let total_pages = found.total.div_ceil(limit as usize);
    Ok(ok(&NumberedPage { items: all_full(&seen, &client), total: found.total, page, total_pages }))
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct NumberedPage<'a> {
    items: Vec<Full<'a>>,
    total: usize,
    page: u64,
    total_pages: usize,
}

fn all_full<'a>(sandboxes: &'a [Arc<Sandbox>], client: &'a Client) -> Vec<Full<'a>> {
    let full = |sandbox: &'a Arc<Sandbox>| Full { sandbox, origin: &client.origin, shape: Shape::Full };
    sandboxes.iter().map(full).collect()
}

/// Everything at once, for clients that know no pages.
fn bare_array(cp: &ControlPlane, caller: &Caller, client: &Client, mut query: Query) -> ApiResult {
    let filter = filter(&mut query, "regionIds")?;
    query.check()?;
    let sort = Sort { by: SortBy::Created, descending: true };
    let found = cp.list_page(caller.organization(), &filter, sort, 1, usize::MAX);
    let seen: Vec<Arc<Sandbox>> = found.items.iter().map(|sandbox| client.view(sandbox)).collect();
    Ok(ok(&all_full(&seen, client)))
}

/// SDKs up to 0.103 by their version (`0.0.0-…` is a build of the newest); the crate `daytona-client`, which names
/// itself nowhere, by what only it does: a content type on a GET, and no user agent.
fn wants_array(headers: &HeaderMap) -> bool {
    let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
    match text("x-daytona-sdk-version") {
        Some(version) => is_old(version),
        None => text("user-agent").is_none() && text(header::CONTENT_TYPE.as_str()) == Some("application/json"),
    }
}

fn is_old(version: &str) -> bool {
    let mut parts = version.trim_start_matches('v').split(['.', '-', '+']);
    let (major, minor) = (parts.next(), parts.next().and_then(|minor| minor.parse::<u32>().ok()));
    let repository_build = version.starts_with("0.0.0-");
    major == Some("0") && minor.is_some_and(|minor| minor <= 103) && !repository_build
}

fn sort(query: &mut Query, sorts: &[(&str, SortBy)], default: SortBy) -> Sort {
    Sort { by: query.word("sort", sorts, default), descending: query.word("order", &ORDERS, true) }
}

fn filter(query: &mut Query, regions: &str) -> ApiResult<Filter> {
    let (id, name) = (query.text("id"), query.text("name"));
    let labels = query.text("labels");
    let states = query.words("states", "each value", &STATES);
    let classes = query.words("sandboxClasses", "each value in sandboxClasses", &CLASSES);
    let mut range =
        |from: &str, to: &str| Range { from: query.number(from, None, false), to: query.number(to, None, false) };
    let (cpu, memory) = (range("minCpu", "maxCpu"), range("minMemoryGiB", "maxMemoryGiB"));
    let disk = range("minDiskGiB", "maxDiskGiB");
    let mut dates = |from: &str, to: &str| Range { from: query.date(from), to: query.date(to) };
    let (created, last_event) =
        (dates("createdAtAfter", "createdAtBefore"), dates("lastEventAfter", "lastEventBefore"));
    let auto_destroy = dates("autoDestroyAtAfter", "autoDestroyAtBefore");
    query.check()?;
    Ok(Filter {
        id,
        name,
        labels: parse_labels(&labels)?,
        states,
        snapshots: query.array("snapshots"),
        regions: query.array(regions),
        classes: classes.into_iter().map(String::from).collect(),
        cpu,
        memory,
        disk,
        public: query.flag("isPublic"),
        recoverable: query.flag("isRecoverable"),
        created,
        last_event,
        auto_destroy,
        include_errored_deleted: query.flag("includeErroredDeleted") == Some(true),
        include_warm: query.flag("includeWarm") == Some(true),
    })
}

/// `{}`, `[]` and nothing are no filter (observed).
fn parse_labels(labels: &str) -> ApiResult<Map<String, Value>> {
    let invalid = || ApiError::bad_request("Invalid labels JSON format");
    if labels.is_empty() {
        return Ok(Map::new());
    }
    match serde_json::from_str(labels).map_err(|_| invalid())? {
        Value::Object(map) => Ok(map),
        Value::Array(items) if items.is_empty() => Ok(Map::new()),
        Value::Null => Ok(Map::new()),
        _ => Err(invalid()),
    }
}

#[cfg(test)]
mod tests {
    use super::is_old;

    #[test]
    fn versions() {
        for old in ["0.21.0", "0.103.0", "v0.50.1", "0.103.0-alpha.1"] {
            assert!(is_old(old), "{old}");
        }
        for new in ["0.104.0", "0.205.1", "0.0.0-dev", "1.0.0", "x", ""] {
            assert!(!is_old(new), "{new}");
        }
    }
}
