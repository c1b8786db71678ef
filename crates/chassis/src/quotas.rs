//! How much of some things there may be: what Service Quotas lets an AWS account ask for,
//! and here the operator sets.

/// The most rules that may apply to one network interface and direction: whatever else
/// the quotas are, AWS keeps their product within this.
pub const MOST_RULES_PER_INTERFACE: usize = 1000;
/// The most groups of an interface that AWS gives when asked.
const MOST_GROUPS: usize = 16;

/// The quotas of an installation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Quotas {
    rules_per_security_group: usize,
    security_groups_per_interface: usize,
}

impl Default for Quotas {
    /// What every account of AWS begins with.
    fn default() -> Self {
        Self { rules_per_security_group: 60, security_groups_per_interface: 5 }
    }
}

/// Why quotas were refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum QuotaError {
    /// More than AWS gives, or none.
    #[error("security groups per network interface can be 1 to {MOST_GROUPS}, and not {0}")]
    Groups(usize),
    /// None at all.
    #[error("a security group must be allowed a rule")]
    NoRules,
    /// Each may be right by itself.
    #[error(
        "{rules} rules per security group times {groups} security groups per network interface \
         are more than {MOST_RULES_PER_INTERFACE}"
    )]
    #[allow(missing_docs)]
    Product { rules: usize, groups: usize },
}

impl Quotas {
    /// The quotas "Inbound or outbound rules per security group" and "Security groups per
    /// network interface".
    pub fn new(rules: usize, groups: usize) -> Result<Self, QuotaError> {
        if rules == 0 {
            return Err(QuotaError::NoRules);
        }
        if !(1..=MOST_GROUPS).contains(&groups) {
            return Err(QuotaError::Groups(groups));
        }
        if rules.saturating_mul(groups) > MOST_RULES_PER_INTERFACE {
            return Err(QuotaError::Product { rules, groups });
        }
        Ok(Self { rules_per_security_group: rules, security_groups_per_interface: groups })
    }

    /// How many rules a group may have of each direction and IP version.
    pub fn rules_per_security_group(self) -> usize {
        self.rules_per_security_group
    }

    /// How many groups an interface may be in.
    pub fn security_groups_per_interface(self) -> usize {
        self.security_groups_per_interface
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quotas_are_within_what_aws_gives() {
        for (rules, groups, refused) in [
            (60, 5, None),
            (200, 5, None),
            (1000, 1, None),
            (62, 16, None),
            (63, 16, Some(QuotaError::Product { rules: 63, groups: 16 })),
            (201, 5, Some(QuotaError::Product { rules: 201, groups: 5 })),
            (usize::MAX, 2, Some(QuotaError::Product { rules: usize::MAX, groups: 2 })),
            (0, 5, Some(QuotaError::NoRules)),
            (1, 0, Some(QuotaError::Groups(0))),
            (1, 17, Some(QuotaError::Groups(17))),
        ] {
            assert_eq!(Quotas::new(rules, groups).err(), refused, "{rules} {groups}");
        }
        let default = Quotas::default();
        assert_eq!(Quotas::new(60, 5), Ok(default));
    }
}
