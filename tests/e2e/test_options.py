"""What `landfall up` can be told."""

import contextlib
import pathlib
import subprocess
import tempfile

import pytest

from conftest import BINARY, Network, address, fetch, installed, register, run, stop, tcp, wait, web, eventually


@pytest.fixture
def started():
    """Starts an installation with the given options."""
    with contextlib.ExitStack() as stack:
        yield lambda *options: stack.enter_context(installed(*options))


def test_a_machine_may_stand_in_one_zone_only(started):
    landfall = started("--zone", "us-east-1b")
    network = Network(landfall)
    subnets = dict(network.subnets)
    definition = register(landfall, "zoned", web())
    refused = landfall.ecs.run_task(
        taskDefinition=definition,
        networkConfiguration={"awsvpcConfiguration": {"subnets": [subnets["us-east-1a"]]}},
    )
    assert refused["tasks"] == [] and len(refused["failures"]) == 1
    (arn,) = run(landfall, definition, subnets["us-east-1b"])
    assert wait(landfall, arn, "RUNNING")["availabilityZone"] == "us-east-1b"
    stop(landfall, arn)


def test_another_region_has_its_own_names(started):
    landfall = started("--region", "eu-central-1")
    network = Network(landfall)
    assert [zone for zone, _ in network.subnets] == [f"eu-central-1{letter}" for letter in "abc"]
    group = network.group("web", tcp(80))
    (arn,) = run(landfall, register(landfall, "abroad", web()), network.subnet, group)
    shown = wait(landfall, arn, "RUNNING")
    assert shown["taskArn"].startswith("arn:aws:ecs:eu-central-1:")
    details = {d["name"]: d["value"] for d in shown["attachments"][0]["details"]}
    dashed = address(shown).replace(".", "-")
    assert details["privateDnsName"] == f"ip-{dashed}.eu-central-1.compute.internal"
    assert "It works" in eventually("the page", lambda: fetch(address(shown)))
    stop(landfall, arn)


def test_a_machine_is_held_to_the_limits_of_its_type(started):
    landfall = started("--instance-type", "t3.medium")
    (reservation,) = landfall.ec2.describe_instances()["Reservations"]
    (machine,) = reservation["Instances"]
    assert machine["InstanceType"] == "t3.medium"
    (here,) = landfall.ecs.list_container_instances()["containerInstanceArns"]
    (shown,) = landfall.ecs.describe_container_instances(containerInstances=[here])["containerInstances"]
    assert {"name": "ecs.instance-type", "value": "t3.medium"} in shown["attributes"]

    network = Network(landfall)
    asked = landfall.ecs.run_task(
        taskDefinition=register(landfall, "typed", web()),
        count=3,
        networkConfiguration={"awsvpcConfiguration": {"subnets": [network.subnet]}},
    )
    (failure,) = asked["failures"]
    assert len(asked["tasks"]) == 2 and (failure["arn"], failure["reason"]) == (here, "RESOURCE:ENI")
    stop(landfall, *[task["taskArn"] for task in asked["tasks"]])


def test_with_a_trunk_a_machine_takes_as_many_tasks_as_it_has_branches(started):
    landfall = started("--instance-type", "m5.large")
    ecs, network = landfall.ecs, Network(landfall)
    definition = register(landfall, "trunked", web(memory=16))

    def ask(count):
        subnets = {"awsvpcConfiguration": {"subnets": [network.subnet]}}
        answer = ecs.run_task(taskDefinition=definition, count=count, networkConfiguration=subnets)
        return [task["taskArn"] for task in answer["tasks"]], [failure["reason"] for failure in answer["failures"]]

    def present():
        arns = ecs.list_container_instances(status="ACTIVE")["containerInstanceArns"]
        all_ = ecs.describe_container_instances(containerInstances=arns)["containerInstances"] if arns else []
        return [one for one in all_ if one["agentConnected"]]

    def trunk(machine):
        return [one["value"] for one in machine["attributes"] if one["name"] == "ecs.awsvpc-trunk-id"]

    (before,) = eventually("an agent", present)
    tasks, failures = ask(3)
    assert (len(tasks), failures) == (2, ["RESOURCE:ENI"]), "two places besides the machine's own"
    stop(landfall, *tasks)
    ecs.put_account_setting_default(name="awsvpcTrunking", value="enabled")
    assert not trunk(before) and not trunk(present()[0]), "it is what it was when it came"

    # Only who comes after that has a trunk.
    ecs.deregister_container_instance(containerInstance=before["containerInstanceArn"], force=True)
    (after,) = eventually("the agent comes anew", present)
    assert len(trunk(after)) == 1
    tasks, failures = ask(10)
    assert (len(tasks), failures) == (10, []), "one place and nine branches"
    assert ask(1) == ([], ["RESOURCE:ENI"])
    for arn in tasks:
        wait(landfall, arn, "RUNNING", 120)
    stop(landfall, tasks[0])
    (again,), failures = ask(1)
    assert failures == [], "a branch that was given back is another's"
    stop(landfall, *tasks[1:], again)


def test_a_type_that_does_not_exist_is_refused(tmp_path):
    up = [BINARY, "--data-dir", tmp_path / "data", "up", "--instance-type", "t3.enormous"]
    done = subprocess.run(up, capture_output=True, text=True)
    assert done.returncode == 2 and "give one that AWS has, such as t3.medium" in done.stderr
    assert not (tmp_path / "data").exists()


def test_any_credentials_do_if_that_is_asked_for(started):
    landfall = started("--accept-any-credentials")
    assert landfall.client("ecs", key="test", secret="test").list_clusters()["clusterArns"]
    assert landfall.client("ec2", key="AKIAEXAMPLE", secret="x").describe_vpcs()["Vpcs"]
    assert "SIGNATURES ARE NOT VERIFIED" in (landfall.data / "landfall.log").read_text()


@pytest.fixture
def containerd():
    """The socket of a containerd that is not Landfall's."""
    with tempfile.TemporaryDirectory(prefix="cd-") as directory:
        socket = f"{directory}/sock"
        config = pathlib.Path(directory) / "config.toml"
        config.write_text(
            f'version = 2\nroot = "{directory}/root"\nstate = "{directory}/state"\n'
            'disabled_plugins = ["io.containerd.grpc.v1.cri"]\n'
            f'[grpc]\naddress = "{socket}"\n'
        )
        with open(f"{directory}/log", "w") as log:
            daemon = subprocess.Popen(["containerd", "--config", config], stdout=log, stderr=log)
        try:
            eventually("containerd answering", lambda: namespaces(socket) is not None)
            yield socket
            assert daemon.poll() is None, "it was not ours to end"
        finally:
            daemon.terminate()
            daemon.wait()


def namespaces(socket):
    """The namespaces of a containerd; `None` if it does not answer."""
    done = subprocess.run(["ctr", "--address", socket, "namespaces", "ls", "-q"], capture_output=True, text=True)
    return done.stdout.split() if done.returncode == 0 else None


def test_a_containerd_that_is_there_can_be_used(containerd, started):
    landfall = started("--containerd", containerd)
    network = Network(landfall)
    (arn,) = run(landfall, register(landfall, "guest", web()), network.subnet)
    wait(landfall, arn, "RUNNING")
    assert landfall.prefix in namespaces(containerd)
    assert not (landfall.data / "agent/containerd").exists(), "there is no private one"
    stop(landfall, arn)
