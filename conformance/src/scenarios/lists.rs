use std::collections::HashSet;

use crate::{client::Answer, prelude::*};

scenarios! { "lists";
    /// Pages of any size together hold each sandbox once, in the order asked for; the last has no `nextCursor`.
    /// (listSandboxes)
    pages_partition_the_list: Must, covers ["listSandboxes"];

    /// Filters narrow the list to what fits, and to nothing where nothing does. (listSandboxes; observed)
    filters_narrow: Must, covers ["listSandboxes"];

    /// `name` and `id` are prefixes, in any case. (observed)
    name_and_id_are_prefixes: Must, covers ["listSandboxes"];

    /// `labels` is a JSON object that a sandbox's labels must contain; empty, `{}` and `[]` don't filter; it may stand
    /// in the URL unescaped. (observed)
    labels_are_contained: Must, covers ["listSandboxes"];

    /// `states` may be repeated, and says what clients see: a stopping sandbox is not `started`. (observed)
    states_filter: Must, covers ["listSandboxes", "stopSandbox"];

    /// Each parameter's problems are 400 with its own message; unknown parameters are ignored. (observed)
    parameters_are_validated: Must, covers ["listSandboxes"];

    /// A cursor that the server didn't make is 400 and quoted. (observed)
    foreign_cursor_is_refused: Must, covers ["listSandboxes"];

    /// Items of the list say all that lists of sandboxes show: who and where each is, its state and its labels, the same
    /// as a read of it. (listSandboxes; the CLI's `sandbox list`)
    items_say_what_a_read_says: Must, covers ["listSandboxes", "getSandbox"];

    /// Items of the list leave out what is large: `env` and `volumes`. The old list has them. (observed)
    items_are_short: Should, covers ["listSandboxes", "listSandboxesPaginated_deprecated"];

    /// The old list counts pages: `page`, `total`, `totalPages`; a page beyond the end is empty. (SDKs before 0.113)
    old_list_counts_pages: Must, covers ["listSandboxesPaginated_deprecated"];

    /// The old list's parameters are validated with their own messages. (observed)
    old_list_validates: Must, covers ["listSandboxesPaginated_deprecated"];

    /// Sorting by name, creation and cpu, both ways, is the reverse of each other. (listSandboxes)
    order_reverses: Must, covers ["listSandboxes"];

    /// Each sort is by the value that it names, and without one what was active last comes first. (listSandboxes; observed)
    order_is_by_value: Must, covers ["listSandboxes"];

    /// A time window of the end holds what ends by itself in it. (listSandboxes: `autoDestroyAtAfter`, `autoDestroyAtBefore`)
    ends_between: Must, covers ["listSandboxes"], since "0.200";

    /// A time window of creation holds what was made in it. (listSandboxes)
    created_between: Must, covers ["listSandboxes"];
}

/// Sandboxes that only this scenario sees, through a label of its own: the filter and the ids. Of two the first is public;
/// more are all alike, since which comes first on a page is anybody's guess.
async fn some(cx: &Cx, count: usize) -> Result<(String, Vec<Sandbox>)> {
    let group = cx.name("list");
    let made = (0..count).map(|n| {
        let labels = cx.labels(json!({"group": group}));
        cx.sandbox_with(json!({"name": format!("{group}-{n}"), "labels": labels, "public": count == 2 && n == 0}))
    });
    let sandboxes = futures_util::future::try_join_all(made).await?;
    Ok((json!({"group": group}).to_string(), sandboxes))
}

fn ids(items: &Value) -> Vec<String> {
    items.as_array().into_iter().flatten().filter_map(|item| item["id"].as_str()).map(str::to_owned).collect()
}

