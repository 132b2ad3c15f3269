//! Webhooks of an organisation, as far as the API has them: endpoints are managed in a portal.

use crate::prelude::*;

scenarios! { "webhooks";
    /// The portal's access is a token and a URL; after it the organisation is initialised, which can be asked for again.
    /// (WebhookController_getAppPortalAccess, WebhookController_initializeWebhooks,
    /// WebhookController_getInitializationStatus, WebhookController_refreshEndpoints)
    portal_is_opened: Must,
        covers ["WebhookController_getAppPortalAccess", "WebhookController_initializeWebhooks",
            "WebhookController_getInitializationStatus", "WebhookController_refreshEndpoints"];

    /// Another organisation's are 403 `Invalid authentication context`. (observed)
    others_are_closed: Must,
        covers ["WebhookController_getAppPortalAccess", "WebhookController_initializeWebhooks",
            "WebhookController_getInitializationStatus", "WebhookController_refreshEndpoints"];
}

async fn portal_is_opened(cx: Cx) -> Result {
    let id = cx.shared().await?.read().await?.ok()?.string("/organizationId")?;
    let path = format!("/webhooks/organizations/{id}");
    let access = cx.post(&format!("{path}/app-portal-access")).send().await?;
    if access.status == 503 {
        return Err(Stop::not_applicable("webhooks are not configured"));
    }
    cx.check("access").status(&access, 201);
    let url = access.string("/url")?;
    cx.check("url").on(&access).that(url.starts_with("http"), "a URL", url.len());
    cx.check("token").on(&access).that(access.at("/token").is_string(), "a token", access.status);
    let made = cx.post(&format!("{path}/initialize")).send().await?;
    cx.check("initialized").status_in(&made, &[200, 201]);
    let status = cx.get(&format!("{path}/initialization-status")).send().await?;
    cx.check("status").json(&status, "/organizationId", id);
    cx.check("no-error").json(&status, "/lastError", Value::Null);
    cx.check("refreshed").status(&cx.post(&format!("{path}/refresh-endpoints")).send().await?, 204);
    Ok(())
}

async fn others_are_closed(cx: Cx) -> Result {
    let path = "/webhooks/organizations/00000000-0000-4000-8000-000000000000";
    let context = "Invalid authentication context";
    for what in ["app-portal-access", "initialize", "refresh-endpoints"] {
        let answer = cx.post(&format!("{path}/{what}")).send().await?;
        cx.check(what).error(&answer, 403, context);
    }
    let answer = cx.get(&format!("{path}/initialization-status")).send().await?;
    cx.check("status").error(&answer, 403, context);
    Ok(())
}
