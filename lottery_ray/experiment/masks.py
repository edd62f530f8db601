"""Masks, and the Arrow tables they are stored in. True means kept, everywhere.

One table per mask (Arrow IPC file, uncompressed, so that it maps into memory), one row per
(layer, heads), (layer, mlp) or weight tensor:

    task, method, kind, size: string; seed, draw: int64     whose mask it is
    component: string                                       "heads", "mlp" or "weight"
    layer: int32
    name: string                                            module or parameter within the layer
    shape: list<int32>
    kept: large_list<bool>                                  n_heads values, one value, or one per weight
    score: large_list<float32>                              null where there is none

Schema metadata: `node` (the key of the node that wrote it) and `format`.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from lottery_ray.errors import InputError

Component = Literal["heads", "mlp", "weight"]
FORMAT = 1

SCHEMA = pa.schema(
    [
        ("task", pa.string()),
        ("seed", pa.int64()),
        ("method", pa.string()),
        ("kind", pa.string()),
        ("size", pa.string()),
        ("draw", pa.int64()),
        ("component", pa.string()),
        ("layer", pa.int32()),
        ("name", pa.string()),
        ("shape", pa.list_(pa.int32())),
        ("kept", pa.large_list(pa.bool_())),
        ("score", pa.large_list(pa.float32())),
    ]
)
IDENTITY = ("task", "seed", "method", "kind", "size", "draw")


@dataclass(frozen=True)
class Part:
    """One row of a mask: what is kept of a layer's heads, its MLP, or one weight tensor.

    kept: bool, flat, of size prod(shape). score: float32, the same size, or None.
    """

    component: Component
    layer: int
    name: str
    shape: tuple[int, ...]
    kept: np.ndarray
    score: np.ndarray | None = None


Mask = tuple[Part, ...]


def structured_mask(
    heads: np.ndarray,
    mlps: np.ndarray,
    head_scores: np.ndarray | None = None,
    mlp_scores: np.ndarray | None = None,
) -> Mask:
    """heads: bool (layers, heads); mlps: bool (layers,); scores: float32 of the same shapes."""
    layers, width = heads.shape
    rows: list[Part] = []
    for layer in range(layers):
        score = None if head_scores is None else head_scores[layer]
        rows.append(Part("heads", layer, "heads", (width,), heads[layer], score))
    for layer in range(layers):
        score = None if mlp_scores is None else mlp_scores[layer : layer + 1]
        rows.append(Part("mlp", layer, "mlp", (1,), mlps[layer : layer + 1], score))
    return tuple(rows)


def heads(mask: Mask) -> np.ndarray:
    """bool (layers, heads)."""
    return np.stack([part.kept for part in mask if part.component == "heads"])


def mlps(mask: Mask) -> np.ndarray:
    """bool (layers,)."""
    return np.concatenate([part.kept for part in mask if part.component == "mlp"])


def head_scores(mask: Mask) -> np.ndarray:
    """float32 (layers, heads), of a mask whose parts have scores."""
    return np.stack([part.score for part in mask if part.component == "heads" and part.score is not None])


def mlp_scores(mask: Mask) -> np.ndarray:
    """float32 (layers,), of a mask whose parts have scores."""
    return np.concatenate([p.score for p in mask if p.component == "mlp" and p.score is not None])


def weight_scores(mask: Mask) -> np.ndarray:
    """float32 (weights,), of a mask of weights whose parts have scores."""
    return np.concatenate([part.score for part in mask if part.score is not None])


def kept(mask: Mask) -> int:
    """How many components it keeps."""
    return sum(int(part.kept.sum()) for part in mask)


def sizes(mask: Mask) -> dict[str, dict[str, int]]:
    """{component: {"kept": k, "of": n}}."""
    totals: dict[str, dict[str, int]] = {}
    for part in mask:
        total = totals.setdefault(part.component, {"kept": 0, "of": 0})
        total["kept"] += int(part.kept.sum())
        total["of"] += part.kept.size
    return totals


def to_table(mask: Mask, node: str, identity: dict[str, Any]) -> pa.Table:
    """The Arrow table of a mask. node: key of the node that writes it; identity: see IDENTITY."""
    columns: dict[str, Any] = {name: [identity[name]] * len(mask) for name in IDENTITY}
    columns |= {
        name: [getattr(part, name) for part in mask] for name in ("component", "layer", "name", "shape")
    }
    columns["kept"] = _large_list([part.kept for part in mask], pa.bool_())
    columns["score"] = _large_list([part.score for part in mask], pa.float32())
    metadata = {"node": node, "format": str(FORMAT)}
    return pa.table(columns, schema=SCHEMA.with_metadata(metadata))


def _large_list(rows: list[Any], kind: pa.DataType) -> pa.Array:
    lengths = [0 if row is None else row.size for row in rows]
    offsets = pa.array(np.concatenate([[0], np.cumsum(lengths)]), pa.int64())
    present = [row for row in rows if row is not None]
    values = pa.array(np.concatenate(present) if present else [], kind)
    absent = pa.array([row is None for row in rows])
    return pa.LargeListArray.from_arrays(offsets, values, mask=absent)


def from_table(table: pa.Table) -> Mask:
    return tuple(
        Part(
            row["component"].as_py(),
            row["layer"].as_py(),
            row["name"].as_py(),
            tuple(row["shape"].as_py()),
            row["kept"].values.to_numpy(zero_copy_only=False),
            row["score"].values.to_numpy() if row["score"].is_valid else None,
        )
        for row in scalars(table)
    )


def scalars(table: pa.Table) -> Iterable[dict[str, Any]]:
    """The rows of a mask table as Arrow scalars; `row["kept"].values` is a slice of packed bits."""
    return (
        {name: table.column(name)[i] for name in SCHEMA.names if name in table.column_names}
        for i in range(table.num_rows)
    )


def write_masks(table: pa.Table, path: Path) -> None:
    with pa.OSFile(str(path), "wb") as sink, pa.ipc.new_file(sink, table.schema) as writer:
        writer.write_table(table)


def read_masks(path: Path) -> pa.Table:
    """The table of a mask file, mapped into memory.

    Raises InputError, naming the file, if it is no whole mask table of this format.
    """
    try:
        table = pa.ipc.open_file(pa.memory_map(str(path))).read_all()
        # a wrong length or offset, believed, takes the process down
        table.validate(full=True)
        version = int((table.schema.metadata or {}).get(b"format", FORMAT))
        types = {field.name: field.type for field in table.schema}
    except (pa.ArrowException, ValueError, OSError) as error:
        raise InputError(f"{path} is not a whole Arrow file ({error}).") from None
    if missing := set(SCHEMA.names) - set(types):
        raise InputError(f"{path} is no mask table: it has no column {', '.join(sorted(missing))}.")
    if types["kept"] not in (pa.large_list(pa.bool_()), pa.list_(pa.bool_())):
        raise InputError(f"{path} is no mask table: its column kept is {types['kept']}, not a list of bool.")
    if version > FORMAT:
        raise InputError(f"{path} was written by a newer lottery_ray. Update lottery_ray.")
    return table


@dataclass(frozen=True)
class Overlap:
    """Sizes of two masks of the same `n` components, and of what both keep."""

    n: int
    a: int
    b: int
    both: int

    def __add__(self, other: "Overlap") -> "Overlap":
        return Overlap(self.n + other.n, self.a + other.a, self.b + other.b, self.both + other.both)


def overlap(a: pa.BooleanArray, b: pa.BooleanArray) -> Overlap:
    """Counts on the packed bits, whatever the offsets of the two slices. Raises pyarrow.ArrowInvalid
    where their lengths differ."""
    return Overlap(len(a), a.true_count, b.true_count, pc.and_(a, b).true_count)


def overlaps(a: pa.Table, b: pa.Table) -> dict[str, Overlap]:
    """{component: Overlap}, summed over the layers of two mask tables with the same rows."""
    totals: dict[str, Overlap] = {}
    for row, other in zip(scalars(a), scalars(b), strict=True):
        component = row["component"].as_py()
        total = totals.get(component, Overlap(0, 0, 0, 0))
        totals[component] = total + overlap(row["kept"].values, other["kept"].values)
    return totals
