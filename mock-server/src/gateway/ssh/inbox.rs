//! What a client has sent on a channel and nobody has taken. Putting something in never waits for the taker: the
//! connection, with all other channels, must go on.

use std::{
    collections::VecDeque,
    io,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use bytes::Bytes;
use parking_lot::Mutex;
use tokio::sync::Notify;

use super::spool::{Budget, Spool};
use crate::toolbox::ssh::wire::Frame;

/// Kept in memory for a channel; the rest goes to files.
const MEMORY: usize = 256 << 10;

/// Signals and sizes that wait; those after them are lost.
const MAX_ORDERS: usize = 64;

/// One channel's.
pub struct Inbox {
    state: Mutex<State>,
    spool: Arc<tokio::sync::Mutex<Spool>>,
    /// Bytes in the spool, or on their way there.
    spooled: AtomicUsize,
    budget: Arc<Budget>,
    more_data: Notify,
    more_orders: Notify,
}

#[derive(Default)]
struct State {
    data: VecDeque<Bytes>,
    in_memory: usize,
    ended: bool,
    orders: VecDeque<Frame>,
}

impl Inbox {
    pub fn new(budget: Arc<Budget>) -> Inbox {
        Inbox {
            state: Mutex::default(),
            spool: Arc::default(),
            spooled: AtomicUsize::new(0),
            budget,
            more_data: Notify::new(),
            more_orders: Notify::new(),
        }
    }

    /// Puts data in. An error if the server can't hold more.
    pub async fn push(&self, bytes: Bytes) -> io::Result<()> {
        let spooled = {
            let mut state = self.state.lock();
            let spooled = self.spooled.load(Ordering::Relaxed) > 0 || state.in_memory >= MEMORY;
            if spooled {
                self.budget.take(bytes.len())?;
                self.spooled.fetch_add(bytes.len(), Ordering::Relaxed);
            } else {
                state.in_memory += bytes.len();
                state.data.push_back(bytes.clone());
            }
            spooled
        };
        if spooled {
            let (mut spool, budget) = (self.spool.clone().lock_owned().await, self.budget.clone());
            tokio::task::spawn_blocking(move || spool.push(&bytes, &budget)).await.map_err(io::Error::other)??;
        }
        self.more_data.notify_one();
        Ok(())
    }

    /// No more data comes.
    pub fn end(&self) {
        self.state.lock().ended = true;
        self.more_data.notify_one();
    }

    /// A signal or a size.
    pub fn order(&self, order: Frame) {
        let mut state = self.state.lock();
        if state.orders.len() < MAX_ORDERS {
            state.orders.push_back(order);
        }
        self.more_orders.notify_one();
    }

    /// The next data; `None` at the end. One taker only, who must not give up halfway.
    pub async fn data(&self) -> io::Result<Option<Bytes>> {
        loop {
            let more = self.more_data.notified();
            {
                let mut state = self.state.lock();
                if let Some(bytes) = state.data.pop_front() {
                    state.in_memory -= bytes.len();
                    return Ok(Some(bytes));
                }
                if state.ended && self.spooled.load(Ordering::Relaxed) == 0 {
                    return Ok(None);
                }
            }
            if self.spooled.load(Ordering::Relaxed) > 0 {
                let bytes = self.spooled_data().await?;
                if !bytes.is_empty() {
                    return Ok(Some(bytes));
                }
            }
            more.await;
        }
    }

    async fn spooled_data(&self) -> io::Result<Bytes> {
        let mut spool = self.spool.clone().lock_owned().await;
        let bytes = tokio::task::spawn_blocking(move || spool.pop()).await.map_err(io::Error::other)??;
        self.spooled.fetch_sub(bytes.len(), Ordering::Relaxed);
        self.budget.give(bytes.len());
        Ok(bytes)
    }

    /// The next signal or size.
    pub async fn next_order(&self) -> Frame {
        loop {
            let more = self.more_orders.notified();
            if let Some(order) = self.state.lock().orders.pop_front() {
                return order;
            }
            more.await;
        }
    }
}

impl Drop for Inbox {
    fn drop(&mut self) {
        self.budget.give(*self.spooled.get_mut());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn inbox(budget: usize) -> Inbox {
        Inbox::new(Arc::new(Budget::new(budget, std::env::temp_dir())))
    }

    #[tokio::test]
    async fn more_than_memory_holds_comes_out_in_order() {
        let inbox = inbox(100 << 20);
        let sent: Vec<u8> = (0..5_000_000u32).map(|n| (n % 249) as u8).collect();
        for piece in sent.chunks(30_000) {
            inbox.push(Bytes::copy_from_slice(piece)).await.expect("room");
        }
        inbox.end();
        let mut received = Vec::new();
        while let Some(bytes) = inbox.data().await.expect("data") {
            received.extend_from_slice(&bytes);
        }
        assert!(received == sent);
    }

    #[tokio::test]
    async fn taking_while_putting_keeps_the_order() {
        let inbox = Arc::new(inbox(100 << 20));
        let sent: Vec<u8> = (0..5_000_000u32).map(|n| (n % 249) as u8).collect();
        let (putting, expected) = (inbox.clone(), sent.clone());
        let put = tokio::spawn(async move {
            for piece in sent.chunks(10_000) {
                putting.push(Bytes::copy_from_slice(piece)).await.expect("room");
            }
            putting.end();
        });
        let mut received = Vec::new();
        while let Some(bytes) = inbox.data().await.expect("data") {
            received.extend_from_slice(&bytes);
        }
        put.await.expect("put");
        assert!(received == expected);
    }

    #[tokio::test]
    async fn a_full_server_says_so_and_gets_its_room_back() {
        let inbox = inbox(MEMORY);
        let piece = Bytes::from(vec![0; MEMORY]);
        for _ in 0..2 {
            inbox.push(piece.clone()).await.expect("room");
        }
        inbox.push(piece).await.expect_err("no room");
        let budget = inbox.budget.clone();
        drop(inbox);
        budget.take(MEMORY).expect("room again");
    }
}
