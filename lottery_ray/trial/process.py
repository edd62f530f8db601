"""This process, set up for a trial, and what it takes of its machine."""

import functools
import gc
import platform

import torch
from accelerate import Accelerator
from accelerate.state import AcceleratorState

from lottery_ray import machine
from lottery_ray.experiment.recipe import Recipe


def prepare(recipe: Recipe, *, cpu: bool) -> Accelerator:
    """Set this process up for a trial of this recipe. A warm process may have had another precision before,
    which Accelerate's shared state would refuse to change."""
    if not cpu and not torch.cuda.is_available():
        raise RuntimeError("This trial was given a GPU, but torch sees none: is it a CPU build?")
    AcceleratorState._reset_state(reset_partial_state=True)
    accelerator = Accelerator(cpu=cpu, mixed_precision="bf16" if recipe.precision == "bf16" else "no")
    torch.set_num_threads(recipe.threads)
    machine.reuse_blocks()
    _freeze()
    return accelerator


@functools.cache
def _freeze() -> None:
    """Take what is imported from what garbage collections look through: every trial ends with one, which
    would take 0.2 s."""
    gc.collect()
    gc.freeze()


def memory_taken(accelerator: Accelerator) -> dict[str, float | None]:
    """MiB that this process has taken at its peak since `free_memory`, of the machine's and of the GPU's
    memory; and how much the GPU has."""
    cuda = accelerator.device.type == "cuda"
    return {
        "peak_memory_mib": machine.peak_memory(),
        "peak_gpu_memory_mib": torch.cuda.max_memory_reserved() / 2**20 if cuda else None,
        "gpu_memory_mib": torch.cuda.get_device_properties().total_memory / 2**20 if cuda else None,
    }


def free_memory() -> None:
    """A network and its hooks refer to each other, and a warm process must not pile them up."""
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()
    machine.trim()
    machine.forget_peak()


def device_name(accelerator: Accelerator) -> str:
    """Of the GPU, or of the CPU."""
    if accelerator.device.type == "cuda":
        return torch.cuda.get_device_name(accelerator.device)
    return platform.processor() or "cpu"
