//! Builds from Dockerfiles, over images of a registry of the test's own and over what stands in for them offline.

use daytona_mock::runtime::Isolation;
use reqwest::Method;
use serde_json::{Value, json};

use crate::{
    images::{
        has_images,
        registry::{Pack, Registry, layer, programs},
        tier,
    },
    object_storage::Bucket,
    snapshots::Account,
    support::{eventually, server},
};

pub struct Built {
    pub account: Account,
    pub snapshot: Value,
    pub log: String,
}

pub async fn base_image(registry: &Registry) -> String {
    registry.push(
        "some/base:1",
        &[programs(), layer(Pack::Gzip, "mkdir -p srv; echo base > srv/base")],
        json!({"Env": ["BASE=1"]}),
    )
}

/// Builds a snapshot and reads its log while it grows.
pub async fn build(account: Account, name: &str, dockerfile: &str, hashes: &[String]) -> Built {
    let info = json!({"dockerfileContent": dockerfile, "contextHashes": hashes});
    let made = account.ok(Method::POST, "/snapshots", json!({"name": name, "buildInfo": info})).await;
    // Whatever the Dockerfile says, until it is built (observed).
    assert_eq!(made["entrypoint"], json!(["sleep", "infinity"]));
    let id = made["id"].as_str().expect("an id");
    let url = account.ok(Method::GET, &format!("/snapshots/{id}/build-logs-url"), json!({})).await;
    let url = format!("{}?follow=true", url["url"].as_str().expect("an URL"));
    // It ends by itself when the build does.
    let log = account.client.get(url).send().await.expect("a log").text().await.expect("its text");
    let snapshot = account.made(name).await;
    Built { account, snapshot, log }
}

#[tokio::test]
async fn a_dockerfile_becomes_a_snapshot() {
    if !has_images() {
        return;
    }
    let registry = Registry::start().await;
    let dockerfile = format!(
        "ARG TAG=1\nFROM {}/some/base:$TAG\n\
         ARG WHO=world\nENV GREETING=\"hello $WHO\" EMPTY=\n# a comment\n\
         RUN echo \"$GREETING from $(id -un)\" > /srv/greeting && \\\n  # inside\n  echo built\n\
         WORKDIR /srv/deep\nRUN [\"touch\", \"here\"]\n\
         RUN <<EOF\necho one > two\nmkdir -p three\nEOF\n\
         COPY <<EOF /srv/doc\nwho: $WHO\nEOF\n\
         USER app\nRUN id -un > /tmp/who; rm -f /srv/none\n\
         USER root\nRUN rm /srv/base\nLABEL a=b\nEXPOSE 80\nHEALTHCHECK NONE\n\
         ENTRYPOINT [\"sleep\", \"infinity\"]\nCMD [\"x\"]\n",
        registry.host
    );
    base_image(&registry).await;
    let built = build(Account::new().await, "built", &dockerfile, &[]).await;
    assert_eq!(built.snapshot["state"], "active", "{}\n{}", built.snapshot, built.log);
    for line in ["Step 1/17 : FROM ", "\nbuilt\n", "warning: HEALTHCHECK", "Successfully built"] {
        assert!(built.log.contains(line), "{line}: {}", built.log);
    }
    assert_eq!(built.snapshot["entrypoint"], json!(["sleep", "infinity"]));
    let info = &built.snapshot["buildInfo"];
    assert_eq!((&info["contextHashes"], &info["dockerfileContent"]), (&Value::Null, &json!(dockerfile)));

    let one = built.account.sandbox(json!({"snapshot": "built"})).await;
    one.until("started").await;
    let said = one.run("pwd; cat /srv/greeting /srv/doc two; ls; cat /tmp/who; ls /srv; echo $BASE$GREETING").await;
    // Where there is one id only, every step runs with it.
    let app = if tier() == Isolation::Single { "root" } else { "app" };
    let expected = [
        "/srv/deep\nhello world from root\nwho: world\none\nhere\nthree\ntwo",
        app,
        "deep\ndoc\ngreeting\n1hello world\n",
    ];
    let expected = expected.join("\n");
    assert_eq!(said, expected);

    let again = build(built.account, "again", &dockerfile, &[]).await;
    assert_eq!(again.log.matches("Using cache").count(), 7, "{}", again.log);
    assert!(!again.log.contains("\nbuilt\n"));
}

