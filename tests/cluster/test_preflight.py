"""The preflight, and a cluster that has no workers yet, on real raylets on this machine."""

import json
import os
import subprocess
import sys
import time
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest
from ray.cluster_utils import Cluster

from tests.places import CHECKOUT
from tests.studies import records, run

ROOT = CHECKOUT
CHECKS = (
    "answers",
    "versions",
    "clock",
    "GPUs",
    "disk",
    "weights and data",
    "root, written",
    "root, the same",
)


@pytest.fixture(scope="module")
def address() -> Iterator[str]:
    """Two nodes; the second says that it has a GPU."""
    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 0, "num_gpus": 0})
    cluster.add_node(num_cpus=1, num_gpus=1)
    try:
        yield cluster.address
    finally:
        cluster.shutdown()


def check(address: str, inputs: Path, root: Path, *flags: str, status: int) -> list[str]:
    environment = {"COLUMNS": "300"}
    words = (
        "--model",
        str(inputs / "a model"),
        "--data",
        str(inputs / "some data"),
        "--tasks",
        "mrpc",
        "rte",
    )
    script = str(ROOT / "jobs" / "check_cluster.py")
    command = [sys.executable, script, "--address", address, "--root", str(root), *words, *flags]
    return run(command, status, environment).splitlines()


@pytest.mark.full
def test_each_check_has_a_line_for_each_node(address: str, inputs: Path, tmp_path: Path) -> None:
    lines = check(address, inputs, tmp_path / "a root", "--disk", "0.001", status=1)
    for name in CHECKS:
        assert sum(line.startswith(name) for line in lines) == 2, name
    # torch sees no such GPU here, and all else is well
    (wrong,) = (line for line in lines if "FIX" in line)
    assert wrong.startswith("GPUs")
    assert "Ray offers 1" in wrong
    assert "driver" in wrong
    # it leaves a root behind, and no files of its own
    assert [path.name for path in (tmp_path / "a root").iterdir()] == ["lottery.json"]


@pytest.mark.slow
def test_a_full_disk_is_told_of_every_node(address: str, inputs: Path, tmp_path: Path) -> None:
    lines = check(address, inputs, tmp_path / "root", "--disk", "1e9", status=1)
    assert sum(line.startswith("disk") and "FIX" in line for line in lines) == 2


def test_help_reads_well() -> None:
    output = run([sys.executable, str(ROOT / "jobs" / "check_cluster.py"), "--help"])
    assert "Exit status: 0 if all is well" in output
    assert "--gpus" in output
    run([sys.executable, str(ROOT / "jobs" / "stage.py"), "--help"])


@pytest.fixture
def from_zero(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """A head that takes no trials, and an autoscaler that starts raylets on this machine on demand (it knows
    no other port than 6379)."""
    kinds = {
        "ray.head.default": {"resources": {"CPU": 0}, "node_config": {}, "max_workers": 0},
        "worker": {"resources": {"CPU": 1}, "node_config": {}, "min_workers": 0, "max_workers": 1},
    }
    config = {
        "cluster_name": "from-zero",
        "max_workers": 1,
        "idle_timeout_minutes": 5,
        "upscaling_speed": 1,
        "provider": {"type": "fake_multinode"},
        "available_node_types": kinds,
        "head_node_type": "ray.head.default",
        "auth": {},
        "docker": {},
        "initialization_commands": [],
        "setup_commands": [],
        "head_setup_commands": [],
        "worker_setup_commands": [],
        "head_start_ray_commands": [],
        "worker_start_ray_commands": [],
        "file_mounts": {},
        "cluster_synced_files": [],
        "file_mounts_sync_continuously": False,
        "rsync_exclude": [],
        "rsync_filter": [],
    }
    (tmp_path / "config.yaml").write_text(json.dumps(config))
    command = [str(Path(sys.executable).parent / "ray"), "start", "--head", "--block", "--port=6379"]
    command += [
        "--num-cpus=0",
        f"--autoscaling-config={tmp_path / 'config.yaml'}",
        "--include-dashboard=false",
    ]
    monkeypatch.setenv("RAY_AUTH_MODE", "token")
    monkeypatch.setenv("RAY_AUTH_TOKEN", uuid.uuid4().hex * 2)
    environment = {"RAY_FAKE_CLUSTER": "1", "RAY_enable_autoscaler_v2": "0"}
    with subprocess.Popen(command, env=os.environ | environment, stdout=subprocess.DEVNULL) as head:
        time.sleep(8)
        try:
            yield "127.0.0.1:6379"
        finally:
            head.terminate()


@pytest.mark.slow
def test_trials_wait_for_machines_that_are_yet_to_come(from_zero: str, inputs: Path, tmp_path: Path) -> None:
    words = ("--model", str(inputs / "a model"), "--data", str(inputs / "some data"), "--tasks", "mrpc")
    flags = ("--seeds", "1", "--methods", "magnitude", "--kinds", "good", "--gpus-per-trial", "0")
    script = str(ROOT / "jobs" / "sweep.py")
    root = tmp_path / "root"
    run([sys.executable, script, "glue", "--root", str(root), "--address", from_zero, *words, *flags])
    assert len(records(root)) == 3
