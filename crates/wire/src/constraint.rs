//! What AWS's model demands of values: presence, ranges, lengths, enumerations,
//! patterns.
//!
//! Only the model's own demands are checked here. What a service demands beyond
//! its model, and says in its own words, is for that service's shell.

use crate::schema::{Kind, Shape};
use crate::{Fault, Protocol, Service};
use serde_json::Value;

/// A demand that a request does not meet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Violation {
    /// Where: `networkConfiguration.awsvpcConfiguration.subnets` in JSON,
    /// `IpPermissions.1.IpProtocol` in a form.
    pub path: String,
    /// Which demand.
    pub kind: Demand,
    /// The value, or `null`.
    pub value: String,
    /// What must hold, in AWS's words: `Member must not be null`.
    pub message: String,
}

/// The kinds of demands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum Demand {
    Presence,
    AtLeast(i64),
    AtMost(i64),
    LengthAtLeast(i64),
    LengthAtMost(i64),
    OneOf,
    Pattern,
}

impl std::fmt::Display for Violation {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { path, value, message, .. } = self;
        let quote = if value == "null" { "" } else { "'" };
        write!(f, "Value {quote}{value}{quote} at '{path}' failed to satisfy constraint: {message}")
    }
}

/// Everything in `value` that `shape` does not allow.
pub fn violations(protocol: Protocol, shape: &Shape, value: &Value) -> Vec<Violation> {
    let mut walk = Walk { protocol, found: Vec::new() };
    walk.value(shape, value, "");
    walk.found
}

/// Refuses `value` as `service` would, if it violates `shape`.
pub(crate) fn check(service: &Service, shape: &Shape, value: &Value) -> Result<(), Fault> {
    let found = violations(service.protocol, shape, value);
    let Some(first) = found.first() else { return Ok(()) };
    Err(match service.protocol {
        Protocol::Ec2Query => ec2(first),
        Protocol::Json11 | Protocol::AwsQuery => {
            let all: Vec<String> = found.iter().map(Violation::to_string).collect();
            let errors = if all.len() == 1 { "error" } else { "errors" };
            Fault::client(
                service.invalid,
                format!("{} validation {errors} detected: {}", all.len(), all.join("; ")),
            )
        }
    })
}

/// EC2 names one problem at a time, in its own words.
fn ec2(violation: &Violation) -> Fault {
    let Violation { path, value, message, .. } = violation;
    let parameter = lower_first(path);
    let text = match violation.kind {
        Demand::Presence => {
            return Fault::client(
                "MissingParameter",
                format!("The request must contain the parameter {path}"),
            );
        }
        Demand::AtLeast(least) => format!(
            "Value ( {value} ) for parameter {parameter} is invalid. \
             Expecting a value greater than or equal to {least}."
        ),
        Demand::AtMost(most) => format!(
            "Value ( {value} ) for parameter {parameter} is invalid. \
             Expecting a value less than or equal to {most}."
        ),
        Demand::LengthAtLeast(_) | Demand::LengthAtMost(_) | Demand::OneOf | Demand::Pattern => {
            format!("Value ({value}) for parameter {parameter} is invalid. {message}.")
        }
    };
    Fault::client("InvalidParameterValue", text)
}

struct Walk {
    protocol: Protocol,
    found: Vec<Violation>,
}

impl Walk {
    fn value(&mut self, shape: &Shape, value: &Value, path: &str) {
        match (&shape.kind, value) {
            (Kind::Structure(members), Value::Object(object)) => {
                for member in *members {
                    let path = self.join(path, member.name, member.query);
                    let inner = object.get(member.name).unwrap_or(&Value::Null);
                    if member.required && inner.is_null() {
                        let message = "Member must not be null".to_owned();
                        self.report(&path, Demand::Presence, "null", message);
                    } else {
                        self.value(member.shape, inner, &path);
                    }
                }
            }
            (Kind::List(list), Value::Array(items)) => {
                self.length(shape, items.len(), value, path);
                for (at, item) in (1..).zip(items) {
                    let path = match (self.protocol, list.query) {
                        (Protocol::Json11, _) => format!("{path}.{at}.member"),
                        (Protocol::AwsQuery, Some(name)) => format!("{path}.{name}.{at}"),
                        (Protocol::AwsQuery | Protocol::Ec2Query, _) => format!("{path}.{at}"),
                    };
                    self.value(list.item, item, &path);
                }
            }
            (Kind::Map(map), Value::Object(object)) => {
                self.length(shape, object.len(), value, path);
                for (key, item) in object {
                    self.value(map.item, item, &format!("{path}.{key}.member"));
                }
            }
            (_, Value::String(text)) => self.string(shape, text, value, path),
            (_, Value::Number(number)) => self.number(shape, number, value, path),
            _ => {}
        }
    }

    fn string(&mut self, shape: &Shape, text: &str, value: &Value, path: &str) {
        self.length(shape, text.chars().count(), value, path);
        if !shape.values.is_empty() && !shape.values.contains(&text) {
            let message =
                format!("Member must satisfy enum value set: [{}]", shape.values.join(", "));
            self.report(path, Demand::OneOf, text, message);
        }
        if let Some(pattern) = shape.pattern.filter(|pattern| !pattern.matches(text)) {
            let message =
                format!("Member must satisfy regular expression pattern: {}", pattern.expression());
            self.report(path, Demand::Pattern, text, message);
        }
    }

