//! What is tried on any text as an expression, and what must hold of it. The bounded
//! tests beside it try what is likely, and `make fuzz` what its coverage leads it to.

use ident::Timestamp;
use sched::query::{Facts, parse};

/// A container instance that has everything that one can ask about.
struct Somebody;

impl Facts for Somebody {
    fn agent_connected(&self) -> bool {
        true
    }
    fn agent_version(&self) -> Option<&str> {
        Some("1.14.5")
    }
    fn attribute(&self, name: &str) -> Option<&str> {
        (!name.len().is_multiple_of(3)).then_some("12")
    }
    fn ec2_instance(&self) -> Option<&str> {
        Some("i-abcd1234")
    }
    fn registered_at(&self) -> Timestamp {
        Timestamp(1_529_360_908_000)
    }
    fn running_tasks(&self) -> u32 {
        3
    }
    fn any_group(&self, wanted: &mut dyn FnMut(&str) -> bool) -> bool {
        ["service:production", "database"].into_iter().any(wanted)
    }
}

/// Whether `text` is an expression. If so it means the same when it is printed and
/// read again; if not, the error points into it.
pub(crate) fn understood(text: &str) -> bool {
    match parse(text) {
        Ok(expression) => {
            let printed = expression.to_string();
            // What is printed has spaces and parentheses that may make it too long.
            if printed.chars().count() <= sched::query::MAX_CHARS {
                let again = parse(&printed).unwrap_or_else(|e| panic!("{text}: {printed}: {e}"));
                assert_eq!(again.to_string(), printed, "{text}");
                assert_eq!(again.selects(&Somebody), expression.selects(&Somebody), "{text}");
                assert_eq!(again.is_general(&["a"]), expression.is_general(&["a"]), "{text}");
            }
            true
        }
        Err(error) => {
            assert!(text.get(error.start..error.end).is_some(), "{text}: {error:?}");
            assert!(!error.to_string().is_empty());
            false
        }
    }
}
