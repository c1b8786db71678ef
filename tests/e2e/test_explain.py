"""Why tasks go where they go, and what they wait for."""

import json

from conftest import address, register, run, stop, wait, web


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


def test_a_path_is_explained_as_packets_fare(landfall, network):
    ec2 = landfall.ec2
    web_group, asking_group = (
        ec2.create_security_group(GroupName=name, Description="path", VpcId=network.vpc)["GroupId"] for name in ("path-web", "path-ask")
    )
    definition = register(landfall, "path", web())
    (server,) = run(landfall, definition, network.subnet, web_group)
    (asker,) = run(landfall, definition, network.subnet, asking_group)
    at = address(wait(landfall, server, "RUNNING"))
    wait(landfall, asker, "RUNNING")

    answer = explained(landfall, "path", asker, f"{at}:80")
    assert not answer["passes"]
    assert [(step["step"], step["passes"]) for step in answer["steps"]] == [("ROUTE", True), ("EGRESS", True), ("INGRESS", False)]
    assert answer["destination"]["taskArn"] == server
    assert answer["steps"][2]["securityGroups"] == [web_group]

    permission = {"IpProtocol": "tcp", "FromPort": 80, "ToPort": 80, "UserIdGroupPairs": [{"GroupId": asking_group, "Description": "askers"}]}
    made = ec2.authorize_security_group_ingress(GroupId=web_group, IpPermissions=[permission])["SecurityGroupRules"][0]
    answer = explained(landfall, "path", asker, f"{server}:80")
    assert answer["passes"]
    (rule,) = answer["steps"][2]["rules"]
    assert rule == {
        "groupId": web_group, "securityGroupRuleId": made["SecurityGroupRuleId"], "traffic": "tcp 80", "peer": asking_group, "description": "askers",
    }
    shown = landfall.run("explain", "path", asker, f"{at}:80").stdout
    assert "it comes about" in shown and made["SecurityGroupRuleId"] in shown
    assert not explained(landfall, "path", asker, f"{at}:81")["passes"]
    assert not explained(landfall, "path", asker, at, "--protocol", "icmp")["passes"]
    nowhere = explained(landfall, "path", asker, "203.0.113.9:80")
    assert [step["step"] for step in nowhere["steps"]] == ["ROUTE"] and not nowhere["passes"]
    failed = landfall.run("explain", "path", "203.0.113.9", f"{at}:80", check=False)
    assert failed.returncode == 1 and "203.0.113.9" in failed.stderr
    stop(landfall, server, asker)
