"""What trackers are told of nodes, read back from where the real ones have put it, and that none costs a
result: files of wandb offline, a server that speaks its protocol, and TensorBoard's files."""

import os
import subprocess
import sys
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from lottery_ray.experiment.graph import Node, key, node_title, stage
from lottery_ray.experiment.nodes import Finetune, NullDraws, Search, Ticket
from lottery_ray.experiment.plan import Plan, plan
from lottery_ray.experiment.recipe import Recipe
from lottery_ray.experiment.study import Study
from lottery_ray.storage.store import Record, Store
from lottery_ray.tracking.settings import UNTRACKED, Tracking
from lottery_ray.trial.node import run_node
from lottery_ray.trial.settings import TrialSettings
from tests import studies
from tests.folders import data_folder, pretrained_folder
from tests.studies import ONE, command
from tests.training.test_checkpoints import stopped_after
from tests.wandb_files import Tracked, read_offline
from tests.wandb_server import WandbServer

RECIPE = Recipe(epochs=3, batch_size=8, learning_rate=1e-3, warmup=0.25)
STEPS = 3 * 3
OFFLINE = Tracking(wandb="offline", wandb_group="a study")


@dataclass(frozen=True)
class Done:
    """A small study that was run in this process, and what its trackers were told."""

    plan: Plan
    root: Path
    records: dict[Node, Record]

    @property
    def told(self) -> Tracked:
        return read_offline(self.root / "wandb")


@pytest.fixture(scope="module")
def planned(tmp_path_factory: pytest.TempPathFactory) -> Plan:
    folder = tmp_path_factory.mktemp("the inputs")
    pretrained_folder(folder / "a model")
    data_folder(folder / "some data", "mrpc")
    return plan(
        Study(
            *(str(folder / "a model"), str(folder / "some data"), ("mrpc",), (1,)),
            kinds=("good", "random"),
            null_draws=2,
            floor=0.5,
            recipe=RECIPE,
        )
    )


def finish(planned: Plan, root: Path, tracking: Tracking) -> Done:
    Store.open(str(root), create=True)
    records = {
        node: run_node(node, TrialSettings(str(root), planned.folders, cpu=True, tracking=tracking))
        for node in planned.nodes
    }
    return Done(planned, root, records)


@pytest.fixture(scope="module")
def tracked(planned: Plan, tmp_path_factory: pytest.TempPathFactory) -> Done:
    return finish(planned, tmp_path_factory.mktemp("tracked") / "a root", OFFLINE)


def one(done: Done, type_: type[Node], **labels: Any) -> Any:
    (found,) = (
        node
        for node, record in done.records.items()
        if isinstance(node, type_) and labels.items() <= record.labels.items()
    )
    return found


def test_every_node_is_a_run(tracked: Done) -> None:
    told = tracked.told
    assert told.runs.keys() == {key(node) for node in tracked.plan.nodes}
    for node in tracked.plan.nodes:
        found = told.runs[key(node)]
        assert (found.group, found.job_type, found.name) == ("a study", stage(node), node_title(node))
        assert {stage(node), "mrpc"} <= set(found.tags)
        assert found.exit_code == 0


def test_the_config_is_the_node_flat_with_every_choice(tracked: Done) -> None:
    ticket = one(tracked, Ticket, method="magnitude", kind="random")
    config = tracked.told.runs[key(ticket)].config
    expected = {
        **{"task": "mrpc", "seed": 1, "method": "magnitude", "kind": "random", "draw": 0, "rule": "exact"},
        **{"size": "stopping", "start": "pretrained", "removal": "sound", "key": key(ticket)},
        **{"recipe.epochs": 3, "recipe.learning_rate": 1e-3, "recipe.precision": "fp32"},
        **{"search.method.step": 0.1, "search.floor": 0.5, "search.data": "dev"},
        **{"finetune.recipe.epochs": 3, "finetune.model.sha256": ticket.finetune.model.sha256},
        **{"finetune.data.sha256": ticket.finetune.data.sha256, "finetune": key(ticket.finetune)},
        **{"sources": key(ticket.sources[0])},
    }
    assert config.items() >= expected.items()


