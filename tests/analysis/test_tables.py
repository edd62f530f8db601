"""The analysis against independent computations, on roots with planted scores."""

import dataclasses
import io
import subprocess
import sys
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from pyarrow import fs
from rich.console import Console
from scipy import stats

from analysis import Analysis, analyse, chance_jaccard
from analysis.formats import rows
from analysis.levels import CONFIDENCE
from analysis.masks import chance, overlap
from analysis.records.network_names import GOOD
from analysis.report import figures, page, terminal
from analysis.report import write as report
from analysis.scores import dev_sets as devset
from analysis.scores import statistics
from analysis.scores.dev_sets import Predictions
from lottery_ray import streams
from lottery_ray.errors import InputError
from lottery_ray.experiment import masks
from lottery_ray.experiment.graph import Node
from lottery_ray.experiment.masks import Overlap, read_masks
from lottery_ray.experiment.nodes import Finetune, Search, Ticket
from lottery_ray.experiment.plan import plan
from lottery_ray.experiment.recipe import Recipe
from lottery_ray.experiment.study import PRESETS, Study
from lottery_ray.inputs import tasks
from lottery_ray.inputs.tasks import task_score
from lottery_ray.storage.store import Store
from tests.places import CHECKOUT, JOBS, SHARED
from tests.planted import Planted, quality

DEMO = dataclasses.replace(PRESETS["demo"].study, kinds=("good", "random", "bad"))
METRICS: tuple[tasks.Metric, ...] = ("accuracy", "matthews", "pearson")
MASKS = SHARED / "paper" / "masks.parquet"
REPORT = JOBS / "report.py"


def with_study(**changes: object) -> Study:
    return dataclasses.replace(DEMO, **changes)  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> str:
    return Planted(tmp_path_factory.mktemp("demo")).fill(with_study(random_draws=2))


@pytest.fixture(scope="module")
def found(root: str) -> Analysis:
    return analyse(root)


# Intervals and gaps


@pytest.mark.parametrize("n", [2, 3, 5, 30])
def test_t_interval_is_scipys(n: int) -> None:
    values = streams.generator("interval", n).normal(0.7, 0.1, n)
    expected = stats.ttest_1samp(values, 0).confidence_interval(CONFIDENCE)
    interval = statistics.t_interval(values)
    assert [interval.low, interval.high] == pytest.approx([expected.low, expected.high])


def test_one_seed_has_no_interval_and_decides_nothing() -> None:
    interval = statistics.t_interval(np.array([0.3]))
    assert np.isnan([interval.half, interval.sd]).all()
    assert str(statistics.verdict(interval, GOOD)) == "undecided"


def scores_of(found: Analysis, network: str, measure: str, task: str, method: str) -> pd.Series:
    table: pd.DataFrame = found.scores
    chosen = (table["network"] == network) & (table["measure"] == measure)
    chosen &= (table["task"] == task) & (table["method"] == method)
    return table[chosen].groupby("seed")["score"].mean()


def row_of(table: pd.DataFrame, **labels: str) -> dict[str, Any]:
    """The one row with these labels."""
    [row] = [row for row in rows(table) if labels.items() <= row.items()]
    return row


@pytest.mark.parametrize("method", ["structured", "magnitude"])
@pytest.mark.parametrize("task", DEMO.tasks)
@pytest.mark.parametrize("versus", ["random", "bad"])
def test_gaps_are_paired_by_seed(found: Analysis, task: str, method: str, versus: str) -> None:
    good = scores_of(found, "good", "retrained", task, method)
    other = scores_of(found, versus, "retrained", task, method)
    expected = stats.ttest_rel(good, other).confidence_interval(CONFIDENCE)
    gap = row_of(found.gaps, task=task, method=method, measure="retrained", network="good", versus=versus)
    np.testing.assert_allclose([gap["low"], gap["high"]], [expected.low, expected.high])
    assert gap["verdict"] == "good higher"  # planted far apart
    assert gap["n"] == 3


