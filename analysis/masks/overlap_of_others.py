"""What masks share with others than those of more seeds: of other tasks, and of pre-trained weights.

Tasks are compared seed by seed (the paper's Figure 5 and Appendix G).

A good magnitude mask resembles the pre-trained mask P of its seed: as many of the pre-trained model's
largest weights. Two seeds then share much without any agreement of their own. So their overlap is set beside
that of random masks which keep as many as they do within every stratum of weights that their P's tell apart:
in both P's, in one alone, in the other alone, in neither. (Each seed has its own P, as their sizes differ;
within a stratum, what two such masks share is hypergeometric.)
"""

from collections import defaultdict
from collections.abc import Sequence
from itertools import combinations_with_replacement, permutations
from pathlib import Path

import numpy as np
import pandas as pd

from analysis.masks import bits, chance
from analysis.masks.bits import Counts
from analysis.masks.groups import by_place, pruned
from analysis.masks.kernels import Integers
from analysis.records.method_names import MethodName
from analysis.records.network_names import GOOD, PRETRAINED, NetworkName, TicketSize
from analysis.records.root import MaskFile

TASK_COLUMNS = [
    *("method", "size", "network", "component", "task", "other_task", "seeds", "n"),
    *("both", "both_sd", "jaccard", "chance_both", "chance_both_low", "chance_both_high", "ratio"),
]
PRETRAINED_COLUMNS = [
    *("task", "method", "size", "component", "seed", "other_seed", "other", "n", "kept", "other_kept"),
    *("both", "jaccard", "chance_both", "chance", "chance_low", "chance_high"),
    *("beyond_both", "beyond_chance", "beyond_low", "beyond_high", "largest", "ratio", "share"),
]
Where = tuple[MethodName, TicketSize, NetworkName]


def task_overlap(files: Sequence[MaskFile]) -> pd.DataFrame:
    """Every two tasks of one method, size and network, each pair once, with the same seed on both sides:
    columns TASK_COLUMNS. files: see `Root.masks`.

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
                rows.append((*where, component, *pair, len(found), *_task_row(np.array(found), *pair)))
    return pd.DataFrame(rows, columns=TASK_COLUMNS)


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


def _task_row(found: np.ndarray, task: str, other_task: str) -> tuple[float, ...]:
    """The columns from n on. found: int (seeds, 4)."""
    n, kept, other_kept, both = found.T
    shared, sd = both.mean(), pd.Series(both).std()
    index = pd.Series(chance.jaccard(both, kept + other_kept)).mean()
    if task == other_task:
        return n[0], shared, sd, index, *[np.nan] * 4
    null = chance.shared(n, kept, other_kept)
    expected, low, high = (value / len(found) for value in (null.mean, *null.interval))
    return n[0], shared, sd, index, expected, low, high, shared / expected if expected else np.nan


def pretrained_overlap(files: Sequence[MaskFile]) -> pd.DataFrame:
    """Per task, method and size that has pre-trained masks, two kinds of rows: columns PRETRAINED_COLUMNS.

    other PRETRAINED: the good mask of a seed against its own P. other GOOD: the good masks of two seeds.
    n, kept, other_kept, both, jaccard: of weights. chance_*: of masks of the same sizes, as in
    `overlap_of_pairs`. Of two seeds also beyond_*: the same, if masks are random within the strata of their
    P's; largest: the largest possible overlap there; ratio: both / beyond_both; share: (both - beyond_both)
    / (largest - beyond_both), which is 0 at chance and 1 if no mask could share more.
    """
    rows = []
    places = by_place(files)
    for (task, method, size, network), models in places.items():
        goods = places.get((task, method, size, GOOD), {})
        seeds = [seed for seed in goods if seed in models]
        if network == PRETRAINED and seeds:
            paths = [by_seed[seed].path for by_seed in (goods, models) for seed in seeds]
            rows += [(task, method, size, *row) for row in _pretrained_rows(method, seeds, paths)]
    return pd.DataFrame(rows, columns=PRETRAINED_COLUMNS)


def _pretrained_rows(method: MethodName, seeds: list[int], paths: list[Path]) -> list[tuple[object, ...]]:
    """paths: the good masks of the seeds, then their P's."""
    k, rows = len(seeds), []
    triples = [(i, k + i, k + j) for i, j in permutations(range(k), 2)]
    counted = bits.count(paths, triples)
    for component in pruned(method, counted):
        counts = counted.of(component)
        n, both = int(counts.n.sum()), counts.both.sum(axis=0)
        within = dict(zip(((i, j) for i, _, j in triples), counts.triples.sum(axis=0), strict=True))
        for i, seed in enumerate(seeds):
            rows.append((component, seed, seed, PRETRAINED, *_against(n, both, i, k + i), *[np.nan] * 7))
            for j in range(i + 1, k):
                strata = (
                    _strata(n, both[k + i, k + i], both[k + j, k + j], both[k + i, k + j]),
                    _strata(both[i, i], both[i, k + i], both[i, k + j], within[i, k + j]),
                    _strata(both[j, j], both[j, k + i], both[j, k + j], within[j, k + i]),
                )
                row = _against(n, both, i, j)
                rows.append((component, seed, seeds[j], GOOD, *row, *_beyond(int(both[i, j]), *strata)))
    return rows


def _against(n: int, both: Integers, i: int, j: int) -> tuple[float, ...]:
    """The columns from n to chance_high."""
    kept, other_kept, shared = int(both[i, i]), int(both[j, j]), int(both[i, j])
    index = float(chance.jaccard(shared, kept + other_kept))
    return n, kept, other_kept, shared, index, *vars(chance.pair(n, kept, other_kept)).values()


def _strata(total: int, in_one: int, in_other: int, in_both: int) -> Integers:
    """int (4,): how many are in both P's, in the first alone, in the second alone, in neither."""
    return np.array([in_both, in_one - in_both, in_other - in_both, total - in_one - in_other + in_both])


def _beyond(shared: int, n: Integers, a: Integers, b: Integers) -> tuple[float, ...]:
    """The columns from beyond_both on. n, a, b: sizes of the strata and of the two masks in them."""
    null, largest = chance.pair(n, a, b), int(np.minimum(a, b).sum())
    ratio = shared / null.both if null.both else np.nan
    room = largest - null.both
    # less than rounding is no room
    share = (shared - null.both) / room if room > 1e-6 else np.nan
    return *vars(null).values(), largest, ratio, share
