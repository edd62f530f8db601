"""Good among many random masks of its size, scored pruned: where it stands among them is the test."""

import numpy as np
import pandas as pd

from analysis.formats import grouped
from analysis.levels import SIGNIFICANT
from analysis.records.method_names import is_good_again
from analysis.records.network_names import NetworkName
from analysis.records.root import Root
from lottery_ray.experiment.nodes import NullDraws

GROUP = ["task", "method", "size", "kind"]


def null_scores(root: Root) -> pd.DataFrame:
    """Every null draw's pruned score: columns task, method, size, kind (random or layer-matched), seed,
    number, score, good (the good mask's pruned score). Masks that must be the good one are left out."""
    rows = [
        root.place(record)
        | {"kind": NetworkName(record.labels["kind"]), "number": number, "score": score}
        | {"good": record.result["good"]}
        for record in root.of(NullDraws)
        if not is_good_again(root.methods[record.key], NetworkName(record.labels["kind"]))
        for number, score in enumerate(record.result["scores"])
    ]
    return pd.DataFrame(rows, columns=[*GROUP, "seed", "number", "score", "good"])


def null_tests(draws: pd.DataFrame) -> pd.DataFrame:
    """Good's place among its null draws: columns task, method, size, kind, seed, good, mean, sd, draws,
    percentile (share of draws below good, ties counted half), p (one-sided: (1 + draws at or above good) /
    (1 + draws))."""
    rows = []
    for names, group in grouped(draws, [*GROUP, "seed"]):
        scores, good = group["score"].to_numpy(), float(group["good"].iloc[0])
        row = dict(zip([*GROUP, "seed"], names, strict=True))
        row |= {"good": good, "mean": scores.mean(), "draws": len(scores)}
        row["sd"] = float(np.std(scores, ddof=1)) if len(scores) > 1 else np.nan
        row["percentile"] = float(((scores < good) + 0.5 * (scores == good)).mean())
        row["p"] = (1 + int((scores >= good).sum())) / (1 + len(scores))
        rows.append(row)
    columns = [*GROUP, "seed", "good", "mean", "sd", "draws", "percentile", "p"]
    return pd.DataFrame(rows, columns=columns)


def null_summary(tests: pd.DataFrame) -> pd.DataFrame:
    """Over seeds: columns task, method, size, kind, seeds, significant (seeds with p at most SIGNIFICANT),
    possible (seeds with enough draws for that), draws (fewest), percentile (mean)."""
    rows = []
    for names, group in grouped(tests, GROUP):
        row = dict(zip(GROUP, names, strict=True)) | {"seeds": len(group)}
        row["significant"] = int((group["p"] <= SIGNIFICANT).sum())
        row["possible"] = int((1 / (1 + group["draws"]) <= SIGNIFICANT).sum())
        row |= {"draws": group["draws"].min(), "percentile": group["percentile"].mean()}
        rows.append(row)
    columns = [*GROUP, "seeds", "significant", "possible", "draws", "percentile"]
    return pd.DataFrame(rows, columns=columns)
