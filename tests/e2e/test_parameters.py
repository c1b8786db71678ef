"""What a task definition says of running a container, and what the container then sees."""

import contextlib
import json
import os
import pathlib
import re
import socket
import subprocess
import time

import pytest

from conftest import ROOT, TRUST, eventually, installed, stop, task, wait, web

# An image that says everything an image can.
CONFIG = {
    "Entrypoint": ["sh", "-c", 'echo "args=$*"; id; pwd; echo "env=$A $B $HOME"; ls -ln /www', "entry"],
    "Cmd": ["of", "image"],
    "Env": ["PATH=/bin", "A=image", "B=image"],
    "User": "nobody",
    "WorkingDir": "/www",
    "Volumes": {"/www": {}},
    "StopSignal": "SIGRTMIN+3",
}


@pytest.fixture(scope="module")
def landfall(tmp_path_factory):
    archive = tmp_path_factory.mktemp("image") / "full.tar"
    build = [ROOT / "scripts/build-image", "docker.io/library/full:latest", archive, "--config", json.dumps(CONFIG)]
    subprocess.run(build, check=True)
    with installed() as installation:
        installation.run("image", "load", str(archive))
        yield installation


def sh(script, name="main", **more):
    """A container that runs a script; what is `None` is not said at all."""
    return {key: value for key, value in web(name, command=["sh", "-c", script], **more).items() if value is not None}


def start(landfall, *containers, mode="none", overrides=None, **more):
    """The ARN of a task of these containers. No network is the one that is there at once."""
    family = "parameters"
    definition = landfall.ecs.register_task_definition(
        family=family, networkMode=mode, containerDefinitions=list(containers), **more
    )["taskDefinition"]
    answer = landfall.ecs.run_task(taskDefinition=f"{family}:{definition['revision']}", overrides=overrides or {})
    assert answer["failures"] == [], answer
    return answer["tasks"][0]["taskArn"]


def said(landfall, arn, name="main"):
    return landfall.run("logs", arn, "--container", name).stdout


def over(landfall, *containers, **more):
    """A task of these containers once they have ended, and what each of them wrote."""
    arn = start(landfall, *containers, **more)
    ended = wait(landfall, arn, "STOPPED", 60)
    failed = {one["name"]: one["reason"] for one in ended["containers"] if "reason" in one}
    assert not failed, failed
    return ended, {one["name"]: said(landfall, arn, one["name"]) for one in ended["containers"]}


def side(**containers):
    """Containers beside an essential one, which ends when they have."""
    beside = [{**container, "name": name, "essential": False} for name, container in containers.items()]
    depends = [{"containerName": name, "condition": "COMPLETE"} for name in containers]
    return [*beside, sh("true", "last", dependsOn=depends)]


def why(landfall, *containers, **more):
    """Why the container `main` did not come up."""
    ended = wait(landfall, start(landfall, *containers, **more), "STOPPED", 60)
    return next(one.get("reason", "") for one in ended["containers"] if one["name"] == "main")


def full(**more):
    return {"image": "full:latest", "memory": 16, **more}


@pytest.fixture(scope="module", autouse=True)
def watched(landfall):
    """A task whose containers are checked every few seconds, while other tests run."""
    check = lambda *command, **more: {"healthCheck": {"command": list(command), "interval": 5, "retries": 1, "timeout": 2, **more}}  # noqa: E731
    wait_for = "while :; do sleep 0.05; done"
    beside = {
        "direct": sh(wait_for, **check("CMD", "test", "-d", "/www")),
        "shell": sh(wait_for, environment=[{"name": "W", "value": "/www"}], **check("CMD-SHELL", "test -d $W && exit 0")),
        "literal": sh(wait_for, environment=[{"name": "W", "value": "/www"}], **check("CMD", "test", "-d", "$W")),
        "slow": sh(wait_for, **check("CMD-SHELL", "sleep 9")),
        "young": sh(wait_for, **check("CMD", "false", startPeriod=60)),
        "none": sh(wait_for, **check("NONE")),
        "deaf": sh("trap '' TERM; " + wait_for, stopTimeout=2),
        "polite": full(entryPoint=["sh", "-c", "trap 'exit 7' 37; " + wait_for], stopTimeout=60),
    }
    beside = [{**container, "name": name, "essential": False, "stopTimeout": container.get("stopTimeout", 1)} for name, container in beside.items()]
    return start(landfall, *beside, sh("trap 'exit 0' TERM; " + wait_for))


