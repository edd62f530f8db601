"""Studies on two hosts: `ray up` with the shipped YAML, `ray submit`, `ray job submit`, the preflight.

The hosts are those of the testbed's hosts.sh, which $TESTBED names the folder of. They have no network beyond
each other, so that pip finds what it needs to build a package in the folder that they share.
"""

import os
import re
import shlex
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest
import yaml

from tests.places import CHECKOUT
from tests.studies import assert_equal, make_inputs, records, run

pytestmark = pytest.mark.cluster

ROOT = CHECKOUT
BIN = Path(sys.executable).parent
HOME = Path(os.environ.get("TESTBED_ROOT", Path(tempfile.gettempdir()) / "testbed"))
TO_ALL = HOME / "shared"
IPS = ("10.77.0.11", "10.77.0.12", "10.77.0.13")
PORT = 8270
NODES = 2 * (1 + 2 + 4)


def hosts(*words: str) -> str:
    script = Path(os.environ["TESTBED"]) / "hosts.sh"
    return checked(["bash", str(script), *words], os.environ | {"TESTBED_ROOT": str(HOME)})


def checked(command: list[str], environment: dict[str, str], status: int | None = 0) -> str:
    done = subprocess.run(
        command,
        capture_output=True,
        text=True,
        cwd=ROOT,
        env=environment,
        check=False,
        timeout=500,
        stdin=subprocess.DEVNULL,
    )
    output = done.stdout + done.stderr
    assert status is None or done.returncode == status, f"{shlex.join(command)}\n{output}"
    return output


HOLD = """
import sys, time, ray
from pathlib import Path
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

class Hold:
    def here(self):
        pass

host, held, release = sys.argv[1], Path(sys.argv[2]), Path(sys.argv[3])
ray.init(address="auto", log_to_driver=False)
(node,) = (n for n in ray.nodes() if n["Alive"] and n["NodeManagerHostname"] == host)
there = NodeAffinitySchedulingStrategy(node["NodeID"], soft=False)
actor = ray.remote(num_cpus=node["Resources"]["CPU"])(Hold).options(scheduling_strategy=there).remote()
ray.get(actor.here.remote())
held.touch()
while not release.exists():
    time.sleep(0.2)
"""
"""Takes all CPUs of a host until it is told to let them go."""


@dataclass(frozen=True)
class Cluster:
    """What a user has at home: a configuration, a token, a key."""

    config: Path
    home: Path

    def ray(self, *words: str, status: int | None = 0, token: bool = True) -> str:
        command = [str(BIN / "ray"), *words]
        environment = os.environ | {"HOME": str(self.home), "PATH": f"{BIN}:{os.environ['PATH']}"}
        return checked(command, environment | ({"RAY_AUTH_MODE": "token"} if token else {}), status)

    def submit(self, job: str, *arguments: str, status: int | None = 0) -> str:
        """`ray submit`, with every argument quoted once more, as docs/cluster.md says."""
        quoted = [shlex.quote(word) for word in arguments]
        words = ("--no-config-cache", str(self.config), f"jobs/{job}.py", "--", *quoted)
        return self.ray("submit", *words, status=status)

    def job(self, *words: str, status: int | None = 0, token: bool = True) -> str:
        address = f"--address=http://127.0.0.1:{PORT}"
        return self.ray("job", words[0], address, *words[1:], status=status, token=token)

    @contextmanager
    def dashboard(self) -> Iterator[None]:
        """The tunnel to the head's dashboard and job server."""
        command = [str(BIN / "ray"), "dashboard", "--no-config-cache", "-p", str(PORT), str(self.config)]
        environment = os.environ | {"HOME": str(self.home), "RAY_AUTH_MODE": "token"}
        with subprocess.Popen(
            command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env=environment
        ) as tunnel:
            try:
                wait_for(lambda: answers("127.0.0.1", PORT))
                yield
            finally:
                tunnel.terminate()

    def up(self, count: int) -> None:
        self.ray("up", "--yes", "--no-config-cache", str(self.config))
        self.wait_for_hosts(count)

    def wait_for_hosts(self, count: int) -> None:
        wait_for(lambda: f"{count} local.cluster.node" in self.status(), 400)

    @contextmanager
    def without(self, host: str) -> Iterator[None]:
        """Within it all CPUs of a host are taken, so that trials run on the others."""
        script, held, release = (TO_ALL / name for name in ("hold.py", f"held-{host}", f"release-{host}"))
        script.write_text(HOLD)
        for flag in (held, release):
            flag.unlink(missing_ok=True)
        holding = shlex.join(["python", *map(str, (script, host, held, release))])
        command = [str(BIN / "ray"), "exec", "--no-config-cache", str(self.config), holding]
        environment = os.environ | {"HOME": str(self.home), "PATH": f"{BIN}:{os.environ['PATH']}"}
        with subprocess.Popen(command, env=environment | {"RAY_AUTH_MODE": "token"}) as holder:
            try:
                wait_for(held.exists)
                yield
            finally:
                release.touch()
                holder.wait(timeout=60)

    def status(self) -> str:
        return self.ray("exec", "--no-config-cache", str(self.config), "ray status", status=None)


