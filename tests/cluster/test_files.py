"""The cluster configurations: valid offline, of the pinned versions, without secrets, and little to edit."""

import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from botocore.session import Session
from botocore.validate import ParamValidator
from moto import mock_aws
from ray.autoscaler._private.aws.node_provider import AWSNodeProvider
from ray.autoscaler._private.util import prepare_config, validate_config

from lottery_ray import __version__
from tests.places import CHECKOUT

ROOT = CHECKOUT
AWS = ROOT / "cluster.yaml"
LAUNCHED = [AWS, ROOT / "clusters" / "on-premise.yaml"]
KUBERAY = ROOT / "clusters" / "kuberay.yaml"
DOCKERFILE = ROOT / "clusters" / "Dockerfile"


def load(path: Path) -> Any:
    return yaml.safe_load(path.read_text())


def pinned(package: str) -> str:
    (version,) = re.findall(f"^{package}==(.*)$", (ROOT / "constraints.txt").read_text(), re.MULTILINE)
    return str(version)


@pytest.mark.parametrize("path", LAUNCHED, ids=lambda path: path.name)
def test_the_launcher_takes_the_configuration(path: Path) -> None:
    prepared = prepare_config(load(path))
    validate_config(prepared)
    # what is left out is filled in by Ray with a nightly wheel
    assert "wheel" not in yaml.safe_dump(prepared)
    assert load(path)["setup_commands"]


@pytest.mark.parametrize("path", [*LAUNCHED, KUBERAY], ids=lambda path: path.name)
def test_no_more_than_three_values_must_be_edited(path: Path) -> None:
    numbers = [int(number) for number in re.findall(r"# EDIT (\d)", path.read_text())]
    assert numbers == list(range(1, len(numbers) + 1))
    assert 1 <= len(numbers) <= 3


def test_ray_is_the_version_of_the_constraints_everywhere() -> None:
    versions = {
        *re.findall(r"rayproject/ray:([\d.]+)-", AWS.read_text() + DOCKERFILE.read_text()),
        load(KUBERAY)["spec"]["rayClusterSpec"]["rayVersion"],
    }
    assert versions == {pinned("ray")}
    assert f"lottery-ray:{__version__}" in KUBERAY.read_text()


@pytest.mark.parametrize("path", [*LAUNCHED, DOCKERFILE], ids=lambda path: path.name)
def test_the_project_is_installed_with_its_constraints(path: Path) -> None:
    assert "--constraint constraints.txt --editable '.[cluster]'" in path.read_text()


@pytest.mark.parametrize("path", LAUNCHED, ids=lambda path: path.name)
def test_the_token_is_asked_for_and_is_in_no_file(path: Path) -> None:
    content = load(path)
    assert content["file_mounts"]["~/.ray/auth_token"] == "~/.ray/auth_token"
    assert any("RAY_AUTH_MODE=token" in command for command in content["setup_commands"])
    (start,) = (command for command in content["head_start_ray_commands"] if "--head" in command)
    assert "--dashboard-host=127.0.0.1" in start
    # as long a secret as Ray's own, 64 hexadecimal digits
    assert not re.search("[0-9a-f]{32}", path.read_text())


def test_an_aws_head_takes_no_trials_and_its_workers_come_and_go() -> None:
    content = load(AWS)
    head, worker = (content["available_node_types"][name] for name in ("head", "worker"))
    assert content["head_node_type"] == "head"
    assert head["resources"] == {"CPU": 0}
    assert "InstanceMarketOptions" not in head["node_config"]
    assert worker["min_workers"] == 0
    assert worker["max_workers"] == content["max_workers"]
    assert worker["node_config"]["InstanceMarketOptions"] == {"MarketType": "spot"}
    assert worker["resources"]["GPU"] >= 1


def test_spot_workers_watch_for_their_notice() -> None:
    watch = load(AWS)["worker_start_ray_commands"][-1]
    assert "~/lottery-ray/jobs/watch_preemption.py aws " in watch
    assert watch.startswith("nohup setsid "), "the login that starts it ends"
    assert watch.endswith("< /dev/null &")


