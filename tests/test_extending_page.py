"""docs/extending.md: its commands and whole studies with what it adds, and how a report names that."""

import shlex
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sklearn.metrics import f1_score

from analysis import analyse
from analysis.records import method_names as variants
from analysis.records import network_names as networks
from analysis.scores import dev_sets as devset
from lottery_ray.experiment import masks
from lottery_ray.experiment.graph import Node
from lottery_ray.experiment.masks import read_masks
from lottery_ray.experiment.nodes import Finetune, Search
from lottery_ray.experiment.search import largest_of
from lottery_ray.inputs import tasks
from lottery_ray.inputs.tasks import TASKS, Metric, task_score
from lottery_ray.storage.recorded import nodes_of
from lottery_ray.storage.store import Record, Store
from tests.extensions import COMMANDS, FILES, QUICK, run_here
from tests.studies import SWEEP, assert_equal, records, run

pytestmark = pytest.mark.usefixtures("nothing_added")


def test_versions_of_one_source_are_told_apart() -> None:
    choices: list[tuple[str, dict[str, Any]]] = [
        ("structured", {"criterion": None, "criterion_sha256": None, "importance": "per_example"}),
        ("structured", {"criterion": "fisher", "criterion_sha256": "ab" * 32}),
        ("structured", {"criterion": "fisher", "criterion_sha256": "cd" * 32}),
        ("magnitude", {"criterion": "taylor", "criterion_sha256": "cd" * 32}),
    ]
    methods = variants.told_apart(choices)
    assert list(map(str, methods)) == [
        "structured",
        "structured, fisher criterion, source abababab",
        "structured, fisher criterion, source cdcdcdcd",
        "magnitude, taylor criterion",
    ]
    assert [method.criterion is not None for method in methods] == [False, True, True, True]
    assert list(map(str, variants.told_apart(choices[1:2]))) == ["structured, fisher criterion"]


def ticket(sha256: str) -> Record:
    identity: dict[str, Any] = {"recipe": {"epochs": 3}, "sources": ["a"], "kind_sha256": sha256}
    return Record("k", "a", identity, {"stage": "ticket", "kind": "from_top"}, {}, {}, {}, {})


def test_kinds_of_users_stand_after_ours() -> None:
    own = [networks.network_of(ticket("ab" * 32), several_sources=several) for several in (False, True)]
    assert list(map(str, own)) == ["from top", "from top (source abababab)"]
    moved = [networks.NetworkName("transfer", source=task) for task in ("sst2", "reviews")]
    others = [*moved, networks.BAD, networks.GOOD, networks.RANDOM_START]
    assert sorted([*own, *others])[-2:] == own
    assert own[1].is_own
    assert not any(other.is_own for other in others)


@pytest.mark.parametrize("metric", ["f1", "macro_f1"])
def test_f1_is_scikit_learns_and_its_jackknife_leaves_each_example_out(metric: Metric) -> None:
    rng = np.random.default_rng(0)
    classes = 2 if metric == "f1" else 4
    average = "binary" if metric == "f1" else "macro"
    for n in (6, 40):
        # with few examples, of a class that one of them alone has
        labels = rng.integers(0, classes, n).astype(float)
        guesses = np.where(rng.random(n) < 0.6, labels.astype(int), rng.integers(0, classes, n))
        logits = np.eye(classes)[guesses]
        predicted = logits.argmax(axis=1).astype(float)
        found = devset.Predictions(labels, predicted)
        expected = f1_score(labels, predicted, average=average, zero_division=0.0)
        assert devset.dev_score(metric, found) == pytest.approx(expected)
        assert task_score(metric, labels, logits) == pytest.approx(expected)
        without = [
            f1_score(np.delete(labels, i), np.delete(predicted, i), average=average, zero_division=0.0)
            for i in range(n)
        ]
        np.testing.assert_allclose(devset.leave_one_out(metric, found), without)
        constant = devset.majority(metric, found)
        of_constant = f1_score(labels, constant.predicted, average=average, zero_division=0.0)
        assert devset.dev_score(metric, constant) == pytest.approx(of_constant)


# the page, and whole studies


def test_the_page_is_read() -> None:
    assert list(FILES) == ["my_task.py", "my_criteria.py", "my_kind.py", "my_family.py", "check_family.py"]
    assert len(COMMANDS) == 5


SMALLER = {
    "results/reviews": ("--methods", "magnitude", "--kinds", "good"),
    "results/criteria": ("--kinds", "good"),
    "results/kinds": ("--methods", "structured"),
    "results/roformer": ("--kinds", "good", "bad"),
}
"""By root, what makes the page's command a matter of seconds."""


