"""Fetch the model and data of a study to this machine, so that trials on it need no network.

python jobs/stage.py
python jobs/stage.py --model roberta-base --tasks mrpc rte
"""

import sys
from dataclasses import dataclass

import tyro

from lottery_ray.errors import InputError
from lottery_ray.study import Study, plan
from lottery_ray.work import read_inputs


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
    stage = tyro.cli(Stage, prog="stage.py", description=__doc__)
    try:
        read_inputs(plan(Study(stage.model, stage.data, stage.tasks, extend=stage.extend)))
    except (InputError, OSError) as error:  # the hub's client raises the latter
        print(f"error: {' '.join(str(error).split())}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
