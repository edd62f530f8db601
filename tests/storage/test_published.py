"""The paper's released masks and scores as a root, and the report that is made of it."""

import io
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from rich.console import Console
from transformers import BertConfig, BertForSequenceClassification

from analysis import Analysis, analyse
from analysis.formats import rows as rows_of
from analysis.formats import table_in_words
from analysis.paper.versus import paper, versus_paper
from analysis.records.method_names import STRUCTURED
from analysis.records.network_names import PUBLISHED_NETWORKS, STOPPING
from analysis.report import write as report
from lottery_ray.errors import InputError
from lottery_ray.experiment import masks
from lottery_ray.experiment.masks import read_masks
from lottery_ray.inputs.tasks import TASKS, title
from lottery_ray.networks.network import Network
from lottery_ray.networks.weights import architecture_sizes
from lottery_ray.storage.published import PAPER_NETWORK, import_published
from lottery_ray.storage.store import Store
from tests.places import JOBS, SHARED

PAPER = SHARED / "paper"
JOB = JOBS / "import_published.py"
SIZES = """
cola,64.51,4.56,81.3 sst2,47.04,4.86,58.9 mrpc,57.11,5.47,71.8 stsb,47.08,5.39,58.9 qqp,52.51,4.76,65.9
mnli,54.66,4.59,68.7 qnli,54.63,2.17,68.6 rte,54.34,9.48,68.2 wnli,6.53,11.58,6.7
"""
SUPER_SIZES = """
cola,46.29,0.00,57.9 sst2,13.40,0.00,15.5 mrpc,23.64,0.00,28.7 stsb,9.98,0.00,11.1 qqp,18.43,0.00,22.0
mnli,25.80,0.00,31.5 qnli,28.49,0.00,35.0 rte,11.96,0.00,13.7 wnli,1.35,0.00,0.0
"""


def planted_masks(
    families: tuple[str, ...] = ("heads_mlps",), components: tuple[str, ...] = ("head", "mlp")
) -> pd.DataFrame:
    """Two tasks, one of them unknown, three seeds, the shape of BERT-base."""
    rng = np.random.default_rng(0)
    rows = [
        {"family": family, "task": task, "seed": seed, "component": component, "layer": layer, "index": index}
        for family in families
        for task in ("CoLA", "HANS")
        for seed in (1, 2, 3)
        for component in components
        for layer in range(12)
        for index in range(12 if component == "head" else 1)
    ]
    frame = pd.DataFrame(rows)
    return frame.assign(kept=rng.random(len(frame)) < 0.6, importance=np.float32("nan"))


@pytest.fixture(scope="module")
def released(tmp_path_factory: pytest.TempPathFactory) -> str:
    if not PAPER.exists():
        pytest.skip("the released masks are not at hand")
    root = str(tmp_path_factory.mktemp("the paper's") / "root")
    found = import_published(PAPER / "masks.parquet", root, PAPER / "published_results.csv")
    assert found.masks == 4 * 9 * 5
    assert found.skipped == ["head_mlp_hans/finetuned", "head_mlp_hans/finetuned_masked"]
    return root


@pytest.fixture(scope="module")
def found(released: str) -> Analysis:
    return analyse(released)


def test_masks_are_those_of_the_file(tmp_path: Path) -> None:
    frame = planted_masks()
    frame.sample(frac=1, random_state=0).to_parquet(tmp_path / "masks.parquet")
    import_published(tmp_path / "masks.parquet", str(tmp_path / "root"))
    store = Store.open(str(tmp_path / "root"))
    records = list(store.records())
    assert {record.labels["task"] for record in records} == {"cola", "HANS"}
    assert len(records) == 6
    for record in records:
        task = "CoLA" if record.labels["task"] == "cola" else "HANS"
        rows = frame[(frame["task"] == task) & (frame["seed"] == record.labels["seed"])]
        mask = masks.from_table(read_masks(store.fetch(record, "mask.arrow")))
        expected = rows[rows["component"] == "head"]["kept"].to_numpy().reshape(12, 12)
        assert np.array_equal(masks.heads(mask), expected)
        assert np.array_equal(masks.mlps(mask), rows[rows["component"] == "mlp"]["kept"])


