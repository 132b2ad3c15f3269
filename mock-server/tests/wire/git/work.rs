//! Status, add, commit, history, init, reset, restore.

use serde_json::{Value, json};

use super::{refused, with_repository};
use crate::support::toolbox;

#[tokio::test]
async fn every_state_of_a_file() {
    let tb = with_repository().await;
    assert!(tb.states("r").await.is_empty());
    tb.run(
        "cd r && seq 50 >moved && seq 60 >copied && echo gone >gone && git add . && git commit -qm more &&
         echo x >>a && rm b && mkdir new && echo n >'new/with space' && echo ü >ü && echo s >staged && git add staged &&
         git mv moved renamed && seq 60 >copy && seq 61 >copied && git add copy copied && git rm -q gone &&
         ln -s a link && git add link && echo ignored >.git/info/exclude && echo i >ignored",
    )
    .await;
    let expected = [
        "a Unmodified Modified",
        "b Unmodified Deleted",
        "copied Modified Unmodified",
        "copy Copied Unmodified",
        "gone Deleted Unmodified",
        "link Added Unmodified",
        "new/with space Untracked Untracked",
        "renamed Renamed Unmodified",
        "staged Added Unmodified",
        "ü Untracked Untracked",
    ];
    assert_eq!(tb.states("r").await, expected);
    let status = tb.git_get("status?path=r").await;
    let extra = |name: &str| {
        let files = status["fileStatus"].as_array().expect("files");
        files.iter().find(|file| file["name"] == name).expect("there")["extra"].clone()
    };
    assert_eq!((extra("renamed"), extra("a")), (json!("moved"), json!("")));
    let keys: Vec<_> = status.as_object().expect("an object").keys().collect();
    assert_eq!(keys, ["currentBranch", "fileStatus", "branchPublished", "ahead", "behind", "detached", "upstream"]);
}

#[tokio::test]
async fn conflicts_are_unmerged() {
    let tb = with_repository().await;
    tb.run("cd r && git checkout -qb other && echo 1 >a && git commit -qam one && git checkout -q main && echo 2 >a && git commit -qam two && ! git merge -q other").await;
    assert_eq!(tb.states("r").await, ["a Updated but unmerged Updated but unmerged"]);
    let commit = json!({"path": "r", "message": "m", "author": "A", "email": "a@x"});
    refused(tb.git("commit", commit).await, 409, "GIT_MERGE_CONFLICT").await;
    refused(tb.git("checkout", json!({"path": "r", "branch": "other"})).await, 409, "GIT_DIRTY_WORKTREE").await;
}

