"""What botocore signs we believe, as it is, and not once it is touched."""

import base64
import io
import re
import time
import urllib.parse

import botocore.auth
import pytest
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials
from botocore.httpchecksum import AwsChunkedWrapper, Crc32Checksum, Sha256Checksum

SECRET = "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY"
HOST = "http://127.0.0.1:4566"

PATHS = [
    "/", "//", "/a", "/a/", "//a//b/", "/./a", "/a/.", "/a/..", "/a/../..", "/a/./../b/", "/.../..a",
    "/a%20b", "/a%2Fb", "/%2e%2e/a", "/%E1%88%B4", "/-._~/", "/a:b@c!$&'()*,;=", "/100%25", "/a+b",
]
QUERIES = [
    "", "a=1", "b=2&a=1", "a=2&a=1", "a=&b", "A=1&a=2", "a-b=1&a=1&a.b=1", "k=%20&k=%2B&k=%2F",
    "%E1%88%B4=bar", "x=a%3Db%26c", "p=~-._", "q=%C3%A9%F0%9F%A6%80", "Action=DescribeVpcs&Version=2016-11-15",
]
HEADERS = [
    {},
    {"X-Amz-Target": "AmazonEC2ContainerServiceV20141113.RunTask", "Content-Type": "application/x-amz-json-1.1"},
    {"X-Amz-Meta": "  a   b  "},
    {"X-Empty": ""},
    {"X-Amz-Quoted": '"a   b"'},
    {"My-Header": "a,b , c", "my-other": "\tx"},
    {"X-Amz-Content-SHA256": "UNSIGNED-PAYLOAD"},
    {"Date": "botocore signs with the time of day in its place, and without X-Amz-Date"},
]
BODIES = [b"", b"{}", "Größe".encode(), bytes(range(256))]


def cases():
    """Every path, query, header and body, though not each with each."""
    for path in PATHS:
        yield "POST", path, "a=1", {}, b"{}"
    for query in QUERIES:
        yield "GET", "/", query, {}, b""
        yield "POST", "/a/..//b", query, {"Content-Type": "text/plain"}, b"x"
    for headers in HEADERS:
        for body in BODIES:
            yield "POST", "/", "", headers, body
    for method in ("GET", "HEAD", "PUT", "DELETE", "OPTIONS"):
        yield method, "/a", "b", {}, b""


def sign(auth, method, path, query, headers, body, token=None, service="ecs", **more):
    url = f"{HOST}{path}" + (f"?{query}" if query else "")
    request = AWSRequest(method, url, data=body, headers=headers)
    auth(Credentials("AKIDEXAMPLE", SECRET, token), service, "eu-west-1", **more).add_auth(request)
    prepared = request.prepare()
    parts = urllib.parse.urlsplit(prepared.url)
    headers = [(name, value if isinstance(value, str) else value.decode()) for name, value in prepared.headers.items()]
    if not any(name.lower() == "host" for name, _ in headers):
        headers.append(("Host", parts.netloc))
    return {"method": method, "path": parts.path, "query": parts.query, "headers": headers, "body": prepared.body or b"", "service": service}


def believed(echo, request, secret=SECRET, now=None):
    answer = echo.ask("verify", secret=secret, now=int(now if now is not None else time.time()), **request)
    return answer.get("code", "yes"), answer.get("message", "")


@pytest.mark.parametrize("auth", [botocore.auth.SigV4Auth, botocore.auth.SigV4QueryAuth])
@pytest.mark.parametrize("token", [None, "AQoDYXdzEJr//+==/&?"])
def test_header_and_query(echo, auth, token):
    query = auth is botocore.auth.SigV4QueryAuth
    for method, path, more, headers, body in cases():
        if query and ("X-Amz-Content-SHA256" in headers or method == "POST" and body):
            # botocore moves the body of a presigned form into its query.
            headers, body = {}, b""
        request = sign(auth, method, path, more, dict(headers), body, token)
        assert believed(echo, request)[0] == "yes", request
        assert believed(echo, request, "guess")[0] == "InvalidSignatureException", request
        for name in ("method", "path", "query"):
            touched = {"method": "PATCH", "path": request["path"] + "x", "query": (request["query"] + "&z=1").lstrip("&")}[name]
            assert believed(echo, {**request, name: touched})[0] == "InvalidSignatureException", (name, request)


