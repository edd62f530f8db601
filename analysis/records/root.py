"""The records of a root, each under the name of its method and network; a mixture is refused."""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from analysis.records import one_study
from analysis.records.method_names import NO_METHOD, MethodName, choices_of, published_method, told_apart
from analysis.records.network_names import (
    PUBLISHED_NETWORKS,
    NetworkName,
    TicketSize,
    network_of,
    size_of,
)
from lottery_ray.errors import InputError
from lottery_ray.experiment.graph import Node
from lottery_ray.experiment.nodes import Finetune, NullDraws, Search, Ticket
from lottery_ray.inputs import architectures as adapters
from lottery_ray.inputs.architectures import RECORDED_ADAPTERS
from lottery_ray.inputs.tasks import RECORDED_TASKS, TASKS, Metric, Task, task_order
from lottery_ray.storage.published import Published
from lottery_ray.storage.recorded import added_architecture, from_identity
from lottery_ray.storage.store import Record, Store


@dataclass(frozen=True)
class MaskFile:
    """Where the mask of one network lies, and whose it is."""

    task: str
    seed: int
    method: MethodName
    size: TicketSize
    network: NetworkName
    draw: int
    path: Path


@dataclass(frozen=True)
class Root:
    """The records of one study, and where their artifacts are read.

    copies: the folder that artifacts of a remote root are copied to. methods: by key, of searches, tickets
    and null draws. networks: by key, of fine-tuned models and tickets. fetched: the artifacts that are at
    hand. own_tasks: those that the user added, by name.
    """

    store: Store
    copies: Path
    records: tuple[Record, ...]
    methods: dict[str, MethodName]
    networks: dict[str, NetworkName]
    own_tasks: dict[str, Task] = field(default_factory=dict)
    fetched: dict[tuple[str, str], Path] = field(default_factory=dict, repr=False)

    def metric(self, task: str) -> Metric:
        """How a task of this root is scored."""
        return (TASKS | self.own_tasks)[task].metric

    def of(self, kind: type[Node]) -> list[Record]:
        """The records of one kind of node."""
        return [record for record in self.records if is_of(record, kind)]

    def artifact(self, record: Record, name: str) -> Path:
        """A local path of one artifact, which is fetched and checked once. Raises InputError if it is
        missing or corrupt."""
        place = record.key, name
        if place not in self.fetched:
            self.fetched[place] = self.store.fetch(record, name, self.copies / record.key)
        return self.fetched[place]

    def subnetworks(self) -> list[Record]:
        """Every ticket and published mask once: a ticket that is only retrained otherwise has the mask of
        its twin."""
        own = [*self.of(Ticket), *(r for r in self.of(Published) if r.labels["seed"] is not None)]
        return [record for record in own if not self.networks[record.key].is_control]

    def masks(self) -> list[MaskFile]:
        """The mask of every subnetwork."""
        return [
            MaskFile(
                task=record.labels["task"],
                seed=record.labels["seed"],
                method=self.methods[record.key],
                size=size_of(record),
                network=self.networks[record.key],
                draw=record.labels["draw"],
                path=self.artifact(record, "mask.arrow"),
            )
            for record in self.subnetworks()
        ]

    def place(self, record: Record) -> dict[str, Any]:
        """The columns task, seed, method and, of subnetworks and null draws, size."""
        found = {"task": record.labels["task"], "seed": record.labels["seed"]}
        found["method"] = self.methods.get(record.key, NO_METHOD)
        return found | ({"size": size_of(record)} if is_of(record, Ticket, NullDraws, Published) else {})


def is_of(record: Record, *kinds: type[Node]) -> bool:
    """Whether it is the record of a node of one of these kinds."""
    return any(record.labels["stage"] == kind.stage for kind in kinds)