def test_a_gap_uses_only_seeds_that_have_both_networks(tmp_path: Path) -> None:
    def keep(node: Node) -> bool:
        return not (isinstance(node, Ticket) and node.kind == "bad" and node.finetune.seed == 3)

    found = analyse(Planted(tmp_path, keep=keep).fill(DEMO))
    gaps = found.gaps[found.gaps["network"] == "good"]
    assert set(gaps.loc[gaps["versus"] == "bad", "n"]) == {2}
    assert set(gaps.loc[gaps["versus"] == "random", "n"]) == {3}
    assert set(map(tuple, found.missing.to_numpy())) == {
        (task, 3, f"bad ({method})") for task in DEMO.tasks for method in DEMO.methods
    }


def test_equal_networks_are_undecided(tmp_path: Path) -> None:
    """Nothing separates good from random here, so at most a few of the verdicts claim a difference."""
    planted = Planted(tmp_path, known=lambda node, retrained=False: 0.6)
    verdicts = analyse(planted.fill(with_study(seeds=(1, 2, 3, 4, 5)))).gaps["verdict"]
    assert (verdicts == "undecided").mean() > 0.7


def test_random_draws_of_one_seed_are_not_more_seeds(found: Analysis) -> None:
    random = found.summary[found.summary["network"] == "random"]
    assert set(random["n"]) == {3}
    assert (
        found.scores["network"] == "random"
    ).sum() == 2 * 3 * 2 * 2 * 2  # tasks seeds methods measures draws


# The dev set


def predictions(metric: tasks.Metric, n: int = 40) -> Predictions:
    rng = streams.generator("dev", metric, n)
    if metric == "pearson":
        labels = rng.normal(size=n)
        return Predictions(labels, labels + rng.normal(size=n))
    labels = rng.integers(0, 2, n).astype(float)
    return Predictions(labels, np.where(rng.random(n) < 0.7, labels, 1 - labels))


def without(one: Predictions, row: int) -> Predictions:
    return Predictions(np.delete(one.labels, row), np.delete(one.predicted, row))


@pytest.mark.parametrize("metric", METRICS)
def test_scores_are_those_of_the_tasks(metric: tasks.Metric) -> None:
    one = predictions(metric)
    logits = one.predicted[:, None] if metric == "pearson" else np.eye(2)[one.predicted.astype(int)]
    assert devset.dev_score(metric, one) == pytest.approx(task_score(metric, one.labels, logits))


@pytest.mark.parametrize("metric", METRICS)
def test_leave_one_out_is_the_score_without_each_row(metric: tasks.Metric) -> None:
    one = predictions(metric)
    brute = [devset.dev_score(metric, without(one, row)) for row in range(len(one.labels))]
    np.testing.assert_allclose(devset.leave_one_out(metric, one), brute, atol=1e-12)


@pytest.mark.parametrize("metric", ["matthews", "pearson"])
def test_leave_one_out_of_what_becomes_constant(metric: tasks.Metric) -> None:
    one = Predictions(np.array([0.0, 1, 0, 1]), np.array([0.0, 0, 0, 1]))
    assert devset.leave_one_out(metric, one)[3] == 0
    constant = Predictions(one.labels, np.full(4, 0.1))
    assert (devset.leave_one_out(metric, constant) == 0).all()


@pytest.mark.parametrize("metric", METRICS)
def test_jackknife_of_a_difference(metric: tasks.Metric) -> None:
    one, two = predictions(metric), predictions(metric)
    two = Predictions(one.labels, np.roll(two.predicted, 3))
    n = len(one.labels)
    brute = np.array(
        [
            devset.dev_score(metric, without(one, i)) - devset.dev_score(metric, without(two, i))
            for i in range(n)
        ]
    )
    left_out = devset.leave_one_out(metric, one) - devset.leave_one_out(metric, two)
    assert devset.jackknife(left_out) == pytest.approx(
        np.sqrt((n - 1) / n * ((brute - brute.mean()) ** 2).sum())
    )


