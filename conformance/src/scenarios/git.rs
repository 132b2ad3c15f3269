use crate::prelude::*;

scenarios! { "git";
    /// From an empty directory to a pushed commit: init, user, add, commit, status, history, remote, push. (the git
    /// operations; observed)
    first_commit_is_pushed: Must,
        covers ["InitRepository", "ConfigureUser", "AddFiles", "CommitChanges", "GetStatus", "GetCommitHistory", "AddRemote",
            "ListRemotes", "PushChanges"], since "0.200";

    /// Every state that a file can be in has its words, for index and work tree. (GetStatus; observed)
    status_names_every_state: Must, covers ["GetStatus"];

    /// Branches are made and checked out, listed with the current one, and deleted. (observed)
    branches_come_and_go: Must, covers ["ListBranches", "CreateBranch", "CheckoutBranch", "DeleteBranch"];

    /// A clone has the remote's files and history; `branch` and `commit_id` choose what is checked out.
    /// (CloneRepository; observed)
    clone_takes_what_is_asked: Must, covers ["CloneRepository", "GetStatus"];

    /// Pull brings what was pushed elsewhere; what was not pulled can't be pushed over: 409. (observed; codes of the
    /// current toolbox)
    pull_and_push_keep_in_step: Must, covers ["PullChanges", "PushChanges", "GetStatus", "GetCommitHistory"], since "0.200";

    /// Reset moves the branch and, as asked, index and work tree; restore takes files back. (ResetChanges,
    /// RestoreFiles)
    reset_and_restore: Must, covers ["ResetChanges", "RestoreFiles", "AddFiles"], since "0.200";

    /// Configuration is set and read by scope; what isn't set is null. (GetGitConfig, SetGitConfig)
    configuration_by_scope: Must, covers ["GetGitConfig", "SetGitConfig"], since "0.200";

    /// Credentials are accepted for later operations, and their password comes back in no answer. (Authenticate)
    credentials_are_kept_to_themselves: Must, covers ["Authenticate", "ListRemotes"], since "0.200";

    /// What isn't a repository is 404 for every operation. (observed)
    no_repository_is_not_found: Must,
        covers ["GetStatus", "ListBranches", "GetCommitHistory", "AddFiles", "CommitChanges", "PullChanges", "PushChanges",
            "DeleteBranch"];

    /// A body without what is needed is 400 `INVALID_REQUEST_BODY`, a missing `path` 400. (observed)
    input_is_validated: Must,
        covers ["CloneRepository", "AddFiles", "CommitChanges", "CreateBranch", "CheckoutBranch", "GetStatus"], since "0.200";

    /// What git refuses has the documented status: a second branch of one name 409, an unknown one 404, a clone over a
    /// repository 409. (observed; codes of the current toolbox)
    refusals_have_their_status: Must, covers ["CreateBranch", "CheckoutBranch", "CloneRepository", "CommitChanges"], since "0.200";
}

/// Git without the answers of anyone's configuration.
async fn ready(cx: &Cx) -> Result<(Sandbox, String)> {
    let sandbox = cx.shared().await?;
    sandbox.needs_program("git").await?;
    let dir = cx.dir();
    sandbox.output(&format!("mkdir -p {dir}")).await?;
    Ok((sandbox, dir))
}

/// A repository with one commit on `main`, made by git itself.
async fn repository(sandbox: &Sandbox, dir: &str) -> Result<String> {
    let repo = format!("{dir}/repo");
    let make = format!(
        "git init -q -b main {repo} && cd {repo} && git config user.name T && git config user.email t@example.com && \
         echo one > a.txt && git add . && git commit -q -m first"
    );
    sandbox.output(&make).await?;
    Ok(repo)
}

async fn post(sandbox: &Sandbox, path: &str, body: Value) -> Result<crate::client::Answer> {
    sandbox.post(&format!("/git/{path}")).json(body).send().await
}

async fn status(sandbox: &Sandbox, repo: &str) -> Result<crate::client::Answer> {
    sandbox.get("/git/status").query("path", repo).send().await
}

fn commit(repo: &str, message: &str) -> Value {
    json!({"path": repo, "message": message, "author": "Ada", "email": "ada@example.com"})
}

