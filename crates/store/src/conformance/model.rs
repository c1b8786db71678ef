//! The store against the simplest thing that could be right: a sorted map, and
//! searching through all of it.

use super::fixture::{Harness, Lamp, block_on};
use crate::{Store, StoreError, View};
use std::collections::BTreeMap;

/// Something that may happen to a store.
#[derive(Clone, Debug)]
pub enum Op {
    /// A transaction that writes (`Ok`) and deletes (`Err`, by scope and id).
    Commit(Vec<Result<Lamp, (u8, String)>>),
    /// The same, but it changes its mind at the end.
    Abort(Vec<Result<Lamp, (u8, String)>>),
    /// The same, but the backend fails.
    Fail(Vec<Result<Lamp, (u8, String)>>),
    /// A restart.
    Reopen,
}

type Model = BTreeMap<(u8, String), Lamp>;

/// Does `ops` to a store and to a model, and compares them after each.
///
/// # Panics
///
/// If they differ. Scopes must be `Lamp::scope_of` 0, 1 or 2.
pub fn check_model(harness: &Harness, ops: &[Op]) {
    let mut model = Model::new();
    let mut store = harness.open();
    compare(&store.view(), &model);
    for op in ops {
        match op {
            Op::Commit(changes) => {
                apply(&mut model, changes);
                run(&store, changes, || Ok(())).expect("commits");
            }
            Op::Abort(changes) => {
                run(&store, changes, || Err(StoreError::Stopped)).expect_err("aborts");
            }
            Op::Fail(changes) => {
                let mut after = model.clone();
                apply(&mut after, changes);
                harness.faults.fail();
                if run(&store, changes, || Ok(())).is_ok() {
                    assert_eq!(model, after, "it wrote nothing");
                    // The failure is still to come: let it hit someone.
                    let spare = Lamp { scope: Lamp::scope_of(9), ..Lamp::new("spare", "") };
                    run(&store, &[Ok(spare)], || Ok(())).expect_err("fails");
                }
            }
            Op::Reopen => {
                drop(store);
                store = harness.open();
            }
        }
        compare(&store.view(), &model);
    }
}

fn run(
    store: &Store,
    changes: &[Result<Lamp, (u8, String)>],
    end: impl Fn() -> Result<(), StoreError>,
) -> Result<(), StoreError> {
    block_on(store.transact(|txn| {
        let mut model: Model =
            txn.view().all::<Lamp>().map(|lamp| (place(&lamp), Lamp::clone(&lamp))).collect();
        for change in changes {
            apply(&mut model, std::slice::from_ref(change));
            match change {
                Ok(lamp) => _ = txn.put(lamp.clone()),
                Err((scope, id)) => {
                    txn.delete::<Lamp>(&Lamp::scope_of(*scope), id);
                }
            }
            compare(txn.view(), &model);
        }
        end()
    }))
}

fn apply(model: &mut Model, changes: &[Result<Lamp, (u8, String)>]) {
    for change in changes {
        match change {
            Ok(lamp) => model.insert(place(lamp), lamp.clone()),
            Err(place) => model.remove(place),
        };
    }
}

fn place(lamp: &Lamp) -> (u8, String) {
    let scope = (0..=9).find(|number| Lamp::scope_of(*number) == lamp.scope);
    (scope.expect("is one of the suite's"), lamp.id.clone())
}

fn compare(view: &View, model: &Model) {
    let all: Vec<Lamp> = view.all::<Lamp>().map(|lamp| Lamp::clone(&lamp)).collect();
    assert_eq!(all, model.values().cloned().collect::<Vec<_>>());

    for number in 0..=2 {
        let scope = Lamp::scope_of(number);
        let here = || model.values().filter(|lamp| lamp.scope == scope);
        assert!(view.list::<Lamp>(&scope).map(|lamp| Lamp::clone(&lamp)).eq(here().cloned()));
        assert_eq!(view.count::<Lamp>(&scope), here().count());
        for lamp in here() {
            assert_eq!(view.get::<Lamp>(&scope, &lamp.id).as_deref(), Some(lamp));
        }
    }

    let rooms = model.values().map(|lamp| ("room", lamp.room.as_str()));
    let labels = model.values().flat_map(|lamp| lamp.labels.iter().map(|l| ("label", l.as_str())));
    // Values that no record has any more, or never had, are looked for as well.
    let fixed = ["", "a", "b", "c", "ab"].into_iter().flat_map(|v| [("room", v), ("label", v)]);
    for (index, value) in rooms.chain(labels).chain(fixed) {
        let has = |lamp: &&Lamp| match index {
            "room" => lamp.room == value,
            _ => lamp.labels.iter().any(|label| label == value),
        };
        let expected = || model.values().filter(has);
        let found = view.by_any_scope::<Lamp>(index, value).map(|lamp| Lamp::clone(&lamp));
        assert!(found.eq(expected().cloned()), "{index} {value}");
        for number in 0..=2 {
            let scope = Lamp::scope_of(number);
            let found = view.by::<Lamp>(&scope, index, value).map(|lamp| Lamp::clone(&lamp));
            let expected = expected().filter(|lamp| lamp.scope == scope).cloned();
            assert!(found.eq(expected), "{index} {value} in {scope}");
        }
    }
}