def test_trainings_have_curves_of_loss_learning_rate_and_dev_score(tracked: Done) -> None:
    for node, measure in (
        (one(tracked, Finetune), "score"),
        (one(tracked, Ticket, kind="good", method="structured"), "retrained"),
    ):
        found = tracked.told.runs[key(node)]
        assert [step for step, _ in found.curve("loss")] == list(range(1, STEPS + 1))
        assert [row["step"] for row in found.history] == [row["_step"] for row in found.history]
        warm_up, rates = round(0.25 * STEPS), [rate for _, rate in found.curve("learning_rate")]
        # the rate that each step was taken with
        expected = [
            1e-3 * (done / warm_up if done < warm_up else (STEPS - done) / (STEPS - warm_up))
            for done in range(STEPS)
        ]
        np.testing.assert_allclose(rates, expected)
        scores = found.curve("dev_score")
        assert [step for step, _ in scores] == [3, 6, 9]
        assert scores[-1][1] == tracked.records[node].result[measure]
        assert found.axes["*"] == "step"
    losses = [loss for _, loss in tracked.told.runs[key(one(tracked, Finetune))].curve("loss")]
    assert all(np.isfinite(losses))
    assert np.mean(losses[-3:]) < np.mean(losses[:3])


def test_searches_have_curves_of_score_and_sparsity(tracked: Done) -> None:
    structured = one(tracked, Search, method="structured")
    steps = tracked.records[structured].result["steps"]
    curves = tracked.told.runs[key(structured)]
    assert curves.curve("score") == [(number, step["score"]) for number, step in enumerate(steps)]
    kept = [12 * (1 - gone) for _, gone in curves.curve("heads_sparsity")]
    np.testing.assert_allclose(kept, [step["kept"]["heads"] for step in steps])
    kept = [3 * (1 - gone) for _, gone in curves.curve("mlps_sparsity")]
    np.testing.assert_allclose(kept, [step["kept"]["mlp"] for step in steps])

    magnitude = one(tracked, Search, method="magnitude")
    steps, curves = tracked.records[magnitude].result["steps"], tracked.told.runs[key(magnitude)]
    assert curves.curve("score") == [(number, step["score"]) for number, step in enumerate(steps)]
    total = steps[0]["kept"]["weight"]
    kept = [total * (1 - gone) for _, gone in curves.curve("weights_sparsity")]
    np.testing.assert_allclose(kept, [step["kept"]["weight"] for step in steps])

    nulls = one(tracked, NullDraws, method="magnitude", kind="random")
    assert tracked.told.runs[key(nulls)].curve("score") == list(
        enumerate(tracked.records[nulls].result["scores"])
    )


def test_the_summary_has_the_results(tracked: Done) -> None:
    for node, record in tracked.records.items():
        summary = tracked.told.runs[key(node)].summary
        for name in ("score", "pruned", "retrained", "good", "full_score"):
            if name in record.result:
                assert summary[name] == record.result[name]
        assert summary["seconds"] == record.provenance["seconds"]
    sizes = tracked.told.runs[key(one(tracked, Search, method="structured"))].summary
    assert sizes["sizes.heads.of"] == 12


def test_artifacts_say_what_was_made_from_what(tracked: Done) -> None:
    told = tracked.told
    made = {artifact.made_by[0]: artifact for artifact in told.artifacts.values() if artifact.made_by}
    full = one(tracked, Finetune)
    for method in ("structured", "magnitude"):
        search = one(tracked, Search, method=method)
        assert key(search) in made[key(full)].used_by
        tickets = [n for n in tracked.plan.nodes if isinstance(n, Ticket) and n.sources == (search,)]
        assert len(tickets) == 2
        assert {key(ticket) for ticket in tickets} <= set(made[key(search)].used_by)
        for node in (search, *tickets):
            assert made[key(node)].type == "mask"
            path = Store.open(str(tracked.root)).fetch(tracked.records[node], "mask.arrow")
            assert made[key(node)].files == {"mask.arrow": path.read_bytes()}
    assert made[key(full)].type == "model"
    (place,) = made[key(full)].references.values()
    assert Path(place.removeprefix("file://")).name == "model.safetensors"
    assert Path(place.removeprefix("file://")).is_file()
    outside = [artifact for artifact in told.artifacts.values() if not artifact.made_by]
    assert {artifact.type: artifact.used_by for artifact in outside} == {
        "dataset": [key(full)],
        "base-model": [key(full)],
    }
    identities = {full.model.sha256, full.data.sha256}
    assert {artifact.metadata["sha256"] for artifact in outside} == identities


