"""ECS as a careless client meets it: what is refused, what comes back, who wins."""

import concurrent.futures

import pytest

from conftest import register, run, stop, task, web
from test_errors import anything, awsvpc, refused

# Of one container, what a definition can say that has no other part to fit in with.
WHOLE = {
    "name": "web", "image": "simple-web:latest", "cpu": 16, "memory": 64, "memoryReservation": 32,
    "links": [], "essential": True, "entryPoint": ["/web"], "command": ["-x", "é☃"],
    "portMappings": [{"containerPort": 80, "hostPort": 80, "protocol": "tcp", "name": "http", "appProtocol": "http"}],
    "environment": [{"name": "A", "value": ""}], "environmentFiles": [], "mountPoints": [{"sourceVolume": "data", "containerPath": "/data", "readOnly": True}],
    "volumesFrom": [], "secrets": [{"name": "S", "valueFrom": "arn:aws:ssm:us-east-1:000000000000:parameter/s"}],
    "dependsOn": [{"containerName": "side", "condition": "START"}], "startTimeout": 3, "stopTimeout": 2,
    "restartPolicy": {"enabled": True, "ignoredExitCodes": [0], "restartAttemptPeriod": 60}, "versionConsistency": "disabled",
    "user": "1:1", "workingDirectory": "/", "disableNetworking": False, "privileged": False, "readonlyRootFilesystem": True,
    "dockerSecurityOptions": ["no-new-privileges"], "interactive": True, "pseudoTerminal": True, "dockerLabels": {"a.b/c": "d"},
    "ulimits": [{"name": "nofile", "softLimit": 1, "hardLimit": -1}],
    "logConfiguration": {"logDriver": "awslogs", "options": {"awslogs-group": "g", "awslogs-region": "us-east-1"}, "secretOptions": [{"name": "x", "valueFrom": "y"}]},
    "healthCheck": {"command": ["CMD", "x"], "interval": 5, "timeout": 2, "retries": 1, "startPeriod": 0},
    "systemControls": [{"namespace": "net.core.somaxconn", "value": "9"}],
    "resourceRequirements": [{"type": "GPU", "value": "1"}], "repositoryCredentials": {"credentialsParameter": "arn:x"},
    "firelensConfiguration": {"type": "fluentbit", "options": {"a": "b"}},
    "linuxParameters": {
        "capabilities": {"add": ["NET_ADMIN"], "drop": ["ALL"]}, "devices": [{"hostPath": "/dev/null", "containerPath": "/n", "permissions": ["read"]}],
        "initProcessEnabled": True, "sharedMemorySize": 2, "tmpfs": [{"containerPath": "/t", "size": 1, "mountOptions": ["ro"]}], "maxSwap": 1, "swappiness": 3,
    },
}
DEFINITION = {
    "family": "whole", "networkMode": "awsvpc", "taskRoleArn": "arn:aws:iam::000000000000:role/t", "executionRoleArn": "arn:aws:iam::000000000000:role/e",
    "volumes": [{"name": "data", "host": {"sourcePath": "/srv"}}], "placementConstraints": [{"type": "memberOf", "expression": "attribute:x exists"}],
    "requiresCompatibilities": ["EC2"], "cpu": "256", "memory": "512", "pidMode": "task", "ipcMode": "task",
    "proxyConfiguration": {"type": "APPMESH", "containerName": "web", "properties": [
        {"name": name, "value": value}
        for name, value in [("IgnoredUID", "1337"), ("AppPorts", "80"), ("ProxyIngressPort", "15000"), ("ProxyEgressPort", "15001")]
    ]},
    "runtimePlatform": {"cpuArchitecture": "X86_64", "operatingSystemFamily": "LINUX"}, "enableFaultInjection": False,
}


@pytest.fixture(scope="module")
def definition(landfall):
    return register(landfall, "api", web())


def test_a_definition_comes_back_as_it_was_given(landfall):
    containers = [WHOLE, {**web("side"), "logConfiguration": {"logDriver": "awsfirelens"}}]
    given = {**DEFINITION, "containerDefinitions": containers}
    tags = [{"key": "a", "value": "b"}]
    registered = landfall.ecs.register_task_definition(**given, tags=tags)["taskDefinition"]
    answer = landfall.ecs.describe_task_definition(taskDefinition="whole", include=["TAGS"])
    assert answer["taskDefinition"] == registered and answer["tags"] == tags
    shown = dict(registered)
    assert shown.pop("containerDefinitions")[0] == WHOLE
    assert {name: shown[name] for name in DEFINITION} == DEFINITION
    # What is not obeyed is not run either, and the refusal says what it is.
    status, code, message = refused(landfall.ecs.run_task, taskDefinition="whole", networkConfiguration=awsvpc(["subnet-0123456789abcdef0"]))
    assert (status, code) == (400, "ClientException") and "does not support" in message


