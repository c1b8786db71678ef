//! Reading JSON as AWS's services do: strict about types, blind to members it
//! has never heard of.
//!
//! `serde` alone would say "invalid type: integer `5`, expected a string at
//! line 1 column 9"; this walk says it in AWS's words and names the member.

use crate::Fault;
use crate::schema::{Kind, Member, Shape};
use serde_json::{Map, Value};

/// Parses `body` and brings it into the form that `shape`'s struct expects.
pub(crate) fn read(shape: &Shape, body: &[u8]) -> Result<Value, Fault> {
    if body.iter().all(u8::is_ascii_whitespace) {
        return Ok(Value::Object(serde_json::Map::new()));
    }
    let mut value = serde_json::from_slice(body)
        .map_err(|e| malformed(format!("The request body is not JSON: {e}")))?;
    if !matches!(value, Value::Object(_)) {
        return Err(malformed("The request body must be a JSON object."));
    }
    conform(shape, &mut value, "")?;
    Ok(value)
}

/// Bytes that do not say what they should.
pub(crate) fn malformed(message: impl Into<String>) -> Fault {
    Fault::client("SerializationException", message)
}

/// Checks the types in `value`, and evens out what AWS accepts in several forms:
/// whole numbers with a fraction, moments in ISO 8601.
fn conform(shape: &Shape, value: &mut Value, path: &str) -> Result<(), Fault> {
    if value.is_null() {
        return Ok(());
    }
    match (&shape.kind, &mut *value) {
        (Kind::Structure(members), Value::Object(object)) => {
            if shape.union {
                one_of(members, object, path)?;
            }
            for member in *members {
                if let Some(inner) = object.get_mut(member.name) {
                    conform(member.shape, inner, &format!("{path}/{}", member.name))?;
                }
            }
        }
        (Kind::List(list), Value::Array(items)) => {
            for (at, item) in items.iter_mut().enumerate() {
                let path = format!("{path}/{at}");
                no_null(item, &path)?;
                conform(list.item, item, &path)?;
            }
        }
        (Kind::Map(map), Value::Object(object)) => {
            for (key, item) in object.iter_mut() {
                let path = format!("{path}/{key}");
                no_null(item, &path)?;
                conform(map.item, item, &path)?;
            }
        }
        (Kind::Integer | Kind::Long, Value::Number(number)) => {
            let whole = number.as_i64().or_else(|| whole(number.as_f64()?));
            let fits =
                |whole: &i64| matches!(shape.kind, Kind::Long) || i32::try_from(*whole).is_ok();
            match whole.filter(fits) {
                Some(whole) => *value = whole.into(),
                None => return Err(unexpected(shape, value, path)),
            }
        }
        (Kind::Timestamp, Value::String(text)) => match crate::Timestamp::from_iso8601(text) {
            Some(moment) => *value = moment.as_seconds().into(),
            None => return Err(unexpected(shape, value, path)),
        },
        (Kind::String | Kind::Blob, Value::String(_))
        | (Kind::Double | Kind::Timestamp, Value::Number(_))
        | (Kind::Boolean, Value::Bool(_)) => {}
        _ => return Err(unexpected(shape, value, path)),
    }
    Ok(())
}

/// Of a union, one member is there and we know it.
fn one_of(members: &[Member], object: &Map<String, Value>, path: &str) -> Result<(), Fault> {
    // Some clients say what type they mean.
    let set = object.iter().filter(|(name, value)| !value.is_null() && *name != "__type");
    let set: Vec<&str> = set.map(|(name, _)| name.as_str()).collect();
    match set.as_slice() {
        [one] if members.iter().any(|member| member.name == *one) => Ok(()),
        _ => {
            let known: Vec<&str> = members.iter().map(|member| member.name).collect();
            let text = format!("Exactly one of [{}] must be set, at {path}", known.join(", "));
            Err(malformed(text))
        }
    }
}

/// A member may be null, which is to be absent. An item cannot be absent.
fn no_null(item: &Value, path: &str) -> Result<(), Fault> {
    if item.is_null() {
        return Err(malformed(format!("Unexpected null, at {path}")));
    }
    Ok(())
}

#[allow(clippy::cast_possible_truncation)] // Checked: within ±2⁵³.
fn whole(number: f64) -> Option<i64> {
    let safe = number.fract() == 0.0 && number.abs() <= 9_007_199_254_740_992.0;
    safe.then_some(number as i64)
}

