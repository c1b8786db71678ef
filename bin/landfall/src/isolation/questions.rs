//! Questions to every operation, in words that somebody else's state is made of.

use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};
use store::StoredRecord;
use wire::schema::{Kind, Member, Shape};
use wire::{Body, Protocol};

/// A random number generator: SplitMix64.
pub(super) struct Chance(pub(super) u64);

impl Chance {
    fn below(&mut self, bound: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        let bound = u64::try_from(bound.max(1)).expect("small");
        usize::try_from((z ^ (z >> 31)) % bound).expect("below a usize")
    }

    pub(super) fn one_in(&mut self, many: usize) -> bool {
        self.below(many) == 0
    }

    fn pick<'a, T>(&mut self, from: &'a [T]) -> &'a T {
        &from[self.below(from.len())]
    }
}

/// What is asked of whom.
#[derive(Debug)]
pub(super) struct Question {
    pub(super) service: &'static str,
    pub(super) operation: &'static str,
    pub(super) input: Value,
}

/// A question in bytes.
pub(super) enum Written {
    Json(Vec<u8>),
    Form(Vec<(String, String)>),
}

impl Written {
    pub(super) fn lent(&self) -> Body<'_> {
        match self {
            Self::Json(bytes) => Body::Json(bytes),
            Self::Form(parameters) => Body::Form(parameters),
        }
    }
}

impl Question {
    /// In the protocol of its service.
    pub(super) fn body(&self, service: &wire::Service) -> Written {
        if service.protocol == Protocol::Json11 {
            return Written::Json(self.input.to_string().into_bytes());
        }
        let operation = service.operation(self.operation).expect("it is served");
        let mut parameters = Vec::new();
        flatten(operation.input, &self.input, "", &mut parameters);
        Written::Form(parameters)
    }
}

fn flatten(shape: &Shape, value: &Value, path: &str, into: &mut Vec<(String, String)>) {
    let join = |name: &str| {
        if path.is_empty() { name.to_owned() } else { format!("{path}.{name}") }
    };
    match (&shape.kind, value) {
        (Kind::Structure(members), Value::Object(object)) => {
            for member in *members {
                if let Some(inner) = object.get(member.name) {
                    flatten(member.shape, inner, &join(member.query), into);
                }
            }
        }
        (Kind::List(list), Value::Array(items)) => {
            let path = list.query.map_or_else(|| path.to_owned(), join);
            for (at, item) in (1..).zip(items) {
                flatten(list.item, item, &format!("{path}.{at}"), into);
            }
        }
        (_, Value::String(text)) => into.push((path.to_owned(), text.clone())),
        (_, Value::Null) => {}
        (_, other) => into.push((path.to_owned(), other.to_string())),
    }
}

/// What members are called that take words beginning like this.
const AFFINITIES: &[(&str, &[&str])] = &[
    ("token", &["ey", "fixture"]),
    ("marker", &["ey"]),
    ("vpc", &["vpc-"]),
    ("subnet", &["subnet-"]),
    ("rule", &["sgr-"]),
    ("groupname", &["default", "web"]),
    ("rolename", &["fixture"]),
    ("document", &["{"]),
    ("policyname", &["all"]),
    ("protocol", &["tcp"]),
    ("group", &["sg-"]),
    ("resources", &["vpc-", "subnet-", "sg-", "eni-", "i-"]),
    ("networkinterface", &["eni-"]),
    ("containerinstance", &["arn:aws:ecs", "8d6baab8", "i-"]),
    ("instance", &["i-"]),
    ("attachment", &["eni-attach-"]),
    ("clusterarn", &["arn:aws:ecs"]),
    ("cluster", &["default", "arn:aws:ecs"]),
    ("taskdefinition", &["fixture", "arn:aws:ecs"]),
    ("family", &["fixture"]),
    ("task", &["arn:aws:ecs", "191b"]),
    ("role", &["fixture", "arn:aws:iam"]),
    ("policyarn", &["arn:aws:iam::aws:policy"]),
    ("principal", &["arn:aws:iam"]),
    ("policy", &["{"]),
    ("arn", &["arn:"]),
    ("accountid", &["0000"]),
    ("ip", &["172.", "10."]),
    ("cidr", &["10.", "172."]),
    ("key", &["mark"]),
    ("value", &["enabled", "mark"]),
    ("name", &["containerInsights", "fixture", "default", "mark"]),
];

