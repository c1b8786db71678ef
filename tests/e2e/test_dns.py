"""Names in a VPC, as tasks ask for them."""

import contextlib
import socket
import struct
import threading

import pytest
from conftest import address, eventually, installed, inside, register, run, stop, wait, web


class Upstream:
    """The machine's own resolver: it knows one name, and what it was asked for."""

    KNOWN = "web.example"

    def __init__(self):
        self.asked = []
        self.socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.socket.bind(("127.0.0.1", 0))
        self.at = "127.0.0.1:%d" % self.socket.getsockname()[1]
        self.thread = threading.Thread(target=self.serve, daemon=True)
        self.thread.start()

    def serve(self):
        while True:
            question, client = self.socket.recvfrom(4096)
            if not question:
                return
            labels, at = [], 12
            while question[at]:
                labels.append(question[at + 1 : at + 1 + question[at]].decode().lower())
                at += 1 + question[at]
            name, kind = ".".join(labels), struct.unpack(">H", question[at + 1 : at + 3])[0]
            self.asked.append(name)
            found = (name, kind) == (self.KNOWN, 1)
            flags = 0x8180 if name == self.KNOWN else 0x8183
            answer = b"\xc0\x0c" + struct.pack(">HHIH", 1, 1, 300, 4) + bytes([192, 0, 2, 7]) if found else b""
            head = question[:2] + struct.pack(">HHHHH", flags, 1, int(found), 0, 0)
            self.socket.sendto(head + question[12 : at + 5] + answer, client)

    def close(self):
        self.socket.sendto(b"", self.socket.getsockname())
        self.thread.join()
        self.socket.close()


@pytest.fixture(scope="module")
def upstream():
    upstream = Upstream()
    with contextlib.closing(upstream):
        yield upstream


@pytest.fixture(scope="module")
def landfall(upstream):
    with installed("--resolver", upstream.at) as installation:
        yield installation


def lookup(name, *server):
    return web("lookup", command=["sh", "-c", f"nslookup {' '.join([name, *server])}"])


def output(landfall, subnet, container):
    """What a container printed until it ended, and how it ended."""
    (arn,) = run(landfall, register(landfall, "lookup", container), subnet)
    stopped = wait(landfall, arn, "STOPPED", 60)
    return landfall.run("logs", arn).stdout, stopped["containers"][0]["exitCode"]


def details(task_):
    return {d["name"]: d["value"] for d in task_["attachments"][0]["details"]}


def test_a_container_finds_itself_and_another_task_by_name(landfall, network, upstream):
    (other,) = run(landfall, register(landfall, "other", web()), network.subnet)
    other_task = wait(landfall, other, "RUNNING")
    name, own = details(other_task)["privateDnsName"], address(other_task)
    look = "cat /etc/resolv.conf; hostname; nslookup $(hostname); exec sleep 60"
    (arn,) = run(landfall, register(landfall, "self", web(command=["sh", "-c", look])), network.subnet)
    shown = details(wait(landfall, arn, "RUNNING"))
    seen = eventually("the answer", lambda: (text := landfall.run("logs", arn).stdout).count("Address") > 1 and text)
    assert "nameserver 172.31.0.2" in seen and "search ec2.internal" in seen
    assert shown["privateDnsName"] in seen.splitlines()
    assert f"Address: {shown['privateIPv4Address']}" in seen

    seen, code = output(landfall, network.subnet, lookup(name))
    assert (code, f"Address: {own}" in seen) == (0, True), seen
    for server in ("172.31.0.2", "169.254.169.253"):
        seen, code = output(landfall, network.subnet, lookup(name, server))
        assert (code, f"Address: {own}" in seen) == (0, True), seen
    reverse = ".".join(reversed(own.split("."))) + ".in-addr.arpa"
    seen, code = output(landfall, network.subnet, lookup(own))
    assert code == 0 and f"{reverse}\tname = {name}" in seen, seen
    stop(landfall, arn, other)

    # Gone with its task.
    seen, code = output(landfall, network.subnet, lookup(name))
    assert code != 0 and "NXDOMAIN" in seen, seen
    assert not any("internal" in asked for asked in upstream.asked), "nobody else was asked"


def test_a_program_of_the_c_library_finds_short_names(landfall, network):
    """As getaddrinfo does it, with the task's own resolv.conf."""
    (arn,) = run(landfall, register(landfall, "short", web()), network.subnet)
    shown = details(wait(landfall, arn, "RUNNING"))
    # The image's busybox is static: an unshared mount puts the file where glibc looks.
    script = (
        "mount --bind \"$1\" /etc/resolv.conf && "
        "exec python3 -c 'import socket, sys; print(*{i[4][0] for i in socket.getaddrinfo(sys.argv[1], 80)})' \"$2\""
    )
    file = landfall.data / "e2e-resolv.conf"
    file.write_text("search ec2.internal\nnameserver 172.31.0.2\n")
    short = shown["privateDnsName"].removesuffix(".ec2.internal")
    for name in (short, shown["privateDnsName"]):
        found = inside(landfall, arn, "unshare", "-m", "sh", "-c", script, "sh", str(file), name)
        assert found.split() == [shown["privateIPv4Address"]]
    stop(landfall, arn)


def test_other_names_are_asked_for_at_the_machines_resolvers(landfall, network, upstream):
    seen, code = output(landfall, network.subnet, lookup(Upstream.KNOWN))
    assert code == 0 and "Address: 192.0.2.7" in seen, seen
    seen, code = output(landfall, network.subnet, lookup("missing.example"))
    assert code != 0 and "NXDOMAIN" in seen, seen
    assert {"web.example", "missing.example"} <= set(upstream.asked)


def test_a_vpc_without_host_names_or_resolver_gives_none(landfall, network):
    (arn,) = run(landfall, register(landfall, "named", web()), network.subnet)
    name = details(wait(landfall, arn, "RUNNING"))["privateDnsName"]

    def modify(**attribute):
        landfall.ec2.modify_vpc_attribute(VpcId=network.vpc, **attribute)

    modify(EnableDnsHostnames={"Value": False})
    try:
        eventually("no names", lambda: "NXDOMAIN" in output(landfall, network.subnet, lookup(name, "172.31.0.2"))[0])
        modify(EnableDnsSupport={"Value": False})
        seen, code = output(landfall, network.subnet, lookup(name, "172.31.0.2"))
        assert code != 0 and "timed out" in seen, seen
    finally:
        modify(EnableDnsSupport={"Value": True})
        modify(EnableDnsHostnames={"Value": True})
    eventually("names", lambda: output(landfall, network.subnet, lookup(name))[1] == 0)
    stop(landfall, arn)
