//! From text to expression.

use super::{Expression, Literal, Meaning, Node, Order, Pattern, Subject, Term, Test, date};
use alloc::borrow::ToOwned;
use alloc::boxed::Box;
use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec;
use alloc::vec::Vec;
use core::fmt;

/// As many characters as an expression may have, as in the ECS API's documentation.
pub const MAX_CHARS: usize = 2000;
/// How deep parentheses and negations may be nested. Ours: it bounds recursion.
pub const MAX_DEPTH: usize = 32;
/// As many bytes as a compiled pattern may take.
const MAX_PATTERN: usize = 256 << 10;
/// How deep a pattern's groups may be nested.
const MAX_PATTERN_DEPTH: u32 = 32;

/// Why a text is not an expression, and where it is not.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Error {
    /// The offset of the first byte that is wrong.
    pub start: usize,
    /// The offset behind the last.
    pub end: usize,
    /// What is wrong, for the person who wrote it.
    pub problem: String,
}

impl fmt::Display for Error {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{}, at offset {}", self.problem, self.start)
    }
}

impl core::error::Error for Error {}

/// Reads an expression.
///
/// # Errors
///
/// If the text does not follow the grammar, an operator does not go with its
/// subject, or an argument is not of the subject's kind. The error says where.
pub fn parse(text: &str) -> Result<Expression, Error> {
    if text.chars().count() > MAX_CHARS {
        let problem = format!("an expression has at most {MAX_CHARS} characters");
        return Err(Error { start: 0, end: text.len(), problem });
    }
    let mut parser = Parser { text, at: 0, depth: 0 };
    let node = parser.any()?;
    parser.space();
    if parser.at < text.len() {
        return Err(parser.wrong("expected '&&', '||' or the end"));
    }
    Ok(Expression(node))
}

struct Parser<'t> {
    text: &'t str,
    at: usize,
    depth: usize,
}

/// Operators, longest first where one begins another.
const OPERATORS: [(&str, Operator); 27] = [
    ("==", Operator::Equals(false)),
    ("!=", Operator::Equals(true)),
    ("=~", Operator::Matches(false)),
    ("!~", Operator::Matches(true)),
    (">=", Operator::Ordered(Order::GreaterOrEqual)),
    ("<=", Operator::Ordered(Order::LessOrEqual)),
    (">", Operator::Ordered(Order::Greater)),
    ("<", Operator::Ordered(Order::Less)),
    ("!exists", Operator::Exists(true)),
    ("!in", Operator::In(true)),
    ("not_equals", Operator::Equals(true)),
    ("equals", Operator::Equals(false)),
    ("greater_than_equal", Operator::Ordered(Order::GreaterOrEqual)),
    ("greater_than", Operator::Ordered(Order::Greater)),
    ("less_than_equal", Operator::Ordered(Order::LessOrEqual)),
    ("less_than", Operator::Ordered(Order::Less)),
    ("not_exists", Operator::Exists(true)),
    ("exists", Operator::Exists(false)),
    ("not_in", Operator::In(true)),
    ("in", Operator::In(false)),
    ("not_matches", Operator::Matches(true)),
    ("matches", Operator::Matches(false)),
    // What other languages say, to be refused with a hint.
    ("=", Operator::Foreign("==")),
    ("<>", Operator::Foreign("!=")),
    ("eq", Operator::Foreign("==")),
    ("ne", Operator::Foreign("!=")),
    ("like", Operator::Foreign("=~")),
];

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Operator {
    Equals(bool),
    Exists(bool),
    In(bool),
    Matches(bool),
    Ordered(Order),
    Foreign(&'static str),
}

impl Subject {
    /// Whether AWS documents the operator for this subject. For attributes it
    /// names none, so they take all; a group has no order.
    fn takes(&self, operator: Operator) -> bool {
        match self {
            Self::Attribute(_) => true,
            Self::TaskGroup => !matches!(operator, Operator::Ordered(_)),
            Self::AgentConnected | Self::Ec2InstanceId => {
                matches!(operator, Operator::Equals(_) | Operator::In(_) | Operator::Matches(_))
            }
            Self::AgentVersion | Self::RegisteredAt | Self::RunningTasksCount => {
                matches!(operator, Operator::Equals(_) | Operator::Ordered(_))
            }
        }
    }

    /// What a value means to the subject, or what it ought to be.
    fn meaning(&self, text: &str) -> Result<Meaning, &'static str> {
        match self {
            Self::AgentConnected if text != "true" && text != "false" => Err("true or false"),
            Self::AgentVersion => super::version_numbers(text)
                .filter(|numbers| !numbers.is_empty())
                .map(Meaning::Version)
                .ok_or("a version such as 1.14.5"),
            Self::RegisteredAt => date::parse(text)
                .map(Meaning::Moment)
                .ok_or("a date such as 2018-06-18 or 2018-06-18T22:28:28Z"),
            Self::RunningTasksCount => {
                text.parse().map(Meaning::Number).map_err(|_| "a whole number")
            }
            Self::AgentConnected | Self::Attribute(_) | Self::Ec2InstanceId | Self::TaskGroup => {
                Ok(Meaning::Text)
            }
        }
    }
}

