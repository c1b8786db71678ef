//! What the simulator relies on: no threads, no waiting, restarts.

use futures::FutureExt;
use store::conformance::Lamp;
use store::{MemoryBackend, Registry, Store, StoreError};

fn registry() -> Registry {
    Registry::new().record::<Lamp>()
}

#[test]
fn futures_are_ready_at_once() {
    let store = Store::in_memory(registry());
    let mut changes = store.subscribe();
    let mut feed = store.watch_from(store.view().revision());
    let answer = store.transact(|txn| {
        txn.put(Lamp::new("a", "hall"));
        Ok::<_, StoreError>(())
    });
    answer.now_or_never().expect("is ready").expect("commits");
    assert!(changes.changed().now_or_never().is_some());
    assert!(changes.changed().now_or_never().is_none());
    assert!(feed.next().now_or_never().is_some());
}

#[test]
fn contents_survive_a_simulated_crash() {
    let disk = MemoryBackend::new();
    for boot in 0..3 {
        let store = Store::open_inline(Box::new(disk.clone()), registry()).expect("opens");
        assert_eq!(store.view().count::<Lamp>(&Lamp::home()), boot);
        let answer = store.transact(|txn| {
            txn.put(Lamp::new(&format!("{boot}"), "hall"));
            Ok::<_, StoreError>(())
        });
        answer.now_or_never().expect("is ready").expect("commits");
        // A crash is: no one hears from this store again.
        std::mem::forget(store);
    }
}

#[test]
fn two_stores_on_one_memory_do_not_lose_updates() {
    let disk = MemoryBackend::new();
    let open = || Store::open_inline(Box::new(disk.clone()), registry()).expect("opens");
    let (one, other) = (open(), open());
    for round in 1..=10_u64 {
        for store in [&one, &other] {
            let answer = store.transact(|txn| {
                let watts = txn.get::<Lamp>(&Lamp::home(), "a").map_or(0, |lamp| lamp.watts);
                txn.put(Lamp { watts: watts + 1, ..Lamp::new("a", "hall") });
                Ok::<_, StoreError>(watts + 1)
            });
            answer.now_or_never().expect("is ready").expect("commits");
        }
        let lamp = other.view().get::<Lamp>(&Lamp::home(), "a").expect("is there");
        assert_eq!(lamp.watts, 2 * round);
    }
}

/// Handlers run on a runtime of many threads.
#[test]
fn transactions_can_be_sent() {
    fn sendable<T: Send>(value: T) -> T {
        value
    }
    let store = sendable(Store::in_memory(registry()));
    let shared = &store;
    let future = sendable(shared.transact(|txn| {
        txn.put(Lamp::new("a", "hall"));
        Ok::<_, StoreError>(())
    }));
    assert!(future.now_or_never().is_some());
    let mut changes = sendable(store.subscribe());
    assert!(sendable(changes.changed()).now_or_never().is_none());
}

#[test]
fn a_rehearsal_answers_and_keeps_nothing() {
    let store = Store::in_memory(registry());
    let before = store.view().revision();
    let rehearsal = store.rehearsal();
    let light = |watts: u64| {
        let answer = rehearsal.transact(|txn| {
            txn.put(Lamp { watts, ..Lamp::new("a", "hall") });
            if watts > 100 { Err(StoreError::Stopped) } else { Ok(watts) }
        });
        answer.now_or_never().expect("is ready")
    };
    assert_eq!(light(60).expect("would do"), 60);
    assert!(light(200).is_err());
    assert_eq!(store.view().revision(), before);
    assert!(store.view().get::<Lamp>(&Lamp::home(), "a").is_none());
}
