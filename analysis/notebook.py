"""The analysis as a notebook has it: facts inside, words in the tables that it is asked for."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import pandas as pd

from analysis import comparison
from analysis.comparison import Comparison
from analysis.formats import table_in_words
from analysis.report import figures
from analysis.report.figures.drawing import Drawing
from analysis.report.tidy import long_table
from analysis.tables import Tables, tables_of


@dataclass(frozen=True)
class Analysis:
    """One root. It has the attributes of `Tables`: data frames, here with words for networks, methods, sizes
    and verdicts, such as "random (Bernoulli)"; `facts` has what these stand for."""

    facts: Tables

    def __getattr__(self, name: str) -> Any:
        if name == "facts":  # of a copy that is still empty
            raise AttributeError(name)
        value = getattr(self.facts, name)
        return table_in_words(value) if isinstance(value, pd.DataFrame) else value

    def __dir__(self) -> list[str]:
        return [*super().__dir__(), *vars(self.facts)]


def analyse(root: str, only: Sequence[str] = ()) -> Analysis:
    """Read a finished or half-finished root; see `tables_of`, whose errors it raises."""
    return Analysis(tables_of(root, only))


def compare(first: Analysis, second: Analysis) -> Comparison:
    """Of two roots, in words; see `comparison.compare_tables`, whose errors it raises."""
    found = comparison.compare_tables(first.facts, second.facts)
    told: dict[str, Any] = {
        name: table_in_words(table) for name, table in vars(found).items() if isinstance(table, pd.DataFrame)
    }
    return replace(found, **told)


def draw(found: Analysis) -> list[Drawing]:
    """The figures of the report, with their captions."""
    return figures.draw_figures(found.facts)


def tidy(found: Analysis) -> pd.DataFrame:
    """Every number of every table in one; see `long_table`."""
    return long_table(found.facts)
