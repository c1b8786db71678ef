//! The envelope of ACS and TCS frames: `{"type": …, "message": {…}}`.

use crate::{Fault, json};
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// An envelope, its letter unread.
#[derive(Deserialize)]
pub(crate) struct Frame {
    #[serde(rename = "type")]
    pub(crate) kind: String,
    #[serde(default = "nothing")]
    pub(crate) message: Value,
}

/// A message without members.
#[derive(Serialize)]
pub(crate) struct Nothing {}

#[derive(Serialize)]
struct Outgoing<'a, T> {
    #[serde(rename = "type")]
    kind: &'a str,
    message: &'a T,
}

pub(crate) fn read(frame: &str) -> Result<Frame, Fault> {
    serde_json::from_str(frame).map_err(|e| json::malformed(format!("This is not a frame: {e}")))
}

pub(crate) fn write<T: Serialize>(kind: &str, message: &T) -> Result<String, Fault> {
    serde_json::to_string(&Outgoing { kind, message })
        .map_err(|e| Fault::server("ServerException", format!("Unwritable frame: {e}")))
}

fn nothing() -> Value {
    Value::Object(serde_json::Map::new())
}