def test_no_tracker_changes_a_result(planned: Plan, tracked: Done, tmp_path: Path) -> None:
    plain = finish(planned, tmp_path / "a root", UNTRACKED)
    for node, record in plain.records.items():
        assert record.result == tracked.records[node].result
        assert record.artifacts == tracked.records[node].artifacts
    assert not (tmp_path / "a root" / "wandb").exists()


def test_epochs_may_go_unscored(planned: Plan, tmp_path: Path) -> None:
    full = planned.nodes[0]
    done = finish(Plan((full,), planned.folders), tmp_path, replace(OFFLINE, no_dev_curves=True))
    assert [step for step, _ in done.told.runs[key(full)].curve("dev_score")] == [STEPS]


def test_what_is_done_is_not_told_again(tracked: Done) -> None:
    before = sorted((tracked.root / "wandb").iterdir())
    again = finish(tracked.plan, tracked.root, OFFLINE)
    assert again.records == tracked.records
    assert sorted((tracked.root / "wandb").iterdir()) == before


def test_a_resumed_node_goes_on_with_its_run(planned: Plan, tracked: Done, tmp_path: Path) -> None:
    full = planned.nodes[0]
    Store.open(str(tmp_path), create=True)
    with stopped_after(5):
        run_node(
            full,
            TrialSettings(str(tmp_path), planned.folders, cpu=True, checkpoint_minutes=0, tracking=OFFLINE),
        )
    stopped = read_offline(tmp_path / "wandb").runs[key(full)]
    assert stopped.exit_code == 1
    assert stopped.summary["error"].startswith("Stopped")
    record = run_node(full, TrialSettings(str(tmp_path), planned.folders, cpu=True, tracking=OFFLINE))
    assert record.provenance["resumed_at_step"] == [4]
    found = read_offline(tmp_path / "wandb").runs[key(full)]
    assert found.exit_code == 0
    by_step = {row["step"]: row["loss"] for row in found.history if "loss" in row}
    assert by_step == dict(tracked.told.runs[key(full)].curve("loss"))


def test_a_node_that_fails_says_so(planned: Plan, tmp_path: Path) -> None:
    assert isinstance(planned.nodes[0], Finetune)
    bad = replace(planned.nodes[0], recipe=replace(RECIPE, learning_rate=1e30))
    Store.open(str(tmp_path), create=True)
    with pytest.raises(FloatingPointError):
        run_node(bad, TrialSettings(str(tmp_path), planned.folders, cpu=True, tracking=OFFLINE))
    found = read_offline(tmp_path / "wandb").runs[key(bad)]
    assert found.exit_code == 1
    assert found.summary["error"].startswith("FloatingPointError: The network's logits are not finite")


def test_a_tracker_that_cannot_work_costs_a_warning(planned: Plan, tracked: Done, tmp_path: Path) -> None:
    full = planned.nodes[0]
    Store.open(str(tmp_path), create=True)
    # where wandb would make a folder
    (tmp_path / "wandb").write_text("in the way")
    (tmp_path / "tensorboard").write_text("in the way")
    record = run_node(
        full,
        TrialSettings(
            str(tmp_path), planned.folders, cpu=True, tracking=replace(OFFLINE, tracker="tensorboard")
        ),
    )
    assert record.result == tracked.records[full].result
    warnings = record.provenance["tracking_warnings"]
    assert [warning.partition(":")[0] for warning in warnings] == ["tensorboard", "wandb"]


def test_tensorboard_is_told_the_same(planned: Plan, tracked: Done, tmp_path: Path) -> None:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    full = planned.nodes[0]
    done = finish(Plan((full,), planned.folders), tmp_path, Tracking(tracker="tensorboard"))
    (folder,) = (tmp_path / "tensorboard").iterdir()
    assert key(full) in folder.name
    events = EventAccumulator(str(folder))
    events.Reload()
    for curve in ("loss", "learning_rate", "dev_score"):
        points = [(point.step, point.value) for point in events.Scalars(curve)]
        expected = tracked.told.runs[key(full)].curve(curve)
        assert [step for step, _ in points] == [step for step, _ in expected]
        np.testing.assert_allclose([v for _, v in points], [v for _, v in expected], rtol=1e-6)
    (score,) = events.Scalars("result/score")
    assert score.value == pytest.approx(done.records[full].result["score"])
    assert not (tmp_path / "wandb").exists()


