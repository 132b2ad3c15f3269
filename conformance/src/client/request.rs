//! A request in the making, and its sending.

use std::time::{Duration, Instant};

use bytes::Bytes;
use chrono::{TimeDelta, Utc};
use futures_util::Stream;
use reqwest::Method;
use serde_json::Value;

use super::{Answer, Client, Form, exchange, exchange::Exchange, open::Open};
use crate::{
    check::{Check, Pending},
    context::time,
    contract::{self, Operation, Plane},
    stop::{Result, Stop},
};

/// Operations that a budget of sandboxes counts.
pub(crate) const MAKES_SANDBOX: &[&str] = &["createSandbox", "forkSandbox"];

/// Made by [`Client::get`] and its siblings; [`Request::send`] ends the chain.
#[must_use = "a request does nothing until it is sent"]
pub struct Request {
    client: Client,
    method: Method,
    url: String,
    query: Vec<(String, String)>,
    headers: Vec<(String, String)>,
    body: Body,
    timeout: Duration,
    judged: bool,
    patient: bool,
    operation: Option<&'static Operation>,
    /// The URL that was sent, with its query.
    sent: String,
}

enum Body {
    None,
    Bytes(Bytes),
    Stream(reqwest::Body),
}

impl Request {
    pub(super) fn new(client: Client, method: Method, path: &str) -> Self {
        let absolute = path.contains("://");
        let url = if absolute { path.to_owned() } else { format!("{}{path}", client.0.base) };
        let plane = client.0.plane.filter(|_| !absolute);
        let operation = plane.and_then(|plane| contract::resolve(plane, method.as_str(), path));
        let mut headers = client.0.headers.clone();
        if let Some(key) = &client.0.key {
            headers.push(("Authorization".to_owned(), format!("Bearer {key}")));
        }
        let (timeout, judged) = (client.0.timeout, client.0.judged);
        let body = Body::None;
        let (query, sent) = (Vec::new(), String::new());
        Self { client, method, url, query, headers, body, timeout, judged, patient: true, operation, sent }
    }

    /// Adds a query parameter.
    pub fn query(mut self, name: &str, value: impl ToString) -> Self {
        self.query.push((name.to_owned(), value.to_string()));
        self
    }

    /// Sets a header; an earlier value is gone.
    pub fn header(mut self, name: &str, value: impl ToString) -> Self {
        self.headers.retain(|(known, _)| !known.eq_ignore_ascii_case(name));
        self.headers.push((name.to_owned(), value.to_string()));
        self
    }

    /// Without credentials.
    pub fn no_key(mut self) -> Self {
        self.headers.retain(|(known, _)| !known.eq_ignore_ascii_case("authorization"));
        self
    }

    /// With another key.
    pub fn key(self, key: &str) -> Self {
        self.header("Authorization", format!("Bearer {key}"))
    }

    /// With a JSON body.
    pub fn json(self, body: impl Into<Value>) -> Self {
        self.body("application/json", body.into().to_string())
    }

    /// With any body; an empty content type sends no such header.
    pub fn body(mut self, content_type: &str, body: impl Into<Bytes>) -> Self {
        self.body = Body::Bytes(body.into());
        if content_type.is_empty() { self } else { self.header("Content-Type", content_type) }
    }

    /// With a multipart body.
    pub fn form(self, form: Form) -> Self {
        self.body(&Form::content_type(), form.finish())
    }

    /// With a body that is sent piece by piece. It can't be sent twice, so a 429 is not waited out.
    pub fn stream(mut self, pieces: impl Stream<Item = std::io::Result<Bytes>> + Send + 'static) -> Self {
        self.body = Body::Stream(reqwest::Body::wrap_stream(pieces));
        self
    }

