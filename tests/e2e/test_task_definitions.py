"""The life of task definitions: from being registered to being forgotten."""

import pytest

from conftest import eventually, register, run, stop, wait, web
from test_ecs_api import DEFINITION, WHOLE
from test_errors import awsvpc, refused


def names(arns):
    return [arn.rsplit("/", 1)[-1] for arn in arns]


def test_revisions_are_counted_listed_and_found(landfall):
    arns = []
    for _ in range(3):
        shown = landfall.ecs.register_task_definition(family="counted", containerDefinitions=[web()])["taskDefinition"]
        arns.append(shown["taskDefinitionArn"])
    assert names(arns) == ["counted:1", "counted:2", "counted:3"]
    everything = landfall.ecs.get_paginator("list_task_definitions").paginate(
        familyPrefix="counted", sort="DESC", PaginationConfig={"PageSize": 2}
    )
    assert [arn for page in everything for arn in page["taskDefinitionArns"]] == arns[::-1]

    def described(name):
        return landfall.ecs.describe_task_definition(taskDefinition=name)["taskDefinition"]["taskDefinitionArn"]

    assert described("counted") == arns[2]
    assert described("counted:1") == described(arns[0]) == arns[0]
    for unknown in ("counted:4", "uncounted"):
        status, code, message = refused(landfall.ecs.describe_task_definition, taskDefinition=unknown)
        assert (status, code, message) == (400, "ClientException", "Unable to describe task definition.")


def test_families_are_active_while_a_revision_is(landfall):
    for family in ("kin-a", "kin-b"):
        register(landfall, family, web())

    def families(status):
        return landfall.ecs.list_task_definition_families(familyPrefix="kin-", status=status)["families"]

    landfall.ecs.deregister_task_definition(taskDefinition="kin-b:1")
    assert (families("ACTIVE"), families("INACTIVE")) == (["kin-a"], ["kin-b"])
    assert families("ALL") == ["kin-a", "kin-b"]
    register(landfall, "kin-b", web())
    assert families("ACTIVE") == ["kin-a", "kin-b"]


def test_from_active_to_gone_whatever_runs(landfall, network):
    mortal = register(landfall, "mortal", web())
    (arn,) = run(landfall, mortal, network.subnet)
    wait(landfall, arn, "RUNNING", 60)

    (failure,) = landfall.ecs.delete_task_definitions(taskDefinitions=[mortal])["failures"]
    assert "still in ACTIVE status" in failure["reason"]
    taken = landfall.ecs.deregister_task_definition(taskDefinition=mortal)["taskDefinition"]
    assert taken["status"] == "INACTIVE" and "deregisteredAt" in taken
    assert landfall.ecs.list_task_definitions(familyPrefix="mortal")["taskDefinitionArns"] == []
    listed = landfall.ecs.list_task_definitions(familyPrefix="mortal", status="INACTIVE")["taskDefinitionArns"]
    assert names(listed) == [mortal]
    status, code, _ = refused(landfall.ecs.run_task, taskDefinition=mortal, networkConfiguration=awsvpc([network.subnet]))
    assert (status, code) == (400, "ClientException")

    (leaving,) = landfall.ecs.delete_task_definitions(taskDefinitions=[mortal])["taskDefinitions"]
    assert leaving["status"] == "DELETE_IN_PROGRESS"
    shown = landfall.ecs.describe_tasks(tasks=[arn])["tasks"][0]
    assert (shown["lastStatus"], shown["desiredStatus"]) == ("RUNNING", "RUNNING"), "its task does not mind"
    stop(landfall, arn)

    def gone():
        return not landfall.ecs.list_task_definitions(familyPrefix="mortal", status="DELETE_IN_PROGRESS")["taskDefinitionArns"]

    eventually("the definition being gone", gone)
    refused(landfall.ecs.describe_task_definition, taskDefinition=mortal)
    assert register(landfall, "mortal", web()) == "mortal:2", "a number is not given again"


def test_what_it_can_be_run_with_is_worked_out(landfall):
    given = {**DEFINITION, "family": "worked-out", "requiresCompatibilities": []}
    side = {**web("side"), "logConfiguration": {"logDriver": "awsfirelens"}}
    shown = landfall.ecs.register_task_definition(**{**given, "containerDefinitions": [WHOLE, side]})["taskDefinition"]
    assert shown["compatibilities"] == ["EC2"]
    required = {attribute["name"].removeprefix("com.amazonaws.") for attribute in shown["requiresAttributes"]}
    assert required >= {
        "ecs.capability.task-eni", "ecs.capability.task-iam-role", "ecs.capability.execution-role-awslogs",
        "ecs.capability.logging-driver.awslogs", "ecs.capability.container-health-check", "ecs.capability.container-ordering",
        "ecs.capability.secrets.ssm.environment-variables", "ecs.capability.container-restart-policy",
        "ecs.capability.pid-ipc-namespace-sharing", "ecs.capability.aws-appmesh", "ecs.capability.firelens.fluentbit",
    }
    assert not any("volume-attach" in name or "efs" in name for name in required), required

    def fit(**more):
        one = landfall.ecs.register_task_definition(family="fit", containerDefinitions=[web()], **more)
        return one["taskDefinition"]["compatibilities"]

    assert fit() == ["EC2", "EXTERNAL"]
    assert fit(networkMode="awsvpc", cpu="256", memory="512") == ["EC2", "FARGATE", "MANAGED_INSTANCES"]
    assert fit(networkMode="awsvpc", cpu="256", memory="512", ephemeralStorage={"sizeInGiB": 30}) == ["FARGATE"]