def test_what_the_image_says_holds_until_the_definition_says_otherwise(landfall):
    show = 'id; pwd; echo "env=$A $B $HOME"'
    volume = {"mountPoints": [{"sourceVolume": "own", "containerPath": "/www/"}]}
    _, text = over(landfall, volumes=[{"name": "own"}], *side(
        image=full(),
        command=full(command=["of", "definition"]),
        entry=full(entryPoint=["sh", "-c", 'echo "args=$*"', "own"]),
        empty=full(entryPoint=[], command=[]),
        cleared=full(entryPoint=[""], command=["echo", "no entry"]),
        user=full(user="root", workingDirectory="/made/for/it", entryPoint=["sh", "-c", f"{show}; ls -ldn ."]),
        environment=full(environment=[{"name": "A", "value": "x=y"}, {"name": "B", "value": ""}]),
        volume=full(**volume, entryPoint=["sh", "-c", "ls -n /www; echo more > /www/x || echo denied"]),
        tmpfs=full(linuxParameters={"tmpfs": [{"containerPath": "/www", "size": 1}]}, entryPoint=["sh", "-c", "ls /www; mount | grep /www"]),
    ))
    image = text["image"].splitlines()
    assert image[:4] == ["args=of image", "uid=65534(nobody) gid=65534(nogroup) groups=65534(nogroup)", "/www", "env=image image /"]
    assert "index.html" in text["image"], "a volume begins with what the image has there"
    assert text["command"].startswith("args=of definition\n")
    assert text["entry"] == "args=\n", "the image's arguments were for the image's entry point"
    assert text["empty"].startswith("args=of image\n")
    assert text["cleared"] == "no entry\n"
    assert text["user"].splitlines()[:3] == ["uid=0(root) gid=0(root) groups=0(root)", "/made/for/it", "env=image image /root"]
    assert "env=x=y  /\n" in text["environment"]
    assert "index.html" in text["volume"] and "denied" in text["volume"], "it is root's, as in the image"
    assert "index.html" not in text["tmpfs"] and "size=1024k" in text["tmpfs"]


def test_users_are_those_of_the_image_or_numbers(landfall):
    users = {"a": "nobody", "b": "nobody:root", "c": "1234", "d": "1234:5678", "e": "65534", "f": "0:nogroup", "g": "4321:nogroup"}
    script = "id; grep Groups /proc/self/status; grep CapEff /proc/self/status"
    _, text = over(landfall, *side(**{name: sh(script, user=user, memory=16) for name, user in users.items()}))
    ids = {name: tuple(re.findall(r"[ug]id=(\d+)", text[name])) for name in users}
    assert ids == {
        "a": ("65534", "65534"), "b": ("65534", "0"), "c": ("1234", "0"), "d": ("1234", "5678"),
        "e": ("65534", "65534"), "f": ("0", "65534"), "g": ("4321", "65534"),
    }
    for name, (_, gid) in ids.items():
        assert f"Groups:\t{gid} \n" in text[name], "as Docker has it since 20.10.18"
    assert "CapEff:\t0000000000000000" in text["a"] and "CapEff:\t00000000a80425fb" in text["f"]


def test_variables_come_from_files_then_the_definition_then_the_overrides(landfall):
    files = landfall.data / "agent/s3/bucket"
    files.mkdir(parents=True)
    (files / "one.env").write_text("# one\nA=file\nB=file\nC=file\nA1=x=y \"z\"\nEMPTY=\nF=one\n")
    (files / "two.env").write_text("F=two\nG=two\n")
    main = sh(
        'echo "$A-$B-$C-$D-$F-$G-$A1-${EMPTY-unset}"; cat /proc/1/comm',
        environment=[{"name": "B", "value": "definition"}, {"name": "C", "value": "definition"}, {"name": "D", "value": "=a=b="}],
        environmentFiles=[{"type": "s3", "value": f"arn:aws:s3:::bucket/{name}.env"} for name in ("one", "two")],
    )
    role = landfall.client("iam").create_role(RoleName="execution", AssumeRolePolicyDocument=json.dumps(TRUST))["Role"]["Arn"]
    changed = {"name": "main", "environment": [{"name": "C", "value": "override"}]}
    _, text = over(landfall, main, executionRoleArn=role, overrides={"containerOverrides": [changed]})
    assert text["main"].splitlines()[0] == 'file-definition-override-=a=b=-one-two-x=y "z"-unset'
    lost = {**main, "environmentFiles": [{"type": "s3", "value": "arn:aws:s3:::bucket/none.env"}]}
    assert why(landfall, lost, executionRoleArn=role).startswith("ResourceInitializationError: failed to download env files: ")


