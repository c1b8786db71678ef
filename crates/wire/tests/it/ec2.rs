//! EC2, as SDKs speak to it.

use crate::{form, now};
use async_trait::async_trait;
use wire::ec2::{
    Api, AuthorizeSecurityGroupIngressRequest, AuthorizeSecurityGroupIngressResult,
    CreateSecurityGroupRequest, CreateSecurityGroupResult, DescribeInstancesRequest,
    DescribeInstancesResult, DescribeVpcsRequest, DescribeVpcsResult, Instance, Reservation, Tag,
    Vpc, serve,
};
use wire::{Body, Fault, Request, Timestamp};

struct Shell;

#[async_trait]
impl Api<()> for Shell {
    async fn describe_vpcs(
        &self,
        (): &(),
        request: DescribeVpcsRequest,
    ) -> Result<DescribeVpcsResult, Fault> {
        let filters = request.filters.unwrap_or_default();
        let tags = filters.into_iter().map(|filter| Tag {
            key: filter.name,
            value: filter.values.map(|values| values.join("+")),
        });
        let vpc = Vpc {
            vpc_id: request.vpc_ids.and_then(|ids| ids.into_iter().next()),
            is_default: Some(true),
            tags: Some(tags.collect()),
            cidr_block_association_set: Some(vec![]),
            ..Default::default()
        };
        Ok(DescribeVpcsResult { vpcs: Some(vec![vpc]), ..Default::default() })
    }

    async fn describe_instances(
        &self,
        (): &(),
        _: DescribeInstancesRequest,
    ) -> Result<DescribeInstancesResult, Fault> {
        let instance = Instance {
            instance_id: Some("i-1".into()),
            launch_time: Some(Timestamp(1_500)),
            ..Default::default()
        };
        let reservation = Reservation { instances: Some(vec![instance]), ..Default::default() };
        Ok(DescribeInstancesResult { reservations: Some(vec![reservation]), ..Default::default() })
    }

    async fn create_security_group(
        &self,
        (): &(),
        request: CreateSecurityGroupRequest,
    ) -> Result<CreateSecurityGroupResult, Fault> {
        let specifications = request.tag_specifications.unwrap_or_default();
        let tags = specifications.into_iter().flat_map(|one| one.tags.unwrap_or_default());
        let tags = Some(tags.collect());
        Ok(CreateSecurityGroupResult { group_id: request.description, tags, ..Default::default() })
    }

    async fn authorize_security_group_ingress(
        &self,
        (): &(),
        request: AuthorizeSecurityGroupIngressRequest,
    ) -> Result<AuthorizeSecurityGroupIngressResult, Fault> {
        Err(Fault::client("Echo", format!("{:?}", request.ip_permissions.unwrap_or_default())))
    }
}

fn ask(parameters: &str) -> Result<String, Fault> {
    let parameters = form(parameters);
    let action = parameters.iter().find(|(name, _)| name == "Action").expect("an action");
    let request = Request { operation: &action.1, id: "r-1", body: Body::Form(&parameters) };
    let answer = now(serve(&Shell, &(), &request))?;
    Ok(String::from_utf8(answer).expect("text"))
}

/// What stands around the members of every answer.
fn answer(operation: &str, members: &str) -> String {
    format!(
        "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<{operation}Response \
         xmlns=\"http://ec2.amazonaws.com/doc/2016-11-15/\"><requestId>r-1</requestId>\
         {members}</{operation}Response>"
    )
}

#[test]
fn answers_are_what_botocore_parses() {
    for (parameters, operation, members) in [
        (
            "Action=DescribeVpcs&Version=2016-11-15&VpcId.1=vpc-1\
             &Filter.1.Name=tag:a&Filter.1.Value.1=x&Filter.1.Value.2=y",
            "DescribeVpcs",
            "<vpcSet><item><cidrBlockAssociationSet/><isDefault>true</isDefault>\
             <tagSet><item><key>tag:a</key><value>x+y</value></item></tagSet>\
             <vpcId>vpc-1</vpcId></item></vpcSet>",
        ),
        (
            "Action=DescribeInstances",
            "DescribeInstances",
            "<reservationSet><item><instancesSet><item><instanceId>i-1</instanceId>\
             <launchTime>1970-01-01T00:00:01.500Z</launchTime></item></instancesSet></item>\
             </reservationSet>",
        ),
        (
            "Action=CreateSecurityGroup&GroupName=web&GroupDescription=The+web%26more\
             &TagSpecification.1.ResourceType=security-group\
             &TagSpecification.1.Tag.1.Key=k&TagSpecification.1.Tag.1.Value=v",
            "CreateSecurityGroup",
            "<groupId>The web&amp;more</groupId>\
             <tagSet><item><key>k</key><value>v</value></item></tagSet>",
        ),
    ] {
        assert_eq!(ask(parameters).expect(parameters), answer(operation, members));
    }
}

#[test]
fn rules_of_rules() {
    let echo =
        ask("Action=AuthorizeSecurityGroupIngress&GroupId=sg-1&IpPermissions.1.IpProtocol=tcp\
         &IpPermissions.1.FromPort=80&IpPermissions.1.ToPort=80\
         &IpPermissions.1.IpRanges.1.CidrIp=10.0.0.0/8\
         &IpPermissions.1.Groups.1.GroupId=sg-2&IpPermissions.1.Ipv6Ranges.1.CidrIpv6=%3A%3A/0");
    let text = echo.expect_err("an echo").message;
    for part in [
        "from_port: Some(80)",
        "cidr_ip: Some(\"10.0.0.0/8\")",
        "group_id: Some(\"sg-2\")",
        "cidr_ipv6: Some(\"::/0\")",
    ] {
        assert!(text.contains(part), "{part}: {text}");
    }
}

#[test]
fn refusals() {
    for (parameters, code, message) in [
        (
            "Action=CreateSecurityGroup&GroupName=web",
            "MissingParameter",
            "The request must contain the parameter GroupDescription",
        ),
        (
            "Action=DescribeVpcs&MaxResults=1001",
            "InvalidParameterValue",
            "Value ( 1001 ) for parameter maxResults is invalid. \
             Expecting a value less than or equal to 1000.",
        ),
        (
            "Action=DescribeVpcs&MaxResults=many",
            "InvalidParameterValue",
            "Invalid value 'many' for MaxResults. Must be an integer.",
        ),
        (
            "Action=DescribeVpcs&Color=red",
            "UnknownParameter",
            "The parameter Color is not recognized",
        ),
        (
            "Action=DescribeSubnets",
            "UnsupportedOperation",
            "Landfall does not serve ec2:DescribeSubnets.",
        ),
        (
            "Action=RunInstances&ImageId=ami-1",
            "UnsupportedOperation",
            "Landfall does not serve ec2:RunInstances.",
        ),
        ("Action=Fly", "InvalidAction", "The action Fly is not valid for this web service."),
    ] {
        let fault = ask(parameters).expect_err(parameters);
        assert_eq!((fault.status, &*fault.code, &*fault.message), (400, code, message));
    }
}
