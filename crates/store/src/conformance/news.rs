//! What subscribers hear.

use super::fixture::{Harness, Lamp, block_on, foreign, poll, put, start, transact};
use crate::changes::BACKLOG;
use crate::{Interest, Lagged, Revision, StoreError};
use std::pin::pin;
use std::thread;

/// See the name.
pub fn changes_coalesce_and_the_last_is_never_lost(harness: &Harness) {
    let store = harness.open();
    put(&store, &[Lamp::new("before", "hall")]).expect("commits");
    let mut changes = store.subscribe();
    assert!(!changes.has_changed(), "a subscription starts with what there is");
    put(&store, &[Lamp::new("a", "hall")]).expect("commits");
    put(&store, &[Lamp::new("b", "hall")]).expect("commits");
    assert!(changes.has_changed());
    assert_eq!(block_on(changes.changed()), Revision(3));
    assert!(!changes.has_changed(), "many changes are one");

    transact(&store, |txn| Ok(txn.get::<Lamp>(&Lamp::home(), "a").is_some())).expect("reads");
    assert!(poll(&mut pin!(changes.changed())).is_pending(), "reading changes nothing");
    // That was a cancelled wait. It has not lost this:
    put(&store, &[Lamp::new("c", "hall")]).expect("commits");
    assert_eq!(block_on(changes.changed()), Revision(4));
}

/// See the name.
pub fn who_waits_for_something_hears_of_that_alone(harness: &Harness) {
    let store = harness.open();
    let home = Lamp::home();
    let lamp = |id: &str| Interest::record::<Lamp>(&home, id);
    let room = |name: &str| Interest::indexed::<Lamp>(&home, "room", name);
    let mut one = store.subscribe_to(&[lamp("a")]);
    let mut hall = store.subscribe_to(&[room("hall")]);
    let mut both = store.subscribe_to(&[lamp("b"), room("attic")]);
    let mut heard = || {
        [&mut one, &mut hall, &mut both].map(|changes| {
            let news = changes.has_changed();
            news.then(|| block_on(changes.changed())).is_some()
        })
    };
    assert_eq!(heard(), [false, false, false]);
    put(&store, &[Lamp::new("a", "hall")]).expect("commits");
    assert_eq!(heard(), [true, true, false]);
    put(&store, &[Lamp { watts: 1, ..Lamp::new("a", "hall") }]).expect("commits");
    assert_eq!(heard(), [true, true, false], "the room is what it was, and the lamp is not");
    put(&store, &[Lamp::new("c", "cellar")]).expect("commits");
    assert_eq!(heard(), [false, false, false]);
    put(&store, &[Lamp::new("a", "attic")]).expect("commits");
    assert_eq!(heard(), [true, true, true], "it left one room for another");
    put(&store, &[Lamp::new("b", "attic")]).expect("commits");
    assert_eq!(heard(), [false, false, true]);
    transact(&store, |txn| Ok(txn.delete::<Lamp>(&home, "a"))).expect("commits");
    assert_eq!(heard(), [true, false, true]);
    let elsewhere = Lamp { scope: Lamp::scope_of(2), ..Lamp::new("a", "hall") };
    put(&store, &[elsewhere]).expect("commits");
    assert_eq!(heard(), [false, false, false], "another account is none of their business");
    let given_up: Result<(), _> = transact(&store, |txn| {
        txn.put(Lamp::new("a", "hall"));
        Err(StoreError::Stopped)
    });
    assert!(given_up.is_err());
    assert_eq!(heard(), [false, false, false]);
}

/// See the name.
pub fn racing_changes_are_never_lost(harness: &Harness) {
    const WRITES: u64 = 200;
    let store = harness.open();
    let mut changes = store.subscribe();
    thread::scope(|threads| {
        for writer in 0..2 {
            let store = store.clone();
            threads.spawn(move || {
                for n in 0..WRITES / 2 {
                    let lamp = Lamp { watts: n, ..Lamp::new(&format!("{writer}"), "hall") };
                    put(&store, &[lamp]).expect("commits");
                }
            });
        }
        // A lost wake-up hangs here.
        let mut seen = Revision(0);
        while seen < Revision(WRITES) {
            let newest = block_on(changes.changed());
            assert!(newest > seen);
            assert!(store.view().revision() >= newest, "the view is there before the news");
            seen = newest;
        }
    });
}

