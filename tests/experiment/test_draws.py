"""Tickets drawn from good masks: exact sizes, what bad may share with good, and uniform draws."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lottery_ray import streams
from lottery_ray.experiment import draws as tickets
from lottery_ray.experiment import masks
from lottery_ray.experiment.draws import draw_mask
from lottery_ray.experiment.masks import Mask, Part
from lottery_ray.experiment.nodes import KINDS, Kind

DRAWN = tuple(kind for kind in KINDS if kind != "pretrained")


def flags(size: int, kept: int, seed: int) -> np.ndarray:
    found = np.zeros(size, bool)
    found[np.random.default_rng(seed).choice(size, kept, replace=False)] = True
    return found


@st.composite
def structured(draw: st.DrawFn) -> Mask:
    layers, width = draw(st.integers(1, 6)), draw(st.integers(1, 12))
    heads = flags(layers * width, draw(st.integers(0, layers * width)), draw(st.integers(0, 99)))
    mlps = flags(layers, draw(st.integers(0, layers)), draw(st.integers(0, 99)))
    return masks.structured_mask(
        heads.reshape(layers, width), mlps, np.ones((layers, width)), np.ones(layers)
    )


@st.composite
def magnitude(draw: st.DrawFn) -> Mask:
    shapes = draw(st.lists(st.tuples(st.integers(1, 9), st.integers(1, 9)), min_size=1, max_size=5))
    total = sum(rows * columns for rows, columns in shapes)
    kept = flags(total, draw(st.integers(0, total)), draw(st.integers(0, 99)))
    ends = np.cumsum([rows * columns for rows, columns in shapes])[:-1]
    return tuple(
        Part("weight", layer, f"weight.{layer}", shape, piece)
        for layer, (shape, piece) in enumerate(zip(shapes, np.split(kept, ends), strict=True))
    )


GOOD = structured() | magnitude()
SETTINGS = settings(max_examples=60, deadline=None)


def rng(*names: str | int) -> np.random.Generator:
    return streams.generator("mask", *names)


def flat(mask: Mask, component: str) -> np.ndarray:
    return np.concatenate([part.kept for part in mask if part.component == component])


def same(a: Mask, b: Mask) -> bool:
    return all(np.array_equal(p.kept, q.kept) for p, q in zip(a, b, strict=True))


@SETTINGS
@given(GOOD, st.integers(0, 1000))
def test_layer_matched_has_as_many_in_every_layer(good: Mask, name: int) -> None:
    ticket = draw_mask("layer_matched", (good,), rng(name))
    for component, layer in {(part.component, part.layer) for part in good}:
        ours, theirs = (
            sum(int(p.kept.sum()) for p in mask if (p.component, p.layer) == (component, layer))
            for mask in (ticket, good)
        )
        assert ours == theirs


@st.composite
def seeds(draw: st.DrawFn) -> list[Mask]:
    """Good masks of several seeds, of different sizes."""
    good = draw(GOOD)
    others = draw(st.lists(st.integers(0, 99), min_size=1, max_size=4))
    shares = [np.random.default_rng(seed).random() for seed in others]
    return [good] + [
        tuple(replace(p, kept=np.random.default_rng(seed).random(p.kept.size) < share) for p in good)
        for seed, share in zip(others, shares, strict=True)
    ]


@SETTINGS
@given(seeds(), st.integers(0, 1000))
def test_super_survivors_and_their_counterparts(goods: list[Mask], name: int) -> None:
    survivors = draw_mask("super", goods, rng(name))
    bad = draw_mask("super_bad", goods, rng(name))
    released_bad = draw_mask("super_bad", goods, rng(name), "released")
    released_random = tickets.released_super_random(goods, released_bad, rng(name, 1))
    drawn = [draw_mask("super_random", goods, rng(name)), bad, released_bad, released_random]
    assert all(masks.sizes(mask) == masks.sizes(survivors) for mask in drawn)
    for component, size in masks.sizes(survivors).items():
        every = np.array([flat(good, component) for good in goods])
        kept, never = flat(survivors, component), ~every.any(axis=0)
        assert np.array_equal(kept, every.all(axis=0))
        worst = flat(bad, component)
        assert (worst & never).sum() == min(size["kept"], never.sum()), "what no seed keeps comes first"
        assert (worst & kept).sum() == max(0, 2 * size["kept"] - size["of"]), "and super last"
        neither = ~kept & ~flat(released_bad, component)
        theirs = flat(released_random, component)
        assert (theirs & neither).sum() == min(size["kept"], neither.sum())


@SETTINGS
@given(GOOD)
def test_the_forced_overlap_is_the_least_that_two_sizes_allow(good: Mask) -> None:
    bad = draw_mask("bad", (good,), rng(0))
    assert tickets.forced_overlap(good, bad) == tickets.common(good, bad)


def test_bernoulli_matches_in_expectation_only() -> None:
    heads = flags(72, 30, 0).reshape(6, 12)
    good = masks.structured_mask(heads, np.array([1, 1, 1, 0, 0, 0], bool))
    drawn = [tickets.bernoulli(good, rng(name)) for name in range(2000)]
    sizes = np.array([masks.sizes(mask)["heads"]["kept"] for mask in drawn])
    share = 30 / 72
    assert abs(sizes.mean() - 30) < 5 * np.sqrt(72 * share * (1 - share) / 2000)
    assert abs(sizes.var() / (72 * share * (1 - share)) - 1) < 5 * np.sqrt(2 / 2000)
    whole = masks.structured_mask(np.ones((6, 12), bool), np.zeros(6, bool))
    assert same(tickets.bernoulli(whole, rng(0)), whole)


@SETTINGS
@given(GOOD, st.sampled_from(DRAWN), st.integers(0, 1000))
def test_a_ticket_has_exactly_the_size_of_its_good_twin(good: Mask, kind: Kind, name: int) -> None:
    ticket = draw_mask(kind, (good,), rng(name))
    assert masks.sizes(ticket) == masks.sizes(good)
    assert [(p.component, p.layer, p.name, p.shape) for p in ticket] == [
        (p.component, p.layer, p.name, p.shape) for p in good
    ]
    assert all(part.score is None and part.kept.dtype == bool for part in ticket)


@SETTINGS
@given(GOOD, st.integers(0, 1000))
def test_bad_shares_with_good_only_what_its_size_forces(good: Mask, name: int) -> None:
    bad = draw_mask("bad", (good,), rng(name))
    for component, size in masks.sizes(good).items():
        x, y = flat(good, component), flat(bad, component)
        assert (x & y).sum() == max(0, 2 * size["kept"] - size["of"])
        if 2 * size["kept"] >= size["of"]:
            assert y[~x].all(), "the whole complement of good is in bad"


@given(GOOD)
def test_good_is_good(good: Mask) -> None:
    assert same(draw_mask("good", (good,), rng(0)), good)


@SETTINGS
@given(GOOD, st.sampled_from(DRAWN))
def test_a_draw_depends_on_its_key_alone(good: Mask, kind: Kind) -> None:
    before = [part.kept.copy() for part in good]
    first = [draw_mask(kind, (good,), rng("key", name)) for name in range(3)]
    draw_mask("random", (good,), rng("another"))
    again = [draw_mask(kind, (good,), rng("key", name)) for name in reversed(range(3))][::-1]
    assert all(same(a, b) for a, b in zip(first, again, strict=True))
    assert all(np.array_equal(kept, part.kept) for kept, part in zip(before, good, strict=True))


@pytest.mark.parametrize("kind", ["random", "bad"])
def test_different_keys_draw_different_masks(kind: Kind) -> None:
    good = (Part("weight", 0, "w", (20, 20), flags(400, 150, 0)),)
    drawn = {draw_mask(kind, (good,), rng(name))[0].kept.tobytes() for name in range(20)}
    assert len(drawn) == 20


def within_five_sigma(counts: np.ndarray, draws: int, share: float) -> None:
    """Each component is kept in Binomial(draws, share) of the draws. Of the fewer than 200 counts that are
    compared here, one lies beyond 5 standard deviations by chance once in 10,000 runs; seeds are fixed."""
    sigma = np.sqrt(draws * share * (1 - share))
    assert np.abs(counts - draws * share).max() < 5 * sigma
    # and they do vary as such counts do: a fixed rotation of places would be too even
    assert np.std(counts) > 0.5 * sigma


def test_random_is_uniform_over_the_whole_network() -> None:
    heads = flags(72, 30, 0).reshape(6, 12)
    heads[:2] = True  # a good mask far from uniform
    good = masks.structured_mask(heads, np.array([1, 1, 1, 0, 0, 0], bool))
    draws = 2000
    drawn = [draw_mask("random", (good,), rng(name)) for name in range(draws)]
    counts = sum(flat(mask, "heads").astype(int) for mask in drawn)
    within_five_sigma(np.asarray(counts), draws, heads.mean())
    per_mlp = np.asarray(sum(flat(mask, "mlp").astype(int) for mask in drawn))
    assert np.abs(per_mlp - draws / 2).max() < 5 * np.sqrt(draws / 4)
    # places are drawn without regard to each other: layers hold a hypergeometric number of heads
    first = np.array([masks.heads(mask)[0].sum() for mask in drawn])
    share = heads.mean()
    variance = 12 * share * (1 - share) * (72 - 12) / (72 - 1)
    assert abs(first.var() / variance - 1) < 5 * np.sqrt(2 / draws)


@pytest.mark.parametrize("kept", [20, 80])
def test_bad_is_uniform_where_it_has_a_choice(kept: int) -> None:
    good = (Part("weight", 0, "w", (100,), flags(100, kept, 0)),)
    draws = 2000
    counts = np.asarray(
        sum(draw_mask("bad", (good,), rng(name))[0].kept.astype(int) for name in range(draws))
    )
    free = ~good[0].kept if kept <= 50 else good[0].kept
    chosen = kept if kept <= 50 else kept - (100 - kept)
    within_five_sigma(counts[free], draws, chosen / int(free.sum()))
    assert set(counts[~free]) == {0 if kept <= 50 else draws}