#[tokio::test]
async fn stages_give_each_other_files() {
    if !has_images() {
        return;
    }
    let registry = Registry::start().await;
    let image = base_image(&registry).await;
    let dockerfile = format!(
        "FROM {image} AS unused\nRUN false\n\
         FROM {image} AS maker\nRUN mkdir -p /out/sub && echo made > /out/sub/file && chown app /out/sub/file && echo x > /out/top\n\
         FROM {image}\nCOPY --from=maker /out /got/\nCOPY --from=1 /out/top /renamed\nCOPY --from={image} /srv/base /other/\n\
         COPY --from=maker --chown=app:app --chmod=600 /out/top /owned\n"
    );
    let built = build(Account::new().await, "staged", &dockerfile, &[]).await;
    assert_eq!(built.snapshot["state"], "active", "{}", built.log);
    let one = built.account.sandbox(json!({"snapshot": "staged"})).await;
    one.until("started").await;
    let said = one.run("cat /got/sub/file /renamed /other/base; ls -d /out 2>/dev/null; stat -c %a /owned").await;
    assert_eq!(said, "made\nx\nbase\n600\n");
}

#[tokio::test]
async fn triggers_of_a_base_run_once_where_it_is_built_on() {
    if !has_images() {
        return;
    }
    let registry = Registry::start().await;
    let triggers = ["ENV LEFT=behind", "RUN echo $LEFT > /srv/left"];
    let image = registry.push("left/base:1", &[programs()], json!({"WorkingDir": "/srv", "OnBuild": triggers}));
    let dockerfile = format!(
        "FROM {image} AS maker\nONBUILD RUN cat left >> \\\n  /srv/own\nRUN ls > first\n\
         FROM maker AS next\nRUN ls > second\nFROM next\nRUN echo end >> own\n"
    );
    let built = build(Account::new().await, "triggered", &dockerfile, &[]).await;
    assert_eq!(built.snapshot["state"], "active", "{}", built.log);
    assert_eq!(built.log.matches("Build trigger of the base : ").count(), 3, "{}", built.log);
    let one = built.account.sandbox(json!({"snapshot": "triggered"})).await;
    one.until("started").await;
    assert_eq!(
        one.run("cd /srv; cat left own first second").await,
        "behind\nbehind\nend\nfirst\nleft\nfirst\nleft\nown\nsecond\n"
    );

    let bad = registry.push("bad/base:1", &[programs()], json!({"OnBuild": ["FROM scratch"]}));
    let failed = build(built.account, "refused", &format!("FROM {bad}\n"), &[]).await;
    assert_eq!(failed.snapshot["errorReason"], "FROM scratch: FROM in the middle of a stage", "{}", failed.log);
}

/// What an SDK uploads to the object storage before it asks for a build.
pub async fn upload(account: &Account, hash: &str, script: &str) {
    let bucket = Bucket::of(account).await;
    bucket.put(&bucket.key(&format!("{hash}/context.tar")), layer(Pack::Plain, script).blob).await;
}

#[tokio::test]
async fn the_context_is_copied_but_for_what_is_ignored() {
    if !has_images() {
        return;
    }
    let registry = Registry::start().await;
    let image = base_image(&registry).await;
    let account = Account::new().await;
    let (one, two) = ("a".repeat(32), "b".repeat(32));
    upload(
        &account,
        &one,
        "mkdir -p src/pkg; echo 1 > src/pkg/a.py; echo 2 > src/b.py; echo no > src/x.log; ln -s /etc/passwd leak",
    )
    .await;
    upload(
        &account,
        &two,
        "echo '**/*.log' > .dockerignore; echo r > requirements.txt; mkdir in; echo t > in/t; tar czf ar.tgz in; rm -r in",
    ).await;
    let dockerfile = format!(
        "FROM {image}\nCOPY src /app/\nCOPY requirements.txt /req.txt\nCOPY src/*.py /flat/\nADD ar.tgz /unpacked/\n\
         RUN --mount=type=cache,target=/cache --mount=type=bind,source=src,target=/mnt/src cat /mnt/src/b.py > /cache/x && cp /cache/x /seen\n"
    );
    let built = build(account, "context", &dockerfile, &[one.clone(), two]).await;
    assert_eq!(built.snapshot["state"], "active", "{}", built.log);
    let sandbox = built.account.sandbox(json!({"snapshot": "context"})).await;
    sandbox.until("started").await;
    let said = sandbox
        .run("cd /; ls app app/pkg flat unpacked; cat req.txt unpacked/in/t seen; stat -c %u req.txt; ls cache")
        .await;
    assert_eq!(said, "app:\nb.py\npkg\n\napp/pkg:\na.py\n\nflat:\nb.py\n\nunpacked:\nin\nr\nt\n2\n0\n");

    for (line, reason) in [
        ("COPY nothing /x", "nothing: not found in the build context"),
        ("COPY ../../etc/passwd /x", "outside of the build context"),
        ("COPY leak /x", "not found in the build context"),
        ("ADD https://example.org/x.git /x", "repositories can't be added"),
        ("RUN exit 3", "non-zero code: 3"),
        ("ONBUILD FROM scratch", "can't be a build trigger"),
        ("RUN --mount=type=secret,id=x,required=true true", "nothing is given to builds"),
        ("COPY --parents a /x", "--parents is not supported"),
        ("FROBNICATE x", "FROBNICATE"),
    ] {
        let account = Account { key: built.account.key.clone(), client: built.account.client.clone() };
        let name = format!("bad-{}", reason.len() * 100 + line.len());
        let failed = build(account, &name, &format!("FROM {image}\n{line}\n"), &[one.clone()].map(|hash| hash)).await;
        assert_eq!(failed.snapshot["state"], "error", "{line}");
        let told = failed.snapshot["errorReason"].as_str().expect("a reason");
        assert!(told.contains(reason) && failed.log.contains(reason), "{line}: {told}\n{}", failed.log);
    }
    let account = Account { key: built.account.key.clone(), client: built.account.client.clone() };
    let failed = build(account, "missing", &format!("FROM {image}\n"), &["c".repeat(32)]).await;
    assert!(failed.log.contains("was not uploaded"), "{}", failed.log);
}