def test_jackknife_of_accuracy_is_the_binomial_standard_error() -> None:
    one = predictions("accuracy", 400)
    share = devset.dev_score("accuracy", one)
    expected = np.sqrt(share * (1 - share) / 399)
    assert devset.jackknife(devset.leave_one_out("accuracy", one)) == pytest.approx(expected)


def test_majority_is_the_most_frequent_dev_label() -> None:
    one = Predictions(np.array([2.0, 2, 0, 1, 2]), np.zeros(5))
    assert devset.dev_score("accuracy", devset.majority("accuracy", one)) == pytest.approx(0.6)


def test_predictions_are_read_in_the_order_of_idx(root: str, found: Analysis) -> None:
    """Planted files are shuffled, each another way; scores from the files are those recorded."""
    store = Store.open(root)
    for record in store.records():
        if record.labels["stage"] == "finetune":
            metric = tasks.TASKS[record.labels["task"]].metric
            one = devset.read_predictions(store.fetch(record, "predictions.arrow"), metric)
            assert devset.dev_score(metric, one) == pytest.approx(record.result["score"])
    assert found.scores.groupby("task")["se"].max().between(0, 0.1).all()


# Baselines


def test_baselines_show_what_pre_training_is_worth(found: Analysis) -> None:
    assert len(found.baselines) == 6
    assert found.baselines[["beats_majority", "beats_random_start"]].all(axis=None)
    units = found.baselines["above_random_start"] / found.baselines["random_start_se"]
    np.testing.assert_allclose(found.baselines["random_start_z"], units)
    assert found.tasks["conclusive"].all()


# a guess beats its baseline by chance in one of forty studies, and with seeds 1 to 3 it does
@pytest.mark.parametrize("seeds", [(1,), (4, 5, 6)])
def test_a_task_at_its_baseline_is_shown_but_left_out(tmp_path: Path, seeds: tuple[int, ...]) -> None:
    def known(node: Finetune | Ticket, *, retrained: bool = False) -> float:
        task = node.task if isinstance(node, Finetune) else node.finetune.task
        return 0.0 if task == "acceptability" else quality(node, retrained=retrained)

    found = analyse(Planted(tmp_path, known=known).fill(with_study(seeds=seeds)))
    assert dict(zip(found.tasks["task"], found.tasks["conclusive"], strict=True)) == {
        "acceptability": False,
        "similarity": True,
    }
    text = printed(found)
    assert "Acceptability is shown but left out" in text
    assert not [line for line in text.splitlines() if "higher" in line and " on Acceptability" in line]
    assert "left out" in next(line for line in text.splitlines() if line.startswith("  random"))


# Overlap


@pytest.mark.parametrize(("n", "a", "b"), [(24, 7, 12), (12, 11, 9), (144, 95, 81), (5, 5, 5), (6, 0, 3)])
def test_chance_jaccard_is_what_random_masks_have(n: int, a: int, b: int) -> None:
    rng = streams.generator("chance", n, a, b)
    draws = 20_000
    one, two = (rng.random((draws, n)).argsort(axis=1) < size for size in (a, b))
    observed = ((one & two).sum(axis=1) / (one | two).sum(axis=1)).mean()
    assert chance_jaccard(n, a, b) == pytest.approx(observed, abs=5e-3)


def test_chance_jaccard_of_many_components_is_the_exact_one_nearly(monkeypatch: pytest.MonkeyPatch) -> None:
    exact = chance_jaccard(100_000, 52_000, 47_000)
    monkeypatch.setattr(chance, "EXACT_UP_TO", 10)
    assert chance_jaccard(100_000, 52_000, 47_000) == pytest.approx(exact, rel=1e-5)


def test_empty_masks_have_no_jaccard() -> None:
    assert np.isnan(overlap.jaccard_of(Overlap(12, 0, 0, 0)))
    assert np.isnan(chance_jaccard(12, 0, 0))


