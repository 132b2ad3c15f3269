//! Secrets of an organisation, and the placeholders that sandboxes have of them.

use crate::{client::Answer, prelude::*};

const PATH: &str = "/secret";

scenarios! { "secrets";
    /// A secret is answered 201 without its value, is listed and read, and is gone when it is deleted.
    /// (createSecret, listSecrets, listSecretsPaginated, getSecret, deleteSecret)
    secrets_come_and_go: Must,
        covers ["createSecret", "listSecrets", "listSecretsPaginated", "getSecret", "deleteSecret"], classes [Racing];

    /// A change is answered and kept; what it does not name stays, and so does the placeholder. (updateSecret)
    secret_changes_are_kept: Must, covers ["updateSecret", "getSecret"];

    /// A secret without name or value, with a bad name or a host with a port is 400; a name that there is is 409.
    /// (createSecret; SDKs' documentation)
    secret_input_is_validated: Must, covers ["createSecret", "updateSecret"];

    /// An unknown secret is 404, for reading, changing and deleting. (getSecret, updateSecret, deleteSecret)
    unknown_secret_is_not_found: Must, covers ["getSecret", "updateSecret", "deleteSecret"];

    /// Pages continue behind their cursor; limits above 200 and unknown orders are 400. (listSecretsPaginated)
    secret_pages_continue: Must, covers ["listSecretsPaginated"];

    /// A sandbox's variable holds the placeholder; another set replaces the first, an empty one detaches all.
    /// (createSandbox, updateSandboxSecrets)
    sandboxes_hold_placeholders: Must, covers ["createSandbox", "updateSandboxSecrets"];

    /// On the way out the placeholder in a header becomes the value, for the secret's hosts and for nobody else.
    /// (createSecret: `hosts`; SDKs' documentation)
    values_go_to_their_hosts_alone: Must, covers ["createSandbox", "createSecret", "updateSecret"];

    /// Attaching a secret that there is not is refused and changes nothing. (createSandbox, updateSandboxSecrets)
    unknown_secrets_are_not_attached: Must, covers ["createSandbox", "updateSandboxSecrets"];

    /// Another organisation neither lists nor reads nor deletes it.
    others_see_no_secrets: Must, covers ["listSecrets", "listSecretsPaginated", "getSecret", "deleteSecret"],
        needs [SecondAccount];
}

const VALUE: &str = "conformance-secret-value";

/// A secret of this scenario's own: its name and itself.
async fn make(cx: &Cx, name: &str) -> Result<(String, Answer)> {
    let name = cx.name(name);
    let body = json!({"name": name, "value": VALUE, "hosts": ["api.example.com"]});
    let made = cx.post(PATH).json(body).send().await?.ok()?;
    cx.removes("deleteSecret", &format!("{PATH}/{}", made.string("/id")?));
    Ok((name, made))
}

async fn remove(cx: &Cx, id: &str) -> Result {
    let deleted = cx.delete(&format!("{PATH}/{id}")).send().await?;
    cx.check("deleted").status(&deleted, 204);
    Ok(())
}

async fn secrets_come_and_go(cx: Cx) -> Result {
    let (name, made) = make(&cx, "secret").await?;
    cx.check("created").status(&made, 201);
    let id = made.string("/id")?;
    let read = cx.get(&format!("{PATH}/{id}")).send().await?;
    for (what, answer) in [("created", &made), ("read", &read)] {
        cx.check(format!("{what}-name")).json(answer, "/name", name.as_str());
        cx.check(format!("{what}-hosts")).json(answer, "/hosts", json!(["api.example.com"]));
    }
    let placeholder = made.string("/placeholder")?;
    cx.check("placeholder").eq(placeholder.starts_with("dtn_secret_"), true);
    cx.check("same-placeholder").json(&read, "/placeholder", placeholder);
    let list = cx.get(PATH).send().await?;
    let listed = list.array("")?.iter().filter(|secret| secret["id"] == *id).count();
    cx.check("listed").on(&list).eq(listed, 1);
    let page = cx.get(&format!("{PATH}/paginated?name={name}")).send().await?;
    cx.check("found").on(&page).eq(page.array("/items")?.len(), 1);
    cx.check("total").json(&page, "/total", 1);
    cx.check("last-page").json(&page, "/nextCursor", Value::Null);
    let told = [&made, &read, &list, &page].map(|answer| answer.text().contains(VALUE));
    cx.check("value-never-shown").eq(told, [false; 4]);
    remove(&cx, &id).await?;
    cx.check("gone").status(&cx.get(&format!("{PATH}/{id}")).send().await?, 404);
    let list = cx.get(PATH).send().await?;
    cx.check("not-listed").on(&list).that(!list.text().contains(&id), "a list without it", list.summary());
    Ok(())
}

