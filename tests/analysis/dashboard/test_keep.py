"""A study's own run on Weights & Biases and its workspace: what they show, when, and who keeps them."""

import os
import platform
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import psutil
import pytest
import wandb
from rich.console import Console

from analysis import analyse
from analysis.dashboard import study_run
from analysis.dashboard.keep import SIGN, Dashboard, follow, until_swept
from analysis.tables import tables_of
from lottery_ray.experiment.graph import Node, key
from lottery_ray.experiment.nodes import Finetune, Search, Ticket
from lottery_ray.experiment.plan import Plan, plan
from lottery_ray.experiment.study import Study
from lottery_ray.scheduling.journal import Journal
from lottery_ray.scheduling.progress import Failure, SweepProgress
from lottery_ray.storage.store import Store
from lottery_ray.tracking.settings import Tracking
from tests.places import JOBS
from tests.planted import Planted
from tests.studies import ONE, command, make_inputs, run
from tests.wandb_files import Run, read_offline
from tests.wandb_server import WandbServer

JOB = JOBS / "dashboard.py"
STUDY = Study(tasks=("mrpc",), seeds=(1, 2), methods=("structured",), kinds=("good", "random"))
NODES = 2 + 2 + 4


def job(root: str | Path, *flags: str) -> list[str]:
    return [sys.executable, str(JOB), str(root), *flags]


