"""Which network a row of a table is about, at which size, the words for both, and their order in tables."""

from collections.abc import Iterable
from dataclasses import dataclass, replace

import pandas as pd

from lottery_ray.experiment.nodes import KINDS, SUPER, Finetune, Start
from lottery_ray.inputs.tasks import known_tasks, title
from lottery_ray.storage.store import Record

FULL_MODELS: dict[Start, str] = {
    "pretrained": "full",
    "random": "random start",
    "frozen": "frozen encoder",
}
"""{what fine-tuning starts from: words for the network}"""
RULES = {
    "bernoulli": "Bernoulli",
    "largest_removed": "largest removed",
    "released": "as released",
    "complement": "complement",
    "earlier": "earlier",
}
"""{how a mask is drawn, if not exactly: words}; the last two occur in published records alone."""


def kind_name(kind: str) -> str:
    """Of a kind of ticket, a user's own too."""
    return "layer-matched" if kind == "layer_matched" else kind.replace("_", " ")


@dataclass(frozen=True)
class NetworkName:
    """A full model, a subnetwork, or the majority baseline.

    kind: "full", "majority", or that of a ticket, a user's own too. source: the task that a transferred
    ticket comes from. start: what it was trained from. epochs: of its retraining, where they are not those of
    its fine-tuned model. rule: of `RULES`. seeds: how many super-survivors are of, where others of the root
    are of more. kind_sha256: of the user's source that drew it, where the root has tickets of several.
    """

    kind: str
    source: str | None = None
    start: Start = "pretrained"
    epochs: int | None = None
    rule: str | None = None
    seeds: int | None = None
    kind_sha256: str | None = None

    def __str__(self) -> str:
        """Its kind, behind a comma what sets a control apart, and in brackets an unusual way of drawing:
        "random", "random, random start", "bad, 6 epochs", "random (Bernoulli)"."""
        return self._words(kind_name(self.kind))

    @property
    def short(self) -> str:
        """Of a transferred ticket where it is from; of others all."""
        return self._words("") if self.source else str(self)

    def _words(self, kind: str) -> str:
        if self.kind == "full":
            return FULL_MODELS[self.start]
        name = f"{kind} from {title(self.source)}".lstrip() if self.source else kind
        if self.start == "random":
            name += ", random start"
        if self.epochs is not None:
            name += f", {self.epochs} epoch{'s' if self.epochs > 1 else ''}"
        return f"{name} ({', '.join(self.notes)})" if self.notes else name

    @property
    def notes(self) -> list[str]:
        """What is unusual in how its mask is drawn."""
        notes = [RULES[self.rule]] if self.rule else []
        notes += [f"of {self.seeds} seeds"] if self.seeds else []
        return notes + ([f"source {self.kind_sha256[:8]}"] if self.kind_sha256 else [])

    @property
    def drawn_as(self) -> "NetworkName":
        """The same without the way of drawing."""
        return replace(self, rule=None, seeds=None, kind_sha256=None)

    @property
    def is_control(self) -> bool:
        """Whether it differs from another ticket only in how it is retrained."""
        return self.kind != "full" and (self.start != "pretrained" or self.epochs is not None)

    @property
    def is_own(self) -> bool:
        """Whether it is of a kind that a user added."""
        return self.kind not in ("majority", "full", *KINDS)

    @property
    def order(self) -> tuple[int, int, bool, str]:
        """Where it stands: full models, then kinds, the transferred by task, controls after theirs; kinds of
        users after ours."""
        full = [("full", start) for start in FULL_MODELS]
        places = [("majority", None), *full, *((kind, None) for kind in KINDS)]
        own = self.kind, self.start if self.kind == "full" else None
        place = places.index(own) if own in places else len(places)
        tasks = [None, *known_tasks()]
        # one of a root that has no record of it is the last
        from_task = tasks.index(self.source) if self.source in tasks else len(tasks)
        return place, from_task, self.is_control, str(self)

    def __lt__(self, other: "NetworkName") -> bool:
        return self.order < other.order


