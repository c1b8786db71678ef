//! Policy documents: whether one is sound, and what it says about an action.
//!
//! The evaluator is small and fails closed. A statement with a condition that it
//! cannot evaluate never allows and always denies; so does a `NotPrincipal`. What
//! a request acts on is not known where rights are decided, but its service,
//! region and account are. An `Allow` therefore counts if its resources include
//! everything that there is of them, such as `*` or `arn:aws:ecs:*:*:*`; a `Deny`
//! counts if they include anything.

use serde_json::{Map, Value};

/// Which grammar a document follows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// What its holder may do: statements have resources and no principals.
    Rights,
    /// Who may assume a role: statements have principals and no resources.
    Trust,
}

/// Why a document is not sound, in IAM's words.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Malformed(pub String);

/// A sound document.
#[derive(Clone, Debug, PartialEq)]
pub struct Document {
    statements: Vec<Statement>,
}

#[derive(Clone, Debug, PartialEq)]
struct Statement {
    allows: bool,
    actions: Patterns,
    resources: Option<Patterns>,
    principals: Option<Value>,
    not_principal: bool,
    condition: Option<Value>,
}

/// Texts with `*` and `?`, or all others.
#[derive(Clone, Debug, PartialEq)]
struct Patterns {
    negated: bool,
    texts: Vec<String>,
}

/// What a document, or several, say about a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Verdict {
    /// Nothing, which means no.
    Silent,
    /// Yes, unless somebody else says no.
    Allowed,
    /// No, whatever others say.
    Denied,
}

/// A request, as far as rights are concerned.
#[derive(Clone, Copy, Debug)]
pub struct Ask<'a> {
    /// `ecs:RunTask`.
    pub action: &'a str,
    /// `aws`, `ecs`, `us-east-1`, `123456789012`: where what it acts on lies.
    pub place: [&'a str; 4],
}

const STATEMENT: &[&str] = &[
    "Sid",
    "Effect",
    "Principal",
    "NotPrincipal",
    "Action",
    "NotAction",
    "Resource",
    "NotResource",
    "Condition",
];

impl Document {
    /// Reads a document.
    pub fn parse(kind: Kind, text: &str) -> Result<Self, Malformed> {
        let whole: Value = serde_json::from_str(text)
            .map_err(|_| malformed("This policy contains invalid Json"))?;
        let whole = whole.as_object().ok_or_else(syntax)?;
        if whole.keys().any(|key| !matches!(key.as_str(), "Version" | "Id" | "Statement")) {
            return Err(syntax());
        }
        match whole.get("Version") {
            None => {}
            Some(Value::String(version)) if version == "2012-10-17" || version == "2008-10-17" => {}
            Some(_) => {
                return Err(malformed("Policy document must be version 2012-10-17 or greater."));
            }
        }
        let statements = match whole.get("Statement").ok_or_else(syntax)? {
            Value::Array(statements) if !statements.is_empty() => {
                statements.iter().map(|one| statement(kind, one)).collect::<Result<_, _>>()?
            }
            one @ Value::Object(_) => vec![statement(kind, one)?],
            Value::Null
            | Value::Bool(_)
            | Value::Number(_)
            | Value::String(_)
            | Value::Array(_) => return Err(syntax()),
        };
        Ok(Self { statements })
    }

    /// What it says of a request of whoever it is attached to.
    pub fn judge(&self, ask: &Ask<'_>) -> Verdict {
        self.strongest(|statement| {
            let resources = statement.resources.as_ref()?;
            let covered = if statement.allows {
                resources.covers(&ask.place)
            } else {
                resources.touches(&ask.place)
            };
            let known = statement.condition.is_none();
            (statement.actions.has_action(ask.action) && covered && (known || !statement.allows))
                .then_some(())
        })
    }

    /// What it says of an assumption of the role that it guards. `is` tells whether
    /// the caller is the principal of kind `AWS` with that name.
    pub fn trusts(
        &self,
        action: &str,
        external_id: Option<&str>,
        is: &dyn Fn(&str) -> bool,
    ) -> Verdict {
        self.assumption(action, external_id, "AWS", is)
    }

    /// The same of an assumption by a service of AWS, such as
    /// `ecs-tasks.amazonaws.com`.
    pub fn trusts_service(&self, action: &str, service: &str) -> Verdict {
        self.assumption(action, None, "Service", &|name| name == service)
    }

