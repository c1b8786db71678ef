"""Network interfaces that users make, and real links that come and go with them."""

import contextlib
import json
import subprocess

import pytest

from conftest import address, eventually, fetch, register, run, stop, tcp, wait, web
from test_errors import refused


def ip(*arguments, check=True):
    return subprocess.run(["ip", *arguments], capture_output=True, text=True, check=check).stdout


def link(mac):
    """The name of the machine's link with this hardware address."""
    found = [entry["ifname"] for entry in json.loads(ip("-j", "link")) if entry.get("address") == mac]
    return found[0] if found else None


def shown(landfall, eni):
    return landfall.ec2.describe_network_interfaces(NetworkInterfaceIds=[eni])["NetworkInterfaces"][0]


@pytest.fixture
def instance(landfall):
    return landfall.ec2.describe_instances()["Reservations"][0]["Instances"][0]["InstanceId"]


@contextlib.contextmanager
def guest(landfall, name, eni, gateway="172.31.0.1"):
    """A namespace that has the interface, as a machine of its own would."""
    space = f"{landfall.prefix}guest-{name}"
    ip("netns", "add", space)
    try:
        device = eventually("the link", lambda: link(eni["MacAddress"]))
        ip("link", "set", device, "netns", space)
        inside = ["-n", space]
        ip(*inside, "link", "set", "lo", "up")
        ip(*inside, "link", "set", device, "up")
        ip(*inside, "addr", "add", f"{eni['PrivateIpAddress']}/20", "dev", device)
        ip(*inside, "route", "add", "default", "via", gateway)
        yield space
    finally:
        ip("netns", "del", space)


ECHO = """
import random, socket, struct, sys
s = socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_ICMP)
s.settimeout(1)
# An id of its own makes it a new flow; rules do not end those that there are.
id = random.randrange(0xf000)
s.sendto(struct.pack("!4H", 0x800, 0xffff - 0x801 - id, id, 1), (sys.argv[1], 0))
# Behind 20 bytes of IP, type 0 is the reply.
while s.recv(64)[20] != 0: pass
"""


def ping(space, host):
    """Whether an ICMP echo is answered within a second."""
    return subprocess.run(["ip", "netns", "exec", space, "python3", "-c", ECHO, host], capture_output=True).returncode == 0


def test_interfaces_that_users_attach_carry_packets(landfall, network, instance):
    ec2 = landfall.ec2
    group = network.group("by-hand", {"IpProtocol": "icmp", "FromPort": -1, "ToPort": -1, "IpRanges": [{"CidrIp": "172.31.0.0/16"}]})
    enis = [ec2.create_network_interface(SubnetId=network.subnet, Groups=[group])["NetworkInterface"] for _ in range(2)]
    assert all(eni["Status"] == "available" and link(eni["MacAddress"]) is None for eni in enis)
    ids = [eni["NetworkInterfaceId"] for eni in enis]
    attachments = [
        ec2.attach_network_interface(NetworkInterfaceId=eni, InstanceId=instance, DeviceIndex=index)["AttachmentId"]
        for index, eni in enumerate(ids, 10)
    ]
    for eni in ids:
        eventually("attached", lambda eni=eni: shown(landfall, eni)["Status"] == "in-use")
    assert all(link(eni["MacAddress"]) for eni in enis), "the card has made them"

    (server,) = run(landfall, register(landfall, "by-hand", web()), network.subnet, network.group("by-hand-web", tcp(80)))
    host = address(wait(landfall, server, "RUNNING"))
    with guest(landfall, "a", enis[0]) as a, guest(landfall, "b", enis[1]) as b:
        assert ping(a, enis[1]["PrivateIpAddress"]) and ping(b, enis[0]["PrivateIpAddress"])
        assert not ping(a, host), "the task's group lets port 80 in, and nothing else"
        ask = ["ip", "netns", "exec", a, "python3", "-c", f"import socket; socket.create_connection(('{host}', 80), 2)"]
        assert subprocess.run(ask, capture_output=True).returncode == 0

        ec2.modify_network_interface_attribute(NetworkInterfaceId=ids[1], Groups=[network.group("by-hand-closed")])
        eventually("the new group", lambda: not ping(a, enis[1]["PrivateIpAddress"]))

        for attachment in attachments:
            ec2.detach_network_interface(AttachmentId=attachment)
        for eni in ids:
            eventually("detached", lambda eni=eni: shown(landfall, eni)["Status"] == "available")
        for space in (a, b):
            links = [entry["ifname"] for entry in json.loads(ip("-n", space, "-j", "link"))]
            assert links == ["lo"], "wherever it was taken, it is gone"

    # Where it was before, and what it was called.
    again = ec2.attach_network_interface(NetworkInterfaceId=ids[0], InstanceId=instance, DeviceIndex=10)["AttachmentId"]
    eventually("attached again", lambda: shown(landfall, ids[0])["Status"] == "in-use")
    assert link(enis[0]["MacAddress"])
    assert refused(ec2.delete_network_interface, NetworkInterfaceId=ids[0])[1:] == (
        "InvalidParameterValue", f"Network interface '{ids[0]}' is currently in use.")
    ec2.detach_network_interface(AttachmentId=again, Force=True)
    for eni in ids:
        ec2.delete_network_interface(NetworkInterfaceId=eni)
    eventually("no link", lambda: link(enis[0]["MacAddress"]) is None)
    assert fetch(host) is not None
    stop(landfall, server)