async fn secret_changes_are_kept(cx: Cx) -> Result {
    let (name, made) = make(&cx, "secret").await?;
    let id = made.string("/id")?;
    let path = format!("{PATH}/{id}");
    let change = json!({"description": "changed", "hosts": ["*.example.com"]});
    let changed = cx.api().patch(&path).json(change.clone()).send().await?;
    cx.check("changed").status(&changed, 200);
    let rotated = cx.api().patch(&path).json(json!({"value": "another-value"})).send().await?;
    cx.check("rotated").status(&rotated, 200);
    let read = cx.get(&path).send().await?;
    for field in ["description", "hosts"] {
        cx.check(format!("answer-{field}")).json(&changed, &format!("/{field}"), change[field].clone());
        cx.check(format!("kept-{field}")).json(&read, &format!("/{field}"), change[field].clone());
    }
    cx.check("name-stays").json(&read, "/name", name.as_str());
    let (created, updated) = (time(&read["createdAt"]), time(&read["updatedAt"]));
    cx.check("updated-at").on(&read).that(updated > created, "a time after createdAt", &read["updatedAt"]);
    cx.check("placeholder-stays").json(&read, "/placeholder", made.string("/placeholder")?);
    remove(&cx, &id).await
}

async fn secret_input_is_validated(cx: Cx) -> Result {
    let fine = json!({"name": cx.name("secret"), "value": VALUE});
    for (id, field, value) in [
        ("no-name", "name", Value::Null),
        ("bad-name", "name", json!("1 a")),
        ("no-value", "value", Value::Null),
        ("number-value", "value", json!(1)),
        ("host-with-port", "hosts", json!(["a.example:443"])),
        ("host-with-scheme", "hosts", json!(["https://a.example"])),
    ] {
        let mut wrong = fine.clone();
        wrong[field] = value;
        cx.check(id).status(&cx.post(PATH).json(wrong).send().await?, 400);
    }
    let (name, made) = make(&cx, "secret").await?;
    let again = cx.post(PATH).json(json!({"name": name, "value": "x"})).send().await?;
    cx.check("taken").status(&again, 409);
    let id = made.string("/id")?;
    let wrong = cx.api().patch(&format!("{PATH}/{id}")).json(json!({"hosts": ["a b"]})).send().await?;
    cx.check("bad-change").status(&wrong, 400);
    remove(&cx, &id).await
}

async fn unknown_secret_is_not_found(cx: Cx) -> Result {
    let path = format!("{PATH}/00000000-0000-4000-8000-000000000000");
    cx.check("get").status(&cx.get(&path).send().await?, 404);
    cx.check("update").status(&cx.api().patch(&path).json(json!({"value": "x"})).send().await?, 404);
    cx.check("delete").status(&cx.delete(&path).send().await?, 404);
    Ok(())
}

async fn secret_pages_continue(cx: Cx) -> Result {
    let (first, made) = make(&cx, "page-a").await?;
    let (second, also) = make(&cx, "page-b").await?;
    // What both names share, up to the last letter.
    let common = &first[..first.bytes().zip(second.bytes()).take_while(|(a, b)| a == b).count()];
    let query = format!("{PATH}/paginated?name={common}&sort=name&order=asc&limit=1");
    let page = cx.get(&query).send().await?;
    cx.check("first").json(&page, "/items/0/name", first.as_str());
    cx.check("total").json(&page, "/total", 2);
    let cursor: String = page.string("/nextCursor")?.bytes().map(|byte| format!("%{byte:02X}")).collect();
    let page = cx.get(&format!("{query}&cursor={cursor}")).send().await?;
    cx.check("second").json(&page, "/items/0/name", second.as_str());
    cx.check("end").json(&page, "/nextCursor", Value::Null);
    let named = cx.get(&format!("{PATH}/paginated?name={first}")).send().await?;
    cx.check("by-name").json(&named, "/total", 1);
    for bad in ["limit=201", "limit=0", "sort=nothing", "order=nothing"] {
        cx.check(bad).status(&cx.get(&format!("{PATH}/paginated?{bad}")).send().await?, 400);
    }
    remove(&cx, &made.string("/id")?).await?;
    remove(&cx, &also.string("/id")?).await
}

async fn sandboxes_hold_placeholders(cx: Cx) -> Result {
    let (name, made) = make(&cx, "secret").await?;
    let sandbox = cx.sandbox_with(json!({"secrets": [{"FIRST": name}]})).await?;
    let placeholder = format!("{}\n", made.string("/placeholder")?);
    cx.check("created-with").eq(sandbox.output("printenv FIRST").await?, placeholder.clone());
    let path = format!("/sandbox/{}/secrets", sandbox.id);
    let replaced = cx.put(&path).json(json!({"secrets": [{"SECOND": name}]})).send().await?;
    cx.check("replaced").status(&replaced, 200);
    cx.check("answers-the-sandbox").json(&replaced, "/id", sandbox.id.as_str());
    cx.check("new-variable").eq(sandbox.output("printenv SECOND").await?, placeholder);
    cx.check("old-variable").eq(sandbox.output("printenv FIRST || true").await?, String::new());
    let detached = cx.put(&path).json(json!({"secrets": []})).send().await?;
    cx.check("detached").status(&detached, 200);
    cx.check("no-variable").eq(sandbox.output("printenv SECOND || true").await?, String::new());
    remove(&cx, &made.string("/id")?).await
}