    fn assumption(
        &self,
        action: &str,
        external_id: Option<&str>,
        kind: &str,
        is: &dyn Fn(&str) -> bool,
    ) -> Verdict {
        self.strongest(|statement| {
            let named = match &statement.principals {
                _ if statement.not_principal => !statement.allows,
                Some(Value::String(everybody)) => everybody == "*",
                Some(Value::Object(kinds)) => {
                    texts(kinds.get(kind)).iter().any(|name| name == "*" || is(name))
                }
                _ => false,
            };
            let met = match &statement.condition {
                None => true,
                Some(condition) => {
                    external_id_is(condition, external_id).unwrap_or(!statement.allows)
                }
            };
            (named && statement.actions.has_action(action) && met).then_some(())
        })
    }

    fn strongest(&self, applies: impl Fn(&Statement) -> Option<()>) -> Verdict {
        let applying = self.statements.iter().filter(|statement| applies(statement).is_some());
        applying
            .map(|statement| if statement.allows { Verdict::Allowed } else { Verdict::Denied })
            .max()
            .unwrap_or(Verdict::Silent)
    }
}

fn malformed(text: &str) -> Malformed {
    Malformed(text.to_owned())
}

fn syntax() -> Malformed {
    malformed("Syntax errors in policy.")
}

fn statement(kind: Kind, value: &Value) -> Result<Statement, Malformed> {
    let value = value.as_object().ok_or_else(syntax)?;
    if value.keys().any(|key| !STATEMENT.contains(&key.as_str())) {
        return Err(syntax());
    }
    let allows = match value.get("Effect").and_then(Value::as_str) {
        Some("Allow") => true,
        Some("Deny") => false,
        _ => return Err(syntax()),
    };
    if value.get("Sid").is_some_and(|sid| !sid.is_string()) {
        return Err(syntax());
    }
    let actions = patterns(value, "Action", "NotAction")?
        .ok_or_else(|| malformed("Policy statement must contain actions."))?;
    if !actions.texts.iter().all(|action| is_action(action)) {
        return Err(malformed(
            "Actions/Conditions must be prefaced by a vendor, e.g., iam, sdb, ec2, etc.",
        ));
    }
    let resources = patterns(value, "Resource", "NotResource")?;
    let not_principal = value.contains_key("NotPrincipal");
    let principals = value.get("Principal").or_else(|| value.get("NotPrincipal")).cloned();
    match kind {
        Kind::Rights if principals.is_some() => {
            return Err(malformed("Policy document should not specify a principal."));
        }
        Kind::Rights if resources.is_none() => {
            return Err(malformed("Policy statement must contain resources."));
        }
        Kind::Trust if resources.is_some() => {
            return Err(malformed("Has prohibited field Resource"));
        }
        Kind::Trust if !principals.as_ref().is_some_and(are_principals) => {
            return Err(malformed("Missing required field Principal"));
        }
        Kind::Rights | Kind::Trust => {}
    }
    if resources.iter().flat_map(|r| &r.texts).any(|r| r != "*" && !r.starts_with("arn:")) {
        return Err(malformed("Resource must be in ARN format or \"*\"."));
    }
    let condition = value.get("Condition").cloned();
    let is_block = |condition: &Value| {
        condition.as_object().is_some_and(|operators| operators.values().all(Value::is_object))
    };
    if condition.as_ref().is_some_and(|condition| !is_block(condition)) {
        return Err(syntax());
    }
    Ok(Statement { allows, actions, resources, principals, not_principal, condition })
}

fn is_action(text: &str) -> bool {
    text == "*"
        || text.split_once(':').is_some_and(|(vendor, name)| !vendor.is_empty() && !name.is_empty())
}

