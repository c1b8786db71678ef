//! What transactions and views see.

use super::fixture::{Harness, Lamp, ids, put, transact};
use crate::{MAX_OPERATIONS, Record, Revision, StoreError};
use ident::Scope;
use serde::{Deserialize, Serialize};

/// See the name.
pub fn writes_are_all_or_nothing(harness: &Harness) {
    let store = harness.open();
    let home = Lamp::home();
    let refused = transact(&store, |txn| {
        txn.put(Lamp::new("a", "hall"));
        txn.put(Lamp::new("b", "hall"));
        Err::<(), _>(StoreError::Stopped)
    });
    assert!(matches!(refused, Err(StoreError::Stopped)), "{refused:?}");
    assert_eq!(store.view().count::<Lamp>(&home), 0);
    assert_eq!(store.view().revision(), Revision(0), "nothing was written");

    put(&store, &[Lamp::new("a", "hall"), Lamp::new("b", "hall")]).expect("commits");
    let view = store.view();
    assert_eq!(view.revision(), Revision(1));
    assert_eq!(view.written::<Lamp>(&home, "a"), Some(Revision(1)));
    assert_eq!(view.written::<Lamp>(&home, "b"), Some(Revision(1)));
}

/// See the name.
pub fn a_transaction_reads_its_own_writes(harness: &Harness) {
    let store = harness.open();
    let home = Lamp::home();
    put(&store, &[Lamp::new("a", "hall"), Lamp::new("b", "hall")]).expect("commits");
    transact(&store, |txn| {
        txn.put(Lamp::new("c", "hall"));
        txn.put(Lamp::new("a", "attic"));
        assert!(txn.delete::<Lamp>(&home, "b"));
        assert!(!txn.delete::<Lamp>(&home, "b"), "it is gone already");

        assert_eq!(txn.get::<Lamp>(&home, "a").map(|lamp| lamp.room.clone()), Some("attic".into()));
        assert!(txn.get::<Lamp>(&home, "b").is_none());
        assert_eq!(ids(txn.list(&home)), ["a", "c"]);
        assert_eq!(ids(txn.all()), ["a", "c"]);
        assert_eq!(ids(txn.by(&home, "room", "hall")), ["c"]);
        assert_eq!(ids(txn.by_any_scope("room", "attic")), ["a"]);
        assert_eq!(ids(txn.view().list(&home)), ["a", "c"]);
        assert_eq!(ids(store.view().list(&home)), ["a", "b"], "others do not");
        Ok(())
    })
    .expect("commits");
    assert_eq!(ids(store.view().list(&home)), ["a", "c"]);
}

/// See the name.
pub fn a_record_written_and_deleted_at_once_was_never_there(harness: &Harness) {
    let store = harness.open();
    transact(&store, |txn| {
        txn.put(Lamp::new("a", "hall"));
        assert!(txn.delete::<Lamp>(&Lamp::home(), "a"));
        Ok(())
    })
    .expect("commits");
    assert_eq!(store.view().revision(), Revision(0), "nothing was written");
    assert!(harness.faults.groups().is_empty(), "the backend was not asked");
}

/// See the name.
pub fn indexes_follow_updates_and_deletes(harness: &Harness) {
    let store = harness.open();
    let home = Lamp::home();
    let mut lamp = Lamp::new("a", "hall");
    lamp.labels = vec!["old".into(), "red".into()];
    put(&store, &[lamp.clone(), Lamp::new("b", "hall")]).expect("commits");
    let by = |index, value: &str| ids(store.view().by::<Lamp>(&home, index, value));
    assert_eq!(by("room", "hall"), ["a", "b"]);
    assert_eq!(by("label", "old"), ["a"]);
    assert_eq!(by("label", "red"), ["a"]);
    assert!(by("room", "hal").is_empty(), "values match as a whole");
    assert!(by("label", "hall").is_empty(), "indexes are apart");

    lamp.room = "attic".into();
    lamp.labels = vec!["red".into(), "red".into()];
    put(&store, &[lamp]).expect("commits");
    assert_eq!(by("room", "hall"), ["b"]);
    assert_eq!(by("room", "attic"), ["a"]);
    assert!(by("label", "old").is_empty());
    assert_eq!(by("label", "red"), ["a"], "found once, however often it says so");

    transact(&store, |txn| {
        txn.delete::<Lamp>(&home, "a");
        Ok(())
    })
    .expect("commits");
    assert!(by("room", "attic").is_empty());
    assert!(by("label", "red").is_empty());
    assert_eq!(by("room", "hall"), ["b"]);
}

