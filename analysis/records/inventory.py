"""What a root holds: what was run, by which choices, and what has no record yet."""

from dataclasses import dataclass
from typing import Any

import pandas as pd

from analysis.records.method_names import CHOICES, NO_METHOD, MethodName, choices_of, place
from analysis.records.network_names import NO_NETWORK, WHOLE, NetworkName, TicketSize
from analysis.records.one_study import NOUNS
from analysis.records.root import Root
from lottery_ray.experiment.nodes import Finetune, Kind, NullDraws, Search, Ticket
from lottery_ray.storage.store import Record

DRAWN: tuple[Kind, ...] = ("random", "layer_matched")
"""Kinds of which there may be several draws."""


@dataclass(frozen=True)
class Cell:
    """What a study has, or should have, for each task and seed.

    network: of a ticket, null draws or a fine-tuned model. draw: of kinds of which there are several.
    """

    stage: str
    network: NetworkName = NO_NETWORK
    draw: int | None = None
    method: MethodName = NO_METHOD
    size: TicketSize = WHOLE

    def __str__(self) -> str:
        """ "full", "search (structured)", "random 0 (structured, at 50%)"."""
        if self.stage == Finetune.stage:
            return str(self.network)
        draw = "" if self.draw is None else f" {self.draw}"
        what = {Search.stage: "search", NullDraws.stage: f"{self.network} null draws"}
        return f"{what.get(self.stage, f'{self.network}{draw}')} ({place(self.method, self.size)})"


def missing(root: Root) -> pd.DataFrame:
    """What has no record, of the grid of tasks, seeds, methods, sizes, networks and draws that occur in
    the root: columns task, seed, network (a `Cell`). A task, seed or method of which nothing is recorded yet
    is not known here."""
    recorded = [record for record in root.records if record.labels["stage"] in NOUNS]
    cells = {(r.labels["task"], r.labels["seed"], _cell(root, r)) for r in recorded}
    wanted = {_cell(root, record): record.labels.get("source") for record in recorded}
    rows = [
        (task, seed, network)
        for task in dict.fromkeys(record.labels["task"] for record in recorded)
        for seed in sorted({record.labels["seed"] for record in recorded})
        for network, source in wanted.items()
        if (task, seed, network) not in cells and task != source
    ]
    return pd.DataFrame(rows, columns=["task", "seed", "network"])


def _cell(root: Root, record: Record) -> Cell:
    stage, kind = record.labels["stage"], record.labels["kind"]
    found = root.place(record)
    network = root.networks.get(record.key) or (NetworkName(kind) if kind else NO_NETWORK)
    draw = record.labels["draw"] if stage == Ticket.stage and kind in DRAWN else None
    return Cell(stage, network, draw, found["method"], found.get("size", WHOLE))


def setup(root: Root) -> pd.DataFrame:
    """What was run, one row per task: columns task, model, data, train_examples, held_out (share of the
    training rows that training did not see), dev_examples, then the fields of the recipe."""
    rows = {}
    for record in root.of(Finetune):
        identity = record.identity
        rows[record.labels["task"]] = {
            "task": record.labels["task"],
            "model": _short(identity["model"]),
            "data": _short(identity["data"]),
            "train_examples": record.result["train_examples"],
            "held_out": identity.get("held_out", 0.0),
            "dev_examples": record.result["dev_examples"],
            **{name: value for name, value in identity["recipe"].items() if name != "type"},
        }
    if several := {task: row["processes"] for task, row in rows.items() if "processes" in row}:
        for task, row in rows.items():
            row["processes"] = several.get(task, 1)
    columns = ["task", "model", "data", "train_examples", "held_out", "dev_examples"]
    return pd.DataFrame(rows.values()) if rows else pd.DataFrame(columns=columns)


def micro_batches(root: Root) -> pd.DataFrame:
    """One row per record: columns stage, task, training and evaluation, the most examples that went through
    the network at once after it had run out of memory (None where it had not)."""
    names = {"training": "micro_batch", "evaluation": "evaluation_micro_batch"}
    rows = [
        {"stage": record.labels["stage"], "task": record.labels["task"]}
        | {column: record.provenance.get(name) for column, name in names.items()}
        for record in root.records
    ]
    return pd.DataFrame(rows, columns=["stage", "task", *names], dtype=object)


def costs(root: Root) -> pd.DataFrame:
    """One row per task and kind of node: columns task (None of pre-training), stage, nodes, seconds (mean of
    a node), hours (of all), memory and gpu_memory (GiB of a node at its peak, the most; NaN where it was not
    measured)."""
    rows = [
        {
            "task": record.labels["task"],
            "stage": record.labels["stage"],
            "seconds": record.provenance["seconds"],
            "memory": record.provenance.get("peak_memory_mib"),
            "gpu_memory": record.provenance.get("peak_gpu_memory_mib"),
        }
        for record in root.records
        if "seconds" in record.provenance
    ]
    columns = ["task", "stage", "seconds", "memory", "gpu_memory"]
    each = pd.DataFrame(rows, columns=columns).astype({"memory": float, "gpu_memory": float})
    found = each.groupby(["task", "stage"], dropna=False, sort=False).agg(
        nodes=("seconds", "size"),
        seconds=("seconds", "mean"),
        hours=("seconds", lambda seconds: seconds.sum() / 3600),
        memory=("memory", lambda mib: mib.max() / 1024),
        gpu_memory=("gpu_memory", lambda mib: mib.max() / 1024),
    )
    return found.reset_index()


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


def methods(root: Root) -> pd.DataFrame:
    """How every method searched: columns method, then the fields of `CHOICES` (None where a
    method has no such thing), and examples (the numbers of rows that scored its searches)."""
    rows: dict[MethodName, dict[str, Any]] = {}
    examples: dict[MethodName, set[str]] = {}
    searches = {record.key: record for record in root.of(Search)}
    for record in [*root.of(Ticket), *searches.values()]:
        search = searches[record.identity["sources"][0] if "sources" in record.identity else record.key]
        method = root.methods[record.key]
        ticket = record if record is not search else None
        rows.setdefault(method, {"method": method} | choices_of(search, ticket))
        examples.setdefault(method, set()).update({str(rows_seen(search))} - {"None"})
    for method, row in rows.items():
        row["examples"] = ", ".join(sorted(examples[method], key=int))
    table = pd.DataFrame(rows.values(), columns=["method", *CHOICES, "examples"], dtype=object)
    return table.sort_values("method", ignore_index=True)


def rows_seen(search: Record) -> int | None:
    """How many rows scored a search; not known of records from before it was written down."""
    found = search.result.get("examples")
    return None if found is None else int(found)