#[tokio::test]
async fn a_sandbox_is_built_and_started() {
    if !has_images() {
        return;
    }
    let registry = Registry::start().await;
    let image = base_image(&registry).await;
    let account = Account::new().await;
    let info = json!({"dockerfileContent": format!("FROM {image}\nRUN echo hi > /srv/hi && echo said\n")});
    let body = json!({"buildInfo": info, "cpu": 2, "memory": 2, "disk": 5});
    let made = account.ok(Method::POST, "/sandbox", body).await;
    assert_eq!((&made["state"], &made["cpu"]), (&json!("pending_build"), &json!(2)));
    assert!(made["buildInfo"]["snapshotRef"].as_str().expect("a ref").starts_with("daytona-"));
    let id = made["id"].as_str().expect("an id");
    let url = account.ok(Method::GET, &format!("/sandbox/{id}/build-logs-url"), json!({})).await;
    let url = format!("{}?follow=true", url["url"].as_str().expect("an URL"));
    let log = account.client.get(url).send().await.expect("a log").text().await.expect("its text");
    assert!(log.contains("\nsaid\n") && log.contains("Successfully built"), "{log}");
    let one = crate::support::Sandbox { id: id.to_owned(), key: account.key.clone(), client: account.client.clone() };
    one.until("started").await;
    assert_eq!(one.run("cat /srv/hi; id -un; echo $DAYTONA_SANDBOX_USER").await, "hi\nroot\ndaytona\n");
    // Observed, whatever the image says.
    assert_eq!(one.api(Method::GET, "").await.1["user"], "daytona");
    let whole =
        account.client.get(format!("{}/sandbox/{id}/build-logs", server().api_url)).send().await.expect("a log");
    assert_eq!(whole.text().await.expect("its text"), log);

    // The same again isn't built (observed).
    let made = account.ok(Method::POST, "/sandbox", json!({"buildInfo": info})).await;
    assert_eq!((&made["state"], &made["cpu"]), (&json!("creating"), &json!(1)), "{made}");
    let id = made["id"].as_str().expect("an id").to_owned();
    let twin = crate::support::Sandbox { id, key: account.key.clone(), client: account.client.clone() };
    twin.until("started").await;
    assert_eq!(twin.run("cat /srv/hi; id -un").await, "hi\nroot\n");
    let stranger = Account::new().await;
    let made = stranger.ok(Method::POST, "/sandbox", json!({"buildInfo": info})).await;
    assert_eq!(made["state"], "pending_build", "of another organisation");

    let info = json!({"dockerfileContent": format!("FROM {image}\nRUN echo broken; exit 7\n")});
    let made = account.ok(Method::POST, "/sandbox", json!({"buildInfo": info})).await;
    let id = made["id"].as_str().expect("an id");
    let failed = eventually("a failure", async || {
        let record = account.ok(Method::GET, &format!("/sandbox/{id}"), json!({})).await;
        (record["state"] == "build_failed").then_some(record)
    })
    .await;
    assert!(failed["errorReason"].as_str().expect("a reason").contains("non-zero code: 7"), "{failed}");
    let (status, refused) = account.call(Method::POST, &format!("/sandbox/{id}/start"), json!({})).await;
    assert_eq!((status, refused["message"].as_str()), (400, Some("Sandbox is in an errored state")));
    account.ok(Method::DELETE, &format!("/sandbox/{id}"), json!({})).await;
    for body in [json!({"buildInfo": {}, "snapshot": "x"}), json!({"buildInfo": {}, "linkedSandbox": "x"})] {
        assert_eq!(account.call(Method::POST, "/sandbox", body).await.0, 400);
    }
}

