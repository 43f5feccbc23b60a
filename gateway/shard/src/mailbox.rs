//! Messages to shards. Data in a bounded queue, a level-triggered doorbell beside it; a full queue loses messages but never
//! the fact that some were lost, and the shard then looks at everything a message could have been about.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};

use base::{Doorbell, ShardId, limits};
use cache::{FlightId, Notify};
use crossbeam::queue::ArrayQueue;
use crossbeam::utils::CachePadded;
use proxy::{Mail, Post};

/// One mailbox for each shard, shared by all who write.
pub struct Mailboxes {
    boxes: Vec<CachePadded<Mailbox>>,
    draining: AtomicBool,
    closing: AtomicBool,
    stopping: AtomicBool,
}

struct Mailbox {
    queue: ArrayQueue<Mail>,
    lost: AtomicBool,
    /// The bell was rung and its owner has not looked since: no second ring is needed.
    rung: AtomicBool,
    bell: OnceLock<Arc<dyn Doorbell>>,
}

impl Mailboxes {
    /// Empty mailboxes for so many shards.
    #[must_use]
    pub fn new(shards: usize) -> Arc<Self> {
        Arc::new(Self {
            boxes: (0..shards)
                .map(|_| CachePadded::new(Mailbox::new()))
                .collect(),
            draining: AtomicBool::new(false),
            closing: AtomicBool::new(false),
            stopping: AtomicBool::new(false),
        })
    }

    /// Sends a message. At the bound it is dropped and the shard is told that something was.
    pub fn post(&self, shard: ShardId, mail: Mail) {
        let Some(mailbox) = self.boxes.get(usize::from(shard.0)) else {
            return;
        };
        if mailbox.queue.push(mail).is_err() {
            mailbox.lost.store(true, Ordering::Release);
        }
        mailbox.ring();
    }

    /// Sends everybody a message.
    pub fn post_all(&self, mail: &Mail) {
        for shard in 0..self.boxes.len() {
            let shard = u16::try_from(shard).unwrap_or(u16::MAX);
            self.post(ShardId(shard), mail.clone());
        }
    }

    /// Has every shard tell its clients to leave, each with its next answer. New ones are still taken.
    pub fn drain(&self) {
        self.draining.store(true, Ordering::Release);
        for mailbox in &self.boxes {
            mailbox.ring();
        }
    }

    /// Has every shard that drains take who is in its queues, close its listeners, and end with its last client.
    pub fn close(&self) {
        self.closing.store(true, Ordering::Release);
        for mailbox in &self.boxes {
            mailbox.ring();
        }
    }

    /// Has every shard stop at once, whatever is under way.
    pub fn stop(&self) {
        self.stopping.store(true, Ordering::Release);
        for mailbox in &self.boxes {
            mailbox.ring();
        }
    }

    /// Messages waiting in a shard's box.
    #[must_use]
    pub fn depth(&self, shard: ShardId) -> usize {
        let mailbox = self.boxes.get(usize::from(shard.0));
        mailbox.map_or(0, |mailbox| mailbox.queue.len())
    }

    pub(crate) fn is_draining(&self) -> bool {
        self.draining.load(Ordering::Acquire)
    }

    pub(crate) fn is_closing(&self) -> bool {
        self.closing.load(Ordering::Acquire)
    }

    pub(crate) fn is_stopping(&self) -> bool {
        self.stopping.load(Ordering::Acquire)
    }

    /// Registers the bell of a shard's driver; messages sent before wait for its first turn.
    pub(crate) fn connect(&self, shard: ShardId, bell: Arc<dyn Doorbell>) {
        if let Some(mailbox) = self.boxes.get(usize::from(shard.0)) {
            let _ = mailbox.bell.set(bell);
        }
    }

    /// Moves a shard's messages to `out`; whether some were lost.
    pub(crate) fn take(&self, shard: ShardId, out: &mut Vec<Mail>) -> bool {
        let Some(mailbox) = self.boxes.get(usize::from(shard.0)) else {
            return false;
        };
        // One load a turn while nobody writes. The flag is cleared before the queue is read, so whoever writes after this
        // reading rings again.
        if !mailbox.rung.load(Ordering::Relaxed) {
            return false;
        }
        mailbox.rung.swap(false, Ordering::AcqRel);
        while let Some(mail) = mailbox.queue.pop() {
            out.push(mail);
        }
        mailbox.lost.swap(false, Ordering::AcqRel)
    }
}

impl Notify for Mailboxes {
    fn flight(&self, shard: ShardId, flight: FlightId) {
        self.post(shard, Mail::Flight(flight));
    }
}

impl Post for Mailboxes {
    fn post(&self, shard: ShardId, mail: Mail) {
        Self::post(self, shard, mail);
    }
}

impl Mailbox {
    fn new() -> Self {
        Self {
            queue: ArrayQueue::new(limits::MAILBOX_MESSAGES_MAX),
            lost: AtomicBool::new(false),
            rung: AtomicBool::new(false),
            bell: OnceLock::new(),
        }
    }

    fn ring(&self) {
        if !self.rung.swap(true, Ordering::AcqRel)
            && let Some(bell) = self.bell.get()
        {
            bell.ring();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicUsize;

    use super::*;

    #[derive(Default)]
    struct CountingBell(AtomicUsize);

    impl Doorbell for CountingBell {
        fn ring(&self) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }

    #[test]
    fn a_burst_rings_once_until_it_is_read() {
        let boxes = Mailboxes::new(1);
        let bell = Arc::new(CountingBell::default());
        let registered: Arc<dyn Doorbell> = bell.clone();
        boxes.connect(ShardId(0), registered);
        let mut out = Vec::new();
        for flight in 0..3 {
            boxes.post(ShardId(0), Mail::Flight(FlightId(flight)));
        }
        assert_eq!(bell.0.load(Ordering::Relaxed), 1);
        assert!(!boxes.take(ShardId(0), &mut out));
        assert_eq!(out.len(), 3);
        boxes.post(ShardId(0), Mail::Pages(Arc::default()));
        assert_eq!(bell.0.load(Ordering::Relaxed), 2);
    }

    #[test]
    fn what_a_full_box_drops_is_known_to_be_missing() {
        let boxes = Mailboxes::new(1);
        let mut out = Vec::new();
        for flight in 0..=limits::MAILBOX_MESSAGES_MAX as u64 {
            boxes.post(ShardId(0), Mail::Flight(FlightId(flight)));
        }
        assert!(boxes.take(ShardId(0), &mut out));
        assert_eq!(out.len(), limits::MAILBOX_MESSAGES_MAX);
        assert!(!boxes.take(ShardId(0), &mut out));
    }
}
