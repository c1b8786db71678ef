"""What a task learns of itself, and the credentials of its role."""

import contextlib
import json
import pathlib
import sys
import urllib.error
import urllib.request

import botocore.exceptions
import pytest

from conftest import TRUST, address, eventually, fetch, inside, register, run, stop, tcp, wait, web

MAY_PROTECT = {"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": "ecs:*TaskProtection", "Resource": "*"}]}
MAY_LIST = {"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": "ecs:ListClusters", "Resource": "*"}]}

# boto3's own way to the credentials of a container, from inside the task's namespace.
FIND = """
import boto3, json
found = boto3.Session().get_credentials()
frozen = found.get_frozen_credentials()
print(json.dumps({"method": found.method, "key": frozen.access_key, "secret": frozen.secret_key, "token": frozen.token}))
"""


def variables(landfall, arn):
    lines = eventually("the variables", lambda: landfall.run("logs", arn).stdout).splitlines()
    return dict(line.split("=", 1) for line in lines if "=" in line)


def speaker(name="main"):
    return web(name, command=["sh", "-c", "env; sleep 1000"])


@pytest.fixture(scope="module")
def role(landfall):
    iam = landfall.client("iam")
    made = iam.create_role(RoleName="lister", AssumeRolePolicyDocument=json.dumps(TRUST))["Role"]
    iam.put_role_policy(RoleName="lister", PolicyName="list", PolicyDocument=json.dumps(MAY_LIST))
    return made["Arn"]


def test_a_task_acts_in_its_role(landfall, network, role):
    (arn,) = run(landfall, register(landfall, "acting", speaker(), taskRoleArn=role), network.subnet)
    wait(landfall, arn, "RUNNING")
    path = variables(landfall, arn)["AWS_CONTAINER_CREDENTIALS_RELATIVE_URI"]
    given = json.loads(inside(landfall, arn, sys.executable, "-c", FIND, environment={"AWS_CONTAINER_CREDENTIALS_RELATIVE_URI": path}))
    assert given["method"] == "container-role"
    credentials = {"key": given["key"], "secret": given["secret"], "token": given["token"]}
    who = landfall.client("sts", **credentials).get_caller_identity()["Arn"]
    assert who == f"arn:aws:sts::000000000000:assumed-role/lister/{arn.rsplit('/', 1)[-1]}"
    assert landfall.client("ecs", **credentials).list_clusters()["clusterArns"]
    with pytest.raises(botocore.exceptions.ClientError) as refused:
        landfall.client("ecs", **credentials).list_task_definitions()
    assert refused.value.response["Error"]["Code"] == "AccessDeniedException"

    stop(landfall, arn)

    def revoked():
        try:
            landfall.client("sts", **credentials).get_caller_identity()
        except botocore.exceptions.ClientError:
            return True
        return False

    eventually("the credentials being revoked", revoked, 90)


# What a program in a host-mode container does, with the machine's Python, whose files are mounted there.
ASK = """
import boto3, json, os, urllib.error, urllib.request
def get(url):
    try:
        return json.load(urllib.request.urlopen(url, timeout=5))
    except urllib.error.HTTPError as refused:
        return json.load(refused)
uri = os.environ["ECS_CONTAINER_METADATA_URI_V4"]
print(json.dumps({
    "who": boto3.client("sts").get_caller_identity()["Arn"], "method": boto3.Session().get_credentials().method,
    "me": get(uri)["Name"], "v3": get(os.environ["ECS_CONTAINER_METADATA_URI"])["Name"], "task": get(uri + "/task")["TaskARN"],
    "protection": get(os.environ["ECS_AGENT_URI"] + "/task-protection/v1/state"),
}))
"""


