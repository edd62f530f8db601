"""A table of the page: cells of text, with the full values behind them."""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import pandas as pd

from analysis.formats import DASH, rows

Row = dict[str, Any]


@dataclass(frozen=True)
class Cell:
    """What a reader sees.

    value: the number behind it at full precision, which sorts it. kind: how a verdict looks, "decided",
    "undecided", "supported", "contradicted" or "unclear"; or "long" for text that may wrap. again: it
    repeats the label above it.
    """

    text: str
    value: float | None = None
    kind: str = ""
    again: bool = False


@dataclass(frozen=True)
class Column:
    """A header, and the cell that a row of a data frame has under it.

    usual: the column is left out where every cell says this, or nothing.
    """

    header: str
    cell: Callable[[Row], Cell]
    usual: str | None = None


@dataclass(frozen=True)
class PageTable:
    """name: of the CSV and LaTeX files beside the page. labels: how many columns from the left say what a
    row is about; where one repeats the row above, its cell says so."""

    name: str
    caption: str
    headers: list[str]
    rows: list[list[Cell]]
    labels: int = 1

    @property
    def title(self) -> str:
        """The first clause of its caption."""
        return re.split(r"[:.,]", self.caption)[0]

    @property
    def is_number(self) -> list[bool]:
        """Of each column, whether its cells have values."""
        return [any(cell.value is not None for cell in cells) for cells in zip(*self.rows, strict=True)]


def table(
    name: str, caption: str, frame: pd.DataFrame, columns: Sequence[Column], *, labels: int = 1
) -> PageTable:
    """The rows of a data frame under those columns that have something to say."""
    lines = [[column.cell(row) for column in columns] for row in rows(frame)]
    shown = [
        place
        for place, column in enumerate(columns)
        if any(line[place].text not in ("", DASH, column.usual) for line in lines)
    ]
    return PageTable(
        name,
        caption,
        [columns[place].header for place in shown],
        _marked([[line[place] for place in shown] for line in lines], sum(place < labels for place in shown)),
        sum(place < labels for place in shown),
    )


def _marked(lines: list[list[Cell]], labels: int) -> list[list[Cell]]:
    """With those labels marked that, like all left of them, repeat the row above."""
    marked = []
    above: list[Cell] = []
    for line in lines:
        same = 0
        while same < labels and above and line[same].text == above[same].text:
            same += 1
        marked.append([replace(cell, again=True) for cell in line[:same]] + line[same:])
        above = line
    return marked


def as_it_is(name: str, frame: pd.DataFrame) -> PageTable:
    """A data frame as it is: every number in its shortest exact form."""
    lines = [[_plain(value) for value in row] for row in frame.itertuples(index=False, name=None)]
    return PageTable(name, name.replace("_", " "), [str(column) for column in frame], lines, 0)


def _plain(value: Any) -> Cell:
    if isinstance(value, str) or pd.isna(value):
        return Cell("" if pd.isna(value) else value)
    return Cell(str(value), float(value))