fn are_principals(value: &Value) -> bool {
    match value {
        Value::String(everybody) => everybody == "*",
        Value::Object(kinds) => {
            !kinds.is_empty()
                && kinds.iter().all(|(kind, names)| {
                    matches!(kind.as_str(), "AWS" | "Service" | "Federated" | "CanonicalUser")
                        && !texts(Some(names)).is_empty()
                })
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::Array(_) => false,
    }
}

/// One text or several; nothing if it is neither.
fn texts(value: Option<&Value>) -> Vec<String> {
    match value {
        Some(Value::String(one)) => vec![one.clone()],
        Some(Value::Array(all)) => {
            let texts: Vec<String> =
                all.iter().filter_map(|one| one.as_str().map(str::to_owned)).collect();
            if texts.len() == all.len() { texts } else { vec![] }
        }
        _ => vec![],
    }
}

fn patterns(
    statement: &Map<String, Value>,
    name: &str,
    not: &str,
) -> Result<Option<Patterns>, Malformed> {
    let (negated, value) = match (statement.get(name), statement.get(not)) {
        (None, None) => return Ok(None),
        (Some(value), None) => (false, value),
        (None, Some(value)) => (true, value),
        (Some(_), Some(_)) => return Err(syntax()),
    };
    let texts = texts(Some(value));
    if texts.is_empty() { Err(syntax()) } else { Ok(Some(Patterns { negated, texts })) }
}

impl Patterns {
    fn has_action(&self, action: &str) -> bool {
        let action = action.to_ascii_lowercase();
        let found = self.texts.iter().any(|text| like(&text.to_ascii_lowercase(), &action));
        found != self.negated
    }

    /// Whether everything in `place` is among the resources.
    fn covers(&self, place: &[&str; 4]) -> bool {
        if self.negated {
            return !self.texts.iter().any(|text| reach(text, place) != Reach::Nothing);
        }
        self.texts.iter().any(|text| reach(text, place) == Reach::Everything)
    }

    /// Whether anything in `place` may be among the resources.
    fn touches(&self, place: &[&str; 4]) -> bool {
        if self.negated {
            return !self.texts.iter().any(|text| reach(text, place) == Reach::Everything);
        }
        self.texts.iter().any(|text| reach(text, place) != Reach::Nothing)
    }
}

/// How much of what lies in a place a pattern for ARNs includes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Reach {
    Nothing,
    Something,
    Everything,
}

fn reach(pattern: &str, place: &[&str; 4]) -> Reach {
    if pattern == "*" {
        return Reach::Everything;
    }
    let parts: Vec<&str> = pattern.splitn(6, ':').collect();
    let ["arn", partition, service, region, account, rest] = parts.as_slice() else {
        // A star may stand for colons too; who writes such a pattern names something.
        return Reach::Something;
    };
    let there = [partition, service, region, account]
        .into_iter()
        .zip(place)
        .all(|(pattern, part)| like(pattern, part));
    match (there, *rest) {
        // A star in an earlier part may reach over its colon.
        (false, _) if pattern.contains('*') && spills(&parts, place) => Reach::Something,
        (false, _) => Reach::Nothing,
        (true, "*") => Reach::Everything,
        (true, _) => Reach::Something,
    }
}

/// Whether the parts before the first star fit the place, so that the star might
/// stand for whatever does not fit after it.
fn spills(parts: &[&str], place: &[&str; 4]) -> bool {
    for (pattern, part) in parts.iter().skip(1).zip(place) {
        if let Some((before, _)) = pattern.split_once('*') {
            return part.starts_with(before);
        }
        if !like(pattern, part) {
            return false;
        }
    }
    true
}

/// Whether `text` is like `pattern`, in which `*` stands for any text and `?` for
/// any character.
fn like(pattern: &str, text: &str) -> bool {
    let (pattern, text): (Vec<char>, Vec<char>) =
        (pattern.chars().collect(), text.chars().collect());
    let (mut at, mut from) = (0, 0);
    let mut star: Option<(usize, usize)> = None;
    while from < text.len() {
        match pattern.get(at) {
            Some('*') => {
                star = Some((at, from));
                at += 1;
            }
            Some(one) if *one == '?' || Some(one) == text.get(from) => {
                at += 1;
                from += 1;
            }
            _ => {
                let Some((star_at, taken)) = star else { return false };
                star = Some((star_at, taken + 1));
                at = star_at + 1;
                from = taken + 1;
            }
        }
    }
    pattern.iter().skip(at).all(|one| *one == '*')
}

/// Whether the condition holds, if all that it asks for is an external id.
fn external_id_is(condition: &Value, external_id: Option<&str>) -> Option<bool> {
    let operators = condition.as_object()?;
    let mut holds = true;
    for (operator, keys) in operators {
        if operator != "StringEquals" {
            return None;
        }
        for (key, wanted) in keys.as_object()? {
            if !key.eq_ignore_ascii_case("sts:ExternalId") {
                return None;
            }
            holds &= external_id.is_some_and(|id| texts(Some(wanted)).iter().any(|w| w == id));
        }
    }
    Some(holds)
}

#[cfg(test)]
#[path = "document_tests.rs"]
mod tests;
