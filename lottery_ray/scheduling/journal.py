"""What a sweep says of itself in its root, for whoever looks at it while it runs and after.

    ROOT/sweeps/<begun>-<id>/plan.json   the nodes of its study
    ROOT/sweeps/<begun>-<id>/now.json    what runs, what failed and why; written again every few seconds

A sweep that no longer writes was killed, or lost its way to the root.
"""

import contextlib
import platform
import threading
import time
import uuid
from dataclasses import asdict, dataclass
from typing import Any

from lottery_ray.errors import InputError
from lottery_ray.experiment.graph import key, node_title
from lottery_ray.scheduling.progress import SweepProgress
from lottery_ray.storage.store import Store

SECONDS = 5.0
"""Between two writes."""
SILENT = 180.0
"""After so many seconds without a write a sweep counts as gone."""


@dataclass(frozen=True)
class Planned:
    """A node of a sweep's study."""

    key: str
    stage: str
    title: str


@dataclass(frozen=True)
class Failed:
    """A node that failed for good. log: where the traceback is. key: "" in journals of older versions."""

    title: str
    cause: str
    log: str
    key: str = ""


@dataclass(frozen=True)
class Sweep:
    """What a sweep last said. Times are in seconds since the epoch.

    running: {key: since when}. dropped: nodes that cannot run since one that they need has failed.
    seconds_left: by the sweep's own estimate. ended: in words; None while it runs. command: as
    `one_node.command_line` gives it; "" in journals of older versions.
    """

    name: str
    host: str
    begun: float
    heard: float
    running: dict[str, float]
    failures: tuple[Failed, ...]
    dropped: int
    seconds_left: float | None
    ended: str | None
    command: str = ""

    def gone(self, now: float) -> bool:
        """It has not ended, and is silent."""
        return self.ended is None and now - self.heard > SILENT


class Journal:
    """Writes what a sweep says, from a thread of its own. Use it as a context manager."""

    def __init__(self, store: Store, progress: SweepProgress) -> None:
        self.store = store
        self.progress = progress
        self.begun = time.time()
        stamp = time.strftime("%Y%m%dT%H%M%S", time.gmtime(self.begun))
        self.name = f"{stamp}-{uuid.uuid4().hex[:6]}"
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._keep_writing, daemon=True)

    def __enter__(self) -> "Journal":
        nodes = [Planned(node.key, node.stage, node_title(node)) for node in self.progress.nodes]
        self.store.write_json(f"sweeps/{self.name}/plan.json", [asdict(node) for node in nodes])
        self._write(None)
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: object) -> None:
        self._over.set()
        self._thread.join()
        why = f" ({self.progress.stopped})" if self.progress.stopped else ""
        self._write(f"it ended{why}" if kind is None else f"it was stopped by {kind.__name__}")

    def _keep_writing(self) -> None:
        while not self._over.wait(SECONDS):
            self._write(None)

    def _write(self, ended: str | None) -> None:
        now = time.time()
        # copies: the sweep goes on in another thread
        running, failures = dict(self.progress.running), list(self.progress.failures)
        said = Sweep(
            name=self.name,
            host=platform.node(),
            begun=self.begun,
            heard=now,
            running={key(node): now - time.monotonic() + since for node, since in running.items()},
            failures=tuple(Failed(node_title(f.node), f.cause, f.log, key(f.node)) for f in failures),
            dropped=len(self.progress.dropped),
            seconds_left=self.progress.seconds_left(),
            ended=ended,
            command=self.progress.command,
        )
        # the work goes on where its journal cannot be written
        with contextlib.suppress(InputError):
            self.store.write_json(f"sweeps/{self.name}/now.json", asdict(said))


def sweeps(store: Store) -> list[Sweep]:
    """All that have run on a root, the newest last."""
    found = []
    for name in store.folders("sweeps"):
        # it is about to begin, or of another version
        with contextlib.suppress(InputError, ValueError, TypeError, KeyError):
            said: dict[str, Any] = store.read_json(f"sweeps/{name}/now.json")
            failures = tuple(Failed(**failure) for failure in said.pop("failures"))
            found.append(Sweep(**said, failures=failures))
    return found


def planned(store: Store, sweep: Sweep) -> list[Planned]:
    """The nodes of a sweep's study, parents first."""
    return [Planned(**node) for node in store.read_json(f"sweeps/{sweep.name}/plan.json")]
