"""The tour of the README, as a user types it."""

from conftest import ROOT, Network, address, eventually, fetch, footprint, tcp


def test_a_task_from_registration_to_nothing_left(own_landfall):
    landfall = own_landfall
    before = footprint(landfall)
    network = Network(landfall)
    group = network.group("web", tcp(80))

    registered = landfall.aws(
        "ecs", "register-task-definition", "--cli-input-json", f"file://{ROOT}/samples/simple-web/task-definition.json"
    )["taskDefinition"]
    assert (registered["family"], registered["revision"], registered["status"]) == ("simple-web", 1, "ACTIVE")

    started = landfall.aws(
        "ecs", "run-task", "--cluster", "default", "--task-definition", "simple-web:1", "--count", "1",
        "--network-configuration", f"awsvpcConfiguration={{subnets=[{network.subnet}],securityGroups=[{group}]}}",
    )
    assert started["failures"] == []
    arn = started["tasks"][0]["taskArn"]
    landfall.aws("ecs", "wait", "tasks-running", "--tasks", arn)

    shown = landfall.aws("ecs", "describe-tasks", "--cluster", "default", "--tasks", arn)["tasks"][0]
    attachment = shown["attachments"][0]
    assert (attachment["type"], attachment["status"]) == ("ElasticNetworkInterface", "ATTACHED")
    details = {d["name"]: d["value"] for d in attachment["details"]}
    assert set(details) >= {"subnetId", "networkInterfaceId", "macAddress", "privateDnsName", "privateIPv4Address"}
    assert details["subnetId"] == network.subnet

    eni = landfall.aws("ec2", "describe-network-interfaces", "--network-interface-ids", details["networkInterfaceId"])
    eni = eni["NetworkInterfaces"][0]
    assert eni["RequesterManaged"] is True
    assert eni["PrivateIpAddress"] == details["privateIPv4Address"]
    assert attachment["id"] in eni["Description"]
    assert [g["GroupId"] for g in eni["Groups"]] == [group]
    assert shown["containers"][0]["networkInterfaces"][0]["privateIpv4Address"] == details["privateIPv4Address"]

    page = eventually("the page being served", lambda: fetch(address(shown)))
    assert "It works" in page

    landfall.aws(
        "ec2", "revoke-security-group-ingress", "--group-id", group, "--protocol", "tcp", "--port", "80", "--cidr", "0.0.0.0/0"
    )
    eventually("the door being shut", lambda: fetch(address(shown), timeout=0.5) is None)

    landfall.aws("ecs", "stop-task", "--task", arn, "--reason", "seen enough")
    landfall.aws("ecs", "wait", "tasks-stopped", "--tasks", arn)
    stopped = landfall.aws("ecs", "describe-tasks", "--tasks", arn)["tasks"][0]
    assert (stopped["stopCode"], stopped["stoppedReason"]) == ("UserInitiated", "seen enough")
    gone = landfall.aws(
        "ec2", "describe-network-interfaces", "--network-interface-ids", details["networkInterfaceId"], check=False
    )
    assert gone.returncode != 0 and "InvalidNetworkInterfaceID.NotFound" in gone.stderr

    here = footprint(landfall)
    assert here["links"] == before["links"], "only the machine's own interface is left"
    assert here["namespaces"] == before["namespaces"]
    assert here["mounts"] == before["mounts"]
    assert not [command for command in here["processes"] if "shim" in command]