def is_one_tree():
    return pathlib.Path("/sys/fs/cgroup/cgroup.controllers").exists()


MIB = 1 << 20
UNLIMITED = 1 << 62


@pytest.mark.skipif(is_one_tree(), reason="these files are those of cgroups of version 1")
def test_memory_and_cpu_are_limited_as_the_definition_and_the_overrides_say(landfall):
    script = (
        "cd /sys/fs/cgroup; cat memory/memory.limit_in_bytes memory/memory.soft_limit_in_bytes "
        "memory/memory.memsw.limit_in_bytes memory/memory.swappiness cpu/cpu.shares"
    )
    linux = lambda **more: {"linuxParameters": more}  # noqa: E731
    _, text = over(landfall, *side(
        both=sh(script, memory=64, memoryReservation=32, cpu=100),
        least=sh(script, memory=6, cpu=0),
        one=sh(script, memory=16, cpu=1),
        soft=sh(script, memory=None, memoryReservation=16),
        swap=sh(script, **linux(maxSwap=32, swappiness=10)),
        none=sh(script, **linux(maxSwap=0, swappiness=0)),
        alone=sh(script, **linux(swappiness=10)),
        changed=sh(script, memory=64, memoryReservation=32, cpu=100),
    ), overrides={"containerOverrides": [{"name": "changed", "memory": 128, "memoryReservation": 48, "cpu": 200}]})
    seen = {name: [min(int(line), UNLIMITED) for line in lines.split()] for name, lines in text.items() if lines}
    usual = seen["both"][3]
    assert seen == {
        "both": [64 * MIB, 32 * MIB, 128 * MIB, usual, 100],
        "least": [6 * MIB, UNLIMITED, 12 * MIB, usual, 2],
        "one": [16 * MIB, UNLIMITED, 32 * MIB, usual, 2],
        "soft": [UNLIMITED, 16 * MIB, UNLIMITED, usual, 16],
        "swap": [64 * MIB, UNLIMITED, 96 * MIB, 10, 16],
        "none": [64 * MIB, UNLIMITED, 64 * MIB, 0, 16],
        # AWS: without maxSwap it counts for nothing.
        "alone": [64 * MIB, UNLIMITED, 128 * MIB, usual, 16],
        "changed": [128 * MIB, 48 * MIB, 256 * MIB, usual, 200],
    }


def test_the_tasks_own_limits_hold_for_all_its_containers(landfall):
    hog = sh("tail /dev/zero", memory=None)
    arn = start(landfall, hog, cpu="256", memory="512", overrides={"memory": "32", "cpu": "128"})
    main = wait(landfall, arn, "STOPPED", 60)["containers"][0]
    assert (main["exitCode"], main["reason"]) == (137, "OutOfMemoryError: Container killed due to memory usage")
    arn = start(landfall, sh("sleep 100", memory=None, stopTimeout=1), cpu="256", memory="512", overrides={"memory": "32", "cpu": "128"})
    wait(landfall, arn, "RUNNING")
    ours = {path.name: path.read_text().split() for path in pathlib.Path("/sys/fs/cgroup").glob(f"*/{landfall.prefix}/{arn.rsplit('/', 1)[1]}/*")
            if path.name in ("memory.limit_in_bytes", "cpu.cfs_quota_us")}
    one = pathlib.Path("/sys/fs/cgroup") / landfall.prefix / arn.rsplit("/", 1)[1]
    ours = ours or {name: (one / name).read_text().split() for name in ("memory.max", "cpu.max")}
    assert [values[0] for _, values in sorted(ours.items())] == ["12500", str(32 * MIB)]
    stop(landfall, arn)


