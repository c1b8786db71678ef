"""Container instances: where tasks are put, draining and leaving."""

import pathlib

import botocore.exceptions
import pytest

from conftest import commands, eventually, register, stop, wait, web


def instance(landfall):
    (arn,) = instances(landfall)
    return arn


def instances(landfall):
    return landfall.ecs.list_container_instances(status="ACTIVE")["containerInstanceArns"]


def start_on(landfall, definition, subnet, *instances):
    return landfall.ecs.start_task(
        taskDefinition=definition,
        containerInstances=list(instances),
        networkConfiguration={"awsvpcConfiguration": {"subnets": [subnet]}},
    )


def test_a_task_starts_where_it_is_put(landfall, network):
    here = instance(landfall)
    definition = register(landfall, "put", web())
    nobody = here.rsplit("/", 1)[0] + "/" + "0" * 32
    started = start_on(landfall, definition, network.subnet, here, nobody)
    assert [f["reason"] for f in started["failures"]] == ["MISSING"]
    (task,) = started["tasks"]
    assert task["containerInstanceArn"] == here
    wait(landfall, task["taskArn"], "RUNNING", 60)
    stop(landfall, task["taskArn"])


def test_a_draining_instance_takes_no_tasks_and_keeps_its_own(landfall, network):
    here = instance(landfall)
    definition = register(landfall, "drained", web())
    (task,) = start_on(landfall, definition, network.subnet, here)["tasks"]
    wait(landfall, task["taskArn"], "RUNNING", 60)

    def set_to(status):
        landfall.ecs.update_container_instances_state(containerInstances=[here], status=status)

    set_to("DRAINING")
    try:
        refused = start_on(landfall, definition, network.subnet, here)
        assert [f["reason"] for f in refused["failures"]] == ["INACTIVE"]
        (shown,) = landfall.ecs.describe_tasks(tasks=[task["taskArn"]])["tasks"]
        assert shown["lastStatus"] == "RUNNING"
    finally:
        set_to("ACTIVE")
    with pytest.raises(botocore.exceptions.ClientError) as refused:
        landfall.ecs.deregister_container_instance(containerInstance=here)
    assert "Found running tasks on the instance." in str(refused.value)
    stop(landfall, task["taskArn"])


def test_a_forced_leave_stops_the_tasks(own_landfall):
    landfall = own_landfall
    here = instance(landfall)
    subnet = landfall.ec2.describe_subnets()["Subnets"][0]["SubnetId"]
    (task,) = start_on(landfall, register(landfall, "left", web()), subnet, here)["tasks"]
    wait(landfall, task["taskArn"], "RUNNING", 60)
    left = landfall.ecs.deregister_container_instance(containerInstance=here, force=True)
    assert left["containerInstance"]["status"] == "INACTIVE"
    stopped = wait(landfall, task["taskArn"], "STOPPED", 60)
    assert stopped["stoppedReason"] == "Container instance deregistration forced by user"
    eventually("the agent comes anew", lambda: set(instances(landfall)) - {here})
    shim = f"-namespace {landfall.prefix} "
    eventually("the container gone", lambda: not any(shim in command for command in commands()))
    netns = pathlib.Path("/run/netns")
    eventually("the task's network gone", lambda: not list(netns.glob(f"{landfall.prefix}-*")))
