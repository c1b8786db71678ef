"""Every served operation, both ways."""

import base64
import datetime
import random
import re

import botocore.parsers
import botocore.serialize
import pytest
from botocore.awsrequest import AWSRequest
from conftest import ROUNDS, SEED

import values
from models import SERVICES, served

OPERATIONS = [(service, operation) for service in SERVICES for operation in served(service)]


def as_json(value):
    """As our shapes put it in JSON."""
    if isinstance(value, dict):
        return {name: as_json(item) for name, item in value.items()}
    if isinstance(value, list):
        return [as_json(item) for item in value]
    if isinstance(value, bytes):
        return base64.b64encode(value).decode()
    if isinstance(value, datetime.datetime):
        return value.timestamp()
    return value


def without_nulls(value):
    """Our members that are absent are null."""
    if isinstance(value, dict):
        return {name: without_nulls(item) for name, item in value.items() if item is not None}
    if isinstance(value, list):
        return [without_nulls(item) for item in value]
    return value


@pytest.mark.parametrize("service, operation", OPERATIONS)
def test_we_read_what_botocore_writes(echo, service, operation):
    model = SERVICES[service]
    serializer = botocore.serialize.create_serializer(model.metadata["protocol"], include_validation=True)
    shape = model.operation_model(operation)
    for round in range(ROUNDS):
        rng = random.Random(f"{SEED}/{service}/{operation}/{round}")
        given = values.value(rng, shape.input_shape) if shape.input_shape else {}
        wire = serializer.serialize_to_request(given, shape)
        request = AWSRequest(wire["method"], "http://localhost/", headers=wire["headers"], data=wire["body"]).prepare()
        body = request.body or b""
        headers = [(name, value) for name, value in request.headers.items()]
        answer = echo.ask(
            "read", body=body if isinstance(body, bytes) else body.encode(),
            method=wire["method"], query="", headers=headers, scope=service,
        )
        assert answer.get("operation") == operation, (answer, given, body)
        expected = as_json(values.plain(given, model.metadata["protocol"]))
        assert without_nulls(answer["value"]) == expected, body


@pytest.mark.parametrize("service, operation", OPERATIONS)
def test_botocore_reads_what_we_write(echo, service, operation):
    model = SERVICES[service]
    parser = botocore.parsers.create_parser(model.metadata["protocol"])
    shape = model.operation_model(operation).output_shape
    for round in range(ROUNDS):
        rng = random.Random(f"{SEED}/{service}/{operation}/{round}/answer")
        given = values.value(rng, shape, demanding=False) if shape else {}
        response = echo.response("write", service=service, operation=operation, value=as_json(given), id="r-1")
        parsed = parser.parse(response, shape)
        metadata = parsed.pop("ResponseMetadata")
        assert (metadata["RequestId"], metadata["HTTPStatusCode"]) == ("r-1", 200)
        assert parsed == given, response["body"]


@pytest.mark.parametrize("service, operation", OPERATIONS)
def test_an_answer_without_content_is_what_aws_sends(echo, service, operation):
    model = SERVICES[service]
    shape = model.operation_model(operation).output_shape
    body = echo.response("write", service=service, operation=operation, value={}, id="r-1")["body"].decode()
    head = '<?xml version="1.0" encoding="UTF-8"?>\n'
    protocol = model.metadata["protocol"]
    if protocol == "json":
        assert body == "{}"
        return
    namespace = model.metadata["xmlNamespace"].rstrip("/") + "/"
    if protocol == "ec2":
        inner = "<requestId>r-1</requestId>" + ("" if shape else "<return>true</return>")
    else:
        wrapper = shape.serialization["resultWrapper"] if shape else None
        result = f"<{wrapper}></{wrapper}>" if wrapper else ""
        inner = f"{result}<ResponseMetadata><RequestId>r-1</RequestId></ResponseMetadata>"
    assert body == f'{head}<{operation}Response xmlns="{namespace}">{inner}</{operation}Response>'


@pytest.mark.parametrize("service", SERVICES)
def test_botocore_reads_our_refusals(echo, service):
    model = SERVICES[service]
    parser = botocore.parsers.create_parser(model.metadata["protocol"])
    for round in range(20):
        rng = random.Random(f"{SEED}/{service}/{round}/refusal")
        code = rng.choice(["ClientException", "InvalidParameterValue", "InvalidGroup.NotFound", "NoSuchEntity"])
        message = "".join(rng.choice(values.WILD) for _ in range(rng.randint(1, 40)))
        status = rng.choice([400, 401, 403, 404, 405, 409, 413, 429, 500, 503])
        response = echo.response("refuse", service=service, status=status, code=code, message=message, id="r-1")
        parsed = parser.parse(response, model.operation_model(served(service)[0]).output_shape)
        error = {name: parsed["Error"][name] for name in ("Code", "Message")}
        assert error == {"Code": code, "Message": message}, response
        metadata = parsed["ResponseMetadata"]
        assert (metadata["RequestId"], metadata["HTTPStatusCode"]) == ("r-1", status)


@pytest.mark.parametrize("service", SERVICES)
def test_answers_are_labelled(echo, service):
    for what in ({"do": "write", "operation": served(service)[0], "value": {}}, {"do": "refuse", "status": 400, "code": "A", "message": ""}):
        headers = echo.response(what.pop("do"), service=service, id="r-1", **what)["headers"]
        assert headers["x-amzn-requestid"] == "r-1"
        wanted = r"application/x-amz-json-1\.1" if service == "ecs" else r"text/xml;charset=UTF-8"
        assert re.fullmatch(wanted, headers["content-type"])
