"""A real Landfall on this machine, driven by the tools that its users have.

Each installation lives in a directory of its own and is gone afterwards, with
everything that it made; whoever brings it down looks.
"""

import atexit
import contextlib
import functools
import json
import os
import pathlib
import re
import socket
import subprocess
import tempfile
import time

import boto3
import botocore.config
import pytest

ROOT = pathlib.Path(__file__).resolve().parents[2]
BINARY = pathlib.Path(os.environ.get("LANDFALL", ROOT / "target/debug/landfall")).resolve()
AWS = ROOT / ".venv/bin/aws"

# Whom the role of a task trusts.
TRUST = {
    "Version": "2012-10-17",
    "Statement": [{"Effect": "Allow", "Principal": {"Service": "ecs-tasks.amazonaws.com"}, "Action": "sts:AssumeRole"}],
}


def eventually(what, probe, seconds=30.0):
    """The first true answer of `probe`, which is asked until time is up."""
    deadline = time.monotonic() + seconds
    while True:
        answer = probe()
        if answer:
            return answer
        if time.monotonic() > deadline:
            raise AssertionError(f"{what} did not happen within {seconds} s")
        time.sleep(0.05)


def free_port() -> int:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return sock.getsockname()[1]


class Landfall:
    """One installation."""

    def __init__(self, directory: pathlib.Path, *arguments: str):
        self.data = directory
        self.listen = f"127.0.0.1:{free_port()}"
        self.introspection = f"127.0.0.1:{free_port()}"
        self.arguments = arguments
        self.environment = {}

    def run(self, *arguments, check=True, timeout=120):
        """One `landfall` command."""
        done = subprocess.run(
            [BINARY, "--data-dir", self.data, *arguments],
            capture_output=True,
            text=True,
            timeout=timeout,
            stdin=subprocess.DEVNULL,
        )
        if check and done.returncode != 0:
            log = self.data / "landfall.log"
            tail = log.read_text()[-4000:] if log.exists() else ""
            raise AssertionError(f"landfall {arguments}: {done.stdout}{done.stderr}\n{tail}")
        return done

    def up(self):
        self.run("up", "--detach", "--listen", self.listen, "--introspection", self.introspection, *self.arguments)
        self.environment = json.loads(self.run("env", "--json").stdout)
        self.prefix = json.loads(self.run("status", "--json").stdout)["prefix"]

    def down(self, *arguments):
        self.run("down", *arguments)

    def pid(self) -> int:
        return json.loads(self.run("status", "--json").stdout)["pid"]

    def aws(self, *arguments, check=True, environment=None):
        """One AWS CLI command; its JSON answer, or the finished process if unchecked."""
        done = subprocess.run(
            [AWS, *arguments],
            capture_output=True,
            text=True,
            timeout=60,
            stdin=subprocess.DEVNULL,
            env={"PATH": os.environ["PATH"], "AWS_PAGER": "", "HOME": str(self.data), **self.environment, **(environment or {})},
        )
        if not check:
            return done
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout) if done.stdout.strip() else None

    def client(self, service, **credentials):
        env = self.environment
        return boto3.client(
            service,
            endpoint_url=env["AWS_ENDPOINT_URL"],
            region_name=env["AWS_DEFAULT_REGION"],
            aws_access_key_id=credentials.get("key", env["AWS_ACCESS_KEY_ID"]),
            aws_secret_access_key=credentials.get("secret", env["AWS_SECRET_ACCESS_KEY"]),
            aws_session_token=credentials.get("token"),
            config=botocore.config.Config(retries={"total_max_attempts": 1}),
        )

    @property
    def ecs(self):
        return self.client("ecs")

    @property
    def ec2(self):
        return self.client("ec2")


def install(directory, *arguments) -> Landfall:
    landfall = Landfall(directory, *arguments)
    try:
        landfall.up()
        landfall.run("image", "load", str(web_image()))
    except BaseException:
        landfall.run("down", "--purge", check=False)
        raise
    return landfall


@functools.cache
def web_image() -> pathlib.Path:
    """The sample image, built once, and gone with the process."""
    directory = tempfile.TemporaryDirectory(prefix="landfall-image-")
    atexit.register(directory.cleanup)
    path = pathlib.Path(directory.name) / "web.tar"
    subprocess.run([ROOT / "scripts/build-image", "docker.io/library/simple-web:latest", path], check=True)
    return path


