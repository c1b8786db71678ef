"""How tasks start, end and fail."""

import time

from conftest import eventually, register, run, stop, wait, web


def shell(script, name="main", **more):
    return web(name, command=["sh", "-c", script], **more)


def test_exit_codes_are_reported(landfall, network):
    (arn,) = run(landfall, register(landfall, "exits", shell("exit 42")), network.subnet)
    stopped = wait(landfall, arn, "STOPPED", 60)
    assert stopped["containers"][0]["exitCode"] == 42
    assert (stopped["stopCode"], stopped["stoppedReason"]) == (
        "EssentialContainerExited", "Essential container in task exited",
    )


def test_a_missing_program_fails_the_start(landfall, network):
    definition = register(landfall, "missing", web(command=["/no/such/program"]))
    (arn,) = run(landfall, definition, network.subnet)
    stopped = wait(landfall, arn, "STOPPED", 60)
    assert stopped["stopCode"] == "TaskFailedToStart"
    assert "CannotStartContainerError" in stopped["containers"][0]["reason"]


def test_a_missing_image_fails_the_pull(landfall, network):
    definition = register(landfall, "no-image", web(image="127.0.0.1:9/none:1"))
    (arn,) = run(landfall, definition, network.subnet)
    stopped = wait(landfall, arn, "STOPPED", 120)
    assert stopped["stopCode"] == "TaskFailedToStart"
    assert "CannotPull" in stopped["containers"][0]["reason"]


def test_environment_user_directory_and_overrides(landfall, network):
    script = 'echo "$A $B $(id -u) $(pwd)"'
    container = shell(script, user="65534", workingDirectory="/tmp", environment=[{"name": "A", "value": "a"}, {"name": "B", "value": "b"}])
    definition = register(landfall, "looks", container)
    override = {"containerOverrides": [{"name": "main", "environment": [{"name": "B", "value": "c"}]}]}
    (arn,) = run(landfall, definition, network.subnet, overrides=override)
    wait(landfall, arn, "STOPPED", 60)
    assert landfall.run("logs", arn).stdout.split("\n")[0].endswith("a c 65534 /tmp")


def test_stop_asks_before_it_kills(landfall, network):
    polite = register(landfall, "polite", shell("trap 'exit 7' TERM; echo ready; while :; do sleep 0.1; done"))
    deaf = register(landfall, "deaf", shell("trap '' TERM; echo ready; while :; do sleep 0.1; done", stopTimeout=2))
    (first,), (second,) = run(landfall, polite, network.subnet), run(landfall, deaf, network.subnet)
    for arn in (first, second):
        wait(landfall, arn, "RUNNING")
        # A shell that has not come to its trap yet would not hear the signal.
        eventually("the trap being set", lambda arn=arn: "ready" in landfall.run("logs", arn).stdout)
    started = time.monotonic()
    stopped = stop(landfall, first, second)
    assert [t["containers"][0]["exitCode"] for t in stopped] == [7, 137]
    assert time.monotonic() - started > 2, "the deaf one had its two seconds"


def test_memory_limit_is_real(landfall, network):
    greedy = shell("x=x; while :; do x=$x$x; done", memory=32)
    (arn,) = run(landfall, register(landfall, "greedy", greedy), network.subnet)
    stopped = wait(landfall, arn, "STOPPED", 60)
    assert stopped["containers"][0]["exitCode"] == 137
    assert "OutOfMemoryError" in stopped["containers"][0]["reason"]


def test_a_side_container_may_end(landfall, network):
    definition = register(landfall, "side", web(), shell("exit 3", "side", essential=False))
    (arn,) = run(landfall, definition, network.subnet)
    wait(landfall, arn, "RUNNING")

    def side():
        shown = landfall.ecs.describe_tasks(tasks=[arn])["tasks"][0]
        return next(c for c in shown["containers"] if c["name"] == "side").get("exitCode")

    eventually("the side container's exit being known", lambda: side() == 3, 60)
    assert wait(landfall, arn, "RUNNING")["desiredStatus"] == "RUNNING"
    stop(landfall, arn)


def test_resources_add_up(landfall, network):
    def remaining():
        (arn,) = landfall.ecs.list_container_instances()["containerInstanceArns"]
        shown = landfall.ecs.describe_container_instances(containerInstances=[arn])["containerInstances"][0]
        return {r["name"]: r.get("integerValue") for r in shown["remainingResources"] if r["type"] == "INTEGER"}

    eventually("earlier tasks being gone", lambda: not landfall.ecs.list_tasks()["taskArns"])
    before = remaining()
    definition = register(landfall, "sized", web(cpu=128, memory=96))
    arns = run(landfall, definition, network.subnet, count=2)
    assert remaining() == {**before, "CPU": before["CPU"] - 256, "MEMORY": before["MEMORY"] - 192}
    stop(landfall, *arns)
    assert remaining() == before
