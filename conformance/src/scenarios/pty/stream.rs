use proptest::prelude::Strategy;

use super::{PATIENCE, Terminal, create, create_connect};
use crate::{client::Message, prelude::*};

scenarios! { "pty";
    /// What is typed arrives in order and once, however it is cut into frames. (ConnectPtySession)
    input_is_delivered_in_order: Must, covers ["ConnectPtySession"], classes [Generated];

    /// Thousands of small frames, sent without waiting, arrive in order. (observed)
    input_in_a_rush: Must, covers ["ConnectPtySession"];

    /// Bytes are bytes: characters cut into frames are whole, in both directions. (observed)
    bytes_in_pieces: Must, covers ["ConnectPtySession"];

    /// Text and binary frames are the same. (observed)
    text_and_binary_frames: Must, covers ["ConnectPtySession"];

    /// Megabytes of output come whole and in order. (observed)
    output_is_whole: Must, covers ["ConnectPtySession"];

    /// All clients of a terminal see everything; what they type arrives in turn. (observed)
    clients_share_a_terminal: Must, covers ["ConnectPtySession"];

    /// A client that doesn't read is dropped with code 1008, and others aren't held up. (observed)
    slow_clients_are_dropped: Should, covers ["ConnectPtySession"], since "0.200", classes [Racing];

    /// A frame beyond 64 KiB is refused with code 1009, and the shell lives on. (observed)
    large_frames_are_refused: Should, covers ["ConnectPtySession"];

    /// Keys without an echo aren't shown: passwords. (observed)
    no_echo_without_echo: Must, covers ["ConnectPtySession"];

    /// Pings are answered. (RFC 6455)
    pings_are_answered: Must, covers ["ConnectPtySession"];

    /// Programs that use the whole screen get their keys and their sequences as they are. (observed)
    escape_sequences_pass: Must, covers ["ConnectPtySession"];

    /// Thirty terminals of one sandbox work at the same time, each for itself. (observed)
    many_terminals: Must, covers ["CreatePtySession", "ListPtySessions"];
}

/// Turns echo and line editing off: what is typed goes to `cat`, and comes back once.
async fn raw_cat(terminal: &mut Terminal) -> Result {
    terminal.types("stty raw -echo; echo re''ady; cat\n").await?;
    terminal.until("ready").await?;
    // The line's end after it; nothing else is on the way.
    terminal.types("<begin>").await?;
    terminal.until("<begin>").await?;
    terminal.output.clear();
    Ok(())
}

/// Words in pieces.
fn pieces() -> impl Strategy<Value = Vec<String>> {
    proptest::collection::vec("[ -~àß漢🙂]{1,80}", 1..25)
}

async fn input_is_delivered_in_order(cx: Cx) -> Result {
    let (mut terminal, ..) = Terminal::new(&cx).await?;
    raw_cat(&mut terminal).await?;
    terminal.types(&"x".repeat(20_000)).await?;
    terminal.types("<end>").await?;
    terminal.until("<end>").await?;
    cx.check("one-large-frame").eq(terminal.output.len(), 20_005);
    let terminal = std::sync::Arc::new(tokio::sync::Mutex::new(terminal));
    let holds = move |_: Cx, pieces: Vec<String>| {
        let terminal = terminal.clone();
        async move {
            let mut terminal = terminal.lock().await;
            terminal.output.clear();
            for (index, piece) in pieces.iter().enumerate() {
                match index % 2 {
                    0 => terminal.types(piece).await?,
                    _ => terminal.socket.send_text(piece).await?,
                }
            }
            terminal.types("\u{1}").await?;
            terminal.until("\u{1}").await?;
            let expected = format!("{}\u{1}", pieces.concat());
            Ok((terminal.text() != expected).then(|| format!("{:?}", terminal.text())))
        }
    };
    cx.law("as-typed", "what was typed, in order", pieces(), holds).await
}

async fn input_in_a_rush(cx: Cx) -> Result {
    let (mut terminal, ..) = Terminal::new(&cx).await?;
    raw_cat(&mut terminal).await?;
    let mut expected = String::new();
    for number in 0..3000 {
        let piece = format!("{number},");
        terminal.types(&piece).await?;
        expected.push_str(&piece);
    }
    terminal.types("end").await?;
    terminal.until("end").await?;
    cx.check("in-order").that(
        terminal.text() == format!("{expected}end"),
        "3000 numbers in order",
        terminal.output.len(),
    );
    Ok(())
}

