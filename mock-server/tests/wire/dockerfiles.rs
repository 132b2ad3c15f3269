//! What the lines of a Dockerfile mean, as BuildKit has it (Dockerfile reference; ownership compared with buildah 1.28).

use daytona_mock::runtime::Isolation;
use reqwest::Method;
use serde_json::json;

use crate::{
    build_sources::run_in,
    builds::{Built, base_image, build, upload},
    images::{
        has_images,
        registry::{Pack, Registry, layer, programs},
        tier,
    },
    snapshots::Account,
    support::eventually,
};

/// The same account again.
fn again(built: &Built) -> Account {
    Account { key: built.account.key.clone(), client: built.account.client.clone() }
}

#[tokio::test]
async fn a_directory_is_copied_as_one_wherever_it_comes_from() {
    if !has_images() {
        return;
    }
    let registry = Registry::start().await;
    let image = base_image(&registry).await;
    let dockerfile = format!(
        "FROM {image} AS maker\nRUN mkdir -p /a/dist/s /a/one && echo i > /a/dist/i.html && echo j > /a/dist/s/j && \
         echo k > /a/one/k && ln -s one /a/link\n\
         FROM scratch AS bare\nCOPY --from=maker /lib64 /lib64\nCOPY --from=maker /lib /lib\nCOPY --from=maker /bin /bin\n\
         RUN ls /bin > /said\n\
         FROM {image}\nCOPY --from=maker /a/dist /srv/dist\nCOPY --from=maker /a/one /opt/one\n\
         COPY --from=maker /a/link /opt/link\nCOPY --from=maker /a/one/k /opt/k\nCOPY --from=maker /a/dist /a/one /both/\n\
         COPY --from=bare /said /said\n"
    );
    let built = build(Account::new().await, "directories", &dockerfile, &[]).await;
    let said = run_in(
        &built,
        "directories",
        "cat /srv/dist/i.html /srv/dist/s/j /opt/one/k /opt/link/k /opt/k; ls /both; ls -d /opt/link; cat /said",
    )
    .await;
    let expected = "i\nj\nk\nk\nk\ni.html\nk\ns\n/opt/link\n";
    assert!(said.starts_with(expected) && said.contains("\ncat\n"), "{said}");
}

#[tokio::test]
async fn here_documents_are_read_wherever_they_begin() {
    if !has_images() {
        return;
    }
    let registry = Registry::start().await;
    let image = base_image(&registry).await;
    let dockerfile = format!(
        "FROM {image}\nARG WHO=world\n\
         RUN echo one && \\\n\n    cat <<EOF > /a\nhello $WHO\nEOF\n\
         RUN <<EOF cat > /b\nb\nEOF\n\
         RUN <<F1 cat > /c1 && <<'F2' cat > /c2\nc1\nF1\n$WHO\nF2\n\
         RUN <<-EOF\n\techo \"d\" > /d\n\tEOF\n\
         RUN <<EOF\n#!/bin/sh\necho $0 > /e\nEOF\n\
         COPY <<a.txt <<\"b.txt\" /docs/\n{{\"who\": '$WHO'}}\na.txt\n$WHO\nb.txt\nCOPY <<app.conf /e.d/\nx\napp.conf\n\
         COPY <<EOF /renamed\ny\nEOF\n"
    );
    let built = build(Account::new().await, "documents", &dockerfile, &[]).await;
    for line in [" : RUN <<EOF cat > /b\nb\nEOF\n", " : COPY <<app.conf /e.d/\nx\napp.conf\n"] {
        assert!(built.log.contains(line), "{}", built.log);
    }
    let said = run_in(
        &built,
        "documents",
        "cat /a /b /c1 /c2 /d /docs/a.txt /docs/b.txt /e.d/app.conf /renamed; test -s /e && echo script; \
         test $(stat -c %Y /renamed) -gt 1000000000 && echo now",
    )
    .await;
    let expected = "hello world\nb\nc1\n$WHO\nd\n{\"who\": 'world'}\n$WHO\nx\ny\nscript\nnow\n";
    assert_eq!(said, expected);

    let failed = build(again(&built), "endless", &format!("FROM {image}\nRUN cat <<EOF\nx\n"), &[]).await;
    assert_eq!(failed.snapshot["errorReason"], "the Dockerfile: line 2: unterminated heredoc EOF", "{}", failed.log);
}

