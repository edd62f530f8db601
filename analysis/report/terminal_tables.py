"""The tables of the terminal: task by task, over tasks, and the paper's claims."""

from typing import Any

from rich.padding import Padding
from rich.table import Table

from analysis.formats import grouped, number, percent, rows, signed, spanned, with_interval
from analysis.records.method_names import NO_METHOD, place
from analysis.records.network_names import GOOD
from analysis.report.words import conclusions
from analysis.report.words.headlines import of_plain_methods
from analysis.scores.gaps import COMPARISON
from analysis.scores.scores import TICKET_MEASURES
from analysis.scores.statistics import UNDECIDED
from analysis.tables import Tables
from lottery_ray.inputs.tasks import known_tasks, metric_name, title

WIDEST = 26
"""Of the first column, in characters: longer names go on in the next line."""

CORRELATION_NAMES = {"matthews": "Matthews", "pearson": "Pearson"}

Row = dict[str, Any]


def claims_table(found: Tables) -> Table:
    """Each claim of the paper, under plain methods."""
    table = _empty("claim of the paper", 44)
    for name in ("method", "verdict"):
        table.add_column(name, no_wrap=True)
    table.add_column("estimate [95% interval]", no_wrap=True)
    above = ""
    for row in rows(of_plain_methods(found.claims)):
        name = row["claim"] if row["claim"] != above else ""
        estimate = spanned(number(row["estimate"]), number(row["low"]), number(row["high"]))
        table.add_row(name, str(row["method"]), row["verdict"], estimate)
        above = row["claim"]
    return table


def over_tasks(found: Tables) -> Table:
    """A line per method, size and network: means over tasks of good minus it, and how many decide."""
    table = _empty("good minus it, over tasks", WIDEST + 4)
    for measure in TICKET_MEASURES:
        table.add_column(measure, no_wrap=True)
        table.add_column("decided", no_wrap=True)
    verdicts = conclusions.conclusive(found, found.gaps).groupby(COMPARISON)["verdict"]
    decided = verdicts.agg(lambda words: f"{(words != UNDECIDED).sum()} of {len(words)}")
    for (method, size), group in grouped(of_plain_methods(found.across_tasks), ["method", "size"]):
        table.add_row(f"[bold]{place(method, size)}[/]")
        others = group["versus"].where(group["network"] == GOOD, group["network"])
        for name in sorted(set(others)):
            measured = {row["measure"]: row for row in rows(group[others == name])}
            cells = []
            for row in map(measured.get, TICKET_MEASURES):
                cells += (
                    [_good_minus(row), decided[tuple(row[label] for label in COMPARISON)]]
                    if row
                    else ["", ""]
                )
            table.add_row(_indented(str(name), 1), *cells)
    return table


def _good_minus(row: Row) -> str:
    """Also where the row is of the full model minus good."""
    sign = 1 if row["network"] == GOOD else -1
    return with_interval(signed(sign * row["mean"]), row["mean"] - row["low"], "±")


def by_task(found: Tables) -> Table:
    """A block per task: means over seeds of every network, and good minus it."""
    table = _empty("", WIDEST)
    for name in TICKET_MEASURES:
        table.add_column(name, no_wrap=True)
    for name in TICKET_MEASURES:
        table.add_column(f"good minus it, {name}")
    table.add_column("kept", justify="right", no_wrap=True)
    if _says_seeds(found):
        table.add_column("seeds", justify="right", no_wrap=True)
    for task in dict.fromkeys(found.summary["task"]):
        _add_task(table, found, str(task))
    return table


def _empty(first: str, width: int) -> Table:
    table = Table(box=None, pad_edge=False, collapse_padding=True, header_style="bold")
    table.add_column(first, max_width=width)
    return table


def _says_seeds(found: Tables) -> bool:
    """Where all are over the same number of seeds, the last line says so."""
    return found.summary["n"].nunique() > 1


def _add_task(table: Table, found: Tables, task: str) -> None:
    """The baseline and the full model, then method by method the subnetworks."""
    judged = found.tasks.set_index("task")
    table.add_row(f"[bold]{title(task)}[/]", _metric(task))
    if task in judged.index:
        table.add_row(" majority", number(float(judged["majority"][task])))
    gaps = {
        (row["method"], row["size"], row["versus"], row["measure"]): row
        for row in rows(found.gaps[(found.gaps["task"] == task) & (found.gaps["network"] == GOOD)])
    }
    conclusive = task in judged.index and bool(judged.loc[task, "conclusive"])
    summary = of_plain_methods(found.summary[found.summary["task"] == task])
    for (method, size), group in grouped(summary, ["method", "size"]):
        is_ticket = method != NO_METHOD
        if is_ticket:
            table.add_row(_indented(place(method, size), 1))
        for network, measures in grouped(group, "network"):
            measured = {row["measure"]: row for row in rows(measures)}
            first = next(iter(measured.values()))
            means = list(TICKET_MEASURES) if is_ticket else ["fine-tuned", "retrained"]
            cells = [_mean(measured.get(name)) for name in means]
            cells += [_gap(gaps.get((method, size, network, name)), conclusive) for name in means]
            indent = 2 if is_ticket else 1
            cells += [percent(first["weights_kept"]), str(first["n"])][: 1 + _says_seeds(found)]
            table.add_row(_indented(network.short, indent), *cells)


def _metric(task: str) -> str:
    """In one word."""
    of_task = known_tasks().get(task)
    return CORRELATION_NAMES.get(of_task.metric if of_task else "") or metric_name(task)


def _indented(words: str, count: int) -> Padding:
    """Also where it goes on in the next line."""
    return Padding(words, (0, 0, 0, count))


def _mean(row: Row | None) -> str:
    return with_interval(number(row["mean"]), row["half"], "±") if row else ""


def _gap(row: Row | None, conclusive: bool) -> str:
    if row is None:
        return ""
    value = with_interval(signed(row["mean"]), row["half"], "±")
    return f"{value} {row['verdict'].direction if conclusive else 'left out'}"
