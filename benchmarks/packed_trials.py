"""Several trials training at the same time on one device, a process each, as Ray runs them there.

Without NVIDIA's MPS, processes take turns on a GPU: what several gain is the time that one alone leaves it
idle. With MPS (`nvidia-cuda-mps-control -d` before the run) their kernels run side by side.
"""

import multiprocessing
import resource
import time
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from threading import Barrier

import torch

from benchmarks.device_passes import CUDA, Subject, place, seconds, steps

LONGEST_WAIT = 600.0
"""Seconds of the processes for one another, imports and warming up included."""
SPARE = 0.95
"""Share of the free memory that trials may fill."""

_barrier: Barrier


@dataclass(frozen=True)
class Packed:
    """trials: how many at a time. rate: training steps a second of all together, from the first one's begin
    to the last one's end. peak: bytes of the largest one's tensors (of its whole process, on a CPU).
    occupied: bytes of the device per trial, CUDA's context and what torch caches included; 0 on a CPU."""

    trials: int
    rate: float
    peak: int
    occupied: int


def each_number(subject: Subject, most: int) -> Iterator[Packed]:
    """1, 2, 4, ... trials, at most so many, and no more than fit into memory."""
    number, free, occupied = 1, _free(), 0
    while number <= most and number * occupied <= SPARE * free:
        found = together(subject, number)
        yield found
        number, occupied = 2 * number, found.occupied


def together(subject: Subject, trials: int) -> Packed:
    context, before = multiprocessing.get_context("spawn"), _free()
    barrier = context.Barrier(trials, timeout=LONGEST_WAIT)
    with ProcessPoolExecutor(trials, context, _meet, (barrier,)) as pool:
        spans = [future.result() for future in [pool.submit(_train, subject) for _ in range(trials)]]
    begins, ends, peaks, free = zip(*spans, strict=True)
    done = trials * steps(subject, "training")
    return Packed(trials, done / (max(ends) - min(begins)), max(peaks), (before - min(free)) // trials)


def _free() -> int:
    """Bytes of the device."""
    return torch.cuda.mem_get_info()[0] if CUDA else 0


def _meet(barrier: Barrier) -> None:
    global _barrier
    _barrier = barrier


def _train(subject: Subject) -> tuple[float, float, int, int]:
    """Begin and end, by the clock of the machine; peak memory; free memory while all are there."""
    try:
        placed = place(subject)
        seconds("training", placed)
        _barrier.wait()
        begun = time.monotonic()
        seconds("training", placed)
        ended, peak, free = time.monotonic(), _peak(), _free()
        _barrier.wait()
        return begun, ended, peak, free
    except BaseException:
        # or the others would wait for it
        _barrier.abort()
        raise


def _peak() -> int:
    if CUDA:
        return torch.cuda.max_memory_allocated()
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
