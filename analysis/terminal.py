"""The analysis as one table and a few lines, for a terminal or a log file."""

from typing import Any

from rich.console import Console
from rich.padding import Padding
from rich.table import Table

from analysis import cautions, conclusions
from analysis.cells import number, rows, signed, with_interval
from analysis.comparison import Comparison
from analysis.tables import Analysis
from lottery_ray.tasks import metric_name, title

WIDEST = 26
"""Of the first column, in characters: longer names go on in the next line."""

Row = dict[str, Any]


def show(found: Analysis, console: Console) -> None:
    """Print the table and the conclusions; 100 columns hold each row on one line."""
    console.print(_table(found))
    pairs = conclusions.comparisons(found)
    headlined = [pair for pair in pairs if pair[0] == "good" and conclusions.is_headlined(pair)]
    for sentence in (
        *conclusions.headlines(found),
        *(line for pair in headlined for line in conclusions.findings(found, *pair, values=False)),
        *conclusions.left_out(found),
        *cautions.flags(found),
        cautions.caution(found),
    ):
        console.print(sentence, highlight=False, markup=False)
    if len(found.missing):
        console.print(
            f"Missing: {len(found.missing)} results have no record yet; the page lists them.", highlight=False
        )


def show_two(found: Comparison, console: Console) -> None:
    """Print where two studies differ beyond their intervals, and how many networks they share."""
    for table, words in ((found.scores, "network"), (found.gaps, "gap")):
        apart = table[(table["low"] > 0) | (table["high"] < 0)]
        console.print(
            f"{len(table)} {words}s are in both studies; the interval of the difference excludes zero in"
            f" {len(apart)} of them.",
            highlight=False,
        )
    for row in rows(found.claims[found.claims["verdict"] != found.claims["other_verdict"]]):
        console.print(
            f"{row['claim']} ({row['method']}): {row['verdict']}, in the second study"
            f" {row['other_verdict']}.",
            highlight=False,
            markup=False,
        )


def _table(found: Analysis) -> Table:
    table = Table(box=None, pad_edge=False, collapse_padding=True, header_style="bold")
    table.add_column("", max_width=WIDEST)
    for name in ("pruned", "retrained"):
        table.add_column(name, no_wrap=True)
    for name in ("pruned", "retrained"):
        table.add_column(f"good minus it, {name}")
    table.add_column("kept", justify="right", no_wrap=True)
    if _says_seeds(found):
        table.add_column("seeds", justify="right", no_wrap=True)
    for task in dict.fromkeys(found.summary["task"]):
        _add_task(table, found, str(task))
    return table


def _says_seeds(found: Analysis) -> bool:
    """Where all are over the same number of seeds, the last line says so."""
    return found.summary["n"].nunique() > 1


def _add_task(table: Table, found: Analysis, task: str) -> None:
    """The baseline and the full model, then method by method the subnetworks."""
    judged = found.tasks.set_index("task")
    table.add_row(f"[bold]{title(task)}[/]", metric_name(task).removesuffix(" corr."))
    if task in judged.index:
        table.add_row(" majority", number(float(judged["majority"][task])))
    gaps = {
        (row["method"], row["size"], row["versus"], row["measure"]): row
        for row in rows(found.gaps[(found.gaps["task"] == task) & (found.gaps["network"] == "good")])
    }
    conclusive = task in judged.index and bool(judged.loc[task, "conclusive"])
    summary = found.summary[found.summary["task"] == task]
    for (method, size), group in summary.groupby(["method", "size"], sort=False):
        if method:
            table.add_row(_indented(conclusions.place(str(method), str(size)), 1))
        for network, measures in group.groupby("network", sort=False):
            measured = {row["measure"]: row for row in rows(measures)}
            first = next(iter(measured.values()))
            means = ["pruned", "retrained"] if method else ["fine-tuned", "retrained"]
            cells = [_mean(measured.get(name)) for name in means]
            cells += [_gap(gaps.get((method, size, network, name)), conclusive) for name in means]
            indent = 2 if method else 1
            name = str(network).replace("transfer from", "from")
            cells += [f"{first['weights_kept']:.0%}", str(first["n"])][: 1 + _says_seeds(found)]
            table.add_row(_indented(name, indent), *cells)


def _indented(words: str, count: int) -> Padding:
    """Also where it goes on in the next line."""
    return Padding(words, (0, 0, 0, count))


def _mean(row: Row | None) -> str:
    return with_interval(number(row["mean"]), row["half"], "±") if row else ""


def _gap(row: Row | None, conclusive: bool) -> str:
    if row is None:
        return ""
    value = with_interval(signed(row["mean"]), row["half"], "±")
    return f"{value} {row['verdict'].removeprefix('good ') if conclusive else 'left out'}"
