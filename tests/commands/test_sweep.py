"""Whole sweeps through the command line: on Ray, in debug mode, killed, resumed, extended and failing.

The model is a tiny BERT with random weights and the data a generated pair task, in folders with spaces.
"""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest
from moto.server import ThreadedMotoServer

from tests.studies import NODES, ONE, assert_equal, command, records, run, wait_for_a_checkpoint


def test_a_sweep_records_every_node_and_writes_a_report(finished: Path) -> None:
    found = records(finished)
    assert len(found) == NODES
    for record in found.values():
        assert record.provenance["seconds"] > 0
        assert record.provenance["packages"]["torch"]
        if record.labels["stage"] == "ticket":
            assert 0 < record.result["weights"]["kept"] <= record.result["weights"]["of"]
    assert (finished / "report" / "index.html").is_file()


def test_tickets_have_exactly_the_size_of_their_good_twin(finished: Path) -> None:
    tickets = [r for r in records(finished).values() if r.labels["stage"] == "ticket"]
    good = {
        (r.labels["task"], r.labels["seed"], r.labels["method"]): r.result["sizes"]
        for r in tickets
        if r.labels["kind"] == "good"
    }
    assert len(tickets) == 24
    for record in tickets:
        twin = (record.labels["task"], record.labels["seed"], record.labels["method"])
        assert record.result["sizes"] == good[twin]


def test_a_finished_study_runs_nothing_again(inputs: Path, finished: Path) -> None:
    before = {key: record.attempt for key, record in records(finished).items()}
    started = time.monotonic()
    output = run(command(inputs, finished))
    assert f"{NODES} nodes, 0 to run" in output
    assert output.endswith(f"\nNext: python jobs/report.py '{finished}'\n")
    assert time.monotonic() - started < 60
    assert {key: record.attempt for key, record in records(finished).items()} == before


def test_debug_mode_gives_equal_results_without_ray_or_wandb(
    inputs: Path, finished: Path, tmp_path: Path
) -> None:
    (tmp_path / "sitecustomize.py").write_text(
        "import sys\nsys.modules['ray'] = sys.modules['wandb'] = None\n"
    )
    arguments = command(inputs, tmp_path / "root", "--debug", report=True)
    run(arguments, environment={"PYTHONPATH": str(tmp_path)})
    assert_equal(tmp_path / "root", finished)


@pytest.mark.full
@pytest.mark.parametrize("nodes_before_the_kill", [3, pytest.param(14, marks=pytest.mark.slow)])
def test_a_killed_driver_loses_no_finished_node(
    inputs: Path, finished: Path, tmp_path: Path, nodes_before_the_kill: int
) -> None:
    root = tmp_path / "root"
    with subprocess.Popen(
        command(inputs, root), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, cwd="/"
    ) as driver:
        while len(list(root.glob("nodes/*/node.json"))) < nodes_before_the_kill:
            assert driver.poll() is None
            time.sleep(0.02)
        driver.send_signal(signal.SIGKILL)
    kept = {key: record.attempt for key, record in records(root).items()}
    assert nodes_before_the_kill <= len(kept) < NODES
    run(command(inputs, root))
    after = records(root)
    assert {key: after[key].attempt for key in kept} == kept
    assert_equal(root, finished)


def kill_a_trial(driver: subprocess.Popen[str]) -> None:
    workers = [p for p in psutil.Process(driver.pid).children(recursive=True) if "ImplicitFunc" in p.name()]
    assert workers
    for worker in workers:
        worker.kill()


@pytest.mark.full
def test_a_trial_whose_process_is_killed_goes_on_within_the_sweep(inputs: Path, tmp_path: Path) -> None:
    longer = (*ONE, "--recipe.epochs", "15")
    with subprocess.Popen(
        command(inputs, tmp_path / "killed", *longer, "--checkpoint-minutes", "0"),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        cwd="/",
    ) as driver:
        wait_for_a_checkpoint(driver, tmp_path / "killed")
        kill_a_trial(driver)
        output, _ = driver.communicate(timeout=300)
    assert driver.returncode == 0, output
    assert "finetune mrpc seed 1 · its process died, and it will run again" in output
    assert "failed." not in output
    (resumed,) = (r for r in records(tmp_path / "killed").values() if r.labels["stage"] == "finetune")
    assert len(resumed.provenance["resumed_at_step"]) == 1
    assert resumed.provenance["resumed_at_step"][0] > 0
    run(command(inputs, tmp_path / "undisturbed", *longer, "--debug"))
    assert_equal(tmp_path / "killed", tmp_path / "undisturbed")
    undisturbed = records(tmp_path / "undisturbed")[resumed.key]
    assert resumed.artifacts == undisturbed.artifacts, "weights and predictions"
    assert not list(tmp_path.glob("*/nodes/*/checkpoint"))


