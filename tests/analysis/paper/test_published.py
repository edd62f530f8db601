"""The code against what the paper's authors released: their masks, and the numbers that follow from them."""

from itertools import islice

import numpy as np
import pandas as pd
import pytest
import torch
from transformers import BertConfig, BertForSequenceClassification

from lottery_ray import streams
from lottery_ray.experiment import draws as tickets
from lottery_ray.experiment import masks, search
from lottery_ray.experiment.draws import draw_mask
from lottery_ray.experiment.masks import Mask
from lottery_ray.experiment.nodes import Kind
from lottery_ray.networks.network import Network
from lottery_ray.networks.packing import PACKED
from lottery_ray.networks.pruning import prunable
from tests.places import SHARED

RELEASED = SHARED / "paper" / "masks.parquet"
NAMES = {
    "CoLA": "cola",
    "SST-2": "sst2",
    "MRPC": "mrpc",
    "STS-B": "stsb",
    "QQP": "qqp",
    "MNLI": "mnli",
    "QNLI": "qnli",
    "RTE": "rte",
    "WNLI": "wnli",
}
SEEDS = (1337, 42, 86, 71, 166)
COMPONENTS = 12 * 12 + 12
Masks = dict[tuple[str, str, int], Mask]


@pytest.fixture(scope="module")
def released() -> Masks:
    """{(family, task, seed): mask} of the four released families, 180 masks."""
    if not RELEASED.exists():
        pytest.skip("the released masks are not at hand")
    frame = pd.read_parquet(RELEASED).sort_values(["layer", "index"])
    found = {}
    for (family, task, seed), group in frame.groupby(["family", "task", "seed"], observed=True):
        heads = group.loc[group["component"] == "head", "kept"].to_numpy().reshape(12, 12)
        mlps = group.loc[group["component"] == "mlp", "kept"].to_numpy()
        found[str(family), NAMES[str(task)], int(str(seed))] = masks.structured_mask(heads, mlps)
    assert len(found) == 4 * 9 * 5
    return found


def same(a: Mask, b: Mask) -> bool:
    return all(np.array_equal(p.kept, q.kept) for p, q in zip(a, b, strict=True))


def test_the_released_random_masks_are_reproduced_bit_by_bit(released: Masks) -> None:
    """90 arrays: heads and MLPs of nine tasks and five seeds."""
    arrays = 0
    for task in NAMES.values():
        for seed in SEEDS:
            stream = tickets.released_stream(task, seed, COMPONENTS)
            assert stream is not None
            drawn = tickets.bernoulli(released["heads_mlps", task, seed], stream)
            theirs = released["heads_mlps_random", task, seed]
            assert np.array_equal(masks.heads(drawn), masks.heads(theirs)), (task, seed)
            assert np.array_equal(masks.mlps(drawn), masks.mlps(theirs)), (task, seed)
            arrays += 2
    assert arrays == 90
    assert tickets.released_stream("sst2", 1, COMPONENTS) is None


def test_bernoulli_sizes_differ_from_the_good_ones_as_published(released: Masks) -> None:
    """Protocol section 4: heads -13 to +14, MLPs -5 to +2."""
    rows = []
    for task in NAMES.values():
        for seed in SEEDS:
            random, good = (
                masks.sizes(released[name, task, seed]) for name in ("heads_mlps_random", "heads_mlps")
            )
            rows.append([random[part]["kept"] - good[part]["kept"] for part in ("heads", "mlp")])
    differences = np.array(rows)
    assert differences.min(axis=0).tolist() == [-13, -5]
    assert differences.max(axis=0).tolist() == [14, 2]


def test_bad_tickets_are_as_bad_as_the_released_ones(released: Masks) -> None:
    """The same size, and no more overlap with good than that forces."""
    for task in NAMES.values():
        for seed in SEEDS:
            good, theirs = (released[name, task, seed] for name in ("heads_mlps", "heads_mlps_bad_1"))
            ours = draw_mask("bad", (good,), streams.generator("bad", task, seed))
            assert masks.sizes(ours) == masks.sizes(theirs) == masks.sizes(good)
            forced = tickets.forced_overlap(good, theirs)
            assert tickets.common(good, theirs) == tickets.common(good, ours) == forced


def test_super_survivors_are_the_released_ones(released: Masks) -> None:
    kinds: tuple[Kind, ...] = ("super_random", "super_bad")
    for task in NAMES.values():
        goods = [released["heads_mlps", task, seed] for seed in SEEDS]
        ours = draw_mask("super", goods, streams.generator("super"))
        assert all(same(ours, released["heads_mlps_super", task, seed]) for seed in SEEDS)
        for kind in kinds:
            drawn = draw_mask(kind, goods, streams.generator(kind, task))
            assert masks.sizes(drawn) == masks.sizes(ours)
        assert tickets.common(drawn, ours)["heads"] == 0, "there are always enough others to be bad with"
        bad = draw_mask("super_bad", goods, streams.generator("bad", task), "released")
        random = tickets.released_super_random(goods, bad, streams.generator("random", task))
        assert tickets.common(random, ours)["heads"] == 0, "protocol section 4: no overlap with super"
        assert tickets.common(random, bad)["heads"] == 0


def test_every_released_good_mask_is_one_that_the_search_can_stop_at(released: Masks) -> None:
    """Protocol 2.3: the number of pruned heads is a multiple of 7, or 144."""
    for (family, _, _), mask in released.items():
        if family == "heads_mlps":
            pruned = 144 - int(masks.heads(mask).sum())
            assert pruned % 7 == 0 or pruned == 144


# protocol 6.3: accepted steps per seed, and the mean share kept that the authors' notebook saved
ACCEPTED = {
    "MNLI": ((13, 13, 13, 13, 13), 0.513342),
    "QNLI": ((12, 12, 12, 13, 13), 0.529553),
    "RTE": ((11, 12, 12, 13, 14), 0.530107),
    "MRPC": ((10, 10, 11, 11, 14), 0.564550),
    "QQP": ((14, 14, 14, 15, 15), 0.477921),
    "SST-2": ((16, 16, 16, 16, 17), 0.435725),
    "CoLA": ((6, 7, 8, 12, 12), 0.635514),
    "STS-B": ((12, 13, 14, 14, 14), 0.503345),
    "WNLI": ((1, 13, 15, 29, 29), 0.475701),
}
POOL = 85_017_600


@pytest.mark.parametrize("task", ACCEPTED)
def test_magnitude_steps_of_5_percent_keep_what_was_published(task: str) -> None:
    accepted, published = ACCEPTED[task]
    sizes = [POOL, *islice(search.remaining(POOL, 0.05), 29)]
    assert np.mean([sizes[steps] / POOL for steps in accepted]) == pytest.approx(published, abs=5e-7)
    tenth = [POOL, *islice(search.remaining(POOL, 0.1), 29)]
    assert abs(np.mean([tenth[steps] / POOL for steps in accepted]) - published) > 0.1


def test_the_pool_of_bert_base() -> None:
    with torch.device("meta"):
        network = Network(
            BertForSequenceClassification._from_config(BertConfig(), attn_implementation=PACKED)
        )
    assert sum(parameter.numel() for parameter in prunable(network).values()) == POOL
