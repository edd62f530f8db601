"""How alike the masks of different seeds are, beside what chance would give."""

from collections import defaultdict
from itertools import combinations

import numpy as np
import pandas as pd
from scipy import stats

from analysis import networks, variants
from analysis.records import Root
from lottery_ray import masks
from lottery_ray.store import Record

EXACT_UP_TO = 100_000
GROUP = ["task", "method", "size", "component"]
PAIR = [*GROUP, "seed", "other_seed", "n", "kept", "other_kept", "both"]


def jaccard(overlap: masks.Overlap) -> float:
    """Shared over united; NaN where both masks are empty."""
    union = overlap.a + overlap.b - overlap.both
    return overlap.both / union if union else np.nan


def chance_jaccard(n: int, a: int, b: int) -> float:
    """The expected Jaccard of two independent random masks that keep exactly a and b of n components.

    What they share is hypergeometric. Up to EXACT_UP_TO components the expectation is summed, over ten
    standard deviations, which is exact to rounding; above, what they share varies so little that its
    mean ab/n stands for it.
    """
    if a + b == 0:
        return np.nan
    if n > EXACT_UP_TO:
        both = a * b / n
        return both / (a + b - both)
    mean = a * b / n
    reach = 1 + 10 * np.sqrt(mean * (n - a) * (n - b) / n / max(n - 1, 1))
    shared = np.arange(max(0, a + b - n, int(mean - reach)), min(a, b, int(mean + reach)) + 1)
    return float(stats.hypergeom.pmf(shared, n, a, b) @ (shared / (a + b - shared)))


def good(root: Root) -> list[Record]:
    """The good tickets, each mask once."""
    return [record for record in root.stage("ticket") if root.networks[record.key] == "good"]


def pairs(root: Root) -> pd.DataFrame:
    """Good masks of every two seeds of one task, method and size, for the components that the method
    prunes: columns PAIR, jaccard, chance.

    Tables are mapped into memory, and bits are counted packed.
    """
    groups: dict[tuple[str, str, str], list[Record]] = defaultdict(list)
    for record in good(root):
        groups[record.labels["task"], root.methods[record.key], networks.size(record)].append(record)
    rows = []
    for (task, method, size), records in groups.items():
        tables = [
            (record.labels["seed"], masks.read(root.artifact(record, "mask.arrow"))) for record in records
        ]
        for (seed, one), (other_seed, other) in combinations(tables, 2):
            found = masks.overlaps(one, other)
            for component in variants.components(method):
                names = (task, method, size, component, seed, other_seed)
                rows.append((*names, *counts(found[component])))
    return pd.DataFrame(rows, columns=[*PAIR, "jaccard", "chance"])


def counts(found: masks.Overlap) -> tuple[float, ...]:
    """n, kept, other_kept, both, jaccard, chance."""
    sizes = (found.n, found.a, found.b)
    return (*sizes, found.both, jaccard(found), chance_jaccard(*sizes))


def summary(pairs: pd.DataFrame) -> pd.DataFrame:
    """Means over pairs of seeds: columns task, method, size, component, pairs, defined (pairs of which at
    least one mask keeps something), jaccard, chance, ratio. Pairs share seeds, so there is no interval."""
    rows = []
    for names, group in pairs.groupby(GROUP, sort=False):
        observed, chance = group["jaccard"].mean(), group["chance"].mean()
        ratio = observed / chance if chance else np.nan
        rows.append((*names, len(group), group["jaccard"].count(), observed, chance, ratio))
    return pd.DataFrame(rows, columns=[*GROUP, "pairs", "defined", "jaccard", "chance", "ratio"])


def survival(root: Root) -> pd.DataFrame:
    """Heads and MLPs of the good structured tickets: columns task, method, size, component, layer, index,
    kept (share of seeds that keep it), seeds."""
    rows = [
        (
            *(record.labels["task"], root.methods[record.key], networks.size(record)),
            *(part.component, part.layer, index, bool(kept)),
        )
        for record in good(root)
        if record.labels["method"] == "structured"
        for part in masks.from_table(masks.read(root.artifact(record, "mask.arrow")))
        for index, kept in enumerate(part.kept)
    ]
    names = [*GROUP, "layer", "index"]
    frame = pd.DataFrame(rows, columns=[*names, "kept"])
    return frame.groupby(names, sort=False)["kept"].agg(kept="mean", seeds="size").reset_index()