#[tokio::test]
async fn add_commit_history() {
    let tb = with_repository().await;
    tb.run("cd r && rm b && echo new >new && mkdir d && echo i >d/i && echo i >ignored && echo 'ignored' >.gitignore && echo '*' >'*'").await;
    assert_eq!(tb.git("add", json!({"path": "r", "files": ["new", "b"]})).await.content_length(), Some(0));
    assert_eq!(
        tb.states("r").await,
        [
            "* Untracked Untracked",
            ".gitignore Untracked Untracked",
            "b Deleted Unmodified",
            "d/i Untracked Untracked",
            "new Added Unmodified"
        ]
    );
    // Names are names: no patterns, no options.
    tb.git_ok("add", json!({"path": "r", "files": ["*"]})).await;
    assert!(tb.states("r").await.contains(&"d/i Untracked Untracked".into()));
    tb.git_ok("add", json!({"path": "r", "files": ["."]})).await;
    assert!(!tb.states("r").await.join("\n").contains("Untracked"));
    tb.git_ok("add", json!({"path": "r", "files": ["ignored"]})).await;
    assert!(tb.states("r").await.contains(&"ignored Added Unmodified".into()));
    tb.git_ok("add", json!({"path": "r", "files": []})).await;
    for missing in ["nope", "-A", "", ":(top)"] {
        let answer = tb.git("add", json!({"path": "r", "files": [missing]})).await;
        assert_eq!(refused(answer, 500, "INTERNAL_SERVER_ERROR").await, "entry not found");
    }

    let message = "Subject <é>\n\n# not a comment\n\n  body\n\n";
    let body = json!({"path": "r", "message": message, "author": "Ann B", "email": "ann@x"});
    let hash = tb.git_ok("commit", body.clone()).await["hash"].as_str().expect("a hash").to_owned();
    assert_eq!(hash, tb.run("git -C r rev-parse HEAD").await.trim());
    let who = tb.run("git -C r log -1 --format='%an %ae %cn %ce'").await;
    assert_eq!(who, "Ann B ann@x Ann B ann@x\n");
    let answer = refused(tb.git("commit", body.clone()).await, 500, "INTERNAL_SERVER_ERROR").await;
    assert_eq!(answer, "cannot create empty commit: clean working tree");
    tb.run("echo untracked >r/u").await;
    refused(tb.git("commit", body.clone()).await, 500, "INTERNAL_SERVER_ERROR").await;
    let mut empty = body;
    empty["allow_empty"] = json!(true);
    empty["message"] = json!("-x");
    tb.git_ok("commit", empty).await;

    let history = tb.git_get("history?path=r").await;
    let messages: Vec<_> = history.as_array().expect("a list").iter().map(|c| c["message"].clone()).collect();
    assert_eq!(messages, ["-x", message, "second\n", "first\n"]);
    assert_eq!(history[1]["hash"], hash.as_str());
    assert_eq!((&history[1]["author"], &history[1]["email"]), (&json!("Ann B"), &json!("ann@x")));
    let time = history[1]["timestamp"].as_str().expect("text");
    assert!(chrono::DateTime::parse_from_rfc3339(time).is_ok(), "{time}");
}

#[tokio::test]
async fn a_long_history_comes_whole() {
    let tb = with_repository().await;
    tb.run("cd r && for i in $(seq 3000); do printf 'commit refs/heads/long\\nauthor A <a@x> %s +0100\\ncommitter A <a@x> %s +0000\\ndata <<E\\nmessage %s %0300d\\nE\\n' $i $i $i 0; done | git fast-import --quiet && git checkout -q long").await;
    let history = tb.git_get("history?path=r").await;
    let list = history.as_array().expect("a list");
    assert_eq!((list.len(), list[2999]["timestamp"].as_str()), (3000, Some("1970-01-01T01:00:01+01:00")));
}

#[tokio::test]
async fn adds_at_the_same_time_wait_for_each_other() {
    let tb = with_repository().await;
    tb.run("cd r && for i in 1 2 3 4 5 6 7 8; do echo $i >n$i; done").await;
    let add = |i: u8| tb.git("add", json!({"path": "r", "files": [format!("n{i}")]}));
    let answers = futures_util::future::join_all((1..=8).map(add)).await;
    assert!(answers.iter().all(|answer| answer.status() == 200));
    assert_eq!(tb.states("r").await.len(), 8);
}

#[tokio::test]
async fn init() {
    let tb = toolbox().await;
    let made = tb.git("init", json!({"path": "new/deep", "initial_branch": "trunk"})).await;
    assert_eq!((made.status().as_u16(), made.content_length()), (201, Some(0)));
    assert_eq!(tb.run("git -C new/deep symbolic-ref HEAD").await, "refs/heads/trunk\n");
    refused(tb.git("init", json!({"path": "new/deep"})).await, 409, "CONFLICT").await;
    tb.git_ok("init", json!({"path": "bare", "bare": true})).await;
    assert_eq!(tb.run("git -C bare rev-parse --is-bare-repository").await, "true\n");
    refused(tb.git("init", json!({"path": "bare"})).await, 409, "CONFLICT").await;
    refused(tb.git("init", json!({"path": "x", "initial_branch": "a b"})).await, 400, "BAD_REQUEST").await;
    refused(tb.git("init", json!({"path": "/proc/x"})).await, 500, "INTERNAL_SERVER_ERROR").await;
    // Without commits.
    let branches = tb.git_get("branches?path=new/deep").await;
    assert_eq!(branches, json!({"branches": [], "current": "trunk"}));
    for operation in ["status", "history"] {
        let message = refused(tb.get(&format!("/git/{operation}?path=new/deep")).await, 404, "NOT_FOUND").await;
        assert_eq!(message, "not found: reference not found");
    }
    tb.run("echo x >new/deep/x").await;
    tb.git_ok("add", json!({"path": "new/deep", "files": ["x"]})).await;
    tb.git_ok("commit", json!({"path": "new/deep", "message": "m", "author": "A", "email": "a@x"})).await;
    assert_eq!(tb.git_get("status?path=new/deep").await["currentBranch"], "trunk");
}

