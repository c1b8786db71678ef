//! What holds while commits are under way. An inline store has no such time.

use super::fixture::{Harness, Lamp, Mode, Started, block_on, ids, put, start, transact};
use crate::{MAX_QUEUED, Revision, Store, StoreError};

fn writer(store: &Store, id: String) -> (Started<'_, ()>, Option<Result<(), StoreError>>) {
    start(store, move |txn| {
        txn.put(Lamp::new(&id, "hall"));
        Ok(())
    })
}

/// See the name.
pub fn commits_are_grouped(harness: &Harness) {
    let store = harness.open();
    if harness.mode == Mode::Inline {
        put(&store, &[Lamp::new("a", "hall")]).expect("commits");
        put(&store, &[Lamp::new("b", "hall")]).expect("commits");
        assert_eq!(harness.faults.groups(), [1, 1]);
        return;
    }
    harness.faults.hold();
    let (first, _) = writer(&store, "first".into());
    harness.faults.wait_for_commit();
    let rest: Vec<_> = (0..50).map(|n| writer(&store, format!("{n}")).0).collect();
    harness.faults.release();
    block_on(first).expect("commits");
    for future in rest {
        block_on(future).expect("commits");
    }
    assert_eq!(harness.faults.groups(), [1, 50], "one call for all that waited");
    assert_eq!(store.view().revision(), Revision(51), "each with a revision of its own");
}

/// See the name.
pub fn readers_see_only_what_is_durable(harness: &Harness) {
    if harness.mode == Mode::Inline {
        return;
    }
    let store = harness.open();
    put(&store, &[Lamp::new("a", "hall")]).expect("commits");
    let mut changes = store.subscribe();
    harness.faults.hold();
    let (future, early) = writer(&store, "b".into());
    harness.faults.wait_for_commit();
    assert!(early.is_none());
    assert_eq!(ids(store.view().list(&Lamp::home())), ["a"]);
    assert!(!changes.has_changed());
    harness.faults.release();
    block_on(future).expect("commits");
    assert_eq!(ids(store.view().list(&Lamp::home())), ["a", "b"], "one's own at the latest now");
    assert_eq!(block_on(changes.changed()), Revision(2));
}

/// See the name.
pub fn answers_wait_for_what_they_rest_on(harness: &Harness) {
    let store = harness.open();
    put(&store, &[Lamp::new("a", "hall")]).expect("commits");
    let reader = || start(&store, |txn| Ok(ids(txn.list(&Lamp::home()))));
    let (_, answer) = reader();
    assert_eq!(answer.expect("is ready at once").expect("reads"), ["a"]);
    if harness.mode == Mode::Inline {
        return;
    }
    harness.faults.hold();
    let (write, _) = writer(&store, "b".into());
    harness.faults.wait_for_commit();
    let (read, early) = reader();
    assert!(early.is_none(), "what it read is not durable yet");
    harness.faults.release();
    assert_eq!(block_on(read).expect("reads"), ["a", "b"]);
    assert_eq!(ids(store.view().list(&Lamp::home())), ["a", "b"]);
    block_on(write).expect("commits");
    assert_eq!(harness.faults.groups(), [1, 1], "reading does not bother the backend");
}

/// See the name.
pub fn a_dropped_future_still_commits(harness: &Harness) {
    let store = harness.open();
    drop(writer(&store, "a".into()));
    // A later transaction is settled after earlier ones.
    put(&store, &[Lamp::new("b", "hall")]).expect("commits");
    assert_eq!(ids(store.view().list(&Lamp::home())), ["a", "b"]);
    drop(store);
    assert_eq!(ids(harness.open().view().list(&Lamp::home())), ["a", "b"]);
}

/// See the name.
pub fn the_queue_is_bounded(harness: &Harness) {
    if harness.mode == Mode::Inline {
        return;
    }
    let store = harness.open();
    harness.faults.hold();
    let queued: Vec<_> = (0..MAX_QUEUED).map(|n| writer(&store, format!("{n}")).0).collect();
    let (late, _) = writer(&store, "late".into());
    let (given_up, _) = writer(&store, "given up".into());
    drop(given_up);
    harness.faults.wait_for_commit();
    harness.faults.release();
    for future in queued {
        block_on(future).expect("commits");
    }
    assert_eq!(store.view().count::<Lamp>(&Lamp::home()), MAX_QUEUED, "there was no room for more");
    block_on(late).expect("commits, now that there is");
    let ran = transact(&store, |txn| Ok(txn.get::<Lamp>(&Lamp::home(), "given up").is_some()));
    assert!(!ran.expect("reads"), "dropped before it ran, a transaction does nothing");
}
