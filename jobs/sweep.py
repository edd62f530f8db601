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

import math
import shlex
import sys
from collections.abc import Set
from contextlib import nullcontext
from dataclasses import dataclass
from typing import Annotated, Any

import tyro
from rich.console import Console
from rich.table import Table

from lottery_ray.errors import InputError
from lottery_ray.experiment.checks import few_held_out
from lottery_ray.experiment.nodes import Finetune, HubModel, Node, key, processes, title
from lottery_ray.experiment.plan import Plan, count_by_stage, plan
from lottery_ray.experiment.study import PRESETS, Site, Study, chosen
from lottery_ray.inputs.sources import check_hub_model
from lottery_ray.scheduling import one_node as replay
from lottery_ray.scheduling.budget import units
from lottery_ray.scheduling.calibration import Canary, canaries
from lottery_ray.scheduling.forecast import Forecast, Memory, from_records, lower_bound, makespan
from lottery_ray.scheduling.journal import Journal
from lottery_ray.scheduling.progress import Progress, by_cause, duration
from lottery_ray.storage.store import Record, Store
from lottery_ray.terminal import at_work, flags_of_one, show_error
from lottery_ray.tracking.settings import UNTRACKED, Tracking
from lottery_ray.tracking.trackers import check as check_trackers
from lottery_ray.tracking.wandb_run import how_to_upload


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
class Sweep:
    """A study, where to run it, and how. The flags of the study have no prefix, and come first in --help."""

    how: Annotated[How, tyro.conf.arg(name="run"), tyro.conf.OmitArgPrefixes]
    site: Annotated[Site, tyro.conf.arg(name="site"), tyro.conf.OmitArgPrefixes]
    tracking: Annotated[Tracking, tyro.conf.arg(name="tracking"), tyro.conf.OmitArgPrefixes]
    study: Annotated[Study, tyro.conf.arg(name="")]


def main() -> int:
    presets = {
        name: (one.help, Sweep(How(), one.site, UNTRACKED, one.study)) for name, one in PRESETS.items()
    }
    sweep = flags_of_one(presets, __doc__)
    console = Console(soft_wrap=True, highlight=False, markup=False)
    try:
        return run(sweep, console)
    except InputError as error:
        show_error(error)
        return 2


def run(sweep: Sweep, console: Console) -> int:
    check(sweep)
    with at_work(console, "reading model and data"):
        planned = plan(sweep.study)
    if sweep.how.dry_run:
        show_plan(sweep, planned, console)
        return 0
    if sweep.how.node is not None:
        return run_node(sweep, planned, replay.chosen(planned, sweep.how.node), console)
    with at_work(console, f"reading the records of {sweep.site.root}"):
        done, outdated = Store.open(sweep.site.root, create=True).set_aside_outdated()
    for record in outdated:
        console.print(f"{record.key} was made from another run of its parents, and is made again.")
    missing = [node for node in planned.nodes if key(node) not in done]
    console.print(f"{len(planned.nodes)} nodes, {len(missing)} to run; root {sweep.site.root}")
    show_few_held_out(sweep.study, console)
    store = Store.open(sweep.site.root)
    if missing:
        ask_trackers(sweep.tracking, store, console)
    for model in {model for node in missing if isinstance(model := getattr(node, "model", None), HubModel)}:
        with at_work(console, f"looking for {model.name} in the cache and on the hub"):
            check_hub_model(model, sweep.study.recipe)
    progress = Progress(
        planned.nodes,
        {n for n in planned.nodes if key(n) in done},
        console,
        forecast=from_records(done.values()),
        command=replay.command_line(),
    )
    board = None
    if missing:
        # a live display would write over a debugger's prompt
        display = replay.debugger(sweep.how.pdb) if sweep.how.debug else progress
        with dashboard(sweep.tracking, store, console) as board, Journal(store, progress), display:
            runner(sweep).run_plan(planned, sweep.site, progress, sweep.tracking)
    reported = report(progress, sweep, console)
    if board:
        with at_work(console, "the last update of the dashboard"):
            board.wait()
    say_what_waits(sweep.tracking, store, console)
    return show_end(progress, console) or reported


def run_node(sweep: Sweep, planned: Plan, node: Node, console: Console) -> int:
    """One alone, which leaves no journal and no report. Returns the exit status."""
    root = sweep.site.root
    recorded = Store.open(root).recorded() if Store.exists(root) else set()
    name = f"{title(node)} ({key(node)})"
    if key(node) in recorded:
        console.print(f"{name} is done: it has a record in {root}. Nothing was run.")
        return 0
    replay.check_parents(node, recorded, root)
    with at_work(console, "loading torch"):
        from lottery_ray.executors import local as debug
    store = Store.open(root, create=True)
    ask_trackers(sweep.tracking, store, console)
    progress = Progress(planned.nodes, {n for n in planned.nodes if key(n) in recorded}, console)
    with replay.debugger(sweep.how.pdb):
        debug.run_plan(planned, sweep.site, progress, sweep.tracking, node)
    say_what_waits(sweep.tracking, store, console)
    if node in progress.done:
        console.print(f"{name} is done. The same command without --node goes on with the rest.")
        return 0
    return show_end(progress, console)