impl<'t> Parser<'t> {
    fn rest(&self) -> &'t str {
        self.text.get(self.at..).unwrap_or_default()
    }

    fn space(&mut self) {
        let rest = self.rest();
        self.at += rest.len() - rest.trim_start().len();
    }

    /// That the next word or sign is not what it should be.
    fn wrong(&self, problem: impl Into<String>) -> Error {
        let rest = self.rest();
        let first = rest.chars().next().map_or(0, char::len_utf8);
        let end = rest.find(char::is_whitespace).unwrap_or(rest.len()).max(first);
        self.error(self.at, self.at + end, problem)
    }

    fn error(&self, start: usize, end: usize, problem: impl Into<String>) -> Error {
        let found: String =
            self.text.get(start..end).unwrap_or_default().chars().take(40).collect();
        let problem = problem.into();
        let problem = if found.is_empty() {
            format!("{problem}, and it ends here")
        } else {
            format!("{problem}, found '{found}'")
        };
        Error { start, end, problem }
    }

    /// Takes a sign or a word if it is next. A word ends where no letter follows.
    fn take(&mut self, token: &str) -> bool {
        self.space();
        let rest = self.rest();
        let Some(start) = rest.get(..token.len()) else { return false };
        let behind = rest.get(token.len()..).unwrap_or_default();
        let is_word = token.ends_with(|c: char| c.is_ascii_alphabetic());
        let goes_on = behind.starts_with(|c: char| c.is_ascii_alphanumeric() || c == '_');
        let found = start.eq_ignore_ascii_case(token) && !(is_word && goes_on);
        if found {
            self.at += token.len();
        }
        found
    }

    fn any(&mut self) -> Result<Node, Error> {
        let mut parts = vec![self.all()?];
        while self.take("||") || self.take("or") {
            parts.push(self.all()?);
        }
        Ok(join(parts, Node::Any))
    }

    fn all(&mut self) -> Result<Node, Error> {
        let mut parts = vec![self.one()?];
        while self.take("&&") || self.take("and") {
            parts.push(self.one()?);
        }
        Ok(join(parts, Node::All))
    }

    fn one(&mut self) -> Result<Node, Error> {
        self.space();
        let start = self.at;
        let negated = self.take("!") || self.take("not");
        if !negated && !self.rest().starts_with('(') {
            return Ok(Node::Term(self.term()?));
        }
        self.depth += 1;
        if self.depth > MAX_DEPTH {
            let problem = format!("expressions are nested at most {MAX_DEPTH} deep");
            return Err(self.error(start, self.at.max(start + 1), problem));
        }
        let inner = if negated {
            Node::Not(Box::new(self.one()?))
        } else {
            self.take("(");
            let inner = self.any()?;
            if !self.take(")") {
                return Err(self.wrong("expected ')'"));
            }
            inner
        };
        self.depth -= 1;
        Ok(inner)
    }

    fn term(&mut self) -> Result<Term, Error> {
        let subject = self.subject()?;
        self.space();
        let start = self.at;
        let Some(operator) = OPERATORS.iter().find(|(sign, _)| self.take(sign)) else {
            return Err(self.wrong(format!("expected an operator behind {subject}")));
        };
        let (sign, operator) = *operator;
        if let Operator::Foreign(ours) = operator {
            return Err(self.error(start, self.at, format!("the operator is written '{ours}'")));
        }
        if !subject.takes(operator) {
            let problem = format!("{subject} does not take the operator '{sign}'");
            return Err(Error { start, end: self.at, problem });
        }
        let (negated, test) = match operator {
            Operator::Exists(negated) => (negated, Test::Exists),
            Operator::Equals(negated) => (negated, Test::Equals(self.literal(&subject)?)),
            Operator::In(negated) => (negated, Test::In(self.list(&subject)?)),
            Operator::Matches(negated) => (negated, Test::Matches(self.pattern()?)),
            Operator::Ordered(order) => (false, Test::Ordered(order, self.literal(&subject)?)),
            Operator::Foreign(_) => return Err(self.wrong("expected an operator")),
        };
        Ok(Term { subject, negated, test })
    }

    fn subject(&mut self) -> Result<Subject, Error> {
        self.space();
        let start = self.at;
        let rest = self.rest();
        let in_name = |c: char| c.is_ascii_alphanumeric() || "-_./\\:".contains(c);
        let length = rest.find(|c| !in_name(c)).unwrap_or(rest.len());
        let word = rest.get(..length).unwrap_or_default();
        let subject = match word {
            "agentConnected" => Subject::AgentConnected,
            "agentVersion" => Subject::AgentVersion,
            "ec2InstanceId" => Subject::Ec2InstanceId,
            "registeredAt" => Subject::RegisteredAt,
            "runningTasksCount" => Subject::RunningTasksCount,
            "task:group" => Subject::TaskGroup,
            _ => match word.strip_prefix("attribute:") {
                Some("") => {
                    return Err(self.error(start, start + length, "the attribute has no name"));
                }
                Some(name) => Subject::Attribute(name.to_owned()),
                None => {
                    return Err(self.wrong(
                        "expected agentConnected, agentVersion, attribute:NAME, ec2InstanceId, \
                         registeredAt, runningTasksCount or task:group",
                    ));
                }
            },
        };
        self.at += length;
        Ok(subject)
    }

    fn literal(&mut self, subject: &Subject) -> Result<Literal, Error> {
        self.space();
        let start = self.at;
        let text = match self.quoted()? {
            Some(text) => text,
            None => self.word(|c| c.is_whitespace() || "()[],'\"".contains(c)),
        };
        if start == self.at {
            return Err(self.wrong("expected a value"));
        }
        match subject.meaning(&text) {
            Ok(meaning) => Ok(Literal { text, meaning }),
            Err(wanted) => {
                Err(self.error(start, self.at, format!("{subject} is compared with {wanted}")))
            }
        }
    }

    fn list(&mut self, subject: &Subject) -> Result<Vec<Literal>, Error> {
        if !self.take("[") {
            return Err(self.wrong("expected a list such as [a, b]"));
        }
        let mut all = vec![self.literal(subject)?];
        while self.take(",") {
            all.push(self.literal(subject)?);
        }
        if self.take("]") { Ok(all) } else { Err(self.wrong("expected ',' or ']'")) }
    }

    fn pattern(&mut self) -> Result<Pattern, Error> {
        self.space();
        let start = self.at;
        let text = match self.quoted()? {
            Some(text) => text,
            None => self.word(|c| c.is_whitespace() || "()'\"".contains(c)),
        };
        if start == self.at {
            return Err(self.wrong("expected a pattern"));
        }
        compile(text).map_err(|problem| Error { start, end: self.at, problem })
    }

    /// A text in quotes, if one is next.
    fn quoted(&mut self) -> Result<Option<String>, Error> {
        let rest = self.rest();
        let Some(quote) = rest.chars().next().filter(|c| "'\"".contains(*c)) else {
            return Ok(None);
        };
        let inner = rest.get(1..).unwrap_or_default();
        let Some(length) = inner.find(quote) else {
            return Err(self.error(self.at, self.text.len(), "the quote is not closed"));
        };
        self.at += length + 2;
        Ok(Some(inner.get(..length).unwrap_or_default().to_owned()))
    }

    /// Everything up to a character that ends it, or to `&&` or `||`.
    fn word(&mut self, ends: impl Fn(char) -> bool) -> String {
        let rest = self.rest();
        let stops = [rest.find(ends), rest.find("&&"), rest.find("||")];
        let length = stops.into_iter().flatten().min().unwrap_or(rest.len());
        self.at += length;
        rest.get(..length).unwrap_or_default().to_owned()
    }
}

fn join(mut parts: Vec<Node>, of: fn(Vec<Node>) -> Node) -> Node {
    match parts.pop() {
        Some(only) if parts.is_empty() => only,
        last => {
            parts.extend(last);
            of(parts)
        }
    }
}

/// The pattern, or why it cannot be one.
fn compile(text: String) -> Result<Pattern, String> {
    let build = |text: &str| {
        regex::RegexBuilder::new(text)
            .size_limit(MAX_PATTERN)
            .nest_limit(MAX_PATTERN_DEPTH)
            .build()
            .map_err(|error| {
                let said = error.to_string();
                let last = said.lines().last().unwrap_or_default();
                let why = last.strip_prefix("error: ").unwrap_or(last);
                format!("the pattern '{text}' cannot be used: {why}")
            })
    };
    // By itself first: parentheses that do not match must not meet ours.
    build(&text)?;
    let whole = build(&format!(r"\A(?:{text})\z"))?;
    Ok(Pattern { text, whole })
}