def test_ec2_knows_every_key_of_the_machines() -> None:
    """What `ray up` does not look at before it asks AWS for machines."""
    shape = Session().get_service_model("ec2").operation_model("RunInstances").input_shape
    for node_type in load(AWS)["available_node_types"].values():
        wanted = node_type["node_config"] | {"MinCount": 1, "MaxCount": 1}
        report = ParamValidator().validate(wanted, shape)
        assert not report.has_errors(), report.generate_report()


@pytest.mark.full
@mock_aws  # type: ignore[untyped-decorator]
def test_ray_launches_what_it_says_with_the_roles_of_the_stack(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Ray's own AWS launcher, up to the machines, against a simulated AWS."""
    import boto3

    environment = {"AWS_ACCESS_KEY_ID": "test", "AWS_SECRET_ACCESS_KEY": "test", "HOME": str(tmp_path)}
    # moto has the policies that AWS manages only when asked
    for name, value in (environment | {"MOTO_IAM_LOAD_MANAGED_POLICIES": "true"}).items():
        monkeypatch.setenv(name, value)
    config = load(AWS)
    ec2 = boto3.client("ec2", region_name=config["provider"]["region"])
    boto3.client("cloudformation", region_name=config["provider"]["region"]).create_stack(
        StackName="lottery-ray",
        TemplateBody=(ROOT / "clusters" / "aws-roles.yaml").read_text(),
        Parameters=[{"ParameterKey": "Bucket", "ParameterValue": "my-bucket"}],
        Capabilities=["CAPABILITY_NAMED_IAM"],
    )
    for node_type in config["available_node_types"].values():
        node_type["node_config"]["ImageId"] = ec2.describe_images()["Images"][0]["ImageId"]
    config = AWSNodeProvider.fillout_available_node_types_resources(prepare_config(config))
    assert config["available_node_types"]["head"]["resources"]["CPU"] == 0
    assert config["available_node_types"]["worker"]["resources"]["GPU"] == 1
    config = AWSNodeProvider.bootstrap_config(config)
    provider = AWSNodeProvider(config["provider"], config["cluster_name"])
    for name in ("head", "worker"):
        tags = {"ray-node-type": name, "ray-node-name": name, "ray-user-node-type": name}
        provider.create_node(config["available_node_types"][name]["node_config"], tags, 1)
    found = ec2.describe_instances()["Reservations"]
    head, worker = (reservation["Instances"][0] for reservation in found)
    assert (head.get("InstanceLifecycle"), worker["InstanceLifecycle"]) == (None, "spot")
    assert head["IamInstanceProfile"]["Arn"].endswith("instance-profile/lottery-ray-head")
    assert worker["IamInstanceProfile"]["Arn"].endswith("instance-profile/lottery-ray-worker")


def test_the_rayjob_has_what_kuberay_needs() -> None:
    job = load(KUBERAY)
    assert (job["apiVersion"], job["kind"]) == ("ray.io/v1", "RayJob")
    spec = job["spec"]
    assert spec["entrypoint"].startswith("python jobs/sweep.py ")
    assert spec["shutdownAfterJobFinishes"]
    assert spec["activeDeadlineSeconds"] > 0
    cluster = spec["rayClusterSpec"]
    assert cluster["authOptions"] == {"mode": "token"}
    assert cluster["enableInTreeAutoscaling"]
    head, (worker,) = cluster["headGroupSpec"], cluster["workerGroupSpecs"]
    assert head["rayStartParams"]["num-cpus"] == "0"
    assert worker["minReplicas"] == 0 < worker["maxReplicas"]
    assert all(isinstance(value, str) for value in head["rayStartParams"].values())
    for group in (head, worker):
        (container,) = group["template"]["spec"]["containers"]
        assert container["image"]
        assert set(container["resources"]) == {"requests", "limits"}
    (container,) = worker["template"]["spec"]["containers"]
    assert container["resources"]["limits"]["nvidia.com/gpu"] == "1"
    hook = container["lifecycle"]["preStop"]["exec"]["command"][-1].split()
    assert hook[:3] == ["python", "jobs/watch_preemption.py", "now"]
    assert worker["template"]["spec"]["terminationGracePeriodSeconds"] > int(hook[-1]) + 30
