//! Old encodings stay readable. This is also the pattern for the fixtures of
//! real records: a file per version, never edited once released.

use ident::Scope;
use serde::{Deserialize, Serialize};
use std::sync::Arc;
use store::conformance::{Lamp, block_on};
use store::{
    Backend, Commit, Encoded, EncodingError, Key, MemoryBackend, Record, Registry, Revision, Store,
    StoreError, Write,
};

/// A record that once kept its power as text.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Lantern {
    scope: Scope,
    id: String,
    milliwatts: u64,
}

/// How it was before. Old shapes are kept beside the new one, for as long as
/// there are databases of their time.
#[derive(Deserialize)]
struct LanternV1 {
    scope: Scope,
    id: String,
    watts: String,
}

impl Record for Lantern {
    const KIND: &'static str = "test.lantern";
    const VERSION: u32 = 2;

    fn scope(&self) -> &Scope {
        &self.scope
    }

    fn id(&self) -> String {
        self.id.clone()
    }

    fn upgrade(version: u32, bytes: &[u8]) -> Result<Self, EncodingError> {
        match version {
            1 => {
                let LanternV1 { scope, id, watts } = serde_json::from_slice(bytes)?;
                let watts: u64 = watts.trim_end_matches('W').parse().unwrap_or(0);
                Ok(Self { scope, id, milliwatts: watts * 1000 })
            }
            _ => Err(EncodingError::UnknownVersion { version }),
        }
    }
}

fn registry() -> Registry {
    Registry::new().record::<Lantern>().record::<Lantern>().record::<Lamp>()
}

fn lantern() -> Lantern {
    Lantern { scope: Lamp::home(), id: "l-1".into(), milliwatts: 60_000 }
}

fn stored(version: u32, bytes: &[u8]) -> MemoryBackend {
    let key = Key { scope: Arc::new(Lamp::home()), kind: Lantern::KIND.into(), id: "l-1".into() };
    let write = Write { key, value: Some(Encoded { version, bytes: bytes.to_vec() }) };
    let mut backend = MemoryBackend::new();
    backend
        .commit(&[Commit { revision: Revision(1), guards: Vec::new(), writes: vec![write] }])
        .expect("commits");
    backend
}

#[test]
fn every_version_reads_as_what_it_meant() {
    let fixtures: [(u32, &[u8]); 2] = [
        (1, include_bytes!("fixtures/lantern.v1.json")),
        (2, include_bytes!("fixtures/lantern.v2.json")),
    ];
    for (version, bytes) in fixtures {
        let store = Store::open_inline(Box::new(stored(version, bytes)), registry())
            .expect("the version is known");
        let read = store.view().get::<Lantern>(&Lamp::home(), "l-1");
        assert_eq!(read.as_deref(), Some(&lantern()), "version {version}");
    }
}

#[test]
fn records_are_written_in_the_newest_version() {
    let mut backend = stored(1, include_bytes!("fixtures/lantern.v1.json"));
    let store = Store::open_inline(Box::new(backend.clone()), registry()).expect("opens");
    block_on(store.transact(|txn| {
        let old = txn.get::<Lantern>(&Lamp::home(), "l-1").expect("is there");
        txn.put(Lantern::clone(&old));
        Ok::<_, StoreError>(())
    }))
    .expect("commits");
    let record = backend.load().expect("loads").records.remove(0);
    assert_eq!((record.version, record.revision), (2, Revision(2)));
    assert_eq!(record.bytes, include_bytes!("fixtures/lantern.v2.json"));
}

#[test]
fn other_versions_are_refused() {
    for version in [0, 3] {
        let backend = stored(version, include_bytes!("fixtures/lantern.v2.json"));
        let refused = Store::open_inline(Box::new(backend), registry());
        assert!(matches!(refused, Err(StoreError::Unreadable { .. })), "{version}: {refused:?}");
    }
}

/// Claims the kind of [`Lantern`].
#[derive(Clone, Debug, Serialize, Deserialize)]
struct Impostor(Scope);

impl Record for Impostor {
    const KIND: &'static str = Lantern::KIND;

    fn scope(&self) -> &Scope {
        &self.0
    }

    fn id(&self) -> String {
        "l-1".into()
    }
}

#[test]
#[should_panic(expected = "are both of kind test.lantern")]
fn two_types_of_one_kind_are_a_mistake() {
    let _ = registry().record::<Impostor>();
}

#[test]
fn an_impostor_can_neither_write_nor_read() {
    let store = Store::in_memory(registry());
    block_on(store.transact(|txn| {
        txn.put(lantern());
        Ok::<_, StoreError>(())
    }))
    .expect("commits");
    assert!(store.view().get::<Impostor>(&Lamp::home(), "l-1").is_none());
    let refused = block_on(store.transact(|txn| {
        txn.put(Impostor(Lamp::home()));
        Ok::<_, StoreError>(())
    }));
    assert!(matches!(refused, Err(StoreError::Unregistered { .. })), "{refused:?}");
}

#[test]
fn causes_are_told_once() {
    let backend = stored(3, b"{}");
    let refused = Store::open_inline(Box::new(backend), registry()).expect_err("is newer");
    assert_eq!(refused.to_string(), "test.lantern 000000000001/us-east-1/l-1 cannot be read");
    let cause = std::error::Error::source(&refused).expect("has a cause");
    assert_eq!(cause.to_string(), "version 3 of the encoding is newer than 2, which is known here");
}
