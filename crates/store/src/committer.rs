//! Group commit.
//!
//! One thread owns the backend. Whenever it is free it takes every transaction
//! that has run meanwhile and has the backend make them durable in one go: the
//! slower the disk, the larger the groups.
//!
//! Transactions do not wait for it to run: each builds on the one before, which
//! may not be durable yet. So if a group fails, all that were queued since are
//! built on sand and fail with it, and the head falls back to what is durable.
//! Both happen under the lock that transactions run under; none can slip in
//! between.

use crate::store::{Engine, Outcome, Pending, Queue, Shared};
use crate::{Backend, Registry, StoreError, View};
use std::collections::VecDeque;
use std::sync::Arc;
use std::thread::JoinHandle;
use tokio::sync::oneshot;

/// The running thread. Dropping this lets it finish, and waits until it has:
/// whoever opens the same database next must not find it still locked.
pub(crate) struct Committer {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

/// Starts a thread, which loads the state and from then on commits.
pub(crate) async fn start(
    backend: Box<dyn Backend>,
    registry: Registry,
) -> Result<(Arc<Shared>, Committer), StoreError> {
    let (report, started) = oneshot::channel();
    let thread = std::thread::Builder::new()
        .name("store-committer".into())
        .spawn(move || main(backend, registry, report))
        .map_err(|cause| StoreError::backend("starting the committer", cause))?;
    let shared = started.await.map_err(|_| StoreError::Stopped)??;
    Ok((Arc::clone(&shared), Committer { shared, thread: Some(thread) }))
}

impl Drop for Committer {
    fn drop(&mut self) {
        close(&self.shared);
        if let Some(thread) = self.thread.take() {
            // It has reported its panic, if it had one, on its own.
            let _ = thread.join();
        }
    }
}

fn close(shared: &Shared) {
    if let Engine::Queued(queue) = &mut shared.state().engine {
        queue.closed = true;
    }
    shared.wake.notify_all();
}

fn main(
    mut backend: Box<dyn Backend>,
    registry: Registry,
    report: oneshot::Sender<Result<Arc<Shared>, StoreError>>,
) {
    let view = match backend.load().and_then(|loaded| registry.decode(loaded)) {
        Ok(view) => view,
        Err(error) => {
            // The database is let go before anyone hears that it was refused.
            drop(backend);
            let _ = report.send(Err(error));
            return;
        }
    };
    let shared = Arc::new(Shared::new(registry, view, Engine::Queued(Queue::default())));
    if report.send(Ok(Arc::clone(&shared))).is_err() {
        return;
    }
    // Whatever ends this thread, even a panic of the backend, no one waits in vain.
    let _last_rites = LastRites(&shared);
    while let Some(group) = next_group(&shared) {
        commit(&shared, backend.as_mut(), group);
    }
}

/// Waits for transactions and takes all there are; `None` at the end.
fn next_group(shared: &Shared) -> Option<VecDeque<Pending>> {
    let mut state = shared.state();
    loop {
        let Engine::Queued(queue) = &mut state.engine else { return None };
        if !queue.waiting.is_empty() {
            return Some(std::mem::take(&mut queue.waiting));
        }
        if queue.closed {
            return None;
        }
        state = shared.wake.wait(state).unwrap_or_else(std::sync::PoisonError::into_inner);
    }
}

fn commit(shared: &Shared, backend: &mut dyn Backend, mut group: VecDeque<Pending>) {
    let mut newest = None;
    let mut commits = Vec::with_capacity(group.len());
    let mut touched = Vec::new();
    for written in group.iter_mut().filter_map(|pending| pending.written.take()) {
        newest = Some(written.view);
        commits.push(written.commit);
        touched.extend(written.touched);
    }
    // A group may consist of readers that waited for the one before.
    let Some(newest) = newest else { return settle(group, &Outcome::Durable) };

    match backend.commit(&commits) {
        Ok(()) => {
            shared.publish(newest, commits, &touched);
            settle(group, &Outcome::Durable);
        }
        Err(StoreError::Conflict) => {
            tracing::warn!(revision = newest.revision().0, "overtaken by another writer");
            // Loaded before the lock is taken; what runs meanwhile, runs again.
            match shared.decode(backend.load()) {
                Ok(view) => fall_back(shared, group, Some(view), &Outcome::Conflict),
                Err(cause) => fall_back(shared, group, None, &failed(cause)),
            }
        }
        Err(cause) => fall_back(shared, group, None, &failed(cause)),
    }
}

fn failed(cause: StoreError) -> Outcome {
    tracing::error!(error = &cause as &dyn std::error::Error, "state could not be made durable");
    Outcome::Failed(Arc::new(cause))
}

/// Gives up `group` and all that was built on it, and goes on from the durable
/// state, which may have been overtaken by `newer`.
fn fall_back(
    shared: &Shared,
    mut group: VecDeque<Pending>,
    newer: Option<Arc<View>>,
    outcome: &Outcome,
) {
    let mut state = shared.state();
    if let Some(newer) = newer {
        // Under the lock: a head that will fail must never have the number of
        // a durable revision, or readers of it would be told that it stands.
        shared.catch_up(newer);
    }
    state.restart(&shared.registry, shared.durable());
    if let Engine::Queued(queue) = &mut state.engine {
        group.append(&mut queue.waiting);
    }
    drop(state);
    settle(group, outcome);
}

fn settle(group: VecDeque<Pending>, outcome: &Outcome) {
    for pending in group {
        pending.settle(outcome.clone());
    }
}

struct LastRites<'s>(&'s Shared);

impl Drop for LastRites<'_> {
    fn drop(&mut self) {
        close(self.0);
        self.0.stop_admitting();
        fall_back(self.0, VecDeque::new(), None, &Outcome::Failed(Arc::new(StoreError::Stopped)));
    }
}
