//! The shape tables: what `wire::schema` needs to check a request, and in the
//! query protocols to read it and to write the answer.
//!
//! Answers of the JSON services have no tables; serde alone writes them.

use super::model::{Kind, Reference, Shape};
use super::names::{constant, upper_first};
use super::shapes::MAX_CONSTANTS;
use super::{HEADER, Service};
use crate::Problem;
use std::collections::BTreeSet;
use std::fmt::Write;

/// The pattern that `wire::schema::Pattern::TagText` stands for.
const TAG_TEXT: &str = r"([\p{L}\p{Z}\p{N}_.:/=+\-@]*)";

/// `generated_schema.rs` of a service.
pub(crate) fn file(service: &Service<'_>) -> Result<String, Problem> {
    let inputs = service.inputs()?;
    let shapes = if service.model.metadata.protocol == "json" {
        inputs.clone()
    } else {
        let operations = service.model.operations.values();
        let silent = operations.filter(|operation| operation.silent);
        let silent: BTreeSet<&str> =
            silent.filter_map(|o| Some(o.output.as_ref()?.shape.as_str())).collect();
        service.ways()?.into_keys().filter(|name| !silent.contains(name.as_str())).collect()
    };
    let table = Table { service, inputs };
    let mut tables = String::new();
    for name in &shapes {
        table.shape(&mut tables, name)?;
    }
    let mut text = String::from(HEADER);
    let names = ["Kind", "Member", "Pattern", "Shape", "plain"].into_iter();
    let used = names.filter(|name| {
        tables.contains(&format!("{name}::")) || tables.contains(&format!(": {name} "))
    });
    writeln!(text, "use crate::schema::{{{}}};", used.collect::<Vec<_>>().join(", "))?;
    text.push('\n');
    text.push_str(&tables);
    Ok(text)
}

struct Table<'a> {
    service: &'a Service<'a>,
    inputs: BTreeSet<String>,
}

impl Table<'_> {
    fn shape(&self, text: &mut String, name: &str) -> Result<(), Problem> {
        let shape = self.service.model.shape(name)?;
        let what = match shape.kind {
            Kind::Structure => self.structure(shape)?,
            Kind::List => self.list(name, shape)?,
            Kind::Map => self.map(name, shape)?,
            Kind::String
            | Kind::Integer
            | Kind::Long
            | Kind::Double
            | Kind::Float
            | Kind::Boolean
            | Kind::Blob
            | Kind::Timestamp => {
                if self.constraints(name, shape)?.is_empty() {
                    return Ok(());
                }
                format!("Shape::new(Kind::{:?})", table_kind(shape.kind))
            }
        };
        let constraints = self.constraints(name, shape)?;
        let visibility = if shape.kind == Kind::Structure { "pub(super) static" } else { "static" };
        writeln!(text, "{visibility} {}: Shape = {what}{constraints};\n", constant(name))?;
        Ok(())
    }

    fn structure(&self, shape: &Shape) -> Result<String, Problem> {
        let mut text = String::from("Shape::structure(&[");
        for (name, reference) in &shape.members {
            write!(text, "Member::new({name:?}, {})", self.used(&reference.shape)?)?;
            let (query, xml) = self.names(name, reference)?;
            if query != *name {
                write!(text, ".query({query:?})")?;
            }
            if xml != *name {
                write!(text, ".xml({xml:?})")?;
            }
            if shape.required.contains(name) {
                text.push_str(".required()");
            }
            text.push_str(", ");
        }
        text.push_str("])");
        if shape.union {
            // Nobody has needed to know yet how a form would be refused.
            if self.service.model.metadata.protocol != "json" {
                return Err("unions are checked in JSON only".into());
            }
            text.push_str(".union()");
        }
        Ok(text)
    }

    /// How a member is called in a form and in XML.
    fn names(&self, name: &str, reference: &Reference) -> Result<(String, String), Problem> {
        let located = reference.location_name.as_deref().unwrap_or(name);
        Ok(match self.service.model.metadata.protocol.as_str() {
            "json" => (name.to_owned(), name.to_owned()),
            "ec2" => {
                let query = reference.query_name.clone();
                (query.unwrap_or_else(|| upper_first(located)), located.to_owned())
            }
            "query" => {
                let shape = self.service.model.shape(&reference.shape)?;
                // The items of a flattened list bear the list's name.
                let inner = shape.member.as_ref().and_then(|item| item.location_name.as_deref());
                let flat = if shape.flattened { inner } else { None };
                let name = flat.unwrap_or(located).to_owned();
                (name.clone(), name)
            }
            other => return Err(format!("no names are known for protocol {other}").into()),
        })
    }

    fn list(&self, name: &str, shape: &Shape) -> Result<String, Problem> {
        let item = shape.member.as_ref().ok_or_else(|| format!("{name} is of nothing"))?;
        let inner = item.location_name.as_deref().unwrap_or("member");
        let used = self.used(&item.shape)?;
        let named = format!("Some({inner:?})");
        let (query, xml) = match self.service.model.metadata.protocol.as_str() {
            "json" => return Ok(format!("Shape::list({used})")),
            "ec2" => ("None", named.as_str()),
            _ if shape.flattened => ("None", "None"),
            _ => (named.as_str(), named.as_str()),
        };
        Ok(format!("Shape::named({used}, {query}, {xml})"))
    }

    fn map(&self, name: &str, shape: &Shape) -> Result<String, Problem> {
        let nothing = || format!("{name} is of nothing");
        let (key, value) = (shape.key.as_ref(), shape.value.as_ref());
        let (key, value) = (key.ok_or_else(nothing)?, value.ok_or_else(nothing)?);
        let used = self.used(&value.shape)?;
        if self.service.model.metadata.protocol == "json" {
            return Ok(format!("Shape::map({used})"));
        }
        let entry = if shape.flattened { None } else { Some("entry") };
        let key = key.location_name.as_deref().unwrap_or("key");
        let value = value.location_name.as_deref().unwrap_or("value");
        Ok(format!("Shape::entries({used}, {entry:?}, {key:?}, {value:?})"))
    }

    /// The expression for a use of the shape `name`.
    fn used(&self, name: &str) -> Result<String, Problem> {
        let shape = self.service.model.shape(name)?;
        let own = matches!(shape.kind, Kind::Structure | Kind::List | Kind::Map)
            || !self.constraints(name, shape)?.is_empty();
        Ok(if own {
            format!("&{}", constant(name))
        } else {
            format!("&plain::{}", constant(&format!("{:?}", table_kind(shape.kind))))
        })
    }

    /// What is demanded of the values of a shape; of answers, nothing is.
    fn constraints(&self, name: &str, shape: &Shape) -> Result<String, Problem> {
        let mut text = String::new();
        if !self.inputs.contains(name) {
            return Ok(text);
        }
        for (bound, value) in [("min", &shape.min), ("max", &shape.max)] {
            if let Some(value) = value {
                let value = value.as_i64().ok_or_else(|| format!("{name}: {bound} {value}"))?;
                write!(text, ".{bound}({})", digits(value))?;
            }
        }
        if !shape.values.is_empty() && shape.values.len() <= MAX_CONSTANTS {
            write!(text, ".values(&{:?})", shape.values)?;
        }
        if shape.pattern.as_deref() == Some(TAG_TEXT) {
            text.push_str(".pattern(Pattern::TagText)");
        }
        Ok(text)
    }
}