@pytest.mark.parametrize("method", ["structured", "magnitude"])
def test_overlap_is_brute_force_jaccard(root: str, found: Analysis, method: str) -> None:
    store = Store.open(root)
    kept: dict[str, list[np.ndarray]] = {}
    for record in store.records():
        labels = record.labels
        if (labels["task"], labels["method"], labels["kind"]) == ("similarity", method, "good"):
            parts = masks.from_table(read_masks(store.fetch(record, "mask.arrow")))
            for name in {part.component for part in parts}:
                flat = np.concatenate([part.kept for part in parts if part.component == name])
                kept.setdefault(name, []).append(flat)
    for component, flats in kept.items():
        jaccards = [(a & b).sum() / (a | b).sum() for a, b in combinations(flats, 2) if (a | b).any()]
        row = row_of(found.overlap, task="similarity", method=method, network="good", component=component)
        assert row["jaccard"] == pytest.approx(np.mean(jaccards))
        assert (row["pairs"], row["defined"]) == (3, len(jaccards))


def test_survival_is_the_share_of_seeds(root: str, found: Analysis) -> None:
    heads = []
    store = Store.open(root)
    for record in store.records():
        labels = record.labels
        if (labels["task"], labels["method"], labels["kind"]) == ("similarity", "structured", "good"):
            heads.append(masks.heads(masks.from_table(read_masks(store.fetch(record, "mask.arrow")))))
    table = found.survival
    good = table[(table["method"] == "structured") & (table["network"] == "good")]
    cells = good[(good["task"] == "similarity") & (good["component"] == "heads")]
    survived = cells.pivot(index="layer", columns="index", values="kept").to_numpy()
    np.testing.assert_allclose(survived, np.mean(heads, axis=0))


@pytest.mark.skipif(not MASKS.is_file(), reason="the paper's masks are not beside the checkout")
@pytest.mark.parametrize(
    ("task", "component", "observed", "chance"),
    [
        ("CoLA", "heads", 0.5615, 0.4606),
        ("SST-2", "heads", 0.4649, 0.2944),
        ("MNLI", "heads", 0.5965, 0.4915),
        ("RTE", "heads", 0.4104, 0.3028),
        ("CoLA", "mlp", 0.8955, 0.8159),
        ("RTE", "mlp", 0.5856, 0.6101),
    ],
)
def test_overlap_of_the_papers_masks(task: str, component: str, observed: float, chance: float) -> None:
    """The released masks' mean pairwise Jaccard and its expectation (paper/protocol.md, section 8.2), which
    is there a ratio of expectations; the expectation of the ratio is a little higher for 12 MLPs."""
    table = pq.read_table(MASKS).to_pandas()
    table = table[(table["family"] == "heads_mlps") & (table["task"] == task)]
    tables = [mask_table(group) for _, group in table.groupby("seed")]
    found = [masks.overlaps(one, other)[component] for one, other in combinations(tables, 2)]
    assert np.mean([overlap.jaccard_of(pair) for pair in found]) == pytest.approx(observed, abs=5e-5)
    ratio = [pair.a * pair.b / pair.n / (pair.a + pair.b - pair.a * pair.b / pair.n) for pair in found]
    assert np.mean(ratio) == pytest.approx(chance, abs=5e-5)
    exact = [chance_jaccard(pair.n, pair.a, pair.b) for pair in found]
    assert np.mean(exact) == pytest.approx(chance, abs=0.006)


def mask_table(group: pd.DataFrame) -> pa.Table:
    ordered = group.sort_values(["layer", "index"])
    heads = ordered.loc[ordered["component"] == "head", "kept"].to_numpy(bool).reshape(12, 12)
    mlps = ordered.loc[ordered["component"] == "mlp", "kept"].to_numpy(bool)
    identity = dict.fromkeys(masks.IDENTITY)
    return masks.to_table(masks.structured_mask(heads, mlps), "0" * 16, identity)


# Sizes and searches


def test_sizes_are_those_of_the_tickets(root: str, found: Analysis) -> None:
    records = [
        record
        for record in Store.open(root).records()
        if (record.labels["task"], record.labels["method"], record.labels["kind"])
        == ("acceptability", "structured", "good")
    ]
    shares = [record.result["sizes"]["heads"]["kept"] / 24 for record in records]
    row = row_of(found.sizes, task="acceptability", method="structured", network="good", component="heads")
    np.testing.assert_allclose(
        [row["mean"], row["low"], row["high"]], [np.mean(shares), min(shares), max(shares)]
    )


