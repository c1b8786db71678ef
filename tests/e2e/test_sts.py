"""Temporary credentials, used as any others."""

import json

import botocore.exceptions
import pytest


def refused(call, **arguments):
    with pytest.raises(botocore.exceptions.ClientError) as raised:
        call(**arguments)
    return raised.value.response["Error"]["Code"]


@pytest.fixture(scope="module")
def role(landfall):
    iam = landfall.client("iam")
    trust = {
        "Version": "2012-10-17",
        "Statement": [
            {"Effect": "Allow", "Principal": {"AWS": "arn:aws:iam::000000000000:root"}, "Action": "sts:AssumeRole"}
        ],
    }
    made = iam.create_role(RoleName="lister", AssumeRolePolicyDocument=json.dumps(trust))["Role"]
    own = {"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": "ecs:List*", "Resource": "*"}]}
    iam.put_role_policy(RoleName="lister", PolicyName="own", PolicyDocument=json.dumps(own))
    return made


def assume(landfall, role, **more):
    answer = landfall.client("sts").assume_role(RoleArn=role["Arn"], RoleSessionName="me", **more)
    made = answer["Credentials"]
    keys = {"key": made["AccessKeyId"], "secret": made["SecretAccessKey"], "token": made["SessionToken"]}
    return answer, keys


def test_a_session_lists_and_does_nothing_else(landfall, role):
    answer, keys = assume(landfall, role)
    assert keys["key"].startswith("ASIA")
    arn = "arn:aws:sts::000000000000:assumed-role/lister/me"
    assert answer["AssumedRoleUser"] == {"Arn": arn, "AssumedRoleId": f"{role['RoleId']}:me"}
    identity = landfall.client("sts", **keys).get_caller_identity()
    assert (identity["Arn"], identity["UserId"]) == (arn, f"{role['RoleId']}:me")
    ecs = landfall.client("ecs", **keys)
    assert "clusterArns" in ecs.list_clusters()
    assert refused(ecs.create_cluster) == "AccessDeniedException"
    assert refused(landfall.client("ec2", **keys).describe_vpcs) == "UnauthorizedOperation"
    assert refused(landfall.client("iam", **keys).list_roles) == "AccessDenied"


def test_credentials_come_with_their_token(landfall, role):
    _, keys = assume(landfall, role)
    for token in ("nonsense", None):
        wrong = {**keys, "token": token}
        assert refused(landfall.client("sts", **wrong).get_caller_identity) == "InvalidClientTokenId"
        assert refused(landfall.client("ecs", **wrong).list_clusters) == "UnrecognizedClientException"


def test_who_may_not_assume(landfall, role):
    sts = landfall.client("sts")
    missing = role["Arn"].replace("lister", "nobody")
    assert refused(sts.assume_role, RoleArn=missing, RoleSessionName="me") == "AccessDenied"
    assert refused(sts.assume_role, RoleArn=role["Arn"], RoleSessionName="me", DurationSeconds=7200) == "ValidationError"
