"""The analysis as tables and a few sentences, for a terminal or a log file."""

from rich.console import Console

from analysis.comparison import Comparison
from analysis.formats import rows
from analysis.report import terminal_tables
from analysis.report.words import cautions, conclusions
from analysis.report.words.headlines import headlines
from analysis.tables import Tables

FEW_TASKS = 3
"""Tasks that have a block each; of more a table over tasks is printed."""


def show(found: Tables, console: Console) -> None:
    """Print the scores or gaps, the summary, the claims, and what to take care of; 100 columns hold each
    row on one line."""
    by_task = found.summary["task"].nunique() <= FEW_TASKS or found.across_tasks.empty
    if len(found.summary):
        console.print(terminal_tables.by_task(found) if by_task else terminal_tables.over_tasks(found))
    _say(headlines(found), console)
    if (found.claims["tasks"] > 0).any():
        console.print()
        console.print(terminal_tables.claims_table(found))
    missing = [f"{len(found.missing)} results have no record yet."] if len(found.missing) else []
    _say([*conclusions.left_out(found), *cautions.flags(found), cautions.caution(found), *missing], console)
    _say([NEXT], console)


NEXT = (
    "Look next at index.html, where variants of methods are too; gaps.csv has every gap, numbers.parquet"
    " every number."
)


def _say(sentences: list[str], console: Console) -> None:
    """Behind an empty line."""
    if sentences:
        console.print()
    for sentence in sentences:
        console.print(sentence, highlight=False, markup=False)


def show_two(found: Comparison, console: Console) -> None:
    """Print where two studies differ beyond their intervals, and how many networks they share."""
    for table, words in ((found.scores, "network"), (found.gaps, "gap")):
        apart = table[(table["low"] > 0) | (table["high"] < 0)]
        console.print(
            f"{len(table)} {words}s are in both studies; the interval of the difference excludes zero in"
            f" {len(apart)} of them.",
            highlight=False,
        )
    for row in rows(found.claims[found.claims["verdict"] != found.claims["other_verdict"]]):
        console.print(
            f"{row['claim']} ({row['method']}): {row['verdict']}, in the second study"
            f" {row['other_verdict']}.",
            highlight=False,
            markup=False,
        )
