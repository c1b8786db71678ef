"""Bad requests get AWS's errors, whatever they are."""

import gzip
import json
import socket
import urllib.error
import urllib.request

import boto3
import botocore.config
import botocore.exceptions
import pytest
from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials

from conftest import register, web


def refused(call, **parameters):
    with pytest.raises(botocore.exceptions.ClientError) as caught:
        call(**parameters)
    error = caught.value.response
    return error["ResponseMetadata"]["HTTPStatusCode"], error["Error"]["Code"], error["Error"]["Message"]


def anything(landfall, service):
    """A client that sends what it is given, whatever the model says."""
    env = landfall.environment
    return boto3.client(
        service,
        endpoint_url=env["AWS_ENDPOINT_URL"],
        region_name=env["AWS_DEFAULT_REGION"],
        aws_access_key_id=env["AWS_ACCESS_KEY_ID"],
        aws_secret_access_key=env["AWS_SECRET_ACCESS_KEY"],
        config=botocore.config.Config(retries={"total_max_attempts": 1}, parameter_validation=False),
    )


def awsvpc(subnets, groups=()):
    return {"awsvpcConfiguration": {"subnets": subnets, "securityGroups": list(groups)}}


def raw(landfall, body, target="AmazonEC2ContainerServiceV20141113.ListClusters", signed=True):
    """One signed request with this body; status and answer."""
    env = landfall.environment
    headers = {"X-Amz-Target": target, "Content-Type": "application/x-amz-json-1.1"}
    request = AWSRequest("POST", env["AWS_ENDPOINT_URL"] + "/", data=body, headers=headers)
    if signed:
        credentials = Credentials(env["AWS_ACCESS_KEY_ID"], env["AWS_SECRET_ACCESS_KEY"])
        SigV4Auth(credentials, "ecs", env["AWS_DEFAULT_REGION"]).add_auth(request)
    prepared = request.prepare()
    asked = urllib.request.Request(prepared.url, data=body, headers=dict(prepared.headers), method="POST")
    try:
        with urllib.request.urlopen(asked, timeout=10) as answer:
            return answer.status, json.loads(answer.read())
    except urllib.error.HTTPError as error:
        return error.code, json.loads(error.read())


@pytest.fixture(scope="module")
def definition(landfall):
    return register(landfall, "errors", web())


def test_unknown_things_are_named(landfall, network, definition):
    ecs = landfall.ecs
    assert refused(ecs.run_task, cluster="nowhere", taskDefinition=definition, networkConfiguration=awsvpc([network.subnet])) == (
        400, "ClusterNotFoundException", "Cluster not found.",
    )
    status, code, _ = refused(ecs.run_task, taskDefinition="unheard-of:9", networkConfiguration=awsvpc([network.subnet]))
    assert (status, code) == (400, "ClientException")
    assert refused(ecs.describe_task_definition, taskDefinition="unheard-of")[:2] == (400, "ClientException")
    assert refused(ecs.stop_task, task="0" * 32)[:2] == (400, "InvalidParameterException")
    answer = ecs.describe_tasks(tasks=["0" * 32])
    assert answer["tasks"] == [] and answer["failures"][0]["reason"] == "MISSING"


@pytest.mark.parametrize("subnets, groups", [(17, 0), (1, 6), (0, 0)])
def test_awsvpc_has_its_limits(landfall, network, definition, subnets, groups):
    configuration = awsvpc([network.subnet] * subnets, ["sg-0123456789abcdef0"] * groups)
    status, code, message = refused(landfall.ecs.run_task, taskDefinition=definition, networkConfiguration=configuration)
    assert (status, code) == (400, "InvalidParameterException")
    assert message


def test_awsvpc_needs_a_network_configuration(landfall, definition):
    status, code, message = refused(landfall.ecs.run_task, taskDefinition=definition)
    assert (status, code) == (400, "InvalidParameterException")
    assert "awsvpc" in message


def test_what_does_not_fit_is_a_failure_not_an_error(landfall, network):
    big = register(landfall, "big", web(memory=9_000_000))
    answer = landfall.ecs.run_task(taskDefinition=big, networkConfiguration=awsvpc([network.subnet]))
    assert answer["tasks"] == []
    assert [f["reason"] for f in answer["failures"]] == ["RESOURCE:MEMORY"]


def test_garbage_is_refused_politely(landfall):
    for body in (b'{"clus', b"", b"[]", b'{"maxResults": "many"}', b"\xff\xfe", b'{"cluster": ' * 2000):
        status, answer = raw(landfall, body, target="AmazonEC2ContainerServiceV20141113.ListTasks")
        if body == b"":
            continue
        assert status == 400, (body[:20], answer)
        assert answer["__type"].endswith(("SerializationException", "InvalidParameterException", "ClientException")), answer
    status, answer = raw(landfall, b"{}", target="AmazonEC2ContainerServiceV20141113.CreateService")
    assert status == 400 and "CreateService" in answer["message"], answer
    status, answer = raw(landfall, b"{}", target="AmazonEC2ContainerServiceV20141113.Nonsense")
    assert status == 400 and answer["__type"].endswith("UnknownOperationException")