def ask_trackers(tracking: Tracking, store: Store, console: Console) -> None:
    """Raises InputError if one cannot track nodes here."""
    if not tracking:
        return
    with at_work(console, "asking the trackers"):
        said = check_trackers(tracking, store)
    if said:
        console.print(said)


def say_what_waits(tracking: Tracking, store: Store, console: Console) -> None:
    if tracking.wandb != "disabled" and (waiting := how_to_upload(store)):
        console.print(waiting)


def check(sweep: Sweep) -> None:
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


def runner(sweep: Sweep) -> Any:
    """The module that runs nodes. Each is imported only where it is used: debug mode must work where Ray is
    not installed, and a driver needs no torch."""
    if sweep.how.debug:
        from lottery_ray.executors import local as debug

        return debug
    try:
        from lottery_ray.executors import on_ray as ray_sweep
    except ModuleNotFoundError as error:
        raise InputError(
            f"{error.name} is not installed. Install lottery-ray[ray], or add --debug to run without it."
        ) from None
    return ray_sweep


def records(root: str, console: Console) -> dict[str, Record]:
    """Those of a root, by their keys; none if there is no root yet."""
    if not Store.exists(root):
        return {}
    with at_work(console, f"reading the records of {root}"):
        return {record.key: record for record in Store.open(root).records()}


def show_plan(sweep: Sweep, planned: Plan, console: Console) -> None:
    found = records(sweep.site.root, console)
    forecast = from_records(found.values())
    first = first_trials(planned, found.keys())
    if sweep.how.calibrate and first:
        console.print(f"measuring {', '.join(canary.finetune.task for canary in first)}")
        for canary, measured in runner(sweep).calibrate(planned, sweep.site, first).items():
            forecast.calibrate(canary.finetune, measured)
    if sweep.how.list_nodes:
        for node in planned.nodes:
            state = "done  " if key(node) in found else "to run"
            console.print(f"{state}  {key(node)}  {title(node)}", markup=False)
    console.print(choices(sweep.study))
    show_few_held_out(sweep.study, console)
    console.print(by_kind(planned, set(found)))
    missing = [node for node in planned.nodes if key(node) not in found]
    if missing:
        show_forecast(sweep, missing, forecast, console)
        if first and not sweep.how.calibrate:
            tasks = ", ".join(canary.finetune.task for canary in first)
            console.print(f"--calibrate measures {tasks}, in some seconds each.")
    console.print("Nothing was run. Leave out --dry-run to run it.")


def first_trials(planned: Plan, done: Set[str]) -> list[Canary]:
    before = canaries(planned.nodes, {node for node in planned.nodes if key(node) in done})
    return list(dict.fromkeys(before.values()))


def by_kind(planned: Plan, done: set[str]) -> Table:
    table = Table(title=f"\n{len(planned.nodes)} nodes", title_justify="left", box=None, pad_edge=False)
    for heading in ("kind of node", "done", "to run", "all"):
        table.add_column(heading, justify="left" if heading == "kind of node" else "right")
    for name, (finished, total) in count_by_stage(planned.nodes, done).items():
        table.add_row(name, str(finished), str(total - finished), str(total))
    return table


def show_forecast(sweep: Sweep, missing: list[Node], forecast: Forecast, console: Console) -> None:
    found = {node: forecast.seconds(node) for node in missing}
    seconds = {node: value for node, value in found.items() if value is not None}
    if len(seconds) < len(missing):
        console.print("\nNo forecast: nothing was measured yet.")
        return
    site = sweep.site
    gpus = gpus_per_trial(site, forecast)
    unit = "GPU" if gpus else "CPU"
    hours = [0.0, 0.0, 0.0]
    for node, value in seconds.items():
        for place, each in enumerate((value, *forecast.range(node))):
            hours[place] += each * units(processes(node), site, gpus) / 3600
    console.print(f"\nTo run: about {_about(hours)} {unit}-hours")
    if sweep.how.price is not None:
        cost = _about([sweep.how.price * each for each in hours])
        console.print(f"Cost: about {cost}, at {sweep.how.price:g} per {unit}-hour")
    console.print(f"Memory: {memory(forecast.memory)}")
    console.print(f"From {forecast.basis(missing)}")
    console.print(by_slots(seconds, unit, gpus or site.cpus_per_trial))