def test_importing_again_changes_nothing_and_another_file_is_refused(tmp_path: Path) -> None:
    planted_masks().to_parquet(tmp_path / "masks.parquet")
    planted_masks(("heads_mlps_random",)).to_parquet(tmp_path / "other.parquet")
    root = str(tmp_path / "root")
    import_published(tmp_path / "masks.parquet", root)
    before = [record.attempt for record in Store.open(root).records()]
    import_published(tmp_path / "masks.parquet", root)
    assert [record.attempt for record in Store.open(root).records()] == before
    with pytest.raises(InputError, match="holds records of other files"):
        import_published(tmp_path / "other.parquet", root)


@pytest.mark.parametrize(
    ("family", "components", "method"),
    [
        ("heads", ("head",), "heads"),
        ("mlps", ("mlp",), "MLPs"),
        ("heads_mlps_on_train", ("head", "mlp"), "structured, searched on training rows"),
        ("heads_mlps_hans", ("head", "mlp"), "structured, heads_mlps_hans"),
        ("of_mine", ("head",), "heads, of_mine"),
    ],
)
def test_any_family_is_analysed(
    tmp_path: Path, family: str, components: tuple[str, ...], method: str
) -> None:
    planted_masks((family,), components).to_parquet(tmp_path / "masks.parquet")
    import_published(tmp_path / "masks.parquet", str(tmp_path / "root"))
    found = analyse(str(tmp_path / "root"))
    assert set(found.agreement["method"]) == {method}
    assert set(found.agreement["component"]) == {{"head": "heads"}.get(name, name) for name in components}
    assert len(found.overlap_pairs) == 2 * 3 * len(components)
    index = report.write_report(str(tmp_path / "root"), Console(file=(shown := io.StringIO()), width=100))
    assert "No scores are recorded" in index.read_text()
    assert "No scores are recorded" in shown.getvalue()


def test_numbers_in_other_types_are_read(tmp_path: Path) -> None:
    """As other tools write them: floats, integers of other widths, categories, other columns."""
    frame = planted_masks()
    other = frame.assign(
        kept=frame["kept"].astype(float),
        seed=frame["seed"].astype("float64"),
        layer=frame["layer"].astype("int8"),
        task=frame["task"].astype("category"),
        component=frame["component"].astype("category"),
        more=1,
    )
    for name, table in (("one", frame), ("other", other)):
        table.to_parquet(tmp_path / f"{name}.parquet")
        import_published(tmp_path / f"{name}.parquet", str(tmp_path / name))
    one, two = (analyse(str(tmp_path / name)) for name in ("one", "other"))
    assert one.survivors.equals(two.survivors)
    assert one.agreement.equals(two.agreement)


def scores_file(**changes: object) -> pd.DataFrame:
    rows = {"setting": ["no_mask", "head_mlp"], "task": "CoLA", "mean": [0.6, 0.5], "std_sample": 0.01}
    return pd.DataFrame(rows | {"main_metric": 1} | changes)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"mean": ["abc", 0.5]}, "mean should be a number"),
        ({"mean": [None, 0.5]}, "lack a setting, task or mean"),
        ({"std_sample": -1.0}, "std_sample of 0 or more"),
        ({"task": [None, "CoLA"]}, "lack a setting, task or mean"),
        ({"main_metric": 0}, "main_metric is 1 in no row"),
        ({"setting": "head_mlp"}, "head_mlp on CoLA is reported more than once"),
    ],
)
def test_bad_scores_are_refused_and_leave_nothing(
    tmp_path: Path, changes: dict[str, object], words: str
) -> None:
    planted_masks().to_parquet(tmp_path / "masks.parquet")
    scores_file(**changes).to_csv(tmp_path / "scores.csv", index=False)
    root = str(tmp_path / "root")
    with pytest.raises(InputError, match=words):
        import_published(tmp_path / "masks.parquet", root, tmp_path / "scores.csv")
    assert not (tmp_path / "root").exists()
    scores_file().to_csv(tmp_path / "scores.csv", index=False)
    assert import_published(tmp_path / "masks.parquet", root, tmp_path / "scores.csv").scores == 2


def drop_a_head(frame: pd.DataFrame) -> pd.DataFrame:
    return frame.drop(index=3)


