"""Counting on packed bits, against counting on bools."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pyarrow import feather

from analysis.masks import bits
from analysis.masks import rows as mask_rows
from lottery_ray.errors import InputError
from lottery_ray.experiment import masks
from lottery_ray.experiment.masks import Mask, Part, write_masks

IDENTITY = dict.fromkeys(masks.IDENTITY)
SETTINGS = settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
LENGTHS = st.lists(st.integers(1, 200), min_size=1, max_size=6)


def drawn(rng: np.random.Generator, lengths: list[int]) -> Mask:
    """Weight tensors of these lengths, two to a layer."""
    share = rng.random()
    return tuple(
        Part("weight", number // 2, f"tensor {number}", (length,), rng.random(length) < share)
        for number, length in enumerate(lengths)
    )


def flat(mask: Mask, layer: int) -> np.ndarray:
    return np.concatenate([part.kept for part in mask if part.layer == layer])


def write(table: pa.Table, path: Path, chunk: int) -> Path:
    feather.write_feather(table, str(path), compression="uncompressed", chunksize=chunk)
    return path


@SETTINGS
@given(st.data(), LENGTHS, st.integers(1, 9), st.integers(0, 2**32 - 1))
def test_counts_are_those_of_bools(
    tmp_path: Path, data: st.DataObject, lengths: list[int], k: int, seed: int
) -> None:
    rng = np.random.default_rng(seed)
    found = [drawn(rng, lengths) for _ in range(k)]
    paths = []
    for number, mask in enumerate(found):
        # rows of a longer table start anywhere in a byte; other tools write it in chunks
        before = drawn(rng, data.draw(st.lists(st.integers(1, 20), max_size=3)))
        table = masks.to_table((*before, *mask), "k", IDENTITY).slice(len(before))
        paths.append(write(table, tmp_path / f"{number}.arrow", data.draw(st.integers(1, 7))))
    triples = data.draw(st.lists(st.tuples(*[st.integers(0, k - 1)] * 3), max_size=4))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(bits, "MEMORY", 8 * k * data.draw(st.integers(1, 8)))
        patch.setattr(bits, "PIECE", data.draw(st.integers(1, 5)))
        counts = bits.count(paths, triples)
    assert counts.layer.tolist() == list(range((len(lengths) + 1) // 2))
    for layer in counts.layer:
        kept = np.stack([flat(mask, layer) for mask in found]).astype(int)
        assert counts.n[layer] == kept.shape[1]
        np.testing.assert_array_equal(counts.both[layer], kept @ kept.T)
        np.testing.assert_array_equal(counts.histogram[layer], np.bincount(kept.sum(0), minlength=k + 1))
        expected = [int(kept[list(three)].prod(axis=0).sum()) for three in triples]
        assert counts.triples[layer].tolist() == expected


@SETTINGS
@given(st.data(), st.integers(0, 2**32 - 1))
def test_any_part_of_a_row_loads_to_the_start_of_a_byte(data: st.DataObject, seed: int) -> None:
    flags = np.random.default_rng(seed).random(data.draw(st.integers(1, 300))) < 0.5
    start = data.draw(st.integers(0, flags.size - 1))
    n = data.draw(st.integers(1, flags.size - start))
    begin = data.draw(st.integers(0, n - 1))
    size = data.draw(st.integers(1, n - begin))
    packed = np.packbits(flags, bitorder="little")
    row = mask_rows.Row("weight", 0, "tensor", (n,), n, packed, start)
    into = np.full(8 * (-(-size // 64)) + 8, 255, np.uint8)
    row.load(begin, size, into)
    unpacked = np.unpackbits(into, bitorder="little").astype(bool)
    np.testing.assert_array_equal(unpacked[:size], flags[start + begin : start + begin + size])
    assert not unpacked[size:].any()


def test_tiles_and_pieces_of_long_masks(tmp_path: Path) -> None:
    rng = np.random.default_rng(5)
    found = [drawn(rng, [3_000_000, 1_234_567]) for _ in range(3)]
    paths = [tmp_path / f"{number}.arrow" for number in range(3)]
    for mask, path in zip(found, paths, strict=True):
        write_masks(masks.to_table(mask, "k", IDENTITY), path)
    counts = bits.count(paths, [(0, 1, 2)])
    kept = np.stack([flat(mask, 0) for mask in found])
    expected = [[int((one & other).sum()) for other in kept] for one in kept]
    assert counts.both[0].tolist() == expected
    assert counts.histogram[0].tolist() == np.bincount(kept.sum(axis=0), minlength=4).tolist()
    assert counts.triples.tolist() == [[int(kept.all(axis=0).sum())]]


def test_layers_and_components_of_a_structured_mask(tmp_path: Path) -> None:
    heads = np.arange(12).reshape(3, 4) % 3 == 0
    mask = masks.structured_mask(heads, np.array([True, False, True]))
    path = tmp_path / "mask.arrow"
    write_masks(masks.to_table(mask[::-1], "k", IDENTITY), path)
    counts = bits.count([path, path])
    assert counts.component.tolist() == ["heads"] * 3 + ["mlp"] * 3
    assert counts.of("heads").sizes.tolist() == [heads.sum(axis=1).tolist()] * 2
    assert counts.of("mlp").both[:, 0, 1].tolist() == [1, 0, 1]
    assert counts.of("weight").n.size == 0


@pytest.mark.parametrize("change", [{"shape": (2, 3)}, {"name": "other"}, {"layer": 7}, None])
def test_masks_of_different_shapes_are_refused_by_name(tmp_path: Path, change: dict[str, object]) -> None:
    mask = (Part("weight", 0, "tensor", (6,), np.ones(6, bool)),)
    other = () if change is None else (replace(mask[0], **change),)  # type: ignore[arg-type]
    more = (*other, Part("weight", 9, "last", (1,), np.ones(1, bool)))
    paths = [tmp_path / "one.arrow", tmp_path / "two.arrow"]
    for path, parts in zip(paths, [(*mask, more[-1]), more], strict=True):
        write_masks(masks.to_table(parts, "k", IDENTITY), path)
    with pytest.raises(InputError, match=r"one\.arrow and .*two\.arrow .*tensor of layer 0, of shape \(6,\)"):
        bits.count(paths)
