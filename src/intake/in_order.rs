//! Several futures under way at once, begun in order and given back in order.
//!
//! # Invariants
//!
//! - Every poll goes from the oldest to the youngest, so what the oldest does first (take its place in a queue) it does before
//!   any younger one, whatever the runtime's budget does in between.
//! - A result is given back only when all older ones were.

use std::collections::VecDeque;
use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::task::{Context, Poll};

/// One future, or what came of it.
enum Slot<T> {
    Running(Pin<Box<dyn Future<Output = T> + Send>>),
    Done(T),
}

/// A queue of futures; see the file.
pub(super) struct InOrder<T> {
    slots: VecDeque<Slot<T>>,
}

impl<T> InOrder<T> {
    pub(super) fn new() -> Self {
        Self { slots: VecDeque::new() }
    }

    pub(super) fn len(&self) -> usize {
        self.slots.len()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.slots.is_empty()
    }

    /// Adds a future. It begins at the next [`InOrder::ready`].
    pub(super) fn push(&mut self, future: impl Future<Output = T> + Send + 'static) {
        self.slots.push_back(Slot::Running(Box::pin(future)));
    }

    /// Waits for the oldest and adds it to `done`, with all behind it that are done too. Dropping the wait loses nothing.
    pub(super) async fn ready(&mut self, done: &mut Vec<T>) {
        poll_fn(|cx| self.poll_ready(cx, done)).await;
    }

    fn poll_ready(&mut self, cx: &mut Context<'_>, done: &mut Vec<T>) -> Poll<()> {
        for slot in &mut self.slots {
            if let Slot::Running(future) = slot
                && let Poll::Ready(result) = future.as_mut().poll(cx)
            {
                *slot = Slot::Done(result);
            }
        }
        let before = done.len();
        while let Some(slot) = self.slots.pop_front() {
            match slot {
                Slot::Done(result) => done.push(result),
                running @ Slot::Running(_) => {
                    self.slots.push_front(running);
                    break;
                }
            }
        }
        if done.len() == before { Poll::Pending } else { Poll::Ready(()) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::sync::{mpsc, oneshot};

    #[tokio::test]
    async fn results_come_in_order_whoever_ends_first() {
        let mut queue = InOrder::new();
        let (first, wait_first) = oneshot::channel();
        let (second, wait_second) = oneshot::channel();
        queue.push(async move { wait_first.await.unwrap() });
        queue.push(async move { wait_second.await.unwrap() });
        second.send("second").unwrap();
        let mut done = Vec::new();
        tokio::select! {
            biased;
            () = queue.ready(&mut done) => panic!("the first has not ended"),
            () = std::future::ready(()) => {}
        }
        first.send("first").unwrap();
        queue.ready(&mut done).await;
        assert_eq!(done, ["first", "second"]);
        assert!(queue.is_empty());
    }

    #[tokio::test]
    async fn a_thousand_sends_enter_a_narrow_queue_in_order() {
        let (sender, mut receiver) = mpsc::channel(1);
        let reader = tokio::spawn(async move {
            let mut seen = Vec::new();
            while let Some(number) = receiver.recv().await {
                seen.push(number);
            }
            seen
        });
        let mut queue = InOrder::new();
        let mut done = Vec::new();
        for number in 0..1000 {
            let sender = sender.clone();
            queue.push(async move { sender.send(number).await.unwrap() });
            if queue.len() == 16 {
                queue.ready(&mut done).await;
            }
        }
        while !queue.is_empty() {
            queue.ready(&mut done).await;
            done.clear();
        }
        drop(sender);
        assert_eq!(reader.await.unwrap(), (0..1000).collect::<Vec<_>>());
    }
}