def repeat_a_head(frame: pd.DataFrame) -> pd.DataFrame:
    return pd.concat([frame, frame.iloc[:1]])


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (drop_a_head, "heads_mlps, CoLA, seed 1: 143 rows of heads"),
        (repeat_a_head, "145 rows of heads"),
        (lambda frame: frame.drop(columns=["kept", "seed"]), "has no column seed, kept"),
        (lambda frame: frame.assign(component="neuron"), "component is 'neuron'"),
        (lambda frame: frame.iloc[:0], "has no rows"),
        (lambda frame: frame.assign(kept="yes"), "kept should be a number"),
        (lambda frame: frame.assign(kept=None), "kept is no whole number"),
        (lambda frame: frame.assign(kept=frame["kept"] * 2 - 1), "kept is -1"),
        (lambda frame: frame.assign(kept=0.5), "kept is no whole number"),
        (lambda frame: frame.assign(seed="seed_1"), "seed should be a number"),
        (lambda frame: frame.assign(layer=frame["layer"] - 1), "12 layers"),
        (lambda frame: frame[frame["layer"] < 11], "12 layers"),
        (lambda frame: frame.assign(importance="high"), "importance should be a number"),
        (lambda frame: frame.assign(task=None), "task is missing"),
    ],
)
def test_bad_masks_are_refused_before_anything_is_written(
    tmp_path: Path, change: Callable[[pd.DataFrame], pd.DataFrame], words: str
) -> None:
    change(planted_masks()).to_parquet(tmp_path / "masks.parquet")
    with pytest.raises(InputError, match=words):
        import_published(tmp_path / "masks.parquet", str(tmp_path / "root"))
    assert not (tmp_path / "root" / "nodes").exists()


