"""The control plane at size, and beside moto_server.

The crowd is a program of its own (`bin/landfall/benches/crowd.rs`) that prints a JSON
object a line. The calls beside moto go to both over one kept connection, signed by
botocore, so that the client costs both the same.
"""

import contextlib
import http.client
import json
import pathlib
import subprocess
import sys
import time

import botocore.auth
import botocore.awsrequest
import botocore.credentials

from .measure import table, until

ROOT = pathlib.Path(__file__).resolve().parents[2]


def crowd(instances=10_000, each=10):
    """Runs the crowd and shows what it measured."""
    command = ["cargo", "bench", "--locked", "--package", "landfall", "--bench", "crowd", "--", str(instances), str(each)]
    said = subprocess.run(command, cwd=ROOT, check=True, stdout=subprocess.PIPE, text=True).stdout
    lines = [json.loads(line) for line in said.splitlines() if line.startswith("{")]
    of = lambda what: [line["numbers"] for line in lines if line["what"] == what]  # noqa: E731

    growth = of("in memory")
    table(
        "RunTask by instances, ten tasks each (in memory; near linear means an even column)",
        ["instances", "tasks", "tasks/s"],
        [[str(row["instances"]), str(row["tasks"]), str(row["tasks_per_s"])] for row in growth],
    )
    (full,) = of("durable")
    (start,) = of("start")
    table(
        f"{full['instances']} instances, {full['tasks']} tasks, on SQLite",
        ["what", "value"],
        [
            ["tasks started per second, ten a call, 32 callers", str(full["tasks_per_s"])],
            ["memory per task", f"{full['bytes_per_task']} B"],
            ["memory per instance", f"{full['bytes_per_instance']} B"],
            *[
                [f"commits per second, {row['callers']} callers, {row['sessions']} agents connected", str(row["per_s"])]
                for row in of("commits")
            ],
            ["start with all of it", f"{start['ms']} ms"],
            *[
                [f"CreateAccount, {name}", f"{row[key] / 1e3:.2f} ms"]
                for row in of("account")
                for name, key in [("median", "p50_us"), ("p99", "p99_us")]
            ],
        ],
    )
    table(
        "Decisions of placement alone at that size, ten copies each",
        ["strategy", "placements/s"],
        [[row["strategy"], str(row["per_s"])] for row in of("placements")],
    )
    table(
        "Calls over HTTP at that size",
        ["call", "callers", "p50", "p99", "per second"],
        [
            [row["call"], str(row["callers"]), f"{row['p50_us'] / 1e3:.2f} ms", f"{row['p99_us'] / 1e3:.2f} ms", str(row["per_s"])]
            for row in of("http")
        ],
    )


CONTAINER = {"name": "web", "image": "web", "memory": 64, "cpu": 64}
# RunTask is left to the crowd: in moto it needs an instance that only its own EC2 makes.
CALLS = [
    ("ListClusters", {}),
    ("RegisterTaskDefinition", {"family": "web", "containerDefinitions": [CONTAINER]}),
    ("DescribeTaskDefinition", {"taskDefinition": "web:1"}),
]


def rate(endpoint, key, secret, region, operation, body, seconds=2.0):
    """Requests a second over one connection."""
    address = endpoint.split("//")[1].rstrip("/")
    connection = http.client.HTTPConnection(address)
    signer = botocore.auth.SigV4Auth(botocore.credentials.Credentials(key, secret), "ecs", region)
    payload = json.dumps(body)
    done, end = 0, time.perf_counter() + seconds
    while time.perf_counter() < end:
        request = botocore.awsrequest.AWSRequest("POST", f"{endpoint}/", data=payload, headers={
            "Content-Type": "application/x-amz-json-1.1",
            "X-Amz-Target": f"AmazonEC2ContainerServiceV20141113.{operation}",
        })
        signer.add_auth(request)
        connection.request("POST", "/", payload, dict(request.headers))
        answer = connection.getresponse()
        said = answer.read()
        assert answer.status == 200, said
        done += 1
    connection.close()
    return done / seconds


@contextlib.contextmanager
def moto(port):
    """A moto_server, and how long it took to answer."""
    began = time.perf_counter()
    server = subprocess.Popen(
        [pathlib.Path(sys.executable).parent / "moto_server", "-H", "127.0.0.1", "-p", str(port)],
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )

    def answers():
        connection = http.client.HTTPConnection("127.0.0.1", port)
        try:
            connection.request("GET", "/")
            return connection.getresponse().status
        except OSError:
            return None

    try:
        until(answers, every=0.01)
        yield f"http://127.0.0.1:{port}", server.pid, time.perf_counter() - began
    finally:
        server.kill()
        server.wait()


def beside_moto(landfall, port):
    """The same calls of both, alternating."""
    environment = landfall.environment
    ours = (environment["AWS_ENDPOINT_URL"].rstrip("/"), environment["AWS_ACCESS_KEY_ID"],
            environment["AWS_SECRET_ACCESS_KEY"], environment["AWS_DEFAULT_REGION"])
    rows = []
    with moto(port) as (endpoint, _, first):
        theirs = (endpoint, "AKIAEXAMPLE", "secret", "us-east-1")
        for operation, body in CALLS:
            a, b = rate(*ours, operation, body), rate(*theirs, operation, body)
            rows.append([operation, f"{a:.0f}", f"{b:.0f}", f"{a / b:.1f}"])
    table(
        f"Requests per second over one connection (moto_server answers first after {first:.1f} s)",
        ["call", "Landfall", "moto_server", "ratio"], rows,
    )