async fn first_commit_is_pushed(cx: Cx) -> Result {
    let (sandbox, dir) = ready(&cx).await?;
    let (repo, bare) = (format!("{dir}/repo"), format!("{dir}/bare"));
    let init = post(&sandbox, "init", json!({"path": repo, "initial_branch": "main"})).await?;
    cx.check("init").status(&init, 201);
    let init = post(&sandbox, "init", json!({"path": bare, "bare": true, "initial_branch": "main"})).await?;
    cx.check("init-bare").status(&init, 201);
    let user = json!({"name": "Ada", "email": "ada@example.com", "scope": "local", "path": repo});
    cx.check("user").status(&post(&sandbox, "config/user", user).await?, 200);
    sandbox.upload(&format!("{repo}/dir/é.txt"), b"hello\n").await?.ok()?;
    cx.check("add").status(&post(&sandbox, "add", json!({"path": repo, "files": ["."]})).await?, 200);
    let made = post(&sandbox, "commit", commit(&repo, "first ✓")).await?;
    cx.check("commit").status(&made, 200);
    let hash = made["hash"].as_str().unwrap_or_default().to_owned();
    cx.check("hash").on(&made).that(hash.len() == 40, "40 hexadecimal digits", &hash);
    let history = sandbox.get("/git/history").query("path", &repo).send().await?;
    cx.check("history-hash").json(&history, "/0/hash", hash);
    cx.check("history-author").json(&history, "/0/author", "Ada");
    cx.check("history-email").json(&history, "/0/email", "ada@example.com");
    cx.check("history-message").on(&history).contains(history.at("/0/message").as_str().unwrap_or_default(), "first ✓");
    cx.check_recent("history-time", &history, "/0/timestamp").await;
    let remote = json!({"path": repo, "name": "origin", "url": format!("file://{bare}")});
    cx.check("remote").status(&post(&sandbox, "remotes", remote).await?, 201);
    let remotes = sandbox.get("/git/remotes").query("path", &repo).send().await?;
    cx.check("remotes").json(&remotes, "/remotes/0/name", "origin");
    cx.check("remotes-url").json(&remotes, "/remotes/0/url", format!("file://{bare}"));
    let push =
        post(&sandbox, "push", json!({"path": repo, "remote": "origin", "branch": "main", "set_upstream": true}))
            .await?;
    cx.check("push").status(&push, 200);
    let pushed = sandbox.output(&format!("git -C {bare} log --format=%s main")).await?;
    cx.check("pushed").eq(pushed.trim(), "first ✓");
    let after = status(&sandbox, &repo).await?;
    cx.check("published").json(&after, "/branchPublished", true);
    cx.check("clean").json(&after, "/fileStatus", json!([]));
    sandbox.output(&format!("git -C {repo} branch side")).await?;
    let push = post(&sandbox, "push", json!({"path": repo, "remote": "origin", "branch": "side"})).await?;
    cx.check("push-another").status(&push, 200);
    let pushed = sandbox.output(&format!("git -C {bare} branch --list side")).await?;
    cx.check("pushed-another").eq(pushed.trim(), "side");
    let moved = json!({"path": repo, "name": "origin", "url": "https://git.example/y.git", "overwrite": true});
    cx.check("overwrite").status(&post(&sandbox, "remotes", moved).await?, 201);
    let remotes = sandbox.get("/git/remotes").query("path", &repo).send().await?;
    cx.check("overwritten").json(&remotes, "/remotes", json!([{"name": "origin", "url": "https://git.example/y.git"}]));
    Ok(())
}

