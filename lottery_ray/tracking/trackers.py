"""A node as its trackers see it while it runs: Weights & Biases, or another of Accelerate's.

A node is one run, from its start to its record. A tracker must never cost a result: what goes wrong with one
is a warning in the record, and the node goes on without it.
"""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from lottery_ray.errors import InputError
from lottery_ray.experiment.graph import Node
from lottery_ray.storage.store import Record, Store
from lottery_ray.tracking import wandb_run
from lottery_ray.tracking.settings import Tracking, flat_result, node_config, node_slug

PROVENANCE = ("seconds", "peak_memory_mib", "peak_gpu_memory_mib", "device", "host", "commit")
"""What is told of a record beside its result."""


class Tracker(Protocol):
    """Who is told of one node. Any of this may fail; `TrackedRun` sees to that."""

    def log(self, values: Mapping[str, float], step: int) -> None:
        """One point of each of these curves."""

    def read(self, node: Node, inputs: Mapping[Node, Record], fetched: Path) -> None:
        """What the node is made from. inputs: its parents. fetched: for what is not on this machine."""

    def leave(self, node: Node, record: Record, fetched: Path) -> None:
        """What the node has made."""

    def end(self, values: Mapping[str, Any]) -> None:
        """What came out, in numbers and words."""

    def finish(self, *, failed: bool) -> None:
        """Nothing more will be told."""


@dataclass
class AccelerateTracker:
    """One of Accelerate's, which knows no artifacts."""

    tracker: Any
    step: int = 0

    def log(self, values: Mapping[str, float], step: int) -> None:
        """See `Tracker`."""
        self.step = step
        self.tracker.log(dict(values), step=step)

    def read(self, node: Node, inputs: Mapping[Node, Record], fetched: Path) -> None:
        """Nothing."""

    def leave(self, node: Node, record: Record, fetched: Path) -> None:
        """Nothing."""

    def end(self, values: Mapping[str, Any]) -> None:
        """Its numbers, as points at the last step."""
        numbers = {f"result/{name}": v for name, v in values.items() if isinstance(v, int | float)}
        self.tracker.log(numbers, step=self.step)

    def finish(self, *, failed: bool) -> None:
        """See `Tracker`."""
        self.tracker.finish()


@dataclass
class TrackedRun:
    """One node as its trackers see it, if it has any.

    trackers: by name. fetched: see `Tracker`. warnings: what went wrong, in words, for the record.
    dev_curves: whether it is told the dev score after every epoch.
    """

    node: Node
    trackers: dict[str, Tracker]
    fetched: Path
    warnings: list[str]
    dev_curves: bool

    def __bool__(self) -> bool:
        return bool(self.trackers)

    def log(self, values: Mapping[str, float], step: int) -> None:
        """One point of each of these curves. step: of a training or a search, from 0."""
        self._tell(lambda tracker: tracker.log(values, step))

    def read(self, inputs: Mapping[Node, Record]) -> None:
        """What the node is made from: the records of its parents, and what they are all made from."""
        self._tell(lambda tracker: tracker.read(self.node, inputs, self.fetched))

    def leave(self, record: Record) -> None:
        """Its record, which is published."""
        values = flat_result(record.result) | flat_result(
            {name: record.provenance.get(name) for name in PROVENANCE}
        )
        self._tell(lambda tracker: tracker.leave(self.node, record, self.fetched))
        self._tell(lambda tracker: tracker.end(values))

    def finish(self, error: BaseException | None = None) -> None:
        """Nothing more will be told. error: what the node has failed with."""
        if error:
            words = " ".join(f"{type(error).__name__}: {error}".split())
            self._tell(lambda tracker: tracker.end({"error": words}))
        self._tell(lambda tracker: tracker.finish(failed=error is not None))

    def _tell(self, something: Callable[[Tracker], None]) -> None:
        for name in list(self.trackers):
            with self.guarded(name):
                something(self.trackers[name])

    @contextmanager
    def guarded(self, name: str) -> Iterator[None]:
        """For what is told to a tracker: if that fails, it is told nothing more. name: the tracker's, or that
        of what is done for all of them."""
        try:
            yield
        except Exception as error:
            self.trackers.pop(name, None)
            self.warnings.append(f"{name}: {type(error).__name__}: {' '.join(str(error).split())}")


def check_trackers(tracking: Tracking, store: Store) -> str | None:
    """Whether what is asked for can track nodes here, before any of them starts. Returns what is to be said
    where it can, but not as was asked.

    Raises InputError if a tracker is not installed or not known, or wants an account and has none.
    """
    if tracking.tracker is not None:
        _check_tracker(tracking.tracker, store)
    if tracking.wandb == "disabled":
        return None
    return wandb_run.check_wandb(tracking)


def _check_tracker(name: str, store: Store) -> None:
    from accelerate.tracking import LOGGER_TYPE_TO_CLASS, get_available_trackers

    known = sorted({*LOGGER_TYPE_TO_CLASS} - {"wandb"})
    if name not in known:
        way = "that is --wandb offline or online" if name == "wandb" else f"choose from {', '.join(known)}"
        raise InputError(f"--tracker {name}: unknown; {way}.")
    if name not in map(str, get_available_trackers()):
        raise InputError(f"--tracker {name}: it is not installed here.")
    if LOGGER_TYPE_TO_CLASS[name].requires_logging_directory and not store.local:
        raise InputError(f"--tracker {name}: it writes into a folder, and the root {store.uri} is none.")


@contextmanager
def tracked(
    node: Node, tracking: Tracking, store: Store, fetched: Path, spread: float = 0.0
) -> Iterator[TrackedRun]:
    """For what runs a node: its trackers are told when it begins, and how it ends.

    fetched: a folder for artifacts that are not on this machine. spread: seconds over which the first runs of
    many processes begin.
    """
    run = TrackedRun(node, {}, fetched, [], not tracking.no_dev_curves)
    if tracking.tracker is not None:
        with run.guarded(tracking.tracker):
            run.trackers[tracking.tracker] = _accelerates(node, tracking.tracker, tracking, store)
    if tracking.wandb != "disabled":
        with run.guarded("wandb"):
            run.trackers["wandb"] = wandb_run.run_of_node(node, tracking, store, run.warnings, spread)
    try:
        yield run
    except BaseException as error:
        run.finish(error)
        raise
    run.finish()


def _accelerates(node: Node, name: str, tracking: Tracking, store: Store) -> AccelerateTracker:
    from accelerate.tracking import LOGGER_TYPE_TO_CLASS

    kind = LOGGER_TYPE_TO_CLASS[name]
    in_folder = (node_slug(node), f"{store.path}/{name}")
    tracker = kind(*in_folder) if kind.requires_logging_directory else kind(tracking.project)
    tracker.start()
    tracker.store_init_configuration(node_config(node))
    return AccelerateTracker(tracker)