def wait_for(condition: object, seconds: float = 120) -> None:
    deadline = time.monotonic() + seconds
    while not condition():  # type: ignore[operator]
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.5)


def answers(host: str, port: int) -> bool:
    with socket.socket() as client:
        client.settimeout(2)
        return client.connect_ex((host, port)) == 0


@pytest.fixture(scope="module")
def inputs() -> Path:
    folder = TO_ALL / "the inputs"
    shutil.rmtree(folder, ignore_errors=True)
    return make_inputs(folder)


def study(inputs: Path, root: Path, *tasks: str) -> list[str]:
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
        *("--tasks", *(tasks or ("mrpc", "rte")), "--seeds", "1", "--recipe.epochs", "2"),
        *("--kinds", "good", "bad", "--recipe.learning-rate", "3e-3"),
        # one trial at a time on each host
        *("--cpus-per-trial", str(os.cpu_count())),
    ]


@pytest.fixture(scope="module")
def local(inputs: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The root of the same study on this machine alone."""
    root = tmp_path_factory.mktemp("local") / "root"
    run([sys.executable, str(ROOT / "jobs" / "sweep.py"), *study(inputs, root)])
    return root


def prepare(host: int) -> None:
    """pip finds what it needs to build a package in the folder that all hosts see."""
    settings = f"[global]\\nno-index = true\\nfind-links = {TO_ALL / 'wheels'}\\n"
    hosts("ssh", str(host), f"mkdir -p ~/.config/pip; printf '{settings}' > ~/.config/pip/pip.conf")


@contextmanager
def cluster_of(count: int, home: Path, also: str = "") -> Iterator[Cluster]:
    """Hosts, started by `ray up` with the shipped configuration, its values filled in.

    also: one more command of those that start a worker.
    """
    if "TESTBED" not in os.environ:
        pytest.skip("TESTBED names no folder with hosts.sh")
    hosts("down")
    # the kernel takes a dead host's network away when its last process is gone
    wait_for(lambda: not list(Path("/sys/class/net").glob("vhost*")))
    hosts("up", str(count), "--path", str(BIN))
    download = [str(BIN / "pip"), "download", "-q", "--no-deps", "-d", str(TO_ALL / "wheels"), "setuptools"]
    checked(download, dict(os.environ))
    for host in range(1, count + 1):
        prepare(host)
    text = (ROOT / "clusters" / "on-premise.yaml").read_text()
    for old, new in (
        ("192.168.1.10 ", f"{IPS[0]} "),
        ("    - 192.168.1.11\n    - 192.168.1.12", "\n".join(f"    - {ip}" for ip in IPS[1:count])),
        ("ssh_user: ubuntu", "ssh_user: root"),
        ("~/.ssh/id_ed25519", str(HOME / "key")),
        # a home of its own for the test, which `ray` takes from the environment
        ("~/.ray/auth_token\n", f"{home}/.ray/auth_token\n"),
    ):
        assert old in text
        text = text.replace(old, new)
    config = home / "on-premise.yaml"
    assert list(yaml.safe_load(text))[-1] == "worker_start_ray_commands"
    config.write_text(f"{text}  - {also}\n" if also else text)
    made = Cluster(config, home)
    try:
        made.ray("get-auth-token", "--generate")
        made.up(count)
        yield made
    finally:
        hosts("down")


@pytest.fixture(scope="module")
def cluster(inputs: Path, local: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    with cluster_of(2, tmp_path_factory.mktemp("home")) as made:
        yield made


@pytest.fixture
def root() -> Iterator[Path]:
    root = TO_ALL / "a root"
    shutil.rmtree(root, ignore_errors=True)
    yield root
    shutil.rmtree(root, ignore_errors=True)


def machines(root: Path) -> set[str]:
    return {record.provenance["host"] for record in records(root).values()}


def test_the_preflight_is_content(cluster: Cluster, inputs: Path, root: Path) -> None:
    words = ("--root", str(root), "--model", str(inputs / "a model"), "--data", str(inputs / "some data"))
    output = cluster.submit("check_cluster", *words, "--tasks", "mrpc", "rte", "--disk", "1")
    assert "All is well." in output
    assert "host1" in output
    assert "host2" in output


def test_the_preflight_finds_a_root_that_is_not_shared(cluster: Cluster, inputs: Path) -> None:
    words = ("--root", "/root/alone", "--model", str(inputs / "a model"), "--data", str(inputs / "some data"))
    output = cluster.submit("check_cluster", *words, "--tasks", "mrpc", "--disk", "1", status=1)
    (line,) = (line for line in output.splitlines() if "root, written" in line and "FIX" in line)
    assert "host2" in line


def test_ray_submit_gives_the_records_of_a_local_run(
    cluster: Cluster, inputs: Path, local: Path, root: Path
) -> None:
    # one task can run on the second host alone, and the other one on the first
    with cluster.without("host1"):
        cluster.submit("sweep", *study(inputs, root, "mrpc"))
    assert machines(root) == {"host2"}
    with cluster.without("host2"):
        # over SSH it has a terminal, and so a live display instead of a line per node
        assert "Report: " in cluster.submit("sweep", *study(inputs, root))
    assert machines(root) == {"host1", "host2"}
    assert_equal(root, local)


def test_ray_submit_splits_an_argument_that_is_quoted_once(
    cluster: Cluster, inputs: Path, root: Path
) -> None:
    words = (
        "--no-config-cache",
        str(cluster.config),
        "jobs/sweep.py",
        "--",
        *study(inputs, root),
        "--dry-run",
    )
    assert "nrecognized" in cluster.ray("submit", *words, status=None)
    assert f"{NODES} nodes" in cluster.submit("sweep", *study(inputs, root), "--dry-run")


def test_ray_job_submit_gives_the_records_of_a_local_run(
    cluster: Cluster, inputs: Path, local: Path, root: Path
) -> None:
    name = f"study-{time.time_ns()}"
    command = ("--working-dir", ".", "--", "python", "jobs/sweep.py", *study(inputs, root))
    with cluster.dashboard():
        with cluster.without("host1"):
            first = ("--working-dir", ".", "--", "python", "jobs/sweep.py", *study(inputs, root, "mrpc"))
            assert "succeeded" in cluster.job("submit", f"--submission-id={name}-first", *first)
        assert machines(root) == {"host2"}
        with cluster.without("host2"):
            output = cluster.job("submit", f"--submission-id={name}", *command)
        assert "succeeded" in output
        # the same name again starts nothing
        assert "already exists" in cluster.job("submit", f"--submission-id={name}", *command, status=1)
    assert machines(root) == {"host1", "host2"}
    assert_equal(root, local)


def test_a_job_outlives_the_connection(cluster: Cluster, inputs: Path, local: Path, root: Path) -> None:
    name = f"study-{time.time_ns()}"
    command = ("--working-dir", ".", "--", "python", "jobs/sweep.py", *study(inputs, root))
    with cluster.dashboard():
        cluster.job("submit", "--no-wait", f"--submission-id={name}", *command)
    wait_for(lambda: len(list(root.glob("nodes/*/node.json"))) == NODES, 300)
    with cluster.dashboard():
        wait_for(lambda: "succeeded" in cluster.job("status", name))
        assert f"[{NODES}/{NODES}]" in cluster.job("logs", name)
    assert_equal(root, local)


def test_without_the_token_nothing_answers(cluster: Cluster) -> None:
    assert answers(IPS[0], 6379)
    assert not answers(IPS[0], 8265), "the dashboard is to be on localhost alone"
    stranger = Cluster(cluster.config, cluster.home / "stranger")
    stranger.home.mkdir()
    with cluster.dashboard():
        assert re.search("(?i)unauthorized|authenticat", stranger.job("list", status=1, token=False))
    joined = "import ray; ray.init('10.77.0.11:6379', logging_level='ERROR'); print(ray.nodes())"
    output = checked([sys.executable, "-c", joined], os.environ | {"HOME": str(stranger.home)}, status=None)
    assert "NodeID" not in output
    # the secret itself is in no log of the cluster, and in nothing that was copied there but its own file
    token = (cluster.home / ".ray" / "auth_token").read_text().strip()
    found = hosts("ssh", "1", f"grep -rlF {token} /tmp/ray ~/lottery-ray {shlex.quote(str(TO_ALL))} || true")
    assert not found.strip()
