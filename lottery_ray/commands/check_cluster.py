"""Check every node of a running Ray cluster before a study, and say what to fix.

Examples:
    ray submit cluster.yaml jobs/check_cluster.py -- --root s3://bucket/paper --gpus 1
    python jobs/check_cluster.py --root /nfs/mine --model /nfs/bert --data /nfs/glue

Exit status: 0 if all is well, 1 if something is not, 2 if it cannot be checked.
"""

import os
from dataclasses import dataclass
from typing import TYPE_CHECKING

from rich.console import Console
from rich.table import Table

from lottery_ray.errors import InputError
from lottery_ray.experiment.plan import plan
from lottery_ray.experiment.study import Study
from lottery_ray.terminal import at_work, flags_of, show_error

if TYPE_CHECKING:
    from lottery_ray.cluster.preflight import Check


@dataclass(frozen=True)
class CheckCluster:
    """What the study will need. Root, model, data and tasks are those of jobs/sweep.py."""

    root: str
    """Where results will go. It is made if it is not there."""
    model: str = Study.model
    """A checkpoint: a hub name (optionally name@commit), a folder, or "embedded"."""
    data: str = Study.data
    """"hub", a folder of <task>/{train,validation}.parquet, or "embedded"."""
    tasks: tuple[str, ...] = Study.tasks
    """The tasks whose data must be readable."""
    extend: tuple[str, ...] = ()
    """What adds tasks or architectures of your own; every machine must have its packages."""
    gpus: int = 0
    """Ask the autoscaler for so many GPUs first, and wait for them: it may have started no worker yet."""
    minutes: float = 20
    """How long to wait for them."""
    disk: float = 20
    """GB that must be free on every node."""
    address: str | None = None
    """The Ray cluster. None: $RAY_ADDRESS, or else the one that runs on this machine."""


def main() -> int:
    """Exit status."""
    wanted = flags_of(CheckCluster, __doc__)
    # Ray takes seconds to load, which --help can do without
    from lottery_ray.cluster.machines import join_cluster, wait_for_gpus
    from lottery_ray.cluster.preflight import Needs, check_cluster

    console = Console(highlight=False)
    try:
        planned = plan(Study(wanted.model, wanted.data, wanted.tasks, kinds=(), extend=wanted.extend))
        join_cluster(wanted.address or os.environ.get("RAY_ADDRESS", "auto"))
        if wanted.gpus:
            console.print(f"waiting for {wanted.gpus} GPUs, {wanted.minutes:g} minutes at most")
            wait_for_gpus(wanted.gpus, 60 * wanted.minutes)
        with at_work(console, "checking every node"):
            checks = check_cluster(Needs(wanted.root, planned, wanted.disk))
    except InputError as error:
        show_error(error)
        return 2
    console.print(table(checks))
    wrong = [one for one in checks if not one.well]
    if wrong:
        console.print(f"{len(wrong)} of {len(checks)} checks failed. Next: mend them, and check again.")
    else:
        console.print(f"All is well. Next: jobs/sweep.py, submitted alike, with --root {wanted.root}")
    return 1 if wrong else 0


def table(checks: "list[Check]") -> Table:
    """A line per check and node."""
    made = Table(box=None, pad_edge=False, header_style="bold")
    for heading in ("check", "node", "", "found", "what to do"):
        made.add_column(heading, overflow="fold")
    for one in checks:
        state = "[green]well[/]" if one.well else "[red]FIX[/]"
        made.add_row(one.name, one.node, state, one.found.replace("[", "\\["), one.fix)
    return made
