//! The way from a closed preview through a sign-in page of the server's own back to the preview. The real service sends
//! browsers to an identity provider instead; what comes of both is the same cookie.

use reqwest::Url;

use crate::{client::Answer, prelude::*};

scenarios! { "previews";
    /// A browser that signs in gets a cookie for the preview, for an hour, which its scripts can't read, and is where it
    /// wanted to be. A wrong key gets none. (observed of the cookie: `daytona-sandbox-auth-…`, Max-Age 3600, HttpOnly)
    signing_in_gives_a_cookie: Must, covers ["getPortPreviewUrl"], needs [Previews];
}

/// The cookies that an answer sets, with their attributes.
fn cookies(answer: &Answer) -> Vec<&str> {
    answer.headers.get_all("set-cookie").iter().filter_map(|one| one.to_str().ok()).collect()
}

/// The value of the hidden field with the visit.
fn visit(page: &str) -> Option<&str> {
    page.split_once(r#"name="visit" value=""#)?.1.split('"').next()
}

async fn signing_in_gives_a_cookie(cx: Cx) -> Result {
    let sandbox = cx.shared().await?;
    let link = sandbox.op(reqwest::Method::GET, "/ports/2280/preview-url").send().await?.ok()?.string("/url")?;
    let wanted = format!("{}/version?a=b", link.trim_end_matches('/'));
    let sent = cx.get(&wanted).no_key().send().await?;
    let page = sent.header("location").to_owned();
    let is_own = Url::parse(&page).is_ok_and(|url| url.path() == "/sign-in");
    if sent.status != 307 || !is_own {
        return Err(Stop::not_applicable("a sign-in page of the server's own"));
    }
    let state = cookies(&sent).first().and_then(|cookie| cookie.split(';').next()).unwrap_or_default().to_owned();
    let shown = cx.get(&page).no_key().send().await?.ok()?.text();
    let visit = visit(&shown).ok_or_else(|| Stop::untestable("the sign-in page has no form"))?;
    let submit = async |key: &str| {
        let mut form = Url::parse("http://form").map_err(Stop::harness)?;
        form.query_pairs_mut().append_pair("visit", visit).append_pair("key", key);
        let body = form.query().unwrap_or_default().to_owned();
        let to = page.split('?').next().unwrap_or_default();
        cx.post(to).no_key().body("application/x-www-form-urlencoded", body).send().await
    };
    let wrong = submit("dtn_unknown-key-unknown").await?;
    cx.check("wrong-key").status(&wrong, 401);
    cx.check("wrong-key-no-cookie").on(&wrong).eq(cookies(&wrong).len(), 0);
    let signed = submit(cx.key()).await?;
    cx.check("signed-in").status(&signed, 303);
    let back = cx.get(signed.header("location")).no_key().header("Cookie", &state).send().await?;
    cx.check("back").status(&back, 303);
    cx.check("where-it-wanted").on(&back).eq(back.header("location"), wanted.as_str());
    let own = cookies(&back).into_iter().find(|one| one.starts_with("daytona-sandbox-auth-")).unwrap_or_default();
    is_for_an_hour(&cx, &back, own);
    let opened = cx.get(&wanted).no_key().header("Cookie", own.split(';').next().unwrap_or_default()).send().await?;
    cx.check("opens").status(&opened, 200);
    Ok(())
}

/// Checks: the cookie of a preview.
pub(super) fn is_for_an_hour(cx: &Cx, answer: &Answer, cookie: &str) {
    let attributes: Vec<String> = cookie.split(';').skip(1).map(|one| one.trim().to_ascii_lowercase()).collect();
    let has = |wanted: &str| attributes.iter().any(|one| one == wanted);
    for (id, wanted) in [("cookie-hour", "max-age=3600"), ("cookie-http-only", "httponly")] {
        cx.check(id).on(answer).that(has(wanted), wanted, &attributes);
    }
}
