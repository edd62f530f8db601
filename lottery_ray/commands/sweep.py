"""Run a study: fine-tune, search, draw tickets, retrain, report.

Examples:
    python jobs/sweep.py demo
    python jobs/sweep.py glue --data ~/glue --tasks mrpc rte --root results/mine
    python jobs/sweep.py paper --root s3://bucket/paper --gpus-per-trial 0.25
    python jobs/sweep.py paper-as-released --dry-run

Each of these presets takes the same flags: python jobs/sweep.py glue --help

Exit status:
    0    all is done
    1    nodes failed; the end says which, why, and how to replay one
    2    bad input; nothing was run
    3    the budget is used up
    130  interrupted
"""

from dataclasses import dataclass
from typing import Annotated

import tyro
from rich.console import Console

from lottery_ray import running
from lottery_ray.errors import InputError
from lottery_ray.experiment.study import PRESETS, Site, Study
from lottery_ray.scheduling import dry_run
from lottery_ray.scheduling.dry_run import choices_table
from lottery_ray.scheduling.forecast import from_records
from lottery_ray.storage.store import Record, Store
from lottery_ray.terminal import at_work, flags_of_one, show_error
from lottery_ray.tracking.settings import UNTRACKED, Tracking


@dataclass(frozen=True)
class How:
    """How far to go, and how to look at what fails."""

    dry_run: bool = False
    """Say what is done, what would run, and how long that takes, and stop."""
    list_nodes: bool = False
    """With --dry-run: name every node."""
    calibrate: bool = False
    """With --dry-run: run the canaries, some seconds per task, and forecast from them what no record does."""
    price: float | None = None
    """Of a GPU-hour (a CPU-hour, where trials have no GPU), for the cost in --dry-run."""
    debug: bool = False
    """Run in this one process, without Ray, and stop at the first exception."""
    node: str | None = None
    """Run the node with this key alone, as --debug does. What it needs must be done."""
    pdb: bool = False
    """With --debug or --node: open Python's debugger where an exception was raised."""
    no_report: bool = False
    """End without the report. jobs/report.py writes it later, on another machine too."""


@dataclass(frozen=True)
class SweepFlags:
    """A study, where to run it, and how. The flags of the study have no prefix, and come first in --help."""

    how: Annotated[How, tyro.conf.arg(name="run"), tyro.conf.OmitArgPrefixes]
    site: Annotated[Site, tyro.conf.arg(name="site"), tyro.conf.OmitArgPrefixes]
    tracking: Annotated[Tracking, tyro.conf.arg(name="tracking"), tyro.conf.OmitArgPrefixes]
    study: Annotated[Study, tyro.conf.arg(name="")]


def main() -> int:
    """Exit status."""
    presets = {
        name: (one.help, SweepFlags(How(), one.site, UNTRACKED, one.study)) for name, one in PRESETS.items()
    }
    sweep = flags_of_one(presets, __doc__)
    console = Console(soft_wrap=True, highlight=False, markup=False)
    try:
        return _run(sweep, console)
    except InputError as error:
        show_error(error)
        return 2


def _run(sweep: SweepFlags, console: Console) -> int:
    _check(sweep)
    how, study, site, tracking = sweep.how, sweep.study, sweep.site, sweep.tracking
    if how.dry_run:
        _show_plan(sweep, console)
        return 0
    if how.node is not None:
        return running.run_one(study, site, how.node, console, tracking, pdb=how.pdb)
    report = not how.no_report
    return running.run_study(study, site, console, tracking, debug=how.debug, pdb=how.pdb, report=report)


def _check(sweep: SweepFlags) -> None:
    """Raises InputError for what does not depend on the study."""
    site = sweep.site
    for flag, value, least in (
        ("--cpus-per-trial", site.cpus_per_trial, 0.1),
        ("--gpus-per-trial", None if site.gpus_per_trial == "packed" else site.gpus_per_trial, 0),
        ("--checkpoint-minutes", site.checkpoint_minutes, 0),
        ("--budget", site.budget, 0),
        ("--price", sweep.how.price, 0),
    ):
        # not >= refuses nan as well
        if value is not None and not value >= least:
            raise InputError(f"{flag} {value:g}: must be at least {least}.")
    for flag, given in (
        ("--calibrate", sweep.how.calibrate),
        ("--list-nodes", sweep.how.list_nodes),
        ("--price", sweep.how.price is not None),
    ):
        if given and not sweep.how.dry_run:
            raise InputError(f"{flag}: belongs to --dry-run; add that.")
    if sweep.how.node is not None and sweep.how.dry_run:
        raise InputError("--node runs a node, and --dry-run nothing: leave one of them out.")
    if sweep.how.pdb and not sweep.how.debug and sweep.how.node is None:
        raise InputError("--pdb: belongs to --debug or --node; add one of them.")


def _show_plan(sweep: SweepFlags, console: Console) -> None:
    planned = running.planned_with(sweep.study, console)
    found = _records(sweep.site.root, console)
    forecast = from_records(found.values())
    first = dry_run.first_trials(planned, found.keys())
    tasks = ", ".join(canary.finetune.task for canary in first)
    if sweep.how.calibrate and first:
        console.print(f"measuring {tasks}")
        measured = running.executor(debug=sweep.how.debug).calibrate(planned, sweep.site, first)
        for canary, calibration in measured.items():
            forecast.calibrate(canary.finetune, calibration)
    if sweep.how.list_nodes:
        dry_run.list_nodes(planned, found.keys(), console)
    console.print(choices_table(sweep.study))
    dry_run.show_few_held_out(sweep.study, console)
    console.print(dry_run.by_kind(planned, found.keys()))
    missing = [node for node in planned.nodes if node.key not in found]
    if missing:
        dry_run.show_forecast(sweep.site, sweep.how.price, missing, forecast, console)
        if first and not sweep.how.calibrate:
            console.print(f"--calibrate measures {tasks}, in some seconds each.")
    console.print("Nothing was run. Leave out --dry-run to run it.")


def _records(root: str, console: Console) -> dict[str, Record]:
    """Those of a root, by their keys; none if there is no root yet."""
    if not Store.exists(root):
        return {}
    with at_work(console, f"reading the records of {root}"):
        return {record.key: record for record in Store.open(root).records()}
