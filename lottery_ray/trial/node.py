"""Run one node: read its parents, do the work, write its artifacts, publish its record.

The same function runs in a Ray trial and in debug mode.
"""

import functools
import gc
import platform
import re
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from contextlib import suppress
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator

import lottery_ray
from lottery_ray import machine as allocator
from lottery_ray.experiment.nodes import (
    Finetune,
    Node,
    NullDraws,
    Pretrain,
    Recipe,
    Search,
    Ticket,
    key,
    processes,
)
from lottery_ray.experiment.study import Site
from lottery_ray.extending import Extension, load_planned
from lottery_ray.networks import weights as models
from lottery_ray.storage.store import Attempt, Record, Store
from lottery_ray.tracking import trackers
from lottery_ray.tracking.settings import UNTRACKED, Tracking
from lottery_ray.training.checkpoints import Checkpoints
from lottery_ray.training.micro_batches import MicroBatch
from lottery_ray.trial import parallel
from lottery_ray.trial.ticket import execute
from lottery_ray.trial.work import Work

PACKAGES = ("torch", "transformers", "accelerate", "numpy", "pyarrow")


def run(
    node: Node,
    root: str,
    folders: dict[str, str],
    *,
    cpu: bool,
    keep_retrained: bool = False,
    checkpoint_minutes: float = Site.checkpoint_minutes,
    track: Tracking = UNTRACKED,
    spread: float = 0.0,
    extensions: tuple[Extension, ...] = (),
) -> Record:
    """Run a node unless it has a record, and return its record.

    folders: {identity: path} of the plan's model and data. cpu: leave a GPU alone. keep_retrained: whether
    a ticket leaves its retrained weights, too. checkpoint_minutes: how old a checkpoint within a training
    may get. track, spread: see `trackers.told`. extensions: of the plan. A failure leaves its traceback as
    error.txt in the attempt, and is raised. Where one of a node's several processes is killed, ProcessDied is
    raised, and there is no error.txt, as if this one had been.
    """
    store = Store.open(root)
    if record := store.read(key(node)):
        return record
    attempt = store.begin(node)
    scratch = Path(tempfile.mkdtemp(prefix="lottery_ray_"))
    work = (
        node,
        attempt,
        scratch,
        folders,
        cpu,
        keep_retrained,
        checkpoint_minutes,
        track,
        spread,
        extensions,
    )
    try:
        done: Record = parallel.run(_attempt, work, processes(node), cpu=cpu)
        return done
    except parallel.ProcessDied:
        raise
    except Exception as error:
        attempt.fail(error)
        raise
    finally:
        shutil.rmtree(scratch)
        free_memory()


def _attempt(
    node: Node,
    attempt: Attempt,
    scratch: Path,
    folders: dict[str, str],
    cpu: bool,
    keep_retrained: bool,
    checkpoint_minutes: float,
    track: Tracking,
    spread: float,
    extensions: tuple[Extension, ...],
) -> Record | None:
    """Of several processes the first one alone writes to the root, and returns the record."""
    load_planned(extensions)
    started = time.time()
    inputs = attempt.store.inputs(node)
    accelerator = prepare(_recipe(node), cpu=cpu)
    if not accelerator.is_main_process:
        scratch = scratch / str(accelerator.process_index)
        attempt = replace(attempt, folder=scratch / "attempt")
        attempt.folder.mkdir(parents=True)
    made_with = {
        "parents": {parent.key: parent.digest for parent in inputs.values()},
        "packages": _packages(),
    }
    checkpoints = Checkpoints(attempt.store, node, checkpoint_minutes, made_with, device_name(accelerator))
    told = track if accelerator.is_main_process else UNTRACKED
    with trackers.told(node, told, attempt.store, scratch, spread) as run:
        run.read(inputs)
        work = Work(
            attempt, inputs, folders, scratch, accelerator, keep_retrained, checkpoints, MicroBatch(), run
        )
        result = execute(node, work)
        provenance = _provenance(started, work)
        if not accelerator.is_main_process:
            return None
        record = attempt.publish(result, provenance, inputs)
        run.leave(record)
    return record


def prepare(recipe: Recipe, *, cpu: bool) -> Accelerator:
    """Set this process up for a trial of this recipe."""
    if not cpu and not torch.cuda.is_available():
        raise RuntimeError("This trial was given a GPU, but torch sees none: is it a CPU build?")
    accelerator = models.accelerator(recipe.precision, cpu=cpu)
    torch.set_num_threads(recipe.threads)
    allocator.reuse_blocks()
    _freeze()
    return accelerator


@functools.cache
def _freeze() -> None:
    """Take what is imported from what garbage collections look through: every trial ends with one, which
    would take 0.2 s."""
    gc.collect()
    gc.freeze()


def memory(accelerator: Accelerator) -> dict[str, float | None]:
    """MiB that this process has taken at its peak since `free_memory` (where the system cannot tell, since it
    began), of the machine's and of the GPU's memory; and how much the GPU has."""
    cuda = accelerator.device.type == "cuda"
    return {
        "peak_memory_mib": _peak_memory(),
        "peak_gpu_memory_mib": torch.cuda.max_memory_reserved() / 2**20 if cuda else None,
        "gpu_memory_mib": torch.cuda.get_device_properties().total_memory / 2**20 if cuda else None,
    }


def _peak_memory() -> float:
    status = Path("/proc/self/status")
    found = re.search(r"VmHWM:\s+(\d+) kB", status.read_text() if status.exists() else "")
    if found:
        return int(found[1]) / 1024
    # in bytes on a Mac
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (2**20 if sys.platform == "darwin" else 2**10)


def free_memory() -> None:
    """A network and its hooks refer to each other, and a warm process must not pile them up."""
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()
    allocator.trim()
    # the peak is measured anew; a sandbox may refuse, and then it is of the process so far
    with suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5")


def _recipe(node: Node) -> Recipe:
    """Whose threads and precision a node runs with."""
    match node:
        case Pretrain():
            return Recipe(threads=node.threads)
        case Search() | NullDraws():
            return node.finetune.recipe
        case Finetune() | Ticket():
            return node.recipe


def _packages() -> dict[str, str]:
    return {"lottery-ray": lottery_ray.__version__} | {name: version(name) for name in PACKAGES}


def device_name(accelerator: Accelerator) -> str:
    if accelerator.device.type == "cuda":
        return torch.cuda.get_device_name(accelerator.device)
    return platform.processor() or "cpu"


def _provenance(started: float, work: Work) -> dict[str, Any]:
    accelerator, checkpoints = work.accelerator, work.checkpoints
    return {
        "started": started,
        # with those that earlier runs had spent up to the checkpoint it went on from
        "seconds": checkpoints.seconds + time.time() - started,
        **memory(accelerator),
        "device": device_name(accelerator),
        "host": platform.node(),
        "commit": _commit(),
        "packages": _packages(),
        **checkpoints.provenance(),
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
