"""Run one node: read its parents, do the work, write its artifacts, publish its record.

The same function runs in a Ray trial and in debug mode.
"""

import functools
import platform
import shutil
import subprocess
import tempfile
import time
from importlib.metadata import version
from pathlib import Path
from pkgutil import resolve_name
from typing import Any

import lottery_ray
from lottery_ray.experiment.extensions import load_planned
from lottery_ray.experiment.graph import Node
from lottery_ray.storage.attempt import Attempt, begin
from lottery_ray.storage.store import Record, Store
from lottery_ray.tracking.trackers import tracked
from lottery_ray.training.checkpoints import Checkpoints
from lottery_ray.training.micro_batches import MicroBatch
from lottery_ray.trial.process import device_name, free_memory, memory_taken, prepare
from lottery_ray.trial.settings import TrialSettings
from lottery_ray.trial.work import Work

PACKAGES = ("torch", "transformers", "accelerate", "numpy", "pyarrow")


def run_node(node: Node, settings: TrialSettings) -> Record:
    """Run a node unless it has a record, and return its record. A failure leaves its traceback as error.txt
    in the attempt, and is raised."""
    store = Store.open(settings.root)
    if record := store.read(node.key):
        return record
    attempt = begin(store, node)
    scratch = Path(tempfile.mkdtemp(prefix="lottery_ray_"))
    try:
        return _published(attempt, scratch, settings)
    except Exception as error:
        attempt.fail(error)
        raise
    finally:
        shutil.rmtree(scratch)
        free_memory()


def _published(attempt: Attempt, scratch: Path, settings: TrialSettings) -> Record:
    load_planned(settings.extensions)
    started = time.time()
    node, store = attempt.node, attempt.store
    inputs = store.inputs(node)
    accelerator = prepare(node.setting, cpu=settings.cpu)
    made_with = {
        "parents": {parent.key: parent.digest for parent in inputs.values()},
        "packages": _packages(),
    }
    checkpoints = Checkpoints(store, node, settings.checkpoint_minutes, made_with, device_name(accelerator))
    with tracked(node, settings.tracking, store, scratch, settings.spread) as run:
        run.read(inputs)
        work = Work(attempt, inputs, scratch, settings, accelerator, checkpoints, MicroBatch(), run)
        result = resolve_name(node.runs)(node, work)
        if result.keys() != node.columns.keys():
            raise TypeError(
                f"{node.runs} returned {sorted(result)}; its kind declares {sorted(node.columns)}."
            )
        record = attempt.publish(result, _provenance(started, work), inputs)
        run.leave(record)
    return record


def _packages() -> dict[str, str]:
    return {"lottery-ray": lottery_ray.__version__} | {name: version(name) for name in PACKAGES}


def _provenance(started: float, work: Work) -> dict[str, Any]:
    return {
        "started": started,
        # with those that earlier runs had spent up to the checkpoint it went on from
        "seconds": work.checkpoints.seconds + time.time() - started,
        **memory_taken(work.accelerator),
        "device": device_name(work.accelerator),
        "host": platform.node(),
        "commit": _commit(),
        "packages": _packages(),
        **work.checkpoints.provenance(),
        "evaluation_micro_batch": work.evaluated.size,
        **({"tracking_warnings": work.run.warnings} if work.run.warnings else {}),
    }


@functools.cache
def _commit() -> str | None:
    """The commit of this checkout, with "+" where files were changed; None outside one."""
    git = ["git", "-C", str(Path(__file__).parent), "describe", "--always", "--dirty=+", "--abbrev=12"]
    try:
        done = subprocess.run(git, capture_output=True, text=True, check=False)
    except OSError:  # git is not installed
        return None
    return done.stdout.strip() or None
