"""Run a study: fine-tune, search, tickets, retrain, report. What is done already is not run again.

python jobs/sweep.py demo
python jobs/sweep.py glue --model bert-base-uncased --data ~/glue --tasks mrpc rte --root results/mrpc
python jobs/sweep.py paper --root s3://bucket/paper --gpus-per-trial 0.25
python jobs/sweep.py paper-as-released --dry-run

Exit status: 0 if all is done, 1 if nodes failed, 2 for bad input, 3 if the budget ended it, 130 if something
else did.
"""

import math
import sys
from collections.abc import Set
from contextlib import nullcontext
from dataclasses import dataclass
from typing import Annotated, Any

import tyro
from rich.console import Console
from rich.table import Table

from lottery_ray.budget import units
from lottery_ray.calibration import Canary, canaries
from lottery_ray.errors import InputError
from lottery_ray.forecast import Forecast, Memory, from_records, lower_bound, makespan
from lottery_ray.inputs import check_hub_model
from lottery_ray.journal import Journal
from lottery_ray.nodes import Finetune, HubModel, Node, key, processes, title
from lottery_ray.progress import Progress, by_cause, duration
from lottery_ray.store import Record, Store
from lottery_ray.study import PRESETS, Plan, Site, Study, chosen, count_by_stage, few_held_out, plan
from lottery_ray.tracking import UNTRACKED, Tracking
from lottery_ray.tracking import check as check_tracking
from lottery_ray.wandb_run import how_to_upload


@dataclass(frozen=True)
class Sweep:
    """A study, where to run it, and how."""

    study: Annotated[Study, tyro.conf.arg(name="")]
    site: Annotated[Site, tyro.conf.arg(name="")]
    dry_run: bool = False
    """Say what is done, what would run, and how long that takes, and stop."""
    list_nodes: bool = False
    """With --dry-run: name every node."""
    calibrate: bool = False
    """With --dry-run: run the canaries, some seconds per task, and forecast from them what no record does."""
    price: float | None = None
    """Of a GPU-hour (a CPU-hour, where trials have no GPU), for the cost in --dry-run."""
    tracking: Annotated[Tracking, tyro.conf.arg(name="")] = UNTRACKED
    debug: bool = False
    """Run in this one process, without Ray, and stop at the first exception."""


def main() -> int:
    sweep = tyro.extras.overridable_config_cli(
        {name: (preset.help, Sweep(preset.study, preset.site)) for name, preset in PRESETS.items()},
        prog="sweep.py",
        description=__doc__,
        config=(tyro.conf.FlagCreatePairsOff,),
    )
    console = Console(soft_wrap=True, highlight=False, markup=False)
    try:
        return run(sweep, console)
    except InputError as error:
        show_error(error)
        return 2


def show_error(error: InputError) -> None:
    Console(stderr=True, soft_wrap=True).print(f"error: {error}", style="red", highlight=False, markup=False)


def run(sweep: Sweep, console: Console) -> int:
    check(sweep)
    planned = plan(sweep.study)
    if sweep.dry_run:
        show_plan(sweep, planned, console)
        return 0
    done, outdated = Store.open(sweep.site.root, create=True).set_aside_outdated()
    for record in outdated:
        console.print(f"{record.key} was made from another run of its parents, and is made again.")
    missing = [node for node in planned.nodes if key(node) not in done]
    console.print(
        f"{len(planned.nodes)} nodes, {len(missing)} to run; root {sweep.site.root}", highlight=False
    )
    show_few_held_out(sweep.study, console)
    store = Store.open(sweep.site.root)
    if missing and (said := check_tracking(sweep.tracking, store)):
        console.print(said)
    for model in {model for node in missing if isinstance(model := getattr(node, "model", None), HubModel)}:
        check_hub_model(model, sweep.study.recipe)
    progress = Progress(
        planned.nodes,
        {n for n in planned.nodes if key(n) in done},
        console,
        forecast=from_records(done.values()),
    )
    board = None
    if missing:
        # a live display would write over a debugger's prompt
        with (
            dashboard(sweep.tracking, store, console) as board,
            nullcontext() if sweep.debug else progress,
            Journal(store, progress),
        ):
            runner(sweep).run_plan(planned, sweep.site, progress, sweep.tracking)
    reported = report(progress, sweep.site.root)
    if board:
        with console.status("the last update of the dashboard"):
            board.wait()
    if sweep.tracking.wandb != "disabled" and (waiting := how_to_upload(store)):
        console.print(waiting)
    return show_end(progress, console) or reported


