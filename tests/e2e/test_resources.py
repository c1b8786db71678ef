"""Clusters, attributes, tags and account settings, as boto3 sees them."""

import contextlib

import botocore.exceptions
import pytest


@contextlib.contextmanager
def refused(code):
    with pytest.raises(botocore.exceptions.ClientError) as caught:
        yield caught
    assert caught.value.response["Error"]["Code"] == code


def machine(ecs):
    return ecs.list_container_instances()["containerInstanceArns"][0]


def test_a_cluster_from_its_making_to_its_end(landfall):
    ecs = landfall.ecs
    made = ecs.create_cluster(clusterName="short-lived", tags=[{"key": "team", "value": "web"}])["cluster"]
    assert made["status"] == "ACTIVE"
    setting = {"name": "containerInsights", "value": "enhanced"}
    assert ecs.update_cluster_settings(cluster="short-lived", settings=[setting])["cluster"]["settings"] == [setting]
    ecs.update_cluster(cluster="short-lived", serviceConnectDefaults={"namespace": "backend"})
    seen = ecs.describe_clusters(clusters=["short-lived", "no-such"], include=["SETTINGS", "TAGS"])
    assert seen["clusters"][0]["serviceConnectDefaults"] == {"namespace": "backend"}
    assert seen["clusters"][0]["settings"] == [setting]
    assert [failure["reason"] for failure in seen["failures"]] == ["MISSING"]

    assert ecs.delete_cluster(cluster=made["clusterArn"])["cluster"]["status"] == "INACTIVE"
    assert made["clusterArn"] not in ecs.list_clusters()["clusterArns"]
    assert ecs.describe_clusters(clusters=["short-lived"])["clusters"][0]["status"] == "INACTIVE"
    with refused("ClusterNotFoundException"):
        ecs.list_tasks(cluster="short-lived")
    assert ecs.create_cluster(clusterName="short-lived")["cluster"]["status"] == "ACTIVE"
    ecs.delete_cluster(cluster="short-lived")
    with refused("ClusterContainsContainerInstancesException"):
        ecs.delete_cluster(cluster="default")


def test_attributes_are_seen_on_the_instance(landfall):
    ecs = landfall.ecs
    target = machine(ecs)
    attribute = {"name": "stack", "value": "production", "targetId": target}
    assert ecs.put_attributes(attributes=[attribute])["attributes"] == [attribute]
    found = ecs.list_attributes(targetType="container-instance", attributeName="stack", attributeValue="production")
    assert found["attributes"] == [attribute]
    shown = ecs.describe_container_instances(containerInstances=[target])["containerInstances"][0]["attributes"]
    assert {"name": "stack", "value": "production"} in shown
    with refused("InvalidParameterException"):
        ecs.put_attributes(attributes=[{"name": "ecs.os-type", "value": "plan9", "targetId": target}])
    with refused("TargetNotFoundException"):
        ecs.put_attributes(attributes=[{"name": "a", "targetId": "0" * 32, "targetType": "container-instance"}])
    assert ecs.delete_attributes(attributes=[{"name": "stack", "targetId": target}])["attributes"] == [attribute]
    assert not ecs.list_attributes(targetType="container-instance", attributeName="stack")["attributes"]


def test_tags_come_and_go(landfall):
    ecs = landfall.ecs
    arn = machine(ecs)
    ecs.tag_resource(resourceArn=arn, tags=[{"key": "team", "value": "web"}, {"key": "stage", "value": "test"}])
    ecs.untag_resource(resourceArn=arn, tagKeys=["stage"])
    assert ecs.list_tags_for_resource(resourceArn=arn)["tags"] == [{"key": "team", "value": "web"}]
    with refused("InvalidParameterException"):
        ecs.tag_resource(resourceArn=arn, tags=[{"key": "aws:mine", "value": "x"}])
    with refused("ClusterNotFoundException"):
        ecs.list_tags_for_resource(resourceArn=arn.rsplit(":", 1)[0] + ":cluster/no-such")


def test_account_settings_are_chosen_and_taken_back(landfall):
    ecs = landfall.ecs
    pages = ecs.get_paginator("list_account_settings").paginate(effectiveSettings=True)
    shipped = {one["name"]: one["value"] for page in pages for one in page["settings"]}
    assert shipped["awsvpcTrunking"] == "disabled"
    assert shipped["taskLongArnFormat"] == "enabled"

    put = ecs.put_account_setting_default(name="containerInsights", value="enabled")["setting"]
    assert put["principalArn"].endswith(":root")
    made = ecs.create_cluster(clusterName="watched")["cluster"]
    assert made["settings"] == [{"name": "containerInsights", "value": "enabled"}]
    ecs.delete_cluster(cluster="watched")
    assert [one["name"] for one in ecs.list_account_settings()["settings"]] == ["containerInsights"]
    assert ecs.delete_account_setting(name="containerInsights")["setting"]["value"] == "disabled"
    assert ecs.list_account_settings()["settings"] == []
    with refused("InvalidParameterException"):
        ecs.put_account_setting(name="taskLongArnFormat", value="disabled")