/// See the name.
pub fn feeds_report_every_transaction_in_order(harness: &Harness) {
    let store = harness.open();
    let home = Lamp::home();
    put(&store, &[Lamp::new("a", "hall")]).expect("commits");
    let mut feed = store.watch_from(Revision(0));
    let mut late = store.watch_from(store.view().revision());
    put(&store, &[Lamp::new("b", "hall"), Lamp::new("c", "hall")]).expect("commits");
    transact(&store, |txn| Ok(txn.delete::<Lamp>(&home, "b"))).expect("commits");

    let mut heard = Vec::new();
    for _ in 0..3 {
        let set = block_on(feed.next()).expect("keeps up");
        for change in &set.changes {
            heard.push((set.revision.0, change.key.id.to_string(), change.deleted));
        }
    }
    let expected = [(1, "a", false), (2, "b", false), (2, "c", false), (3, "b", true)]
        .map(|(at, id, gone)| (at, id.to_owned(), gone));
    assert_eq!(heard, expected);
    assert!(poll(&mut pin!(feed.next())).is_pending());
    assert_eq!(block_on(late.next()).expect("keeps up").revision, Revision(2), "resumed in place");

    let waiting = thread::scope(|threads| {
        let waiting = threads.spawn(|| block_on(feed.next()));
        put(&store, &[Lamp::new("d", "hall")]).expect("commits");
        waiting.join()
    });
    let set = waiting.expect("does not panic").expect("keeps up");
    assert_eq!(set.revision, Revision(4));
}

/// See the name.
pub fn a_feed_that_lags_is_told_so(harness: &Harness) {
    let store = harness.open();
    let mut feed = store.watch_from(Revision(0));
    let backlog = u64::try_from(BACKLOG).expect("fits");
    for n in 0..=backlog {
        drop(start(&store, move |txn| {
            txn.put(Lamp { watts: n, ..Lamp::new("a", "hall") });
            Ok(())
        }));
        if n % 512 == 0 {
            put(&store, &[]).expect("waits for those before");
        }
    }
    put(&store, &[]).expect("waits for those before");
    let newest = Revision(backlog + 1);
    assert_eq!(store.view().revision(), newest);
    assert_eq!(block_on(feed.next()), Err(Lagged { resumes_after: newest }));
    let mut just_in_time = store.watch_from(Revision(1));
    assert_eq!(block_on(just_in_time.next()).expect("is still known").revision, Revision(2));
    let mut from_the_future = store.watch_from(newest.next());
    assert_eq!(block_on(from_the_future.next()), Err(Lagged { resumes_after: newest }));

    put(&store, &[Lamp::new("b", "hall")]).expect("commits");
    assert_eq!(block_on(feed.next()).expect("goes on").revision, newest.next());
    drop(store);

    let store = harness.open();
    let mut restarted = store.watch_from(Revision(1));
    assert_eq!(
        block_on(restarted.next()),
        Err(Lagged { resumes_after: newest.next() }),
        "changes are not known one by one across a restart"
    );
}

/// See the name.
pub fn a_catch_up_interrupts_feeds(harness: &Harness) {
    let store = harness.open();
    put(&store, &[Lamp::new("a", "hall")]).expect("commits");
    let mut feed = store.watch_from(Revision(1));
    let mut changes = store.subscribe();
    harness.faults.intrude(foreign(Revision(2), &Lamp::new("b", "hall")));
    put(&store, &[Lamp::new("c", "hall")]).expect("commits");
    let lagged = block_on(feed.next()).expect_err("what others wrote is not known one by one");
    assert!(lagged.resumes_after >= Revision(2));
    assert_eq!(block_on(changes.changed()), Revision(3));
}
