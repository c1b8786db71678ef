"""Roles and their policies, by boto3 and the AWS CLI."""

import json

import botocore.exceptions
import pytest

from conftest import TRUST

MANAGED = "arn:aws:iam::aws:policy/service-role/AmazonECSTaskExecutionRolePolicy"


def refused(call, **arguments):
    with pytest.raises(botocore.exceptions.ClientError) as raised:
        call(**arguments)
    return raised.value.response["Error"]["Code"]


def test_the_life_of_a_role(landfall):
    iam = landfall.client("iam")
    made = iam.create_role(
        RoleName="ecsTaskExecutionRole",
        AssumeRolePolicyDocument=json.dumps(TRUST),
        Tags=[{"Key": "team", "Value": "web"}],
    )["Role"]
    assert made["Arn"] == "arn:aws:iam::000000000000:role/ecsTaskExecutionRole"
    shown = iam.get_role(RoleName="ecsTaskExecutionRole")["Role"]
    assert shown["AssumeRolePolicyDocument"] == TRUST and shown["MaxSessionDuration"] == 3600
    assert shown["Tags"] == [{"Key": "team", "Value": "web"}]
    assert refused(iam.create_role, RoleName="ECSTASKEXECUTIONROLE", AssumeRolePolicyDocument=json.dumps(TRUST)) == (
        "EntityAlreadyExists"
    )

    iam.attach_role_policy(RoleName="ecsTaskExecutionRole", PolicyArn=MANAGED)
    attached = iam.list_attached_role_policies(RoleName="ecsTaskExecutionRole")["AttachedPolicies"]
    assert attached == [{"PolicyName": "AmazonECSTaskExecutionRolePolicy", "PolicyArn": MANAGED}]
    own = {"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": "ecs:List*", "Resource": "*"}]}
    iam.put_role_policy(RoleName="ecsTaskExecutionRole", PolicyName="own", PolicyDocument=json.dumps(own))
    assert iam.get_role_policy(RoleName="ecsTaskExecutionRole", PolicyName="own")["PolicyDocument"] == own
    assert iam.list_role_policies(RoleName="ecsTaskExecutionRole")["PolicyNames"] == ["own"]
    assert refused(iam.delete_role, RoleName="ecsTaskExecutionRole") == "DeleteConflict"

    iam.detach_role_policy(RoleName="ecsTaskExecutionRole", PolicyArn=MANAGED)
    iam.delete_role_policy(RoleName="ecsTaskExecutionRole", PolicyName="own")
    iam.delete_role(RoleName="ecsTaskExecutionRole")
    with pytest.raises(iam.exceptions.NoSuchEntityException):
        iam.get_role(RoleName="ecsTaskExecutionRole")


def test_roles_are_listed_in_pages_and_everywhere(landfall):
    iam = landfall.client("iam")
    names = [f"page{n}" for n in range(5)]
    for name in names:
        iam.create_role(RoleName=name, Path="/pages/", AssumeRolePolicyDocument=json.dumps(TRUST))
    pages = iam.get_paginator("list_roles").paginate(PathPrefix="/pages/", PaginationConfig={"PageSize": 2})
    assert [[role["RoleName"] for role in page["Roles"]] for page in pages] == [names[:2], names[2:4], names[4:]]
    elsewhere = landfall.aws("iam", "list-roles", "--path-prefix", "/pages/", "--region", "eu-west-1")
    assert [role["RoleName"] for role in elsewhere["Roles"]] == names


def test_the_service_linked_role_of_ecs(landfall):
    role = landfall.aws("iam", "create-service-linked-role", "--aws-service-name", "ecs.amazonaws.com")["Role"]
    assert role["Path"] == "/aws-service-role/ecs.amazonaws.com/" and role["RoleName"] == "AWSServiceRoleForECS"
    again = landfall.aws("iam", "create-service-linked-role", "--aws-service-name", "ecs.amazonaws.com", check=False)
    assert "InvalidInput" in again.stderr and "has been taken in this account" in again.stderr
    assert refused(landfall.client("iam").delete_role, RoleName="AWSServiceRoleForECS") == "UnmodifiableEntity"


def test_documents_that_are_none(landfall):
    iam = landfall.client("iam")
    assert refused(iam.create_role, RoleName="x", AssumeRolePolicyDocument="{") == "MalformedPolicyDocument"
    assert refused(iam.create_role, RoleName="a b", AssumeRolePolicyDocument=json.dumps(TRUST)) == "ValidationError"
