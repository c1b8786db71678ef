//! What is derived from records is always what they say.

use ident::Scope;
use proptest::prelude::*;
use std::collections::BTreeMap;
use store::conformance::{Lamp, block_on};
use store::{
    Derived, MAX_OPERATIONS, MemoryBackend, Record, Registry, Store, StoreError, Txn, View,
};

/// How bright each room is: a subject per room.
#[derive(Debug, Default, PartialEq)]
struct Brightness(BTreeMap<String, u64>);

impl Derived for Brightness {
    const NAME: &'static str = "test.brightness";

    fn refresh(&mut self, view: &View, scope: &Scope, room: &str) {
        match view.by::<Lamp>(scope, "room", room).map(|lamp| lamp.watts).sum() {
            0 => _ = self.0.remove(room),
            watts => _ = self.0.insert(room.to_owned(), watts),
        }
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
    /// A transaction, and what becomes of it.
    Write(Draft, End),
    /// Somebody asks.
    Ask,
    /// Another machine writes to the same database.
    Overtake(Draft),
    /// The account of one of the scopes ends.
    Erase(u8),
    /// The store is closed and opened again.
    Reopen,
}

/// Lamps to put (scope, id, room, watts), ids to delete, and whether to ask meanwhile.
#[derive(Clone, Debug)]
struct Draft {
    /// The room of a scope of which something is supposed first.
    supposes: Option<(u8, u8)>,
    put: Vec<(u8, u8, u8, u64)>,
    delete: Vec<(u8, u8)>,
    asks: bool,
}

#[derive(Clone, Copy, Debug)]
enum End {
    Commits,
    /// It changes its mind.
    Fails,
    /// It was a rehearsal.
    Rehearses,
    /// It is too large for any backend.
    TooLarge,
}

fn draft() -> impl Strategy<Value = Draft> {
    let lamp = (1_u8..3, 0_u8..6, 0_u8..3, 0_u64..3);
    (
        proptest::option::weighted(0.2, (1_u8..3, 0_u8..3)),
        proptest::collection::vec(lamp, 0..4),
        proptest::collection::vec((1_u8..3, 0_u8..6), 0..3),
        any::<bool>(),
    )
        .prop_map(|(supposes, put, delete, asks)| Draft { supposes, put, delete, asks })
}

fn step() -> impl Strategy<Value = Step> {
    let end = prop_oneof![
        4 => Just(End::Commits),
        1 => Just(End::Fails),
        1 => Just(End::Rehearses),
        1 => Just(End::TooLarge),
    ];
    prop_oneof![
        8 => (draft(), end).prop_map(|(draft, end)| Step::Write(draft, end)),
        3 => Just(Step::Ask),
        1 => draft().prop_map(Step::Overtake),
        1 => (1_u8..3).prop_map(Step::Erase),
        1 => Just(Step::Reopen),
    ]
}

fn lamp(scope: u8, id: u8, room: u8, watts: u64) -> Lamp {
    let lamp = Lamp::new(&format!("l-{id}"), &format!("r-{room}"));
    Lamp { scope: Lamp::scope_of(scope), watts, ..lamp }
}

/// What a transaction has of both scopes is what the records say.
fn holds(txn: &mut Txn) {
    for scope in [1, 2].map(Lamp::scope_of) {
        let anew = txn.derived_anew::<Brightness>(&scope);
        assert_eq!(anew.0, brightness(txn.view(), &scope));
        assert_eq!(*txn.derived::<Brightness>(&scope), anew);
    }
}

fn write(txn: &mut Txn, draft: &Draft, end: End) -> Result<(), StoreError> {
    if let Some((scope, room)) = draft.supposes {
        let (scope, room) = (Lamp::scope_of(scope), format!("r-{room}"));
        txn.derived::<Brightness>(&scope).0.insert(room.clone(), 1_000);
        txn.doubt::<Brightness>(&scope, room);
    }
    for (scope, id, room, watts) in &draft.put {
        txn.put(lamp(*scope, *id, *room, *watts));
    }
    for (scope, id) in &draft.delete {
        txn.delete::<Lamp>(&Lamp::scope_of(*scope), &format!("l-{id}"));
    }
    if let End::TooLarge = end {
        for n in 0..=MAX_OPERATIONS {
            txn.put(Lamp::new(&format!("more-{n}"), "r-9"));
        }
    }
    if draft.asks {
        holds(txn);
    }
    if let End::Fails = end { Err(StoreError::Stopped) } else { Ok(()) }
}

fn erase(txn: &mut Txn, scope: u8) {
    let account = Lamp::scope_of(scope).account;
    let keys: Vec<_> = txn.view().keys_of(&account).collect();
    assert!(keys.iter().all(|key| key.kind == Lamp::KIND && txn.erase(key)));
}

proptest! {
    #[test]
    fn what_is_derived_follows_every_write(steps in proptest::collection::vec(step(), 0..30)) {
        let backend = MemoryBackend::new();
        let open = || Store::open_inline(Box::new(backend.clone()), registry()).expect("opens");
        let mut store = open();
        for step in steps {
            let nothing_else = Ok::<_, StoreError>(());
            let ended = match &step {
                Step::Write(draft, end) => {
                    let rehearses = matches!(end, End::Rehearses);
                    let store = if rehearses { store.rehearsal() } else { store.clone() };
                    let ended = block_on(store.transact(|txn| write(txn, draft, *end)));
                    prop_assert_eq!(ended.is_ok(), !matches!(end, End::Fails | End::TooLarge));
                    nothing_else
                }
                Step::Overtake(draft) => {
                    block_on(open().transact(|txn| write(txn, draft, End::Commits)))
                }
                Step::Erase(scope) => block_on(store.transact(|txn| {
                    erase(txn, *scope);
                    holds(txn);
                    Ok(())
                })),
                Step::Ask => block_on(store.transact(|txn| {
                    holds(txn);
                    Ok(())
                })),
                Step::Reopen => {
                    store = open();
                    nothing_else
                }
            };
            prop_assert!(ended.is_ok(), "{step:?}: {ended:?}");
        }
        block_on(store.transact(|txn| {
            holds(txn);
            Ok::<_, StoreError>(())
        }))
        .expect("reads");
    }
}

/// More is written about than is worth noting, and nobody asks in between.
#[test]
fn more_than_can_be_noted_is_derived_anew() {
    let store = Store::in_memory(registry());
    let ask = || {
        block_on(store.transact(|txn| {
            holds(txn);
            Ok::<_, StoreError>(txn.derived::<Brightness>(&Lamp::home()).0.len())
        }))
    };
    assert_eq!(ask().expect("reads"), 0);
    let rooms = 20_000;
    for first in (0..rooms).step_by(100) {
        block_on(store.transact(|txn| {
            for n in first..first + 100 {
                txn.put(Lamp { watts: 1, ..Lamp::new(&format!("l-{n}"), &format!("r-{n}")) });
            }
            Ok::<_, StoreError>(())
        }))
        .expect("commits");
    }
    assert_eq!(ask().expect("reads"), rooms);
}

#[test]
fn an_erasure_that_is_given_up_leaves_what_was_there() {
    let store = Store::in_memory(registry());
    let ask =
        || {
            block_on(store.transact(|txn| {
                Ok::<_, StoreError>(txn.derived::<Brightness>(&Lamp::home()).0.len())
            }))
        };
    block_on(store.transact(|txn| {
        txn.put(Lamp { watts: 40, ..Lamp::new("l-1", "r-1") });
        Ok::<_, StoreError>(())
    }))
    .expect("commits");
    assert_eq!(ask().expect("reads"), 1);
    let given_up = block_on(store.transact(|txn| {
        let keys: Vec<_> = txn.view().keys_of(&Lamp::home().account).collect();
        assert!(keys.iter().all(|key| txn.erase(key)));
        assert_eq!(txn.derived::<Brightness>(&Lamp::home()).0.len(), 0);
        Err::<(), _>(StoreError::Stopped)
    }));
    assert!(given_up.is_err());
    assert_eq!(ask().expect("reads"), 1);
}
