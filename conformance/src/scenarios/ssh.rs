//! SSH access: tokens that open a sandbox to SSH clients. What a client then sees is no part of the API.

use crate::{client::Answer, prelude::*};

scenarios! { "ssh";
    /// Access is a token of 32 letters and digits, for an hour unless told otherwise, with the command that uses it. It is
    /// valid until it is revoked. (createSshAccess, validateSshAccess, revokeSshAccess; observed)
    access_is_made_and_revoked: Must,
        covers ["createSshAccess", "validateSshAccess", "revokeSshAccess"];

    /// A new token replaces the one before. (createSshAccess; observed)
    a_new_token_replaces_the_old_one: Must, covers ["createSshAccess", "validateSshAccess"];

    /// Revoking is answered with the sandbox, for unknown tokens and again too, and ends no other token. (revokeSshAccess;
    /// observed)
    revoking_can_be_repeated: Must, covers ["revokeSshAccess", "validateSshAccess"];

    /// A token that nobody made is not valid. (validateSshAccess)
    unknown_tokens_are_not_valid: Must, covers ["validateSshAccess"];

    /// An expiry that is no number is 400. (createSshAccess; the original answers 500)
    an_expiry_is_a_number: Must, covers ["createSshAccess"];

    /// An unknown sandbox is 404, for making and revoking. (createSshAccess, revokeSshAccess; observed)
    unknown_sandbox_is_not_found: Must, covers ["createSshAccess", "revokeSshAccess"];

    /// Another organisation can neither make nor revoke access. (createSshAccess, revokeSshAccess)
    others_get_no_access: Must, covers ["createSshAccess", "revokeSshAccess"], needs [SecondAccount];

    /// A stopped sandbox is given access too. (createSshAccess; observed)
    stopped_sandboxes_are_given_access: Must, covers ["createSshAccess"];

    /// Access ends when its time is over. (validateSshAccess)
    access_expires: Must, covers ["createSshAccess", "validateSshAccess"], needs [Clock], classes [Alone];
}

const VALIDATE: &str = "/sandbox/ssh-access/validate";

fn path(sandbox: &Sandbox) -> String {
    format!("/sandbox/{}/ssh-access", sandbox.id)
}

async fn validate(cx: &Cx, token: &str) -> Result<Answer> {
    let answer = cx.get(&format!("{VALIDATE}?token={token}")).send().await?;
    if answer.status == 403 {
        return Err(Stop::not_applicable("keys of users may not validate SSH tokens here"));
    }
    Ok(answer)
}

fn is_invalid(cx: &Cx, id: &str, answer: &Answer) {
    cx.check(format!("{id}-status")).status(answer, 200);
    cx.check(id.to_owned()).json(answer, "/valid", false);
}

fn minutes(answer: &Answer) -> Result<i64> {
    let time = |field| answer.string(field).map(|text| chrono::DateTime::parse_from_rfc3339(&text).unwrap_or_default());
    Ok((time("/expiresAt")? - time("/createdAt")?).num_minutes())
}

async fn access_is_made_and_revoked(cx: Cx) -> Result {
    let sandbox = cx.sandbox().await?;
    let made = cx.post(&path(&sandbox)).send().await?;
    cx.check("made").status(&made, 200);
    let token = made.string("/token")?;
    let well_formed = token.len() == 32 && token.bytes().all(|byte| byte.is_ascii_alphanumeric());
    cx.check("token").on(&made).that(well_formed, "32 letters and digits", &token);
    cx.check("sandbox").json(&made, "/sandboxId", sandbox.id.as_str());
    cx.check("an-hour").on(&made).eq(minutes(&made)?, 60);
    let command = made.string("/sshCommand")?;
    cx.check("command").on(&made).that(
        command.starts_with("ssh ") && command.contains(&format!("{token}@")),
        "ssh … <token>@<host>",
        &command,
    );
    let config = cx.get("/config").send().await?.ok()?;
    if let Some(template) = config["sshGatewayCommand"].as_str() {
        cx.check("as-configured").on(&made).eq(&command, &template.replace("{{TOKEN}}", &token));
    }
    cx.check_recent("created-at", &made, "/createdAt").await;
    let valid = validate(&cx, &token).await?;
    cx.check("valid").json(&valid, "/valid", true);
    cx.check("valid-for").json(&valid, "/sandboxId", sandbox.id.as_str());
    let revoked = cx.delete(&path(&sandbox)).send().await?;
    cx.check("revoked").status(&revoked, 200);
    cx.check("revoked-answers-sandbox").json(&revoked, "/id", sandbox.id.as_str());
    is_invalid(&cx, "revoked-is-invalid", &validate(&cx, &token).await?);
    Ok(())
}