def check(sweep: Sweep) -> None:
    """Raises InputError for what does not depend on the study."""
    site = sweep.site
    for flag, value, least in (
        ("--cpus-per-trial", site.cpus_per_trial, 0.1),
        ("--gpus-per-trial", None if site.gpus_per_trial == "packed" else site.gpus_per_trial, 0),
        ("--checkpoint-minutes", site.checkpoint_minutes, 0),
        ("--budget", site.budget, 0),
        ("--price", sweep.price, 0),
    ):
        # not >= refuses nan as well
        if value is not None and not value >= least:
            raise InputError(f"{flag} {value:g}: must be at least {least}.")
    for flag, given in (
        ("--calibrate", sweep.calibrate),
        ("--list-nodes", sweep.list_nodes),
        ("--price", sweep.price is not None),
    ):
        if given and not sweep.dry_run:
            raise InputError(f"{flag}: belongs to --dry-run; add that.")


def runner(sweep: Sweep) -> Any:
    """The module that runs nodes. Each is imported only where it is used: debug mode must work where Ray is
    not installed, and a driver needs no torch."""
    if sweep.debug:
        from lottery_ray import debug

        return debug
    try:
        from lottery_ray import sweep as ray_sweep
    except ModuleNotFoundError as error:
        raise InputError(
            f"{error.name} is not installed. Install lottery-ray[ray], or add --debug to run without it."
        ) from None
    return ray_sweep


def records(root: str) -> dict[str, Record]:
    """Those of a root, by their keys; none if there is no root yet."""
    if not Store.exists(root):
        return {}
    return {record.key: record for record in Store.open(root).records()}


def show_plan(sweep: Sweep, planned: Plan, console: Console) -> None:
    found = records(sweep.site.root)
    forecast = from_records(found.values())
    first = first_trials(planned, found.keys())
    if sweep.calibrate and first:
        console.print(f"measuring {', '.join(canary.finetune.task for canary in first)}")
        for canary, measured in runner(sweep).calibrate(planned, sweep.site, first).items():
            forecast.calibrate(canary.finetune, measured)
    if sweep.list_nodes:
        for node in planned.nodes:
            state = "done  " if key(node) in found else "to run"
            console.print(f"{state}  {key(node)}  {title(node)}", markup=False)
    console.print(choices(sweep.study))
    show_few_held_out(sweep.study, console)
    console.print(by_kind(planned, set(found)))
    missing = [node for node in planned.nodes if key(node) not in found]
    if missing:
        show_forecast(sweep, missing, forecast, console)
        if first and not sweep.calibrate:
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
    if sweep.price is not None:
        console.print(f"Cost: about {_about([sweep.price * each for each in hours])}")
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
    from analysis.dashboard import Beside

    return Beside(store, tracking, console.print)


def report(progress: Progress, root: str) -> int:
    """Once there is a fine-tuned model to report on. Returns the exit status."""
    if any(isinstance(node, Finetune) for node in progress.done):
        from analysis.report import write

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
        why = f" ({progress.stopped})" if progress.stopped else ""
        console.print(f"\nEnded with {left} nodes still to run{why}. Run the same command again to go on.")
    if not progress.failures:
        return 0 if not left else 3 if progress.stopped else 130
    count = len(progress.failures)
    nodes, them = ("node", "it") if count == 1 else ("nodes", "them")
    console.print(f"\n{count} {nodes} failed; {len(progress.dropped)} that need {them} did not run.")
    for alike in by_cause(progress.failures):
        others = f" and {len(alike) - 1} more" if len(alike) > 1 else ""
        console.print(f"  {title(alike[0].node)}{others}: {alike[0].cause}")
        console.print(f"    log: {alike[0].log}")
    console.print("Run the same command again to try them again; everything else is kept.")
    return 1


if __name__ == "__main__":
    sys.exit(main())
