"""Many tasks at once: how many a second, and what they cost the program in memory."""

import concurrent.futures
import time

from .measure import table

# As many tasks as one call may start, or describe.
BATCH, PAGE = 10, 100


def all_are(landfall, arns, status, seconds=180):
    """Waits until all tasks have this status."""
    from conftest import eventually

    def probe():
        pages = (arns[at : at + PAGE] for at in range(0, len(arns), PAGE))
        seen = [task["lastStatus"] for page in pages for task in landfall.ecs.describe_tasks(tasks=page)["tasks"]]
        assert status == "STOPPED" or "STOPPED" not in seen
        return all(one == status for one in seen)

    eventually(f"all being {status}", probe, seconds)


def burst(landfall, network, group, resident, count=200):
    """Starts this many tasks at once, stops them at once, and shows what that took."""
    from conftest import register, run, web

    definition = register(landfall, "burst", web(cpu=1, memory=16))
    empty = resident(landfall.pid())
    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        began = time.perf_counter()
        calls = [pool.submit(run, landfall, definition, network.subnet, group, count=BATCH) for _ in range(count // BATCH)]
        arns = [arn for call in calls for arn in call.result()]
        all_are(landfall, arns, "RUNNING")
        up = time.perf_counter() - began
        full = resident(landfall.pid())
        began = time.perf_counter()
        list(pool.map(lambda arn: landfall.ecs.stop_task(task=arn), arns))
        all_are(landfall, arns, "STOPPED")
        down = time.perf_counter() - began
    table(
        f"{count} tasks at once", ["what", "value"],
        [
            ["RunTask to all RUNNING", f"{up:.1f} s, {count / up:.1f} tasks/s"],
            ["StopTask to all STOPPED", f"{down:.1f} s, {count / down:.1f} tasks/s"],
            ["memory of control plane, agent and card, before", f"{empty:.0f} MiB"],
            ["with all of them running", f"{full:.0f} MiB"],
        ],
    )
