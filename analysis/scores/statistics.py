"""Means over seeds with t intervals, and scores paired by seed."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import pandas as pd
from scipy import stats

from analysis.records import method_names as variants

CONFIDENCE = 0.95
NETWORK = ["task", "method", "size", "network", "measure"]
CELL = ["task", "method", "size", "measure"]
INTERVAL = ["n", "mean", "sd", "half", "low", "high"]


@dataclass(frozen=True)
class Interval:
    """Mean and t interval of n independent values; half and sd are NaN where n is 1."""

    n: int
    mean: float
    sd: float
    half: float

    @property
    def low(self) -> float:
        return self.mean - self.half

    @property
    def high(self) -> float:
        return self.mean + self.half

    @property
    def row(self) -> dict[str, float]:
        """The columns n, mean, sd, half, low, high of a table."""
        return {
            "n": self.n,
            "mean": self.mean,
            "sd": self.sd,
            "half": self.half,
            "low": self.low,
            "high": self.high,
        }


def t_interval(values: np.ndarray) -> Interval:
    """values: float (n,), one per seed."""
    n = len(values)
    if n == 1:
        return Interval(1, float(values[0]), np.nan, np.nan)
    sd = float(np.std(values, ddof=1))
    half = float(stats.t.ppf((1 + CONFIDENCE) / 2, n - 1)) * sd / np.sqrt(n)
    return Interval(n, float(np.mean(values)), sd, float(half))


def by_seed(scores: pd.DataFrame) -> pd.DataFrame:
    """One row per network and seed: columns NETWORK, seed, score, draws, weights_kept. Several random
    draws of one seed are averaged: they are not more seeds."""
    groups = scores.groupby([*NETWORK, "seed"], sort=False)
    return groups.agg(
        score=("score", "mean"), draws=("score", "size"), weights_kept=("weights_kept", "mean")
    ).reset_index()


def summary(scores: pd.DataFrame) -> pd.DataFrame:
    """One row per network: columns NETWORK, n, mean, sd, half, low, high over seeds, weights_kept (mean
    share of the prunable encoder weights)."""
    rows = [
        dict(zip(NETWORK, names, strict=True))
        | t_interval(group["score"].to_numpy()).row
        | {"weights_kept": group["weights_kept"].mean()}
        for names, group in by_seed(scores).groupby(NETWORK, sort=False)
    ]
    return pd.DataFrame(rows)


def verdict(name: str, gap: Interval) -> str:
    """In words, whether the interval of a gap excludes zero."""
    if gap.low > 0:
        return f"{name} higher"
    if gap.high < 0:
        return f"{name} lower"
    return "undecided"


def paired(scores: pd.DataFrame) -> Iterator[tuple[dict[str, str], pd.DataFrame]]:
    """Per task, method, size and measure of subnetworks, these labels and a table of scores: a row per
    seed and a column per network, the full model too; NaN where a seed lacks one.
    A ticket that must be the good one is left out."""
    seeds = by_seed(scores)
    tickets = seeds[seeds["method"] != ""]
    for labels, group in tickets.groupby(CELL, sort=False):
        names = {name: str(label) for name, label in zip(CELL, labels, strict=True)}
        full = seeds[(seeds["task"] == names["task"]) & (seeds["network"] == "full")]
        wide = pd.concat([group, full]).pivot(index="seed", columns="network", values="score")
        ordered = dict.fromkeys([*group["network"], *full["network"]])
        yield names, wide[[name for name in ordered if not variants.is_good_again(names["method"], name)]]
