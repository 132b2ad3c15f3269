//! Lists of sandboxes: pages, filters, order.

use super::prelude::*;

const LIST: Names = &["listSandboxes"];
const ORDERED: Names = &["lists/order_reverses", "lists/order_is_by_value"];
const OLD: Names = &["listSandboxesPaginated_deprecated"];

pub(super) const MUTANTS: &[Mutant] = &[
    request("lists/label-filter-ignored", "`labels` doesn't filter", LIST, |q| q.set_query("labels", None)),
    request("lists/state-filter-ignored", "`states` doesn't filter", LIST, |q| q.set_query("states", None)),
    request("lists/name-filter-ignored", "`name` doesn't filter", LIST, |q| q.set_query("name", None)),
    request("lists/public-filter-ignored", "`isPublic` doesn't filter", LIST, |q| q.set_query("isPublic", None)),
    request("lists/cpu-filter-ignored", "`minCpu` doesn't filter", LIST, |q| q.set_query("minCpu", None)),
    request("lists/time-filter-ignored", "`createdAtAfter` doesn't filter", LIST, |q| {
        q.set_query("createdAtAfter", None);
    }),
    request("lists/region-filter-ignored", "`regionIds` doesn't filter", LIST, |q| q.set_query("regionIds", None)),
    request("lists/snapshot-filter-ignored", "`snapshots` doesn't filter", LIST, |q| q.set_query("snapshots", None)),
    request_in("lists/order-ignored", "`order` is ignored", LIST, &["lists/order_reverses"], |q| {
        q.set_query("order", None)
    }),
    request_in("lists/sort-ignored", "`sort` is ignored", LIST, ORDERED, |q| q.set_query("sort", None)),
    request("lists/limit-off-by-one", "a page has one more than asked for", LIST, |q| {
        if let Some(limit) = q.query("limit").and_then(|text| text.parse::<u32>().ok()).filter(|n| (1..50).contains(n))
        {
            q.set_query("limit", Some(&(limit + 1).to_string()));
        }
    }),
    request("lists/cursor-ignored", "every page is the first one", LIST, |q| {
        if q.query("cursor").is_some_and(|cursor| cursor.len() > 2) {
            q.set_query("cursor", None);
        }
    }),
    answer("lists/cursor-lost", "no page says where the next one begins", LIST, |_, a| {
        a.edit(|v| put(v, "nextCursor", Value::Null));
    }),
    answer("lists/cursor-for-ever", "the last page has a cursor too", LIST, |_, a| {
        a.edit(|v| {
            if v["nextCursor"].is_null() {
                put(v, "nextCursor", "x");
            }
        });
    }),
    answer("lists/items-twice", "the first item of a page is there twice", LIST, |_, a| {
        a.edit(|v| list(v, "/items", |items| items.extend(items.first().cloned())));
    }),
    answer("lists/last-item-lost", "the last item of a full page is lost", LIST, |_, a| {
        a.edit(|v| {
            if !v["nextCursor"].is_null() {
                list(v, "/items", |items| drop(items.pop()));
            }
        });
    }),
    answer("lists/items-renamed", "the items are called `data`", LIST, |_, a| a.edit(|v| rename(v, "/items", "data"))),
    answer("lists/items-without-state", "items have no state", LIST, |_, a| {
        a.edit(|v| each(v, "/items", |item| drop(remove(item, "/state"))));
    }),
    answer("lists/items-are-long", "items have their environment", LIST, |_, a| {
        a.edit(|v| each(v, "/items", |item| put(item, "env", json!({}))));
    }),
    answer("lists/order-within-a-page", "a page's items are reversed", LIST, |q, a| {
        if q.query("sort").as_deref() == Some("name") {
            a.edit(|v| list(v, "/items", |items| items.reverse()));
        }
    }),
    answer("lists/bad-limit-is-fine", "a bad `limit` is 200", LIST, |q, a| {
        if q.query("limit").is_some() {
            a.restatus(400, 200);
        }
    }),
    answer("lists/foreign-cursor-is-500", "a cursor that the server didn't make is 500", LIST, |q, a| {
        if q.query("cursor").is_some() {
            a.restatus(400, 500);
        }
    }),
    answer("lists/validation-in-upper-case", "messages about parameters are in upper case", LIST, |_, a| {
        if a.status == 400 {
            a.edit_error(|v| string(v, "/message", str::to_uppercase));
        }
    }),
    stale("lists/list-is-stale", "a list never changes", LIST),
    request("lists/old-page-off-by-one", "pages of the old list begin with 2", OLD, |q| {
        if let Some(page) = q.query("page").and_then(|text| text.parse::<u32>().ok()).filter(|page| *page > 0) {
            q.set_query("page", Some(&(page + 1).to_string()));
        }
    }),
    answer("lists/old-total-of-the-page", "`total` of the old list counts the page", OLD, |_, a| {
        a.edit(|v| {
            let count = v["items"].as_array().map_or(0, Vec::len);
            set(v, "/total", count);
        });
    }),
    answer("lists/old-pages-rounded-down", "`totalPages` of the old list is one too few", OLD, |_, a| {
        a.edit(|v| {
            let pages = v["totalPages"].as_u64().unwrap_or_default();
            set(v, "/totalPages", pages.saturating_sub(1));
        });
    }),
];
