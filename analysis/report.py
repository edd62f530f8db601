"""Write the report of a root: CSV files, figures, one HTML page, and a table for the terminal."""

import sys
from dataclasses import fields
from pathlib import Path

import pandas as pd
from rich.console import Console

from analysis import figures, page, terminal
from analysis.tables import Analysis, analyse
from lottery_ray.store import Store


def write(root: str, console: Console | None = None) -> Path:
    """Analyse a finished or half-finished root and write its report; returns the path of index.html.

    It goes to ROOT/report/, or, where the root is not on this machine, to report-NAME/ in the working
    directory. Prints the table and the conclusions, and where the report is on the last line. Raises
    InputError if the root cannot be reported on.
    """
    if console is None:
        console = Console(width=None if sys.stdout.isatty() else 100)
    found = analyse(root)
    folder = _folder(root)
    folder.mkdir(parents=True, exist_ok=True)
    _write_csv(found, folder)
    drawn = figures.draw(found)
    figures.save(drawn, folder / "figures")
    index = folder / "index.html"
    index.write_text(page.render(found, drawn), encoding="utf-8")
    terminal.show(found, console)
    console.print(f"Report: {index}", soft_wrap=True, highlight=False, markup=False)
    return index


def _folder(root: str) -> Path:
    store = Store.open(root)
    if store.local:
        return Path(store.path) / "report"
    return Path(f"report-{store.path.rstrip('/').rpartition('/')[2]}").resolve()


def _write_csv(found: Analysis, folder: Path) -> None:
    for field in fields(found):
        if isinstance(table := getattr(found, field.name), pd.DataFrame):
            table.to_csv(folder / f"{field.name}.csv", index=False)
