"""Container instances: where tasks are put, draining and leaving."""

import botocore.exceptions
import pytest

from conftest import register, stop, wait, web


def instance(landfall):
    (arn,) = landfall.ecs.list_container_instances(status="ACTIVE")["containerInstanceArns"]
    return arn


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
