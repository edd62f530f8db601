"""The summary: sentences over tasks, and the lines of a terminal."""

import io
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from analysis import Analysis, analyse
from analysis.formats import rows
from analysis.records.network_names import GOOD
from analysis.report import terminal
from analysis.report.page.claims import quotes
from analysis.report.words.headlines import headlines, of_plain_methods
from analysis.scores.statistics import Verdict
from lottery_ray.experiment.study import PRESETS
from lottery_ray.storage.published import import_published
from tests.places import SHARED
from tests.planted import Planted

PAPER = SHARED / "paper"
DEMO = PRESETS["demo"].study
with_paper = pytest.mark.skipif(not PAPER.exists(), reason="the paper's files are not beside the checkout")


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> Analysis:
    return analyse(Planted(tmp_path_factory.mktemp("demo")).fill(DEMO))


@pytest.fixture(scope="module")
def paper(tmp_path_factory: pytest.TempPathFactory) -> Analysis:
    root = str(tmp_path_factory.mktemp("paper") / "root")
    import_published(PAPER / "masks.parquet", root, PAPER / "published_results.csv")
    return analyse(root)


def printed(found: Analysis, width: int) -> list[str]:
    console = Console(file=io.StringIO(), width=width)
    terminal.show(found.facts, console)
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue().splitlines()


def test_a_sentence_per_method_and_measure_then_overlap_and_claims(found: Analysis) -> None:
    lines = headlines(found.facts)
    begins = ["Structured, pruned", "Structured, retrained", "Magnitude, pruned", "Magnitude, retrained"]
    begins += ["Good subnetworks of two seeds", "The paper's claims"]
    assert [begin for begin, line in zip(begins, lines, strict=True) if line.startswith(begin)] == begins


def test_numbers_are_those_across_tasks(found: Analysis) -> None:
    """Planted apart, so that every gap is decided; good is above random."""
    table = found.across_tasks
    table = table[(table["method"] == "structured") & (table["measure"] == "retrained")]
    [row] = rows(table[table["versus"] == "random"])
    expected = f"higher than random by {row['mean']:.3f} [{row['low']:.3f}, {row['high']:.3f}]"
    assert expected in headlines(found.facts)[1].replace("\N{NO-BREAK SPACE}", " ")


def test_one_seed_decides_nothing(tmp_path: Path) -> None:
    found = analyse(Planted(tmp_path).fill(replace(DEMO, seeds=(1,))))
    first = headlines(found.facts)[0].replace("\N{NO-BREAK SPACE}", " ")
    assert "undecided against random at +" in first
    assert "(higher on 0 of 2 tasks)" in first
    assert "[" not in first


def test_tasks_are_counted_by_direction(found: Analysis) -> None:
    """A task on which good is lower is none on which it is higher."""
    gaps = found.facts.gaps
    [task, *_] = gaps["task"].unique()
    here = (gaps["task"] == task) & (gaps["network"] == GOOD)
    lower: Any = Verdict("lower", GOOD)
    turned = gaps.assign(verdict=gaps["verdict"].mask(here, lower))
    first, second = (
        headlines(replace(found.facts, gaps=turned))[0].replace("\N{NO-BREAK SPACE}", " ").split(") and ")
    )
    assert first.endswith("(higher on 1 of 2 tasks, lower on 1")
    assert second.endswith("(1 of 2, lower on 1).")


@with_paper
def test_networks_drawn_in_several_ways_count_once(paper: Analysis) -> None:
    lines = headlines(paper.facts)
    assert len(lines) == 6
    assert lines[0].count("than bad") == lines[0].count("than random (Bernoulli)") == 1
    assert "mean of 8 tasks" in lines[0]
    assert not [line for line in lines if "(earlier)" in line]
    assert "separate searches" not in set(of_plain_methods(paper.facts.claims)["method"].map(str))


@with_paper
@pytest.mark.parametrize("width", [80, 100, 120])
def test_many_tasks_are_printed_over_tasks(paper: Analysis, width: int) -> None:
    """One line per method and network, no block per task, and no line wider than the terminal."""
    lines = printed(paper, width)
    assert max(map(len, lines)) <= width
    assert len(lines) < 100
    [random] = [line for line in lines[:12] if line.startswith(" random (Bernoulli)")]
    assert "+0.151±" in random
    assert " of 8" in random
    [full] = [line for line in lines[:3] if line.startswith(" full")]
    assert "\N{MINUS SIGN}0.0" in full


def test_the_terminal_ends_with_what_to_look_at(found: Analysis) -> None:
    lines = printed(found, 100)
    assert "index.html" in "".join(lines[-2:])
    assert [line for line in lines if line.startswith("(a) good comes close to full, pruned")]


def test_a_rule_that_goes_on_from_another_does_not_repeat_it(found: Analysis) -> None:
    made = quotes(found.facts)
    assert [one.words for one in made] == list(dict.fromkeys(found.claims["quote"]))
    first, second = (rule for _, rule in made[0].rules)
    assert second.startswith("As the rule before. ")
    assert first not in second
    assert sum(len(one.measured) for one in made) == len(of_plain_methods(found.facts.claims))
