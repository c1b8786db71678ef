//! How many network interfaces an instance can have, and how many of them tasks.
//!
//! A machine that says it is one of Amazon's [types](crate::instance_types) is held
//! to that type's limits, so that placement fails here where it would fail there. A
//! machine that says nothing has none: its interfaces are virtual and cost nothing.
//!
//! A *trunk* interface carries further interfaces, its branches. It takes one of
//! the places that the type has, and tasks have the branches and what is left of
//! the places:
//!
//! | places | without trunk | with trunk |
//! |---|---|---|
//! | the machine's own | 1 | 1 |
//! | the trunk's | | 1 |
//! | tasks' | interfaces − 1 | interfaces − 2 + branches |
//!
//! Here a trunk is only this arithmetic. Every task's interface is a link of its own,
//! whether there is one or not.

use crate::instance_types::{self, InstanceType};
use crate::records::Instance;

/// How many interfaces tasks can have on the instance, or `None` if nothing limits
/// them. Those that users attach ([`crate::eni::by_hand`]) are still to be
/// taken off.
pub fn for_tasks(instance: &Instance) -> Option<i64> {
    let kind = kind(instance)?;
    Some(match instance.trunk {
        None => places(kind, instance),
        Some(_) => places(kind, instance).saturating_add(i64::from(kind.branches)),
    })
}

/// Whether the instance could have a trunk interface, if users attach this many
/// others: its type is capable of one, and there is a place for it.
pub fn can_have_trunk(instance: &Instance, by_hand: i64) -> bool {
    kind(instance).is_some_and(|kind| {
        kind.branches > 0 && by_hand < places(kind, &Instance { trunk: None, ..instance.clone() })
    })
}

/// Whether users may attach this many interfaces, where tasks have that many.
pub fn may_attach(instance: &Instance, by_hand: usize, tasks: usize) -> bool {
    let (Some(kind), Some(for_tasks)) = (kind(instance), for_tasks(instance)) else { return true };
    let count = |number: usize| i64::try_from(number).unwrap_or(i64::MAX);
    // Users' are no branches: they need places.
    count(by_hand) <= places(kind, instance)
        && count(by_hand).saturating_add(count(tasks)) <= for_tasks
}

/// How many IPv4 addresses an interface can have at most, wherever it is: as many as
/// on the type that has most.
pub const MOST_ADDRESSES: usize = 64;

/// Whether an interface may have this many IPv4 addresses, on this instance if it is
/// on one.
pub fn may_have_addresses(instance: Option<&Instance>, count: usize) -> bool {
    let of_type = instance.and_then(kind).map(|kind| kind.ipv4_per_interface);
    let most = of_type.and_then(|most| usize::try_from(most).ok());
    count <= most.unwrap_or(MOST_ADDRESSES)
}

/// The places that are neither the machine's own nor the trunk's.
fn places(kind: &InstanceType, instance: &Instance) -> i64 {
    let taken = 1 + i64::from(instance.trunk.is_some());
    i64::from(kind.interfaces).saturating_sub(taken).max(0)
}

fn kind(instance: &Instance) -> Option<&'static InstanceType> {
    instance_types::find(instance.instance_type.as_deref()?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::World;
    use ident::AttachmentId;

    fn of(instance_type: &str, trunk: bool) -> Instance {
        let trunk = trunk.then(|| AttachmentId::mint(7));
        let instance_type = Some(instance_type.to_owned());
        Instance { instance_type, trunk, ..World::new().machine() }
    }

    /// As the table of supported instance types in the ECS developer guide has them.
    #[test]
    fn tasks_have_what_the_guide_says() {
        for (name, without, with) in [
            ("t3.medium", 2, None),
            ("m5.large", 2, Some(10)),
            ("c5.large", 2, Some(10)),
            ("m5.xlarge", 3, Some(20)),
            ("m7g.xlarge", 3, Some(20)),
            ("m5.2xlarge", 3, Some(40)),
            ("m5.4xlarge", 7, Some(60)),
            ("m6i.8xlarge", 7, Some(90)),
            ("m5.16xlarge", 14, Some(120)),
        ] {
            assert_eq!(for_tasks(&of(name, false)), Some(without), "{name}");
            assert_eq!(can_have_trunk(&of(name, false), 0), with.is_some(), "{name}");
            if with.is_some() {
                assert_eq!(for_tasks(&of(name, true)), with, "{name}");
            }
        }
        let unlimited = of("laptop", false);
        assert_eq!(for_tasks(&unlimited), None);
        assert!(!can_have_trunk(&unlimited, 0), "it needs none");
        assert!(may_attach(&unlimited, 1000, 1000));
    }

    #[test]
    fn addresses_of_an_interface_are_counted_where_it_is() {
        for (name, most) in [("m5.large", 10), ("t3.micro", 2), ("laptop", 64)] {
            let host = of(name, false);
            assert!(may_have_addresses(Some(&host), most), "{name}");
            assert!(!may_have_addresses(Some(&host), most + 1), "{name}");
        }
        assert!(may_have_addresses(None, MOST_ADDRESSES));
        assert!(!may_have_addresses(None, MOST_ADDRESSES + 1));
        let known = instance_types::all().iter().map(|kind| kind.ipv4_per_interface);
        assert_eq!(known.max(), u32::try_from(MOST_ADDRESSES).ok());
    }

    #[test]
    fn what_users_attach_leaves_less_for_the_trunk_and_for_tasks() {
        let plain = of("m5.large", false);
        assert!(can_have_trunk(&plain, 1));
        assert!(!can_have_trunk(&plain, 2), "all places are taken");
        assert!(may_attach(&plain, 1, 1));
        assert!(!may_attach(&plain, 2, 1));
        let trunked = of("m5.large", true);
        assert!(may_attach(&trunked, 1, 9));
        assert!(!may_attach(&trunked, 1, 10), "one task too many");
        assert!(!may_attach(&trunked, 2, 0), "there is one place, and no branch is a user's");
    }
}