/// What `Image.debianSlim("3.12").pipInstall([...])` of the SDKs sends, but for the package.
#[tokio::test]
async fn the_sdk_s_slim_image_builds_offline() {
    if !has_images() {
        return;
    }
    let dockerfile = "FROM python:3.12.10-slim-bookworm\n\
        RUN apt-get update\nRUN apt-get install -y gcc gfortran build-essential\nRUN pip install --upgrade pip\n\
        RUN echo 'debconf debconf/frontend select Noninteractive' | debconf-set-selections\n\
        RUN mkdir -p /tmp/tiny && printf 'from setuptools import setup\\nsetup(name=\"tiny\", version=\"1\", py_modules=[\"tiny\"])\\n' > /tmp/tiny/setup.py && echo 'x = 42' > /tmp/tiny/tiny.py\n\
        RUN python -m venv --without-pip /opt2 && cp /tmp/tiny/tiny.py $(python -c 'import site; print(site.getsitepackages()[0])')/\n\
        ENV MODE=test\nWORKDIR /root\n";
    let account = Account::new().await;
    let info = json!({"dockerfileContent": dockerfile});
    let made = account.ok(Method::POST, "/snapshots", json!({"name": "slim", "buildInfo": info})).await;
    let id = made["id"].as_str().expect("an id");
    let url = format!("{}/snapshots/{id}/build-logs?follow=true", server().api_url);
    let log = account.client.get(url).send().await.expect("a log").text().await.expect("its text");
    let snapshot = account.made("slim").await;
    assert_eq!(snapshot["state"], "active", "{log}");
    if !log.contains("stands in for it") {
        println!("this machine reaches Docker Hub");
    }
    let one = account.sandbox(json!({"snapshot": "slim"})).await;
    one.until("started").await;
    assert_eq!(one.run("python -c 'import tiny; print(tiny.x)'; echo $MODE; pwd").await, "42\ntest\n/root\n");
}

/// Every sort of line that the SDKs' `Image` writes (TypeScript 0.216, Python 0.226), quoted as they quote.
#[tokio::test]
async fn every_line_of_the_sdks_builders_is_understood() {
    if !has_images() {
        return;
    }
    let registry = Registry::start().await;
    let image = base_image(&registry).await;
    let account = Account::new().await;
    let hash = "d".repeat(32);
    upload(
        &account,
        &hash,
        "mkdir -p tmp/x; echo file > 'tmp/x/a b.txt'; echo r > tmp/x/requirements.txt; echo d > tmp/x/d",
    )
    .await;
    let dockerfile = format!(
        "FROM {image}\nCOPY [\"tmp/x/a b.txt\", \"/srv/a b.txt\"]\nCOPY tmp/x/requirements.txt /.requirements.txt\n\
         COPY tmp/x /srv/dir\n\
         RUN \"sh\" \"-c\" \"echo Hello, \\\\\\\"world\\\\\\\" > /srv/list\"\n\
         ENV PLAIN=plain\nENV QUOTED='two words'\nENV ODD='it'\"'\"'s $HOME'\n\
         WORKDIR '/srv/a dir'\nRUN echo \"$QUOTED\" > here\nENTRYPOINT [\"/bin/sh\", \"-c\", \"sleep infinity\"]\nCMD []\n"
    );
    let built = build(account, "lines", &dockerfile, &[hash]).await;
    assert_eq!(built.snapshot["state"], "active", "{}", built.log);
    assert_eq!(built.snapshot["entrypoint"], json!(["/bin/sh", "-c", "sleep infinity"]));
    let one = built.account.sandbox(json!({"snapshot": "lines"})).await;
    one.until("started").await;
    let said = one
        .run("pwd; cat '/srv/a b.txt' /.requirements.txt /srv/dir/d /srv/list here; echo \"$PLAIN|$QUOTED|$ODD\"")
        .await;
    assert_eq!(said, "/srv/a dir\nfile\nr\nd\nHello, \"world\"\ntwo words\nplain|two words|it's $HOME\n");
    let empty = build(built.account, "empty", &format!("FROM {image}\nENTRYPOINT []\nCMD []\n"), &[]).await;
    assert_eq!(empty.snapshot["state"], "active", "{}", empty.log);
}
