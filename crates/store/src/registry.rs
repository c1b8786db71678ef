//! Which kinds of records there are.

use crate::derived::{Derivations, Derived, Source, Sources};
use crate::record::{decode, encode};
use crate::view::{Entry, Erased};
use crate::{Encoded, EncodingError, Loaded, Record, StoreError, StoredRecord, View};
use std::any::TypeId;
use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

/// The kinds of records that a store knows.
///
/// A store refuses state that holds any other kind: to go on without it would
/// be to forget it.
///
/// ```
/// use store::{Registry, Store, conformance::Lamp};
///
/// let store = Store::in_memory(Registry::new().record::<Lamp>());
/// assert_eq!(store.view().all::<Lamp>().count(), 0);
/// ```
#[derive(Clone, Default)]
pub struct Registry {
    codecs: Arc<BTreeMap<&'static str, Codec>>,
    sources: Arc<Sources>,
}

/// A record type, seen from where its type is not known.
#[derive(Clone, Copy)]
pub(crate) struct Codec {
    type_id: TypeId,
    type_name: &'static str,
    version: u32,
    decode: fn(&StoredRecord) -> Result<Entry, EncodingError>,
}

/// Encodes a record whose type is known only to whoever made this function.
pub(crate) type Encoder = fn(&Erased) -> Result<Encoded, EncodingError>;

impl Registry {
    /// A registry of nothing.
    pub fn new() -> Self {
        Self::default()
    }

    /// This registry and `R`. Naming a type twice is harmless, so that crates
    /// can each name what they need.
    ///
    /// # Panics
    ///
    /// If another type has the same kind. That is a mistake in the program.
    #[must_use]
    pub fn record<R: Record>(mut self) -> Self {
        let codec = Codec {
            type_id: TypeId::of::<R>(),
            type_name: std::any::type_name::<R>(),
            version: R::VERSION,
            decode: |stored| {
                let record: R = decode(&stored.key, stored.version, &stored.bytes)?;
                Ok(Entry::new(Arc::new(record), stored.revision))
            },
        };
        let before = Arc::make_mut(&mut self.codecs).insert(R::KIND, codec);
        if let Some(before) = before {
            assert!(
                before.type_id == codec.type_id,
                "{} and {} are both of kind {}",
                before.type_name,
                codec.type_name,
                R::KIND
            );
        }
        self
    }

    /// This registry, with `D` derived from records of type `R`, among others:
    /// `subjects` says which subjects of it a record is about.
    #[must_use]
    pub fn derive<R: Record, D: Derived>(mut self, subjects: fn(&View, &R) -> Vec<String>) -> Self {
        let sources = Arc::make_mut(&mut self.sources).entry(R::KIND).or_default();
        sources.retain(|source| source.derived != D::NAME);
        sources.push(Source::new::<R, D>(subjects));
        self
    }

    /// Every kind, with the version of its encoding.
    pub fn kinds(&self) -> impl Iterator<Item = (&'static str, u32)> + '_ {
        self.codecs.iter().map(|(kind, codec)| (*kind, codec.version))
    }

    /// How to encode an `R`, if it is one of the registered types.
    pub(crate) fn encoder<R: Record>(&self) -> Result<Encoder, StoreError> {
        let known = self.codecs.get(R::KIND).is_some_and(|c| c.type_id == TypeId::of::<R>());
        if !known {
            return Err(StoreError::Unregistered { kind: R::KIND });
        }
        Ok(|record| match record.downcast_ref::<R>() {
            Some(record) => encode(record),
            None => unreachable!("the encoder was made with the record, by its type"),
        })
    }

    /// The view of what a backend holds, if every byte of it can be read.
    pub(crate) fn decode(&self, loaded: Loaded) -> Result<View, StoreError> {
        let mut view = View::at(loaded.revision);
        for stored in loaded.records {
            let key = stored.key.clone();
            if stored.revision > loaded.revision {
                let problem = format!(
                    "{key} was written at revision {}, after the newest, {}",
                    stored.revision, loaded.revision
                );
                return Err(StoreError::Inconsistent { problem });
            }
            let Some((kind, codec)) = self.codecs.get_key_value(&*key.kind) else {
                return Err(StoreError::UnknownKind { key });
            };
            match (codec.decode)(&stored) {
                Ok(entry) => _ = view.insert(kind, &key, entry),
                Err(cause) => return Err(StoreError::Unreadable { key, cause }),
            }
        }
        Ok(view)
    }

    /// What is derived from records, of which nothing is known yet.
    pub(crate) fn derivations(&self) -> Derivations {
        Derivations::new(Arc::clone(&self.sources))
    }
}

impl fmt::Debug for Registry {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_set().entries(self.codecs.keys()).finish()
    }
}
