//! Tells endpoints what happens, as the real product does through Svix: signed (Standard Webhooks), again and again until
//! it is heard. First attempts of an endpoint are made in order, one at a time; what fails waits on its own.

mod payload;
mod sign;

use std::{
    collections::HashMap,
    sync::{Arc, OnceLock, Weak},
    time::{Duration, Instant},
};

use chrono::Utc;
use http_client::{Client, redirect};
use parking_lot::Mutex;
use tokio::sync::{broadcast::error::RecvError, mpsc};

use crate::model::{
    ControlPlane, ModelEvent,
    webhooks::{Attempt, Delivery, EVENTS, Endpoint},
};

/// After a failed attempt the next one comes so many seconds later; then it is given up (Svix's documented schedule).
const BACK_OFF: [i64; 7] = [5, 5 * 60, 30 * 60, 2 * 3600, 5 * 3600, 10 * 3600, 10 * 3600];
/// An endpoint must have answered by then.
const TIMEOUT: Duration = Duration::from_secs(15);
/// So much of an answer is kept.
const MAX_ANSWER: usize = 1024;
/// Messages of one endpoint that wait for their first attempt; what comes on top waits as if it had failed.
const QUEUE: usize = 1000;

/// What tells the endpoints of a server. It ends with its control plane.
pub struct Webhooks {
    cp: Weak<ControlPlane>,
    /// Made when there is somebody to tell: it reads this machine's certificates.
    client: OnceLock<Client>,
    /// First attempts, by endpoint.
    queues: Mutex<HashMap<String, mpsc::Sender<Arc<Delivery>>>>,
}

impl Webhooks {
    pub fn start(cp: &Arc<ControlPlane>) -> Arc<Webhooks> {
        let webhooks = Arc::new(Webhooks { cp: Arc::downgrade(cp), client: OnceLock::new(), queues: Mutex::default() });
        tokio::spawn(webhooks.clone().listen(cp.events()));
        for delivery in cp.undelivered() {
            tokio::spawn(webhooks.clone().again(delivery));
        }
        webhooks
    }

    fn client(&self) -> &Client {
        self.client.get_or_init(|| {
            // Whoever was first has installed the same.
            let _ = rustls::crypto::ring::default_provider().install_default();
            let agent = concat!("daytona-mock/", env!("CARGO_PKG_VERSION"));
            let client = Client::builder().timeout(TIMEOUT).redirect(redirect::Policy::none()).user_agent(agent);
            // A proxy of the server's environment is not for its users' endpoints.
            client.no_proxy().build().unwrap_or_default()
        })
    }

    async fn listen(self: Arc<Self>, mut events: tokio::sync::broadcast::Receiver<ModelEvent>) {
        loop {
            match events.recv().await {
                Ok(event) => self.tell(&event).await,
                Err(RecvError::Lagged(missed)) => tracing::warn!(missed, "events were lost to webhooks"),
                Err(RecvError::Closed) => return,
            }
        }
    }

    async fn tell(self: &Arc<Self>, event: &ModelEvent) {
        let name = event.name();
        let Some(cp) = self.cp.upgrade().filter(|_| EVENTS.contains(&name)) else { return };
        let organization = event.organization_id();
        let endpoints = cp.webhooks(organization);
        let wanting = endpoints.iter().filter(|endpoint| endpoint.wants(name));
        let mut message = None;
        for endpoint in wanting {
            let now = cp.clock().now();
            let (id, body) = message.get_or_insert_with(|| {
                (format!("msg_{}", uuid::Uuid::new_v4().simple()), payload::of(event, now).to_string())
            });
            let delivery = Arc::new(Delivery {
                id: uuid::Uuid::new_v4().to_string(),
                endpoint_id: endpoint.id.clone(),
                organization_id: organization.to_owned(),
                message_id: id.clone(),
                event: name.to_owned(),
                body: body.clone(),
                created_at: now,
                attempts: Vec::new(),
                next_at: Some(now),
            });
            cp.note_delivery(delivery.clone()).await;
            self.enqueue(delivery);
        }
    }

