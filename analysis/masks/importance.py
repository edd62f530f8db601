"""Importance of heads and MLPs in the full models (the paper's Figure 3), and whether seeds agree on it."""

from functools import lru_cache
from itertools import combinations

import numpy as np
import pandas as pd
import pyarrow as pa
from scipy import stats

from analysis.formats import grouped
from analysis.records.method_names import MethodName
from analysis.records.network_names import GOOD, STOPPING
from analysis.records.root import Root
from lottery_ray import streams
from lottery_ray.experiment import masks
from lottery_ray.experiment.masks import Mask, read_masks
from lottery_ray.experiment.nodes import Search

CELL = ["component", "layer", "index"]
COLUMNS = ["task", "method", "seed", *CELL, "score", "kept"]
AGREEMENT_COLUMNS = ["task", "method", "component", "seeds", "n", "spearman", "kendall_w", "p"]
DRAWS = 10_000
Row = tuple[str, MethodName, int, str, int, int, float, bool]


def importances(root: Root) -> pd.DataFrame:
    """The score of every component that a structured method prunes, and whether the good mask keeps it:
    columns COLUMNS.

    score: in the full model, as the search first saw it; of a root without searches, such as one of published
    masks, as the good masks have it, which the paper's released code took from the last state that it tried
    (paper/protocol.md, section 2.1).
    """
    rows: list[Row] = []
    for record in root.of(Search):
        if "states.arrow" in record.artifacts:
            states = read_masks(root.artifact(record, "states.arrow"))
            first = masks.from_table(states.filter(pa.array(states["step"].to_numpy() == 0)))
            good = masks.from_table(read_masks(root.artifact(record, "mask.arrow")))
            place = record.labels["task"], root.methods[record.key], record.labels["seed"]
            rows += _rows(*place, first, good)
    if not root.of(Search):
        for file in root.masks():
            if file.network == GOOD and file.size == STOPPING:
                mask = masks.from_table(read_masks(file.path))
                rows += _rows(file.task, file.method, file.seed, mask, mask)
    return pd.DataFrame(rows, columns=COLUMNS)


def _rows(task: str, method: MethodName, seed: int, scored: Mask, good: Mask) -> list[Row]:
    return [
        (task, method, seed, part.component, part.layer, index, float(score), bool(kept))
        for part, twin in zip(scored, good, strict=True)
        if part.score is not None and part.component in method.components
        for index, (score, kept) in enumerate(zip(part.score, twin.kept, strict=True))
    ]


def importance_agreement(importance: pd.DataFrame) -> pd.DataFrame:
    """Whether the seeds of a task rank components alike: columns AGREEMENT_COLUMNS.

    n: components. spearman: mean correlation over pairs of seeds. kendall_w: Kendall's coefficient of
    concordance, corrected for ties; p: that of seeds which rank at random, by permutation (see `_p`), as that
    of chi-squared is too large for so few seeds. NaN for one seed, or where a seed's scores are all equal.
    """
    rows = []
    for names, group in grouped(importance, ["task", "method", "component"]):
        scores = group.pivot_table(index="seed", columns=["layer", "index"], values="score").to_numpy()
        rows.append((*names, *scores.shape, *_agreement(scores)))
    return pd.DataFrame(rows, columns=AGREEMENT_COLUMNS)


def _agreement(scores: np.ndarray) -> tuple[float, float, float]:
    """spearman, kendall_w, p. scores: float (seeds, n)."""
    seeds, n = scores.shape
    if seeds < 2 or n < 3 or (scores == scores[:, :1]).all(axis=1).any():
        return np.nan, np.nan, np.nan
    pairs = [stats.spearmanr(one, other).statistic for one, other in combinations(scores, 2)]
    test = stats.friedmanchisquare(*scores.T)
    return float(np.mean(pairs)), float(test.statistic / (seeds * (n - 1))), _p(scores)


def _p(scores: np.ndarray) -> float:
    """One-sided p of W: (1 + how many of DRAWS permutations within seeds have so large a W or larger) /
    (1 + DRAWS), never 0 (Phipson and Smyth 2010)."""
    ranks = stats.rankdata(scores, axis=1)
    drawn = sum(seed[order] for seed, order in zip(ranks, _orders(*scores.shape), strict=True))
    # W grows with the squares of the rank sums, and with nothing else; these are multiples of 1/4
    beyond = (np.square(drawn).sum(axis=1) >= np.square(ranks.sum(axis=0)).sum()).sum()
    return float((1 + beyond) / (1 + DRAWS))


@lru_cache(maxsize=8)
def _orders(seeds: int, n: int) -> np.ndarray:
    """int16 (seeds, DRAWS, n), permutations from the stream "concordance": all groups have the same."""
    every = np.broadcast_to(np.arange(n, dtype=np.int16), (seeds, DRAWS, n))
    return streams.generator("concordance", seeds, n).permuted(every, axis=2)
