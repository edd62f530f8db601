"""Running a study, or one node of it: what commands call."""

import shlex
from contextlib import nullcontext
from typing import Any

from rich.console import Console

from lottery_ray.errors import InputError
from lottery_ray.experiment.graph import Node, node_title
from lottery_ray.experiment.nodes import Finetune
from lottery_ray.experiment.plan import Plan, plan
from lottery_ray.experiment.study import Site, Study
from lottery_ray.inputs.models import HubModel, check_hub_model
from lottery_ray.scheduling import one_node
from lottery_ray.scheduling.dry_run import show_few_held_out
from lottery_ray.scheduling.forecast import from_records
from lottery_ray.scheduling.journal import Journal
from lottery_ray.scheduling.progress import SweepProgress, by_cause
from lottery_ray.storage.store import Store
from lottery_ray.terminal import at_work, show_error
from lottery_ray.tracking.settings import UNTRACKED, Tracking
from lottery_ray.tracking.trackers import check_trackers
from lottery_ray.tracking.wandb_run import how_to_upload


def planned_with(study: Study, console: Console) -> Plan:
    """The plan of a study, whose reading a terminal shows."""
    with at_work(console, "reading model and data"):
        return plan(study)


def run_study(
    study: Study,
    site: Site,
    console: Console,
    tracking: Tracking = UNTRACKED,
    *,
    debug: bool = False,
    pdb: bool = False,
    report: bool = True,
) -> int:
    """Run what is missing, and report. debug: in this process, without Ray. pdb: open it where that stops.

    Returns the exit status. Raises InputError for bad input, before anything runs.
    """
    planned = planned_with(study, console)
    with at_work(console, f"reading the records of {site.root}"):
        done, outdated = Store.open(site.root, create=True).set_aside_outdated()
    for record in outdated:
        console.print(f"{record.key} was made from another run of its parents, and is made again.")
    missing = [node for node in planned.nodes if node.key not in done]
    console.print(f"{len(planned.nodes)} nodes, {len(missing)} to run; root {site.root}")
    show_few_held_out(study, console)
    store = Store.open(site.root)
    progress = SweepProgress(
        planned.nodes,
        {node for node in planned.nodes if node.key in done},
        console,
        forecast=from_records(done.values()),
        command=one_node.command_line(),
    )
    board = None
    if missing:
        _ask_trackers(tracking, store, console)
        _look_for_models(missing, study.recipe.max_length, console)
        # a live display would write over a debugger's prompt
        display = one_node.debugger(pdb) if debug else progress
        with _dashboard(tracking, store, console) as board, Journal(store, progress), display:
            executor(debug=debug).run_plan(planned, site, progress, tracking)
    reported = _report(progress, site.root, console, write=report)
    if board:
        with at_work(console, "the last update of the dashboard"):
            board.wait()
    _say_what_waits(tracking, store, console)
    return _show_end(progress, console) or reported


def run_one(
    study: Study, site: Site, key: str, console: Console, tracking: Tracking = UNTRACKED, *, pdb: bool = False
) -> int:
    """Run the node whose key begins so alone, which leaves no journal and no report. Returns the exit status.

    Raises InputError if there is no such node, or if a parent of it is not done.
    """
    planned, root = planned_with(study, console), site.root
    node = one_node.chosen_node(planned, key)
    recorded = Store.open(root).recorded() if Store.exists(root) else set()
    name = f"{node_title(node)} ({node.key})"
    if node.key in recorded:
        console.print(f"{name} is done: it has a record in {root}. Nothing was run.")
        return 0
    one_node.check_parents(node, recorded, root)
    with at_work(console, "loading torch"):
        from lottery_ray.executors import local
    store = Store.open(root, create=True)
    _ask_trackers(tracking, store, console)
    done = {each for each in planned.nodes if each.key in recorded}
    progress = SweepProgress(planned.nodes, done, console)
    with one_node.debugger(pdb):
        local.run_plan(planned, site, progress, tracking, node)
    _say_what_waits(tracking, store, console)
    if node in progress.done:
        console.print(f"{name} is done. The same command without --node goes on with the rest.")
        return 0
    return _show_end(progress, console)


def executor(*, debug: bool) -> Any:
    """The module that runs nodes. Each is imported only where it is used: debug mode must work where Ray is
    not installed, and a driver needs no torch."""
    if debug:
        from lottery_ray.executors import local

        return local
    try:
        from lottery_ray.executors import on_ray
    except ModuleNotFoundError as error:
        raise InputError(
            f"{error.name} is not installed. Install lottery-ray[ray], or add --debug to run without it."
        ) from None
    return on_ray


def _ask_trackers(tracking: Tracking, store: Store, console: Console) -> None:
    """Raises InputError if one cannot track nodes here."""
    if not tracking:
        return
    with at_work(console, "asking the trackers"):
        said = check_trackers(tracking, store)
    if said:
        console.print(said)


def _look_for_models(missing: list[Node], max_length: int, console: Console) -> None:
    """Raises InputError if a hub model cannot be had."""
    for model in {read for node in missing for read in node.outside() if isinstance(read, HubModel)}:
        with at_work(console, f"looking for {model.name} in the cache and on the hub"):
            check_hub_model(model, max_length)


def _say_what_waits(tracking: Tracking, store: Store, console: Console) -> None:
    if tracking.wandb != "disabled" and (waiting := how_to_upload(store)):
        console.print(waiting)


def _dashboard(tracking: Tracking, store: Store, console: Console) -> Any:
    """What keeps the dashboard on W&B up to date beside the sweep, if that is tracked there."""
    if tracking.wandb == "disabled":
        return nullcontext()
    from analysis.dashboard.keep import Beside

    return Beside(store, tracking, console.print)


def _report(progress: SweepProgress, root: str, console: Console, *, write: bool) -> int:
    """Once there is a fine-tuned model to report on. Returns the exit status."""
    if not any(isinstance(node, Finetune) for node in progress.done):
        return 0
    if not write:
        console.print(f"Next: python jobs/report.py {shlex.quote(root)}")
        return 0
    from analysis.report.write import write_report

    try:
        write_report(root)
    except InputError as error:
        show_error(error)
        return 2
    return 0


def _show_end(progress: SweepProgress, console: Console) -> int:
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
        console.print(f"  {node_title(alike[0].node)}{others}: {alike[0].cause}")
        console.print(f"    log: {alike[0].log}")
        console.print(f"    replay: {one_node.command_of_node(progress.command, alike[0].node.key)}")
    console.print(one_node.REPLAY)
    console.print("Run the same command again to try them again; everything else is kept.")
    return 1
