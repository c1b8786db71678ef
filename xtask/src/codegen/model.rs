//! A service model: the subset of AWS's format that has to do with bytes.
//!
//! The types double as the filter. Prose has no field here, so reading a model
//! and writing it again leaves the facts. Everything is sorted, so that output
//! does not depend on the order of a foreign file.

use crate::Problem;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

/// A whole service, or the part of it that we serve.
#[derive(Debug, Default, Deserialize, Serialize)]
pub(crate) struct Model {
    pub(crate) metadata: Metadata,
    pub(crate) operations: BTreeMap<String, Operation>,
    pub(crate) shapes: BTreeMap<String, Shape>,
    /// Operations that AWS has and we do not serve.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) unserved: Vec<String>,
}

#[derive(Debug, Default, Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Metadata {
    pub(crate) api_version: String,
    pub(crate) protocol: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) service_id: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) target_prefix: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) xml_namespace: Option<String>,
}

#[derive(Debug, Default, Deserialize, Serialize)]
pub(crate) struct Operation {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) input: Option<Reference>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) output: Option<Reference>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) errors: Vec<Reference>,
    /// Whether AWS's model gives it no output at all, which is not the same on the
    /// wire as an output without members. Known once the model is completed.
    #[serde(skip)]
    pub(crate) silent: bool,
}

/// A use of a shape: by a member, a list, a map, an operation.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Reference {
    pub(crate) shape: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) location_name: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) query_name: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) result_wrapper: Option<String>,
    #[serde(default, skip_serializing_if = "is_false")]
    pub(crate) flattened: bool,
    #[serde(default, skip_serializing_if = "is_false")]
    pub(crate) idempotency_token: bool,
}

#[derive(Debug, Default, Deserialize, Serialize)]
pub(crate) struct Shape {
    #[serde(rename = "type")]
    pub(crate) kind: Kind,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub(crate) members: BTreeMap<String, Reference>,
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub(crate) required: BTreeSet<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) member: Option<Reference>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) key: Option<Reference>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) value: Option<Reference>,
    #[serde(default, rename = "enum", skip_serializing_if = "Vec::is_empty")]
    pub(crate) values: Vec<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) min: Option<serde_json::Number>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) max: Option<serde_json::Number>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) pattern: Option<String>,
    #[serde(default, skip_serializing_if = "is_false")]
    pub(crate) flattened: bool,
    #[serde(default, skip_serializing_if = "is_false")]
    pub(crate) sensitive: bool,
    #[serde(default, skip_serializing_if = "is_false")]
    pub(crate) exception: bool,
    /// Of a structure: exactly one of its members is there.
    #[serde(default, skip_serializing_if = "is_false")]
    pub(crate) union: bool,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Kind {
    #[default]
    Structure,
    List,
    Map,
    String,
    Integer,
    Long,
    Double,
    Float,
    Boolean,
    Blob,
    Timestamp,
}

#[allow(clippy::trivially_copy_pass_by_ref)] // The signature is serde's.
fn is_false(value: &bool) -> bool {
    !value
}

impl Model {
    /// Reads `models/<service>.json`.
    pub(crate) fn read(root: &Path, service: &str) -> Result<Self, Problem> {
        let path = root.join(format!("models/{service}.json"));
        let text = std::fs::read(&path).map_err(|e| format!("{}: {e}", path.display()))?;
        serde_json::from_slice(&text).map_err(|e| format!("{}: {e}", path.display()).into())
    }

    /// Gives operations that take or answer nothing an empty structure for it, so
    /// that every operation has the same two ends.
    pub(crate) fn completed(mut self) -> Self {
        for (name, operation) in &mut self.operations {
            operation.silent = operation.output.is_none();
            for (end, suffix) in
                [(&mut operation.input, "Request"), (&mut operation.output, "Response")]
            {
                if end.is_none() {
                    let shape = format!("{name}{suffix}");
                    self.shapes.entry(shape.clone()).or_default();
                    *end = Some(Reference { shape, ..Reference::default() });
                }
            }
        }
        self
    }

    /// The shape a reference names.
    pub(crate) fn shape(&self, name: &str) -> Result<&Shape, Problem> {
        self.shapes.get(name).ok_or_else(|| format!("the model has no shape {name}").into())
    }

