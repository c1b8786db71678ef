"""What a new account has."""


def test_default_vpc_is_as_a_new_account_has_it(landfall):
    vpc = landfall.aws("ec2", "describe-vpcs", "--filters", "Name=is-default,Values=true")["Vpcs"]
    assert [v["CidrBlock"] for v in vpc] == ["172.31.0.0/16"]
    zones = landfall.aws("ec2", "describe-availability-zones")["AvailabilityZones"]
    assert [z["ZoneName"] for z in zones] == [f"us-east-1{letter}" for letter in "abcdef"]
    assert {z["ZoneId"] for z in zones} == {f"use1-az{n}" for n in range(1, 7)}
    subnets = landfall.aws("ec2", "describe-subnets")["Subnets"]
    assert {s["AvailabilityZone"] for s in subnets} == {z["ZoneName"] for z in zones}
    assert all(s["DefaultForAz"] for s in subnets)
    groups = landfall.aws("ec2", "describe-security-groups", "--group-names", "default")["SecurityGroups"]
    assert groups[0]["IpPermissions"][0]["UserIdGroupPairs"][0]["GroupId"] == groups[0]["GroupId"]
    identity = landfall.aws("sts", "get-caller-identity")
    assert identity["Arn"].endswith(":root") and len(identity["Account"]) == 12
