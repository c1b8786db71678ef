//! The cluster query language: which container instances an expression selects.
//!
//! The grammar is that of the ECS developer guide, "Cluster query language":
//! `subject operator [argument]`, joined by `&&`, `||` and `!` or their words,
//! and parentheses around whole comparisons. What the guide leaves open is
//! settled here:
//!
//! - A value may stand in single or double quotes, which have no escapes.
//! - `!=`, `not_in`, `not_matches` and `not_exists` are the negations of their
//!   counterparts, so an instance without the attribute satisfies them.
//! - A pattern must match the whole value, as `String.matches` of Java does.
//!   Patterns take time linear in the value; what cannot be matched so
//!   (backreferences, lookaround) is refused.
//! - `task:group` compares each group that has a task on the instance; one is
//!   enough.
//! - Attributes are ordered as numbers if both sides are numbers, otherwise as
//!   text; versions by their numbers.

mod date;
mod parse;

use alloc::boxed::Box;
use alloc::string::{String, ToString};
use alloc::vec::Vec;
use core::cmp::Ordering;
use core::fmt;
use ident::Timestamp;

pub use parse::{Error, MAX_CHARS, MAX_DEPTH, parse};

/// What an expression is asked about.
pub trait Facts {
    /// Whether the agent has a session.
    fn agent_connected(&self) -> bool;
    /// The agent's version, if it said one.
    fn agent_version(&self) -> Option<&str>;
    /// The value of an attribute: `None` if it is not there, `""` if it has none.
    fn attribute(&self, name: &str) -> Option<&str>;
    /// The EC2 instance that the container instance is, if it is one.
    fn ec2_instance(&self) -> Option<&str>;
    /// When it registered.
    fn registered_at(&self) -> Timestamp;
    /// How many tasks are RUNNING on it.
    fn running_tasks(&self) -> u32;
    /// Whether `wanted` holds for a group that has a task on it.
    fn any_group(&self, wanted: &mut dyn FnMut(&str) -> bool) -> bool;
}

/// An expression that was understood.
#[derive(Clone, Debug, PartialEq)]
pub struct Expression(Node);

#[derive(Clone, Debug, PartialEq)]
enum Node {
    Term(Term),
    Not(Box<Node>),
    All(Vec<Node>),
    Any(Vec<Node>),
}

/// A comparison.
#[derive(Clone, Debug, PartialEq)]
struct Term {
    subject: Subject,
    /// Whether the comparison is to fail.
    negated: bool,
    test: Test,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Subject {
    AgentConnected,
    AgentVersion,
    Attribute(String),
    Ec2InstanceId,
    RegisteredAt,
    RunningTasksCount,
    TaskGroup,
}

#[derive(Clone, Debug, PartialEq)]
enum Test {
    Exists,
    Equals(Literal),
    In(Vec<Literal>),
    Matches(Pattern),
    Ordered(Order, Literal),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Order {
    Less,
    LessOrEqual,
    Greater,
    GreaterOrEqual,
}

/// A value as it was written, and what it means to the subject.
#[derive(Clone, Debug, PartialEq)]
struct Literal {
    text: String,
    meaning: Meaning,
}

#[derive(Clone, Debug, PartialEq)]
enum Meaning {
    Text,
    Number(i64),
    Moment(Timestamp),
    Version(Vec<u64>),
}

/// A regular expression, anchored at both ends.
#[derive(Clone, Debug)]
struct Pattern {
    text: String,
    whole: regex::Regex,
}

impl PartialEq for Pattern {
    fn eq(&self, other: &Self) -> bool {
        self.text == other.text
    }
}

impl Expression {
    /// Whether the expression selects the instance.
    pub fn selects(&self, facts: &dyn Facts) -> bool {
        self.0.holds(facts)
    }

