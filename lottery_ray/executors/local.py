"""Debug mode: the nodes of a plan one after the other in this process, without Ray.

Nothing is caught, so that a breakpoint or the first exception stops right where it is.
"""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager

import torch

from lottery_ray.errors import InputError
from lottery_ray.experiment.nodes import Node, key, processes, title
from lottery_ray.experiment.plan import Plan
from lottery_ray.experiment.study import Site
from lottery_ray.scheduling.budget import Budget, units
from lottery_ray.scheduling.calibration import Calibration, Canary, canaries
from lottery_ray.scheduling.progress import Progress
from lottery_ray.tracking.settings import UNTRACKED, Tracking
from lottery_ray.trial import canary
from lottery_ray.trial.node import run


def run_plan(
    plan: Plan,
    site: Site,
    progress: Progress,
    track: Tracking = UNTRACKED,
    only: Node | None = None,
) -> None:
    """Run what is missing, parents first, on the GPU if there is one.

    only: this one node, whose parents are done, after its canary, if it has one.

    Raises InputError if a node has more processes than there are GPUs."""
    cpu, nodes = _cpu(site), plan.nodes if only is None else (only,)
    most = max(processes(node) for node in nodes)
    if not cpu and most > torch.cuda.device_count():
        raise InputError(f"--recipe.processes {most}: this machine has {torch.cuda.device_count()} GPUs.")
    given = site.gpus_per_trial
    gpus = 0 if cpu else 1 if given in (None, "packed") else float(given)
    allowed = Budget(site.budget, "CPU" if cpu else "GPU")
    before = canaries(plan.nodes, progress.done)
    for first in dict.fromkeys(before[node] for node in nodes if node in before):
        progress.started(first.finetune)
        with _counted(allowed, 0.0, units(1, site, gpus)):
            measured = canary.run(first.finetune, site.root, plan.folders, cpu=cpu)
        progress.checked(first.finetune, measured)
    for node in nodes:
        if node in progress.done:
            continue
        expected = progress.forecast.seconds(node) or 0.0, units(processes(node), site, gpus)
        if allowed.used_up or not allowed.fits(*expected):
            progress.stopped = allowed.too_little_for(*expected)
            return
        progress.console.print(f"{title(node)} ({key(node)})", highlight=False)
        progress.started(node)
        with _counted(allowed, *expected):
            run(
                node,
                site.root,
                plan.folders,
                cpu=cpu,
                keep_retrained=site.keep_retrained,
                checkpoint_minutes=site.checkpoint_minutes,
                track=track,
                extensions=plan.extensions,
            )
        progress.finished(node)


def calibrate(plan: Plan, site: Site, first: Iterable[Canary]) -> dict[Canary, Calibration]:
    """What these canaries measure."""
    return {one: canary.measure(one.finetune, plan.folders, cpu=_cpu(site)) for one in first}


def _cpu(site: Site) -> bool:
    return site.gpus_per_trial == 0 or not torch.cuda.is_available()


@contextmanager
def _counted(allowed: Budget, seconds: float, units: float) -> Iterator[None]:
    allowed.handed_out("this process", seconds, units)
    allowed.started("this process")
    yield
    allowed.ended("this process")
