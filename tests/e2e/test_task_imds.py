"""An operator may let tasks ask what their machine is told."""

from conftest import Network, inside, installed, register, run, stop, wait, web
from test_imds import TOKEN


def test_a_task_is_told_if_the_operator_says_so():
    with installed("--task-imds") as landfall:
        (arn,) = run(landfall, register(landfall, "curious", web()), Network(landfall).subnet)
        wait(landfall, arn, "RUNNING")
        (shown,) = landfall.ec2.describe_instances()["Reservations"][0]["Instances"]
        assert inside(landfall, arn, "python3", "-c", TOKEN).strip() == shown["InstanceId"]
        stop(landfall, arn)
