"""Pulls from a registry on this machine, beside skopeo and Docker."""

import contextlib
import hashlib
import json
import os
import subprocess
import tarfile

from . import rivals
from .measure import Series, table

LAYERS, LAYER_MIB = 6, 24


def layout(directory, base):
    """An OCI layout: the sample image below some layers that compress by half, as
    programs do."""
    rivals.sh("skopeo", "--insecure-policy", "copy", "-q", f"oci-archive:{base}", f"oci:{directory}:big")
    blobs = directory / "blobs" / "sha256"

    def put(data):
        name = hashlib.sha256(data).hexdigest()
        (blobs / name).write_bytes(data)
        return f"sha256:{name}", len(data)

    def get(descriptor):
        return json.loads((blobs / descriptor["digest"].split(":")[1]).read_bytes())

    index = json.loads((directory / "index.json").read_text())
    manifest = get(index["manifests"][0])
    config = get(manifest["config"])
    for number in range(LAYERS):
        path = directory / f"layer-{number}"
        with tarfile.open(path, "w") as archive:
            part = directory / "part"
            for piece in range(LAYER_MIB // 2):
                part.write_bytes(os.urandom(1 << 20) + bytes(1 << 20))
                archive.add(part, f"opt/layer-{number}/{piece}")
            part.unlink()
        plain = path.read_bytes()
        path.unlink()
        packed = subprocess.run(["gzip", "-1c"], input=plain, capture_output=True, check=True).stdout
        digest, size = put(packed)
        manifest["layers"].append({"mediaType": "application/vnd.oci.image.layer.v1.tar+gzip", "digest": digest, "size": size})
        config["rootfs"]["diff_ids"].append(f"sha256:{hashlib.sha256(plain).hexdigest()}")
        config.setdefault("history", []).append({"created_by": "bench"})
    digest, size = put(json.dumps(config).encode())
    manifest["config"] |= {"digest": digest, "size": size}
    digest, size = put(json.dumps(manifest).encode())
    index["manifests"][0] |= {"digest": digest, "size": size}
    (directory / "index.json").write_text(json.dumps(index))


@contextlib.contextmanager
def registry(directory, port, base):
    """A registry that has the image, the image's name there, and its configuration."""
    from conftest import serve_registry

    with serve_registry(directory, f"127.0.0.1:{port}") as config:
        image = directory / "image"
        layout(image, base)
        rivals.sh("skopeo", "--insecure-policy", "copy", "-q", "--dest-tls-verify=false", f"oci:{image}:big", f"docker://127.0.0.1:{port}/big:1")
        yield f"127.0.0.1:{port}/big:1", config


def beside(landfall, network, group, directory, rounds=5):
    """Landfall's pulls, unpacked and ready to run, beside skopeo's, which only copies."""
    import conftest

    ours, copying = Series("Landfall, unpacked"), Series("skopeo copy to an OCI layout")
    with registry(directory, conftest.free_port(), conftest.web_image()) as (name, config):
        for number in range(rounds):
            # A pull of what is there already would be none.
            definition = conftest.register(landfall, "big", conftest.web(image=name))
            (arn,) = conftest.run(landfall, definition, network.subnet, group)
            task = conftest.wait(landfall, arn, "RUNNING", 120)
            ours.values.append((task["pullStoppedAt"] - task["pullStartedAt"]).total_seconds())
            conftest.stop(landfall, arn)
            rivals.forget_image(landfall, name)
            target = directory / f"copy-{number}"
            copying.time(lambda: rivals.sh("skopeo", "--insecure-policy", "copy", "-q", "--src-tls-verify=false", f"docker://{name}", f"oci:{target}:big"))
            rivals.sh("rm", "-rf", str(target))
        pulling = rivals.docker_pull(name, config, rounds)
    shown = [ours, copying, *([pulling] if pulling else [])]
    size = LAYERS * LAYER_MIB
    table(
        f"Pulls of an image of {LAYERS} layers, {size} MiB unpacked",
        ["what", "median", "p99", "n", "MiB/s"],
        [[*series.row(), f"{size / series.median:.0f}"] for series in shown],
    )
    for other in shown[1:]:
        print(f"  Landfall / {other.name} = {ours.median / other.median:.2f}")