    fn length(&mut self, shape: &Shape, length: usize, value: &Value, path: &str) {
        let length = i64::try_from(length).unwrap_or(i64::MAX);
        if let Some(least) = shape.min.filter(|least| length < *least) {
            let message = format!("Member must have length greater than or equal to {least}");
            self.report(path, Demand::LengthAtLeast(least), &shown(value), message);
        }
        if let Some(most) = shape.max.filter(|most| length > *most) {
            let message = format!("Member must have length less than or equal to {most}");
            self.report(path, Demand::LengthAtMost(most), &shown(value), message);
        }
    }

    #[allow(clippy::cast_precision_loss)] // Models' bounds are small.
    fn number(&mut self, shape: &Shape, number: &serde_json::Number, value: &Value, path: &str) {
        let number = number.as_f64().unwrap_or_default();
        if let Some(least) = shape.min.filter(|least| number < *least as f64) {
            let message = format!("Member must have value greater than or equal to {least}");
            self.report(path, Demand::AtLeast(least), &shown(value), message);
        }
        if let Some(most) = shape.max.filter(|most| number > *most as f64) {
            let message = format!("Member must have value less than or equal to {most}");
            self.report(path, Demand::AtMost(most), &shown(value), message);
        }
    }

    fn report(&mut self, path: &str, kind: Demand, value: &str, message: String) {
        self.found.push(Violation { path: path.into(), kind, value: value.into(), message });
    }

    fn join(&self, path: &str, name: &str, query: &str) -> String {
        let name = match self.protocol {
            Protocol::Json11 => lower_first(name),
            Protocol::Ec2Query | Protocol::AwsQuery => query.to_owned(),
        };
        if path.is_empty() { name } else { format!("{path}.{name}") }
    }
}

fn lower_first(name: &str) -> String {
    let mut characters = name.chars();
    match characters.next() {
        Some(first) => first.to_lowercase().chain(characters).collect(),
        None => String::new(),
    }
}

/// Strings as they are; everything else as JSON, which is close to what AWS
/// prints.
fn shown(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::Array(_) | Value::Object(_) => {
            value.to_string()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::schema::{Member, Pattern, plain};
    use serde_json::json;

    static KEY: Shape = Shape::new(Kind::String).min(1).max(4).pattern(Pattern::TagText);
    static TAG: Shape = Shape::structure(&[Member::new("key", &KEY).required()]);
    static TAGS: Shape = Shape::list(&TAG).max(2);
    static COUNT: Shape = Shape::new(Kind::Integer).min(1).max(10);
    static TYPE: Shape = Shape::new(Kind::String).values(&["EC2", "FARGATE"]);
    static THING: Shape = Shape::structure(&[
        Member::new("taskDefinition", &plain::STRING).required(),
        Member::new("count", &COUNT).query("MaxCount"),
        Member::new("launchType", &TYPE),
        Member::new("tags", &TAGS).query("Tag"),
    ]);

    fn service(protocol: Protocol, invalid: &'static str) -> Service {
        Service {
            name: "thing",
            protocol,
            version: "",
            target: "",
            namespace: "",
            invalid,
            operations: &[],
            unserved: &[],
        }
    }

    #[test]
    fn json_services_list_them_all() {
        let ecs = service(Protocol::Json11, "InvalidParameterException");
        for (value, message) in [
            (
                json!({}),
                "1 validation error detected: Value null at 'taskDefinition' failed to satisfy \
                 constraint: Member must not be null",
            ),
            (
                json!({ "count": 11, "taskDefinition": null }),
                "2 validation errors detected: Value null at 'taskDefinition' failed to satisfy \
                 constraint: Member must not be null; Value '11' at 'count' failed to satisfy \
                 constraint: Member must have value less than or equal to 10",
            ),
            (
                json!({ "taskDefinition": "a", "launchType": "MOON" }),
                "1 validation error detected: Value 'MOON' at 'launchType' failed to satisfy \
                 constraint: Member must satisfy enum value set: [EC2, FARGATE]",
            ),
            (
                json!({ "taskDefinition": "a", "tags": [{ "key": "a" }, { "key": "" }] }),
                "1 validation error detected: Value '' at 'tags.2.member.key' failed to satisfy \
                 constraint: Member must have length greater than or equal to 1",
            ),
            (
                json!({ "taskDefinition": "a", "tags": [{ "key": "50%" }] }),
                "1 validation error detected: Value '50%' at 'tags.1.member.key' failed to \
                 satisfy constraint: Member must satisfy regular expression pattern: \
                 ([\\p{L}\\p{Z}\\p{N}_.:/=+\\-@]*)",
            ),
        ] {
            let fault = check(&ecs, &THING, &value).expect_err("refused");
            assert_eq!((&*fault.code, &*fault.message), ("InvalidParameterException", message));
        }
        let good = json!({ "taskDefinition": "", "count": 1, "launchType": "EC2", "tags": [] });
        assert_eq!(check(&ecs, &THING, &good), Ok(()));
    }

    #[test]
    fn ec2_names_one() {
        let ec2 = service(Protocol::Ec2Query, "");
        let whole = |more: Value| {
            let mut value = json!({ "taskDefinition": "a" });
            if let (Value::Object(value), Value::Object(more)) = (&mut value, more) {
                value.extend(more);
            }
            value
        };
        for (value, code, message) in [
            (
                json!({ "count": 0 }),
                "MissingParameter",
                "The request must contain the parameter taskDefinition",
            ),
            (
                whole(json!({ "count": 0 })),
                "InvalidParameterValue",
                "Value ( 0 ) for parameter maxCount is invalid. \
                 Expecting a value greater than or equal to 1.",
            ),
            (
                whole(json!({ "tags": [{}] })),
                "MissingParameter",
                "The request must contain the parameter Tag.1.key",
            ),
        ] {
            let fault = check(&ec2, &THING, &value).expect_err("refused");
            assert_eq!((&*fault.code, &*fault.message), (code, message));
        }
    }
}
