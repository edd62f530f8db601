"""Run a study: fine-tune, search, tickets, retrain, report. What is done already is not run again.

python jobs/sweep.py demo
python jobs/sweep.py glue --model bert-base-uncased --data ~/glue --tasks mrpc rte --root results/mrpc
python jobs/sweep.py paper --root s3://bucket/paper --gpus-per-trial 0.25
python jobs/sweep.py paper-as-released --dry-run
"""

import sys
from contextlib import nullcontext
from dataclasses import dataclass
from typing import Annotated

import tyro
from rich.console import Console
from rich.table import Table

from lottery_ray.errors import InputError
from lottery_ray.inputs import check_hub_model
from lottery_ray.journal import Journal
from lottery_ray.nodes import Finetune, HubModel, key, title
from lottery_ray.progress import Progress
from lottery_ray.store import Store
from lottery_ray.study import PRESETS, Plan, Site, Study, chosen, count_by_stage, few_held_out, plan


@dataclass(frozen=True)
class Sweep:
    """A study, where to run it, and how."""

    study: Annotated[Study, tyro.conf.arg(name="")]
    site: Annotated[Site, tyro.conf.arg(name="")]
    dry_run: bool = False
    """List what is done and what would run, and stop."""
    debug: bool = False
    """Run in this one process, without Ray, and stop at the first exception."""


def main() -> int:
    sweep = tyro.extras.overridable_config_cli(
        {name: (preset.help, Sweep(preset.study, preset.site)) for name, preset in PRESETS.items()},
        prog="sweep.py",
        description=__doc__,
        config=(tyro.conf.FlagCreatePairsOff,),
    )
    console = Console(soft_wrap=True, highlight=False)
    try:
        return run(sweep, console)
    except InputError as error:
        show_error(error)
        return 2


def show_error(error: InputError) -> None:
    Console(stderr=True, soft_wrap=True).print(f"error: {error}", style="red", highlight=False, markup=False)


def run(sweep: Sweep, console: Console) -> int:
    planned = plan(sweep.study)
    if sweep.dry_run:
        show_plan(sweep, planned, records(sweep.site.root, create=False), console)
        return 0
    show_outdated(sweep.site.root, console)
    done = records(sweep.site.root, create=True)
    missing = [node for node in planned.nodes if key(node) not in done]
    console.print(
        f"{len(planned.nodes)} nodes, {len(missing)} to run; root {sweep.site.root}", highlight=False
    )
    show_few_held_out(sweep.study, console)
    for model in {model for node in missing if isinstance(model := getattr(node, "model", None), HubModel)}:
        check_hub_model(model, sweep.study.recipe)
    progress = Progress(planned.nodes, {n for n in planned.nodes if key(n) in done}, console)
    if missing:
        # a live display would write over a debugger's prompt
        with nullcontext() if sweep.debug else progress, Journal(Store.open(sweep.site.root), progress):
            run_missing(sweep, planned, progress)
    reported = report(planned, sweep.site.root)
    return show_end(progress, console) or reported


def run_missing(sweep: Sweep, planned: Plan, progress: Progress) -> None:
    """By one of the two runners. Each is imported only where it is used: debug mode must work where Ray
    is not installed, and a driver needs no torch."""
    if sweep.debug:
        from lottery_ray import debug

        debug.run_plan(planned, sweep.site, progress)
    else:
        try:
            from lottery_ray import sweep as ray_sweep
        except ModuleNotFoundError as error:
            raise InputError(
                f"{error.name} is not installed. Install lottery-ray[ray], or add --debug to run without it."
            ) from None
        ray_sweep.run_plan(planned, sweep.site, progress)


def records(root: str, *, create: bool) -> set[str]:
    """Keys of the nodes that a root has records of; none if there is no root yet."""
    if not create and not Store.exists(root):
        return set()
    return {record.key for record in Store.open(root, create=create).records()}


def show_outdated(root: str, console: Console) -> None:
    """Set aside what two drivers at once may leave, so that it is made again."""
    for record in Store.open(root, create=True).set_aside_outdated():
        console.print(f"{record.key} was made from another run of its parents, and is made again.")


def show_plan(sweep: Sweep, planned: Plan, done: set[str], console: Console) -> None:
    for node in planned.nodes:
        state = "done  " if key(node) in done else "to run"
        console.print(f"{state}  {key(node)}  {title(node)}", markup=False)
    table = Table(title=f"\n{len(planned.nodes)} nodes", title_justify="left")
    for heading in ("kind of node", "done", "to run", "all"):
        table.add_column(heading, justify="left" if heading == "kind of node" else "right")
    for name, (finished, total) in count_by_stage(planned.nodes, done).items():
        table.add_row(name, str(finished), str(total - finished), str(total))
    console.print(table)
    console.print(choices(sweep.study))
    show_few_held_out(sweep.study, console)
    console.print("Nothing was run. Leave out --dry-run to run it.")


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


def report(planned: Plan, root: str) -> int:
    """Once there is a fine-tuned model to report on. Returns the exit status."""
    done = records(root, create=False)
    if any(isinstance(node, Finetune) and key(node) in done for node in planned.nodes):
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
        console.print(f"\nEnded with {left} nodes still to run. Run the same command again to go on.")
    if not progress.failures:
        return 130 if left else 0
    count = len(progress.failures)
    nodes, them = ("node", "it") if count == 1 else ("nodes", "them")
    console.print(f"\n{count} {nodes} failed; {len(progress.dropped)} that need {them} did not run.")
    for failure in progress.failures:
        console.print(f"  {title(failure.node)}: {failure.cause}", markup=False)
        console.print(f"    log: {failure.log}", markup=False)
    console.print("Run the same command again to try them again; everything else is kept.")
    return 1


if __name__ == "__main__":
    sys.exit(main())
