"""Every table as LaTeX: those of the page as they read there, others as they are, with booktabs."""

import re
import textwrap
from collections.abc import Iterator
from dataclasses import fields
from pathlib import Path

import pandas as pd

from analysis.formats import table_in_words
from analysis.report.page.sections import every_table
from analysis.report.page.table import PageTable, as_it_is
from analysis.tables import Tables

ONE_PAGE = 40
"""Rows that a float holds; more go into a longtable."""
SMALL = r"\footnotesize\setlength{\tabcolsep}{3pt}"
"""About 110 characters of a row in all; a table of more needs a page in landscape."""
LONG = "p{4cm}"
ESCAPES = {character: f"\\{character}" for character in "&%$#_{}"} | {
    "\\": r"\textbackslash{}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "\N{MINUS SIGN}": "$-$",
    "\N{PLUS-MINUS SIGN}": r"$\pm$",
    "\N{EN DASH}": "--",
    "\N{NO-BREAK SPACE}": "~",
    "\N{LEFT DOUBLE QUOTATION MARK}": "``",
    "\N{RIGHT DOUBLE QUOTATION MARK}": "''",
    "\N{RIGHT SINGLE QUOTATION MARK}": "'",
    "\N{MULTIPLICATION SIGN}": r"$\times$",
    "\N{HORIZONTAL ELLIPSIS}": r"\ldots{}",
}


def write_latex(found: Tables, folder: Path) -> None:
    """NAME.tex beside NAME.csv, for every data frame of the analysis."""
    shown = {table.name: table for table in every_table(found)}
    for field in fields(found):
        if isinstance(frame := getattr(found, field.name), pd.DataFrame):
            made = latex(shown.get(field.name) or as_it_is(field.name, table_in_words(frame)))
            (folder / f"{field.name}.tex").write_text(made, encoding="utf-8")


def latex(table: PageTable) -> str:
    r"""To be \input where booktabs is loaded, and longtable if there are more than ONE_PAGE rows."""
    if not table.rows:
        return f"% {escaped(table.name)}: nothing recorded\n"
    top = f"\\toprule\n{' & '.join(_headers(table))} \\\\\n\\midrule"
    body = "\n".join(_row(["" if cell.again else cell.text for cell in row]) for row in table.rows)
    caption = rf"\caption{{{escaped(table.caption)}}}\label{{tab:{table.name}}}"
    if len(table.rows) > ONE_PAGE:
        start = f"\\begin{{longtable}}{{{_columns(table)}}}\n{caption} \\\\\n{top}\n\\endfirsthead"
        made = f"{start}\n{top}\n\\endhead\n\\bottomrule\n\\endlastfoot\n{body}\n\\end{{longtable}}"
        return f"\\begingroup\n{SMALL}\n{made}\n\\endgroup\n"
    tabular = f"\\begin{{tabular}}{{{_columns(table)}}}\n{top}\n{body}\n\\bottomrule\n\\end{{tabular}}"
    return f"\\begin{{table}}\n\\centering\n{SMALL}\n{caption}\n{tabular}\n\\end{{table}}\n"


def _columns(table: PageTable) -> str:
    """Of the tabular: long text goes on in the next line."""
    long = [any(cell.kind == "long" for cell in cells) for cells in zip(*table.rows, strict=True)]
    sides = ["r" if number else "l" for number in table.is_number]
    return "".join(LONG if goes_on else side for side, goes_on in zip(sides, long, strict=True))


def _headers(table: PageTable) -> Iterator[str]:
    """In as many lines as keep them within the width of what is below them."""
    columns = zip(table.headers, table.is_number, zip(*table.rows, strict=True), strict=True)
    for header, number, cells in columns:
        room = max(1, *(len(cell.text) for cell in cells))
        lines = textwrap.wrap(header, room, break_long_words=False)
        text = r" \\ ".join(map(escaped, lines))
        yield rf"\shortstack[{'r' if number else 'l'}]{{{text}}}" if len(lines) > 1 else text


def _row(cells: list[str]) -> str:
    return " & ".join(map(escaped, cells)) + r" \\"


def escaped(text: str) -> str:
    """As LaTeX text; a leading bracket would be read as an argument of the row's end before it."""
    made = re.sub(r".", lambda found: ESCAPES.get(found[0], found[0]), text)
    return f"{{{made[0]}}}{made[1:]}" if made.startswith(("[", "*")) else made
