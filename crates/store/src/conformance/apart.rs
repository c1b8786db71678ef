//! What outlives a store, and what backends owe it.

use super::fixture::{Harness, Lamp, foreign, ids, key, put, start, transact};
use crate::{Commit, Guard, Revision, StoreError, Txn};

/// See the name.
pub fn reopening_gives_the_same_state(harness: &Harness) {
    let home = Lamp::home();
    let store = harness.open();
    put(&store, &[Lamp::new("a", "hall"), Lamp::new("b", "hall")]).expect("commits");
    put(&store, &[Lamp::new("b", "attic"), Lamp::new("c", "attic")]).expect("commits");
    transact(&store, |txn| Ok(txn.delete::<Lamp>(&home, "c"))).expect("commits");
    let before: Vec<Lamp> = store.view().all::<Lamp>().map(|lamp| Lamp::clone(&lamp)).collect();
    drop(store);

    let store = harness.open();
    let view = store.view();
    let after: Vec<Lamp> = view.all::<Lamp>().map(|lamp| Lamp::clone(&lamp)).collect();
    assert_eq!(before, after);
    assert_eq!(view.revision(), Revision(3));
    assert_eq!(view.written::<Lamp>(&home, "a"), Some(Revision(1)));
    assert_eq!(view.written::<Lamp>(&home, "b"), Some(Revision(2)));
    assert_eq!(ids(view.by(&home, "room", "attic")), ["b"]);

    put(&store, &[Lamp::new("d", "hall")]).expect("goes on");
    assert_eq!(store.view().revision(), Revision(4));
}

/// See the name.
pub fn strange_ids_survive(harness: &Harness) {
    let strange = ["", "a/b", "a b", "'; DROP TABLE records; --", "ü", "\u{0}", "\u{10ffff}", "%_"];
    let lamps: Vec<Lamp> = strange.iter().map(|id| Lamp::new(id, id)).collect();
    put(&harness.open(), &lamps).expect("commits");
    let store = harness.open();
    for id in strange {
        let lamp = store.view().get::<Lamp>(&Lamp::home(), id);
        assert_eq!(lamp.map(|lamp| lamp.room.clone()).as_deref(), Some(id));
        assert_eq!(ids(store.view().by(&Lamp::home(), "room", id)), [id]);
    }
    let deleted =
        transact(&store, |txn| Ok(strange.iter().all(|id| txn.delete::<Lamp>(&Lamp::home(), id))));
    assert!(deleted.expect("commits"));
    drop(store);
    assert_eq!(harness.open().view().count::<Lamp>(&Lamp::home()), 0);
}

/// See the name.
pub fn what_was_queued_is_committed_before_the_store_closes(harness: &Harness) {
    let store = harness.open();
    for n in 0..20 {
        drop(start(&store, move |txn| {
            txn.put(Lamp::new(&format!("{n}"), "hall"));
            Ok(())
        }));
    }
    drop(store);
    assert_eq!(harness.open().view().count::<Lamp>(&Lamp::home()), 20);
}

type Read = fn(&mut Txn);

/// Ids, and the revisions they were found at.
type Found = &'static [(&'static str, Option<u64>)];

