//! What things are called in the kernel, so that they can be found again.
//!
//! A link's name has at most 15 characters, an id has 17 digits after its prefix:
//! the last ones are as random as the first.

use ident::{EniId, VpcId};

/// How many digits of a VPC's id its router's name bears.
const ROUTER_DIGITS: usize = 11;
/// How the names of card ends begin.
pub(crate) const CARD_END: &str = "card";

/// The router namespace of a VPC, `landfall-` and the last digits of its id.
pub(crate) fn router(prefix: &str, vpc: &VpcId) -> String {
    format!("{prefix}-{}", tail(vpc.as_str(), ROUTER_DIGITS))
}

/// Whether a namespace is one that [`router`] would name. It must be exact: the
/// agent's namespaces may begin alike.
pub(crate) fn is_router(prefix: &str, name: &str) -> bool {
    let digits = name.strip_prefix(prefix).and_then(|rest| rest.strip_prefix('-'));
    digits.is_some_and(|digits| {
        // Ids of the old kind have eight digits.
        matches!(digits.len(), 8 | ROUTER_DIGITS)
            && digits.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'))
    })
}

/// The end of an interface that its user gets.
pub(crate) fn nic_end(eni: &EniId) -> String {
    format!("eni{}", tail(eni.as_str(), 12))
}

/// The end of an interface that stays in the router.
pub(crate) fn card_end(eni: &EniId) -> String {
    format!("{CARD_END}{}", tail(eni.as_str(), 11))
}

fn tail(id: &str, digits: usize) -> &str {
    let all = id.rsplit_once('-').map_or(id, |(_, digits)| digits);
    &all[all.len().saturating_sub(digits)..]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_fit_and_are_recognised() {
        let eni: EniId = "eni-0123456789abcdef0".parse().expect("an id");
        let vpc: VpcId = "vpc-0123456789abcdef0".parse().expect("an id");
        assert_eq!(nic_end(&eni), "eni56789abcdef0");
        assert_eq!(card_end(&eni), "card6789abcdef0");
        assert_eq!(router("landfall", &vpc), "landfall-6789abcdef0");
        assert!(is_router("landfall", "landfall-6789abcdef0"));
        let old: VpcId = "vpc-1a2b3c4d".parse().expect("an id");
        assert!(is_router("landfall", &router("landfall", &old)));
    }

    #[test]
    fn what_is_not_ours_is_not_recognised() {
        for foreign in [
            "landfall",
            "landfall-",
            "landfall-task-0123456789a",
            "landfall-6789abcdef0-x",
            "landfall-6789ABCDEF0",
            "landfall2-6789abcdef0",
            "other-6789abcdef0",
            "landfall-0123456789abcdef0123456789abcdef",
        ] {
            assert!(!is_router("landfall", foreign), "{foreign}");
        }
    }
}
