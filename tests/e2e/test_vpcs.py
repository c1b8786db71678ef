"""VPCs and what is in them, made and unmade by boto3 and the AWS CLI."""

import contextlib

import pytest

from test_errors import refused


def ids(things, key):
    return [thing[key] for thing in things]


@pytest.fixture
def vpc(landfall):
    """A VPC of one's own; whoever uses it empties it."""
    vpc = landfall.aws(
        "ec2", "create-vpc", "--cidr-block", "10.7.0.0/16",
        "--tag-specifications", "ResourceType=vpc,Tags=[{Key=Name,Value=seven}]",
    )["Vpc"]
    yield vpc
    with contextlib.suppress(landfall.ec2.exceptions.ClientError):
        landfall.ec2.delete_vpc(VpcId=vpc["VpcId"])


def test_a_vpc_is_emptied_before_it_goes(landfall, vpc):
    ec2 = landfall.ec2
    id = vpc["VpcId"]
    assert (vpc["CidrBlock"], vpc["State"], vpc["IsDefault"]) == ("10.7.0.0/16", "available", False)
    subnet = landfall.aws(
        "ec2", "create-subnet", "--vpc-id", id, "--cidr-block", "10.7.1.0/24", "--availability-zone", "us-east-1b"
    )["Subnet"]
    assert (subnet["AvailabilityZone"], subnet["AvailableIpAddressCount"]) == ("us-east-1b", 251)
    group = ec2.create_security_group(VpcId=id, GroupName="web", Description="x")["GroupId"]
    eni = ec2.create_network_interface(SubnetId=subnet["SubnetId"], Groups=[group])["NetworkInterface"]
    assert eni["VpcId"] == id and eni["PrivateIpAddress"].startswith("10.7.1.")
    seen = ec2.describe_subnets(Filters=[{"Name": "vpc-id", "Values": [id]}])["Subnets"]
    assert [(one["SubnetId"], one["AvailableIpAddressCount"]) for one in seen] == [(subnet["SubnetId"], 250)]

    held = (400, "DependencyViolation")
    for call, argument in [
        (ec2.delete_vpc, {"VpcId": id}),
        (ec2.delete_subnet, {"SubnetId": subnet["SubnetId"]}),
        (ec2.delete_security_group, {"GroupId": group}),
    ]:
        assert refused(call, **argument)[:2] == held
    ec2.delete_network_interface(NetworkInterfaceId=eni["NetworkInterfaceId"])
    assert refused(ec2.delete_vpc, VpcId=id)[:2] == held
    ec2.delete_subnet(SubnetId=subnet["SubnetId"])
    assert refused(ec2.delete_vpc, VpcId=id)[:2] == held
    ec2.delete_security_group(GroupId=group)
    ec2.delete_vpc(VpcId=id)
    assert refused(ec2.describe_vpcs, VpcIds=[id])[:2] == (400, "InvalidVpcID.NotFound")
    groups = ec2.describe_security_groups(Filters=[{"Name": "vpc-id", "Values": [id]}])
    assert groups["SecurityGroups"] == [], "the default group went with it"


def test_tags_are_found_from_both_sides(landfall, vpc):
    ec2 = landfall.ec2
    id = vpc["VpcId"]
    landfall.aws("ec2", "create-tags", "--resources", id, "--tags", "Key=env,Value=test", "Key=owner,Value=")
    named = [{"Name": "tag:Name", "Values": ["sev*"]}, {"Name": "tag-key", "Values": ["owner"]}]
    assert ids(ec2.describe_vpcs(Filters=named)["Vpcs"], "VpcId") == [id]
    pages = ec2.get_paginator("describe_tags").paginate(Filters=[{"Name": "resource-id", "Values": [id]}])
    tags = {(tag["Key"], tag["Value"], tag["ResourceType"]) for page in pages for tag in page["Tags"]}
    assert tags == {("Name", "seven", "vpc"), ("env", "test", "vpc"), ("owner", "", "vpc")}
    ec2.delete_tags(Resources=[id], Tags=[{"Key": "env", "Value": "another"}, {"Key": "owner"}])
    left = ec2.describe_vpcs(VpcIds=[id])["Vpcs"][0]["Tags"]
    assert {tag["Key"] for tag in left} == {"Name", "env"}, "env has another value"


