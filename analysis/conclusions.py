"""What a root says, in plain sentences made from its tables."""

from typing import Any

import pandas as pd

from analysis.cells import listed, number, rows, signed, with_interval
from analysis.statistics import CONFIDENCE
from analysis.tables import CLEAR, Analysis
from lottery_ray.tasks import TASKS

NAMES = {"good": "good", "random": "random", "bad": "bad", "full": "the full model"}


def headlines(found: Analysis) -> list[str]:
    """Good against random, and against bad, counted over tasks, methods, pruned and retrained."""
    sentences = []
    for versus in ("random", "bad"):
        gaps = _counted(found, "good", versus)
        if len(gaps):
            higher, lower, undecided = (
                int((gaps["verdict"] == name).sum()) for name in ("good higher", "good lower", "undecided")
            )
            sentences.append(
                f"Good against {versus}: good scores higher in {higher} of {len(gaps)} gaps (one per task and"
                f" method, pruned and retrained) and lower in {lower}; {undecided} undecided."
            )
    return sentences


def _counted(found: Analysis, network: str, versus: str) -> pd.DataFrame:
    """The gaps of one comparison on the tasks that conclusions are drawn from."""
    conclusive = found.tasks.loc[found.tasks["conclusive"], "task"]
    gaps = found.gaps
    return gaps[gaps["task"].isin(conclusive) & (gaps["network"] == network) & (gaps["versus"] == versus)]


def findings(found: Analysis, network: str, versus: str, *, values: bool) -> list[str]:
    """One sentence per method and measure about one comparison, over the tasks that count.

    values: with the gaps.
    """
    return [
        f"{str(method).capitalize()}, {measure}: {_comparison(network, versus, group, values)}."
        for (method, measure), group in _counted(found, network, versus).groupby(
            ["method", "measure"], sort=False
        )
    ]


def _comparison(one: str, other: str, group: pd.DataFrame, values: bool) -> str:
    clauses = []
    for verdict, words in (
        (f"{one} higher", f"{NAMES[one]} scores higher than {NAMES[other]} on"),
        (f"{one} lower", f"{NAMES[one]} scores lower than {NAMES[other]} on"),
        ("undecided", f"{NAMES[one]} against {NAMES[other]} is undecided on"),
    ):
        if gaps := [_gap(row, values) for row in rows(group[group["verdict"] == verdict])]:
            clauses.append(f"{words} {listed(gaps)}")
    return "; ".join(clauses)


def _gap(row: dict[str, Any], values: bool) -> str:
    title = TASKS[row["task"]].title
    if not values:
        return title
    one = " from one seed" if row["n"] == 1 else ""
    return f"{title} ({with_interval(signed(row['mean']), row['half'])}{one})"


def left_out(found: Analysis) -> list[str]:
    """One sentence per task whose full model does not beat its majority baseline."""
    sentences = []
    for row in rows(found.tasks[~found.tasks["conclusive"]]):
        interval = f"[{signed(row['low'])}, {signed(row['high'])}]"
        how = f"{CLEAR:.0f} dev-set standard errors; one seed" if row["n"] == 1 else f"{row['n']} seeds"
        sentences.append(
            f"{TASKS[row['task']].title} is shown but left out of the conclusions: its full model does not"
            f" beat the majority baseline of {number(row['majority'])} (difference {signed(row['mean'])}"
            f" {interval}, {how})."
        )
    return sentences


def controls(found: Analysis) -> list[str]:
    """What pre-training is worth, where models were trained from random weights."""
    table = found.baselines.dropna(subset=["random_start"])
    sentences = []
    for task, group in table.groupby("task", sort=False):
        clear = int(group["beats_random_start"].sum())
        sentences.append(
            f"{TASKS[str(task)].title}: fine-tuned from pre-trained weights, the full model scores"
            f" {number(group['full'].mean())}, from random ones {number(group['random_start'].mean())}; the"
            f" difference exceeds {CLEAR:.0f} dev-set standard errors in {clear} of {len(group)} seeds."
        )
    return sentences


def missing(found: Analysis) -> list[str]:
    """One sentence per task and seed with networks that have no record."""
    return [
        f"{TASKS[str(task)].title}, seed {seed}: {listed(list(group['network']))}."
        for (task, seed), group in found.missing.groupby(["task", "seed"], sort=False)
    ]


def caution(found: Analysis) -> str:
    """How many seeds the intervals rest on, and what they do not cover."""
    seeds = sorted(set(found.summary["n"]))
    span = f"{seeds[0]} to {seeds[-1]}" if len(seeds) > 1 else f"{seeds[0]}"
    none = " One seed has no interval and decides nothing." if 1 in seeds else ""
    return (
        f"Each mean is over {span} seed{'s' if seeds[-1] > 1 else ''}.{none} Intervals are {CONFIDENCE:.0%} t"
        " intervals over seeds, gaps paired by seed, not corrected for the number of comparisons. Good"
        " subnetworks were found on the dev set that scores them."
    )
