"""The tables of the page, as cells of text."""

from dataclasses import dataclass
from typing import Any

import pandas as pd

from analysis import networks, variants
from analysis.baselines import BASELINES
from analysis.cells import DASH, MINUS, number, rows, signed, with_interval
from analysis.composition import TOTAL
from analysis.conclusions import percent
from analysis.figures.drawing import COMPONENTS, title
from analysis.tables import Analysis
from lottery_ray.tasks import METRIC_NAMES, TASKS

YES_NO = {True: "yes", False: "no"}


@dataclass(frozen=True)
class Table:
    """Cells as text; `words` columns from the left are words, the others numbers."""

    headers: list[str]
    rows: list[list[str]]
    words: int = 1


def every(found: Analysis) -> dict[str, Table]:
    """{name: table}; those without rows too."""
    return {
        "scores": scores(found),
        "gaps": gaps(found),
        "composition": composition(found),
        "nulls": nulls(found),
        "null_summary": null_summary(found),
        "baselines": baselines(found),
        "overlap": overlap(found),
        "choice_scores": choice_scores(found),
        "choice_masks": choice_masks(found),
        "sizes": sizes(found),
        "setup": setup(found),
        "methods": methods(found),
    }


def _made(headers: list[str], lines: list[list[str]], words: int, *, sized: bool = False) -> Table:
    """With the task, the method and the size only where they change. sized: the third column is of sizes;
    it goes where there is only the stopping one."""
    shown = _without_repeats(lines, 3 if sized else 2)
    if sized and not {line[2] for line in lines} - {"", networks.STOPPING}:
        return Table(headers[:2] + headers[3:], [line[:2] + line[3:] for line in shown], words - 1)
    return Table(headers, shown, words)


def _without_repeats(lines: list[list[str]], columns: int) -> list[list[str]]:
    """The first columns only where they, or one left of them, change."""
    shown = []
    previous: list[str] = []
    for line in lines:
        same = 0
        while same < columns and previous and line[same] == previous[same]:
            same += 1
        shown.append([""] * same + line[same:])
        previous = line
    return shown


def _place(found: Analysis, row: dict[str, Any]) -> list[str]:
    """Task, method and size."""
    return [title(found, row["task"]), row["method"], networks.size_words(row["size"])]


def _value(row: dict[str, Any] | None) -> str:
    return with_interval(number(row["mean"]), row["half"]) if row else DASH


def _gap(row: dict[str, Any] | None) -> list[str]:
    return [with_interval(signed(row["mean"]), row["half"]), row["verdict"]] if row else [DASH, ""]


def _seeds(measured: dict[str, dict[str, Any]]) -> str:
    return "/".join(str(n) for n in dict.fromkeys(row["n"] for row in measured.values()))


def scores(found: Analysis) -> Table:
    """Mean and interval of every network."""
    lines = []
    for _, group in found.summary.groupby(["task", "method", "size", "network"], sort=False):
        measured = {row["measure"]: row for row in rows(group)}
        first = next(iter(measured.values()))
        means = [measured.get(name) for name in ("pruned", "retrained")]
        if not first["method"]:
            first, means = first | {"method": "fine-tuned"}, [first, None]
        values = [*map(_value, means), f"{first['weights_kept']:.1%}", _seeds(measured)]
        lines.append([*_place(found, first), first["network"], *values])
    headers = ["task", "method", "size", "network", "pruned", "retrained", "weights kept", "seeds"]
    return _made(headers, lines, 4, sized=True)


def gaps(found: Analysis) -> Table:
    """One row per task, method, size and comparison: the gaps of pruned and retrained, with verdicts."""
    cells: dict[tuple[str, ...], dict[tuple[str, str], list[dict[str, Any]]]] = {}
    for row in rows(found.gaps):
        cell = cells.setdefault((row["task"], row["method"], row["size"]), {})
        cell.setdefault((row["network"], row["versus"]), []).append(row)
    lines = []
    for cell in cells.values():
        for (network, versus), measures in sorted(cell.items(), key=_comparison):
            measured = {row["measure"]: row for row in measures}
            values = [text for name in ("pruned", "retrained") for text in _gap(measured.get(name))]
            compared = f"{network} {MINUS} {versus}"
            lines.append([*_place(found, measures[0]), compared, *values, _seeds(measured)])
    headers = ["task", "method", "size", "gap", "pruned", "verdict", "retrained", "verdict", "seeds"]
    return _made(headers, lines, 4, sized=True)


def _comparison(item: tuple[tuple[str, str], Any]) -> tuple[Any, ...]:
    """Good against others in their order, then the full model against good."""
    (network, versus), _ = item
    return network == "full", networks.order(versus)


def composition(found: Analysis) -> Table:
    """Good minus random and its parts."""
    lines = []
    for row in rows(found.composition):
        share = percent(row["share"]) if pd.notna(row["share"]) else DASH
        if pd.notna(row["share"]) and row["part"] != TOTAL:
            share += f" [{percent(row['share_low'])}, {percent(row['share_high'])}]"
        compared = f"{row['network']} {MINUS} {row['versus']}"
        lines.append(
            [*_place(found, row), row["measure"], row["part"], compared, *_gap(row), share, str(row["n"])]
        )
    headers = ["task", "method", "size", "score", "part", "gap", "mean", "verdict", "share", "seeds"]
    return _made(headers, lines, 6, sized=True)


def nulls(found: Analysis) -> Table:
    """Good's place among its null draws, per seed."""
    lines = [
        [
            *_place(found, row),
            row["kind"],
            str(row["seed"]),
            number(row["good"]),
            number(row["mean"]),
            number(row["sd"]),
            str(row["draws"]),
            percent(row["percentile"]),
            number(row["p"]),
        ]
        for row in rows(found.null_tests)
    ]
    headers = ["task", "method", "size", "masks", "seed", "good", "null mean", "null sd", "draws"]
    return _made([*headers, "below good", "p"], lines, 4, sized=True)


