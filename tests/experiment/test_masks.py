"""Masks as Arrow tables: round trips, counts on packed bits, files of other tools, damaged files."""

import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from pyarrow import feather

from lottery_ray.errors import InputError
from lottery_ray.experiment import masks
from lottery_ray.experiment.masks import Mask, Overlap, Part, read_masks, write_masks
from tests.places import CHECKOUT

IDENTITY = {"task": "sst2", "seed": 42, "method": "structured", "kind": "good", "size": "stopping", "draw": 0}
SETTINGS = settings(max_examples=50, deadline=None)
FLAGS = hnp.arrays(bool, st.integers(1, 70))
SCORES = st.floats(width=32, allow_nan=False)


@st.composite
def parts(draw: st.DrawFn) -> Part:
    kept = draw(st.one_of(FLAGS, st.integers(1, 40).map(lambda n: np.zeros(n, bool))))
    scores = hnp.arrays(np.float32, kept.size, elements=SCORES)
    return Part(
        draw(st.sampled_from(["heads", "mlp", "weight"])),
        draw(st.integers(0, 30)),
        draw(st.text("abcdef._", max_size=12)),
        (kept.size,),
        kept,
        draw(st.none() | scores),
    )


MASKS = st.lists(parts(), min_size=1, max_size=6).map(tuple)
MASK = masks.structured_mask(
    np.array([[1, 0, 1, 1, 0, 0, 1], [0] * 7, [1] * 7], bool),
    np.array([0, 1, 1], bool),
    np.arange(21, dtype=np.float32).reshape(3, 7),
    np.array([0.5, 1.5, 2.5], np.float32),
)


def fields(part: Part) -> tuple[object, ...]:
    """All of a part, the types of its arrays and their bits included."""
    arrays = [None if array is None else (array.dtype, array.tobytes()) for array in (part.kept, part.score)]
    return part.component, part.layer, part.name, part.shape, *arrays


def same(a: Mask, b: Mask) -> bool:
    return list(map(fields, a)) == list(map(fields, b))


@SETTINGS
@given(MASKS)
def test_a_mask_survives_table_and_file(tmp_path_factory: pytest.TempPathFactory, mask: Mask) -> None:
    path = tmp_path_factory.mktemp("masks") / "mask.arrow"
    table = masks.to_table(mask, "0123456789abcdef", IDENTITY)
    write_masks(table, path)
    found = read_masks(path)
    assert found.equals(table, check_metadata=True)
    assert same(masks.from_table(found), mask)
    assert same(masks.from_table(table), mask)


def test_a_table_says_whose_mask_it_is() -> None:
    table = masks.to_table(MASK, "0123456789abcdef", IDENTITY)
    assert table.schema.metadata == {b"node": b"0123456789abcdef", b"format": b"1"}
    assert table.schema.names == masks.SCHEMA.names
    assert table.schema.field("kept").type == pa.large_list(pa.bool_())
    assert {name: set(table[name].to_pylist()) for name in IDENTITY} == {k: {v} for k, v in IDENTITY.items()}
    assert masks.sizes(MASK) == {"heads": {"kept": 11, "of": 21}, "mlp": {"kept": 2, "of": 3}}
    assert masks.heads(MASK).sum(1).tolist() == [4, 0, 7]
    assert masks.mlps(MASK).tolist() == [False, True, True]


def test_double_precision_scores_are_stored_as_single() -> None:
    scores = np.random.default_rng(0).random((3, 7))
    mask = masks.structured_mask(masks.heads(MASK), masks.mlps(MASK), scores, scores[:, 0])
    found = masks.from_table(masks.to_table(mask, "k", IDENTITY))
    assert all(np.array_equal(a.score, b.score.astype(np.float32)) for a, b in zip(found, mask, strict=True))  # type: ignore[union-attr, arg-type]