#[tokio::test]
async fn stages_and_values_are_named_by_arguments() {
    if !has_images() {
        return;
    }
    let registry = Registry::start().await;
    let image = base_image(&registry).await;
    let dockerfile = format!(
        "ARG KIND=one\nFROM --platform=linux/s390x {image} AS stage-one\nARG V=hello\nRUN echo $V > /v\n\
         FROM {image} AS stage-two\nRUN false\n\
         FROM stage-${{KIND}}\nARG BUILDOS\nARG BUILDARCH\nARG V\n\
         ENV FILE=/usr/lib/a.tar.gz\nENV NAME=${{FILE##*/}} PLAIN=${{FILE%.gz}} OTHER=${{FILE/lib/share}}\n\
         RUN echo \"$V $BUILDOS $BUILDARCH $NAME $PLAIN $OTHER\" >> /v\n\
         CMD [\"60\"]\nENTRYPOINT [\"sleep\"]\nVOLUME /data\nVOLUME [\"/more/data\"]\n"
    );
    let built = build(Account::new().await, "named", &dockerfile, &[]).await;
    assert_eq!(built.snapshot["state"], "active", "{}", built.log);
    assert!(built.log.contains("warning: --platform=linux/s390x: this machine builds for linux/"), "{}", built.log);
    let said = run_in(&built, "named", "cat /v; ls -d /data /more/data").await;
    let arch = crate::images::registry::arch();
    assert_eq!(
        said,
        format!("hello\nhello linux {arch} a.tar.gz /usr/lib/a.tar /usr/share/a.tar.gz\n/data\n/more/data\n")
    );
    until_runs(&built, "named", "sleep\x0060\0").await;
    // Only an inherited command goes.
    let text = format!("FROM {image} AS a\nCMD [\"60\"]\nFROM a\nENTRYPOINT [\"sleep\", \"70\"]\n");
    let built = build(built.account, "inherited", &text, &[]).await;
    until_runs(&built, "inherited", "sleep\x0070\0\n").await;
    let failed = build(built.account, "unset", &format!("FROM {image}\nENV A=\"${{NONE:?is needed}}\"\n"), &[]).await;
    assert_eq!(failed.snapshot["errorReason"], "ENV A=\"${NONE:?is needed}\": NONE: is needed");
}

/// Waits until a sandbox of a snapshot runs what it is said to run besides the toolbox.
async fn until_runs(built: &Built, snapshot: &str, command: &str) {
    let one = built.account.sandbox(json!({"snapshot": snapshot})).await;
    one.until("started").await;
    eventually(command, async || {
        let all = one.run("for each in /proc/[0-9]*; do cat $each/cmdline && echo; done 2> /dev/null").await;
        all.contains(command).then_some(())
    })
    .await;
}

#[tokio::test]
async fn what_is_made_belongs_to_whom_it_is_made_for() {
    if !has_images() {
        return;
    }
    let registry = Registry::start().await;
    let groups = layer(
        Pack::Gzip,
        "mkdir etc; printf 'root:x:0:\\napp:x:1234:\\ngrp:x:77:\\nmore:x:88:app\\n' > etc/group; mkdir -m 750 old",
    );
    let image = registry.push("with/groups:1", &[programs(), groups], json!({}));
    let account = Account::new().await;
    let hash = "e".repeat(32);
    upload(&account, &hash, "mkdir -p dir/sub; echo f > dir/f").await;
    let dockerfile = format!(
        "FROM {image}\nCOPY --chown=app:grp dir /srv/new/app\nCOPY --chown=app --chmod=700 dir /x\nCOPY --chown=5 dir /old\n\
         COPY --chmod=u=rwX,go= dir /symbolic\n\
         USER app\nWORKDIR /home/app/w\nRUN id -u > /tmp/app && id -g >> /tmp/app && id -G >> /tmp/app\n\
         USER app:grp\nRUN id -g > /tmp/grp && id -G >> /tmp/grp\nUSER 1234:77\nRUN id -g > /tmp/number\nUSER root\n"
    );
    let built = build(account, "owned", &dockerfile, std::slice::from_ref(&hash)).await;
    let paths =
        "/srv/new /srv/new/app /srv/new/app/sub /srv/new/app/f /x /x/sub /x/f /old /old/f /home/app /home/app/w";
    let command = format!(
        "stat -c '%a %u:%g %n' {paths}; stat -c %a /symbolic /symbolic/sub /symbolic/f; cat /tmp/app /tmp/grp /tmp/number"
    );
    let said = run_in(&built, "owned", &command).await;
    // The target itself is made, not copied.
    let modes = "755\n700\n600\n";
    if tier() == Isolation::Root {
        let owners = "755 1234:77 /srv/new\n755 1234:77 /srv/new/app\n755 1234:77 /srv/new/app/sub\n644 1234:77 /srv/new/app/f\n\
            755 1234:1234 /x\n700 1234:1234 /x/sub\n700 1234:1234 /x/f\n750 0:0 /old\n644 5:5 /old/f\n755 1234:1234 /home/app\n755 1234:1234 /home/app/w\n";
        assert_eq!(said, format!("{owners}{modes}1234\n1234\n1234 88\n77\n77\n77\n"));
    } else {
        // There is one id only.
        assert!(said.contains(modes), "{said}");
    }
    for (line, reason) in [
        ("COPY --chmod=rwx dir /y", "--chmod=rwx: neither an octal nor a symbolic mode"),
        ("COPY --chown=nobody-here dir /y", "unable to find user nobody-here"),
    ] {
        let name = format!("bad-{}", line.len());
        let failed = build(again(&built), &name, &format!("FROM {image}\n{line}\n"), std::slice::from_ref(&hash)).await;
        let told = failed.snapshot["errorReason"].as_str().expect("a reason");
        assert!(told.contains(reason), "{line}: {told}");
    }
}