# Says of each path whether one may write there.
WRITE = "w() { (: >> $1) 2> /dev/null && echo $1 yes || echo $1 no; };"


def test_what_may_be_written_and_seen_is_as_with_docker(landfall):
    look = (
        "grep -E '^(CapEff|CapBnd|NoNewPrivs|Seccomp):' /proc/self/status; wc -c < /proc/keys; ls /sys/firmware | wc -l; "
        "cat /proc/self/oom_score_adj /proc/sys/net/ipv4/ping_group_range /proc/sys/net/ipv4/ip_unprivileged_port_start;"
    )
    places = WRITE + "for p in /x /etc/hosts /dev/x /dev/shm/x /sys/x /proc/sys/kernel/msgmax /sys/fs/cgroup/cpu/tasks /own/x /seen/x /scratch/x; do w $p; done;"
    mounts = {
        "mountPoints": [{"sourceVolume": "own", "containerPath": "/own"}, {"sourceVolume": "seen", "containerPath": "/seen", "readOnly": True}],
        "linuxParameters": {"tmpfs": [{"containerPath": "/scratch", "size": 1, "mountOptions": ["exec", "mode=750", "uid=1234"]}]},
    }
    options = "stat -c '%a %u' /scratch; mount | grep /scratch"
    _, text = over(landfall, volumes=[{"name": "own"}, {"name": "seen"}], *side(
        plain=sh(look + places, **mounts),
        sealed=sh(places + options, readonlyRootFilesystem=True, **mounts),
        strict=sh(look, dockerSecurityOptions=["no-new-privileges"]),
        loose=sh(look, dockerSecurityOptions=["seccomp:unconfined"]),
        mighty=sh(look + "ls /dev | wc -l", privileged=True),
    ))
    plain = text["plain"].splitlines()
    assert plain[:4] == ["CapBnd:\t00000000a80425fb", "CapEff:\t00000000a80425fb"][::-1] + ["NoNewPrivs:\t0", "Seccomp:\t2"]
    assert plain[4:9] == ["0", "0", "0", "0\t2147483647", "0"], "masked, as easy to kill as others, and everybody may ping"
    may = lambda name: {path for path, yes in re.findall(r"(/\S+) (yes|no)", text[name]) if yes == "yes"}  # noqa: E731
    assert may("plain") == {"/x", "/etc/hosts", "/dev/x", "/dev/shm/x", "/own/x", "/scratch/x"}
    assert may("sealed") == {"/dev/x", "/dev/shm/x", "/own/x", "/scratch/x"}
    assert "\n750 1234\n" in text["sealed"] and "noexec" not in text["sealed"] and "nosuid,nodev" in text["sealed"]
    assert "NoNewPrivs:\t1" in text["strict"] and "Seccomp:\t0" in text["loose"]
    mighty = text["mighty"].splitlines()
    ours = re.search(r"CapBnd:\s+(\w+)", pathlib.Path("/proc/self/status").read_text()).group(1)
    assert mighty[0] == f"CapEff:\t{ours}" and mighty[3] == "Seccomp:\t0" and int(mighty[-1]) > 20