async fn status_names_every_state(cx: Cx) -> Result {
    let (sandbox, dir) = ready(&cx).await?;
    let repo = repository(&sandbox, &dir).await?;
    let prepare = format!(
        "cd {repo} && mkdir sub && for f in modified deleted staged-change staged-delete; do echo x > $f; done && git add . && \
         git commit -q -m more && echo y > modified && rm deleted && echo y > staged-change && git add staged-change && \
         git rm -q staged-delete && echo z > added && git add added && echo u > 'sub/un tracked é'"
    );
    sandbox.output(&prepare).await?;
    let answer = status(&sandbox, &repo).await?;
    cx.check("branch").json(&answer, "/currentBranch", "main");
    let files = answer.array("/fileStatus")?;
    for (name, staging, worktree) in [
        ("modified", "Unmodified", "Modified"),
        ("deleted", "Unmodified", "Deleted"),
        ("staged-change", "Modified", "Unmodified"),
        ("staged-delete", "Deleted", "Unmodified"),
        ("added", "Added", "Unmodified"),
        ("sub/un tracked é", "Untracked", "Untracked"),
    ] {
        let got = files.iter().find(|file| file["name"] == name);
        let words = got.map(|file| (file["staging"].as_str(), file["worktree"].as_str()));
        cx.check(name).on(&answer).eq(words, Some((Some(staging), Some(worktree))));
    }
    cx.check("no-others").on(&answer).eq(files.len(), 6);
    cx.check("counts").on(&answer).that(answer["ahead"] == 0 && answer["behind"] == 0, "0 and 0", &answer["ahead"]);
    cx.check("not-published").json(&answer, "/branchPublished", false);
    Ok(())
}

async fn branches_come_and_go(cx: Cx) -> Result {
    let (sandbox, dir) = ready(&cx).await?;
    let repo = repository(&sandbox, &dir).await?;
    let list = async || sandbox.get("/git/branches").query("path", &repo).send().await;
    cx.check("one").json(&list().await?, "/branches", json!(["main"]));
    let made = post(&sandbox, "branches", json!({"path": repo, "name": "topic/a"})).await?;
    cx.check("created").status(&made, 201);
    cx.check("checked-out").json(&status(&sandbox, &repo).await?, "/currentBranch", "topic/a");
    let two = list().await?;
    cx.check("two").json(&two, "/branches", json!(["main", "topic/a"]));
    if cx.is_since("0.200") {
        cx.check("current").json(&two, "/current", "topic/a");
    }
    let back = post(&sandbox, "checkout", json!({"path": repo, "branch": "main"})).await?;
    cx.check("checkout").status(&back, 200);
    cx.check("back").json(&status(&sandbox, &repo).await?, "/currentBranch", "main");
    let gone = sandbox.delete("/git/branches").json(json!({"path": repo, "name": "topic/a"})).send().await?;
    cx.check("deleted").status(&gone, 204);
    cx.check("one-again").json(&list().await?, "/branches", json!(["main"]));
    let head = sandbox.output(&format!("git -C {repo} rev-parse HEAD")).await?;
    let detach = post(&sandbox, "checkout", json!({"path": repo, "branch": head.trim()})).await?;
    cx.check("by-hash").status(&detach, 200);
    cx.check("detached").json(&status(&sandbox, &repo).await?, "/currentBranch", "HEAD");
    Ok(())
}

async fn clone_takes_what_is_asked(cx: Cx) -> Result {
    let (sandbox, dir) = ready(&cx).await?;
    let repo = repository(&sandbox, &dir).await?;
    sandbox.output(&format!("cd {repo} && git checkout -q -b topic && echo two > b.txt && git add . && git commit -q -m second && git checkout -q main")).await?;
    let first = sandbox.output(&format!("git -C {repo} rev-parse main")).await?;
    let url = format!("file://{repo}");
    for (id, body, head, file) in [
        ("plain", json!({}), "main", "a.txt"),
        ("branch", json!({"branch": "topic"}), "topic", "b.txt"),
        ("commit", json!({"branch": "topic", "commit_id": first.trim()}), "HEAD", "a.txt"),
    ] {
        let path = format!("{dir}/{id}");
        let mut body = body;
        body["url"] = url.clone().into();
        body["path"] = path.clone().into();
        let cloned = sandbox.post("/git/clone").json(body).timeout(Duration::from_secs(60)).send().await?;
        cx.check(id).status(&cloned, 200);
        cx.check(format!("{id}-head")).json(&status(&sandbox, &path).await?, "/currentBranch", head);
        cx.check(format!("{id}-file")).status(&sandbox.download(&format!("{path}/{file}")).await?, 200);
    }
    if cx.is_since("0.200") {
        let path = format!("{dir}/shallow");
        let body = json!({"url": url, "path": path, "branch": "topic", "depth": 1});
        cx.check("depth").status(&post(&sandbox, "clone", body).await?, 200);
        let count = sandbox.output(&format!("git -C {path} rev-list --count HEAD")).await?;
        cx.check("depth-of-one").eq(count.trim(), "1");
    }
    let lacking = sandbox.download(&format!("{dir}/commit/b.txt")).await?;
    cx.check("commit-is-older").status(&lacking, 404);
    Ok(())
}