/// See the name.
pub fn commits_name_what_was_read(harness: &Harness) {
    let store = harness.open();
    let home = Lamp::home();
    put(&store, &[Lamp::new("a", "hall"), Lamp::new("b", "hall")]).expect("commits");
    assert!(harness.faults.last_group()[0].guards.is_empty(), "writing is not reading");
    put(&store, &[Lamp::new("b", "attic"), Lamp::new("c", "hall")]).expect("commits");

    let cases: [(&str, Read, Found); 7] = [
        ("get", |txn| drop(txn.get::<Lamp>(&Lamp::home(), "b")), &[("b", Some(2))]),
        ("get nothing", |txn| drop(txn.get::<Lamp>(&Lamp::home(), "z")), &[("z", None)]),
        (
            "list",
            |txn| drop(txn.list::<Lamp>(&Lamp::home())),
            &[("a", Some(1)), ("b", Some(2)), ("c", Some(2))],
        ),
        (
            "by",
            |txn| drop(txn.by::<Lamp>(&Lamp::home(), "room", "hall")),
            &[("a", Some(1)), ("c", Some(2))],
        ),
        ("by any scope", |txn| drop(txn.by_any_scope::<Lamp>("room", "attic")), &[("b", Some(2))]),
        (
            "delete nothing",
            |txn| {
                txn.delete::<Lamp>(&Lamp::home(), "z");
            },
            &[("z", None)],
        ),
        ("the view", |txn| drop(txn.view().get::<Lamp>(&Lamp::home(), "b")), &[]),
    ];
    for (case, read, expected) in cases {
        transact(&store, |txn| {
            read(txn);
            txn.put(Lamp::new("written", "cellar"));
            // What we wrote ourselves is guarded as it was before.
            txn.get::<Lamp>(&home, "written");
            txn.delete::<Lamp>(&home, "written");
            txn.put(Lamp::new("scratch", "cellar"));
            Ok(())
        })
        .expect("commits");
        let mut guards = harness.faults.last_group().remove(0).guards;
        guards.retain(|guard| {
            let own = &*guard.key.id == "written";
            assert!(!own || guard.revision.is_none(), "{case}: {guard:?}");
            !own
        });
        let expected: Vec<Guard> = expected
            .iter()
            .map(|(id, revision)| Guard {
                key: key(&Lamp::new(id, "")),
                revision: revision.map(Revision),
            })
            .collect();
        assert_eq!(guards, expected, "{case}");
        transact(&store, |txn| Ok(txn.delete::<Lamp>(&home, "scratch"))).expect("commits");
    }
}

/// See the name.
pub fn backends_refuse_revisions_out_of_turn(harness: &Harness) {
    let mut backend = harness.backend();
    let lamp = Lamp::new("a", "hall");
    backend.commit(&[foreign(Revision(1), &lamp)]).expect("is the first");
    let batches = [
        vec![foreign(Revision(1), &lamp)],
        vec![foreign(Revision(3), &lamp)],
        vec![foreign(Revision(2), &Lamp::new("b", "hall")), foreign(Revision(2), &lamp)],
        vec![foreign(Revision(2), &Lamp::new("b", "hall")), foreign(Revision(4), &lamp)],
    ];
    for batch in batches {
        let refused = backend.commit(&batch);
        assert!(matches!(refused, Err(StoreError::Conflict)), "{batch:?}: {refused:?}");
        let loaded = backend.load().expect("loads");
        assert_eq!((loaded.revision, loaded.records.len()), (Revision(1), 1), "{batch:?}");
    }
    backend.commit(&[foreign(Revision(2), &lamp), foreign(Revision(3), &lamp)]).expect("in turn");
}

/// See the name.
pub fn backends_check_guards(harness: &Harness) {
    let mut backend = harness.backend();
    let (a, b) = (Lamp::new("a", "hall"), Lamp::new("b", "hall"));
    backend.commit(&[foreign(Revision(1), &a)]).expect("commits");
    let guarded = |at, lamp, revision| {
        let guards = vec![Guard { key: key(lamp), revision }];
        Commit { guards, ..foreign(Revision(at), lamp) }
    };

    for (lamp, wrong) in [(&a, None), (&a, Some(Revision(2))), (&b, Some(Revision(1)))] {
        let refused = backend.commit(&[guarded(2, lamp, wrong)]);
        assert!(matches!(refused, Err(StoreError::Conflict)), "{lamp:?} {wrong:?}: {refused:?}");
    }
    let torn = [guarded(2, &b, None), guarded(3, &a, Some(Revision(2)))];
    assert!(matches!(backend.commit(&torn), Err(StoreError::Conflict)));
    assert_eq!(backend.load().expect("loads").records.len(), 1, "none of the group stays");

    let sound = [
        guarded(2, &b, None),
        // A guard on what the group itself has just written.
        guarded(3, &b, Some(Revision(2))),
        guarded(4, &a, Some(Revision(1))),
    ];
    backend.commit(&sound).expect("every guard holds when its turn comes");
}
