"""Why tasks go where they go, and what they wait for."""

import json

from conftest import wait, web


def explained(landfall, *words):
    return json.loads(landfall.run("explain", *words, "--json").stdout)


def test_placement_is_explained_for_each_instance(landfall):
    family = "explained"
    landfall.ecs.register_task_definition(
        family=family,
        networkMode="none",
        containerDefinitions=[web()],
    )
    before = landfall.ecs.list_tasks()["taskArns"]
    answer = explained(landfall, "placement", family, "--count", "2")
    assert len(answer["places"]) == 2
    assert [verdict["fits"] for verdict in answer["instances"]] == [True]
    assert landfall.ecs.list_tasks()["taskArns"] == before, "nothing is started"

    answer = explained(landfall, "placement", family, "--constraint", "memberOf=attribute:rack == r1")
    assert answer["places"] == []
    (verdict,) = answer["instances"]
    assert not verdict["fits"]
    assert [r["code"] for r in verdict["refusals"]] == ["MemberOf placement constraint unsatisfied."]
    shown = landfall.run("explain", "placement", family, "--constraint", "memberOf=attribute:rack == r1").stdout
    assert "0 of 1 tasks have a place" in shown and "attribute:rack == r1" in shown


def test_what_run_task_would_refuse_is_refused_in_its_words(landfall):
    failed = landfall.run("explain", "placement", "no-such-family", check=False)
    assert failed.returncode == 1
    assert "TaskDefinition not found" in failed.stderr


def test_a_task_tells_its_life(landfall):
    family = "brief"
    landfall.ecs.register_task_definition(
        family=family,
        networkMode="none",
        containerDefinitions=[web(command=["sh", "-c", "exit 3"])],
    )
    (task,) = landfall.ecs.run_task(taskDefinition=family)["tasks"]
    wait(landfall, task["taskArn"], "STOPPED")
    answer = explained(landfall, "task", task["taskArn"])
    assert answer["lastStatus"] == answer["desiredStatus"] == "STOPPED"
    assert answer["stopCode"] == "EssentialContainerExited"
    assert answer["waitsFor"] == []
    moments = [moment["status"] for moment in answer["history"]]
    assert moments[0] == "CREATED" and moments[-1] == "STOPPED" and "RUNNING" in moments
    assert "it waits for nothing" in landfall.run("explain", "task", task["taskArn"]).stdout
