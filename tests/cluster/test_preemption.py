"""Machines that are lost or taken away in the middle of a sweep: real raylets on this one."""

import shutil
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from ray.cluster_utils import Cluster

from lottery_ray.cluster import preemption
from lottery_ray.errors import InputError
from lottery_ray.machine import NOTICE
from tests.places import JOBS
from tests.studies import assert_equal, command, records, run
from tests.training.test_checkpoints import checkpoints, small

Start = Callable[[], tuple[str, subprocess.Popen[bytes]]]
HERE = "127.0.0.1"
WATCH = JOBS / "watch_preemption.py"


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder for temporary files of its own, as a machine has; short, since sockets lie in it."""
    folder = tempfile.mkdtemp(prefix="lr")
    monkeypatch.setenv("TMPDIR", folder)
    yield Path(folder)
    shutil.rmtree(folder)


@pytest.fixture
def cluster(machine: Path) -> Iterator[Cluster]:
    """A head that takes no trials; the test adds what does."""
    made = Cluster(initialize_head=True, head_node_args={"num_cpus": 0})
    try:
        yield made
    finally:
        made.shutdown()


@pytest.fixture
def start(cluster: Cluster) -> Start:
    """Starts a node with one CPU, and returns its id and its raylet."""

    def started() -> tuple[str, subprocess.Popen[bytes]]:
        node = cluster.add_node(num_cpus=1)
        raylet: subprocess.Popen[bytes] = node.all_processes["raylet"][0].process
        # as init does: trials look whether their raylet is there, and a zombie would be
        threading.Thread(target=raylet.wait).start()
        return node.node_id, raylet

    return started


class Metadata(ThreadingHTTPServer):
    """The metadata services of AWS and of Google Cloud, as far as preemption goes.

    notice: the address of the machine that has it.
    """

    notice = ""
    answers = True

    @property
    def url(self) -> str:
        return f"http://{HERE}:{self.server_port}"


class Service(BaseHTTPRequestHandler):
    server: Metadata

    def do_PUT(self) -> None:
        assert self.path == "/latest/api/token"
        assert 1 <= int(self.headers["X-aws-ec2-metadata-token-ttl-seconds"]) <= 21600
        self.say(200, "a token")

    def do_GET(self) -> None:
        notice = self.client_address[0] == self.server.notice
        if not self.server.answers:
            self.say(503)
        elif self.path == "/computeMetadata/v1/instance/preempted":
            well = self.headers["Metadata-Flavor"] == "Google"
            self.say(200 if well else 403, "TRUE" if notice else "FALSE")
        elif self.headers["X-aws-ec2-metadata-token"] != "a token":
            self.say(401)
        elif self.path == "/latest/meta-data/spot/instance-action" and notice:
            self.say(200, '{"action": "terminate", "time": "2026-11-23T08:22:00Z"}')
        elif self.path == "/latest/meta-data/events/recommendations/rebalance":
            self.say(200, '{"noticeTime": "2026-11-23T08:20:00Z"}')
        else:
            self.say(404)

    def say(self, status: int, text: str = "") -> None:
        self.send_response(status)
        self.end_headers()
        self.wfile.write(text.encode())

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def metadata() -> Iterator[Metadata]:
    with Metadata((HERE, 0), Service) as server:
        threading.Thread(target=server.serve_forever).start()
        yield server
        server.shutdown()


@pytest.mark.parametrize("name", ["aws", "gcp"])
def test_a_notice_is_seen_and_nothing_else_is_one(
    name: str, metadata: Metadata, monkeypatch: pytest.MonkeyPatch
) -> None:
    # as on machines that reach the world through a proxy
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")
    noticed = preemption.CLOUDS[name].noticed
    assert not noticed(metadata.url)
    metadata.answers = False
    with pytest.raises(OSError, match="503"):
        noticed(metadata.url)
    metadata.answers = True
    metadata.notice = HERE
    assert noticed(metadata.url)


def test_the_metadata_services_are_asked_at_their_own_addresses() -> None:
    assert preemption.CLOUDS["aws"].url == "http://169.254.169.254"
    assert preemption.CLOUDS["gcp"].url == "http://metadata.google.internal"


def test_a_notice_has_a_checkpoint_written_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(preemption, "NOTICE", tmp_path / "notice")
    NOTICE.touch()
    time.sleep(0.05)
    kept = checkpoints(tmp_path / "root", minutes=10)
    kept.keep(1, *small())
    assert kept.store.checkpoints(kept.node) == [], "a notice of an earlier life of the machine"
    # a file's time may lag behind the clock by some milliseconds
    time.sleep(0.05)
    NOTICE.touch()
    time.sleep(0.05)
    kept.keep(2, *small())
    kept.keep(3, *small())
    (name,) = kept.store.checkpoints(kept.node)
    assert "/000000002-" in name


def long(inputs: Path, root: Path) -> list[str]:
    """A fine-tuning that takes its time, and a search."""
    study = ("--tasks", "mrpc", "--seeds", "1", "--methods", "magnitude", "--kinds", "--recipe.epochs", "150")
    return command(inputs, root, *study)


def sweep(arguments: list[str]) -> subprocess.Popen[str]:
    return subprocess.Popen(arguments, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, cwd="/")


def wait_for(driver: subprocess.Popen[str], condition: Callable[[], object]) -> None:
    while not condition():
        assert driver.poll() is None, driver.communicate()[0]
        time.sleep(0.05)


def ended(driver: subprocess.Popen[str]) -> str:
    output, _ = driver.communicate(timeout=300)
    assert driver.returncode == 0, output
    return output


@pytest.mark.slow
def test_a_lost_machine_ends_no_sweep(cluster: Cluster, start: Start, inputs: Path, tmp_path: Path) -> None:
    (_, lost), _ = start(), start()
    study = ("--tasks", "mrpc", "--seeds", "1", "2", "--kinds", "good", "bad", "--recipe.epochs", "5")
    with sweep(command(inputs, tmp_path / "root", *study, "--address", cluster.address)) as driver:
        wait_for(driver, lambda: len(list((tmp_path / "root").glob("nodes/*/node.json"))) >= 2)
        kept = records(tmp_path / "root")
        lost.kill()
        output = ended(driver)
    assert "failed." not in output
    run(command(inputs, tmp_path / "local", *study, "--debug"))
    found = records(tmp_path / "root")
    assert {key: found[key].attempt for key in kept} == {key: record.attempt for key, record in kept.items()}
    assert_equal(tmp_path / "root", tmp_path / "local")


@pytest.mark.slow
def test_the_notice_moves_a_trial_with_what_it_has_done(
    cluster: Cluster, start: Start, inputs: Path, metadata: Metadata, tmp_path: Path
) -> None:
    node_id, _ = start()
    metadata.notice = HERE
    watch = [sys.executable, str(WATCH), "aws", "--url", metadata.url, "--grace", "1", "--node-id", node_id]
    root = tmp_path / "root"
    with sweep([*long(inputs, root), "--address", cluster.address]) as driver:
        wait_for(driver, lambda: list(root.glob("nodes/*/*")))
        start()
        run(watch)
        output = ended(driver)
    assert "failed." not in output
    assert "its process died" not in output, "that may happen five times only"
    (resumed,) = (record for record in records(root).values() if record.labels["stage"] == "finetune")
    # no other checkpoint was due within ten minutes
    assert len(resumed.provenance["resumed_at_step"]) == 1
    run([*long(inputs, tmp_path / "local"), "--debug"])
    assert_equal(root, tmp_path / "local")
    assert resumed.artifacts == records(tmp_path / "local")[resumed.key].artifacts, "weights and predictions"


@pytest.mark.full
def test_the_watcher_ends_with_ray(cluster: Cluster, start: Start, metadata: Metadata) -> None:
    node_id, raylet = start()
    with pytest.raises(InputError, match="--node-id"):
        preemption.raylet("no such node")
    here = preemption.raylet(node_id)
    assert (here.address, here.gone) == (cluster.address, False)
    raylet.kill()
    preemption.watch(replace(preemption.CLOUDS["aws"], url=metadata.url), here)
