use proptest::prelude::*;

use crate::prelude::*;

scenarios! { "laws";
    /// Whatever value a variable is given, programs see it. (UpdateEnv)
    variables_reach_programs: Must, covers ["UpdateEnv"], since "0.200", classes [Generated];

    /// What is typed into a terminal arrives in order, however it is cut into messages. (ConnectPtySession)
    terminal_input_keeps_its_order: Must, covers ["CreatePtySession", "ConnectPtySession"], classes [Generated];

    /// A list of any sandboxes by any page size has each once. (listSandboxes)
    any_page_size_partitions: Must, covers ["listSandboxes"], classes [Generated];
}

const WITHIN: Duration = Duration::from_secs(20);

async fn variables_reach_programs(cx: Cx) -> Result {
    let sandbox = cx.sandbox().await?;
    cx.law("same", "the value that was set", "[^\\x00]{0,60}", move |_, value| {
        let sandbox = sandbox.clone();
        async move {
            sandbox.post("/env").json(json!({"set": {"LAW": value}})).send().await?.ok()?;
            let seen = sandbox.output("printf %s \"$LAW\" | base64 -w0").await?;
            let expected = base64::Engine::encode(&base64::engine::general_purpose::STANDARD, &value);
            Ok((seen != expected).then_some(seen))
        }
    })
    .await
}

async fn terminal_input_keeps_its_order(cx: Cx) -> Result {
    let sandbox = cx.shared().await?;
    let pieces = prop::collection::vec("[a-z0-9]{1,12}", 1..20);
    cx.law("in-order", "the input as it was typed", pieces, move |cx, pieces| {
        let sandbox = sandbox.clone();
        async move {
            let id = cx.name("order");
            sandbox.post("/process/pty").json(json!({"id": id, "cols": 200, "rows": 24})).send().await?.ok()?;
            let mut socket = sandbox.ws(&format!("/process/pty/{id}/connect")).connect().await?;
            socket.send_text("stty -echo; read -r line; printf '<%s>\\n' \"$line\"; exit\n").await?;
            for piece in &pieces {
                socket.send_text(piece).await?;
            }
            socket.send_text("\n").await?;
            let wanted = format!("<{}>", pieces.concat());
            let seen =
                socket.bytes_until(WITHIN, |seen| seen.windows(wanted.len()).any(|part| part == wanted.as_bytes()));
            let seen = String::from_utf8_lossy(&seen.await?).into_owned();
            Ok((!seen.contains(&wanted)).then_some(seen))
        }
    })
    .await
}

async fn any_page_size_partitions(cx: Cx) -> Result {
    let group = cx.name("laws");
    let made = (0..4).map(|_| cx.sandbox_with(json!({"labels": cx.labels(json!({"group": group}))})));
    let made = futures_util::future::try_join_all(made).await?;
    let mut all: Vec<String> = made.into_iter().map(|sandbox| sandbox.id).collect();
    all.sort();
    let labels = json!({"group": group}).to_string();
    let inputs = (1..7_usize, 0..6_usize, any::<bool>());
    cx.law("each-once", "every sandbox once", inputs, move |cx, (limit, sort, ascending)| {
        let (labels, all) = (labels.clone(), all.clone());
        async move {
            let sort = ["name", "cpu", "memoryGib", "diskGib", "lastActivityAt", "createdAt"][sort];
            let (mut seen, mut cursor) = (Vec::new(), String::new());
            for _ in 0..=all.len() {
                let request =
                    cx.get("/sandbox").query("labels", &labels).query("limit", limit).query("cursor", &cursor);
                let request = request.query("sort", sort).query("order", if ascending { "asc" } else { "desc" });
                let page = request.send().await?.ok()?;
                seen.extend(page.array("/items")?.iter().filter_map(|item| item["id"].as_str()).map(str::to_owned));
                match page["nextCursor"].as_str() {
                    Some(next) => cursor = next.to_owned(),
                    None => break,
                }
            }
            seen.sort();
            Ok((seen != all).then(|| format!("{seen:?} instead of {all:?}")))
        }
    })
    .await
}
