"""Two studies side by side: the same networks of each, and how their good masks overlap."""

from dataclasses import dataclass
from typing import Any

import pandas as pd

from analysis.formats import rows
from analysis.scores.statistics import welch
from analysis.tables import Tables
from lottery_ray.errors import InputError
from lottery_ray.inputs.tasks import METRIC_NAMES, title

SAME_NETWORK = ["task", "method", "size", "network", "measure"]
GAP = ["task", "method", "size", "measure", "network", "versus"]
COMPONENT = ["task", "method", "size", "network", "component"]
MEAN = ["n", "mean", "sd"]
OTHER_MEAN = [f"other_{name}" for name in MEAN]


@dataclass(frozen=True)
class Comparison:
    """Tables of what two studies have both; columns of the second one begin with `other_`.

    scores: columns SAME_NETWORK, n, mean, sd, other_n, other_mean, other_sd, and difference (second less
    first), low, high: its 95% interval by Welch, for the studies' seeds are not pairs. gaps: the same of
    gaps, with verdict and other_verdict. masks: columns COMPONENT, then kept share, Fleiss' kappa and mean
    Jaccard between seeds of each, beside chance. claims: claim, method, verdict, other_verdict.
    setup: what was run otherwise: task, what, first, second.
    """

    first: Tables
    second: Tables
    scores: pd.DataFrame
    gaps: pd.DataFrame
    masks: pd.DataFrame
    claims: pd.DataFrame
    setup: pd.DataFrame


def compare_tables(first: Tables, second: Tables) -> Comparison:
    """Of two analyses, which need not be of the same tasks or methods; only what both have is compared.

    Raises InputError if they score a task by different metrics, as users' own may have them."""
    _check_metrics(first, second)
    return Comparison(
        first=first,
        second=second,
        scores=_differences(first.summary, second.summary, SAME_NETWORK),
        gaps=_differences(first.gaps, second.gaps, GAP, ["verdict"]),
        masks=_masks(first, second),
        claims=_beside(first.claims, second.claims, ["claim", "method"], ["verdict"]),
        setup=_setup(first.setup, second.setup),
    )


def _check_metrics(first: Tables, second: Tables) -> None:
    one, other = (dict(zip(of.scores["task"], of.scores["metric"], strict=True)) for of in (first, second))
    for task in one.keys() & other.keys():
        if one[task] != other[task]:
            raise InputError(
                f"{title(task)} is scored by {METRIC_NAMES[one[task]]} in {first.uri} and by"
                f" {METRIC_NAMES[other[task]]} in {second.uri}, which cannot be compared."
            )


def _beside(first: pd.DataFrame, second: pd.DataFrame, keys: list[str], values: list[str]) -> pd.DataFrame:
    """The rows that both have, the second one's values beside the first one's."""
    other = second[[*keys, *values]].rename(columns={name: f"other_{name}" for name in values})
    return first[[*keys, *values]].merge(other, on=keys, how="inner", sort=False)


def _differences(
    first: pd.DataFrame, second: pd.DataFrame, keys: list[str], more: list[str] | None = None
) -> pd.DataFrame:
    table = _beside(first, second, keys, [*MEAN, *(more or [])])
    samples = [[tuple(row[name] for name in names) for names in (OTHER_MEAN, MEAN)] for row in rows(table)]
    found = pd.DataFrame(
        [welch(*pair) for pair in samples], columns=["difference", "low", "high"], index=table.index
    )
    return pd.concat([table, found], axis=1)


def _masks(first: Tables, second: Tables) -> pd.DataFrame:
    """How much each keeps, and how alike its seeds' masks are."""
    shares = _beside(first.agreement, second.agreement, COMPONENT, ["seeds", "share", "fleiss_kappa"])
    overlaps = _beside(first.overlap, second.overlap, COMPONENT, ["jaccard", "chance"])
    return shares.merge(overlaps, on=COMPONENT, how="left", sort=False)


def _setup(first: pd.DataFrame, second: pd.DataFrame) -> pd.DataFrame:
    found = [
        {"task": task, "what": name, "first": one.get(name), "second": other.get(name)}
        for task, one in _by_task(first).items()
        for other in [_by_task(second).get(task, {})]
        for name in dict.fromkeys([*one, *other])
        if other and one.get(name) != other.get(name)
    ]
    return pd.DataFrame(found, columns=["task", "what", "first", "second"])


def _by_task(setup: pd.DataFrame) -> dict[str, dict[str, Any]]:
    return {str(row.pop("task")): row for row in rows(setup)}
