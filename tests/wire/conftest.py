"""Our codecs beside botocore's: each writes what the other reads.

`SEED` chooses the values, `ROUNDS` how many there are of each operation.
"""

import base64
import json
import os
import pathlib
import subprocess

import pytest

ROOT = pathlib.Path(__file__).resolve().parents[2]
ECHO = pathlib.Path(os.environ.get("ECHO", ROOT / "target/debug/examples/echo"))
SEED = os.environ.get("SEED", "1")
ROUNDS = int(os.environ.get("ROUNDS", "3"))


class Echo:
    """The program that answers with what our side makes of it."""

    def __init__(self):
        self.process = subprocess.Popen([ECHO], stdin=subprocess.PIPE, stdout=subprocess.PIPE)

    def ask(self, what, body=b"", **question):
        question = {"do": what, "body": base64.b64encode(body).decode(), **question}
        self.process.stdin.write(json.dumps(question).encode() + b"\n")
        self.process.stdin.flush()
        line = self.process.stdout.readline()
        assert line, f"the echo died of {question}"
        return json.loads(line)

    def response(self, what, **question):
        """An answer as botocore's parsers take it."""
        answer = self.ask(what, **question)
        assert "headers" in answer, (answer, question)
        return {
            "status_code": answer["status"],
            "headers": dict(answer["headers"]),
            "body": base64.b64decode(answer["body"]),
        }


@pytest.fixture(scope="session")
def echo():
    echo = Echo()
    yield echo
    echo.process.stdin.close()
    assert echo.process.wait(10) == 0
