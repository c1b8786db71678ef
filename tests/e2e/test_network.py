"""Packets between real tasks."""

from conftest import address, eventually, fetch, register, run, stop, task, tcp, wait, web


def shell(name, script, **more):
    return web(name, command=["sh", "-c", script], **more)


def test_many_tasks_share_a_port_on_one_machine(landfall, network):
    group = network.group("port-80", tcp(80))
    definition = register(landfall, "many", web())
    arns = run(landfall, definition, network.subnet, group, count=3)
    tasks = [wait(landfall, arn, "RUNNING") for arn in arns]
    addresses = {address(t) for t in tasks}
    assert len(addresses) == 3
    for host in addresses:
        assert "It works" in eventually(f"{host} serving", lambda host=host: fetch(host))
    stop(landfall, *arns)


def test_containers_of_a_task_talk_over_localhost(landfall, network):
    probe = "until wget -q -O - http://127.0.0.1:80/; do sleep 0.1; done"
    definition = register(landfall, "pair", web(essential=False), shell("client", probe))
    (arn,) = run(landfall, definition, network.subnet)
    stopped = wait(landfall, arn, "STOPPED", 60)
    client = next(c for c in stopped["containers"] if c["name"] == "client")
    assert client["exitCode"] == 0, stopped
    assert "It works" in landfall.run("logs", arn, "--container", "client").stdout


def test_a_task_reaches_another_only_through_both_gates(landfall, network):
    clients = network.group("clients")
    servers = network.group(
        "servers", {"IpProtocol": "tcp", "FromPort": 80, "ToPort": 80, "UserIdGroupPairs": [{"GroupId": clients}]}
    )
    (server,) = run(landfall, register(landfall, "server", web()), network.subnet, servers)
    host = address(wait(landfall, server, "RUNNING"))
    ask = register(landfall, "ask", shell("ask", f"echo | nc -w 2 {host} 80"))

    def exit_code(subnet, *groups):
        (arn,) = run(landfall, ask, subnet, *groups)
        return wait(landfall, arn, "STOPPED", 60)["containers"][0]["exitCode"]

    elsewhere = network.subnets[1][1]
    assert exit_code(network.subnet, clients) == 0, "the group may come in"
    assert exit_code(elsewhere, clients) == 0, "from any subnet of the VPC"
    assert exit_code(network.subnet) != 0, "the default group may not"
    assert fetch(host, timeout=0.5) is None, "nor may the machine itself"
    stop(landfall, server)


def test_the_interface_is_the_tasks_own(landfall, network):
    definition = register(landfall, "look", shell("look", "ip -o addr; ip route; cat /etc/resolv.conf; hostname; exec sleep 60"))
    (arn,) = run(landfall, definition, network.subnet)
    shown = wait(landfall, arn, "RUNNING")
    details = {d["name"]: d["value"] for d in shown["attachments"][0]["details"]}
    seen = eventually("the output", lambda: landfall.run("logs", arn).stdout)
    assert details["privateIPv4Address"] in seen
    assert "default via 172.31.0.1" in seen
    eni = landfall.ec2.describe_network_interfaces(NetworkInterfaceIds=[details["networkInterfaceId"]])
    assert eni["NetworkInterfaces"][0]["Attachment"]["Status"] == "attached"
    stop(landfall, arn)
    assert task(landfall, arn)["attachments"][0]["status"] == "DELETED"


def test_a_task_in_host_mode_has_the_machines_own_network(landfall):
    definition = landfall.ecs.register_task_definition(
        family="hosted", networkMode="host", containerDefinitions=[shell("look", "ip -o -4 addr; exec sleep 60")]
    )["taskDefinition"]
    answer = landfall.ecs.run_task(taskDefinition=definition["taskDefinitionArn"])
    assert answer["failures"] == [], answer
    arn = answer["tasks"][0]["taskArn"]
    assert wait(landfall, arn, "RUNNING")["attachments"] == []
    seen = eventually("the output", lambda: landfall.run("logs", arn).stdout)
    assert "127.0.0.1/8" in seen and " 172.31." in seen, "the machine's own interface among others"
    stop(landfall, arn)
