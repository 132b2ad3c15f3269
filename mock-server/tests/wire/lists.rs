//! Both list forms: filters, orders, pages, the bare array of old clients.

use serde_json::{Value, json};

use crate::api::{Api, keys, names};

/// `lst-a` (public, label grp x, n 1), `lst-b` (label grp x), `other` (stopped, medium).
async fn three() -> Api {
    let api = Api::new().await;
    api.sandbox(json!({"name": "lst-a", "public": true, "labels": {"grp": "x", "n": "1"}})).await;
    api.sandbox(json!({"name": "lst-b", "labels": {"grp": "x"}})).await;
    api.sandbox(json!({"name": "other", "snapshot": "daytona-medium"})).await;
    api.post("/sandbox/other/stop?force=true", Value::Null).await;
    api.until("other", "stopped").await;
    api
}

#[tokio::test]
async fn items_have_the_observed_fields_in_their_order() {
    let api = Api::new().await;
    api.named("x").await;
    let (_, page) = api.get("/sandbox").await;
    assert_eq!(keys(&page), ["items", "nextCursor"]);
    assert_eq!(page["nextCursor"], Value::Null);
    let expected = "id organizationId name target runnerId sandboxClass state desiredState snapshot user errorReason recoverable \
                    public networkBlockAll kvm networkAllowList domainAllowList cpu gpu memory disk labels backupState \
                    autoStopInterval autoPauseInterval autoArchiveInterval autoDeleteInterval createdAt updatedAt \
                    lastActivityAt daemonVersion toolboxProxyUrl";
    assert_eq!(keys(&page["items"][0]), expected.split_whitespace().collect::<Vec<_>>());
    let (_, page) = api.get("/sandbox/paginated").await;
    assert_eq!(keys(&page), ["items", "total", "page", "totalPages"]);
    assert!(page["items"][0]["env"].is_object(), "whole objects");
}