@pytest.fixture(autouse=True)
def alone(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[None]:
    """Whoever runs the tests is not logged in in them, and no test meets the wandb of an earlier one."""
    for name in ("WANDB_API_KEY", "WANDB_BASE_URL", "WANDB_MODE", "WANDB_PROJECT"):
        monkeypatch.delenv(name, raising=False)
    for name in ("NETRC", "WANDB_CONFIG_DIR", "WANDB_CACHE_DIR"):
        monkeypatch.setenv(name, str(tmp_path / "nobody's"))
    yield
    wandb.teardown()


def shown(root: str | Path, tracking: Tracking) -> list[str]:
    """What is said while the dashboard is brought up to date once."""
    said: list[str] = []
    follow(Dashboard(Store.open(str(root), create=True), tracking, said.append), lambda _: True)
    return said


@contextmanager
def sweeping(root: Path, planned: Plan, done: Callable[[Node], bool]) -> Iterator[SweepProgress]:
    """A sweep of a planted root that has done some nodes, as its journal says."""
    with open(os.devnull, "w") as nowhere:
        progress = SweepProgress(planned.nodes, {n for n in planned.nodes if done(n)}, Console(file=nowhere))
        with Journal(Store.open(str(root), create=True), progress):
            yield progress


def the_run(runs: dict[str, Run]) -> Run:
    (found,) = (run for run in runs.values() if run.job_type == "study")
    return found


def test_a_finished_root_is_shown_offline(tmp_path: Path) -> None:
    root = tmp_path / "a root"
    Planted(root).fill(STUDY)
    assert shown(root, Tracking("offline", wandb_group="a group")) == []
    sent, found = the_run(read_offline(root).runs), analyse(str(root))
    assert (sent.group, sent.name, sent.exit_code) == ("a group", "study a group", 0)
    (row,) = sent.history
    assert (row["step"], row["progress/done"], row["progress/all"], row["progress/failed"]) == (8, 8, 8, 0)

    gaps, overlaps = found.gaps, found.overlap
    ours = (gaps["measure"] == "retrained") & (gaps["network"] == "good") & (gaps["versus"] == "random")
    gap: Any = gaps[ours].iloc[0]
    name = "gap/mrpc/structured/retrained/good-random"
    assert [row[name], row[f"{name}/low"], row[f"{name}/high"]] == list(gap[["mean", "low", "high"]])
    alike: Any = overlaps[(overlaps["network"] == "good") & (overlaps["component"] == "heads")].iloc[0]
    name = "overlap/mrpc/structured/good/heads"
    assert [row[name], row[f"{name}/chance"]] == list(alike[["jaccard", "chance"]])
    assert row["cost/hours/ticket"] == pytest.approx(4 / 3600)
    kept = [
        record.result["sizes"]["heads"] for record in Store.open(str(root)).records() if is_search(record)
    ]
    share = sum(size["kept"] / size["of"] for size in kept) / len(kept)
    assert row["search/mrpc/structured/heads"] == pytest.approx(share)

    files = {name: sent.files[row[name]["path"]] for name in row if isinstance(row[name], dict)}
    assert b"<svg" in files["report"]
    assert not re.search(rb'(src|href)="https?:', files["report"].replace(b'href="https://arxiv.org', b""))
    figures = {name for name in files if name.startswith("figures/")}
    assert {"figures/survival/survival_mrpc_structured", "figures/searches/search_mrpc"} <= figures
    assert all(files[name].startswith(b"\x89PNG") for name in figures)
    assert row["tables/gaps"]["nrows"] == len(found.gaps)
    assert found.gaps["verdict"].iloc[0].encode() in files["tables/gaps"]


def is_search(record: Any) -> bool:
    return bool(record.labels["stage"] == "search")


def test_the_workspace_shows_what_was_logged_and_is_saved_again(
    tmp_path: Path, wandb_server: WandbServer
) -> None:
    root, study = tmp_path / "it's a=root", replace(STUDY, methods=("structured", "magnitude"))
    Planted(root, keep=lambda node: not isinstance(node, Ticket)).fill(study)
    online = Tracking("online", "team/project")
    first = shown(root, online)
    assert len(first) == 1, first
    assert first[0].startswith("Dashboard: "), first
    ((name, view),) = wandb_server.views.items()
    sent = the_run(wandb_server.tracked.runs)
    assert [row["step"] for row in sent.history] == [6]
    assert_shows(view, sent, structured=False)

    # nothing is new, and nothing is added
    assert shown(root, online) == first
    assert [row["step"] for row in sent.history] == [6]

    Planted(root).fill(study)
    assert shown(root, online) == first
    assert [row["step"] for row in sent.history] == [6, 14]
    assert list(wandb_server.views) == [name]
    assert wandb_server.views[name] != view
    assert_shows(wandb_server.views[name], sent, structured=True)
    assert first == [f"Dashboard: {wandb_server.url}/team/project?nw={name[3:-2]}"]
    assert not list((root / "wandb").glob("*run-*"))


def assert_shows(view: dict[str, Any], sent: Run, *, structured: bool) -> None:
    """The workspace is of the study's group alone, and its panels show metrics of its run, or of nodes."""
    section = view["spec"]["section"]
    (runs,) = section["runSets"]
    (only,) = runs["filters"]["filters"]
    assert (only["key"], only["op"], only["value"]) == (
        {"section": "run", "name": "group"},
        "=",
        "it's a=root",
    )
    sections = {each["name"]: each["panels"] for each in section["panelBankConfig"]["sections"]}
    names = ["Progress and failures", "Gaps by task", "How gaps settle", "Survival", "Overlap", "Searches"]
    names += ["Training", "Cost", "Report"]
    if structured:
        assert list(sections) == names
    else:
        assert list(sections) == [*names[:2], *names[5:]]
    of_nodes = {"score", "loss", "dev_score", "learning_rate", "seconds"}
    logged = {name for row in sent.history for name in row}
    for panels in sections.values():
        for panel in panels:
            used = metrics(panel)
            assert used or panel["viewType"] == "Markdown Panel", panel
            assert used <= logged or used <= of_nodes, panel


def metrics(panel: dict[str, Any]) -> set[str]:
    """What a panel reads."""
    config = panel["config"]
    if panel["viewType"] == "Weave":
        return set(re.findall(r"'val': '(tables/[^']*)'", str(config)))
    return {*config.get("metrics", ()), *config.get("mediaKeys", ())}


def test_a_root_without_a_model_has_its_progress_shown(tmp_path: Path, wandb_server: WandbServer) -> None:
    root, planned = tmp_path / "root", plan(STUDY)
    ticket = next(node for node in planned.nodes if isinstance(node, Ticket))
    with sweeping(root, planned, lambda _: False) as progress:
        progress.started(ticket)
        progress.failed(Failure(ticket, "ValueError: a cause", "a log"), [])
    shown(root, Tracking("online"))
    sent = the_run(wandb_server.tracked.runs)
    (row,) = sent.history
    assert (row["progress/done"], row["progress/all"], row["progress/failed"]) == (0, NODES, 1)
    assert (row["progress/ticket/all"], row["progress/ticket/done"]) == (4, 0)
    assert b"ValueError: a cause" in sent.files[row["tables/failures"]["path"]]
    assert sent.exit_code == 1
    ((_, view),) = wandb_server.views.items()
    titles = [each["name"] for each in view["spec"]["section"]["panelBankConfig"]["sections"]]
    assert titles == ["Progress and failures", "Training", "Cost"]


def test_watching_ends_with_the_sweep(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root, planned = tmp_path / "root", plan(STUDY)
    monkeypatch.setattr("analysis.dashboard.keep.EVERY", 0.05)
    monkeypatch.setattr("analysis.dashboard.keep.TIMES", 0.0)
    store = Store.open(str(root), create=True)
    board = Dashboard(store, Tracking("offline"), lambda _: None)
    over, looks = until_swept(store), iter((Finetune, Search, Ticket))
    with sweeping(root, planned, lambda _: False) as progress:

        def wait(seconds: float) -> bool:
            kind = next(looks, None)
            if kind is None:
                progress.stopped = "enough"
                return True
            Planted(root, keep=lambda node: isinstance(node, kind)).fill(STUDY)
            assert not over(0)
            return False

        follow(board, wait)
    assert over(1000)
    steps = [row["step"] for row in the_run(read_offline(root).runs).history]
    assert steps == [0, 2, 4, 8]
    assert (root / SIGN).is_file()


def test_one_process_keeps_a_dashboard(tmp_path: Path) -> None:
    root, offline = tmp_path / "root", Tracking("offline")
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as other:
        said = {"host": platform.node(), "process": other.pid, "heard": time.time(), "url": "http://there"}
        Store.open(str(root), create=True).write_json(SIGN, said)
        assert shown(root, offline) == [
            f"W&B: process {other.pid} of {said['host']} keeps the dashboard up to date.",
            "Dashboard: http://there",
        ]
        assert not read_offline(root).runs
        other.communicate(b"\n")
    assert shown(root, offline) == []
    assert the_run(read_offline(root).runs).history


def test_bad_input_is_told_in_one_line(tmp_path: Path, wandb_server: WandbServer) -> None:
    assert run(job(tmp_path / "none"), 2).startswith("error: ")
    Store.open(str(tmp_path / "root"), create=True)
    said = run(job(tmp_path / "root"), 2, {"WANDB_API_KEY": ""})
    assert said.startswith("error: --wandb online: nobody is logged in")
    assert len(said.splitlines()) == 1
    assert not (tmp_path / "root" / SIGN).exists()


@pytest.mark.slow
def test_a_service_that_is_down_costs_nothing(tmp_path: Path, wandb_server: WandbServer) -> None:
    root = tmp_path / "root"
    with sweeping(root, plan(STUDY), lambda _: False):
        pass
    wandb_server.stop()
    said = run(job(root, "--watch")).splitlines()
    assert said[0].startswith("W&B does not answer.")
    assert said[-1].startswith("1 run of W&B waits to be uploaded: wandb sync '")
    assert the_run(read_offline(root).runs).history[-1]["progress/all"] == NODES


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_inputs(tmp_path_factory.mktemp("inputs"))


def test_a_sweep_keeps_its_dashboard(small: Path, tmp_path: Path, wandb_server: WandbServer) -> None:
    root = tmp_path / "root"
    flags = (*ONE, "--debug", "--wandb", "online")
    said = run(command(small, root, *flags))
    runs = wandb_server.tracked.runs
    assert len(runs) == 4
    sent = the_run(runs)
    assert (sent.history[-1]["progress/done"], sent.history[-1]["progress/all"]) == (3, 3)
    assert sent.exit_code == 0
    assert said.strip().splitlines()[-1].startswith("Dashboard: http")
    (view,) = wandb_server.views.values()
    # what panels read of nodes is there
    logged = {
        name for each in runs.values() for name in (*each.summary, *(n for r in each.history for n in r))
    }
    for section in view["spec"]["section"]["panelBankConfig"]["sections"]:
        for panel in section["panels"]:
            assert metrics(panel) <= logged, panel
            assert panel["config"].get("xAxis", "step") in {*logged, "_absolute_runtime"}
    before = len(wandb_server.requests)
    assert "Dashboard" not in run(command(small, root, *flags))
    assert len(wandb_server.requests) == before


def test_a_killed_sweep_leaves_no_process_behind(small: Path, tmp_path: Path) -> None:
    root = tmp_path / "root"
    arguments = command(small, root, *ONE, "--debug", "--wandb", "offline", "--recipe.epochs", "500")
    with subprocess.Popen(arguments, stdout=subprocess.DEVNULL, start_new_session=True) as sweep:
        while not (root / SIGN).is_file():
            assert sweep.poll() is None
            time.sleep(0.05)
        kept = psutil.Process(Store.open(str(root)).read_json(SIGN)["process"])
        assert sweep.pid in {parent.pid for parent in kept.parents()}
        assert not {"torch", "ray"} & loaded_by(kept)
        sweep.send_signal(signal.SIGKILL)
    kept.wait(120)


def loaded_by(process: psutil.Process) -> set[str]:
    """Which of these libraries a process has mapped."""
    paths = " ".join(each.path for each in process.memory_maps())
    return {name for name in ("torch", "ray") if f"/site-packages/{name}/" in paths}


def test_names_are_such_as_panels_take(tmp_path: Path) -> None:
    study = replace(STUDY, sizes=("stopping", 0.5), down_to=0.3, kinds=("good", "random", "layer_matched"))
    names = study_run.numbers(tables_of(Planted(tmp_path).fill(study)))
    assert "gap/mrpc/structured_at_50/pruned/good-layer_matched" in names
    assert all(re.fullmatch("[A-Za-z0-9_/-]+", name) for name in names)
    assert len({key(node) for node in plan(study).nodes}) > NODES