@pytest.mark.slow
def test_debug_mode_goes_on_where_a_killed_sweep_on_ray_was(inputs: Path, tmp_path: Path) -> None:
    longer = (*ONE, "--recipe.epochs", "60")
    killed = command(inputs, tmp_path / "killed", *longer, "--checkpoint-minutes", "0")
    with subprocess.Popen(
        killed, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, text=True, cwd="/"
    ) as driver:
        wait_for_a_checkpoint(driver, tmp_path / "killed")
        driver.kill()
    # Ray's processes outlive their driver a little
    time.sleep(5)
    run([*killed, "--debug"])
    resumed = [record.provenance["resumed_at_step"] for record in records(tmp_path / "killed").values()]
    assert sum(map(len, resumed)) == 1
    run(command(inputs, tmp_path / "undisturbed", *longer, "--debug"))
    assert_equal(tmp_path / "killed", tmp_path / "undisturbed")


@pytest.mark.slow
def test_a_node_whose_process_dies_again_and_again_fails(inputs: Path, tmp_path: Path) -> None:
    (tmp_path / "sitecustomize.py").write_text(
        "import os, signal, sys\n"
        "if any('default_worker' in word for word in sys.orig_argv):\n"
        "    from torch.optim.optimizer import register_optimizer_step_post_hook\n"
        "    register_optimizer_step_post_hook(lambda *_: os.kill(os.getpid(), signal.SIGKILL))\n"
    )
    path = os.pathsep.join([str(tmp_path), os.environ.get("PYTHONPATH", "")])
    output = run(command(inputs, tmp_path / "root", *ONE), status=1, environment={"PYTHONPATH": path})
    assert output.count("its process died, and it will run again") == 4
    assert "1 node failed; 2 that need it did not run." in output
    assert "its worker process has died" in output


@pytest.mark.slow
def test_a_machine_short_of_memory_costs_its_trials_and_not_the_sweep(inputs: Path, tmp_path: Path) -> None:
    # every process counts as one too many
    short = {"RAY_memory_usage_threshold": "0.01", "RAY_memory_monitor_refresh_ms": "100"}
    output = run(command(inputs, tmp_path / "root", *ONE), status=1, environment=short)
    assert "its process died, and it will run again" in output
    assert "1 node failed; 2 that need it did not run." in output
    assert "Traceback" not in output
    run(command(inputs, tmp_path / "root", *ONE))


def test_adding_a_seed_and_a_draw_runs_only_the_new_nodes(
    inputs: Path, finished: Path, tmp_path: Path
) -> None:
    root = tmp_path / "root"
    shutil.copytree(finished, root)
    flags = ("--random-draws", "2", "--seeds", "1", "2", "3", "--tasks", "mrpc")
    # per seed a fine-tuned model, two searches and eight tickets
    assert "33 nodes, 15 to run" in run(command(inputs, root, *flags, "--debug"))
    old = records(finished)
    new = records(root)
    assert len(new) == NODES + 15
    assert all(new[key].attempt == record.attempt for key, record in old.items())


@pytest.mark.full
def test_a_failed_node_takes_down_only_its_descendants(inputs: Path, finished: Path, tmp_path: Path) -> None:
    root = tmp_path / "root"
    shutil.copytree(finished, root)
    lost = []
    for record in records(root).values():
        if record.labels["method"] == "magnitude":
            (root / "nodes" / record.key / "node.json").unlink()
        if record.labels["stage"] == "finetune" and (record.labels["task"], record.labels["seed"]) == (
            "mrpc",
            1,
        ):
            weights = root / "nodes" / record.key / record.attempt / "model.safetensors"
            weights.write_bytes(weights.read_bytes()[:-1] + b"\x00")
            lost.append(weights)
    output = run(command(inputs, root), status=1)
    assert "1 node failed; 3 that need it did not run." in output
    assert "its process died" not in output, "it would only raise again"
    assert "search mrpc seed 1 magnitude" in output
    assert "model.safetensors is corrupt" in output
    (log,) = (line.split("log: ")[1] for line in output.splitlines() if "log: " in line)
    assert "Traceback" in Path(log).read_text()
    assert len(records(root)) == NODES - 4


def test_debug_mode_stops_at_the_first_exception(inputs: Path, tmp_path: Path) -> None:
    root = tmp_path / "root"
    two = ("--debug", "--tasks", "mrpc", "--methods", "structured")
    run(command(inputs, root, *two, "--kinds", "good"))
    for record in records(root).values():
        if record.labels["stage"] == "search":
            (root / "nodes" / record.key / record.attempt / "mask.arrow").unlink()
    output = run(command(inputs, root, *two, "--kinds", "bad"), status=2)
    assert output.count("mask.arrow is missing") == 1


