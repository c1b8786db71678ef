"""What containers wrote, and what becomes of it."""

import glob
import os

from conftest import eventually, register, run, stop, wait, web

MIB = 1 << 20


def shell(script):
    return web("main", command=["sh", "-c", script])


def log_of(landfall, arn):
    (path,) = glob.glob(str(landfall.data / "**" / arn.rsplit("/", 1)[-1] / "main.log"), recursive=True)
    return path


def test_since_leaves_out_what_is_older(landfall, network):
    container = shell("echo early; sleep 8; echo late; sleep 1000")
    (arn,) = run(landfall, register(landfall, "since", container), network.subnet)
    wait(landfall, arn, "RUNNING")
    eventually("both lines", lambda: "late" in landfall.run("logs", arn).stdout)
    assert landfall.run("logs", arn).stdout == "early\nlate\n"
    assert landfall.run("logs", "--since", "5s", arn).stdout == "late\n"
    assert landfall.run("logs", "--since", "1h", arn).stdout == "early\nlate\n"
    stop(landfall, arn)


def test_a_container_that_talks_too_much_keeps_its_end(landfall, network):
    # 300 MiB, more than is kept, with nobody reading.
    script = "i=0; while [ $i -lt 300 ]; do head -c 1048575 /dev/zero | tr '\\0' x; echo; i=$((i+1)); done; echo the end"
    (arn,) = run(landfall, register(landfall, "talks", shell(script)), network.subnet)
    stopped = wait(landfall, arn, "STOPPED", 120)
    assert stopped["containers"][0]["exitCode"] == 0
    path = log_of(landfall, arn)
    eventually("the front being given back", lambda: os.stat(path).st_blocks * 512 <= 64 * MIB)
    shown = landfall.run("logs", arn)
    lines = shown.stdout.splitlines()
    assert lines[-1] == "the end" and "\0" not in shown.stdout
    assert 20 <= len(lines) <= 66, len(lines)
    assert {len(line) for line in lines[:-1]} == {MIB - 1}, "only whole lines"
    assert "no longer kept" in shown.stderr
