"""Rows of tables, facts in words, and numbers as people read them."""

from collections.abc import Iterator
from dataclasses import is_dataclass
from typing import Any, cast

import pandas as pd

MINUS = "\N{MINUS SIGN}"
DASH = "\N{EN DASH}"
COMPONENT_NAMES = {"heads": "heads", "mlp": "MLPs", "weight": "weights"}


def rows(table: pd.DataFrame) -> list[dict[str, Any]]:
    """One {column: value} per row."""
    return cast(list[dict[str, Any]], table.to_dict("records"))


def grouped(table: pd.DataFrame, by: str | list[str]) -> Iterator[tuple[Any, pd.DataFrame]]:
    """What its rows have in these columns, and the rows that have it, in the order of the first of each."""
    yield from table.groupby(by, sort=False)


def table_in_words(table: pd.DataFrame) -> pd.DataFrame:
    """The same with words for networks, methods, sizes and what else its cells hold as facts."""
    told = {
        str(name): cells.map(lambda cell: str(cell) if is_dataclass(cell) else cell)
        for name, cells in table.items()
        if cells.dtype == object and cells.map(is_dataclass).any()
    }
    return table.assign(**told) if told else table


def number(value: float, digits: int = 3) -> str:
    """With a real minus sign; a dash where there is none."""
    return DASH if pd.isna(value) else f"{value:,.{digits}f}".replace("-", MINUS)


def signed(value: float, digits: int = 3) -> str:
    """A difference, with its sign."""
    return DASH if pd.isna(value) else f"{value:+,.{digits}f}".replace("-", MINUS)


def with_interval(value: str, half: float, between: str = "\N{NO-BREAK SPACE}±\N{NO-BREAK SPACE}") -> str:
    """A formatted mean with the half-width of its interval, where it has one."""
    return value if pd.isna(half) else f"{value}{between}{number(half)}"


def spanned(value: str, low: str, high: str) -> str:
    """A formatted value with the ends of its interval, where it has one."""
    return value if DASH in (low, high) else f"{value} [{low}, {high}]"


def percent(share: float, digits: int = 0) -> str:
    return DASH if pd.isna(share) else f"{number(100 * share, digits)}%"


def listed(items: list[str]) -> str:
    """ "A", "A and B", "A, B and C"."""
    return items[0] if len(items) == 1 else f"{', '.join(items[:-1])} and {items[-1]}"
