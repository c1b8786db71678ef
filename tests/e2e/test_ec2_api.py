"""EC2 as a careless client meets it."""

import collections
import concurrent.futures

import botocore.exceptions
import pytest

from conftest import register, run, stop, tcp, web
from test_errors import anything, refused


def many(call, times, **parameters):
    """How often each outcome was had by as many who asked at once."""

    def ask(_):
        try:
            call(**parameters)
            return "done"
        except botocore.exceptions.ClientError as error:
            return error.response["Error"]["Code"]

    with concurrent.futures.ThreadPoolExecutor(16) as pool:
        return collections.Counter(pool.map(ask, range(times)))


def test_of_all_who_ask_at_once_one_wins(landfall, network):
    ec2 = landfall.client("ec2")
    group = network.group("race")
    rule = many(ec2.authorize_security_group_ingress, 30, GroupId=group, IpPermissions=[tcp(80)])
    assert rule == {"done": 1, "InvalidPermission.Duplicate": 29}
    name = many(ec2.create_security_group, 30, GroupName="same", Description="x")
    assert name == {"done": 1, "InvalidGroup.Duplicate": 29}


@pytest.mark.parametrize("change, code", [
    ({"FromPort": 90}, "InvalidParameterValue"),
    ({"ToPort": 65536}, "InvalidParameterValue"),
    ({"IpProtocol": "+6"}, "InvalidParameterValue"),
    ({"IpProtocol": "256"}, "InvalidParameterValue"),
    ({"IpRanges": [{"CidrIp": "10.0.0.1"}]}, "InvalidParameterValue"),
    ({"IpRanges": [{"CidrIp": "::/0"}]}, "InvalidParameterValue"),
    ({"IpRanges": [{"CidrIp": "10.0.0.0/8"}, {"CidrIp": "10.9.9.9/8"}]}, "InvalidParameterValue"),
    ({"IpRanges": [], "PrefixListIds": [{"PrefixListId": "pl-1"}]}, "InvalidPrefixListID.NotFound"),
    ({"IpRanges": [], "UserIdGroupPairs": [{"GroupId": "sg-0123456789abcdef0"}]}, "InvalidGroup.NotFound"),
    ({"IpRanges": [], "UserIdGroupPairs": [{"GroupName": "default", "UserId": "999999999999"}]}, "InvalidGroup.NotFound"),
    ({"IpRanges": [], "UserIdGroupPairs": [{"GroupName": "default", "VpcId": "vpc-0123456789abcdef0"}]}, "InvalidVpcID.NotFound"),
], ids=str)
def test_rules_that_cannot_be(landfall, network, change, code):
    groups = landfall.ec2.describe_security_groups(Filters=[{"Name": "group-name", "Values": ["cannot"]}])["SecurityGroups"]
    group = groups[0]["GroupId"] if groups else network.group("cannot")
    permission = {**tcp(80), **change}
    assert refused(landfall.ec2.authorize_security_group_ingress, GroupId=group, IpPermissions=[permission])[:2] == (400, code)
    assert landfall.ec2.describe_security_groups(GroupIds=[group])["SecurityGroups"][0]["IpPermissions"] == []


def test_blocks_are_kept_without_host_bits(landfall, network):
    group = network.group("bits", tcp(80, "10.1.2.3/8"))
    assert refused(landfall.ec2.authorize_security_group_ingress, GroupId=group, IpPermissions=[tcp(80, "10.0.0.0/8")])[1] == "InvalidPermission.Duplicate"
    answer = landfall.ec2.revoke_security_group_ingress(GroupId=group, IpPermissions=[tcp(80, "10.9.9.9/8")])
    assert answer["RevokedSecurityGroupRules"][0]["CidrIpv4"] == "10.0.0.0/8"


@pytest.mark.parametrize("operation", ["vpcs", "subnets", "security_groups", "network_interfaces", "instances"])
def test_lists_refuse_what_they_do_not_know(landfall, operation):
    describe = getattr(anything(landfall, "ec2"), f"describe_{operation}")
    assert refused(describe, Filters=[{"Name": "bogus", "Values": ["x"]}]) == (400, "InvalidParameterValue", "The filter 'bogus' is invalid")
    assert refused(describe, Filters=[{"Name": "vpc-id", "Values": ["x"] * 201}])[:2] == (400, "FilterLimitExceeded")
    assert refused(describe, MaxResults=4)[:2] == (400, "InvalidParameterValue")
    assert refused(describe, NextToken="nonsense")[:2] == (400, "InvalidNextToken")
    assert refused(describe, DryRun=True)[:2] == (412, "DryRunOperation")


def test_pages_show_each_subnet_once(landfall):
    pages = landfall.ec2.get_paginator("describe_subnets").paginate(PaginationConfig={"PageSize": 5})
    paged = [subnet["SubnetId"] for page in pages for subnet in page["Subnets"]]
    assert sorted(paged) == sorted(subnet["SubnetId"] for subnet in landfall.ec2.describe_subnets()["Subnets"])


def test_a_group_in_use_stays(landfall, network):
    group = network.group("used")
    arns = run(landfall, register(landfall, "using", web()), network.subnet, group)
    assert refused(landfall.ec2.delete_security_group, GroupId=group)[:2] == (400, "DependencyViolation")
    assert refused(landfall.ec2.delete_security_group, GroupId=group, GroupName="other")[:2] == (400, "InvalidParameterCombination")
    stop(landfall, *arns)
    landfall.ec2.delete_security_group(GroupId=group)
