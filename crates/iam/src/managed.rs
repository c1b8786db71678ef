//! The policies that AWS manages, as far as they speak of what is served here.
//!
//! Any may be attached, as tools attach many. What is in this table grants what
//! AWS says; what is not grants nothing.

/// What the names of AWS-managed policies follow in their ARNs.
const OWNER: &str = "iam::aws:policy/";

/// A policy that allows these actions on everything.
const ALLOWED: &[(&str, &[&str])] = &[
    ("AdministratorAccess", &["*"]),
    ("AmazonEC2FullAccess", &["ec2:*"]),
    ("AmazonEC2ReadOnlyAccess", &["ec2:Describe*", "ec2:GetSecurityGroupsForVpc"]),
    (
        "AmazonECS_FullAccess",
        &[
            "ecs:*",
            "ec2:AssociateRouteTable",
            "ec2:AttachInternetGateway",
            "ec2:AuthorizeSecurityGroupIngress",
            "ec2:CreateInternetGateway",
            "ec2:CreateRoute",
            "ec2:CreateRouteTable",
            "ec2:CreateSecurityGroup",
            "ec2:CreateSubnet",
            "ec2:CreateVpc",
            "ec2:DeleteSubnet",
            "ec2:DeleteVpc",
            "ec2:Describe*",
            "ec2:DetachInternetGateway",
            "ec2:DisassociateRouteTable",
            "ec2:ModifySubnetAttribute",
            "ec2:ModifyVpcAttribute",
            "ec2:RunInstances",
            "iam:ListAttachedRolePolicies",
            "iam:ListInstanceProfiles",
            "iam:ListRoles",
        ],
    ),
    ("IAMFullAccess", &["iam:*"]),
    ("IAMReadOnlyAccess", &["iam:Get*", "iam:List*"]),
    ("ReadOnlyAccess", &["ec2:Describe*", "ecs:Describe*", "ecs:List*", "iam:Get*", "iam:List*"]),
    ("ViewOnlyAccess", &["ec2:Describe*", "ecs:Describe*", "ecs:List*", "iam:List*"]),
    (
        "service-role/AmazonEC2ContainerServiceforEC2Role",
        &[
            "ec2:DescribeTags",
            "ecs:CreateCluster",
            "ecs:DeregisterContainerInstance",
            "ecs:DiscoverPollEndpoint",
            "ecs:ListTagsForResource",
            "ecs:Poll",
            "ecs:RegisterContainerInstance",
            "ecs:StartTelemetrySession",
            "ecs:Submit*",
            "ecs:UpdateContainerInstancesState",
        ],
    ),
];

/// The name in the ARN of an AWS-managed policy, with its path, if it is one.
pub fn name(arn: &str) -> Option<&str> {
    let (partition, rest) = arn.strip_prefix("arn:")?.split_once(':')?;
    let name = rest.strip_prefix(OWNER)?;
    let sound = |part: &str| {
        !part.is_empty()
            && part.bytes().all(|b| b.is_ascii_alphanumeric() || b"+=,.@_-".contains(&b))
    };
    (matches!(partition, "aws" | "aws-cn" | "aws-us-gov") && name.split('/').all(sound))
        .then_some(name)
}

/// The document of the AWS-managed policy of this name, with its path, if it is known.
pub fn document(name: &str) -> Option<String> {
    if name == "PowerUserAccess" {
        let all_but = r#"{"Effect":"Allow","NotAction":["iam:*","organizations:*","account:*"],"Resource":"*"}"#;
        let some = r#"{"Effect":"Allow","Action":["iam:CreateServiceLinkedRole","iam:ListRoles"],"Resource":"*"}"#;
        return Some(format!(r#"{{"Statement":[{all_but},{some}]}}"#));
    }
    let (_, actions) = ALLOWED.iter().find(|(known, _)| *known == name)?;
    let statement = serde_json::json!({ "Effect": "Allow", "Action": actions, "Resource": "*" });
    Some(serde_json::json!({ "Statement": [statement] }).to_string())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::document::{Document, Kind};

    #[test]
    fn every_policy_of_the_table_can_be_read() {
        for (known, _) in ALLOWED {
            let text = document(known).expect("known");
            Document::parse(Kind::Rights, &text).expect(known);
            assert_eq!(name(&format!("arn:aws:iam::aws:policy/{known}")), Some(*known));
        }
        let text = document("PowerUserAccess").expect("known");
        Document::parse(Kind::Rights, &text).expect("sound");
        assert_eq!(document("AmazonS3FullAccess"), None);
    }

    #[test]
    fn a_policy_of_an_account_is_not_awss() {
        for arn in [
            "arn:aws:iam::123456789012:policy/Mine",
            "arn:aws:iam::aws:policy/",
            "arn:aws:iam::aws:policy/a//b",
            "arn:aws:iam::aws:role/x",
            "arn:mars:iam::aws:policy/x",
            "AdministratorAccess",
        ] {
            assert_eq!(name(arn), None, "{arn}");
        }
    }
}
