//! The availability zones of AWS's regions.
//!
//! A zone has a name, such as `us-east-1a`, and an id, such as `use1-az1`. At
//! AWS each account has its own mapping of the one to the other; here every
//! account has the same.

use crate::records::Zone;
use ident::Region;

/// What most regions have: zone letters, each with the number in its id.
const THREE: &[(char, u8)] = &[('a', 1), ('b', 2), ('c', 3)];

/// The regions that are not like most.
const OTHERS: &[(&str, &[(char, u8)])] = &[
    ("ap-northeast-1", &[('a', 4), ('c', 1), ('d', 2)]),
    ("ap-northeast-2", &[('a', 1), ('b', 2), ('c', 3), ('d', 4)]),
    ("ca-central-1", &[('a', 1), ('b', 2), ('d', 4)]),
    ("cn-north-1", &[('a', 1), ('b', 2), ('d', 3)]),
    ("us-east-1", &[('a', 1), ('b', 2), ('c', 3), ('d', 4), ('e', 5), ('f', 6)]),
    ("us-west-1", &[('a', 3), ('b', 1)]),
    ("us-west-2", &[('a', 1), ('b', 2), ('c', 3), ('d', 4)]),
];

/// The zones of `region`, in the order of their letters; at least two. A region
/// that AWS does not have gets what most of AWS's have.
pub fn of(region: &Region) -> Vec<Zone> {
    let letters =
        OTHERS.iter().find(|(name, _)| *name == region.as_str()).map_or(THREE, |(_, zones)| zones);
    let prefix = id_prefix(region);
    letters
        .iter()
        .map(|(letter, number)| Zone {
            name: format!("{region}{letter}"),
            id: format!("{prefix}-az{number}"),
        })
        .collect()
}

/// The region in the ids of its zones: `ap-northeast-1` is `apne1`.
pub fn id_prefix(region: &Region) -> String {
    let mut words = region.as_str().split('-');
    let mut prefix = words.next().unwrap_or_default().to_owned();
    for word in words {
        match word {
            "northeast" => prefix.push_str("ne"),
            "northwest" => prefix.push_str("nw"),
            "southeast" => prefix.push_str("se"),
            "southwest" => prefix.push_str("sw"),
            number if number.bytes().all(|b| b.is_ascii_digit()) => prefix.push_str(number),
            word => prefix.extend(word.chars().next()),
        }
    }
    prefix
}

#[cfg(test)]
mod tests {
    use super::*;

    fn region(name: &str) -> Region {
        name.parse().expect("a region")
    }

    #[test]
    fn prefixes_are_those_of_aws() {
        for (name, prefix) in [
            ("us-east-1", "use1"),
            ("us-east-2", "use2"),
            ("us-west-2", "usw2"),
            ("us-gov-west-1", "usgw1"),
            ("ap-south-1", "aps1"),
            ("ap-northeast-3", "apne3"),
            ("ap-southeast-2", "apse2"),
            ("eu-central-1", "euc1"),
            ("eu-north-1", "eun1"),
            ("cn-northwest-1", "cnnw1"),
            ("il-central-1", "ilc1"),
            ("mars-crater-7", "marsc7"),
        ] {
            assert_eq!(id_prefix(&region(name)), prefix);
        }
    }

    #[test]
    fn every_region_has_zones() {
        let names = |name| of(&region(name)).into_iter().map(|zone| zone.name).collect::<Vec<_>>();
        assert_eq!(names("eu-west-1"), ["eu-west-1a", "eu-west-1b", "eu-west-1c"]);
        assert_eq!(names("mars-crater-7").len(), 3);
        let virginia = of(&region("us-east-1"));
        assert_eq!(virginia.len(), 6);
        assert_eq!((&*virginia[5].name, &*virginia[5].id), ("us-east-1f", "use1-az6"));
    }
}
