"""Many tasks at once: how many a second, and what they cost the program in memory."""

import concurrent.futures
import time

from .measure import table


def burst(landfall, network, group, resident, count=200):
    """Starts this many tasks at once, stops them at once, and shows what that took."""
    from conftest import all_are, register, run_many, web

    definition = register(landfall, "burst", web(cpu=1, memory=16))
    empty = resident(landfall.pid())
    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        began = time.perf_counter()
        arns = run_many(landfall, pool, definition, network.subnet, group, count)
        all_are(landfall, arns, "RUNNING", 180)
        up = time.perf_counter() - began
        full = resident(landfall.pid())
        began = time.perf_counter()
        list(pool.map(lambda arn: landfall.ecs.stop_task(task=arn), arns))
        all_are(landfall, arns, "STOPPED", 180)
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