def test_a_task_in_the_machines_network_acts_in_its_role(landfall, role):
    asking = web(
        "main", command=["sh", "-c", f"chroot /machine {sys.executable} -c '{ASK}'; sleep 1000"],
        environment=[{"name": "AWS_ENDPOINT_URL", "value": landfall.environment["AWS_ENDPOINT_URL"]}],
        mountPoints=[{"sourceVolume": "machine", "containerPath": "/machine", "readOnly": True}], portMappings=[],
    )
    landfall.ecs.register_task_definition(
        family="at-home", networkMode="host", taskRoleArn=role, containerDefinitions=[asking],
        volumes=[{"name": "machine", "host": {"sourcePath": "/"}}],
    )
    arn = landfall.ecs.run_task(taskDefinition="at-home")["tasks"][0]["taskArn"]
    wait(landfall, arn, "RUNNING")
    said = json.loads(eventually("what it says", lambda: landfall.run("logs", arn).stdout))
    assert said["who"] == f"arn:aws:sts::000000000000:assumed-role/lister/{arn.rsplit('/', 1)[-1]}"
    assert (said["method"], said["me"], said["v3"], said["task"]) == ("container-role", "main", "main", arn)
    # By the rights of its role, which has none for this.
    refusal = said["protection"]["error"]
    assert (refusal["Code"], refusal["Arn"]) == ("AccessDeniedException", arn)

    # Who does not know an id of a task learns nothing; and nobody comes from elsewhere.
    def ask(path):
        with pytest.raises(urllib.error.HTTPError) as refused:
            urllib.request.urlopen(f"http://169.254.170.2{path}", timeout=5)
        return refused.value.code, json.loads(refused.value.read())

    assert ask("/v2/credentials/no-id")[1]["code"] == "InvalidIdInRequest"
    assert ask("/v2/metadata")[0] == 404 and ask("/v4/no-id/task")[0] == 404
    stop(landfall, arn)

    def forgotten():
        # With what else the task has, once it is seen to have stopped.
        with contextlib.suppress(pytest.fail.Exception):
            return ask(f"/v4/{arn.rsplit('/', 1)[-1]}-0/task")[0] == 404

    eventually("that its metadata are gone", forgotten)


def test_no_task_has_the_credentials_of_another(landfall, network, role):
    definition = register(landfall, "apart", speaker(), taskRoleArn=role)
    first, second = run(landfall, definition, network.subnet, count=2)
    for arn in (first, second):
        wait(landfall, arn, "RUNNING")
    path = variables(landfall, first)["AWS_CONTAINER_CREDENTIALS_RELATIVE_URI"]
    fetch = ("curl", "-s", "--max-time", "5", f"http://169.254.170.2{path}")
    assert json.loads(inside(landfall, first, *fetch))["RoleArn"] == role
    assert json.loads(inside(landfall, second, *fetch))["code"] == "InvalidIdInRequest"
    stop(landfall, first, second)


def test_a_role_that_ecs_may_not_assume_is_refused(landfall, network):
    iam = landfall.client("iam")
    other = {**TRUST, "Statement": [{**TRUST["Statement"][0], "Principal": {"Service": "ec2.amazonaws.com"}}]}
    wrong = iam.create_role(RoleName="wrong", AssumeRolePolicyDocument=json.dumps(other))["Role"]["Arn"]
    none = "arn:aws:iam::000000000000:role/none"
    for roles in ({"taskRoleArn": wrong}, {"taskRoleArn": none}, {"executionRoleArn": none}):
        definition = register(landfall, "refused", speaker(), **roles)
        with pytest.raises(botocore.exceptions.ClientError) as refused:
            run(landfall, definition, network.subnet)
        error = refused.value.response["Error"]
        assert error["Code"] == "ClientException" and "unable to assume the role" in error["Message"]


