"""What one would use instead of Landfall, on the same machine."""

import contextlib
import pathlib
import shutil
import subprocess
import tempfile

from .measure import Series, until

IMAGE = "landfall-bench:1"
# The network namespace of a Docker of our own.
SPACE = "lfbench-docker"
QUIET = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}


def sh(*command, **more):
    return subprocess.run(command, check=True, capture_output=True, text=True, **more).stdout


@contextlib.contextmanager
def dockerd(image_tar=None):
    """The client's command for a Docker of our own, in a network namespace of its own, so
    that its bridge and its rules are not the machine's; `None` where there is none."""
    if not (shutil.which("dockerd") and shutil.which("docker")):
        yield None
        return
    with tempfile.TemporaryDirectory(prefix="lfbench") as directory:
        docker = ("docker", "--host", f"unix://{directory}/sock")
        sh("ip", "netns", "add", SPACE)
        daemon = None
        try:
            sh("ip", "-n", SPACE, "link", "set", "lo", "up")
            # Not by `ip netns exec`, which hides the cgroups.
            daemon = subprocess.Popen(
                ["nsenter", f"--net=/run/netns/{SPACE}", "dockerd", "--host", f"unix://{directory}/sock", "--data-root", f"{directory}/data",
                 "--exec-root", f"{directory}/exec", "--pidfile", f"{directory}/pid", "--insecure-registry", "127.0.0.0/8"], **QUIET,
            )
            until(lambda: subprocess.run([*docker, "info"], **QUIET).returncode == 0, every=0.1)
            if image_tar:
                archive = f"{directory}/image.tar"
                sh("skopeo", "--insecure-policy", "copy", "-q", f"oci-archive:{image_tar}", f"docker-archive:{archive}:{IMAGE}")
                sh(*docker, "load", "-i", archive)
            yield docker
        finally:
            if daemon:
                daemon.terminate()
                daemon.wait()
            # What it leaves mounted would keep its directory.
            for line in reversed(pathlib.Path("/proc/mounts").read_text().splitlines()):
                if line.split()[1].startswith(directory):
                    subprocess.run(["umount", line.split()[1]], **QUIET)
            sh("ip", "netns", "del", SPACE)


def docker(image_tar, rounds):
    """`docker run -d` of a cached image until it returns."""
    series = Series("docker run -d")
    with dockerd(image_tar) as docker:
        if docker is None:
            return None
        for _ in range(rounds):
            container = series.time(lambda: sh(*docker, "run", "-d", IMAGE)).strip()
            sh(*docker, "rm", "-f", container)
    return series


def docker_pair(stack, image_tar):
    """Two containers on Docker's bridge, as long as the stack lasts: the server's namespace,
    the client's, and the server's address."""
    docker = stack.enter_context(dockerd(image_tar))
    if docker is None:
        return None
    ask = "{{.State.Pid}} {{.NetworkSettings.IPAddress}}"
    seen = []
    for _ in range(2):
        container = sh(*docker, "run", "-d", IMAGE).strip()
        stack.callback(sh, *docker, "rm", "-f", container)
        seen.append(sh(*docker, "inspect", "-f", ask, container).split())
    (server, address), (client, _) = seen
    return f"/proc/{server}/ns/net", f"/proc/{client}/ns/net", address


def docker_pull(name, config, rounds):
    """`docker pull` of an image that is not there, from a registry as `config` has it."""
    series = Series("docker pull")
    with dockerd() as docker:
        if docker is None:
            return None
        # Its namespace has a loopback of its own; what the registry serves is the same.
        server = subprocess.Popen(["ip", "netns", "exec", SPACE, "docker-registry", "serve", config], **QUIET)
        try:
            for number in range(rounds + 1):
                pull = lambda: sh(*docker, "pull", "-q", name)  # noqa: E731
                # The first tells that the registry is there.
                series.time(pull) if number else until(lambda: subprocess.run([*docker, "pull", name], **QUIET).returncode == 0, every=0.1)
                sh(*docker, "rmi", "-f", name)
        finally:
            server.kill()
            server.wait()
    return series


def forget_image(landfall, name):
    """Removes an image and its layers from Landfall's containerd."""
    (socket,) = (path for path in pathlib.Path("/run").rglob("containerd.sock") if landfall.prefix in str(path))
    sh("ctr", "--address", str(socket), "--namespace", landfall.prefix, "images", "rm", "--sync", name)


def ctr(image_tar, rounds):
    """`ctr run -d` on a containerd of its own: no network, no state, no API."""
    series = Series("ctr run -d")
    with tempfile.TemporaryDirectory(prefix="lfbench") as directory:
        root = pathlib.Path(directory)
        config = root / "config.toml"
        config.write_text(
            f'version = 2\nroot = "{root}/root"\nstate = "{root}/state"\n'
            'disabled_plugins = ["io.containerd.grpc.v1.cri"]\n'
            f'[grpc]\naddress = "{root}/sock"\n'
        )
        daemon = subprocess.Popen(["containerd", "--config", config], **QUIET)
        ask = ("ctr", "--address", f"{root}/sock")
        try:
            until(lambda: subprocess.run([*ask, "version"], **QUIET).returncode == 0, every=0.05)
            sh(*ask, "image", "import", image_tar)
            name = "docker.io/library/simple-web:latest"
            for index in range(rounds):
                series.time(lambda: sh(*ask, "run", "-d", name, f"b{index}"))
                sh(*ask, "task", "kill", "-s", "KILL", f"b{index}")
                until(lambda: "STOPPED" in sh(*ask, "task", "ls"), every=0.01)
                sh(*ask, "task", "rm", f"b{index}")
                sh(*ask, "container", "rm", f"b{index}")
        finally:
            daemon.terminate()
            daemon.wait()
    return series


@contextlib.contextmanager
def plain_pair(number):
    """Two namespaces joined by one veth pair, and nothing else: the server's, the client's,
    and the server's address."""
    near, far = f"lfbench-a{number}", f"lfbench-b{number}"
    try:
        for name in (near, far):
            sh("ip", "netns", "add", name)
        sh("ip", "-n", near, "link", "add", "v0", "mtu", "9001", "type", "veth", "peer", "name", "v1", "mtu", "9001", "netns", far)
        for name, link, last in ((near, "v0", 1), (far, "v1", 2)):
            sh("ip", "-n", name, "addr", "add", f"10.99.{number}.{last}/30", "dev", link)
            sh("ip", "-n", name, "link", "set", link, "up")
        yield f"/run/netns/{far}", f"/run/netns/{near}", f"10.99.{number}.2"
    finally:
        for name in (near, far):
            subprocess.run(["ip", "netns", "del", name], **QUIET)
