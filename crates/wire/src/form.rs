//! Reading forms: `IpPermissions.1.IpRanges.2.CidrIp=10.0.0.0/8`.
//!
//! The parameters become a tree, and the shape tables say what the tree means.

use crate::schema::{self, Kind, List, Member, Shape};
use crate::{Fault, Protocol};
use serde_json::{Map, Value};
use std::collections::BTreeMap;

/// Deeper than any shape; keeps hostile names from costing stack.
const MAX_DEPTH: usize = 16;

/// Parameters that belong to the protocol and its signatures, not to a request.
fn is_envelope(name: &str) -> bool {
    matches!(
        name,
        "Action"
            | "Version"
            | "AWSAccessKeyId"
            | "Signature"
            | "SignatureMethod"
            | "SignatureVersion"
            | "Timestamp"
            | "Expires"
            | "SecurityToken"
    ) || name.get(..6).is_some_and(|prefix| prefix.eq_ignore_ascii_case("x-amz-"))
}

#[derive(Default)]
struct Node<'a> {
    text: Option<&'a str>,
    children: BTreeMap<&'a str, Node<'a>>,
}

/// Brings `parameters` into the form that `shape`'s struct expects.
pub(crate) fn read(
    protocol: Protocol,
    shape: &Shape,
    parameters: &[(String, String)],
) -> Result<Value, Fault> {
    let mut tree = Node::default();
    for (name, text) in parameters.iter().filter(|(name, _)| !is_envelope(name)) {
        if name.split('.').count() > MAX_DEPTH {
            return Err(unknown(name));
        }
        let mut node = &mut tree;
        for part in name.split('.') {
            node = node.children.entry(part).or_default();
        }
        node.text = Some(text);
    }
    Reader { protocol }.value(shape, tree, "")
}

struct Reader {
    protocol: Protocol,
}

impl Reader {
    fn value(&self, shape: &Shape, node: Node<'_>, path: &str) -> Result<Value, Fault> {
        match &shape.kind {
            Kind::Structure(members) => self.structure(members, node, path),
            Kind::List(list) => self.list(list, node, path),
            Kind::Map(map) => self.map(map, node, path),
            Kind::String
            | Kind::Integer
            | Kind::Long
            | Kind::Double
            | Kind::Boolean
            | Kind::Blob
            | Kind::Timestamp => {
                self.nothing_else(&node, path)?;
                node.text.map_or(Ok(Value::Null), |text| scalar(shape.kind, text, path))
            }
        }
    }

    fn structure(
        &self,
        members: &[Member],
        mut node: Node<'_>,
        path: &str,
    ) -> Result<Value, Fault> {
        let mut object = Map::new();
        for member in members {
            if let Some(inner) = node.children.remove(member.query) {
                let value = self.value(member.shape, inner, &join(path, member.query))?;
                object.insert(member.name.to_owned(), value);
            }
        }
        self.nothing_else(&node, path)?;
        Ok(Value::Object(object))
    }

    fn list(&self, list: &List, mut node: Node<'_>, path: &str) -> Result<Value, Fault> {
        let mut path = path.to_owned();
        if let Some(name) = list.query {
            path = join(&path, name);
            let inner = node.children.remove(name).unwrap_or_default();
            self.nothing_else(&node, &path)?;
            node = inner;
        }
        // Items are numbered from one, perhaps with gaps, and 10 follows 9.
        let mut items = BTreeMap::new();
        for (number, item) in std::mem::take(&mut node.children) {
            let inner = join(&path, number);
            let at = number.parse::<u32>().map_err(|_| unknown(&inner))?;
            items.insert(at, self.value(list.item, item, &inner)?);
        }
        self.nothing_else(&node, &path)?;
        Ok(Value::Array(items.into_values().collect()))
    }

    /// `Name.entry.1.key=…&Name.entry.1.value=…`
    fn map(&self, map: &schema::Map, mut node: Node<'_>, path: &str) -> Result<Value, Fault> {
        let mut path = path.to_owned();
        if let Some(name) = map.entry {
            path = join(&path, name);
            let inner = node.children.remove(name).unwrap_or_default();
            self.nothing_else(&node, &path)?;
            node = inner;
        }
        let mut object = Map::new();
        for (number, mut entry) in node.children {
            let path = join(&path, number);
            number.parse::<u32>().map_err(|_| unknown(&path))?;
            let key = entry.children.remove(map.key).and_then(|key| key.text);
            let key = key.ok_or_else(|| unknown(&path))?;
            let value = entry.children.remove(map.value).unwrap_or_default();
            self.nothing_else(&entry, &path)?;
            object.insert(key.to_owned(), self.value(map.item, value, &join(&path, map.value))?);
        }
        Ok(Value::Object(object))
    }

    /// EC2 refuses what it does not know; the other query services ignore it.
    fn nothing_else(&self, node: &Node<'_>, path: &str) -> Result<(), Fault> {
        match node.children.keys().next() {
            Some(name) if self.protocol == Protocol::Ec2Query => Err(unknown(&join(path, name))),
            Some(_) | None => Ok(()),
        }
    }
}

