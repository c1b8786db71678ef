"""What passes tasks and what is refused there, as `landfall flows` tells it."""

import contextlib
import json
import signal
import subprocess
import urllib.error
import urllib.request

import botocore.auth
import botocore.awsrequest
import botocore.credentials
from conftest import BINARY, address, eventually, register, run, stop, tcp, wait, web


def flows(landfall, *words):
    return [json.loads(line) for line in landfall.run("flows", *words, "--json").stdout.splitlines()]


def interface(task):
    details = {d["name"]: d["value"] for d in task["attachments"][0]["details"]}
    return details["networkInterfaceId"]


def test_flows_of_tasks_are_told_at_both_ends(landfall, network):
    open_group, shut_group = network.group("flows-open", tcp(80)), network.group("flows-shut")
    definition = register(landfall, "flows-web", web())
    (server,) = run(landfall, definition, network.subnet, open_group)
    (shut,) = run(landfall, definition, network.subnet, shut_group)
    served, closed = (wait(landfall, arn, "RUNNING") for arn in (server, shut))
    at, nowhere = address(served), address(closed)
    script = f"while true; do wget -q -O - http://{at}/ >/dev/null; echo | nc -w 1 {nowhere} 80; sleep 0.2; done"
    (client,) = run(landfall, register(landfall, "flows-ask", web("ask", command=["sh", "-c", script])), network.subnet, shut_group)
    asking = wait(landfall, client, "RUNNING")
    own = address(asking)

    def shown(target, **wanted):
        found = flows(landfall, target)
        return [flow for flow in found if all(flow.get(name) == value for name, value in wanted.items())]

    accepted = eventually(
        "the server's flows", lambda: shown(server, action="ACCEPT", flowDirection="ingress", srcaddr=own, dstport=80)
    )[-1]
    assert accepted["interfaceId"] == interface(served) and accepted["taskArn"] == server
    assert accepted["dstaddr"] == at and accepted["protocol"] == 6
    assert accepted["packets"] > 0 and accepted["bytes"] >= 40 * accepted["packets"]
    assert accepted["start"] <= accepted["end"]
    assert eventually("the answers", lambda: shown(server, flowDirection="egress", srcport=80, dstaddr=own))
    assert eventually("the client's side", lambda: shown(interface(asking), flowDirection="egress", dstaddr=at, dstport=80))

    refused = eventually("what is refused", lambda: shown(shut, action="REJECT", flowDirection="ingress", srcaddr=own))[-1]
    assert refused["dstport"] == 80 and refused["packets"] > 0
    assert {flow["interfaceId"] for flow in flows(landfall, nowhere)} == {interface(closed), interface(asking)}
    assert all(flow["action"] == "REJECT" for flow in flows(landfall, "--rejected"))

    table = landfall.run("flows", shut).stdout
    assert table.startswith("ACTION") and f"{nowhere}:80" in table and "\x1b" not in table
    failed = landfall.run("flows", "eni-0123456789abcdef0", check=False)
    assert failed.returncode == 1 and "eni-0123456789abcdef0" in failed.stderr

    follower = subprocess.Popen(
        [BINARY, "--data-dir", landfall.data, "flows", shut, "--follow", "--json"], stdout=subprocess.PIPE, text=True
    )
    try:
        seen = [json.loads(follower.stdout.readline()) for _ in range(5)]
        assert all(flow["taskArn"] == shut for flow in seen)
        follower.send_signal(signal.SIGINT)
        assert follower.wait(10) == 0
    finally:
        follower.kill()
        follower.wait()
    stop(landfall, client, server, shut)
    assert landfall.run("flows", nowhere).stdout == "", "they went with their interfaces"


def test_an_account_sees_its_own_interfaces_only(landfall, network):
    (arn,) = run(landfall, register(landfall, "flows-mine", web()), network.subnet)
    mine = interface(wait(landfall, arn, "RUNNING"))
    made = json.loads(landfall.run("account", "create", "--json").stdout)
    keys = {"AWS_ACCESS_KEY_ID": made["accessKeyId"], "AWS_SECRET_ACCESS_KEY": made["secretAccessKey"]}

    def describe(environment, **request):
        url = environment["AWS_ENDPOINT_URL"]
        headers = {"X-Amz-Target": "Landfall_20261101.DescribeFlows", "Content-Type": "application/x-amz-json-1.0"}
        signed = botocore.awsrequest.AWSRequest("POST", url, headers, json.dumps(request))
        key = botocore.credentials.Credentials(environment["AWS_ACCESS_KEY_ID"], environment["AWS_SECRET_ACCESS_KEY"])
        botocore.auth.SigV4Auth(key, "landfall", environment["AWS_DEFAULT_REGION"]).add_auth(signed)
        with contextlib.suppress(urllib.error.HTTPError):
            sent = urllib.request.Request(url, signed.data.encode(), dict(signed.headers.items()))
            return json.load(urllib.request.urlopen(sent, timeout=10))

    assert describe(landfall.environment, target=mine) is not None
    other = {**landfall.environment, **keys}
    assert describe(other) == {"flows": [], "truncated": False, "unreachable": []}
    assert describe(other, target=mine) is None, "it is no interface there"
    landfall.run("account", "delete", made["account"]["accountId"], "--yes")
    stop(landfall, arn)