async fn pages_partition_the_list(cx: Cx) -> Result {
    let (labels, sandboxes) = some(&cx, 5).await?;
    let all: HashSet<String> = sandboxes.iter().map(|sandbox| sandbox.id.clone()).collect();
    for (limit, sort, order) in
        [(1, "name", "asc"), (2, "createdAt", "desc"), (5, "cpu", "asc"), (3, "lastActivityAt", "desc")]
    {
        let (mut seen, mut cursor, mut pages) = (Vec::new(), None::<String>, 0);
        loop {
            let mut request = cx.get("/sandbox").query("labels", &labels).query("limit", limit);
            request = request.query("sort", sort).query("order", order);
            if let Some(cursor) = &cursor {
                request = request.query("cursor", cursor);
            }
            let page = request.send().await?.ok()?;
            let items = ids(&page["items"]);
            cx.check(format!("size-{limit}")).on(&page).that(items.len() <= limit, "at most the limit", items.len());
            seen.extend(items);
            pages += 1;
            cursor = page["nextCursor"].as_str().map(str::to_owned);
            if cursor.is_none() || pages > 10 {
                break;
            }
        }
        cx.check(format!("each-once-{limit}")).eq(seen.len(), all.len());
        cx.check(format!("all-{limit}")).eq(&seen.into_iter().collect::<HashSet<_>>(), &all);
        cx.check(format!("pages-{limit}")).eq(pages, 5_usize.div_ceil(limit));
    }
    Ok(())
}

async fn filters_narrow(cx: Cx) -> Result {
    let (labels, sandboxes) = some(&cx, 2).await?;
    let first = &sandboxes[0].created;
    let snapshot = first["snapshot"].as_str().unwrap_or_default().to_owned();
    let region = first["target"].as_str().unwrap_or_default().to_owned();
    let number = |field: &str| first[field].as_f64().unwrap_or_default();
    let (cpu, memory, disk) = (number("cpu"), number("memory"), number("disk"));
    let cases = [
        ("states", "states", "started".to_owned(), 2),
        ("states-none", "states", "archived".to_owned(), 0),
        ("snapshots", "snapshots", snapshot, 2),
        ("snapshots-none", "snapshots", "no-such-snapshot".to_owned(), 0),
        ("regions", "regionIds", region, 2),
        ("regions-none", "regionIds", "mars".to_owned(), 0),
        ("classes", "sandboxClasses", "container".to_owned(), 2),
        ("classes-none", "sandboxClasses", "windows".to_owned(), 0),
        ("min-cpu", "minCpu", format!("{cpu}"), 2),
        ("min-cpu-none", "minCpu", format!("{}", cpu + 1.0), 0),
        ("max-cpu", "maxCpu", format!("{cpu}"), 2),
        ("min-memory", "minMemoryGiB", format!("{memory}"), 2),
        ("min-memory-none", "minMemoryGiB", format!("{}", memory + 1.0), 0),
        ("max-memory", "maxMemoryGiB", format!("{memory}"), 2),
        ("min-disk", "minDiskGiB", format!("{disk}"), 2),
        ("min-disk-none", "minDiskGiB", format!("{}", disk + 1.0), 0),
        ("max-disk", "maxDiskGiB", format!("{disk}"), 2),
        ("max-disk-none", "maxDiskGiB", format!("{}", (disk - 1.0).max(1.0)), if disk > 1.0 { 0 } else { 2 }),
        ("errored-too", "includeErroredDeleted", "true".to_owned(), 2),
        ("public", "isPublic", "true".to_owned(), 1),
        ("private", "isPublic", "false".to_owned(), 1),
        ("recoverable", "isRecoverable", "true".to_owned(), 0),
        ("created-after", "createdAtAfter", "2100-01-01".to_owned(), 0),
        ("created-before", "createdAtBefore", "2100-01-01".to_owned(), 2),
        ("event-after", "lastEventAfter", "2000-01-01".to_owned(), 2),
        ("event-after-none", "lastEventAfter", "2100-01-01".to_owned(), 0),
        ("event-before", "lastEventBefore", "2100-01-01".to_owned(), 2),
        ("event-before-none", "lastEventBefore", "2000-01-01".to_owned(), 0),
        ("unknown-parameter", "noSuchFilter", "x".to_owned(), 2),
    ];
    for (id, name, value, expected) in cases {
        let answer = cx.get("/sandbox").query("labels", &labels).query(name, value).send().await?;
        cx.check(id).on(&answer).eq(ids(&answer["items"]).len(), expected);
    }
    Ok(())
}

