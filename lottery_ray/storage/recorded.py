"""The nodes that records are of, made again from what was hashed into their keys."""

import re
from collections.abc import Iterable, Mapping
from dataclasses import replace
from types import MappingProxyType
from typing import Any

from lottery_ray.experiment.nodes import (
    NODE_TYPES,
    Finetune,
    FolderData,
    FolderModel,
    HubData,
    HubModel,
    Magnitude,
    Node,
    Recipe,
    Structured,
    key,
)
from lottery_ray.experiment.study import STAGES
from lottery_ray.inputs.architectures import Adapter, Architecture
from lottery_ray.inputs.language import Language
from lottery_ray.inputs.tasks import Task
from lottery_ray.storage.store import Record

CLASSES: dict[str, Any] = {
    kind.__name__: kind
    for kind in (
        HubModel,
        FolderModel,
        HubData,
        FolderData,
        Language,
        Recipe,
        Structured,
        Magnitude,
        Task,
        Architecture,
        Adapter,
        *NODE_TYPES,
    )
}
KEY = re.compile("[0-9a-f]{16}")


def nodes_of(records: Iterable[Record]) -> dict[Node, Record]:
    """The nodes that records are of; those whose parents have none, or of other versions, are left out."""
    own = [record for record in records if record.labels["stage"] in STAGES]
    found: dict[str, Node] = {}
    kept: dict[Node, Record] = {}
    for record in sorted(own, key=lambda record: STAGES.index(record.labels["stage"])):
        try:
            node = _sized(value(record.identity, found), record)
            if key(node) != record.key:
                continue
        except (KeyError, TypeError, AttributeError):
            continue
        found[record.key] = node
        kept[node] = record
    return kept


def _sized(node: Any, record: Record) -> Any:
    """With the sizes of a user's own task, which what it costs is told from."""
    if not isinstance(node, Finetune) or node.own_task is None:
        return node
    train, dev = (record.result[name] for name in ("train_examples", "dev_examples"))
    sizes = {"train_size": round(train / (1 - node.held_out)), "dev_size": dev}
    return replace(node, own_task=replace(node.own_task, **sizes))


NAMELESS = {"HubModel": {"name": ""}, "Task": {"title": ""}}
"""What is no part of what these are."""


def architecture(model: Record) -> Architecture | None:
    """The one that a user added for a fine-tuned model, if it is of such a one."""
    of = model.identity["model"]
    own: Architecture | None = value(of.get("architecture")) if isinstance(of, dict) else None
    return own


def value(content: Any, found: Mapping[str, Node] = MappingProxyType({})) -> Any:
    """What `nodes.identity` made this JSON of. found: the nodes of the keys in it."""
    if isinstance(content, dict):
        inside = {name: value(item, found) for name, item in content.items()}
        kind, _ = inside.pop("type"), inside.pop("version", None)
        return CLASSES[kind](**NAMELESS.get(kind, {}), **inside)
    if isinstance(content, list):
        return tuple(value(item, found) for item in content)
    if isinstance(content, str) and KEY.fullmatch(content):
        return found[content]
    return content