def test_the_unsigned_and_the_wrongly_signed_stay_out(landfall):
    status, answer = raw(landfall, b"{}", signed=False)
    assert status in (400, 403) and answer["__type"].endswith("MissingAuthenticationTokenException"), answer
    assert refused(landfall.client("ecs", secret="wrong").list_clusters)[:2] == (403, "InvalidSignatureException")
    assert refused(landfall.client("ecs", key="AKIAAAAAAAAAAAAAAAAA").list_clusters)[:2] == (403, "UnrecognizedClientException")
    assert refused(landfall.client("ec2", secret="wrong").describe_vpcs)[:2] == (401, "AuthFailure")
    assert refused(landfall.client("ec2", key="AKIAAAAAAAAAAAAAAAAA").describe_vpcs)[:2] == (401, "AuthFailure")


def test_ec2_speaks_ec2(landfall, network):
    ec2 = landfall.ec2
    group = network.group("twice")
    assert refused(ec2.create_security_group, GroupName="twice", Description="x", VpcId=network.vpc)[:2] == (400, "InvalidGroup.Duplicate")
    assert refused(ec2.describe_security_groups, GroupIds=["sg-0123456789abcdef0"])[:2] == (400, "InvalidGroup.NotFound")
    assert refused(ec2.describe_subnets, SubnetIds=["subnet-0123456789abcdef0"])[:2] == (400, "InvalidSubnetID.NotFound")
    assert refused(ec2.run_instances, ImageId="ami-1", MinCount=1, MaxCount=1)[1] in ("UnsupportedOperation", "InvalidAction")
    ec2.delete_security_group(GroupId=group)
    assert refused(ec2.delete_security_group, GroupId=group)[:2] == (400, "InvalidGroup.NotFound")
    default = ec2.describe_security_groups(GroupNames=["default"])["SecurityGroups"][0]["GroupId"]
    assert refused(ec2.delete_security_group, GroupId=default)[:2] == (400, "CannotDelete")


def exchange(landfall, *requests):
    """What comes back on one connection for these bytes, until it is closed."""
    host, port = landfall.listen.split(":")
    with socket.create_connection((host, int(port)), timeout=20) as sock:
        sock.sendall(b"".join(requests))
        answer = b""
        while chunk := sock.recv(65536):
            answer += chunk
    return answer


def signed(landfall, body=b"{}", method="POST", last=True, **headers):
    """ListClusters as bytes, signed; `headers` are signed too."""
    env = landfall.environment
    headers = {
        "Host": landfall.listen, "Content-Type": "application/x-amz-json-1.1",
        "X-Amz-Target": "AmazonEC2ContainerServiceV20141113.ListClusters", **headers,
    }
    request = AWSRequest(method, env["AWS_ENDPOINT_URL"] + "/", data=body, headers=headers)
    credentials = Credentials(env["AWS_ACCESS_KEY_ID"], env["AWS_SECRET_ACCESS_KEY"])
    SigV4Auth(credentials, "ecs", env["AWS_DEFAULT_REGION"]).add_auth(request)
    lines = [f"{method} / HTTP/1.1", *(f"{name}: {value}" for name, value in request.headers.items())]
    lines += [f"Content-Length: {len(body)}", *(["Connection: close"] if last else [])]
    return ("\r\n".join(lines) + "\r\n\r\n").encode() + body


def test_http_has_its_own_hostilities(landfall):
    bomb = gzip.compress(b"0" * (64 << 20))
    for status, request in [
        (b"200", signed(landfall)),
        (b"200", signed(landfall, gzip.compress(b"{}"), **{"Content-Encoding": "gzip"})),
        (b"400", signed(landfall, b"{}", **{"Content-Encoding": "gzip"})),
        (b"413", signed(landfall, bomb, **{"Content-Encoding": "gzip"})),
        (b"413", signed(landfall, b" " * (11 << 20))),
        (b"403", signed(landfall)[:-2] + b"[]"),
        (b"403", signed(landfall).replace(b"\r\n\r\n", b"\r\nX-Amz-Target: AmazonEC2ContainerServiceV20141113.RunTask\r\n\r\n")),
        (b"405", signed(landfall, method="DELETE")),
        (b"405", signed(landfall, method="CONNECT")),
        (b"431", signed(landfall, **{"X-Big": "x" * (1 << 20)})),
        (b"400", b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(64) + b"\r\n\r\n"),
    ]:
        try:
            answer = exchange(landfall, request)
        except ConnectionError:
            assert status == b"431", "only who sends a megabyte of headers is hung up on"
            continue
        assert answer.split(b" ", 2)[1] == status, (request[:300], answer[:300])
    pipelined = exchange(landfall, signed(landfall, last=False) * 3, signed(landfall))
    assert pipelined.count(b"HTTP/1.1 200 OK") == 4
    expected = signed(landfall).replace(b"\r\n\r\n", b"\r\nExpect: 100-continue\r\n\r\n")
    assert b"100 Continue" in exchange(landfall, expected)


def test_nothing_of_this_was_a_bug(landfall):
    log = (landfall.data / "landfall.log").read_text()
    assert "panicked" not in log and "bug=true" not in log
