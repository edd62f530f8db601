"""Methods by name, where the searches of one root differ in their choices.

A method keeps its plain name where nothing differs. Where it does, what departs from sound practice is
added in words: "structured, cumulative importance", "magnitude, step 5%".
"""

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import pandas as pd

from lottery_ray.nodes import METHODS
from lottery_ray.store import Record

PRUNED = {"structured": ("heads", "mlp"), "heads": ("heads",), "mlps": ("mlp",), "magnitude": ("weight",)}
"""{base method: the kinds of component that it prunes}"""


@dataclass(frozen=True)
class Choice:
    """A field in which searches of one root may differ.

    absent: its value where the identity does not have it. sound: its values from the soundest on; the
    first of them that occurs in a root is not spoken of. words: what each value adds to a name; a
    template for those that are not listed.
    """

    absent: Any
    sound: tuple[Any, ...]
    words: Mapping[Any, str]
    other: str = "{}"

    def say(self, value: Any) -> str:
        """What a value adds to the name of a method."""
        return self.words.get(value) or self.other.format(_plain(value))

    def shown(self, value: Any) -> str:
        """A value in a cell of its own."""
        if value is None or value != value:  # NaN: the method has no such choice
            return "\N{EN DASH}"
        return _plain(value).replace("_", " ")


def _plain(value: Any) -> str:
    return f"{100 * value:.3g}%" if isinstance(value, float) else str(value)


CHOICES = {
    "importance": Choice(
        "per_example",
        ("per_example",),
        {"per_example": "per-example importance", "cumulative": "cumulative importance"},
    ),
    "layer_norm": Choice(
        "all", ("all",), {"all": "normalised over all heads", "survivors": "normalised over survivors"}
    ),
    "later_phases": Choice(
        "accepted",
        ("accepted",),
        {"accepted": "later phases as published", "released": "later phases as released"},
    ),
    "last_head": Choice(
        "prunable", ("prunable",), {"prunable": "last heads prunable", "kept": "last heads kept"}
    ),
    "step": Choice(0.1, (0.1,), {}, "step {}"),
    "max_steps": Choice(None, (None,), {None: "any number of steps"}, "at most {} steps"),
    "data": Choice(
        "dev",
        ("held_out", "dev", "train_subset"),
        {
            "held_out": "searched on held-out rows",
            "dev": "searched on dev",
            "train_subset": "searched on training rows",
        },
    ),
    "floor": Choice(0.9, (0.9,), {}, "floor {}"),
    "down_to": Choice(1.0, (1.0,), {1.0: "to the floor"}, "down to {}"),
    "removal": Choice(
        "sound", ("sound",), {"sound": "parts removed soundly", "released": "parts removed as released"}
    ),
}


def choices(search: Record, ticket: Record | None = None) -> dict[str, Any]:
    """Every choice of a search, and of a ticket drawn from it."""
    own = search.identity | search.identity["method"] | (ticket.identity if ticket else {})
    return {
        field: own.get(field, choice.absent)
        for field, choice in CHOICES.items()
        if ticket or field != "removal"
    }


def is_choice(field: str) -> bool:
    """Whether searches or tickets of one root may differ in a flat field of their identities."""
    return field.rpartition(".")[2] in CHOICES


def names(methods: Iterable[tuple[str, dict[str, Any]]]) -> list[str]:
    """The names of (base method, choices), each in the light of all others of its base method."""
    every = list(methods)
    seen: dict[tuple[str, str], set[Any]] = defaultdict(set)
    for base, chosen in every:
        for field, value in chosen.items():
            seen[base, field].add(value)
    return [
        ", ".join([base, *(word for name in chosen for word in _words(name, chosen[name], seen[base, name]))])
        for base, chosen in every
    ]


def _words(field: str, value: Any, seen: set[Any]) -> list[str]:
    """What a value adds to a name, among those that occur in the root."""
    choice = CHOICES[field]
    silent = [known for known in choice.sound if known in seen][:1]
    return [] if len(seen) == 1 or value in silent else [choice.say(value)]


def base(method: str) -> str:
    """The method that a name is a variant of: "structured" for "structured, searched on dev"."""
    return method.partition(", ")[0]


def order(method: str) -> tuple[int, int, str]:
    """Where a method stands: by base method, the plain one first; nothing (of full models) before all."""
    return ("", *METHODS).index(base(method)), method.count(", "), method


def components(method: str) -> tuple[str, ...]:
    """The kinds of component that a method prunes; others it leaves whole."""
    return PRUNED[base(method)]


def is_good_again(method: str, network: str) -> bool:
    """A layer has one MLP, so MLPs drawn layer by layer are those of the good ticket: nothing to compare."""
    return base(method) == "mlps" and network.startswith("layer-matched")


def plain(methods: Iterable[str], method: str) -> str:
    """Of a root's methods, the one that variants of this one's base method are compared with."""
    return min((name for name in methods if base(name) == base(method)), key=order)


def several(methods: pd.Series) -> bool:
    """Whether some base method has more than one variant."""
    unique = set(methods) - {""}
    return len({base(name) for name in unique}) < len(unique)
