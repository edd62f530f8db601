"""Draw the mask of a ticket from the good masks that searches found.

By default sizes are exact, heads, MLPs and weights each (section 4 of the paper), and what bad may not
share with good it does not share. The released ways of drawing are rules with names:

    bernoulli         random: each component is kept with the good mask's share, heads and MLPs apart, so
                      that sizes match in expectation only
    largest_removed   bad: the weights of largest magnitude go, whatever good keeps (`trial.ticket` draws it)
    released          super_random: drawn only from what neither super nor super_bad keeps, where that is
                      enough; super_bad: one draw for all seeds (its stream has no seed)
"""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import numpy.typing as npt

from lottery_ray.experiment.extensions import OWN_KINDS, added
from lottery_ray.experiment.masks import Mask, Part, sizes
from lottery_ray.experiment.nodes import Rule

Flags = npt.NDArray[np.bool_]
Stream = np.random.Generator | np.random.RandomState

RELEASED_TASKS = ("cola", "sst2", "mrpc", "stsb", "qqp", "mnli", "qnli", "rte", "wnli")
PAPER_SEEDS = (1337, 42, 86, 71, 166)


def draw_mask(kind: str, goods: Sequence[Mask], rng: np.random.Generator, rule: Rule = "exact") -> Mask:
    """The mask of a ticket, of the size of the good one, or of super's.

    goods: the good masks of its sources: one, or for super-survivors every seed's.

    good, transfer: the mask itself. random: as many of each component, anywhere in the network.
    layer_matched: as many in every layer. bad: what good does not keep, topped up from good, or cut, at
    random. super: what all of them keep. super_random: random of its size. super_bad: what none of them
    keeps, topped up from what not all of them keep, then from super, or cut, at random. Raises ValueError
    for a kind or rule that is not drawn from masks alone.
    """
    by_layer = kind == "layer_matched"
    groups = zip(*(_flags(good, by_layer=by_layer) for good in goods), strict=True)
    drawn = [_drawn(kind, np.stack(kept), rng, rule) for kept in groups]
    return _split(drawn, goods[0], by_layer=by_layer)


def bernoulli(good: Mask, rng: Stream) -> Mask:
    """Each component is kept with the share that good keeps of its kind: one uniform number each, heads
    first (create_random_masks.ipynb of the paper's repository)."""
    return _split([rng.random(kept.size) < kept.mean() for kept in _flags(good)], good)


def drawn_by_user(
    name: str, sha256: str, goods: Sequence[Mask], like: Mask, rng: np.random.Generator
) -> Mask:
    """The mask that a user's own kind draws. like: one of the right components and size.

    Raises ValueError, in words, if its components are others, or it keeps more or fewer.
    """
    kind = added(OWN_KINDS, name, sha256)
    mask = kind.function(goods, rng)
    if not (isinstance(mask, tuple) and all(isinstance(part, Part) for part in mask)):
        raise ValueError(f"The kind {name} returned {type(mask).__name__}; it must return a mask.")

    def shape(mask: Mask) -> list[tuple[object, ...]]:
        return [(p.component, p.layer, p.name, p.shape, p.kept.shape, p.kept.dtype) for p in mask]

    if shape(mask) != shape(like):
        raise ValueError(f"The kind {name} returned a mask of other parts than good's, or not of bool.")
    if not kind.any_size and sizes(mask) != sizes(like):
        own, right = (
            ", ".join(f"{size['kept']} of {size['of']} ({part})" for part, size in sizes(one).items())
            for one in (mask, like)
        )
        raise ValueError(
            f"The kind {name} keeps {own}; good keeps {right}. It must keep as many, or say any_size=True."
        )
    return tuple(replace(part, score=None) for part in mask)


def released_stream(task: str, seed: int, components: int) -> np.random.RandomState | None:
    """The stream that the released random masks of a task and seed were drawn from: NumPy's global one,
    seeded with 13, after all tasks and seeds before it. None outside the paper's grid.

    components: heads and MLPs of the network, 156 in the paper's.
    """
    if task not in RELEASED_TASKS or seed not in PAPER_SEEDS:
        return None
    stream = np.random.RandomState(13)
    number = RELEASED_TASKS.index(task) * len(PAPER_SEEDS) + PAPER_SEEDS.index(seed)
    stream.random(number * components)
    return stream