def null_summary(found: Analysis) -> Table:
    """In how many seeds good stands out."""
    lines = [
        [
            *_place(found, row),
            row["kind"],
            str(row["seeds"]),
            str(row["draws"]),
            percent(row["percentile"]),
            f"{row['significant']} of {row['possible']}" if row["possible"] else "too few draws",
        ]
        for row in rows(found.null_summary)
    ]
    headers = ["task", "method", "size", "masks", "seeds", "draws", "below good", "p at most .05"]
    return _made(headers, lines, 4, sized=True)


def baselines(found: Analysis) -> Table:
    """The full model against majority, a random start and a frozen encoder, per task and seed."""
    shown = {name: words for name, words in BASELINES.items() if found.baselines[name].notna().any()}
    lines = []
    for row in rows(found.baselines):
        cells = [title(found, row["task"]), str(row["seed"]), number(row["full"])]
        for name in shown:
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
    for words in shown.values():
        headers += [words, "difference (SE)", "in SE", "> 2 SE"]
    return _made(headers, lines, 1)


def overlap(found: Analysis) -> Table:
    """Mean pairwise Jaccard of good masks beside chance."""
    lines = [
        [
            *_place(found, row),
            COMPONENTS[row["component"]],
            number(row["jaccard"]),
            number(row["chance"]),
            number(row["ratio"], 2),
            f"{row['defined']} of {row['pairs']}",
        ]
        for row in rows(found.overlap)
    ]
    headers = ["task", "method", "size", "component", "Jaccard", "by chance", "ratio", "pairs that keep any"]
    return _made(headers, lines, 4, sized=True)


def choice_scores(found: Analysis) -> Table:
    """Good under a variant beside the plain method, and the gap to random under each."""
    lines = []
    for row in rows(found.choice_scores):
        cells = [title(found, row["task"]), row["method"], row["versus"], row["measure"], *_gap(row)]
        for prefix in ("", "versus_"):
            gap, verdict = row[f"{prefix}gap"], row[f"{prefix}gap_verdict"]
            cells += [with_interval(signed(gap), row[f"{prefix}gap_half"]), verdict or DASH]
        lines.append([*cells, "yes" if row["changes"] else "no", str(row["n"])])
    headers = ["task", "method", "beside", "score", f"good {MINUS} good", "verdict"]
    headers += [
        f"good {MINUS} random",
        "verdict",
        f"good {MINUS} random beside",
        "verdict",
        "changes",
        "seeds",
    ]
    return _made(headers, lines, 4)


def choice_masks(found: Analysis) -> Table:
    """Good masks under a variant beside those of the plain method in the same seed."""
    lines = [
        [
            title(found, row["task"]),
            row["method"],
            row["versus"],
            COMPONENTS[row["component"]],
            f"{row['kept']:,.1f}",
            f"{row['versus_kept']:,.1f}",
            signed(row["kept"] - row["versus_kept"], 1),
            f"{row['of']:,.0f}",
            number(row["jaccard"]),
            number(row["chance"]),
            number(row["between_seeds"]),
            number(row["between_chance"]),
            str(row["seeds"]),
        ]
        for row in rows(found.choice_masks)
    ]
    headers = ["task", "method", "beside", "component", "kept", "beside", "difference", "of"]
    headers += ["Jaccard, same seed", "by chance", "Jaccard between seeds", "by chance", "seeds"]
    return _made(headers, lines, 4)


def sizes(found: Analysis) -> Table:
    """What good tickets keep, and what bad ones share with them; others keep as much of each component."""
    keys = ["task", "method", "size", "component"]
    bad = found.sizes[found.sizes["network"].map(networks.drawn_as) == "bad"].drop_duplicates(keys)
    shared = bad.set_index(keys)[["shared", "forced"]]
    lines = []
    for row in rows(found.sizes[found.sizes["network"] == "good"]):
        of_bad = shared.reindex([tuple(row[key] for key in keys)]).iloc[0]
        lines.append(
            [
                *_place(found, row),
                COMPONENTS.get(row["component"], row["component"]),
                f"{row['mean']:.1%}",
                f"{row['low']:.1%} to {row['high']:.1%}",
                _count(row["kept"]),
                f"{row['of']:,}",
                _count(of_bad["shared"]),
                _count(of_bad["forced"]),
                str(row["seeds"]),
            ]
        )
    headers = ["task", "method", "size", "component", "kept", "over seeds", "mean count", "of"]
    return _made([*headers, "bad shares", "bad must share", "seeds"], lines, 4, sized=True)


def _count(value: float) -> str:
    return DASH if pd.isna(value) else f"{value:,.1f}".removesuffix(".0")


def setup(found: Analysis) -> Table:
    """What was run, task by task."""
    lines = [
        [TASKS[row["task"]].title, METRIC_NAMES[TASKS[row["task"]].metric]]
        + [str(value) for name, value in row.items() if name != "task"]
        for row in rows(found.setup)
    ]
    names = [str(name).replace("_", " ") for name in found.setup.columns[1:]]
    return Table(["task", "metric", *names], lines, words=4)


def methods(found: Analysis) -> Table:
    """How every method searched, in the words of its choices."""
    headers = [str(name).replace("_", " ") for name in found.methods.columns]
    lines = [
        [
            row["method"],
            *(variants.CHOICES[name].shown(row[name]) for name in variants.CHOICES),
            row["examples"] or DASH,
        ]
        for row in rows(found.methods)
    ]
    return Table(headers, lines, words=len(headers))
