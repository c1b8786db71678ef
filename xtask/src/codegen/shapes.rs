//! The structs of a service, and the values of its enumerations.
//!
//! Strings stay strings, also where the model enumerates them: a value that AWS
//! adds tomorrow must pass through. The values we know are constants.

use super::Ways;
use super::model::{Kind, Model, Reference, Shape};
use super::names::{self, Case};
use crate::Problem;
use std::collections::BTreeMap;
use std::fmt::Write;

/// Enumerations longer than this (instance types) are nobody's vocabulary, and which
/// of their values there are is for the service to say, in its own words.
pub(super) const MAX_CONSTANTS: usize = 120;

/// Rust for the shapes in `ways`.
pub(crate) fn generate(
    model: &Model,
    ways: &BTreeMap<String, Ways>,
    case: Case,
) -> Result<String, Problem> {
    let mut text = String::new();
    for (name, ways) in ways {
        let shape = model.shape(name)?;
        if shape.kind == Kind::Structure {
            structure(&mut text, model, name, *ways, case)?;
        } else if !shape.values.is_empty() && shape.values.len() <= MAX_CONSTANTS {
            enumeration(&mut text, name, shape)?;
        }
    }
    Ok(text)
}

fn structure(
    text: &mut String,
    model: &Model,
    name: &str,
    ways: Ways,
    case: Case,
) -> Result<(), Problem> {
    let shape = model.shape(name)?;
    let secrets = secrets(model, shape);
    let mut derives = vec!["Clone"];
    derives.extend(secrets.is_empty().then_some("Debug"));
    derives.extend(["Default", "PartialEq"]);
    derives.extend(ways.read.then_some("serde::Deserialize"));
    derives.extend(ways.written.then_some("serde::Serialize"));
    writeln!(text, "#[derive({})]", derives.join(", "))?;
    // Frames travel both ways already, so this is for services only.
    for (travels, missing) in [(ways.read, "Deserialize"), (ways.written, "Serialize")] {
        if !travels {
            writeln!(text, "#[cfg_attr(feature = \"roundtrip\", derive(serde::{missing}))]")?;
        }
    }
    if !shape.members.is_empty() {
        writeln!(text, "#[serde(rename_all = {:?})]", case.serde())?;
    }
    writeln!(text, "pub struct {} {{", names::upper_first(name))?;
    for (member, reference) in &shape.members {
        let mut attributes = Vec::new();
        if case.rename(&names::snake(member)) != *member {
            attributes.push(format!("rename = {member:?}"));
        }
        if ways.written {
            attributes.push("skip_serializing_if = \"Option::is_none\"".into());
        }
        if model.shape(&reference.shape)?.kind == Kind::Blob {
            attributes.push("default, with = \"crate::blob\"".into());
        }
        if !attributes.is_empty() {
            writeln!(text, "#[serde({})]", attributes.join(", "))?;
        }
        let mut kind = rust_type(model, &reference.shape)?;
        if model.holds_inline(&reference.shape, &reference.shape) {
            kind = format!("Box<{kind}>");
        }
        writeln!(text, "pub {}: Option<{kind}>,", names::field(member))?;
    }
    writeln!(text, "}}\n")?;
    if !secrets.is_empty() {
        discreet(text, name, shape, &secrets)?;
    }
    Ok(())
}

/// Members that must not appear in a log. The models mark some; the keys that
/// they forgot are known by name.
fn secrets<'a>(model: &'a Model, shape: &'a Shape) -> Vec<&'a str> {
    let marked = |reference: &Reference| sensitive(model, reference);
    // Query services begin them with a capital.
    let named = |name: &str| {
        ["secretAccessKey", "sessionToken"].iter().any(|it| it.eq_ignore_ascii_case(name))
    };
    let members = shape.members.iter();
    members.filter(|(name, r)| marked(r) || named(name)).map(|(name, _)| name.as_str()).collect()
}

/// Whether a value is, or is a list or a map of, what the model marks.
fn sensitive(model: &Model, reference: &Reference) -> bool {
    let Some(shape) = model.shapes.get(&reference.shape) else { return false };
    let inner = shape.member.iter().chain(&shape.key).chain(&shape.value);
    shape.sensitive || inner.into_iter().any(|inner| sensitive(model, inner))
}

/// A `Debug` that says whether a secret is there, and no more.
fn discreet(text: &mut String, name: &str, shape: &Shape, secrets: &[&str]) -> Result<(), Problem> {
    let name = names::upper_first(name);
    writeln!(text, "impl std::fmt::Debug for {name} {{")?;
    writeln!(text, "fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {{")?;
    writeln!(text, "f.debug_struct({name:?})")?;
    for member in shape.members.keys() {
        let (field, shown) = (names::field(member), names::snake(member));
        if secrets.contains(&member.as_str()) {
            writeln!(text, ".field({shown:?}, &self.{field}.as_ref().map(|_| \"…\"))")?;
        } else {
            writeln!(text, ".field({shown:?}, &self.{field})")?;
        }
    }
    writeln!(text, ".finish() }} }}\n")?;
    Ok(())
}