def _drawn(kind: str, goods: Flags, rng: np.random.Generator, rule: Rule) -> Flags:
    """goods: bool (sources, components). Returns bool (components,)."""
    every: Flags = np.logical_and.reduce(goods)
    some: Flags = np.logical_or.reduce(goods)
    size = int(every.sum())
    match kind, rule:
        case (("good" | "transfer" | "super"), _):
            return every
        case (("random" | "layer_matched"), _) | ("super_random", "exact"):
            return chosen(every.size, [np.ones_like(every)], size, rng)
        case "bad", _:
            return chosen(every.size, [~every, every], size, rng)
        case "super_bad", "exact":
            return chosen(every.size, [~some, some & ~every, every], size, rng)
        case "super_bad", _:
            return _released_super_bad(every, some, rng)
    raise ValueError(f"{kind} is not drawn by the rule {rule}")


def _released_super_bad(every: Flags, some: Flags, rng: np.random.Generator) -> Flags:
    """compute_super_masks.py of the paper's repository: where what some seeds keep does not suffice, the
    top-up may be any other component, super's too."""
    between, missing = some & ~every, int(every.sum()) - int((~some).sum())
    top_up = between if between.sum() >= missing else some
    return chosen(every.size, [~some, top_up], int(every.sum()), rng)


def released_super_random(goods: Sequence[Mask], bad: Mask, rng: np.random.Generator) -> Mask:
    """As released: of super's size, from what neither super nor super_bad keeps; where that is not
    enough, all of it, topped up at random."""
    pairs = zip(*(_flags(good) for good in goods), strict=True)
    drawn = []
    for kept, poor in zip(pairs, _flags(bad), strict=True):
        every = np.all(kept, axis=0)
        neither = ~every & ~poor
        drawn.append(chosen(every.size, [neither, ~neither], int(every.sum()), rng))
    return _split(drawn, goods[0])


def chosen(size: int, tiers: Sequence[Flags], count: int, rng: np.random.Generator) -> Flags:
    """bool (size,), of which `count` are True: all of the first tiers that fit, and of the next a uniform
    choice. tiers: bool (size,) each, disjoint."""
    kept = np.zeros(size, bool)
    for tier in tiers:
        pool = np.flatnonzero(tier)
        if count <= pool.size:
            kept[rng.choice(pool, count, replace=False, shuffle=False)] = True
            break
        kept[pool] = True
        count -= pool.size
    return kept


def forced_overlap(a: Mask, b: Mask) -> dict[str, int]:
    """{component: how many two masks of these sizes must share}."""
    return {
        component: max(0, size["kept"] + other["kept"] - size["of"])
        for (component, size), other in zip(sizes(a).items(), sizes(b).values(), strict=True)
    }


def common(a: Mask, b: Mask) -> dict[str, int]:
    """{component: how many both keep}."""
    both = tuple(replace(p, kept=p.kept & q.kept) for p, q in zip(a, b, strict=True))
    return {component: size["kept"] for component, size in sizes(both).items()}


def _groups(mask: Mask, *, by_layer: bool = False) -> list[list[Part]]:
    """The parts of each kind of component, or of each kind in each layer, in the mask's order."""
    found: dict[tuple[str, int], list[Part]] = defaultdict(list)
    for part in mask:
        found[part.component, part.layer if by_layer else 0].append(part)
    return list(found.values())


def _flags(mask: Mask, *, by_layer: bool = False) -> list[Flags]:
    return [np.concatenate([part.kept for part in group]) for group in _groups(mask, by_layer=by_layer)]


def _split(drawn: list[Flags], like: Mask, *, by_layer: bool = False) -> Mask:
    """The mask with the parts of `like`, in its order, that keeps what was drawn for each group."""
    pieces: dict[tuple[str, int, str], Flags] = {}
    for kept, group in zip(drawn, _groups(like, by_layer=by_layer), strict=True):
        ends = np.cumsum([part.kept.size for part in group])[:-1]
        for part, piece in zip(group, np.split(kept, ends), strict=True):
            pieces[part.component, part.layer, part.name] = piece
    return tuple(
        replace(part, kept=pieces[part.component, part.layer, part.name], score=None) for part in like
    )
