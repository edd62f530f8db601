"""What the masks of two tasks share, seed by seed (the paper's Figure 5 and Appendix G)."""

from collections import defaultdict
from collections.abc import Sequence
from itertools import combinations_with_replacement
from pathlib import Path

import numpy as np
import pandas as pd

from analysis.masks import bits, chance
from analysis.masks.bits import Counts
from analysis.masks.groups import by_place, pruned
from analysis.records.method_names import Method
from analysis.records.network_names import Network, Size
from analysis.records.root import MaskFile

COLUMNS = [
    *("method", "size", "network", "component", "task", "other_task", "seeds", "n"),
    *("both", "both_sd", "jaccard", "chance_both", "chance_both_low", "chance_both_high", "ratio"),
]
Where = tuple[Method, Size, Network]


def task_overlap(files: Sequence[MaskFile]) -> pd.DataFrame:
    """Every two tasks of one method, size and network, each pair once, with the same seed on both sides:
    columns COLUMNS. files: see `Root.masks`.

    seeds: that have both masks; n: components. both, both_sd: mean over seeds of how many both masks keep,
    and sd (ddof 1); jaccard: mean. chance_both and its 95% interval: of that mean, if the masks of every
    seed are random ones of their sizes, independent of each other (see `chance.shared`). ratio: both /
    chance_both. Of a task and itself, both is what its masks keep, and there is no chance.

    Raises InputError if masks of one seed have different shapes.
    """
    rows = []
    for where, by_seed in _by_seed(files).items():
        counted = [(list(tasks), bits.count(list(tasks.values()))) for tasks in by_seed.values()]
        for component in pruned(where[0], counted[0][1]):
            for pair, found in _pairs(counted, component).items():
                rows.append((*where, component, *pair, len(found), *_row(np.array(found), *pair)))
    return pd.DataFrame(rows, columns=COLUMNS)


def _by_seed(files: Sequence[MaskFile]) -> dict[Where, dict[int, dict[str, Path]]]:
    """{(method, size, network): {seed: {task: path}}}."""
    found: dict[Where, dict[int, dict[str, Path]]] = defaultdict(lambda: defaultdict(dict))
    for (task, method, size, network), by_seed in by_place(files).items():
        for seed, file in by_seed.items():
            found[method, size, network][seed][task] = file.path
    return found


def _pairs(
    counted: list[tuple[list[str], Counts]], component: str
) -> dict[tuple[str, str], list[tuple[int, int, int, int]]]:
    """{(task, other task): (n, kept, other kept, both) of every seed}."""
    found = defaultdict(list)
    for tasks, every in counted:
        counts = every.of(component)
        n, both = int(counts.n.sum()), counts.both.sum(axis=0)
        for i, j in combinations_with_replacement(range(len(tasks)), 2):
            found[tasks[i], tasks[j]].append((n, int(both[i, i]), int(both[j, j]), int(both[i, j])))
    return found


def _row(found: np.ndarray, task: str, other_task: str) -> tuple[float, ...]:
    """The columns from n on. found: int (seeds, 4)."""
    n, kept, other_kept, both = found.T
    shared, sd = both.mean(), pd.Series(both).std()
    index = pd.Series(chance.jaccard(both, kept + other_kept)).mean()
    if task == other_task:
        return n[0], shared, sd, index, *[np.nan] * 4
    null = chance.shared(n, kept, other_kept)
    expected, low, high = (value / len(found) for value in (null.mean, *null.interval))
    return n[0], shared, sd, index, expected, low, high, shared / expected if expected else np.nan
