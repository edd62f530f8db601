"""The task table against nyu-mll/glue, and scores against scikit-learn and SciPy."""

import numpy as np
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest
from scipy import stats
from sklearn.metrics import accuracy_score, matthews_corrcoef

from lottery_ray.inputs.tables import data_files
from lottery_ray.inputs.tasks import EMBEDDED, GLUE, TASKS, Metric, pruning_score, task_score
from tests.places import SHARED

DATA = SHARED / "glue"

# columns, number of labels (1: a float), metric, training rows: the data set card of nyu-mll/glue, and the
# metrics of the paper
NYU_MLL_GLUE: dict[str, tuple[tuple[str, ...], int, Metric, int]] = {
    "cola": (("sentence",), 2, "matthews", 8_551),
    "sst2": (("sentence",), 2, "accuracy", 67_349),
    "mrpc": (("sentence1", "sentence2"), 2, "accuracy", 3_668),
    "qqp": (("question1", "question2"), 2, "accuracy", 363_846),
    "stsb": (("sentence1", "sentence2"), 1, "pearson", 5_749),
    "mnli": (("premise", "hypothesis"), 3, "accuracy", 392_702),
    "qnli": (("question", "sentence"), 2, "accuracy", 104_743),
    "rte": (("sentence1", "sentence2"), 2, "accuracy", 2_490),
    "wnli": (("sentence1", "sentence2"), 2, "accuracy", 635),
}


def test_the_nine_tasks_are_those_of_nyu_mll_glue() -> None:
    found = {name: (task.text, task.labels, task.metric, task.train_size) for name, task in GLUE.items()}
    assert found == NYU_MLL_GLUE
    for task in TASKS.values():
        assert task.is_regression == (task.labels == 1) == (task.metric == "pearson")
        assert task.is_regression or task.label_range == (0, task.labels - 1)
    assert {name for name, task in TASKS.items() if task.validation != "validation"} == {"mnli"}
    assert GLUE["mnli"].validation == "validation_matched"
    assert GLUE["stsb"].label_range == (0, 5)
    assert not set(GLUE) & set(EMBEDDED)


@pytest.mark.parametrize("name", sorted(GLUE))
def test_real_files_have_the_columns_labels_and_rows_of_the_table(name: str) -> None:
    task = GLUE[name]
    files = data_files(DATA, task)
    if not all(path.is_file() for path in files.values()):
        pytest.skip(f"no real data of {task.title} here")
    for split, path in files.items():
        found = pq.read_table(path)
        assert set(found.column_names) == {*task.text, "label", "idx"}
        bounds = pc.min_max(found["label"]).as_py()
        assert (bounds["min"], bounds["max"]) == task.label_range
        assert task.is_regression or set(found["label"].to_pylist()) == set(range(task.labels))
        if split == "train":
            assert found.num_rows == task.train_size


def test_accuracy_and_matthews_are_scikit_learns() -> None:
    rng = np.random.default_rng(0)
    for classes in (2, 3):
        labels = rng.integers(0, classes, 200)
        logits = rng.normal(size=(200, classes)) + np.eye(classes)[labels]
        predicted = logits.argmax(1)
        for given in (labels, labels.astype(np.float64)):
            assert task_score("accuracy", given, logits) == pytest.approx(accuracy_score(labels, predicted))
            assert task_score("matthews", given, logits) == pytest.approx(
                matthews_corrcoef(labels, predicted)
            )
            assert pruning_score("accuracy", given, logits) == task_score("accuracy", given, logits)
            assert pruning_score("matthews", given, logits) == task_score("matthews", given, logits)


def test_correlations_are_scipys() -> None:
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 26, 300) / 5  # many ties, as in STS-B
    logits = (labels + rng.normal(0, 1, 300))[:, None].astype(np.float32)
    pearson = float(stats.pearsonr(labels, logits[:, 0].astype(np.float64)).statistic)
    spearman = float(stats.spearmanr(labels, logits[:, 0]).statistic)
    assert task_score("pearson", labels, logits) == pytest.approx(pearson)
    assert pruning_score("pearson", labels, logits) == pytest.approx((pearson + spearman) / 2)
    assert abs(pearson - spearman) > 0.001, "or the two could not be told apart"


@pytest.mark.parametrize("metric", ["matthews", "pearson"])
def test_a_constant_prediction_correlates_with_nothing(metric: Metric) -> None:
    labels = np.array([0.0, 1.0, 1.0, 0.0])
    constant = np.tile([[0.25, 0.5]], (4, 1)) if metric == "matthews" else np.full((4, 1), 0.3)
    assert task_score(metric, labels, constant) == 0
    assert pruning_score(metric, labels, constant) == 0
    varied = np.array([[0.0, 1.0], [1.0, 0.0]] * 2) if metric == "matthews" else np.arange(4.0)[:, None]
    assert task_score(metric, np.ones(4), varied) == 0
    assert pruning_score(metric, np.ones(4), varied) == 0


def test_scores_are_plain_numbers() -> None:
    logits = np.array([[0.1, 0.2], [0.3, 0.1], [0.0, 1.0]], np.float32)
    labels = np.array([0.0, 0.0, 1.0])
    assert type(task_score("accuracy", labels, logits)) is float
    assert type(task_score("matthews", labels, logits)) is float
    assert type(pruning_score("pearson", labels, logits[:, :1])) is float
