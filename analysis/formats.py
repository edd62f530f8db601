"""Rows of tables, and numbers as people read them."""

from typing import Any, cast

import pandas as pd

MINUS = "\N{MINUS SIGN}"
DASH = "\N{EN DASH}"


def rows(table: pd.DataFrame) -> list[dict[str, Any]]:
    """One {column: value} per row."""
    return cast(list[dict[str, Any]], table.to_dict("records"))


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
