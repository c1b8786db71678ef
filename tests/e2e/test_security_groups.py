"""Security groups: what their rules do to the packets of running tasks, and what is refused."""

import pytest

from conftest import address, eventually, fetch, register, run, stop, tcp, wait, web
from test_errors import refused

EVERYTHING = {"IpProtocol": "-1", "IpRanges": [{"CidrIp": "0.0.0.0/0"}]}


def test_egress_rules_reach_running_tasks(landfall, network):
    """Each second a task asks another for its page, in a new connection, and says how it went."""
    ec2 = landfall.ec2
    servers = network.group("egress-servers", tcp(80))
    clients = network.group("egress-clients")
    (server,) = run(landfall, register(landfall, "egress-server", web()), network.subnet, servers)
    host = address(wait(landfall, server, "RUNNING"))
    script = f"n=0; while true; do n=$((n+1)); if echo | nc -w 1 {host} 80 >/dev/null 2>&1; then echo $n yes; else echo $n no; fi; sleep 0.2; done"
    ask = register(landfall, "egress-client", web("ask", command=["sh", "-c", script]))
    (client,) = run(landfall, ask, network.subnet, clients)
    wait(landfall, client, "RUNNING")

    def said():
        lines = landfall.run("logs", client).stdout.split("\n")
        return [line.split()[1] for line in lines[:-1] if line]

    def comes_to(word):
        """The last three answers are all `word`, and were given from now on."""
        before = len(said())
        eventually(f"three times {word}", lambda: (lambda s: len(s) >= before + 3 and set(s[-3:]) == {word})(said()))

    comes_to("yes")
    ec2.revoke_security_group_egress(GroupId=clients, IpPermissions=[EVERYTHING])
    comes_to("no")
    ec2.authorize_security_group_egress(GroupId=clients, IpPermissions=[tcp(80, f"{host}/32")])
    comes_to("yes")
    (rule,) = ec2.describe_security_group_rules(Filters=[{"Name": "group-id", "Values": [clients]}])["SecurityGroupRules"]
    assert rule["IsEgress"] and rule["CidrIpv4"] == f"{host}/32"
    changed = {"IpProtocol": "tcp", "FromPort": 81, "ToPort": 81, "CidrIpv4": f"{host}/32"}
    ec2.modify_security_group_rules(
        GroupId=clients, SecurityGroupRules=[{"SecurityGroupRuleId": rule["SecurityGroupRuleId"], "SecurityGroupRule": changed}]
    )
    comes_to("no")
    assert fetch(host) is not None, "the server itself is as open as before"
    stop(landfall, server, client)


def test_a_group_in_use_stays(landfall, network):
    ec2 = landfall.ec2
    named, names = network.group("named"), network.group("names")
    pair = {"IpProtocol": "-1", "UserIdGroupPairs": [{"GroupId": named}]}
    ec2.authorize_security_group_egress(GroupId=names, IpPermissions=[pair])
    assert refused(ec2.delete_security_group, GroupId=named)[1] == "DependencyViolation"
    ec2.revoke_security_group_egress(GroupId=names, IpPermissions=[pair])
    eni = ec2.create_network_interface(SubnetId=network.subnet, Groups=[named])["NetworkInterface"]
    assert refused(ec2.delete_security_group, GroupId=named)[1] == "DependencyViolation"
    ec2.delete_network_interface(NetworkInterfaceId=eni["NetworkInterfaceId"])
    ec2.delete_security_group(GroupId=named)


def test_rules_come_in_pages_with_their_tags(landfall, network):
    ec2 = landfall.ec2
    group = network.group("paged")
    made = ec2.authorize_security_group_ingress(
        GroupId=group,
        IpPermissions=[tcp(port) for port in range(1, 8)],
        TagSpecifications=[{"ResourceType": "security-group-rule", "Tags": [{"Key": "test", "Value": "paged"}]}],
    )["SecurityGroupRules"]
    pages = ec2.get_paginator("describe_security_group_rules").paginate(
        Filters=[{"Name": "tag:test", "Values": ["paged"]}], PaginationConfig={"PageSize": 5}
    )
    shown = [page["SecurityGroupRules"] for page in pages]
    assert [len(page) for page in shown] == [5, 2]
    ids = {rule["SecurityGroupRuleId"] for rule in made}
    assert {rule["SecurityGroupRuleId"] for page in shown for rule in page} == ids
    ec2.revoke_security_group_ingress(GroupId=group, SecurityGroupRuleIds=sorted(ids))
    assert ec2.describe_security_groups(GroupIds=[group])["SecurityGroups"][0]["IpPermissions"] == []


@pytest.mark.parametrize("name, code", [
    ("default", "InvalidParameterValue"),
    ("sg-mine", "InvalidParameterValue"),
    ("x" * 256, "InvalidParameterValue"),
    ("näme", "InvalidParameterValue"),
], ids=lambda value: value[:12])
def test_names_that_no_group_has(landfall, name, code):
    assert refused(landfall.ec2.create_security_group, GroupName=name, Description="x")[1] == code