    /// Whether the answer depends on attributes and on the agent alone, but not
    /// on which instance it is, since when, or what runs on it; and on none of
    /// the attributes that `particular` names.
    pub fn is_general(&self, particular: &[&str]) -> bool {
        self.0.is_general(particular)
    }
}

impl Node {
    fn holds(&self, facts: &dyn Facts) -> bool {
        match self {
            Self::Term(term) => term.holds(facts) != term.negated,
            Self::Not(inner) => !inner.holds(facts),
            Self::All(parts) => parts.iter().all(|part| part.holds(facts)),
            Self::Any(parts) => parts.iter().any(|part| part.holds(facts)),
        }
    }

    fn is_general(&self, particular: &[&str]) -> bool {
        match self {
            Self::Term(term) => match &term.subject {
                Subject::AgentConnected | Subject::AgentVersion => true,
                Subject::Attribute(name) => !particular.contains(&name.as_str()),
                Subject::Ec2InstanceId
                | Subject::RegisteredAt
                | Subject::RunningTasksCount
                | Subject::TaskGroup => false,
            },
            Self::Not(inner) => inner.is_general(particular),
            Self::All(parts) | Self::Any(parts) => parts.iter().all(|p| p.is_general(particular)),
        }
    }
}

impl Term {
    /// Whether the comparison holds, before it is negated.
    fn holds(&self, facts: &dyn Facts) -> bool {
        match &self.subject {
            Subject::AgentConnected => {
                self.test.of_text(if facts.agent_connected() { "true" } else { "false" })
            }
            Subject::AgentVersion => facts.agent_version().is_some_and(|version| {
                self.test.of_order(|literal| match &literal.meaning {
                    Meaning::Version(wanted) => {
                        Some(compare_versions(&version_numbers(version)?, wanted))
                    }
                    Meaning::Text | Meaning::Number(_) | Meaning::Moment(_) => None,
                })
            }),
            Subject::Attribute(name) => {
                facts.attribute(name).is_some_and(|value| self.test.of_text(value))
            }
            Subject::Ec2InstanceId => facts.ec2_instance().is_some_and(|id| self.test.of_text(id)),
            Subject::RegisteredAt => self.test.of_order(|literal| match literal.meaning {
                Meaning::Moment(wanted) => Some(facts.registered_at().cmp(&wanted)),
                Meaning::Text | Meaning::Number(_) | Meaning::Version(_) => None,
            }),
            Subject::RunningTasksCount => self.test.of_order(|literal| match literal.meaning {
                Meaning::Number(wanted) => Some(i64::from(facts.running_tasks()).cmp(&wanted)),
                Meaning::Text | Meaning::Moment(_) | Meaning::Version(_) => None,
            }),
            Subject::TaskGroup => facts.any_group(&mut |group| self.test.of_text(group)),
        }
    }
}

impl Test {
    /// Whether it holds for a text.
    fn of_text(&self, value: &str) -> bool {
        match self {
            Self::Exists => true,
            Self::Equals(literal) => literal.text == value,
            Self::In(literals) => literals.iter().any(|literal| literal.text == value),
            Self::Matches(pattern) => pattern.whole.is_match(value),
            Self::Ordered(order, literal) => {
                let numbers = (value.parse::<i64>(), literal.text.parse::<i64>());
                let ordering = match numbers {
                    (Ok(a), Ok(b)) => a.cmp(&b),
                    (Ok(_) | Err(_), _) => value.cmp(&literal.text),
                };
                order.allows(ordering)
            }
        }
    }

