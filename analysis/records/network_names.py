"""Networks and sizes by the names that tables and figures show, and their order.

A name is its kind's, with what sets a control apart after a comma and an unusual way of drawing its mask
in brackets: "random", "random, random start", "bad, 6 epochs", "random (Bernoulli)".
"""

from collections.abc import Iterable

import pandas as pd

from lottery_ray.experiment.nodes import KINDS, SUPER
from lottery_ray.inputs.tasks import known, title
from lottery_ray.storage.store import Record

MAJORITY = "majority"
FULL = {"pretrained": "full", "random": "random start", "frozen": "frozen encoder"}
"""{what fine-tuning starts from: name of the network}"""
KIND_NAMES: dict[str, str] = {
    **{kind: kind.replace("_", " ") for kind in KINDS},
    "layer_matched": "layer-matched",
}
RULES = {"bernoulli": "Bernoulli", "largest_removed": "largest removed", "released": "as released"}
STOPPING = "stopping"


def kind_name(kind: str) -> str:
    """Of a kind of ticket, a user's own too."""
    return KIND_NAMES.get(kind, kind.replace("_", " "))


def is_own(name: str) -> bool:
    """Whether it is of a kind that a user added."""
    return _kind(name) not in (MAJORITY, *FULL.values(), *KIND_NAMES.values())


def with_own(ours: Iterable[str], names: Iterable[str]) -> list[str]:
    """These of ours, and after them the kinds that a user added, of those that the names are of."""
    return [*ours, *sorted({drawn_as(name) for name in names if is_own(name) and not is_control(name)})]


def _kind(name: str) -> str:
    """Its kind, or the full model it is, by the name that this has."""
    base = drawn_as(name).partition(", ")[0]
    words, _, _ = base.partition(" from ")
    return words if words == KIND_NAMES["transfer"] else base


def network(
    record: Record, epochs: int | None = None, seeds: int | None = None, *, several_sources: bool = False
) -> str:
    """The name of a fine-tuned model's or a ticket's network.

    epochs: of its fine-tuned model. seeds: how many seeds the root's super-survivors are made of; a
    ticket of fewer is not theirs. several_sources: whether the root has tickets of its kind that were drawn
    by another version of the user's source.
    """
    labels, identity = record.labels, record.identity
    if labels["stage"] == "finetune":
        return FULL[labels["start"]]
    name = kind_name(labels["kind"])
    if labels["kind"] == "transfer":
        name += f" from {title(labels['source'])}"
    if identity.get("start") == "random":
        name += ", random start"
    own = identity["recipe"]["epochs"]
    if epochs is not None and own != epochs:
        name += f", {own} epoch{'s' if own > 1 else ''}"
    notes = [RULES[identity["rule"]]] if "rule" in identity else []
    several = labels["kind"] in SUPER or len(identity["sources"]) > 1
    if several and seeds and len(identity["sources"]) < seeds:
        notes.append(f"of {len(identity['sources'])} seeds")
    if several_sources:
        notes.append(f"source {identity['kind_sha256'][:8]}")
    return f"{name} ({', '.join(notes)})" if notes else name


def drawn_as(name: str) -> str:
    """The name without the way of drawing: "random" for "random (Bernoulli)"."""
    return name.partition(" (")[0]


def named(names: Iterable[str], wanted: str) -> str | None:
    """Which of these networks is drawn as `wanted`, the exact one before others; None if none is."""
    return min((name for name in names if drawn_as(name) == wanted), key=len, default=None)


def is_control(name: str) -> bool:
    """Whether it differs from another ticket only in how it is retrained."""
    return ", " in drawn_as(name)


def order(name: str) -> tuple[int, int, int, str]:
    """Where a network stands: full models, then kinds, the transferred by task, controls after theirs; kinds
    of users after ours."""
    kind = _kind(name)
    names = [MAJORITY, *FULL.values(), *KIND_NAMES.values()]
    place = names.index(kind) if kind in names else len(names)
    source = drawn_as(name).partition(", ")[0].removeprefix(kind).removeprefix(" from ")
    titles = [task.title for task in known().values()]
    # one of a root that has no record of it
    from_task = (titles.index(source) if source in titles else len(titles)) if source else -1
    return place, from_task, int(is_control(name)), name


def size(record: Record) -> str:
    """Of a ticket or of null draws, "stopping" or a share such as "0.5"."""
    return str(record.labels.get("size") or STOPPING)


def size_order(name: str) -> float:
    """Stopping first, then from large to small; nothing (of full models) before all."""
    return {"": -2.0, STOPPING: -1.0}[name] if name in ("", STOPPING) else 1 - float(name)


def size_words(name: str) -> str:
    """ "stopping", or "50%"."""
    return name if name in ("", STOPPING) else f"{100 * float(name):.3g}%"


def several_sizes(table: pd.DataFrame) -> bool:
    """Whether a table has other sizes than where the search stopped: only then are sizes spoken of."""
    return bool(set(table["size"]) - {"", STOPPING})


def at(size: str) -> str:
    """To follow the name of a method: nothing at the stopping size, ", at 50%" at another."""
    return "" if size in ("", STOPPING) else f", at {size_words(size)}"
