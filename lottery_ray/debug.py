"""Debug mode: the nodes of a plan one after the other in this process, without Ray.

Nothing is caught, so that a breakpoint or the first exception stops right where it is.
"""

import torch

from lottery_ray.errors import InputError
from lottery_ray.nodes import key, processes, title
from lottery_ray.progress import Progress
from lottery_ray.study import Plan, Site
from lottery_ray.trial import run


def run_plan(plan: Plan, site: Site, progress: Progress) -> None:
    """Run what is missing, parents first, on the GPU if there is one.

    Raises InputError if a node has more processes than there are GPUs."""
    cpu = site.gpus_per_trial == 0 or not torch.cuda.is_available()
    most = max(processes(node) for node in plan.nodes)
    if not cpu and most > torch.cuda.device_count():
        raise InputError(f"--recipe.processes {most}: this machine has {torch.cuda.device_count()} GPUs.")
    for node in plan.nodes:
        if node not in progress.done:
            progress.console.print(f"{title(node)} ({key(node)})", highlight=False)
            progress.started(node)
            run(
                node,
                site.root,
                plan.folders,
                cpu=cpu,
                keep_retrained=site.keep_retrained,
                checkpoint_minutes=site.checkpoint_minutes,
            )
            progress.finished(node)
