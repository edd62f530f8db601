"""Rows of a table by their labels, as tests ask for them."""

from typing import Any

import pandas as pd

from analysis.formats import table_in_words


def rows(table: pd.DataFrame, **labels: Any) -> pd.DataFrame:
    """Those with these labels; all in words."""
    table = table_in_words(table)
    return table[(table[list(labels)] == list(labels.values())).all(axis=1)]


def row(table: pd.DataFrame, **labels: Any) -> dict[str, Any]:
    """The only one with these labels, as {column: value}."""
    (found,) = rows(table, **labels).to_dict("records")
    return {str(name): value for name, value in found.items()}