@pytest.mark.parametrize("more, text", [
    ({"family": ""}, "Family should not be null or empty."),
    ({"family": "no spaces"}, "Family contains invalid characters."),
    ({"containerDefinitions": []}, "Container list cannot be empty."),
    ({"containerDefinitions": [web(essential=False)]}, "must have at least one essential container"),
    ({"containerDefinitions": [web(image="")]}, "Container.image should not be null or empty."),
    ({"containerDefinitions": [web(), web()]}, "web"),
    ({"containerDefinitions": [web(dependsOn=[{"containerName": "web", "condition": "START"}])]}, "refers to itself"),
    ({"containerDefinitions": [web(dependsOn=[{"containerName": "other", "condition": "START"}])]}, "other"),
    ({"containerDefinitions": [web(mountPoints=[{"sourceVolume": "v", "containerPath": "/v"}])]}, "volume"),
    ({"containerDefinitions": [web(portMappings=[{"containerPort": 80, "hostPort": 81}])], "networkMode": "awsvpc"}, "port"),
    ({"containerDefinitions": [web(portMappings=[{"containerPort": 80}])], "networkMode": "none"}, "networkMode=none"),
    ({"containerDefinitions": [web(links=["web"])], "networkMode": "awsvpc"}, "inks"),
    ({"containerDefinitions": [web(healthCheck={"command": ["CMD", "x"], "interval": 1})]}, "nterval"),
    ({"requiresCompatibilities": ["FARGATE"]}, "Fargate only supports network mode ‘awsvpc’."),
    ({"requiresCompatibilities": ["FARGATE"], "networkMode": "awsvpc", "cpu": "256", "memory": "8192"}, "emory"),
    ({"requiresCompatibilities": ["EXTERNAL"], "networkMode": "awsvpc"}, "External instances do not support"),
    ({"memory": "32"}, "emory"),
    ({"tags": []}, "Tags can not be empty."),
    ({"containerDefinitions": [web(memory=5)]}, "Memory limits must be at least 6 MiB."),
    ({"containerDefinitions": [web(memory=32, memoryReservation=64)]}, "'memory' must not be less than 'memoryReservation'."),
    ({"containerDefinitions": [web(ulimits=[{"name": "nofile", "softLimit": 2, "hardLimit": 1}])]}, "soft limit of 'nofile' must not exceed its hard limit."),
    ({"containerDefinitions": [web(linuxParameters={"capabilities": {"add": ["CAP_KILL"]}})]}, "Did you mean 'KILL'?"),
    ({"containerDefinitions": [web(linuxParameters={"swappiness": 101})]}, "'linuxParameters.swappiness' must be between 0 and 100."),
    ({"containerDefinitions": [web(linuxParameters={"tmpfs": [{"containerPath": "/t", "size": 1, "mountOptions": ["fast"]}]})]}, "Unknown mount option 'fast'"),
    ({"containerDefinitions": [web(systemControls=[{"namespace": "vm.swappiness", "value": "1"}])]}, "must have a value and be one of a namespace"),
    ({"containerDefinitions": [web(systemControls=[{"namespace": "net.core.somaxconn", "value": "1"}])], "networkMode": "host"}, "networkMode=host"),
    ({"containerDefinitions": [web(systemControls=[{"namespace": "kernel.sem", "value": "1"}])], "ipcMode": "host"}, "ipcMode=host"),
    ({"containerDefinitions": [web(volumesFrom=[{"sourceContainer": "other"}])]}, "unknown container 'other'"),
    ({"containerDefinitions": [web("a", volumesFrom=[{"sourceContainer": "b"}]), web("b", volumesFrom=[{"sourceContainer": "a"}])]}, "form a circle"),
    ({"containerDefinitions": [web(links=["web"])]}, "refers to itself"),
    ({"containerDefinitions": [web(dependsOn=[{"containerName": "db", "condition": "HEALTHY"}]), web("db")]}, "has no health check"),
    ({"containerDefinitions": [web(hostname="h")], "networkMode": "awsvpc"}, "hostname is not supported on container when networkMode=awsvpc."),
    ({"containerDefinitions": [web(dnsServers=["10.0.0.2"])], "networkMode": "awsvpc"}, "DNS servers are not supported"),
    ({"containerDefinitions": [web(extraHosts=[{"hostname": "db", "ipAddress": "db"}])]}, "is not an IP address"),
    ({"containerDefinitions": [web(healthCheck={"command": ["true"]})]}, "must start with CMD"),
    ({"containerDefinitions": [web(restartPolicy={"enabled": True, "restartAttemptPeriod": 59})]}, "must be between 60 and 1800."),
    ({"containerDefinitions": [web(portMappings=[{"containerPortRange": "90-80"}])]}, "Invalid containerPortRange '90-80'."),
])
def test_what_cannot_be_is_refused_with_a_reason(landfall, more, text):
    given = {"family": "refused", "containerDefinitions": [web()], **more}
    status, code, message = refused(landfall.ecs.register_task_definition, **given)
    assert (status, code) == (400, "ClientException") and text in message, message
    assert landfall.ecs.list_task_definition_families(familyPrefix="refused")["families"] == []
