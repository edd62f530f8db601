"""What is done, running and failed in a root, while a sweep runs there and after.

Examples:
    python jobs/status.py results/demo
    python jobs/status.py s3://bucket/paper --watch
"""

import shlex
import time
from typing import Annotated

import tyro
from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from lottery_ray.errors import InputError
from lottery_ray.experiment.graph import NODE_KINDS
from lottery_ray.scheduling.journal import Planned, Sweep, planned, sweeps
from lottery_ray.scheduling.one_node import REPLAY, command_of_node
from lottery_ray.scheduling.progress import by_cause, duration
from lottery_ray.storage.store import Store
from lottery_ray.terminal import flags_of, show_error

EVERY = 5.0
"""Seconds between two looks."""


def status(
    root: tyro.conf.Positional[Annotated[str, tyro.conf.arg(metavar="ROOT")]],
    watch: bool = False,
) -> int:
    """Say what is done, running and failed in a root, with causes.

    Args:
        root: A folder or URI that a sweep writes to or has written to.
        watch: Look again every few seconds, until the sweep ends.
    """
    # lines of words are wrapped by the terminal, so that a command or a path can be copied
    console = Console(highlight=False, soft_wrap=True)
    try:
        store = Store.open(root)
        if watch and console.is_terminal:
            _follow(store, console)
        view, runs, recorded = seen(store)
        name = shlex.quote(store.absolute)
        then = f"status.py {name} --watch" if runs else f"report.py {name}" if recorded else "sweep.py --help"
        console.print(Group(view, Text(f"Next: python jobs/{then}", style="dim")))
        return 0
    except InputError as error:
        show_error(error)
        return 2
    except KeyboardInterrupt:
        return 130


def _follow(store: Store, console: Console) -> None:
    """Until no sweep runs."""
    with Live(console=console, auto_refresh=False, transient=True) as live:
        while True:
            view, runs, _ = seen(store)
            live.update(view, refresh=True)
            if not runs:
                return
            time.sleep(EVERY)


def seen(store: Store) -> tuple[RenderableType, bool, bool]:
    """What to show, of all sweeps that run or else of the last one; whether one runs; whether anything is
    done."""
    now, recorded = time.time(), store.recorded()
    known = sweeps(store)
    alive = [sweep for sweep in known if sweep.ended is None and not sweep.gone(now)]
    views = [of_sweep(sweep, planned(store, sweep), recorded, now) for sweep in alive or known[-1:]]
    if not views:
        views = [Text(f"{len(recorded)} nodes are done. No sweep has left a journal here.")]
    return Group(*views), bool(alive), bool(recorded)


def of_sweep(sweep: Sweep, nodes: list[Planned], recorded: set[str], now: float) -> RenderableType:
    done = sum(node.key in recorded for node in nodes)
    parts: list[RenderableType] = [Text(headline(sweep, done, len(nodes), now), style="bold")]
    parts.append(Padding(by_stage(sweep, nodes, recorded, now), (1, 0)))
    titles = {node.key: node.title for node in nodes}
    if sweep.ended is None:
        word = "was running" if sweep.gone(now) else "running"
        for node, since in sorted(sweep.running.items(), key=lambda item: item[1]):
            parts.append(Text(f"{word}  {titles.get(node, node)} · {duration(sweep.heard - since)}"))
    return Group(*parts, *failures(sweep, recorded))


def headline(sweep: Sweep, done: int, total: int, now: float) -> str:
    ago = duration(now - sweep.heard)
    if sweep.ended:
        left = "" if done == total else " Run the same command again to go on."
        state = f"{sweep.ended} {ago} ago.{left}"
    elif sweep.gone(now):
        state = (
            f"nothing was heard of it for {ago}: it was killed, or lost its way to the root."
            " The same command again goes on."
        )
    elif sweep.seconds_left is None:
        state = "it runs, time left unknown."
    else:
        state = f"it runs, about {duration(sweep.seconds_left)} left."
    return f"{done} of {total} nodes done. The sweep of {sweep.host}, begun {when(sweep.begun)}: {state}"


def when(seconds: float) -> str:
    return time.strftime("%Y-%m-%d %H:%M", time.localtime(seconds))


def by_stage(sweep: Sweep, nodes: list[Planned], recorded: set[str], now: float) -> Table:
    table = Table(box=None, pad_edge=False, header_style="bold")
    for heading in ("", "done", "running", "to do", "of"):
        table.add_column(heading, justify="right" if heading else "left")
    running = set(sweep.running) if sweep.ended is None and not sweep.gone(now) else set()
    for stage in NODE_KINDS:
        keys = {node.key for node in nodes if node.stage == stage}
        if keys:
            done, runs = keys & recorded, keys & running - recorded
            counts = len(done), len(runs), len(keys) - len(done) - len(runs), len(keys)
            table.add_row(stage, *map(str, counts))
    return table


def failures(sweep: Sweep, recorded: set[str]) -> list[RenderableType]:
    """Those that were not done since, grouped by cause, whose numbers may differ; the most frequent first."""
    failed = [failure for failure in sweep.failures if failure.key not in recorded]
    if not failed:
        return []
    count = f"{len(failed)} failed; {sweep.dropped} that need them cannot run"
    parts: list[RenderableType] = [Text(f"\n{count}", style="bold red")]
    for alike in sorted(by_cause(failed), key=len, reverse=True):
        first = alike[0]
        lines = [f"{len(alike)} x  {first.cause}", f"     {first.title}", f"     log: {first.log}"]
        if sweep.command and first.key:
            lines.append(f"     replay: {command_of_node(sweep.command, first.key)}")
        parts.append(Text("\n".join(lines)))
    return [*parts, Text(REPLAY)] if sweep.command else parts


def main() -> int:
    """Exit status."""
    return flags_of(status, __doc__)