# the command line, online


@pytest.fixture
def sweep(inputs: Path, tmp_path: Path, wandb_server: WandbServer) -> list[str]:
    """The command of three nodes, online, in the server's environment."""
    return command(inputs, tmp_path / "a root", *ONE, "--debug", "--wandb", "online")


@pytest.mark.full
def test_online_the_service_has_it_all(sweep: list[str], tmp_path: Path, wandb_server: WandbServer) -> None:
    studies.run(sweep)
    records = studies.records(tmp_path / "a root")
    told = wandb_server.tracked
    assert records.keys() <= told.runs.keys()
    for record in records.values():
        found = told.runs[record.key]
        assert (found.group, found.exit_code) == ("a root", 0)
        assert found.config["recipe.epochs" if "recipe" in record.identity else "finetune.recipe.epochs"] == 2
    by_stage = {record.labels["stage"]: record.key for record in records.values()}
    masks = [a for a in told.artifacts.values() if a.made_by == [by_stage["search"]]]
    assert [a.used_by for a in masks] == [[by_stage["ticket"]]]
    assert "mask.arrow" in masks[0].files
    left = [path.name for path in (tmp_path / "a root" / "wandb").glob("*run-*")]
    assert not left, "what is uploaded is not kept"


def test_without_an_account_it_says_how_to_log_in(sweep: list[str], tmp_path: Path) -> None:
    nobody = {"WANDB_API_KEY": "", "HOME": str(tmp_path), "NETRC": str(tmp_path / "none")}
    output = studies.run(sweep, status=2, environment=nobody)
    assert "wandb login" in output.splitlines()[-1]
    assert not list((tmp_path / "a root" / "nodes").glob("*"))


def test_a_wrong_key_is_refused(sweep: list[str], tmp_path: Path) -> None:
    output = studies.run(sweep, status=2, environment={"WANDB_API_KEY": "f" * 40})
    assert "refuses the API key" in output.splitlines()[-1]


@pytest.mark.slow
def test_where_the_service_is_down_nothing_is_lost(
    sweep: list[str], tmp_path: Path, wandb_server: WandbServer
) -> None:
    wandb_server.stop()
    output = studies.run(sweep)
    records = studies.records(tmp_path / "a root")
    assert len(records) == 3
    assert "W&B does not answer" in output
    wandb_server.start()
    upload(output)
    assert_all_there(records, wandb_server)


def upload(output: str) -> None:
    """Run the command that a sweep ends with."""
    said = next(line for line in output.splitlines() if "wandb sync" in line)
    wandb = Path(sys.executable).with_name("wandb")
    command = said[said.index("wandb sync") :].replace("wandb", str(wandb), 1)
    done = subprocess.run(
        command, shell=True, capture_output=True, text=True, env=os.environ, check=False, timeout=120
    )
    assert done.returncode == 0, done.stdout + done.stderr


def assert_all_there(records: dict[str, Record], wandb_server: WandbServer) -> None:
    told = wandb_server.tracked
    assert records.keys() <= told.runs.keys()
    for record in records.values():
        assert told.runs[record.key].exit_code == 0
        if record.labels["stage"] != "search":
            assert told.runs[record.key].curve("loss")
    left = {by for artifact in told.artifacts.values() for by in artifact.made_by}
    assert records.keys() <= left


@pytest.mark.slow
def test_where_the_service_goes_down_nothing_is_lost(
    sweep: list[str], tmp_path: Path, wandb_server: WandbServer
) -> None:
    driver = subprocess.Popen(sweep, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, cwd="/")
    while "UpsertBucket" not in wandb_server.requests:
        assert driver.poll() is None
        time.sleep(0.01)
    wandb_server.stop()
    output, _ = driver.communicate()
    assert driver.returncode == 0, output
    records = studies.records(tmp_path / "a root")
    assert len(records) == 3
    wandb_server.start()
    upload(output)
    assert_all_there(records, wandb_server)


def test_bad_names_are_refused(inputs: Path, tmp_path: Path) -> None:
    for flags, words in (
        (("--tracker", "wandb"), "--wandb offline or online"),
        (("--tracker", "abacus"), "choose from aim"),
        (("--tracker", "comet_ml"), "not installed"),
    ):
        output = studies.run(command(inputs, tmp_path / "a root", *ONE, *flags), status=2)
        assert words in " ".join(output.split())
