"""Where tasks go: constraints, strategies, instances by name, draining."""

import contextlib

import pytest

from conftest import register, run, stop, wait, web
from test_errors import awsvpc, refused


@pytest.fixture(scope="module")
def here(landfall):
    """The one container instance, with an attribute of its owner's."""
    (arn,) = landfall.ecs.list_container_instances()["containerInstanceArns"]
    landfall.ecs.put_attributes(attributes=[{"name": "rack", "value": "r7", "targetId": arn}])
    return arn


@pytest.fixture(scope="module")
def definition(landfall):
    return register(landfall, "placed", web())


def ask(landfall, definition, network, count=1, **wish):
    """The ARNs of the tasks that were placed, and the reasons why others were not."""
    answer = landfall.ecs.run_task(
        taskDefinition=definition, count=count, networkConfiguration=awsvpc([network.subnet]), **wish
    )
    tasks = [task["taskArn"] for task in answer["tasks"]]
    return tasks, [(failure["reason"], failure["detail"]) for failure in answer["failures"]]


def member_of(expression):
    return [{"type": "memberOf", "expression": expression}]


def test_distinct_instances_take_one_task_of_a_group_each(landfall, network, here, definition):
    alone = [{"type": "distinctInstance"}]
    tasks, failures = ask(landfall, definition, network, count=2, group="apart", placementConstraints=alone)
    ((reason, detail),) = failures
    assert len(tasks) == 1 and "DistinctInstance" in reason and "a task of the same group is on it" in detail
    others, none = ask(landfall, definition, network, group="others", placementConstraints=alone)
    assert len(others) == 1 and not none, "another group does not mind"
    stop(landfall, *tasks, *others)
    again, none = ask(landfall, definition, network, group="apart", placementConstraints=alone)
    assert len(again) == 1 and not none, "the one that was there has stopped"
    stop(landfall, *again)


@pytest.mark.parametrize("expression", [
    "attribute:rack == r7", "attribute:rack in [r6, r7]", "attribute:rack =~ r.*", "not(attribute:rack == r8) and attribute:ecs.os-type exists",
    "agentConnected == true", "runningTasksCount < 100", "attribute:ecs.availability-zone == us-east-1a",
])
def test_members_are_selected(landfall, network, here, definition, expression):
    tasks, failures = ask(landfall, definition, network, placementConstraints=member_of(expression))
    assert len(tasks) == 1 and not failures
    stop(landfall, *tasks)


@pytest.mark.parametrize("expression", ["attribute:rack == r8", "attribute:nowhere exists", "task:group == nobody", "runningTasksCount > 100"])
def test_who_is_no_member_gets_nothing(landfall, network, here, definition, expression):
    tasks, failures = ask(landfall, definition, network, placementConstraints=member_of(expression))
    ((reason, detail),) = failures
    assert not tasks and "MemberOf placement constraint unsatisfied" in reason and "not selected by" in detail


def test_a_definition_brings_its_own_constraint(landfall, network, here):
    picky = register(landfall, "picky", web(), placementConstraints=member_of("attribute:rack == r8"))
    assert ask(landfall, picky, network)[0] == []
    content = register(landfall, "picky", web(), placementConstraints=member_of("attribute:rack == r7"))
    tasks, failures = ask(landfall, content, network)
    assert len(tasks) == 1 and not failures
    stop(landfall, *tasks)


@pytest.mark.parametrize("strategy", [
    [{"type": "random"}], [{"type": "binpack", "field": "memory"}], [{"type": "spread", "field": "instanceId"}],
    [{"type": "spread", "field": "attribute:ecs.availability-zone"}, {"type": "binpack", "field": "cpu"}],
], ids=lambda strategy: strategy[0]["type"])
def test_strategies_place_tasks(landfall, network, here, definition, strategy):
    tasks, failures = ask(landfall, definition, network, count=2, placementStrategy=strategy)
    assert len(tasks) == 2 and not failures
    stop(landfall, *tasks)


@pytest.mark.parametrize("wish, text", [
    ({"placementConstraints": member_of("attribute:rack = r7")}, "Invalid expression"),
    ({"placementConstraints": [{"type": "memberOf"}]}, "memberOf expression must be specified"),
    ({"placementConstraints": [{"type": "distinctInstance", "expression": "x"}]}, "should not be specified"),
    ({"placementConstraints": [{"type": "distinctInstance"}] * 11}, "at most 10"),
    ({"placementStrategy": [{"type": "binpack", "field": "disk"}]}, "must be cpu or memory"),
    ({"placementStrategy": [{"type": "random"}] * 6}, "at most 5"),
])
def test_wishes_that_mean_nothing_are_refused(landfall, network, definition, wish, text):
    status, code, message = refused(
        landfall.ecs.run_task, taskDefinition=definition, networkConfiguration=awsvpc([network.subnet]), **wish
    )
    assert (status, code) == (400, "InvalidParameterException") and text in message, message


@contextlib.contextmanager
def draining(landfall, here):
    set_to = landfall.ecs.update_container_instances_state
    (shown,) = set_to(containerInstances=[here], status="DRAINING")["containerInstances"]
    assert shown["status"] == "DRAINING"
    try:
        yield
    finally:
        set_to(containerInstances=[here], status="ACTIVE")


def test_what_drains_takes_nothing_and_stops_nothing(landfall, network, here, definition):
    (before,) = run(landfall, definition, network.subnet)
    wait(landfall, before, "RUNNING", 60)
    with draining(landfall, here):
        assert landfall.ecs.list_container_instances(status="DRAINING")["containerInstanceArns"] == [here]
        assert landfall.ecs.list_container_instances(status="ACTIVE")["containerInstanceArns"] == []
        tasks, ((_, detail),) = ask(landfall, definition, network)
        assert not tasks and "not ACTIVE" in detail
        started = landfall.ecs.start_task(
            taskDefinition=definition, containerInstances=[here], networkConfiguration=awsvpc([network.subnet])
        )
        assert not started["tasks"] and [failure["reason"] for failure in started["failures"]] == ["INACTIVE"]
        assert landfall.ecs.describe_tasks(tasks=[before])["tasks"][0]["lastStatus"] == "RUNNING"
    tasks, failures = ask(landfall, definition, network)
    assert len(tasks) == 1 and not failures, "it takes tasks again"
    stop(landfall, before, *tasks)


def test_a_named_instance_is_asked_what_it_can_bear(landfall, network, here):
    """StartTask passes the scheduler by, and not the limits of the machine."""
    large = register(landfall, "large", web(memory=1 << 24))
    started = landfall.ecs.start_task(
        taskDefinition=large, containerInstances=[here], networkConfiguration=awsvpc([network.subnet])
    )
    (failure,) = started["failures"]
    assert not started["tasks"] and failure["arn"] == here and failure["reason"] == "RESOURCE:MEMORY"
    small = register(landfall, "small", web(), placementConstraints=member_of("attribute:rack == r8"))
    started = landfall.ecs.start_task(
        taskDefinition=small, containerInstances=[here], networkConfiguration=awsvpc([network.subnet])
    )
    (task,) = started["tasks"]
    assert task["containerInstanceArn"] == here, "constraints are for those whom the scheduler places"
    stop(landfall, task["taskArn"])
