"""The progress of a sweep: the time that is left."""

import io

import pytest
from rich.console import Console

from lottery_ray.experiment.nodes import Ticket
from lottery_ray.experiment.plan import plan
from lottery_ray.experiment.study import Study
from lottery_ray.scheduling.progress import Failure, SweepProgress


def test_what_is_left_takes_as_long_as_what_is_done_did_by_stage() -> None:
    nodes = plan(Study(tasks=("mrpc", "rte"), seeds=(1, 2))).nodes
    progress = SweepProgress(nodes, {nodes[0]}, Console(file=io.StringIO()))
    assert progress.seconds_left() is None
    for node in nodes[1:20]:
        progress.started(node)
        progress.finished(node)
    failed = nodes[20]
    assert isinstance(failed, Ticket)
    dropped = [node for node in nodes[21:] if getattr(node, "finetune", None) == failed.finetune]
    progress.started(failed)
    progress.failed(Failure(failed, "cause", "log"), dropped)
    left = [node for node in nodes[21:] if node not in dropped]
    assert left
    seconds = [progress.forecast.seconds(node) for node in left]
    expected = sum(value for value in seconds if value is not None)
    assert expected > 0
    assert None not in seconds
    assert progress.seconds_left() == pytest.approx(expected)