async fn name_and_id_are_prefixes(cx: Cx) -> Result {
    let (labels, sandboxes) = some(&cx, 2).await?;
    let (name, id) = (&sandboxes[1].name, &sandboxes[1].id);
    let stem = &name[..name.len() - 2];
    for (check, parameter, value, expected) in [
        ("name", "name", name.clone(), 1),
        ("name-prefix", "name", stem.to_owned(), 2),
        ("name-case", "name", name.to_uppercase(), 1),
        ("name-suffix", "name", name[1..].to_owned(), 0),
        ("id", "id", id.clone(), 1),
        ("id-prefix", "id", id[..13].to_owned(), 1),
        ("id-case", "id", id.to_uppercase(), 1),
        ("empty", "name", String::new(), 2),
    ] {
        let answer = cx.get("/sandbox").query("labels", &labels).query(parameter, value).send().await?;
        cx.check(check).on(&answer).eq(ids(&answer["items"]).len(), expected);
    }
    Ok(())
}

async fn labels_are_contained(cx: Cx) -> Result {
    let (labels, sandboxes) = some(&cx, 2).await?;
    let group = sandboxes[0].created.pointer("/labels/group").and_then(Value::as_str).unwrap_or_default().to_owned();
    let count = async |id: &'static str, request: crate::client::Request, expected: usize| {
        let answer = request.send().await?;
        cx.check(id).on(&answer).eq(ids(&answer["items"]).len(), expected);
        Ok::<_, Stop>(())
    };
    let list = |labels: &str| cx.get("/sandbox").query("labels", labels);
    count("contained", list(&labels), 2).await?;
    count("two-labels", list(&json!({"group": group, "conformance": "true"}).to_string()), 2).await?;
    count("one-differs", list(&json!({"group": group, "conformance": "false"}).to_string()), 0).await?;
    count("prefix-is-no-match", list(&json!({"group": group[..5]}).to_string()), 0).await?;
    count("number-is-no-text", list(&json!({"group": 1}).to_string()), 0).await?;
    let unescaped = cx.get(&format!("/sandbox?labels={{\"group\":\"{group}\"}}"));
    count("unescaped", unescaped, 2).await?;
    for (id, text) in [("empty", ""), ("empty-object", "{}"), ("empty-array", "[]")] {
        let answer = cx.get("/sandbox").query("labels", text).query("name", &sandboxes[0].name).send().await?;
        cx.check(id).on(&answer).eq(ids(&answer["items"]).len(), 1);
    }
    cx.check("not-json").error(&list("{x").send().await?, 400, "Invalid labels JSON format");
    Ok(())
}

async fn states_filter(cx: Cx) -> Result {
    let (labels, sandboxes) = some(&cx, 2).await?;
    sandboxes[0].stop().await?;
    let of = async |states: &[&str]| {
        let request = cx.get("/sandbox").query("labels", &labels);
        let request = states.iter().fold(request, |request, state| request.query("states", state));
        let answer = request.send().await?.ok()?;
        Ok::<_, Stop>(ids(&answer["items"]))
    };
    cx.check("stopped").eq(of(&["stopped"]).await?, [sandboxes[0].id.clone()]);
    let list = cx.get("/sandbox").query("id", &sandboxes[0].id).send().await?.ok()?;
    item_is_read(&cx, "stopped", &list, &sandboxes[0].read().await?);
    cx.check("started").eq(of(&["started"]).await?, [sandboxes[1].id.clone()]);
    cx.check("both").eq(of(&["started", "stopped"]).await?.len(), 2);
    let bracketed = cx.get("/sandbox").query("labels", &labels).query("states[]", "stopped").send().await?;
    cx.check("brackets").on(&bracketed).eq(ids(&bracketed["items"]).len(), 1);
    let stop = sandboxes[1].op(reqwest::Method::POST, "/stop").send().await?.ok()?;
    let now = of(&["started"]).await?;
    cx.check("stopping-is-not-started").on(&stop).eq(now.len(), 0);
    Ok(())
}