def without_reading(folder: str, tmp_path: Path) -> dict[str, str]:
    """An environment in which the disk of Ray's workers fails for the data below this folder."""
    (tmp_path / "sitecustomize.py").write_text(
        "import sys\n"
        "if any('default_worker' in word for word in sys.orig_argv):\n"
        "    import pyarrow.parquet as pq\n"
        "    whole = pq.read_table\n"
        "    def read_table(path, *more, **named):\n"
        f"        if {folder!r} in str(path):\n"
        "            raise OSError('the disk is broken')\n"
        "        return whole(path, *more, **named)\n"
        "    pq.read_table = read_table\n"
    )
    return {"PYTHONPATH": os.pathsep.join([str(tmp_path), os.environ.get("PYTHONPATH", "")])}


@pytest.mark.full
def test_canaries_that_fail_alike_end_a_sweep_with_one_cause(inputs: Path, tmp_path: Path) -> None:
    root = tmp_path / "root"
    broken = without_reading("/some data/", tmp_path)
    output = run(command(inputs, root), status=1, environment=broken)
    assert f"2 nodes failed; {NODES - 2} that need them did not run." in output
    told = output.partition("did not run.")[2]
    assert told.count("OSError: the disk is broken (in its canary)") == 1
    (log,) = (line.split("log: ")[1] for line in told.splitlines() if "log: " in line)
    assert "Traceback" in Path(log).read_text()
    assert len(list(root.rglob("error.txt"))) == 2, "one for each task, and none of the 36 nodes"
    assert not records(root)


@pytest.mark.slow
def test_a_canary_that_fails_stops_its_task_alone(inputs: Path, finished: Path, tmp_path: Path) -> None:
    root = tmp_path / "root"
    flags = ("--methods", "magnitude", "--kinds", "bad")
    broken = without_reading("/rte/", tmp_path)
    output = run(command(inputs, root, *flags), status=1, environment=broken)
    # three nodes for each task and seed
    assert "1 node failed; 5 that need it did not run." in output
    assert "finetune rte seed 1: OSError: the disk is broken (in its canary)" in output
    assert [record.labels["task"] for record in records(root).values()] == ["mrpc"] * 6
    assert "6 to run" in run(command(inputs, root, *flags))
    expected = records(finished)
    assert all(record.result == expected[key].result for key, record in records(root).items())


@pytest.mark.full
def test_a_sweep_ends_when_its_budget_is_used_up_and_goes_on(
    inputs: Path, finished: Path, tmp_path: Path
) -> None:
    root = tmp_path / "root"
    output = run(command(inputs, root, *ONE, "--budget", "1e-5"), status=3)
    assert "Ended with 3 nodes still to run (" in output
    assert "of 1e-05 CPU-hours are used). Run the same command again to go on." in output
    assert not records(root)
    assert not list(root.rglob("error.txt")), "to be stopped is no failure"
    run(command(inputs, root, *ONE, "--budget", "100"))
    expected = records(finished)
    assert len(records(root)) == 3
    assert all(record.result == expected[key].result for key, record in records(root).items())


@pytest.mark.slow
def test_a_node_that_does_not_fit_into_the_budget_is_not_started(
    inputs: Path, finished: Path, tmp_path: Path
) -> None:
    root = tmp_path / "root"
    shutil.copytree(finished, root)
    for record in records(root).values():
        if record.labels["kind"] == "bad":
            (root / "nodes" / record.key / "node.json").unlink()
    # the others' records say what a node takes
    output = run(command(inputs, root, "--debug", "--budget", "1e-5"), status=3)
    assert "Ended with 8 nodes still to run (0 of 1e-05 CPU-hours are used, and" in output
    assert "takes about 0.0" in output
    run(command(inputs, root, "--debug", "--budget", "100"))
    assert_equal(root, finished)


@pytest.mark.parametrize("how", [("--debug",), pytest.param((), marks=pytest.mark.slow)])
def test_a_dry_run_may_measure_what_a_study_will_cost(
    inputs: Path, tmp_path: Path, how: tuple[str, ...]
) -> None:
    root = tmp_path / "root"
    output = run(command(inputs, root, "--dry-run", "--calibrate", "--price", "2.5", *how))
    assert re.search(r"To run: about \S+ \(\S+ to \S+\) CPU-hours", output)
    assert re.search(r"Cost: about \S+ \(\S+ to \S+\)", output)
    assert "From canaries of mrpc (" in output
    assert "no order is below" in output
    assert not root.exists()


