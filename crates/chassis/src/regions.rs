//! The regions that AWS has. The one table of them: the edge answers in no other,
//! and EC2 lists them.

use ident::Region;

/// A region.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    /// Its name, such as `us-east-1`.
    pub name: &'static str,
    /// Whether an account must ask for it at AWS. Here none needs to.
    pub opt_in: bool,
}

const fn open(name: &'static str) -> Place {
    Place { name, opt_in: false }
}

const fn asked_for(name: &'static str) -> Place {
    Place { name, opt_in: true }
}

/// All regions of the partitions `aws`, `aws-cn` and `aws-us-gov`, ordered by name.
pub const ALL: &[Place] = &[
    asked_for("af-south-1"),
    asked_for("ap-east-1"),
    asked_for("ap-east-2"),
    open("ap-northeast-1"),
    open("ap-northeast-2"),
    open("ap-northeast-3"),
    open("ap-south-1"),
    asked_for("ap-south-2"),
    open("ap-southeast-1"),
    open("ap-southeast-2"),
    asked_for("ap-southeast-3"),
    asked_for("ap-southeast-4"),
    asked_for("ap-southeast-5"),
    asked_for("ap-southeast-6"),
    asked_for("ap-southeast-7"),
    open("ca-central-1"),
    asked_for("ca-west-1"),
    open("cn-north-1"),
    open("cn-northwest-1"),
    open("eu-central-1"),
    asked_for("eu-central-2"),
    open("eu-north-1"),
    asked_for("eu-south-1"),
    asked_for("eu-south-2"),
    open("eu-west-1"),
    open("eu-west-2"),
    open("eu-west-3"),
    asked_for("il-central-1"),
    asked_for("me-central-1"),
    asked_for("me-south-1"),
    asked_for("mx-central-1"),
    open("sa-east-1"),
    open("us-east-1"),
    open("us-east-2"),
    open("us-gov-east-1"),
    open("us-gov-west-1"),
    open("us-west-1"),
    open("us-west-2"),
];

/// The region of this name, if AWS has it.
pub fn named(name: &str) -> Option<Region> {
    ALL.binary_search_by_key(&name, |place| place.name).ok()?;
    name.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_region_is_found_by_its_name() {
        assert!(ALL.is_sorted_by_key(|place| place.name));
        for place in ALL {
            assert_eq!(named(place.name).expect(place.name).as_str(), place.name);
        }
        for other in ["", "us-east-3", "mars-crater-7", "aws-global-1", "landfall-installation-0"] {
            assert_eq!(named(other), None, "{other}");
        }
    }
}