    fn enqueue(self: &Arc<Self>, delivery: Arc<Delivery>) {
        let mut queues = self.queues.lock();
        let queue = queues.entry(delivery.endpoint_id.clone()).or_insert_with(|| {
            let (queue, waiting) = mpsc::channel(QUEUE);
            tokio::spawn(self.clone().first_attempts(waiting));
            queue
        });
        if let Err(error) = queue.try_send(delivery) {
            tokio::spawn(self.clone().again(error.into_inner()));
        }
    }

    async fn first_attempts(self: Arc<Self>, mut waiting: mpsc::Receiver<Arc<Delivery>>) {
        while let Some(delivery) = waiting.recv().await {
            let Some(next) = self.attempt(&delivery).await else { continue };
            if next.next_at.is_some() {
                tokio::spawn(self.clone().again(next));
            }
        }
    }

    /// Waits for the next attempt, makes it, and so on until it is told or given up.
    async fn again(self: Arc<Self>, mut delivery: Arc<Delivery>) {
        while let Some(at) = delivery.next_at {
            let Some(clock) = self.cp.upgrade().map(|cp| cp.clock().clone()) else { return };
            clock.sleep_until(at).await;
            match self.attempt(&delivery).await {
                Some(next) => delivery = next,
                None => return,
            }
        }
    }

    /// Tells it once more, whatever became of it before.
    pub fn replay(self: &Arc<Self>, delivery: &Delivery) {
        let (webhooks, mut delivery) = (self.clone(), delivery.clone());
        delivery.next_at = None;
        tokio::spawn(async move { webhooks.attempt(&delivery).await });
    }

    /// One attempt; the delivery after it. `None` if there is nobody to tell any more.
    async fn attempt(&self, delivery: &Delivery) -> Option<Arc<Delivery>> {
        let cp = self.cp.upgrade()?;
        let Ok(endpoint) = cp.webhook(&delivery.organization_id, &delivery.endpoint_id) else {
            self.queues.lock().remove(&delivery.endpoint_id);
            return None;
        };
        let attempt = self.send(&cp, &endpoint, delivery).await;
        let mut next = delivery.clone();
        next.next_at = match (attempt.succeeded(), delivery.next_at, BACK_OFF.get(delivery.attempts.len())) {
            (false, Some(_), Some(seconds)) => Some(attempt.at + chrono::Duration::seconds(*seconds)),
            _ => None,
        };
        next.attempts.push(attempt);
        let next = Arc::new(next);
        cp.note_delivery(next.clone()).await;
        Some(next)
    }

    async fn send(&self, cp: &ControlPlane, endpoint: &Endpoint, delivery: &Delivery) -> Attempt {
        let (at, started) = (cp.clock().now(), Instant::now());
        // In real time: receivers check it against their own clocks.
        let headers = sign::headers(&endpoint.key(), &delivery.message_id, Utc::now(), &delivery.body);
        let request = self.client().post(&endpoint.url).header("content-type", "application/json");
        let request = headers.into_iter().fold(request, |request, (name, value)| request.header(name, value));
        let (status, answer) = match request.body(delivery.body.clone()).send().await {
            Ok(response) => (Some(response.status().as_u16()), beginning(response).await),
            Err(error) => (None, reason(&error)),
        };
        let milliseconds = u64::try_from(started.elapsed().as_millis()).unwrap_or(u64::MAX);
        Attempt { at, status, answer, milliseconds }
    }
}

async fn beginning(mut response: http_client::Response) -> String {
    let mut bytes = Vec::new();
    while bytes.len() < MAX_ANSWER {
        match response.chunk().await {
            Ok(Some(chunk)) => bytes.extend_from_slice(&chunk[..chunk.len().min(MAX_ANSWER - bytes.len())]),
            _ => break,
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

/// The innermost cause, which says the most.
fn reason(error: &http_client::Error) -> String {
    if error.is_timeout() {
        return format!("no answer within {} s", TIMEOUT.as_secs());
    }
    let mut cause: &dyn std::error::Error = error;
    while let Some(inner) = cause.source() {
        cause = inner;
    }
    cause.to_string()
}