async fn pull_and_push_keep_in_step(cx: Cx) -> Result {
    let (sandbox, dir) = ready(&cx).await?;
    let repo = repository(&sandbox, &dir).await?;
    let (bare, one, two) = (format!("{dir}/bare"), format!("{dir}/one"), format!("{dir}/two"));
    let identity = "-c user.name=T -c user.email=t@example.com";
    sandbox
        .output(&format!(
            "git clone -q --bare {repo} {bare} && git clone -q {bare} {one} && git clone -q {bare} {two} && \
             cd {one} && echo 1 > one.txt && git add . && git {identity} commit -q -m one && \
             cd {two} && echo 2 > two.txt && git add . && git {identity} commit -q -m two"
        ))
        .await?;
    let ahead = status(&sandbox, &one).await?;
    cx.check("ahead").json(&ahead, "/ahead", 1);
    cx.check("push").status(&post(&sandbox, "push", json!({"path": one})).await?, 200);
    cx.check("push-again").status(&post(&sandbox, "push", json!({"path": one})).await?, 200);
    let rejected = post(&sandbox, "push", json!({"path": two})).await?;
    cx.check("rejected").status(&rejected, 409);
    cx.check("code").json(&rejected, "/code", "GIT_PUSH_REJECTED");
    sandbox.output(&format!("cd {two} && git reset -q --hard HEAD~1 && git fetch -q")).await?;
    let behind = status(&sandbox, &two).await?;
    cx.check("behind").json(&behind, "/behind", 1);
    cx.check("not-ahead").json(&behind, "/ahead", 0);
    cx.check("pull").status(&post(&sandbox, "pull", json!({"path": two})).await?, 200);
    cx.check("pulled").eq(sandbox.download(&format!("{two}/one.txt")).await?.text(), "1\n");
    cx.check("pull-again").status(&post(&sandbox, "pull", json!({"path": two})).await?, 200);
    let history = sandbox.get("/git/history").query("path", &two).send().await?;
    let messages: Vec<_> = history.array("")?.iter().filter_map(|one| one["message"].as_str()).map(str::trim).collect();
    cx.check("newest-first").on(&history).eq(messages, vec!["one", "first"]);
    sandbox
        .output(&format!(
            "cd {one} && git checkout -q -b other && echo 3 > other.txt && git add . && git {identity} commit -q -m other && \
             git push -q origin other"
        ))
        .await?;
    let other = json!({"path": two, "remote": "origin", "branch": "other"});
    cx.check("pull-another").should().status(&post(&sandbox, "pull", other).await?, 200);
    cx.check("pulled-another").should().status(&sandbox.download(&format!("{two}/other.txt")).await?, 200);
    let fetched = json!({"path": two, "name": "second", "url": format!("file://{bare}"), "fetch": true});
    cx.check("remote-fetch").should().status(&post(&sandbox, "remotes", fetched).await?, 201);
    let known = sandbox.output(&format!("git -C {two} branch -r")).await?;
    cx.check("fetched").should().contains(&known, "second/main");
    Ok(())
}