#[tokio::test]
async fn archives_are_known_by_what_is_in_them() {
    if !has_images() {
        return;
    }
    const XZ: &str = "/Td6WFoAAATm1rRGAgAhARwAAAAQz1jM4Cf/AHpdADSbgd6V4XBV4z1CMml62LtbonEubrWNrOnrRrj1FdhU/XNXStY+ykbqwLFLtsCxo5sOePC7g3FFFfW7xy1Pdw5IcWbhhPpC+zDNZOkSxq3JvQJpFqvoUsQ6Nm+uPwo/H+Z5oXaaco6uHWwvhnj8ssLP20NEmu2fHIMAAAAA2VXrX9U1BbIAAZYBgFAAALiQ77SxxGf7AgAAAAAEWVo=";
    const BZ: &str = "QlpoOTFBWSZTWWMyQ+IAAKP7kMmQAEFAAP+AAAZgIZ5ABAAACCAAkoSqNqPUaAaAD01AqUUekxA0DI0DU/Uxy4XLSDDdIJzusyrU1XuHSq9EUR9rJq67UmKgmelzsojRYqzeMmCzRacjBFUisUQhApDk6f43BgYkaDlQM45diUQ/i7kinChIMZkh8QA=";
    let registry = Registry::start().await;
    let image = base_image(&registry).await;
    let account = Account::new().await;
    let hash = "f".repeat(32);
    let script = format!(
        "echo {XZ} | base64 -d > a.xz; echo {BZ} | base64 -d > b.tar.bz2; mkdir in; echo t > in/t; tar czf rootfs in; rm -r in; \
         echo text > fake.tar.gz"
    );
    upload(&account, &hash, &script).await;
    let dockerfile =
        format!("FROM {image}\nADD a.xz /a\nADD b.tar.bz2 /b/\nADD rootfs /r\nADD fake.tar.gz /f/\nCOPY rootfs /c\n");
    let built = build(account, "archives", &dockerfile, &[hash]).await;
    let said = run_in(&built, "archives", "cat /a/in/t /b/in/t /r/in/t /f/fake.tar.gz; test -f /c && echo file").await;
    assert_eq!(said, "x\nx\nt\ntext\nfile\n");
}

#[tokio::test]
async fn a_work_directory_of_no_layer_is_made() {
    if !has_images() {
        return;
    }
    let registry = Registry::start().await;
    let settings = json!({"WorkingDir": "/nowhere/deep", "User": "1234:77"});
    let image = registry.push("no/where:1", &[programs()], settings);
    let account = Account::new().await;
    account.ok(Method::POST, "/snapshots", json!({"name": "nowhere", "imageName": image})).await;
    assert_eq!(account.made("nowhere").await["state"], "active");
    let one = account.sandbox(json!({"snapshot": "nowhere"})).await;
    one.until("started").await;
    assert_eq!(one.run("pwd; id -u; id -g; id -G").await, "/nowhere/deep\n1234\n77\n77\n");
    let built = build(account, "on", &format!("FROM {image}\nENV A=b\n"), &[]).await;
    assert_eq!(run_in(&built, "on", "pwd; echo $A").await, "/nowhere/deep\nb\n");
    let account = built.account;

    // What a volume hides is made, too.
    let volume = account.ok(Method::POST, "/volumes", json!({"name": "home"})).await;
    let id = volume["id"].as_str().expect("an id");
    eventually("a volume", async || {
        let now = account.ok(Method::GET, &format!("/volumes/{id}"), json!({})).await;
        (now["state"] == "ready").then_some(())
    })
    .await;
    let one = account.sandbox(json!({"volumes": [{"volumeId": id, "mountPath": "/home"}]})).await;
    one.until("started").await;
    assert_eq!(one.run("pwd").await, "/home/daytona\n");
}
