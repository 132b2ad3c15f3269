//! The sign-in page that previews send browsers to: the whole way, and the ways around it that must not be.

use reqwest::{Client, Method, RequestBuilder, Response, redirect::Policy};

use crate::support::{Sandbox, new_key, sandbox, server};

/// A browser as far as redirects, cookies and forms go: it says where it is, and follows nothing by itself.
struct Browser(Client);

impl Browser {
    fn new() -> Browser {
        Browser(Client::builder().redirect(Policy::none()).build().expect("client"))
    }

    /// A request to a URL whose host is any of the server's: `*.localhost` needs no resolver here.
    fn request(&self, method: Method, url: &str) -> RequestBuilder {
        let (host, path) =
            url.strip_prefix("http://").and_then(|rest| rest.split_at_checked(rest.find('/')?)).expect(url);
        self.0.request(method, format!("{}{path}", server().base_url)).header("host", host)
    }

    async fn get(&self, url: &str, cookies: &str) -> Response {
        self.request(Method::GET, url).header("cookie", cookies).send().await.expect("answer")
    }

    async fn submit(&self, visit: &str, key: &str, headers: &[(&str, &str)]) -> Response {
        let body = form_urlencoded::Serializer::new(String::new())
            .append_pair("visit", visit)
            .append_pair("key", key)
            .finish();
        let mut request = self.request(Method::POST, &format!("{}/sign-in", main_origin())).body(body);
        request = request.header("content-type", "application/x-www-form-urlencoded");
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        request.send().await.expect("answer")
    }

    /// From a preview to the page: the visit that the page carries, and the cookie that the preview host set.
    async fn begin(&self, url: &str) -> (String, String) {
        let answer = self.get(url, "a=b").await;
        assert_eq!(answer.status(), 307);
        let state = cookie(&answer);
        assert!(header(&answer, "set-cookie").contains("; HttpOnly; SameSite=Lax"));
        let page = header(&answer, "location").to_owned();
        assert!(page.starts_with(&format!("{}/sign-in?visit=", main_origin())), "{page}");
        let page = self.get(&page, "").await;
        assert_eq!(page.status(), 200);
        (field(&page.text().await.expect("text")), state)
    }
}

fn main_origin() -> String {
    format!("http://localhost:{}", port())
}

fn port() -> &'static str {
    server().base_url.rsplit(':').next().expect("port")
}

fn preview(sandbox: &Sandbox, port_inside: u16, path: &str) -> String {
    format!("http://{port_inside}-{}.localhost:{}{path}", sandbox.id, port())
}

fn header<'a>(response: &'a Response, name: &str) -> &'a str {
    response.headers().get(name).map_or("", |value| value.to_str().expect("text"))
}

/// `name=value` of the cookie that was set.
fn cookie(response: &Response) -> String {
    header(response, "set-cookie").split(';').next().unwrap_or_default().to_owned()
}