def test_bf16_after_fp32_in_one_process(inputs: Path, tmp_path: Path) -> None:
    script = (
        "import sys; from lottery_ray.experiment.plan import plan;"
        "from lottery_ray.experiment.study import *;"
        "from lottery_ray.experiment.recipe import Recipe;"
        "from lottery_ray.trial.node import run_node;"
        "from lottery_ray.trial.settings import TrialSettings;"
        "from lottery_ray.storage.store import Store; Store.open(sys.argv[1], create=True);\n"
        "for precision in ('fp32', 'bf16', 'fp32'):\n"
        "    recipe = Recipe(epochs=1, precision=precision)\n"
        "    p = plan(Study(sys.argv[2], sys.argv[3], ('rte',), (1,), recipe=recipe))\n"
        "    settings = TrialSettings(sys.argv[1], p.folders, cpu=True)\n"
        "    print(run_node(p.nodes[0], settings).result['score'])\n"
    )
    arguments = [str(tmp_path / "root"), str(inputs / "a model"), str(inputs / "some data")]
    assert run([sys.executable, "-c", script, *arguments])
    assert len(records(tmp_path / "root")) == 2


def test_more_gpus_than_the_cluster_has_are_refused(inputs: Path, tmp_path: Path) -> None:
    output = run(command(inputs, tmp_path / "root", "--gpus-per-trial", "64"), status=2)
    assert "--gpus-per-trial 64: no machine of the cluster has more than" in output
    assert "Traceback" not in output


PACKED = """
import sys
from pathlib import Path
from rich.console import Console
from lottery_ray.scheduling.progress import SweepProgress
from lottery_ray.storage.attempt import begin
from lottery_ray.storage.store import Store
from lottery_ray.experiment.plan import Plan, plan
from lottery_ray.experiment.study import PRESETS, Site
from lottery_ray.executors.on_ray import run_plan

def stand_in(node, settings):
    store = Store.open(settings.root)
    begin(store, node).publish({}, {"seconds": 0.1}, store.inputs(node))

Store.open(sys.argv[1], create=True)
nodes = plan(PRESETS["paper"].study).nodes[:1]
progress = SweepProgress(nodes, set(), Console())
measured = {"peak_memory_mib": 1024.0, "peak_gpu_memory_mib": 8_000.0, "gpu_memory_mib": 40_000.0}
progress.forecast.memory.add(measured)
run_plan(Plan(nodes), Site(sys.argv[1], float(sys.argv[2]), "packed"), progress, run=stand_in)
assert progress.done == set(nodes), progress.failures
"""


@pytest.mark.full
@pytest.mark.parametrize(
    ("cpus", "gpus"),
    [("0.25 CPUs", "0.25 GPUs"), pytest.param("1 CPU", "0.5 GPUs", marks=pytest.mark.slow)],
)
def test_a_gpu_takes_as_many_trials_as_its_memory_and_the_cpus_hold(
    cpus: str, gpus: str, tmp_path: Path
) -> None:
    # Ray is told of a GPU; the trials, which do nothing, need none
    told = {"RAY_OVERRIDE_RESOURCES": '{"GPU": 1, "CPU": 2}'}
    output = run([sys.executable, "-c", PACKED, str(tmp_path / "root"), cpus.split()[0]], environment=told)
    assert f"each trial has {cpus} and {gpus}, and 1.1 GiB" in output


@pytest.mark.slow
def test_the_root_may_be_on_object_storage(inputs: Path, finished: Path, tmp_path: Path) -> None:
    import boto3

    credentials = {"AWS_ACCESS_KEY_ID": "test", "AWS_SECRET_ACCESS_KEY": "test"}
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0)
    server.start()
    try:
        host, port = server.get_host_and_port()
        client = boto3.client(
            "s3",
            endpoint_url=f"http://{host}:{port}",
            region_name="us-east-1",
            aws_access_key_id="test",
            aws_secret_access_key="test",
        )
        client.create_bucket(Bucket="lottery")
        root = f"s3://lottery/a root?endpoint_override={host}:{port}&scheme=http&region=us-east-1"
        flags = ("--tasks", "mrpc", "--seeds", "1")
        run(command(inputs, root.replace(" ", "%20"), *flags), environment=credentials)
        with pytest.MonkeyPatch.context() as environment:
            for name, value in credentials.items():
                environment.setenv(name, value)
            found = records(root.replace(" ", "%20"))
    finally:
        server.stop()
    assert len(found) == 9
    expected = records(finished)
    assert all(record.result == expected[key].result for key, record in found.items())


def test_node_json_is_plain_json_that_says_all(finished: Path) -> None:
    for path in finished.glob("nodes/*/node.json"):
        content = json.loads(path.read_text())
        assert content["format"] == 1
        assert content["key"] == path.parent.name
        assert set(content["provenance"]) >= {"seconds", "peak_memory_mib", "commit", "device"}
