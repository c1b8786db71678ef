"""Packets between tasks, beside one plain veth pair and Docker's bridge.

A way is where the server is, where the client is, and the server's address; places are
files of network namespaces. Each way has a duel with the plain pair, and so does a second
plain pair: what it does not reach of the first is chance.
"""

import contextlib
import json
import os
import pathlib
import statistics
import subprocess
import sys

from . import rivals
from .measure import table

# As many as AWS lets apply to an interface; Landfall must be up with a fifth of it a group.
MOST_RULES = 1000

DUEL = pathlib.Path(__file__).with_name("duel.py")
# What is asked: bytes before an answer, and connections.
CELLS = [(8 << 20, 1), (256 << 10, 32), (32, 1), (32, 32)]
REPEATS = 5


def duel(ways, size, connections, seconds=1, port=7007):
    """The median times in which each way answers so many bytes on each connection."""
    places = [place for place, _, _ in ways]
    asks = [text for _, place, address in ways for text in (place, address)]
    program = [sys.executable, DUEL]
    server = subprocess.Popen([*program, "serve", str(size), str(port), *places], stdout=subprocess.PIPE, text=True)
    try:
        server.stdout.readline()
        ask = [*program, "ask", str(size), str(port), str(connections), str(seconds), *asks]
        return json.loads(subprocess.run(ask, stdout=subprocess.PIPE, text=True, check=True).stdout)
    finally:
        server.kill()
        server.wait()


def compare(paths, plain):
    """Shows what each path does, and its share of what the plain pair does in the same
    duel, as the median of several, and their range."""
    rows = []
    for name, way in paths:
        row = [name]
        for size, connections in CELLS:
            seen = [duel([plain, way], size, connections) for _ in range(REPEATS)]
            share = sorted(alone / ours for alone, ours in seen)
            ours = statistics.median(ours for _, ours in seen)
            shown = f"{size * connections * 8 / ours / 1e9:.1f}" if size > 1 << 10 else f"{ours * 1e6:.0f}"
            row.append(f"{shown} ({statistics.median(share):.2f}, {share[0]:.2f} to {share[-1]:.2f})")
        rows.append(row)
    table(
        f"Packets, and their share of a plain veth pair's (1.00 is as good; median and range of {REPEATS} duels)",
        ["path", "Gbit/s, 1 connection", "32 connections", "round trip µs, 1 connection", "32 connections"], rows,
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
    at = lambda place: f"/run/netns/{space(landfall, place[1])}"  # noqa: E731
    paths = [
        ("task to task, same subnet, one rule", (at(server), at(client), server[1])),
        ("task to task, another subnet, one rule", (at(beyond), at(client), beyond[1])),
        ("task to task, five groups of sixty rules", (at(guarded), at(client), guarded[1])),
        ("task to task, a thousand rules", (at(besieged), at(client), besieged[1])),
        ("machine to task, one rule", (at(server), f"/proc/{os.getpid()}/ns/net", server[1])),
    ]
    return paths, [arn for arn, _ in (client, server, beyond, guarded, besieged)]


def beside(landfall, network, definition, space):
    """All of it."""
    from conftest import stop, web_image

    paths, arns = tasks(landfall, network, definition, space)
    with contextlib.ExitStack() as stack:
        plain, again = (stack.enter_context(rivals.plain_pair(number)) for number in (0, 1))
        paths.insert(0, ("the plain pair, another one", again))
        pair = rivals.docker_pair(stack, web_image())
        if pair:
            paths.append(("container to container, Docker's bridge", pair))
        compare(paths, plain)
    stop(landfall, *arns)
