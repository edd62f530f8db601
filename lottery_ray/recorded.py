"""The nodes that records are of, made again from what was hashed into their keys."""

import re
from collections.abc import Iterable, Mapping
from typing import Any

from lottery_ray.language import Language
from lottery_ray.nodes import (
    NODE_TYPES,
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
from lottery_ray.store import Record
from lottery_ray.study import STAGES

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
            node = _value(record.identity, found)
            if key(node) != record.key:
                continue
        except (KeyError, TypeError, AttributeError):
            continue
        found[record.key] = node
        kept[node] = record
    return kept


def _value(content: Any, found: Mapping[str, Node]) -> Any:
    """What `nodes.identity` made this JSON of."""
    if isinstance(content, dict):
        inside = {name: _value(value, found) for name, value in content.items()}
        kind, _ = inside.pop("type"), inside.pop("version", None)
        # a hub model's name is no part of what it is
        return CLASSES[kind](**({"name": ""} if kind == "HubModel" else {}), **inside)
    if isinstance(content, list):
        return tuple(_value(item, found) for item in content)
    if isinstance(content, str) and KEY.fullmatch(content):
        return found[content]
    return content
