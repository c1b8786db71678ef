"""What container definitions ask for, through the control plane and the agent."""

from conftest import eventually, register, run, stop, task, wait, web


def shell(script, name="main", **more):
    return web(name, command=["sh", "-c", script], **more)


def container(landfall, arn, name):
    return next(c for c in task(landfall, arn)["containers"] if c["name"] == name)


def test_dependencies_and_health_decide_what_comes_up(landfall, network):
    init = shell("echo ready > /v/x", "init", essential=False, mountPoints=[{"sourceVolume": "v", "containerPath": "/v"}])
    db = shell(
        "touch /tmp/up; while :; do sleep 0.1; done", "db",
        healthCheck={"command": ["CMD-SHELL", "test -e /tmp/up"], "interval": 5, "retries": 1, "startPeriod": 60},
    )
    main = shell(
        "cat /v/x; while :; do sleep 0.1; done",
        dependsOn=[{"containerName": "init", "condition": "SUCCESS"}, {"containerName": "db", "condition": "HEALTHY"}],
        volumesFrom=[{"sourceContainer": "init", "readOnly": True}],
    )
    definition = register(landfall, "ordered", main, init, db, volumes=[{"name": "v", "host": {}}])
    (arn,) = run(landfall, definition, network.subnet)
    wait(landfall, arn, "RUNNING", 60)
    assert container(landfall, arn, "init")["exitCode"] == 0
    eventually("its health being told", lambda: container(landfall, arn, "db")["healthStatus"] == "HEALTHY", 40)
    assert task(landfall, arn)["healthStatus"] == "HEALTHY"
    assert "ready" in landfall.run("logs", arn).stdout
    (stopped,) = stop(landfall, arn)
    assert {c["name"] for c in stopped["containers"]} == {"init", "db", "main"}


def test_what_waits_in_vain_fails_the_start(landfall, network):
    init = shell("exit 3", "init", essential=False)
    main = shell("true", dependsOn=[{"containerName": "init", "condition": "SUCCESS"}])
    (arn,) = run(landfall, register(landfall, "vain", init, main), network.subnet)
    stopped = wait(landfall, arn, "STOPPED", 60)
    reasons = {c["name"]: c.get("reason", "") for c in stopped["containers"]}
    assert reasons["main"].startswith("CannotStartContainerError: dependency graph: "), reasons


def test_parameters_of_the_kernel_and_the_terminal(landfall, network):
    script = "cat /proc/1/comm; grep Seccomp: /proc/self/status; tty; cat /dev/hole; df /scratch | tail -1; echo $$; readlink /proc/self/ns/ipc"
    main = shell(
        script, pseudoTerminal=True, interactive=True, dockerLabels={"a": "b"},
        dockerSecurityOptions=["no-new-privileges"],
        linuxParameters={
            "initProcessEnabled": True, "sharedMemorySize": 8, "maxSwap": 0, "swappiness": 10,
            "tmpfs": [{"containerPath": "/scratch", "size": 1, "mountOptions": ["rw"]}],
            "devices": [{"hostPath": "/dev/null", "containerPath": "/dev/hole", "permissions": ["read"]}],
        },
    )
    definition = register(landfall, "kernel", main, pidMode="task", ipcMode="task")
    (arn,) = run(landfall, definition, network.subnet)
    stopped = wait(landfall, arn, "STOPPED", 60)
    assert [c["name"] for c in stopped["containers"]] == ["main"]
    assert stopped["containers"][0].get("exitCode") == 0, stopped["containers"]
    log = landfall.run("logs", arn).stdout
    assert "pause" in log and "Seccomp:\t2" in log and "/dev/" in log and "1024" in log, log
