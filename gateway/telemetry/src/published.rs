//! A value that one thread publishes and shards serve.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError, TryLockError};

/// The published value. The control thread replaces it (a rendered `/health`, once a second); each shard reads it through
/// a [`Subscriber`] of its own, which costs one relaxed load while nothing changed and never waits.
#[derive(Debug)]
pub struct Published<T> {
    /// Grows with every value. A shard that sees it late serves the value before: no order is needed, because the value
    /// itself changes hands under the lock.
    version: AtomicU64,
    value: Mutex<Arc<T>>,
}

/// One shard's view of a [`Published`] value.
#[derive(Debug)]
pub struct Subscriber<T> {
    published: Arc<Published<T>>,
    version: u64,
    value: Arc<T>,
}

impl<T> Published<T> {
    /// Publishes a first value.
    #[must_use]
    pub fn new(value: T) -> Arc<Self> {
        Arc::new(Self {
            version: AtomicU64::new(0),
            value: Mutex::new(Arc::new(value)),
        })
    }

    /// Replaces the value.
    pub fn publish(&self, value: T) {
        let value = Arc::new(value);
        let mut current = self.value.lock().unwrap_or_else(PoisonError::into_inner);
        let former = std::mem::replace(&mut *current, value);
        self.version.fetch_add(1, Relaxed);
        drop(current);
        drop(former);
    }

    /// A reader's view, for one thread.
    #[must_use]
    pub fn subscribe(self: &Arc<Self>) -> Subscriber<T> {
        let current = self.value.lock().unwrap_or_else(PoisonError::into_inner);
        Subscriber {
            published: Arc::clone(self),
            version: self.version.load(Relaxed),
            value: Arc::clone(&current),
        }
    }
}

impl<T> Subscriber<T> {
    /// The value. While a newer one is being put in place, still the one before.
    #[inline]
    pub fn read(&mut self) -> &T {
        if self.published.version.load(Relaxed) != self.version {
            self.refresh();
        }
        &self.value
    }

    #[cold]
    fn refresh(&mut self) {
        let current = match self.published.value.try_lock() {
            Ok(current) => current,
            Err(TryLockError::Poisoned(poisoned)) => poisoned.into_inner(),
            Err(TryLockError::WouldBlock) => return,
        };
        self.version = self.published.version.load(Relaxed);
        self.value = Arc::clone(&current);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_subscriber_sees_the_newest_value() {
        let published = Published::new(1);
        let (mut early, mut late) = (published.subscribe(), published.subscribe());
        published.publish(2);
        assert_eq!(*early.read(), 2);
        published.publish(3);
        published.publish(4);
        assert_eq!((*early.read(), *late.read()), (4, 4));
        assert_eq!(*published.subscribe().read(), 4);
    }

    #[test]
    fn a_reader_does_not_wait_for_a_writer() {
        let published = Published::new(1);
        let mut subscriber = published.subscribe();
        published.publish(2);
        let writing = published.value.lock().unwrap();
        assert_eq!(*subscriber.read(), 1);
        drop(writing);
        assert_eq!(*subscriber.read(), 2);
    }

    #[test]
    fn a_replaced_value_is_freed_when_nobody_reads_it() {
        let first = Arc::new(());
        let published = Published::new(Arc::clone(&first));
        let mut subscriber = published.subscribe();
        published.publish(Arc::new(()));
        assert_eq!(Arc::strong_count(&first), 2);
        subscriber.read();
        assert_eq!(Arc::strong_count(&first), 1);
    }
}