def read_root(store: Store, copies: Path, only: Sequence[str] = ()) -> Root:
    """All records of a root, in the order of tasks, methods, sizes, networks, seeds and draws.

    only: FIELD=VALUE of the fine-tuned models of one of several studies, see `one_study.chosen`. Raises
    InputError if there are no scores yet, if a record is corrupt, or if records of one task come from
    several studies.
    """
    every = tuple(store.records())
    if not any(is_of(record, Finetune, Published) for record in every):
        raise InputError(
            f"{store.uri} holds no fine-tuned model yet, so there is nothing to report. Run a study into it"
            " first: python jobs/sweep.py --help says how."
        )
    records = one_study.chosen(store.uri, every, only)
    _check_parents(records)
    one_study.check(store.uri, records, only)
    own_tasks = _own_tasks(records)
    RECORDED_TASKS.update(own_tasks)
    RECORDED_ADAPTERS.update(_own_adapters(records))
    methods = _methods(records)
    networks = _networks(records, methods)

    def order(record: Record) -> tuple[Any, ...]:
        task, seed, draw = (record.labels[name] for name in ("task", "seed", "draw"))
        kind = record.labels["kind"]
        network = networks.get(record.key) or (NetworkName(kind) if kind else None)
        place = (
            methods.get(record.key, NO_METHOD).order,
            size_of(record).order,
            network.order if network else (-1,),
        )
        return (-1, "") if task is None else task_order(task), *place, seed or 0, draw or 0, record.key

    return Root(store, copies, tuple(sorted(records, key=order)), methods, networks, own_tasks)


def _own_tasks(records: tuple[Record, ...]) -> dict[str, Task]:
    """The user's own tasks that its fine-tuned models are of, by name."""
    return {
        record.labels["task"]: replace(
            from_identity(record.identity["own_task"]), title=record.labels["task_title"]
        )
        for record in records
        if "own_task" in record.identity
    }


def _own_adapters(records: tuple[Record, ...]) -> set[adapters.Adapter]:
    """Of the architectures that the user added."""
    models = [record for record in records if is_of(record, Finetune)]
    return {own.adapter for own in map(added_architecture, models) if own}


def _methods(records: tuple[Record, ...]) -> dict[str, MethodName]:
    """By key, of searches, and of what is drawn from them. A search whose tickets all lose their parts in one
    way is named like them."""
    searches = {record.key: record for record in records if is_of(record, Search)}
    drawn: dict[str, dict[str, Record]] = defaultdict(dict)
    chosen: dict[str, tuple[str, dict[str, Any]]] = {}
    for record in records:
        if is_of(record, Ticket):
            source = record.identity["sources"][0]
            drawn[source][record.identity.get("removal", "sound")] = record
            chosen[record.key] = record.labels["method"], choices_of(searches[source], record)
    for record in records:
        if is_of(record, Search, NullDraws):
            search = searches[record.identity.get("source", record.key)]
            ticket = next(iter(drawn[search.key].values())) if len(drawn[search.key]) == 1 else None
            chosen[record.key] = search.labels["method"], choices_of(search, ticket)
    found = {record.key: published_method(record) for record in records if is_of(record, Published)}
    return found | dict(zip(chosen, told_apart(chosen.values()), strict=True))


def _networks(records: tuple[Record, ...], methods: dict[str, MethodName]) -> dict[str, NetworkName]:
    """By key, of fine-tuned models, tickets and what is published."""
    epochs: dict[str, int] = {}
    sources: dict[str, set[str]] = defaultdict(set)
    seeds: dict[tuple[str, MethodName], int] = defaultdict(int)
    for record in records:
        if is_of(record, Finetune):
            epochs[record.key] = int(record.identity["recipe"]["epochs"])
        if is_of(record, Ticket):
            place = record.labels["task"], methods[record.key]
            seeds[place] = max(seeds[place], len(record.identity["sources"]))
            sources[record.labels["kind"]].add(record.identity.get("kind_sha256", ""))
    words = {record.key: record.labels["kind"] for record in records if is_of(record, Published)}
    return {key: PUBLISHED_NETWORKS.get(kind, NetworkName(kind)) for key, kind in words.items()} | {
        record.key: network_of(
            record,
            epochs.get(record.identity.get("finetune", "")),
            seeds.get((record.labels["task"], methods.get(record.key, NO_METHOD))),
            several_sources=len(sources[record.labels["kind"]]) > 1,
        )
        for record in records
        if is_of(record, Finetune, Ticket)
    }


def _check_parents(records: tuple[Record, ...]) -> None:
    """A node's parents may have been deleted, or run again since, with another result on a GPU."""
    digests = {record.key: record.digest for record in records}
    for record in records:
        sources = record.identity.get("sources", [record.identity.get("source")])
        for source in sources:
            if source is not None and source not in digests:
                raise InputError(
                    f"The record nodes/{record.key}/node.json was drawn from the search {source}, which has"
                    " no record any more. Run the study again, and it makes it."
                )
        for parent, read in record.parents.items():
            if digests.get(parent, read) != read:
                raise InputError(
                    f"The record nodes/{record.key}/node.json was made from another run of {parent} than the"
                    " one now in the root. Run the study again, and it is made again."
                )