async fn bytes_in_pieces(cx: Cx) -> Result {
    let (mut terminal, ..) = Terminal::new(&cx).await?;
    raw_cat(&mut terminal).await?;
    for piece in [&b"in-\xe2"[..], b"\x82", b"\xac-\xf0\x9f", b"\x99\x82."] {
        terminal.socket.send_binary(piece).await?;
    }
    terminal.until(".").await?;
    cx.check("typed").eq(terminal.text(), "in-€-🙂.");
    let every: Vec<u8> = (0..=255).collect();
    terminal.output.clear();
    terminal.socket.send_binary(&every).await?;
    terminal.types("<end>").await?;
    terminal.until("<end>").await?;
    cx.check("every-byte").eq(&terminal.output[..256.min(terminal.output.len())], &every[..]);
    Ok(())
}

async fn text_and_binary_frames(cx: Cx) -> Result {
    let (mut terminal, ..) = Terminal::new(&cx).await?;
    terminal.socket.send_text("echo te").await?;
    terminal.socket.send_binary(b"xt-and-").await?;
    terminal.socket.send_text("bin''ary\n").await?;
    terminal.until("text-and-binary\r\n").await?;
    // What looks like a message for the server is typed like everything else.
    terminal.socket.send_text("echo '{\"type\":\"re''size\",\"cols\":1}' | tr -d '\\047'\n").await?;
    terminal.until("{\"type\":\"resize\",\"cols\":1}").await?;
    Ok(())
}

async fn output_is_whole(cx: Cx) -> Result {
    let (mut terminal, ..) = Terminal::new(&cx).await?;
    terminal.types("stty -echo; PS1=; echo re''ady\n").await?;
    terminal.until("ready\r\n").await?;
    terminal.output.clear();
    terminal.types("seq 300000; echo o''ver\n").await?;
    terminal.until("over\r\n").await?;
    let text = terminal.text();
    let numbers = text.lines().filter_map(|line| line.trim().parse::<u32>().ok());
    let wrong = numbers.zip(1..).find(|(number, expected)| number != expected);
    cx.check("in-order").eq(wrong, None);
    cx.check("last").contains(&text, "\n300000\r\nover\r\n");
    Ok(())
}

async fn clients_share_a_terminal(cx: Cx) -> Result {
    let (mut one, sandbox, id) = Terminal::new(&cx).await?;
    let mut two = Terminal::connect(&sandbox, &id).await?;
    one.types("echo o''ne\n").await?;
    one.until("one\r\n").await?;
    two.until("one\r\n").await?;
    two.types("echo t''wo\n").await?;
    one.until("two\r\n").await?;
    two.until("two\r\n").await?;
    drop(two);
    one.types("echo al''one\n").await?;
    one.until("alone\r\n").await?;
    cx.check("shared").contains(&one.text(), "two\r\n");
    Ok(())
}

async fn slow_clients_are_dropped(cx: Cx) -> Result {
    let told = |which: &str, stop: Stop| Stop::untestable(format!("the {which} client: {stop}"));
    let (mut quick, sandbox, id) = Terminal::new(&cx).await?;
    let mut slow = Terminal::connect(&sandbox, &id).await?;
    quick.types("head -c 20000000 /dev/zero | tr '\\0' x; echo; echo e''nd\n").await?;
    // More than buffers hold: the slow one has been dropped by then, and a server does not wait long to tell it.
    let dropped = tokio::sync::Notify::new();
    let quickly = async {
        let mut size = 0;
        while !quick.shows("\nend\r\n") && quick.next().await.map_err(|stop| told("quick", stop))? {
            // What is looked for may be followed by a long prompt.
            let seen = quick.output.len().saturating_sub(4096);
            quick.output.drain(..seen);
            size += seen;
            if size > 13_000_000 {
                dropped.notify_one();
            }
        }
        Ok::<_, Stop>(size + quick.output.len())
    };
    let slowly = async {
        dropped.notified().await;
        while !slow.shows("\nend\r\n") && slow.next().await.map_err(|stop| told("slow", stop))? {
            let seen = slow.output.len().saturating_sub(4096);
            slow.output.drain(..seen);
        }
        let missed_nothing = "never: it got every byte (a proxy that buffers may be between)";
        let end = if slow.shows("\nend\r\n") { (0, missed_nothing.to_owned()) } else { (1006, String::new()) };
        Ok::<_, Stop>(slow.close.clone().unwrap_or(end))
    };
    let (size, (code, reason)) = tokio::try_join!(quickly, slowly)?;
    cx.check("every-byte").that(size >= 20_000_000, "20 MB", size);
    cx.check("dropped").eq((code, reason.as_str()), (1008, "slow consumer"));
    let mut again = Terminal::connect(&sandbox, &id).await?;
    again.types("echo ba''ck\n").await?;
    again.until("back\r\n").await?;
    Ok(())
}