def test_a_tasks_interface_is_not_its_users(landfall, network):
    (arn,) = run(landfall, register(landfall, "managed", web()), network.subnet)
    details = {d["name"]: d["value"] for d in wait(landfall, arn, "RUNNING")["attachments"][0]["details"]}
    eni = shown(landfall, details["networkInterfaceId"])
    assert eni["RequesterManaged"]
    no = ("AuthFailure", "You do not have permission to access the specified resource.")
    ec2, one = landfall.ec2, {"NetworkInterfaceId": eni["NetworkInterfaceId"]}
    assert refused(ec2.detach_network_interface, AttachmentId=eni["Attachment"]["AttachmentId"], Force=True)[1:] == no
    assert refused(ec2.delete_network_interface, **one)[1:] == no
    assert refused(ec2.modify_network_interface_attribute, **one, SourceDestCheck={"Value": False})[1:] == no
    assert shown(landfall, eni["NetworkInterfaceId"]) == eni
    stop(landfall, arn)


def test_the_machines_own_interface_stays(landfall, instance):
    (eni,) = landfall.ec2.describe_network_interfaces(
        Filters=[{"Name": "attachment.instance-id", "Values": [instance]}, {"Name": "attachment.device-index", "Values": ["0"]}]
    )["NetworkInterfaces"]
    answer = refused(landfall.ec2.detach_network_interface, AttachmentId=eni["Attachment"]["AttachmentId"])
    assert answer[1:] == ("OperationNotPermitted", "The network interface at device index 0 and networkCard index 0 cannot be detached.")
    assert refused(landfall.ec2.delete_network_interface, NetworkInterfaceId=eni["NetworkInterfaceId"])[1] == "InvalidParameterValue"


def test_a_token_makes_one_interface(landfall, network):
    ec2 = landfall.ec2
    made = [ec2.create_network_interface(SubnetId=network.subnet, ClientToken="once")["NetworkInterface"] for _ in range(2)]
    assert made[0] == made[1]
    assert refused(ec2.create_network_interface, SubnetId=network.subnets[1][1], ClientToken="once")[1] == "IdempotentParameterMismatch"
    ec2.delete_network_interface(NetworkInterfaceId=made[0]["NetworkInterfaceId"])


def addresses(landfall, eni):
    """Those of the interface, the primary one first."""
    listed = shown(landfall, eni)["PrivateIpAddresses"]
    assert [one["Primary"] for one in listed] == [True] + [False] * (len(listed) - 1)
    return [one["PrivateIpAddress"] for one in listed]


def test_secondary_addresses_are_assigned_moved_and_given_back(landfall, network):
    ec2 = landfall.ec2

    def free():
        return ec2.describe_subnets(SubnetIds=[network.subnet])["Subnets"][0]["AvailableIpAddressCount"]

    before = free()
    listed = [{"PrivateIpAddress": "172.31.9.1", "Primary": True}, {"PrivateIpAddress": "172.31.9.2", "Primary": False}]
    one = ec2.create_network_interface(SubnetId=network.subnet, PrivateIpAddresses=listed)["NetworkInterface"]["NetworkInterfaceId"]
    two = ec2.create_network_interface(SubnetId=network.subnet, SecondaryPrivateIpAddressCount=3)["NetworkInterface"]["NetworkInterfaceId"]
    assert addresses(landfall, one) == ["172.31.9.1", "172.31.9.2"] and len(set(addresses(landfall, two))) == 4
    assert free() == before - 6
    for name in ("addresses.private-ip-address", "private-ip-address"):
        (found,) = ec2.describe_network_interfaces(Filters=[{"Name": name, "Values": ["172.31.9.2"]}])["NetworkInterfaces"]
        assert found["NetworkInterfaceId"] == one

    given = ec2.assign_private_ip_addresses(NetworkInterfaceId=one, SecondaryPrivateIpAddressCount=2)
    assert given["NetworkInterfaceId"] == one
    assert addresses(landfall, one)[2:] == [got["PrivateIpAddress"] for got in given["AssignedPrivateIpAddresses"]]
    move = {"NetworkInterfaceId": two, "PrivateIpAddresses": ["172.31.9.2"]}
    assert refused(ec2.assign_private_ip_addresses, **move)[1:] == (
        "InvalidParameterValue", "[172.31.9.2] assigned, but move is not allowed.")
    ec2.assign_private_ip_addresses(**move, AllowReassignment=True)
    assert "172.31.9.2" not in addresses(landfall, one) and addresses(landfall, two)[-1] == "172.31.9.2"
    assert refused(ec2.create_network_interface, SubnetId=network.subnet, PrivateIpAddress="172.31.9.2")[1] == "InvalidIPAddress.InUse"

    ec2.unassign_private_ip_addresses(**move)
    assert refused(ec2.unassign_private_ip_addresses, **move)[1:] == (
        "InvalidParameterValue", f"Some of the specified addresses are not assigned to interface {two}")
    assert refused(ec2.unassign_private_ip_addresses, NetworkInterfaceId=one, PrivateIpAddresses=["172.31.9.1"])[1] == "OperationNotPermitted"
    for eni in (one, two):
        ec2.delete_network_interface(NetworkInterfaceId=eni)
    assert free() == before
