"""Gaps between networks, with what each is worth: intervals, effect sizes, tests, and sampling error."""

from collections import defaultdict
from collections.abc import Iterable
from typing import Any

import numpy as np
import pandas as pd
from scipy import stats

from analysis.formats import grouped, rows
from analysis.levels import CONFIDENCE
from analysis.records.method_names import NO_METHOD, is_good_again
from analysis.records.network_names import FULL_MODEL, GOOD, WHOLE, NetworkName
from analysis.records.root import Root
from analysis.scores import dev_sets as devset
from analysis.scores.paired_tests import effect, holm, least, seeds_needed, sign_flips, t_test
from analysis.scores.statistics import (
    CELL,
    INTERVAL_COLUMNS,
    NETWORK_COLUMNS,
    Interval,
    paired,
    t_interval,
    verdict,
    welch,
)

COMPARISON = ["method", "size", "measure", "network", "versus"]
TESTS = ["effect", "effect_low", "effect_high", "t_p", "t_p_holm", "p", "p_least", "p_holm", "p_holm_least"]
INDEPENDENT = ["independent_low", "independent_high"]
GAP = [*CELL, "network", "versus", "paired", *INTERVAL_COLUMNS, "verdict", *INDEPENDENT, *TESTS]
GAP += ["dev_se", "seeds_needed"]

FACTS = ["method", "size", "network", "versus", "verdict"]
TYPES = dict.fromkeys(GAP, "float64") | dict.fromkeys(FACTS, "object")
TYPES |= {"task": "str", "measure": "str", "paired": "bool", "n": "int64"}
"""Of empty tables too, so that one put beside another changes nothing."""

LeftOut = dict[tuple[Any, ...], np.ndarray]


def gaps(scores: pd.DataFrame, root: Root) -> pd.DataFrame:
    """One row per task, method, size, measure and comparison, paired by seed: columns GAP. Good is compared
    with every other network, and the full model with good.

    n: seeds that have both. mean, sd, half, low, high: of network minus versus, over seeds. verdict: whether
    that interval excludes zero; it is not corrected for the number of comparisons. effect...: see `effect`.
    t_p: of the paired t test, which agrees with the verdict; NaN where the seeds do not differ. p, p_least:
    see `sign_flips`; with five seeds no p is below p_least = .0625. t_p_holm, p_holm: corrected by Holm
    (1979) over all tasks of a comparison that have a p, conclusive or not, as each is shown; p_holm_least:
    the smallest p_holm that their seeds can give.
    dev_se: standard error of `mean` from the dev set's finite size, by jackknife over the examples, which
    all networks and seeds share. What examples add to all seeds alike is in no other column, and more seeds
    do not lessen it; what they add to single seeds is in sd too. seeds_needed: see `seeds_needed`.
    independent_low, independent_high: NaN, see `unpaired_gaps`.

    Raises InputError if a predictions file is missing or corrupt.
    """
    left_out = _left_out(scores, root)
    table: list[dict[str, Any]] = []
    for names, networks, wide in paired(scores):
        for network, versus in comparisons(networks):
            pairs = wide[[network, versus]].dropna()
            if len(pairs):
                differences = (pairs[network] - pairs[versus]).to_numpy()
                row = names | {"network": network, "versus": versus, "paired": True}
                row |= _tested(network, differences)
                table.append(row | {"dev_se": _dev_se(left_out, row, list(pairs.index))})
    return _corrected(pd.DataFrame(table, columns=GAP).astype(TYPES))


