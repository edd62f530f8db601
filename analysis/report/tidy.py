"""All numbers of an analysis in one long table."""

from dataclasses import fields
from pathlib import Path

import numpy as np
import pandas as pd

from analysis.formats import table_in_words
from analysis.tables import Tables

WORDS = ("task", "method", "size", "network", "versus", "through", "part", "measure", "component", "kind")
MORE_WORDS = ("other_task", "claim", "setting", "node")
NUMBERS = ("seed", "other_seed", "draw", "layer", "index")
LABELS = (*WORDS, *MORE_WORDS, *NUMBERS)
COLUMNS = ["table", "row", *LABELS, "quantity", "value", "text"]


def long_table(found: Tables) -> pd.DataFrame:
    """Every value of every table once: columns COLUMNS.

    table: its name, as that of its CSV file; row: counted from 0 in it. The labels are missing where a
    table has no such column. quantity: the column of the table that is no label; value is its number, with
    0 and 1 for no and yes, text what is no number.
    """
    tables = {field.name: getattr(found, field.name) for field in fields(found)}
    parts = [
        _melted(name, table_in_words(table))
        for name, table in tables.items()
        if isinstance(table, pd.DataFrame)
    ]
    made = pd.concat([part for part in parts if len(part)], ignore_index=True).reindex(columns=COLUMNS)
    words = dict.fromkeys(("table", *WORDS, *MORE_WORDS, "quantity", "text"), "string")
    return made.astype(words | dict.fromkeys(("row", *NUMBERS), "Int64") | {"value": "float64"})


def _melted(name: str, table: pd.DataFrame) -> pd.DataFrame:
    labels = [label for label in LABELS if label in table]
    numbered = table.assign(table=name, row=np.arange(len(table)))
    long = numbered.melt(["table", "row", *labels], var_name="quantity", value_name="value")
    is_text = long["value"].map(lambda value: isinstance(value, str)).astype(bool)
    text = long["value"].where(is_text)
    return long.assign(value=pd.to_numeric(long["value"].mask(is_text)).astype("float64"), text=text)


def write_parquet(found: Tables, path: Path) -> None:
    """As a Parquet file."""
    long_table(found).to_parquet(path, index=False)
