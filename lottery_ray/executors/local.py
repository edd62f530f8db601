"""Debug mode: the nodes of a plan one after the other in this process, without Ray.

Nothing is caught, so that a breakpoint or the first exception stops right where it is.
"""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager

import torch

from lottery_ray.experiment.graph import Node, node_title
from lottery_ray.experiment.plan import Plan
from lottery_ray.experiment.study import Site
from lottery_ray.scheduling.budget import Budget
from lottery_ray.scheduling.costs import Calibration, Canary, canaries
from lottery_ray.scheduling.progress import SweepProgress
from lottery_ray.tracking.settings import UNTRACKED, Tracking
from lottery_ray.trial.canary import measure, run_canary
from lottery_ray.trial.node import run_node
from lottery_ray.trial.settings import trial_settings


def run_plan(
    plan: Plan,
    site: Site,
    progress: SweepProgress,
    track: Tracking = UNTRACKED,
    only: Node | None = None,
) -> None:
    """Run what is missing, parents first, on the GPU if there is one.

    only: this one node, whose parents are done, after its canary, if it has one.
    """
    cpu, nodes = _cpu(site), plan.nodes if only is None else (only,)
    settings = trial_settings(plan, site, track, cpu=cpu)
    given = site.gpus_per_trial
    units = site.cpus_per_trial if cpu else 1.0 if given in (None, "packed") else float(given)
    allowed = Budget(site.budget, "CPU" if cpu else "GPU")
    before = canaries(plan.nodes, progress.done)
    for first in dict.fromkeys(before[node] for node in nodes if node in before):
        progress.started(first.finetune)
        with _counted(allowed, 0.0, units):
            measured = run_canary(first.finetune, settings)
        progress.checked(first.finetune, measured)
    for node in nodes:
        if node in progress.done:
            continue
        expected = progress.forecast.seconds(node) or 0.0
        if allowed.used_up or not allowed.fits(expected, units):
            progress.stopped = allowed.too_little_for(expected, units)
            return
        progress.console.print(f"{node_title(node)} ({node.key})", highlight=False)
        progress.started(node)
        with _counted(allowed, expected, units):
            run_node(node, settings)
        progress.finished(node)


def calibrate(plan: Plan, site: Site, first: Iterable[Canary]) -> dict[Canary, Calibration]:
    """What these canaries measure."""
    settings = trial_settings(plan, site, UNTRACKED, cpu=_cpu(site))
    return {one: measure(one.finetune, settings) for one in first}


def _cpu(site: Site) -> bool:
    return site.gpus_per_trial == 0 or not torch.cuda.is_available()


@contextmanager
def _counted(allowed: Budget, seconds: float, units: float) -> Iterator[None]:
    allowed.handed_out("this process", seconds, units)
    allowed.started("this process")
    yield
    allowed.ended("this process")
