"""What a machine is told of itself."""

import base64
import http.client
import json
import os
import stat
import subprocess
import sys

import pytest
from conftest import free_port, inside, installed, register, run, stop, wait, web

PORT = free_port()
ENDPOINT = f"http://127.0.0.1:{PORT}"


@pytest.fixture(scope="module")
def landfall():
    with installed(f"--imds=127.0.0.1:{PORT}", "--instance-type", "m5.large") as installation:
        yield installation


def ask(method, path, host="127.0.0.1", port=PORT, **headers):
    connection = http.client.HTTPConnection(host, port, timeout=5)
    connection.request(method, path, headers={name.replace("_", "-"): value for name, value in headers.items()})
    response = connection.getresponse()
    return response.status, response.read().decode()


@pytest.fixture
def get(landfall):
    status, token = ask("PUT", "/latest/api/token", X_aws_ec2_metadata_token_ttl_seconds="60")
    assert status == 200

    def get(path):
        status, body = ask("GET", f"/latest/{path}", X_aws_ec2_metadata_token=token)
        assert status == 200, (path, status, body)
        return body

    return get


def test_a_machine_is_told_what_the_api_says_of_it(landfall, network, get):
    (shown,) = landfall.ec2.describe_instances()["Reservations"][0]["Instances"]
    eni = shown["NetworkInterfaces"][0]
    macs = f"network/interfaces/macs/{eni['MacAddress']}"
    for path, expected in {
        "instance-id": shown["InstanceId"],
        "instance-type": "m5.large",
        "local-ipv4": shown["PrivateIpAddress"],
        "local-hostname": shown["PrivateDnsName"],
        "mac": eni["MacAddress"],
        "placement/availability-zone": shown["Placement"]["AvailabilityZone"],
        "placement/region": "us-east-1",
        "services/domain": "amazonaws.com",
        f"{macs}/vpc-id": shown["VpcId"],
        f"{macs}/subnet-id": shown["SubnetId"],
        f"{macs}/security-group-ids": shown["SecurityGroups"][0]["GroupId"],
        "iam/security-credentials/": "ecsInstanceRole",
    }.items():
        assert get(f"meta-data/{path}") == expected, path


def test_nothing_is_told_without_a_token(landfall):
    path = "/latest/meta-data/instance-id"
    assert ask("GET", path)[0] == 401
    assert ask("GET", path, X_aws_ec2_metadata_token="guess")[0] == 401
    ttl = {"X_aws_ec2_metadata_token_ttl_seconds": "60"}
    assert ask("PUT", "/latest/api/token")[0] == 400
    assert ask("PUT", "/latest/api/token", X_Forwarded_For="192.0.2.1", **ttl)[0] == 403
    assert ask("PUT", "/latest/api/token", Host="rebound.example", **ttl)[0] == 403


def test_boto3_finds_credentials_and_acts_in_the_machines_role(landfall, get):
    script = """
import boto3, botocore, os, json
make = lambda service: boto3.client(service, endpoint_url=os.environ["API"], region_name="us-east-1")
print(make("sts").get_caller_identity()["Arn"])
print(make("ecs").create_cluster(clusterName="default")["cluster"]["status"])
try:
    make("ecs").list_clusters()
except botocore.exceptions.ClientError as error:
    print(error.response["Error"]["Code"])
"""
    environment = {
        "PATH": os.environ["PATH"],
        "HOME": "/nonexistent",
        "API": landfall.environment["AWS_ENDPOINT_URL"],
        "AWS_EC2_METADATA_SERVICE_ENDPOINT": ENDPOINT,
    }
    done = subprocess.run([sys.executable, "-c", script], env=environment, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    arn, cluster, refused = done.stdout.split()
    instance = get("meta-data/instance-id")
    assert arn.endswith(f":assumed-role/ecsInstanceRole/{instance}")
    assert (cluster, refused) == ("ACTIVE", "AccessDeniedException")
    path = "meta-data/iam/security-credentials/ecsInstanceRole"
    assert json.loads(get(path))["AccessKeyId"] == json.loads(get(path))["AccessKeyId"], "they are kept"


def test_a_signed_document_is_believed_and_no_other(landfall, get):
    document, signature = (get(f"dynamic/instance-identity/{name}") for name in ("document", "signature"))
    assert json.loads(document)["instanceId"] == get("meta-data/instance-id")
    mode = (landfall.data / "identity.key").stat().st_mode
    assert stat.S_IMODE(mode) == 0o600

    def refused(document, signature):
        with pytest.raises(landfall.ecs.exceptions.ClientException) as caught:
            landfall.ecs.register_container_instance(
                instanceIdentityDocument=document, instanceIdentityDocumentSignature=signature
            )
        return caught.value.response["Error"]["Message"]

    forged = document.replace("m5.large", "m5.24xlarge")
    wrong = base64.b64encode(b"x" * 256).decode()
    for pair in [(forged, signature), (document, wrong), (document, ""), (forged, wrong)]:
        assert "signature were not valid" in refused(*pair)
    # It is signed, and it is another's: the root user is no machine.
    with pytest.raises(landfall.ecs.exceptions.ClientError) as caught:
        landfall.ecs.register_container_instance(
            instanceIdentityDocument=document, instanceIdentityDocumentSignature=signature
        )
    assert caught.value.response["Error"]["Code"] == "AccessDeniedException"


TOKEN = (
    "import urllib.request as r; q = r.Request('http://169.254.169.254/latest/api/token', method='PUT', "
    "headers={'X-aws-ec2-metadata-token-ttl-seconds': '60'}); t = r.urlopen(q, timeout=2).read().decode(); "
    "q = r.Request('http://169.254.169.254/latest/meta-data/instance-id', headers={'X-aws-ec2-metadata-token': t}); "
    "print(r.urlopen(q, timeout=2).read().decode())"
)


def test_a_task_is_told_nothing(landfall, network):
    (arn,) = run(landfall, register(landfall, "curious", web()), network.subnet)
    wait(landfall, arn, "RUNNING")
    assert inside(landfall, arn, "python3", "-c", TOKEN, check=False) == ""
    stop(landfall, arn)
