"""What a root says, in plain sentences made from its tables."""

from typing import Any

import pandas as pd

from analysis.cells import listed, number, rows, signed, with_interval
from analysis.statistics import COMPARISONS, CONFIDENCE
from analysis.tables import CLEAR, Analysis
from lottery_ray.tasks import TASKS

NAMES = {"good": "good", "random": "random", "bad": "bad", "full": "the full model"}


def findings(found: Analysis, versus: tuple[str, ...], *, values: bool) -> list[str]:
    """One sentence per method, measure and comparison, over the tasks that count.

    versus: which comparisons, by the network that is compared with good. values: with the gaps.
    """
    counted = set(found.tasks.loc[found.tasks["conclusive"], "task"])
    gaps = found.gaps[found.gaps["task"].isin(counted)]
    sentences = []
    for method, measure in dict.fromkeys(zip(gaps["method"], gaps["measure"], strict=True)):
        for one, other in COMPARISONS:
            chosen = (gaps["method"] == method) & (gaps["measure"] == measure)
            group = gaps[chosen & (gaps["network"] == one) & (gaps["versus"] == other)]
            if len(group) and {one, other} & set(versus):
                sentences.append(
                    f"{method.capitalize()}, {measure}: {_comparison(one, other, group, values)}."
                )
    return sentences


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
    seeds = "one seed, no interval" if row["n"] == 1 else f"{row['n']} seeds"
    return f"{title} ({with_interval(signed(row['mean']), row['half'])}, {seeds})"


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
    """One sentence per task and network with seeds that have no record."""
    return [
        f"{TASKS[str(task)].title}, {network}: seed {listed([str(seed) for seed in group['seed']])}."
        for (task, network), group in found.missing.groupby(["task", "network"], sort=False)
    ]


def caution(found: Analysis) -> str:
    """What the intervals do not cover."""
    return (
        f"Intervals are {CONFIDENCE:.0%} t intervals over seeds, gaps paired by seed, not corrected for the"
        " number of comparisons. Good subnetworks were found on the dev set that scores them."
    )
