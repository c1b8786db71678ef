"""A container instance that is made to leave."""

import pathlib

from conftest import commands, eventually, register, wait, web
from test_container_instances import instance, start_on


def instances(landfall):
    return landfall.ecs.list_container_instances(status="ACTIVE")["containerInstanceArns"]


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
