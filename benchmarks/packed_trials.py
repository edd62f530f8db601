"""Several trials training at the same time on one device, a process each, as Ray runs them there.

Without NVIDIA's MPS, processes take turns on a GPU: what several gain is the time that one alone leaves it
idle. With MPS (`nvidia-cuda-mps-control -d` before the run) their kernels run side by side.
"""

import multiprocessing
import resource
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from threading import Barrier

import torch

from benchmarks.device_passes import CUDA, Subject, place, seconds, steps
from lottery_ray.trial.process import free_memory

LONGEST_WAIT = 600.0
"""Seconds of the processes for one another, imports and warming up included."""
SPARE = 0.95
"""Share of the free memory that trials may fill."""

_barrier: Barrier


@dataclass(frozen=True)
class Packed:
    """trials: how many at a time. rate: training steps a second of all together, from the first one's begin
    to the last one's end. peak: bytes of the largest one's tensors (on a CPU, of its whole process so far).
    occupied: bytes of the device per trial, CUDA's context and what torch caches included; 0 on a CPU."""

    trials: int
    rate: float
    peak: int
    occupied: int


def each_number(subjects: Sequence[Subject], most: int) -> Iterator[list[Packed]]:
    """Of each subject: 1, 2, 4, ... trials, at most so many, and no more than fit into memory."""
    number, free, occupied = 1, _free(), 0
    while number <= most and number * occupied <= SPARE * free:
        found = together(subjects, number)
        yield found
        number, occupied = 2 * number, max(each.occupied for each in found)


def together(subjects: Sequence[Subject], trials: int) -> list[Packed]:
    """One subject after the other, in the same processes."""
    context, before = multiprocessing.get_context("spawn"), _free()
    barrier = context.Barrier(trials, timeout=LONGEST_WAIT)
    with ProcessPoolExecutor(trials, context, _meet, (barrier,)) as pool:
        futures = [pool.submit(_train_all, subjects) for _ in range(trials)]
        spans = zip(*(future.result() for future in futures), strict=True)
    return [_packed(subject, list(each), before) for subject, each in zip(subjects, spans, strict=True)]


Span = tuple[float, float, int, int]
"""Begin and end, by the clock of the machine; peak memory; free memory while all are there."""


def _packed(subject: Subject, spans: list[Span], before: int) -> Packed:
    begins, ends, peaks, free = zip(*spans, strict=True)
    done = len(spans) * steps(subject, "training")
    rate = done / (max(ends) - min(begins))
    return Packed(len(spans), rate, max(peaks), (before - min(free)) // len(spans))


def _free() -> int:
    """Bytes of the device."""
    return torch.cuda.mem_get_info()[0] if CUDA else 0


def _meet(barrier: Barrier) -> None:
    global _barrier
    _barrier = barrier


def _train_all(subjects: Sequence[Subject]) -> list[Span]:
    try:
        return [_train(subject) for subject in subjects]
    except BaseException:
        # or the others would wait for it
        _barrier.abort()
        raise


def _train(subject: Subject) -> Span:
    free_memory()
    placed = place(subject)
    seconds("training", placed)
    _barrier.wait()
    begun = time.monotonic()
    seconds("training", placed)
    ended, peak, free = time.monotonic(), _peak(), _free()
    _barrier.wait()
    return begun, ended, peak, free


def _peak() -> int:
    if CUDA:
        return torch.cuda.max_memory_allocated()
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