async fn unknown_secrets_are_not_attached(cx: Cx) -> Result {
    let sandbox = cx.sandbox().await?;
    let path = format!("/sandbox/{}/secrets", sandbox.id);
    for (id, secrets) in [
        ("unknown", json!([{"NONE": "no-such-secret"}])),
        ("not-a-list", json!({"NONE": "no-such-secret"})),
        ("not-text", json!([{"NONE": 1}])),
    ] {
        let attached = cx.put(&path).json(json!({"secrets": secrets})).send().await?;
        cx.check(format!("attach-{id}")).status_in(&attached, &[400, 404]);
        let made = cx.create(json!({"secrets": secrets}))?.send().await?;
        cx.check(format!("create-{id}")).status_in(&made, &[400, 404]);
    }
    cx.check("nothing-inside").eq(sandbox.output("printenv NONE || true").await?, String::new());
    let unknown = "/sandbox/no-such-sandbox/secrets";
    cx.check("unknown-sandbox").status(&cx.put(unknown).json(json!({"secrets": []})).send().await?, 404);
    Ok(())
}

async fn others_see_no_secrets(cx: Cx) -> Result {
    let (_, made) = make(&cx, "secret").await?;
    let id = made.string("/id")?;
    let (path, other) = (format!("{PATH}/{id}"), cx.second_account().await?);
    for (what, list) in [("list", PATH.to_owned()), ("page", format!("{PATH}/paginated?limit=200"))] {
        let list = other.get(&list).send().await?;
        cx.check(what).on(&list).that(!list.text().contains(&id), "a list without it", list.summary());
    }
    cx.check("get").status_in(&other.get(&path).send().await?, &[403, 404]);
    cx.check("delete").status_in(&other.delete(&path).send().await?, &[403, 404]);
    cx.check("still-there").status(&cx.get(&path).send().await?, 200);
    remove(&cx, &id).await
}

/// The names under which sandboxes on this machine reach it, where they do.
const HERE: [&str; 2] = ["host.internal", "host.docker.internal"];

/// Answers every request with its own `Authorization`.
async fn echo() -> Result<u16> {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.map_err(Stop::untestable)?;
    let port = listener.local_addr().map_err(Stop::untestable)?.port();
    tokio::spawn(async move {
        while let Ok((socket, _)) = listener.accept().await {
            tokio::spawn(answer(socket));
        }
    });
    Ok(port)
}

async fn answer(mut socket: tokio::net::TcpStream) -> std::io::Result<()> {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    let mut head = Vec::new();
    while !head.windows(4).any(|four| four == b"\r\n\r\n") && socket.read_buf(&mut head).await? > 0 {}
    let head = String::from_utf8_lossy(&head).into_owned();
    let found = head
        .lines()
        .filter_map(|line| line.split_once(": "))
        .find(|(name, _)| name.eq_ignore_ascii_case("authorization"));
    let said = found.map_or("nothing", |(_, value)| value.trim());
    let answer = format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{said}", said.len());
    socket.write_all(answer.as_bytes()).await
}

async fn values_go_to_their_hosts_alone(cx: Cx) -> Result {
    let name = cx.name("egress");
    let body = json!({"name": name, "value": VALUE, "hosts": [HERE[0]]});
    let made = cx.post(PATH).json(body).send().await?.ok()?;
    cx.removes("deleteSecret", &format!("{PATH}/{}", made.string("/id")?));
    let sandbox = cx.sandbox_with(json!({"secrets": [{"TOKEN": name}]})).await?;
    sandbox.needs_program("curl").await?;
    if sandbox.output("getent hosts host.internal host.docker.internal || echo none").await?.trim() == "none" {
        return Err(Stop::not_applicable("a way from sandboxes to this machine"));
    }
    let port = echo().await?;
    let ask = async |host: &str, header: &str| {
        sandbox.output(&format!("curl -sS -m 20 -H \"Authorization: {header}\" http://{host}:{port}/")).await
    };
    cx.check("swapped").eq(ask(HERE[0], "Bearer $TOKEN").await?, format!("Bearer {VALUE}"));
    let elsewhere = ask(HERE[1], "Bearer $TOKEN").await?;
    cx.check("nobody-else").that(!elsewhere.contains(VALUE), "the placeholder", &elsewhere);
    cx.check("other-headers-stay").eq(ask(HERE[0], "Bearer plain").await?, "Bearer plain");
    let path = format!("{PATH}/{}", made.string("/id")?);
    cx.api().patch(&path).json(json!({"value": "another-value"})).send().await?.ok()?;
    let later = cx.sandbox_with(json!({"secrets": [{"TOKEN": name}]})).await?;
    let command = format!("curl -sS -m 20 -H \"Authorization: Bearer $TOKEN\" http://{}:{port}/", HERE[0]);
    cx.check("changed").eq(later.output(&command).await?, "Bearer another-value");
    Ok(())
}