def test_the_job_refuses_bad_files_in_one_line(tmp_path: Path) -> None:
    (tmp_path / "corrupt.parquet").write_bytes(b"PAR1 no more")
    planted_masks().to_parquet(tmp_path / "masks.parquet")
    (tmp_path / "scores.csv").write_text("setting,task\nhead_mlp,CoLA\n")
    for arguments in (
        [tmp_path / "corrupt.parquet"],
        [tmp_path / "nothing.parquet"],
        [tmp_path / "masks.parquet", "--results", tmp_path / "scores.csv"],
    ):
        file, *more = map(str, arguments)
        done = subprocess.run(
            [sys.executable, JOB, file, str(tmp_path / "root"), *more],
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 2
        assert done.stderr.startswith("error: ")
        assert done.stderr.count("\n") == 1


def test_the_network_of_the_paper() -> None:
    with torch.device("meta"):
        network = Network(BertForSequenceClassification(BertConfig()))
    assert architecture_sizes(network) == PAPER_NETWORK


def test_survivors_of_every_task_and_seed(found: Analysis) -> None:
    """Against the file itself, in its own words."""
    frame = pd.read_parquet(PAPER / "masks.parquet")
    good = frame[frame["family"] == "heads_mlps"]
    rows = found.survivors[found.survivors["network"] == "good"].set_index(["task", "seed", "component"])
    names = {"head": "heads", "mlp": "mlp"} | {title(task): task for task in TASKS}
    kept = good.groupby(["task", "seed", "component"], observed=True)["kept"].sum().reset_index()
    for row in rows_of(kept):
        assert rows.loc[(names[row["task"]], row["seed"], names[row["component"]]), "kept"] == row["kept"]
    assert len(kept) == 2 * 9 * 5


@pytest.mark.parametrize(("name", "printed"), [("good", SIZES), ("super", SUPER_SIZES)])
def test_sizes_of_figure_2_and_of_the_encoder(found: Analysis, name: str, printed: str) -> None:
    """Section 7.4 of the protocol, where SST-2's 58.846 is 58.9 and STS-B's spread, 5.395, is 5.39."""
    table = found.size_meanings[found.size_meanings["network"] == name].set_index("task")
    for line in printed.split():
        task, title, spread, encoder = line.split(",")
        row = 100 * table.loc[task, ["as_published", "as_published_sd", "encoder"]].astype(float)
        assert row["as_published"] == pytest.approx(float(title), abs=0.00501)
        assert row["as_published_sd"] == pytest.approx(float(spread), abs=0.0055)
        assert row["encoder"] == pytest.approx(float(encoder), abs=0.0551)


MAIN = {
    "head_mlp": ("structured", "good"),
    "head_mlp_random": ("structured", "random (Bernoulli)"),
    "head_mlp_bad_1": ("structured", "bad"),
    "global_magnitude": ("magnitude", "good"),
    "global_random": ("magnitude", "random"),
    "global_bad": ("magnitude", "bad (largest removed)"),
    "head_mlp_super": ("structured", "super"),
}


@pytest.mark.parametrize("setting", [f"{name}{end}" for name in MAIN for end in ("", "_retrained")])
def test_the_main_results_with_their_corrected_spread(found: Analysis, setting: str) -> None:
    """Section 7.2: sample standard deviations, of a file that has both, and averages over nine tasks."""
    results = pd.read_csv(PAPER / "published_results.csv")
    results = results[(results["setting"] == setting) & (results["main_metric"] == 1)].set_index("task")
    method, network = MAIN[setting.removesuffix("_retrained")]
    measure = "retrained" if setting.endswith("_retrained") else "pruned"
    place = {"method": method, "network": network, "measure": measure}
    rows = only(found.summary, place).assign(task=lambda table: table["task"].map(title)).set_index("task")
    assert rows["mean"].to_dict() == pytest.approx(results["mean"].to_dict(), abs=1e-9)
    assert rows["sd"].to_dict() == pytest.approx((results["std"] * np.sqrt(5 / 4)).to_dict(), abs=1e-6)
    assert set(rows["n"]) == {5}
    average = only(found.averages, place).iloc[0]
    assert (average["tasks"], average["conclusive_tasks"]) == (9, 8)
    assert average["mean"] == pytest.approx(results["mean"].mean(), abs=1e-9)
    assert average["conclusive_mean"] == pytest.approx(results["mean"].drop("WNLI").mean(), abs=1e-9)


def only(table: pd.DataFrame, place: dict[str, str]) -> pd.DataFrame:
    return table[(table[list(place)] == pd.Series(place)).all(axis=1)]


def test_the_numbers_that_come_with_the_project_are_the_published_ones(found: Analysis) -> None:
    ours = table_in_words(paper())
    ours = ours[ours["setting"] != "table_2"].set_index(["task", "method", "network", "measure"])
    theirs = found.summary.set_index(["task", "method", "network", "measure"])
    assert len(ours) == len(theirs) == 315
    for column in ("mean", "sd"):
        assert np.allclose(ours[column], theirs[column].reindex(ours.index), atol=1e-6, rtol=0)


def test_published_gaps_are_never_paired(found: Analysis) -> None:
    assert len(found.gaps) > 100
    assert not found.gaps["paired"].any()
    assert found.gaps[["p", "p_holm", "effect"]].isna().all(axis=None)
    assert not found.tasks.set_index("task")["conclusive"]["wnli"]
    assert found.tasks["conclusive"].sum() == 8


def test_published_slips_are_flagged(found: Analysis) -> None:
    table = found.versus_paper.set_index(["task", "method", "network", "measure"])
    assert table["difference"].isna().all()  # the paper is not compared with itself
    notes = table["note"]
    assert "six heads" in notes["stsb", "structured", "good", "retrained"]
    assert "Figure 2a" in notes["cola", "structured", "random (Bernoulli)", "retrained"]
    assert "0.024" in notes["cola", "magnitude", "bad (largest removed)", "retrained"]
    assert ("cola", "magnitude", "good", "retrained") not in notes


def test_networks_are_held_against_those_drawn_alike() -> None:
    """The exact one before others, and what the paper shows before earlier drafts."""
    drawn = ["super bad (as released)", "bad (complement)", "random", "super bad", "bad"]
    place: dict[str, Any] = {"measure": "retrained", "method": STRUCTURED, "size": STOPPING}
    rows = [place | {"network": PUBLISHED_NETWORKS[name]} for name in drawn]
    frame = pd.DataFrame(rows).assign(task="qnli", n=5, mean=0.5, sd=0.1)
    found = table_in_words(versus_paper(frame)).set_index("network")["setting"]
    assert found.to_dict() == {
        "super bad (as released)": "head_mlp_super_bizzaro_retrained",
        "bad (complement)": "head_mlp_invert_retrained",
        "random": "head_mlp_random_retrained",
        "super bad": "head_mlp_super_bizzaro_retrained",
        "bad": "head_mlp_bad_1_retrained",
    }