fn unexpected(shape: &Shape, value: &Value, path: &str) -> Fault {
    let token = match value {
        Value::Array(_) => return malformed(format!("Unexpected start of list, at {path}")),
        Value::Object(_) => {
            return malformed(format!("Unexpected start of structure or map, at {path}"));
        }
        Value::String(_) => "STRING_VALUE",
        Value::Number(_) => "NUMBER_VALUE",
        Value::Bool(true) => "TRUE_VALUE",
        Value::Bool(false) => "FALSE_VALUE",
        Value::Null => "NULL_VALUE",
    };
    let wanted = match shape.kind {
        Kind::Structure(_) => "a structure",
        Kind::List(_) => "a list",
        Kind::Map(_) => "a map",
        Kind::String => "a String",
        Kind::Integer => "an Integer",
        Kind::Long => "a Long",
        Kind::Double => "a Double",
        Kind::Boolean => "a Boolean",
        Kind::Blob => "a Blob",
        Kind::Timestamp => "a Timestamp",
    };
    malformed(format!("{token} can not be converted to {wanted}, at {path}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::schema::{Member, plain};
    use serde_json::json;

    static NAMES: Shape = Shape::list(&plain::STRING);
    static TAGS: Shape = Shape::map(&plain::STRING);
    static THING: Shape = Shape::structure(&[
        Member::new("name", &plain::STRING),
        Member::new("names", &NAMES),
        Member::new("tags", &TAGS),
        Member::new("count", &plain::INTEGER),
        Member::new("size", &plain::LONG),
        Member::new("at", &plain::TIMESTAMP),
        Member::new("yes", &plain::BOOLEAN),
        Member::new("inner", &THING),
        Member::new("either", &EITHER),
    ]);
    static EITHER: Shape = Shape::structure(&[
        Member::new("left", &plain::STRING),
        Member::new("right", &plain::STRING),
    ])
    .union();

    #[test]
    fn of_a_union_there_is_one() {
        for good in [
            r#"{"either": {"left": "a"}}"#,
            r#"{"either": {"left": null, "right": "b"}}"#,
            r#"{"either": {"__type": "Either", "right": ""}}"#,
            r#"{"either": null}"#,
        ] {
            assert!(read(&THING, good.as_bytes()).is_ok(), "{good}");
        }
        for bad in [
            r#"{"either": {}}"#,
            r#"{"either": {"left": null}}"#,
            r#"{"either": {"left": "a", "right": "b"}}"#,
            r#"{"either": {"middle": "c"}}"#,
            r#"{"either": {"left": "a", "middle": "c"}}"#,
        ] {
            let fault = read(&THING, bad.as_bytes()).expect_err(bad);
            assert_eq!(&*fault.code, "SerializationException");
            assert_eq!(fault.message, "Exactly one of [left, right] must be set, at /either");
        }
    }

    #[test]
    fn what_is_accepted() {
        for (body, expected) in [
            ("", json!({})),
            (r#"{"name": "a", "new": [1, {}]}"#, json!({ "name": "a", "new": [1, {}] })),
            (
                r#"{"count": 256.0, "size": 1e10}"#,
                json!({ "count": 256, "size": 10_000_000_000_i64 }),
            ),
            (r#"{"at": "1970-01-01T00:00:01Z"}"#, json!({ "at": 1.0 })),
            (
                r#"{"inner": {"names": ["a"]}, "tags": null}"#,
                json!({ "inner": { "names": ["a"] }, "tags": null }),
            ),
        ] {
            assert_eq!(read(&THING, body.as_bytes()).expect(body), expected);
        }
    }

    #[test]
    fn what_is_not() {
        for (body, message) in [
            (r#"{"name": 5}"#, "NUMBER_VALUE can not be converted to a String, at /name"),
            (
                r#"{"inner": {"names": ["a", 5]}}"#,
                "NUMBER_VALUE can not be converted to a String, at /inner/names/1",
            ),
            (r#"{"names": "a"}"#, "STRING_VALUE can not be converted to a list, at /names"),
            (r#"{"names": [null]}"#, "Unexpected null, at /names/0"),
            (r#"{"tags": {"a": true}}"#, "TRUE_VALUE can not be converted to a String, at /tags/a"),
            (r#"{"name": ["a"]}"#, "Unexpected start of list, at /name"),
            (r#"{"yes": {}}"#, "Unexpected start of structure or map, at /yes"),
            (r#"{"count": 1.5}"#, "NUMBER_VALUE can not be converted to an Integer, at /count"),
            (
                r#"{"count": 4294967296}"#,
                "NUMBER_VALUE can not be converted to an Integer, at /count",
            ),
            (r#"{"at": "soon"}"#, "STRING_VALUE can not be converted to a Timestamp, at /at"),
            (r#"["a"]"#, "The request body must be a JSON object."),
        ] {
            let fault = read(&THING, body.as_bytes()).expect_err(body);
            assert_eq!((&*fault.code, fault.message.as_str()), ("SerializationException", message));
        }
        let cut = read(&THING, br#"{"name": "a"#).expect_err("cut off");
        assert_eq!((cut.status, &*cut.code), (400, "SerializationException"));
    }
}