async fn parameters_are_validated(cx: Cx) -> Result {
    let less = "limit must not be less than 1";
    for (id, name, value, message) in [
        ("limit-zero", "limit", "0", less),
        ("limit-negative", "limit", "-1", less),
        ("limit-large", "limit", "201", "limit must not be greater than 200"),
        ("limit-fraction", "limit", "1.5", "limit must be an integer number"),
        (
            "sort",
            "sort",
            "colour",
            "sort must be one of the following values: name, cpu, memoryGib, diskGib, lastActivityAt, createdAt",
        ),
        ("order", "order", "up", "order must be one of the following values: asc, desc"),
        ("cpu", "maxCpu", "0", "maxCpu must not be less than 1"),
        ("date", "createdAtAfter", "yesterday", "createdAtAfter must be a Date instance"),
    ] {
        let answer = cx.get("/sandbox").query(name, value).send().await?;
        cx.check(id).error(&answer, 400, message);
    }
    for (id, name, value) in [
        ("state", "states", "asleep"),
        ("states-by-comma", "states", "started,stopped"),
        ("destroyed", "states", "destroyed"),
    ] {
        let answer = cx.get("/sandbox").query(name, value).send().await?;
        cx.check(format!("{id}-status")).status(&answer, 400);
        let message = answer["message"].as_str().unwrap_or_default();
        cx.check(id).on(&answer).contains(message, "each value must be one of the following values: creating, ");
    }
    let answer = cx.get("/sandbox").query("limit", "x").send().await?;
    cx.check("limit-text").status(&answer, 400);
    cx.check("limit-maximum")
        .status(&cx.get("/sandbox").query("limit", 200).query("name", "nobody").send().await?, 200);
    Ok(())
}

async fn foreign_cursor_is_refused(cx: Cx) -> Result {
    let answer = cx.get("/sandbox").query("cursor", "x").send().await?;
    cx.check("refused").error(&answer, 400, "Invalid cursor provided: x");
    cx.check("empty").status(&cx.get("/sandbox").query("cursor", "").query("name", "nobody").send().await?, 200);
    Ok(())
}

async fn items_say_what_a_read_says(cx: Cx) -> Result {
    let sandbox = cx.shared().await?;
    let (list, read) = (cx.get("/sandbox").query("id", &sandbox.id).send().await?.ok()?, sandbox.read().await?.ok()?);
    for field in ["id", "name", "state", "desiredState", "labels", "target", "snapshot", "public", "createdAt"] {
        let item = list.at(&format!("/items/0/{field}"));
        cx.check(field).on(&list).that(!item.is_null() && item == &read[field], &read[field].to_string(), item);
    }
    item_is_read(&cx, "started", &list, &read);
    Ok(())
}

/// What items have of a sandbox. Of its times only the first doesn't move by itself.
const ITEM: &[&str] = &[
    "id",
    "organizationId",
    "name",
    "target",
    "runnerId",
    "sandboxClass",
    "state",
    "desiredState",
    "snapshot",
    "user",
    "recoverable",
    "public",
    "cpu",
    "gpu",
    "memory",
    "disk",
    "labels",
    "autoStopInterval",
    "autoArchiveInterval",
    "autoDeleteInterval",
    "createdAt",
    "daemonVersion",
    "toolboxProxyUrl",
];

/// The only item of a list is the sandbox that was read.
fn item_is_read(cx: &Cx, id: &str, list: &Answer, read: &Answer) {
    let item = list.at("/items/0");
    cx.check_same(id, list, item, &read.json, ITEM);
    let created = time(&read["createdAt"]);
    for field in ["updatedAt", "lastActivityAt"] {
        let told = time(&item[field]);
        cx.check(format!("{id}-{field}")).on(list).that(told >= created, "a time after createdAt", &item[field]);
    }
}

async fn items_are_short(cx: Cx) -> Result {
    let sandbox = cx.shared().await?;
    let list = cx.get("/sandbox").query("id", &sandbox.id).send().await?.ok()?;
    for field in ["env", "volumes"] {
        let value = list.at(&format!("/items/0/{field}"));
        cx.check(field).on(&list).that(value.is_null(), "left out", value);
    }
    let old = cx.get("/sandbox/paginated").query("id", &sandbox.id).send().await?.ok()?;
    cx.check("old-env").on(&old).that(old.at("/items/0/env").is_object(), "an object", old.at("/items/0/env"));
    Ok(())
}