/// Names of filters that find things by what they are.
const FILTERS: &[&str] = &[
    "vpc-id",
    "subnet-id",
    "group-id",
    "group-name",
    "network-interface-id",
    "instance-id",
    "owner-id",
    "tag:mark",
    "tag-key",
    "resource-id",
];

/// What can be said in a question.
pub(super) struct Words(Vec<String>);

impl Words {
    /// The ids, names and ARNs of `account`.
    pub(super) fn of(records: &[StoredRecord], account: &str) -> Self {
        let mut words = BTreeSet::from(["mark".to_owned(), account.to_owned()]);
        for plain in [
            "10.0.0.0/16",
            "10.0.1.0/28",
            "172.31.0.9",
            "tcp",
            "all",
            "enabled",
            "containerInsights",
            "arn:aws:iam::aws:policy/ReadOnlyAccess",
        ] {
            words.insert(plain.to_owned());
        }
        words.insert(policy(r#""Principal":{"AWS":"*"},"Action":"sts:AssumeRole""#));
        words.insert(policy(r#""Action":"ecs:ListClusters","Resource":"*""#));
        for record in records.iter().filter(|it| it.key.scope.account.as_str() == account) {
            let (kind, id) = (&*record.key.kind, &*record.key.id);
            let arn = |kind: &str, id: &str| format!("arn:aws:ecs:us-east-1:{account}:{kind}/{id}");
            match kind {
                "ecs.cluster" => words.insert(arn("cluster", id)),
                "ecs.task" => words.insert(arn("task", &format!("default/{id}"))),
                "ecs.container-instance" => {
                    words.insert(arn("container-instance", &format!("default/{id}")))
                }
                "ecs.task-definition" => words.insert(arn("task-definition", &format!("{id}:1"))),
                "ecs.task-definition-family" => {
                    words.insert(arn("task-definition", &format!("{id}:1")));
                    words.insert(format!("{id}:1"))
                }
                "iam.role" => words.insert(format!("arn:aws:iam::{account}:role/{id}")),
                _ => false,
            };
            words.insert(id.to_owned());
            let value: Value = serde_json::from_slice(&record.bytes).expect("JSON");
            nested(&value, &mut words);
        }
        Self(words.into_iter().collect())
    }

    /// These as well.
    pub(super) fn add(&mut self, more: Vec<String>) {
        self.0.extend(more);
    }

    fn like(&self, member: &str, chance: &mut Chance) -> String {
        let member = member.to_ascii_lowercase();
        let known = AFFINITIES.iter().find(|(name, _)| member.contains(name));
        if let Some((_, beginnings)) = known.filter(|_| !chance.one_in(8)) {
            let beginning = chance.pick(beginnings);
            let all: Vec<&String> =
                self.0.iter().filter(|word| word.starts_with(beginning)).collect();
            if !all.is_empty() {
                return (*chance.pick(&all)).clone();
            }
        }
        chance.pick(&self.0).clone()
    }
}

fn policy(statement: &str) -> String {
    format!(r#"{{"Version":"2012-10-17","Statement":[{{"Effect":"Allow",{statement}}}]}}"#)
}

/// Ids within records: rules, attachments, addresses.
fn nested(value: &Value, into: &mut BTreeSet<String>) {
    match value {
        Value::String(text) => {
            let id = ["sgr-", "eni-attach-", "arn:aws:", "172.31.", "AROA", "ASIA", "AKIA"];
            if id.iter().any(|beginning| text.starts_with(beginning)) {
                into.insert(text.clone());
            }
        }
        Value::Array(items) => items.iter().for_each(|item| nested(item, into)),
        Value::Object(object) => object.values().for_each(|item| nested(item, into)),
        Value::Null | Value::Bool(_) | Value::Number(_) => {}
    }
}

/// A question whose answer does not fit on one page, if the operation has pages.
pub(super) fn first_page(shape: &Shape) -> Option<Value> {
    let (_, mut input) = next_page(shape)?;
    let Kind::Structure(members) = &shape.kind else { return None };
    for (name, fewest) in [("MaxResults", 5), ("maxResults", 1), ("MaxItems", 1)] {
        if members.iter().any(|member| member.name == name) {
            input[name] = json!(fewest);
        }
    }
    Some(input)
}

/// A question without its token, about what the fixture has, and what the member is
/// called that takes a token.
pub(super) fn next_page(shape: &Shape) -> Option<(&'static str, Value)> {
    let Kind::Structure(members) = &shape.kind else { return None };
    let token =
        members.iter().find(|it| matches!(it.name, "nextToken" | "NextToken" | "Marker"))?;
    let required = members.iter().filter(|member| member.required);
    let input = required.map(|it| (it.name.to_owned(), there_is(it)));
    Some((token.name, Value::Object(input.collect())))
}

/// Something that the fixture has, for a member that a list insists on.
fn there_is(member: &Member) -> Value {
    match member.name {
        "RoleName" => json!("fixture"),
        _ => json!(member.shape.values.first().expect("one of a few words")),
    }
}

/// `token` after an accident.
pub(super) fn mutant(token: &str, chance: &mut Chance) -> String {
    let mut bytes = token.as_bytes().to_vec();
    for _ in 0..=chance.below(3) {
        if bytes.is_empty() {
            break;
        }
        let at = chance.below(bytes.len());
        match chance.below(4) {
            0 => bytes[at] = *chance.pick(b"AZaz09-_+/=%. "),
            1 => drop(bytes.remove(at)),
            2 => bytes.insert(at, *chance.pick(b"AZaz09-_+/=%. ")),
            _ => bytes.truncate(at.max(1)),
        }
    }
    String::from_utf8(bytes).expect("ASCII")
}

/// A request of this shape.
pub(super) fn input(shape: &Shape, words: &Words, chance: &mut Chance) -> Value {
    value(shape, "", words, chance, 0)
}

fn value(shape: &Shape, name: &str, words: &Words, chance: &mut Chance, depth: usize) -> Value {
    match &shape.kind {
        Kind::Structure(members) => {
            let mut object = BTreeMap::new();
            let filter = members.iter().any(|it| it.name == "Values")
                && members.iter().any(|it| it.name == "Name");
            // Half of the members, or few, or next to none: the rare ones exclude each other.
            let rare = if depth == 0 { *chance.pick(&[2, 8, 64]) } else { 2 + depth };
            for member in *members {
                if member.name == "DryRun" || !(member.required || chance.one_in(rare)) {
                    continue;
                }
                let inner = if filter && member.name == "Name" {
                    json!(chance.pick(FILTERS))
                } else {
                    value(member.shape, member.name, words, chance, depth + 1)
                };
                object.insert(member.name.to_owned(), inner);
            }
            if filter {
                object.entry("Name".to_owned()).or_insert_with(|| json!("vpc-id"));
            }
            Value::Object(object.into_iter().collect())
        }
        Kind::List(list) => {
            let many = if depth > 4 { 0 } else { 1 + usize::from(chance.one_in(3)) };
            (0..many).map(|_| value(list.item, name, words, chance, depth + 1)).collect()
        }
        Kind::Map(map) => {
            let inner = value(map.item, name, words, chance, depth + 1);
            json!({ words.like(name, chance): inner })
        }
        Kind::String | Kind::Blob if !shape.values.is_empty() => json!(chance.pick(shape.values)),
        Kind::String | Kind::Blob => {
            let text = words.like(name, chance);
            let most = shape.max.and_then(|most| usize::try_from(most).ok()).unwrap_or(usize::MAX);
            json!(text.chars().take(most).collect::<String>())
        }
        Kind::Integer | Kind::Long => {
            let least = shape.min.unwrap_or(0);
            let most = shape.max.unwrap_or(least + 100).min(least + 100);
            let spread = usize::try_from(most - least).unwrap_or_default();
            json!(least + i64::try_from(chance.below(spread + 1)).unwrap_or_default())
        }
        Kind::Double => json!(chance.below(100)),
        Kind::Boolean => json!(chance.one_in(2)),
        Kind::Timestamp => json!(1_795_765_900),
    }
}
