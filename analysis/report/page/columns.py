"""The columns that the page's tables are put together from."""

from collections.abc import Callable, Mapping
from typing import Any

import pandas as pd

from analysis.formats import COMPONENT_NAMES, DASH, MINUS, number, percent, signed, with_interval
from analysis.records.network_names import STOPPING, WHOLE, TicketSize
from analysis.report.figures.drawing import task_title
from analysis.report.page.table import Cell, Column, Row
from analysis.scores.statistics import UNDECIDED
from analysis.tables import Tables
from lottery_ray.inputs.tasks import title


def whose(found: Tables) -> list[Column]:
    """Task, method and size; the size only where there are others than the stopping one."""
    task = Column("task", lambda row: Cell(task_title(found, row["task"])))
    return [task, word("method"), size()]


def size() -> Column:
    def cell(row: Row) -> Cell:
        size: TicketSize = STOPPING if row["size"] == WHOLE else row["size"]
        return Cell(size.words, size.share)

    return Column("size", cell, usual=str(STOPPING))


def word(
    name: str, header: str = "", *, words: Mapping[Any, str] | None = None, usual: str | None = None
) -> Column:
    """words: what is said for the values that it lists."""

    def cell(row: Row) -> Cell:
        value = (words or {}).get(row[name], row[name])
        return Cell(DASH if pd.isna(value) else str(value))

    return Column(header or name, cell, usual)


def long(name: str, header: str = "") -> Column:
    """Text that may go on in the next line."""
    return Column(header or name, lambda row: Cell("" if pd.isna(row[name]) else str(row[name]), kind="long"))


def component() -> Column:
    return word("component", words=COMPONENT_NAMES)


def task(name: str, header: str = "") -> Column:
    return Column(header or name, lambda row: Cell(title(row[name])))


def layer() -> Column:
    """Counted from 1, next to the embeddings."""
    return Column("layer", lambda row: Cell(str(row["layer"] + 1), float(row["layer"])))


def decimals(name: str, header: str = "", digits: int = 3) -> Column:
    return Column(header or name, lambda row: Cell(number(row[name], digits), row[name]))


def difference(name: str, header: str = "", digits: int = 3) -> Column:
    return Column(header or name, lambda row: Cell(signed(row[name], digits), row[name]))


def share(name: str, header: str = "", digits: int = 1) -> Column:
    return Column(header or name, lambda row: Cell(percent(row[name], digits), row[name]))


def count(name: str, header: str = "", usual: str | None = None) -> Column:
    """Of things, or the mean of such counts."""
    return Column(header or name, lambda row: Cell(counted(row[name]), row[name]), usual)


def counted(number: float) -> str:
    if pd.isna(number):
        return DASH
    return f"{number:,.0f}" if number >= 1000 else f"{number:.1f}".removesuffix(".0")


def within(name: str, header: str, half: str, *, sign: bool = False) -> Column:
    """A mean ± the half-width of its interval."""
    shown = signed if sign else number
    return Column(header, lambda row: Cell(with_interval(shown(row[name]), row[half]), row[name]))


def give_or_take(name: str, header: str, sd: str, shown: Callable[[float], str] = number) -> Column:
    """A mean and in brackets a standard deviation."""

    def cell(row: Row) -> Cell:
        text = shown(row[name])
        return Cell(text if pd.isna(row[sd]) else f"{text} ({shown(row[sd])})", row[name])

    return Column(header, cell)


def interval(low: str, high: str, header: str, shown: Callable[[float], str] = number) -> Column:
    """Sorted by its lower end."""

    def cell(row: Row) -> Cell:
        if pd.isna(row[low]):
            return Cell(DASH)
        return Cell(f"[{shown(row[low])}, {shown(row[high])}]", row[low])

    return Column(header, cell)


def compared() -> Column:
    return Column("gap", lambda row: Cell(f"{row['network']} {MINUS} {row['versus']}"))


def judgement(name: str = "verdict", header: str = "verdict") -> Column:
    def cell(row: Row) -> Cell:
        found = row[name]
        if pd.isna(found):
            return Cell(DASH)
        return Cell(str(found), kind="undecided" if found == UNDECIDED else "decided")

    return Column(header, cell)


def probability(name: str, header: str = "p", least: str = "") -> Column:
    """A p value. least: the column of the smallest that there could be, shown behind it."""

    def cell(row: Row) -> Cell:
        if pd.isna(row[name]):
            return Cell(DASH)
        floor = f" (least {_p(row[least])})" if least and not pd.isna(row[least]) else ""
        return Cell(_p(row[name]) + floor, row[name])

    return Column(header, cell)


def _p(p: float) -> str:
    if p == 0:
        return f"< 1e{MINUS}300"  # too small for a float
    return f"{p:.1e}".replace("-", MINUS) if 0 < p < 0.0005 else number(p, 4 if p < 0.1 else 3)