def test_a_search_starts_from_the_full_model(found: Analysis) -> None:
    first = found.searches[found.searches["step"] == 0]
    assert (first["kept"] == first["of"]).all()
    assert (first["score"] == first["full_score"]).all()


# Roots that are unfinished or unfit


def test_a_root_with_full_models_only(tmp_path: Path) -> None:
    root = Planted(tmp_path, keep=lambda node: not isinstance(node, Search | Ticket)).fill(DEMO)
    console = Console(file=io.StringIO(), width=100)
    assert "nothing is concluded" in report.write_report(root, console).read_text()
    assert analyse(root).gaps.empty


def test_a_root_without_the_random_start(tmp_path: Path) -> None:
    found = analyse(Planted(tmp_path).fill(with_study(baselines=(), tasks=("similarity",))))
    assert found.baselines["random_start"].isna().all()
    assert "What pre-training and" not in page.render_page(found.facts, [])


def test_what_is_missing_is_named(tmp_path: Path) -> None:
    def keep(node: Node) -> bool:
        late = node.finetune if isinstance(node, Search | Ticket) else node
        return not (isinstance(late, Finetune) and (late.task, late.seed) == ("similarity", 3))

    found = analyse(Planted(tmp_path, keep=keep).fill(DEMO))
    assert set(found.missing["task"]) == {"similarity"}
    assert set(found.missing["seed"]) == {3}
    assert len(found.missing) == 2 + 2 * (1 + 3)  # two full models; per method a search and three tickets


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"recipe": Recipe(epochs=7, learning_rate=1e-3, warmup=0.1)}, "recipe.epochs (5, 7)"),
        ({"train_limit": 64}, "train_limit (64, None)"),
        ({"held_out": 0.2}, "held_out (0.2, absent)"),
    ],
)
def test_several_studies_in_one_root_are_refused(
    tmp_path: Path, changes: dict[str, object], words: str
) -> None:
    Planted(tmp_path).fill(DEMO)
    root = Planted(tmp_path, keep=lambda node: node.__class__.__name__ != "Pretrain").fill(
        with_study(**changes)
    )
    with pytest.raises(InputError, match="several studies") as refusal:
        analyse(root)
    assert words in str(refusal.value)


def test_tasks_of_one_study_may_have_been_trained_in_several_processes(tmp_path: Path) -> None:
    """As version 0.1 could."""
    Planted(tmp_path).fill(with_study(tasks=("acceptability",)))
    models = [node for node in plan(with_study(tasks=("similarity",))).nodes if isinstance(node, Finetune)]
    recipe = dataclasses.replace(DEMO.recipe, processes=4)
    found = analyse(Planted(tmp_path).record(dataclasses.replace(model, recipe=recipe) for model in models))
    assert dict(zip(found.setup["task"], found.setup["processes"], strict=True)) == {
        "acceptability": 1,
        "similarity": 4,
    }


def test_seeds_of_different_studies_are_refused_too(tmp_path: Path) -> None:
    Planted(tmp_path).fill(with_study(seeds=(1,)))
    other = with_study(seeds=(2,), train_limit=64)
    root = Planted(tmp_path, keep=lambda node: node.__class__.__name__ != "Pretrain").fill(other)
    with pytest.raises(InputError, match="train_limit"):
        analyse(root)


def run_report(root: Path | str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, REPORT, str(root)], capture_output=True, text=True, check=False, timeout=120
    )


def test_the_job_refuses_bad_roots_in_one_line(tmp_path: Path) -> None:
    (tmp_path / "lottery.json").write_text('{"format": 1}')
    for root in (tmp_path, tmp_path / "nothing"):
        done = run_report(root)
        assert done.returncode == 2
        assert done.stderr.startswith("error: ")
        assert len(done.stderr.splitlines()) == 1


