"""Networks and sizes by the names that tables and figures show, and their order.

A name is its kind's, with what sets a control apart after a comma and an unusual way of drawing its mask
in brackets: "random", "random, random start", "bad, 6 epochs", "random (Bernoulli)".
"""

from collections.abc import Iterable

import pandas as pd

from lottery_ray.nodes import KINDS, SUPER
from lottery_ray.store import Record
from lottery_ray.tasks import TASKS

MAJORITY = "majority"
FULL = {"pretrained": "full", "random": "random start", "frozen": "frozen encoder"}
"""{what fine-tuning starts from: name of the network}"""
KIND_NAMES: dict[str, str] = {
    **{kind: kind.replace("_", " ") for kind in KINDS},
    "layer_matched": "layer-matched",
}
RULES = {"bernoulli": "Bernoulli", "largest_removed": "largest removed", "released": "as released"}
STOPPING = "stopping"


def network(record: Record, epochs: int | None = None, seeds: int | None = None) -> str:
    """The name of a fine-tuned model's or a ticket's network.

    epochs: of its fine-tuned model. seeds: how many seeds the root's super-survivors are made of; a
    ticket of fewer is not theirs.
    """
    labels, identity = record.labels, record.identity
    if labels["stage"] == "finetune":
        return FULL[labels["start"]]
    name = KIND_NAMES[labels["kind"]]
    if labels["kind"] == "transfer":
        name += f" from {TASKS[labels['source']].title}"
    if identity.get("start") == "random":
        name += ", random start"
    own = identity["recipe"]["epochs"]
    if epochs is not None and own != epochs:
        name += f", {own} epoch{'s' if own > 1 else ''}"
    notes = [RULES[identity["rule"]]] if "rule" in identity else []
    if labels["kind"] in SUPER and seeds and len(identity["sources"]) < seeds:
        notes.append(f"of {len(identity['sources'])} seeds")
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
    """Where a network stands: full models, then kinds, the transferred by task, controls after theirs."""
    base = drawn_as(name).partition(", ")[0]
    words, _, title = base.partition(" from ")
    names = [MAJORITY, *FULL.values(), *KIND_NAMES.values()]
    titles = [task.title for task in TASKS.values()]
    return names.index(words), titles.index(title) if title else -1, int(is_control(name)), name


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