def test_a_task_knows_itself(landfall, network, role):
    logging = {"logDriver": "awslogs", "options": {"awslogs-group": "/knowing", "awslogs-region": "us-east-1", "awslogs-stream-prefix": "front"}}
    one = speaker("one") | {"logConfiguration": logging, "mountPoints": [{"sourceVolume": "own", "containerPath": "/data"}]}
    definition = register(landfall, "knowing", one, speaker("two"), volumes=[{"name": "own"}], executionRoleArn=role)
    (arn,) = run(landfall, definition, network.subnet)
    shown = wait(landfall, arn, "RUNNING")
    detail = {d["name"]: d["value"] for d in shown["attachments"][0]["details"]}
    found = {}
    for name in ("one", "two"):
        lines = eventually("the variables", lambda name=name: landfall.run("logs", arn, "-c", name).stdout).splitlines()
        found[name] = dict(line.split("=", 1) for line in lines)

    def get(url):
        return json.loads(inside(landfall, arn, "curl", "-s", "--max-time", "5", url))

    one = found["one"]["ECS_CONTAINER_METADATA_URI_V4"]
    container = get(one)
    assert (container["Name"], container["KnownStatus"]) == ("one", "RUNNING")
    assert container["Labels"]["com.amazonaws.ecs.task-arn"] == arn
    interface = container["Networks"][0]
    assert interface["IPv4Addresses"] == [detail["privateIPv4Address"]]
    assert interface["MACAddress"] == detail["macAddress"]
    # Its output is here, whatever becomes of the rest of this.
    stream = f"front/one/{arn.rsplit('/', 1)[-1]}"
    assert (container["LogDriver"], container["LogOptions"]) == (
        "awslogs", {"awslogs-group": "/knowing", "awslogs-region": "us-east-1", "awslogs-stream": stream},
    )
    assert container["CreatedAt"] <= container["StartedAt"]
    (volume,) = container["Volumes"]
    assert (volume["DockerName"], volume["Destination"]) == ("own", "/data") and pathlib.Path(volume["Source"]).is_dir()
    task = get(f"{one}/task")
    zone = landfall.ec2.describe_instances()["Reservations"][0]["Instances"][0]
    assert (task["AvailabilityZone"], task["VPCID"]) == (zone["Placement"]["AvailabilityZone"], zone["VpcId"])
    zones = landfall.ec2.describe_availability_zones(ZoneNames=[task["AvailabilityZone"]])["AvailabilityZones"]
    assert task["AvailabilityZoneID"] == zones[0]["ZoneId"]
    assert (task["TaskARN"], task["Family"], task["LaunchType"]) == (arn, "knowing", "EC2")
    assert sorted(it["Name"] for it in task["Containers"]) == ["one", "two"]
    assert get(found["two"]["ECS_CONTAINER_METADATA_URI_V4"])["Name"] == "two"
    stats = get(f"{one}/stats")
    assert stats["memory_stats"]["usage"] > 0 and stats["memory_stats"]["limit"] == 64 << 20
    stop(landfall, arn)


def test_what_a_task_uses_is_told(landfall, network):
    serving = web("main", command=["sh", "-c", "env; mkdir -p www; head -c 1000000 /dev/zero > www/index.html; exec httpd -f -p 80 -h www"])
    (arn,) = run(landfall, register(landfall, "using", serving), network.subnet, network.group("using", tcp(80)))
    shown = wait(landfall, arn, "RUNNING")
    uri = variables(landfall, arn)["ECS_CONTAINER_METADATA_URI_V4"]
    eventually("the page", lambda: len(fetch(address(shown)) or "") > 1000000)

    def exposed():
        with urllib.request.urlopen(f"{landfall.environment['AWS_ENDPOINT_URL']}/_landfall/metrics", timeout=5) as answer:
            lines = answer.read().decode().splitlines()
        labels = f'cluster="default",family="using",task="{arn.rsplit("/", 1)[-1]}",container="main"'
        return {line.split("{")[0]: float(line.split()[-1]) for line in lines if labels in line}

    found = eventually("the bytes in the metrics", lambda: (e := exposed()).get("landfall_container_network_transmit_bytes_total", 0) > 1000000 and e)
    assert found["landfall_container_cpu_seconds_total"] > 0 and found["landfall_container_memory_bytes"] > 0

    def used():
        return json.loads(inside(landfall, arn, "curl", "-s", "--max-time", "5", f"{uri}/stats"))

    # Rates are told once there was a second to tell them over.
    stats = eventually("rates", lambda: "network_rate_stats" in (seen := used()) and seen)
    interface = stats["networks"]["eth0"]
    assert interface["tx_bytes"] > 1000000 and interface["rx_packets"] > 0
    assert stats["network_rate_stats"]["tx_bytes_per_sec"] >= 0
    assert stats["precpu_stats"]["system_cpu_usage"] < stats["cpu_stats"]["system_cpu_usage"]
    stop(landfall, arn)
    eventually("no metrics of what has stopped", lambda: not exposed())