    /// Whether it holds for something with an order, which `compare` knows.
    fn of_order(&self, compare: impl Fn(&Literal) -> Option<Ordering>) -> bool {
        match self {
            Self::Exists => true,
            Self::Equals(literal) => compare(literal) == Some(Ordering::Equal),
            Self::In(literals) => literals.iter().any(|it| compare(it) == Some(Ordering::Equal)),
            Self::Matches(_) => false,
            Self::Ordered(order, literal) => compare(literal).is_some_and(|it| order.allows(it)),
        }
    }
}

impl Order {
    fn allows(self, ordering: Ordering) -> bool {
        match self {
            Self::Less => ordering.is_lt(),
            Self::LessOrEqual => ordering.is_le(),
            Self::Greater => ordering.is_gt(),
            Self::GreaterOrEqual => ordering.is_ge(),
        }
    }
}

/// The numbers of a version such as `1.14.5` or `v1.14.5-rc1`, without what
/// follows them.
fn version_numbers(text: &str) -> Option<Vec<u64>> {
    let text = text.strip_prefix('v').unwrap_or(text);
    let end = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    text.get(..end)?.split('.').map(|part| part.parse().ok()).collect()
}

/// `1.14` and `1.14.0` are the same version.
fn compare_versions(a: &[u64], b: &[u64]) -> Ordering {
    let at = |version: &[u64], place| version.get(place).copied().unwrap_or(0);
    let places = 0..a.len().max(b.len());
    places.map(|n| at(a, n).cmp(&at(b, n))).find(|it| it.is_ne()).unwrap_or(Ordering::Equal)
}

impl fmt::Display for Expression {
    /// The expression in symbols, such that it is read back as the same.
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.print(out, false)
    }
}

impl Node {
    fn print(&self, out: &mut fmt::Formatter<'_>, inside: bool) -> fmt::Result {
        let (parts, between) = match self {
            Self::Term(term) => return write!(out, "{term}"),
            Self::Not(inner) => {
                out.write_str("!(")?;
                inner.print(out, false)?;
                return out.write_str(")");
            }
            Self::All(parts) => (parts, " && "),
            Self::Any(parts) => (parts, " || "),
        };
        if inside {
            out.write_str("(")?;
        }
        for (at, part) in parts.iter().enumerate() {
            if at > 0 {
                out.write_str(between)?;
            }
            part.print(out, true)?;
        }
        if inside { out.write_str(")") } else { Ok(()) }
    }
}

impl fmt::Display for Term {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{} ", self.subject)?;
        let choose = |plain, negated| if self.negated { negated } else { plain };
        match &self.test {
            Test::Exists => out.write_str(choose("exists", "!exists")),
            Test::Equals(literal) => write!(out, "{} {literal}", choose("==", "!=")),
            Test::In(literals) => {
                let all: Vec<String> = literals.iter().map(ToString::to_string).collect();
                write!(out, "{} [{}]", choose("in", "!in"), all.join(", "))
            }
            Test::Matches(pattern) => {
                write!(out, "{} {}", choose("=~", "!~"), quoted(&pattern.text))
            }
            Test::Ordered(order, literal) => write!(out, "{} {literal}", order.symbol()),
        }
    }
}

impl Order {
    fn symbol(self) -> &'static str {
        match self {
            Self::Less => "<",
            Self::LessOrEqual => "<=",
            Self::Greater => ">",
            Self::GreaterOrEqual => ">=",
        }
    }
}

impl fmt::Display for Subject {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::AgentConnected => out.write_str("agentConnected"),
            Self::AgentVersion => out.write_str("agentVersion"),
            Self::Attribute(name) => write!(out, "attribute:{name}"),
            Self::Ec2InstanceId => out.write_str("ec2InstanceId"),
            Self::RegisteredAt => out.write_str("registeredAt"),
            Self::RunningTasksCount => out.write_str("runningTasksCount"),
            Self::TaskGroup => out.write_str("task:group"),
        }
    }
}

impl fmt::Display for Literal {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let plain = |c: char| c.is_ascii_alphanumeric() || "-_.:/".contains(c);
        if !self.text.is_empty() && self.text.chars().all(plain) {
            out.write_str(&self.text)
        } else {
            out.write_str(&quoted(&self.text))
        }
    }
}

/// The text in quotes. No text that was read has both kinds in it.
fn quoted(text: &str) -> String {
    let quote = if text.contains('\'') { "\"" } else { "'" };
    [quote, text, quote].concat()
}

#[cfg(test)]
#[path = "query_tests.rs"]
mod tests;
