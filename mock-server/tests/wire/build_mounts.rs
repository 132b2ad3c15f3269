//! `RUN --mount`, `--network` and `--security` (Dockerfile reference).

use daytona_mock::runtime::Isolation;
use serde_json::Value;

use crate::{
    api::Api,
    build_sources::run_in,
    builds::{base_image, build, upload},
    images::{has_images, registry::Registry, tier},
    snapshots::Account,
    support::server,
};

#[tokio::test]
async fn a_cache_is_its_organisation_s_own_and_goes_with_it() {
    if !has_images() {
        return;
    }
    let registry = Registry::start().await;
    let image = base_image(&registry).await;
    let line = |what: &str| format!("FROM {image}\nRUN --mount=type=cache,target=/cache,id=shared {what}\n");
    let mine = build(Account::new().await, "left", &line("echo mine > /cache/secret"), &[]).await;
    assert_eq!(mine.snapshot["state"], "active", "{}", mine.log);
    let seen = build(mine.account, "seen", &line("cat /cache/secret && echo found"), &[]).await;
    assert!(seen.snapshot["state"] == "active" && seen.log.contains("mine\nfound\n"), "{}", seen.log);
    let theirs = build(Account::new().await, "theirs", &line("ls -A /cache && ! ls /cache/secret"), &[]).await;
    assert_eq!(theirs.snapshot["state"], "active", "{}", theirs.log);

    let (key, client) = (seen.account.key.clone(), seen.account.client.clone());
    let api = Api { url: server().api_url.clone(), key, client };
    assert_eq!(api.control("POST", "/reset", Value::Null).await.0, 204);
    let after = build(seen.account, "after", &line("test ! -e /cache/secret && echo new > /cache/new"), &[]).await;
    assert_eq!(after.snapshot["state"], "active", "{}", after.log);
    // The same step of another organisation isn't the same.
    let strange = build(Account::new().await, "strange", &line("cat /cache/secret && echo found"), &[]).await;
    assert_eq!(strange.snapshot["state"], "error", "{}", strange.log);
    let last = build(after.account, "last", &line("cat /cache/new"), &[]).await;
    assert_eq!(last.snapshot["state"], "active", "{}", last.log);
}

#[tokio::test]
async fn a_locked_cache_is_one_step_s_at_a_time() {
    if !has_images() {
        return;
    }
    let registry = Registry::start().await;
    let image = base_image(&registry).await;
    let Account { key, client } = Account::new().await;
    let builds = (0..3).map(|n| {
        let account = Account { key: key.clone(), client: client.clone() };
        // Each has it at another place, beside one that they share.
        let dockerfile = format!(
            "FROM {image}\nRUN --mount=type=cache,target=/c{n},id=c,sharing=locked --mount=type=cache,target=/d,sharing=private \
             mkdir /c{n}/mine && echo {n} > /d/n && sleep 0.3 && cat /d/n && rm -r /c{n}/mine\n"
        );
        async move { build(account, &format!("locked-{n}"), &dockerfile, &[]).await }
    });
    let built = futures_util::future::join_all(builds).await;
    let logs: Vec<&str> = built.iter().map(|built| built.log.as_str()).collect();
    assert!(built.iter().all(|built| built.snapshot["state"] == "active"), "{}", logs.join("\n"));
}

#[tokio::test]
async fn mounts_are_what_their_options_say() {
    if !has_images() {
        return;
    }
    let registry = Registry::start().await;
    let image = base_image(&registry).await;
    let account = Account::new().await;
    let hash = "1".repeat(32);
    upload(&account, &hash, "echo '*.log' > .dockerignore; echo a > a.txt; echo no > x.log; mkdir d; echo d > d/d")
        .await;
    let dockerfile = format!(
        "FROM {image} AS maker\nRUN mkdir /seed && echo seed > /seed/s\nFROM {image}\n\
         RUN --mount=target=/ctx ls /ctx > /listed; ! touch /ctx/new\n\
         RUN --mount=target=/ctx,rw cat /ctx/d/d && echo changed > /ctx/a.txt && rm /ctx/d/d && cat /ctx/a.txt >> /listed\n\
         RUN --mount=source=a.txt,target=/a.txt cat /a.txt >> /listed\n\
         RUN --mount=from=maker,source=/seed,target=/s,rw echo more >> /s/s && cat /s/s >> /listed\n\
         RUN --mount=type=cache,target=/c,from=maker,source=/seed cat /c/s >> /listed && echo again >> /c/s\n\
         RUN --mount=type=cache,target=/c,from=maker,source=/seed cat /c/s >> /listed && echo twice\n\
         RUN --mount=type=cache,target=/o,uid=1234,gid=77,mode=0750 stat -c '%u:%g %a' /o >> /owner\n\
         RUN --mount=type=tmpfs,target=/t,size=1m seq 1 9999 > /t/few && ! seq 1 999999 > /t/many && stat -f -c %T /t >> /listed\n\
         RUN --mount=type=tmpfs,target=/t stat -c %a /t >> /listed\n\
         RUN ln -s /srv /link\nRUN --mount=type=tmpfs,target=/link/t touch /srv/t/x && ls /srv/t >> /listed\n"
    );
    let built = build(account, "mounts", &dockerfile, std::slice::from_ref(&hash)).await;
    let said = run_in(&built, "mounts", "cat /listed /owner").await;
    let listed = "a.txt\nd\nchanged\na\nseed\nmore\nseed\nseed\nagain\ntmpfs\n1777\nx\n";
    // Where there is one id only, nothing else can own anything.
    let expected = if tier() == Isolation::Root { format!("{listed}1234:77 750\n") } else { listed.to_owned() };
    assert!(said.starts_with(&expected), "{said}");

    for (n, (line, reason)) in [
        ("RUN --mount=target=/x,source=x.log true", "x.log is not in the build context"),
        ("RUN --mount=type=bind,target=/x,colour=red true", "unexpected key 'colour'"),
        ("RUN --mount=type=bind,target=/x,size=1m true", "size is not allowed for bind mounts"),
        ("RUN --mount=type=cache true", "a target is missing"),
        ("RUN --mount=type=npipe,target=/x true", "unsupported mount type"),
        ("RUN --network=blah true", "unsupported network mode"),
        ("RUN --security=insecure true", "--security=insecure is not allowed"),
    ]
    .into_iter()
    .enumerate()
    {
        let account = Account { key: built.account.key.clone(), client: built.account.client.clone() };
        let failed =
            build(account, &format!("bad-{n}"), &format!("FROM {image}\n{line}\n"), std::slice::from_ref(&hash)).await;
        let told = failed.snapshot["errorReason"].as_str().expect("a reason");
        assert!(failed.snapshot["state"] == "error" && told.contains(reason), "{line}: {told}");
    }
}