def test_a_files_bits_are_packed_and_mapped(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    mask = tuple(Part("weight", i, "weight", (1000, 100), rng.random(100_000) < 0.5) for i in range(8))
    path = tmp_path / "mask.arrow"
    write_masks(masks.to_table(mask, "k", IDENTITY), path)
    assert path.stat().st_size < 800_000 / 8 * 1.1
    before = pa.total_allocated_bytes()
    table = read_masks(path)
    assert pa.total_allocated_bytes() - before < 10_000
    assert masks.sizes(masks.from_table(table)) == masks.sizes(mask)


@SETTINGS
@given(st.data(), st.integers(1, 300))
def test_overlap_counts_packed_bits_at_any_offset(data: st.DataObject, length: int) -> None:
    offsets = [data.draw(st.integers(0, 20)) for _ in range(2)]
    tails = [data.draw(st.integers(0, 20)) for _ in range(2)]
    flags = [
        data.draw(hnp.arrays(bool, offset + length + tail))
        for offset, tail in zip(offsets, tails, strict=True)
    ]
    a, b = (pa.array(f).slice(offset, length) for f, offset in zip(flags, offsets, strict=True))
    x, y = (f[offset : offset + length] for f, offset in zip(flags, offsets, strict=True))
    assert masks.overlap(a, b) == Overlap(length, int(x.sum()), int(y.sum()), int((x & y).sum()))


def test_masks_of_different_lengths_do_not_overlap() -> None:
    with pytest.raises(pa.ArrowInvalid):
        masks.overlap(pa.array([True, False]), pa.array([True]))


def expected_overlaps(a: Mask, b: Mask) -> dict[str, Overlap]:
    totals: dict[str, Overlap] = {}
    for p, q in zip(a, b, strict=True):
        counts = Overlap(p.kept.size, int(p.kept.sum()), int(q.kept.sum()), int((p.kept & q.kept).sum()))
        totals[p.component] = totals.get(p.component, Overlap(0, 0, 0, 0)) + counts
    return totals


@SETTINGS
@given(MASKS, st.integers(0, 2**32 - 1), st.data())
def test_overlaps_of_tables_in_chunks_and_slices(mask: Mask, seed: int, data: st.DataObject) -> None:
    rng = np.random.default_rng(seed)
    twin = tuple(
        Part(part.component, part.layer, part.name, part.shape, rng.random(part.kept.size) < 0.5)
        for part in mask
    )
    cut = data.draw(st.integers(0, len(mask)))
    table = masks.to_table(mask, "k", IDENTITY)
    chunked = pa.concat_tables([table.slice(0, cut), table.slice(cut)])
    # the rows of a longer table: its lists start in the middle of a byte
    other = masks.to_table((*mask, *twin), "k", IDENTITY).slice(len(mask))
    assert masks.overlaps(chunked, other) == expected_overlaps(mask, twin)
    assert same(masks.from_table(chunked), mask)
    assert same(masks.from_table(other), twin)


def by_other_tools(mask: Mask) -> dict[str, pa.Table]:
    """The same rows as other tools build them."""
    table = masks.to_table(mask, "k", IDENTITY)
    rows = table.to_pydict()
    polars = pa.table(
        {
            name: pa.array(
                values,
                {
                    pa.string(): pa.large_string(),
                    pa.list_(pa.int32()): pa.large_list(pa.int64()),
                }.get(table.schema.field(name).type, table.schema.field(name).type),
            )
            for name, values in rows.items()
        }
    )
    frame = pd.DataFrame(rows)
    frame["component"] = frame["component"].astype("category")
    return {
        "pydict": pa.Table.from_pydict(rows, masks.SCHEMA),
        "inferred": pa.Table.from_pydict(rows),
        "polars": polars,
        "pandas": pa.Table.from_pandas(frame, preserve_index=False),
        "other order": table.select(table.column_names[::-1]).append_column(
            "note", pa.array(["x"] * len(mask))
        ),
    }


@pytest.mark.parametrize("tool", ["pydict", "inferred", "polars", "pandas", "other order"])
@pytest.mark.parametrize("batch", [1, 4, 100])
def test_files_of_other_tools_read_the_same(tmp_path: Path, tool: str, batch: int) -> None:
    table = by_other_tools(MASK)[tool]
    path = tmp_path / "mask.arrow"
    feather.write_feather(table, str(path), compression="uncompressed", chunksize=batch)
    if batch == 1:
        assert pa.ipc.open_file(pa.memory_map(str(path))).num_record_batches == len(MASK)
    found = read_masks(path)
    ours = masks.to_table(MASK, "k", IDENTITY)
    assert masks.overlaps(found, ours) == expected_overlaps(MASK, MASK)
    mask = masks.from_table(found)
    assert [p.kept.tolist() for p in mask] == [p.kept.tolist() for p in MASK]
    assert [p.shape for p in mask] == [p.shape for p in MASK]
    assert [p.score.tolist() for p in mask] == [p.score.tolist() for p in MASK]  # type: ignore[union-attr]


@pytest.fixture
def whole(tmp_path: Path) -> Path:
    path = tmp_path / "mask.arrow"
    write_masks(masks.to_table(MASK, "k", IDENTITY), path)
    return path


def test_a_truncated_file_is_refused_wherever_it_ends(whole: Path) -> None:
    content = whole.read_bytes()
    for size in [*range(0, len(content), 37), len(content) - 1]:
        whole.write_bytes(content[:size])
        with pytest.raises(InputError, match=r"mask\.arrow"):
            read_masks(whole)


def test_a_file_with_damage_in_its_middle_never_takes_the_process_down(whole: Path) -> None:
    # in a process of its own: a wrong length or offset inside an Arrow file, believed, is a crash
    code = """
import contextlib, sys
from pathlib import Path
from lottery_ray.experiment import masks
from lottery_ray.errors import InputError
path = Path(sys.argv[1])
content = path.read_bytes()
refused = 0
for place in range(0, len(content), 3):
    path.write_bytes(content[:place] + bytes([content[place] ^ 255]) + content[place + 1 :])
    try:
        table = masks.read_masks(path)
    except InputError as error:
        assert str(path) in str(error)
        refused += 1
        continue
    with contextlib.suppress(Exception):
        masks.from_table(table)
assert refused > 100, refused
"""
    root = CHECKOUT
    done = subprocess.run([sys.executable, "-c", code, str(whole)], capture_output=True, text=True, cwd=root)
    assert done.returncode == 0, f"exit status {done.returncode}: {done.stderr[-500:]}"


def without_column(path: Path) -> None:
    write_masks(read_masks(path).drop_columns(["kept", "layer"]), path.with_suffix(".new"))
    path.with_suffix(".new").rename(path)


def of_text(path: Path) -> None:
    table = read_masks(path)
    text = pc.cast(table["seed"], pa.string())
    place = table.column_names.index("kept")
    write_masks(table.set_column(place, "kept", text), path.with_suffix(".new"))
    path.with_suffix(".new").rename(path)


def of_a_newer_format(path: Path) -> None:
    table = read_masks(path).replace_schema_metadata({"node": "k", "format": "2"})
    write_masks(table, path.with_suffix(".new"))
    path.with_suffix(".new").rename(path)


@pytest.mark.parametrize(
    "damage",
    [
        lambda path: path.unlink(),
        lambda path: path.write_bytes(b""),
        lambda path: path.write_text("task,seed\nsst2,1\n"),
        without_column,
        of_text,
        of_a_newer_format,
    ],
    ids=["missing", "empty", "text", "columns missing", "kept is text", "newer format"],
)
def test_what_is_no_mask_file_is_refused_by_name(whole: Path, damage: Any) -> None:
    damage(whole)
    with pytest.raises(InputError, match=r"mask\.arrow"):
        read_masks(whole)
