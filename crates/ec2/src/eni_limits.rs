//! How many network interfaces each of Amazon's instance types can have.
//!
//! A machine that says it is one of them is held to its limit, so that placement
//! fails here where it would fail there. A machine that says nothing has none:
//! its interfaces are virtual and cost nothing.

/// One type a line: name, tab, number of interfaces. Sorted by name.
const TABLE: &str = include_str!("eni_limits.tsv");

/// How many interfaces an instance of this type can have, its own among them.
/// `None` if nothing limits them.
pub fn interfaces(instance_type: &str) -> Option<u32> {
    let mut lines = TABLE.lines().filter_map(|line| line.split_once('\t'));
    let (_, limit) = lines.find(|(name, _)| *name == instance_type)?;
    limit.parse().ok()
}

/// How many of them tasks can have: all but the one that the machine needs for
/// itself. Those that users attach ([`crate::eni::attached_count`]) are still to
/// be taken off.
pub fn for_tasks(instance_type: &str) -> Option<i64> {
    Some(i64::from(interfaces(instance_type)?.saturating_sub(1)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_interface_is_the_machines_own() {
        assert_eq!(interfaces("t3.medium"), Some(3));
        assert_eq!(for_tasks("t3.medium"), Some(2));
        assert_eq!(for_tasks("m5.large"), Some(2));
        assert_eq!(for_tasks("m6i.8xlarge"), Some(7));
        assert_eq!(for_tasks("laptop"), None);
    }

    #[test]
    fn every_line_is_sound() {
        for line in TABLE.lines() {
            let (name, limit) = line.split_once('\t').expect("two columns");
            assert!(limit.parse::<u16>().is_ok_and(|limit| limit > 0), "{name}");
        }
    }
}
