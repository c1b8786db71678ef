"""Images from a registry, by the way that the machine is told to have them."""

import json
import subprocess
import time

import pytest

from conftest import Network, eventually, free_port, register, run, serve_registry, stop, task, tcp, wait, web, web_image

UNREACHABLE = "CannotPullContainerError: The task can’t pull the image. Check your network configuration. "
EVERYTHING = {"IpProtocol": "-1", "IpRanges": [{"CidrIp": "0.0.0.0/0"}]}


@pytest.fixture
def registry(tmp_path):
    """The port of a registry that is served on every address of the machine."""
    port = free_port()
    with serve_registry(tmp_path, f"0.0.0.0:{port}"):
        subprocess.run(
            ["skopeo", "copy", "--quiet", "--insecure-policy", "--dest-tls-verify=false"]
            + [f"oci-archive:{web_image()}", f"docker://127.0.0.1:{port}/web:1"],
            check=True,
        )
        yield port


def test_security_groups_decide_what_a_task_can_pull(own_landfall, registry):
    landfall = own_landfall
    ((machine,),) = [r["Instances"] for r in landfall.ec2.describe_instances()["Reservations"]]
    name = f"{machine['PrivateIpAddress']}:{registry}"
    landfall.down()
    landfall.arguments = ("--pull-from", "task", "--image-pull-behavior", "always", "--insecure-registry", name)
    landfall.up()

    ec2, network = landfall.ec2, Network(landfall)
    ec2.authorize_security_group_ingress(GroupId=machine["SecurityGroups"][0]["GroupId"], IpPermissions=[tcp(registry)])
    group = network.group("pullers")
    ec2.revoke_security_group_egress(GroupId=group, IpPermissions=[EVERYTHING])
    definition = register(landfall, "pulled", web(image=f"{name}/web:1"))

    (arn,) = run(landfall, definition, network.subnet, group)
    begun = time.monotonic()
    pulls = eventually("a pull in the status", lambda: json.loads(landfall.run("status", "--json").stdout)["pulls"])
    assert [pull["image"] for pull in pulls] == [f"{name}/web:1"]
    assert f"{name}/web:1" in landfall.run("status").stdout
    stopped = wait(landfall, arn, "STOPPED", 150)
    print(f"given up after {time.monotonic() - begun:.1f} s")
    assert stopped["containers"][0]["reason"].startswith(UNREACHABLE), stopped
    assert stopped["stopCode"] == "TaskFailedToStart"

    ec2.authorize_security_group_egress(GroupId=group, IpPermissions=[tcp(registry, f"{machine['PrivateIpAddress']}/32")])
    (arn,) = run(landfall, definition, network.subnet, group)
    running = wait(landfall, arn, "RUNNING")
    assert running["containers"][0]["imageDigest"].startswith("sha256:")
    assert running["pullStartedAt"] <= running["pullStoppedAt"]
    # The status is told of pulls every so often.
    eventually("no pull in the status", lambda: json.loads(landfall.run("status", "--json").stdout)["pulls"] == [])
    stop(landfall, arn)