def unpaired_gaps(summary: pd.DataFrame) -> pd.DataFrame:
    """The same comparisons from means and spreads alone, as published: columns GAP, paired False.

    summary: as of `statistics.summary`, of which n, mean and sd are used. How the seeds pair is unknown, and
    so the sd of the differences is anything from |s1 - s2| to s1 + s2. The column sd is s1 + s2, and half =
    t (s1 + s2) / sqrt(n) with n - 1 degrees of freedom, so that the interval holds the paired one whatever
    the pairing was. independent_low, independent_high: the interval if the seeds are no pairs at all (see
    `welch`). Other columns are NaN. n is the smaller one where they differ.
    """
    table = []
    fulls = dict(grouped(summary[summary["network"] == FULL_MODEL], "task"))
    for labels, group in grouped(summary[summary["method"] != NO_METHOD], CELL):
        names: dict[str, Any] = dict(zip(CELL, labels, strict=True))
        with_full = pd.concat([group, fulls.get(names["task"])])
        found = {row["network"]: row for row in rows(with_full)}
        counting = [network for network in found if not is_good_again(names["method"], network)]
        for network, versus in comparisons(counting):
            gap = _unpaired(found[network], found[versus])
            row = names | {"network": network, "versus": versus, "paired": False} | gap.row
            row |= _independent(found[network], found[versus])
            table.append(row | {"verdict": verdict(gap, network)})
    return pd.DataFrame(table, columns=GAP).astype(TYPES)


def comparisons(networks: Iterable[NetworkName]) -> list[tuple[NetworkName, NetworkName]]:
    """Which (network, versus) of these are compared."""
    every = list(networks)
    others = [network for network in every if network not in (GOOD, FULL_MODEL)]
    pairs = [*((GOOD, other) for other in others), (FULL_MODEL, GOOD)]
    return [pair for pair in pairs if set(pair) <= set(every)]


def _tested(network: NetworkName, differences: np.ndarray) -> dict[str, Any]:
    gap = t_interval(differences)
    row = gap.row | {"verdict": verdict(gap, network), "t_p": t_test(gap)}
    row |= dict(zip(("effect", "effect_low", "effect_high"), effect(gap), strict=True))
    row |= {"p": sign_flips(differences), "p_least": least(gap.n), "seeds_needed": seeds_needed(gap)}
    return row


def _unpaired(one: dict[str, Any], other: dict[str, Any]) -> Interval:
    n, sd, mean = min(one["n"], other["n"]), one["sd"] + other["sd"], one["mean"] - other["mean"]
    if n == 1:
        return Interval(1, mean, np.nan, np.nan)
    return Interval(n, mean, sd, float(stats.t.ppf((1 + CONFIDENCE) / 2, n - 1)) * sd / np.sqrt(n))


def _independent(one: dict[str, Any], other: dict[str, Any]) -> dict[str, float]:
    found = welch(*((of["n"], of["mean"], of["sd"]) for of in (one, other)))
    return {"independent_low": found["low"], "independent_high": found["high"]}


def _corrected(table: pd.DataFrame) -> pd.DataFrame:
    for name in ("t_p", "p"):
        for _, group in grouped(table.dropna(subset=[name]), COMPARISON):
            table.loc[group.index, f"{name}_holm"] = holm(group[name].to_numpy(np.float64))
            if name == "p":
                least_p = holm(group["p_least"].to_numpy(np.float64))
                table.loc[group.index, "p_holm_least"] = least_p
    return table


def _left_out(scores: pd.DataFrame, root: Root) -> LeftOut:
    """{(*NETWORK, seed): score without each example, float (examples,)}, averaged over draws of a seed."""
    records = {record.key: record for record in root.records}
    found: dict[tuple[Any, ...], list[np.ndarray]] = defaultdict(list)
    for row in rows(scores):
        file = "predictions.arrow" if row["measure"] == "fine-tuned" else f"{row['measure']}.arrow"
        predictions = devset.read_predictions(root.artifact(records[row["node"]], file), row["metric"])
        key = tuple(row[name] for name in (*NETWORK_COLUMNS, "seed"))
        found[key].append(devset.leave_one_out(row["metric"], predictions))
    return {key: np.mean(draws, axis=0) for key, draws in found.items()}


def _dev_se(left_out: LeftOut, gap: dict[str, Any], seeds: list[int]) -> float:
    def mean(network: NetworkName) -> np.ndarray:
        place = (gap["method"], gap["size"], network, gap["measure"])
        where = (
            gap["task"],
            *((NO_METHOD, WHOLE, FULL_MODEL, "fine-tuned") if network == FULL_MODEL else place),
        )
        return np.asarray(np.mean([left_out[(*where, seed)] for seed in seeds], axis=0))

    return devset.jackknife(mean(gap["network"]) - mean(gap["versus"]))
