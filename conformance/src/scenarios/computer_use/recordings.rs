use super::{LONG, get, post, start};
use crate::{client::Answer, prelude::*};

scenarios! { "computer_use";
    /// A recording is started (201), listed while it goes on, stopped, downloaded as an mp4 film, and deleted.
    /// (StartRecording, StopRecording, ListRecordings, GetRecording, DownloadRecording, DeleteRecording)
    recordings_are_made: Must,
        covers [
            "StartRecording", "StopRecording", "ListRecordings", "GetRecording", "DownloadRecording", "DeleteRecording",
        ],
        since "0.200";

    /// A recording that goes on can't be deleted: 409 `RECORDING_STILL_ACTIVE`. (DeleteRecording)
    active_recordings_stay: Must, covers ["DeleteRecording"], since "0.200";

    /// Recordings that there aren't are 404; a stop without an id and a label with a slash are 400. (GetRecording,
    /// StopRecording, StartRecording; observed)
    recording_requests_are_checked: Must,
        covers ["GetRecording", "DownloadRecording", "DeleteRecording", "StopRecording", "StartRecording"],
        since "0.200";

    /// Where the recordings' directory is something else, the list is 500 rather than empty. (ListRecordings)
    unreadable_recordings_are_told: Should, covers ["ListRecordings"], since "0.200";
}

async fn record(sandbox: &Sandbox, label: &str) -> Result<Answer> {
    start(sandbox).await?;
    let begun = post(sandbox, "recordings/start", json!({"label": label})).await?;
    if begun.status == 503 {
        return Err(Stop::not_applicable(format!("recordings: {}", begun["message"])));
    }
    begun.ok()
}

async fn recordings_are_made(cx: Cx) -> Result {
    let sandbox = cx.sandbox().await?;
    let begun = record(&sandbox, "conformance").await?;
    cx.check("created").status(&begun, 201);
    cx.check("goes-on").json(&begun, "/status", "recording");
    let id = begun.string("/id")?;
    cx.check("named").contains(&begun.string("/fileName")?, "conformance");
    let listed = get(&sandbox, "recordings").await?;
    cx.check("listed").on(&listed).contains(&listed.json.to_string(), &id);
    let ended = post(&sandbox, "recordings/stop", json!({"id": id})).await?;
    cx.check("stopped").status(&ended, 200);
    cx.check("completed").json(&ended, "/status", "completed");
    let one = get(&sandbox, &format!("recordings/{id}")).await?;
    cx.check("one").json(&one, "/fileName", begun["fileName"].clone());
    let film = sandbox.get(&format!("/computeruse/recordings/{id}/download")).timeout(LONG).send().await?;
    cx.check("downloaded").status(&film, 200);
    cx.check("mp4").on(&film).that(film.body.get(4..8) == Some(&b"ftyp"[..]), "an mp4 file", film.body.len());
    let deleted = sandbox.delete(&format!("/computeruse/recordings/{id}")).send().await?;
    cx.check("deleted").status(&deleted, 204);
    cx.check("gone").status(&get(&sandbox, &format!("recordings/{id}")).await?, 404);
    Ok(())
}

async fn active_recordings_stay(cx: Cx) -> Result {
    let sandbox = cx.sandbox().await?;
    let id = record(&sandbox, "active").await?.string("/id")?;
    let refused = sandbox.delete(&format!("/computeruse/recordings/{id}")).send().await?;
    cx.check("status").status(&refused, 409);
    cx.check("code").json(&refused, "/code", "RECORDING_STILL_ACTIVE");
    cx.check("stopped").status(&post(&sandbox, "recordings/stop", json!({"id": id})).await?, 200);
    Ok(())
}

async fn recording_requests_are_checked(cx: Cx) -> Result {
    let sandbox = cx.shared().await?;
    let never = "00000000-0000-4000-8000-000000000000";
    cx.check("get").status(&get(&sandbox, &format!("recordings/{never}")).await?, 404);
    cx.check("download").status(&get(&sandbox, &format!("recordings/{never}/download")).await?, 404);
    let deleted = sandbox.delete(&format!("/computeruse/recordings/{never}")).send().await?;
    cx.check("delete").status(&deleted, 404);
    cx.check("stop").status(&post(&sandbox, "recordings/stop", json!({"id": never})).await?, 404);
    cx.check("no-id").status(&post(&sandbox, "recordings/stop", json!({})).await?, 400);
    // 503 comes first where there is no ffmpeg.
    let label = post(&sandbox, "recordings/start", json!({"label": "a/b"})).await?;
    cx.check("label").status_in(&label, &[400, 503]);
    Ok(())
}

async fn unreadable_recordings_are_told(cx: Cx) -> Result {
    let sandbox = cx.sandbox().await?;
    let before = get(&sandbox, "recordings").await?;
    cx.check("none").json(&before, "/recordings", json!([]));
    sandbox.exec("mkdir -p ~/.daytona && rm -rf ~/.daytona/recordings && touch ~/.daytona/recordings").await?.ok()?;
    let refused = get(&sandbox, "recordings").await?;
    if refused.status == 200 {
        return Err(Stop::not_applicable("a directory of recordings in `~/.daytona`"));
    }
    cx.check("refused").status(&refused, 500);
    sandbox.exec("rm ~/.daytona/recordings").await?.ok()?;
    cx.check("again").status(&get(&sandbox, "recordings").await?, 200);
    Ok(())
}