/// The value of the page's hidden field.
fn field(page: &str) -> String {
    let rest = page.split_once(r#"name="visit" value=""#).unwrap_or_else(|| panic!("{page}")).1;
    rest.split('"').next().expect("a value").to_owned()
}

#[tokio::test]
async fn a_key_opens_the_preview_and_leads_back() {
    let (sandbox, browser) = (sandbox().await, Browser::new());
    let url = preview(&sandbox, 2280, "/version?a=%20b&c");
    for key in [sandbox.key.clone(), format!(" {}\n", sandbox.preview_token().await)] {
        let (visit, state) = browser.begin(&url).await;
        let own = main_origin();
        let answer = browser.submit(&visit, &key, &[("origin", &own), ("sec-fetch-site", "same-origin")]).await;
        assert_eq!(answer.status(), 303);
        let back = header(&answer, "location").to_owned();
        assert!(back.starts_with(&preview(&sandbox, 2280, "/__daytona/signed-in?ticket=")), "{back}");
        let answer = browser.get(&back, &format!("x=y; {state}")).await;
        assert_eq!((answer.status().as_u16(), header(&answer, "location")), (303, url.as_str()));
        let set = header(&answer, "set-cookie");
        assert!(set.starts_with(&format!("daytona-sandbox-auth-{}=", sandbox.id)), "{set}");
        assert!(set.ends_with("; Path=/; Max-Age=3600; HttpOnly; SameSite=Lax"), "{set}");
        let auth = cookie(&answer);
        assert_eq!(browser.get(&url, &auth).await.status(), 200);
        // The cookie is a page's own, not another page's that makes the browser send it.
        let foreign =
            browser.request(Method::GET, &url).header("cookie", &auth).header("origin", "http://evil.example");
        assert_eq!(foreign.send().await.expect("answer").status(), 307);
        let image = browser.request(Method::GET, &url).header("cookie", &auth).header("sec-fetch-site", "cross-site");
        assert_eq!(image.send().await.expect("answer").status(), 307);
    }
}

#[tokio::test]
async fn a_wrong_key_shows_an_error_and_can_be_mended() {
    let (sandbox, browser) = (sandbox().await, Browser::new());
    let (visit, _) = browser.begin(&preview(&sandbox, 3000, "/")).await;
    for key in ["wrong", "", &new_key().await] {
        let answer = browser.submit(&visit, key, &[]).await;
        assert_eq!(answer.status(), 401);
        assert_eq!(header(&answer, "set-cookie"), "");
        let page = answer.text().await.expect("text");
        assert!(page.contains("That key doesn&#39;t open this sandbox."), "{page}");
        assert_eq!(browser.submit(&field(&page), &sandbox.key, &[]).await.status(), 303);
    }
    // An unknown sandbox looks the same.
    let nowhere = format!("http://3000-nobody.localhost:{}/", port());
    let (visit, _) = browser.begin(&nowhere).await;
    assert_eq!(browser.submit(&visit, &sandbox.key, &[]).await.status(), 401);
}

#[tokio::test]
async fn forms_of_other_pages_are_refused() {
    let (sandbox, browser) = (sandbox().await, Browser::new());
    let (visit, _) = browser.begin(&preview(&sandbox, 3000, "/")).await;
    let headers = [
        [("origin", "http://evil.example")],
        [("origin", "null")],
        [("origin", "http://localhost:1")],
        [("sec-fetch-site", "cross-site")],
        [("sec-fetch-site", "same-site")],
    ];
    for headers in headers {
        assert_eq!(browser.submit(&visit, &sandbox.key, &headers).await.status(), 403, "{headers:?}");
    }
}

#[tokio::test]
async fn a_ticket_is_good_only_where_the_sign_in_began() {
    let (mine, other, browser) = (sandbox().await, sandbox().await, Browser::new());
    let (visit, state) = browser.begin(&preview(&mine, 3000, "/x")).await;
    let answer = browser.submit(&visit, &mine.key, &[]).await;
    let back = header(&answer, "location").to_owned();
    for cookies in ["", &state.replace('=', "=0")] {
        let answer = browser.get(&back, cookies).await;
        assert_eq!((answer.status().as_u16(), cookie(&answer).as_str()), (303, ""), "another browser");
    }
    let elsewhere = browser.get(&back.replace(&mine.id, &other.id), &state).await;
    assert_eq!((elsewhere.status().as_u16(), cookie(&elsewhere).as_str()), (303, ""), "another sandbox");
    assert_eq!(header(&elsewhere, "location"), preview(&other, 3000, "/"));
    let forged = browser.get(&preview(&mine, 3000, "/__daytona/signed-in?ticket=e30.AAAA"), &state).await;
    assert_eq!((forged.status().as_u16(), cookie(&forged).as_str()), (303, ""));
    // A visit is no ticket.
    let visit = browser.get(&preview(&mine, 3000, &format!("/__daytona/signed-in?ticket={visit}")), &state).await;
    assert_eq!((visit.status().as_u16(), cookie(&visit).as_str()), (303, ""));
}

#[tokio::test]
async fn the_page_leads_nowhere_else() {
    let browser = Browser::new();
    for visit in ["", "http://evil.example", "e30.AAAA", "eyJiYXNlIjoiaHR0cDovL2V2aWwifQ.AAAA"] {
        let page = browser.get(&format!("{}/sign-in?visit={visit}", main_origin()), "").await;
        assert_eq!(page.status(), 400, "{visit}");
        assert_eq!(browser.submit(visit, "k", &[]).await.status(), 400, "{visit}");
    }
    // The path can't turn the way back into another host: it follows the preview's whole origin.
    let sandbox = sandbox().await;
    let url = preview(&sandbox, 3000, "//evil.example/x");
    let (visit, state) = browser.begin(&url).await;
    let back = browser.submit(&visit, &sandbox.key, &[]).await;
    let answer = browser.get(header(&back, "location"), &state).await;
    assert_eq!(header(&answer, "location"), url);
}

#[tokio::test]
async fn the_page_is_self_contained_and_can_not_be_framed() {
    let (sandbox, browser) = (sandbox().await, Browser::new());
    let answer = browser.get(&preview(&sandbox, 3000, "/"), "").await;
    assert_eq!(header(&answer, "cache-control"), "no-store");
    let page = browser.get(header(&answer, "location"), "").await;
    assert_eq!(header(&page, "x-frame-options"), "DENY");
    let policy = header(&page, "content-security-policy");
    assert!(policy.contains("default-src 'none'") && policy.contains("frame-ancestors 'none'"), "{policy}");
    let text = page.text().await.expect("text");
    assert!(text.len() < 8 * 1024 && !text.contains("<script") && !text.contains("src="), "{text}");
    assert!(text.contains(&sandbox.id) && text.contains("3000"));
}

#[tokio::test]
async fn every_client_and_method_is_redirected() {
    let (sandbox, browser) = (sandbox().await, Browser::new());
    let url = preview(&sandbox, 3000, "/a");
    for method in [Method::GET, Method::HEAD, Method::POST, Method::PUT, Method::DELETE] {
        for (name, value) in
            [("authorization", "Bearer wrong"), ("x-daytona-preview-token", "wrong"), ("upgrade", "websocket")]
        {
            let answer = browser.request(method.clone(), &url).header(name, value).send().await.expect("answer");
            assert_eq!(answer.status(), 307, "{method} {name}");
        }
    }
    // What follows the redirect of a POST with a form of its own sees the page.
    let posted = browser.request(Method::POST, &url).send().await.expect("answer");
    let form = browser.request(Method::POST, header(&posted, "location")).body("key=1&visit=2");
    let form = form.header("content-type", "application/x-www-form-urlencoded").send().await.expect("answer");
    assert_eq!(form.status(), 200);
    // An endless path is not carried around.
    let long = preview(&sandbox, 3000, &format!("/{}", "x".repeat(20_000)));
    assert!(header(&browser.get(&long, "").await, "location").len() < 2000);
    // A token that was tried and failed isn't tried again after the sign-in.
    let (visit, state) = browser.begin(&format!("{url}?b=c&DAYTONA_SANDBOX_AUTH_KEY=wrong")).await;
    let back = browser.submit(&visit, &sandbox.key, &[]).await;
    let back = browser.get(header(&back, "location"), &state).await;
    assert_eq!(header(&back, "location"), format!("{url}?b=c"));
}
