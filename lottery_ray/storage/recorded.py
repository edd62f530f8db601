"""The nodes that records are of, made again from what was hashed into their keys."""

import re
from collections.abc import Iterable, Mapping
from types import MappingProxyType
from typing import Any

from lottery_ray.experiment.graph import NODE_KINDS, Node
from lottery_ray.experiment.methods import Magnitude, Structured
from lottery_ray.experiment.recipe import Recipe
from lottery_ray.inputs.architectures import Adapter, Architecture
from lottery_ray.inputs.data import FolderData, HubData
from lottery_ray.inputs.language import Language
from lottery_ray.inputs.models import FolderModel, HubModel
from lottery_ray.inputs.tasks import Task
from lottery_ray.storage.store import Record

PARTS: dict[str, Any] = {
    part.__name__: part
    for part in (
        *(HubModel, FolderModel, HubData, FolderData, Language),
        *(Recipe, Structured, Magnitude, Task, Architecture, Adapter),
    )
}
"""{name: class} of what nodes are made of, beside nodes."""
KEY = re.compile("[0-9a-f]{16}")


def nodes_of(records: Iterable[Record]) -> dict[Node, Record]:
    """The nodes that records are of; those whose parents have none, or of other versions, are left out."""
    stages = list(NODE_KINDS)
    own = [record for record in records if record.labels["stage"] in stages]
    found: dict[str, Node] = {}
    kept: dict[Node, Record] = {}
    for record in sorted(own, key=lambda record: stages.index(record.labels["stage"])):
        try:
            node: Node = from_identity(record.identity, found).as_recorded(record.result)
        except (KeyError, TypeError, AttributeError):
            continue
        if node.key == record.key:
            found[record.key] = node
            kept[node] = record
    return kept


NAMELESS = {"HubModel": {"name": ""}, "Task": {"title": ""}}
"""What is no part of what these are."""


def added_architecture(model: Record) -> Architecture | None:
    """The one that a user added for a fine-tuned model, if it is of such a one."""
    of = model.identity["model"]
    own: Architecture | None = from_identity(of.get("architecture")) if isinstance(of, dict) else None
    return own


def from_identity(content: Any, found: Mapping[str, Node] = MappingProxyType({})) -> Any:
    """What `identity` made this JSON of. found: the nodes of the keys in it."""
    if isinstance(content, dict):
        inside = {name: from_identity(item, found) for name, item in content.items()}
        kind, _ = inside.pop("type"), inside.pop("version", None)
        classes = PARTS | {each.__name__: each for each in NODE_KINDS.values()}
        return classes[kind](**NAMELESS.get(kind, {}), **inside)
    if isinstance(content, list):
        return tuple(from_identity(item, found) for item in content)
    if isinstance(content, str) and KEY.fullmatch(content):
        return found[content]
    return content
