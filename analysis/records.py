"""The records of a root as those of one study: a mixture is refused, and what is missing is named."""

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from lottery_ray.errors import InputError
from lottery_ray.nodes import KINDS, METHODS
from lottery_ray.store import Record, Store
from lottery_ray.tasks import TASKS

PER_RECORD = ("seed", "start", "kind", "draw", "finetune", "sources")
"""Fields in which the records of one study and task differ as they should."""

NOUNS = {"finetune": "fine-tuned models", "search": "searches", "ticket": "tickets"}


@dataclass(frozen=True)
class Root:
    """The records of one study, and where their artifacts are read.

    copies: the folder that artifacts of a remote root are copied to.
    """

    store: Store
    copies: Path
    records: tuple[Record, ...]

    def stage(self, name: str) -> list[Record]:
        """The records of one stage: pretrain, finetune, search or ticket."""
        return [record for record in self.records if record.labels["stage"] == name]

    def artifact(self, record: Record, name: str) -> Path:
        """A local path of one artifact. Raises InputError if it is missing or corrupt."""
        return self.store.fetch(record, name, self.copies / record.key)


def read(store: Store, copies: Path) -> Root:
    """All records of a root, in the order of tasks, seeds, methods and kinds.

    Raises InputError if there are no scores yet, if a record is corrupt, or if records of one task
    come from several studies.
    """
    records = tuple(sorted(store.records(), key=_order))
    if not any(record.labels["stage"] == "finetune" for record in records):
        raise InputError(
            f"{store.uri} holds no fine-tuned model yet, so there is nothing to report. Run a study into it"
            " first: python jobs/sweep.py --help says how."
        )
    _check_parents(records)
    _check_one_study(store.uri, records)
    return Root(store, copies, records)


def _check_parents(records: tuple[Record, ...]) -> None:
    """A node's parents may have been run again since, with another result on a GPU."""
    digests = {record.key: record.digest for record in records}
    for record in records:
        for parent, read in record.parents.items():
            if digests.get(parent, read) != read:
                raise InputError(
                    f"The record nodes/{record.key}/node.json was made from another run of {parent} than the"
                    " one now in the root. Delete it, and its node runs again."
                )


def _order(record: Record) -> tuple[int, ...]:
    labels = record.labels
    return (
        _place(labels["task"], TASKS),
        -1 if labels["seed"] is None else labels["seed"],
        _place(labels["method"], METHODS),
        _place(labels["kind"], KINDS),
        labels["draw"] or 0,
        int(labels["start"] == "random"),
    )


def _place(name: str | None, names: Iterable[str]) -> int:
    return -1 if name is None else list(names).index(name)


def _check_one_study(uri: str, records: tuple[Record, ...]) -> None:
    """Scores are averaged over seeds, so the records of one task must agree in all else."""
    made = {record.key: record.identity for record in records if record.labels["stage"] == "pretrain"}
    groups: dict[tuple[str, str, str | None], list[dict[str, Any]]] = defaultdict(list)
    for record in records:
        labels = record.labels
        if labels["stage"] in NOUNS:
            identity = {
                name: made.get(value, value) if isinstance(value, str) else value
                for name, value in record.identity.items()
                if name not in PER_RECORD
            }
            groups[labels["stage"], labels["task"], labels["method"]].append(_flat(identity))
    for (stage, task, _), identities in groups.items():
        if different := _differences(identities):
            raise InputError(
                f"{uri} holds records of several studies: the {NOUNS[stage]} of {TASKS[task].title} differ"
                f" in {', '.join(different)}. A report is about one study: run each into a root of its own."
            )


def _flat(value: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    """{"recipe": {"epochs": 3}} as {"recipe.epochs": 3}."""
    flat: dict[str, Any] = {}
    for name, item in value.items():
        flat |= _flat(item, f"{prefix}{name}.") if isinstance(item, dict) else {prefix + name: item}
    return flat


def _differences(identities: list[dict[str, Any]]) -> list[str]:
    """The fields that differ, with their values, such as "recipe.epochs (3, 5)"."""
    found = []
    for name in sorted(set().union(*identities)):
        values = sorted({str(identity.get(name, "absent")) for identity in identities})
        if len(values) > 1:
            found.append(f"{name} ({', '.join(values)})")
    return found


def missing(root: Root) -> pd.DataFrame:
    """What has no record, of the grid of tasks, seeds, starts, methods, kinds and draws that occur in the
    root: columns task, seed, network (the words of a node's title). A task, seed or method of which
    nothing is recorded yet is not known here."""
    cells = {_cell(record) for record in root.records if record.labels["stage"] in NOUNS}
    tasks = sorted({task for task, _, _ in cells}, key=lambda task: _place(task, TASKS))
    networks = list(dict.fromkeys(_cell(record)[2] for record in root.records if record.labels["task"]))
    rows = [
        (task, seed, network)
        for task in tasks
        for seed in sorted({seed for _, seed, _ in cells})
        for network in networks
        if (task, seed, network) not in cells
    ]
    return pd.DataFrame(rows, columns=["task", "seed", "network"])


def _cell(record: Record) -> tuple[str, int, str]:
    labels = record.labels
    if labels["stage"] == "finetune":
        network = "full" if labels["start"] == "pretrained" else "full, random start"
    else:
        kind = labels["kind"] or "search"
        network = f"{labels['method']} {kind}" + (f" {labels['draw']}" if kind == "random" else "")
    return labels["task"], labels["seed"], network


def setup(root: Root) -> pd.DataFrame:
    """What was run, one row per task: columns task, model, data, train_examples, dev_examples, then the
    fields of the recipe."""
    rows = {}
    for record in root.stage("finetune"):
        identity = record.identity
        rows[record.labels["task"]] = {
            "task": record.labels["task"],
            "model": _short(identity["model"]),
            "data": _short(identity["data"]),
            "train_examples": record.result["train_examples"],
            "dev_examples": record.result["dev_examples"],
            **{name: value for name, value in identity["recipe"].items() if name != "type"},
        }
    return pd.DataFrame(rows.values())


def _short(value: str | dict[str, Any]) -> str:
    """A model or data set in a few words."""
    match value:
        case str():
            return f"made here ({value})"
        case {"name": str(name), "commit": str(commit)}:
            return f"{name}@{commit[:8]}"
        case {"sha256": str(sha256)}:
            return f"folder {sha256[:8]}"
    return "generated language"
