"""Show a study on Weights & Biases: its own run, and a workspace.

python jobs/dashboard.py results/demo
python jobs/dashboard.py s3://bucket/paper --watch
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Annotated, Literal

import tyro
from rich.console import Console

from lottery_ray.errors import InputError
from lottery_ray.storage.store import Store
from lottery_ray.terminal import flags_of, show_error
from lottery_ray.tracking.settings import Tracking
from lottery_ray.tracking.trackers import check_trackers
from lottery_ray.tracking.wandb_run import how_to_upload


def dashboard(
    root: tyro.conf.Positional[Annotated[str, tyro.conf.arg(metavar="ROOT")]],
    watch: bool = False,
    wandb: Literal["online", "offline"] = "online",
    wandb_project: str | None = None,
    wandb_group: str | None = None,
    only: Annotated[tuple[str, ...], tyro.conf.arg(metavar="FIELD=VALUE")] = (),
) -> int:
    """Bring a study's own run and its workspace on Weights & Biases up to date, and say where they are.

    Args:
        root: A folder or URI that a sweep writes to or has written to.
        watch: Do so again whenever more nodes are done, until the sweep ends.
        wandb: online needs an account (wandb login); offline leaves files in the root for wandb sync.
        wandb_project: The project there, or entity/project. None: $WANDB_PROJECT, or lottery_ray.
        wandb_group: The study's name there, as the sweep has it. None: the last part of the root's.
        only: Of a root with several studies, the one whose fine-tuned models have these fields.
    """
    # matplotlib and pandas, which --help needs not
    from analysis.dashboard.keep import Dashboard, follow, until_swept

    console = Console(soft_wrap=True, highlight=False, markup=False)
    with told() as status:
        store = Store.open(root)
        tracking = Tracking(wandb, wandb_project, wandb_group)
        board = Dashboard(store, tracking, console.print, only)
        if said := check_trackers(tracking, store):
            console.print(said)
        follow(board, until_swept(store) if watch else lambda _: True)
        if waiting := how_to_upload(store):
            console.print(waiting)
        status.append(0 if board.now and (board.run or board.other) else 1)
    return status[-1]


@contextmanager
def told() -> Iterator[list[int]]:
    """The exit status, with errors of the user in one line."""
    status = [2]
    try:
        yield status
    except InputError as error:
        show_error(error)
    except KeyboardInterrupt:
        status.append(130)


def main() -> int:
    """Exit status."""
    return flags_of(dashboard, __doc__)