/// See the name.
pub fn lists_are_in_order(harness: &Harness) {
    let store = harness.open();
    let home = Lamp::home();
    let lamps: Vec<Lamp> = (0..100).rev().map(|n| Lamp::new(&format!("{n:03}"), "hall")).collect();
    put(&store, &lamps).expect("commits");
    let expected: Vec<String> = (0..100).map(|n| format!("{n:03}")).collect();
    assert_eq!(ids(store.view().list(&home)), expected);
    assert_eq!(ids(store.view().by(&home, "room", "hall")), expected);
    assert_eq!(ids(store.view().all()), expected);
}

/// See the name.
pub fn scopes_do_not_see_one_another(harness: &Harness) {
    let store = harness.open();
    let (home, next_door) = (Lamp::home(), Lamp::scope_of(2));
    let neighbour = Lamp { scope: next_door.clone(), ..Lamp::new("a", "attic") };
    put(&store, &[Lamp::new("a", "hall"), neighbour]).expect("commits");
    let view = store.view();
    let room = |scope| view.get::<Lamp>(scope, "a").map(|lamp| lamp.room.clone());
    assert_eq!(room(&home), Some("hall".into()));
    assert_eq!(room(&next_door), Some("attic".into()));
    assert_eq!(view.count::<Lamp>(&home), 1);
    assert!(view.by::<Lamp>(&home, "room", "attic").next().is_none());
    assert_eq!(view.by_any_scope::<Lamp>("room", "attic").count(), 1);
    let owners: Vec<Scope> = view.all::<Lamp>().map(|lamp| lamp.scope.clone()).collect();
    assert_eq!(owners, [home.clone(), next_door.clone()]);

    let deleted = transact(&store, |txn| Ok(txn.delete::<Lamp>(&home, "a")));
    assert!(deleted.expect("commits"));
    assert_eq!(store.view().count::<Lamp>(&next_door), 1);
}

/// See the name.
pub fn iterators_do_not_hinder_writing(harness: &Harness) {
    let store = harness.open();
    let home = Lamp::home();
    put(&store, &[Lamp::new("a", "hall"), Lamp::new("b", "hall")]).expect("commits");
    transact(&store, |txn| {
        for lamp in txn.by::<Lamp>(&home, "room", "hall") {
            txn.put(Lamp { room: "attic".into(), ..Lamp::clone(&lamp) });
        }
        Ok(())
    })
    .expect("commits");
    assert_eq!(ids(store.view().by(&home, "room", "attic")), ["a", "b"]);
}

/// See the name.
pub fn views_do_not_change(harness: &Harness) {
    let store = harness.open();
    let home = Lamp::home();
    put(&store, &[Lamp::new("a", "hall")]).expect("commits");
    let before = store.view();
    put(&store, &[Lamp::new("a", "attic"), Lamp::new("b", "attic")]).expect("commits");
    assert_eq!(ids(before.list(&home)), ["a"]);
    assert_eq!(ids(before.by(&home, "room", "hall")), ["a"]);
    assert_eq!(before.revision(), Revision(1));
    assert_eq!(store.view().revision(), Revision(2));
}

/// See the name.
pub fn at_most_128_writes(harness: &Harness) {
    let store = harness.open();
    let lamps =
        |count| -> Vec<Lamp> { (0..count).map(|n| Lamp::new(&format!("{n}"), "hall")).collect() };
    let refused = put(&store, &lamps(MAX_OPERATIONS + 1));
    assert!(
        matches!(refused, Err(StoreError::TooLarge { operations: 129, limit: 128 })),
        "{refused:?}"
    );
    assert_eq!(store.view().count::<Lamp>(&Lamp::home()), 0);
    put(&store, &lamps(MAX_OPERATIONS)).expect("just fits");
    transact(&store, |txn| {
        for _ in 0..=MAX_OPERATIONS {
            txn.put(Lamp::new("again and again", "hall"));
        }
        Ok(())
    })
    .expect("is one write");
}

/// A type that no harness registers.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct Stranger(Scope);

impl Record for Stranger {
    const KIND: &'static str = "conformance.stranger";

    fn scope(&self) -> &Scope {
        &self.0
    }

    fn id(&self) -> String {
        "stranger".into()
    }
}

/// See the name.
pub fn unregistered_types_are_refused(harness: &Harness) {
    let store = harness.open();
    let refused = transact(&store, |txn| {
        txn.put(Lamp::new("a", "hall"));
        txn.put(Stranger(Lamp::home()));
        Ok(())
    });
    assert!(
        matches!(refused, Err(StoreError::Unregistered { kind: Stranger::KIND })),
        "{refused:?}"
    );
    assert!(store.view().get::<Lamp>(&Lamp::home(), "a").is_none());
}