def footprint(landfall) -> dict[str, set[str]]:
    """What of an installation is on the machine, beside its data directory."""

    def lines(*command):
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.splitlines()

    def ours(name):
        return re.match(rf"{landfall.prefix}(vpc)?-", name)

    def found(root, wanted):
        # Unlike globbing it does not mind what goes while it looks.
        return {os.path.join(at, name) for at, *names in os.walk(root) for name in sum(names, []) if name == wanted}

    return {
        "namespaces": {line.split()[0] for line in lines("ip", "netns") if ours(line)},
        "links": {line.split(":")[1].strip() for line in lines("ip", "-o", "link") if re.search(rf": (eni\w|card\w|br-\w|{landfall.prefix}-br)", line)},
        "tables": {line for line in lines("nft", "list", "tables") if landfall.prefix in line},
        "routes": {line for line in lines("ip", "route") if line.startswith("172.31.")},
        "mounts": {
            line for line in pathlib.Path("/proc/mounts").read_text().splitlines()
            if str(landfall.data) in line or ours(line.split()[1].rsplit("/", 1)[-1])
        },
        "cgroups": found("/sys/fs/cgroup", landfall.prefix),
        "processes": {command for command in commands() if str(landfall.data) in command or landfall.prefix in command},
        "sockets": found("/run", landfall.prefix),
    }