async fn old_list_counts_pages(cx: Cx) -> Result {
    let (labels, sandboxes) = some(&cx, 3).await?;
    let page = |number: usize| {
        let request = cx.get("/sandbox/paginated").query("labels", &labels).query("limit", 2);
        request.query("page", number).query("sort", "name").query("order", "asc").send()
    };
    let (first, second, beyond) = (page(1).await?, page(2).await?, page(9).await?);
    for (id, answer, items) in [("first", &first, 2), ("second", &second, 1), ("beyond", &beyond, 0)] {
        cx.check(format!("{id}-items")).on(answer).eq(ids(&answer["items"]).len(), items);
        cx.check(format!("{id}-total")).json(answer, "/total", 3);
        cx.check(format!("{id}-pages")).json(answer, "/totalPages", 2);
    }
    cx.check("page").json(&second, "/page", 2);
    for (id, name, value, expected) in [
        ("states", "states", "started", 3),
        ("states-none", "states", "stopped", 0),
        ("regions-none", "regions", "mars", 0),
        ("cpu-none", "minCpu", "64", 0),
    ] {
        let answer = cx.get("/sandbox/paginated").query("labels", &labels).query(name, value).send().await?;
        cx.check(id).json(&answer, "/total", expected);
    }
    let mut seen = ids(&first["items"]);
    seen.extend(ids(&second["items"]));
    cx.check("each-once").eq(seen, sandboxes.iter().map(|sandbox| sandbox.id.clone()).collect::<Vec<_>>());
    Ok(())
}

async fn old_list_validates(cx: Cx) -> Result {
    for (id, name, value, message) in [
        ("page-zero", "page", "0", "page must not be less than 1"),
        ("page-text", "page", "x", "page must be an integer number, page must not be less than 1"),
        ("limit", "limit", "201", "limit must not be greater than 200"),
        (
            "sort",
            "sort",
            "cpu",
            "sort must be one of the following values: id, name, state, snapshot, region, updatedAt, createdAt, lastActivityAt",
        ),
    ] {
        let answer = cx.get("/sandbox/paginated").query(name, value).send().await?;
        cx.check(id).error(&answer, 400, message);
    }
    Ok(())
}

async fn order_reverses(cx: Cx) -> Result {
    let (labels, sandboxes) = some(&cx, 3).await?;
    let by_name: Vec<String> = sandboxes.iter().map(|sandbox| sandbox.id.clone()).collect();
    for sort in ["name", "createdAt", "cpu"] {
        let list = |order: &'static str| {
            cx.get("/sandbox").query("labels", &labels).query("sort", sort).query("order", order).send()
        };
        let (up, mut down) = (ids(&list("asc").await?["items"]), ids(&list("desc").await?["items"]));
        down.reverse();
        cx.check(format!("{sort}-reversed")).eq(&up, &down);
        if sort == "name" {
            cx.check("by-name").eq(&up, &by_name);
        }
    }
    Ok(())
}

/// A ready-made snapshot with more of everything than the sandbox has.
async fn larger(cx: &Cx, than: &Value) -> Result<Option<String>> {
    let list = cx.get("/snapshots").send().await?.ok()?;
    let more = |one: &&Value| {
        let fields = [("cpu", "cpu"), ("mem", "memory"), ("disk", "disk")];
        let all = fields.into_iter().all(|(of, mine)| one[of].as_f64() > than[mine].as_f64());
        all && one["general"] == true && one["state"] == "active" && one["sandboxClass"] == than["sandboxClass"]
    };
    Ok(list.array("/items")?.iter().find(more).and_then(|one| one["name"].as_str()).map(str::to_owned))
}

async fn order_is_by_value(cx: Cx) -> Result {
    let (labels, sandboxes) = some(&cx, 2).await?;
    let Some(snapshot) = larger(&cx, &sandboxes[0].created).await? else {
        return Err(Stop::not_applicable("a general snapshot that is larger than the default"));
    };
    // First by its name, last by everything else.
    let group = sandboxes[0].created["labels"].clone();
    let name = format!("a-{}", sandboxes[0].name);
    let made = cx.create(json!({"name": name, "labels": group, "snapshot": snapshot}))?.send().await?;
    if !made.is_ok() {
        return Err(Stop::not_applicable("room for a larger sandbox"));
    }
    Sandbox::of(cx.api().clone(), &made)?.wait_for("started").await?;
    for (id, name, field) in
        [("cpu", "maxCpu", "cpu"), ("memory", "maxMemoryGiB", "memory"), ("disk", "maxDiskGiB", "disk")]
    {
        let most = sandboxes[0].created[field].to_string();
        let answer = cx.get("/sandbox").query("labels", &labels).query(name, most).send().await?;
        cx.check(format!("at-most-{id}")).on(&answer).eq(ids(&answer["items"]).len(), 2);
    }
    let list = |sort: &'static str, order: &'static str| {
        cx.get("/sandbox").query("labels", &labels).query("sort", sort).query("order", order).send()
    };
    for (sort, field) in [("cpu", "cpu"), ("memoryGib", "memory"), ("diskGib", "disk"), ("createdAt", "createdAt")] {
        for order in ["asc", "desc"] {
            let answer = list(sort, order).await?;
            let told = values(&answer["items"], field);
            let sorted = if order == "asc" { told.is_sorted() } else { told.iter().rev().is_sorted() };
            cx.check(format!("{sort}-{order}")).on(&answer).that(sorted && told.len() == 3, "sorted values", &told);
        }
    }
    latest_is_first(&cx, &labels, &sandboxes[1]).await
}

