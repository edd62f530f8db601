"""The report as one self-contained HTML page."""

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import jinja2
import pandas as pd
from markupsafe import Markup

from analysis import conclusions, figures
from analysis.cells import DASH, MINUS, number, rows, signed, with_interval
from analysis.figures import COMPONENTS, Drawing
from analysis.statistics import COMPARISONS
from analysis.tables import Analysis
from lottery_ray.tasks import METRIC_NAMES, TASKS

YES_NO = {True: "yes", False: "no"}


@dataclass(frozen=True)
class Table:
    """Cells as text; `words` columns from the left are words, the others numbers."""

    headers: list[str]
    rows: list[list[str]]
    words: int = 1


def render(found: Analysis, drawn: list[Drawing]) -> str:
    """The page, with its style, tables and figures inside it."""
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("analysis", "."),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=jinja2.StrictUndefined,
    )
    drawings: dict[str, list[dict[str, Any]]] = {}
    for drawing in drawn:
        svg = Markup(figures.svg(drawing))  # made here, from escaped text only
        drawings.setdefault(drawing.group, []).append({"svg": svg, "caption": drawing.caption})
    return environment.get_template("report.html.j2").render(
        uri=found.uri,
        made=datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
        tasks=[TASKS[task].title for task in found.tasks["task"]],
        seeds=sorted({int(seed) for seed in found.scores["seed"]}),
        headlines=conclusions.headlines(found),
        findings={
            "Good against random": conclusions.findings(found, "good", "random", values=True),
            "Good against bad": conclusions.findings(found, "good", "bad", values=True),
            "The full model against good": conclusions.findings(found, "full", "good", values=True),
        },
        controls=conclusions.controls(found),
        left_out=conclusions.left_out(found),
        missing=conclusions.missing(found),
        caution=conclusions.caution(found),
        drawings=drawings,
        tables={
            "scores": scores(found),
            "gaps": gaps(found),
            "baselines": baselines(found),
            "overlap": overlap(found),
            "sizes": sizes(found),
            "setup": setup(found),
        },
    )


def _title(found: Analysis, task: str) -> str:
    conclusive = found.tasks.set_index("task")["conclusive"].get(task, True)
    return TASKS[task].title + ("" if conclusive else " (left out)")


def scores(found: Analysis) -> Table:
    """Mean and interval of every network."""
    lines = []
    for (task, method, kind), group in found.summary.groupby(["task", "method", "kind"], sort=False):
        measured = {row["measure"]: row for row in rows(group)}
        first = next(iter(measured.values()))
        means = [measured.get(name) for name in ("pruned", "retrained")] if method else [first, None]
        lines.append(
            [
                _title(found, str(task)),
                str(method) or "fine-tuned",
                str(kind),
                *(with_interval(number(row["mean"]), row["half"]) if row else DASH for row in means),
                f"{first['weights_kept']:.1%}",
                str(first["n"]),
            ]
        )
    headers = ["task", "method", "network", "pruned", "retrained", "weights kept", "seeds"]
    return Table(headers, _without_repeats(lines), words=3)


def _without_repeats(lines: list[list[str]]) -> list[list[str]]:
    """The task and method only where they change."""
    previous = [["", ""], *(line[:2] for line in lines)]
    shown = []
    for (task, method), line in zip(previous, lines, strict=False):
        same_task = line[0] == task
        repeated = ["" if same_task else line[0], "" if same_task and line[1] == method else line[1]]
        shown.append(repeated + line[2:])
    return shown


def gaps(found: Analysis) -> Table:
    """One row per task, method and measure; a gap, its interval and verdict per comparison."""
    lines = []
    for (task, method, measure), group in found.gaps.groupby(["task", "method", "measure"], sort=False):
        by_pair = {(row["network"], row["versus"]): row for row in rows(group)}
        cells = [_title(found, str(task)), str(method), str(measure)]
        for pair in COMPARISONS:
            cells += _gap(by_pair[pair]) if pair in by_pair else [DASH, ""]
        lines.append([*cells, "/".join(str(n) for n in dict.fromkeys(group["n"]))])
    headers = ["task", "method", "score"]
    for network, versus in COMPARISONS:
        headers += [f"{network} {MINUS} {versus}", "verdict"]
    return Table([*headers, "seeds"], _without_repeats(lines), words=3)


def _gap(row: dict[str, Any]) -> list[str]:
    return [with_interval(signed(row["mean"]), row["half"]), row["verdict"]]


def baselines(found: Analysis) -> Table:
    """The full model against majority and against a random start, per task and seed."""
    lines = []
    for row in rows(found.baselines):
        cells = [_title(found, row["task"]), str(row["seed"]), number(row["full"])]
        for name in ("majority", "random_start"):
            if pd.isna(row[name]):
                cells += [DASH] * 4
            else:
                difference = f"{signed(row[f'above_{name}'])} ({number(row[f'{name}_se'])})"
                cells += [
                    number(row[name]),
                    difference,
                    number(row[f"{name}_z"], 1),
                    YES_NO[row[f"beats_{name}"]],
                ]
        lines.append(cells)
    headers = ["task", "seed", "full"]
    for title in ("majority", "random start"):
        headers += [title, "difference (SE)", "in SE", "> 2 SE"]
    return Table(headers, _without_repeats(lines))


def overlap(found: Analysis) -> Table:
    """Mean pairwise Jaccard of good masks beside chance."""
    lines = [
        [
            TASKS[row["task"]].title,
            row["method"],
            COMPONENTS[row["component"]],
            number(row["jaccard"]),
            number(row["chance"]),
            number(row["ratio"], 2),
            f"{row['defined']} of {row['pairs']}",
        ]
        for row in rows(found.overlap)
    ]
    headers = ["task", "method", "component", "Jaccard", "by chance", "ratio", "pairs that keep any"]
    return Table(headers, _without_repeats(lines), words=3)


def sizes(found: Analysis) -> Table:
    """What good tickets keep; random and bad ones keep as much of each component."""
    lines = [
        [
            TASKS[row["task"]].title,
            row["method"],
            COMPONENTS.get(row["component"], row["component"]),
            f"{row['mean']:.1%}",
            f"{row['low']:.1%} to {row['high']:.1%}",
            f"{row['kept']:,.1f}".removesuffix(".0"),
            f"{row['of']:,}",
            str(row["seeds"]),
        ]
        for row in rows(found.sizes[found.sizes["kind"] == "good"])
    ]
    headers = ["task", "method", "component", "kept", "over seeds", "mean count", "of", "seeds"]
    return Table(headers, _without_repeats(lines), words=3)


def setup(found: Analysis) -> Table:
    """What was run, task by task."""
    lines = [
        [TASKS[row["task"]].title, METRIC_NAMES[TASKS[row["task"]].metric]]
        + [str(value) for name, value in row.items() if name != "task"]
        for row in rows(found.setup)
    ]
    names = [str(name).replace("_", " ") for name in found.setup.columns[1:]]
    return Table(["task", "metric", *names], lines, words=4)