def test_a_dry_run_changes_nothing(landfall, vpc):
    ec2 = landfall.ec2
    id = vpc["VpcId"]
    for call, arguments in [
        (ec2.create_vpc, {"CidrBlock": "10.8.0.0/16"}),
        (ec2.create_subnet, {"VpcId": id, "CidrBlock": "10.7.1.0/24"}),
        (ec2.create_security_group, {"VpcId": id, "GroupName": "dry", "Description": "x"}),
        (ec2.create_tags, {"Resources": [id], "Tags": [{"Key": "dry", "Value": "1"}]}),
        (ec2.delete_vpc, {"VpcId": id}),
    ]:
        assert refused(call, DryRun=True, **arguments)[:2] == (412, "DryRunOperation"), arguments
    assert refused(ec2.create_subnet, DryRun=True, VpcId=id, CidrBlock="10.9.0.0/24")[1] == "InvalidSubnet.Range"
    done = landfall.aws("ec2", "delete-vpc", "--vpc-id", id, "--dry-run", check=False)
    assert done.returncode != 0 and "DryRunOperation" in done.stderr
    there = ec2.describe_vpcs(VpcIds=[id])["Vpcs"][0]
    assert there["Tags"] == [{"Key": "Name", "Value": "seven"}]
    assert ec2.describe_subnets(Filters=[{"Name": "vpc-id", "Values": [id]}])["Subnets"] == []


def test_attributes_of_a_vpc_are_switched_one_by_one(landfall, vpc):
    ec2 = landfall.ec2
    id = vpc["VpcId"]

    def names():
        return ec2.describe_vpc_attribute(VpcId=id, Attribute="enableDnsHostnames")["EnableDnsHostnames"]["Value"]

    assert names() is False
    landfall.aws("ec2", "modify-vpc-attribute", "--vpc-id", id, "--enable-dns-hostnames")
    assert names() is True


def test_instance_types_are_described(landfall):
    shown = landfall.aws("ec2", "describe-instance-types", "--instance-types", "m5.large", "t3.medium")
    facts = {
        one["InstanceType"]: (
            one["VCpuInfo"]["DefaultVCpus"],
            one["MemoryInfo"]["SizeInMiB"],
            one["NetworkInfo"]["MaximumNetworkInterfaces"],
            one["NetworkInfo"]["Ipv4AddressesPerInterface"],
        )
        for one in shown["InstanceTypes"]
    }
    assert facts == {"m5.large": (2, 8192, 3, 10), "t3.medium": (2, 4096, 3, 6)}
    ec2 = landfall.ec2
    metal = [{"Name": "bare-metal", "Values": ["true"]}, {"Name": "instance-type", "Values": ["m5*"]}]
    pages = ec2.get_paginator("describe_instance_types").paginate(Filters=metal, PaginationConfig={"PageSize": 5})
    found = [one["InstanceType"] for page in pages for one in page["InstanceTypes"]]
    assert found == ["m5.metal", "m5d.metal", "m5dn.metal", "m5n.metal", "m5zn.metal"]
    assert refused(ec2.describe_instance_types, InstanceTypes=["laptop"]) == (
        400, "InvalidInstanceType", "The following supplied instance types do not exist: [laptop]",
    )


def test_zones_and_subnets_are_of_each_other(landfall):
    ec2 = landfall.ec2
    zones = ec2.describe_availability_zones(Filters=[{"Name": "zone-type", "Values": ["availability-zone"]}])
    names = ids(zones["AvailabilityZones"], "ZoneName")
    default = ec2.describe_subnets(Filters=[{"Name": "default-for-az", "Values": ["true"]}])["Subnets"]
    assert sorted(ids(default, "AvailabilityZone")) == names
