"""What one would use instead of Landfall, on the same machine."""

import contextlib
import pathlib
import shutil
import subprocess
import tempfile

from .measure import Series, until

QUIET = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}


def sh(*command, **more):
    return subprocess.run(command, check=True, capture_output=True, text=True, **more).stdout


def docker(image_tar, rounds):
    """`docker run -d` of a cached image until it returns, if a Docker daemon answers."""
    if not shutil.which("docker") or subprocess.run(["docker", "info"], **QUIET).returncode != 0:
        return None
    name = "landfall-bench:1"
    with tempfile.TemporaryDirectory(prefix="lfbench") as directory:
        archive = f"{directory}/image.tar"
        sh("skopeo", "--insecure-policy", "copy", "-q", f"oci-archive:{image_tar}", f"docker-archive:{archive}:{name}")
        sh("docker", "load", "-i", archive)
    series = Series("docker run -d")
    try:
        for _ in range(rounds):
            container = series.time(lambda: sh("docker", "run", "-d", name)).strip()
            sh("docker", "rm", "-f", container)
    finally:
        subprocess.run(["docker", "rmi", "-f", name], **QUIET)
    return series


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
def plain_pair():
    """Two namespaces joined by one veth pair, and nothing else."""
    near, far = "lfbench-a", "lfbench-b"
    try:
        for name in (near, far):
            sh("ip", "netns", "add", name)
        sh("ip", "-n", near, "link", "add", "v0", "mtu", "9001", "type", "veth", "peer", "name", "v1", "mtu", "9001", "netns", far)
        for name, link, address in ((near, "v0", "10.99.0.1/30"), (far, "v1", "10.99.0.2/30")):
            sh("ip", "-n", name, "addr", "add", address, "dev", link)
            sh("ip", "-n", name, "link", "set", link, "up")
        yield near, far, "10.99.0.2"
    finally:
        for name in (near, far):
            subprocess.run(["ip", "netns", "del", name], **QUIET)
