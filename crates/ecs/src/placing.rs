//! What requests and definitions say about placement, and what we say of it.

use crate::Error;
use sched::placement::{Over, Reason, Resource, Strategy};
use sched::query::{self, Expression};
use sched::resources::{Protocol, Shortage};
use wire::ecs::{PlacementConstraint, PlacementStrategy, TaskDefinitionPlacementConstraint};

/// As many constraints as a request may have.
const MAX_CONSTRAINTS: usize = 10;
/// As many strategies.
const MAX_STRATEGIES: usize = 5;

/// Where tasks may go.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Constraints {
    /// Whether each task of the group wants an instance of its own.
    pub(crate) distinct: bool,
    /// What must select the instance.
    pub(crate) member_of: Vec<Expression>,
}

/// A request's constraints.
pub(crate) fn constraints(given: &[PlacementConstraint]) -> Result<Constraints, Error> {
    if given.len() > MAX_CONSTRAINTS {
        return Err(Error::invalid(format!(
            "placementConstraints can have at most {MAX_CONSTRAINTS} items."
        )));
    }
    let mut all = Constraints::default();
    for constraint in given {
        match constraint.r#type.as_deref() {
            Some("distinctInstance") if constraint.expression.is_some() => {
                return Err(Error::invalid("distinctInstance expression should not be specified."));
            }
            Some("distinctInstance") => all.distinct = true,
            Some("memberOf") => all.member_of.push(member_of(constraint.expression.as_deref())?),
            Some(other) => return Err(unknown_constraint(other)),
            None => return Err(Error::invalid("constraint.type must be specified.")),
        }
    }
    Ok(all)
}

/// A definition's constraints, which are expressions only. They are refused when the
/// definition is registered, with the exception that AWS has for definitions.
pub(crate) fn of_definition(
    given: &[TaskDefinitionPlacementConstraint],
) -> Result<Vec<Expression>, Error> {
    let one = |constraint: &TaskDefinitionPlacementConstraint| match constraint.r#type.as_deref() {
        Some("memberOf") => member_of(constraint.expression.as_deref()).map_err(Error::of_client),
        Some(other) => Err(Error::refused(format!("constraint.type '{other}' is not supported."))),
        None => Err(Error::refused("constraint.type must be specified.")),
    };
    given.iter().map(one).collect()
}

fn unknown_constraint(name: &str) -> Error {
    Error::invalid(format!("constraint.type '{name}' is not supported."))
}

fn member_of(expression: Option<&str>) -> Result<Expression, Error> {
    match expression.filter(|text| !text.is_empty()) {
        Some(text) => self::expression(text),
        None => Err(Error::invalid("memberOf expression must be specified.")),
    }
}

/// An expression in the cluster query language.
pub(crate) fn expression(text: &str) -> Result<Expression, Error> {
    query::parse(text).map_err(|why| {
        let shown: String = text.chars().take(query::MAX_CHARS).collect();
        Error::invalid(format!("Invalid expression '{shown}': {why}."))
    })
}

/// A request's strategies, first things first.
pub(crate) fn strategies(given: &[PlacementStrategy]) -> Result<Vec<Strategy>, Error> {
    if given.len() > MAX_STRATEGIES {
        return Err(Error::invalid(format!(
            "placementStrategy can have at most {MAX_STRATEGIES} items."
        )));
    }
    given.iter().map(strategy).collect()
}

fn strategy(given: &PlacementStrategy) -> Result<Strategy, Error> {
    let field = given.field.as_deref().filter(|field| !field.is_empty());
    let wrong = |kind: &str, what: &str| {
        let found = field.map_or_else(|| "nothing".to_owned(), |field| format!("'{field}'"));
        Err(Error::invalid(format!(
            "The field of placement strategy '{kind}' must be {what}, found {found}."
        )))
    };
    match (given.r#type.as_deref(), field) {
        (Some("random"), None) => Ok(Strategy::Random),
        (Some("random"), Some(_)) => wrong("random", "left out"),
        (Some("binpack"), Some(field)) if field.eq_ignore_ascii_case("cpu") => {
            Ok(Strategy::Binpack(Resource::Cpu))
        }
        (Some("binpack"), Some(field)) if field.eq_ignore_ascii_case("memory") => {
            Ok(Strategy::Binpack(Resource::Memory))
        }
        (Some("binpack"), _) => wrong("binpack", "cpu or memory"),
        (Some("spread"), Some("instanceId" | "host")) => Ok(Strategy::Spread(Over::Instances)),
        (Some("spread"), field) => match field.and_then(|field| field.strip_prefix("attribute:")) {
            Some(name) if !name.is_empty() => {
                Ok(Strategy::Spread(Over::Attribute(name.to_owned())))
            }
            Some(_) | None => wrong("spread", "instanceId, host or attribute:NAME"),
        },
        (Some(other), _) => {
            Err(Error::invalid(format!("placement strategy type '{other}' is not supported.")))
        }
        (None, _) => Err(Error::invalid("placement strategy type must be specified.")),
    }
}