fn rust_type(model: &Model, name: &str) -> Result<String, Problem> {
    let shape = model.shape(name)?;
    let inner = |reference: &Option<Reference>| match reference {
        Some(reference) => rust_type(model, &reference.shape),
        None => Err(format!("{name} is of nothing").into()),
    };
    Ok(match shape.kind {
        Kind::Structure => names::upper_first(name),
        Kind::List => format!("Vec<{}>", inner(&shape.member)?),
        Kind::Map => {
            format!("std::collections::BTreeMap<{}, {}>", inner(&shape.key)?, inner(&shape.value)?)
        }
        Kind::String => "String".into(),
        Kind::Integer => "i32".into(),
        Kind::Long => "i64".into(),
        Kind::Double | Kind::Float => "f64".into(),
        Kind::Boolean => "bool".into(),
        Kind::Blob => "Vec<u8>".into(),
        Kind::Timestamp => "crate::Timestamp".into(),
    })
}

fn enumeration(text: &mut String, name: &str, shape: &Shape) -> Result<(), Problem> {
    writeln!(text, "/// Values of `{name}`.")?;
    writeln!(text, "pub mod {} {{", names::field(name))?;
    for value in &shape.values {
        writeln!(text, "pub const {}: &str = {value:?};", names::constant(value))?;
    }
    writeln!(text, "}}\n")?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn generated(shapes: &str, ways: Ways) -> String {
        let model: Model = serde_json::from_str(&format!(
            r#"{{"metadata": {{"apiVersion": "1", "protocol": "json"}}, "operations": {{}},
                "shapes": {shapes}}}"#
        ))
        .expect("a model");
        let all = model.shapes.keys().map(|name| (name.clone(), ways)).collect();
        generate(&model, &all, Case::Camel).expect("generated")
    }

    #[test]
    fn only_what_travels_is_derived() {
        let shapes = r#"{"A": {"type": "structure", "members": {"taskARN": {"shape": "S"}}},
            "S": {"type": "string"}}"#;
        let read = generated(shapes, Ways { read: true, written: false });
        let only = |way| format!("#[derive(Clone, Debug, Default, PartialEq, serde::{way})]");
        assert!(read.contains(&only("Deserialize")), "{read}");
        assert!(read.contains(r#"(feature = "roundtrip", derive(serde::Serialize))"#), "{read}");
        assert!(read.contains(r#"rename = "taskARN""#) && !read.contains("skip"), "{read}");
        let written = generated(shapes, Ways { read: false, written: true });
        assert!(written.contains(&only("Serialize")) && written.contains("skip"), "{written}");
    }

    #[test]
    fn recursion_goes_through_a_box_unless_a_list_is_in_between() {
        let text = generated(
            r#"{"A": {"type": "structure", "members": {"a": {"shape": "A"}, "as": {"shape": "As"}}},
                "As": {"type": "list", "member": {"shape": "A"}}}"#,
            Ways::default(),
        );
        assert!(text.contains("pub a: Option<Box<A>>,"), "{text}");
        assert!(text.contains("pub r#as: Option<Vec<A>>,"), "{text}");
    }

    #[test]
    fn secrets_are_not_printed() {
        let text = generated(
            r#"{"A": {"type": "structure", "members": {"env": {"shape": "E"}, "id": {"shape": "S"}}},
                "E": {"type": "string", "sensitive": true}, "S": {"type": "string"}}"#,
            Ways::default(),
        );
        assert!(text.contains(r#".field("env", &self.env.as_ref().map(|_| "…"))"#), "{text}");
        assert!(text.contains(r#".field("id", &self.id)"#), "{text}");
        let text = generated(
            r#"{"A": {"type": "structure", "members": {"SessionToken": {"shape": "S"},
                    "keys": {"shape": "Es"}, "SessionTokenSize": {"shape": "S"}}},
                "Es": {"type": "list", "member": {"shape": "E"}},
                "E": {"type": "string", "sensitive": true}, "S": {"type": "string"}}"#,
            Ways::default(),
        );
        for secret in ["session_token", "keys"] {
            let hidden = format!(r#".field("{secret}", &self.{secret}.as_ref().map(|_| "…"))"#);
            assert!(text.contains(&hidden), "{text}");
        }
        assert!(text.contains(r#"("session_token_size", &self.session_token_size)"#), "{text}");
    }
}
