//! What holds for every toolbox route: no 405, no HEAD, redirects where only a trailing slash is wrong.

use reqwest::{Method, StatusCode, redirect::Policy};

use crate::support::{Toolbox, local_toolbox};

async fn ask(tb: &Toolbox, method: Method, path: &str) -> reqwest::Response {
    let client = reqwest::Client::builder().redirect(Policy::none()).build().expect("client");
    client.request(method, format!("{}{path}", tb.url)).send().await.expect("answer")
}

#[tokio::test]
async fn a_wrong_method_is_the_plain_404() {
    let tb = local_toolbox().await;
    for method in [Method::POST, Method::DELETE, Method::HEAD, Method::OPTIONS, Method::PUT, Method::PATCH] {
        let res = ask(&tb, method.clone(), "/version").await;
        assert_eq!(res.status(), StatusCode::NOT_FOUND, "{method}");
        assert_eq!(res.headers()["content-type"], "text/plain");
        assert!(res.headers().contains_key("x-request-id"));
        assert!(!res.headers().contains_key("allow"));
        let expected = if method == Method::HEAD { "" } else { "404 page not found" };
        assert_eq!(res.text().await.expect("text"), expected);
    }
}

#[tokio::test]
async fn a_trailing_slash_is_redirected() {
    let tb = local_toolbox().await;
    let res = ask(&tb, Method::GET, "/version/?a=%2F").await;
    assert_eq!(res.status(), StatusCode::MOVED_PERMANENTLY);
    assert_eq!(res.headers()["location"], "/version?a=%2F");
    for path in ["//version", "/nope/", "/"] {
        assert_eq!(ask(&tb, Method::GET, path).await.status(), StatusCode::NOT_FOUND, "{path}");
    }
    assert_eq!(ask(&tb, Method::POST, "/version/").await.status(), StatusCode::NOT_FOUND);
}

#[tokio::test]
async fn a_slash_in_a_name_divides_whatever_its_spelling() {
    let tb = local_toolbox().await;
    let made = tb.post("/process/session", serde_json::json!({"sessionId": "a/b"})).await;
    assert_eq!(made.status(), 201);
    for path in ["/process/session/a%2Fb", "/process/session/a%2fb"] {
        let res = ask(&tb, Method::GET, path).await;
        assert_eq!(
            (res.status().as_u16(), res.text().await.expect("text")),
            (404, "404 page not found".into()),
            "{path}"
        );
    }
    assert_eq!(ask(&tb, Method::GET, "/files%2Finfo?path=/tmp").await.status(), StatusCode::OK);
}

#[tokio::test]
async fn names_that_are_no_text_are_unknown_ones() {
    let tb = local_toolbox().await;
    for (method, path, status) in [
        (Method::GET, "/process/session/%FF", 404),
        (Method::GET, "/process/session/%FF/command/%FE%20x", 404),
        (Method::DELETE, "/process/pty/a%FF", 404),
        (Method::DELETE, "/process/interpreter/context/%FF", 404),
        (Method::GET, "/port/%FF/in-use", 400),
        (Method::GET, "/computeruse/recordings/%FF", 404),
    ] {
        let res = ask(&tb, method, path).await;
        assert_eq!(res.status().as_u16(), status, "{path}");
        let body: serde_json::Value = res.json().await.expect("an envelope");
        assert_eq!(body["statusCode"], status, "{path}");
    }
}
