"""Hundreds of magnitude masks of BERT-base size: how long the analysis counts, and in how much memory.

python -m benchmarks.mask_scale

1. So many masks of 85,017,600 weights, in the real shapes (5 GB on disk for 450, deleted afterwards): all
   pairwise overlaps, the histogram of how many masks keep a weight, Fleiss' kappa of every layer, and the
   share of every head and MLP. What the masks share is planted, and every number is checked.
   Target: at most 2 GB of memory.
2. Pairwise overlaps of 45 of them, against numpy's (a & b).sum() on arrays of bool. numpy is timed on whole
   masks, already unpacked in memory, for three pairs; their mean is multiplied by the number of pairs.
   Ours is the whole count from the files, histogram too. Target: 100 times faster. The floor is one read of
   the bytes. Wall time, since ours has several threads.
"""

import os
import resource
import shutil
import tempfile
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import combinations
from pathlib import Path
from typing import Annotated, Any, TypeVar

import numpy as np
import pyarrow as pa
import tyro
from rich.console import Console
from rich.table import Table

from analysis.masks import agreement, bits, survival
from benchmarks import measurement
from lottery_ray import streams
from lottery_ray.experiment import masks
from lottery_ray.experiment.masks import read_masks, write_masks

PERIOD = 2**15
"""Bits after which the planted pattern of a mask comes again; every matrix is whole periods, biases less."""
SQUARE = ("attention.self.query", "attention.self.key", "attention.self.value", "attention.output.dense")
SHAPES: dict[str, tuple[int, ...]] = {
    **dict.fromkeys(SQUARE, (768, 768)),
    "intermediate.dense": (3072, 768),
    "output.dense": (768, 3072),
}
TENSORS = [(name, "weight", shape) for name, shape in SHAPES.items()]
TENSORS += [(name, "bias", shape[:1]) for name, shape in SHAPES.items()]
"""(module, kind, shape) of a layer's parameters."""
LAYERS, HEADS = 12, 12
Result = TypeVar("Result")


def template() -> pa.Table:
    """A mask table of BERT-base that keeps nothing."""
    parts = []
    for layer in range(LAYERS):
        for name, kind, size in TENSORS:
            whole = f"model.bert.encoder.layer.{layer}.{name}.{kind}"
            parts.append(masks.Part("weight", layer, whole, size, np.zeros(size, bool).ravel()))
    return masks.to_table(tuple(parts), "0" * 16, dict.fromkeys(masks.IDENTITY))


def patterns(k: int) -> np.ndarray:
    """bool (k, PERIOD): each keeps much of what all like to keep, and less of the rest."""
    rng = streams.generator("benchmark", "patterns")
    liked = rng.random(PERIOD) < 0.5
    return rng.random((k, PERIOD)) < np.where(liked, rng.uniform(0.5, 0.9, (k, 1)), 0.3)


