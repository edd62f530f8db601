"""The claims of the paper's abstract, judged by what a study measured.

The rules are in `paper_claims`. One task or one seed is not enough data for any of them, nor are two tasks
for an interval over tasks. Only conclusive tasks count, at the size where the search stopped. Intervals are
over seeds: another dev set's examples could move them further, see dev_se of `gaps`.
"""

from collections.abc import Iterator
from typing import Any

import numpy as np
import pandas as pd
from scipy import stats

from analysis.formats import COMPONENT_NAMES, grouped, number
from analysis.levels import CONFIDENCE
from analysis.paper import evidence
from analysis.paper.stated import (
    CONTRADICTED,
    EXPLAINED,
    OPEN,
    SUPPORTED,
    TRAINABLE,
    USEFUL,
    Claim,
    comparable,
    unstable,
    worse,
)
from analysis.records.method_names import MAGNITUDE, NO_METHOD, STRUCTURED, MethodName
from analysis.records.network_names import BAD, RANDOM, STOPPING, WHOLE
from analysis.scores.across_tasks import model
from analysis.scores.scores import TICKET_MEASURES

COLUMNS = [
    "claim",
    "quote",
    "method",
    "measured",
    "estimate",
    "low",
    "high",
    "unit",
    "tasks",
    "verdict",
    "rule",
]
METHODS = (STRUCTURED.base, MAGNITUDE.base)
"""What the abstract is about; their variants are judged too, but for other criteria."""


def claims(
    gaps: pd.DataFrame,
    summary: pd.DataFrame,
    tasks: pd.DataFrame,
    overlap: pd.DataFrame,
    agreement: pd.DataFrame,
    scores: pd.DataFrame,
    searches: pd.DataFrame,
) -> pd.DataFrame:
    """One row per claim and method: columns COLUMNS. gaps: paired or not, see `gaps`. summary: see
    `statistics`. tasks: see `judged_tasks`. overlap, agreement, scores, searches: see the modules of
    these names; a method without searches, as published, counts as searched on dev.

    claim, quote: in short, and from the abstract. measured: a sentence. estimate, low, high, unit: the number
    that the rule is about, with its 95% interval, NaN without one. tasks: how many it is from. verdict:
    SUPPORTED, CONTRADICTED or OPEN. rule: how it is reached, the same for every method and study. A claim on
    which nothing is measured has one row, with NO_METHOD.
    """
    counting = [_counting(table, tasks) for table in (gaps, summary, overlap, agreement)]
    table: list[dict[str, Any]] = []
    elsewhere = set(searches.loc[searches["data"] != "dev", "method"])
    for claim, found in _measured(tasks, scores, *counting):
        rows = [
            _row(claim, method, group, claim.by_search and method not in elsewhere)
            for method, group in grouped(found, "method")
        ]
        nothing = {"method": NO_METHOD, "measured": "Not measured.", "tasks": 0, "verdict": OPEN}
        table += [vars(claim) | row for row in rows or [nothing]]
    return pd.DataFrame(table, columns=COLUMNS)


def _counting(table: pd.DataFrame, tasks: pd.DataFrame) -> pd.DataFrame:
    """Conclusive tasks, the stopping size, the methods of the abstract and the full models."""
    conclusive = tasks.loc[tasks["conclusive"].astype(bool), "task"]
    sized = table["size"].isin([WHOLE, STOPPING])
    judged = table["method"].map(lambda method: method == NO_METHOD or _is_of_abstract(method)).astype(bool)
    return table[table["task"].isin(conclusive) & sized & judged]


def _is_of_abstract(method: MethodName) -> bool:
    return method.base in METHODS and method.criterion is None


def _measured(
    tasks: pd.DataFrame,
    scores: pd.DataFrame,
    gaps: pd.DataFrame,
    summary: pd.DataFrame,
    overlap: pd.DataFrame,
    agreement: pd.DataFrame,
) -> Iterator[tuple[Claim, pd.DataFrame]]:
    """Each claim, and what `evidence` has on it."""
    for measure in TICKET_MEASURES:
        yield comparable(measure), evidence.losses(gaps, summary, measure)
    for network in (BAD, RANDOM):
        for measure in TICKET_MEASURES:
            yield worse(network, measure), evidence.good_minus(gaps, network, measure)
    yield TRAINABLE, evidence.ways(summary, tasks, scores)
    yield USEFUL, evidence.starts(summary, scores)
    for component in COMPONENT_NAMES:
        yield unstable(component), evidence.kappas(agreement, overlap, component)
    yield EXPLAINED, pd.DataFrame(columns=evidence.COLUMNS)


def _row(claim: Claim, method: MethodName, found: pd.DataFrame, by_search: bool) -> dict[str, Any]:
    """found: what `evidence` has on one method. by_search: its search makes the claim hold."""
    fitted = model(found)
    low, high = (fitted.get(f"wide_{end}" if claim.wide else end, np.nan) for end in ("low", "high"))
    if claim.wide:
        low, high = np.clip([low, high], -1, 1)  # of a kappa
    verdict = claim.verdict(low, high) if fitted["tasks"] >= (3 if claim.wide else 2) else OPEN
    by_search &= verdict == SUPPORTED
    verdict = OPEN if by_search else verdict
    row = {"method": method, "estimate": fitted["mean"], "low": low, "high": high, "tasks": fitted["tasks"]}
    return row | {"verdict": verdict, "measured": _sentence(claim, found, row, by_search)}


def _sentence(claim: Claim, found: pd.DataFrame, row: dict[str, Any], by_search: bool) -> str:
    tasks = f"mean of {row['tasks']} tasks" if row["tasks"] > 1 else "on one task"
    span = f" [{number(row['low'])}, {number(row['high'])}]" if row["low"] <= row["high"] else ""
    about = claim.about.format(name=found["name"].iloc[0])
    text = f"{about}: {number(row['estimate'])}{span} {claim.unit}, {tasks}."
    if (found["n"] == 1).all():
        text += " From one seed, so without an interval."
    elif not by_search:
        alone = [claim.verdict(*ends) for ends in _alone(found)]
        counts = f"{alone.count(SUPPORTED)} support, {alone.count(CONTRADICTED)} contradict"
        text += f" Tasks by themselves: {counts}."
    if by_search:
        text += " That it is within 10% holds by construction: the search stopped there."
    if "jaccard" in found:
        jaccard, chance = found["jaccard"].mean(), found["chance"].mean()
        text += f" Mean Jaccard of two seeds {number(jaccard)}, by chance {number(chance)}."
    if not found["paired"].all():
        text += " How the seeds pair is unknown; the interval holds whatever it was."
    return text


def _alone(found: pd.DataFrame) -> Iterator[tuple[float, float]]:
    """The interval of each task over its seeds; NaN where no spread is known."""
    for n, mean, sd in found[["n", "mean", "sd"]].itertuples(index=False):
        if n > 1:
            half = stats.t.ppf((1 + CONFIDENCE) / 2, n - 1) * sd / np.sqrt(n)
            yield mean - half, mean + half
