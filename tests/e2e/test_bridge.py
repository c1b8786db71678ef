"""Tasks on the machine's bridge: the mode of a definition that names none."""

import re
import socket
import subprocess

from conftest import eventually, fetch, footprint, free_port, stop, wait, web

# Says back what it hears at port 53.
ECHO = """
import socket
port = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
port.bind(("0.0.0.0", 53))
while True:
    port.sendto(*port.recvfrom(2048))
"""


def define(landfall, family, *containers, **more):
    made = landfall.ecs.register_task_definition(family=family, containerDefinitions=list(containers), **more)
    return made["taskDefinition"]["taskDefinitionArn"]


def run(landfall, definition):
    answer = landfall.ecs.run_task(taskDefinition=definition)
    assert answer["failures"] == [], answer
    return answer["tasks"][0]["taskArn"]


def bindings(task, name):
    return next(c["networkBindings"] for c in task["containers"] if c["name"] == name)


def test_ports_of_the_machine_lead_to_a_container(landfall):
    fixed = free_port()
    mappings = [
        {"containerPort": 80, "hostPort": fixed},
        {"containerPort": 80, "protocol": "tcp"},
        {"containerPortRange": "80-81"},
    ]
    arn = run(landfall, define(landfall, "bridged", web(portMappings=mappings)))
    all_shown = bindings(wait(landfall, arn, "RUNNING"), "web")
    shown, by_ipv6 = all_shown[::2], all_shown[1::2]
    assert shown[0] == {"bindIP": "0.0.0.0", "containerPort": 80, "hostPort": fixed, "protocol": "tcp"}
    assert by_ipv6 == [binding | {"bindIP": "::"} for binding in shown]
    dynamic = shown[1]["hostPort"]
    assert shown[2]["containerPortRange"] == "80-81"
    first, last = map(int, re.fullmatch(r"(\d+)-(\d+)", shown[2]["hostPortRange"]).groups())
    assert last == first + 1
    for port in (fixed, dynamic, first):
        page = eventually(f"an answer at {port}", lambda port=port: fetch("127.0.0.1", port))
        assert page and fetch("::1", port) == page
    # A second one does not fit beside it.
    again = landfall.ecs.run_task(taskDefinition="bridged")
    assert again["tasks"] == [] and again["failures"][0]["reason"] == "RESOURCE:PORTS"
    stop(landfall, arn)
    for port in (fixed, dynamic, first):
        assert fetch("127.0.0.1", port) is None
        eventually("nobody at the port by IPv6", lambda port=port: fetch("::1", port) is None)


def exchange(host, port, word):
    """What comes back of a datagram; `None` if nothing does."""
    with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.settimeout(0.5)
        try:
            sock.connect((host, port))
            sock.send(word)
            return sock.recv(2048)
        except OSError:
            return None


def test_ports_for_datagrams_lead_to_a_container_too(landfall):
    before = footprint(landfall)["namespaces"]
    mappings = [{"containerPort": 53, "protocol": "udp"}, {"containerPort": 53, "protocol": "tcp"}]
    arn = run(landfall, define(landfall, "datagrams", web(portMappings=mappings)))
    shown = bindings(wait(landfall, arn, "RUNNING"), "web")
    assert [(binding["bindIP"], binding["protocol"]) for binding in shown[:2]] == [("0.0.0.0", "udp"), ("::", "udp")]
    port = shown[0]["hostPort"]
    (namespace,) = footprint(landfall)["namespaces"] - before
    with subprocess.Popen(["ip", "netns", "exec", namespace, "python3", "-c", ECHO]) as echo:
        try:
            for host in ("127.0.0.1", "::1"):
                eventually(f"an answer at {host}", lambda host=host: exchange(host, port, b"hello") == b"hello")
        finally:
            echo.kill()
    stop(landfall, arn)
    assert exchange("127.0.0.1", port, b"hello") is None


def test_containers_know_those_they_are_linked_to(landfall):
    db = web("db", portMappings=[{"containerPort": 5432}])
    ask = web("ask", links=["db:store"], command=["sh", "-c", "cat /etc/hosts; env; sleep 1000"], memory=32)
    arn = run(landfall, define(landfall, "linked", db, ask))
    wait(landfall, arn, "RUNNING")
    said = lambda: landfall.run("logs", arn).stdout
    text = eventually("its words", lambda: said() if "STORE_PORT=" in said() else None)
    address = re.search(r"STORE_PORT_5432_TCP_ADDR=(\S+)", text).group(1)
    assert re.search(rf"{re.escape(address)}\s+store db", text)
    stop(landfall, arn)


def test_a_container_may_do_without(landfall):
    off = web("off", disableNetworking=True, command=["sh", "-c", "ip -4 address; echo done; sleep 1000"])
    arn = run(landfall, define(landfall, "offline", off))
    task = wait(landfall, arn, "RUNNING")
    assert bindings(task, "off") == []
    text = eventually("its words", lambda: landfall.run("logs", arn).stdout)
    assert "eth0" not in text
    stop(landfall, arn)