def write(like: pa.Table, pattern: np.ndarray, path: Path) -> None:
    """A mask whose every tensor starts with the pattern and goes on with it."""
    lengths = [int(np.prod(shape)) for shape in like["shape"].to_pylist()]
    packed = np.packbits(pattern, bitorder="little")
    kept = np.concatenate([np.resize(packed, length // 8) for length in lengths])
    flags = pa.BooleanArray.from_buffers(pa.bool_(), sum(lengths), [None, pa.py_buffer(kept)])
    offsets = pa.array(np.concatenate([[0], np.cumsum(lengths)]), pa.int64())
    column = like.column_names.index("kept")
    write_masks(like.set_column(column, "kept", pa.LargeListArray.from_arrays(offsets, flags)), path)


def expected(planted: np.ndarray, layer: Sequence[int]) -> tuple[np.ndarray, np.ndarray]:
    """both (k, k) and histogram (k + 1,) of one layer. layer: how many weights its tensors have."""
    k = len(planted)
    both, histogram = np.zeros((k, k), np.int64), np.zeros(k + 1, np.int64)
    for prefix, times in [(PERIOD, sum(n // PERIOD for n in layer)), *((n % PERIOD, 1) for n in layer)]:
        part = planted[:, :prefix].astype(np.float32)
        both += times * (part @ part.T).astype(np.int64)
        histogram += times * np.bincount(part.sum(axis=0).astype(int), minlength=k + 1)
    return both, histogram


def kappa(histogram: np.ndarray) -> float:
    """Fleiss' kappa by its definition, from how many components are kept by 0, 1 ... k masks."""
    k, n = len(histogram) - 1, histogram.sum()
    kept = np.arange(k + 1.0)
    observed = histogram @ (kept * (kept - 1) + (k - kept) * (k - kept - 1)) / (n * k * (k - 1))
    share = histogram @ kept / (n * k)
    chance = share**2 + (1 - share) ** 2
    return float((observed - chance) / (1 - chance))


def check(counts: bits.Counts, planted: np.ndarray) -> None:
    """Every count of every layer is the planted one."""
    lengths = [int(np.prod(size)) for *_, size in TENSORS]
    both, histogram = expected(planted, lengths)
    assert (counts.both == both).all()
    assert (counts.histogram == histogram).all()
    assert (counts.n == sum(lengths)).all()
    layers = zip(counts.n, counts.both, strict=True)
    kappas = [agreement.fleiss_kappa(agreement.sums(n, both)) for n, both in layers]
    np.testing.assert_allclose(kappas, kappa(histogram), atol=1e-9)


def check_shares(shares: dict[survival.Cell, float], pattern: np.ndarray) -> None:
    """Those of every head and MLP, against bools."""
    flags = {
        (name, kind): np.resize(pattern, int(np.prod(size))).reshape(size) for name, kind, size in TENSORS
    }
    mlp = np.concatenate([flags[name, kind].ravel() for name, kind in flags if name not in SQUARE])
    for layer in range(LAYERS):
        assert shares["mlp", layer, 0] == mlp.mean()
        for head in range(HEADS):
            rows = slice(64 * head, 64 * head + 64)
            pieces = [flags[name, kind][rows] for name in SQUARE[:3] for kind in ("weight", "bias")]
            pieces += [flags[SQUARE[3], "weight"][:, rows], flags[SQUARE[3], "bias"][rows]]
            assert shares["heads", layer, head] == np.concatenate([piece.ravel() for piece in pieces]).mean()


def timed(function: Callable[[], Result]) -> tuple[Result, float]:
    begin = time.perf_counter()
    result = function()
    return result, time.perf_counter() - begin


def read_once(paths: Sequence[Path]) -> None:
    """Every byte of the files, by as many threads as count."""

    def total(path: Path) -> int:
        return int(np.memmap(path, np.uint64, "r", shape=path.stat().st_size // 8).sum())

    with ThreadPoolExecutor(os.cpu_count()) as pool:
        list(pool.map(total, paths))


def three_pairs(paths: Sequence[Path]) -> Callable[[], list[int]]:
    """The pairs of three whole masks as bool, ready to count."""
    tables = [read_masks(path) for path in paths[:3]]
    flags = [table["kept"].chunk(0).values.to_numpy(zero_copy_only=False) for table in tables]
    return lambda: [int((one & other).sum()) for one, other in combinations(flags, 2)]


def scale(paths: list[Path], planted: np.ndarray) -> dict[str, Any]:
    """Part 1."""
    counts, counting = timed(lambda: bits.count(paths))
    shares, sharing = timed(lambda: [survival.weight_shares(read_masks(path), HEADS) for path in paths])
    # before the checks, which need memory of their own
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    check(counts, planted)
    for of, pattern in list(zip(shares, planted, strict=True))[:: max(1, len(paths) // 5)]:
        check_shares(of, pattern)
    return {
        "masks": len(paths),
        "weights": int(counts.n.sum()),
        "pairs": len(paths) * (len(paths) - 1) // 2,
        "seconds for overlaps, histogram and kappa": counting,
        "seconds for shares of heads and MLPs": sharing,
        "peak memory in GB": memory / 1e9,
        "mean Jaccard": float(np.mean(jaccards(counts))),
        "kappa of layer 0": agreement.fleiss_kappa(agreement.sums(int(counts.n[0]), counts.both[0])),
    }


def jaccards(counts: bits.Counts) -> np.ndarray:
    both = counts.both.sum(axis=0)
    i, j = np.triu_indices(len(both), 1)
    found: np.ndarray = both[i, j] / (both[i, i] + both[j, j] - both[i, j])
    return found


def against_numpy(paths: list[Path], number: int = 5) -> np.ndarray:
    """Part 2: seconds of ours, of numpy and of one read of the bytes, float (3, rounds)."""
    pairs = len(paths) * (len(paths) - 1) // 2
    theirs = three_pairs(paths)
    works = [
        lambda: timed(lambda: bits.count(paths))[1],
        lambda: timed(theirs)[1] / 3 * pairs,
        lambda: timed(lambda: read_once(paths))[1],
    ]
    return measurement.rounds(works, number).T


def show(console: Console, title: str, values: dict[str, Any]) -> None:
    table = Table(title=title, title_justify="left", show_header=False)
    for name, value in values.items():
        table.add_row(name, f"{value:,}" if isinstance(value, int) else f"{value:,.4g}")
    console.print(table)


def main(
    folder: Path | None = None,
    number: Annotated[int, tyro.conf.arg(name="masks")] = 450,
    compared: int = 45,
) -> None:
    """Time the counting of masks.

    Args:
        folder: Where masks lie while it runs. None: where temporary files do.
        number: How many masks.
        compared: How many of them are also counted by numpy.
    """
    console = Console()
    like, planted = template(), patterns(number)
    needed, free = number * like.nbytes * 1.05, shutil.disk_usage(folder or tempfile.gettempdir()).free
    if free < needed:
        raise SystemExit(f"There are {free / 1e9:.1f} GB free; {number} masks need {needed / 1e9:.1f} GB.")
    with tempfile.TemporaryDirectory(prefix="mask_scale_", dir=folder) as made:
        paths = [Path(made) / f"{i}.arrow" for i in range(number)]
        with console.status("writing masks"):
            for path, pattern in zip(paths, planted, strict=True):
                write(like, pattern, path)
        _, compiling = timed(lambda: bits.count(paths[:1]))
        with console.status("counting"):
            first = scale(paths, planted) | {"seconds of the first call (compiling)": compiling}
        show(console, "1. All masks; every number is the planted one", first)
        ours, theirs, floor = against_numpy(paths[:compared])
    console.print(f"2. {compared} masks: {np.median(ours / floor):.3g} times one read of the bytes (floor)")
    memory = first["peak memory in GB"]
    rows = [
        measurement.within(f"GB to count {number} masks of BERT-base", 2.0, memory, memory, memory),
        measurement.ratio(
            f"overlaps of {compared} masks of BERT-base", "numpy (a & b).sum()", ours, theirs, 100.0
        ),
    ]
    measurement.show("Masks", rows)
    measurement.keep(rows)


if __name__ == "__main__":
    tyro.cli(main)