def gpus_per_trial(site: Site, forecast: Forecast) -> float:
    if site.gpus_per_trial == "packed":
        return 1 / forecast.memory.trials_per_gpu if forecast.gpu else 0.0
    return float(forecast.gpu) if site.gpus_per_trial is None else site.gpus_per_trial


def memory(peak: Memory) -> str:
    """What a trial takes, in words."""
    words = f"at most {peak.host / 2**30:.2g} GiB per trial" if peak.host else "not measured"
    if not peak.of_gpu:
        return words
    fit = f"{peak.trials_per_gpu} fit on one of {peak.of_gpu / 2**30:.0f} GiB (--gpus-per-trial packed)"
    return f"{words}, and {peak.gpu / 2**30:.2g} GiB of a GPU's; {fit}"


def _about(values: list[float]) -> str:
    middle, low, high = (f"{value:,.0f}" if value >= 100 else f"{value:.2g}" for value in values)
    return f"{middle} ({low} to {high})"


def by_slots(seconds: dict[Node, float], unit: str, per_trial: float) -> Table:
    """Makespans on more and more GPUs (or CPUs), as long as more of them help."""
    table = Table(title="", box=None, pad_edge=False)
    for heading in (f"{unit}s", "makespan", "no order is below"):
        table.add_column(heading, justify="right")
    # trials of several processes have a whole GPU each
    whole = per_trial if unit == "CPU" else 1.0
    widths = {n: math.ceil(processes(n) * whole / per_trial) for n in seconds if processes(n) > 1}
    count = math.ceil(
        max(per_trial, *(width * per_trial for width in widths.values())) if widths else per_trial
    )
    before = math.inf
    while True:
        slots = int(count / per_trial)
        last = makespan(seconds, seconds, slots, widths=widths)
        if last >= 0.99 * before:
            break
        bound = lower_bound(seconds, seconds, slots, widths)
        table.add_row(str(count), duration(last), duration(bound))
        count, before = 2 * count, last
    table.caption = f"More than {count // 2} do not help."
    table.caption_justify = "left"
    return table


def show_few_held_out(study: Study, console: Console) -> None:
    for task, count in few_held_out(study).items():
        console.print(
            f"{task}: searches are scored on {count} held-out rows. That is few; their floor is uncertain."
        )


def choices(study: Study) -> Table:
    """Every choice in which the presets paper and paper-as-released differ, and this study's."""
    title = "\nWhere the paper's released code differs from its text or from sound practice"
    table = Table(title=title, title_justify="left", box=None, pad_edge=False)
    for heading in ("choice", "this study", "paper", "paper-as-released"):
        table.add_column(heading, no_wrap=heading == "choice", overflow="fold")
    sound, released, ours = (
        chosen(s) for s in (PRESETS["paper"].study, PRESETS["paper-as-released"].study, study)
    )
    for name in sound:
        if sound[name] != released[name]:
            table.add_row(f"--{name}", *(str(values[name]) for values in (ours, sound, released)))
    return table


def dashboard(tracking: Tracking, store: Store, console: Console) -> Any:
    """What keeps the dashboard on W&B up to date beside the sweep, if that is tracked there."""
    if tracking.wandb == "disabled":
        return nullcontext()
    from analysis.dashboard.keep import Beside

    return Beside(store, tracking, console.print)


def report(progress: Progress, sweep: Sweep, console: Console) -> int:
    """Once there is a fine-tuned model to report on. Returns the exit status."""
    root = sweep.site.root
    if not any(isinstance(node, Finetune) for node in progress.done):
        return 0
    if sweep.how.no_report:
        console.print(f"Next: python jobs/report.py {shlex.quote(root)}")
        return 0
    from analysis.report.write import write

    try:
        write(root)
    except InputError as error:
        show_error(error)
        return 2
    return 0


def show_end(progress: Progress, console: Console) -> int:
    """What did not get done, and the exit status."""
    left = len(progress.nodes) - len(progress.done) - len(progress.failures) - len(progress.dropped)
    if left:
        why = progress.stopped or "interrupted"
        console.print(f"\nEnded with {left} nodes still to run ({why}). Run the same command again to go on.")
    if not progress.failures:
        return 0 if not left else 3 if progress.stopped else 130
    count = len(progress.failures)
    nodes, them = ("node", "it") if count == 1 else ("nodes", "them")
    console.print(f"\n{count} {nodes} failed; {len(progress.dropped)} that need {them} did not run.")
    for alike in by_cause(progress.failures):
        others = f" and {len(alike) - 1} more" if len(alike) > 1 else ""
        console.print(f"  {title(alike[0].node)}{others}: {alike[0].cause}")
        console.print(f"    log: {alike[0].log}")
        console.print(f"    replay: {replay.of_node(progress.command, key(alike[0].node))}")
    console.print(replay.REPLAY)
    console.print("Run the same command again to try them again; everything else is kept.")
    return 1


if __name__ == "__main__":
    sys.exit(main())
