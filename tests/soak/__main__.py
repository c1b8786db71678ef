"""usage: python -m tests.soak [--tasks N] [--minutes M]

Many tasks, started at once, asked at their addresses, stopped at once, again and
again. After each round nothing of them may be left on the machine, and at the end the
processes of the installation may hold no more memory or files than after a quarter of
the time, but for a margin: until then caches fill, and each address of the subnet has
had an owner. The program is named by the variable LANDFALL.
"""

import argparse
import concurrent.futures
import os
import pathlib
import re
import sys
import tempfile
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "e2e"))

from conftest import Network, address, all_are, bring_down, eventually, fetch, footprint, install, register, run_many, tcp, web  # noqa: E402

# How much more memory each process may hold in the end, in MiB, and how many files.
MARGIN_MIB, MARGIN_FILES = 24, 16


def ours(landfall):
    """The processes of an installation that stay: their ids by what they are."""
    found = {"landfall": landfall.pid()}
    for entry in pathlib.Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                command = (entry / "cmdline").read_bytes().split(b"\0")
            except OSError:
                continue
            if command[0].endswith(b"/containerd") or command[0] == b"containerd":
                if any(str(landfall.data).encode() in word or landfall.prefix.encode() in word for word in command):
                    found["containerd"] = int(entry.name)
    return found


def held(pid):
    """Memory of its own in MiB, without what files it has looked into, and open files."""
    status = pathlib.Path(f"/proc/{pid}/status").read_text()
    return int(re.search(r"RssAnon:\s+(\d+)", status).group(1)) / 1024, len(list(pathlib.Path(f"/proc/{pid}/fd").iterdir()))


def on_the_machine(landfall):
    """What the installation has on the machine, and of its containers under its directory."""
    found = footprint(landfall)
    found["snapshots"] = {os.path.join(at, name) for at, names, _ in os.walk(landfall.data) if at.endswith("/snapshots") for name in names}
    found["shims"] = {line for line in found.pop("processes") if "containerd-shim" in line}
    return found


def as_it_stays(landfall):
    """The same, once nothing changes any more."""
    seen = [on_the_machine(landfall)]

    def settled():
        time.sleep(1)
        seen.append(on_the_machine(landfall))
        return seen[-1] if seen[-1] == seen[-2] else None

    return eventually("the machine coming to rest", settled, 60)


def round_of(landfall, pool, definition, network, group, count):
    """One round; how long each part of it took."""
    began = time.monotonic()
    arns = run_many(landfall, pool, definition, network.subnet, group, count)
    running = all_are(landfall, arns, "RUNNING", 60 + 3 * count)
    up = time.monotonic()
    addresses = [address(task) for task in running]
    assert len(set(addresses)) == count
    for at, page in zip(addresses, pool.map(lambda at: eventually(f"an answer of {at}", lambda: fetch(at)), addresses), strict=True):
        assert page, at
    answered = time.monotonic()
    list(pool.map(lambda arn: landfall.ecs.stop_task(task=arn), arns))
    all_are(landfall, arns, "STOPPED", 60 + 3 * count)
    return up - began, answered - up, time.monotonic() - answered


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tasks", type=int, default=200)
    parser.add_argument("--minutes", type=float, default=60)
    wanted = parser.parse_args()
    began = time.monotonic()
    warm, until = began + 15 * wanted.minutes, began + 60 * wanted.minutes
    with tempfile.TemporaryDirectory(prefix="landfall-soak-") as directory, concurrent.futures.ThreadPoolExecutor(8) as pool:
        # What is over is forgotten while the soak lasts, or memory would tell of that.
        landfall = install(pathlib.Path(directory) / "data", "--retention", "60s", "--task-cleanup-wait", "60s")
        try:
            network = Network(landfall)
            group = network.group("soak", tcp(80))
            definition = register(landfall, "soak", web(cpu=1, memory=16))
            # What the first task of all brings stays: its image, unpacked, and a cgroup.
            round_of(landfall, pool, definition, network, group, 1)
            empty, early, rounds = as_it_stays(landfall), None, 0
            print(f"{'round':>5} {'running s':>10} {'answers s':>10} {'stopped s':>10} {'tasks/s':>8}  MiB and files held", flush=True)
            while rounds < 3 or not early or time.monotonic() < until:
                rounds += 1
                up, asked, down = round_of(landfall, pool, definition, network, group, wanted.tasks)
                # containerd removes what is no longer named when it collects its garbage.
                deadline = time.monotonic() + 60
                while (left := as_it_stays(landfall)) != empty and time.monotonic() < deadline:
                    pass
                assert left == empty, {kind: sorted(left[kind] ^ empty[kind])[:5] for kind in empty if left[kind] != empty[kind]}
                now = {name: held(pid) for name, pid in ours(landfall).items()}
                early = early or (now if rounds >= 2 and time.monotonic() >= warm else None)
                shown = ", ".join(f"{name} {mib:.0f} {files}" for name, (mib, files) in now.items())
                print(f"{rounds:>5} {up:>10.1f} {asked:>10.1f} {down:>10.1f} {wanted.tasks / up:>8.1f}  {shown}", flush=True)
            for name, (mib, files) in now.items():
                before = early[name]
                assert mib <= before[0] + MARGIN_MIB, f"{name} grew from {before[0]:.0f} to {mib:.0f} MiB"
                assert files <= before[1] + MARGIN_FILES, f"{name} held {before[1]} files, and now {files}"
        finally:
            bring_down(landfall)
    print("nothing is left, and nothing has grown")


if __name__ == "__main__":
    main()
