"""Two studies side by side."""

import io
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from rich.console import Console
from scipy import stats

from analysis import Comparison, analyse, compare
from analysis.report import write as report
from analysis.scores.statistics import welch
from lottery_ray.experiment.study import PRESETS
from tests.places import JOBS
from tests.planted import Planted, quality

STUDY = replace(PRESETS["demo"].study, seeds=(1, 2, 3, 4), kinds=("good", "random"), baselines=())
JOB = JOBS / "report.py"
NETWORK = ["task", "method", "size", "network", "measure"]


@pytest.fixture(scope="module")
def roots(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, str]:
    """The second study knows less, has other seeds and one task fewer."""
    folder = tmp_path_factory.mktemp("two roots")
    first = Planted(folder / "first").fill(STUDY)
    worse = Planted(folder / "second", known=lambda node, **more: quality(node, **more) - 0.2)
    other = replace(STUDY, tasks=("acceptability",), seeds=(5, 6, 7), recipe=replace(STUDY.recipe, epochs=2))
    return first, worse.fill(other)


@pytest.fixture(scope="module")
def found(roots: tuple[str, str]) -> Comparison:
    return compare(*map(analyse, roots))


def test_welch_is_scipys() -> None:
    rng = np.random.default_rng(1)
    one, other = rng.normal(0, 1, 5), rng.normal(1, 3, 8)
    own = welch(*((len(x), x.mean(), x.std(ddof=1)) for x in (one, other)))
    low, high = stats.ttest_ind(one, other, equal_var=False).confidence_interval()
    assert own == pytest.approx({"difference": one.mean() - other.mean(), "low": low, "high": high})


def test_only_what_both_have_is_compared(found: Comparison) -> None:
    assert set(found.scores["task"]) == {"acceptability"}
    both = found.first.summary.merge(found.second.summary, on=NETWORK)
    assert len(found.scores) == len(both) > 5
    assert np.allclose(found.scores["difference"], both["mean_y"] - both["mean_x"])
    assert (found.scores["n"] == 4).all()
    assert (found.scores["other_n"] == 3).all()


def test_the_planted_difference_is_found(found: Comparison) -> None:
    pruned = found.scores[(found.scores["network"] == "full") | (found.scores["measure"] == "pruned")]
    assert (pruned["high"] < 0).mean() > 0.8


def test_what_was_run_otherwise_is_said(found: Comparison) -> None:
    epochs = found.setup[found.setup["what"] == "epochs"]
    assert epochs[["first", "second"]].to_numpy().tolist() == [[STUDY.recipe.epochs, 2]]


def test_the_page_lies_in_the_first_report(roots: tuple[str, str]) -> None:
    index = report.write_two_reports(*roots, console=Console(file=io.StringIO(), width=100))
    assert index == Path(roots[0]) / "report" / "beside-second" / "index.html"
    text = index.read_text()
    for name in ("scores", "gaps", "masks", "setup"):
        assert f'<section id="{name}">' in text
        assert f'href="{name}.csv"' in text
        assert (index.parent / f"{name}.tex").exists()
    scores = pd.read_csv(index.parent / "scores.csv")
    assert {"mean", "other_mean", "low", "high"} <= set(scores)
    assert (index.parent / "figures" / "side_by_side.svg").exists()


def test_the_job_says_what_is_wrong_with_the_second_root(roots: tuple[str, str], tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, JOB, roots[0], str(tmp_path / "none")], capture_output=True, text=True, check=False
    )
    assert done.returncode == 2
    assert done.stderr.startswith("error: ")
    assert "none" in done.stderr
    assert done.stderr.count("\n") == 1


def test_a_report_that_cannot_be_written_is_said_in_one_line(roots: tuple[str, str], tmp_path: Path) -> None:
    root = tmp_path / "root"
    shutil.copytree(roots[1], root)
    (root / "report").write_text("a file")
    done = subprocess.run([sys.executable, JOB, str(root)], capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert done.stderr.startswith("error: The report cannot be written to")
