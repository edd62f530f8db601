"""Every table as LaTeX: those of the page as they read there, others as they are, with booktabs."""

import re
from dataclasses import fields
from pathlib import Path

import pandas as pd

from analysis.page import tables
from analysis.page.table import Table, plain
from analysis.tables import Analysis

ONE_PAGE = 40
"""Rows that a float holds; more go into a longtable."""
SPECIAL = {character: f"\\{character}" for character in "&%$#_{}"} | {
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


def write(found: Analysis, folder: Path) -> None:
    """NAME.tex beside NAME.csv, for every data frame of the analysis."""
    shown = {table.name: table for table in tables.every(found)}
    for field in fields(found):
        if isinstance(frame := getattr(found, field.name), pd.DataFrame):
            made = latex(shown.get(field.name) or plain(field.name, frame))
            (folder / f"{field.name}.tex").write_text(made, encoding="utf-8")


def latex(table: Table) -> str:
    r"""To be \input where booktabs is loaded, and longtable if there are more than ONE_PAGE rows."""
    if not table.rows:
        return f"% {escaped(table.name)}: nothing recorded\n"
    columns = "".join("r" if number else "l" for number in table.is_number)
    top = f"\\toprule\n{_row(table.headers)}\n\\midrule"
    body = "\n".join(_row(["" if cell.again else cell.text for cell in row]) for row in table.rows)
    caption = rf"\caption{{{escaped(table.caption)}}}\label{{tab:{table.name}}}"
    if len(table.rows) > ONE_PAGE:
        start = f"\\begin{{longtable}}{{{columns}}}\n{caption} \\\\\n{top}\n\\endfirsthead"
        return f"{start}\n{top}\n\\endhead\n\\bottomrule\n\\endlastfoot\n{body}\n\\end{{longtable}}\n"
    tabular = f"\\begin{{tabular}}{{{columns}}}\n{top}\n{body}\n\\bottomrule\n\\end{{tabular}}"
    return f"\\begin{{table}}\n\\centering\n{caption}\n{tabular}\n\\end{{table}}\n"


def _row(cells: list[str]) -> str:
    return " & ".join(map(escaped, cells)) + r" \\"


def escaped(text: str) -> str:
    """As LaTeX text; a leading bracket would be read as an argument of the row's end before it."""
    made = re.sub(r".", lambda found: SPECIAL.get(found[0], found[0]), text)
    return f"{{{made[0]}}}{made[1:]}" if made.startswith(("[", "*")) else made