def test_order_and_case_are_the_clients(echo):
    request = sign(botocore.auth.SigV4Auth, "POST", "/", "b=2&a=1", {"X-Amz-B": "1", "x-amz-a": "2"}, b"{}")
    assert believed(echo, {**request, "query": "a=1&b=2"})[0] == "yes", "the order of a query is nobody's"
    assert believed(echo, {**request, "headers": request["headers"][::-1]})[0] == "yes"
    upper = [(name.upper(), value) for name, value in request["headers"]]
    assert believed(echo, {**request, "headers": upper})[0] == "yes"
    twice = [*request["headers"], ("X-Amz-B", "1")]
    assert believed(echo, {**request, "headers": twice})[0] == "InvalidSignatureException"
    without = [(name, value) for name, value in request["headers"] if name.lower() != "host"]
    assert believed(echo, {**request, "headers": without})[0] == "InvalidSignatureException"
    other = [*without, ("Host", "elsewhere:4566")]
    assert believed(echo, {**request, "headers": other})[0] == "InvalidSignatureException"


def test_literal_paths_are_s3s(echo):
    # Of what need not be encoded and is, and the other way round, S3 and botocore
    # think differently.
    for path in (path for path in PATHS if re.fullmatch("[a-z0-9/._~%A-F-]*", path) and "%2e" not in path):
        request = sign(botocore.auth.S3SigV4Auth, "GET", path, "", {}, b"", service="s3")
        answer = echo.ask("verify", secret=SECRET, now=int(time.time()), **{**request, "service": "ecs"})
        assert answer == {}, (path, answer)


def test_presigned_requests_expire(echo):
    now = time.time()
    request = sign(botocore.auth.SigV4QueryAuth, "GET", "/", "Action=GetCallerIdentity&Version=2011-06-15", {}, b"", service="sts", expires=60)
    assert believed(echo, request, now=now + 50)[0] == "yes"
    code, message = believed(echo, request, now=now + 70)
    assert code == "SignatureDoesNotMatch" and message.startswith("Signature expired: "), message
    code, message = believed(echo, request, now=now - 16 * 60)
    assert code == "SignatureDoesNotMatch" and message.startswith("Signature not yet current: "), message
    longest = sign(botocore.auth.SigV4QueryAuth, "GET", "/", "", {}, b"", expires=7 * 24 * 3600)
    assert believed(echo, longest, now=now + 6 * 24 * 3600)[0] == "yes"
    too_long = sign(botocore.auth.SigV4QueryAuth, "GET", "/", "", {}, b"", expires=7 * 24 * 3600 + 1)
    assert believed(echo, too_long)[0] == "IncompleteSignatureException"


def test_a_token_in_the_query_is_signed(echo):
    """Some services take a token that was added after signing; none of ours does."""
    request = sign(botocore.auth.SigV4QueryAuth, "GET", "/", "", {}, b"")
    added = {**request, "query": request["query"] + "&X-Amz-Security-Token=t"}
    assert believed(echo, added)[0] == "InvalidSignatureException"
    request = sign(botocore.auth.SigV4QueryAuth, "GET", "/", "", {}, b"", token="t")
    stripped = request["query"].replace("&X-Amz-Security-Token=t", "")
    assert stripped != request["query"]
    assert believed(echo, {**request, "query": stripped})[0] == "InvalidSignatureException"


@pytest.mark.parametrize("checksum", [Crc32Checksum, Sha256Checksum])
@pytest.mark.parametrize("size", [1, 7, 64, 4096])
def test_what_botocore_cuts_in_chunks_we_put_together(echo, checksum, size):
    name = f"x-amz-checksum-{checksum.__name__.removesuffix('Checksum').lower()}"
    headers = [("X-Amz-Content-SHA256", "STREAMING-UNSIGNED-PAYLOAD-TRAILER"), ("X-Amz-Trailer", name)]
    for body in (*BODIES, b"x" * 1000, b"\r\n0\r\n\r\n" * 100):
        cut = AwsChunkedWrapper(io.BytesIO(body), checksum, name, chunk_size=size).read()
        given = [*headers, ("X-Amz-Decoded-Content-Length", str(len(body)))]
        assert base64.b64decode(echo.ask("unchunk", cut, headers=given)["body"]) == body
        for end in range(0, len(cut), max(1, len(cut) // 50)):
            assert echo.ask("unchunk", cut[:end], headers=given)["code"] in ("IncompleteBody", "InvalidRequest"), end
        longer = [*headers, ("X-Amz-Decoded-Content-Length", str(len(body) + 1))]
        assert echo.ask("unchunk", cut, headers=longer)["code"] == "IncompleteBody"