@pytest.mark.parametrize("part", [
    {"repositoryCredentials": {"credentialsParameter": "arn:aws:secretsmanager:us-east-1:000000000000:secret:x"}},
    {"secrets": [{"name": "S", "valueFrom": "x"}]}, {"logConfiguration": {"logDriver": "json-file", "options": {"max-size": "1m"}}},
], ids=lambda part: next(iter(part)))
def test_what_would_be_ignored_is_refused_by_name(landfall, network, part):
    name = next(iter(part))
    role = "arn:aws:iam::000000000000:role/e"
    asking = register(landfall, f"asks-{name}", web(**part), executionRoleArn=role)
    status, code, message = refused(landfall.ecs.run_task, taskDefinition=asking, networkConfiguration=awsvpc([network.subnet]))
    assert (status, code) == (400, "ClientException") and name in message, message


@pytest.mark.parametrize("wish, code", [
    ({"tags": [{"key": "aws:x", "value": ""}]}, "InvalidParameterException"),
    ({"tags": [{"key": "a", "value": ""}] * 2}, "InvalidParameterException"),
    ({"startedBy": "x" * 129}, "InvalidParameterException"),
    ({"group": "service:x"}, "InvalidParameterException"),
    ({"clientToken": "x" * 65}, "InvalidParameterException"),
    ({"overrides": {"containerOverrides": [{"name": "web"}] * 2}}, "InvalidParameterException"),
    ({"overrides": {"containerOverrides": [{"name": "web", "command": ["x" * 8192]}]}}, "InvalidParameterException"),
    ({"overrides": {"cpu": "1"}}, "ClientException"),
    ({"count": -1}, "InvalidParameterException"),
    ({"count": 11}, "InvalidParameterException"),
    ({"count": "one"}, "SerializationException"),
    ({"taskDefinition": ""}, "ClientException"),
    ({"taskDefinition": "api:+1"}, "ClientException"),
    ({"taskDefinition": "arn:aws:ecs:us-east-1:999999999999:task-definition/api:1"}, "InvalidParameterException"),
    ({"cluster": "arn:aws:ecs:us-east-1:000000000000:task/default/x"}, "InvalidParameterException"),
], ids=lambda wish: str(wish)[:40])
def test_wishes_that_cannot_be(landfall, network, definition, wish, code):
    request = {"taskDefinition": definition, "networkConfiguration": awsvpc([network.subnet]), **wish}
    assert refused(anything(landfall, "ecs").run_task, **request)[:2] == (400, code)
    assert landfall.ecs.list_tasks()["taskArns"] == []


def test_one_token_is_one_task_however_many_ask(landfall, network, definition):
    ecs = landfall.client("ecs")

    def ask(_):
        answer = ecs.run_task(taskDefinition=definition, networkConfiguration=awsvpc([network.subnet]), clientToken="one")
        return answer["tasks"][0]["taskArn"]

    with concurrent.futures.ThreadPoolExecutor(20) as pool:
        arns = set(pool.map(ask, range(50)))
    assert len(arns) == 1
    assert set(ecs.list_tasks()["taskArns"]) == arns
    stop(landfall, *arns)


def test_a_token_without_a_task_is_free(landfall, network):
    big = register(landfall, "too-big", web(memory=9_000_000))
    for _ in range(2):
        answer = landfall.ecs.run_task(taskDefinition=big, networkConfiguration=awsvpc([network.subnet]), clientToken="big")
        assert [failure["reason"] for failure in answer["failures"]] == ["RESOURCE:MEMORY"]


def test_pages_show_each_task_once(landfall, network, definition):
    arns = run(landfall, definition, network.subnet, count=3, startedBy="pages")
    pages = list(landfall.ecs.get_paginator("list_tasks").paginate(startedBy="pages", PaginationConfig={"PageSize": 1}))
    assert [len(page["taskArns"]) for page in pages] == [1, 1, 1]
    assert {arn for page in pages for arn in page["taskArns"]} == set(arns)
    for token in ("x", "", "e30"):
        assert refused(landfall.ecs.list_tasks, nextToken=token)[:2] == (400, "InvalidParameterException")
    assert refused(landfall.ecs.describe_tasks, tasks=["0" * 32] * 101)[:2] == (400, "InvalidParameterException")
    # By id and by ARN, and once more: stopping what stops is no error.
    for name in (arns[0], arns[0].rsplit("/", 1)[1]):
        assert landfall.ecs.stop_task(task=name)["task"]["desiredStatus"] == "STOPPED"
    stop(landfall, *arns)
    assert task(landfall, arns[0])["stopCode"] == "UserInitiated"


def test_a_cluster_is_what_was_asked_for(landfall):
    ecs = landfall.ecs
    insights = [{"name": "containerInsights", "value": "enabled"}]
    made = ecs.create_cluster(clusterName="asked", settings=insights)["cluster"]
    assert ecs.create_cluster(clusterName="asked")["cluster"] == made
    assert ecs.create_cluster(clusterName="asked", settings=insights)["cluster"] == made
    other = [{"name": "containerInsights", "value": "disabled"}]
    assert refused(ecs.create_cluster, clusterName="asked", settings=other)[:2] == (400, "InvalidParameterException")
    assert refused(ecs.create_cluster, clusterName="x", capacityProviders=["nope"])[:2] == (400, "InvalidParameterException")
    assert ecs.describe_clusters(clusters=["x"])["failures"][0]["reason"] == "MISSING"