async fn large_frames_are_refused(cx: Cx) -> Result {
    let (mut terminal, sandbox, id) = Terminal::new(&cx).await?;
    raw_cat(&mut terminal).await?;
    terminal.types(&"x".repeat(60_000)).await?;
    terminal.types("end").await?;
    terminal.until("end").await?;
    cx.check("up-to-64-kib").eq(terminal.output.len(), 60_003);
    terminal.types(&"x".repeat((64 << 10) + 1)).await?;
    cx.check("beyond").eq(terminal.closed().await?.0, 1009);
    let mut again = Terminal::connect(&sandbox, &id).await?;
    again.types("<still>").await?;
    again.until("<still>").await?;
    Ok(())
}

async fn no_echo_without_echo(cx: Cx) -> Result {
    let (mut terminal, ..) = Terminal::new(&cx).await?;
    terminal.types("read -rsp 'Pass''word: ' word; echo; echo \"length ${#word}\"\n").await?;
    terminal.until("Password: ").await?;
    terminal.types("secret-word\n").await?;
    terminal.until("length 11\r\n").await?;
    cx.check("not-shown").that(!terminal.text().contains("secret-word"), "a screen without it", terminal.text());
    Ok(())
}

async fn pings_are_answered(cx: Cx) -> Result {
    let (mut terminal, ..) = Terminal::new(&cx).await?;
    terminal.socket.send(Message::Ping(b"are you there"[..].into())).await?;
    terminal.types("echo st''ill\n").await?;
    terminal.until("still\r\n").await?;
    cx.check("still").contains(&terminal.text(), "still");
    Ok(())
}

async fn escape_sequences_pass(cx: Cx) -> Result {
    let (mut terminal, ..) = Terminal::new(&cx).await?;
    terminal.types("stty -echo; printf '\\033[2J\\033[1;31mr''ed\\033[0m\\007\\n'\n").await?;
    terminal.until("red\u{1b}[0m\u{7}").await?;
    cx.check("shown").contains(&terminal.text(), "\u{1b}[2J\u{1b}[1;31mred\u{1b}[0m\u{7}");
    terminal.types("read -rsn3 key; printf '<%q>' \"$key\"\n").await?;
    terminal.types("\u{1b}[A").await?;
    terminal.until("E[A'>").await?;
    cx.check("keys").contains(&terminal.text(), "'\\E[A'");
    Ok(())
}

async fn many_terminals(cx: Cx) -> Result {
    let sandbox = cx.shared().await?;
    let prefix = cx.name("pty");
    let work = (0..30).map(|number| {
        let (sandbox, id) = (&sandbox, format!("{prefix}-{number}"));
        async move {
            let mut terminal = match number % 2 {
                0 => Terminal::open(create_connect(sandbox, &id)).await?,
                _ => {
                    create(sandbox, json!({ "id": id })).send().await?.ok()?;
                    Terminal::connect(sandbox, &id).await?
                }
            };
            terminal.types(&format!("echo $((1000 + {number})); read; exit {number}\n")).await?;
            terminal.until(&format!("{}\r\n", 1000 + number)).await?;
            terminal.types("\n").await?;
            let (_, reason) = terminal.closed().await?;
            Ok::<_, Stop>((number, reason))
        }
    });
    for done in futures_util::future::join_all(work).await {
        let (number, reason) = done?;
        let told: Value = serde_json::from_str(&reason).unwrap_or_default();
        cx.check("each-exit-code").eq(&told["exitCode"], &json!(number));
    }
    let none = async || {
        let list = sandbox.get("/process/pty").send().await?;
        Ok((!list.text().contains(&prefix)).then_some(()))
    };
    cx.check("all-gone").that(cx.eventually("gone", PATIENCE, none).await.is_ok(), "none of them in the list", "some");
    Ok(())
}