def test_capabilities_limits_and_devices_are_as_asked(landfall):
    caps = "grep -E '^Cap(Eff|Bnd)' /proc/self/status;"
    change = lambda **more: {"linuxParameters": {"capabilities": more}}  # noqa: E731
    control = {"hostPath": "/dev/loop-control", "containerPath": "/dev/hole"}
    device = lambda *permissions: {"linuxParameters": {"devices": [{**control, "permissions": list(permissions)} if permissions else control]}}  # noqa: E731
    opened = "dd if=/dev/hole bs=1 count=0 2> /dev/null && echo read;" + WRITE + "w /dev/hole"
    limit = lambda name, soft, hard: {"name": name, "softLimit": soft, "hardLimit": hard}  # noqa: E731
    _, text = over(landfall, *side(
        more=sh(caps, **change(add=["NET_ADMIN"], drop=["CHOWN", "MKNOD"])),
        few=sh(caps, **change(add=["KILL"], drop=["ALL"])),
        again=sh(caps, **change(add=["CHOWN"], drop=["CHOWN"])),
        nobody=sh(caps, user="nobody", **change(add=["NET_ADMIN"])),
        limits=sh("ulimit -Sn; ulimit -Hn; ulimit -Hc; ulimit -Ss", ulimits=[limit("nofile", 30, 40), limit("core", 0, 0), limit("stack", 1048576, -1)]),
        init=sh("cat /proc/1/comm; df -k /dev/shm | tail -1", linuxParameters={"initProcessEnabled": True, "sharedMemorySize": 8}),
        reader=sh(opened, **device("read")),
        both=sh(opened, **device()),
        terminal=sh("tty; readlink /proc/self/fd/0", pseudoTerminal=True, interactive=True),
    ))
    bits = {name: [int(word, 16) for word in re.findall(r"\t([0-9a-f]{16})", text[name])] for name in ("more", "few", "again", "nobody")}
    usual = 0xA80425FB
    wanted = usual | 1 << 12
    assert bits["more"] == [wanted & ~(1 << 0) & ~(1 << 27)] * 2
    assert bits["few"] == [1 << 5] * 2 and bits["again"] == [usual] * 2
    assert sorted(bits["nobody"]) == [0, wanted], "who is not root has them only to gain"
    assert text["limits"].split() == ["30", "40", "0", "1024"]
    init = text["init"].split()
    assert init[0] == "docker-init" and init[2] == "8192"
    assert text["reader"].split() == ["read", "/dev/hole", "no"]
    assert text["both"].split() == ["read", "/dev/hole", "yes"]
    assert text["terminal"].count("/dev/pts/0") == 2


def test_settings_of_the_kernel_are_the_tasks_own(landfall):
    controls = {"net.core.somaxconn": "77", "kernel.msgmax": "4242", "fs.mqueue.msg_max": "7", "net.ipv4.ip_unprivileged_port_start": "500"}
    read = "".join(f"cat /proc/sys/{name.replace('.', '/')};" for name in controls)
    main = sh(read, systemControls=[{"namespace": name, "value": value} for name, value in controls.items()])
    before = pathlib.Path("/proc/sys/net/core/somaxconn").read_text()
    _, text = over(landfall, main)
    assert text["main"].split() == list(controls.values())
    assert pathlib.Path("/proc/sys/net/core/somaxconn").read_text() == before
    later = sh("cat /proc/sys/kernel/msgmax", dependsOn=[{"containerName": "setter", "condition": "COMPLETE"}])
    for mode, seen in [("task", "4242"), (None, pathlib.Path("/proc/sys/kernel/msgmax").read_text().strip())]:
        _, text = over(landfall, *side(setter=main, later=later), **({"ipcMode": mode} if mode else {}))
        assert text["later"].strip() == seen, "of its own, unless the task's containers share them"


DAEMON = "Error response from daemon: "


@pytest.mark.parametrize("more, reason", [
    ({"user": "stranger"}, f"CannotStartContainerError: {DAEMON}unable to find user stranger: no matching entries in passwd file"),
    ({"user": "nobody:strangers"}, f"CannotStartContainerError: {DAEMON}unable to find group strangers: no matching entries in group file"),
    ({"user": "99999999999"}, f"CannotStartContainerError: {DAEMON}uids and gids must be in range 0-2147483647"),
    ({"workingDirectory": "relative"}, f"CannotCreateContainerError: {DAEMON}the working directory 'relative' is invalid, it needs to be an absolute path"),
    ({"workingDirectory": "/etc/passwd"}, "/etc/passwd"),
    ({"command": ["/no/such"]}, 'exec: "/no/such": stat /no/such: no such file or directory'),
    ({"command": ["/etc/passwd"]}, 'exec: "/etc/passwd": permission denied'),
    ({"linuxParameters": {"devices": [{"hostPath": "/dev/none"}]}},
     f'CannotStartContainerError: {DAEMON}error gathering device information while adding custom device "/dev/none": no such file or directory'),
    ({"linuxParameters": {"devices": [{"hostPath": "/etc/passwd"}]}},
     f'CannotStartContainerError: {DAEMON}error gathering device information while adding custom device "/etc/passwd": not a device node'),
    ({"systemControls": [{"namespace": "net.ipv4.no_such", "value": "1"}]}, "open /proc/sys/net/ipv4/no_such: no such file or directory"),
    ({"dockerSecurityOptions": ["bogus:x"]}, f'CannotCreateContainerError: {DAEMON}invalid --security-opt: "bogus:x"'),
    ({"mountPoints": [{"sourceVolume": "v", "containerPath": "/v/"}], "linuxParameters": {"tmpfs": [{"containerPath": "/v", "size": 1}]}},
     f"CannotCreateContainerError: {DAEMON}Duplicate mount point: /v"),
    ({"mountPoints": [{"sourceVolume": "v", "containerPath": "/"}]}, f"CannotCreateContainerError: {DAEMON}invalid specification: destination can't be '/'"),
    ({"mountPoints": [{"sourceVolume": "v", "containerPath": "v"}]}, "mount path must be absolute"),
], ids=lambda value: ",".join(value) if isinstance(value, dict) else "")
def test_what_cannot_be_says_why(landfall, more, reason):
    said = why(landfall, {**sh("true"), **more}, volumes=[{"name": "v"}])
    assert said.startswith(reason) if "Error: " in reason else said.startswith("Cannot") and reason in said, said