NO_NETWORK = NetworkName("")
MAJORITY = NetworkName("majority")
FULL_MODEL = NetworkName("full")
GOOD = NetworkName("good")
RANDOM = NetworkName("random")
LAYER_MATCHED = NetworkName("layer_matched")
BAD = NetworkName("bad")
PRETRAINED = NetworkName("pretrained")
SUPER_SURVIVORS = NetworkName("super")
RANDOM_START = NetworkName("random", start="random")
PUBLISHED_NETWORKS = {
    str(network): network
    for network in (
        *(FULL_MODEL, MAJORITY, RANDOM_START),
        *(NetworkName(kind, rule=rule) for kind in KINDS for rule in (None, *RULES)),
    )
}
"""{words: network}, as published records have them, and the table of the paper's scores."""


def with_own(ours: Iterable[NetworkName], others: Iterable[NetworkName]) -> list[NetworkName]:
    """These of ours, and after them the kinds that a user added, of those that the others are of."""
    own = {network.drawn_as for network in others if network.is_own and not network.is_control}
    return [*ours, *sorted(own)]


def named(networks: Iterable[NetworkName], wanted: NetworkName) -> NetworkName | None:
    """Which of these networks is drawn as `wanted`, the exact one before others; None if none is."""
    drawn = (network for network in networks if network.drawn_as == wanted)
    return min(drawn, key=lambda network: len(network.notes), default=None)


def network_of(
    record: Record, epochs: int | None = None, seeds: int | None = None, *, several_sources: bool = False
) -> NetworkName:
    """The network of a fine-tuned model or a ticket.

    epochs: of its fine-tuned model. seeds: how many seeds the root's super-survivors are made of.
    several_sources: whether the root has tickets of its kind that were drawn by another version of the user's
    source.
    """
    labels, identity = record.labels, record.identity
    if labels["stage"] == Finetune.stage:
        return NetworkName(FULL_MODEL.kind, start=labels["start"])
    own, count = identity["recipe"]["epochs"], len(identity["sources"])
    several = labels["kind"] in SUPER or count > 1
    return NetworkName(
        labels["kind"],
        source=labels.get("source"),
        start=identity.get("start", "pretrained"),
        epochs=own if epochs is not None and own != epochs else None,
        rule=identity.get("rule"),
        seeds=count if several and seeds and count < seeds else None,
        kind_sha256=identity["kind_sha256"] if several_sources else None,
    )


@dataclass(frozen=True)
class TicketSize:
    """The share of each kind of component that is kept: None where the search stopped, 1 of full models."""

    share: float | None = None

    def __str__(self) -> str:
        """ "stopping", a share such as "0.5", or nothing of full models."""
        return "stopping" if self.share is None else "" if self.share == 1 else str(self.share)

    @property
    def words(self) -> str:
        """ "stopping", or "50%"."""
        return str(self) if self.share in (None, 1) else f"{100 * self.share:.3g}%"

    @property
    def at(self) -> str:
        """To follow what is of that size: nothing at the stopping size, " at 50%" at another."""
        return "" if self.share in (None, 1) else f" at {self.words}"

    @property
    def order(self) -> float:
        """Full models first, then stopping, then from large to small."""
        return -1.0 if self.share is None else -2.0 if self.share == 1 else 1 - self.share

    def __lt__(self, other: "TicketSize") -> bool:
        return self.order < other.order


STOPPING = TicketSize()
WHOLE = TicketSize(1.0)


def size_of(record: Record) -> TicketSize:
    """Of a ticket or of null draws."""
    size = record.identity.get("size", "stopping")
    return STOPPING if size == "stopping" else TicketSize(size)


def several_sizes(table: pd.DataFrame) -> bool:
    """Whether a table has other sizes than where the search stopped: only then are sizes spoken of."""
    return bool(set(table["size"]) - {WHOLE, STOPPING})