@pytest.mark.parametrize("damage", ["bytes", "missing"])
def test_a_damaged_mask_is_named(tmp_path: Path, damage: str) -> None:
    root = Planted(tmp_path).fill(with_study(tasks=("similarity",)))
    record = next(record for record in Store.open(root).records() if record.labels["kind"] == "good")
    mask = tmp_path / "nodes" / record.key / record.attempt / "mask.arrow"
    if damage == "bytes":
        mask.write_bytes(mask.read_bytes()[:-7])
    else:
        mask.unlink()
    with pytest.raises(InputError, match=f"{record.key}/{record.attempt}/mask.arrow"):
        analyse(root)


# The report


def printed(found: Analysis, width: int = 100) -> str:
    console = Console(file=io.StringIO(), width=width)
    terminal.show(found.facts, console)
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


@pytest.mark.parametrize("width", [80, 100])
def test_the_terminal_table_fits(found: Analysis, width: int) -> None:
    text = printed(found, width)
    assert max(len(line) for line in text.splitlines()) <= width
    assert "…" not in text
    if width == 100:
        row = next(line for line in text.splitlines() if line.startswith("  random"))
        assert row.count(" higher") == 2


@pytest.fixture(scope="module")
def log(root: str) -> list[str]:
    """The lines that the job prints, and then the modules that it has loaded."""
    uri = f"file://{Path(root).resolve()}"
    code = (
        f"import runpy, sys\nsys.argv = ['report.py', {uri!r}]\n"
        f"try:\n    runpy.run_path({str(REPORT)!r}, run_name='__main__')\n"
        "except SystemExit as end:\n    assert not end.code, end.code\n"
        "print(*sys.modules)"
    )
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=120, cwd=CHECKOUT)
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


def test_a_report_is_complete(root: str, found: Analysis, log: list[str]) -> None:
    index = Path(root).resolve() / "report" / "index.html"
    assert log[-2] == f"Report: {index}"
    names = {field.name for field in dataclasses.fields(found.facts)} - {"uri"}
    assert {path.stem for path in index.parent.glob("*.csv")} == names
    scores = pd.read_csv(index.parent / "scores.csv")
    assert scores["score"].tolist() == found.scores["score"].tolist()
    drawn = {drawing.name for drawing in figures.draw_figures(found.facts)}
    assert {path.stem for path in (index.parent / "figures").glob("*.png")} == drawn
    assert {
        "scores_structured",
        "scores_magnitude",
        "gaps",
        "overlap",
        "survival_similarity_structured",
    } <= drawn


def test_a_report_needs_no_torch_and_no_ray(log: list[str]) -> None:
    loaded = set(log[-1].split())
    assert "analysis.report.write" in loaded
    assert not {"torch", "transformers", "ray", "wandb", "datasets"} & loaded


def test_the_job_prints_a_plain_log(log: list[str]) -> None:
    assert "\x1b" not in "".join(log)
    assert max(map(len, log[:-2])) <= 100
    assert log[-2].endswith("report/index.html")


@pytest.mark.slow
def test_a_root_on_an_object_store(
    root: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, found: Analysis
) -> None:
    server = pytest.importorskip("moto.server").ThreadedMotoServer("127.0.0.1", 0)
    server.start()
    try:
        for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
            monkeypatch.setenv(name, "testing")
        host, port = server.get_host_and_port()
        query = f"?endpoint_override={host}:{port}&scheme=http&allow_bucket_creation=true&region=us-east-1"
        remote, _ = fs.FileSystem.from_uri(f"s3://bucket/study{query}")
        remote.create_dir("bucket")
        fs.copy_files(root, "bucket/study", fs.LocalFileSystem(), remote)
        monkeypatch.chdir(tmp_path)
        index = report.write_report(f"s3://bucket/study{query}", Console(file=io.StringIO()))
    finally:
        server.stop()
    assert index == tmp_path / "report-study" / "index.html"
    scores = pd.read_csv(index.parent / "scores.csv")
    assert scores["score"].tolist() == found.scores["score"].tolist()