async fn reset_and_restore(cx: Cx) -> Result {
    let (sandbox, dir) = ready(&cx).await?;
    let repo = repository(&sandbox, &dir).await?;
    sandbox
        .output(&format!(
            "cd {repo} && echo two > a.txt && git commit -q -a -m second && echo three > a.txt && git add ."
        ))
        .await?;
    let restored = post(&sandbox, "restore", json!({"path": repo, "files": ["a.txt"], "staged": true})).await?;
    cx.check("restore-staged").status(&restored, 200);
    cx.check("unstaged").json(&status(&sandbox, &repo).await?, "/fileStatus/0/worktree", "Modified");
    cx.check("restore").status(&post(&sandbox, "restore", json!({"path": repo, "files": ["a.txt"]})).await?, 200);
    cx.check("restored").eq(sandbox.download(&format!("{repo}/a.txt")).await?.text(), "two\n");
    let older = json!({"path": repo, "files": ["a.txt"], "source": "HEAD~1", "worktree": true});
    cx.check("restore-source").status(&post(&sandbox, "restore", older).await?, 200);
    cx.check("restored-source").eq(sandbox.download(&format!("{repo}/a.txt")).await?.text(), "one\n");
    sandbox
        .output(&format!("cd {repo} && git checkout -q HEAD a.txt && echo b > b && echo c > c && echo d > d"))
        .await?;
    cx.check("add-two").status(&post(&sandbox, "add", json!({"path": repo, "files": ["b", "c"]})).await?, 200);
    let staged = async || sandbox.output(&format!("git -C {repo} diff --cached --name-only")).await;
    cx.check("added-two").eq(staged().await?, "b\nc\n");
    cx.check("reset-files").status(&post(&sandbox, "reset", json!({"path": repo, "files": ["b"]})).await?, 200);
    cx.check("reset-one").eq(staged().await?, "c\n");
    let hard = post(&sandbox, "reset", json!({"path": repo, "mode": "hard", "target": "HEAD~1"})).await?;
    cx.check("reset-hard").status(&hard, 200);
    cx.check("reset").eq(sandbox.download(&format!("{repo}/a.txt")).await?.text(), "one\n");
    let unknown = post(&sandbox, "restore", json!({"path": repo, "files": ["no-such-file"]})).await?;
    cx.check("unknown-file").status_in(&unknown, &[400, 404, 409, 500]);
    let mode = post(&sandbox, "reset", json!({"path": repo, "mode": "sideways"})).await?;
    cx.check("unknown-mode").status(&mode, 400);
    Ok(())
}

async fn configuration_by_scope(cx: Cx) -> Result {
    let (sandbox, dir) = ready(&cx).await?;
    let repo = repository(&sandbox, &dir).await?;
    let key = format!("conformance.k{}", repo.len());
    let get = async |scope: &str| {
        let request = sandbox.get("/git/config").query("key", &key).query("scope", scope).query("path", &repo);
        request.send().await
    };
    cx.check("unset").json(&get("local").await?, "/value", Value::Null);
    let set = post(&sandbox, "config", json!({"key": key, "value": "a b", "scope": "local", "path": repo})).await?;
    cx.check("set").status(&set, 200);
    cx.check("local").json(&get("local").await?, "/value", "a b");
    cx.check("not-global").json(&get("global").await?, "/value", Value::Null);
    let no_path = post(&sandbox, "config", json!({"key": key, "value": "x", "scope": "local"})).await?;
    cx.check("local-needs-a-path").status(&no_path, 400);
    let bad = post(&sandbox, "config", json!({"key": "nosection", "value": "x"})).await?;
    cx.check("bad-key").status(&bad, 400);
    Ok(())
}

async fn credentials_are_kept_to_themselves(cx: Cx) -> Result {
    let sandbox = cx.sandbox().await?;
    sandbox.needs_program("git").await?;
    let password = "pa55-w0rd-of-the-suite";
    let body = json!({"username": "ada", "password": password, "host": "git.example", "protocol": "https"});
    let kept = post(&sandbox, "credentials", body).await?;
    cx.check("accepted").status(&kept, 200);
    cx.check("not-echoed").on(&kept).that(!kept.text().contains(password), "an answer without it", "the password");
    let ask = "printf 'protocol=https\nhost=git.example\n\n' | GIT_TERMINAL_PROMPT=0 git credential fill";
    cx.check("for-that-host").should().contains(&sandbox.output(ask).await.unwrap_or_default(), "username=ada");
    let repo = repository(&sandbox, "/home/daytona").await?;
    let url = format!("https://ada:{password}@git.example/x.git");
    cx.check("remote").status(&post(&sandbox, "remotes", json!({"path": repo, "name": "o", "url": url})).await?, 201);
    let remotes = sandbox.get("/git/remotes").query("path", &repo).send().await?;
    cx.check("remotes").json(&remotes, "/remotes/0/name", "o");
    cx.check("stripped").on(&remotes).that(!remotes.text().contains(password), "a URL without it", "the password");
    let missing = post(&sandbox, "credentials", json!({"username": "ada"})).await?;
    cx.check("needs-a-password").status(&missing, 400);
    Ok(())
}

