"""usage: python -m tests.bench LANDFALL [--rounds N]

Everything is measured in one run on one machine, rivals beside Landfall, because
only ratios carry over to another machine.
"""

import argparse
import json
import os
import pathlib
import re
import subprocess
import sys
import tempfile
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "e2e"))

from . import burst, packets, pulls, rivals, scale  # noqa: E402
from .measure import Series, table, until  # noqa: E402


def resident(pid):
    """Resident memory of a process in MiB."""
    status = pathlib.Path(f"/proc/{pid}/status").read_text()
    return int(re.search(r"VmRSS:\s+(\d+)", status).group(1)) / 1024


def task_namespace(landfall, address):
    """The named namespace that holds an address."""
    for line in rivals.sh("ip", "netns").splitlines():
        name = line.split()[0]
        if f" {address}/" in rivals.sh("ip", "-n", name, "-o", "-4", "addr"):
            return name
    raise LookupError(address)


def run_to_running(landfall, network, definition, group, rounds):
    """RunTask to RUNNING, one task at a time, with the time of each step."""
    from conftest import task

    total, call = Series("RunTask to RUNNING"), Series("  the call of RunTask")
    attach, start = Series("  interface attached"), Series("  payload, namespace, container")
    stopping = Series("StopTask to STOPPED")
    ecs = landfall.ecs
    configuration = {"awsvpcConfiguration": {"subnets": [network.subnet], "securityGroups": [group]}}
    for _ in range(rounds):
        began = time.perf_counter()
        arn = call.time(
            lambda: ecs.run_task(taskDefinition=definition, networkConfiguration=configuration)
        )["tasks"][0]["taskArn"]
        seen = {}

        def running():
            status = ecs.describe_tasks(tasks=[arn])["tasks"][0]["lastStatus"]
            seen.setdefault(status, time.perf_counter())
            assert status != "STOPPED", task(landfall, arn)
            return status == "RUNNING"

        until(running)
        done = time.perf_counter()
        total.values.append(done - began)
        pending = seen.get("PENDING", done)
        attach.values.append(pending - began - call.values[-1])
        start.values.append(done - pending)

        def stop():
            ecs.stop_task(task=arn)
            until(lambda: ecs.describe_tasks(tasks=[arn])["tasks"][0]["lastStatus"] == "STOPPED")

        stopping.time(stop)
    return [total, call, attach, start, stopping]


def accounts(landfall, rounds):
    """An account made, used for the first time, and deleted, as a CI job does."""
    made = Series("account create (CLI)")
    first, network = Series("  its first ListClusters"), Series("  its first DescribeVpcs")
    gone = Series("account delete (CLI)")
    for _ in range(rounds):
        account = json.loads(made.time(lambda: landfall.run("account", "create", "--json")).stdout)
        keys = {"key": account["accessKeyId"], "secret": account["secretAccessKey"]}
        ecs, ec2 = landfall.client("ecs", **keys), landfall.client("ec2", **keys)
        first.time(ecs.list_clusters)
        network.time(ec2.describe_vpcs)
        identity = account["account"]["accountId"]
        gone.time(lambda: landfall.run("account", "delete", identity, "--yes"))
    return [made, first, network, gone]


def cold_start(landfall):
    """From the start of the program, state and all, to the first answered request."""
    from conftest import BINARY

    series = Series("cold start")
    for _ in range(5):
        landfall.down()
        log = open(landfall.data / "bench.log", "ab")
        began = time.perf_counter()
        child = subprocess.Popen(
            [BINARY, "--data-dir", landfall.data, "up", "--listen", landfall.listen], stdout=log, stderr=log
        )

        def answers():
            try:
                return landfall.ecs.list_clusters()
            except Exception:
                return None

        until(answers)
        series.values.append(time.perf_counter() - began)
        child.send_signal(15)
        child.wait(30)
    return series


def main():
    parser = argparse.ArgumentParser(usage=__doc__)
    parser.add_argument("landfall")
    parser.add_argument("--rounds", type=int, default=30)
    args = parser.parse_args()
    os.environ |= {"LANDFALL": args.landfall, "LANDFALL_LOG": "info,card=debug"}
    import conftest

    with tempfile.TemporaryDirectory(prefix="landfall-bench-") as directory:
        landfall = conftest.install(pathlib.Path(directory) / "data", "--rules-per-security-group", str(packets.MOST_RULES // 5))
        try:
            network = conftest.Network(landfall)
            everything = {"IpProtocol": "-1", "IpRanges": [{"CidrIp": "0.0.0.0/0"}]}
            group = network.group("bench", everything)
            definition = conftest.register(landfall, "bench", conftest.web())
            (warm,) = conftest.run(landfall, definition, network.subnet, group)
            conftest.wait(landfall, warm, "RUNNING")
            conftest.stop(landfall, warm)
            idle = resident(landfall.pid())

            steps = run_to_running(landfall, network, definition, group, args.rounds)
            others = [s for s in (rivals.docker(conftest.web_image(), args.rounds), rivals.ctr(conftest.web_image(), args.rounds)) if s]
            table("Starting a task (cached image)", ["what", "median", "p99", "n"], [s.row() for s in [*steps, *others]])
            for other in others:
                print(f"  RunTask to RUNNING / {other.name} = {steps[0].median / other.median:.2f}")

            table("An account of one's own", ["what", "median", "p99", "n"], [s.row() for s in accounts(landfall, args.rounds)])

            enis = eni_times(landfall)
            if enis:
                table("The card's work on one interface", ["what", "median", "p99", "n"], [s.row() for s in enis])

            packets.beside(landfall, network, definition, task_namespace)
            pulls.beside(landfall, network, group, pathlib.Path(directory))
            burst.burst(landfall, network, group, resident)

            scale.beside_moto(landfall, conftest.free_port())
            start = cold_start(landfall)
            table(
                "The program", ["what", "value"],
                [["idle memory, control plane + agent + card", f"{idle:.1f} MiB"],
                 ["cold start to first answered request, median", f"{start.median * 1e3:.0f} ms"]],
            )
        finally:
            landfall.run("down", "--purge", check=False)
    scale.crowd()


def eni_times(landfall):
    """What the card logged of plans that brought or took one interface: link, routes,
    rules and all."""
    made, removed = Series("interface set up"), Series("interface removed")
    for line in (landfall.data / "landfall.log").read_text(errors="replace").splitlines():
        if "the plan is applied" not in line:
            continue
        work = {name: int(value) for name, value in re.findall(r"(made|removed|micros)=(\d+)", line)}
        for series, one in ((made, (1, 0)), (removed, (0, 1))):
            if (work["made"], work["removed"]) == one:
                series.values.append(work["micros"] / 1e6)
    return [series for series in (made, removed) if series.values]


if __name__ == "__main__":
    main()
