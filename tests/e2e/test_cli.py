"""The `landfall` command itself."""

import json
import shlex
import subprocess

from conftest import BINARY


def test_env_is_shell(landfall):
    done = subprocess.run(
        ["sh", "-c", f"{landfall.run('env').stdout}\nprintf '%s %s' \"$AWS_ENDPOINT_URL\" \"$AWS_DEFAULT_REGION\""],
        capture_output=True, text=True, check=True,
    )
    assert done.stdout == f"http://{landfall.listen} us-east-1"
    assert all(line.startswith("export ") for line in landfall.run("env").stdout.splitlines())
    assert shlex.split(landfall.run("env").stdout)


def test_status_shows_the_instance(landfall):
    status = json.loads(landfall.run("status", "--json").stdout)
    (instance,) = status["containerInstances"]
    assert instance["status"] == "ACTIVE" and instance["agentConnected"] is True
    assert "default" in landfall.run("status").stdout


def test_doctor_finds_nothing_wrong_here(landfall):
    checks = json.loads(landfall.run("doctor", "--json").stdout)["checks"]
    assert checks and all(check["status"] != "bad" for check in checks), checks


def test_version(landfall):
    version = json.loads(landfall.run("version", "--json").stdout)["version"]
    assert landfall.run("version").stdout.strip() == f"landfall {version}"


def test_a_second_one_on_the_same_state_is_refused(landfall):
    done = landfall.run("up", "--listen", "127.0.0.1:0", check=False, timeout=20)
    assert done.returncode != 0 and "in use" in done.stderr


def test_commands_on_nothing_say_so(tmp_path):
    for command in ("status", "env"):
        done = subprocess.run([BINARY, "--data-dir", tmp_path, command], capture_output=True, text=True, timeout=20)
        assert done.returncode != 0 and "landfall up" in done.stderr, done
    done = subprocess.run([BINARY, "--data-dir", tmp_path, "down"], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done