    /// How long the whole answer may take.
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = timeout;
        self
    }

    /// The answer's shape is not checked: for requests that are wrong on purpose in a way that the contract is silent on.
    pub fn unjudged(mut self) -> Self {
        self.judged = false;
        self
    }

    /// A 429 is returned, not waited out: for scenarios about rate limits.
    pub fn impatient(mut self) -> Self {
        self.patient = false;
        self
    }

    /// Sends it and reads the whole answer. A server that doesn't answer leaves the scenario untestable.
    pub async fn send(mut self) -> Result<Answer> {
        let makes_sandbox = self.operation.is_some_and(|operation| MAKES_SANDBOX.contains(&operation.id));
        if makes_sandbox {
            self.client.0.budget.take_sandbox()?;
        }
        let mut built = self.build()?;
        let mut waited = Duration::ZERO;
        let answer = loop {
            let again = built.try_clone();
            let answer = self.send_once(built).await?;
            let (429, Some(next), true) = (answer.status, again, self.patient) else { break answer };
            self.client.0.waits.wait_out(&answer.headers, &mut waited).await?;
            built = next;
        };
        // Without an answer there may be one.
        if makes_sandbox && !answer.is_ok() {
            self.client.0.budget.not_made();
        }
        Ok(answer)
    }

    /// Sends it and returns as soon as the head of the answer is there: for slow readers and endless answers.
    pub async fn open(mut self) -> Result<Open> {
        let mut built = self.build()?;
        let mut waited = Duration::ZERO;
        loop {
            let again = built.try_clone();
            let answer = self.open_once(built).await?;
            let (429, Some(next), true) = (answer.status, again, self.patient) else { return Ok(answer) };
            self.client.0.waits.wait_out(&answer.headers, &mut waited).await?;
            built = next;
        }
    }

    async fn open_once(&self, built: reqwest::Request) -> Result<Open> {
        let mut exchange = self.exchange(&built);
        self.client.0.gate.pass(&self.client.0.waits).await;
        let sent = tokio::time::timeout(self.timeout, self.client.0.http.execute(built)).await;
        let answer = match sent {
            Ok(Ok(answer)) => answer,
            Ok(Err(error)) => return Err(self.unanswered(exchange, chain(&error))),
            Err(_) => return Err(self.unanswered(exchange, format!("no answer within {:?}", self.timeout))),
        };
        exchange.status = Some(answer.status().as_u16());
        exchange.answer_headers = exchange::headers(answer.headers(), &self.client.0.secrets);
        exchange.answer_body = Some("(read piece by piece)".to_owned());
        if let Some(operation) = self.operation {
            self.client.0.watch.saw(operation.id, answer.status().is_success());
        }
        let number = self.client.0.log.exchange(exchange);
        Ok(Open::new(answer, number, self.what()))
    }

    fn build(&mut self) -> Result<reqwest::Request> {
        if let Some(operation) = self.operation {
            self.client.0.watch.asked(operation.id);
        }
        let mut builder = self.client.0.http.request(self.method.clone(), &self.url).timeout(self.timeout);
        if !self.query.is_empty() {
            builder = builder.query(&self.query);
        }
        for (name, value) in &self.headers {
            builder = builder.header(name, value);
        }
        match std::mem::replace(&mut self.body, Body::None) {
            Body::None => {}
            Body::Bytes(bytes) => builder = builder.body(bytes),
            Body::Stream(stream) => builder = builder.body(stream),
        }
        let built = builder.build().map_err(Stop::harness)?;
        self.sent = built.url().to_string();
        Ok(built)
    }

    async fn send_once(&self, built: reqwest::Request) -> Result<Answer> {
        let secrets = &self.client.0.secrets;
        let mut exchange = self.exchange(&built);
        self.client.0.gate.pass(&self.client.0.waits).await;
        let started = Instant::now();
        let answer = match self.client.0.http.execute(built).await {
            Ok(answer) => answer,
            Err(error) => return Err(self.unanswered(exchange, chain(&error))),
        };
        let (status, headers) = (answer.status().as_u16(), answer.headers().clone());
        exchange.status = Some(status);
        exchange.answer_headers = exchange::headers(&headers, secrets);
        let body = match answer.bytes().await {
            Ok(body) => body,
            Err(error) => return Err(self.unanswered(exchange, format!("the answer broke off: {}", chain(&error)))),
        };
        let took = started.elapsed();
        let json = serde_json::from_slice(&body).unwrap_or(Value::Null);
        secrets.learn_from(exchange.operation, &body, &json);
        exchange.took = took.as_millis() as u64;
        exchange.answer_body = exchange::body(&body, secrets);
        // Its URL may hold what only the answer made known.
        exchange.url = secrets.url(&exchange.url);
        let number = self.client.0.log.exchange(exchange);
        let answer = Answer { status, headers, body, json, exchange: number, took, what: self.what() };
        // A limiter's answer that is waited out is nobody's verdict.
        if !(status == 429 && self.patient) {
            self.judge(&answer);
        }
        self.client.0.watch.answered(self.operation, &answer, self.client.0.key.as_deref());
        Ok(answer)
    }

    fn exchange(&self, built: &reqwest::Request) -> Exchange {
        let secrets = &self.client.0.secrets;
        let body = built.body().and_then(|body| body.as_bytes());
        Exchange {
            operation: self.operation.map(|operation| operation.id),
            method: self.method.to_string(),
            url: secrets.url(built.url().as_str()),
            request_headers: exchange::headers(built.headers(), secrets),
            request_body: body.and_then(|bytes| exchange::body(bytes, secrets)),
            at: self.client.0.began.elapsed().as_millis() as u64,
            ..Exchange::default()
        }
    }

    fn unanswered(&self, mut exchange: Exchange, why: String) -> Stop {
        exchange.error = Some(why.clone());
        self.client.0.log.exchange(exchange);
        Stop::untestable(format!("{}: {why}", self.what()))
    }

    fn what(&self) -> String {
        self.client.0.secrets.url(&format!("{} {}", self.method, self.url))
    }

    /// The answer's shape, as a check of its own.
    fn judge(&self, answer: &Answer) {
        let Some(operation) = self.operation.filter(|_| self.judged) else { return };
        let log = &self.client.0.log;
        if answer.is_ok() {
            let Some(shape) = operation.answer.as_ref() else { return };
            let is_json = answer.is_json();
            if operation.answers_json() {
                let got = answer.header("content-type");
                let pending = Pending::new(log, format!("type:{}", operation.id).into()).on(answer);
                pending.that(is_json, "the content type application/json", got);
            } else if !is_json {
                return;
            }
            let more = contract::undeclared(operation.plane, shape, &answer.json).into_iter();
            let more = more.map(|field| self.client.0.secrets.text(&field));
            self.client.0.watch.undeclared(operation.id, more);
            let (format, shape): (Vec<_>, Vec<_>) =
                contract::findings(operation.plane, shape, &answer.json).into_iter().partition(|found| found.format);
            for (kind, found) in [("shape", shape), ("format", format)] {
                log.verdict(Check {
                    id: format!("{kind}:{}", operation.id),
                    passed: found.is_empty(),
                    should: false,
                    expected: format!("an answer of the declared {kind}"),
                    got: found.into_iter().map(|finding| finding.text).collect::<Vec<_>>().join("; "),
                    exchange: Some(answer.exchange),
                });
            }
        } else if (400..600).contains(&answer.status) {
            let pending = Pending::new(log, format!("envelope:{}", operation.id).into()).on(answer);
            let wrong = contract::envelope(operation.plane, answer).or_else(|| self.misplaced(operation, answer));
            pending.that(wrong.is_none(), "an error in the documented envelope", wrong.unwrap_or_default());
        }
    }
}

impl Request {
    /// An error of the API names the path that was asked, with its query as it was sent, and a time (observed). Clocks may differ,
    /// by less than a day.
    fn misplaced(&self, operation: &Operation, answer: &Answer) -> Option<String> {
        let (path, at) = (answer["path"].as_str()?, time(&answer["timestamp"]));
        if operation.plane != Plane::Api {
            return None;
        }
        let asked = self.sent.strip_prefix(&self.client.0.base).unwrap_or(&self.sent);
        if !path.ends_with(asked) {
            return Some(format!("path is {path:?} after a request to {asked:?}"));
        }
        let now = answer.date().unwrap_or_else(Utc::now);
        let near = at.is_some_and(|at| (now - at).abs() < TimeDelta::days(1));
        (!near).then(|| format!("timestamp is {}", answer["timestamp"]))
    }
}

/// An error with its causes: reqwest's own text leaves them out.
pub(super) fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text.push_str(&format!(": {cause}"));
        source = cause.source();
    }
    text
}