    /// Every shape that can be reached from `names`, themselves included.
    pub(crate) fn closure<'a>(
        &self,
        names: impl IntoIterator<Item = &'a str>,
    ) -> Result<BTreeSet<String>, Problem> {
        let mut seen = BTreeSet::new();
        let mut ahead: Vec<String> = names.into_iter().map(str::to_owned).collect();
        while let Some(name) = ahead.pop() {
            if seen.contains(&name) {
                continue;
            }
            ahead.extend(self.shape(&name)?.references().map(|r| r.shape.clone()));
            seen.insert(name);
        }
        Ok(seen)
    }

    /// Whether a value of `from` can hold a value of `to` *inline*, with no list
    /// or map between them to put it on the heap.
    pub(crate) fn holds_inline(&self, from: &str, to: &str) -> bool {
        let mut seen = BTreeSet::new();
        let mut ahead = vec![from];
        while let Some(name) = ahead.pop() {
            let Some(shape) = self.shapes.get(name) else { continue };
            for member in shape.members.values() {
                if member.shape == to {
                    return true;
                }
                if seen.insert(member.shape.as_str()) {
                    ahead.push(&member.shape);
                }
            }
        }
        false
    }
}

impl Shape {
    fn references(&self) -> impl Iterator<Item = &Reference> {
        self.members.values().chain(&self.member).chain(&self.key).chain(&self.value)
    }
}

/// A line of an `.ops` file.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Served {
    pub(crate) name: String,
    /// We also call it.
    pub(crate) client: bool,
}

/// Reads `models/<service>.ops`.
pub(crate) fn served(root: &Path, service: &str) -> Result<Vec<Served>, Problem> {
    let path = root.join(format!("models/{service}.ops"));
    let text = std::fs::read_to_string(&path).map_err(|e| format!("{}: {e}", path.display()))?;
    parse_ops(&text).map_err(|e| format!("{}: {e}", path.display()).into())
}

fn parse_ops(text: &str) -> Result<Vec<Served>, Problem> {
    let lines = text.lines().map(|line| line.split('#').next().unwrap_or_default());
    let mut served = Vec::new();
    for line in lines.filter(|line| !line.trim().is_empty()) {
        let words: Vec<&str> = line.split_whitespace().collect();
        served.push(match words.as_slice() {
            [name] => Served { name: (*name).into(), client: false },
            [name, "client"] => Served { name: (*name).into(), client: true },
            _ => return Err(format!("cannot read {line:?}").into()),
        });
    }
    served.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(served)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn model(text: &str) -> Model {
        serde_json::from_str(text).expect("a model")
    }

    #[test]
    fn prose_does_not_survive() {
        let read = model(
            r#"{"metadata": {"apiVersion": "1", "protocol": "json"}, "documentation": "long",
                "operations": {"Go": {"documentation": "go!", "input": {"shape": "In"}}},
                "shapes": {"In": {"type": "structure", "documentation": "in", "members": {}}}}"#,
        );
        let written = serde_json::to_string(&read).expect("text");
        assert!(!written.contains("documentation"), "{written}");
    }

    #[test]
    fn closures_end_even_when_shapes_do_not() {
        let shapes = model(
            r#"{"metadata": {"apiVersion": "1", "protocol": "json"}, "operations": {}, "shapes": {
                "A": {"type": "structure", "members": {"b": {"shape": "Bs"}, "a": {"shape": "A"}}},
                "Bs": {"type": "list", "member": {"shape": "B"}},
                "B": {"type": "structure", "members": {"a": {"shape": "A"}}},
                "C": {"type": "string"}}}"#,
        );
        let closure = shapes.closure(["A"]).expect("closed");
        assert_eq!(closure.into_iter().collect::<Vec<_>>(), ["A", "B", "Bs"]);
        assert!(shapes.holds_inline("A", "A"));
        assert!(!shapes.holds_inline("A", "B"), "a list is in between");
        assert!(shapes.closure(["Missing"]).is_err());
    }

    #[test]
    fn an_operation_that_says_nothing_says_it_with_a_structure() {
        let bare = model(
            r#"{"metadata": {"apiVersion": "1", "protocol": "query"},
                "operations": {"Go": {"input": {"shape": "In"}}},
                "shapes": {"In": {"type": "structure"}}}"#,
        )
        .completed();
        let output = bare.operations["Go"].output.as_ref().expect("an output");
        assert_eq!(output.shape, "GoResponse");
        assert!(bare.shape("GoResponse").expect("there").members.is_empty());
    }

    #[test]
    fn ops_files() {
        let served = parse_ops("# all\nRunTask client # agents too\n\nListTasks\n").expect("ops");
        let expected = [("ListTasks", false), ("RunTask", true)];
        let found: Vec<_> = served.iter().map(|s| (s.name.as_str(), s.client)).collect();
        assert_eq!(found, expected);
        assert!(parse_ops("RunTask backwards").is_err());
    }
}