def test_a_task_reads_tags_and_asks_for_protection(landfall, network, role):
    iam = landfall.client("iam")
    keeper = iam.create_role(RoleName="keeper", AssumeRolePolicyDocument=json.dumps(TRUST))["Role"]["Arn"]
    iam.put_role_policy(RoleName="keeper", PolicyName="protect", PolicyDocument=json.dumps(MAY_PROTECT))

    def asker(arn):
        found = variables(landfall, arn)
        put = ("-X", "PUT", "-d", '{"ProtectionEnabled":true,"ExpiresInMinutes":60}')
        uri = f"{found['ECS_AGENT_URI']}/task-protection/v1/state"

        def ask(*options, at=uri):
            answer = inside(landfall, arn, "curl", "-s", "--max-time", "9", "-w", "\n%{http_code}", *options, at)
            body, status = answer.rsplit("\n", 1)
            return int(status), json.loads(body)

        return ask, put, found["ECS_CONTAINER_METADATA_URI_V4"]

    (mine,) = run(landfall, register(landfall, "keeping", speaker(), taskRoleArn=keeper), network.subnet, tags=[{"key": "team", "value": "blue"}])
    (other,) = run(landfall, register(landfall, "lacking", speaker(), taskRoleArn=role), network.subnet)
    (bare,) = run(landfall, register(landfall, "bare", speaker()), network.subnet)
    for arn in (mine, other, bare):
        wait(landfall, arn, "RUNNING")
    instance = landfall.ecs.list_container_instances()["containerInstanceArns"][0]
    landfall.ecs.tag_resource(resourceArn=instance, tags=[{"key": "rack", "value": "7"}])

    ask, put, metadata = asker(mine)
    status, tagged = ask(at=f"{metadata}/taskWithTags")
    assert (status, tagged["TaskTags"], tagged["ContainerInstanceTags"]) == (200, {"team": "blue"}, {"rack": "7"})
    assert "TaskTags" not in ask(at=f"{metadata}/task")[1]
    # A task that no service keeps has nothing to be protected from.
    for options in ((), put):
        status, answer = ask(*options)
        assert (status, answer["failure"]["Reason"], answer["failure"]["Arn"]) == (200, "TASK_NOT_VALID", mine)
    status, answer = ask("-X", "PUT", "-d", '{"ProtectionEnabled":true,"ExpiresInMinutes":0}')
    assert (status, answer["error"]["Code"]) == (400, "InvalidParameterException")
    assert answer["requestID"]
    # The task's role is asked, not the node.
    ask, put, _ = asker(other)
    for options in ((), put):
        status, answer = ask(*options)
        assert (status, answer["error"]["Code"], answer["error"]["Arn"]) == (400, "AccessDeniedException", other)
    ask, put, _ = asker(bare)
    assert ask(*put)[0] == 403

    def say(path):
        with urllib.request.urlopen(f"http://{landfall.introspection}{path}", timeout=5) as answer:
            return answer.read().decode()

    def tell(path):
        return json.loads(say(path))

    assert "/license" in tell("/")["AvailableCommands"] and "Apache License" in say("/license")

    assert tell("/v1/metadata")["ContainerInstanceArn"] == instance
    assert {mine, other, bare} <= {it["Arn"] for it in tell("/v1/tasks")["Tasks"]}
    container = tell(f"/v1/tasks?taskarn={mine}")["Containers"][0]
    assert tell(f"/v1/tasks?dockerid={container['DockerId']}")["Arn"] == mine
    stop(landfall, mine, other, bare)
