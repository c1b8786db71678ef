"""Two ways of packets against each other, in one pair of processes.

usage: duel.py serve SIZE PORT PLACE...
       duel.py ask SIZE PORT CONNECTIONS SECONDS (PLACE ADDRESS)...

A machine is not equally fast at all times, and two processes are never equally lucky
with where their memory lies. So one process has the servers of all ways, and one the
clients: a socket stays in the network namespace in which it was opened. The ways take
turns every few milliseconds; each server answers one byte for every SIZE bytes.

A place is the file of a network namespace. Prints the median times, in seconds, in which
each way answers SIZE bytes on every connection.
"""

import ctypes
import json
import os
import selectors
import socket
import statistics
import sys
import time

CLONE_NEWNET = 0x4000_0000
LIBC = ctypes.CDLL(None, use_errno=True)
# How long one way has its turn, in seconds.
TURN = 0.005


def enter(place):
    """What this thread opens from now on is there."""
    with open(place) as namespace:
        if LIBC.setns(namespace.fileno(), CLONE_NEWNET):
            raise OSError(ctypes.get_errno(), f"cannot enter {place}")


def stay_on(end):
    """This process on a processor of its own, if there are several: the first or the
    second, since where the scheduler puts it changes more than what is measured."""
    available = sorted(os.sched_getaffinity(0))
    if len(available) > 1:
        os.sched_setaffinity(0, {available[end]})


def serve(size, port, *places):
    """Answers for every `size` bytes, until it is killed."""
    size, waiting, buffer = int(size), selectors.DefaultSelector(), bytearray(1 << 20)
    for place in dict.fromkeys(places):
        enter(place)
        listener = socket.create_server(("0.0.0.0", int(port)), backlog=64)
        waiting.register(listener, selectors.EVENT_READ, None)
    print("ready", flush=True)
    while True:
        for key, _ in waiting.select():
            if key.data is None:
                peer, _ = key.fileobj.accept()
                peer.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                waiting.register(peer, selectors.EVENT_READ, [size])
            elif came := key.fileobj.recv_into(buffer):
                key.data[0] -= came
                if key.data[0] == 0:
                    key.data[0] = size
                    key.fileobj.send(b".")
            else:
                waiting.unregister(key.fileobj)
                key.fileobj.close()


def ask(size, port, connections, seconds, *ways):
    """The median time of a round on each way."""
    said, peers = bytes(int(size)), []
    for place, address in zip(ways[::2], ways[1::2]):
        enter(place)
        peers.append([socket.create_connection((address, int(port)), timeout=10) for _ in range(int(connections))])
        for peer in peers[-1]:
            peer.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def turn(way, rounds):
        began = time.perf_counter()
        for _ in range(rounds):
            for peer in peers[way]:
                peer.sendall(said)
            for peer in peers[way]:
                peer.recv(1)
        return (time.perf_counter() - began) / rounds

    order = list(range(len(peers)))
    warm = [turn(way, 20) for way in order]
    rounds, times = max(1, int(TURN / max(warm))), [[] for _ in peers]
    until = time.perf_counter() + float(seconds)
    while time.perf_counter() < until:
        for way in order:
            times[way].append(turn(way, rounds))
        # Who comes after whom must not matter.
        order.reverse()
    print(json.dumps([statistics.median(one) for one in times]))


if __name__ == "__main__":
    job, *arguments = sys.argv[1:]
    stay_on(0 if job == "serve" else 1)
    {"serve": serve, "ask": ask}[job](*arguments)
