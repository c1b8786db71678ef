"""Landfall dies; nothing else does."""

import json
import os
import signal
import subprocess

from conftest import BINARY, Network, address, commands, eventually, fetch, footprint, inside, register, run, stop, task, tcp, wait, web

from test_accounts import create, listed
from test_accounts import refused as code


def alive(pid):
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    with open(f"/proc/{pid}/stat") as stat:
        return stat.read().rsplit(")", 1)[1].split()[0] != "Z"


def knows_itself(landfall, arn):
    """Whether a task can ask its agent what it is."""
    url = f"http://169.254.170.2/v4/{arn.rsplit('/', 1)[-1]}-0"
    # While the agent is away, it is the task's own server that answers.
    return '"KnownStatus":"RUNNING"' in inside(landfall, arn, "curl", "-s", "--max-time", "5", url, check=False)


def test_kill_nine_costs_nothing(own_landfall):
    landfall = own_landfall
    network = Network(landfall)
    group = network.group("web", tcp(80))
    definition = register(landfall, "survivor", web())
    arns = run(landfall, definition, network.subnet, group, count=2)
    before = [wait(landfall, arn, "RUNNING") for arn in arns]
    hosts = [address(t) for t in before]
    for host in hosts:
        eventually(f"{host} serving", lambda host=host: fetch(host))

    pid = landfall.pid()
    os.kill(pid, signal.SIGKILL)
    eventually("the process being gone", lambda: not alive(pid))
    for host in hosts:
        assert "It works" in fetch(host), "tasks do not need the control plane"

    landfall.up()
    after = [wait(landfall, arn, "RUNNING") for arn in arns]
    for old, new in zip(before, after):
        for field in ("createdAt", "startedAt", "attachments", "taskDefinitionArn"):
            assert old[field] == new[field], field
        assert [c["runtimeId"] for c in old["containers"]] == [c["runtimeId"] for c in new["containers"]]
    for host in hosts:
        assert "It works" in fetch(host)
    for arn in arns:
        eventually("the agent answering the task", lambda arn=arn: knows_itself(landfall, arn))

    # It is in command again: rules change and tasks stop.
    landfall.ec2.revoke_security_group_ingress(GroupId=group, IpPermissions=[tcp(80)])
    eventually("the door being shut", lambda: fetch(hosts[0], timeout=0.5) is None)
    stopped = stop(landfall, *arns)
    assert {t["stopCode"] for t in stopped} == {"UserInitiated"}


def test_what_ended_meanwhile_is_found_out(own_landfall):
    landfall = own_landfall
    network = Network(landfall)
    definition = register(landfall, "brief", web(command=["sh", "-c", "sleep 3; exit 5"]))
    (arn,) = run(landfall, definition, network.subnet)
    wait(landfall, arn, "RUNNING")
    os.kill(landfall.pid(), signal.SIGKILL)
    eventually("three seconds passing", lambda: "sleep 3" not in commands(), 10)
    landfall.up()
    stopped = wait(landfall, arn, "STOPPED", 60)
    assert stopped["stopCode"] == "EssentialContainerExited"
    assert stopped["containers"][0]["exitCode"] == 5


def test_down_and_up_again_keeps_the_state(own_landfall):
    landfall = own_landfall
    network = Network(landfall)
    (arn,) = run(landfall, register(landfall, "kept", web()), network.subnet)
    wait(landfall, arn, "RUNNING")
    landfall.down()
    landfall.up()
    assert task(landfall, arn)["lastStatus"] == "STOPPED"
    assert landfall.ecs.describe_task_definition(taskDefinition="kept")["taskDefinition"]["revision"] == 1
    (arn,) = run(landfall, "kept:1", network.subnet)
    stop(landfall, wait(landfall, arn, "RUNNING")["taskArn"])


def test_a_backup_is_restored_under_running_tasks(own_landfall, tmp_path):
    landfall = own_landfall
    network = Network(landfall)
    definition = register(landfall, "kept", web())
    group = network.group("web", tcp(80))
    (kept,) = run(landfall, definition, network.subnet, group)
    host = address(wait(landfall, kept, "RUNNING"))
    made = json.loads(landfall.run("backup", str(tmp_path / "backup"), "--json").stdout)
    assert made["records"] > 10
    again = landfall.run("backup", str(tmp_path / "backup"), check=False)
    assert again.returncode != 0 and "exists already" in again.stderr

    (unknown,) = run(landfall, definition, network.subnet, group)
    lost = address(wait(landfall, unknown, "RUNNING"))
    pid = landfall.pid()
    refused = landfall.run("restore", str(tmp_path / "backup"), check=False)
    assert refused.returncode != 0 and "--yes" in refused.stderr, "nobody was there to ask"
    landfall.run("restore", "--yes", str(tmp_path / "backup"))
    assert landfall.pid() == pid, "the program went on"
    assert task(landfall, kept)["lastStatus"] == "RUNNING"
    eventually("the kept task serving", lambda: fetch(host))
    missing = landfall.ecs.describe_tasks(tasks=[unknown])["failures"]
    assert [f["reason"] for f in missing] == ["MISSING"]
    eventually("the unknown task being gone", lambda: len(footprint(landfall)["namespaces"]) == 2, 60)
    assert fetch(lost, timeout=0.5) is None
    (fresh,) = run(landfall, definition, network.subnet, group)
    stop(landfall, wait(landfall, fresh, "RUNNING")["taskArn"], kept)


def test_the_deletion_of_an_account_survives_kill_nine(own_landfall):
    landfall = own_landfall
    identity, keys = create(landfall)
    ecs = landfall.client("ecs", **keys)
    for number in range(150):
        ecs.create_cluster(clusterName=f"c{number}")
    deleting = subprocess.Popen([BINARY, "--data-dir", landfall.data, "account", "delete", identity, "--yes"])
    subprocess.run(["kill", "-9", str(landfall.pid())], check=True)
    deleting.wait(60)
    landfall.up()
    if identity in listed(landfall):
        landfall.run("account", "delete", identity, "--yes")
    assert identity not in listed(landfall)
    assert code(landfall.client("sts", **keys).get_caller_identity) == "InvalidClientTokenId"


def test_namespaces_made_by_others_do_not_hide_ours(own_landfall):
    landfall = own_landfall
    network = Network(landfall)
    (arn,) = run(landfall, register(landfall, "seen", web()), network.subnet)
    wait(landfall, arn, "RUNNING")
    here = sorted(footprint(landfall)["namespaces"])
    subprocess.run(["ip", "netns", "add", f"{landfall.prefix}other"], check=True)
    try:
        for name in here:
            subprocess.run(["ip", "-n", name, "link"], check=True, capture_output=True)
        assert len(mounts(here)) == len(here), "no copies of them were laid over them"
    finally:
        subprocess.run(["ip", "netns", "del", f"{landfall.prefix}other"], check=True)
    stop(landfall, arn)


def mounts(names):
    """The mounts, hidden or not, on which these namespaces are."""
    with open("/proc/self/mountinfo") as table:
        return [line for line in table if line.split()[4].rsplit("/", 1)[-1] in names]