@pytest.mark.parametrize("option", ["label:type:x", "apparmor:mine"])
def test_what_the_machine_has_not_is_a_failure_of_the_placement(landfall, option):
    if option.startswith("apparmor") and pathlib.Path("/sys/kernel/security/apparmor").exists():
        pytest.skip("the machine has it")
    landfall.ecs.register_task_definition(family="secure", networkMode="none", containerDefinitions=[sh("true", dockerSecurityOptions=[option])])
    (failure,) = landfall.ecs.run_task(taskDefinition="secure")["failures"]
    assert failure["reason"] == "ATTRIBUTE"


def test_volumes_of_the_host_of_a_task_and_of_all(landfall, tmp_path):
    docker = lambda **more: {"dockerVolumeConfiguration": {"driver": "local", **more}}  # noqa: E731
    file = tmp_path / "file"
    file.write_text("a single file\n")
    volumes = [
        {"name": "host", "host": {"sourcePath": str(tmp_path / "made/for/it")}},
        {"name": "file", "host": {"sourcePath": str(file)}},
        {"name": "mine", **docker(scope="task")},
        {"name": "all", **docker(scope="shared", autoprovision=True, labels={"team": "web"})},
        {"name": "empty", "host": {}},
    ]
    everywhere = [{"sourceVolume": one["name"], "containerPath": f"/{one['name']}"} for one in volumes]
    places = "for p in /host/x /mine/x /all/x /empty/x; do"
    read = "cat /file; " + places + " echo $p $(cat $p); done; " + WRITE + places + " w $p; done"
    for turn in ("one", "two"):
        writer = sh(places + f" echo {turn} >> $p; done", "writer", essential=False, mountPoints=everywhere)
        reader = sh(read, volumesFrom=[{"sourceContainer": "middle", "readOnly": True}], dependsOn=[{"containerName": "writer", "condition": "SUCCESS"}])
        middle = sh("true", "middle", essential=False, volumesFrom=[{"sourceContainer": "writer"}])
        _, text = over(landfall, writer, middle, reader, volumes=volumes)
        kept = "one" if turn == "one" else "one two"
        lines = text["main"].splitlines()
        assert lines[:5] == ["a single file", f"/host/x {kept}", f"/mine/x {turn}", f"/all/x {kept}", f"/empty/x {turn}"]
        assert lines[5:] == ["/host/x no", "/mine/x no", "/all/x no", "/empty/x no"]
    assert (tmp_path / "made/for/it/x").read_text() == "one\ntwo\n"


FILES = "hostname; echo $HOSTNAME; cat /etc/hostname; cat /etc/hosts; cat /etc/resolv.conf;"
NAMED = {
    "hostname": "named", "dnsServers": ["192.0.2.53"], "dnsSearchDomains": ["a.example", "b.example"],
    "extraHosts": [{"hostname": "db", "ipAddress": "192.0.2.9"}, {"hostname": "six", "ipAddress": "2001:db8::9"}, {"hostname": "machine", "ipAddress": "host-gateway"}],
}


