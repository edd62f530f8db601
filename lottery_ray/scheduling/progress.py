"""One progress display for a sweep: live in a terminal, a line per finished node in a log file."""

import re
import time
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Protocol, TypeVar

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from lottery_ray.experiment.graph import NODE_KINDS, Node, key, node_title
from lottery_ray.experiment.nodes import Finetune
from lottery_ray.scheduling.costs import Calibration, cost
from lottery_ray.scheduling.forecast import Forecast, groups
from lottery_ray.scheduling.one_node import command_of_node


@dataclass(frozen=True)
class Failure:
    """A node that failed for good. log: where the whole traceback is."""

    node: Node
    cause: str
    log: str


@dataclass
class SweepProgress:
    """What has happened to the nodes of a sweep, and its display.

    nodes: all that the study needs; done: those that had a record before. command: the sweep's, as
    `one_node.command_line` gives it.
    """

    nodes: tuple[Node, ...]
    done: set[Node]
    console: Console
    running: dict[Node, float] = field(default_factory=dict)
    failures: list[Failure] = field(default_factory=list)
    dropped: list[Node] = field(default_factory=list)
    most_running: int = 1
    forecast: Forecast = field(default_factory=Forecast)
    stopped: str = ""
    """Why a sweep ended before its time."""
    command: str = ""

    def __post_init__(self) -> None:
        # since a line per node must not look at every node: one of each group, and the cost of what is left
        self._left: dict[tuple[str | None, ...], tuple[Node, float]] = {}
        for node in self.nodes:
            if node not in self.done:
                self._leave(node, cost(node))
        self._live = Live(
            get_renderable=self._display,
            console=self.console,
            refresh_per_second=2,
            transient=True,
            redirect_stdout=False,
            redirect_stderr=False,
        )

    def __enter__(self) -> "SweepProgress":
        if self.console.is_terminal:
            self._live.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._live.stop()

    def _leave(self, node: Node, more: float) -> None:
        like, left = self._left.get(groups(node)[0], (node, 0.0))
        self._left[groups(node)[0]] = like, left + more

    def started(self, node: Node) -> None:
        self.running[node] = time.monotonic()
        self.most_running = max(self.most_running, len(self.running))

    def finished(self, node: Node) -> None:
        seconds = time.monotonic() - self.running.pop(node)
        self.done.add(node)
        self.forecast.learn(node, seconds)
        self._leave(node, -cost(node))
        self._line(f"{node_title(node)} · {duration(seconds)}")

    def checked(self, node: Finetune, calibration: Calibration) -> None:
        """By its canary, which ran in its place."""
        seconds = time.monotonic() - self.running.pop(node)
        self.forecast.calibrate(node, calibration)
        self._line(f"canary {node.task} · {duration(seconds)}")

    def died(self, node: Node) -> None:
        """Its process did, and it will run again."""
        self.running.pop(node, None)
        self._line(f"{node_title(node)} · its process died, and it will run again")

    def failed(self, failure: Failure, dropped: list[Node]) -> None:
        """dropped: the descendants that can no longer run."""
        self.running.pop(failure.node, None)
        self.failures.append(failure)
        self.dropped += dropped
        for gone in (failure.node, *dropped):
            self._leave(gone, -cost(gone))
        said = f"FAILED {node_title(failure.node)} · {failure.cause}"
        self._line(said)
        if self.console.is_terminal:
            self.console.print(said, style="red", highlight=False, soft_wrap=True, markup=False)
        elif self.command:
            again = command_of_node(self.command, key(failure.node))
            self.console.print(f"    replay: {again}", highlight=False, soft_wrap=True, markup=False)

    def _line(self, event: str) -> None:
        if not self.console.is_terminal:
            counts = f"[{len(self.done)}/{len(self.nodes)}]"
            self.console.print(
                f"{counts} {event} · {self._state()}", highlight=False, soft_wrap=True, markup=False
            )

    def _state(self) -> str:
        left = self.seconds_left()
        return " · ".join(
            [
                f"{len(self.running)} running",
                f"{len(self.failures)} failed",
                "time left unknown" if left is None else f"about {duration(left)} left",
            ]
        )

    def seconds_left(self) -> float | None:
        """By the forecast; None where nothing was measured yet."""
        left = 0.0
        for node, cost_left in self._left.values():
            seconds = self.forecast.seconds(node)
            if seconds is None:
                return None
            left += seconds * cost_left / cost(node)
        now = time.monotonic()
        # a copy: the display is drawn by a thread of its own
        for node, since in list(self.running.items()):
            left -= min(now - since, self.forecast.seconds(node) or 0.0)
        return max(0.0, left) / self.most_running

    def _display(self) -> RenderableType:
        table = Table(box=None, pad_edge=False, header_style="bold")
        for heading in ("", "done", "running", "failed", "of"):
            table.add_column(heading, justify="right" if heading else "left")
        failed = [failure.node for failure in self.failures]
        columns = [
            Counter(node.stage for node in list(nodes))
            for nodes in (self.done, self.running, failed, self.nodes)
        ]
        for name in NODE_KINDS:
            if columns[-1][name]:
                table.add_row(name, *(str(column[name]) for column in columns))
        bar = ProgressBar(total=len(self.nodes), completed=len(self.done), width=40)
        said = Text(f"{len(self.done)} of {len(self.nodes)} nodes · {self._state()}")
        # a bar ends no line
        return Group(table, bar, Text(), said)


def duration(seconds: float) -> str:
    """In words, such as "45 s", "12 min" or "3.4 h"."""
    minutes, hours = round(seconds / 60), seconds / 3600
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{minutes} min" if minutes < 90 else f"{hours:.1f} h"


class _Failed(Protocol):
    @property
    def cause(self) -> str: ...


F = TypeVar("F", bound=_Failed)


def by_cause(failures: Iterable[F]) -> list[list[F]]:
    """Those whose causes differ in numbers alone, together."""
    found: dict[str, list[F]] = {}
    for failure in failures:
        found.setdefault(re.sub(r"\d+", "#", failure.cause), []).append(failure)
    return list(found.values())
