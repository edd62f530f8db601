"""Methods by name, where the searches of one root differ in their choices.

A method keeps its plain name where nothing differs. Where it does, what departs from sound practice is
added in words: "structured, cumulative importance", "magnitude, step 5%". A criterion of the user's own is
always in the name: "structured, fisher criterion".
"""

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import pandas as pd

from lottery_ray.experiment.study import RELEASED
from lottery_ray.storage.store import Record

BASES = {"structured": "structured", "heads": "heads", "mlps": "MLPs", "magnitude": "magnitude"}
"""{method of a record: plain name}"""
PRUNED = {"structured": ("heads", "mlp"), "heads": ("heads",), "MLPs": ("mlp",), "magnitude": ("weight",)}
"""{plain name: the kinds of component that it prunes}"""


@dataclass(frozen=True)
class Choice:
    """A field in which searches of one root may differ.

    absent: its value where the identity does not have it. sound: its values from the soundest on; the
    first of them that occurs in a root is not spoken of. words: what each value adds to a name; other: a
    template for those that are not listed. cell: one for a value in a cell of its own.
    """

    absent: Any
    sound: tuple[Any, ...]
    words: Mapping[Any, str]
    other: str = "{}"
    cell: str = "{}"

    def say(self, value: Any) -> str:
        """What a value adds to the name of a method."""
        return self.words.get(value) or self.other.format(_plain(value))

    def shown(self, value: Any) -> str:
        """A value in a cell of its own."""
        if value is None or value != value:  # NaN: the method has no such choice
            return "\N{EN DASH}"
        return self.cell.format(_plain(value)).replace("_", " ")


def _plain(value: Any) -> str:
    return f"{100 * value:.3g}%" if isinstance(value, float) else str(value)


CHOICES = {
    "criterion": Choice(None, (None,), {None: "the paper's criterion"}, "{} criterion"),
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
    "criterion_sha256": Choice(None, (None,), {}, "source {:.8}", "{:.8}"),
}


EVERY = ("criterion", "criterion_sha256", "step", "data", "floor", "down_to")
SCORED = ("importance", "layer_norm", "last_head", "removal")
APPLICABLE = {
    "structured": ("later_phases", *SCORED, *EVERY),
    "heads": (*SCORED, *EVERY),
    "mlps": ("importance", "removal", *EVERY),
    "magnitude": ("max_steps", *EVERY),
}
"""{method of a record: the choices that it has}"""
AS_RELEASED: dict[str, dict[str, Any]] = {
    method: {"step": RELEASED.magnitude_step, "max_steps": RELEASED.magnitude_max_steps}
    if method == "magnitude"
    else {name: getattr(RELEASED, name) for name in ("importance", "later_phases", "last_head", "removal")}
    for method in BASES
}
"""{method of a record: the choices of the released code}"""


def choices(search: Record, ticket: Record | None = None) -> dict[str, Any]:
    """Every choice of a search, and of a ticket drawn from it."""
    own = search.identity | search.identity["method"] | (ticket.identity if ticket else {})
    # an own criterion stands in for these
    replaced = ("importance", "layer_norm") if "criterion" in own else ()
    return {
        field: own.get(field, choice.absent)
        for field, choice in CHOICES.items()
        if field in APPLICABLE[search.labels["method"]]
        and (ticket or field != "removal")
        and field not in replaced
    }


def is_choice(field: str) -> bool:
    """Whether searches or tickets of one root may differ in a flat field of their identities."""
    return field.rpartition(".")[2] in CHOICES


def names(methods: Iterable[tuple[str, dict[str, Any]]]) -> list[str]:
    """The names of (method of a record, choices), each in the light of all others of its method."""
    every = list(methods)
    found = [_with_criterion(method, chosen.get("criterion")) for method, chosen in every]
    found = _longer(found, every, [field for field in CHOICES if field not in LAST])
    for field in LAST:
        found = _longer(found, every, [field])
    return found


LAST = ("down_to", "criterion_sha256")
"""Said only where nothing else differs: the first changes no good mask at the stopping size, and the second
differs between any two criteria."""


def _with_criterion(method: str, criterion: str | None) -> str:
    return ", ".join([BASES[method], *([CHOICES["criterion"].say(criterion)] if criterion else [])])


def is_own(method: str) -> bool:
    """Whether a method ranks by a criterion of the user's own."""
    return any(word.endswith(" criterion") for word in method.split(", "))


def _longer(names: list[str], methods: list[tuple[str, dict[str, Any]]], fields: list[str]) -> list[str]:
    """Each name with the words for those fields in which methods of the same name differ."""
    seen: dict[str, dict[str, set[Any]]] = defaultdict(lambda: defaultdict(set))
    for name, (_, chosen) in zip(names, methods, strict=True):
        for field in fields:
            if field in chosen:
                seen[name][field].add(chosen[field])
    return [
        ", ".join([name, *_departures(method, chosen, seen[name])])
        for name, (method, chosen) in zip(names, methods, strict=True)
    ]


def _departures(method: str, chosen: dict[str, Any], seen: dict[str, set[Any]]) -> list[str]:
    """Words for the choices that are not the soundest of those seen; "as released" for all of the
    released code's at once, where they are several."""
    open_to = [field for field in seen if field in chosen and len(seen[field]) > 1]
    soundest = {field: [known for known in CHOICES[field].sound if known in seen[field]] for field in open_to}
    departing = [field for field in open_to if chosen[field] not in soundest[field][:1]]
    released = [field for field in open_to if field in AS_RELEASED[method]]
    if len(released) > 1 and all(chosen[field] == AS_RELEASED[method][field] for field in released):
        others = [field for field in departing if field not in released]
        return ["as released", *(CHOICES[field].say(chosen[field]) for field in others)]
    return [CHOICES[field].say(chosen[field]) for field in departing]


def base(method: str) -> str:
    """The method that a name is a variant of: "structured" for "structured, searched on dev"."""
    return method.partition(", ")[0]


def order(method: str) -> tuple[int, int, str]:
    """Where a method stands: by base method, the plain one first; nothing (of full models) before all."""
    return ("", *BASES.values()).index(base(method)), method.count(", "), method


def components(method: str) -> tuple[str, ...]:
    """The kinds of component that a method prunes; others it leaves whole."""
    return PRUNED[base(method)]


def is_good_again(method: str, network: str) -> bool:
    """A layer has one MLP, so MLPs drawn layer by layer are those of the good ticket: nothing to compare."""
    return base(method) == "MLPs" and network.startswith("layer-matched")


def plain(methods: Iterable[str], method: str) -> str:
    """Of a root's methods, the one that variants of this one's base method are compared with."""
    return min((name for name in methods if base(name) == base(method)), key=order)


def several(methods: pd.Series) -> bool:
    """Whether some base method has more than one variant."""
    unique = set(methods) - {""}
    return len({base(name) for name in unique}) < len(unique)