def commands():
    """The command line of every process."""
    for entry in pathlib.Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                yield (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace").strip()
            except OSError:
                continue


def left_over(landfall):
    """What is still there of what should all be gone."""
    return {kind: things for kind, things in footprint(landfall).items() if things}


def bring_down(landfall):
    """Ends an installation, and looks whether that left anything."""
    landfall.down("--purge")
    assert not left_over(landfall)
    assert not landfall.data.exists()


@contextlib.contextmanager
def installed(*options):
    """An installation with a directory of its own, looked over when it is gone."""
    with tempfile.TemporaryDirectory(prefix="landfall-e2e-") as directory:
        installation = install(pathlib.Path(directory) / "data", *options)
        try:
            yield installation
        finally:
            bring_down(installation)


@pytest.fixture(scope="module")
def landfall():
    """The installation that the tests of a module share. It is gone before the next
    module begins: two installations would both claim the default VPC's block for
    the machine itself, and the second would not get it."""
    with installed() as installation:
        yield installation


@pytest.fixture
def own_landfall():
    """An installation for a test that ends it, kills it, or looks what it leaves. Such
    a test lies in a module that does not use `landfall` too: both would be there."""
    with installed() as installation:
        yield installation


class Network:
    """The default VPC, seen by a test."""

    def __init__(self, landfall):
        self.landfall = landfall
        self.vpc = landfall.ec2.describe_vpcs(Filters=[{"Name": "is-default", "Values": ["true"]}])["Vpcs"][0]["VpcId"]
        subnets = landfall.ec2.describe_subnets(Filters=[{"Name": "vpc-id", "Values": [self.vpc]}])["Subnets"]
        self.subnets = sorted((s["AvailabilityZone"], s["SubnetId"]) for s in subnets)
        self.subnet = self.subnets[0][1]

    def group(self, name, *permissions):
        """A new security group with these ingress permissions."""
        group = self.landfall.ec2.create_security_group(GroupName=name, Description=name, VpcId=self.vpc)["GroupId"]
        if permissions:
            self.landfall.ec2.authorize_security_group_ingress(GroupId=group, IpPermissions=list(permissions))
        return group


def tcp(port, cidr="0.0.0.0/0"):
    return {"IpProtocol": "tcp", "FromPort": port, "ToPort": port, "IpRanges": [{"CidrIp": cidr}]}


@pytest.fixture
def network(landfall):
    return Network(landfall)


def web(name="web", **more):
    return {"name": name, "image": "simple-web:latest", "essential": True, "memory": 64, "cpu": 16, "stopTimeout": 2, **more}


def register(landfall, family, *containers, **more):
    definition = landfall.ecs.register_task_definition(
        family=family, networkMode="awsvpc", containerDefinitions=list(containers), **more
    )["taskDefinition"]
    return f"{definition['family']}:{definition['revision']}"


def run(landfall, definition, subnet, *groups, count=1, **more):
    """The ARNs of newly run tasks."""
    answer = landfall.ecs.run_task(
        taskDefinition=definition,
        count=count,
        networkConfiguration={"awsvpcConfiguration": {"subnets": [subnet], "securityGroups": list(groups)}},
        **more,
    )
    assert answer["failures"] == [], answer
    return [task["taskArn"] for task in answer["tasks"]]


def task(landfall, arn):
    answer = landfall.ecs.describe_tasks(tasks=[arn])
    assert answer["failures"] == [], answer
    return answer["tasks"][0]


def wait(landfall, arn, status, seconds=30):
    """The task once it has reached `status`."""

    def probe():
        seen = task(landfall, arn)
        assert status == "STOPPED" or seen["lastStatus"] != "STOPPED", json.dumps(seen, default=str)
        return seen if seen["lastStatus"] == status else None

    return eventually(f"{arn} being {status}", probe, seconds)


def tasks(landfall, arns):
    """What the API says of any number of tasks."""
    pages = (arns[at : at + 100] for at in range(0, len(arns), 100))
    return [task_ for page in pages for task_ in landfall.ecs.describe_tasks(tasks=page)["tasks"]]


def all_are(landfall, arns, status, seconds):
    """The tasks once all of them have reached `status`."""

    def probe():
        seen = tasks(landfall, arns)
        assert status == "STOPPED" or all(task_["lastStatus"] != "STOPPED" for task_ in seen), next(
            task_ for task_ in seen if task_["lastStatus"] == "STOPPED"
        )
        return seen if all(task_["lastStatus"] == status for task_ in seen) else None

    return eventually(f"all being {status}", probe, seconds)


def run_many(landfall, pool, definition, subnet, group, count):
    """The ARNs of so many newly run tasks, by as many calls as a pool of threads makes at once."""
    sizes = [min(10, count - at) for at in range(0, count, 10)]
    begun = pool.map(lambda size: run(landfall, definition, subnet, group, count=size), sizes)
    return [arn for some in begun for arn in some]


def stop(landfall, *arns):
    for arn in arns:
        landfall.ecs.stop_task(task=arn, reason="the test is over")
    return [wait(landfall, arn, "STOPPED", 60) for arn in arns]


def address(task_):
    details = {d["name"]: d["value"] for d in task_["attachments"][0]["details"]}
    return details["privateIPv4Address"]


def inside(landfall, arn, *command, environment=None, check=True):
    """What a program prints in a task's network namespace."""
    namespace = f"{landfall.prefix}-{arn.rsplit('/', 1)[-1][-12:]}"
    done = subprocess.run(
        ["ip", "netns", "exec", namespace, *command],
        capture_output=True, text=True, timeout=60, env={"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", **(environment or {})},
    )
    assert not check or done.returncode == 0, done.stderr
    return done.stdout


@contextlib.contextmanager
def serve_registry(directory, listen, http=""):
    """The configuration of a registry that answers at `listen` and keeps all in a directory;
    `http` is more of how it answers."""
    config = pathlib.Path(directory) / "registry.yml"
    config.write_text(
        f"version: 0.1\nlog: {{level: error}}\nstorage: {{filesystem: {{rootdirectory: {directory}/registry}}}}\n"
        f"http: {{addr: '{listen}'{http}}}\n"
    )
    process = subprocess.Popen(["docker-registry", "serve", config], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        eventually("an answer of the registry", lambda: fetch("127.0.0.1", int(listen.rsplit(":", 1)[1])))
        yield config
    finally:
        process.kill()
        process.wait()


def fetch(host, port=80, timeout=2.0) -> str | None:
    """The page at an address; `None` if no connection comes about."""
    try:
        with socket.create_connection((host, port), timeout=timeout) as sock:
            sock.sendall(b"GET / HTTP/1.0\r\n\r\n")
            data = b""
            while chunk := sock.recv(65536):
                data += chunk
            return data.decode()
    except OSError:
        return None