#[tokio::test]
async fn filters() {
    let api = three().await;
    let (_, a) = api.get("/sandbox/lst-a").await;
    let id_prefix = a["id"].as_str().expect("id")[..13].to_uppercase();
    for (query, found) in [
        ("", "lst-a lst-b other"),
        ("name=LST", "lst-a lst-b"),
        ("name=st-a", ""),
        ("name=%25st-a", "lst-a"),
        ("name=_st", "lst-a lst-b"),
        ("name=", "lst-a lst-b other"),
        (&format!("id={id_prefix}"), "lst-a"),
        ("id=zzz", ""),
        ("labels=%7B%22grp%22%3A%22x%22%7D", "lst-a lst-b"),
        (r#"labels={"grp":"x","n":"1"}"#, "lst-a"),
        (r#"labels={"n":1}"#, ""),
        ("labels={}", "lst-a lst-b other"),
        ("labels=%5B%5D", "lst-a lst-b other"),
        ("states=started", "lst-a lst-b"),
        ("states=started&states=stopped", "lst-a lst-b other"),
        ("states[]=stopped", "other"),
        ("states=", "lst-a lst-b other"),
        ("snapshots=daytona-medium", "other"),
        ("snapshots=nope", ""),
        ("minCpu=2", "other"),
        ("maxCpu=1", "lst-a lst-b"),
        ("minMemoryGiB=4&maxMemoryGiB=4", "other"),
        ("minDiskGiB=4", "other"),
        ("maxDiskGiB=3", "lst-a lst-b"),
        ("isPublic=true", "lst-a"),
        ("isPublic=x", "lst-b other"),
        ("isRecoverable=true", ""),
        ("createdAtAfter=2020-01-01", "lst-a lst-b other"),
        ("createdAtBefore=2020-01-01", ""),
        ("lastEventAfter=2020-01-01T00:00:00.000000%2B0000", "lst-a lst-b other"),
        ("autoDestroyAtAfter=2020-01-01", ""),
        ("includeErroredDeleted=true&foo=bar&page=2&verbose=true&includeWarm=true", "lst-a lst-b other"),
    ] {
        let (status, page) = api.get(&format!("/sandbox?sort=name&order=asc&{query}")).await;
        assert_eq!(status, 200, "{query}: {page}");
        assert_eq!(names(&page).join(" "), found, "{query}");
        if !query.starts_with("is") && !query.contains("created") && !query.contains("autoDestroy") {
            let (_, page) = api.get(&format!("/sandbox/paginated?sort=name&order=asc&{query}")).await;
            assert!(query.contains("page=2") || names(&page).join(" ") == found, "paginated {query}: {page}");
        }
    }
    for (query, found) in
        [("regionIds=us", 3), ("regionIds=eu", 0), ("sandboxClasses=container", 3), ("sandboxClasses=linux-vm", 0)]
    {
        let (_, page) = api.get(&format!("/sandbox?{query}")).await;
        assert_eq!(names(&page).len(), found, "{query}");
    }
    assert_eq!(api.get("/sandbox/paginated?regions=eu").await.1["total"], 0);
}

#[tokio::test]
async fn refusals() {
    let api = Api::new().await;
    let states = "each value must be one of the following values: creating, restoring, destroying, started, stopped, starting, \
                  stopping, error, build_failed, pending_build, building_snapshot, unknown, pulling_snapshot, archived, \
                  archiving, resizing, snapshotting, forking, pausing, paused, resuming";
    for (query, message) in [
        ("limit=0", "limit must not be less than 1"),
        ("limit=", "limit must not be less than 1"),
        ("limit=201", "limit must not be greater than 200"),
        ("limit=1.5", "limit must be an integer number"),
        (
            "limit=x",
            "limit must be an integer number, limit must not be less than 1, limit must not be greater than 200",
        ),
        ("order=up", "order must be one of the following values: asc, desc"),
        ("labels=x", "Invalid labels JSON format"),
        ("labels=%22s%22", "Invalid labels JSON format"),
        ("labels[grp]=x", "labels must be a string"),
        ("states=started,stopped", states),
        ("states=destroyed", states),
        ("maxCpu=0", "maxCpu must not be less than 1"),
        ("minCpu=x", "minCpu must not be less than 1, minCpu must be an integer number"),
    ] {
        api.refused("GET", &format!("/sandbox?{query}"), Value::Null, 400, message).await;
        api.refused("GET", &format!("/sandbox/paginated?{query}"), Value::Null, 400, message).await;
    }
    for (path, message) in [
        (
            "?sort=state",
            "sort must be one of the following values: name, cpu, memoryGib, diskGib, lastActivityAt, createdAt",
        ),
        (
            "?sandboxClasses=foo",
            "each value in sandboxClasses must be one of the following values: linux-vm, container, android, windows",
        ),
        ("?createdAtAfter=x", "createdAtAfter must be a Date instance"),
        ("?cursor=x", "Invalid cursor provided: x"),
        ("?cursor=bnVsbA%3D%3D", "Invalid cursor provided: bnVsbA=="),
        ("/paginated?page=0", "page must not be less than 1"),
        ("/paginated?page=x", "page must be an integer number, page must not be less than 1"),
        (
            "/paginated?sort=cpu",
            "sort must be one of the following values: id, name, state, snapshot, region, updatedAt, createdAt, lastActivityAt",
        ),
    ] {
        api.refused("GET", &format!("/sandbox{path}"), Value::Null, 400, message).await;
    }
}

#[tokio::test]
async fn a_walk_in_any_order_visits_each_once() {
    let api = three().await;
    for sort in ["name", "createdAt", "lastActivityAt", "cpu", "memoryGib", "diskGib"] {
        for order in ["asc", "desc"] {
            let (mut seen, mut cursor) = (Vec::new(), String::new());
            loop {
                let path = format!("/sandbox?limit=1&sort={sort}&order={order}&cursor={cursor}");
                let (status, page) = api.get(&path).await;
                assert_eq!(status, 200, "{path}: {page}");
                seen.extend(names(&page).into_iter().map(String::from));
                let Some(next) = page["nextCursor"].as_str() else { break };
                cursor = next.replace('=', "%3D").replace('+', "%2B");
            }
            let (_, whole) = api.get(&format!("/sandbox?sort={sort}&order={order}")).await;
            assert_eq!(seen, names(&whole), "{sort} {order}");
            seen.sort();
            assert_eq!(seen, ["lst-a", "lst-b", "other"], "{sort} {order}");
        }
    }
}

#[tokio::test]
async fn numbered_pages() {
    let api = three().await;
    let (_, page) = api.get("/sandbox/paginated?limit=2&sort=name&order=asc").await;
    assert_eq!((names(&page), &page["total"], &page["totalPages"]), (vec!["lst-a", "lst-b"], &json!(3), &json!(2)));
    let (_, page) = api.get("/sandbox/paginated?limit=2&page=2&sort=name&order=asc").await;
    assert_eq!((names(&page), &page["page"]), (vec!["other"], &json!(2)));
    assert_eq!(api.get("/sandbox/paginated?page=99999999999").await.1["page"], 99_999_999_999_u64);
    let (_, page) = api.get("/sandbox/paginated?page=9").await;
    assert_eq!((names(&page).len(), &page["total"]), (0, &json!(3)));
    let (_, page) = api.get("/sandbox/paginated").await;
    assert_eq!(names(&page), ["other", "lst-b", "lst-a"], "newest first");
    let (_, none) = Api::new().await.get("/sandbox/paginated").await;
    assert_eq!(none, json!({"items": [], "total": 0, "page": 1, "totalPages": 0}));
}

#[tokio::test]
async fn old_clients_get_a_bare_array() {
    let api = Api::new().await;
    api.named("x").await;
    let shape = async |headers: &[(&str, &str)]| {
        let mut request = api.request("GET", "/sandbox");
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        request.send().await.expect("answer").json::<Value>().await.expect("JSON").is_array()
    };
    assert!(shape(&[("x-daytona-sdk-version", "0.103.0")]).await);
    assert!(shape(&[("content-type", "application/json")]).await, "the crate daytona-client");
    assert!(!shape(&[("content-type", "application/json"), ("user-agent", "curl/8")]).await);
    assert!(!shape(&[("x-daytona-sdk-version", "0.111.1")]).await);
    assert!(!shape(&[("x-daytona-sdk-version", "0.0.0-dev")]).await);
    assert!(!shape(&[]).await);
}
