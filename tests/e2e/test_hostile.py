"""Every served operation, with what makes sense only to a generator: no answer is our
fault, and whatever is refused is refused in AWS's words.

`SEED` chooses the requests, `ROUNDS` how many there are of each operation.
"""

import http.client
import json
import os
import random
import re
import sys

import botocore.serialize
import pytest
from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials

from conftest import ROOT

sys.path.insert(0, str(ROOT / "tests/wire"))
import models  # noqa: E402
import values  # noqa: E402

SEED = os.environ.get("SEED", "1")
ROUNDS = int(os.environ.get("ROUNDS", "3"))
# Whose success would be somebody else's failure.
SPARED = {"DeregisterContainerInstance", "UpdateContainerInstancesState"}


class Wire:
    """One connection, kept alive, and requests in the name of the root user."""

    def __init__(self, landfall):
        env = landfall.environment
        self.region = env["AWS_DEFAULT_REGION"]
        self.credentials = Credentials(env["AWS_ACCESS_KEY_ID"], env["AWS_SECRET_ACCESS_KEY"])
        self.url = f"http://{landfall.listen}/"
        self.connection = http.client.HTTPConnection(landfall.listen, timeout=30)

    def send(self, service, headers, body):
        request = AWSRequest("POST", self.url, headers=headers, data=body)
        SigV4Auth(self.credentials, service, self.region).add_auth(request)
        prepared = request.prepare()
        self.connection.request("POST", "/", prepared.body or b"", dict(prepared.headers))
        answer = self.connection.getresponse()
        return answer.status, answer.read().decode()


def polite(service, status, text, what):
    assert 200 <= status < 500, (what, status, text)
    if status >= 400:
        code = json.loads(text)["__type"] if service == "ecs" else re.search("<Code>(.*?)</Code>", text)[1]
        assert re.fullmatch(r"[A-Za-z][A-Za-z0-9.]*", code), (what, text)
        message = json.loads(text)["message"] if service == "ecs" else re.search("<Message>(.*?)</Message>", text, re.S)[1]
        assert message, (what, text)


def garbage(service, model, operation):
    """Bodies that are nobody's, each with its headers."""
    if service == "ecs":
        headers = {"X-Amz-Target": f"{model.metadata['targetPrefix']}.{operation}", "Content-Type": "application/x-amz-json-1.1"}
        member = next(iter(model.operation_model(operation).input_shape.members), "x")
        deep = b'{"%s":' % member.encode()
        for body in (b"", b"{}", b"[]", b"null", b"\xff\xfe", b'{"', deep * 3000, deep + b"[" * 3000, deep + b"{}}", deep + b"[[]]}", deep + b"1e999}", deep + b'"\\ud800"}'):
            yield headers, body
    else:
        headers = {"Content-Type": "application/x-www-form-urlencoded; charset=utf-8"}
        start = f"Action={operation}&Version={model.metadata['apiVersion']}".encode()
        for more in (b"", b"&", b"&=", b"&\xff=%ff", b"&Filter.1.Name=", b"&Filter.1.Value.99999999999=x", b"&A" + b".1" * 5000 + b"=x", b"&DryRun=maybe", b"&Tags.member.x=y", b"&%00=%00"):
            yield headers, start + more


@pytest.mark.parametrize("service", models.SERVICES)
def test_no_request_is_our_fault(landfall, service):
    wire, model = Wire(landfall), models.SERVICES[service]
    serializer = botocore.serialize.create_serializer(model.metadata["protocol"])
    for operation in models.served(service):
        for headers, body in garbage(service, model, operation):
            polite(service, *wire.send(service, headers, body), (operation, body[:200]))
        if operation in SPARED:
            continue
        shape = model.operation_model(operation)
        for round in range(ROUNDS):
            rng = random.Random(f"{SEED}/{service}/{operation}/{round}/hostile")
            given = values.value(rng, shape.input_shape) if shape.input_shape else {}
            request = serializer.serialize_to_request(given, shape)
            polite(service, *wire.send(service, request["headers"], request["body"]), (operation, given))


def test_nothing_of_this_was_a_bug(landfall):
    log = (landfall.data / "landfall.log").read_text()
    assert "panicked" not in log and "bug=true" not in log
