"""Write the report of a root, or of two side by side: a page, tables, figures, and lines for a terminal."""

import sys
import tempfile
from collections.abc import Sequence
from dataclasses import fields
from pathlib import Path

import pandas as pd
from rich.console import Console

from analysis import comparison
from analysis.comparison import Comparison
from analysis.formats import table_in_words
from analysis.report import figures, latex, page, terminal, tidy
from analysis.report.figures import side_by_side as figures_of_two
from analysis.report.page import side_by_side as page_of_two
from analysis.tables import Tables, tables_of
from lottery_ray.errors import InputError
from lottery_ray.storage.location import room
from lottery_ray.storage.store import Store
from lottery_ray.terminal import at_work


def write_report(root: str, console: Console | None = None, only: Sequence[str] = ()) -> Path:
    """Analyse a finished or half-finished root and write its report; returns the path of index.html.

    It goes to ROOT/report/, or, where the root is not on this machine, to report-NAME/ in the working
    directory: index.html, NAME.csv and NAME.tex of every table, numbers.parquet with all of them, and every
    figure as PNG and SVG in figures/. Prints the table and the conclusions, and where the report is on the
    last line. only: see `tables_of`. Raises InputError if the root cannot be reported on.
    """
    console = console or _console()
    folder = _folder(root)
    index = folder / "index.html"
    with at_work(console, "report: reading records and masks") as say:
        found = tables_of(root, only)
        _make(folder)
        with room(folder):
            say("report: writing tables")
            _write_csv(found, folder)
            latex.write_latex(found, folder)
            tidy.write_parquet(found, folder / "numbers.parquet")
            say("report: drawing figures")
            drawn = figures.draw_figures(found)
            figures.save_figures(drawn, folder / "figures")
            say("report: writing the page")
            index.write_text(page.render_page(found, drawn), encoding="utf-8")
    terminal.show(found, console)
    _say(index, console)
    return index


def write_two_reports(
    root: str,
    other: str,
    console: Console | None = None,
    only: Sequence[str] = (),
    other_only: Sequence[str] = (),
) -> Path:
    """Put two studies side by side; returns the path of index.html.

    It goes to beside-OTHER/ in the folder of the first one's report, with a CSV and LaTeX file per table.
    only, other_only: of each, see `tables_of`. Raises InputError if one of them cannot be reported on.
    """
    console = console or _console()
    with at_work(console, "report: reading records and masks of two roots"):
        found = comparison.compare_tables(tables_of(root, only), tables_of(other, other_only))
    folder = _folder(root) / f"beside-{_name(other)}"
    _make(folder)
    with room(folder):
        _write_csv(found, folder)
        for table in page_of_two.tables_of_two(found):
            (folder / f"{table.name}.tex").write_text(latex.latex(table), encoding="utf-8")
    drawn = figures_of_two.draw_two(found)
    index = folder / "index.html"
    with room(folder):
        figures.save_figures(drawn, folder / "figures")
        index.write_text(page_of_two.render_two(found, drawn), encoding="utf-8")
    terminal.show_two(found, console)
    _say(index, console)
    return index


def _console() -> Console:
    return Console(width=None if sys.stdout.isatty() else 100)


def _say(index: Path, console: Console) -> None:
    console.print(f"Report: {index}", soft_wrap=True, highlight=False, markup=False)


def _folder(root: str) -> Path:
    store = Store.open(root)
    return Path(store.path) / "report" if store.local else Path(f"report-{_name(root)}").resolve()


def _make(folder: Path) -> None:
    """The folder, ready to be written to."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise InputError(f"The report cannot be written to {folder}: {error.strerror}.") from None


def _name(root: str) -> str:
    return Store.open(root).path.rstrip("/").rpartition("/")[2]


def _write_csv(found: Tables | Comparison, folder: Path) -> None:
    for field in fields(found):
        if isinstance(table := getattr(found, field.name), pd.DataFrame):
            table_in_words(table).to_csv(folder / f"{field.name}.csv", index=False)
