//! What a record is, and how it becomes bytes and is read back.
//!
//! This is the only place that encodes. The envelope is a version beside JSON:
//! backends keep the version in a column of its own, so that one can see what
//! lies in a database without knowing how to read it.

use crate::Key;
use ident::Scope;
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::fmt;

/// Something that is kept.
///
/// A record's scope and id are its key: they never change during its life, and
/// a record that is read under another key than its own is taken for corrupt.
pub trait Record:
    Clone + fmt::Debug + Send + Sync + Serialize + DeserializeOwned + 'static
{
    /// What it is, such as `ecs.task`. No two types share one.
    const KIND: &'static str;

    /// The version of the encoding. Raise it when bytes written so far would no
    /// longer be read as what they meant, and teach [`upgrade`](Self::upgrade)
    /// the old one. A new field with `#[serde(default)]` needs neither, unless
    /// an older program that dropped the field would do harm.
    const VERSION: u32 = 1;

    /// Whose it is, and where.
    fn scope(&self) -> &Scope;

    /// Its id, unique within scope and kind.
    fn id(&self) -> String;

    /// What it can be found by besides its id: names of indexes, with the value
    /// of this record in each. A record may have no or several values in one.
    fn indexes(&self) -> Vec<(&'static str, String)> {
        Vec::new()
    }

    /// Reads an encoding older than [`VERSION`](Self::VERSION). Each version
    /// that was ever released stays readable, with a fixture to prove it.
    fn upgrade(version: u32, bytes: &[u8]) -> Result<Self, EncodingError> {
        let _ = bytes;
        Err(EncodingError::UnknownVersion { version })
    }
}

/// Why a record could not be encoded or decoded.
#[derive(Debug, thiserror::Error)]
pub enum EncodingError {
    /// The bytes are not what the type demands, or the type does not serialize.
    #[error("the encoding is not sound")]
    Json(#[from] serde_json::Error),

    /// No one knows how to read this version any more.
    #[error("version {version} of the encoding is not known")]
    UnknownVersion {
        /// The version found.
        version: u32,
    },

    /// A newer program wrote the record.
    #[error("version {version} of the encoding is newer than {newest}, which is known here")]
    Newer {
        /// The version found.
        version: u32,
        /// The newest version that can be read.
        newest: u32,
    },

    /// The record decodes, but calls itself something else than its key.
    #[error("the record under this key says that it is {found}")]
    Misplaced {
        /// What it calls itself: scope and id.
        found: String,
    },
}

/// A record in the envelope.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Encoded {
    /// The version of the encoding.
    pub version: u32,
    /// The encoding: JSON.
    pub bytes: Vec<u8>,
}

/// Puts a record into the envelope.
pub(crate) fn encode<R: Record>(record: &R) -> Result<Encoded, EncodingError> {
    Ok(Encoded { version: R::VERSION, bytes: serde_json::to_vec(record)? })
}

/// Reads the record under `key` from the envelope, of whatever version.
pub(crate) fn decode<R: Record>(key: &Key, version: u32, bytes: &[u8]) -> Result<R, EncodingError> {
    let record: R = match version.cmp(&R::VERSION) {
        std::cmp::Ordering::Equal => serde_json::from_slice(bytes)?,
        std::cmp::Ordering::Less => R::upgrade(version, bytes)?,
        std::cmp::Ordering::Greater => {
            return Err(EncodingError::Newer { version, newest: R::VERSION });
        }
    };
    let id = record.id();
    if *record.scope() == *key.scope && id == *key.id {
        Ok(record)
    } else {
        Err(EncodingError::Misplaced { found: format!("{}/{id}", record.scope()) })
    }
}