/// `wire::schema` has no floats.
fn table_kind(kind: Kind) -> Kind {
    if kind == Kind::Float { Kind::Double } else { kind }
}

/// `100_000`, as clippy wants it.
fn digits(value: i64) -> String {
    let plain = value.unsigned_abs().to_string();
    let mut text = String::from(if value < 0 { "-" } else { "" });
    for (at, digit) in plain.chars().enumerate() {
        let left = plain.len() - at;
        if at > 0 && left.is_multiple_of(3) && plain.len() > 4 {
            text.push('_');
        }
        text.push(digit);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::codegen::model::{Model, Served};

    fn generated(protocol: &str) -> String {
        let model: Model = serde_json::from_str(&format!(
            r#"{{"metadata": {{"apiVersion": "1", "protocol": "{protocol}"}},
                "operations": {{"Go": {{"input": {{"shape": "In"}}, "output": {{"shape": "Out"}}}}}},
                "shapes": {{
                    "In": {{"type": "structure", "required": ["Names"], "members": {{
                        "Names": {{"shape": "Names", "locationName": "name"}}}}}},
                    "Names": {{"type": "list", "member": {{"shape": "Name", "locationName": "item"}}}},
                    "Name": {{"type": "string", "max": 100000}},
                    "Out": {{"type": "structure", "members": {{"State": {{"shape": "State"}}}}}},
                    "State": {{"type": "string", "enum": ["on", "off"]}}}}}}"#
        ))
        .expect("a model");
        let served = [Served { name: "Go".into(), client: false }];
        file(&Service { name: "thing", model: &model, served: &served }).expect("a table")
    }

    #[test]
    fn names_are_the_protocols() {
        let ec2 = generated("ec2");
        assert!(
            ec2.contains(r#"Member::new("Names", &NAMES).query("Name").xml("name").required()"#)
        );
        assert!(
            ec2.contains(r#"NAMES: Shape = Shape::named(&NAME, None, Some("item"));"#),
            "{ec2}"
        );
        let query = generated("query");
        assert!(query.contains(r#"Shape::named(&NAME, Some("item"), Some("item"))"#), "{query}");
        let json = generated("json");
        assert!(json.contains(r#"Member::new("Names", &NAMES).required()"#), "{json}");
        assert!(!json.contains("OUT:"), "answers in JSON need no table");
    }

    #[test]
    fn demands_are_made_of_requests_only() {
        let text = generated("ec2");
        assert!(text.contains("NAME: Shape = Shape::new(Kind::String).max(100_000)"), "{text}");
        assert!(text.contains(r#"Member::new("State", &plain::STRING)"#), "{text}");
    }
}
