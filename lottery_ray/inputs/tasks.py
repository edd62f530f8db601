"""The tasks: columns, labels and metrics. GLUE's nine, two of the embedded language, and what users add."""

from dataclasses import dataclass, field
from typing import Literal

import numpy as np

from lottery_ray.identity import NO_IDENTITY

Metric = Literal["accuracy", "matthews", "pearson", "f1", "macro_f1"]
METRIC_NAMES: dict[Metric, str] = {
    "accuracy": "accuracy",
    "matthews": "Matthews corr.",
    "pearson": "Pearson corr.",
    "f1": "F1",
    "macro_f1": "macro F1",
}
CORRELATIONS: tuple[Metric, ...] = ("matthews", "pearson")
"""They go down to -1, all others to 0."""


@dataclass(frozen=True)
class Task:
    """One task, as the paper evaluates it (section 3 and Appendix A of the paper).

    text: the columns of its text, one or two.
    labels: number of classes; 1 is a regression.
    metric: the score that is reported: accuracy; matthews or f1 (of class 1), of two classes; macro_f1 (the
    mean over the classes that occur); pearson, of a regression.
    label_range: lowest and highest legal label.
    train_size, dev_size: rows of the whole splits, for estimates of cost only.
    validation: name of the dev split on the hub (MNLI has two; the paper reports the matched one).
    """

    name: str
    title: str = field(compare=False, metadata=NO_IDENTITY)
    text: tuple[str, ...]
    labels: int
    metric: Metric
    label_range: tuple[float, float]
    train_size: int = field(default=0, compare=False, metadata=NO_IDENTITY)
    dev_size: int = field(default=0, compare=False, metadata=NO_IDENTITY)
    validation: str = "validation"

    @property
    def is_regression(self) -> bool:
        return self.labels == 1


_PAIR = ("sentence1", "sentence2")
_NLI = ("premise", "hypothesis")

GLUE = {
    task.name: task
    for task in (
        Task("cola", "CoLA", ("sentence",), 2, "matthews", (0, 1), 8_551, 1_043),
        Task("sst2", "SST-2", ("sentence",), 2, "accuracy", (0, 1), 67_349, 872),
        Task("mrpc", "MRPC", _PAIR, 2, "accuracy", (0, 1), 3_668, 408),
        Task("stsb", "STS-B", _PAIR, 1, "pearson", (0, 5), 5_749, 1_500),
        Task("qqp", "QQP", ("question1", "question2"), 2, "accuracy", (0, 1), 363_846, 40_430),
        Task(
            "mnli",
            "MNLI",
            ("premise", "hypothesis"),
            3,
            "accuracy",
            (0, 2),
            392_702,
            9_815,
            "validation_matched",
        ),
        Task("qnli", "QNLI", ("question", "sentence"), 2, "accuracy", (0, 1), 104_743, 5_463),
        Task("rte", "RTE", _PAIR, 2, "accuracy", (0, 1), 2_490, 277),
        Task("wnli", "WNLI", _PAIR, 2, "accuracy", (0, 1), 635, 71),
    )
}

EMBEDDED = {
    task.name: task
    for task in (
        Task("acceptability", "Acceptability", ("sentence",), 2, "matthews", (0, 1), 2_000, 600),
        Task("similarity", "Similarity", _PAIR, 1, "pearson", (-4, 4), 1_000, 500),
    )
}

TASKS = GLUE | EMBEDDED
"""All that can be run: `extending.add_task` adds to them."""
RECORDED_TASKS: dict[str, Task] = {}
"""Tasks of users as the records of a root have them, for their titles and the names of their metrics: a
report has no use for what defined them."""


def known_tasks() -> dict[str, Task]:
    """By name, in the order of tables."""
    return TASKS | RECORDED_TASKS


def title(name: str) -> str:
    """A task as tables and figures show it; one that others name, as they name it."""
    return known_tasks()[name].title if name in known_tasks() else name


def task_order(name: str) -> tuple[int, str]:
    """Where a task stands in tables: as in the paper, then unknown ones by name."""
    names = [*GLUE, *EMBEDDED]
    return (names.index(name) if name in names else len(names)), name


def metric_name(name: str) -> str:
    """How a task is scored, in words; nothing of an unknown one."""
    return METRIC_NAMES[known_tasks()[name].metric] if name in known_tasks() else ""


def task_score(metric: Metric, labels: np.ndarray, logits: np.ndarray) -> float:
    """The reported dev score.

    labels: (examples,) float or int; logits: (examples, classes), or (examples, 1) for a regression.
    A correlation with a constant is 0, as scikit-learn has it for Matthews.
    """
    if metric == "pearson":
        return _correlation(labels, logits[:, 0])
    predicted = logits.argmax(axis=1)
    if metric == "matthews":
        from sklearn.metrics import matthews_corrcoef

        return float(matthews_corrcoef(labels.astype(int), predicted))
    if metric in ("f1", "macro_f1"):
        from sklearn.metrics import f1_score

        average = "binary" if metric == "f1" else "macro"
        return float(f1_score(labels.astype(int), predicted, average=average, zero_division=0.0))
    return float((predicted == labels).mean())


def pruning_score(metric: Metric, labels: np.ndarray, logits: np.ndarray) -> float:
    """The dev score that drives a search: the reported one, but for regressions the mean of Pearson
    and Spearman, as the paper's released code has it (glue_metrics.py of its repository)."""
    if metric != "pearson":
        return task_score(metric, labels, logits)
    from scipy.stats import rankdata

    spearman = _correlation(rankdata(labels), rankdata(logits[:, 0]))
    return (_correlation(labels, logits[:, 0]) + spearman) / 2


def _correlation(a: np.ndarray, b: np.ndarray) -> float:
    a, b = np.asarray(a, np.float64), np.asarray(b, np.float64)
    if np.ptp(a) == 0 or np.ptp(b) == 0:
        return 0.0
    return float(np.corrcoef(a, b)[0, 1])