#[tokio::test]
async fn reset() {
    let tb = with_repository().await;
    let change = "cd r && git reset -q --hard main@{0} && echo x >>a && git add a && echo y >>b";
    tb.run(change).await;
    tb.git_ok("reset", json!({"path": "r"})).await;
    assert_eq!(tb.states("r").await, ["a Unmodified Modified", "b Unmodified Modified"]);
    tb.git_ok("add", json!({"path": "r", "files": ["."]})).await;
    tb.git_ok("reset", json!({"path": "r", "files": ["b"]})).await;
    assert_eq!(tb.states("r").await, ["a Modified Unmodified", "b Unmodified Modified"]);
    refused(tb.git("reset", json!({"path": "r", "mode": "keep", "target": "HEAD~1"})).await, 409, "GIT_DIRTY_WORKTREE")
        .await;
    tb.git_ok("reset", json!({"path": "r", "mode": "soft", "target": "HEAD~1"})).await;
    assert_eq!(tb.git_get("history?path=r").await.as_array().expect("a list").len(), 1);
    tb.git_ok("reset", json!({"path": "r", "mode": "hard"})).await;
    assert!(tb.states("r").await.is_empty());
    for (body, status, code) in [
        (json!({"path": "r", "mode": "gentle"}), 400, "BAD_REQUEST"),
        (json!({"path": "r", "mode": "hard", "files": ["a"]}), 400, "BAD_REQUEST"),
        (json!({"path": "r", "target": "--hard"}), 400, "BAD_REQUEST"),
        (json!({"path": "r", "target": "nope"}), 404, "NOT_FOUND"),
    ] {
        refused(tb.git("reset", body).await, status, code).await;
    }
}

#[tokio::test]
async fn restore() {
    let tb = with_repository().await;
    tb.run("cd r && echo x >>a && git add a && echo y >>a && rm b").await;
    tb.git_ok("restore", json!({"path": "r", "files": ["a", "b"]})).await;
    assert_eq!(tb.states("r").await, ["a Modified Unmodified"]);
    tb.git_ok("restore", json!({"path": "r", "files": ["a"], "staged": true})).await;
    assert_eq!(tb.states("r").await, ["a Unmodified Modified"]);
    tb.git_ok("add", json!({"path": "r", "files": ["a"]})).await;
    tb.git_ok("restore", json!({"path": "r", "files": ["."], "staged": true, "worktree": true})).await;
    assert!(tb.states("r").await.is_empty());
    tb.git_ok("restore", json!({"path": "r", "files": ["a"], "source": "HEAD~1"})).await;
    assert_eq!(tb.run("cat r/a").await, "a\n");
    let unknown =
        refused(tb.git("restore", json!({"path": "r", "files": ["a", "x"]})).await, 500, "INTERNAL_SERVER_ERROR").await;
    assert_eq!(unknown, "pathspec \"x\" did not match any file(s) known to git");
    assert_eq!(tb.run("cat r/a").await, "a\n", "a refused request changes nothing");
    for (body, status, code) in [
        (json!({"path": "r", "files": []}), 400, "BAD_REQUEST"),
        (json!({"path": "r", "files": ["a"], "source": "nope"}), 404, "NOT_FOUND"),
        (json!({"path": "r", "files": ["a"], "source": "-x"}), 400, "BAD_REQUEST"),
        (json!({"path": "r", "files": ["../../x"]}), 500, "INTERNAL_SERVER_ERROR"),
    ] {
        let _: Value = json!(refused(tb.git("restore", body).await, status, code).await);
    }
}
