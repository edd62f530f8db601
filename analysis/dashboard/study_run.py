"""What a study's own run of Weights & Biases shows: how far the study is, and what its records say so far.

All of it comes from the records and journals of a root. Names are those of curves, tables and figures there:

    progress/done, progress/search/all, ...                         nodes
    cost/hours, cost/hours/search                                   of trials, one after another
    gap/<task>/<method>/<measure>/good-random, .../low, .../high    see `gaps.gaps`
    overlap/<task>/<method>/<network>/<component>, .../chance       see `overlap_of_seeds`
    search/<task>/<method>/<component>                              mean share that searches keep
    tables/<name>, figures/<group>/<name>, report                   of the report
"""

import re
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pandas as pd

from analysis.formats import grouped, rows, table_in_words
from analysis.records.method_names import place
from analysis.report import figures, page
from analysis.tables import Tables
from lottery_ray.experiment.nodes import Finetune
from lottery_ray.scheduling.journal import Failed, Planned, planned, sweeps
from lottery_ray.storage.store import Store
from lottery_ray.tracking.wandb_run import WandbTable


@dataclass(frozen=True)
class Progress:
    """How far a study is.

    recorded: the keys of all nodes in the root. nodes: those of the sweeps that run, or of the last one; none
    if no sweep has left a journal. running: how many nodes are. seconds_left: as those sweeps say; None if
    they do not know. alive: whether one runs.
    """

    recorded: frozenset[str]
    nodes: tuple[Planned, ...]
    running: int
    failures: tuple[Failed, ...]
    dropped: int
    seconds_left: float | None
    alive: bool

    @property
    def done(self) -> int:
        """How many nodes of the study are done; of all in the root where it is not known which."""
        return sum(node.key in self.recorded for node in self.nodes) if self.nodes else len(self.recorded)

    @property
    def reportable(self) -> bool:
        """Whether a model has been fine-tuned."""
        return any(node.stage == Finetune.stage and node.key in self.recorded for node in self.nodes)

    @property
    def numbers(self) -> dict[str, float]:
        """As curves."""
        found: dict[str, float] = {
            "done": self.done,
            "all": len(self.nodes) or self.done,
            "running": self.running,
            "failed": len(self.failures),
            "dropped": self.dropped,
        }
        if self.seconds_left is not None:
            found["hours_left"] = self.seconds_left / 3600
        every = Counter(node.stage for node in self.nodes)
        done = Counter(node.stage for node in self.nodes if node.key in self.recorded)
        for stage, count in every.items():
            found |= {f"{stage}/done": done[stage], f"{stage}/all": count}
        return {f"progress/{name}": value for name, value in found.items()}


def progress(store: Store) -> Progress:
    """Raises InputError if the root cannot be read."""
    now, known = time.time(), sweeps(store)
    alive = [sweep for sweep in known if sweep.ended is None and not sweep.gone(now)]
    told = alive or known[-1:]
    left = [sweep.seconds_left for sweep in told]
    return Progress(
        recorded=frozenset(store.recorded()),
        nodes=tuple({node.key: node for sweep in told for node in planned(store, sweep)}.values()),
        running=sum(len(sweep.running) for sweep in alive),
        failures=tuple(failure for sweep in told for failure in sweep.failures),
        dropped=sum(sweep.dropped for sweep in told),
        seconds_left=max((each for each in left if each is not None), default=None),
        alive=bool(alive),
    )


def failures(found: tuple[Failed, ...]) -> WandbTable:
    """A row per node that failed."""
    return ["node", "cause", "log"], [[each.title, each.cause, each.log] for each in found]


@dataclass(frozen=True)
class Shown:
    """What is shown of a state of a root, by name. files: PNG and HTML."""

    numbers: dict[str, float] = field(default_factory=dict)
    tables: dict[str, WandbTable] = field(default_factory=dict)
    files: dict[str, Path] = field(default_factory=dict)


@contextmanager
def shown(found: Tables) -> Iterator[Shown]:
    """What the records say, in files that are there as long as the context is."""
    with tempfile.TemporaryDirectory(prefix="lottery_ray_") as folder:
        drawn = figures.draw_figures(found)
        index = Path(folder) / "index.html"
        index.write_text(page.render_page(found, drawn), encoding="utf-8")
        figures.save_figures(drawn, Path(folder))
        files = {f"figures/{each.group}/{each.name}": Path(folder) / f"{each.name}.png" for each in drawn}
        yield Shown(numbers(found), shown_tables(found), files | {"report": index})


def numbers(found: Tables) -> dict[str, float]:
    """Gaps, overlaps, what searches keep, and cost; what is not known is left out."""
    values: dict[str, float] = {"cost/hours": found.costs["hours"].sum()}
    for stage, nodes in grouped(found.costs, "stage"):
        values[f"cost/hours/{stage}"] = nodes["hours"].sum()
    for row in rows(found.gaps):
        compared = f"{word(str(row['network']))}-{word(str(row['versus']))}"
        name = f"gap/{row['task']}/{method(row)}/{row['measure']}/{compared}"
        values |= {name: row["mean"], f"{name}/low": row["low"], f"{name}/high": row["high"]}
    for row in rows(found.overlap):
        name = f"overlap/{row['task']}/{method(row)}/{word(str(row['network']))}/{row['component']}"
        values |= {name: row["jaccard"], f"{name}/chance": row["chance"]}
        values |= {f"{name}/chance_low": row["chance_low"], f"{name}/chance_high": row["chance_high"]}
    ends = last_steps(found.searches)
    for (task, by, component), group in grouped(ends, ["task", "method", "component"]):
        values[f"search/{task}/{word(str(by))}/{component}"] = (group["kept"] / group["of"]).mean()
    return {name: float(value) for name, value in values.items() if not pd.isna(value)}


def method(row: dict[str, Any]) -> str:
    """A row's method as a part of a name; with its size, where that is not the stopping one."""
    return word(place(row["method"], row["size"]))


def word(name: str) -> str:
    """A part of a name: letters, digits and "_" alone."""
    return re.sub("[^A-Za-z0-9]+", "_", name).strip("_")


def shown_tables(found: Tables) -> dict[str, WandbTable]:
    """Those that a dashboard shows."""
    own = {
        "scores": found.summary,
        "gaps": found.gaps,
        "overlap": found.overlap,
        "searches": last_steps(found.searches),
        "cost": found.costs,
    }
    return {f"tables/{name}": _table(frame) for name, frame in own.items()}


def last_steps(searches: pd.DataFrame) -> pd.DataFrame:
    """Where every search ended: its last step that kept the score above the floor, a row per component."""
    steps = searches[searches["accepted"].astype(bool) & ~searches["past_floor"].astype(bool)]
    return steps.groupby(["task", "method", "seed", "component"], sort=False).tail(1)


def _table(frame: pd.DataFrame) -> WandbTable:
    """Without NaN, which is no word of JSON."""
    frame = table_in_words(frame)
    cells = frame.astype(object).where(frame.notna(), None)
    return [str(name) for name in frame.columns], [list(row) for row in cells.to_numpy()]
