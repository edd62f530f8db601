"""Methods, where the searches of one root differ in their choices, and the words for them.

A method keeps its plain name where nothing differs. Where it does, what departs from sound practice is
added in words: "structured, cumulative importance", "magnitude, step 5%". A criterion of the user's own is
always in the name: "structured, fisher criterion".
"""

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from analysis.records.network_names import LAYER_MATCHED, NetworkName, TicketSize
from lottery_ray.experiment.study import RELEASED
from lottery_ray.storage.store import Record

BASES = {"": "", "structured": "structured", "heads": "heads", "mlps": "MLPs", "magnitude": "magnitude"}
"""{method of a record, nothing of full models: words}"""
PRUNED = {"structured": ("heads", "mlp"), "heads": ("heads",), "mlps": ("mlp",), "magnitude": ("weight",)}
"""{method of a record: the kinds of component that it prunes}"""


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
    for method in PRUNED
}
"""{method of a record: the choices of the released code}"""


@dataclass(frozen=True)
class MethodName:
    """How tickets are found, among the methods of one root.

    base: method of a record; nothing of full models. criterion: the user's own. family: of published masks
    that have no name here. as_released: all choices are those of the released code. said: the (choice, value)
    that set it apart beside.
    """

    base: str
    criterion: str | None = None
    family: str | None = None
    as_released: bool = False
    said: tuple[tuple[str, Any], ...] = ()

    def __str__(self) -> str:
        return ", ".join(self._words)

    @property
    def _words(self) -> list[str]:
        criterion = [("criterion", self.criterion)] if self.criterion else []
        family = [self.family] if self.family else []
        released = ["as released"] if self.as_released else []
        said = [[CHOICES[field].say(value) for field, value in some] for some in (criterion, self.said)]
        return [BASES[self.base], *said[0], *family, *released, *said[1]]

    @property
    def order(self) -> tuple[int, int, str]:
        """Where it stands: nothing before all, then by base method, the plain one first."""
        return list(BASES).index(self.base), len(self._words), str(self)

    def __lt__(self, other: "MethodName") -> bool:
        return self.order < other.order

    @property
    def components(self) -> tuple[str, ...]:
        """The kinds of component that it prunes; others it leaves whole."""
        return PRUNED[self.base]


NO_METHOD = MethodName("")
STRUCTURED = MethodName("structured")
MAGNITUDE = MethodName("magnitude")
PUBLISHED_METHODS = {
    str(method): method
    for method in (
        *map(MethodName, BASES),
        MethodName("structured", said=(("data", "train_subset"),)),
        MethodName("structured", family="separate searches"),
    )
}
"""{words: method}, as published records have them, and the table of the paper's scores."""


def published_method(record: Record) -> MethodName:
    """Of a published mask or score; a family that is not known is a method of its own."""
    known = PUBLISHED_METHODS.get(record.labels["method"])
    parts = {parts: base for base, parts in PRUNED.items()}
    return known or MethodName(parts[tuple(record.result["sizes"])], family=record.identity["name"])


def choices_of(search: Record, ticket: Record | None = None) -> dict[str, Any]:
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


LAST = ("down_to", "criterion_sha256")
"""Said only where nothing else differs: the first changes no good mask at the stopping size, and the second
differs between any two criteria."""


def told_apart(searches: Iterable[tuple[str, dict[str, Any]]]) -> list[MethodName]:
    """The methods of searches, each in the light of all others. searches: method of a record, and choices."""
    every = list(searches)
    found = [MethodName(base, criterion=chosen.get("criterion")) for base, chosen in every]
    for fields in ([field for field in CHOICES if field not in LAST], *([field] for field in LAST)):
        found = _longer(found, [chosen for _, chosen in every], fields)
    return found


def _longer(methods: list[MethodName], every: list[dict[str, Any]], fields: list[str]) -> list[MethodName]:
    """Each with those fields said in which the choices of equal methods differ."""
    seen: dict[MethodName, dict[str, set[Any]]] = defaultdict(lambda: defaultdict(set))
    for method, chosen in zip(methods, every, strict=True):
        for field in fields:
            if field in chosen:
                seen[method][field].add(chosen[field])
    return [
        _with_departures(method, chosen, seen[method]) for method, chosen in zip(methods, every, strict=True)
    ]


def _with_departures(method: MethodName, chosen: dict[str, Any], seen: dict[str, set[Any]]) -> MethodName:
    """With the choices that are not the soundest of those seen; all of the released code's are said at once,
    where they are several."""
    open_to = [field for field in seen if field in chosen and len(seen[field]) > 1]
    soundest = {field: [known for known in CHOICES[field].sound if known in seen[field]] for field in open_to}
    departing = [field for field in open_to if chosen[field] not in soundest[field][:1]]
    theirs = AS_RELEASED[method.base]
    released = [field for field in open_to if field in theirs]
    at_once = len(released) > 1 and all(chosen[field] == theirs[field] for field in released)
    said = [(field, chosen[field]) for field in departing if not (at_once and field in released)]
    return replace(method, as_released=method.as_released or at_once, said=(*method.said, *said))


def place(method: MethodName, size: TicketSize) -> str:
    """A method, and its size where it is not the stopping one: "heads, at 50%"."""
    return f"{method},{size.at}" if size.at else str(method)


def is_good_again(method: MethodName, network: NetworkName) -> bool:
    """A layer has one MLP, so MLPs drawn layer by layer are those of the good ticket: nothing to compare."""
    return method.base == "mlps" and network.kind == LAYER_MATCHED.kind


def plainest(methods: Iterable[MethodName], method: MethodName) -> MethodName:
    """Of a root's methods, the one that variants of this one's base method are compared with."""
    return min(one for one in methods if one.base == method.base)