async fn a_new_token_replaces_the_old_one(cx: Cx) -> Result {
    let sandbox = cx.sandbox().await?;
    let first = cx.post(&path(&sandbox)).send().await?.ok()?.string("/token")?;
    let second = cx.post(&format!("{}?expiresInMinutes=5", path(&sandbox))).send().await?;
    cx.check("second").status(&second, 200);
    cx.check("as-long-as-told").on(&second).eq(minutes(&second)?, 5);
    is_invalid(&cx, "first-is-over", &validate(&cx, &first).await?);
    cx.check("second-is-valid").json(&validate(&cx, &second.string("/token")?).await?, "/valid", true);
    Ok(())
}

async fn revoking_can_be_repeated(cx: Cx) -> Result {
    let sandbox = cx.sandbox().await?;
    let token = cx.post(&path(&sandbox)).send().await?.ok()?.string("/token")?;
    let unknown = cx.delete(&format!("{}?token=nope", path(&sandbox))).send().await?;
    cx.check("unknown").status(&unknown, 200);
    cx.check("still-valid").json(&validate(&cx, &token).await?, "/valid", true);
    for id in ["this", "again"] {
        let revoked = cx.delete(&format!("{}?token={token}", path(&sandbox))).send().await?;
        cx.check(id).status(&revoked, 200);
    }
    is_invalid(&cx, "over", &validate(&cx, &token).await?);
    Ok(())
}

async fn unknown_tokens_are_not_valid(cx: Cx) -> Result {
    is_invalid(&cx, "unknown", &validate(&cx, "nope").await?);
    Ok(())
}

async fn an_expiry_is_a_number(cx: Cx) -> Result {
    let sandbox = cx.shared().await?;
    let answer = cx.post(&format!("{}?expiresInMinutes=x", path(&sandbox))).send().await?;
    cx.check("status").status(&answer, 400);
    Ok(())
}

async fn unknown_sandbox_is_not_found(cx: Cx) -> Result {
    let path = "/sandbox/no-such-sandbox/ssh-access";
    let message = "Sandbox with ID or name no-such-sandbox not found";
    cx.check("make").error(&cx.post(path).send().await?, 404, message);
    cx.check("revoke").error(&cx.delete(path).send().await?, 404, message);
    Ok(())
}

async fn others_get_no_access(cx: Cx) -> Result {
    let sandbox = cx.sandbox().await?;
    let token = cx.post(&path(&sandbox)).send().await?.ok()?.string("/token")?;
    let other = cx.second_account().await?;
    cx.check("make").status_in(&other.post(&path(&sandbox)).send().await?, &[403, 404]);
    cx.check("revoke").status_in(&other.delete(&path(&sandbox)).send().await?, &[403, 404]);
    cx.check("still-valid").json(&validate(&cx, &token).await?, "/valid", true);
    Ok(())
}

async fn stopped_sandboxes_are_given_access(cx: Cx) -> Result {
    let sandbox = cx.sandbox().await?;
    sandbox.stop().await?;
    cx.check("status").status(&cx.post(&path(&sandbox)).send().await?, 200);
    Ok(())
}

async fn access_expires(cx: Cx) -> Result {
    let sandbox = cx.sandbox_with(json!({"autoStopInterval": 0})).await?;
    let token = cx.post(&format!("{}?expiresInMinutes=10", path(&sandbox))).send().await?.ok()?.string("/token")?;
    cx.check("valid").json(&validate(&cx, &token).await?, "/valid", true);
    cx.clock(json!({"advance": 601})).await?;
    is_invalid(&cx, "over", &validate(&cx, &token).await?);
    Ok(())
}