@pytest.mark.parametrize(
    "command", [COMMANDS[0], *(pytest.param(command, marks=pytest.mark.slow) for command in COMMANDS[1:])]
)
def test_the_commands_of_the_page_run(place: Path, command: str, tmp_path: Path) -> None:
    words = {
        "jobs/sweep.py": str(SWEEP),
        "path/to/a/bert": str(place / "a bert"),
        "path/to/a/roformer": str(place / "a roformer"),
        **dict.fromkeys(("path/to/data", "path/to/glue"), str(place / "data")),
        **{name: str(place / name) for name in FILES},
        **{root: str(tmp_path / root) for root in SMALLER},
    }
    given = shlex.split(command)[1:]
    arguments = [words.get(word, word) for word in given]
    if "check_family.py" in given:
        run_here(arguments)
        return
    run_here([*arguments, *SMALLER[given[-1]], *QUICK, "--debug"])
    assert (tmp_path / given[-1] / "report" / "index.html").exists()
    found = {record.labels["stage"] for record in records(tmp_path / given[-1]).values()}
    assert found == {"finetune", "search", "ticket"}


@pytest.fixture(scope="module")
def roots(place: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Of one study with a task, criteria and a kind of the user's own: on Ray, and in debug mode."""
    folder = tmp_path_factory.mktemp("roots")
    made = folder / "on ray", folder / "debug"
    for root in made:
        studied = ("--tasks", "reviews", "mrpc", "--sizes", "0.5", "--search-data", "dev")
        methods = ("--methods", "structured:fisher", "magnitude:taylor")
        arguments = sweep(place, root, *studied, *methods, "--kinds", "good", "early", "transfer")
        if root == made[0]:
            run(arguments)
        else:
            run_here([*arguments[1:], "--debug", "--no-report"])
    return made


def sweep(place: Path, root: Path, *flags: str) -> list[str]:
    """A command with the page's task, criteria and kind."""
    files = [str(place / name) for name in ("my_task.py", "my_criteria.py", "my_kind.py")]
    where = ("--model", str(place / "a bert"), "--data", str(place / "data"), "--root", str(root))
    return [sys.executable, str(SWEEP), "glue", *where, "--extend", *files, *QUICK, *flags]


@pytest.mark.full
def test_workers_load_extensions_and_debug_mode_gives_the_same(roots: tuple[Path, Path]) -> None:
    assert_equal(*roots)
    assert len(records(roots[0])) == 2 + 4 + 12


@pytest.mark.full
def test_nodes_are_made_again_from_their_records(roots: tuple[Path, Path]) -> None:
    found = list(Store.open(str(roots[0])).records())
    nodes: dict[Node, Record] = nodes_of(found)
    assert len(nodes) == len(found)
    (full,) = (n for n in nodes if isinstance(n, Finetune) and n.task == "reviews")
    assert (full.definition.train_size, full.definition.dev_size) == (60, 24)
    assert {n.method.criterion for n in nodes if isinstance(n, Search)} == {"fisher", "taylor"}


@pytest.mark.full
def test_tickets_of_other_sizes_are_drawn_by_the_criterions_scores(roots: tuple[Path, Path]) -> None:
    store, found = Store.open(str(roots[0])), records(roots[0])
    checked = 0
    for record in found.values():
        flat = record.labels
        if (flat["kind"], flat["method"], flat["size"]) == ("good", "magnitude", "0.5"):
            search = found[record.identity["sources"][0]]
            of_search, own = (
                masks.from_table(read_masks(store.fetch(one, "mask.arrow"))) for one in (search, record)
            )
            scores = masks.weight_scores(of_search)
            kept = np.concatenate([part.kept for part in own])
            np.testing.assert_array_equal(kept, largest_of(scores, kept.size // 2))
            steps = search.result["steps"]
            last = next(step for step in reversed(steps) if step["accepted"])
            kept = np.concatenate([part.kept for part in of_search])
            np.testing.assert_array_equal(kept, largest_of(scores, last["kept"]["weight"]))
            checked += 1
    assert checked == 2


@pytest.mark.full
def test_a_report_needs_no_extension(roots: tuple[Path, Path]) -> None:
    assert "reviews" not in TASKS
    found = analyse(str(roots[0]))
    assert tasks.title("reviews") == "Reviews"
    assert tasks.metric_name("reviews") == "macro F1"
    own = found.scores[found.scores["task"] == "reviews"]
    assert set(own["metric"]) == {"macro_f1"}
    assert set(own["network"]) == {"full", "good", "early", "transfer from MRPC"}
    assert set(found.scores["method"]) == {"", "structured, fisher criterion", "magnitude, taylor criterion"}
    assert (found.claims["method"] == "").all(), "the paper's claims are about its own methods"
    assert not found.missing["network"].str.contains("early").any()
    page = (roots[0] / "report" / "index.html").read_text()
    for words in ("Reviews", "macro F1", "structured, fisher criterion", "transfer from Reviews"):
        assert words in page
    assert "good \N{MINUS SIGN} early" in page
