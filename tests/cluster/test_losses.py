"""Three hosts, and what a sweep does when one of them dies: a worker at a random moment, and the head.

As in test_cluster.py, the hosts are those of the testbed's hosts.sh, which $TESTBED names the folder of.
"""

import os
import random
import re
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from tests.cluster.test_hosts import HOME, IPS, ROOT, TO_ALL, Cluster, cluster_of, hosts, wait_for
from tests.cluster.test_preemption import Metadata, Service
from tests.studies import assert_equal, make_inputs, records, run

pytestmark = pytest.mark.cluster

NODES = 2 * (1 + 2 + 4)


def study(root: Path) -> list[str]:
    inputs = TO_ALL / "the inputs"
    return [
        *(
            "glue",
            "--root",
            str(root),
            "--model",
            str(inputs / "a model"),
            "--data",
            str(inputs / "some data"),
        ),
        *("--tasks", "mrpc", "rte", "--seeds", "1", "--recipe.epochs", "10", "--kinds", "good", "bad"),
        *("--recipe.learning-rate", "3e-3", "--checkpoint-minutes", "0.02"),
        # one trial at a time on each host, so that every host has some
        *("--cpus-per-trial", str(os.cpu_count())),
    ]


@pytest.fixture(scope="module")
def local(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The root of the same study on this machine alone, undisturbed."""
    shutil.rmtree(TO_ALL / "the inputs", ignore_errors=True)
    make_inputs(TO_ALL / "the inputs")
    root = tmp_path_factory.mktemp("local") / "root"
    run([sys.executable, str(ROOT / "jobs" / "sweep.py"), *study(root), "--debug"])
    return root


@pytest.fixture(scope="module")
def metadata() -> Iterator[Metadata]:
    """On this machine's address in the hosts' network."""
    with Metadata(("0.0.0.0", 0), Service) as server:
        threading.Thread(target=server.serve_forever).start()
        yield server
        server.shutdown()


@pytest.fixture(scope="module")
def cluster(local: Path, metadata: Metadata, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """With the watcher on every worker, as on AWS."""
    aws = yaml.safe_load((ROOT / "cluster.yaml").read_text())
    (watch,) = (line for line in aws["worker_start_ray_commands"] if "watch_preemption.py aws" in line)
    there = f"watch_preemption.py aws --grace 5 --url http://10.77.0.1:{metadata.server_port}"
    watch = watch.replace("watch_preemption.py aws", there)
    with cluster_of(3, tmp_path_factory.mktemp("home"), watch) as made:
        yield made


@pytest.fixture
def root() -> Iterator[Path]:
    root = TO_ALL / "a root"
    shutil.rmtree(root, ignore_errors=True)
    yield root
    shutil.rmtree(root, ignore_errors=True)


def attempts(root: Path) -> dict[str, str]:
    return {key: record.attempt for key, record in records(root).items()}


def submit(cluster: Cluster, root: Path) -> str:
    """Start the study as a job, and return the job's name."""
    name = f"study-{time.time_ns()}"
    command = ("--working-dir", ".", "--", "python", "jobs/sweep.py", *study(root))
    with cluster.dashboard():
        cluster.job("submit", "--no-wait", f"--submission-id={name}", *command)
    return name


def finished(cluster: Cluster, name: str) -> str:
    """Wait for a job to succeed; its output."""
    with cluster.dashboard():
        wait_for(lambda: re.search("succeeded|failed", cluster.job("status", name)), 450)
        output = cluster.job("logs", name)
        assert "succeeded" in cluster.job("status", name), output
    return output


def published(root: Path) -> int:
    return len(list(root.glob("nodes/*/node.json")))


def kill(host: int) -> None:
    """Its disk is kept for `come_back`, as that of a real one would be."""
    tar("--create", f"--directory={HOME}/host{host}/upper", ".")
    hosts("kill", str(host))


def come_back(host: int) -> None:
    """What does not join by itself does at the next `ray up`."""
    wait_for(lambda: not Path(f"/sys/class/net/vhost{host}").exists())
    hosts("start", str(host))
    tar("--extract", f"--directory={HOME}/host{host}/root")


def tar(*words: str) -> None:
    subprocess.run(["tar", f"--file={HOME}/disk.tar", *words], check=True)


@pytest.mark.parametrize("seed", range(5))
def test_a_host_dies_and_the_sweep_ends_whole(cluster: Cluster, local: Path, root: Path, seed: int) -> None:
    cluster.up(3)
    moment = random.Random(seed)
    name = submit(cluster, root)
    count, host = moment.randrange(NODES - 4), moment.choice((2, 3))
    wait_for(lambda: root.is_dir() and published(root) >= count, 300)
    time.sleep(moment.uniform(0, 5))
    kept = attempts(root)
    kill(host)
    print(f"host{host} killed when {len(kept)} of {NODES} nodes were done")
    killed = time.time()
    print(finished(cluster, name), f"{time.time() - killed:.0f} s from the kill to the end", flush=True)
    come_back(host)
    after = attempts(root)
    assert {key: after[key] for key in kept} == kept
    assert_equal(root, local)


def test_a_host_with_notice_is_left_in_time(
    cluster: Cluster, metadata: Metadata, local: Path, root: Path
) -> None:
    cluster.up(3)
    assert "watch_preemption" in hosts("ssh", "2", "ps ax"), "it has outlived the login that started it"
    name = submit(cluster, root)
    wait_for(lambda: root.is_dir() and published(root) >= 3, 300)
    metadata.notice = IPS[1]
    output = finished(cluster, name)
    metadata.notice = ""
    assert "its process died" not in output
    assert "notice given" in hosts("ssh", "2", "cat /tmp/watch_preemption.log")
    assert_equal(root, local)


def test_the_head_dies_and_the_same_command_finishes(cluster: Cluster, local: Path, root: Path) -> None:
    cluster.up(3)
    submit(cluster, root)
    wait_for(lambda: root.is_dir() and published(root) >= 3, 300)
    kill(1)
    # trials live on for a moment, and may finish
    time.sleep(10)
    kept = attempts(root)
    assert 3 <= len(kept) < NODES
    come_back(1)
    cluster.up(3)
    print(finished(cluster, submit(cluster, root)))
    after = attempts(root)
    assert {key: after[key] for key in kept} == kept
    assert_equal(root, local)
