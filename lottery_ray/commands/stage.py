"""Fetch a study's model and data to this machine, so that trials need no network.

Examples:
    python jobs/stage.py
    python jobs/stage.py --model roberta-base --tasks mrpc rte
"""

from dataclasses import dataclass

from rich.console import Console

from lottery_ray.errors import InputError
from lottery_ray.experiment.plan import plan, read_inputs
from lottery_ray.experiment.study import Study
from lottery_ray.terminal import at_work, flags_of, show_error


@dataclass(frozen=True)
class Stage:
    """What a machine of a cluster gets once, into the cache of the Hugging Face hub."""

    model: str = Study.model
    """A checkpoint, as jobs/sweep.py takes it."""
    data: str = Study.data
    """The data, as jobs/sweep.py takes it."""
    tasks: tuple[str, ...] = Study.tasks
    """The tasks to fetch."""
    extend: tuple[str, ...] = ()
    """What adds tasks or architectures of your own."""


def main() -> int:
    """Exit status."""
    stage = flags_of(Stage, __doc__)
    console = Console(soft_wrap=True, highlight=False, markup=False)
    try:
        with at_work(console, "looking at the model") as say:
            planned = plan(Study(stage.model, stage.data, stage.tasks, extend=stage.extend))
            read_inputs(planned, say)
    except (InputError, OSError) as error:  # the hub's client raises the latter
        show_error(error)
        return 2
    console.print(f"{stage.model} and the data of {', '.join(stage.tasks)} are on this machine.")
    console.print("Next: python jobs/sweep.py, with the same --model, --data and --tasks.")
    return 0