@pytest.mark.parametrize("mode", ["none", "host", "bridge"])
def test_names_are_the_containers_own(landfall, mode):
    spaces = "readlink /proc/self/ns/uts; readlink /proc/self/ns/net;"
    rename = {"linuxParameters": {"capabilities": {"add": ["SYS_ADMIN"]}}}
    name = socket.gethostname()
    try:
        _, text = over(landfall, mode=mode, *side(
            named=sh(FILES + spaces + "ip route | sed -n 's/default via //p'", **NAMED),
            plain=sh(FILES + 'echo known $(grep -c "$(hostname)" /etc/hosts)'),
            renamed=sh("hostname changed && hostname", **rename),
        ))
        assert socket.gethostname() == name, "a task's name is not the machine's"
    finally:
        socket.sethostname(name)
    named, plain = text["named"], text["plain"].splitlines()
    assert named.splitlines()[:3] == ["named"] * 3
    assert "192.0.2.9\tdb\n" in named and "2001:db8::9\tsix\n" in named and "192.0.2.9" not in text["plain"]
    assert "search a.example b.example\nnameserver 192.0.2.53\n" in named and named.count("nameserver") == 1
    assert len(set(plain[:3])) == 1, "it is called the same everywhere"
    if mode == "bridge":
        assert plain[-1] == "known 1"
        gateway = re.search(r"(\S+) dev eth0", named).group(1)
        assert f"{gateway}\tmachine\n" in named
    if mode == "host":
        assert plain[0] == name and "127.0.0.1\tmachine\n" in named
    assert text["renamed"] == "changed\n"
    assert os.readlink("/proc/self/ns/uts") not in named
    assert (os.readlink("/proc/self/ns/net") in named) == (mode == "host")


def test_processes_and_memory_may_be_the_hosts_or_nobodys(landfall):
    look = "readlink /proc/self/ns/pid; readlink /proc/self/ns/ipc; mount | grep -c /dev/shm"
    ours = [os.readlink(f"/proc/self/ns/{kind}") for kind in ("pid", "ipc")]
    _, text = over(landfall, sh(look), pidMode="host", ipcMode="host")
    assert text["main"].split() == [*ours, "1"]
    _, text = over(landfall, sh(look + "; true"), ipcMode="none")
    pid, ipc, mounts = text["main"].split()
    assert [pid, ipc] != ours and pid != ours[0] and ipc != ours[1] and mounts == "0"


def test_who_is_asked_to_stop_and_who_is_well(landfall, watched):
    arn = watched
    healths = lambda: {one["name"]: one["healthStatus"] for one in task(landfall, arn)["containers"]}  # noqa: E731
    wanted = {"direct": "HEALTHY", "shell": "HEALTHY", "literal": "UNHEALTHY", "slow": "UNHEALTHY"}
    eventually("the checks having been heard", lambda: {name: healths()[name] for name in wanted} == wanted, 30)
    assert {healths()[name] for name in ("young", "none", "main")} == {"UNKNOWN"}
    begun = time.monotonic()
    (stopped,) = stop(landfall, arn)
    assert 2 <= time.monotonic() - begun < 20
    codes = {one["name"]: one.get("exitCode") for one in stopped["containers"]}
    assert (codes["deaf"], codes["polite"], codes["main"]) == (137, 7, 0)


def test_who_waits_too_long_does_not_come_up(landfall):
    slow = sh("sleep 100", "slow", essential=False, startTimeout=1, stopTimeout=1)
    for condition in ("COMPLETE", "SUCCESS"):
        said = why(landfall, slow, sh("true", dependsOn=[{"containerName": "slow", "condition": condition}]))
        assert said.startswith("CannotStartContainerError: dependency graph: "), said


def test_who_comes_again_and_who_does_not(landfall):
    policy = lambda **more: {"restartPolicy": {"enabled": True, "restartAttemptPeriod": 60, **more}}  # noqa: E731
    script = "echo life; exit 3"
    ended, text = over(landfall, *side(brief=sh(script, **policy()), ignored=sh(script, **policy(ignoredExitCodes=[3]))))
    assert text["brief"] == text["ignored"] == "life\n", "it did not run for so long"
    assert {one["name"]: one["exitCode"] for one in ended["containers"]} == {"brief": 3, "ignored": 3, "last": 0}
