"""Images from a registry, by the way that the machine is told to have them."""

import json
import subprocess
import time

import pytest

from conftest import Network, eventually, free_port, register, run, serve_registry, stop, task, tcp, wait, web, web_image

UNREACHABLE = "CannotPullContainerError: The task can’t pull the image. Check your network configuration. "
EVERYTHING = {"IpProtocol": "-1", "IpRanges": [{"CidrIp": "0.0.0.0/0"}]}


def push(port):
    subprocess.run(
        ["skopeo", "copy", "--quiet", "--insecure-policy", "--dest-tls-verify=false"]
        + [f"oci-archive:{web_image()}", f"docker://127.0.0.1:{port}/web:1"],
        check=True,
    )


@pytest.fixture
def registry(tmp_path):
    """The port of a registry that is served on every address of the machine."""
    port = free_port()
    with serve_registry(tmp_path, f"0.0.0.0:{port}"):
        push(port)
        yield port


def machine_of(landfall):
    ((machine,),) = [r["Instances"] for r in landfall.ec2.describe_instances()["Reservations"]]
    return machine


@pytest.fixture
def private_registry(own_landfall, tmp_path):
    """A registry that speaks TLS, as images name it, and the certificate of its authority,
    which nobody else knows."""
    address, port = machine_of(own_landfall)["PrivateIpAddress"], free_port()
    directory = tmp_path / "private"
    directory.mkdir()
    config = directory / "openssl.cnf"
    config.write_text("[req]\ndistinguished_name = name\n[name]\n")

    def certificate(name, *options):
        paths = directory / f"{name}.crt", directory / f"{name}.key"
        made = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "30", "-config", config]
        made += ["-subj", f"/CN={name}", "-out", paths[0], "-keyout", paths[1], *options]
        subprocess.run(made, check=True, capture_output=True)
        return paths

    authority, key = certificate("authority", "-addext", "basicConstraints=critical,CA:TRUE")
    own = certificate("registry", "-CA", authority, "-CAkey", key, "-addext", f"subjectAltName=IP:{address}")
    with serve_registry(directory, f"0.0.0.0:{port}", f", tls: {{certificate: {own[0]}, key: {own[1]}}}"):
        push(port)
        yield f"{address}:{port}", authority


def test_what_the_machine_trusts_is_trusted(own_landfall, private_registry, registry, monkeypatch):
    landfall, (name, authority) = own_landfall, private_registry
    landfall.arguments = ("--image-pull-behavior", "always")

    def reason(image):
        network = Network(landfall)
        definition = register(landfall, "pulled", web(image=image, command=["true"]))
        (arn,) = run(landfall, definition, network.subnet)
        return wait(landfall, arn, "STOPPED", 60)["containers"][0].get("reason")

    def restart(store):
        monkeypatch.setenv("SSL_CERT_FILE", store)
        landfall.down()
        landfall.up()

    # Where OpenSSL would look. A machine that trusts nobody runs what it has.
    monkeypatch.delenv("SSL_CERT_DIR", raising=False)
    restart("/dev/null")
    unusable = "CannotPullContainerError: the certificates in the store of this machine cannot be used: "
    assert reason(f"{name}/web:1").startswith(unusable)
    restart(str(authority))
    assert reason(f"{name}/web:1") is None
    assert reason(f"127.0.0.1:{registry}/web:1") is None


def test_security_groups_decide_what_a_task_can_pull(own_landfall, registry):
    landfall = own_landfall
    machine = machine_of(landfall)
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
