"""What a task learns of itself, and the credentials of its role."""

import json
import sys

import botocore.exceptions
import pytest

from conftest import TRUST, eventually, inside, register, run, stop, wait, web

MAY_LIST = {"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": "ecs:ListClusters", "Resource": "*"}]}

# boto3's own way to the credentials of a container, from inside the task's namespace.
FIND = """
import boto3, json
found = boto3.Session().get_credentials()
frozen = found.get_frozen_credentials()
print(json.dumps({"method": found.method, "key": frozen.access_key, "secret": frozen.secret_key, "token": frozen.token}))
"""


def variables(landfall, arn):
    lines = eventually("the variables", lambda: landfall.run("logs", arn).stdout).splitlines()
    return dict(line.split("=", 1) for line in lines if "=" in line)


def speaker(name="main"):
    return web(name, command=["sh", "-c", "env; sleep 1000"])


@pytest.fixture(scope="module")
def role(landfall):
    iam = landfall.client("iam")
    made = iam.create_role(RoleName="lister", AssumeRolePolicyDocument=json.dumps(TRUST))["Role"]
    iam.put_role_policy(RoleName="lister", PolicyName="list", PolicyDocument=json.dumps(MAY_LIST))
    return made["Arn"]


def test_a_task_acts_in_its_role(landfall, network, role):
    (arn,) = run(landfall, register(landfall, "acting", speaker(), taskRoleArn=role), network.subnet)
    wait(landfall, arn, "RUNNING")
    path = variables(landfall, arn)["AWS_CONTAINER_CREDENTIALS_RELATIVE_URI"]
    given = json.loads(inside(landfall, arn, sys.executable, "-c", FIND, environment={"AWS_CONTAINER_CREDENTIALS_RELATIVE_URI": path}))
    assert given["method"] == "container-role"
    credentials = {"key": given["key"], "secret": given["secret"], "token": given["token"]}
    who = landfall.client("sts", **credentials).get_caller_identity()["Arn"]
    assert who == f"arn:aws:sts::000000000000:assumed-role/lister/{arn.rsplit('/', 1)[-1]}"
    assert landfall.client("ecs", **credentials).list_clusters()["clusterArns"]
    with pytest.raises(botocore.exceptions.ClientError) as refused:
        landfall.client("ecs", **credentials).list_task_definitions()
    assert refused.value.response["Error"]["Code"] == "AccessDeniedException"

    stop(landfall, arn)

    def revoked():
        try:
            landfall.client("sts", **credentials).get_caller_identity()
        except botocore.exceptions.ClientError:
            return True
        return False

    eventually("the credentials being revoked", revoked, 90)


def test_no_task_has_the_credentials_of_another(landfall, network, role):
    definition = register(landfall, "apart", speaker(), taskRoleArn=role)
    first, second = run(landfall, definition, network.subnet, count=2)
    for arn in (first, second):
        wait(landfall, arn, "RUNNING")
    path = variables(landfall, first)["AWS_CONTAINER_CREDENTIALS_RELATIVE_URI"]
    fetch = ("curl", "-s", "--max-time", "5", f"http://169.254.170.2{path}")
    assert json.loads(inside(landfall, first, *fetch))["RoleArn"] == role
    assert json.loads(inside(landfall, second, *fetch))["code"] == "InvalidIdInRequest"
    stop(landfall, first, second)


def test_a_role_that_ecs_may_not_assume_is_refused(landfall, network):
    iam = landfall.client("iam")
    other = {**TRUST, "Statement": [{**TRUST["Statement"][0], "Principal": {"Service": "ec2.amazonaws.com"}}]}
    wrong = iam.create_role(RoleName="wrong", AssumeRolePolicyDocument=json.dumps(other))["Role"]["Arn"]
    for arn in (wrong, "arn:aws:iam::000000000000:role/none"):
        definition = register(landfall, "refused", speaker(), taskRoleArn=arn)
        with pytest.raises(botocore.exceptions.ClientError) as refused:
            run(landfall, definition, network.subnet)
        error = refused.value.response["Error"]
        assert error["Code"] == "ClientException" and "unable to assume the role" in error["Message"]


def test_a_task_knows_itself(landfall, network):
    (arn,) = run(landfall, register(landfall, "knowing", speaker("one"), speaker("two")), network.subnet)
    shown = wait(landfall, arn, "RUNNING")
    detail = {d["name"]: d["value"] for d in shown["attachments"][0]["details"]}
    found = {}
    for name in ("one", "two"):
        lines = eventually("the variables", lambda name=name: landfall.run("logs", arn, "-c", name).stdout).splitlines()
        found[name] = dict(line.split("=", 1) for line in lines)

    def get(url):
        return json.loads(inside(landfall, arn, "curl", "-s", "--max-time", "5", url))

    one = found["one"]["ECS_CONTAINER_METADATA_URI_V4"]
    container = get(one)
    assert (container["Name"], container["KnownStatus"]) == ("one", "RUNNING")
    assert container["Labels"]["com.amazonaws.ecs.task-arn"] == arn
    interface = container["Networks"][0]
    assert interface["IPv4Addresses"] == [detail["privateIPv4Address"]]
    assert interface["MACAddress"] == detail["macAddress"]
    task = get(f"{one}/task")
    assert (task["TaskARN"], task["Family"], task["LaunchType"]) == (arn, "knowing", "EC2")
    assert sorted(it["Name"] for it in task["Containers"]) == ["one", "two"]
    assert get(found["two"]["ECS_CONTAINER_METADATA_URI_V4"])["Name"] == "two"
    stats = get(f"{one}/stats")
    assert stats["memory_stats"]["usage"] > 0 and stats["memory_stats"]["limit"] == 64 << 20
    stop(landfall, arn)
