"""How much of every head and MLP survives, over seeds and tasks (the paper's Figure 1 and Appendix B)."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import pandas as pd
import pyarrow as pa

from analysis.masks.groups import PLACE, by_place
from analysis.records.method_names import MAGNITUDE
from analysis.records.root import MaskFile, Root
from lottery_ray.experiment import masks
from lottery_ray.experiment.masks import read_masks
from lottery_ray.experiment.nodes import Finetune
from lottery_ray.inputs.architectures import ADAPTERS, RECORDED_ADAPTERS, Adapter

CELL = ["component", "layer", "index"]
Cell = tuple[str, int, int]


def heads_of_a_layer(root: Root) -> int | None:
    """How many heads a layer of the model has: as its fine-tuned models say, or structured masks. None if
    nothing says it."""
    for record in root.of(Finetune):
        if "architecture" in record.result:
            return int(record.result["architecture"]["heads"])
    for file in root.masks():
        if file.method.base != MAGNITUDE.base:
            return next((part.kept.size for part in _mask(file) if part.component == "heads"), None)
    return None


def _mask(file: MaskFile) -> masks.Mask:
    return masks.from_table(read_masks(file.path))


def survival_by_mask(files: Sequence[MaskFile], heads: int | None) -> pd.DataFrame:
    """What every mask keeps of every head and MLP that its method prunes: columns PLACE, seed, CELL, kept.

    kept: 0 or 1; of magnitude masks the share of its weights that survive. A head's are the rows of its
    queries, keys and values with their biases, its columns of the attention's output projection, and its
    slice of that one's bias; an MLP's are its matrices with their biases (paper/protocol.md, section 5).
    heads: in a layer; None leaves magnitude masks out.
    """
    rows = []
    for place, by_seed in by_place(files).items():
        for seed, file in by_seed.items():
            structured = file.method.base != MAGNITUDE.base
            if structured or heads:
                cells = _whole(file) if structured else weight_shares(read_masks(file.path), heads or 0)
                rows += [(*place, seed, *cell, share) for cell, share in cells.items()]
    return pd.DataFrame(rows, columns=[*PLACE, "seed", *CELL, "kept"])


def _whole(file: MaskFile) -> dict[Cell, float]:
    return {
        (part.component, part.layer, index): float(flag)
        for part in _mask(file)
        if part.component in file.method.components
        for index, flag in enumerate(part.kept)
    }


def weight_shares(table: pa.Table, heads: int) -> dict[Cell, float]:
    """{("heads", layer, head) or ("mlp", layer, 0): the share of its weights that survives}, of the mask of
    the weights of a model with an adapter. Counted packed, but for the columns."""
    survive: dict[Cell, int] = {}
    of: dict[Cell, int] = {}
    modules = _modules([*ADAPTERS.values(), *RECORDED_ADAPTERS])
    for row in masks.scalars(table):
        layer, shape = row["layer"].as_py(), tuple(row["shape"].as_py())
        for component, index, flags in _pieces(
            row["name"].as_py(), layer, shape, row["kept"].values, heads, modules
        ):
            cell = component, layer, index
            survive[cell] = survive.get(cell, 0) + flags.true_count
            of[cell] = of.get(cell, 0) + len(flags)
    return {cell: survive[cell] / of[cell] for cell in sorted(of)}


@dataclass(frozen=True)
class _Modules:
    """(layers, module) of those whose rows belong to heads, and how many projections each holds; of those
    whose columns belong to heads; and of all prunable ones."""

    heads: dict[tuple[str, str], int]
    outputs: set[tuple[str, str]]
    prunable: set[tuple[str, str]]


def _modules(adapters: Sequence[Adapter]) -> _Modules:
    return _Modules(
        {(adapter.layers, name): adapter.fused for adapter in adapters for name in adapter.heads},
        {(adapter.layers, adapter.attention_output) for adapter in adapters},
        {(adapter.layers, name) for adapter in adapters for name in adapter.prunable},
    )


def _pieces(
    name: str, layer: int, shape: tuple[int, ...], flags: pa.BooleanArray, heads: int, modules: _Modules
) -> Iterator[tuple[str, int, pa.BooleanArray]]:
    """(component, index, flags) of the parts of a parameter that belong to one head or MLP."""
    layers, _, rest = name.removeprefix("model.").partition(f".{layer}.")
    module = layers, rest.rpartition(".")[0]
    if module in modules.outputs and len(shape) == 2:
        columns = flags.to_numpy(zero_copy_only=False).reshape(shape[0], heads, -1)
        flags = pa.array(columns.transpose(1, 0, 2).ravel())
    if module in modules.outputs or module in modules.heads:
        width = len(flags) // (heads * modules.heads.get(module, 1))
        for number in range(len(flags) // width):
            yield "heads", number % heads, flags.slice(number * width, width)
    elif module in modules.prunable:
        yield "mlp", 0, flags


def survival(kept: pd.DataFrame) -> pd.DataFrame:
    """Over seeds: columns PLACE, CELL, kept (mean), sd (ddof 1), seeds. kept: see `survival_by_mask`."""
    grouped = kept.groupby([*PLACE, *CELL], sort=False)["kept"]
    return grouped.agg(kept="mean", sd="std", seeds="size").reset_index()


def task_survival(kept: pd.DataFrame) -> pd.DataFrame:
    """Over tasks: columns method, size, network, CELL, tasks, sd, of, seeds. kept: see `survival_by_mask`.

    tasks: the mean over seeds of the number of tasks in which it survives; of magnitude masks the mean share
    of its weights over tasks and seeds. sd: over seeds (ddof 1). of: how many tasks there are. seeds: those
    that have a mask of every task, which alone count.
    """
    keys = ["method", "size", "network"]
    of = kept.groupby(keys)["task"].nunique().rename("of")
    grouped = kept.groupby([*keys, "seed", *CELL], sort=False)["kept"]
    cells = grouped.agg(total="sum", mean="mean", present="count").reset_index().join(of, on=keys)
    magnitude = cells["method"].map(lambda method: method.base) == MAGNITUDE.base
    cells["tasks"] = cells["mean"].where(magnitude, cells["total"])
    complete = cells[cells["present"] == cells["of"]].groupby([*keys, *CELL], sort=False)
    found = complete.agg(
        tasks=("tasks", "mean"), sd=("tasks", "std"), of=("of", "first"), seeds=("seed", "size")
    )
    return found.reset_index()
