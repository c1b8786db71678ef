//! Account settings: which there are, what they can be, and what holds for whom.
//!
//! A principal has what it chose itself, else what the account's root chose, else
//! what AWS ships. Settings that concern what Landfall does not have yet are kept
//! and shown like the others.

use crate::records::AccountSetting;
use ident::Scope;
use store::View;

/// An account setting.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs)] // Named as in AWS's model.
pub enum SettingName {
    AwsvpcTrunking,
    ContainerInsights,
    ContainerInstanceLongArnFormat,
    DefaultLogDriverMode,
    DualStackIpv6,
    FargateEventWindows,
    FargateFipsMode,
    FargateTaskRetirementWaitPeriod,
    GuardDutyActivate,
    ServiceLongArnFormat,
    TagResourceAuthorization,
    TaskLongArnFormat,
}

const SWITCH: &[&str] = &["enabled", "disabled"];

impl SettingName {
    /// All of them, in the order of their names.
    pub const ALL: [Self; 12] = [
        Self::AwsvpcTrunking,
        Self::ContainerInsights,
        Self::ContainerInstanceLongArnFormat,
        Self::DefaultLogDriverMode,
        Self::DualStackIpv6,
        Self::FargateEventWindows,
        Self::FargateFipsMode,
        Self::FargateTaskRetirementWaitPeriod,
        Self::GuardDutyActivate,
        Self::ServiceLongArnFormat,
        Self::TagResourceAuthorization,
        Self::TaskLongArnFormat,
    ];

    /// As the API writes it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::AwsvpcTrunking => "awsvpcTrunking",
            Self::ContainerInsights => "containerInsights",
            Self::ContainerInstanceLongArnFormat => "containerInstanceLongArnFormat",
            Self::DefaultLogDriverMode => "defaultLogDriverMode",
            Self::DualStackIpv6 => "dualStackIPv6",
            Self::FargateEventWindows => "fargateEventWindows",
            Self::FargateFipsMode => "fargateFIPSMode",
            Self::FargateTaskRetirementWaitPeriod => "fargateTaskRetirementWaitPeriod",
            Self::GuardDutyActivate => "guardDutyActivate",
            Self::ServiceLongArnFormat => "serviceLongArnFormat",
            Self::TagResourceAuthorization => "tagResourceAuthorization",
            Self::TaskLongArnFormat => "taskLongArnFormat",
        }
    }

    pub(crate) fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|name| name.as_str() == text)
    }

    /// The values it can have.
    pub fn values(self) -> &'static [&'static str] {
        match self {
            Self::AwsvpcTrunking
            | Self::ContainerInstanceLongArnFormat
            | Self::DualStackIpv6
            | Self::FargateEventWindows
            | Self::FargateFipsMode
            | Self::ServiceLongArnFormat
            | Self::TaskLongArnFormat => SWITCH,
            Self::ContainerInsights => &["enabled", "disabled", "enhanced"],
            Self::DefaultLogDriverMode => &["blocking", "non-blocking"],
            Self::FargateTaskRetirementWaitPeriod => &["0", "7", "14"],
            Self::GuardDutyActivate | Self::TagResourceAuthorization => &["on", "off"],
        }
    }

    /// What it is if nobody chose, as AWS ships it today.
    pub fn shipped(self) -> &'static str {
        match self {
            Self::ContainerInstanceLongArnFormat
            | Self::DualStackIpv6
            | Self::ServiceLongArnFormat
            | Self::TaskLongArnFormat => "enabled",
            Self::AwsvpcTrunking
            | Self::ContainerInsights
            | Self::FargateEventWindows
            | Self::FargateFipsMode => "disabled",
            Self::DefaultLogDriverMode => "non-blocking",
            Self::FargateTaskRetirementWaitPeriod => "7",
            Self::GuardDutyActivate => "off",
            Self::TagResourceAuthorization => "on",
        }
    }

    /// Whether it decides about the form of ARNs, which nobody may turn back.
    pub(crate) fn is_long_arn_format(self) -> bool {
        matches!(
            self,
            Self::ContainerInstanceLongArnFormat
                | Self::ServiceLongArnFormat
                | Self::TaskLongArnFormat
        )
    }
}

/// The ARN of an account's root, under which the account's defaults are kept.
pub fn root(scope: &Scope) -> String {
    format!("arn:{}:iam::{}:root", scope.region.partition(), scope.account)
}

/// The principal whose settings apply to a caller: a session has its role's, and
/// a federated user the root's.
pub fn principal_of(scope: &Scope, caller: &str) -> String {
    let partition = scope.region.partition();
    let session = format!("arn:{partition}:sts::{}:assumed-role/", scope.account);
    if let Some(role) = caller.strip_prefix(&session) {
        let role = role.split('/').next().unwrap_or_default();
        return format!("arn:{partition}:iam::{}:role/{role}", scope.account);
    }
    if caller.contains(":federated-user/") { root(scope) } else { caller.to_owned() }
}

/// The value that holds for `caller`, who is named by the ARN that
/// GetCallerIdentity would say.
pub fn effective(view: &View, scope: &Scope, caller: &str, name: SettingName) -> String {
    let own = principal_of(scope, caller);
    holding(view, scope, &own, name).map_or_else(|| name.shipped().to_owned(), |(_, value)| value)
}

/// What was chosen for a principal, with who chose it: itself or the root.
pub(crate) fn holding(
    view: &View,
    scope: &Scope,
    principal: &str,
    name: SettingName,
) -> Option<(String, String)> {
    let chosen = |who: &str| {
        view.get::<AccountSetting>(scope, &AccountSetting::id_of(who, name.as_str()))
            .map(|setting| (setting.principal.clone(), setting.value.clone()))
    };
    chosen(principal).or_else(|| chosen(&root(scope)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::scope;

    #[test]
    fn what_is_shipped_can_be_chosen() {
        for name in SettingName::ALL {
            assert!(name.values().contains(&name.shipped()), "{name:?}");
            assert_eq!(SettingName::parse(name.as_str()), Some(name));
        }
        assert!(SettingName::ALL.is_sorted_by_key(|name| name.as_str()), "lists are paged");
    }

    #[test]
    fn sessions_have_the_settings_of_their_role() {
        let scope = scope();
        let account = &scope.account;
        for (caller, principal) in [
            (
                format!("arn:aws:iam::{account}:user/ann"),
                format!("arn:aws:iam::{account}:user/ann"),
            ),
            (
                format!("arn:aws:sts::{account}:assumed-role/ops/session"),
                format!("arn:aws:iam::{account}:role/ops"),
            ),
            (format!("arn:aws:sts::{account}:federated-user/bob"), root(&scope)),
            (root(&scope), root(&scope)),
        ] {
            assert_eq!(principal_of(&scope, &caller), principal);
        }
    }
}