async fn no_repository_is_not_found(cx: Cx) -> Result {
    let (sandbox, dir) = ready(&cx).await?;
    for (id, path) in [("status", "/git/status"), ("branches", "/git/branches"), ("history", "/git/history")] {
        let answer = sandbox.get(path).query("path", &dir).send().await?;
        cx.check(id).status(&answer, 404);
        if cx.is_since("0.200") {
            cx.check(format!("{id}-code")).should().json(&answer, "/code", "GIT_REPO_NOT_FOUND");
        }
        let missing = format!("{dir}/no-such-directory");
        cx.check(format!("{id}-missing")).status(&sandbox.get(path).query("path", missing).send().await?, 404);
    }
    for (id, path, body) in [
        ("add", "add", json!({"path": dir, "files": ["."]})),
        ("commit", "commit", commit(&dir, "m")),
        ("pull", "pull", json!({"path": dir})),
        ("push", "push", json!({"path": dir})),
        ("remote", "remotes", json!({"path": dir, "name": "o", "url": "https://git.example/x.git"})),
    ] {
        cx.check(id).status(&post(&sandbox, path, body).await?, 404);
    }
    let delete = sandbox.delete("/git/branches").json(json!({"path": dir, "name": "main"})).send().await?;
    cx.check("delete-branch").status(&delete, 404);
    Ok(())
}

async fn input_is_validated(cx: Cx) -> Result {
    let (sandbox, _) = ready(&cx).await?;
    for (id, path, body) in [
        ("clone-url", "clone", json!({"path": "/tmp/x"})),
        ("clone-path", "clone", json!({"url": "https://git.example/x.git"})),
        ("add-path", "add", json!({"files": ["."]})),
        ("commit-message", "commit", json!({"path": "/tmp", "author": "a", "email": "e"})),
        ("commit-type", "commit", json!({"path": 5, "message": "m", "author": "a", "email": "e"})),
        ("branch-name", "branches", json!({"path": "/tmp"})),
        ("checkout-branch", "checkout", json!({"path": "/tmp"})),
        ("init-path", "init", json!({})),
        ("user-path", "config/user", json!({"path": 5})),
    ] {
        let answer = post(&sandbox, path, body).await?;
        cx.check(id).status(&answer, 400);
        cx.check(format!("{id}-code")).json(&answer, "/code", "INVALID_REQUEST_BODY");
    }
    let no_path = sandbox.get("/git/remotes").send().await?;
    cx.check("remotes-path").status(&no_path, 400);
    cx.check("config-key").status(&sandbox.get("/git/config").send().await?, 400);
    cx.check("status-path").status(&sandbox.get("/git/status").send().await?, 400);
    Ok(())
}

async fn refusals_have_their_status(cx: Cx) -> Result {
    let (sandbox, dir) = ready(&cx).await?;
    let repo = repository(&sandbox, &dir).await?;
    let again = post(&sandbox, "branches", json!({"path": repo, "name": "main"})).await?;
    cx.check("branch-exists").status(&again, 409);
    cx.check("branch-exists-code").json(&again, "/code", "GIT_BRANCH_EXISTS");
    let unknown = post(&sandbox, "checkout", json!({"path": repo, "branch": "no-such-branch"})).await?;
    cx.check("unknown-branch").status(&unknown, 404);
    let over = post(&sandbox, "clone", json!({"url": format!("file://{repo}"), "path": repo})).await?;
    cx.check("clone-over").status(&over, 409);
    let nothing = post(&sandbox, "commit", commit(&repo, "empty")).await?;
    cx.check("nothing-to-commit").status_in(&nothing, &[400, 409, 500]);
    let mut body = commit(&repo, "empty");
    body["allow_empty"] = true.into();
    cx.check("allow-empty").status(&post(&sandbox, "commit", body).await?, 200);
    let gone =
        post(&sandbox, "clone", json!({"url": format!("file://{dir}/nowhere"), "path": format!("{dir}/x")})).await?;
    cx.check("clone-unknown").status_in(&gone, &[404, 500]);
    Ok(())
}
