"""Means over seeds with t intervals, and scores paired by seed."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import pandas as pd
from scipy import stats

from analysis.formats import grouped
from analysis.levels import CONFIDENCE
from analysis.records.method_names import NO_METHOD, is_good_again
from analysis.records.network_names import FULL_MODEL, NetworkName

NETWORK_COLUMNS = ["task", "method", "size", "network", "measure"]
CELL = ["task", "method", "size", "measure"]
INTERVAL_COLUMNS = ["n", "mean", "sd", "half", "low", "high"]
Sample = tuple[float, float, float]
"""Number of values, mean, sample standard deviation."""


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


def welch(one: Sample, other: Sample) -> dict[str, float]:
    """difference (one less other) and low, high, its 95% interval (Welch 1947, degrees of freedom of
    Satterthwaite 1946); NaN where a spread is not known, or neither varies."""
    difference = one[1] - other[1]
    parts = [sd**2 / n for n, _, sd in (one, other)]
    if not sum(parts) > 0:
        return {"difference": difference, "low": np.nan, "high": np.nan}
    df = sum(parts) ** 2 / sum(part**2 / (n - 1) for part, (n, _, _) in zip(parts, (one, other), strict=True))
    half = float(stats.t.ppf((1 + CONFIDENCE) / 2, df)) * np.sqrt(sum(parts))
    return {"difference": difference, "low": difference - half, "high": difference + half}


def by_seed(scores: pd.DataFrame) -> pd.DataFrame:
    """One row per network and seed: columns NETWORK_COLUMNS, seed, score, draws, weights_kept. Several random
    draws of one seed are averaged: they are not more seeds."""
    groups = scores.groupby([*NETWORK_COLUMNS, "seed"], sort=False)
    return groups.agg(
        score=("score", "mean"), draws=("score", "size"), weights_kept=("weights_kept", "mean")
    ).reset_index()


def summary(scores: pd.DataFrame) -> pd.DataFrame:
    """One row per network: columns NETWORK_COLUMNS, INTERVAL_COLUMNS over seeds, weights_kept (mean
    share of the prunable encoder weights)."""
    rows = [
        dict(zip(NETWORK_COLUMNS, names, strict=True))
        | t_interval(group["score"].to_numpy()).row
        | {"weights_kept": group["weights_kept"].mean()}
        for names, group in grouped(by_seed(scores), NETWORK_COLUMNS)
    ]
    return pd.DataFrame(rows)


@dataclass(frozen=True)
class Verdict:
    """Whether the interval of a gap excludes zero. network: which scores higher or lower; None where it is
    understood."""

    direction: Literal["higher", "lower", "undecided"]
    network: NetworkName | None = None

    def __str__(self) -> str:
        """ "good higher", "undecided"."""
        return f"{self.network} {self.direction}" if self.network else self.direction

    @property
    def decided(self) -> bool:
        return self != UNDECIDED


UNDECIDED = Verdict("undecided")


def verdict(gap: Interval, network: NetworkName | None = None) -> Verdict:
    """Of a gap of a network over another; see `Verdict`."""
    if gap.low > 0:
        return Verdict("higher", network)
    return Verdict("lower", network) if gap.high < 0 else UNDECIDED


def paired(scores: pd.DataFrame) -> Iterator[tuple[dict[str, Any], list[NetworkName], pd.DataFrame]]:
    """Per task, method, size and measure of subnetworks, these labels, the networks with the full model, and
    a table of scores: a row per seed and a column per network; NaN where a seed lacks one. A ticket that must
    be the good one is left out."""
    seeds = by_seed(scores)
    tickets = seeds[seeds["method"] != NO_METHOD]
    for labels, group in grouped(tickets, CELL):
        names: dict[str, Any] = dict(zip(CELL, labels, strict=True))
        full = seeds[(seeds["task"] == names["task"]) & (seeds["network"] == FULL_MODEL)]
        wide = pd.concat([group, full]).pivot(index="seed", columns="network", values="score")
        every = dict.fromkeys([*group["network"], *full["network"]])
        networks = [network for network in every if not is_good_again(names["method"], network)]
        yield names, networks, wide[networks]
