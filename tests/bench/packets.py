"""Packets between tasks, beside one plain veth pair and Docker's bridge.

A place is a command before which another runs there: `ip netns exec NAME`. Each row is
measured right after the plain pair, since a machine is not equally fast at all times, and
with each end on a processor of its own, since where the scheduler puts them changes more
than what is measured.
"""

import contextlib
import json
import os
import statistics
import subprocess
import sys

from . import rivals
from .measure import table, until

# As many as AWS lets apply to an interface; Landfall must be up with a fifth of it a group.
MOST_RULES = 1000

ECHO = """
import selectors, socket
listener = socket.create_server(("0.0.0.0", 7007), backlog=64)
waiting = selectors.DefaultSelector()
waiting.register(listener, selectors.EVENT_READ)
while True:
    for key, _ in waiting.select():
        if key.fileobj is listener:
            peer, _ = listener.accept()
            peer.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            waiting.register(peer, selectors.EVENT_READ)
        elif said := key.fileobj.recv(64):
            key.fileobj.send(said)
        else:
            waiting.unregister(key.fileobj)
            key.fileobj.close()
"""

ASK = """
import socket, sys, time
address, connections, rounds = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
peers = [socket.create_connection((address, 7007), timeout=5) for _ in range(connections)]
for peer in peers:
    peer.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
times = []
for _ in range(rounds):
    began = time.perf_counter()
    for peer in peers:
        peer.send(b"x" * 32)
    for peer in peers:
        peer.recv(64)
    times.append(time.perf_counter() - began)
print(sorted(times)[len(times) // 2] * 1e6)
"""


@contextlib.contextmanager
def running(place, *command):
    """A server in a place, as long as it is needed."""
    server = subprocess.Popen([*place, *command], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        yield
    finally:
        server.kill()
        server.wait()


def throughput(server, client, address, streams, seconds=1):
    """What TCP carries between two places, in Gbit/s."""
    ask = [*client, "iperf3", "-J", "-t", str(seconds), "-P", str(streams), "-c", address]

    def received():
        """What arrived; nothing while the server is not listening yet."""
        answer = json.loads(subprocess.run(ask, capture_output=True, text=True).stdout or "{}")
        return answer.get("end", {}).get("sum_received", {}).get("bits_per_second")

    with running(server, "iperf3", "-s", "-1"):
        return until(received, every=0.1) / 1e9


def round_trip(server, client, address, connections):
    """The median time in which a request on each connection is answered, in µs."""
    ask = [*client, sys.executable, "-c", ASK, address, str(connections), str(8000 // connections)]

    def answered():
        return subprocess.run(ask, capture_output=True, text=True).stdout

    with running(server, sys.executable, "-c", ECHO):
        return float(until(answered, every=0.1))


def on(processor, place):
    """The same place, on that processor alone if there are several."""
    available = sorted(os.sched_getaffinity(0))
    return ("taskset", "--cpu-list", str(available[processor]), *place) if len(available) > 1 else place


def both(path):
    """Throughput and round trips of one path, with 1 and 32 connections."""
    server, client, address = path
    server, client = on(0, server), on(1, client)
    return [throughput(server, client, address, 1), throughput(server, client, address, 32),
            round_trip(server, client, address, 1), round_trip(server, client, address, 32)]


def shares(alone, ours):
    """What one path reaches of another: more is better, but of times."""
    return [ours[0] / alone[0], ours[1] / alone[1], alone[2] / ours[2], alone[3] / ours[3]]


def compare(paths, plain, rounds=7):
    """Shows each path and its share of what the plain pair does right before: medians of
    rounds. The plain pair's own share says how much of that is chance."""
    rows = []
    for name, path in [("the plain pair again", plain), *paths]:
        seen = [(both(plain), both(path)) for _ in range(rounds)]
        ours = [statistics.median(one) for one in zip(*(path for _, path in seen))]
        share = [statistics.median(one) for one in zip(*(shares(*pair) for pair in seen))]
        shown = [f"{ours[0]:.1f}", f"{ours[1]:.1f}", f"{ours[2]:.0f}", f"{ours[3]:.0f}"]
        rows.append([name, *(f"{value} ({one:.2f})" for value, one in zip(shown, share))])
    table(
        f"Packets, and their share of a plain veth pair's (1.00 is as good; medians of {rounds}, alternating)",
        ["path", "Gbit/s, 1 stream", "32 streams", "round trip µs, 1 connection", "32 connections"], rows,
    )


def fillers(count, start):
    """Ingress permissions that let nothing through of what is measured."""
    return [
        {"IpProtocol": "tcp", "FromPort": 20000 + n, "ToPort": 20000 + n, "IpRanges": [{"CidrIp": f"10.{n // 250}.{n % 250}.0/24"}]}
        for n in range(start, start + count)
    ]


def tasks(landfall, network, definition, space):
    """Paths between tasks, to be measured: `space` names the namespace of an address."""
    from conftest import address, run, wait

    everything = {"IpProtocol": "-1", "IpRanges": [{"CidrIp": "0.0.0.0/0"}]}
    def guards(name, each):
        """Five groups of so many rules: the last of these is the one that matters."""
        full = [network.group(f"{name}-{n}", *fillers(each, each * n)) for n in range(4)]
        return [*full, network.group(f"{name}-4", *fillers(each - 1, each * 4), everything)]

    full, fullest = guards("full", 60), guards("fullest", MOST_RULES // 5)
    few = network.group("few", everything)

    def begin(subnet, *groups):
        (arn,) = run(landfall, definition, subnet, *groups)
        return arn, address(wait(landfall, arn, "RUNNING"))

    near, far = network.subnets[0][1], network.subnets[1][1]
    client, server, beyond = begin(near, few), begin(near, few), begin(far, few)
    guarded, besieged = begin(near, *full), begin(near, *fullest)
    at = lambda place: ("ip", "netns", "exec", space(landfall, place[1]))  # noqa: E731
    paths = [
        ("task to task, same subnet, one rule", (at(server), at(client), server[1])),
        ("task to task, another subnet, one rule", (at(beyond), at(client), beyond[1])),
        ("task to task, five groups of sixty rules", (at(guarded), at(client), guarded[1])),
        ("task to task, a thousand rules", (at(besieged), at(client), besieged[1])),
        ("machine to task, one rule", (at(server), (), server[1])),
    ]
    return paths, [arn for arn, _ in (client, server, beyond, guarded, besieged)]


def beside(landfall, network, definition, space):
    """All of it."""
    from conftest import stop, web_image

    paths, arns = tasks(landfall, network, definition, space)
    with rivals.plain_pair() as (near, far, far_address), contextlib.ExitStack() as stack:
        pair = rivals.docker_pair(stack, web_image())
        if pair:
            paths.append(("container to container, Docker's bridge", pair))
        plain = (("ip", "netns", "exec", far), ("ip", "netns", "exec", near), far_address)
        compare(paths, plain)
    stop(landfall, *arns)
