"""How a study is tracked, and what its trackers are told of a node: flat names for tables and filters.

No tracker is imported before a node asks for one.
"""

import os
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, fields, is_dataclass
from typing import Any, Literal

from lottery_ray.experiment.graph import Node, labels, node_title
from lottery_ray.storage.store import Store

Mode = Literal["disabled", "offline", "online"]


@dataclass(frozen=True)
class Tracking:
    """Who is told what nodes do while they do it. Nothing here changes a result."""

    wandb: Mode = "disabled"
    """Weights & Biases, a run per node. Online needs an account (wandb login);
    offline leaves files in the root, which wandb sync uploads."""
    wandb_project: str | None = None
    """The project there, or entity/project. None: $WANDB_PROJECT, or lottery_ray."""
    wandb_group: str | None = None
    """The study's name there. None: the last part of the root's."""
    tracker: str | None = None
    """Another tracker, by Accelerate's name for it: tensorboard, trackio, mlflow, ..."""
    no_dev_curves: bool = False
    """Leave out the scores of the dev set after every epoch, which a tracked training takes, too."""

    @property
    def project(self) -> str:
        """What W&B and other services call a place for many studies; entity/project at W&B."""
        return self.wandb_project or os.environ.get("WANDB_PROJECT") or "lottery_ray"

    def group(self, store: Store) -> str:
        """The study's name there."""
        return self.wandb_group or store.path.rstrip("/").rpartition("/")[2]

    def __bool__(self) -> bool:
        return self.wandb != "disabled" or self.tracker is not None


UNTRACKED = Tracking()


def node_config(node: Node) -> dict[str, Any]:
    """A node flat: its labels, and every choice that it is made by, defaults included, such as
    "recipe.epochs", "search.method.step", "finetune.held_out". Other nodes are keys."""
    flat: dict[str, Any] = {"key": node.key} | dict(_fields("", node))
    for prefix, part in (("search.", node.search), ("finetune.", node.full)):
        if part not in (None, node):
            flat |= dict(_fields(prefix, part))
    return {name: value for name, value in (flat | labels(node)).items() if value is not None}


def _fields(prefix: str, value: Any) -> Iterator[tuple[str, Any]]:
    for f in fields(value):
        name, inner = prefix + f.name, getattr(value, f.name)
        if isinstance(inner, Node):
            yield name, inner.key
        elif is_dataclass(inner):
            yield from _fields(f"{name}.", inner)
        elif isinstance(inner, tuple):
            yield name, " ".join(part.key if isinstance(part, Node) else str(part) for part in inner)
        else:
            yield name, inner


def flat_result(result: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """The numbers and words of a record's result, as {"sizes.heads.kept": 72}; its lists are left out."""
    found: dict[str, Any] = {}
    for name, value in result.items():
        if isinstance(value, Mapping):
            found |= flat_result(value, f"{prefix}{name}.")
        elif isinstance(value, str | int | float):
            found[prefix + name] = value
    return found


def node_slug(node: Node) -> str:
    """A name for people and for what takes no spaces; its key makes it the only one."""
    return re.sub("[^A-Za-z0-9.]+", "-", f"{node_title(node)} {node.key}")
