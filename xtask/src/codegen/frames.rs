//! The frames of a websocket protocol: an enumeration of every shape that is
//! sent by itself, in either direction.

use super::model::Model;
use super::names::{Case, upper_first};
use super::{HEADER, Ways, shapes};
use crate::Problem;
use std::collections::BTreeSet;
use std::fmt::Write;

/// `generated.rs` of a protocol of frames.
pub(crate) fn file(name: &str, model: &Model) -> Result<String, Problem> {
    let sent: BTreeSet<&str> = model
        .operations
        .values()
        .flat_map(|operation| {
            operation.input.iter().chain(&operation.output).chain(&operation.errors)
        })
        .map(|reference| reference.shape.as_str())
        .chain(model.shapes.iter().filter(|(_, s)| s.exception).map(|(name, _)| name.as_str()))
        .collect();
    let mut text = String::from(HEADER);
    text.push_str("#![allow(missing_docs, clippy::struct_field_names)]\n\n");
    text.push_str("use crate::frame::{self, Frame};\nuse crate::{Fault, codec};\n\n");

    writeln!(text, "/// A frame of {}, either way.", name.to_uppercase())?;
    writeln!(text, "#[derive(Clone, Debug, PartialEq)]\n#[allow(clippy::large_enum_variant)]")?;
    writeln!(text, "pub enum Message {{")?;
    for shape in &sent {
        writeln!(text, "{}({}),", upper_first(shape), upper_first(shape))?;
    }
    writeln!(text, "/// A type that we have never heard of.\nUnknown(String) }}\n")?;

    writeln!(text, "impl Message {{")?;
    writeln!(text, "/// Reads a frame.")?;
    writeln!(text, "pub fn decode(frame: &str) -> Result<Self, Fault> {{")?;
    writeln!(text, "let Frame {{ kind, message }} = frame::read(frame)?;")?;
    writeln!(text, "Ok(match &*kind {{")?;
    for shape in &sent {
        writeln!(text, "{shape:?} => Self::{}(codec::from_value(message)?),", upper_first(shape))?;
    }
    writeln!(text, "_ => Self::Unknown(kind) }}) }}\n")?;

    writeln!(text, "/// Writes the frame; for an unknown type, one without content.")?;
    writeln!(text, "pub fn encode(&self) -> Result<String, Fault> {{ match self {{")?;
    for shape in &sent {
        writeln!(
            text,
            "Self::{}(message) => frame::write({shape:?}, message),",
            upper_first(shape)
        )?;
    }
    writeln!(text, "Self::Unknown(kind) => frame::write(kind, &frame::Nothing {{}}), }} }}\n")?;

    writeln!(text, "/// The type, as frames name it.")?;
    writeln!(text, "pub fn kind(&self) -> &str {{ match self {{")?;
    for shape in &sent {
        writeln!(text, "Self::{}(_) => {shape:?},", upper_first(shape))?;
    }
    writeln!(text, "Self::Unknown(kind) => kind, }} }} }}\n")?;

    for shape in &sent {
        let shape = upper_first(shape);
        writeln!(text, "impl From<{shape}> for Message {{")?;
        writeln!(text, "fn from(message: {shape}) -> Self {{ Self::{shape}(message) }} }}\n")?;
    }

    let all = model.closure(sent)?.into_iter();
    let ways = all.map(|name| (name, Ways { read: true, written: true })).collect();
    text.push_str(&shapes::generate(model, &ways, Case::Camel)?);
    Ok(text)
}
