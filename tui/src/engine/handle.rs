//! The slots between a face and the engine. Each holds one value, the newest; nothing queues.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::Notify;

use crate::model::{Query, Snapshot};

#[derive(Default)]
struct Slots {
    query: Mutex<Option<Query>>,
    snapshot: Mutex<Option<Arc<Snapshot>>>,
    /// Shown no more. A crowd's rows take a while to free: who made them does that, not who draws.
    spent: Mutex<Option<Arc<Snapshot>>>,
    published: Notify,
    stop: AtomicBool,
}

/// The face's end.
#[derive(Clone)]
pub struct Handle {
    slots: Arc<Slots>,
    wake: Arc<dyn Fn() + Send + Sync>,
}

/// The engine's end.
#[derive(Clone)]
pub struct Service {
    slots: Arc<Slots>,
}

impl Handle {
    /// Both ends; `wake` interrupts the collector's wait.
    pub fn pair(wake: impl Fn() + Send + Sync + 'static) -> (Self, Service) {
        let slots = Arc::new(Slots::default());
        (Self { slots: Arc::clone(&slots), wake: Arc::new(wake) }, Service { slots })
    }

    /// Replaces the standing question; the answer comes at once and then at each tick.
    pub fn ask(&self, query: Query) {
        *self.slots.query.lock().unwrap_or_else(PoisonError::into_inner) = Some(query);
        (self.wake)();
    }

    /// The newest snapshot, if one came since the last call.
    pub fn take(&self) -> Option<Arc<Snapshot>> {
        self.slots.snapshot.lock().unwrap_or_else(PoisonError::into_inner).take()
    }

    /// Lets go of a snapshot: the engine frees it when it is next awake, or the next call does.
    pub fn give_back(&self, snapshot: Arc<Snapshot>) {
        let before = self.slots.spent.lock().unwrap_or_else(PoisonError::into_inner).replace(snapshot);
        drop(before);
    }

    /// Completes when a snapshot has been published since the last completion.
    pub async fn published(&self) {
        self.slots.published.notified().await;
    }

    /// Asks the engine to detach everything and end its threads.
    pub fn stop(&self) {
        self.slots.stop.store(true, Ordering::Release);
        (self.wake)();
    }
}

impl Service {
    /// The question, if a new one was asked since the last call.
    pub fn question(&self) -> Option<Query> {
        self.slots.query.lock().unwrap_or_else(PoisonError::into_inner).take()
    }

    pub fn publish(&self, snapshot: Arc<Snapshot>) {
        *self.slots.snapshot.lock().unwrap_or_else(PoisonError::into_inner) = Some(snapshot);
        self.slots.published.notify_one();
    }

    /// Frees what was given back.
    pub fn free_spent(&self) {
        let spent = self.slots.spent.lock().unwrap_or_else(PoisonError::into_inner).take();
        drop(spent);
    }

    pub fn stopping(&self) -> bool {
        self.slots.stop.load(Ordering::Acquire)
    }
}
