//! Writing XML, driven by the shape tables.
//!
//! A response passes through [`serde_json::Value`] on its way: that is what
//! lets one function write every shape. Forms come in the same way.

use crate::Timestamp;
use crate::schema::{Kind, Map, Shape};
use serde_json::Value;
use std::fmt::Write;

/// XML in the making. Elements are closed by hand; the tests see to it.
pub(crate) struct Xml(String);

impl Xml {
    pub(crate) fn document() -> Self {
        Self(String::from("<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n"))
    }

    pub(crate) fn open(&mut self, name: &str) {
        self.tag(&["<", name, ">"]);
    }

    pub(crate) fn open_in(&mut self, name: &str, namespace: &str) {
        self.tag(&["<", name, " xmlns=\"", namespace, "\">"]);
    }

    pub(crate) fn close(&mut self, name: &str) {
        self.tag(&["</", name, ">"]);
    }

    pub(crate) fn leaf(&mut self, name: &str, text: &str) {
        self.open(name);
        self.text(text);
        self.close(name);
    }

    pub(crate) fn into_bytes(self) -> Vec<u8> {
        self.0.into_bytes()
    }

    /// Writes `value` as element `name`; nothing for null.
    pub(crate) fn value(&mut self, name: &str, shape: &Shape, value: &Value) {
        match (&shape.kind, value) {
            (_, Value::Null) => {}
            (Kind::List(list), Value::Array(items)) => match list.xml {
                Some(_) if items.is_empty() => self.tag(&["<", name, "/>"]),
                Some(inner) => {
                    self.open(name);
                    for item in items {
                        self.value(inner, list.item, item);
                    }
                    self.close(name);
                }
                None => {
                    for item in items {
                        self.value(name, list.item, item);
                    }
                }
            },
            (Kind::Map(map), Value::Object(entries)) => match map.entry {
                Some(_) if entries.is_empty() => self.tag(&["<", name, "/>"]),
                Some(inner) => {
                    self.open(name);
                    for entry in entries {
                        self.entry(inner, map, entry);
                    }
                    self.close(name);
                }
                None => {
                    for entry in entries {
                        self.entry(name, map, entry);
                    }
                }
            },
            (Kind::Timestamp, Value::Number(seconds)) => {
                let moment = seconds.as_f64().and_then(Timestamp::from_seconds);
                if let Some(text) = moment.and_then(Timestamp::iso8601) {
                    self.leaf(name, &text);
                }
            }
            (_, Value::String(text)) => self.leaf(name, text),
            (_, Value::Number(number)) => self.leaf(name, &number.to_string()),
            (_, Value::Bool(yes)) => self.leaf(name, if *yes { "true" } else { "false" }),
            (_, Value::Object(_) | Value::Array(_)) => {
                self.open(name);
                self.members(shape, value);
                self.close(name);
            }
        }
    }

    fn entry(&mut self, name: &str, map: &Map, (key, value): (&String, &Value)) {
        self.open(name);
        self.leaf(map.key, key);
        self.value(map.value, map.item, value);
        self.close(name);
    }

    /// Writes the members of a structure, without an element around them.
    pub(crate) fn members(&mut self, shape: &Shape, value: &Value) {
        if let (Kind::Structure(members), Value::Object(object)) = (&shape.kind, value) {
            for member in *members {
                if let Some(inner) = object.get(member.name) {
                    self.value(member.xml, member.shape, inner);
                }
            }
        }
    }

    fn tag(&mut self, parts: &[&str]) {
        self.0.extend(parts.iter().copied());
    }

    fn text(&mut self, text: &str) {
        for character in text.chars() {
            match character {
                '&' => self.0.push_str("&amp;"),
                '<' => self.0.push_str("&lt;"),
                '>' => self.0.push_str("&gt;"),
                '"' => self.0.push_str("&quot;"),
                // Would be read back as a newline if it stood for itself.
                '\r' => self.0.push_str("&#xD;"),
                '\t' | '\n' => self.0.push(character),
                // XML 1.0 cannot express these, not even as references.
                '\0'..='\u{1f}' | '\u{fffe}' | '\u{ffff}' => self.0.push('\u{fffd}'),
                other => {
                    // Writing to a string cannot fail.
                    let _ = self.0.write_char(other);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::schema::{Member, plain};
    use serde_json::json;

    static NAMES: Shape = Shape::named(&plain::STRING, None, Some("item"));
    static FLAT: Shape = Shape::named(&plain::STRING, None, None);
    static MAP: Shape = Shape::map(&plain::INTEGER);
    static FLAT_MAP: Shape = Shape::entries(&NAMES, None, "Name", "List");
    static THING: Shape = Shape::structure(&[
        Member::new("Map", &MAP).xml("map"),
        Member::new("FlatMap", &FLAT_MAP).xml("flatMap"),
        Member::new("Name", &plain::STRING).xml("name"),
        Member::new("Names", &NAMES).xml("nameSet"),
        Member::new("Flat", &FLAT).xml("flat"),
        Member::new("Inner", &THING).xml("inner"),
        Member::new("At", &plain::TIMESTAMP).xml("at"),
        Member::new("Count", &plain::INTEGER).xml("count"),
        Member::new("Yes", &plain::BOOLEAN).xml("yes"),
    ]);

    #[test]
    fn shapes() {
        for (value, expected) in [
            (json!({}), "<t></t>"),
            (json!({ "Name": "a<b" }), "<t><name>a&lt;b</name></t>"),
            (json!({ "Name": null }), "<t></t>"),
            (json!({ "Names": [] }), "<t><nameSet/></t>"),
            (
                json!({ "Names": ["a", "b"] }),
                "<t><nameSet><item>a</item><item>b</item></nameSet></t>",
            ),
            (json!({ "Flat": ["a", "b"] }), "<t><flat>a</flat><flat>b</flat></t>"),
            (
                json!({ "Inner": { "Count": 3, "Yes": true } }),
                "<t><inner><count>3</count><yes>true</yes></inner></t>",
            ),
            (
                json!({ "Map": { "a": 1, "<": 2 } }),
                "<t><map><entry><key>&lt;</key><value>2</value></entry>\
                 <entry><key>a</key><value>1</value></entry></map></t>",
            ),
            (json!({ "Map": {}, "FlatMap": {} }), "<t><map/></t>"),
            (
                json!({ "FlatMap": { "a": ["x"], "b": [] } }),
                "<t><flatMap><Name>a</Name><List><item>x</item></List></flatMap>\
                 <flatMap><Name>b</Name><List/></flatMap></t>",
            ),
            (json!({ "At": 1.5 }), "<t><at>1970-01-01T00:00:01.500Z</at></t>"),
            (json!({ "Name": "\u{1}\r" }), "<t><name>\u{fffd}&#xD;</name></t>"),
        ] {
            let mut xml = Xml(String::new());
            xml.value("t", &THING, &value);
            assert_eq!(xml.0, expected);
        }
    }
}