/// Values that can be compared: numbers by their size, times as they are written.
fn values(items: &Value, field: &str) -> Vec<(u64, String)> {
    let value =
        |item: &Value| (item[field].as_u64().unwrap_or_default(), item[field].as_str().unwrap_or_default().to_owned());
    items.as_array().into_iter().flatten().map(value).collect()
}

/// Without an order, what was active last comes first.
async fn latest_is_first(cx: &Cx, labels: &str, active: &Sandbox) -> Result {
    let first = cx.eventually("its activity counts", Duration::from_secs(30), async || {
        active.op(reqwest::Method::POST, "/last-activity").send().await?.ok()?;
        let answer = cx.get("/sandbox").query("labels", labels).send().await?.ok()?;
        let others = answer.array("/items")?.iter().filter(|item| item["id"] != *active.id);
        let last = others.map(|item| time(&item["lastActivityAt"])).max().flatten();
        let now = active.read().await?;
        Ok((time(&now["lastActivityAt"]) > last).then_some(()))
    });
    first.await?;
    for (id, request) in
        [("default", cx.get("/sandbox")), ("by-activity", cx.get("/sandbox").query("sort", "lastActivityAt"))]
    {
        let answer = request.query("labels", labels).query("order", "desc").send().await?;
        cx.check(format!("{id}-desc")).on(&answer).eq(ids(&answer["items"]).first(), Some(&active.id));
    }
    let answer = cx.get("/sandbox").query("labels", labels).send().await?;
    let told = values(&answer["items"], "lastActivityAt");
    cx.check("default").on(&answer).that(told.iter().rev().is_sorted(), "the latest activity first", &told);
    cx.check("default-first").on(&answer).eq(ids(&answer["items"]).first(), Some(&active.id));
    Ok(())
}

async fn ends_between(cx: Cx) -> Result {
    let group = cx.name("list");
    let labels = json!({"group": group}).to_string();
    let sandbox = cx.sandbox_with(json!({"labels": cx.labels(json!({"group": group})), "ttlMinutes": 60})).await?;
    let at = time(&sandbox.read().await?["autoDestroyAt"]).ok_or_else(|| Stop::untestable("no autoDestroyAt"))?;
    let hour = chrono::TimeDelta::hours(1);
    for (id, name, when, expected) in [
        ("after", "autoDestroyAtAfter", at - hour, 1),
        ("after-none", "autoDestroyAtAfter", at + hour, 0),
        ("before", "autoDestroyAtBefore", at + hour, 1),
        ("before-none", "autoDestroyAtBefore", at - hour, 0),
    ] {
        let answer = cx.get("/sandbox").query("labels", &labels).query(name, when.to_rfc3339()).send().await?;
        cx.check(id).on(&answer).eq(ids(&answer["items"]).len(), expected);
    }
    Ok(())
}

async fn created_between(cx: Cx) -> Result {
    let (labels, sandboxes) = some(&cx, 1).await?;
    let at = sandboxes[0].created["createdAt"].as_str().unwrap_or_default();
    let at = chrono::DateTime::parse_from_rfc3339(at).map_err(Stop::untestable)?;
    let day = chrono::TimeDelta::days(1);
    for (id, after, before, expected) in [
        ("inside", at - day, at + day, 1),
        ("earlier", at - day - day, at - day, 0),
        ("later", at + day, at + day + day, 0),
    ] {
        let request = cx.get("/sandbox").query("labels", &labels).query("createdAtAfter", after.to_rfc3339());
        let answer = request.query("createdAtBefore", before.to_rfc3339()).send().await?;
        cx.check(id).on(&answer).eq(ids(&answer["items"]).len(), expected);
    }
    Ok(())
}
