"""Accounts of one's own: made in no time, isolated, and deleted to the last record."""

import json
import re
import time

import botocore.exceptions
import pytest


def create(landfall, *arguments):
    made = json.loads(landfall.run("account", "create", "--json", *arguments).stdout)
    return made["account"]["accountId"], {"key": made["accessKeyId"], "secret": made["secretAccessKey"]}


def listed(landfall):
    return {a["accountId"]: a for a in json.loads(landfall.run("account", "list", "--json").stdout)["accounts"]}


def refused(call, **arguments):
    with pytest.raises(botocore.exceptions.ClientError) as raised:
        call(**arguments)
    return raised.value.response["Error"]["Code"]


@pytest.fixture
def account(landfall):
    identity, keys = create(landfall)
    yield identity, keys
    if identity in listed(landfall):
        landfall.run("account", "delete", identity, "--yes")


def test_a_fresh_account_is_an_empty_aws(landfall, account):
    identity, keys = account
    assert landfall.client("sts", **keys).get_caller_identity()["Arn"] == f"arn:aws:iam::{identity}:root"
    ecs, ec2 = landfall.client("ecs", **keys), landfall.client("ec2", **keys)
    assert ecs.list_clusters()["clusterArns"] == []
    vpcs = ec2.describe_vpcs()["Vpcs"]
    assert [vpc["CidrBlock"] for vpc in vpcs] == ["172.31.0.0/16"]
    arn = ecs.create_cluster(clusterName="default")["cluster"]["clusterArn"]
    assert arn == f"arn:aws:ecs:us-east-1:{identity}:cluster/default"


def test_accounts_do_not_see_each_other(landfall, account):
    _, keys = account
    ecs, ec2 = landfall.client("ecs", **keys), landfall.client("ec2", **keys)
    landfall.ecs.create_cluster(clusterName="theirs")
    assert ecs.describe_clusters(clusters=["theirs"])["clusters"] == []
    subnet = landfall.ec2.describe_subnets()["Subnets"][0]["SubnetId"]
    assert refused(ec2.describe_subnets, SubnetIds=[subnet]) == "InvalidSubnetID.NotFound"
    vpc = landfall.ec2.describe_vpcs()["Vpcs"][0]["VpcId"]
    assert refused(ec2.describe_vpcs, VpcIds=[vpc]) == "InvalidVpcID.NotFound"
    assert ec2.describe_instances()["Reservations"] == []


def test_any_region_of_aws_and_no_other(landfall, account):
    _, keys = account

    def aws(region):
        return landfall.aws(
            "ecs", "list-clusters", "--region", region, check=False,
            environment={"AWS_ACCESS_KEY_ID": keys["key"], "AWS_SECRET_ACCESS_KEY": keys["secret"]},
        )

    assert aws("eu-central-2").returncode == 0
    assert "valid region" in aws("mars-crater-7").stderr


def test_what_cannot_be_deleted_is_said(landfall, account):
    identity, _ = account
    assert "The installation's first account cannot be deleted" in landfall.run(
        "account", "delete", "000000000000", "--yes", check=False
    ).stderr
    assert "no account" in landfall.run("account", "delete", "123456789012", "--yes", check=False).stderr
    assert "--yes" in landfall.run("account", "delete", identity, check=False).stderr
    assert identity in listed(landfall)


def test_deleting_an_account_leaves_nothing_of_it(landfall):
    identity, keys = create(landfall, "--name", "ci")
    assert listed(landfall)[identity]["name"] == "ci"
    for region in ("us-east-1", "eu-west-1"):
        environment = {"AWS_ACCESS_KEY_ID": keys["key"], "AWS_SECRET_ACCESS_KEY": keys["secret"]}
        landfall.aws("ecs", "create-cluster", "--region", region, environment=environment)
        landfall.aws("ec2", "describe-vpcs", "--region", region, environment=environment)
    began = time.perf_counter()
    said = landfall.run("account", "delete", identity, "--yes").stderr
    assert time.perf_counter() - began < 5
    assert f"account {identity} is gone" in said
    assert identity not in listed(landfall)
    assert refused(landfall.client("sts", **keys).get_caller_identity) == "InvalidClientTokenId"
    again, _ = create(landfall)
    assert again != identity
    landfall.run("account", "delete", again, "--yes")


def test_exports_are_for_a_shell(landfall):
    text = landfall.run("account", "create").stdout
    exports = dict(re.findall(r"^export (\w+)='([^']*)'$", text, re.M))
    identity = re.search(r"Account (\d{12})", text).group(1)
    assert landfall.aws("sts", "get-caller-identity", environment=exports)["Account"] == identity
    landfall.run("account", "delete", identity, "--yes")