fn scalar(kind: Kind, text: &str, path: &str) -> Result<Value, Fault> {
    let value = match kind {
        Kind::Integer => text.parse::<i32>().ok().map(Value::from),
        Kind::Long => text.parse::<i64>().ok().map(Value::from),
        Kind::Double => text.parse::<f64>().ok().map(Value::from),
        Kind::Boolean => match text.to_ascii_lowercase().as_str() {
            "true" | "1" => Some(true.into()),
            "false" | "0" => Some(false.into()),
            _ => None,
        },
        Kind::Timestamp => {
            crate::Timestamp::from_iso8601(text).map(|moment| moment.as_seconds().into())
        }
        Kind::String | Kind::Blob | Kind::Structure(_) | Kind::List(_) | Kind::Map(_) => {
            Some(text.into())
        }
    };
    value.ok_or_else(|| {
        Fault::client(
            "InvalidParameterValue",
            format!("Invalid value '{text}' for {path}. Must be {}.", wanted(kind)),
        )
    })
}

fn wanted(kind: Kind) -> &'static str {
    match kind {
        Kind::Integer | Kind::Long => "an integer",
        Kind::Double => "a number",
        Kind::Boolean => "a boolean",
        Kind::Timestamp => "a timestamp",
        Kind::String | Kind::Blob | Kind::Structure(_) | Kind::List(_) | Kind::Map(_) => "a string",
    }
}

fn join(path: &str, name: &str) -> String {
    if path.is_empty() { name.to_owned() } else { format!("{path}.{name}") }
}

fn unknown(name: &str) -> Fault {
    Fault::client("UnknownParameter", format!("The parameter {name} is not recognized"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::schema::plain;
    use serde_json::json;

    static RANGE: Shape = Shape::structure(&[Member::new("CidrIp", &plain::STRING)]);
    static RANGES: Shape = Shape::list(&RANGE);
    static RULE: Shape = Shape::structure(&[
        Member::new("FromPort", &plain::INTEGER),
        Member::new("IpRanges", &RANGES),
    ]);
    static RULES: Shape = Shape::list(&RULE);
    static NAMES: Shape = Shape::named(&plain::STRING, Some("member"), None);
    static MAP: Shape = Shape::map(&RANGE);
    static FLAT_MAP: Shape = Shape::entries(&plain::INTEGER, None, "Name", "Size");
    static THING: Shape = Shape::structure(&[
        Member::new("Map", &MAP),
        Member::new("FlatMap", &FLAT_MAP),
        Member::new("Rules", &RULES).query("IpPermissions"),
        Member::new("Names", &NAMES),
        Member::new("DryRun", &plain::BOOLEAN),
        Member::new("At", &plain::TIMESTAMP),
    ]);

    fn ask(protocol: Protocol, form: &str) -> Result<Value, Fault> {
        let parameters: Vec<_> = form_urlencoded::parse(form.as_bytes()).into_owned().collect();
        read(protocol, &THING, &parameters)
    }

    #[test]
    fn lists_of_structures() {
        for (form, expected) in [
            ("Action=X&Version=1&X-Amz-Date=d", json!({})),
            ("DryRun=true", json!({ "DryRun": true })),
            (
                "IpPermissions.1.FromPort=80&IpPermissions.1.IpRanges.1.CidrIp=a\
                 &IpPermissions.1.IpRanges.2.CidrIp=b&IpPermissions.2.FromPort=-1",
                json!({ "Rules": [
                    { "FromPort": 80, "IpRanges": [{ "CidrIp": "a" }, { "CidrIp": "b" }] },
                    { "FromPort": -1 },
                ] }),
            ),
            (
                "IpPermissions.10.FromPort=10&IpPermissions.9.FromPort=9",
                json!({ "Rules": [{ "FromPort": 9 }, { "FromPort": 10 }] }),
            ),
            ("Names.member.2=b&Names.member.1=a", json!({ "Names": ["a", "b"] })),
            ("At=1970-01-01T00:00:01Z", json!({ "At": 1.0 })),
            (
                "Map.entry.1.key=a&Map.entry.1.value.CidrIp=b&Map.entry.2.key=",
                json!({ "Map": { "a": { "CidrIp": "b" }, "": {} } }),
            ),
            (
                "FlatMap.2.Name=b&FlatMap.2.Size=2&FlatMap.1.Name=a&FlatMap.1.Size=1",
                json!({ "FlatMap": { "a": 1, "b": 2 } }),
            ),
        ] {
            assert_eq!(ask(Protocol::Ec2Query, form).expect(form), expected);
        }
    }

    #[test]
    fn refusals() {
        for (form, code, message) in [
            ("Color=red", "UnknownParameter", "The parameter Color is not recognized"),
            (
                "IpPermissions.1.Color=red",
                "UnknownParameter",
                "The parameter IpPermissions.1.Color is not recognized",
            ),
            (
                "IpPermissions.x=1",
                "UnknownParameter",
                "The parameter IpPermissions.x is not recognized",
            ),
            (
                "IpPermissions.1.FromPort=http",
                "InvalidParameterValue",
                "Invalid value 'http' for IpPermissions.1.FromPort. Must be an integer.",
            ),
        ] {
            let fault = ask(Protocol::Ec2Query, form).expect_err(form);
            assert_eq!((&*fault.code, fault.message.as_str()), (code, message));
        }
        assert_eq!(ask(Protocol::AwsQuery, "Color=red").expect("ignored"), json!({}));
        assert!(ask(Protocol::AwsQuery, &"a.".repeat(100_000)).is_err(), "no stack is spent");
    }
}
