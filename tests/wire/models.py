"""botocore's models of what we serve."""

import json
import pathlib

import botocore.session
from botocore.model import ServiceModel

MODELS = pathlib.Path(__file__).resolve().parents[2] / "models"
LOADER = botocore.session.get_session().get_component("data_loader")


def ours(name):
    return json.loads((MODELS / f"{name}.json").read_text())


def theirs(name):
    """botocore's model, less what has come to it since ours was taken from it."""
    model, known = LOADER.load_service_model(name, "service-2"), ours(name)["shapes"]
    for shape, definition in model["shapes"].items():
        if shape in known and "members" in definition:
            members = known[shape].get("members", {})
            definition["members"] = {n: m for n, m in definition["members"].items() if n in members}
    return ServiceModel(model, name)


SERVICES = {name: theirs(name) for name in ("ec2", "ecs", "iam", "sts")}


def served(name):
    return sorted(ours(name)["operations"])