/// A reason in full, for a person.
pub(crate) fn detail(reason: &Reason) -> String {
    match reason {
        Reason::Inactive => "the container instance is not ACTIVE".to_owned(),
        Reason::Agent => "the agent is not connected".to_owned(),
        Reason::Short(Shortage::Cpu { needed, left }) => {
            format!("the task needs {needed} CPU units, {} are left", left.max(&0))
        }
        Reason::Short(Shortage::Memory { needed, left }) => {
            format!("the task needs {needed} MiB of memory, {} are left", left.max(&0))
        }
        Reason::Short(Shortage::Port(protocol, port)) => {
            let protocol = match protocol {
                Protocol::Tcp => "tcp",
                Protocol::Udp => "udp",
            };
            format!("host port {port}/{protocol} is in use")
        }
        Reason::Short(Shortage::Eni { needed, left }) => format!(
            "the task needs {needed} network interface of its own, {} can be attached",
            left.max(&0)
        ),
        Reason::Short(Shortage::Gpu { needed, left }) => {
            format!("the task needs {needed} GPUs, {} are left", left.max(&0))
        }
        Reason::Attribute { demanded, found } => {
            let name = &demanded.name;
            match (&demanded.value, found) {
                (Some(wanted), Some(found)) => {
                    format!("attribute {name} must be '{wanted}', it is '{found}'")
                }
                (Some(wanted), None) => format!("attribute {name} must be '{wanted}'"),
                (None, _) => format!("attribute {name} is missing"),
            }
        }
        Reason::Zone => "it is in none of the availability zones of the subnets".to_owned(),
        Reason::Distinct => "a task of the same group is on it".to_owned(),
        Reason::MemberOf(expression) => format!("not selected by {expression}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn given(kind: &str, field: Option<&str>) -> PlacementStrategy {
        PlacementStrategy { r#type: Some(kind.to_owned()), field: field.map(str::to_owned) }
    }

    #[test]
    fn strategies_are_what_ecs_documents() {
        for (kind, field, expected) in [
            ("random", None, Some(Strategy::Random)),
            ("random", Some(""), Some(Strategy::Random)),
            ("random", Some("cpu"), None),
            ("binpack", Some("cpu"), Some(Strategy::Binpack(Resource::Cpu))),
            ("binpack", Some("MEMORY"), Some(Strategy::Binpack(Resource::Memory))),
            ("binpack", Some("disk"), None),
            ("binpack", None, None),
            ("spread", Some("instanceId"), Some(Strategy::Spread(Over::Instances))),
            ("spread", Some("host"), Some(Strategy::Spread(Over::Instances))),
            (
                "spread",
                Some("attribute:rack"),
                Some(Strategy::Spread(Over::Attribute("rack".to_owned()))),
            ),
            ("spread", Some("attribute:"), None),
            ("spread", Some("zone"), None),
            ("spread", None, None),
            ("pile", Some("cpu"), None),
        ] {
            let read = strategies(&[given(kind, field)]);
            assert_eq!(read.ok().and_then(|mut all| all.pop()), expected, "{kind} {field:?}");
        }
        assert!(strategies(&vec![given("random", None); 6]).is_err());
    }

    #[test]
    fn constraints_are_what_ecs_documents() {
        let one = |kind: &str, expression: Option<&str>| {
            constraints(&[PlacementConstraint {
                r#type: Some(kind.to_owned()),
                expression: expression.map(str::to_owned),
            }])
        };
        assert!(one("distinctInstance", None).expect("sound").distinct);
        assert_eq!(one("memberOf", Some("task:group exists")).expect("sound").member_of.len(), 1);
        for (kind, expression, text) in [
            ("distinctInstance", Some(""), "distinctInstance expression should not be specified."),
            ("memberOf", None, "memberOf expression must be specified."),
            (
                "memberOf",
                Some("attribute:a = b"),
                "Invalid expression 'attribute:a = b': the operator is written '==', found '=', \
                 at offset 12.",
            ),
        ] {
            let fault = one(kind, expression).expect_err("refused").fault();
            assert_eq!((&*fault.code, &*fault.message), ("InvalidParameterException", text));
        }
    }
}
