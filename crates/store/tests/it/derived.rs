//! What is derived from records is always what they say.

use ident::Scope;
use proptest::prelude::*;
use std::collections::BTreeMap;
use std::sync::Arc;
use store::conformance::{Lamp, block_on};
use store::{Derived, MemoryBackend, Record, Registry, Store, StoreError, View};

/// How bright each room is: a subject per room.
#[derive(Clone, Debug, Default, PartialEq)]
struct Brightness(BTreeMap<String, u64>);

impl Derived for Brightness {
    const NAME: &'static str = "test.brightness";

    fn refresh(&mut self, view: &View, scope: &Scope, room: &str) {
        match view.by::<Lamp>(scope, "room", room).map(|lamp| lamp.watts).sum() {
            0 => _ = self.0.remove(room),
            watts => _ = self.0.insert(room.to_owned(), watts),
        }
    }

    fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

fn registry() -> Registry {
    let registry = Registry::new().record::<Lamp>();
    registry.derive::<Lamp, Brightness>(|_, lamp| vec![lamp.room.clone()])
}

fn brightness(view: &View, scope: &Scope) -> BTreeMap<String, u64> {
    let mut rooms = BTreeMap::<_, u64>::new();
    for lamp in view.list::<Lamp>(scope).filter(|lamp| lamp.watts > 0) {
        *rooms.entry(lamp.room.clone()).or_default() += lamp.watts;
    }
    rooms
}

/// What one step of a test does.
#[derive(Clone, Debug)]
enum Step {
    /// One transaction: lamps to put (scope, id, room, watts), and ids to delete.
    Write(Vec<(u8, u8, u8, u64)>, Vec<(u8, u8)>),
    /// A transaction that changes its mind.
    Fail(u8),
    /// The store is closed and opened again.
    Reopen,
}

fn step() -> impl Strategy<Value = Step> {
    let lamp = (1_u8..3, 0_u8..6, 0_u8..3, 0_u64..3);
    let write = (
        proptest::collection::vec(lamp, 0..4),
        proptest::collection::vec((1_u8..3, 0_u8..6), 0..3),
    );
    prop_oneof![
        6 => write.prop_map(|(put, delete)| Step::Write(put, delete)),
        1 => (0_u8..6).prop_map(Step::Fail),
        1 => Just(Step::Reopen),
    ]
}

fn lamp(scope: u8, id: u8, room: u8, watts: u64) -> Lamp {
    let lamp = Lamp::new(&format!("l-{id}"), &format!("r-{room}"));
    Lamp { scope: Lamp::scope_of(scope), watts, ..lamp }
}

fn holds(view: &View) -> Result<(), TestCaseError> {
    for scope in [1, 2].map(Lamp::scope_of) {
        let derived = view.derived::<Brightness>(&scope);
        prop_assert_eq!(&derived.0, &brightness(view, &scope));
        prop_assert_eq!(derived, view.derived_anew::<Brightness>(&scope));
    }
    Ok(())
}

proptest! {
    #[test]
    fn what_is_derived_follows_every_write(steps in proptest::collection::vec(step(), 0..20)) {
        let backend = MemoryBackend::new();
        let open = || Store::open_inline(Box::new(backend.clone()), registry()).expect("opens");
        let mut store = open();
        for step in steps {
            match step {
                Step::Write(put, delete) => {
                    block_on(store.transact(|txn| {
                        for (scope, id, room, watts) in &put {
                            txn.put(lamp(*scope, *id, *room, *watts));
                        }
                        for (scope, id) in &delete {
                            txn.delete::<Lamp>(&Lamp::scope_of(*scope), &format!("l-{id}"));
                        }
                        holds(txn.view()).expect("holds within");
                        Ok::<_, StoreError>(())
                    })).expect("commits");
                }
                Step::Fail(id) => {
                    let failed = block_on(store.transact(|txn| {
                        txn.put(lamp(1, id, 0, 100));
                        Err::<(), _>(StoreError::Stopped)
                    }));
                    prop_assert!(failed.is_err());
                }
                Step::Reopen => store = open(),
            }
            holds(&store.view())?;
        }
    }
}

#[test]
fn an_erased_record_leaves_nothing_derived() {
    let store = Store::in_memory(registry());
    let account = Lamp::home().account;
    let write = |watts| {
        store.transact(move |txn| {
            txn.put(lamp(1, 1, 1, watts));
            Ok::<_, StoreError>(())
        })
    };
    block_on(write(40)).expect("commits");
    assert_eq!(store.view().derived::<Brightness>(&Lamp::home()).0.len(), 1);
    block_on(store.transact(|txn| {
        let keys: Vec<_> = txn.view().keys_of(&account).collect();
        assert!(keys.iter().all(|key| key.kind == Lamp::KIND && txn.erase(key)));
        Ok::<_, StoreError>(())
    }))
    .expect("commits");
    let nothing = Arc::new(Brightness::default());
    assert_eq!(store.view().derived::<Brightness>(&Lamp::home()), nothing);
}
