//! What happens when commits do not succeed.

use super::fixture::{Harness, Lamp, Mode, block_on, foreign, ids, put, start, transact};
use crate::{MAX_ATTEMPTS, Revision, StoreError};
use std::panic::{AssertUnwindSafe, catch_unwind};

/// See the name.
pub fn an_overtaken_transaction_runs_again(harness: &Harness) {
    let store = harness.open();
    let home = Lamp::home();
    put(&store, &[Lamp::new("a", "hall")]).expect("commits");
    harness.faults.intrude(foreign(Revision(2), &Lamp { watts: 60, ..Lamp::new("a", "hall") }));

    let mut runs = 0;
    transact(&store, |txn| {
        runs += 1;
        let lamp = txn.get::<Lamp>(&home, "a").expect("is there");
        txn.put(Lamp { watts: lamp.watts + 1, ..Lamp::clone(&lamp) });
        Ok(())
    })
    .expect("commits in the end");
    assert_eq!(runs, 2);
    let view = store.view();
    assert_eq!(view.get::<Lamp>(&home, "a").map(|lamp| lamp.watts), Some(61), "no update is lost");
    assert_eq!(view.revision(), Revision(3));
}

/// See the name.
pub fn endless_contention_is_reported(harness: &Harness) {
    let store = harness.open();
    for n in 0..MAX_ATTEMPTS {
        let intruder = foreign(Revision(u64::from(n) + 1), &Lamp::new("a", "hall"));
        harness.faults.intrude(intruder);
    }
    let contended = put(&store, &[Lamp::new("b", "hall")]);
    assert!(
        matches!(contended, Err(StoreError::Contended { attempts: MAX_ATTEMPTS })),
        "{contended:?}"
    );
    assert_eq!(ids(store.view().list(&Lamp::home())), ["a"], "what the others wrote is seen");
    put(&store, &[Lamp::new("b", "hall")]).expect("commits now");
}

/// See the name.
pub fn a_failed_commit_changes_nothing(harness: &Harness) {
    let store = harness.open();
    let home = Lamp::home();
    put(&store, &[Lamp::new("a", "hall")]).expect("commits");
    harness.faults.fail();
    let failed = put(&store, &[Lamp::new("a", "attic"), Lamp::new("b", "attic")]);
    let Err(StoreError::Unavailable { cause }) = failed else { panic!("{failed:?}") };
    assert!(matches!(*cause, StoreError::Backend { .. }), "{cause:?}");

    assert_eq!(ids(store.view().by(&home, "room", "hall")), ["a"]);
    let seen = transact(&store, |txn| Ok(ids(txn.list(&home)))).expect("reads");
    assert_eq!(seen, ["a"], "transactions have fallen back as well");
    put(&store, &[Lamp::new("b", "hall")]).expect("the store goes on");
    assert_eq!(store.view().revision(), Revision(2));
    drop(store);
    assert_eq!(ids(harness.open().view().list(&home)), ["a", "b"]);
}

/// See the name.
pub fn a_failed_group_takes_with_it_what_was_built_on_it(harness: &Harness) {
    if harness.mode == Mode::Inline {
        return; // Nothing is ever built on what is not durable.
    }
    let store = harness.open();
    let home = Lamp::home();
    put(&store, &[Lamp::new("a", "hall")]).expect("commits");

    harness.faults.hold();
    let writer = |id: &'static str| {
        start(&store, move |txn| {
            txn.put(Lamp::new(id, "hall"));
            Ok(())
        })
    };
    let (doomed, _) = writer("b");
    harness.faults.wait_for_commit();
    let (built_on_it, _) = writer("c");
    let (reader, early) = start(&store, |txn| Ok(ids(txn.list(&Lamp::home()))));
    assert!(early.is_none(), "what it read is not durable");
    let (refuser, early) = start(&store, |txn| match txn.get::<Lamp>(&Lamp::home(), "c") {
        Some(_) => Err::<(), _>(StoreError::Stopped),
        None => Ok(()),
    });
    assert!(early.is_none(), "what it was refused for is not durable");
    harness.faults.fail();
    harness.faults.release();

    let lost = |answer| matches!(answer, Err(StoreError::Unavailable { .. }));
    assert!(lost(block_on(doomed)));
    assert!(lost(block_on(built_on_it)));
    assert!(lost(block_on(reader).map(|_| ())));
    assert!(lost(block_on(refuser)));
    assert_eq!(ids(store.view().list(&home)), ["a"]);

    put(&store, &[Lamp::new("d", "hall")]).expect("the store goes on");
    assert_eq!(ids(store.view().list(&home)), ["a", "d"]);
    drop(store);
    assert_eq!(ids(harness.open().view().list(&home)), ["a", "d"]);
}

/// See the name.
pub fn an_unknown_outcome_is_found_out(harness: &Harness) {
    let store = harness.open();
    let home = Lamp::home();
    harness.faults.fail_late();
    let failed = put(&store, &[Lamp::new("a", "hall")]);
    assert!(matches!(failed, Err(StoreError::Unavailable { .. })), "{failed:?}");

    let mut runs = 0;
    let seen = transact(&store, |txn| {
        runs += 1;
        txn.put(Lamp::new("b", "hall"));
        Ok(ids(txn.list(&home)))
    });
    assert_eq!(seen.expect("commits"), ["a", "b"], "the first write had come to pass");
    assert_eq!(runs, 2);
    drop(store);
    assert_eq!(ids(harness.open().view().list(&home)), ["a", "b"]);
}

/// See the name.
pub fn a_panicking_transaction_harms_no_other(harness: &Harness) {
    let store = harness.open();
    let panicked = catch_unwind(AssertUnwindSafe(|| {
        transact::<()>(&store, |txn| {
            txn.put(Lamp::new("a", "hall"));
            panic!("a transaction that panics on purpose");
        })
    }));
    assert!(panicked.is_err());
    put(&store, &[Lamp::new("b", "hall")]).expect("commits");
    assert_eq!(ids(store.view().list(&Lamp::home())), ["b"]);
}

/// See the name.
pub fn a_panicking_backend_leaves_no_one_waiting(harness: &Harness) {
    if harness.mode == Mode::Inline {
        return; // The panic is the caller's to see.
    }
    let store = harness.open();
    harness.faults.hold();
    let writer = |id: &'static str| {
        start(&store, move |txn| {
            txn.put(Lamp::new(id, "hall"));
            Ok(())
        })
    };
    let (first, _) = writer("a");
    harness.faults.wait_for_commit();
    let (second, _) = writer("b");
    harness.faults.panic();
    harness.faults.release();
    assert!(block_on(first).is_err());
    assert!(block_on(second).is_err());
    let stopped = put(&store, &[Lamp::new("c", "hall")]);
    assert!(matches!(stopped, Err(StoreError::Stopped)), "{stopped:?}");
    assert_eq!(store.view().revision(), Revision(0), "reading goes on");
}
